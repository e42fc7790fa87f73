"""A thousand workers on sixty-four million rows, without a thousand workers: where the design holds, and where it bends.

    python -m bench.scale simulate            the makespan of 8 spaces × 64 M rows on 1,000 workers that differ, change spaces, die and fail
    python -m bench.scale spread ZOO.zarr     how the times of a real zoo's units are spread, for --spread
    python -m bench.scale scheduler           the memory of a real Dask scheduler for the tasks that a build keeps ahead, and for all units at once
    python -m bench.scale status              how long a listing of the ledger and `noisezoo status` take, by the number of units
    … --figure docs/img/scaling.png           with simulate: the figure of docs/scaling.md

The simulation is one of events: the queue, the window of units ahead, the order of spaces, the giving up of workers that vanished and the sharing out
at the end are the engine's own code (`pipeline.queue`, `pipeline.runners.cluster.Drive`); the clock, the scheduler and the workers are made up here.
A unit's time is its space's mean, times the worker's speed, times a draw from the measured spread.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np

from noisezoo import layout, ledger, writer
from noisezoo.ledger import Entry
from noisezoo.store import Store
from noisezoo.zoo import Zoo
from pipeline.queue import Queue
from pipeline.runners import cluster as engine
from pipeline.runners.cluster import RESOURCE, Drive
from pipeline.standing import standing
from pipeline.units import Failed, Held, Job, Order, Result


@dataclass
class World:
    """What is simulated; times in seconds."""

    workers: int = 1000
    per_host: int = 8
    rows: int = 64_000_000
    shard_rows: int = 1024
    unit: tuple[float, ...] = (60.0, 60.0, 60.0, 120.0, 30.0, 6.0, 6.0, 6.0)
    """Mean time of a unit of each space: five of noise, three of embeddings."""
    spread: float = 0.15
    """Standard deviation of the logarithm of a unit's time."""
    worker_spread: float = 0.05
    slow_share: float = 0.02
    slow_factor: float = 3.0
    load: float = 60.0
    """Changing to another space."""
    life: float = 12 * 3600.0
    """Mean time until a worker dies."""
    away: float = 600.0
    """Until another stands in its place."""
    failing: float = 0.001
    """Share of tries that end in an error."""
    lease: float = 60.0
    heartbeat: float = 120.0
    """Until the scheduler gives up a worker that says nothing."""
    look: float = 5.0
    """Between two looks at which workers there are."""


