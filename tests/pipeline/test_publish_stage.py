"""`noisezoo publish` as it is typed: to a folder, and on to the Hub and back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import noisezoo
from noisezoo.verify import verify
from pipeline.overrides import plainly
from tests.hub import environment
from tests.hub_server import running
from tests.kit.zoos import make_zoo

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("hub=me/zoo", "hub.repo=me/zoo"),
        ("hub=folder", "hub=folder"),
        ("--dry-run", "publish.dry_run=true"),
        ("dataset.root=a/b", "dataset.root=a/b"),
    ],
)
def test_short_words(typed: str, meant: str) -> None:
    assert plainly(["name=x", typed]) == ["name=x", meant]


@pytest.mark.slow
def test_published_to_the_hub_and_fetched_with_a_clean_cache_it_is_the_same_zoo(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr", rows=300, shard_rows=64, invalid={"toy_sd": [3]})
    words = ["publish", "name=mine", f"dir={tmp_path}", "hub=me/zoo"]
    with running(tmp_path / "server") as hub:

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "noisezoo", *arguments],
                env=environment(hub, tmp_path / "home"),
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )

        listed = run(*words, "--dry-run")
        assert listed.returncode == 0, listed.stderr
        assert "parquet/toy_sd/train-00000-of-00001.parquet" in listed.stdout
        assert "would go to me/zoo; 0 are there already" in listed.stdout
        assert "me/zoo" not in hub.repos
        done = run(*words)
        assert done.returncode == 0, done.stderr
        assert hub.repos["me/zoo"].tags
        hub.log.clear()
        assert run(*words).returncode == 0
        assert hub.count("PUT") == hub.count("/commit/") == 0
        got = run("fetch", "me/zoo", "--to", str(tmp_path / "there"))
        assert got.returncode == 0, got.stderr
        checked = run("verify", str(tmp_path / "there"))
        assert checked.returncode == 0, checked.stderr
    there = noisezoo.open(str(tmp_path / "there"))
    assert there.digest == zoo.digest
    assert verify(there) == []
    for name, space in zoo.spaces.items():
        for file in space.digests:
            assert (tmp_path / "there" / file).read_bytes() == (tmp_path / "zoo.zarr" / file).read_bytes(), name
