"""toy_reader: the attribute reader (`pipeline.toy.reader`), a plain classifier of the training faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.toy.reader import Reader
from pipeline.toy.training.data import held_out, signed, training_faces, training_labels
from pipeline.toy.training.loop import Task
from pipeline.toy.truth import ATTRIBUTES

BATCH = 128


def task(runs: Path) -> Task:
    """Cross-entropy of every attribute."""
    faces, labels = training_faces(runs), torch.from_numpy(training_labels()).float()
    shown, truth, _ = held_out(2_000)

    def loss(network: Any, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(faces), (BATCH,), generator=generator)
        pixels = signed(faces[rows.numpy()])
        coarse = functional.interpolate(functional.avg_pool2d(pixels[::2], 2), size=64, mode="bilinear")
        pixels[::2] = coarse  # so that it can read small pictures too
        return functional.binary_cross_entropy_with_logits(network(pixels), labels[rows])

    def measure(network: Any) -> dict[str, float]:
        right = accuracy(network, signed(shown), truth)
        return {"accuracy": float(right.mean()), "least": float(right.min())}

    return Task("toy_reader", Reader(len(ATTRIBUTES)), loss, measure, steps=1_500, batch=BATCH, rate=2e-3)


def accuracy(network: Any, pixels: Tensor, truth: np.ndarray) -> np.ndarray:
    """(attributes,) shares of rows that are read right."""
    with torch.no_grad():
        said = torch.cat([network(part) > 0 for part in pixels.split(250)]).numpy()
    return (said == truth.astype(bool)).mean(0)
