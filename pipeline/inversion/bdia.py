"""BDIA, an exactly reversible walk at one call a step, second order."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pipeline.inversion.denoiser import Denoiser
from pipeline.inversion.paths import Times
from pipeline.inversion.states import State, States


def walk(model: Denoiser, x: Tensor, nodes: Sequence[float], second: Tensor | None = None) -> States:
    """Zhang et al., arXiv 2307.10829, with gamma = 1: x_next = x_before - D(t -> t_before) + D(t -> t_next).

    D(t -> s) = (alpha_s - alpha_t) x0_hat(x, t) + (sigma_s - sigma_t) eps_hat(x, t) is a DDIM step's change, so both together are one DDIM step from
    t_before to t_next with the prediction at t, in their middle. Read from its other end the formula gives x_before from (x_next, x): the walk
    retraces itself up to rounding. (gamma < 1, which the paper allows, multiplies rounding errors by 1 / gamma at every step of an inversion.)

    Its memory is two states: x at nodes[0] and `second` at nodes[1]. Without `second` the first step is a DDIM step, so a walk from noise retraces an
    inversion exactly only if it is given the inversion's last but one state too.
    """
    yield State(nodes[0], x)
    if second is None:
        second = model.move(x, model(x, nodes[0]), nodes[0], nodes[1])
    yield State(nodes[1], second)
    before, x = x, second
    for t_before, t, t_next in zip(nodes, nodes[1:], nodes[2:], strict=False):
        before, x = x, model.move(before, model(x, t), t_before, t_next)
        yield State(t_next, x)


def invert(model: Denoiser, x: Tensor, times: Times) -> States:
    """BDIA from clean to noise."""
    return walk(model, x, times.nodes)


def generate(model: Denoiser, x: Tensor, times: Times, second: Tensor | None = None) -> States:
    """BDIA from noise to clean; `second` is the state before the last of an inversion."""
    return walk(model, x, times.nodes[::-1], second)
