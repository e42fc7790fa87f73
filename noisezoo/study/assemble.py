"""From the results of all parts to metrics.json: what was measured, by space, and what stands between spaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noisezoo import layout
from noisezoo._version import __version__
from noisezoo.info import summary
from noisezoo.study.data import Data
from noisezoo.study.parts import Found
from noisezoo.study.probing import comparisons

Results = Mapping[tuple[str, str], Found]


def metrics(data: Data, results: Results) -> dict[str, Any]:
    """Every number of the study as plain data."""
    spaces = {name: _space(data, name, results) for name in data.spaces}
    found: dict[str, Any] = {
        "noisezoo": __version__,
        "format": layout.FORMAT,
        "rows": len(data.zoo),
        "source": data.zoo.source,
        "zoo_digest": data.zoo.digest,
        "division": {"train": len(data.division[0]), "test": len(data.division[1])},
        "attributes": list(data.names),
        "settings": data.settings.facts(),
        "notes": [*data.notes, *_reasons(results)],
        "spaces": spaces,
        "probe_pairs": comparisons(spaces),
        "transfer": _listed(results, "transfer", "transfer"),
        "normals": [f["normals"] for f in _of(results, "edits").values() if "normals" in f],
        "edits": _listed(results, "edits", "edits"),
        "shared_space": _listed(results, "shared", "curve"),
        "shared_sets": {name: f["set"] for name, f in _of(results, "shared").items() if "set" in f},
        "neighbours": _listed(results, "shared", "neighbours"),
        "truth": {
            name.replace("shared-", "shared "): f
            for name, f in _of(results, "truth").items()
            if "canonical_correlations" in f
        },
        "pictures": [picture for f in results.values() for picture in f.get("pictures", ())],
    }
    return found


def _space(data: Data, name: str, results: Results) -> Found:
    state = summary(data.spaces[name])
    fidelity = dict(state.fidelity)
    if "psnr_autoencoder" in fidelity:
        fidelity["psnr"] = fidelity["psnr_autoencoder"]
    found: Found = {
        "kind": data.kind(name),
        "shape": list(data.shape(name)),
        "rows_done": state.rows_done,
        "invalid": state.invalid,
        "reasons": state.reasons,
        "units": [state.units_done, state.units],
        "rescued": state.rescued,
        "seconds": state.seconds,
        "below_floor": state.is_below_floor,
        "config": data.spaces[name].config,
        "fidelity": fidelity,
    }
    if found["kind"] == "control":
        found["control"] = data.control(name)
    for part, key in (("gaussianity", "gaussianity"), ("probes", "probe")):
        if (part, name) in results:
            found[key] = results[part, name]
    return found


def _of(results: Results, part: str) -> dict[str, Found]:
    return {name: found for (p, name), found in results.items() if p == part}


def _listed(results: Results, part: str, key: str) -> list[Found]:
    """The entries of all results of a part, one after another."""
    return [entry for found in _of(results, part).values() for entry in found.get(key, ())]


def _reasons(results: Results) -> list[str]:
    """Why parts could not be made, each reason once with all it kept from being made."""
    told: dict[str, list[str]] = {}
    for (part, name), found in results.items():
        if "skipped" in found and isinstance(found["skipped"], str):
            told.setdefault(found["skipped"], []).append(f"{part} of {name}")
    return [f"Left out: {', '.join(what)}. {why}" for why, what in told.items()]
