"""What a downloader installs: the wheel in an environment of its own, with nothing of the engine; and what the checkout gives."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.kit.builds import ROOT, noisezoo
from tests.kit.small import small_zoo

pytestmark = pytest.mark.slow


def run(*words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel and what it brings, and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    assert run(sys.executable, "-m", "venv", folder).returncode == 0
    done = run(folder / "bin" / "python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def test_the_wheel_carries_the_library_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"noisezoo"}
    assert "noisezoo/py.typed" in names
    assert "noisezoo/templates/report.html" in names


def test_a_downloader_needs_no_torch_and_waits_less_than_half_a_second(bin_folder: Path, tmp_path: Path) -> None:
    installed = run(bin_folder / "python", "-m", "pip", "list", "--format=freeze").stdout.lower()
    assert not {"torch", "diffusers", "transformers", "hydra-core", "scipy"} & {
        line.split("==")[0] for line in installed.splitlines()
    }
    code = "import time; t = time.perf_counter(); import noisezoo; print(time.perf_counter() - t)"
    seconds = [float(run(bin_folder / "python", "-c", code, cwd=tmp_path).stdout) for _ in range(5)]
    assert statistics.median(seconds) < 0.5


def test_the_downloaders_commands_work_and_the_builders_say_how(bin_folder: Path, tmp_path: Path) -> None:
    store, _ = small_zoo(tmp_path / "zoo.zarr", rows=40)
    command = bin_folder / "noisezoo"
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    shown = run(command, "info", store.url, cwd=tmp_path, env=clean)
    assert shown.returncode == 0, shown.stderr
    assert "noise" in shown.stdout
    assert run(command, "verify", store.url, cwd=tmp_path, env=clean).returncode == 0
    refused = run(command, "build", "experiment=toy", cwd=tmp_path, env=clean)
    assert refused.returncode == 1
    assert "runs from a checkout" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "noisezoo fetch" in run(command, "--help", cwd=tmp_path, env=clean).stdout


def test_the_checkout_runs_from_any_folder(tmp_path: Path) -> None:
    code = "import pipeline, stages"
    assert run(sys.executable, "-c", code, cwd=tmp_path).returncode == 0
    assert noisezoo("--version").stdout.strip()


def test_the_library_never_reaches_up() -> None:
    """`noisezoo` loads neither the engine nor torch, whichever of its modules is imported."""
    code = (
        "import pkgutil, sys, importlib, noisezoo\n"
        "for m in pkgutil.walk_packages(noisezoo.__path__, 'noisezoo.'):\n"
        "    if m.name not in ('noisezoo.__main__', 'noisezoo.torch'): importlib.import_module(m.name)\n"
        "print(sorted(n for n in sys.modules if n.split('.')[0] in ('torch', 'pipeline', 'stages')))"
    )
    done = run(sys.executable, "-c", code, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
