"""The project's own small encoders reach, through the path that a zoo is built with, the probe figures of their model cards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipeline.spaces.catalogue import make_space

MODELS = Path(__file__).parents[3] / "models"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["toy_clip", "toy_dino"])
def test_probes_reach_the_card_s_figure(name: str) -> None:
    card = MODELS / name / "metrics.json"
    if not card.exists():
        pytest.skip(f"{name} is not trained yet")
    from pipeline.toy.training.data import held_out
    from pipeline.toy.training.measures import probe_auc

    figures = json.loads(card.read_text())
    faces, labels, _ = held_out(figures["rows"])
    space = make_space(name)
    space.load(torch.device("cpu"), torch.float32)
    batch = torch.stack([space.prepare(Image.fromarray(face)) for face in faces])
    latents = torch.cat([torch.as_tensor(space(part, torch.arange(len(part)))) for part in batch.split(100)])
    found = probe_auc(latents.numpy(), labels, 310).mean()
    assert abs(found - figures["probe_auc"]) < 0.005
