"""What an ingest was begun with, and what of the source has changed since."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from pipeline import rowtable, shards
from pipeline.shards import Record
from pipeline.sources.base import Index, Source, places_of
from pipeline.sources.places import Reader, UnreadableError, stamps
from pipeline.sources.selection import Selection

PLAN, ROWS, STAMPS = "plan.json", "rows.parquet", "stamps.npy"
_BLOCK = 10_000
"""Rows whose files are looked at before the next ones are listed."""


def begin(store: Store, plan: Mapping[str, Any], index: Index, numbers: np.ndarray, source: Source) -> None:
    """Write down what is going to be ingested."""
    store.write(ROWS, rowtable.to_bytes(index, numbers))
    found = _stamps(source, numbers)
    if found is not None:
        store.write(STAMPS, to_npy(found))
    store.write(PLAN, to_json(plan))


def compare(
    store: Store, plan: Mapping[str, Any], index: Index, numbers: np.ndarray, source: Source, finished: bool
) -> None:
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
        store.write(STAMPS, to_npy(now))


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


def to_json(value: Mapping[str, Any]) -> bytes:
    """As files here hold it."""
    return json.dumps(value, indent=1, ensure_ascii=False).encode()


def to_npy(array: np.ndarray) -> bytes:
    """A .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
