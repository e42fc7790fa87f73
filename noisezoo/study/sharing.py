"""What do the spaces share? Coordinates common to a set of spaces, what can be read from the first k of them, and who is whose neighbour."""

from __future__ import annotations

import itertools
from functools import cache, partial

import numpy as np

from noisezoo.analysis import (
    Evaluation,
    Shared,
    accuracy_by_size,
    agreement,
    fit_pca,
    fit_shared,
    neighbour_agreement,
)
from noisezoo.analysis.shared import REDUCE, RIDGE
from noisezoo.analysis.streams import Floats, Ints
from noisezoo.errors import NoiseZooError
from noisezoo.study.data import SEED, Data
from noisezoo.study.parts import Found, Job
from noisezoo.study.probing import number

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
PCA_MOST = 128
NEIGHBOUR_SIZE = 16
CHOSEN_SIZE, FOLDS = 16, 3
RIDGES = (RIDGE, 0.1, 1.0, 10.0)
RESAMPLES = 200


class Views:
    """Coordinates of sets and of single spaces, each fitted once a study."""

    def __init__(self, data: Data) -> None:
        self.data = data

    @cache  # noqa: B019 - lives as long as its study
    def division(self, *members: str) -> tuple[Ints, Ints]:
        """Rows that all of them have, divided."""
        return self.data.divide(self.data.rows(*members))

    @cache  # noqa: B019
    def members(self, name: str) -> list[str]:
        """The spaces of a set that have rows."""
        there = [m for m in self.data.sets[name] if self.data.varies(m)]
        if len(there) < 2:
            raise NoiseZooError(
                f"Of the set '{name}' only {' and '.join(there) or 'no space'} has rows that differ, and sharing takes two."
            )
        return there

    @cache  # noqa: B019
    def shared(self, name: str) -> Shared:
        """The shared space of a set."""
        members = self.members(name)
        train, _ = self.division(*members)
        return fit_shared(
            {m: self.data.latents(m) for m in members}, SIZES[-1], train, device=self.data.settings.device
        )

    def of_set(self, name: str, rows: Ints) -> Floats:
        """Shared coordinates `(rows, k)`."""
        members = self.members(name)
        return self.shared(name).coordinates({m: self.data.latents(m) for m in members}, rows)

    @cache  # noqa: B019
    def components(self, name: str) -> Floats:
        """Leading principal coordinates of one space, for all rows it has `(usable rows, k)`."""
        train, _ = self.division(name)
        X = self.data.latents(name)
        return fit_pca(X, PCA_MOST, train, device=self.data.settings.device).scores(X, self.data.rows(name))

    def of_space(self, name: str, rows: Ints) -> Floats:
        """The same for some rows."""
        return self.components(name)[np.searchsorted(self.data.rows(name), rows)]


def jobs(data: Data) -> list[Job]:
    """One for each set, one for each space alone, one for neighbours."""
    views = Views(data)
    rows = {"rows": data.rows_digest}
    found = []
    for name, members in data.sets.items():
        facts = {"spaces": {m: data.digest(m) for m in members}, **rows}
        found.append(Job("shared", name, facts, partial(measure_set, data, views, name)))
    alone = data.of_kind("noise", "encoder")
    for name in alone:
        facts = {"spaces": {name: data.digest(name)}, **rows}
        found.append(Job("shared", f"pca-{name}", facts, partial(measure_space, data, views, name)))
    if len(alone) > 1:
        facts = {"spaces": {m: data.digest(m) for m in data.spaces}, "sets": data.sets, **rows}
        found.append(Job("shared", "neighbours", facts, partial(measure_neighbours, data, views)))
    return found


