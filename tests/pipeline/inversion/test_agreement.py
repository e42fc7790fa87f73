"""Agreement with diffusers' own schedulers, driven by the plain loop of their documentation, on small networks with random weights."""

from __future__ import annotations

import itertools
from itertools import pairwise
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, DPMSolverMultistepInverseScheduler, UNet2DModel
from torch import Tensor, nn

from pipeline.inversion import INVERTERS, Denoiser, Times, from_scheduler, generate, invert, last
from pipeline.inversion.heun import walk

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
PREDICTIONS = ("epsilon", "v_prediction", "sample")


class Convolutions(nn.Module):
    """Three convolutions with the time as one more channel: rough, quick, and nothing like a UNet."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, 12, 3, padding=1), nn.SiLU(), nn.Conv2d(12, 12, 3, padding=1), nn.SiLU(), nn.Conv2d(12, 3, 1)
        )

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        phase = torch.sin(time.float() / 300).view(-1, 1, 1, 1).expand(len(x), 1, *x.shape[2:])
        return self.layers(torch.cat([x, phase], dim=1))


def unet() -> UNet2DModel:
    sizes = {"sample_size": 8, "block_out_channels": (16, 16), "layers_per_block": 1, "norm_num_groups": 4}
    return UNet2DModel(
        **sizes, down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D")
    )


@pytest.fixture(params=["unet", "convolutions"])
def network(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    model = (unet() if request.param == "unet" else Convolutions()).eval().requires_grad_(False)
    return (
        (lambda x, t: model(x, t.expand(len(x))).sample)
        if request.param == "unet"
        else (lambda x, t: model(x, t.expand(len(x))))
    )


def predicting(network: Any, prediction: str) -> Any:
    """The network as it is; for data, the image it leaves when its noise is taken away, since x0 = x where there is no noise to see."""
    return network if prediction != "sample" else lambda x, t: x - (t.float().mean() / 1000).sqrt() * network(x, t)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def assert_agrees(ours: Tensor, theirs: Tensor) -> None:
    assert bool(theirs.isfinite().all())
    assert float((ours - theirs).norm() / theirs.norm()) <= 1e-5


def configs(prediction: str, spacing: str, **more: Any) -> dict[str, Any]:
    return {**SD, "prediction_type": prediction, "timestep_spacing": spacing, **more}


# Four kinds of discrete schedule; 7 steps do not divide 1000, and so show what diffusers makes of the remainder.
SCHEDULES = {
    "sd": {"set_alpha_to_one": False, "steps_offset": 1},
    "to_one": {"set_alpha_to_one": True},
    "cosine": {"beta_schedule": "squaredcos_cap_v2", "set_alpha_to_one": False},
    "trained": {
        "trained_betas": np.linspace(1e-4, 0.03, 500).tolist(),
        "num_train_timesteps": 500,
        "set_alpha_to_one": False,
    },
    "terminal": {"rescale_betas_zero_snr": True, "set_alpha_to_one": False},
}


def cases(spacings: tuple[str, ...], without: tuple[str, ...] = ()) -> list[tuple[str, str, str, int]]:
    """(prediction, spacing, schedule, steps), less noise prediction where alpha is 0, and less those that have no answer in diffusers."""
    every = itertools.product(PREDICTIONS, spacings, SCHEDULES, (10, 7))
    return [
        (prediction, spacing, schedule, steps)
        for prediction, spacing, schedule, steps in every
        if f"{prediction}-{schedule}" not in without and (prediction, schedule) != ("epsilon", "terminal")
    ]


# with set_alpha_to_one their inverse divides a data prediction by sigma = 0
@pytest.mark.parametrize(
    ("prediction", "spacing", "schedule", "steps"), cases(("leading", "trailing"), without=("sample-to_one",))
)
def test_ddim_inverts_as_ddim_inverse_scheduler(
    network: Any, x: Tensor, prediction: str, spacing: str, schedule: str, steps: int
) -> None:
    network = predicting(network, prediction)
    config = configs(prediction, spacing, **SCHEDULES[schedule])
    scheduler = DDIMInverseScheduler(**config)
    if prediction == "sample":
        # eps = (x - alpha x0) / sigma divides by what little fp32 leaves of 1 - alpha_bar near the clean end: give their rule their table in fp64
        scheduler.alphas_cumprod = torch.cumprod(1 - scheduler.betas.double(), 0)
        scheduler.initial_alpha_cumprod = scheduler.alphas_cumprod[0]
    scheduler.set_timesteps(steps)
    theirs = x
    for t in scheduler.timesteps:
        theirs = scheduler.step(network(theirs, t), t, theirs).prev_sample
    path = from_scheduler({"_class_name": "DDIMScheduler", **config})
    assert_agrees(last(invert(Denoiser(network, path), x, "ddim", steps, variant="diffusers")), theirs)


@pytest.mark.parametrize(("prediction", "spacing", "schedule", "steps"), cases(("leading", "trailing", "linspace")))
def test_generate_is_ddim_scheduler(
    network: Any, x: Tensor, prediction: str, spacing: str, schedule: str, steps: int
) -> None:
    network = predicting(network, prediction)
    scheduler = DDIMScheduler(**configs(prediction, spacing, **SCHEDULES[schedule]))
    scheduler.set_timesteps(steps)
    theirs = x
    for t in scheduler.timesteps:
        theirs = scheduler.step(network(theirs, t), t, theirs).prev_sample
    model = Denoiser(network, from_scheduler(scheduler))
    assert_agrees(last(generate(model, x, "ddim", steps)), theirs)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_fixed_point_finds_the_noise_behind_an_image_of_ddim_scheduler(
    network: Any, x: Tensor, prediction: str, spacing: str
) -> None:
    """At 20 steps, a number that divides 1000 evenly, and at 30, which does not."""
    for steps in (20, 30):
        scheduler = DDIMScheduler(**configs(prediction, spacing, set_alpha_to_one=False))
        scheduler.set_timesteps(steps)
        image = x
        for t in scheduler.timesteps:
            image = scheduler.step(network(image, t), t, image).prev_sample
        model = Denoiser(network, from_scheduler(scheduler))
        noise = last(invert(model, image, "fixed_point", steps, tolerance=1e-7, iterations=50))
        assert float((noise - x).norm() / x.norm()) < 1e-4


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [10, 50])
def test_ddim_of_the_authors(network: Any, x: Tensor, prediction: str, steps: int) -> None:
    """The rule of arXiv 2603.21786, written as it stands: leading timesteps in reverse, the network called where the state is."""
    network = predicting(network, prediction)
    config = configs(prediction, "leading", set_alpha_to_one=False, steps_offset=1)
    scheduler = DDIMScheduler(**config)
    scheduler.set_timesteps(steps)
    theirs = x
    for t, t_next in pairwise(
        [0, *reversed(scheduler.timesteps.tolist())]
    ):  # with steps_offset 1 the clean end is timestep 0
        a, a_next = scheduler.alphas_cumprod[t], scheduler.alphas_cumprod[t_next]
        out = network(theirs, torch.tensor(t))
        if prediction == "v_prediction":
            out = a.sqrt() * out + (1 - a).sqrt() * theirs
        elif prediction == "sample":
            out = (theirs - a.sqrt() * out) / (1 - a).sqrt()
        theirs = a_next.sqrt() * (theirs - (1 - a).sqrt() * out) / a.sqrt() + (1 - a_next).sqrt() * out
    assert_agrees(
        last(invert(Denoiser(network, from_scheduler(scheduler)), x, "ddim", steps, variant="authors")), theirs
    )


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_dpmpp_2m_is_dpm_solver_multistep_inverse_scheduler(
    network: Any, x: Tensor, prediction: str, spacing: str
) -> None:
    """On that scheduler's own times: its timesteps, and the last trained level as the noise end."""
    network = predicting(network, prediction)
    settings = {key: SD[key] for key in ("beta_start", "beta_end", "beta_schedule")}
    scheduler = DPMSolverMultistepInverseScheduler(**settings, prediction_type=prediction, timestep_spacing=spacing)
    scheduler.set_timesteps(20)
    theirs = x
    for t in scheduler.timesteps:
        theirs = scheduler.step(network(theirs, t), t, theirs).prev_sample
    nodes = (*map(float, scheduler.timesteps), 999.0)
    path = from_scheduler(scheduler)
    assert_agrees(last(INVERTERS["dpmpp_2m"].invert(Denoiser(network, path), x, Times(nodes, nodes[:-1]))), theirs)


