"""The ledger: one JSON file for each finished unit, written after the unit's bytes.

A unit is finished when its entry exists and bears the space's present configuration digest. There is no other state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from noisezoo import layout
from noisezoo.store import Store


@dataclass(frozen=True)
class Entry:
    """What is recorded of one finished unit."""

    space: str
    shard: int
    rows: tuple[int, int]
    """First row and one past the last."""
    config_digest: str
    files: dict[str, str]
    """Name inside the zoo of every file of the unit, with the sha256 of its bytes."""
    valid: int
    invalid: dict[str, str] = field(default_factory=dict)
    """Row number to the reason why it could not be computed."""
    rescued: int = 0
    """Rows that were not finite at first and were computed again in float32."""
    seconds: float = 0.0
    device: str = ""
    worker: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    finished: str = ""
    """UTC time, ISO 8601."""


def digest(facts: Mapping[str, Any]) -> str:
    """sha256 over facts in one canonical spelling (sorted keys, no spaces)."""
    return hashlib.sha256(
        json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    ).hexdigest()


def write(store: Store, entry: Entry) -> None:
    """Declare a unit finished; call it after the unit's bytes are in place."""
    store.write(layout.ledger_path(entry.space, entry.shard), json.dumps(asdict(entry), indent=1).encode())


def enter(store: Store, entry: Entry, check: Callable[[], None] = lambda: None) -> Entry:
    """Declare a unit finished, once: the entry that stands then. Call it after the unit's bytes are in place; `check` raises where the unit has become another's.

    Where another builder has entered the same bytes, its entry stands; one that says other bytes, or another configuration, is replaced.
    """
    name, data = layout.ledger_path(entry.space, entry.shard), json.dumps(asdict(entry), indent=1).encode()
    while True:
        check()
        if store.create(name, data) is not None:
            return entry
        try:
            text, version = store.read_version(name)
        except FileNotFoundError:  # taken back this very moment
            continue
        there = _parsed(text)
        if there is not None and (there.config_digest, there.files) == (entry.config_digest, entry.files):
            return there
        check()
        if store.replace(name, data, version) is not None:
            return entry


def read(store: Store, space: str, shard: int) -> Entry | None:
    """The entry of one unit; None where there is none, or where what is there cannot be an entry."""
    try:
        return _parsed(store.read(layout.ledger_path(space, shard)))
    except FileNotFoundError:
        return None


def _parsed(data: bytes) -> Entry | None:
    try:
        facts = json.loads(data)
        return Entry(**{**facts, "rows": tuple(facts["rows"])})
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        return None


def retract(store: Store, space: str, shard: int) -> None:
    """Declare a unit unfinished, so that the next build computes it again."""
    store.remove(layout.ledger_path(space, shard))


def entries(store: Store, space: str) -> Iterator[Entry]:
    """All entries of a space, by shard: one listing, and many of them read at once."""
    folder = layout.ledger_path(space)
    names = [f"{folder}/{name}" for name in store.names(folder) if name.endswith(".json")]
    found = store.read_many(names)
    yield from (entry for name in names if name in found and (entry := _parsed(found[name])) is not None)


def finished(store: Store, space: str, config_digest: str) -> dict[int, Entry]:
    """The finished units of a space under its present configuration, by shard."""
    return {entry.shard: entry for entry in entries(store, space) if entry.config_digest == config_digest}
