"""Which job next: the order in which a build hands out its work, and what becomes of jobs that fail or that others hold.

Pure: it knows no clock, no cluster and no store, so that every runner uses it, and the simulation of a thousand workers too. Each call costs the same however many jobs there are.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from itertools import count

from pipeline.units import Failed, Held, Job, Result

ATTEMPTS = 3
RETRY_SECONDS = 1.0
"""Until a second try; a third waits four times as long."""
HOPELESS = 8
"""So many units set aside in a row, with none finished between them: what is wrong is not wrong with the units."""


@dataclass
class _Host:
    """A machine's shards: those that it has read, so that they lie on its disk or in its memory."""

    read: list[int] = field(default_factory=list)
    known: set[int] = field(default_factory=set)
    at: dict[tuple[str, ...], int] = field(default_factory=dict)
    """How far its list has been gone through, for each group of spaces."""


class Queue:
    """Jobs on their way to workers.

    A worker gets a job of the spaces that it computed last as long as there is one, then of the next spaces in the order given: it changes spaces once for each
    of them, and spaces are finished one after another. Among those, it gets first what its own machine has read before, for another space.
    """

    def __init__(self, jobs: Iterable[Job], attempts: int = ATTEMPTS, held_seconds: float = 5.0) -> None:
        self.attempts = attempts
        self.held_seconds = held_seconds
        """Until a unit that another build holds is looked at again."""
        self.set_aside: list[Failed] = []
        self.hopeless: Failed | None = None
        """The failure after which going on makes no sense."""
        self._ready: dict[tuple[str, ...], dict[int, None]] = {}
        self._hosts: dict[Hashable, _Host] = {}
        self._failures: dict[Job, int] = {}
        self._later: list[tuple[float, int, Job]] = []
        self._tickets = count()
        self._in_a_row = 0
        for job in jobs:
            self._ready.setdefault(job.spaces, {})[job.shard] = None

    def __len__(self) -> int:
        """Jobs that nobody has taken."""
        return sum(map(len, self._ready.values())) + len(self._later)

    def take(self, now: float, last: tuple[str, ...] | None = None, host: Hashable = None) -> Job | None:
        """The next job for a worker on `host` whose spaces were `last`; None when none may be begun now."""
        while self._later and self._later[0][0] <= now:
            job = heapq.heappop(self._later)[2]
            self._ready.setdefault(job.spaces, {})[job.shard] = None
        group = (
            last if last is not None and self._ready.get(last) else next((g for g, s in self._ready.items() if s), None)
        )
        if group is None:
            return None
        shards = self._ready[group]
        shard = self._own(group, shards, host)
        if shard is None:
            shard = next(iter(shards))
        del shards[shard]
        if not shards:
            del self._ready[group]
        at = self._hosts.setdefault(host, _Host())
        if shard not in at.known:
            at.known.add(shard)
            at.read.append(shard)
        return Job(shard, group)

    def _own(self, group: tuple[str, ...], shards: dict[int, None], host: Hashable) -> int | None:
        """A waiting shard that this machine has read."""
        known = self._hosts.get(host)
        if known is None:
            return None
        at = known.at.get(group, 0)
        while at < len(known.read) and known.read[at] not in shards:
            at += 1
        known.at[group] = at
        return known.read[at] if at < len(known.read) else None

    def next_time(self) -> float | None:
        """When the first of the jobs that wait for a time may be begun."""
        return self._later[0][0] if self._later else None

    def settle(self, result: Result, now: float) -> None:
        """What became of a unit that was taken."""
        if isinstance(result, Failed):
            self._failed(result, now)
        elif isinstance(result, Held):
            heapq.heappush(self._later, (now + self.held_seconds, next(self._tickets), result.job))
        else:
            self._in_a_row = 0

    def back(self, job: Job) -> None:
        """A job that was taken and not begun, or whose worker vanished before it came to it."""
        self._ready.setdefault(job.spaces, {})[job.shard] = None

    def _failed(self, failed: Failed, now: float) -> None:
        """A job failed: try it again a little later, each of its spaces by itself; those that have failed too often are set aside."""
        given_up = []
        for space in failed.job.spaces:
            job = Job(failed.job.shard, (space,))
            self._failures[job] = self._failures.get(job, 0) + 1
            if self._failures[job] >= self.attempts:
                given_up.append(replace(failed, job=job))
            else:
                when = now + RETRY_SECONDS * 4 ** (self._failures[job] - 1)
                heapq.heappush(self._later, (when, next(self._tickets), job))
        self.set_aside += given_up
        self._in_a_row += len(given_up)
        if failed.stops_all or self._in_a_row >= HOPELESS:
            self.hopeless = failed
