"""Paths: the noise schedule of a model and what its network predicts along it, so that every network looks alike to an inverter.

On every path a state is x = alpha(t) x0 + sigma(t) eps, and the probability-flow equation that samplers integrate is

    dx = x0_hat dalpha + eps_hat dsigma,        x0_hat = E[x0 | x, t],  eps_hat = E[eps | x, t],

which nowhere divides by alpha or sigma: it is regular at the clean end (sigma = 0) and at the noise end (alpha = 0). One Euler step of it,
x' = x + (alpha' - alpha) x0_hat + (sigma' - sigma) eps_hat, is DDIM on a diffusion schedule and Euler's rule on a flow. All levels are Python
floats (fp64); only the products with x happen in the precision of x.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from diffusers import EDMEulerScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from noisezoo.errors import NoiseZooError


class Prediction(NamedTuple):
    """What a network says about a state, in the form all inverters use; both shaped like x, (rows, ...)."""

    x0: Tensor
    eps: Tensor

    def toward(self, other: Prediction, share: float) -> Prediction:
        """The prediction `share` of the way to another; a negative share extrapolates away from it."""
        return Prediction(self.x0 + share * (other.x0 - self.x0), self.eps + share * (other.eps - self.eps))


@dataclass(frozen=True)
class Times:
    """The times of one walk, from clean to noise.

    `nodes` (steps + 1,) increase strictly; nodes[0] is the clean end. `earlier` (steps,) holds the level that diffusers' own DDIM step takes for the
    earlier end of the step whose later end is nodes[i + 1]. It equals nodes[:-1], except that DDIMScheduler always steps by T // steps: with the
    spacings linspace and trailing (where T / steps is no integer) it lands beside the timestep at which it next calls the network.
    """

    nodes: tuple[float, ...]
    earlier: tuple[float, ...]

    def steps(self) -> Iterator[tuple[float, float]]:
        """Pairs (earlier end, later end), from clean to noise."""
        return zip(self.earlier, self.nodes[1:], strict=True)

    def after(self, k: int) -> Times:
        """The times that are left when the first k steps are done."""
        return Times(self.nodes[k:], self.earlier[k:])


@dataclass(frozen=True)
class Path:
    """What every path offers. `t` is the path's own time; the clean end is the first node of `times`."""

    prediction: str

    def alpha(self, t: float) -> float:
        raise NotImplementedError

    def sigma(self, t: float) -> float:
        raise NotImplementedError

    def times(self, steps: int) -> Times:
        """The times of `steps` steps, exactly those at which the model's own scheduler would call the network."""
        raise NotImplementedError

    def trained(self, t: float) -> float:
        """t, or for the clean end the earliest time that the network was trained for, where that is later."""
        return t

    def network_time(self, t: float) -> float | int:
        """What the network is told at time t."""
        raise NotImplementedError

    def network_input(self, x: Tensor, level: float) -> Tensor:
        """What the network is shown of a state x at this level."""
        return x

    def read(self, x: Tensor, output: Tensor, t: float, level: float) -> Prediction:
        """Turns the output of a call at time t on a state x, which lies at `level`, into (x0, eps)."""
        raise NotImplementedError

    def angle(self, t: float) -> float:
        """arctan(sigma / alpha), from 0 (clean) to at most pi / 2 (noise): a measure of time that is finite and smooth on every path."""
        return math.atan2(self.sigma(t), self.alpha(t))

    def log_snr(self, t: float) -> float:
        """log(alpha^2 / sigma^2); infinite at the ends."""
        alpha, sigma = self.alpha(t), self.sigma(t)
        if sigma == 0:
            return math.inf
        return 2 * math.log(alpha / sigma) if alpha > 0 else -math.inf


