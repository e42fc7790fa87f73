"""Fetching a published zoo through the real client: parts and wholes, faults, kills, rot, and what bad words get."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import noisezoo
from noisezoo import fetch as fetching
from noisezoo import layout
from noisezoo.cli import main
from noisezoo.errors import NoiseZooError
from noisezoo.fetch import fetch
from noisezoo.verify import verify
from tests.hub import environment, local_hub, local_s3
from tests.hub_server import Fault, Hub
from tests.kit.zoos import make_zoo, values

REPO = "me/zoo"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    make_zoo(tmp_path / "hub" / "zoo.zarr", rows=300, shard_rows=32, invalid={"toy_sd": [3, 250]})
    files = sorted(p for p in (tmp_path / "hub").rglob("*") if p.is_file())
    sums = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(tmp_path / 'hub').as_posix()}\n" for p in files
    ]
    (tmp_path / "hub" / "SHA256SUMS").write_text("".join(sums))
    (tmp_path / "hub" / "README.md").write_text("# a zoo\n")
    return tmp_path / "hub"


@pytest.fixture
def hub(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with local_hub(tmp_path / "server", monkeypatch) as hub:
        hub.add_folder(REPO, published)
        yield hub


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def shards(folder: Path) -> dict[str, str]:
    """Every chunk of every array by name, digested."""
    files = [p for p in folder.rglob("*") if p.is_file() and "/c/" in p.as_posix()]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_everything_arrives_byte_for_byte(hub: Hub, published: Path, tmp_path: Path) -> None:
    got = fetch(REPO, tmp_path / "here")
    assert (got.units, got.new) == (20, 20)
    assert shards(tmp_path / "here") == shards(published / "zoo.zarr")
    assert verify(got.zoo) == []
    assert got.zoo.digest == noisezoo.open(str(published)).digest


def test_a_part_is_a_zoo_and_only_its_shards_are_moved(hub: Hub, published: Path, tmp_path: Path) -> None:
    got = fetch(REPO, tmp_path / "here", ["toy_clip"], rows="40:70")
    assert (got.units, list(got.zoo.spaces)) == (2, ["toy_clip"])
    assert verify(got.zoo) == []
    assert len(got.zoo) == 300
    assert got.zoo["toy_clip"].valid.sum() == 64
    np.testing.assert_array_equal(got.zoo["toy_clip"][40:70], values("toy_clip", np.arange(40, 70), (32,)))
    assert set(got.zoo.labels) == {"Smiling", "Male"}
    latents = [r for r in hub.log if "toy_clip/latent/c/" in r.path]
    assert {r.path.split("/c/")[1] for r in latents} == {"1/0", "2/0"}
    assert hub.count("toy_sd/latent") == 0


def test_more_of_it_is_added(hub: Hub, published: Path, tmp_path: Path) -> None:
    fetch(REPO, tmp_path / "here", ["toy_clip"], rows=":32")
    fetch(REPO, tmp_path / "here", ["toy_sd"], split="test")
    got = fetch(REPO, tmp_path / "here")
    assert got.new == 20 - 1 - 3
    assert shards(tmp_path / "here") == shards(published / "zoo.zarr")


def test_nothing_is_fetched_twice(hub: Hub, tmp_path: Path) -> None:
    fetch(REPO, tmp_path / "here")
    hub.log.clear()
    again = fetch(REPO, tmp_path / "here")
    assert again.new == 0
    assert hub.count("/latent/c/") == 0


def test_rot_is_mended(hub: Hub, published: Path, tmp_path: Path) -> None:
    fetch(REPO, tmp_path / "here")
    path = tmp_path / "here" / layout.chunk_key(layout.array_path("toy_sd"), 2, 4)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert fetch(REPO, tmp_path / "here").new == 1
    assert shards(tmp_path / "here") == shards(published / "zoo.zarr")


FAULTS = {
    "wrong bytes": [Fault("corrupt", r"GET /cdn", times=3)],
    "cut answers": [Fault("cut", r"GET /cdn", times=3), Fault("cut", r"GET .*ledger", times=2)],
    "too many requests": [Fault(429, r"GET", times=6, skip=10, retry_after="1")],
    "errors of the server": [Fault(500, r"GET .*zarr.json", times=2), Fault(503, r"GET /cdn", times=4)],
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.usefixtures("quick")
def test_faults_are_outlived(hub: Hub, published: Path, tmp_path: Path, name: str) -> None:
    hub.faults = FAULTS[name]
    got = fetch(REPO, tmp_path / "here")
    assert all(fault.times == 0 for fault in hub.faults), "every fault has happened"
    assert shards(tmp_path / "here") == shards(published / "zoo.zarr")
    assert verify(got.zoo) == []


@pytest.mark.usefixtures("quick")
def test_bytes_that_stay_wrong_are_told(hub: Hub, tmp_path: Path) -> None:
    hub.faults = [Fault("corrupt", r"GET /cdn", times=10**6)]
    with pytest.raises(NoiseZooError, match="not what its publisher's digest says"):
        fetch(REPO, tmp_path / "here")


@pytest.mark.usefixtures("quick")
def test_a_hub_that_stays_down_is_told_and_the_next_fetch_goes_on(hub: Hub, published: Path, tmp_path: Path) -> None:
    hub.faults = [Fault(500, r"GET .*(cdn|c/[0-9])", times=10**6, skip=12)]
    with pytest.raises(NoiseZooError, match="type the same command again to go on"):
        fetch(REPO, tmp_path / "here")
    hub.faults = [Fault(503, r"GET /api/datasets", times=10**6)]
    with pytest.raises(NoiseZooError, match="cannot be reached"):
        fetch(REPO, tmp_path / "here")
    hub.faults = []
    fetch(REPO, tmp_path / "here")
    assert shards(tmp_path / "here") == shards(published / "zoo.zarr")


@pytest.mark.parametrize(("status", "said"), [(401, "hf auth login"), (403, "accept its terms")])
def test_a_dataset_that_is_closed_is_told(hub: Hub, tmp_path: Path, status: int, said: str) -> None:
    hub.faults = [Fault(status, r"GET /api/datasets", times=10)]
    with pytest.raises(NoiseZooError, match=said):
        fetch(REPO, tmp_path / "here")


@pytest.mark.slow
def test_killed_at_random_moments_and_started_again_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_zoo(
        tmp_path / "hub" / "zoo.zarr", rows=1600, shard_rows=16, spaces={"toy_sd": (4, 16, 16), "toy_clip": (512,)}
    )
    with local_hub(tmp_path / "server", monkeypatch) as hub:
        hub.add_folder(REPO, tmp_path / "hub")
        command = [sys.executable, "-m", "noisezoo", "fetch", REPO, "--to", str(tmp_path / "here"), "--workers", "2"]
        random = np.random.default_rng(1)
        counts = []
        for _ in range(10):
            seen = len(hub.log)
            process = subprocess.Popen(
                command, env=environment(hub, tmp_path / "home"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            deadline = time.monotonic() + 60
            while len(hub.log) < seen + 5 and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.005)
            time.sleep(random.uniform(0, 0.6))
            process.send_signal(signal.SIGKILL)
            process.wait()
            counts.append(len(list((tmp_path / "here").glob("ledger/*/*.json"))))
        assert any(0 < count < 200 for count in counts), counts
        assert counts == sorted(counts), "nothing that was finished is lost"
        done = subprocess.run(
            command, env=environment(hub, tmp_path / "home"), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "agree with the ledger" in done.stdout
    assert shards(tmp_path / "here") == shards(tmp_path / "hub" / "zoo.zarr")
    assert verify(noisezoo.open(str(tmp_path / "here"))) == []


def test_from_a_folder_too(published: Path, tmp_path: Path) -> None:
    fetch(str(published), tmp_path / "here", ["toy_clip"])
    np.testing.assert_array_equal(
        noisezoo.open(str(tmp_path / "here"))["toy_clip"][:], values("toy_clip", np.arange(300), (32,))
    )


def test_from_s3_too(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with local_s3(monkeypatch) as fs:
        fs.put(str(published / "zoo.zarr"), "bucket/zoo.zarr", recursive=True)
        got = fetch("s3://bucket/zoo.zarr", tmp_path / "here", ["toy_sd"])
    assert verify(got.zoo) == []
    assert got.zoo["toy_sd"].digests == noisezoo.open(str(published))["toy_sd"].digests


def test_a_tag_is_fetched_though_main_has_moved_on(hub: Hub, published: Path, tmp_path: Path) -> None:
    repo = hub.repos[REPO]
    repo.tags["zoo-1"] = repo.branches["main"]
    repo.commit("main", {}, "gone")
    assert fetch(REPO, tmp_path / "here", revision="zoo-1").units == 20
    with pytest.raises(NoiseZooError, match="holds no zoo"):
        fetch(REPO, tmp_path / "there")


BAD = [
    (["--spaces", "toy_sdd"], "did you mean 'toy_sd'"),
    (["--split", "tset"], "no split 'tset'"),
    (["--rows", "ten"], "--rows 0:10000"),
    (["--rows", "900:1000"], "No row of the zoo"),
    (["--sapces", "x"], "fetch --help"),
]


@pytest.mark.parametrize(("words", "said"), BAD)
def test_bad_words_get_a_sentence(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["fetch", str(published), "--to", str(tmp_path / "here"), *words]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_a_dataset_that_is_not_there_is_told(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "me/zo", "--to", str(tmp_path / "here")]) == 1
    assert "me/zo of the Hub" in capsys.readouterr().err


def test_a_folder_with_something_else_in_it_is_left_alone(published: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "thesis.txt").write_text("years of work")
    with pytest.raises(NoiseZooError, match="something else"):
        fetch(str(published), tmp_path / "here")
    assert os.listdir(tmp_path / "here") == ["thesis.txt"]


def test_another_zoo_is_not_mixed_in(published: Path, tmp_path: Path) -> None:
    from tests.kit.zoos import SOURCE

    make_zoo(tmp_path / "here", source={**SOURCE, "digest": "1" * 64})
    with pytest.raises(NoiseZooError, match="other rows"):
        fetch(str(published), tmp_path / "here")


def test_an_unfinished_shard_is_told(tmp_path: Path) -> None:
    make_zoo(tmp_path / "zoo.zarr", without=[("toy_sd", 2)])
    with pytest.raises(NoiseZooError, match="Shard 2 of 'toy_sd' is unfinished"):
        fetch(str(tmp_path / "zoo.zarr"), tmp_path / "here")
    assert fetch(str(tmp_path / "zoo.zarr"), tmp_path / "part", ["toy_sd"], rows=":32").units == 2


@pytest.mark.parametrize(
    ("text", "wanted"), [("2:5", [2, 3, 4]), (":2", [0, 1]), ("8:", [8, 9]), ("-2:", [8, 9]), ("7", [7])]
)
def test_rows_are_written_as_in_python(text: str, wanted: list[int]) -> None:
    assert list(fetching.select(text, 10)) == wanted
