"""What the zoo holds, and at the end of the page everything that the numbers depend on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from noisezoo.report.parts import Cell, Section, Table, listed, number, text


def section(found: Mapping[str, Any], inks: Mapping[str, str]) -> Section:
    """Spaces, their rows, and how well images come back from noise."""
    spaces = found["spaces"]
    rows = []
    for name, s in spaces.items():
        state = "below its floor" if s["below_floor"] else "done" if s["units"][0] == s["units"][1] else "in part"
        rows.append(
            [
                text(name),
                text(s.get("control", s["kind"])),
                text("×".join(map(str, s["shape"]))),
                text(s["rows_done"]),
                text(s["invalid"]),
                text(s["rescued"]),
                number(s["fidelity"].get("psnr"), 1),
                number(s["fidelity"].get("psnr_image"), 1),
                Cell(state, state, "" if state == "done" else "bad"),
            ]
        )
    columns = ["space", "kind", "latent", "rows", "invalid", "rescued", "PSNR, dB", "to the image", "state"]
    known = {n: s["fidelity"]["psnr"] for n, s in spaces.items() if s["kind"] == "noise" and "psnr" in s["fidelity"]}
    back = listed([f"{v:.1f} dB from {n}" for n, v in known.items()]) if known else ""
    finding = (
        f"Regenerated from nothing but their stored noise, images come back at a median of {back}."
        if known
        else "No space of this zoo leads back to images, so that nothing can be said of fidelity."
    )
    made = Section(
        "computed",
        "What was computed",
        finding,
        "PSNR compares images regenerated from stored noise with what the autoencoder alone makes of them (with the image where there is no autoencoder); the next column "
        "compares with the image itself. Medians over sampled rows.",
        tables=[Table("spaces", "Spaces of this zoo", columns, rows)],
        pictures=[p for p in found["pictures"] if p["kind"] == "regenerated"],
    )
    made.short = f"PSNR {back}" if known else f"{len(spaces)} spaces"
    return made


def provenance(found: Mapping[str, Any]) -> Section:
    """Settings, source and the configuration of every space."""
    rows = [
        [
            text(name),
            Cell(
                json.dumps(s["config"], sort_keys=True, ensure_ascii=False),
                json.dumps(s["config"], sort_keys=True),
                "wrap",
            ),
        ]
        for name, s in found["spaces"].items()
    ]
    settings = [[text(key), text(json.dumps(value))] for key, value in found["settings"].items()]
    division = found["division"]
    source = found["source"]
    where = f" from {source['homepage']}" if source.get("homepage") else ""
    made = Section(
        "provenance",
        "Configuration and provenance",
        f"{found['rows']:,} rows of {source['name']}{where}, licence: {source['licence']}. Maps and probes were fitted on {division['train']:,} rows and judged on the other "
        f"{division['test']:,}.",
        f"Source digest {source['digest'][:16]}, zoo digest {found['zoo_digest'][:16]}, NoiseZoo {found['noisezoo']}, format {found['format']}. The same zoo and settings give the "
        "same numbers: everything random is drawn from the seed 42.",
        tables=[
            Table("settings", "Settings of the study", ["setting", "value"], settings),
            Table("configurations", "Configuration of every space", ["space", "configuration"], rows, folded=True),
        ],
    )
    made.short = f"{source['name']}, zoo {found['zoo_digest'][:8]}"
    return made
