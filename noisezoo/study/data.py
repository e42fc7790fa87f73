"""What the study sees of a zoo: for every space its kind, its usable rows and its latents, and for all of them one division of the rows.

Rows are usable where their unit is finished, they are marked valid, and all their values are finite; a zoo that was fetched in part, or is half built, is studied on what is there.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np

from noisezoo import layout, ledger
from noisezoo.analysis import (
    DIFFUSION_COMPONENTS,
    ENCODER_COMPONENTS,
    Latents,
    Probes,
    finite_rows,
    fit_class_means,
    fit_probes,
    permuted,
)
from noisezoo.analysis.shared import REDUCE
from noisezoo.analysis.streams import Bools, Floats, Ints
from noisezoo.errors import NoiseZooError
from noisezoo.study.settings import PAPER_SETS, Settings
from noisezoo.zoo import SpaceView, Zoo

SEED = 42
TEST_SHARE = 0.2
FEWEST = 10
"""Rows below which a division is not worth keeping to."""
MEMORY_BYTES = 256 * 2**20
"""Spaces up to this size are read once and kept."""
LOOKED_AT = 64
CHANCE = " (permuted)"
CONTROLS = {
    "pixels": "the image itself",
    "autoencoder": "the autoencoder's latent, without inversion",
    "forward noised": "that latent with true Gaussian noise added",
    "gaussian noise": "Gaussian noise, which knows nothing of the image",
    "bimodal noise": "noise with two modes, which is not Gaussian",
    "random": "inversion through random weights",
}


class Data:
    """A zoo with the settings of one study."""

    def __init__(self, zoo: Zoo, settings: Settings) -> None:
        self.zoo = zoo
        self.settings = settings

    # What there is

    @cached_property
    def spaces(self) -> dict[str, SpaceView]:
        """Spaces whose latents are real numbers: tokens have no directions."""
        return {name: space for name, space in self.zoo.spaces.items() if space.array.dtype.kind == "f"}

    @cached_property
    def notes(self) -> list[str]:
        """What is missing, in sentences for the reader."""
        told = []
        for name, space in self.zoo.spaces.items():
            if name not in self.spaces:
                told.append(f"{name} holds tokens ({space.array.dtype}), which have no directions; it is left out.")
                continue
            units = layout.shard_count(len(self.zoo), self.zoo.shard_rows)
            done = len(self.finished(name))
            if done < units:
                told.append(
                    f"{name} is there in part, {done} of {units} units; the study takes the {int(self.marked(name).sum()):,} rows that are."
                )
        if not self.names:
            told.append("This zoo has no labels, so that probes, edits and accuracies are left out.")
        return told

    @cache  # noqa: B019 - a Data lives as long as its study
    def kind(self, name: str) -> str:
        """`noise`, `encoder` or `control`."""
        config = self.spaces[name].config
        family = str(config.get("family", ""))
        if config.get("random_weights") or family in CONTROLS:
            return "control"
        if config.get("inverter") or family == "diffusion" or (family == "imported" and len(self.shape(name)) == 3):
            return "noise"
        return "encoder"

    def control(self, name: str) -> str:
        """What a control is, in words."""
        config = self.spaces[name].config
        return CONTROLS["random" if config.get("random_weights") else str(config["family"])]

    def of_kind(self, *kinds: str) -> list[str]:
        """Names of the spaces of these kinds."""
        return [name for name in self.spaces if self.kind(name) in kinds]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one row."""
        return self.spaces[name].shape[1:]

    def width(self, name: str) -> int:
        """Values of one row."""
        return math.prod(self.shape(name))

    @cached_property
    def sets(self) -> dict[str, list[str]]:
        """Sets of spaces to look for a shared space in: those asked for, the paper's where they are complete, all noise, all encoders, both, and narrow noise with an encoder."""
        found = {name: list(members) for name, members in self.settings.sets.items()}
        for name, members in found.items():
            missing = sorted(set(members) - set(self.spaces))
            if missing or len(members) < 2:
                raise NoiseZooError(
                    f"The set '{name}' needs two or more spaces of this zoo, and {', '.join(missing) or 'it has too few'} is not right: it has {', '.join(self.spaces)}."
                )
        found |= {name: list(m) for name, m in PAPER_SETS.items() if set(m) <= set(self.spaces)}
        for name, kinds in (("all", ("noise", "encoder")), ("noise", ("noise",)), ("encoders", ("encoder",))):
            members = self.of_kind(*kinds)
            if len(members) > 1 and members not in found.values():
                found.setdefault(name, members)
        for noise in self.of_kind("noise"):
            pair = [noise, *self.of_kind("encoder")[:1]]
            if len(pair) == 2 and pair not in found.values() and all(self.width(m) <= REDUCE for m in pair):
                found.setdefault(" + ".join(pair), pair)
        return found

    # Digests of what results depend on

    @cache  # noqa: B019
    def finished(self, name: str) -> dict[int, ledger.Entry]:
        """The ledger of a space, read once."""
        return self.zoo.spaces[name].finished

    @cache  # noqa: B019
    def digest(self, name: str) -> str:
        """sha256 over a space's configuration and the bytes of its finished units."""
        files = {file: sha for entry in self.finished(name).values() for file, sha in entry.files.items()}
        return ledger.digest({"config": self.zoo.spaces[name].config_digest, "files": files})

    @cached_property
    def rows_digest(self) -> str:
        """sha256 over labels, their names and the division of rows."""
        held = hashlib.sha256("\n".join(self.names).encode())
        for part in (self.labels, *self.division):
            held.update(np.ascontiguousarray(part).tobytes())
        return held.hexdigest()

    # Rows

    @cache  # noqa: B019
    def marked(self, name: str) -> Bools:
        """Rows that are marked valid in finished units."""
        known = np.zeros(len(self.zoo), np.bool_)
        for entry in self.finished(name).values():
            known[slice(*entry.rows)] = True
        return known & self.spaces[name].valid

    @cache  # noqa: B019
    def usable(self, name: str) -> Bools:
        """Rows that are marked valid and are finite."""
        marked = self.marked(name)
        return marked & finite_rows(self.latents(name)) if marked.any() else marked

    @cache  # noqa: B019
    def varies(self, name: str) -> bool:
        """Whether rows differ at all, as far as some of them tell."""
        rows = np.flatnonzero(self.usable(name))
        some = rows[np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).astype(int)] if len(rows) else rows
        X = self.latents(name)
        return any(not np.array_equal(X[int(row)], X[int(some[0])]) for row in some[1:])

    def rows(self, *names: str) -> Ints:
        """Row numbers that are usable in all these spaces."""
        for name in names:
            if self.usable(name).sum() > 1 and not self.varies(name):
                raise NoiseZooError(
                    f"All rows of {name} are alike, so that there is nothing to study; leave this space out."
                )
        rows = np.flatnonzero(np.logical_and.reduce([self.usable(name) for name in names]))
        if not len(rows):
            raise NoiseZooError(
                f"No row of {' and '.join(names)} is valid: `noisezoo info {self.zoo.store.url}` gives the reasons."
            )
        return rows

    @cached_property
    def division(self) -> tuple[Ints, Ints]:
        """Rows to fit on and rows to judge on: the source's train and test splits, else the paper's own division, else four fifths and the rest."""
        splits = self.zoo.splits
        for prefix in ("", "paper_split:"):
            pair = splits.get(f"{prefix}train"), splits.get(f"{prefix}test")
            if pair[0] is not None and pair[1] is not None and min(len(pair[0]), len(pair[1])) >= FEWEST:
                return pair[0], pair[1]
        return _shuffled(np.arange(len(self.zoo)))

    def divide(self, rows: Ints) -> tuple[Ints, Ints]:
        """The division of these rows; four fifths and the rest where one side of the zoo's own is nearly empty among them."""
        train, test = (part[np.isin(part, rows, assume_unique=True)] for part in self.division)
        return (train, test) if min(len(train), len(test)) >= FEWEST else _shuffled(rows)

    # Values

    @cache  # noqa: B019
    def latents(self, name: str) -> Latents:
        """The space's array: in memory where it is small, else as it is stored."""
        array: Any = self.spaces[name].array
        small = math.prod(array.shape) * array.dtype.itemsize <= MEMORY_BYTES
        return np.asarray(array[...]) if small else array

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The attributes that are studied."""
        wanted = self.settings.attributes
        for name in wanted or ():
            self.zoo.labels[name]  # refuses a name that the zoo does not have
        return tuple(wanted or self.zoo.labels.names)

    @cached_property
    def labels(self) -> Ints:
        """(rows, attributes) in {0, 1, -1}."""
        if not self.names:
            return np.zeros((len(self.zoo), 0), np.int8)
        return np.stack([self.zoo.labels[name] for name in self.names], axis=1)

    @cached_property
    def truth(self) -> Floats | None:
        """(rows, q) the true latent, where the source knows it."""
        if "truth" not in self.zoo.row_facts:
            return None
        z = self.zoo.row_fact("truth")
        return z.astype(np.float64) if z.ndim == 2 and z.dtype.kind == "f" else None

    @cache  # noqa: B019
    def probes(self, name: str) -> tuple[Probes, Probes]:
        """The space's probes, and probes on the labels of other rows, from one PCA."""
        self.need_labels()
        train, _ = self.divide(self.rows(name))
        real = self.labels
        chance = real.copy()
        chance[train] = permuted(real[train])
        components = ENCODER_COMPONENTS if len(self.shape(name)) == 1 else DIFFUSION_COMPONENTS
        both = np.hstack([real, chance])
        names = [*self.names, *(f"{name}{CHANCE}" for name in self.names)]
        fitted = fit_probes(self.latents(name), both, names, train, components=components, device=self.settings.device)
        if not fitted.names:
            raise NoiseZooError(
                f"No attribute of {name} shows both classes in its {len(train)} training rows; choose other rows or attributes."
            )
        return _part(fitted, self.names, ""), _part(fitted, self.names, CHANCE)

    @cache  # noqa: B019
    def means(self, name: str) -> Probes:
        """The space's second probes, w = μ₁ − μ₀, whose normals edits follow: where Σ is nearly σ²I and rows are few, they are nearer the true directions than logistic ones."""
        self.need_labels()
        train, _ = self.divide(self.rows(name))
        return fit_class_means(self.latents(name), self.labels, self.names, train)

    def need_labels(self) -> None:
        """Refuse, in a sentence, where there are none."""
        if not self.names:
            raise NoiseZooError(
                "This zoo has no labels: build it from a source that has them, or import them with --labels."
            )


