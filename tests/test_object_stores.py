"""Builds straight into an object store, as users run them: the same bytes as on a disk, whatever fails on the way, whoever is killed, and no secret anywhere.

The store is moto's, behind a server on loopback that fails on purpose and makes conditional puts indivisible (tests/kit/s3.py).
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import noisezoo as library
from tests.kit import s3
from tests.kit.builds import ROOT, build_words, command, noisezoo

ROWS = 96
PLACE = "s3://bucket/z"
SPACES = "regenerating,thumbnail"
Serve = Callable[..., s3.Faulty]


def run(server: s3.Faulty, *words: str) -> subprocess.CompletedProcess[str]:
    environment = s3.environment(server.url)
    return subprocess.run(
        command(*words), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def started(server: s3.Faulty, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*words), cwd=ROOT, env=s3.environment(server.url), stderr=subprocess.PIPE, text=True
    )


def words(place: str | Path = PLACE, spaces: str = SPACES, *more: str) -> list[str]:
    return build_words(place, spaces, ROWS, *more)  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def lasting(found: dict[str, bytes]) -> dict[str, bytes]:
    """What of a build does not tell of its day and its machine."""
    kept = {}
    for name, data in found.items():
        if name.startswith("logs/") or name.endswith(".log"):
            continue
        if "/ledger/" in name:
            facts = {k: v for k, v in json.loads(data).items() if k not in ("seconds", "worker", "finished")}
            data = json.dumps(facts).encode()
        if name.endswith("zoo.zarr/zarr.json"):
            facts = json.loads(data)
            del facts["attributes"]["noisezoo"]["created"]
            data = json.dumps(facts).encode()
        kept[name] = data
    return kept


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed build leaves on a disk."""
    folder = tmp_path_factory.mktemp("right")
    done = noisezoo(*words(folder))
    assert done.returncode == 0, done.stderr
    found = lasting(files(folder))
    assert sum("/c/" in name for name in found) >= 15
    return found


@pytest.mark.slow
def test_an_object_store_holds_what_a_disk_would_and_no_secret(
    served: Serve, right: dict[str, bytes], tmp_path: Path
) -> None:
    server = served()
    done = run(server, *words())
    assert done.returncode == 0, done.stderr
    found = s3.objects(server.url, "z")
    assert lasting(found) == right
    told = [done.stdout, done.stderr]
    for more in (["verify", f"dir={PLACE}"], ["info", f"{PLACE}/zoo.zarr"]):
        done = run(server, *more)
        assert done.returncode == 0, done.stderr
        told += [done.stdout, done.stderr]
    assert any(name.startswith("logs/") for name in found)
    for secret in (s3.ENVIRONMENT["AWS_SECRET_ACCESS_KEY"], s3.ENVIRONMENT["AWS_ACCESS_KEY_ID"]):
        assert not [name for name, data in s3.objects(server.url, "z").items() if secret.encode() in data]
        assert secret not in "".join(told)
    zoo = library.open(f"{PLACE}/zoo.zarr")
    assert zoo["thumbnail"][:].shape == (ROWS, 3, 8, 8)
    published = run(
        server, "publish", f"dir={PLACE}", f"hub.folder={tmp_path / 'hub'}", f"report={tmp_path / 'report'}"
    )
    assert published.returncode == 0, published.stderr
    mirrored = lasting({f"zoo.zarr/{name}": data for name, data in files(tmp_path / "hub" / "zoo.zarr").items()})
    assert mirrored == {name: data for name, data in right.items() if name.startswith("zoo.zarr/")}


REFUSED = [
    ("s3://key:sEcRet-word@bucket/z", {}, "holds credentials"),
    (PLACE, {"AWS_ENDPOINT_URL": "http://user:sEcRet-word@127.0.0.1:9"}, "does not answer"),
    ("hf://datasets/someone/something", {"HF_TOKEN": "sEcRet-word"}, "without conditional writes"),
]


