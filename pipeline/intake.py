"""The work of an ingest: one shard, in whatever process, and many of them in this process or several."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import connection
from typing import Any

import numpy as np

from noisezoo import layout
from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from pipeline import shards
from pipeline.shards import Record
from pipeline.sources.base import Source, places_of
from pipeline.sources.check import NotAnImageError, check

_TICK = 64
"""Rows between two reports of a worker."""


@dataclass(frozen=True)
class Job:
    """What a worker needs to ingest any shard."""

    source: Source
    store: Store
    numbers: np.ndarray
    shard_rows: int
    copy: bool

    def rows(self, shard: int) -> list[int]:
        return [int(n) for n in self.numbers[layout.span(shard, len(self.numbers), self.shard_rows)]]


class StoppedError(Exception):
    """The run was called off in the middle of a shard."""


def _shard(job: Job, shard: int, report: Callable[[int, int], bool]) -> None:
    """Read, check, digest and keep one shard; `report(rows, broken)` says whether to go on."""
    record = Record(shard)
    rows = job.rows(shard)
    if job.copy:
        with shards.writing(job.store, shard) as tar:
            _each(job, rows, record, report, tar)
            record.bytes = tar.finish()
    else:
        places = places_of(job.source, rows)
        assert places is not None
        _each(job, rows, record, report, None)
        record.offset = [place.offset for place in places]
        record.places = [asdict(place) for place in places]
    shards.write_record(job.store, record)


def _each(
    job: Job, rows: Sequence[int], record: Record, report: Callable[[int, int], bool], tar: shards.TarWriter | None
) -> None:
    done = broken = 0
    for picture in job.source.read(rows):
        done += 1
        try:
            if picture.data is None:
                raise NotAnImageError(picture.reason or "no image")
            extension = check(picture.data)
        except NotAnImageError as e:
            record.add_invalid(picture.row, str(e))
            broken += 1
        else:
            offset = tar.add(f"{picture.row:09d}.{extension}", picture.data) if tar else 0
            record.add(picture.row, hashlib.sha256(picture.data).hexdigest(), extension, offset, len(picture.data))
        if done == _TICK:
            if not report(done, broken):
                raise StoppedError
            done = broken = 0
    if done:
        report(done, broken)
    if record.rows != list(rows):
        raise RuntimeError(f"source '{job.source.name}' answered other rows than it was asked for")


def run(job: Job, todo: Sequence[int], workers: int, limit: float, progress: Callable[[int], None]) -> None:
    """Ingest these shards, in several processes where there is more than one to do; stop early once more than `limit` images are broken."""
    if workers <= 1 or len(todo) <= 1:
        _run_here(job, todo, limit, progress)
    else:
        _run_in_processes(job, todo, min(workers, len(todo)), limit, progress)


def _run_here(job: Job, todo: Sequence[int], limit: float, progress: Callable[[int], None]) -> None:
    done = broken = 0

    def report(rows: int, bad: int) -> bool:
        nonlocal done, broken
        done, broken = done + rows, broken + bad
        progress(done)
        return True

    for shard in todo:
        _shard(job, shard, report)
        if broken > limit:
            return


_job: Job
_counters: tuple[Any, Any, Any]
"""Rows done, broken rows, and whether to stop: shared by all workers."""


def _start(job: Job, done: Any, broken: Any, stop: Any) -> None:
    """A worker's beginning."""
    global _job, _counters
    _job, _counters = job, (done, broken, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and says stop
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Without this, the workers of a killed run would go on, and a new run would find them at its shards."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _work(block: Sequence[int]) -> None:
    done, broken, stop = _counters

    def report(rows: int, bad: int) -> bool:
        with done.get_lock():
            done.value += rows
        if bad:
            with broken.get_lock():
                broken.value += bad
        return not stop.value

    for shard in block:
        if stop.value:
            return
        try:
            _shard(_job, shard, report)
        except StoppedError:
            return


def _run_in_processes(
    job: Job, todo: Sequence[int], workers: int, limit: float, progress: Callable[[int], None]
) -> None:
    # Spawned, not forked: the parent may hold threads and an accelerator. A block is a run of neighbouring shards, so that a source that can only be read forwards is read once.
    context = multiprocessing.get_context("spawn")
    done, broken, stop = context.Value("q", 0), context.Value("q", 0), context.Value("b", 0)
    size = 1 if places_of(job.source, []) is not None else -(-len(todo) // workers)
    blocks = [todo[i : i + size] for i in range(0, len(todo), size)]
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start, initargs=(job, done, broken, stop)
    ) as pool:
        try:
            waiting: set[Future[None]] = {pool.submit(_work, block) for block in blocks}
            while waiting:
                finished, waiting = wait(waiting, timeout=0.2, return_when=FIRST_EXCEPTION)
                progress(done.value)
                for future in finished:
                    if not future.cancelled():
                        future.result()
                if broken.value > limit:
                    break
        except BrokenProcessPool as e:
            raise NoiseZooError(
                "A process of the ingest was killed, most often for want of memory: run the same command again with fewer workers, ingest.workers=1."
            ) from e
        finally:
            stop.value = 1
            pool.shutdown(cancel_futures=True)
