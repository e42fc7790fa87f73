"""Controls behave: noise belongs to its row, Gaussian noise passes for Gaussian and the bimodal control does not, and forward noising is the textbook's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from noisezoo.errors import NoiseZooError
from pipeline.spaces.check import check
from pipeline.spaces.controls import ForwardNoised, Noise, Pixels
from tests.pipeline.spaces.pictures import waves
from tests.pipeline.spaces.test_autoencoder import saved

CPU = torch.device("cpu")
EMPTY = torch.zeros(0)


def accepted(rows: np.ndarray, projections: int, seed: int = 0) -> float:
    """Share of random unit projections of 250 rows, drawn afresh for each, that Anderson-Darling at 5 % takes for Gaussian: the paper's experiment."""
    rng = np.random.default_rng(seed)
    count = 0
    for _ in range(projections):
        u = rng.standard_normal(rows.shape[1])
        some = rows[rng.choice(len(rows), 250, replace=False)] @ (u / np.linalg.norm(u))
        x = np.sort((some - some.mean()) / some.std(ddof=1))
        i = np.arange(1, 251)
        a2 = -250 - np.mean((2 * i - 1) * (stats.norm.logcdf(x) + stats.norm.logsf(x[::-1])))
        count += a2 * (1 + 0.75 / 250 + 2.25 / 250**2) < 0.752  # Stephens' small-sample form and critical value
    return count / projections


def drawn(law: str, shape: tuple[int, ...] = (4, 8, 8), rows: int = 4000) -> np.ndarray:
    return Noise(shape, law)(EMPTY, torch.arange(rows)).flatten(1).numpy()


def test_gaussian_noise_is_accepted_at_the_nominal_rate_and_bimodal_noise_is_not() -> None:
    assert abs(accepted(drawn("gaussian"), 3000) - 0.95) < 0.01
    assert accepted(drawn("bimodal"), 1000) < 0.2


def test_bimodal_noise_is_what_its_formula_says() -> None:
    rows = drawn("bimodal")
    assert np.abs(rows.mean(0)).max() < 5 / 4000**0.5
    assert np.abs(rows.var(0) - 1).max() < 0.1
    distance = np.abs(rows) - (1 - 0.15**2) ** 0.5
    assert abs(distance.std() - 0.15) < 0.002, "two narrow modes in every coordinate"
    coins = np.sign(rows * np.sign(rows[0]))
    assert (coins == coins[:, :1]).all(), "one coin a row"
    assert abs(coins[:, 0].mean()) < 5 / 4000**0.5


@pytest.mark.parametrize("law", ["gaussian", "bimodal"])
def test_noise_belongs_to_its_row(law: str) -> None:
    """Whatever the batch, the order and the company, and nothing else shares it."""
    space = Noise([3, 5], law)
    together = space(EMPTY, torch.arange(100, 120))
    scattered = torch.stack(
        [Noise([3, 5], law)(EMPTY, torch.tensor([row]))[0] for row in reversed(range(100, 120))]
    ).flip(0)
    assert torch.equal(together, scattered)
    assert len(together.flatten(1).unique(dim=0)) == 20
    assert not torch.equal(together, Noise([3, 5], law, seed=1)(EMPTY, torch.arange(100, 120)))


@pytest.mark.parametrize(
    "space", [Noise([16]), Noise([2, 4, 4], "bimodal"), Pixels(16)], ids=["gaussian", "bimodal", "pixels"]
)
def test_controls_keep_the_promises_of_a_space(space: Any) -> None:
    assert [finding for finding in check(space, CPU) if not finding.passed] == []


def test_pixels_are_the_middle_square() -> None:
    space = Pixels(16)
    image = Image.fromarray(waves(40, 24))
    batch = space.prepare(image)[None]
    assert torch.allclose(space.generate(space(batch, torch.arange(1))), batch / 255, atol=1e-6)


def pipeline_folder(folder: Path, scheduler: Any) -> Path:
    saved("AutoencoderKL", folder)
    scheduler.save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return folder


def test_forward_noising_is_what_the_scheduler_does(tmp_path: Path) -> None:
    scheduler = diffusers.PNDMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    space = ForwardNoised(str(pipeline_folder(tmp_path, scheduler)), size=32, licence="MIT")
    space.load(CPU, torch.float32)
    batch = torch.stack([space.prepare(Image.fromarray(waves(40, 40, seed=i))) for i in range(4)])
    rows = torch.arange(4)
    x0, noised = space.autoencoder(batch, rows), space(batch, rows)
    noise = (noised - scheduler.alphas_cumprod[-1] ** 0.5 * x0) / (1 - scheduler.alphas_cumprod[-1]) ** 0.5
    assert torch.allclose(scheduler.add_noise(x0, noise, torch.tensor([999])), noised, atol=1e-5)
    assert stats.kstest(noise.numpy().ravel(), "norm").pvalue > 1e-3
    assert torch.allclose(space(batch.flip(0), rows.flip(0)).flip(0), noised, atol=1e-5)
    assert [finding for finding in check(space, CPU) if not finding.passed] == []


def test_a_path_that_ends_in_pure_noise_needs_no_forward_control(tmp_path: Path) -> None:
    space = ForwardNoised(str(pipeline_folder(tmp_path, diffusers.FlowMatchEulerDiscreteScheduler())), size=32)
    with pytest.raises(NoiseZooError, match="take the space gaussian_noise"):
        space.load(CPU, torch.float32)


def test_an_unknown_law_is_refused() -> None:
    with pytest.raises(NoiseZooError, match="did you mean 'bimodal'"):
        Noise([4], "bimodel")
