"""`noisezoo build` over every diffusion family at once, from checkpoints in their real layout and a YAML file each, as a newcomer would write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

import noisezoo as library
from tests.kit.builds import noisezoo
from tests.tiny_pipelines import NAMES, SIZE, tiny_pipeline

ROWS = 8


@pytest.mark.slow
def test_every_family_builds_a_zoo(tmp_path: Path) -> None:
    (tmp_path / "conf" / "space").mkdir(parents=True)
    for name in NAMES:
        lines = [
            "_target_: pipeline.spaces.diffusion.Diffusion",
            f"model: {tiny_pipeline(name)}",
            "licence: none, it knows nothing",
            "precision: float32",
            "capture: [0]",
            "inverter: { name: ddim, steps: 4 }",
            *([f"size: {SIZE}", "guidance_embedding: 1.0"] if name == "flux" else []),
        ]
        (tmp_path / "conf" / "space" / f"tiny_{name}.yaml").write_text("\n".join(lines) + "\n")
    spaces = ",".join(f"tiny_{name}" for name in NAMES)
    words = ["build", "--config-dir", str(tmp_path / "conf"), f"spaces=[{spaces}]", f"dir={tmp_path / 'zoo'}"]
    done = noisezoo(*words, f"dataset.size={ROWS}", "shard_rows=8", "device=cpu")
    assert done.returncode == 0, done.stderr
    zoo = library.open(tmp_path / "zoo" / "zoo.zarr")
    for name in NAMES:
        space = zoo[f"tiny_{name}"]
        latents = np.asarray(space[:])
        assert latents.shape[0] == ROWS
        assert latents.dtype == np.float16
        assert np.isfinite(latents).all()
        assert zarr.open_array(tmp_path / "zoo" / "zoo.zarr", path=f"spaces/tiny_{name}/x_0").shape == latents.shape
        assert len(np.unique(latents.reshape(ROWS, -1), axis=0)) == ROWS
