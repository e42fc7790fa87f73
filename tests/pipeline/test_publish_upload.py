"""Uploading through the real client to the small Hub: what is sent, what is not, what the dataset looks like on the way, and what happens when the network falters."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import HfApi

from noisezoo.errors import NoiseZooError
from pipeline.publish import folder as publishable
from pipeline.publish import upload as uploading
from pipeline.publish.folder import Wish
from pipeline.publish.upload import plan, upload
from tests.hub import environment, local_hub
from tests.hub_server import Fault, Hub
from tests.kit.zoos import make_zoo

REPO = "me/zoo"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with local_hub(tmp_path / "server", monkeypatch) as hub:
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    zoo = make_zoo(tmp_path / "zoo.zarr", rows=60)
    publishable.write(zoo, tmp_path / "hub", Wish(repo=REPO))
    return tmp_path / "hub"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between tries, neither ours nor the client's."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def held(hub: Hub, revision: str = "main") -> dict[str, str]:
    repo = hub.repos[REPO]
    sha = repo.find(revision)
    assert sha is not None
    return {name: file.sha256 for name, file in repo.commits[sha].items() if name != ".gitattributes"}


def wanted(folder: Path) -> dict[str, str]:
    sums = publishable.checksums(folder)
    return sums | {name: publishable._sha256(folder / name) for name in ("SHA256SUMS", "noisezoo.json")}


def test_the_dataset_holds_the_folder_and_is_tagged(hub: Hub, folder: Path) -> None:
    sha = upload(folder, REPO)
    assert held(hub) == wanted(folder)
    digest = publishable.read_manifest(folder)["digest"]
    assert hub.repos[REPO].tags == {f"zoo-{digest[:12]}": sha}


def test_nothing_is_sent_twice(hub: Hub, folder: Path) -> None:
    upload(folder, REPO)
    commits = len(hub.repos[REPO].commits)
    hub.log.clear()
    upload(folder, REPO)
    assert len(hub.repos[REPO].commits) == commits
    assert hub.count("PUT") == 0
    todo = plan(folder, REPO)
    assert (todo.send, todo.delete) == ({}, ())
    assert todo.same == len(wanted(folder))


def test_the_card_comes_last_and_goes_first(
    hub: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "BATCH_FILES", 10)
    upload(folder, REPO)
    trees = list(hub.repos[REPO].commits.values())
    assert len(trees) > 4
    assert all("README.md" not in tree and "noisezoo.json" not in tree for tree in trees[:-1])
    before = len(trees)
    publishable.write(make_zoo(tmp_path / "other.zarr", rows=40), folder, Wish(repo=REPO))
    upload(folder, REPO)
    trees = list(hub.repos[REPO].commits.values())[before:]
    assert all("README.md" not in tree and "noisezoo.json" not in tree for tree in trees[:-1])
    assert held(hub) == wanted(folder), "files of the earlier zoo are gone"
    assert len(hub.repos[REPO].tags) == 2


def test_a_dry_run_lists_and_sends_nothing(hub: Hub, folder: Path) -> None:
    todo = plan(folder, REPO)
    assert set(todo.send) == set(wanted(folder))
    assert todo.bytes == sum((folder / name).stat().st_size for name in todo.send)
    assert list(todo.send)[-2:] == ["README.md", "noisezoo.json"]
    assert hub.repos == {}


def test_large_files_go_in_parts(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with local_hub(tmp_path / "parts", monkeypatch, multipart_bytes=5000) as hub:
        upload(folder, REPO)
        assert held(hub) == wanted(folder)
        assert hub.count("/part/") > 0


FAULTS = {
    "a cut upload": [Fault("cut", r"PUT /lfs", times=3)],
    "too many requests": [Fault(429, r"(PUT|POST)", times=4, skip=3, retry_after="1")],
    "errors of the server": [Fault(500, r"/commit/", times=2), Fault(503, r"/tree/", times=2), Fault(500, "PUT", 3)],
    "a lost answer": [Fault("cut", r"POST .*/commit/", times=1)],
    "trouble with tags": [Fault(500, r"/tag/", times=2), Fault(502, r"/refs", times=1)],
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.usefixtures("quick")
def test_faults_are_outlived(hub: Hub, folder: Path, name: str) -> None:
    hub.faults = FAULTS[name]
    upload(folder, REPO)
    assert all(fault.times == 0 for fault in hub.faults), "every fault has happened"
    assert held(hub) == wanted(folder)


@pytest.mark.usefixtures("quick")
def test_a_hub_that_stays_down_is_told_and_the_next_run_goes_on(hub: Hub, folder: Path) -> None:
    hub.faults = [Fault(500, r"PUT /lfs", times=10**6, skip=5)]
    with pytest.raises(NoiseZooError, match="type the same command again to go on"):
        upload(folder, REPO)
    assert "README.md" not in held(hub)
    hub.faults = []
    sent = hub.taken("PUT")
    hub.log.clear()
    upload(folder, REPO)
    assert held(hub) == wanted(folder)
    assert sent > 0
    lfs = {
        file.sha256: file.size
        for file in hub.repos[REPO].commits[hub.repos[REPO].branches["main"]].values()
        if file.is_lfs
    }
    # Two files of the same few bytes may go at the same time, each as if the other were not there.
    assert hub.taken("PUT") + sent <= 1.01 * sum(lfs.values()), "nothing was sent twice"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("status", "said"), [(401, "hf auth login"), (403, "write access")])
def test_who_may_not_write_is_told(hub: Hub, folder: Path, status: int, said: str) -> None:
    hub.faults = [Fault(status, r"POST /api/repos/create", times=100)]
    with pytest.raises(NoiseZooError, match=said):
        upload(folder, REPO)


@pytest.mark.slow
def test_killed_at_random_moments_and_started_again_the_dataset_is_the_same(hub: Hub, tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr", rows=800, shard_rows=16, spaces={"toy_sd": (4, 16, 16), "toy_clip": (512,)})
    publishable.write(zoo, tmp_path / "hub", Wish(repo=REPO))
    code = (
        "from pathlib import Path\nfrom pipeline.publish import upload\nupload.BATCH_FILES = 40\nprint('ready', flush=True)\n"
        f"upload.upload(Path({str(tmp_path / 'hub')!r}), {REPO!r})\n"
    )
    random = np.random.default_rng(3)
    half_done = 0
    # A hub that answers at once would have it all before most of the kills.
    hub.before = lambda line: time.sleep(0.05)
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=environment(hub, tmp_path / "home"), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.uniform(0.1, 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if REPO in hub.repos and not hub.repos[REPO].tags:
            half_done += 1
            assert "noisezoo.json" not in held(hub) or held(hub) == wanted(tmp_path / "hub")
    hub.before = None
    assert half_done >= 3
    upload(tmp_path / "hub", REPO)
    assert held(hub) == wanted(tmp_path / "hub")
    lfs = {file.sha256: file.size for tree in hub.repos[REPO].commits.values() for file in tree.values() if file.is_lfs}
    assert hub.taken("PUT") <= sum(lfs.values()) + 10 * 5 * 2**20, "what had arrived was not sent again"


def test_a_file_that_has_changed_since_is_not_uploaded(hub: Hub, folder: Path) -> None:
    path = next(iter(sorted((folder / "parquet" / "toy_sd").glob("*.parquet"))))
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(NoiseZooError, match="not what SHA256SUMS says"):
        upload(folder, REPO)
    assert "README.md" not in held(hub)


def test_an_unfinished_folder_is_refused(hub: Hub, folder: Path) -> None:
    (folder / "noisezoo.json").unlink()
    with pytest.raises(NoiseZooError, match="noisezoo publish"):
        plan(folder, REPO)


def test_a_name_that_is_none_is_told(hub: Hub, folder: Path) -> None:
    with pytest.raises(NoiseZooError, match=r"hub\.repo=USER/NAME"):
        upload(folder, "not a name")


def test_a_private_dataset(hub: Hub, folder: Path) -> None:
    upload(folder, REPO, private=True)
    assert HfApi().repo_info(REPO, repo_type="dataset").private is True
