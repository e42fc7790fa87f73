"""DPM-Solver++(2M), the same in both directions: one call a step, second order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from pipeline.inversion.denoiser import Denoiser
from pipeline.inversion.paths import Times
from pipeline.inversion.states import State, States


def walk(model: Denoiser, x: Tensor, nodes: Sequence[float]) -> States:
    """Lu et al., arXiv 2211.01095, algorithm 2, as in DPMSolverMultistep(Inverse)Scheduler (dpmsolver++, order 2, midpoint).

    With lambda = log(alpha / sigma), h = lambda' - lambda and h_ the step before:

        D = x0_hat + h / (2 h_) (x0_hat - x0_hat_before),      x' = sigma' / sigma x - alpha' (exp(-h) - 1) D,

    written here as the DDIM step plus what the second term of D adds. The first step, and one that ends where lambda is infinite, are DDIM steps.
    """
    path = model.path
    yield State(nodes[0], x)
    before: Tensor | None = None
    last_h = 0.0
    for t, target in pairwise(nodes):
        here, h = model(x, t), (path.log_snr(target) - path.log_snr(t)) / 2
        moved = model.move(x, here, t, target)
        if before is not None and abs(h) < float("inf") and last_h != 0:
            lever = path.alpha(target) - path.alpha(t) * path.sigma(target) / path.sigma(t)
            moved = moved + lever * h / (2 * last_h) * (here.x0 - before)
        x, before, last_h = moved, here.x0, h
        yield State(target, x)


def invert(model: Denoiser, x: Tensor, times: Times) -> States:
    """DPM-Solver++(2M) from clean to noise."""
    return walk(model, x, times.nodes)


def generate(model: Denoiser, x: Tensor, times: Times) -> States:
    """DPM-Solver++(2M) from noise to clean."""
    return walk(model, x, times.nodes[::-1])
