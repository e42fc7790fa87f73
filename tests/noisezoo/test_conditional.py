"""Conditional writes on a disk and on S3: one winner, nothing lost, nothing seen by halves, whatever fails and whoever is stopped or killed.

moto heeds If-None-Match and If-Match, but not in one step with the put; the proxy before it makes them one, as S3 does (tests/kit/s3.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from noisezoo import conditional
from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from tests.kit import gcs, s3
from tests.kit.builds import ROOT


@pytest.fixture(params=["disk", "s3", "gs"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store of each kind; gs:// only where the extra 'gcs' is installed."""
    if request.param == "disk":
        yield Store(str(tmp_path / "store"))
    elif request.param == "s3":
        request.getfixturevalue("served")()
        yield Store("s3://bucket/store")
    else:
        monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it would ask Google about the bucket
        gcsfs = pytest.importorskip("gcsfs")
        with gcs.served() as url:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
            gcsfs.GCSFileSystem.clear_instance_cache()
            yield Store("gs://bucket/store")


def test_a_file_is_created_once_and_replaced_only_as_it_was_read(store: Store) -> None:
    first = store.create("a/b", b"1")
    assert first is not None
    assert store.create("a/b", b"2") is None
    assert store.create("a/b", b"1") == first, "the same bytes count as put"
    assert store.read_version("a/b") == (b"1", first)
    assert store.replace("a/b", b"3", "77") is None
    second = store.replace("a/b", b"2", first)
    assert second not in (None, first)
    assert store.replace("a/b", b"3", first) is None
    assert store.replace("a/none", b"3", first) is None
    assert store.read("a/b") == b"2"
    assert store.files() == ["a/b"]
    store.unlink("a/b")
    store.unlink("a/b")
    assert not store.exists("a/b")
    with pytest.raises(FileNotFoundError):
        store.read_version("a/b")


def test_of_many_at_once_one_wins(store: Store) -> None:
    def contend(me: int) -> list[int]:
        return [n for n in range(12) if store.create(f"x/{n}", str(me).encode()) is not None]

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(contend, range(6)))
    assert sorted(n for mine in won for n in mine) == list(range(12))
    for me, mine in enumerate(won):
        assert all(store.read(f"x/{n}") == str(me).encode() for n in mine)


def test_no_replacement_is_lost(store: Store) -> None:
    store.create("count", b"0")

    def add(me: int) -> None:
        times = 10
        while times:
            data, version = store.read_version("count")
            told = f"{int(data.split()[0]) + 1} by {me}, who has {times} to go"
            if store.replace("count", told.encode(), version) is not None:
                times -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    assert store.read("count").split()[0] == b"40"


ADD = """
import sys, uuid
from noisezoo.store import Store
store = Store(sys.argv[1])
for n in range(200):
    while True:
        data, version = store.read_version("count")
        if store.replace("count", f"{int(data.split()[0]) + 1} {uuid.uuid4()}".encode(), version) is not None:
            break
"""


