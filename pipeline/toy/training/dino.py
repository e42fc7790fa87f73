"""toy_dino: a ViT trained by self-distillation without labels, DINO (Caron et al., arXiv 2104.14294), made for few rows.

Two pictures of one toy person, taken in other poses, light and places, go to a student; a teacher, the student's moving average, sees them too. The student
learns to give each picture the teacher's distribution over prototypes for the *other* one, and the teacher's class token for the other one. The teacher's
answers are centred by Sinkhorn and Knopp's scaling, as in DINOv2 (arXiv 2304.07193): with DINO's running mean and batches this small, training swung between
collapse and recovery.

DINO proper makes its two pictures of one, by cropping and colouring. Here the network so trained read attributes at a mean ROC AUC of 0.65: what tells one
drawing from another most easily is not its attributes. A second picture of a person is what a video gives, and is no label. And DINO asks for no more than
tells the prototypes apart, for which hair and skin do: its probes stopped at 0.78. So the class token is also kept spread out and uncorrelated, by VICReg's
two terms (Bardes et al., arXiv 2105.04906), which DINOv2 does by KoLeo's.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ViTConfig, ViTImageProcessor, ViTModel

from pipeline.toy.training.data import held_out, signed, training_faces
from pipeline.toy.training.loop import Task
from pipeline.toy.training.measures import probe_auc

BATCH = 48
AGAIN = 1
"""Seed of the second pictures' nuisances."""
PROTOTYPES = 512
STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.05
TEACHER_KEEPS = 0.99
PROTOTYPE_WEIGHT = 0.1


class Student(nn.Module):
    """A ViT and its projection head; of the two only the ViT is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = ViTModel(
            ViTConfig(
                hidden_size=128,
                num_hidden_layers=3,
                num_attention_heads=4,
                intermediate_size=512,
                image_size=64,
                patch_size=8,
            ),
            add_pooling_layer=False,
        )
        self.head = nn.Sequential(nn.Linear(128, 256), nn.GELU(), nn.Linear(256, 64))
        self.prototypes = nn.Parameter(torch.randn(PROTOTYPES, 64))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 128) class tokens and (n, PROTOTYPES) cosines to the prototypes."""
        token = self.vit(pixels).last_hidden_state[:, 0]
        cosines = functional.normalize(self.head(token), dim=-1) @ functional.normalize(self.prototypes, dim=-1).mT
        return token, cosines


class Pair(nn.Module):
    """Student and teacher: all that a run has to keep."""

    def __init__(self) -> None:
        super().__init__()
        self.student = Student()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)


def centred(logits: Tensor) -> Tensor:
    """Softmax of each row, rescaled so that over the batch every prototype is wanted equally often (three rounds of Sinkhorn and Knopp)."""
    wanted = (logits - logits.max()).exp()
    for _ in range(3):
        wanted = wanted / wanted.sum(0, keepdim=True)
        wanted = wanted / wanted.sum(1, keepdim=True)
    return wanted


def crowding(tokens: Tensor) -> Tensor:
    """VICReg's variance and covariance terms, mean_j max(0, 1 - std_j) + sum_{j != k} C_jk^2 / d with C the covariance of (n, d) tokens."""
    centred = tokens - tokens.mean(0)
    covariance = centred.mT @ centred / len(tokens)
    variance = covariance.diagonal()
    off = covariance - torch.diag(variance)
    return (1.0 - (variance + 1e-4).sqrt()).relu().mean() + off.square().sum() / tokens.shape[1]


def processor() -> ViTImageProcessor:
    """What toy_dino sees: 64 x 64 pixels in [-1, 1]."""
    return ViTImageProcessor(size={"height": 64, "width": 64}, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def varied(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture cropped a little, perhaps mirrored, and with a gain and an offset of its own."""
    n = len(pixels)
    share = 0.85 + 0.15 * torch.rand(n, generator=generator)
    middle = (2.0 * torch.rand(n, 2, generator=generator) - 1.0) * (1.0 - share)[:, None]
    mirrored = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    frame = torch.zeros(n, 2, 3)
    frame[:, 0, 0], frame[:, 1, 1], frame[:, :, 2] = share * mirrored, share, middle
    grid = functional.affine_grid(frame, list(pixels.shape), align_corners=False)
    seen = functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    gain = 1.0 + 0.2 * (2.0 * torch.rand(n, 1, 1, 1, generator=generator) - 1.0)
    offset = 0.2 * (2.0 * torch.rand(n, 1, 1, 1, generator=generator) - 1.0)
    return (gain * seen + offset).clamp(-1.0, 1.0)


def task(runs: Path) -> Task:
    """PROTOTYPE_WEIGHT times DINO's cross-entropy, the squared distance to the teacher's token, and the crowding of the student's tokens."""
    pictures = training_faces(runs), training_faces(runs, AGAIN)
    shown, labels, _ = held_out(2_500)
    pair = Pair()

    def loss(network: Any, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(pictures[0]), (BATCH,), generator=generator).numpy()
        seen = torch.cat([varied(signed(taken[rows]), generator) for taken in pictures])
        with torch.no_grad():
            goal, cosines = network.teacher(seen)
            wanted = centred(cosines / TEACHER_TEMPERATURE)
        token, cosines = network.student(seen)
        given = (cosines / STUDENT_TEMPERATURE).log_softmax(-1)
        told = -(wanted.roll(BATCH, 0) * given).sum(-1).mean()
        return PROTOTYPE_WEIGHT * told + (token - goal.roll(BATCH, 0)).square().mean() + crowding(token)

    def teach(step: int) -> None:
        keep = min(TEACHER_KEEPS, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(pair.teacher.parameters()), list(pair.student.parameters()), 1.0 - keep)

    def measure(network: Any) -> dict[str, float]:
        return {"probe AUC": float(probe_auc(features(network.teacher.vit, signed(shown)).numpy(), labels, 310).mean())}

    return Task(
        "toy_dino",
        pair,
        loss,
        measure,
        steps=1_700,
        batch=BATCH,
        rate=3e-3,
        after_step=teach,
        average=0.98,
        measures=12,
    )


def features(vit: Any, pixels: Tensor) -> Tensor:
    """(n, 128) class tokens."""
    with torch.no_grad():
        return torch.cat([vit(part).last_hidden_state[:, 0] for part in pixels.split(250)])
