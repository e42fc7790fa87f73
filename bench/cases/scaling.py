"""Does the cost of a row stay what it is as a zoo grows? A space that is nearly free, so that what is measured is the engine.

The ratio is the cost of a row early in a build over that late in the same build: 1 is linear, less is worse than linear. Two builds of different sizes would not tell: they differ
by a tenth from run to run, and a build of two units never writes one while it decodes another, which costs the others something. Each build runs in a process of its own, which
tells its processor time and the most memory it held.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.builds import make_order, write_images
from bench.harness import Case, Found
from noisezoo import layout
from noisezoo.ledger import Entry
from pipeline.queue import Queue
from pipeline.runners.cluster import drive
from pipeline.runners.local import local_cluster
from pipeline.units import Job
from pipeline.worker import Worker

SHARD_ROWS = 1024
ROWS = 32_768
UNITS = 8
"""How many units, of the early ones and of the late ones, are compared."""
START, END = 2, 1
"""Units at either end that are left out: the first ones fill the pipeline, the last one drains it."""
WORKERS = len(os.sched_getaffinity(0))
PER_WORKER = 8
"""Units of each worker that are timed."""
FREE: dict[str, Any] = {"_target_": "pipeline.spaces.controls.Pixels", "size": 8}


def build(folder: str, rows: int, spaces: int) -> None:
    """Compute everything in this process, and print the processor's and the clock's seconds of that alone, the processor's up to each unit, and the most memory held."""
    order = make_order(Path(folder), {f"space_{i}": FREE for i in range(spaces)}, rows, SHARD_ROWS, decode_threads=1)
    worker = Worker(order)
    jobs = [Job(shard, tuple(order.spaces)) for shard in range(layout.shard_count(rows, SHARD_ROWS))]
    used, begun = time.process_time(), time.perf_counter()
    passed, held = [], []
    for result in worker.run(jobs):
        if not isinstance(result, Entry):
            raise RuntimeError(f"a unit was not finished: {result}")
        passed.append(time.process_time() - used)
        held.append(_most_memory())
    found = {"processor": time.process_time() - used, "seconds": time.perf_counter() - begun}
    print(json.dumps({**found, "peak_mb": _most_memory(), "passed": passed, "held_mb": held}))


def shared(folder: Path, workers: int, units: int) -> list[float]:
    """When each unit was finished, in seconds, of a build by so many worker processes of one thread each."""
    order = make_order(folder, {"space": FREE}, units * SHARD_ROWS, SHARD_ROWS, threads=1, decode_threads=1)
    queue = Queue(Job(shard, tuple(order.spaces)) for shard in range(units))
    ended = []
    with local_cluster([], workers, 1, "127.0.0.1:0") as client:
        for result in drive(client, order, queue, lambda space, rows: None):
            if not isinstance(result, Entry):
                raise RuntimeError(f"a unit was not finished: {result}")
            ended.append(time.perf_counter())
    return ended


def _most_memory() -> float:
    """MB that this process held at most. Not `ru_maxrss`, which a process inherits from the one that started it, and that one has torch loaded."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measured(folder: Path, rows: int, spaces: int = 1) -> dict[str, Any]:
    """`build` in a process of its own, what it printed."""
    place = folder / f"{rows}-{spaces}-{time.monotonic_ns()}"
    write_images(place / "images", _pictures(), rows, SHARD_ROWS)
    command = [sys.executable, "-c", f"from bench.cases.scaling import build; build({str(place)!r}, {rows}, {spaces})"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _pictures() -> list[bytes]:
    random, files = np.random.default_rng(0), []
    for _ in range(16):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    return files


def rows(folder: Path, rows: int = ROWS, rounds: int = 5) -> Found:
    """One build a round, its early units beside its late ones."""
    found = [measured(folder, rows) for _ in range(rounds)]
    spent = [early_and_late(run["passed"]) for run in found]
    early, late = (1e6 * statistics.median(side) / (UNITS * SHARD_ROWS) for side in zip(*spent, strict=True))
    last = found[-1]
    return Found(
        [one / other for one, other in spent],
        {
            f"µs a row, {UNITS} early units": early,
            f"µs a row, {UNITS} late units": late,
            "rows/s": rows / last["seconds"],
            "most memory after the early units, MB": last["held_mb"][START + UNITS],
            "most memory at the end, MB": last["peak_mb"],
        },
    )


def early_and_late(passed: Sequence[float]) -> tuple[float, float]:
    """What UNITS early units took and UNITS late ones, of the processor's seconds `passed` when each was finished."""
    first, last = START, len(passed) - 1 - END
    return passed[first + UNITS] - passed[first], passed[last] - passed[last - UNITS]


def spaces(folder: Path) -> Found:
    """Eight spaces from one reading of the images; a ratio above 1 is what the shared reading and decoding saves."""
    count, many = 8192, 8
    pairs = [(measured(folder, count), measured(folder, count, many)) for _ in range(3)]
    first, last = pairs[-1]
    return Found(
        [many * a["processor"] / b["processor"] for a, b in pairs],
        {
            "µs a row, one space": 1e6 * first["processor"] / count,
            f"µs a row and space, {many} spaces": 1e6 * last["processor"] / count / many,
            "most memory, one space, MB": first["peak_mb"],
            f"most memory, {many} spaces, MB": last["peak_mb"],
        },
    )


def workers(folder: Path, rounds: int = 3) -> Found:
    """As many worker processes as there are cores, one thread each, beside one. What is timed is from the first unit of each to the last, so that starting does not count."""
    spent: dict[int, list[float]] = {1: [], WORKERS: []}
    for _ in range(rounds):
        for count, seconds in spent.items():
            place, units = folder / str(time.monotonic_ns()), count * (1 + PER_WORKER)
            write_images(place / "images", _pictures(), units * SHARD_ROWS, SHARD_ROWS)
            ended = shared(place, count, units)
            seconds.append((ended[-1] - ended[count - 1]) / (units - count))
    one, many = (statistics.median(seconds) for seconds in spent.values())
    return Found(
        [a / b / WORKERS for a, b in zip(*spent.values(), strict=True)],
        {"workers": WORKERS, "rows/s, one worker": SHARD_ROWS / one, f"rows/s, {WORKERS} workers": SHARD_ROWS / many},
    )


CASES = [
    Case("scaling.rows", f"processor time a row late in a build of {ROWS:,} rows of a nearly free space", "the same early in that build", rows, target=0.95, limit="1, linear"),
    Case("scaling.spaces", "processor time a row and space of a build of eight nearly free spaces", "the same of one space", spaces, target=1.0),
    Case("scaling.workers", "rows/s a worker of a build of a nearly free space by a worker for each core", "rows/s of one worker", workers, limit="1, where cores share nothing"),
]  # fmt: skip
