"""How a build stands, from what lies in the zoo: the ledger, the leases and the failures. It asks no worker and no scheduler, so it can be asked from anywhere.

A worker's time is the union of its units' spans [finished - seconds, finished]: units that share one reading of the images, or that overlap because writing
runs behind computing, are not counted twice.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from noisezoo import layout
from noisezoo.ledger import Entry
from noisezoo.zoo import SpaceView, Zoo
from pipeline import failures

FIDELITY_SHARDS = 64
"""Shards whose fidelity is looked at: a median does not need all of them, and each is a file."""
SILENT = 2.0
"""A lease that has not been renewed for so many times its duration tells of a worker that is gone."""


@dataclass(frozen=True)
class Running:
    """A unit that a worker holds."""

    space: str
    shard: int
    worker: str


@dataclass(frozen=True)
class Failure:
    """A unit that failed, and was not finished since."""

    space: str
    shard: int
    error: str


@dataclass
class SpaceStanding:
    """One space of a build."""

    units: int
    done: int
    running: int
    failed: int
    rows: int
    rows_done: int
    invalid: int
    bytes: int
    """Of latents in place, uncompressed, as they are stored."""
    gpu_hours: float
    cpu_hours: float
    rows_per_second: float | None
    """Of one worker, over all that it has computed."""
    fidelity: float | None
    """Median PSNR against what the autoencoder alone makes of the image, over a part of the finished shards."""

    @property
    def left(self) -> int:
        return self.units - self.done

    @property
    def worker_seconds_left(self) -> float | None:
        """What one worker alone would still need."""
        if self.rows == self.rows_done:
            return 0.0
        return (self.rows - self.rows_done) / self.rows_per_second if self.rows_per_second else None


@dataclass
class WorkerStanding:
    """One process that has computed units, or holds one."""

    name: str
    device: str
    rows: int
    rows_per_second: float | None
    hours: float
    at: list[str] = field(default_factory=list)
    """Units that it holds: `sd15 17`."""


@dataclass
class Standing:
    """A whole build."""

    zoo: str
    rows: int
    spaces: dict[str, SpaceStanding]
    workers: list[WorkerStanding]
    failures: list[Failure]

    @property
    def is_finished(self) -> bool:
        return all(space.left == 0 for space in self.spaces.values())

    @property
    def gpu_hours(self) -> float:
        return sum(space.gpu_hours for space in self.spaces.values())

    @property
    def seconds_left(self) -> float | None:
        """Until all is done with the workers that are at it now; None where nobody is, or where a space has not begun."""
        needed = [space.worker_seconds_left for space in self.spaces.values()]
        workers = sum(1 for worker in self.workers if worker.at)
        if not workers or any(seconds is None for seconds in needed):
            return None
        return sum(seconds for seconds in needed if seconds is not None) / workers

    def as_dict(self) -> dict[str, Any]:
        """Everything, with what follows from it, for `--json`."""
        facts = asdict(self)
        for name, space in self.spaces.items():
            facts["spaces"][name] |= {"left": space.left, "worker_seconds_left": space.worker_seconds_left}
        return {
            **facts,
            "finished": self.is_finished,
            "gpu_hours": self.gpu_hours,
            "seconds_left": self.seconds_left,
        }


def standing(zoo: Zoo) -> Standing:
    """How the zoo's build stands now."""
    finished = {name: space.finished for name, space in zoo.spaces.items()}
    running = [unit for unit in leased(zoo) if unit.shard not in finished.get(unit.space, {})]
    failed = failed_units(zoo, finished)
    spaces = {name: _space(space, list(finished[name].values()), running, failed) for name, space in zoo.spaces.items()}
    everything = [entry for entries in finished.values() for entry in entries.values()]
    return Standing(zoo.store.url, len(zoo), spaces, _workers(everything, running), failed)


def leased(zoo: Zoo) -> list[Running]:
    """Units that living workers hold, as far as one look can tell."""
    ages = {name: age for space in zoo.spaces for name, age in _ages(zoo, f"{layout.LEASES}/{space}").items()}
    found = []
    for name, data in zoo.store.read_many(list(ages)).items():
        facts = json.loads(data)
        if facts.get("worker") and ages[name] <= SILENT * float(facts.get("seconds", 0)):
            _, space, shard = name.split("/")
            found.append(Running(space, int(shard.removesuffix(".json")), str(facts["worker"])))
    return sorted(found, key=lambda unit: (unit.space, unit.shard))


