"""What runs in a Dask worker process: one job of an order, with a worker that is kept, its space loaded, until another order or space is asked for.

Everything that goes over the wire is plain data; nothing of it is ever written to a disk.
"""

from __future__ import annotations

from threading import Event, Lock
from typing import Any

from distributed import WorkerPlugin

from pipeline.units import Job, Order, Result
from pipeline.worker import Worker

_STOPPED: set[str] = set()
"""Runs that were called off."""
_KEPT: dict[str, Worker] = {}
"""The worker of the present run; one device holds one."""
_LOCK = Lock()
_ENDING = Event()
"""This process was told to end."""


class AbandonedError(BaseException):
    """The run was called off in the middle of a unit. No Exception, so that nobody takes it for the unit's failure."""


def compute(order: Order, run: str, job: Job, then: Job | None) -> list[Result]:
    """What becomes of each unit of a job; `then` is the job that this process will probably get next."""
    with _LOCK:
        _go_on(run)
        if run not in _KEPT:
            _KEPT.clear()
            _KEPT[run] = Worker(order)
        return list(_KEPT[run].run([job], lambda space, rows: _go_on(run), then))


def stop(run: str) -> None:
    """Abandon this run's unit at its next batch, and begin no other."""
    _STOPPED.add(run)


class Ending(WorkerPlugin):
    """Tells the unit in hand when its process is told to end, which otherwise would wait for it."""

    name = "noisezoo-ending"

    def setup(self, worker: Any) -> None:
        """A run begins on this worker."""
        _ENDING.clear()

    def teardown(self, worker: Any) -> None:
        """The worker closes."""
        _ENDING.set()


def _go_on(run: str) -> None:
    if run in _STOPPED or _ENDING.is_set():
        raise AbandonedError
