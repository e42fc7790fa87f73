"""Results that are kept: each part of a study lies in a file under the digest of what it was computed from, and is not computed again.

A study that was killed goes on with the first part that is missing.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisezoo import ledger
from noisezoo._version import __version__
from noisezoo.errors import NoiseZooError

REVISION = 3
"""Raised whenever a part comes to mean something else."""
Found = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One result: the part of the study it belongs to, its name in there, what it depends on, and how it is computed."""

    part: str
    name: str
    facts: Mapping[str, Any]
    run: Callable[[], Found]

    @property
    def digest(self) -> str:
        """sha256 over all that the result depends on."""
        return ledger.digest({"facts": self.facts, "version": __version__, "revision": REVISION, "part": self.part})


class Parts:
    """The files of a study's results, `<folder>/<part>-<name>.json`; without a folder nothing is kept."""

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = Path(folder) if folder else None

    def __call__(self, job: Job, *, compute: bool = True) -> Found | None:
        """The result: as it was kept, or computed now; None where it is not kept and must not be computed.

        An analysis that cannot be made leaves its reason, under `skipped`.
        """
        digest, path = job.digest, self._path(job)
        known = _read(path)
        if known and known.get("digest") == digest:
            return dict(known["found"])
        if not compute:
            return None
        try:
            found = finite(job.run())
        except NoiseZooError as e:
            found = {"skipped": str(e)}
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, json.dumps({"digest": digest, "found": found}, indent=1))
        return found

    def _path(self, job: Job) -> Path | None:
        return self.folder / f"{job.part}-{job.name}.json" if self.folder else None


def finite(found: Any) -> Any:
    """The same with null for numbers that JSON cannot hold."""
    if isinstance(found, dict):
        return {key: finite(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [finite(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found


def _read(path: Path | None) -> Found | None:
    """What a file holds; None where there is none, or no whole one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path else None
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) and "found" in found else None


def write(path: Path, text: str) -> None:
    """A file that is there whole or not at all."""
    beside = path.with_name(f"{path.name}.part")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
