"""A Dask cluster of real processes: a scheduler and workers started as users start them, to be killed one by one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.kit.builds import ROOT


@dataclass
class Cluster:
    """The processes, and the file that the scheduler wrote."""

    scheduler_file: Path
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self) -> None:
        """One more worker, without a nanny, so that a signal meets the process that computes."""
        command = ["worker", "--nthreads", "1", "--resources", "GPU=1", "--no-nanny", "--no-dashboard"]
        place = ["--scheduler-file", str(self.scheduler_file), "--local-directory", str(self.scheduler_file.parent)]
        self.workers.append(
            _start(*command, *place, log=self.scheduler_file.parent / f"worker-{len(self.workers)}.log")
        )


def _start(*words: str, log: Path, ttl: str = "30s") -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        # -m puts this directory on the path, where the tests' spaces are.
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *words],
            cwd=ROOT,
            stdout=file,
            stderr=file,
            env={**os.environ, "OMP_NUM_THREADS": "1", "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": ttl},
        )


@contextmanager
def cluster(folder: Path, workers: int, ttl: str = "30s") -> Iterator[Cluster]:
    """A scheduler and workers, gone afterwards whatever became of them."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "scheduler.json"
    words = ("--scheduler-file", str(file), "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    found = Cluster(file, _start("scheduler", *words, log=folder / "scheduler.log", ttl=ttl))
    try:
        until = time.monotonic() + 60
        while not file.exists():
            assert found.scheduler.poll() is None, (folder / "scheduler.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        for _ in range(workers):
            found.add_worker()
        yield found
    finally:
        for process in (*found.workers, found.scheduler):
            if process.poll() is None:
                process.kill()
            process.wait()
