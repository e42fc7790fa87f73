"""DDIM backwards, one explicit network call a step, by either of the two rules in use; and the DDIM sampler itself."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from pipeline.inversion.denoiser import Denoiser
from pipeline.inversion.paths import Times
from pipeline.inversion.states import State, States


def invert(model: Denoiser, x: Tensor, times: Times, variant: Literal["diffusers", "authors"] = "diffusers") -> States:
    """Song et al., arXiv 2010.02502, eq. 14 run towards noise: x' = alpha' x0_hat + sigma' eps_hat.

    The true inverse of a sampling step from (x', t') to (x, t) uses eps_hat(x', t'), which is not yet known. The variants differ in their guess:

    - "authors", the rule of arXiv 2603.21786: eps_hat(x, t), an explicit Euler step of the flow from node to node.
    - "diffusers", the rule of DDIMInverseScheduler: eps_hat(x, t'), the old state with the new time. x0_hat is then read off at t. Quirk kept: t is
      t' - T // steps and not the timestep before t', which differ for the spacing trailing when steps does not divide T. (Another quirk, its
      clipping of x0_hat by default, is not kept: models that are inverted set clip_sample to false.)
    """
    yield State(times.nodes[0], x)
    for node, (earlier, t) in zip(times.nodes, times.steps(), strict=False):
        told, level = (node, node) if variant == "authors" else (t, earlier)
        x = model.move(x, model(x, told, level), level, t)
        yield State(t, x)


def generate(model: Denoiser, x: Tensor, times: Times) -> States:
    """DDIM with eta = 0, as DDIMScheduler steps (on a flow: FlowMatchEulerDiscreteScheduler): x = alpha x0_hat(x', t') + sigma eps_hat(x', t')."""
    yield State(times.nodes[-1], x)
    for earlier, t in reversed(list(times.steps())):
        x = model.move(x, model(x, t), t, earlier)
        yield State(earlier, x)
