"""The study of a zoo: is every space Gaussian, and are the attributes linear in it?

`metrics` computes the numbers from the zoo alone, so that a downloader can; `write_report` draws the page. What was computed is kept beside the report under the digest of what it
was computed from, and is not computed again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from noisezoo import layout, ledger
from noisezoo._version import __version__
from noisezoo.errors import NoiseZooError
from noisezoo.info import summary
from noisezoo.zoo import SpaceView, Zoo

FOLDS_SEED = 42
TEST_SHARE = 0.2
METRICS = "metrics.json"
PAGE = "index.html"


def zoo_digest(zoo: Zoo) -> str:
    """sha256 over the digests of all files in the ledger: the same for the same latents."""
    return ledger.digest(
        {name: {str(s): e.files for s, e in space.finished.items()} for name, space in zoo.spaces.items()}
    )


def divide(zoo: Zoo) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit on and rows to judge on: the source's train and test splits, or four fifths and the rest."""
    if {"train", "test"} <= set(zoo.splits) and len(zoo.splits["train"]) and len(zoo.splits["test"]):
        return zoo.splits["train"], zoo.splits["test"]
    order = np.random.default_rng(FOLDS_SEED).permutation(len(zoo))
    cut = round(len(zoo) * TEST_SHARE)
    return np.sort(order[cut:]), np.sort(order[:cut])


def space_metrics(
    space: SpaceView, *, projections: int, rows_per_test: int, attributes: list[str] | None
) -> dict[str, Any]:
    """Gaussianity and probes of one space; an analysis that cannot be made is replaced by the reason."""
    from noisezoo.analysis import probes
    from noisezoo.analysis.gaussianity import gaussianity

    zoo = space.zoo
    found: dict[str, Any] = {"shape": list(space.shape[1:]), "fidelity": {}}
    for measure, value in summary(space).fidelity.items():
        found["fidelity"][measure] = value
    if "psnr_autoencoder" in found["fidelity"]:
        found["fidelity"]["psnr"] = found["fidelity"]["psnr_autoencoder"]
    valid = np.flatnonzero(space.valid)
    try:
        accepted = gaussianity(space.array, valid, projections=projections, sample=rows_per_test)
        found["gaussianity"] = {
            test: None if share is None else share.share
            for test, share in (("ad", accepted.ad), ("dp", accepted.dp), ("sw", accepted.sw))
        }
        found["gaussianity"]["ad_interval"] = [accepted.ad.low, accepted.ad.high]
    except NoiseZooError as e:
        found["gaussianity"] = {"skipped": str(e)}
    names = list(attributes or zoo.labels.names)
    if not names:
        found["probe"] = {"skipped": "this zoo has no labels"}
        return found
    columns = np.stack([zoo.labels[name] for name in names], axis=1)
    train, test = (rows[space.valid[rows]] for rows in divide(zoo))
    is_noise = len(space.shape) > 2
    try:
        fitted = probes.fit_probes(
            space.array,
            columns,
            names,
            train,
            components=probes.DIFFUSION_COMPONENTS if is_noise else probes.ENCODER_COMPONENTS,
        )
        judged = fitted.evaluate(space.array, columns, names, test)
    except NoiseZooError as e:
        found["probe"] = {"skipped": str(e)}
        return found
    found["probe"] = {
        "auc": judged.auc.mean,
        "auc_interval": [judged.auc.mean_low, judged.auc.mean_high],
        "accuracy": judged.accuracy.mean,
        "baseline": float(np.nanmean(judged.baseline)),
        "components": fitted.components,
        "explained": fitted.explained,
        "each": {
            name: {"auc": float(judged.auc.each[i]), "accuracy": float(judged.accuracy.each[i])}
            for i, name in enumerate(judged.names)
        },
        "skipped": fitted.skipped,
    }
    return found


def metrics(
    zoo: Zoo,
    *,
    projections: int = 1000,
    rows_per_test: int = 250,
    attributes: list[str] | None = None,
    before: Mapping[str, Any] | None = None,
    progress: Any = None,
) -> dict[str, Any]:
    """All numbers of the study. `before` is an earlier result, whose parts are taken over where nothing that they depend on has changed."""
    settings: dict[str, Any] = {"projections": projections, "rows_per_test": rows_per_test, "attributes": attributes}
    spaces: dict[str, Any] = {}
    for name, space in zoo.spaces.items():
        files_of = {str(shard): entry.files for shard, entry in space.finished.items()}
        key = ledger.digest({"settings": settings, "files": files_of, "version": __version__})
        known = ((before or {}).get("spaces") or {}).get(name)
        if known and known.get("digest") == key:
            spaces[name] = known
        else:
            spaces[name] = {"digest": key, **space_metrics(space, **settings)}
        if progress:
            progress(name)
    return {
        "noisezoo": __version__,
        "format": layout.FORMAT,
        "rows": len(zoo),
        "source": zoo.source,
        "zoo_digest": zoo_digest(zoo),
        "settings": settings,
        "spaces": spaces,
    }


def read_metrics(folder: str) -> dict[str, Any] | None:
    """An earlier result, if there is a whole one."""
    try:
        found = json.loads((Path(folder) / METRICS).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return found if isinstance(found, dict) else None


def write_report(folder: str, found: Mapping[str, Any], zoo: Zoo, pictures: list[tuple[str, bytes]]) -> Path:
    """metrics.json and index.html, self-contained; `pictures` are captions with PNG bytes."""
    from jinja2 import Environment, StrictUndefined

    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    (out / METRICS).write_text(json.dumps(found, indent=1), encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("noisezoo") / "templates" / "report.html").read_text(encoding="utf-8"))
    inline = [(caption, base64.b64encode(png).decode()) for caption, png in pictures]
    states = [summary(space) for space in zoo.spaces.values()]
    page = template.render(found=found, states=states, pictures=inline, made=datetime.now(UTC).date().isoformat())
    (out / PAGE).write_text(page, encoding="utf-8")
    return out / PAGE
