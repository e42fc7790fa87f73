"""Does the cost of a row stay what it is as a zoo grows? A space that is nearly free, so that what is measured is the engine.

The ratio is the cost of a row in the small build over that in the large one: 1 is linear, less is worse than linear. Each build runs in a process of its own, which tells its
processor time and the most memory it held.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.builds import make_order, write_images
from bench.harness import Case, Found
from noisezoo import layout
from noisezoo.ledger import Entry
from pipeline.units import Job
from pipeline.worker import Worker

SHARD_ROWS = 1024
SMALL, LARGE = 2048, 32_768
FREE: dict[str, Any] = {"_target_": "pipeline.spaces.controls.Pixels", "size": 8}


def build(folder: str, rows: int, spaces: int) -> None:
    """Compute everything in this process, and print the processor's and the clock's seconds of that alone, and the most memory held."""
    order = make_order(Path(folder), {f"space_{i}": FREE for i in range(spaces)}, rows, SHARD_ROWS, decode_threads=1)
    worker = Worker(order)
    jobs = [Job(shard, tuple(order.spaces)) for shard in range(layout.shard_count(rows, SHARD_ROWS))]
    used, begun = time.process_time(), time.perf_counter()
    for result in worker.run(jobs):
        if not isinstance(result, Entry):
            raise RuntimeError(f"a unit was not finished: {result}")
    found = {"processor": time.process_time() - used, "seconds": time.perf_counter() - begun}
    print(json.dumps({**found, "peak_mb": _most_memory()}))


def _most_memory() -> float:
    """MB that this process held at most. Not `ru_maxrss`, which a process inherits from the one that started it, and that one has torch loaded."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measured(folder: Path, rows: int, spaces: int = 1) -> dict[str, float]:
    """`build` in a process of its own, what it printed."""
    place = folder / f"{rows}-{spaces}-{time.monotonic_ns()}"
    write_images(place / "images", _pictures(), rows, SHARD_ROWS)
    command = [sys.executable, "-c", f"from bench.cases.scaling import build; build({str(place)!r}, {rows}, {spaces})"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _pictures() -> list[bytes]:
    random, files = np.random.default_rng(0), []
    for _ in range(16):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    return files


def rows(folder: Path, small: int = SMALL, large: int = LARGE, rounds: int = 3) -> Found:
    pairs = [(measured(folder, small), measured(folder, large)) for _ in range(rounds)]
    first, last = pairs[-1]
    return Found(
        [a["processor"] / small / (b["processor"] / large) for a, b in pairs],
        {
            f"µs a row of {small:,}": 1e6 * first["processor"] / small,
            f"µs a row of {large:,}": 1e6 * last["processor"] / large,
            f"rows/s of {large:,}": large / last["seconds"],
            f"most memory at {small:,}, MB": first["peak_mb"],
            f"most memory at {large:,}, MB": last["peak_mb"],
        },
    )


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


CASES = [
    Case("scaling.rows", f"processor time a row of a build of {LARGE:,} rows of a nearly free space", f"the same of {SMALL:,} rows", rows, target=0.95, limit="1, linear"),
    Case("scaling.spaces", "processor time a row and space of a build of eight nearly free spaces", "the same of one space", spaces, target=1.0),
]  # fmt: skip
