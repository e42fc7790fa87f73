"""What a runner is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from noisezoo.ledger import Entry
from pipeline.queue import Queue
from pipeline.units import Failed, Order
from pipeline.worker import Report


class Runner(Protocol):
    """Where jobs are executed."""

    def run(self, order: Order, queue: Queue, report: Report) -> Iterator[Entry | Failed]:
        """Execute the queue's jobs and yield the ledger entry of each unit as it is finished, and each failure.

        Ends when every job is finished or set aside, or when going on is hopeless.
        """
        ...
