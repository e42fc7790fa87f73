"""toy_dino: a small ViT trained by self-distillation without labels (DINO, Caron et al., arXiv 2104.14294).

Two large crops and two small ones of each face go to a student; a teacher, the student's moving average, sees the large ones alone. The student
learns to give every crop the teacher's distribution over prototypes for the *other* large crop. The teacher's answers are centred by Sinkhorn and Knopp's
scaling, as in DINOv2 (arXiv 2304.07193): with DINO's running mean and batches this small, training swung between collapse and recovery.
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

BATCH = 64
SMALL_CROPS = 2
PROTOTYPES = 256
STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.05
TEACHER_KEEPS = 0.98


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

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, PROTOTYPES) cosines to the prototypes."""
        token = self.vit(pixels, interpolate_pos_encoding=pixels.shape[-1] != 64).last_hidden_state[:, 0]
        return functional.normalize(self.head(token), dim=-1) @ functional.normalize(self.prototypes, dim=-1).mT


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


def processor() -> ViTImageProcessor:
    """What toy_dino sees: 64 x 64 pixels in [-1, 1]."""
    return ViTImageProcessor(size={"height": 64, "width": 64}, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def crops(pixels: Tensor, side: int, least: float, most: float, generator: torch.Generator) -> Tensor:
    """One crop of each picture, of a share of its side between `least` and `most`, perhaps mirrored, in other colours: the three are shuffled, and each
    gets a gain and an offset of its own. Without that the wall's hue alone tells one picture from another."""
    n = len(pixels)
    share = least + (most - least) * torch.rand(n, generator=generator)
    middle = (2.0 * torch.rand(n, 2, generator=generator) - 1.0) * (1.0 - share)[:, None]
    mirrored = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    frame = torch.zeros(n, 2, 3)
    frame[:, 0, 0], frame[:, 1, 1], frame[:, :, 2] = share * mirrored, share, middle
    grid = functional.affine_grid(frame, [n, 3, side, side], align_corners=False)
    seen = functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    shuffled = torch.rand(n, 3, generator=generator).argsort(1)[:, :, None, None].expand(-1, -1, side, side)
    seen = seen.gather(1, shuffled)
    gain = 1.0 + 0.4 * (2.0 * torch.rand(n, 3, 1, 1, generator=generator) - 1.0)
    offset = 0.4 * (2.0 * torch.rand(n, 3, 1, 1, generator=generator) - 1.0)
    return (gain * seen + offset).clamp(-1.0, 1.0)


def task(runs: Path) -> Task:
    """The cross-entropy of DINO."""
    faces = training_faces(runs)
    shown, labels, _ = held_out(2_500)
    pair = Pair()

    def loss(network: Any, generator: torch.Generator) -> Tensor:
        pixels = signed(faces[torch.randint(len(faces), (BATCH,), generator=generator).numpy()])
        large = torch.cat([crops(pixels, 64, 0.7, 1.0, generator) for _ in range(2)])
        little = torch.cat([crops(pixels, 32, 0.35, 0.6, generator) for _ in range(SMALL_CROPS)])
        with torch.no_grad():
            target = centred(network.teacher(large) / TEACHER_TEMPERATURE).chunk(2)
        given = (network.student(large) / STUDENT_TEMPERATURE).log_softmax(-1).chunk(2)
        given += (network.student(little) / STUDENT_TEMPERATURE).log_softmax(-1).chunk(SMALL_CROPS)
        terms = [-(t * g).sum(-1).mean() for i, t in enumerate(target) for j, g in enumerate(given) if i != j]
        return torch.stack(terms).mean()

    def teach(step: int) -> None:
        keep = min(TEACHER_KEEPS, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(pair.teacher.parameters()), list(pair.student.parameters()), 1.0 - keep)

    def measure(network: Any) -> dict[str, float]:
        return {"probe AUC": float(probe_auc(features(network.teacher.vit, signed(shown)).numpy(), labels, 310).mean())}

    return Task("toy_dino", pair, loss, measure, steps=800, batch=BATCH, rate=3e-3, after_step=teach, average=0.98)


def features(vit: Any, pixels: Tensor) -> Tensor:
    """(n, 128) class tokens."""
    with torch.no_grad():
        return torch.cat([vit(part).last_hidden_state[:, 0] for part in pixels.split(250)])