def test_no_replacement_of_another_process_is_lost(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.create("count", b"0")
    processes = [subprocess.Popen([sys.executable, "-c", ADD, str(tmp_path)], cwd=ROOT) for _ in range(3)]
    assert [p.wait(120) for p in processes] == [0, 0, 0]
    assert store.read("count").split()[0] == b"600"


def test_a_reader_sees_all_of_a_file_or_none(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    sizes, done = set(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            for n in range(40):
                try:
                    sizes.add(len(store.read(f"x/{n}")))
                except FileNotFoundError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    for n in range(40):
        version = store.create(f"x/{n}", b"1" * (1 << 20))
        assert version is not None
        assert store.replace(f"x/{n}", b"2" * (1 << 20), version) is not None
    done.set()
    watcher.join()
    assert sizes == {1 << 20}


HOLD = """
import sys, time
from noisezoo import conditional
from noisezoo.store import Store
setattr(conditional.os, sys.argv[1], lambda *of: (print("holds", flush=True), time.sleep(60)))
store = Store(sys.argv[2])
getattr(store, sys.argv[3])(*[part.encode() if i else part for i, part in enumerate(sys.argv[4:6])], *sys.argv[6:])
"""


@pytest.fixture
def holding() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Processes that stop in the middle of a write: at `fsync` the file is half made, at `replace` it is about to take its place."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> subprocess.Popen[str]:
        processes.append(
            subprocess.Popen([sys.executable, "-c", HOLD, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        )
        assert processes[-1].stdout is not None
        assert processes[-1].stdout.readline() == "holds\n"
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def test_what_a_killed_writer_leaves_is_swept_away_and_what_a_living_one_writes_is_not(
    tmp_path: Path, holding: Callable[..., subprocess.Popen[str]]
) -> None:
    where = ("fsync", str(tmp_path))
    living, dead = holding(*where, "create", "a/lives", "x"), holding(*where, "write", "a/dead", "x")
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    store = Store(str(tmp_path))
    assert len(store.files()) == 2
    assert not store.exists("a/dead")
    store.sweep()
    (left,) = store.files()
    assert left.startswith("a/lives.")
    assert living.poll() is None


def test_a_writer_that_is_stopped_before_it_replaces_has_no_lock_and_loses_its_turn(
    tmp_path: Path, holding: Callable[..., subprocess.Popen[str]]
) -> None:
    store = Store(str(tmp_path))
    version = store.create("a", b"old")
    assert version is not None
    holding("fsync", str(tmp_path), "replace", "a", "theirs", version).send_signal(signal.SIGSTOP)
    assert store.replace("a", b"ours", version) is not None
    assert store.read("a") == b"ours"


def test_a_writer_that_is_stopped_while_it_replaces_holds_nobody_up_and_keeps_its_place(
    tmp_path: Path, holding: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditional, "LOCK_SECONDS", 0.3)
    store = Store(str(tmp_path))
    version = store.create("a", b"old")
    assert version is not None
    process = holding("replace", str(tmp_path), "replace", "a", "theirs", version)
    process.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    assert store.replace("a", b"ours", version) is None
    assert time.monotonic() - begun < 5
    process.kill()
    process.wait()
    assert store.replace("a", b"ours", version) is not None
    assert store.read("a") == b"ours"


def test_a_disk_without_hard_links_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(NoiseZooError, match="knows no hard links"):
        Store(str(tmp_path)).create("a", b"")


@pytest.mark.parametrize("url", ["hf://datasets/someone/something", "memory://somewhere"])
def test_stores_without_conditions_are_refused(url: str) -> None:
    with pytest.raises(NoiseZooError, match=r"without conditional writes .* build into a folder, s3:// or gs://"):
        Store(url).create("a", b"")


@pytest.mark.slow
@pytest.mark.parametrize("kind", s3.FAULTS)
def test_what_fails_in_passing_is_asked_again(kind: str, served: Callable[..., s3.Faulty]) -> None:
    server = served(seed=3, rate=1.0, kinds=(kind,), in_a_row=1)
    store = Store("s3://bucket/store")
    store.write("w", b"w" * 1000)
    version = store.create("a/c", b"1" * 1000)
    # A put that was done and not heard of is ours all the same, and its version is good.
    assert version is not None
    assert store.create("a/c", b"another's") is None
    assert store.replace("a/c", b"2" * 1000, version) is not None
    assert store.replace("a/c", b"another's", version) is None
    assert store.read("a/c") == b"2" * 1000
    assert store.read_many(["w", "none", "a/c"]) == {"w": b"w" * 1000, "a/c": b"2" * 1000}
    assert store.files() == ["a/c", "w"]
    store.unlink("w")
    assert store.names() == ["a"]
    assert server.happened[kind] >= 6


@pytest.mark.slow
def test_a_store_that_always_fails_gets_few_requests_and_a_sentence(
    served: Callable[..., s3.Faulty], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = served(seed=3, rate=1.0, kinds=("error",), in_a_row=10**9)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    store = Store("s3://bucket/store")
    for act in (lambda: store.read("a"), lambda: store.create("a", b""), lambda: store.write("a", b""), store.names):
        before = len(server.requests)
        with pytest.raises(NoiseZooError, match=r"^s3://bucket/store does not answer .* type the same command again"):
            act()
        assert len(server.requests) - before == 6


SENTENCES = [
    ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "s3://bucket/x", "s3://bucket/x does not answer"),
    ({}, "s3://no-such-bucket/x", "make the bucket"),
    ({}, "s3://key:sEcRet0123@bucket/x", "holds credentials"),
    ({}, "s3://key:sEc/Ret0123@bucket/x", "holds credentials"),
    ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "s3://bucket/x", "There are no credentials"),
]


@pytest.mark.parametrize(("change", "url", "answer"), SENTENCES, ids=[answer for *_, answer in SENTENCES])
def test_what_is_wrong_with_a_store_is_one_sentence_without_secrets(
    served: Callable[..., s3.Faulty],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    change: dict[str, str | None],
    url: str,
    answer: str,
) -> None:
    served()
    for name, value in change.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(NoiseZooError, match=answer) as caught:
        Store(url).create("a", b"")
    told = str(caught.value)
    assert len(told.splitlines()) == 1
    assert not {"sEc", "Ret0123", s3.ENVIRONMENT["AWS_SECRET_ACCESS_KEY"]} & set(told.split())
    assert "Ret0123" not in told
    assert s3.ENVIRONMENT["AWS_SECRET_ACCESS_KEY"] not in told


def test_many_small_files_take_a_request_each(served: Callable[..., s3.Faulty]) -> None:
    server = served()
    store = Store("s3://bucket/store")
    names = [f"x/{n}" for n in range(40)]
    for name in names:
        store.write(name, name.encode())
    before = len(server.requests)
    assert store.read_many([*names, "x/none"]) == {name: name.encode() for name in names}
    assert len(server.requests) - before == 41
