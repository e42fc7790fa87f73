"""How much of a bare network's speed is left in a whole build: read, decode, preprocess, network, write, ledger.

The rival is the limit too: the same networks called in a loop on tensors that are ready, in batches as large. Nothing of a build can be faster.
"""

from __future__ import annotations

import dataclasses
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import encoder as encoders
from bench.builds import compute, make_order, write_images
from bench.harness import CORES, Case, Found, alternate, over
from pipeline.decode import decode
from pipeline.sources.toy import Toy
from pipeline.spaces import autoencoder
from pipeline.worker import Worker

STEPS = 10
"""Of the diffusion case; a real space takes 50, where everything but the network weighs a fifth of what it does here."""
DIFFUSION_SHARD, ENCODER_SHARD, TOY_SHARD = 1024, 256, 2048
CPU = torch.device("cpu")


def diffusion(folder: Path) -> Found:
    rounds, rows = 4, DIFFUSION_SHARD
    node = {
        "_target_": "pipeline.spaces.diffusion.Diffusion",
        "model": "models/toy_sd",
        "size": 64,
        "precision": "float32",
        "inverter": {"name": "ddim", "steps": STEPS},
    }
    pictures = [picture.data or b"" for picture in Toy(256).read(range(256))]
    write_images(folder / "images", pictures, (rounds + 1) * rows, rows)
    worker = Worker(make_order(folder, {"space": node}, (rounds + 1) * rows, rows))
    worker._hold(("space",))
    worker._load(("space",))
    space: Any = worker.spaces["space"]
    trace = _Trace(space.denoiser.network)
    network = space.denoiser.network
    space.denoiser = dataclasses.replace(space.denoiser, network=trace)
    images = torch.stack([space.prepare(decode(data)) for data in pictures[: space.limit]])
    ready = images.float() / 127.5 - 1
    time_of_day = torch.full((space.limit,), 500)

    @torch.inference_mode()
    def bare() -> None:
        for _ in range(rows // space.limit):
            x = torch.cat([autoencoder.encode(space._vae, part) for part in space._parts(ready)])
            for _ in range(STEPS):
                network(x, time_of_day)

    found = _against(worker, bare, rounds, rows)
    encoding = statistics.median(alternate({"encode": lambda: space.encode(images)}, 5)["encode"])
    call = statistics.median(end - begin for begin, end in trace.calls)
    idle = 1 - sum(end - begin for begin, end in trace.calls) / trace.spanned(gap=1.0)
    return dataclasses.replace(
        found,
        figures={
            **found.figures,
            "idle share of the network, from the trace": idle,
            "autoencoder's share of the bare loop": encoding / (encoding + STEPS * call),
        },
    )


def vit(folder: Path) -> Found:
    """A ViT-S/16 of random weights on JPEG files of CelebA's size."""
    made = encoders.random_vit("ViT-S/16 at 224", folder / "model", CPU, torch.float32)
    del made
    node = {"_target_": "pipeline.spaces.encoder.Encoder", "model": str(folder / "model"), "pool": "cls"}
    return _encoder(folder, node, encoders.jpegs(64), ENCODER_SHARD, batch=32, rounds=5)


def toy(folder: Path) -> Found:
    """toy_clip, which takes hardly longer than the decoding of its images."""
    node = {"_target_": "pipeline.spaces.encoder.Encoder", "model": "models/toy_clip", "pool": "image_features"}
    pictures = [picture.data or b"" for picture in Toy(256).read(range(256))]
    return _encoder(folder, node, pictures, TOY_SHARD, batch=256, rounds=7)


def _encoder(folder: Path, node: dict[str, Any], files: Sequence[bytes], rows: int, batch: int, rounds: int) -> Found:
    write_images(folder / "images", files, (rounds + 1) * rows, rows)
    worker = Worker(make_order(folder, {"space": node}, (rounds + 1) * rows, rows, batch=batch))
    worker._hold(("space",))
    worker._load(("space",))
    space: Any = worker.spaces["space"]
    images = torch.stack([space.prepare(decode(files[i % len(files)])) for i in range(batch)])
    ready = space.recipe.normalise(images, torch.float32)

    @torch.inference_mode()
    def bare() -> None:
        for _ in range(rows // batch):
            space._run(space._model, ready)

    found = _against(worker, bare, rounds, rows)

    def prepare() -> None:
        for i in range(256):
            space.prepare(decode(files[i % len(files)]))

    alone = 256 / statistics.median(alternate({"decode": prepare}, 5)["decode"])
    return dataclasses.replace(found, figures={**found.figures, "decoding alone on one core, rows/s": alone})


def _against(worker: Worker, bare: Callable[[], None], rounds: int, rows: int) -> Found:
    """A build of a shard a round, and the bare loop over as many rows."""
    shard, busy = iter(range(rounds + 1)), []

    def build() -> None:
        before, begun = _processor(), time.perf_counter()
        compute(worker, next(shard), "space")
        busy.append((_processor() - before) / (time.perf_counter() - begun) / CORES)

    taken = alternate({"bare": bare, "build": build}, rounds)
    return Found(
        over(taken["bare"], taken["build"]),
        {
            "whole build, rows/s": rows / statistics.median(taken["build"]),
            "bare loop, rows/s": rows / statistics.median(taken["bare"]),
            "share of the cores that the build used": statistics.median(busy[1:]),
        },
    )


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class _Trace:
    """A network that notes when each of its calls began and ended."""

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.network = network
        self.calls: list[tuple[float, float]] = []

    def __call__(self, x: Tensor, time_told: Tensor) -> Tensor:
        begun = time.perf_counter()
        out = self.network(x, time_told)
        self.calls.append((begun, time.perf_counter()))
        return out

    def spanned(self, gap: float) -> float:
        """Seconds from first to last call, without pauses longer than `gap`, in which the rival had its turn."""
        pauses = [b[0] - a[1] for a, b in zip(self.calls, self.calls[1:], strict=False)]
        return self.calls[-1][1] - self.calls[0][0] - sum(pause for pause in pauses if pause > gap)


CASES = [
    Case(
        "engine.diffusion",
        f"a build of toy_sd with {STEPS} DDIM steps, rows/s",
        "autoencoder and network in a bare loop on ready tensors",
        diffusion,
        target=0.97,
        limit="1, the networks themselves",
    ),
    Case(
        "engine.encoder",
        "a build of a ViT-S/16 at 224 from 178×218 JPEG files, rows/s",
        "the model in a bare loop on ready tensors",
        vit,
        target=0.90,
        limit="1, the model itself",
    ),
    Case(
        "engine.encoder_toy",
        "a build of toy_clip from 64×64 PNG files, rows/s",
        "the model in a bare loop on ready tensors",
        toy,
        limit="the model and the decoding share the cores",
    ),
]
