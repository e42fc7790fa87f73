"""Heun's rule, the same in both directions: two calls a step, second order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from pipeline.inversion.denoiser import Denoiser
from pipeline.inversion.paths import Times
from pipeline.inversion.states import State, States


def walk(model: Denoiser, x: Tensor, nodes: Sequence[float]) -> States:
    """The trapezoid rule on dx = x0_hat dalpha + eps_hat dsigma, after an Euler step (Karras et al., arXiv 2206.00364, algorithm 1).

    x' = x + (alpha' - alpha) mean(x0_hat) + (sigma' - sigma) mean(eps_hat), the means of the predictions at (x, t) and at Euler's x' and t'.
    On a flow this is FlowMatchHeunDiscreteScheduler, except that the clean end is corrected too.
    """
    yield State(nodes[0], x)
    for t, target in pairwise(nodes):
        here = model(x, t)
        there = model(model.move(x, here, t, target), target)
        x = model.move(x, here.toward(there, 0.5), t, target)
        yield State(target, x)


def invert(model: Denoiser, x: Tensor, times: Times) -> States:
    """Heun from clean to noise."""
    return walk(model, x, times.nodes)


def generate(model: Denoiser, x: Tensor, times: Times) -> States:
    """Heun from noise to clean."""
    return walk(model, x, times.nodes[::-1])
