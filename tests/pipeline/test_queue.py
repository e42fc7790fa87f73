"""The queue: every job once, spaces changed rarely, own shards first, failures retried and set aside; over all jobs and workers by hypothesis."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisezoo.ledger import Entry
from pipeline.queue import HOPELESS, Queue
from pipeline.units import Failed, Held, Job

SPACES = ("a", "b", "c")


def entry(job: Job) -> Entry:
    return Entry(job.spaces[0], job.shard, (0, 1), "", {}, 1)


def jobs(shards: int, spaces: tuple[str, ...] = SPACES) -> list[Job]:
    return [Job(shard, (space,)) for space in spaces for shard in range(shards)]


@given(st.integers(1, 30), st.integers(1, 7), st.randoms())
def test_every_job_is_taken_once_and_a_worker_changes_space_at_most_once_for_each(
    shards: int, workers: int, dice: object
) -> None:
    queue, taken = Queue(jobs(shards)), []
    last: dict[int, tuple[str, ...]] = {}
    changes: Counter[int] = Counter()
    while True:
        worker = dice.randrange(workers)  # type: ignore[attr-defined]
        job = queue.take(0.0, last.get(worker), host=worker)
        if job is None:
            break
        changes[worker] += last.get(worker) not in (None, job.spaces)
        last[worker] = job.spaces
        taken.append(job)
    assert sorted(taken, key=lambda j: (j.spaces, j.shard)) == jobs(shards)
    assert not len(queue)
    assert all(count <= len(SPACES) - 1 for count in changes.values())
    # Spaces are finished one after another.
    assert [j.spaces for j in taken] == sorted(j.spaces for j in taken)


def test_a_machine_gets_the_shards_first_that_it_has_read() -> None:
    queue = Queue(jobs(6, ("a", "b")))
    mine = {"x": [], "y": []}
    for turn in range(6):
        host = "xy"[turn % 2]
        mine[host].append(queue.take(0.0, ("a",), host).shard)  # type: ignore[union-attr]
    again = {"x": [], "y": []}
    for turn in range(6):
        host = "yx"[turn % 2]  # the other one asks first this time
        again[host].append(queue.take(0.0, ("a",), host).shard)  # type: ignore[union-attr]
    assert again == mine == {"x": [0, 2, 4], "y": [1, 3, 5]}


def test_a_unit_that_fails_is_tried_again_later_each_time_and_set_aside_at_last() -> None:
    queue = Queue([Job(0, ("a", "b"))], attempts=3)
    job = queue.take(0.0)
    assert job == Job(0, ("a", "b"))
    queue.settle(Failed(job, "boom"), 10.0)
    assert queue.take(10.5) is None
    assert queue.next_time() == 11.0
    single = {queue.take(11.0), queue.take(11.0)}
    assert single == {Job(0, ("a",)), Job(0, ("b",))}, "each space by itself, so that one does not break the other"
    queue.settle(entry(Job(0, ("b",))), 12.0)
    queue.settle(Failed(Job(0, ("a",)), "boom"), 12.0)
    assert queue.take(15.9) is None
    assert queue.take(16.0) == Job(0, ("a",))
    queue.settle(Failed(Job(0, ("a",)), "boom"), 17.0)
    assert len(queue) == 0
    assert [failed.job for failed in queue.set_aside] == [Job(0, ("a",))]
    assert queue.hopeless is None


def test_a_held_unit_is_looked_at_again_and_does_not_count_as_failed() -> None:
    queue = Queue(jobs(1, ("a",)), attempts=1, held_seconds=5)
    for turn in range(20):
        job = queue.take(5.0 * turn)
        assert job is not None
        queue.settle(Held(job), 5.0 * turn)
    assert not queue.set_aside


@pytest.mark.parametrize("works", [False, True])
def test_it_is_hopeless_when_unit_after_unit_fails_and_none_works(works: bool) -> None:
    queue = Queue(jobs(100, ("a",)), attempts=1)
    for turn in range(HOPELESS):
        assert queue.hopeless is None
        job = queue.take(0.0)
        assert job is not None
        queue.settle(Failed(job, "boom"), 0.0)
        if works and turn == 3:
            job = queue.take(0.0)
            assert job is not None
            queue.settle(entry(job), 0.0)
    assert (queue.hopeless is not None) == (not works)


def test_an_error_that_stops_all_is_hopeless_at_once() -> None:
    queue = Queue(jobs(3, ("a",)))
    job = queue.take(0.0)
    assert job is not None
    queue.settle(Failed(job, "no space is left", stops_all=True), 0.0)
    assert queue.hopeless is not None
