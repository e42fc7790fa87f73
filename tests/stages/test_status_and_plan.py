"""What status and plan tell, against zoos whose truth is known; and that status is quick on many units."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from noisezoo import layout, ledger, writer
from noisezoo.ledger import Entry
from noisezoo.store import Store
from noisezoo.zoo import Zoo
from pipeline import failures, leases
from pipeline.planning import calls_per_row, unit_bytes
from pipeline.spaces.controls import Noise, Pixels
from pipeline.spaces.diffusion import Diffusion
from pipeline.standing import busy, standing
from pipeline.units import Failed, Job
from stages.status import text
from tests.kit.builds import build_words, noisezoo
from tests.kit.zoos import make_zoo


def entry(end: int, seconds: float, shard: int = 0) -> Entry:
    return Entry("a", shard, (0, 1), "", {}, 1, seconds=seconds, finished=f"2026-01-01T00:00:{end:02d}+00:00")


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [
        ([(10, 2), (20, 3)], 5),
        ([(10, 4), (12, 4)], 6),  # one begins while the other is written
        ([(10, 8), (9, 2), (10, 8)], 8),  # spaces that share one reading of the images
        ([], 0),
    ],
)
def test_a_workers_time_counts_no_second_twice(spans: list[tuple[int, float]], seconds: float) -> None:
    assert busy(entry(*span) for span in spans) == pytest.approx(seconds)


def test_status_tells_done_running_failed_and_left(tmp_path: Path) -> None:
    without = [("toy_sd", 2), ("toy_sd", 5), ("toy_clip", 0)]
    zoo = make_zoo(tmp_path / "z", rows=100, shard_rows=16, without=without)
    assert leases.claim(zoo.store, "toy_sd", 2, "far:17", 60) is not None
    assert leases.claim(zoo.store, "toy_sd", 5, "dead:18", 0.001) is not None
    failures.record(zoo.store, "toy_clip", Failed(Job(0, ("toy_clip",)), "the disk is tired"))
    failures.record(zoo.store, "toy_clip", Failed(Job(1, ("toy_clip",)), "finished since"))
    for name, hours in (("toy_sd", 2.0), ("toy_clip", 1.0)):
        for shard, done in zoo[name].finished.items():
            facts = {"seconds": 3600 * hours, "device": "H100" if name == "toy_sd" else "cpu", "worker": f"far:{shard}"}
            ledger.write(zoo.store, replace(done, finished="2026-01-01T00:00:00+00:00", **facts))
    time.sleep(0.01)
    now = standing(Zoo(zoo.store))
    sd, clip = now.spaces["toy_sd"], now.spaces["toy_clip"]
    assert (sd.units, sd.done, sd.running, sd.failed, sd.left) == (7, 5, 1, 0, 2)
    assert (clip.units, clip.done, clip.running, clip.failed, clip.left) == (7, 6, 0, 1, 1)
    assert (sd.gpu_hours, sd.cpu_hours) == (pytest.approx(10), 0)
    assert (clip.gpu_hours, clip.cpu_hours) == (0, pytest.approx(6))
    assert sd.rows_done == 100 - 32
    assert sd.bytes == sd.rows_done * 4 * 8 * 8 * 2
    assert sd.rows_per_second == pytest.approx(68 / 36_000)
    assert sd.fidelity == pytest.approx(np.median([35.0 + s / 10 for s in (0, 1, 3, 4, 6)]))
    assert [f.error for f in now.failures] == ["the disk is tired"]
    at = {worker.name: worker.at for worker in now.workers if worker.at}
    assert at == {"far:17": ["toy_sd 2"]}
    # One worker is at it: it needs what both spaces still need.
    left = 32 / (68 / 36_000) + 16 / (84 / 21_600)
    assert now.seconds_left == pytest.approx(left)
    shown = text(now)
    assert "far:17" in shown
    assert "failed: toy_clip shard 0: the disk is tired" in shown


def test_status_is_finished_when_everything_is(tmp_path: Path) -> None:
    now = standing(make_zoo(tmp_path / "z"))
    assert now.is_finished
    assert "Everything is finished." in text(now)


@pytest.mark.slow
def test_status_of_ten_thousand_units_takes_under_two_seconds(tmp_path: Path) -> None:
    """In processor time, which the other users of a machine do not lengthen."""
    store = Store(str(tmp_path / "z"))
    rows, shard_rows = 5000 * 8, 8
    table = writer.Table(np.arange(rows).astype(str).astype(object), np.arange(rows), np.zeros((rows, 32), np.uint8))
    writer.create(store, table, {"name": "made", "licence": "CC0", "digest": "d"}, shard_rows)
    for name in ("a", "b"):
        digest = writer.add_space(store, name, (4,), ("feature",), "float16", {}, fidelity=True)
        for shard in range(5000):
            files = {layout.chunk_key(layout.array_path(name, a), shard, 2): "0" * 64 for a in ("latent", "fidelity")}
            span = (shard * 8, shard * 8 + 8)
            done = Entry(
                name,
                shard,
                span,
                digest,
                files,
                8,
                seconds=2.0,
                worker=f"w:{shard % 16}",
                finished="2026-01-01T00:00:00+00:00",
            )
            path = Path(store.path(layout.ledger_path(name, shard)))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(vars(done)))
    begun = time.process_time()
    now = standing(Zoo(store))
    took = time.process_time() - begun
    assert now.spaces["a"].done == now.spaces["b"].done == 5000
    assert took < 2, took


@pytest.mark.slow
def test_the_command_prints_json_and_watches_until_the_end(tmp_path: Path) -> None:
    assert noisezoo(*build_words(tmp_path, "thumbnail", 64)).returncode == 0
    shown = json.loads(noisezoo("status", "--json", f"dir={tmp_path}").stdout)
    assert shown["finished"] is True
    assert shown["spaces"]["thumbnail"]["done"] == 2
    watched = noisezoo("status", "--watch", f"dir={tmp_path}", timeout=60)
    assert watched.returncode == 0
    assert "Everything is finished." in watched.stdout


@pytest.mark.parametrize(
    ("space", "calls"),
    [
        (Pixels(8), 0),
        (Noise([4]), 0),
        (Diffusion("m", {"name": "ddim", "steps": 50}), 50),
        (Diffusion("m", {"name": "heun", "steps": 25}), 50),
        (Diffusion("m", {"name": "fixed_point", "steps": 10, "iterations": 4}), 40),
        (Diffusion("m", {"name": "ddim", "steps": 50}, prompt="a face", guidance=3.0), 100),
    ],
)
def test_calls_follow_from_the_procedure(space: object, calls: int) -> None:
    assert calls_per_row(space) == calls  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_plan_says_what_the_build_then_writes(tmp_path: Path) -> None:
    words = build_words(tmp_path, "pixels,wide", 100, "space.pixels.size=16")
    planned = json.loads(noisezoo("plan", "--json", *words[1:]).stdout)
    assert not (tmp_path / "zoo.zarr").exists()
    assert planned["rows"] == 100
    assert {name: space["units"] for name, space in planned["spaces"].items()} == {"pixels": 4, "wide": 4}
    assert noisezoo(*words).returncode == 0
    for name, space in planned["spaces"].items():
        files = [*tmp_path.glob(f"zoo.zarr/spaces/{name}/*/c/**/*"), *tmp_path.glob(f"zoo.zarr/ledger/{name}/*")]
        wrote = sum(path.stat().st_size for path in files if path.is_file())
        assert space["bytes"] == pytest.approx(wrote, rel=0.02)
    again = json.loads(noisezoo("plan", "--json", *words[1:]).stdout)
    assert {space["units"] for space in again["spaces"].values()} == {0}
    timed = noisezoo("plan", "--measure", "plan.seconds=0.1", *build_words(tmp_path / "new", "pixels", 100)[1:])
    assert timed.returncode == 0, timed.stderr
    assert "CPU hours on cpu" in timed.stdout


def test_a_unit_is_as_large_as_its_arrays() -> None:
    space = Pixels(16)
    assert unit_bytes(space, 32, 32, 4) == pytest.approx(32 * 3 * 16 * 16 * 2 + 32 + 32 * 16 + 1000, rel=0.01)