@pytest.mark.parametrize(("place", "change", "answer"), REFUSED, ids=[answer for *_, answer in REFUSED])
def test_what_cannot_be_built_into_is_told_without_secrets(place: str, change: dict[str, str], answer: str) -> None:
    environment = {**s3.environment("http://127.0.0.1:9"), "AWS_MAX_ATTEMPTS": "1", "HF_HUB_OFFLINE": "1", **change}
    done = subprocess.run(
        command("ingest", f"dir={place}", "dataset.size=8"),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert answer in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "sEcRet" not in done.stderr + done.stdout


@pytest.mark.slow
def test_a_folder_may_be_given_as_an_address(tmp_path: Path) -> None:
    done = noisezoo("ingest", f"dir=file://{tmp_path}/z", "dataset.size=8")
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "z").iterdir()} == {"images", "noisezoo.log", "zoo.zarr"}
    assert len(library.open(f"file://{tmp_path}/z/zoo.zarr")) == 8


@pytest.mark.slow
def test_a_store_that_fails_in_every_way_is_survived(served: Serve, right: dict[str, bytes]) -> None:
    server = served(seed=11, rate=0.05)
    done = run(server, *words())
    assert done.returncode == 0, done.stderr
    assert sum(server.happened.values()) >= 15
    assert len(server.happened) >= 5
    server.rate = 0.0
    assert lasting(s3.objects(server.url, "z")) == right


@pytest.mark.slow
def test_killed_in_the_middle_of_a_put_it_leaves_no_half_and_goes_on(served: Serve, right: dict[str, bytes]) -> None:
    server = served()
    entered: dict[str, bytes] = {}
    for held in (
        "images/shard-000001.tar",
        "zoo.zarr/spaces/regenerating/latent/c/1/",
        "zoo.zarr/ledger/thumbnail/000001",
    ):
        server.held.clear()
        server.go.clear()
        server.hold = f"PUT /bucket/z/{held}"
        process = started(server, *words())
        assert server.held.wait(120)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        server.hold = None
        server.go.set()
        found = s3.objects(server.url, "z")
        assert not [name for name in found if name.startswith(held)]
        seen = {name: data for name, data in lasting(found).items() if "/c/" in name or name.endswith(".tar")}
        assert seen.items() <= right.items()
        now = {name: data for name, data in found.items() if "/ledger/" in name}
        assert entered.items() <= now.items(), "a finished unit was done again"
        entered = now
    assert entered
    done = run(server, *words())
    assert done.returncode == 0, done.stderr
    found = s3.objects(server.url, "z")
    assert lasting(found) == right
    assert entered.items() <= found.items()


@pytest.mark.slow
def test_two_builds_at_once_write_each_file_once(served: Serve, right: dict[str, bytes]) -> None:
    server = served()
    builds = [started(server, *words()) for _ in range(2)]
    for build in builds:
        _, errors = build.communicate(timeout=300)
        assert build.returncode == 0, errors
    assert lasting(s3.objects(server.url, "z")) == right
    puts = [path for method, path in server.requests if method == "PUT" and "/c/" in path and "/spaces/" in path]
    assert len(puts) == len(set(puts)) == sum("/spaces/" in name and "/c/" in name for name in right)


@pytest.mark.slow
def test_a_damaged_tar_in_the_middle_is_brought_back(tmp_path: Path, right: dict[str, bytes]) -> None:
    assert noisezoo("ingest", *words(tmp_path)[1:]).returncode == 0
    path = tmp_path / "images" / "shard-000001.tar"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    damaged = noisezoo(*words(tmp_path))
    assert damaged.returncode == 1
    assert "type the same command again" in damaged.stderr.splitlines()[-1]
    assert len(list(tmp_path.glob("zoo.zarr/ledger/*/*.json"))) == 4, "the other shards are finished"
    done = noisezoo(*words(tmp_path))
    assert done.returncode == 0, done.stderr
    found = lasting(files(tmp_path))
    assert found == right
