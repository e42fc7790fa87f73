"""The publishable folder: everything that is uploaded, made from a finished and verified zoo, the card last.

    zoo.zarr/        the store: random access, ledger, digests
    parquet/         tables, one configuration a space, and `labels`
    data/            on request: NumPy files under the authors' names
    webdataset/      on request: tars, one sample a row
    figures/         pictures of the card
    croissant.json   metadata, with the checksum of every table
    SHA256SUMS       as `sha256sum -c` reads it
    noisezoo.json    what this was made of
    README.md        the card

A folder whose `noisezoo.json` names the same zoo and the same wishes is left as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import noisezoo
from noisezoo import ledger
from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from noisezoo.verify import Problem, unfinished, verify
from noisezoo.zoo import Zoo
from pipeline.publish import card, croissant, mirror, samples, tables

MANIFEST = "noisezoo.json"
SUMS = "SHA256SUMS"
CARD = "README.md"
CROISSANT = "croissant.json"


@dataclass(frozen=True)
class Wish:
    """What to publish beside the store and its tables, and what the card is to say."""

    force: bool = False
    numpy: bool = False
    webdataset: bool = False
    images: bool = False
    repo: str | None = None
    """USER/NAME on the Hub, for the card's examples."""
    licences: Mapping[str, str] = field(default_factory=dict)
    """Of each space's model."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """What the study found (metrics.json); empty where there was none."""
    image_shards: str = ""
    """Where ingest left the images."""


def write(zoo: Zoo, folder: Path, wish: Wish, progress: Callable[[str], None] = lambda what: None) -> bool:
    """Make the folder, or find it made; whether there was anything to do."""
    if not zoo.spaces:
        raise NoiseZooError(f"{zoo.store.url} holds no space yet: type `noisezoo build` with the same overrides.")
    if wish.images and not zoo.source.get("images_may_be_published"):
        raise NoiseZooError(
            f"The licence of {zoo.source['name']} does not allow its images to be published ({zoo.source['licence']}): leave publish.images=false."
        )
    if wish.images and not wish.webdataset:
        raise NoiseZooError("Images are published in WebDataset tars: add publish.webdataset=true.")
    made_of = ledger.digest(
        {
            "zoo": zoo.digest,
            "noisezoo": noisezoo.__version__,
            "card": card.templates_digest(),
            "wish": {key: value for key, value in vars(wish).items() if key != "image_shards"},
        }
    )
    if is_made_of(folder, made_of):
        return False
    lacking = {name: missing for name, space in zoo.spaces.items() if (missing := unfinished(space))}
    if lacking and not wish.force:
        what = ", ".join(f"{name} lacks {len(shards)} shards" for name, shards in lacking.items())
        raise NoiseZooError(f"The zoo is unfinished ({what}): type `noisezoo build` first, or publish.force=true.")
    folder.mkdir(parents=True, exist_ok=True)
    # From here on the folder is not what it says: whoever finds it without a card and a manifest finds it unfinished.
    for name in (CARD, MANIFEST, SUMS):
        (folder / name).unlink(missing_ok=True)
    progress("verifying")
    problems = verify(zoo)
    if problems and not wish.force:
        raise NoiseZooError(
            f"{problems[0]}, and so are {len(problems) - 1} other units: type `noisezoo verify`, then `noisezoo build`, or publish.force=true."
            if len(problems) > 1
            else f"{problems[0]}: type `noisezoo verify`, then `noisezoo build`, or publish.force=true."
        )
    progress("zoo.zarr")
    files = mirror.mirror(zoo, folder)
    configs = [tables.write_labels(zoo, folder)]
    for name, space in zoo.spaces.items():
        progress(f"tables of {name}")
        configs.append(tables.write_space(space, folder))
    tables.remove_others(folder, configs)
    made: list[Path] = []
    if wish.numpy:
        progress("NumPy files")
        made += samples.write_numpy(zoo, folder)
    if wish.webdataset:
        progress("WebDataset tars")
        made += samples.write_tars(zoo, folder, wish.image_shards if wish.images else None)
    facts = card.collect(zoo, configs, wish.licences, wish.metrics, doubts(lacking, problems), wish.repo)
    made += card.draw(facts, folder)
    files += [file for config in configs for part in config.parts.values() for file in part.files]
    files += [path.relative_to(folder).as_posix() for path in made]
    _remove_others(folder, made)
    progress("checksums")
    known = {f"{mirror.NAME}/{file}": sha256 for space in zoo.spaces.values() for file, sha256 in space.digests.items()}
    sums = {file: known.get(file) or _sha256(folder / file) for file in files}
    out = Store(str(folder))
    out.write(CROISSANT, croissant.describe(facts, sums))
    out.write(CARD, card.render(facts))
    sums |= {file: _sha256(folder / file) for file in (CROISSANT, CARD)}
    out.write(SUMS, "".join(f"{sums[file]}  {file}\n" for file in sorted(sums)).encode())
    manifest = {
        "format": zoo.facts["format"],
        "digest": zoo.digest,
        "complete": not lacking and not problems,
        "spaces": list(zoo.spaces),
        "rows": len(zoo),
        "files": len(sums),
        "bytes": sum((folder / file).stat().st_size for file in sums),
        "noisezoo": noisezoo.__version__,
        "made_of": made_of,
    }
    out.write(MANIFEST, json.dumps(manifest, indent=1).encode())
    return True


def is_made_of(folder: Path, made_of: str) -> bool:
    """Whether the folder is finished, whole, and was made of this. Sizes are compared, not contents: SHA256SUMS is there for that."""
    manifest = read_manifest(folder)
    if manifest.get("made_of") != made_of:
        return False
    sizes = [path.stat().st_size if (path := folder / file).exists() else -1 for file in checksums(folder)]
    return len(sizes) == manifest["files"] and -1 not in sizes and sum(sizes) == manifest["bytes"]


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a published folder says of itself; empty where it is none, or not finished."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def checksums(folder: Path) -> dict[str, str]:
    """SHA256SUMS by file."""
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}


def doubts(lacking: Mapping[str, Sequence[int]], problems: Sequence[Problem]) -> list[str]:
    """Why a forced zoo should not have been published, for the card's first line."""
    told = [f"{name} lacks {len(shards)} shards" for name, shards in lacking.items()]
    return told + [str(problem) for problem in problems]


def _remove_others(folder: Path, made: Sequence[Path]) -> None:
    """Delete what an earlier publication left where these files are made."""
    for name in (samples.NUMPY, samples.TARS, card.FIGURES):
        for path in sorted((folder / name).glob("*")):
            if path not in made:
                path.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
