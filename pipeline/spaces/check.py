"""`noisezoo space check NAME`: whether a space keeps the promises that the worker builds on, found out on eight made-up images before it is let loose on hundreds of thousands."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from noisezoo.errors import NoiseZooError
from pipeline.spaces.base import Generates, Space
from pipeline.spaces.checkpoints import is_pinned, local_folder

LARGEST_HALF = 65504.0
SAME = 1e-2
"""Relative difference that kernels for other batch sizes may make in half precision."""
ROUND_TRIP_DB = 15.0
"""Below this a regenerated image is another image."""


@dataclass(frozen=True)
class Finding:
    """One promise: whether it is kept, what was seen, and what to do about it."""

    passed: bool
    promise: str
    seen: str
    mend: str = ""


def eight_images() -> list[Image.Image]:
    """Smooth coloured images of eight sizes, tall, wide, tiny and large, the same on every machine."""
    images = []
    for i, (width, height) in enumerate(
        [(64, 64), (178, 218), (218, 178), (33, 47), (300, 90), (90, 300), (512, 512), (101, 99)]
    ):
        y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
        waves = [np.sin(2 * np.pi * ((1 + i % 3) * x + (c - i / 4) * y) + i + c) for c in range(3)]
        images.append(Image.fromarray(np.uint8(127.5 + 100 * np.stack(waves, -1))))
    return images


def check(space: Space, device: torch.device) -> list[Finding]:
    """Load the space, run the images, and look at everything the worker relies on; never raises for a fault of the space."""
    findings: list[Finding] = []
    for step in (_facts, _loads, _prepares, _computes, _round_trip):
        try:
            findings.extend(step(space, device))
        except NoiseZooError as error:
            findings.append(
                Finding(False, step.__doc__ or "", str(error), "do what this sentence says, then check again")
            )
        except Exception as error:  # a stranger's class may raise anything, and the report must say what
            findings.append(
                Finding(
                    False,
                    step.__doc__ or "",
                    f"{type(error).__name__}: {error}",
                    "mend this error in the space's class, then check again",
                )
            )
        if not all(finding.passed for finding in findings) and step in (_loads, _prepares):
            break
    return findings


def _facts(space: Space, device: torch.device) -> Iterator[Finding]:
    """says what it is"""
    facts = space.facts
    if facts.model:
        pinned = is_pinned(facts.revision) or local_folder(facts.model) is not None
        mend = (
            ""
            if pinned
            else f"write 'revision: {space.describe().get('revision')}' into the YAML, or what it gives may change one day"
        )
        yield Finding(pinned, "the revision is pinned", str(facts.revision or "the folder's own files"), mend)
    named = facts.licence not in ("", "unknown")
    yield Finding(
        named,
        "the licence is named",
        facts.licence,
        "" if named else "write the weights' licence as 'licence:' into the YAML; cards repeat it",
    )
    kind = facts.task in ("noise", "embedding", "tokens", "control")
    yield Finding(
        kind,
        "the task is one of noise, embedding, tokens, control",
        facts.task,
        "" if kind else "set facts.task to one of them",
    )
    described = space.describe()
    stable = json.dumps(described, sort_keys=True) == json.dumps(space.describe(), sort_keys=True)
    yield Finding(
        stable,
        "describe() is plain data and says the same twice",
        f"{len(described)} entries",
        "" if stable else "leave times, addresses and random names out of describe()",
    )


def _loads(space: Space, device: torch.device) -> Iterator[Finding]:
    """loads"""
    space.load(device, getattr(torch, space.precision))
    fits = len(space.dims) == len(space.shape) and len(set(space.dims)) == len(space.dims)
    mend = "" if fits else "give 'dims' one different name for each entry of 'shape'"
    yield Finding(
        fits, "loads, and every dimension has a name", f"{dict(zip(space.dims, space.shape, strict=False))}", mend
    )


def _prepares(space: Space, device: torch.device) -> Iterator[Finding]:
    """prepares images"""
    prepared = [space.prepare(image) for image in eight_images()]
    shapes = {tuple(image.shape) for image in prepared}
    one = len(shapes) == 1 and all(len(shape) == 3 and shape[0] == 3 for shape in shapes)
    mend = "" if one else "let prepare() crop or resize every image to the same (3, h, w), whatever its size"
    yield Finding(
        one, "images of any size are prepared to one (3, h, w)", ", ".join(map(str, sorted(shapes)))[:120], mend
    )
    kinds = {image.dtype for image in prepared}
    known = kinds <= {torch.uint8, torch.float32}
    yield Finding(
        known,
        "prepared images are uint8 or float32",
        ", ".join(str(kind) for kind in kinds),
        "" if known else "return torch.uint8 from prepare()",
    )


def _latent(output: torch.Tensor | dict[str, torch.Tensor]) -> torch.Tensor:
    return (output["latent"] if isinstance(output, dict) else output).detach().float().cpu()


def _runner(space: Space) -> tuple[torch.Tensor, Callable[[list[int]], torch.Tensor]]:
    batch = torch.stack([space.prepare(image) for image in eight_images()])
    return batch, lambda order: _latent(space(batch[order].clone(), torch.tensor(order) + 1000))


def _computes(space: Space, device: torch.device) -> Iterator[Finding]:
    """computes rows"""
    _, run = _runner(space)
    everything = list(range(8))
    latent = run(everything)
    expected = (8, *space.shape)
    right = tuple(latent.shape) == expected
    yield Finding(
        right,
        "eight images give eight rows of the stated shape",
        f"{tuple(latent.shape)}",
        "" if right else f"write 'shape: {list(latent.shape[1:])}', or mend __call__ to give {expected}",
    )
    if not right:
        return
    finite = bool(torch.isfinite(latent).all())
    yield Finding(
        finite,
        "every value is finite",
        f"{int((~torch.isfinite(latent)).sum())} are not",
        "" if finite else "load in float32 (precision: float32) or mend __call__",
    )
    largest = float(latent.nan_to_num().abs().max())
    fits = space.dtype != "float16" or largest < LARGEST_HALF
    yield Finding(
        fits,
        f"values fit into {space.dtype}",
        f"largest {largest:.3g}",
        "" if fits else "write 'dtype: float32' into the YAML, or scale the latent",
    )
    differ = bool(latent.flatten(1).unique(dim=0).shape[0] == 8)
    yield Finding(
        differ,
        "different images give different rows",
        f"{latent.flatten(1).unique(dim=0).shape[0]} of 8 differ",
        "" if differ else "__call__ ignores its images: look at prepare()",
    )
    again = _distance(run(everything), latent)
    yield Finding(
        again <= 1e-5,
        "the same batch gives the same rows",
        f"relative difference {again:.1e}",
        ""
        if again <= 1e-5
        else "draw no random numbers but pipeline.spaces.noise's, and switch dropout off (model.eval())",
    )
    alone = torch.cat([run([i]) for i in everything])
    mixed = run(everything[::-1]).flip(0)
    apart = max(_distance(alone, latent), _distance(mixed, latent))
    mend = (
        ""
        if apart <= SAME
        else "a row may depend on its image and its row number alone: no batch norm in training mode, no random numbers by place in the batch"
    )
    yield Finding(apart <= SAME, "a row is the same in any company", f"relative difference {apart:.1e}", mend)


def _round_trip(space: Space, device: torch.device) -> Iterator[Finding]:
    """leads back to images"""
    if not isinstance(space, Generates):
        return
    batch, _ = _runner(space)
    output: Any = space(batch.clone(), torch.arange(8) + 1000)
    made = space.generate(output["latent"] if isinstance(output, dict) else output).float().cpu()
    seen, rebuilt = space.images(batch).float().cpu(), space.reconstruct(batch).float().cpu()
    shaped = made.shape == seen.shape == rebuilt.shape and float(made.min()) >= 0 and float(made.max()) <= 1
    mend = "" if shaped else "let generate(), reconstruct() and images() all return (n, 3, h, w) in [0, 1]"
    yield Finding(
        shaped,
        "generate, reconstruct and images agree in shape and range",
        f"{tuple(made.shape)}, {tuple(rebuilt.shape)}, {tuple(seen.shape)}",
        mend,
    )
    if shaped:
        decibels = float(-10 * torch.log10(((made - rebuilt) ** 2).mean().clamp_min(1e-12)))
        near = decibels >= ROUND_TRIP_DB
        mend = (
            ""
            if near
            else "take more inversion steps or another inverter, and see that generate() runs the same schedule"
        )
        yield Finding(
            near,
            f"an image comes back from its latent (at least {ROUND_TRIP_DB:.0f} dB against the autoencoder's own)",
            f"{decibels:.1f} dB",
            mend,
        )


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp_min(1e-12))
