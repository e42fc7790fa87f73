"""`noisezoo edit` with the toy's own models, as users type it: what it draws, what it keeps, and what it says to nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import noisezoo as library
from noisezoo.cli import main
from noisezoo.study.data import Data
from noisezoo.study.settings import Settings
from tests.kit.builds import noisezoo

pytestmark = pytest.mark.slow
SPACE = "spaces=[toy_sd]"
FEW = "space.toy_sd.inverter.steps=3"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("edited")
    done = noisezoo("build", SPACE, FEW, f"dir={made}", "dataset.size=64", "shard_rows=32")
    assert done.returncode == 0, done.stderr
    return made


@pytest.mark.parametrize("by", ["power", "quantile"])
def test_a_strip_and_the_moved_latents(folder: Path, by: str) -> None:
    asked = ["--space", "toy_sd", "--rows", "5,40", "--attribute", "Smiling", "--strength", "-2:2:3"]
    done = noisezoo("edit", *asked, "--keep", "Male,Young", "--by", by, SPACE, FEW, f"dir={folder}")
    assert done.returncode == 0, done.stderr
    out = folder / "edits" / "toy_sd-Smiling"
    facts = json.loads((out / "edit.json").read_text())
    assert facts == {
        "space": "toy_sd", "attribute": "Smiling", "keep": ["Male", "Young"], "rows": [5, 40], "strength_sd": [-2, 0, 2], "strength_by": by,
    }  # fmt: skip

    zoo = library.open(folder / "zoo.zarr")
    moved = np.load(out / "latents.npy").astype(np.float64)
    assert moved.shape == (2, 3, 3, 8, 8)
    np.testing.assert_array_equal(moved[:, 1], np.stack([zoo["toy_sd"][5], zoo["toy_sd"][40]]))
    probes = Data(zoo, Settings()).means("toy_sd")
    weights = {name: probes.weights[probes.names.index(name)] for name in ("Smiling", "Male", "Young")}
    scores = {name: moved.reshape(2, 3, -1) @ w / np.linalg.norm(w) for name, w in weights.items()}
    assert (np.diff(scores["Smiling"], axis=1) > 0.5).all()
    for kept in ("Male", "Young"):
        np.testing.assert_allclose(np.diff(scores[kept], axis=1), 0, atol=0.02)

    strip = np.asarray(Image.open(out / "strip.png").convert("RGB"), np.int16)
    tall, wide = strip.shape[:2]
    assert wide > tall > 2 * 64
    # Three columns of pictures that are not alike.
    columns = [strip[:, i * wide // 3 : i * wide // 3 + wide // 4] for i in range(3)]
    assert min(np.abs(columns[0] - columns[1]).mean(), np.abs(columns[1] - columns[2]).mean()) > 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--attribute", "Smilling"], "did you mean 'Smiling'"),
        (["--attribute", "Smiling", "--keep", "Smiling"], "changed and kept at once"),
        (["--attribute", "Smiling", "--rows", "64"], "Row 64 of toy_sd is not valid"),
        (["--attribute", "Smiling", "--strength", "1:2"], "first:last:count"),
        (["--attribute", "Smiling", "--by", "ranks"], "not measured by 'ranks'"),
        ([], "Say what to edit"),
    ],
)
def test_nonsense_gets_a_sentence_and_leaves_nothing(
    folder: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*.png"))
    assert main(["edit", "--space", "toy_sd", *words, SPACE, FEW, f"dir={folder}"]) == 1
    told = capsys.readouterr().err
    assert says in " ".join(told.split())
    assert "Traceback" not in told
    assert sorted(folder.rglob("*.png")) == before
