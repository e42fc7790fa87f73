"""Could something simpler explain it? Controls, models without text, and what the inversion itself does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noisezoo.report.parts import Section, Table, listed, number, percent, text
from noisezoo.study.data import CONTROLS


def section(found: Mapping[str, Any], inks: Mapping[str, str]) -> Section | None:
    """One table: every space that could contradict the finding, and which are missing."""
    spaces = found["spaces"]
    rows = []
    for name, s in sorted(spaces.items(), key=lambda pair: (pair[1]["kind"] != "noise", pair[0])):
        if s["kind"] == "encoder":
            continue
        config, probe, shape = s["config"], s.get("probe", {}), s.get("gaussianity", {})
        losses = [
            t["accuracy_drop_points"]
            for t in found["transfer"]
            if t["source"] == name
            and spaces[t["target"]]["kind"] == "encoder"
            and t["accuracy_drop_points"] is not None
        ]
        inverter = config.get("inverter") or {}
        rows.append(
            [
                text(name),
                text(s.get("control", f"inverted noise of {config.get('model') or 'unknown'}")),
                text(inverter.get("name", "–")),
                text(inverter["steps"]) if inverter.get("steps") else text("–"),
                percent(shape.get("ad")),
                number(probe.get("auc")),
                number(sum(losses) / len(losses) if losses else None, 1),
                number(found["truth"].get(name, {}).get("mean")),
                number(s["fidelity"].get("psnr"), 1),
            ]
        )
    if not rows:
        return None
    controls = [s["control"] for s in spaces.values() if s["kind"] == "control"]
    missing = [words for words in CONTROLS.values() if words not in controls]
    noise = {
        n: s["probe"]["auc"]
        for n, s in spaces.items()
        if s["kind"] == "noise" and s.get("probe", {}).get("auc") is not None
    }
    against = {
        n: s["probe"]["auc"]
        for n, s in spaces.items()
        if s["kind"] == "control" and s.get("probe", {}).get("auc") is not None
    }
    said = []
    if against:
        said.append(
            f"Probes on controls reach {listed([f'{v:.3f} on {n}' for n, v in against.items()])}"
            + (f", on inverted noise {listed([f'{v:.3f} ({n})' for n, v in noise.items()])}." if noise else ".")
        )
    said.append(
        "Every control is in this zoo." if not missing else f"Controls that this zoo lacks: {'; '.join(missing)}."
    )
    made = Section(
        "controls",
        "Could something simpler explain it?",
        " ".join(said),
        "Attributes are as easy to read in pixels as in many latents; noise found by inversion is worth something where it reads attributes "
        "although it looks Gaussian. A model without a text encoder "
        "cannot owe its directions to CLIP. Spaces of one model with other inverters or step counts show what the inversion error carries.",
        tables=[
            Table(
                "controls",
                "Noise and controls side by side",
                [
                    "space",
                    "what it is",
                    "inverter",
                    "steps",
                    "Gaussian (A–D)",
                    "probe AUC",
                    "points lost to encoders",
                    "truth, mean correlation",
                    "PSNR, dB",
                ],
                rows,
            )
        ],
    )
    made.short = f"{len(controls)} of {len(CONTROLS)} controls are here"
    return made