def measure_set(data: Data, views: Views, name: str) -> Found:
    """Agreement on rows not seen, and accuracy against k."""
    members = views.members(name)
    train, test = views.division(*members)
    shared = views.shared(name)
    held_out = agreement(shared.views({m: data.latents(m) for m in members}, test))
    curve = _curve(data, views.of_set(name, train), views.of_set(name, test), train, test)
    facts = {
        "members": members,
        "agreement": [number(v) for v in held_out[:64]],
        "strength": [number(v) for v in shared.strength[:64]],
        "components_above_half": int((held_out > 0.5).sum()),
    }
    lines = [{"name": name, "kind": "shared", "ridge": RIDGE, **line} for line in curve]
    if data.names and all(data.width(m) <= REDUCE for m in members):
        ridge = choose_ridge(data, members, train)
        if ridge != RIDGE:
            spaces = {m: data.latents(m) for m in members}
            again = fit_shared(spaces, SIZES[-1], train, ridge=ridge)
            curve = _curve(data, again.coordinates(spaces, train), again.coordinates(spaces, test), train, test)
            lines += [{"name": f"{name}, r {ridge:g}", "kind": "shared", "ridge": ridge, **line} for line in curve]
    return {"curve": lines, "set": facts}


def choose_ridge(data: Data, members: list[str], train: Ints) -> float:
    """The penalty whose first sixteen shared coordinates read attributes best on left-out training rows.

    Near 0 the coordinates are those that agree best, however little of a space they are; a large penalty favours what varies most in each, as principal components do.
    Few rows agree by chance along many directions, and then a larger one is better.
    """
    spaces = {m: data.latents(m) for m in members}
    fold = np.random.default_rng(SEED).permutation(len(train)) % FOLDS
    reached = np.zeros(len(RIDGES))
    for index in range(FOLDS):
        fitted, left_out = train[fold != index], train[fold == index]
        for place, ridge in enumerate(RIDGES):
            shared = fit_shared(spaces, CHOSEN_SIZE, fitted, ridge=ridge)
            k = min(CHOSEN_SIZE, len(shared.strength))
            found = accuracy_by_size(
                shared.coordinates(spaces, fitted),
                shared.coordinates(spaces, left_out),
                data.labels[fitted],
                data.labels[left_out],
                data.names,
                (k,),
                resamples=0,
            )
            reached[place] += found[k].accuracy.mean / FOLDS
    return RIDGES[int(np.nanargmax(reached))]


def measure_space(data: Data, views: Views, name: str) -> Found:
    """Accuracy against the number of one space's principal components."""
    train, test = views.division(name)
    curve = _curve(data, views.of_space(name, train), views.of_space(name, test), train, test)
    return {"curve": [{"name": name, "kind": "pca", **line} for line in curve]}


def _curve(data: Data, train: Floats, test: Floats, train_rows: Ints, test_rows: Ints) -> list[Found]:
    if not data.names:
        return []
    found: dict[int, Evaluation] = accuracy_by_size(
        train, test, data.labels[train_rows], data.labels[test_rows], data.names, SIZES, resamples=RESAMPLES
    )
    return [
        {
            "k": k,
            "accuracy": number(e.accuracy.mean),
            "accuracy_interval": [number(e.accuracy.mean_low), number(e.accuracy.mean_high)],
            "auc": number(e.auc.mean),
            "baseline": number(np.nanmean(e.baseline)),
        }
        for k, e in found.items()
    ]


def measure_neighbours(data: Data, views: Views) -> Found:
    """For every two spaces, and every two sets, how alike neighbourhoods are among their first sixteen coordinates, on rows not seen."""
    alone = [name for name in data.spaces if data.varies(name)]
    _, test = views.division(*alone)
    clouds = {name: views.of_space(name, test)[:, :NEIGHBOUR_SIZE] for name in alone}
    sets = [name for name, members in data.sets.items() if set(members) <= set(alone)]
    clouds |= {f"shared {name}": views.of_set(name, test)[:, :NEIGHBOUR_SIZE] for name in sets}
    found = []
    for a, b in itertools.combinations(clouds, 2):
        if a.startswith("shared ") != b.startswith("shared "):
            continue
        measured = neighbour_agreement(clouds[a], clouds[b])
        found.append(
            {"first": a, "second": b, "k": NEIGHBOUR_SIZE, **{k: number(v) for k, v in vars(measured).items()}}
        )
    return {"neighbours": found}