def _part(fitted: Probes, names: Sequence[str], tail: str) -> Probes:
    """Of probes fitted together those whose names end so, without the ending."""
    chosen = [
        (i, name) for name in names if (word := f"{name}{tail}") in fitted.names for i in [fitted.names.index(word)]
    ]
    index = [i for i, _ in chosen]
    skipped = {name: fitted.skipped[f"{name}{tail}"] for name in names if f"{name}{tail}" in fitted.skipped}
    kept = tuple(name for _, name in chosen)
    return Probes(kept, fitted.weights[index], fitted.biases[index], skipped, fitted.components, fitted.explained)


def _shuffled(rows: Ints) -> tuple[Ints, Ints]:
    """Four fifths and the rest, drawn from the seed."""
    order = rows[np.random.default_rng(SEED).permutation(len(rows))]
    cut = round(len(rows) * TEST_SHARE)
    return np.sort(order[cut:]), np.sort(order[:cut])


class Joined:
    """Spaces of the same rows side by side, as one space `(rows, sum of widths)`."""

    def __init__(self, parts: Iterable[Latents]) -> None:
        self.parts = list(parts)
        self.edges = np.cumsum([0, *(math.prod(X.shape[1:]) for X in self.parts)]).tolist()
        self.shape: tuple[int, ...] = (self.parts[0].shape[0], self.edges[-1])
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: Any) -> Floats:
        """A range of rows."""
        pieces = [np.asarray(X[key], np.float32) for X in self.parts]
        return np.hstack([piece.reshape(len(piece), -1) for piece in pieces])