class Future:
    """A task of the simulation."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.status = "pending"
        self.results: list[Result] = []
        self.is_cancelled = False
        self.callback: Any = None

    def cancel(self, force: bool = False) -> None:
        self.is_cancelled = True

    def add_done_callback(self, callback: Any) -> None:
        self.callback = callback


@dataclass
class Worker:
    """One simulated process."""

    address: str
    host: str
    speed: float
    dies: float
    waiting: list[tuple[Future, Job]] = field(default_factory=list)
    space: tuple[str, ...] | None = None
    is_busy: bool = False
    born: float = 0.0


class Cluster:
    """Client, scheduler, workers, leases and clock in one; it is the client and the inbox that `Drive` is given."""

    status = "running"

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = np.random.default_rng(seed)
        self.now = 0.0
        self.events: list[tuple[float, int, Any]] = []
        self.arrived: list[tuple[str, str, Future]] = []
        self.here: dict[str, Worker] = {}
        self.leases: dict[Job, tuple[str, float]] = {}
        self.count = 0
        self.counts: Counter[str] = Counter()
        self.worked = 0.0
        self.capacity = 0.0
        """Work that the workers could have done while they were there, at their speeds."""
        self.mean = {(f"space_{i}",): unit for i, unit in enumerate(world.unit)}
        for number in range(world.workers):
            self._join(number)

    # What Drive asks of a client.

    def scheduler_info(self) -> dict[str, Any]:
        workers = {w.address: {"resources": {RESOURCE: 1}, "host": w.host} for w in self.here.values()}
        return {"workers": workers}

    def map(
        self,
        compute: Any,
        orders: Any,
        runs: Any,
        jobs: list[Job],
        then: list[Job | None],
        key: list[str],
        workers: list[str],
        **_: Any,
    ) -> list[Future]:
        futures = [Future(name) for name in key]
        worker = self.here.get(workers[0])
        if worker is not None:  # otherwise it has died since the last look, and they are never heard of again
            worker.waiting += list(zip(futures, jobs, strict=True))
            self._begin(worker)
        return futures

    def sync(self, ask: Callable[[Any], Any], about: Any, callback_timeout: float) -> Any:
        return ask(about)

    def gather(self, futures: list[Future]) -> list[list[Result]]:
        return [future.results for future in futures]

    def register_plugin(self, plugin: Any) -> None: ...

    def run(self, *args: Any, **kwargs: Any) -> None: ...

    def cancel(self, *args: Any, **kwargs: Any) -> None: ...

    # What Drive asks of its inbox: time goes by while it waits.

    def put(self, item: tuple[str, str, Future]) -> None:
        self.arrived.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> tuple[str, str, Any]:
        until = self.now + (timeout or 0.0)
        while block and not self.arrived and self.events and self.events[0][0] <= until:
            self.now, _, act = heapq.heappop(self.events)
            act()
        if self.arrived:
            return self.arrived.pop(0)
        self.now = max(self.now, until)
        raise Empty

    # The made-up world.

    def _at(self, when: float, act: Any) -> None:
        self.count += 1
        heapq.heappush(self.events, (when, self.count, act))

    def _join(self, number: int) -> None:
        world, dice = self.world, self.dice
        speed = math.exp(dice.normal(0, world.worker_spread)) * (
            world.slow_factor if dice.random() < world.slow_share else 1
        )
        self.count += 1
        address = f"w{number}-{self.count}"
        worker = Worker(
            address, f"h{number // world.per_host}", speed, self.now + dice.exponential(world.life), born=self.now
        )
        self.here[address] = worker
        self._at(worker.dies, lambda: self._die(worker, number))

    def _die(self, worker: Worker, number: int) -> None:
        """Half of them are gone at once, half fall silent, which takes the scheduler a while to notice."""
        self.counts["deaths"] += 1
        self.capacity += (self.now - worker.born) / worker.speed
        worker.is_busy = True  # it begins nothing more
        worker.dies = -1.0
        notice = 0.0 if self.dice.random() < 0.5 else self.world.heartbeat
        self._at(self.now + notice, lambda: self.here.pop(worker.address, None))
        self._at(self.now + self.world.away, lambda: self._join(number))

    def _begin(self, worker: Worker) -> None:
        while worker.waiting and not worker.is_busy:
            future, job = worker.waiting.pop(0)
            if future.is_cancelled:
                continue
            holder = self.leases.get(job)
            if holder is not None and holder[0] != worker.address and (holder[0] in self.here or holder[1] > self.now):
                self.counts["held"] += 1
                future.results = [Held(job)]
                self._end(worker, future)
                continue
            takes = (
                self.mean[job.spaces]
                * worker.speed
                * math.exp(self.dice.normal(0, self.world.spread) - self.world.spread**2 / 2)
            )
            if worker.space != job.spaces:
                takes += self.world.load
                worker.space = job.spaces
                self.counts["loads"] += 1
            worker.is_busy = True
            # Renewed while the worker lives; it runs out so long after its death.
            self.leases[job] = (worker.address, math.inf)
            self._at(self.now + takes, partial(self._finish, worker, future, job))
            if worker.dies < self.now + takes:
                self.leases[job] = (worker.address, worker.dies + self.world.lease)

    def _finish(self, worker: Worker, future: Future, job: Job) -> None:
        if worker.dies < 0:
            return
        worker.is_busy = False
        self.leases.pop(job, None)
        if self.dice.random() < self.world.failing:
            self.counts["errors"] += 1
            future.results = [Failed(job, "an error", worker.address)]
        else:
            self.worked += self.mean[job.spaces]
            self.counts["units"] += 1
            future.results = [Entry(job.spaces[0], job.shard, (0, 1), "", {}, 1)]
        self._end(worker, future)
        self._begin(worker)

    def _end(self, worker: Worker, future: Future) -> None:
        future.status = "finished"
        if not future.is_cancelled:
            # The answer's way through the scheduler to the client.
            self._at(self.now + 0.01, lambda: future.callback(future))


class SimulatedDrive(Drive):
    """The engine's, but for the leases, which lie in the simulation and not in a store."""

    def is_free(self, job: Job) -> bool:
        holder = self.client.leases.get(job)
        return holder is None or (holder[0] not in self.client.here and holder[1] <= self.client.now)


