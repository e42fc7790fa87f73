"""What could not be computed, beside the ledger: one file for each unit that failed and has not been finished since."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from noisezoo import layout
from noisezoo.store import Store
from pipeline.units import Failed


def record(store: Store, space: str, failed: Failed) -> None:
    """Keep the error of a unit; on a store that takes nothing any more, nothing is kept."""
    facts = {
        "space": space,
        "shard": failed.job.shard,
        "error": failed.error,
        "worker": failed.worker,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "trace": failed.trace,
    }
    if not failed.stops_all:
        store.write(layout.failure_path(space, failed.job.shard), json.dumps(facts, indent=1).encode())


def recorded(store: Store, spaces: Iterable[str]) -> set[tuple[str, int]]:
    """The units that have such a file."""
    return {
        (space, int(name.removesuffix(".json")))
        for space in spaces
        for name in store.names(layout.failure_path(space))
        if name.endswith(".json")
    }


def read(store: Store, space: str, shard: int) -> dict[str, Any]:
    """What a unit's file says; nothing where it has gone or is no such file."""
    try:
        facts = json.loads(store.read(layout.failure_path(space, shard)))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return facts if isinstance(facts, dict) else {}


def forget(store: Store, space: str, shard: int) -> None:
    """The unit is finished after all."""
    store.remove(layout.failure_path(space, shard))
