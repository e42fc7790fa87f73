"""Driving a Dask cluster: a few units ahead for each of its workers, and a new place for those of a worker that vanished.

A unit is a Dask task that needs `GPU: 1` and is meant for one worker, so that the worker's loaded space and what its machine has read decide which unit it gets. The scheduler
never holds more than the few tasks that are ahead, however long the queue. Which worker failed, which vanished and what is tried again is decided here and nowhere else.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from noisezoo.errors import NoiseZooError, StopsAllError
from noisezoo.ledger import Entry
from noisezoo.store import Store
from pipeline import leases
from pipeline.progress import say
from pipeline.queue import Queue
from pipeline.runners import task
from pipeline.units import Failed, Held, Job, Order, Result
from pipeline.worker import Report

RESOURCE = "GPU"
AHEAD = 2
"""Units that a worker has been given: the one it computes and the next."""
MOST_AHEAD = 64
AHEAD_SECONDS = 0.5
"""Very short units are given out for so long a time instead: an answer takes some milliseconds to come back."""
LOOK_SECONDS = 1.0
"""Time between two looks at which workers there are."""
LONELY_SECONDS = 60.0
STOP_SECONDS = 5.0
"""How long units may take to notice that the run was called off."""
ANSWER_SECONDS = 10.0
"""How long workers are waited for that have something to tell: one that died or was stopped never does."""


Compute = Callable[[Order, str, Job, Job | None], list[Result]]
"""What a task does: given an order, a run, a job and the one that comes next, it tells what became of the job's units."""


class Inbox(Protocol):
    """Where tasks that ended arrive: a worker's address, the task's key and its future."""

    def put(self, item: tuple[str, str, Any]) -> None: ...

    def get(self, block: bool = True, timeout: float | None = None) -> tuple[str, str, Any]: ...


@dataclass
class _Seat:
    """One worker of the cluster and the units it has been given, oldest first: that one it computes."""

    address: str
    host: str
    flights: dict[str, tuple[Any, Job]] = field(default_factory=dict)
    last: tuple[str, ...] | None = None
    reserved: Job | None = None
    """What it will be given next: known early, so that its images are decoded while the unit before is computed."""
    seconds: float | None = None
    """Running mean of the time from one unit to the next."""
    heard: float = 0.0
    """When a unit of it ended last, or it was given one after it had none."""

    @property
    def ahead(self) -> int:
        """How many units to have given it."""
        if not self.seconds:
            return AHEAD
        return max(AHEAD, min(MOST_AHEAD, math.ceil(AHEAD_SECONDS / self.seconds)))


