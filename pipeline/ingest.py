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

import hashlib
import io
import json
import multiprocessing
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import connection
from typing import Any

import numpy as np

from noisezoo import layout
from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from pipeline import rowtable, shards
from pipeline.shards import Record
from pipeline.sources.base import Index, Source, places_of
from pipeline.sources.check import NotAnImageError, check
from pipeline.sources.places import Reader, UnreadableError, stamps
from pipeline.sources.selection import Selection

PLAN, DONE, ROWS, STAMPS, DIGESTS = "plan.json", "ingest.json", "rows.parquet", "stamps.npy", "digests.npy"
FORMAT = 1
_TICK = 64
"""Rows between two reports of a worker."""
_BLOCK = 10_000
"""Rows whose files are looked at before the next ones are listed."""

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
        _compare(store, plan, index, numbers, source)
    else:
        _begin(store, plan, index, numbers, source)
    count = layout.shard_count(len(numbers), shard_rows)
    todo = [s for s in range(count) if shards.read_record(store, s) is None]
    if not todo and store.exists(DONE):
        return load(images_root)
    store.sweep()
    job = Job(source, store, numbers, shard_rows, copy)
    limit = max_broken_share * len(numbers)
    before = len(numbers) - sum(len(layout.span(s, len(numbers), shard_rows)) for s in todo)
    _run(job, todo, workers, limit, lambda done: progress(before + done, len(numbers)) if progress else None)
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


# One shard, in whatever process.


@dataclass(frozen=True)
class Job:
    """What a worker needs to ingest any shard."""

    source: Source
    store: Store
    numbers: np.ndarray
    shard_rows: int
    copy: bool

    def rows(self, shard: int) -> list[int]:
        return [int(n) for n in self.numbers[layout.span(shard, len(self.numbers), self.shard_rows)]]


class StoppedError(Exception):
    """The run was called off in the middle of a shard."""


def _shard(job: Job, shard: int, report: Callable[[int, int], bool]) -> None:
    """Read, check, digest and keep one shard; `report(rows, broken)` says whether to go on."""
    record = Record(shard)
    rows = job.rows(shard)
    if job.copy:
        with shards.writing(job.store, shard) as tar:
            _each(job, rows, record, report, tar)
            record.bytes = tar.finish()
    else:
        places = places_of(job.source, rows)
        assert places is not None
        _each(job, rows, record, report, None)
        record.offset = [place.offset for place in places]
        record.places = [asdict(place) for place in places]
    shards.write_record(job.store, record)


def _each(
    job: Job, rows: Sequence[int], record: Record, report: Callable[[int, int], bool], tar: shards.TarWriter | None
) -> None:
    done = broken = 0
    for picture in job.source.read(rows):
        done += 1
        try:
            if picture.data is None:
                raise NotAnImageError(picture.reason or "no image")
            extension = check(picture.data)
        except NotAnImageError as e:
            record.add_invalid(picture.row, str(e))
            broken += 1
        else:
            offset = tar.add(f"{picture.row:09d}.{extension}", picture.data) if tar else 0
            record.add(picture.row, hashlib.sha256(picture.data).hexdigest(), extension, offset, len(picture.data))
        if done == _TICK:
            if not report(done, broken):
                raise StoppedError
            done = broken = 0
    if done:
        report(done, broken)
    if record.rows != list(rows):
        raise RuntimeError(f"source '{job.source.name}' answered other rows than it was asked for")


# Many shards, in this process or several.


def _run(job: Job, todo: Sequence[int], workers: int, limit: float, progress: Callable[[int], None]) -> None:
    if workers <= 1 or len(todo) <= 1:
        _run_here(job, todo, limit, progress)
    else:
        _run_in_processes(job, todo, min(workers, len(todo)), limit, progress)


def _run_here(job: Job, todo: Sequence[int], limit: float, progress: Callable[[int], None]) -> None:
    done = broken = 0

    def report(rows: int, bad: int) -> bool:
        nonlocal done, broken
        done, broken = done + rows, broken + bad
        progress(done)
        return True

    for shard in todo:
        _shard(job, shard, report)
        if broken > limit:
            return


_job: Job
_counters: tuple[Any, Any, Any]
"""Rows done, broken rows, and whether to stop: shared by all workers."""