def simulate(world: World, seed: int) -> dict[str, Any]:
    """One build."""
    made = Cluster(world, seed)
    shards = layout.shard_count(world.rows, world.shard_rows)
    queue = Queue(Job(shard, group) for group in made.mean for shard in range(shards))
    order = Order("/nowhere", "/nowhere", {}, {}, lease_seconds=world.lease)
    # A look at all workers each second is nothing for a client, and most of what a simulation would compute.
    engine.LOOK_SECONDS = world.look
    drive: Any = SimulatedDrive(made, order, queue, clock=lambda: made.now, inbox=made)
    begun, ahead, finished = time.perf_counter(), 0, []
    for result in drive.run():
        if isinstance(result, Entry):
            finished.append(made.now)
        if made.counts["units"] % 5000 == 0:
            ahead = max(ahead, drive._flying())
    took = time.perf_counter() - begun
    for worker in made.here.values():
        if worker.dies > 0:
            made.capacity += (made.now - worker.born) / worker.speed
    work = shards * sum(world.unit)
    assert len(finished) == shards * len(world.unit)
    # The same workers, there for the same share of the time, with nothing but work to do.
    ideal = made.now * work / made.capacity
    per_unit = 4  # latent, valid, fidelity, ledger entry
    return {
        "world": asdict(world),
        "units": shards * len(world.unit),
        "makespan_h": made.now / 3600,
        "ideal_h": ideal / 3600,
        "over_ideal": made.now / ideal - 1,
        "set_aside": len(queue.set_aside),
        "tasks_ahead": ahead,
        "objects": per_unit * shards * len(world.unit),
        "ledger_objects": shards * len(world.unit),
        "client_us_per_unit": took / len(finished) * 1e6,  # queue, drive and simulation together
        **made.counts,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "finished_s": [finished[i] for i in range(0, len(finished), max(1, len(finished) // 400))] + [finished[-1]],
    }


def spread(zoo: str) -> dict[str, float]:
    """For each space the standard deviation of the logarithm of its units' seconds; ragged and first units are left out."""
    found = {}
    for name, space in Zoo(Store(zoo)).spaces.items():
        entries = [
            e for e in space.finished.values() if e.rows[1] - e.rows[0] == space.zoo.shard_rows and e.seconds > 0
        ]
        found[name] = float(np.std(np.log([e.seconds for e in entries[1:]])))
    return found


def scheduler(counts: tuple[int, ...] = (2_000, 20_000, 50_000)) -> dict[str, Any]:
    """How much a real scheduler grows with tasks like ours that wait for a worker."""
    from distributed import Client, LocalCluster

    from bench.runner import nothing

    config = {
        f"space_{n}": {"_target_": "pipeline.spaces.diffusion.Diffusion", "model": "org/name", "shape": [4, 64, 64]}
        for n in range(8)
    }
    order = Order("s3://bucket/zoo.zarr", "s3://bucket/images", config, dict.fromkeys(config, "0" * 64))
    found = []
    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster,
        Client(cluster) as client,
    ):
        kept: list[Any] = []
        before = _resident()
        for count in counts:
            while len(kept) < count:
                jobs = [Job(len(kept) + i, ("space_0",)) for i in range(64)]
                keys = [f"space_0-{job.shard}" for job in jobs]
                kept += client.map(
                    nothing,
                    [order] * 64,
                    ["run"] * 64,
                    jobs,
                    [None] * 64,
                    key=keys,
                    workers=["tcp://127.0.0.1:1"],
                    resources={RESOURCE: 1},
                    pure=False,
                )
            while len(cluster.scheduler.tasks) < len(kept):
                time.sleep(0.1)
            grown = _resident() - before
            found.append({"tasks": len(kept), "mb": grown / 1e6, "kb_per_task": grown / len(kept) / 1e3})
    return {"scheduler": found}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def status(counts: tuple[int, ...] = (1_000, 10_000, 62_500)) -> dict[str, Any]:
    """The time of a listing and of a whole status, for a space of so many units on a local disk."""
    found = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            store = Store(f"{folder}/zoo.zarr")
            rows = count * 8
            table = writer.Table(np.full(rows, "k", object), np.arange(rows), np.zeros((rows, 32), np.uint8))
            writer.create(store, table, {"name": "made", "licence": "CC0", "digest": "d"}, 8)
            digest = writer.add_space(store, "a", (4,), ("feature",), "float16", {}, fidelity=True)
            place = Path(store.path(layout.ledger_path("a")))
            place.mkdir(parents=True)
            for shard in range(count):
                files = {
                    layout.chunk_key(layout.array_path("a", n), shard, 2): "0" * 64 for n in ("latent", "fidelity")
                }
                entry = Entry(
                    "a",
                    shard,
                    (8 * shard, 8 * shard + 8),
                    digest,
                    files,
                    8,
                    seconds=2.0,
                    worker=f"w{shard % 1000}",
                    finished="2026-01-01T00:00:00+00:00",
                )
                (place / f"{shard:06d}.json").write_text(json.dumps(asdict(entry)))
            begun = time.perf_counter()
            names = store.names(layout.ledger_path("a"))
            listed, cpu, begun = time.perf_counter() - begun, time.process_time(), time.perf_counter()
            entries = len(ledger.finished(store, "a", digest))
            read, cpu_read = time.perf_counter() - begun, time.process_time() - cpu
            cpu, begun = time.process_time(), time.perf_counter()
            standing(Zoo(store))
            took = {"status_s": time.perf_counter() - begun, "status_cpu_s": time.process_time() - cpu}
            assert len(names) == entries == count
            found.append({"units": count, "list_s": listed, "read_s": read, "read_cpu_s": cpu_read, **took})
    return {"status": found}


def figure(found: dict[str, Any], path: str) -> None:
    """Units finished over time, beside the ideal."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    times = np.array(found["finished_s"]) / 3600
    shape, axes = plt.subplots(figsize=(7, 3.2))
    axes.plot(times, np.linspace(0, found["units"], len(times)) / 1e3, label="1,000 simulated workers", color="#1f4e79")
    axes.axvline(found["ideal_h"], color="#b03a2e", linestyle="--", label=f"ideal, {found['ideal_h']:.1f} h")
    axes.axvline(found["makespan_h"], color="#1f4e79", linestyle=":", label=f"end, {found['makespan_h']:.1f} h")
    axes.set_xlabel("hours")
    axes.set_ylabel("thousand units finished")
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    shape.tight_layout()
    shape.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["simulate", "spread", "scheduler", "status"])
    parser.add_argument("zoo", nargs="?")
    parser.add_argument("--workers", type=int, default=World.workers)
    parser.add_argument("--rows", type=int, default=World.rows)
    parser.add_argument("--spread", type=float, default=World.spread)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", help="where to draw the simulated build")
    args = parser.parse_args()
    if args.what == "simulate":
        found = simulate(World(workers=args.workers, rows=args.rows, spread=args.spread), args.seed)
        if args.figure:
            figure(found, args.figure)
        del found["finished_s"]
    elif args.what == "spread":
        found = spread(args.zoo)
    else:
        found = scheduler() if args.what == "scheduler" else status()
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