def _ages(zoo: Zoo, folder: str) -> dict[str, float]:
    """Seconds since each file of a folder was last changed, by its store's clock and ours: good enough to show, and nothing is decided by it."""
    fs = zoo.store.fs
    try:
        fs.invalidate_cache()
        listed = fs.ls(zoo.store.path(folder), detail=True)
    except FileNotFoundError:
        return {}
    found = {}
    for facts in listed:
        name = str(facts["name"]).rsplit("/", 1)[-1]
        changed = facts.get("mtime") or facts.get("LastModified") or facts.get("updated") or time.time()
        if isinstance(changed, str):
            changed = datetime.fromisoformat(changed)
        if isinstance(changed, datetime):
            changed = changed.timestamp()
        if name.endswith(".json"):
            found[f"{folder}/{name}"] = time.time() - float(changed)
    return found


def failed_units(zoo: Zoo, finished: Mapping[str, Mapping[int, Entry]]) -> list[Failure]:
    """Units with a record of their failure that are not finished."""
    units = sorted(failures.recorded(zoo.store, zoo.spaces))
    left = [(space, shard) for space, shard in units if shard not in finished[space]]
    return [Failure(s, n, str(failures.read(zoo.store, s, n).get("error", "?"))) for s, n in left]


def busy(entries: Iterable[Entry]) -> float:
    """Seconds that these units of one worker took, spans that overlap counted once."""
    spans = []
    for entry in entries:
        end = datetime.fromisoformat(entry.finished).timestamp() if entry.finished else 0.0
        spans.append((end - entry.seconds, end))
    total, reached = 0.0, -math.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _space(
    space: SpaceView, done: Sequence[Entry], running: Sequence[Running], failed: Sequence[Failure]
) -> SpaceStanding:
    by_worker: dict[str, list[Entry]] = defaultdict(list)
    for entry in done:
        by_worker[entry.worker].append(entry)
    seconds = {worker: busy(entries) for worker, entries in by_worker.items()}
    rows_done = sum(entry.rows[1] - entry.rows[0] for entry in done)
    hours = {worker: s / 3600 for worker, s in seconds.items()}
    on_cpu = {worker for worker, entries in by_worker.items() if entries[0].device in ("cpu", "")}
    total = sum(seconds.values())
    return SpaceStanding(
        units=layout.shard_count(len(space), space.zoo.shard_rows),
        done=len(done),
        running=sum(unit.space == space.name for unit in running),
        failed=sum(unit.space == space.name for unit in failed),
        rows=len(space),
        rows_done=rows_done,
        invalid=sum(len(entry.invalid) for entry in done),
        bytes=rows_done * math.prod(space.shape[1:]) * space.array.dtype.itemsize,
        gpu_hours=sum(h for worker, h in hours.items() if worker not in on_cpu),
        cpu_hours=sum(h for worker, h in hours.items() if worker in on_cpu),
        rows_per_second=rows_done / total if total else None,
        fidelity=_fidelity(space, done),
    )


def _fidelity(space: SpaceView, done: Sequence[Entry]) -> float | None:
    if layout.FIDELITY not in space.group or not done:
        return None
    array: Any = space.group[layout.FIDELITY]
    column = layout.FIDELITY_MEASURES.index("psnr_autoencoder")
    picked = [done[i * len(done) // min(len(done), FIDELITY_SHARDS)] for i in range(min(len(done), FIDELITY_SHARDS))]
    values = np.concatenate([np.asarray(array[slice(*entry.rows)])[:, column] for entry in picked])
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _workers(entries: Sequence[Entry], running: Sequence[Running]) -> list[WorkerStanding]:
    by_name: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_name[entry.worker].append(entry)
    found = []
    for name in sorted(by_name.keys() | {unit.worker for unit in running}):
        done = by_name.get(name, [])
        seconds = busy(done)
        rows = sum(entry.rows[1] - entry.rows[0] for entry in done)
        found.append(
            WorkerStanding(
                name=name,
                device=done[-1].device if done else "",
                rows=rows,
                rows_per_second=rows / seconds if seconds else None,
                hours=seconds / 3600,
                at=[f"{unit.space} {unit.shard}" for unit in running if unit.worker == name],
            )
        )
    return found
