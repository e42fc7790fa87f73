"""A network along a path: the one object through which inverters see a model, and the Euler step that all of them are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.inversion.paths import Path, Prediction

Network = Callable[[Tensor, Tensor], Tensor]
"""(x (rows, ...) in the network's dtype, time (rows,)) -> its raw output, at least as many channels as x."""


@dataclass(frozen=True)
class Denoiser:
    """Calls a network in its own dtype on states kept in fp32 (or fp64), and says what it predicts as (x0, eps)."""

    network: Network
    path: Path
    dtype: torch.dtype = torch.float32

    def __call__(self, x: Tensor, t: float, level: float | None = None) -> Prediction:
        """The prediction for x when the network is told time t and x is read as a state at `level`, by default at t too.

        A clean state is by default taken for one at the earliest trained time: networks were never shown sigma = 0, and read there what they say
        of v or F would put part of the image into eps.
        """
        level = self.path.trained(t) if level is None else level
        time = torch.full((len(x),), self.path.network_time(t), device=x.device)
        output = self.network(self.path.network_input(x, level).to(self.dtype), time)
        mean = output[:, : x.shape[1]]  # networks with a learned variance append it as further channels
        return self.path.read(x, mean.to(x.dtype), t, level)

    def move(self, x: Tensor, prediction: Prediction, source: float, target: float) -> Tensor:
        """x' = x + (alpha' - alpha) x0 + (sigma' - sigma) eps: DDIM (arXiv 2010.02502) on a diffusion path, Euler on a flow."""
        path = self.path
        x = torch.add(x, prediction.x0, alpha=path.alpha(target) - path.alpha(source))
        return torch.add(x, prediction.eps, alpha=path.sigma(target) - path.sigma(source))
