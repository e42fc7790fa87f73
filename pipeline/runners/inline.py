"""This process, one job after another."""

from __future__ import annotations

import time
from collections.abc import Iterator

from noisezoo.ledger import Entry
from pipeline.queue import Queue
from pipeline.units import Failed, Held, Job, Order
from pipeline.worker import Report, Worker


class Inline:
    """No processes but this one."""

    def run(self, order: Order, queue: Queue, report: Report) -> Iterator[Entry | Failed]:
        """Compute here."""
        worker = Worker(order)
        while len(queue) and not queue.hopeless:
            for result in worker.run(_taken(queue), report):
                queue.settle(result, time.monotonic())
                if not isinstance(result, Held):
                    yield result
                if isinstance(result, Failed) and result.ends_worker:
                    queue.hopeless = result  # the device is lost to this process
            if (when := queue.next_time()) is not None and not queue.hopeless:
                time.sleep(max(0.0, when - time.monotonic()))


def _taken(queue: Queue) -> Iterator[Job]:
    last: tuple[str, ...] | None = None
    while not queue.hopeless and (job := queue.take(time.monotonic(), last)) is not None:
        last = job.spaces
        yield job
