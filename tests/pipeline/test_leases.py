"""Leases between real processes: one holder, taken over after silence and never before, whatever the clocks say and whoever is stopped or killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from noisezoo import layout
from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from pipeline import leases
from pipeline.leases import Keeper, Lease, alone, claim, holder
from tests.kit import s3
from tests.kit.builds import ROOT

SECONDS = 0.8
HOLD = """
import sys, time
now, shift = time.time, float(sys.argv[3])
time.time = lambda: now() + shift
from noisezoo.store import Store
from pipeline import leases
with leases.Keeper() as keeper:
    lease = leases.claim(Store(sys.argv[1]), "s", 0, "process", float(sys.argv[2]))
    assert lease is not None
    keeper.add(lease)
    for line in sys.stdin:
        print(lease.still_mine(), flush=True)
"""
Holding = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.fixture
def holding(store: Store) -> Iterator[Holding]:
    """A process that holds the lease of a unit and renews it; asked, it says whether the lease is still its own."""
    processes: list[subprocess.Popen[str]] = []

    def begin(
        where: str = store.url, seconds: float = SECONDS, shift: float = 0.0, **environment: str
    ) -> subprocess.Popen[str]:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", HOLD, where, str(seconds), str(shift)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **environment},
            )
        )
        assert asked(processes[-1]) == "True"
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def asked(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("?\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def taken(store: Store, limit: float) -> tuple[Lease | None, float]:
    """Ask for the unit until it is ours or the time is over."""
    begun = time.monotonic()
    while (lease := claim(store, "s", 0, "watcher", SECONDS)) is None and time.monotonic() - begun < limit:
        time.sleep(0.05)
    return lease, time.monotonic() - begun


def test_a_unit_has_one_holder_until_it_is_given_back(store: Store) -> None:
    first = claim(store, "s", 0, "first")
    assert first is not None
    assert claim(store, "s", 0, "second") is None
    assert claim(store, "s", 1, "second") is not None
    assert holder(store, "s", 0) == json.loads(store.read(layout.lease_path("s", 0)))
    assert first.renew()
    assert first.still_mine()
    first.release()
    assert not first.still_mine()
    assert not first.renew()
    assert holder(store, "s", 0) is None
    second = claim(store, "s", 0, "second")
    assert second is not None
    second.finish()
    assert store.files("leases/s") == ["leases/s/000001.json"]


@pytest.mark.parametrize("shift", [0.0, 10**8, -(10**8)], ids=["", "clock ahead", "clock behind"])
def test_a_living_holder_keeps_its_unit_and_a_stopped_one_loses_it(
    store: Store, holding: Holding, shift: float
) -> None:
    process = holding(shift=shift)
    lease, _ = taken(store, 3 * SECONDS)
    assert lease is None
    process.send_signal(signal.SIGSTOP)
    lease, seconds = taken(store, 20 * SECONDS)
    assert lease is not None
    assert seconds > SECONDS / 2
    process.send_signal(signal.SIGCONT)
    assert asked(process) == "False"
    assert lease.still_mine()


def test_a_holder_that_died_on_this_machine_is_not_waited_for(store: Store, holding: Holding) -> None:
    if not leases.process():
        pytest.skip("this system does not tell of its processes")
    process = holding(seconds=1000.0)
    assert claim(store, "s", 0, "watcher") is None
    process.kill()
    process.wait()
    assert claim(store, "s", 0, "watcher") is not None


def test_a_holder_elsewhere_that_died_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is unknown here: the boot is another one."""
    monkeypatch.setattr(leases, "process", lambda pid=None: ["another boot", "space", "1", "2"])
    assert claim(store, "s", 0, "elsewhere", SECONDS) is not None
    monkeypatch.undo()
    lease, seconds = taken(store, 20 * SECONDS)
    assert lease is not None
    assert seconds > SECONDS


def test_a_watcher_that_was_itself_away_does_not_take_a_renewed_lease(store: Store) -> None:
    lease = claim(store, "s", 0, "holder", SECONDS)
    assert lease is not None
    assert claim(store, "s", 0, "watcher", SECONDS) is None
    time.sleep(SECONDS * 0.9)
    assert lease.renew()
    time.sleep(SECONDS * 0.9)
    assert claim(store, "s", 0, "watcher", SECONDS) is None, "it was renewed since we looked first"


def test_half_a_lease_binds_for_its_time_and_no_longer(store: Store) -> None:
    """As a power cut may leave it."""
    store.write(layout.lease_path("s", 0), b'{"worker": "me", "sec')
    lease, seconds = taken(store, 20 * SECONDS)
    assert lease is not None
    assert seconds > SECONDS


def test_a_keeper_goes_on_after_the_store_has_failed(served: Callable[..., s3.Faulty]) -> None:
    server = served(seed=5, rate=0.0, kinds=("refused",), in_a_row=10**9)
    store = Store("s3://bucket/zoo")
    lease = claim(store, "s", 0, "holder", 1.0)
    assert lease is not None
    with Keeper() as keeper:
        keeper.add(lease)
        server.rate = 1.0
        time.sleep(2.0)
        server.rate = 0.0
        time.sleep(2.5)
        assert lease.still_mine()
        assert claim(store, "s", 0, "watcher", 1.0) is None
    assert server.happened["refused"] > 3


@pytest.mark.slow
def test_leases_of_an_object_store(served: Callable[..., s3.Faulty], holding: Holding) -> None:
    server = served()
    process = holding("s3://bucket/zoo", **s3.environment(server.url))
    store = Store("s3://bucket/zoo")
    assert taken(store, 2 * SECONDS)[0] is None
    process.send_signal(signal.SIGSTOP)
    lease, _ = taken(store, 20 * SECONDS)
    assert lease is not None
    process.send_signal(signal.SIGCONT)
    assert asked(process) == "False"
    lease.finish()
    assert store.files() == []


def test_one_at_a_time(store: Store) -> None:
    inside, most, waited = 0, 0, []

    def work() -> None:
        nonlocal inside, most
        with alone(store, "_things", waited.append):
            inside += 1
            most = max(most, inside)
            time.sleep(0.1)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert waited[0] == leases.me()
    assert store.files() == []


def test_an_object_store_that_ignores_conditions_is_refused(served: Callable[..., s3.Faulty]) -> None:
    served(heeds_conditions=False)
    with pytest.raises(NoiseZooError, match="ignores their conditions"), alone(Store("s3://bucket/zoo"), "_things"):
        pass


def test_leases_of_finished_units_are_forgotten_and_no_others(store: Store) -> None:
    for shard in range(3):
        assert claim(store, "s", shard, "dead") is not None
    leases.forget(store, ["s", "none"], {("s", 1)})
    assert store.files() == [layout.lease_path("s", 1)]