@dataclass(frozen=True, eq=False)  # an array has no single truth value to compare by
class Discrete(Path):
    """A DDPM schedule: alpha^2 + sigma^2 = 1, times are the integers 0 ... T-1 of training, and -1 is the clean end.

    `alpha_bar` (T + 1,) begins with the clean end: 1 with `set_alpha_to_one`, else a repetition of the first trained level.
    """

    alpha_bar: np.ndarray = field(repr=False)
    spacing: str
    offset: int

    def alpha(self, t: float) -> float:
        return math.sqrt(self.alpha_bar[int(t) + 1])

    def sigma(self, t: float) -> float:
        return math.sqrt(1.0 - self.alpha_bar[int(t) + 1])

    def times(self, steps: int) -> Times:
        trained = len(self.alpha_bar) - 1
        if not 1 <= steps <= trained:
            raise NoiseZooError(
                f"{steps} steps were asked of a schedule of {trained} timesteps: set inverter.steps between 1 and {trained}."
            )
        later: np.ndarray
        if self.spacing == "linspace":
            later = np.linspace(0, trained - 1, steps).round()
        elif self.spacing == "leading":
            later = np.arange(steps) * (trained // steps) + self.offset
        else:
            # arange may give one time too many by rounding, below zero; diffusers would wrap it round to the noisiest level
            later = np.arange(trained, 0, -trained / steps)[:steps].round()[::-1] - 1
        if later[-1] >= trained:
            raise NoiseZooError(
                f"{steps} steps with steps_offset {self.offset} reach timestep {later[-1]:.0f} of {trained}: set inverter.steps to {steps - 1} or less."
            )
        if self.prediction == "epsilon" and self.alpha(later[-1]) == 0:
            raise NoiseZooError(
                "this schedule ends in pure noise (rescale_betas_zero_snr), where a noise-predicting network says nothing of the image: "
                "use the scheduler's configuration with rescale_betas_zero_snr: false, or a model with prediction_type: v_prediction."
            )
        earlier = np.maximum(later - trained // steps, -1)
        return Times((-1.0, *later.tolist()), tuple(earlier.tolist()))

    def trained(self, t: float) -> float:
        return max(t, 0.0)

    def network_time(self, t: float) -> int:
        return int(self.trained(t))

    def read(self, x: Tensor, output: Tensor, t: float, level: float) -> Prediction:
        alpha, sigma = self.alpha(level), self.sigma(level)
        if self.prediction == "epsilon":
            return Prediction((x - sigma * output) / alpha, output)
        if self.prediction == "v_prediction":
            return Prediction(alpha * x - sigma * output, alpha * output + sigma * x)
        if sigma == 0:  # eps is 0/0 on a clean state: read it as if the state lay where the network was asked
            alpha, sigma = self.alpha(self.trained(t)), self.sigma(self.trained(t))
        return Prediction(output, (x - alpha * output) / sigma)


@dataclass(frozen=True)
class Flow(Path):
    """Flow matching: alpha = 1 - t, sigma = t, and the network predicts the velocity eps - x0. t runs from 0 to 1, the network is told T t.

    `config` builds the model's FlowMatchEulerDiscreteScheduler, which places the times (shift, dynamic shift and the rest); `mu` is the dynamic shift.
    With a dynamic shift the times are those of the pipelines that use one (Flux and its kin): 1, ..., 1 / steps before the shift.
    """

    config: Mapping[str, Any]
    mu: float | None = None

    def alpha(self, t: float) -> float:
        return 1.0 - t

    def sigma(self, t: float) -> float:
        return t

    def times(self, steps: int) -> Times:
        if steps < 1:
            raise NoiseZooError(f"{steps} steps were asked: set inverter.steps to 1 or more.")
        scheduler = FlowMatchEulerDiscreteScheduler(**self.config)
        if self.mu is None:
            scheduler.set_timesteps(steps)
        else:
            scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps).tolist(), mu=self.mu)
        nodes = tuple(scheduler.sigmas.double().tolist()[::-1])
        return Times(nodes, nodes[:-1])

    def network_time(self, t: float) -> float:
        return t * float(self.config.get("num_train_timesteps", 1000))

    def read(self, x: Tensor, output: Tensor, t: float, level: float) -> Prediction:
        return Prediction(x - level * output, x + (1.0 - level) * output)


@dataclass(frozen=True)
class Edm(Path):
    """EDM (Karras et al., arXiv 2206.00364): t is the noise level s from 0 to sigma_max, and the network works between EDM's preconditioners.

    The state is kept with unit variance at the noise end, x = (x0 + s eps) / sqrt(1 + s^2), so alpha = 1 / sqrt(1 + s^2), sigma = s alpha. With d
    = sigma_data and the raw output F, which is told log(s) / 4 and shown (x0 + s eps) / sqrt(s^2 + d^2):

        x0_hat  = d^2 / (s^2 + d^2) x / alpha +- s d / sqrt(s^2 + d^2) F
        eps_hat = s / (s^2 + d^2) x / alpha  -+   d / sqrt(s^2 + d^2) F          (upper signs: prediction epsilon, lower: v_prediction)
    """

    scheduler: type[EDMEulerScheduler] | type[EulerDiscreteScheduler]
    config: Mapping[str, Any]
    sigma_data: float

    def alpha(self, t: float) -> float:
        return 1.0 / math.hypot(1.0, t)

    def sigma(self, t: float) -> float:
        return t / math.hypot(1.0, t)

    def times(self, steps: int) -> Times:
        if steps < 2:
            raise NoiseZooError(f"{steps} steps were asked of an EDM schedule: set inverter.steps to 2 or more.")
        scheduler = self.scheduler(**{**self.config, "final_sigmas_type": "zero"})
        scheduler.set_timesteps(steps)
        nodes = tuple(scheduler.sigmas.double().tolist()[::-1])
        return Times(nodes, nodes[:-1])

    def trained(self, t: float) -> float:
        return max(t, float(self.config["sigma_min"]))

    def network_time(self, t: float) -> float:
        return 0.25 * math.log(self.trained(t))

    def network_input(self, x: Tensor, level: float) -> Tensor:
        return x * (math.hypot(1.0, level) / math.hypot(self.sigma_data, level))

    def read(self, x: Tensor, output: Tensor, t: float, level: float) -> Prediction:
        norm = math.hypot(self.sigma_data, level)
        sign = 1.0 if self.prediction == "epsilon" else -1.0
        noisy, residual = x * (math.hypot(1.0, level) / norm**2), output * (sign * self.sigma_data / norm)
        return Prediction(self.sigma_data**2 * noisy + level * residual, level * noisy - residual)
