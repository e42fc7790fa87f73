"""The report: metrics.json and a page that needs nothing beside it.

One module a section, each a function from the study's numbers to what is shown of them; nothing is computed here that is not in metrics.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from noisezoo.errors import NoiseZooError
from noisezoo.report import carrying, computed, confounds, editing, gaussian, probing, sharing, truths
from noisezoo.report.parts import Section, colours
from noisezoo.study.parts import write as write_whole

METRICS, PAGE = "metrics.json", "index.html"


def write(folder: Path, found: Mapping[str, Any]) -> tuple[Path, bool]:
    """metrics.json and index.html; where the page is, and whether either is other than it was."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {key: value for key, value in found.items() if key != "pictures"}
    new = [
        _put(folder / METRICS, json.dumps(numbers, indent=1, allow_nan=False) + "\n"),
        _put(folder / PAGE, page(found)),
    ]
    return folder / PAGE, any(new)


def page(found: Mapping[str, Any]) -> str:
    """The whole page as HTML."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise NoiseZooError(
            "The report needs Jinja2, which is not installed; type: pip install 'noisezoo[study]'"
        ) from None
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("noisezoo") / "templates" / "report.html").read_text(encoding="utf-8"))
    source = found["source"]["name"]
    return template.render(
        title=f"Is the {source} zoo one Gaussian space?",
        lead=_lead(found),
        notes=found["notes"],
        sections=sections(found),
        footer=f"NoiseZoo {found['noisezoo']}, zoo {found['zoo_digest'][:16]}. Images: {source}, {found['source']['licence']}.",
    )


def sections(found: Mapping[str, Any]) -> list[Section]:
    """All sections for which there is anything to say."""
    inks = colours(found["spaces"])
    made = [
        m.section(found, inks) for m in (computed, gaussian, probing, carrying, editing, sharing, truths, confounds)
    ]
    return [*(section for section in made if section is not None), computed.provenance(found)]


def _lead(found: Mapping[str, Any]) -> str:
    spaces = found["spaces"]
    counts = [
        (sum(s["kind"] == kind for s in spaces.values()), one, many)
        for kind, one, many in (
            ("noise", "space of inverted noise", "spaces of inverted noise"),
            ("encoder", "encoder", "encoders"),
            ("control", "control", "controls"),
        )
    ]
    words = [f"{count} {one if count == 1 else many}" for count, one, many in counts if count]
    rows = f"{found['rows']:,} images, each one row in {', '.join(words) or 'no space'}."
    return (
        f"{rows} If one Gaussian latent stands behind all of them, each space looks Gaussian, attributes are directions in it, "
        "linear maps lead from one to another, and what they share is that latent."
    )


def _put(path: Path, text: str) -> bool:
    """Write a file whole, unless it is there already; whether it was written."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_whole(path, text)
    return True
