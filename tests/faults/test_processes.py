"""What a build survives: its processes killed, stopped and terminated, alone and on a cluster; two builds at once; clocks that are wrong; memory that does not suffice.

All with real processes and real signals. After each fault the zoo's bytes equal those of an undisturbed build, and what was finished before it was not done again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

import noisezoo as library
from noisezoo.verify import verify
from tests.kit.builds import build_words, entries, holders, noisezoo, shard_digests, started, wait_until
from tests.kit.cluster import cluster

pytestmark = pytest.mark.slow
ROWS, UNITS = 160, 10
SPACES = "slow_one,slow_two"


def words(folder: Path, *more: str, seconds: float = 0.4) -> list[str]:
    """A build of ten units that take a second each, whatever the machine."""
    pace = [f"space.{name}.seconds_per_batch={seconds}" for name in SPACES.split(",")]
    return build_words(folder, SPACES, ROWS, *pace, "lease_seconds=5", *more)


def on(scheduler_file: Path) -> list[str]:
    return ["runner=dask", f"runner.scheduler_file={scheduler_file}"]


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The bytes of an undisturbed build."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = noisezoo(*words(folder, seconds=0))
    assert done.returncode == 0, done.stderr
    return shard_digests(folder)


def check(folder: Path, right: dict[str, str], kept: dict[str, str]) -> None:
    """The same bytes, each unit entered once, what was finished before the fault untouched, nothing left behind."""
    assert shard_digests(folder) == right
    now = entries(folder)
    assert len(now) == UNITS
    assert {name: now[name] for name in kept} == kept
    assert not holders(folder)
    assert verify(library.open(str(folder / "zoo.zarr"))) == []


def workers(folder: Path) -> set[str]:
    """Who has finished units."""
    return {json.loads(text)["worker"] for text in entries(folder).values()}


def ended(process: subprocess.Popen[str], seconds: float = 200) -> str:
    """What a command said until it ended."""
    return process.communicate(timeout=seconds)[1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_dies_and_its_unit_goes_elsewhere(
    tmp_path: Path, right: dict[str, str], number: signal.Signals
) -> None:
    with cluster(tmp_path / "cluster", workers=2) as dask:
        build = started(*words(tmp_path / "z", *on(dask.scheduler_file)))
        pids = {worker.pid for worker in dask.workers}
        # Both are at it, so that the build cannot end before the signal.
        wait_until(lambda: set(holders(tmp_path / "z").values()) == pids and entries(tmp_path / "z"))
        kept = entries(tmp_path / "z")
        dask.workers[0].send_signal(number)
        begun = time.monotonic()
        dask.workers[0].wait(timeout=10)
        assert time.monotonic() - begun < 10
        said = ended(build)
        assert build.returncode == 0, said
        # One that is terminated may have handed its unit back.
        assert number == signal.SIGTERM or "vanished while it computed this unit" in said
    check(tmp_path / "z", right, kept)
    assert not list((tmp_path / "z").glob("zoo.zarr/failures/*/*.json"))


def test_the_scheduler_is_killed(tmp_path: Path, right: dict[str, str]) -> None:
    with cluster(tmp_path / "cluster", workers=1) as dask:
        build = started(*words(tmp_path / "z", *on(dask.scheduler_file)))
        wait_until(lambda: len(entries(tmp_path / "z")) > 1)
        dask.scheduler.kill()
        said = ended(build, 60)
        assert build.returncode == 1
        assert "is gone: every finished unit is kept" in said.strip().splitlines()[-1]
        assert "Traceback" not in said
    kept = entries(tmp_path / "z")
    assert len(kept) < UNITS
    assert noisezoo(*words(tmp_path / "z", seconds=0)).returncode == 0
    check(tmp_path / "z", right, kept)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_client_dies_and_the_next_one_goes_on_with_the_same_cluster(
    tmp_path: Path, right: dict[str, str], number: signal.Signals
) -> None:
    with cluster(tmp_path / "cluster", workers=1) as dask:
        build = started(*words(tmp_path / "z", *on(dask.scheduler_file)))
        wait_until(lambda: len(entries(tmp_path / "z")) > 1)
        build.send_signal(number)
        said = ended(build, 10)  # also when it has things to put in order
        assert build.returncode == (130 if number == signal.SIGTERM else -number)
        if number == signal.SIGTERM:
            assert "type the same command again to go on" in said
            # The cluster's worker abandons or finishes the unit in hand and lets go of it.
            wait_until(lambda: not holders(tmp_path / "z"), 10)
        kept = entries(tmp_path / "z")
        assert len(kept) < UNITS
        again = noisezoo(*words(tmp_path / "z", *on(dask.scheduler_file), seconds=0.05))
        assert again.returncode == 0, again.stderr
    check(tmp_path / "z", right, kept)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_build_on_local_workers_is_ended_with_all_its_processes(
    tmp_path: Path, right: dict[str, str], number: signal.Signals
) -> None:
    local = ["runner=gpus", "runner.workers=2", "runner.dashboard=127.0.0.1:0"]
    build = started(*words(tmp_path, *local))
    wait_until(lambda: entries(tmp_path) and len(set(holders(tmp_path).values())) == 2)
    pids = set(holders(tmp_path).values())
    begun = time.monotonic()
    build.send_signal(number)
    ended(build, 30)
    assert time.monotonic() - begun < 10
    assert build.returncode == (130 if number == signal.SIGTERM else -number)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 10)
    kept = entries(tmp_path)
    assert len(kept) < UNITS
    # Their leases are of dead processes of this machine: nobody waits for them to run out.
    again = noisezoo(*words(tmp_path, "lease_seconds=1000", seconds=0))
    assert again.returncode == 0, again.stderr
    check(tmp_path, right, kept)


def test_a_builder_that_slept_beyond_its_lease_does_not_overwrite(tmp_path: Path, right: dict[str, str]) -> None:
    sleeper = started(*words(tmp_path, "lease_seconds=1"))
    wait_until(lambda: entries(tmp_path) and holders(tmp_path))
    os.kill(sleeper.pid, signal.SIGSTOP)
    held = set(holders(tmp_path))
    assert held
    other = noisezoo(*words(tmp_path, "lease_seconds=1", seconds=0))
    assert other.returncode == 0, other.stderr
    kept = entries(tmp_path)
    assert len(kept) == UNITS
    files = {path: path.stat() for path in tmp_path.glob("zoo.zarr/spaces/*/*/c/**/*") if path.is_file()}
    os.kill(sleeper.pid, signal.SIGCONT)
    said = ended(sleeper)
    assert sleeper.returncode == 0, said
    now = {path: path.stat() for path in tmp_path.glob("zoo.zarr/spaces/*/*/c/**/*") if path.is_file()}
    assert {p: (s.st_ino, s.st_mtime_ns) for p, s in now.items()} == {
        p: (s.st_ino, s.st_mtime_ns) for p, s in files.items()
    }
    check(tmp_path, right, kept)


def test_a_worker_of_a_cluster_that_sleeps_is_given_up_and_does_not_overwrite(
    tmp_path: Path, right: dict[str, str]
) -> None:
    with cluster(tmp_path / "cluster", workers=2, ttl="6s") as dask:
        build = started(*words(tmp_path / "z", "lease_seconds=1", *on(dask.scheduler_file)))
        # Both have imported what they need, which on a busy machine keeps a worker from saying for seconds that it lives.
        wait_until(lambda: len(workers(tmp_path / "z")) == 2 and len(holders(tmp_path / "z")) == 2)
        sleeper = dask.workers[0]
        sleeper.send_signal(signal.SIGSTOP)
        said = ended(build)
        assert build.returncode == 0, said
        assert "vanished while it computed this unit" in said
        kept = entries(tmp_path / "z")
        assert len(kept) == UNITS
        sleeper.send_signal(signal.SIGCONT)
        time.sleep(3)  # time enough to write what it had in hand
    check(tmp_path / "z", right, kept)


def test_memory_that_does_not_suffice_halves_the_batch(tmp_path: Path, right: dict[str, str]) -> None:
    done = noisezoo(*words(tmp_path, "+space.slow_one.memory_rows=3", seconds=0))
    assert done.returncode == 0, done.stderr
    check(tmp_path, right, {})


def test_memory_that_never_suffices_sets_units_aside_and_the_rest_goes_on(
    tmp_path: Path, right: dict[str, str]
) -> None:
    done = noisezoo(*words(tmp_path, "+space.slow_one.memory_rows=0", "attempts=2", seconds=0))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "5 units could not be computed (slow_one shard " in last
    assert "the memory does not suffice for a batch of one row" in last
    kept = entries(tmp_path)
    assert Counter(Path(name).parent.name for name in kept) == {"slow_two": 5}
    shown = json.loads(noisezoo("status", f"dir={tmp_path}", "--json").stdout)
    assert shown["spaces"]["slow_one"]["failed"] == 5
    assert shown["failures"][0]["error"] == "the memory does not suffice for a batch of one row"
    assert noisezoo(*words(tmp_path, seconds=0)).returncode == 0
    check(tmp_path, right, kept)
    assert not list(tmp_path.glob("zoo.zarr/failures/*/*.json"))


@pytest.mark.parametrize("clocks", [(0.0, 0.0), (-86_400.0, 86_400.0)], ids=["", "with wrong clocks"])
def test_two_builds_at_once_share_the_work(tmp_path: Path, right: dict[str, str], clocks: tuple[float, float]) -> None:
    journals = [f"+space.{name}.journal={tmp_path / name}" for name in SPACES.split(",")]
    builds = [started(*words(tmp_path / "z", *journals, seconds=0.2), clock=clock) for clock in clocks]
    for build in builds:
        said = ended(build)
        assert build.returncode == 0, said
    for name in SPACES.split(","):
        computed = Counter((tmp_path / name).read_text().split())
        assert len(computed) == ROWS
        assert set(computed.values()) == {1}, "a unit was computed by both"
    assert len(workers(tmp_path / "z")) == 2, "one build did all the work: the test shows nothing"
    check(tmp_path / "z", right, {})
