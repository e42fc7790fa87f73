"""What handing out units costs.

    python -m bench.runner noop       100,000 units that do nothing, through a Dask scheduler to two worker processes: units a second
    python -m bench.runner sleep      units of two seconds on two local workers: what everything around them adds; inline beside it

The first is the cost of the scheduler, the queue and the wire alone. The second is a real build (images, leases, shards, ledger) of a space that sleeps; what is compared
is the time from one finished unit to the next, so that starting processes, which is told apart, does not count. The load of the machine is told with both.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from noisezoo import writer
from noisezoo.ledger import Entry
from noisezoo.store import Store
from pipeline import units
from pipeline.ingest import ingest, load
from pipeline.queue import Queue
from pipeline.runners import Inline, Runner
from pipeline.runners.cluster import Drive
from pipeline.runners.local import Gpus, local_cluster
from pipeline.sources.toy import Toy
from pipeline.units import Job, Order, Result
from stages.ingest import make_zoo
from tests.kit.spaces import Thumbnail

WORKERS = 2


def nothing(order: Order, run: str, job: Job, then: Job | None) -> list[Result]:
    """A unit that is finished at once."""
    return [Entry(space, job.shard, (0, 1), "", {}, 1) for space in job.spaces]


def noop(count: int) -> dict[str, Any]:
    """How fast units that do nothing go through."""
    spaces = 8
    queue = Queue(Job(shard, (f"space_{n}",)) for n in range(spaces) for shard in range(count // spaces))
    config = {f"space_{n}": {"_target_": "nothing", "inverter": {"name": "ddim", "steps": 50}} for n in range(spaces)}
    order = Order("/nowhere", "/nowhere", config, {})
    with local_cluster([], WORKERS, 1, "127.0.0.1:0") as client:
        client.wait_for_workers(WORKERS)
        most, done, begun, cpu = 0, 0, time.perf_counter(), time.process_time()
        failed = 0
        for result in Drive(client, order, queue, nothing).run():
            done += isinstance(result, Entry)
            failed += not isinstance(result, Entry)
            if done % 1000 == 0:
                most = max(most, len(client.cluster.scheduler.tasks))
        took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    assert done == count // spaces * spaces
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {
        "units": done,
        "failed": failed,
        "seconds": took,
        "units_s": done / took,
        "cpu_us_per_unit": cpu / done * 1e6,  # of the scheduler, the client and the queue, which share this process
        "tasks_at_most": most,
        "peak_mb": peak,
    }


def sleep(count: int, seconds: float) -> dict[str, Any]:
    """The time of a unit inline and on two local workers."""
    with tempfile.TemporaryDirectory() as name:
        place, rows = Path(name), 16
        ingest(Toy(size=count * rows), str(place / "images"), shard_rows=rows, workers=1)
        inline = _build(place, "inline", Inline(), count, rows, seconds)
        local = _build(place, "local", Gpus(workers=WORKERS, dashboard="127.0.0.1:0"), count, rows, seconds)
    each = {"inline": inline["unit_s"], "local": local["unit_s"] * WORKERS}
    return {
        "units": count,
        "inline": inline,
        "local": local,
        "unit_s": each,
        "added": each["local"] / seconds - 1,
    }


def _build(place: Path, name: str, runner: Runner, count: int, rows: int, seconds: float) -> dict[str, float]:
    store = Store(str(place / name))
    make_zoo(store, load(str(place / "images")))
    space = Thumbnail(seconds_per_batch=seconds)
    digest = writer.add_space(store, "slow", space.shape, space.dims, space.dtype, space.describe())
    config = {"slow": {"_target_": "tests.kit.spaces.Thumbnail", "seconds_per_batch": seconds}}
    order = Order(store.url, str(place / "images"), config, {"slow": digest}, device="cpu", threads=1)
    queue = Queue(units.left(store, count * rows, rows, order.digests, together=True).jobs)
    begun, ended = time.perf_counter(), []
    for result in runner.run(order, queue, lambda space, rows: None):
        assert isinstance(result, Entry)
        ended.append(time.perf_counter())
    if name == "inline":  # it tells of units some time after they end, so that only the whole can be timed
        return {"unit_s": (ended[-1] - begun) / count}
    # From the first round of units, which pays for starting, to the last.
    return {"start_s": ended[0] - begun - seconds, "unit_s": (ended[-1] - ended[WORKERS - 1]) / (count - WORKERS)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["noop", "sleep"])
    parser.add_argument("--units", type=int)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a unit that sleeps")
    args = parser.parse_args()
    found = noop(args.units or 100_000) if args.what == "noop" else sleep(args.units or 40, args.seconds)
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()[1], **found}, indent=1))


if __name__ == "__main__":
    main()
