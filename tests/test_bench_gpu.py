"""The accelerator's bench runs to its end where there is no accelerator, on a tiny network."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch

from bench import gpu

SCRIPT = Path(__file__).resolve().parents[1] / "bench" / "gpu.py"


@pytest.mark.slow
def test_the_accelerators_bench_runs_on_the_cpu(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    words = ["--tiny", "--networks", "tiny_dit", "--batches", "1", "2", "--seconds", "0.01", "--out", str(out)]
    subprocess.run([sys.executable, str(SCRIPT), *words], check=True, timeout=500)
    report = json.loads(out.read_text())
    assert {(r["way"], r["batch"]) for r in report["results"]} == {
        (way, batch) for way in ("plain loop", "ours", "ours compiled") for batch in (1, 2)
    }
    for result in report["results"]:
        assert result["images_per_second"] > 0
        assert 0 < result["share_of_peak"] < 1
        assert ("over_plain_loop" in result) == (result["way"] != "plain loop")


@pytest.mark.parametrize("name", sorted(gpu.TINY_CASES))
def test_the_rival_walks_to_the_same_noise(name: str) -> None:
    case, cpu = gpu.TINY_CASES[name], torch.device("cpu")
    conditions = gpu.told(case, cpu, torch.float32)
    x = torch.randn(3, *case.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        theirs, mine = (
            list(islice(way(gpu.build(case, cpu, torch.float32), conditions, x, 5), 5))
            for way in (gpu.plain_loop, gpu.ours)
        )
    for a, b in zip(theirs, mine, strict=True):
        assert float((a - b).abs().max() / a.abs().max()) < 1e-5
