"""Inversion: the noise that a diffusion model would have started from, by walking its sampler backwards."""

from pipeline.inversion.denoiser import Denoiser, Network
from pipeline.inversion.paths import Discrete, Edm, Flow, Path, Prediction, Times
from pipeline.inversion.registry import INVERTERS, Inverter, calls, check, generate, get, invert
from pipeline.inversion.schedulers import from_scheduler
from pipeline.inversion.states import State, States, capture, forward_noise, last

__all__ = [
    *(
        "INVERTERS",
        "Denoiser",
        "Discrete",
        "Edm",
        "Flow",
        "Inverter",
        "Network",
        "Path",
        "Prediction",
        "State",
        "States",
        "Times",
    ),
    *("calls", "capture", "check", "forward_noise", "from_scheduler", "generate", "get", "invert", "last"),
]
