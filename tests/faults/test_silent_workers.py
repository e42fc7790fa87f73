"""Workers of a cluster that die or are stopped at the moments when the engine waits for their word: a task has finished and its answer is not fetched yet, or a run begins."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import dask
import pytest
from distributed import Client

from noisezoo.ledger import Entry
from pipeline.queue import Queue
from pipeline.runners.cluster import Drive, quietly
from pipeline.units import Failed, Job, Order, Result
from tests.kit.cluster import Cluster, cluster

pytestmark = pytest.mark.slow
UNITS = 12
ORDER = Order("/nowhere", "/nowhere", {"space": {"_target_": "nothing"}}, {})


def finished(order: Order, run: str, job: Job, then: Job | None) -> list[Result]:
    """A task whose units are finished at once."""
    return [Entry(space, job.shard, (0, 1), "", {}, 1) for space in job.spaces]


class Striking:
    """An inbox that strikes the worker of the first task that arrives finished, before anybody fetches what it tells."""

    def __init__(self, client: Client, dask_cluster: Cluster, number: signal.Signals) -> None:
        self.queue: SimpleQueue[tuple[str, str, Any]] = SimpleQueue()
        self.processes = {worker.pid: worker for worker in dask_cluster.workers}
        self.pids = client.run(os.getpid)
        self.number = number
        self.struck = ""

    def put(self, item: tuple[str, str, Any]) -> None:
        self.queue.put(item)

    def get(self, block: bool = True, timeout: float | None = None) -> tuple[str, str, Any]:
        item = self.queue.get(block, timeout)
        if not self.struck and item[2].status == "finished":
            self.struck = item[0]
            self.processes[self.pids[item[0]]].send_signal(self.number)
            time.sleep(0.5)  # for the scheduler to notice that it is dead
        return item


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_answer_that_is_lost_with_its_worker_is_asked_for_again(tmp_path: Path, number: signal.Signals) -> None:
    with two_workers(tmp_path) as (made, client):
        inbox = Striking(client, made, number)
        results = list(Drive(client, ORDER, jobs(), finished, inbox=inbox).run())
        assert inbox.struck
    check(results)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_run_begins_beside_a_silent_worker(tmp_path: Path, number: signal.Signals) -> None:
    with two_workers(tmp_path) as (made, client):
        made.workers[0].send_signal(number)
        results = list(Drive(client, ORDER, jobs(), finished).run())
    check(results)


@contextmanager
def two_workers(folder: Path) -> Iterator[tuple[Cluster, Client]]:
    """A cluster that gives up a worker after six silent seconds, and a client as a build has it."""
    with (
        cluster(folder, workers=2, ttl="6s") as made,
        dask.config.set(quietly()),
        Client(scheduler_file=str(made.scheduler_file)) as client,
    ):
        client.wait_for_workers(2)
        yield made, client


def jobs() -> Queue:
    return Queue(Job(shard, ("space",)) for shard in range(UNITS))


def check(results: list[Entry | Failed]) -> None:
    """Every unit's entry once; what failed did so with its worker and was tried again."""
    assert sorted(result.shard for result in results if isinstance(result, Entry)) == list(range(UNITS))
    assert all("vanished" in result.error for result in results if isinstance(result, Failed))
