"""The accelerator's bench runs to its end where there is no accelerator, on a tiny network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
