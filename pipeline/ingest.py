"""Ingest: from a source to image shards on disk, in parallel, to be killed and restarted at will.

What it leaves in the images folder:

    plan.json, rows.parquet, stamps.npy    what is being ingested, written first: a restart compares the source with it
    shard-000000.tar, shard-000000.json    a finished shard, the record last
    digests.npy, ingest.json               written at the end: the whole, for `load`

A shard is finished when its record exists and its tar has the size recorded there. Shards are written by one process
each, under a passing name until they are whole, and hold the same bytes whoever writes them; so a run that was killed
ends as an undisturbed one does.
"""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from noisezoo import layout
from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from pipeline import changes, intake, rowtable, shards
from pipeline.changes import PLAN, ROWS, to_json, to_npy
from pipeline.sources.base import Index, Source, places_of
from pipeline.sources.selection import Selection

DONE, DIGESTS = "ingest.json", "digests.npy"
FORMAT = 1

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""


@dataclass(frozen=True)
class Invalid:
    """A row without an image."""

    position: int
    """Its place in the zoo."""
    row: int
    """Its number in the source."""
    key: str
    reason: str


@dataclass(frozen=True)
class Ingested:
    """All that is known once every image has been read."""

    root: str
    source: dict[str, Any]
    """Name, licence, homepage, whether images may be published."""
    selection: Selection
    shard_rows: int
    copied: bool
    index: Index
    """The selected rows, in the zoo's order."""
    rows: np.ndarray
    """(n,) int64: each row's number in the whole source."""
    sha256: np.ndarray
    """(n, 32) uint8; zeros where there is no image."""
    invalid: tuple[Invalid, ...]
    duplicates: tuple[tuple[int, ...], ...]
    """Places of rows whose files are equal byte for byte, group by group; they are kept."""
    bytes: int
    """Sum of the image files."""


def ingest(
    source: Source,
    images_root: str,
    *,
    selection: Selection | None = None,
    shard_rows: int = 1000,
    workers: int = 2,
    copy: bool = True,
    max_broken_share: float = 0.01,
    progress: Progress | None = None,
) -> Ingested:
    """Bring the selected rows of `source` into `images_root`, or find that it has been done; stop in one sentence where too many are broken or the source has changed."""
    store = Store(images_root)
    selection = selection or Selection()
    whole = source.index()
    numbers = selection.of(whole)
    index = whole.take(numbers)
    if not copy and places_of(source, []) is None:
        raise NoiseZooError(
            f"Images of '{source.name}' do not lie on this disk as files or tars and cannot be referenced: type ingest.copy=true."
        )
    plan = {
        "format": FORMAT,
        "source": facts(source),
        "selection": selection.facts(),
        "rows": len(numbers),
        "shard_rows": shard_rows,
        "copy": copy,
        "digest": index.digest(),
    }
    if store.exists(PLAN):
        changes.compare(store, plan, index, numbers, source, store.exists(DONE))
    else:
        changes.begin(store, plan, index, numbers, source)
    count = layout.shard_count(len(numbers), shard_rows)
    todo = [s for s in range(count) if shards.read_record(store, s) is None]
    if not todo and store.exists(DONE):
        return load(images_root)
    store.sweep()
    job = intake.Job(source, store, numbers, shard_rows, copy)
    limit = max_broken_share * len(numbers)
    before = len(numbers) - sum(len(layout.span(s, len(numbers), shard_rows)) for s in todo)
    intake.run(job, todo, workers, limit, lambda done: progress(before + done, len(numbers)) if progress else None)
    return _finish(store, plan, index, numbers, limit)


def load(images_root: str) -> Ingested:
    """What a finished ingest left in a folder."""
    store = Store(images_root)
    try:
        done = json.loads(store.read(DONE))
        index, rows = rowtable.from_bytes(store.read(ROWS))
        sha256 = np.load(io.BytesIO(store.read(DIGESTS)), allow_pickle=False)
    except FileNotFoundError as e:
        raise NoiseZooError(
            f"{images_root} holds no finished ingest: type `noisezoo ingest` with the same overrides first."
        ) from e
    return Ingested(
        root=images_root,
        source=done["source"],
        selection=Selection(**done["selection"]),
        shard_rows=done["shard_rows"],
        copied=done["copy"],
        index=index,
        rows=rows,
        sha256=sha256,
        invalid=tuple(Invalid(**item) for item in done["invalid"]),
        duplicates=tuple(tuple(group) for group in done["duplicates"]),
        bytes=done["bytes"],
    )


def facts(source: Source) -> dict[str, Any]:
    """What a zoo says of its source."""
    return {
        "name": source.name,
        "licence": source.licence,
        "homepage": source.homepage,
        "images_may_be_published": source.images_may_be_published,
    }


def _finish(store: Store, plan: Mapping[str, Any], index: Index, numbers: np.ndarray, limit: float) -> Ingested:
    sha256 = np.zeros((len(numbers), 32), np.uint8)
    invalid: list[Invalid] = []
    size = seen = 0
    for shard in range(layout.shard_count(len(numbers), plan["shard_rows"])):
        span = layout.span(shard, len(numbers), plan["shard_rows"])
        record = shards.read_record(store, shard)
        if record is None:  # the run stopped before it
            continue
        seen += len(span)
        size += sum(record.length)
        for position, row, digest in zip(span, record.rows, record.sha256, strict=True):
            if digest:
                sha256[position] = np.frombuffer(bytes.fromhex(digest), np.uint8)
            else:
                invalid.append(Invalid(position, row, index.keys[position], record.invalid[str(row)]))
    if len(invalid) > limit:
        raise NoiseZooError(_too_many(invalid, seen, len(numbers), limit))
    done = {**plan, "bytes": size, "invalid": [asdict(item) for item in invalid], "duplicates": duplicates(sha256)}
    store.write(DIGESTS, to_npy(sha256))
    store.write(DONE, to_json(done))
    store.sweep()
    return load(store.url)


def duplicates(sha256: np.ndarray) -> list[list[int]]:
    """Groups of two or more places whose digests `(n, 32)` are equal and not zero, each ascending, ordered by their first."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for position, digest in enumerate(sha256):
        groups[digest.tobytes()].append(position)
    groups.pop(bytes(32), None)
    return [group for group in groups.values() if len(group) > 1]


def _too_many(invalid: Sequence[Invalid], seen: int, rows: int, limit: float) -> str:
    reasons: dict[str, int] = defaultdict(int)
    for item in invalid:
        reasons[item.reason] += 1
    told = "; ".join(
        f"{count:,} × {reason}" for reason, count in sorted(reasons.items(), key=lambda pair: -pair[1])[:3]
    )
    first = ", ".join(item.key for item in invalid[:3])
    return (
        f"Too many images are broken: {len(invalid):,} of the {seen:,} read so far, where {limit:g} of all {rows:,} are allowed ({told}; first: {first}): "
        "mend or fetch them again and run the same command, or allow more with ingest.max_broken_share=0.05."
    )