class Drive:
    """One run of a queue on a cluster."""

    def __init__(
        self,
        client: Any,
        order: Order,
        queue: Queue,
        compute: Compute = task.compute,
        clock: Callable[[], float] = time.monotonic,
        inbox: Inbox | None = None,
    ) -> None:
        """`compute`, `clock` and `inbox` are what the benchmarks and the simulation of large clusters replace."""
        self.client = client
        self.compute = compute
        self.clock = clock
        self.order = order
        self.queue = queue
        self.run_id = uuid.uuid4().hex
        self.seats: dict[str, _Seat] = {}
        self._inbox: Inbox = SimpleQueue() if inbox is None else inbox
        self._held: list[tuple[float, Job]] = []
        self._store = Store(order.zoo)
        self._looked = -math.inf
        self._seen = clock()

    def run(self) -> Iterator[Entry | Failed]:
        """Give out units and yield what becomes of them, until nothing is left."""
        try:
            with suppress(OSError):  # of a worker that died or is silent; a scheduler that is gone is noticed below
                self._asked(self.client.register_plugin, task.Ending())
            while not self.queue.hopeless and (len(self.queue) or self._held or self._flying()):
                now = self.clock()
                if now - self._looked > LOOK_SECONDS:
                    yield from self._look(now)
                    self._ask_again(now)
                    for seat in self.seats.values():
                        self._fill(seat)
                    self._even_out()
                yield from self._hear()
        except OSError as e:  # every error of a connection is one
            raise _gone(self.client) from e
        finally:
            self._stop()

    def _flying(self) -> int:
        return sum(len(seat.flights) + (seat.reserved is not None) for seat in self.seats.values())

    def _look(self, now: float) -> Iterator[Failed]:
        """Which workers there are; what those that vanished had been given goes back."""
        self._looked = now
        if self.client.status not in ("running", "connecting"):
            raise _gone(self.client)
        found = self.client.scheduler_info()["workers"]
        here = {address: facts for address, facts in found.items() if facts.get("resources", {}).get(RESOURCE)}
        for address in self.seats.keys() - here.keys():
            yield from self._lose(self.seats.pop(address))
        self._wait_for_workers(bool(here), now)
        for address in here.keys() - self.seats.keys():
            self.seats[address] = _Seat(address, str(here[address].get("host", address)))

    def _wait_for_workers(self, some: bool, now: float) -> None:
        """Say now and then that nobody is there to work."""
        if some:
            self._seen = now
        elif now - self._seen > LONELY_SECONDS:
            self._seen = now
            say(
                f"No worker has been there for {LONELY_SECONDS:.0f} seconds; waiting for one, {len(self.queue)} jobs left."
            )

    def _lose(self, seat: _Seat) -> Iterator[Failed]:
        """A worker is gone. The unit that it was at has failed once; the others had not been begun."""
        if seat.reserved is not None:
            self.queue.back(seat.reserved)
        for place, (future, job) in enumerate(seat.flights.values()):
            future.cancel(force=True)
            if place:
                self.queue.back(job)
                continue
            # Its lease would keep the others away until it expires; on this machine, and after that time, it is free.
            failed = Failed(job, f"the worker {seat.address} vanished while it computed this unit", seat.address)
            self.queue.settle(failed, self.clock())
            yield failed

    def _fill(self, seat: _Seat) -> None:
        """Give a worker its next units, once it is at half of what it may have."""
        room = seat.ahead - len(seat.flights)
        if room <= 0 or 2 * room < seat.ahead:
            return
        jobs = self._next(seat, room)
        if not jobs:
            return
        if not seat.flights:
            seat.heard = self.clock()
        keys = [f"{'+'.join(job.spaces)[:60]}-{job.shard}-{uuid.uuid4().hex[:12]}" for job in jobs]
        futures = self.client.map(
            self.compute,
            [self.order] * len(jobs),
            [self.run_id] * len(jobs),
            jobs,
            [*jobs[1:], seat.reserved],
            key=keys,
            workers=[seat.address],
            resources={RESOURCE: 1},
            pure=False,
        )
        for key, future, job in zip(keys, futures, jobs, strict=True):
            seat.flights[key] = (future, job)
            address = seat.address
            future.add_done_callback(lambda done, address=address, key=key: self._inbox.put((address, key, done)))

    def _next(self, seat: _Seat, room: int) -> list[Job]:
        """The next jobs for a worker, and one more that it will get after them."""
        jobs, seat.reserved = [seat.reserved] if seat.reserved is not None else [], None
        while len(jobs) <= room:
            # At the end the last units are shared out rather than kept waiting behind another.
            if (seat.flights or jobs) and len(self.queue) <= len(self.seats):
                break
            job = self.queue.take(self.clock(), seat.last, seat.host)
            if job is None:
                break
            seat.last = job.spaces
            jobs.append(job)
        if len(jobs) > room:
            seat.reserved = jobs.pop()
        return jobs

    def _even_out(self) -> None:
        """Where workers are idle and the queue is empty, they get what waits behind the slowest ones."""
        idle = [seat for seat in self.seats.values() if not seat.flights]
        if not idle or len(self.queue):
            return
        for seat in self.seats.values():
            if seat.flights and seat.reserved is not None:
                self.queue.back(seat.reserved)
                seat.reserved = None
        waiting = [seat for seat in self.seats.values() if len(seat.flights) > 1]
        wanted = max(0, len(idle) - len(self.queue))
        for seat in sorted(waiting, key=lambda seat: -(seat.seconds or math.inf))[:wanted]:
            key = next(reversed(seat.flights))
            future, job = seat.flights.pop(key)
            # Should it be begun this very moment after all, its lease keeps it from being computed twice.
            future.cancel(force=True)
            self.queue.back(job)
        for seat in idle:
            self._fill(seat)

    def _hear(self) -> Iterator[Entry | Failed]:
        """Wait a moment for units to end; take all that did."""
        try:
            ended = [self._inbox.get(timeout=LOOK_SECONDS / 4)]
        except Empty:
            return
        with suppress(Empty):
            while len(ended) < 4 * MOST_AHEAD:
                ended.append(self._inbox.get(block=False))
        results = self._answers([future for _, _, future in ended if future.status == "finished"])
        touched: dict[str, _Seat] = {}
        for address, key, future in ended:
            seat = self.seats.get(address)
            if seat is None or key not in seat.flights:
                continue  # taken back from it, or the worker vanished
            is_first = next(iter(seat.flights)) == key
            job = seat.flights.pop(key)[1]
            now = self.clock()
            seat.seconds = 0.7 * seat.seconds + 0.3 * (now - seat.heard) if seat.seconds else now - seat.heard
            seat.heard = now
            touched[address] = seat
            if key in results:
                yield from self._settle(results[key], seat, now)
            else:
                yield from self._broken(job, seat, future, is_first, now)
        for seat in touched.values():
            self._fill(seat)

    def _answers(self, finished: list[Any]) -> dict[str, list[Result]]:
        """What tasks that finished tell, by their keys; nothing where a worker took its answers with it, which Dask would wait for without end."""
        try:
            told = self._asked(self.client.gather, finished)
        except TimeoutError:
            return {}
        return dict(zip((future.key for future in finished), told, strict=True))

    def _asked(self, ask: Callable[[Any], Any], about: Any) -> Any:
        """Ask the cluster something; TimeoutError where no answer comes."""
        return self.client.sync(ask, about, callback_timeout=ANSWER_SECONDS)

    def _settle(self, results: list[Result], seat: _Seat, now: float) -> Iterator[Entry | Failed]:
        """What became of a task's units."""
        for result in results:
            if isinstance(result, Held):
                self._held.append((now + self.queue.held_seconds, result.job))
                continue
            self.queue.settle(result, now)
            yield result
            if isinstance(result, Failed) and result.ends_worker:
                self.client.restart_workers([seat.address], raise_for_error=False)

    def _broken(self, job: Job, seat: _Seat, future: Any, is_first: bool, now: float) -> Iterator[Failed]:
        """A task that told nothing of its units: it raised, or its worker died, or all is lost."""
        if future.status == "cancelled":
            raise _gone(self.client)
        if future.status != "error":
            # It finished, and its worker vanished with the answer: whoever gets the job next finds its units in the ledger.
            self.queue.back(job)
            return
        error = future.exception()
        if isinstance(error, task.AbandonedError) or (type(error).__name__ == "KilledWorker" and not is_first):
            self.queue.back(job)
            return
        failed = Failed(job, f"{type(error).__name__}: {error}"[:300], seat.address)
        self.queue.settle(failed, now)
        yield failed

    def _ask_again(self, now: float) -> None:
        """Units that another build held: those that are free by now go back into the queue.

        It is this process that watches their leases, because a lease counts as silent only for whoever has watched it for as long as it lasts.
        """
        waiting, self._held = self._held, []
        for when, job in waiting:
            if when > now:
                self._held.append((when, job))
                continue
            if self.is_free(job):
                self.queue.back(job)
            else:
                self._held.append((now + self.queue.held_seconds, job))

    def is_free(self, job: Job) -> bool:
        """Whether nobody holds a unit any more."""
        lease = None
        with suppress(OSError, NoiseZooError):  # a store that does not answer is asked again as well
            lease = leases.claim(self._store, job.spaces[0], job.shard, "driver", self.order.lease_seconds)
        if lease is not None:
            lease.release()
        return lease is not None

    def _stop(self) -> None:
        """Call off what is still being computed; what has been finished stays."""
        flying = [future for seat in self.seats.values() for future, _ in seat.flights.values()]
        if not flying or self.client.status != "running":
            return
        with suppress(Exception):  # the cluster may be gone by now
            self.client.run(task.stop, self.run_id, wait=False, on_error="ignore")
            self.client.cancel([future for future in flying], force=True)