FLOWS = {
    "plain": {},
    "sd3": {"shift": 3.0},
    "terminal": {"shift": 2.0, "shift_terminal": 0.02},
    "karras": {"use_karras_sigmas": True},
}


@pytest.mark.parametrize("settings", FLOWS.values(), ids=FLOWS)
def test_flow_is_flow_match_euler_exactly(network: Any, x: Tensor, settings: dict[str, Any]) -> None:
    """DDIM on a flow is Euler's rule, there and back; fixed_point undoes it."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**settings)
    scheduler.set_timesteps(12)
    theirs = x
    for t in scheduler.timesteps:
        theirs = scheduler.step(network(theirs, t), t, theirs).prev_sample
    model = Denoiser(network, from_scheduler(scheduler))
    image = last(generate(model, x, "ddim", 12))
    assert_agrees(image, theirs)
    sigmas = scheduler.sigmas.flip(0)
    backwards = x
    for sigma, sigma_next in pairwise(sigmas):
        backwards = backwards + (sigma_next - sigma) * network(backwards, 1000 * sigma)
    assert_agrees(last(invert(model, x, "ddim", 12, variant="authors")), backwards)
    noise = last(invert(model, image, "fixed_point", 12, tolerance=1e-7, iterations=50))
    assert float((noise - x).norm() / x.norm()) < 1e-4


def test_flow_with_dynamic_shift_walks_as_its_pipelines_do(network: Any, x: Tensor) -> None:
    config = {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "use_dynamic_shifting": True,
        "base_shift": 0.5,
        "max_shift": 1.15,
        "shift": 3.0,
    }
    mu = diffusers.pipelines.flux.pipeline_flux.calculate_shift(1024)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(config)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / 9, 9), mu=mu)
    theirs = x
    for t in scheduler.timesteps:
        theirs = scheduler.step(network(theirs, t), t, theirs).prev_sample
    path = from_scheduler(config, image_seq_len=1024)
    assert_agrees(last(generate(Denoiser(network, path), x, "ddim", 9)), theirs)


def test_heun_is_flow_match_heun(network: Any, x: Tensor) -> None:
    """Up to the last step, which diffusers leaves uncorrected."""
    scheduler = diffusers.FlowMatchHeunDiscreteScheduler(shift=2.0)
    scheduler.set_timesteps(8)
    theirs = x
    for t in scheduler.timesteps[:-1]:
        theirs = scheduler.step(network(theirs, t), t, theirs).prev_sample
    nodes = tuple(dict.fromkeys(scheduler.sigmas.tolist()))[:-1]
    assert_agrees(last(walk(Denoiser(network, from_scheduler(scheduler)), x, nodes)), theirs)


EDM = {
    "epsilon": diffusers.EDMEulerScheduler(),
    "v_prediction": diffusers.EDMEulerScheduler(
        prediction_type="v_prediction", sigma_data=1.0, sigma_max=120.0, sigma_schedule="exponential"
    ),
    "continuous": diffusers.EulerDiscreteScheduler(
        timestep_type="continuous",
        prediction_type="v_prediction",
        sigma_min=0.002,
        sigma_max=700.0,
        use_karras_sigmas=True,
    ),
}


@pytest.mark.parametrize("scheduler", EDM.values(), ids=EDM)
def test_edm_is_euler_on_its_sigmas(network: Any, x: Tensor, scheduler: Any) -> None:
    scheduler.set_timesteps(12)
    theirs = x * (scheduler.config.sigma_max**2 + 1) ** 0.5
    for t in scheduler.timesteps:
        theirs = scheduler.step(network(scheduler.scale_model_input(theirs, t), t), t, theirs).prev_sample
    assert_agrees(last(generate(Denoiser(network, from_scheduler(scheduler)), x, "ddim", 12)), theirs)
