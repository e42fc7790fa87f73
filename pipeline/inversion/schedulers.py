"""From the scheduler configuration that ships with a diffusers model to the path that the model walks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from diffusers import (
    DDIMScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SchedulerMixin,
)

from noisezoo.errors import NoiseZooError, nearest
from pipeline.inversion.paths import Discrete, Edm, Flow, Path

# Schedulers that sample the same discrete schedule as DDIMScheduler, and so may be replaced by it.
_DISCRETE = "DDIM DDIMParallel DDIMInverse DDPM DDPMParallel PNDM EulerDiscrete EulerAncestralDiscrete HeunDiscrete LMSDiscrete LCM TCD"
_DISCRETE += " DPMSolverMultistep DPMSolverMultistepInverse DPMSolverSinglestep DPMSolverSDE KDPM2Discrete KDPM2AncestralDiscrete"
DISCRETE = {f"{name}Scheduler" for name in [*_DISCRETE.split(), "DEISMultistep", "UniPCMultistep"]}
FLOW = {"FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"}
EDM = {"EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"}


def from_scheduler(scheduler: SchedulerMixin | Mapping[str, Any], image_seq_len: int | None = None) -> Path:
    """The path of a model, from its scheduler or from the contents of its scheduler_config.json.

    Diffusion schedules are walked as by `DDIMScheduler.from_config(scheduler.config)`, whatever multistep or ancestral scheduler the model ships;
    a setting that the configuration does not name has DDIM's default. `clip_sample` and `thresholding` are left out: clipping has no inverse.
    `image_seq_len` is the number of tokens of an image, wanted only by flows with use_dynamic_shifting.
    """
    config = dict(scheduler if isinstance(scheduler, Mapping) else scheduler.config)
    name = config.get("_class_name") or type(scheduler).__name__
    if name in FLOW or config.get("prediction_type") == "flow_prediction":
        return _flow(config, image_seq_len)
    if name in EDM:
        return _edm(EDMEulerScheduler, config, float(config.get("sigma_data", 0.5)))
    if config.get("timestep_type") == "continuous":
        return _edm(EulerDiscreteScheduler, config, 1.0)
    if name not in DISCRETE:
        raise NoiseZooError(f"no path is known for the scheduler '{name}': {nearest(name, DISCRETE | FLOW | EDM)}")
    return _discrete(config)


def _discrete(config: dict[str, Any]) -> Discrete:
    prediction = config.get("prediction_type", "epsilon")
    _check("prediction_type", prediction, ("epsilon", "v_prediction", "sample"))
    arguments = _accepted(DDIMScheduler, config)
    spacing = arguments.get("timestep_spacing", "leading")
    _check("timestep_spacing", spacing, ("leading", "trailing", "linspace"))
    if arguments.get("trained_betas") is None:
        _check(
            "beta_schedule", arguments.get("beta_schedule", "linear"), ("linear", "scaled_linear", "squaredcos_cap_v2")
        )
    scheduler = DDIMScheduler(**arguments)
    if len(scheduler.betas) != scheduler.config.num_train_timesteps:
        raise NoiseZooError(
            f"the scheduler has {len(scheduler.betas)} trained_betas but num_train_timesteps: {scheduler.config.num_train_timesteps}: "
            "make the two agree in scheduler_config.json."
        )
    alpha_bar = np.cumprod(1.0 - scheduler.betas.double().numpy())
    clean = 1.0 if scheduler.config.set_alpha_to_one else alpha_bar[0]
    return Discrete(prediction, np.concatenate([[clean], alpha_bar]), spacing, int(scheduler.config.steps_offset))


def _flow(config: dict[str, Any], image_seq_len: int | None) -> Flow:
    if config.get("invert_sigmas"):
        raise NoiseZooError(
            "a flow with invert_sigmas: true counts its time from noise to image, which no path here does: use another model."
        )
    arguments = _accepted(FlowMatchEulerDiscreteScheduler, config)
    if "flow_shift" in config:  # how diffusion schedulers that were taught to sample flows name it
        arguments["shift"] = config["flow_shift"]
    settings = FlowMatchEulerDiscreteScheduler(**arguments).config
    if not settings.use_dynamic_shifting:
        return Flow("flow", arguments)
    if image_seq_len is None:
        raise NoiseZooError(
            "this flow shifts its times with the size of the image (use_dynamic_shifting): give image_seq_len, its number of tokens."
        )
    slope = (settings.max_shift - settings.base_shift) / (settings.max_image_seq_len - settings.base_image_seq_len)
    return Flow("flow", arguments, mu=settings.base_shift + slope * (image_seq_len - settings.base_image_seq_len))


def _edm(
    scheduler: type[EDMEulerScheduler] | type[EulerDiscreteScheduler], config: dict[str, Any], sigma_data: float
) -> Edm:
    arguments = _accepted(scheduler, config)
    settings = scheduler(**arguments).config
    _check(
        "prediction_type",
        settings.prediction_type,
        ("v_prediction",) if scheduler is EulerDiscreteScheduler else ("epsilon", "v_prediction"),
    )
    if settings.sigma_min is None:
        raise NoiseZooError("an EDM schedule needs sigma_min and sigma_max: add them to scheduler_config.json.")
    return Edm(settings.prediction_type, scheduler, {**arguments, "sigma_min": settings.sigma_min}, sigma_data)


def _accepted(scheduler: type[SchedulerMixin], config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `config` that this scheduler takes, without those that another class merely filled in with its own default."""
    filled = set(config.get("_use_default_values", ()))
    parameters = inspect.signature(scheduler.__init__).parameters
    return {key: value for key, value in config.items() if key in parameters and key not in filled}


def _check(setting: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise NoiseZooError(f"{setting} '{value}' of the scheduler is unknown here: {nearest(str(value), known)}")
