"""The attribute reader: a small classifier that says which attributes a toy face shows, so that faces which a model made up can be counted."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


class Reader(nn.Module):
    """Four convolutions that halve the picture, then one logit an attribute."""

    def __init__(self, attributes: int) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 160)
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.GroupNorm(8, wide), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * 16, 128), nn.ReLU(), nn.Linear(128, attributes))

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 64, 64) in [-1, 1] to (n, attributes) logits; above 0 the attribute is there."""
        logits: Tensor = self.head(self.body(pixels))
        return logits


def load_reader(folder: Path) -> tuple[Reader, tuple[str, ...]]:
    """The trained reader in a folder, and the attributes in the order of its logits."""
    attributes = tuple(json.loads((folder / "config.json").read_text())["attributes"])
    reader = Reader(len(attributes))
    reader.load_state_dict({key: value.float() for key, value in load_file(folder / "model.safetensors").items()})
    return reader.eval(), attributes


def read(reader: Reader, pixels: Tensor) -> Tensor:
    """(n, attributes) bool of images (n, 3, 64, 64) in [-1, 1]."""
    with torch.no_grad():
        return torch.cat([reader(part) > 0 for part in pixels.split(250)])
