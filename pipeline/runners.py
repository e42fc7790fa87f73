"""Runners execute jobs somewhere; they know nothing of models or of what a row means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from noisezoo.ledger import Entry
from pipeline.units import Job, Order
from pipeline.worker import Report, Worker


class Runner(Protocol):
    """Where jobs are executed."""

    def run(self, order: Order, jobs: Sequence[Job], report: Report) -> Iterator[Entry]:
        """Execute jobs and yield the ledger entry of each unit as it is finished."""
        ...


class Inline:
    """This process, one job after another."""

    def run(self, order: Order, jobs: Sequence[Job], report: Report) -> Iterator[Entry]:
        yield from Worker(order).run(jobs, report)
