"""What inverters yield, one state a node from where they start to where they end, and the consumers of such a walk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.inversion.paths import Path


class State(NamedTuple):
    """A state x (rows, ...) at the path's time t."""

    t: float
    x: Tensor


States = Iterator[State]


def last(states: Iterable[State]) -> Tensor:
    """Runs a walk to its end and returns x there."""
    for state in states:  # noqa: B007
        pass
    return state.x


def capture(states: Iterable[State], path: Path, log_snrs: Sequence[float]) -> tuple[Tensor, list[State]]:
    """Runs a walk to its end; returns x there, and for each log-SNR the state of the walk nearest to it (in the angle of the path)."""
    targets = [math.atan(math.exp(-level / 2)) for level in log_snrs]
    kept: dict[int, tuple[float, State]] = {}
    for state in states:
        for i, target in enumerate(targets):
            distance = abs(path.angle(state.t) - target)
            if i not in kept or distance < kept[i][0]:
                kept[i] = (distance, state)
    return state.x, [kept[i][1] for i in range(len(targets))]


def forward_noise(path: Path, x: Tensor, t: float, rows: Sequence[int], seed: int) -> Tensor:
    """alpha(t) x + sigma(t) eps with noise that depends on the seed and on each row's number alone, not on the batch.

    Takes the place of the first inversion steps, whose errors leave most of the image's structure in the noise (Staniszewski et al.,
    arXiv 2410.23530).
    """
    noise = [np.random.default_rng((seed, row)).standard_normal(x.shape[1:], dtype=np.float32) for row in rows]
    return path.alpha(t) * x + path.sigma(t) * torch.from_numpy(np.stack(noise)).to(x)
