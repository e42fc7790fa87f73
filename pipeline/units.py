"""Work as plain data: what a worker must know, and which units are left.

A unit is (space, shard). A job is one shard with the spaces that are computed from one reading of its images; each of them is still written and entered in the ledger on its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from noisezoo import layout, ledger
from noisezoo.ledger import Entry
from noisezoo.store import Store


@dataclass(frozen=True)
class Job:
    """One shard, and the spaces to compute for it."""

    shard: int
    spaces: tuple[str, ...]


@dataclass(frozen=True)
class Order:
    """Everything that a worker needs to compute jobs, wherever it runs: addresses and configurations, no objects."""

    zoo: str
    images: str
    spaces: Mapping[str, Mapping[str, Any]]
    """Each space's resolved configuration, with its `_target_`."""
    digests: Mapping[str, str]
    """Each space's configuration digest, as the zoo has it."""
    device: str = "auto"
    batch: int | None = None
    """Rows in a batch; the space's own limit by default."""
    decode_threads: int = 2
    fidelity_rows: int = 4
    threads: int | None = None
    """Threads of one computation on a CPU; torch's own choice by default. Sums may differ in their last bits with another number."""
    lease_seconds: float = 120.0
    """So long after its last sign of life a worker's units are free for others."""


@dataclass(frozen=True)
class Held:
    """A unit that another build is computing."""

    job: Job
    """The shard and that one space."""


@dataclass(frozen=True)
class Failed:
    """Units that could not be computed, and why."""

    job: Job
    """The shard and those spaces."""
    error: str
    worker: str = ""
    trace: str = ""
    stops_all: bool = False
    """Every other unit would meet the same error."""
    ends_worker: bool = False
    """Nothing more can be computed in that process."""


Result = Entry | Held | Failed
"""What becomes of a unit."""


@dataclass
class Left:
    """What a build still has to do."""

    jobs: list[Job] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    """Rows of each space that are finished already."""


def left(store: Store, rows: int, shard_rows: int, digests: Mapping[str, str], *, together: bool) -> Left:
    """Jobs for every unit without a present ledger entry, shard by shard within a space; with `together`, one job a shard for all spaces that lack it."""
    shards = range(layout.shard_count(rows, shard_rows))
    done = {name: ledger.finished(store, name, digest) for name, digest in digests.items()}
    result = Left(
        done={name: sum(len(layout.span(s, rows, shard_rows)) for s in found) for name, found in done.items()}
    )
    groups: Sequence[tuple[str, ...]] = [tuple(digests)] if together else [(name,) for name in digests]
    for group in groups:
        for shard in shards:
            lacking = tuple(name for name in group if shard not in done[name])
            if lacking:
                result.jobs.append(Job(shard, lacking))
    return result
