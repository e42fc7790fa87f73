"""Two worker processes make the same zoo as one process does, byte for byte; and what a runner needs it asks for in a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.test_processes import workers
from tests.kit.builds import entries, noisezoo, shard_digests


@pytest.mark.slow
def test_two_local_workers_make_the_toy_zoo_that_one_process_makes(tmp_path: Path) -> None:
    # Threads are pinned: with another number of them torch may add up in another order. Two steps invert as fifty do, and take less time.
    spaces = ["toy_sd", "toy_ddpm", "toy_clip", "toy_vae"]
    words = ["build", "experiment=toy", f"spaces=[{','.join(spaces)}]", "dataset.limit=64", "shard_rows=16"]
    words += ["inverter.steps=2", "threads=1"]
    local = ["runner=gpus", "runner.workers=2", "device=cpu", "runner.dashboard=127.0.0.1:0"]
    assert noisezoo(*words, f"dir={tmp_path / 'inline'}").returncode == 0
    done = noisezoo(*words, *local, f"dir={tmp_path / 'local'}")
    assert done.returncode == 0, done.stderr
    assert re.search(r"Dask: 2 workers, dashboard at http://127.0.0.1:\d+/status", done.stderr)
    assert done.stderr.count("Dask: 2 workers") == 1, "both stages use the same workers"
    assert shard_digests(tmp_path / "local") == shard_digests(tmp_path / "inline")
    assert len(entries(tmp_path / "local")) == len(spaces) * 4
    assert len(workers(tmp_path / "local")) == 2


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["runner=gpus", "device=cpu"], r"No GPU is visible here: type runner=inline, or runner.workers=2"),
        (["runner=gpus", "device=cuda:1"], r"CUDA_VISIBLE_DEVICES"),
        (["runner=dask"], r"runner.address=tcp://HOST:8786 or runner.scheduler_file=PATH"),
        (["runner=dask", "runner.address=tcp://127.0.0.1:1"], r"No Dask scheduler answers at tcp://127.0.0.1:1"),
        (["runner=dask", "runner.address=tcp://127.0.0.1:1", "dir=here"], r"relative to this directory"),
        (["runner=slurm"], r"needs the extra 'slurm': type `pip install -e '.\[slurm\]'`"),
        (["runner=kubernetes"], r"needs the extra 'kubernetes'"),
    ],
    ids=["no gpu", "one device", "no address", "no scheduler", "relative", "slurm", "kubernetes"],
)
def test_what_a_runner_lacks_is_told_in_a_sentence(words: list[str], answer: str, tmp_path: Path) -> None:
    from hydra.utils import instantiate

    from noisezoo.errors import NoiseZooError
    from pipeline.config import register
    from pipeline.overrides import composed
    from pipeline.queue import Queue
    from pipeline.units import Job, Order

    register()
    cfg = composed(words)
    place = "here/zoo.zarr" if "dir=here" in words else str(tmp_path / "zoo.zarr")
    order = Order(place, str(tmp_path / "images"), {}, {}, device=cfg.device)
    with pytest.raises(NoiseZooError, match=answer):
        list(instantiate(cfg.runner, _convert_="all").run(order, Queue([Job(0, ("a",))]), lambda space, rows: None))
