"""Inversion: the noise that a diffusion model would have started from, by walking its sampler backwards."""

from pipeline.inversion.denoiser import Denoiser as Denoiser
from pipeline.inversion.paths import Path as Path
from pipeline.inversion.paths import Prediction as Prediction
from pipeline.inversion.paths import Times as Times
from pipeline.inversion.registry import INVERTERS as INVERTERS
from pipeline.inversion.registry import Inverter as Inverter
from pipeline.inversion.registry import calls as calls
from pipeline.inversion.registry import check as check
from pipeline.inversion.registry import generate as generate
from pipeline.inversion.registry import invert as invert
from pipeline.inversion.schedulers import from_scheduler as from_scheduler
from pipeline.inversion.states import State as State
from pipeline.inversion.states import capture as capture
from pipeline.inversion.states import forward_noise as forward_noise
from pipeline.inversion.states import last as last