def _start(job: Job, done: Any, broken: Any, stop: Any) -> None:
    """A worker's beginning."""
    global _job, _counters
    _job, _counters = job, (done, broken, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and says stop
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Without this, the workers of a killed run would go on, and a new run would find them at its shards."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _work(block: Sequence[int]) -> None:
    done, broken, stop = _counters

    def report(rows: int, bad: int) -> bool:
        with done.get_lock():
            done.value += rows
        if bad:
            with broken.get_lock():
                broken.value += bad
        return not stop.value

    for shard in block:
        if stop.value:
            return
        try:
            _shard(_job, shard, report)
        except StoppedError:
            return


def _run_in_processes(
    job: Job, todo: Sequence[int], workers: int, limit: float, progress: Callable[[int], None]
) -> None:
    # Spawned, not forked: the parent may hold threads and an accelerator. A block is a run of neighbouring shards, so that a source that can only be read forwards is read once.
    context = multiprocessing.get_context("spawn")
    done, broken, stop = context.Value("q", 0), context.Value("q", 0), context.Value("b", 0)
    size = 1 if places_of(job.source, []) is not None else -(-len(todo) // workers)
    blocks = [todo[i : i + size] for i in range(0, len(todo), size)]
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start, initargs=(job, done, broken, stop)
    ) as pool:
        try:
            waiting: set[Future[None]] = {pool.submit(_work, block) for block in blocks}
            while waiting:
                finished, waiting = wait(waiting, timeout=0.2, return_when=FIRST_EXCEPTION)
                progress(done.value)
                for future in finished:
                    if not future.cancelled():
                        future.result()
                if broken.value > limit:
                    break
        except BrokenProcessPool as e:
            raise NoiseZooError(
                "A process of the ingest was killed, most often for want of memory: run the same command again with fewer workers, ingest.workers=1."
            ) from e
        finally:
            stop.value = 1
            pool.shutdown(cancel_futures=True)


# The beginning and the end.


def _begin(store: Store, plan: Mapping[str, Any], index: Index, numbers: np.ndarray, source: Source) -> None:
    store.write(ROWS, rowtable.to_bytes(index, numbers))
    found = _stamps(source, numbers)
    if found is not None:
        store.write(STAMPS, _npy(found))
    store.write(PLAN, _json(plan))


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
    store.write(DIGESTS, _npy(sha256))
    store.write(DONE, _json(done))
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


# What has changed since the plan was made.


def _compare(store: Store, plan: Mapping[str, Any], index: Index, numbers: np.ndarray, source: Source) -> None:
    """Compare the source with the plan: a sentence where it is no longer what it was; shards whose broken images have been mended become unfinished."""
    before = json.loads(store.read(PLAN))
    for key, override in (
        ("format", None),
        ("selection", "dataset"),
        ("shard_rows", "ingest.shard_rows"),
        ("copy", "ingest.copy"),
    ):
        if before[key] != plan[key]:
            raise NoiseZooError(
                f"{store.url} holds images ingested with {override or key} {_told(before[key])}, not {_told(plan[key])}: "
                "use the former again, or give the new zoo another folder with dir=…."
            )
    if before["source"]["name"] != plan["source"]["name"]:
        raise NoiseZooError(
            f"{store.url} holds images of '{before['source']['name']}', not of '{plan['source']['name']}': give the new zoo another folder with dir=…."
        )
    old, old_numbers = rowtable.from_bytes(store.read(ROWS))
    if before["digest"] != plan["digest"] or not np.array_equal(old_numbers, numbers):
        raise _changed(store, *_rows_changed(old, old_numbers, index, numbers))
    finished = store.exists(DONE)
    touched, now = _touched(store, source, numbers)
    different: list[int] = []
    mended: set[int] = set()
    record: Record | None = None
    with Reader() as reader:
        for position in touched:
            shard, i = divmod(position, plan["shard_rows"])
            if record is None or record.shard != shard:
                record = shards.read_record(store, shard)
            if record is None:
                continue  # not yet ingested: whatever is there now is what will be
            (place,) = places_of(source, [int(numbers[position])]) or []
            try:
                digest = hashlib.sha256(reader.fetch(place)).hexdigest()
            except UnreadableError:
                digest = ""
            if digest == record.sha256[i]:
                continue
            if record.sha256[i] or finished:
                different.append(position)
            else:
                mended.add(shard)
    if different:
        raise _changed(store, 0, 0, len(different), [index.keys[p] for p in different])
    for shard in mended:
        store.remove(shards.record_name(shard))
    if touched and now is not None:
        store.write(STAMPS, _npy(now))


def _rows_changed(
    old: Index, old_numbers: np.ndarray, new: Index, numbers: np.ndarray
) -> tuple[int, int, int, list[str]]:
    """Rows added, missing and different (in number, split or labels), and some of their keys."""
    was = dict(zip(old.keys, _lines(old, old_numbers), strict=True))
    now = dict(zip(new.keys, _lines(new, numbers), strict=True))
    added = [key for key in now if key not in was]
    missing = [key for key in was if key not in now]
    different = [key for key in was if key in now and was[key] != now[key]]
    return len(added), len(missing), len(different), [*added[:1], *missing[:1], *different[:1]]


def _lines(index: Index, numbers: np.ndarray) -> list[tuple[int, str, bytes]]:
    splits = [*index.splits, ""]
    labels = index.labels if index.labels.size else np.zeros((len(index), 0), np.int8)
    split = index.split if len(index.split) else np.full(len(index), -1)
    return [(int(n), splits[s], label.tobytes()) for n, s, label in zip(numbers, split, labels, strict=True)]


def _changed(store: Store, added: int, missing: int, different: int, keys: Sequence[str]) -> NoiseZooError:
    examples = ", ".join(keys[:3])
    return NoiseZooError(
        f"The source has changed since {store.url} was begun, {added:,} rows added, {missing:,} missing, {different:,} different (such as {examples or 'their order'}): "
        "bring it back as it was, or ingest it into another folder with dir=…."
    )


def _touched(store: Store, source: Source, numbers: np.ndarray) -> tuple[list[int], np.ndarray | None]:
    """Positions of the rows whose files bear another size or time than at the beginning; and the present stamps."""
    now = _stamps(source, numbers)
    if now is None or not store.exists(STAMPS):
        return [], now
    before = np.load(io.BytesIO(store.read(STAMPS)), allow_pickle=False)
    return np.flatnonzero((before != now).any(axis=1)).tolist(), now


def _stamps(source: Source, numbers: np.ndarray) -> np.ndarray | None:
    """(n, 2) int64, see `places.stamps`; None for a source whose images do not lie on this disk."""
    parts = []
    for at in range(0, len(numbers), _BLOCK):
        places = places_of(source, [int(n) for n in numbers[at : at + _BLOCK]])
        if places is None:
            return None
        parts.append(stamps(places))
    return np.concatenate(parts)


def _told(value: Any) -> str:
    return str(Selection(**value)) if isinstance(value, dict) else str(value)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
