"""Status: what is done, running, failed and left, per space and per worker. Reads the ledger, the leases and the failures; writes nothing.

`--watch` shows it again and again until the build is finished, `--json` prints it for programs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from omegaconf import DictConfig

from noisezoo.store import Store
from noisezoo.zoo import Zoo
from pipeline.progress import duration
from pipeline.standing import Standing, standing

MOST_WORKERS, MOST_FAILURES = 16, 8


def run(cfg: DictConfig) -> None:
    """Print it once, or until everything is there."""
    store = Store(cfg.zoo)
    while True:
        # Opened anew each time: spaces are added while a build runs.
        now = standing(Zoo(store))
        print(json.dumps(now.as_dict()) if cfg.status.json else text(now), flush=True)
        if not cfg.status.watch or (now.is_finished and now.spaces):
            return
        time.sleep(cfg.status.seconds)


def text(now: Standing) -> str:
    """A table of spaces, one of the workers that are at it, and what failed."""
    header = (
        "space",
        "done",
        "running",
        "failed",
        "left",
        "rows",
        "rows/s/worker",
        "GPU h",
        "CPU h",
        "MB",
        "PSNR",
        "left alone",
    )
    body = [header]
    for name, space in now.spaces.items():
        body.append(
            (
                name,
                f"{space.done}/{space.units}",
                str(space.running),
                str(space.failed),
                str(space.left),
                f"{space.rows_done}/{space.rows}",
                _number(space.rows_per_second),
                f"{space.gpu_hours:.2f}",
                f"{space.cpu_hours:.2f}",
                f"{space.bytes / 1e6:.1f}",
                _number(space.fidelity),
                "–" if space.worker_seconds_left is None else duration(space.worker_seconds_left),
            )
        )
    lines = [f"{now.zoo}: {now.rows} rows", *_aligned(body)]
    busy = [worker for worker in now.workers if worker.at]
    left = f", {duration(now.seconds_left)} left" if now.seconds_left else ""
    if busy:
        lines.append(f"{len(busy)} workers are at it{left}:")
        rows = [
            (w.name, w.device, f"{_number(w.rows_per_second)} rows/s", ", ".join(w.at)) for w in busy[:MOST_WORKERS]
        ]
        lines += [f"  {line}" for line in _aligned(rows)]
        lines += [f"  and {len(busy) - MOST_WORKERS} more"] if len(busy) > MOST_WORKERS else []
    elif now.is_finished and now.spaces:
        lines.append("Everything is finished.")
    else:
        lines.append("Nobody is at it: type `noisezoo build` with the same overrides to go on.")
    lines += [f"failed: {f.space} shard {f.shard}: {f.error}" for f in now.failures[:MOST_FAILURES]]
    if len(now.failures) > MOST_FAILURES:
        lines.append(f"and {len(now.failures) - MOST_FAILURES} more failed.")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
