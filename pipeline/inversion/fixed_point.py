"""The exact inverse of each DDIM (or Euler) sampling step: found by iteration, or estimated without."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.inversion.denoiser import Denoiser
from pipeline.inversion.paths import Prediction, Times
from pipeline.inversion.states import State, States


def invert(model: Denoiser, x: Tensor, times: Times, tolerance: float = 1e-5, iterations: int = 10) -> States:
    """Solves x' = x + (alpha' - alpha) x0_hat(x', t') + (sigma' - sigma) eps_hat(x', t') for x' by iteration (Pan et al., arXiv 2309.04907).

    The solution is the state that the sampling step from t' carries to x, so a DDIM walk from the noise found returns to the image. The first
    guess uses the prediction held from the step before. A row stops when an iteration moves it by less than `tolerance` of its norm, and is then
    left alone whatever its neighbours still do; all stop after `iterations` calls.
    """
    yield State(times.nodes[0], x)
    held: Prediction | None = None
    for earlier, t in times.steps():
        start = x
        if held is not None:
            x = model.move(start, held, earlier, t)
        moving = torch.ones(len(x), dtype=torch.bool, device=x.device)
        for _ in range(iterations):
            found = model(x, t)
            if held is not None:
                found = Prediction(_where(moving, found.x0, held.x0), _where(moving, found.eps, held.eps))
            held = found
            solved = model.move(start, held, earlier, t)
            step, x = (solved - x).flatten(1).norm(dim=1), _where(moving, solved, x)
            moving = moving & (step > tolerance * solved.flatten(1).norm(dim=1))
            if not moving.any():
                break
        yield State(t, x)


def estimate(model: Denoiser, x: Tensor, times: Times) -> States:
    """The same fixed point at one call a step, without iterations, after the idea of Chen et al., arXiv 2512.08547.

    Written with the data prediction, the fixed point is explicit but for the unknown e' = x0_hat(x', t') - x0_hat(x, t). The same difference over the
    previous step is known once x is; taken in proportion to the steps' lengths (in the angle arctan(sigma / alpha)), it stands in for e':

        p_hat(x', t') ~ p_hat(x, t) + (h' / h) (p_hat(x, t) - p_hat(x_before, t_before)),       p = (x0, eps).

    The estimate misses the fixed point by O(h^3) a step where DDIM misses it by O(h^2). (Our derivation from the paper's description, not its text.)
    """
    yield State(times.nodes[0], x)
    before: Prediction | None = None
    length = 0.0
    for node, (earlier, t) in zip(times.nodes, times.steps(), strict=False):
        here, next_length = model(x, node), model.path.angle(t) - model.path.angle(node)
        guess = here if before is None or length == 0 else here.toward(before, -next_length / length)
        x = model.move(x, guess, earlier, t)
        before, length = here, next_length
        yield State(t, x)


def _where(rows: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(rows.view(-1, *[1] * (yes.dim() - 1)), yes, no)
