"""Builds as users run them: real processes, killed with real signals, and what bad input gets."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import noisezoo as library
from pipeline.sources.toy import Toy
from tests.kit.builds import CONF, ROOT, build_words, command, entries, noisezoo, shard_digests, started, wait_until


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = noisezoo(*build_words(folder, "slow_one,slow_two"))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_killed_ten_times_ends_with_the_same_bytes_and_nothing_is_done_twice(tmp_path: Path, undisturbed: Path) -> None:
    dice = random.Random(7)
    seen: dict[str, str] = {}
    for kill in range(10):
        process = started(*build_words(tmp_path, "slow_one,slow_two"))
        if kill < 3:  # in the middle of start-up
            time.sleep(dice.uniform(0.2, 0.8) * 2)
        else:  # while units are computed: some time after one more is finished
            wait_until(lambda: len(entries(tmp_path)) > len(seen) or process.poll() is not None)  # noqa: B023
            time.sleep(dice.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        now = entries(tmp_path)
        assert {k: v for k, v in now.items() if k in seen} == seen
        seen = now
    assert 0 < len(seen) < 20, "the kills came before the first unit or after the last: the test shows nothing"
    done = noisezoo(*build_words(tmp_path, "slow_one,slow_two"))
    assert done.returncode == 0, done.stderr
    assert {k: v for k, v in entries(tmp_path).items() if k in seen} == seen
    assert shard_digests(tmp_path) == shard_digests(undisturbed)
    assert noisezoo("verify", str(tmp_path / "zoo.zarr")).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_clean_and_says_how_to_go_on(tmp_path: Path, undisturbed: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        command(*build_words(tmp_path, "slow_one,slow_two")), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while not entries(tmp_path):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    begun = time.monotonic()
    _, errors = process.communicate(timeout=10)
    assert time.monotonic() - begun < 10
    assert process.returncode == 130, errors
    assert "type the same command again to go on" in errors
    assert "Traceback" not in errors
    assert noisezoo(*build_words(tmp_path, "slow_one,slow_two")).returncode == 0
    assert shard_digests(tmp_path) == shard_digests(undisturbed)


@pytest.mark.slow
def test_a_flipped_byte_is_found_and_only_that_unit_is_redone(tmp_path: Path) -> None:
    words = build_words(tmp_path)
    assert noisezoo(*words).returncode == 0
    before, digests = entries(tmp_path), shard_digests(tmp_path)
    path = tmp_path / "zoo.zarr/spaces/thumbnail/latent/c/3/0/0/0"
    whole = path.read_bytes()
    path.write_bytes(whole[:500] + bytes([whole[500] ^ 4]) + whole[501:])
    found = noisezoo("verify", f"dir={tmp_path}")
    assert found.returncode == 1
    assert "thumbnail shard 3 (rows 96…127)" in found.stderr
    assert noisezoo(*words).returncode == 0
    assert shard_digests(tmp_path) == digests
    after = entries(tmp_path)
    assert [name for name in after if after[name] != before[name]] == ["zoo.zarr/ledger/thumbnail/000003.json"]
    assert noisezoo("verify", f"dir={tmp_path}").returncode == 0


def test_a_broken_image_keeps_its_row_and_its_reason(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for picture in Toy(size=5).read(range(5)):
        (photos / f"{picture.row}.png").write_bytes(picture.data or b"")
    (photos / "3.png").write_bytes((photos / "3.png").read_bytes()[:200])
    words = ["dataset=folder", f"dataset.root={photos}", "ingest.max_broken_share=0.5"]
    done = noisezoo("build", "--config-dir", str(CONF), "spaces=[thumbnail]", f"dir={tmp_path / 'z'}", *words)
    assert done.returncode == 0, done.stderr
    zoo = library.open(str(tmp_path / "z" / "zoo.zarr"))
    assert list(zoo["thumbnail"].valid) == [True, True, True, False, True]
    (entry,) = zoo["thumbnail"].finished.values()
    assert list(entry.invalid) == ["3"]
    assert entry.invalid["3"]


BAD = [
    (["build", "spaces=[toy_dd]"], r"no space 'toy_dd': did you mean 'toy_"),
    (["build", "dataset=celba"], r"no dataset 'celba': did you mean 'celeba'"),
    (["build", "experiment=toyy"], r"no experiment 'toyy': did you mean 'toy'"),
    (["build", "datset.limit=5"], r"no key 'datset': did you mean 'dataset'"),
    (["build", "dataset.limt=5"], r"no key 'dataset.limt': did you mean 'limit'"),
    (["build", "ingest.worker=5"], r"no key 'ingest.worker': did you mean 'workers'"),
    (["build", "ingest.workers=many"], r"at ingest.workers: .*Integer"),
    (["build", "spaces=["], r"Cannot read 'spaces=\['"),
    (["build", "--config-dir=/nowhere", "spaces=[]"], r"no folder /nowhere"),
    (["build", "spaces=[]", "dataset=folder", "dataset.root=/nowhere"], r"/nowhere"),
    (["build", "spaces=[]", "dir=/proc/none"], r"Cannot write in /proc/none"),
    (["bild"], r"no command 'bild': did you mean 'build'"),
    (["info"], r"Say which zoo: noisezoo info PATH-OR-URL"),
    (["info", "/nowhere"], r"/nowhere does not exist"),
    (["status", "dir=/nowhere"], r"/nowhere/zoo.zarr does not exist"),
]


@pytest.mark.parametrize(("words", "answer"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_gets_one_sentence_and_a_status(words: list[str], answer: str, tmp_path: Path) -> None:
    words = words if any(w.startswith("dir=") for w in words) or words[0] != "build" else [*words, f"dir={tmp_path}/z"]
    done = noisezoo(*words)
    assert done.returncode not in (0, 130)
    assert re.search(answer, done.stderr), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.slow
def test_what_exists_is_never_mixed_or_overwritten(tmp_path: Path) -> None:
    words = build_words(tmp_path / "z", "thumbnail", 64)
    assert noisezoo(*words).returncode == 0
    digests = shard_digests(tmp_path)
    for change, answer in [
        ("space.thumbnail.scale=3", r"scale 1.0, not 3.*rebuild=\[thumbnail\]"),
        ("dataset.limit=40", "limit"),
        ("shard_rows=64", "32"),
    ]:
        done = noisezoo(*words, change)
        assert done.returncode == 1
        assert re.search(answer, done.stderr), done.stderr
        assert shard_digests(tmp_path) == digests
    assert noisezoo(*words, "space.thumbnail.scale=3", "rebuild=[thumbnail]").returncode == 0
    assert shard_digests(tmp_path) != digests
    facts = json.loads((tmp_path / "z/zoo.zarr/zarr.json").read_text())
    facts["attributes"]["noisezoo"]["format"] = 2
    (tmp_path / "z/zoo.zarr/zarr.json").write_text(json.dumps(facts))
    newer = noisezoo(*words)
    assert newer.returncode == 1
    assert "pip install --upgrade noisezoo" in newer.stderr
    other = tmp_path / "other" / "zoo.zarr"
    other.mkdir(parents=True)
    (other / "thesis.txt").write_text("mine")
    kept = noisezoo(*build_words(tmp_path / "other", "thumbnail", 64))
    assert kept.returncode == 1
    assert "holds something else" in kept.stderr
    assert (other / "thesis.txt").read_text() == "mine"


@pytest.mark.slow
def test_a_sweep_builds_each_value_and_cfg_shows_the_whole_configuration(tmp_path: Path) -> None:
    words = build_words(tmp_path / "${hydra:job.num}", "thumbnail", 32, "--multirun", "space.thumbnail.scale=1,2")
    done = noisezoo(*words)
    assert done.returncode == 0, done.stderr
    scales = [library.open(str(tmp_path / n / "zoo.zarr"))["thumbnail"].config["scale"] for n in ("0", "1")]
    assert scales == [1, 2]
    shown = noisezoo(*build_words(tmp_path, "thumbnail", 32, "--cfg", "job"))
    assert shown.returncode == 0
    for key in ("shard_rows: 32", "scale: 1.0", "_target_: stages.ingest.run", "_target_: pipeline.runners.Inline"):
        assert key in shown.stdout


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system can be mounted by root alone")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_told_and_nothing_is_lost(small_disk: Path, tmp_path: Path) -> None:
    images = f"images={tmp_path / 'images'}"
    words = build_words(small_disk, "thumbnail,wide", 300, images)
    full = noisezoo(*words)
    assert full.returncode == 1
    assert "No space is left" in full.stderr.splitlines()[-1], full.stderr
    assert "Traceback" not in full.stderr
    kept = entries(small_disk)
    assert not list(small_disk.rglob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert noisezoo(*words).returncode == 0
    now = entries(small_disk)
    assert kept
    assert {name: now[name] for name in kept} == kept
    assert noisezoo("verify", str(small_disk / "zoo.zarr")).returncode == 0


@pytest.mark.slow
def test_a_disk_that_is_full_when_a_unit_is_entered_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    """The ledger alone lies on a small disk: shards still find room, their entries do not."""
    words = build_words(tmp_path / "z", "thumbnail", 192)
    assert noisezoo("ingest", *words[1:]).returncode == 0
    ledger = tmp_path / "z/zoo.zarr/ledger/thumbnail"
    ledger.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", ledger], check=False).returncode:
        pytest.skip("a small file system can be mounted by root alone")
    try:
        full = noisezoo(*words)
        assert full.returncode == 1
        assert re.search("No space is left for .*/ledger/thumbnail/", full.stderr.splitlines()[-1]), full.stderr
        kept = entries(tmp_path / "z")
        assert 0 < len(kept) < 6
        shards = {p.parts[-4] for p in (tmp_path / "z").glob("zoo.zarr/spaces/thumbnail/latent/c/*/0/0/0")}
        assert len(shards) > len(kept), "a shard is there whose entry found no room"
        subprocess.run(["mount", "-o", "remount,size=1m", ledger], check=True)
        assert noisezoo(*words).returncode == 0
        now = entries(tmp_path / "z")
        assert len(now) == 6
        assert kept.items() <= now.items()
        assert not list((tmp_path / "z").rglob("*.tmp"))
    finally:
        subprocess.run(["umount", ledger], check=True)
    assert noisezoo(*build_words(tmp_path / "right", "thumbnail", 192)).returncode == 0
    assert shard_digests(tmp_path / "z") == shard_digests(tmp_path / "right")