def drive(client: Any, order: Order, queue: Queue, report: Report) -> Iterator[Entry | Failed]:
    """Run a queue on a cluster and count the rows of the units that come back."""
    _hush()
    for result in Drive(client, order, queue).run():
        if isinstance(result, Entry):
            report(result.space, result.rows[1] - result.rows[0])
        yield result


def _hush() -> None:
    """Dask's tracebacks of broken connections stay away from the terminal: what a lost worker or scheduler means is told in a sentence."""
    for name in ("distributed", *logging.root.manager.loggerDict):
        if name.split(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)


def workers_of(client: Any) -> int:
    """How many workers of a cluster can take units."""
    found = client.scheduler_info()["workers"].values()
    return sum(1 for facts in found if facts.get("resources", {}).get(RESOURCE))


def tell(client: Any) -> None:
    """Where the cluster's dashboard is."""
    say(f"Dask: {workers_of(client)} workers, dashboard at {client.dashboard_link}")


def _gone(client: Any) -> NoiseZooError:
    address = getattr(getattr(client, "scheduler", None), "address", "") or "the cluster"
    return StopsAllError(
        f"The Dask scheduler at {address} is gone: every finished unit is kept; start it and type the same command again."
    )


def quietly() -> dict[str, Any]:
    """Dask's settings for a build: a worker's death costs its unit one attempt and is counted by us; Dask's own logging stays for errors."""
    return {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.scheduler.worker-ttl": "120s",
        "distributed.scheduler.work-stealing": False,
        "distributed.worker.daemon": True,
        "distributed.comm.timeouts.connect": "10s",
        "logging.distributed": "error",
    }
