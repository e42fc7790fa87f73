"""Paths: the arithmetic of their times and levels, what they are built from, and what they refuse."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path as FilePath
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from noisezoo.errors import NoiseZooError
from pipeline.inversion import Denoiser, from_scheduler
from pipeline.inversion.paths import Discrete, Edm
from tests.pipeline.inversion.analytic import PATHS, SD

BUILT = {name: from_scheduler(config) for name, config in PATHS.items()}
ANY_PATH = st.sampled_from(sorted(BUILT))


@given(ANY_PATH, st.integers(2, 300))
@settings(deadline=None, max_examples=150)
def test_times_run_from_clean_to_noise(name: str, steps: int) -> None:
    path = BUILT[name]
    times = path.times(steps)
    angles = [path.angle(t) for t in times.nodes]
    assert len(times.nodes) == len(times.earlier) + 1 == steps + 1
    assert all(a < b for a, b in pairwise(times.nodes))
    assert all(a <= b for a, b in pairwise(angles))
    assert all(earlier < later for earlier, later in times.steps())
    assert 0 <= angles[0] <= angles[-1] <= math.pi / 2
    assert times.earlier[0] == times.nodes[0] or name in ("cosine_v", "terminal_v", "sample")


@given(ANY_PATH, st.integers(2, 100), st.data())
@settings(deadline=None, max_examples=100)
def test_times_after_some_steps_are_the_rest(name: str, steps: int, data: st.DataObject) -> None:
    times = BUILT[name].times(steps)
    k = data.draw(st.integers(0, steps - 1))
    assert list(times.after(k).steps()) == list(times.steps())[k:]
    assert times.after(k).nodes == times.nodes[k:]


@given(
    st.sampled_from(["leading", "trailing", "linspace"]),
    st.integers(1, 1000),
    st.sampled_from([10, 50, 500, 1000, 4000]),
    st.integers(0, 2),
)
@settings(deadline=None, max_examples=300)
def test_discrete_times_are_those_of_ddim_scheduler(spacing: str, steps: int, trained: int, offset: int) -> None:
    scheduler = DDIMScheduler(num_train_timesteps=trained, timestep_spacing=spacing, steps_offset=offset)
    path = from_scheduler(scheduler)
    if steps > trained or (spacing == "leading" and (steps - 1) * (trained // steps) + offset >= trained):
        with pytest.raises(NoiseZooError, match=r"set inverter.steps"):
            path.times(steps)
        return
    scheduler.set_timesteps(steps)
    theirs = scheduler.timesteps.flip(0).tolist()
    if theirs[0] < 0:  # arange in diffusers sometimes gives one timestep too many, below zero
        theirs = theirs[1:]
    assert list(path.times(steps).nodes[1:]) == theirs


@given(ANY_PATH, st.integers(2, 60), st.integers(0, 60), st.integers(0, 2**31))
@settings(deadline=None, max_examples=150)
def test_a_prediction_explains_the_state(name: str, steps: int, node: int, seed: int) -> None:
    """alpha x0 + sigma eps gives x back, whatever the network says."""
    path = BUILT[name]
    t = path.times(steps).nodes[max(1, node % (steps + 1))]
    random = torch.Generator().manual_seed(seed)
    x, output = torch.randn(2, 2, 5, generator=random, dtype=torch.float64)
    x0, eps = path.read(x, output, t, t)
    torch.testing.assert_close(path.alpha(t) * x0 + path.sigma(t) * eps, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PATHS)
def test_a_perfect_output_is_read_back(name: str) -> None:
    """What training asks of the network, given the image and the noise, is read as that image and that noise."""
    path = BUILT[name]
    x0, eps = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in path.times(9).nodes[1:]:
        alpha, sigma = path.alpha(t), path.sigma(t)
        if isinstance(path, Edm):
            noisy, d = x0 + t * eps, path.sigma_data
            out = (x0 - d**2 / (t**2 + d**2) * noisy) * math.hypot(t, d) / (t * d)
            out = out if path.prediction == "epsilon" else -out
        else:
            v = alpha * eps - sigma * x0
            out = {"epsilon": eps, "sample": x0, "flow": eps - x0, "v_prediction": v}[path.prediction]
        said = path.read(alpha * x0 + sigma * eps, out, t, t)
        torch.testing.assert_close(said.x0, x0, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(said.eps, eps, rtol=1e-6, atol=1e-6)


def test_levels_of_the_schedules_in_closed_form() -> None:
    """Against formulas written here, to the rounding of the fp32 betas that the models were trained with."""
    t = np.arange(1000)
    linear = np.linspace(0.0001, 0.02, 1000)
    scaled = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    cosine = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    capped = np.minimum(1 - cosine[1:] / cosine[:-1], 0.999)
    bar = np.sqrt(np.cumprod(1 - scaled))
    terminal = ((bar - bar[-1]) * bar[0] / (bar[0] - bar[-1])) ** 2
    expected = {
        "ddpm": np.cumprod(1 - linear),
        "sd15": np.cumprod(1 - scaled),
        "cosine_v": np.cumprod(1 - capped),
        "terminal_v": terminal,
    }
    for name, alpha_bar in expected.items():
        path = BUILT[name]
        assert isinstance(path, Discrete)
        np.testing.assert_allclose([path.alpha(i) ** 2 for i in t], alpha_bar, rtol=2e-5, atol=1e-7)
        assert path.alpha(0) ** 2 + path.sigma(0) ** 2 == pytest.approx(1, abs=1e-15)
    assert BUILT["terminal_v"].alpha(999) == 0
    assert BUILT["terminal_v"].log_snr(999) == -math.inf


def test_the_clean_end() -> None:
    """1 with set_alpha_to_one; else the first trained level, as Stable Diffusion ships it. The network is told the earliest time it knows."""
    to_one, sd = BUILT["ddpm"], BUILT["sd15"]
    assert (to_one.alpha(-1), to_one.sigma(-1), to_one.log_snr(-1)) == (1, 0, math.inf)
    assert sd.alpha(-1) == sd.alpha(0) < 1
    assert to_one.network_time(-1) == sd.network_time(-1) == 0
    assert BUILT["flow"].network_time(0.0) == 0
    assert BUILT["edm"].network_time(0.0) == pytest.approx(0.25 * math.log(0.002))


# What these models ship as scheduler_config.json.
FLOW_NODES = [0, 0.0089, 0.6022, 0.8577, 1]
SD_NODES = [-1, 1, 251, 501, 751]
SD_SETTINGS = {**SD, "set_alpha_to_one": False, "steps_offset": 1, "timestep_spacing": "leading"}
SHIPPED: dict[str, tuple[dict[str, Any], str, list[float]]] = {
    "sd15": ({**PATHS["sd15"], "clip_sample": False, "trained_betas": None}, "epsilon", SD_NODES),
    "sd21_768": (
        {"_class_name": "DDIMScheduler", **SD_SETTINGS, "prediction_type": "v_prediction"},
        "v_prediction",
        SD_NODES,
    ),
    "sdxl": (
        {"_class_name": "EulerDiscreteScheduler", **SD_SETTINGS, "use_karras_sigmas": False, "skip_prk_steps": True},
        "epsilon",
        SD_NODES,
    ),
    "lcm": (
        {"_class_name": "LCMScheduler", **SD, "original_inference_steps": 50, "timestep_spacing": "leading"},
        "epsilon",
        [-1, 0, 250, 500, 750],
    ),
    "pixart": (
        {
            "_class_name": "DPMSolverMultistepScheduler",
            "timestep_spacing": "linspace",
            "variance_type": "learned_range",
        },
        "epsilon",
        [-1, 0, 333, 666, 999],
    ),
    "sd3": ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}, "flow", FLOW_NODES),
    "sana": (
        {"_class_name": "DPMSolverMultistepScheduler", "prediction_type": "flow_prediction", "flow_shift": 3.0},
        "flow",
        FLOW_NODES,
    ),
}


@pytest.mark.parametrize(("config", "prediction", "nodes"), SHIPPED.values(), ids=SHIPPED)
def test_configurations_that_models_ship(
    config: dict[str, Any], prediction: str, nodes: list[float], tmp_path: FilePath
) -> None:
    """The same path from the file, from its contents and from the scheduler that diffusers loads."""
    (tmp_path / "scheduler_config.json").write_text(json.dumps(config))
    loaded = getattr(diffusers, config["_class_name"]).from_pretrained(tmp_path)
    for path in (from_scheduler(config), from_scheduler(loaded)):
        assert path.prediction == prediction
        assert path.times(4).nodes == pytest.approx(nodes, abs=1e-4)


def test_a_default_of_another_scheduler_is_not_taken_for_a_setting() -> None:
    """Euler's own default spacing is linspace; a configuration that names none means DDIM's, as DDIMScheduler.from_config has it."""
    euler = diffusers.EulerDiscreteScheduler(**SD)
    assert euler.config.timestep_spacing == "linspace"
    ddim = DDIMScheduler.from_config(euler.config)
    ddim.set_timesteps(10)
    assert list(from_scheduler(euler).times(10).nodes[1:]) == ddim.timesteps.flip(0).tolist()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_class_name": "DDIMSchedular"}, "'DDIMSchedular'.*did you mean 'DDIMScheduler'"),
        ({"_class_name": "VQDiffusionScheduler"}, "no path is known for the scheduler 'VQDiffusionScheduler'"),
        ({"_class_name": "DDIMScheduler", "prediction_type": "v-prediction"}, "'v-prediction'.*'v_prediction'"),
        ({"_class_name": "DDIMScheduler", "timestep_spacing": "trialing"}, "'trialing'.*'trailing'"),
        ({"_class_name": "DDPMScheduler", "beta_schedule": "sigmoid"}, "'sigmoid'"),
        (
            {"_class_name": "DDIMScheduler", "trained_betas": [0.1, 0.2]},
            "2 trained_betas but num_train_timesteps: 1000",
        ),
        (
            {"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous", "prediction_type": "v_prediction"},
            "sigma_min",
        ),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True}, "image_seq_len"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "invert_sigmas": True}, "invert_sigmas"),
    ],
)
def test_unknown_schedulers_are_refused_in_one_sentence(config: dict[str, Any], message: str) -> None:
    with pytest.raises(NoiseZooError, match=message) as refusal:
        from_scheduler(config)
    assert "\n" not in str(refusal.value)


def test_noise_prediction_is_refused_only_where_nothing_of_the_image_is_left() -> None:
    config = {**PATHS["terminal_v"], "prediction_type": "epsilon"}
    with pytest.raises(NoiseZooError, match="rescale_betas_zero_snr: false"):
        from_scheduler(config).times(10)
    assert (
        len(from_scheduler({**config, "timestep_spacing": "leading"}).times(10).nodes) == 11
    )  # stops short of the end


@pytest.mark.parametrize("name", ["sd15", "flow", "edm"])
def test_the_network_runs_in_its_own_precision_and_the_state_does_not(name: str) -> None:
    seen = []

    def network(x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        seen.append((x.dtype, time.dtype, tuple(time.shape)))
        return torch.cat([x, x], dim=1)  # with a learned variance in the further channels

    path = BUILT[name]
    t = path.times(5).nodes[2]
    x = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    said = Denoiser(network, path, torch.bfloat16)(x, t)
    assert seen == [(torch.bfloat16, torch.int64 if name == "sd15" else torch.float32, (3,))]
    assert said.x0.dtype == said.eps.dtype == torch.float32
    assert said.x0.shape == x.shape
    torch.testing.assert_close(path.alpha(t) * said.x0 + path.sigma(t) * said.eps, x, rtol=1e-5, atol=1e-5)
