"""How much of a bare network's speed is left in a whole build: read, decode, preprocess, network, write, ledger.

The rival is the limit too: the same networks called in a loop on tensors that are ready, in batches as large. Nothing of a build can be faster.

Both are timed by processor time with one thread of torch, all threads of the build counted: where the network runs on the same cores as everything else, that is what
a build on a machine without a free core comes to, and other programs do not stretch it.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import encoder as encoders
from bench.builds import compute, make_order, write_images
from bench.harness import Case, Found, alternate, over
from pipeline.decode import decode
from pipeline.sources.toy import Toy
from pipeline.spaces import autoencoder
from pipeline.worker import Worker

STEPS = 10
"""Of the diffusion case; a real space takes 50, where everything but the network weighs a fifth of what it does here."""
DIFFUSION_SHARD, ENCODER_SHARD, TOY_SHARD = 512, 96, 1024
CPU = torch.device("cpu")


def diffusion(folder: Path) -> Found:
    rounds, rows = 2, DIFFUSION_SHARD
    node = {
        "_target_": "pipeline.spaces.diffusion.Diffusion",
        "model": "models/toy_sd",
        "size": 64,
        "precision": "float32",
        "inverter": {"name": "ddim", "steps": STEPS},
    }
    pictures = [picture.data or b"" for picture in Toy(256).read(range(256))]
    write_images(folder / "images", pictures, (rounds + 1) * rows, rows)
    # Of a shard of 1024 four rows are regenerated, so two of this one.
    worker = Worker(make_order(folder, {"space": node}, (rounds + 1) * rows, rows, fidelity_rows=2, threads=1))
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

    space(images, torch.arange(space.limit))  # warm; a round of this case is long
    found = _against(worker, bare, rounds, rows, trace.calls.clear, warm=True)
    parts = {
        "encode": lambda: space.encode(images),
        "call": lambda: network(torch.zeros(space.limit, *space.shape), time_of_day),
    }
    with torch.inference_mode():
        encoding, call = (statistics.median(seconds) for seconds in alternate(parts, 5, time.process_time).values())
    return dataclasses.replace(
        found,
        figures={
            **found.figures,
            "idle share of the network, from its trace; the autoencoder's work counts as idle": trace.idle(),
            "autoencoder's share of the bare loop": encoding / (encoding + STEPS * call),
        },
    )


def vit(folder: Path) -> Found:
    """A ViT-S/16 of random weights on JPEG files of CelebA's size."""
    made = encoders.random_vit("ViT-S/16 at 224", folder / "model", CPU, torch.float32)
    del made
    node = {"_target_": "pipeline.spaces.encoder.Encoder", "model": str(folder / "model"), "pool": "cls"}
    return _encoder(folder, node, encoders.jpegs(64), ENCODER_SHARD, batch=32, rounds=3)


def toy(folder: Path) -> Found:
    """toy_clip, which takes hardly longer than the decoding of its images."""
    node = {"_target_": "pipeline.spaces.encoder.Encoder", "model": "models/toy_clip", "pool": "image_features"}
    pictures = [picture.data or b"" for picture in Toy(256).read(range(256))]
    return _encoder(folder, node, pictures, TOY_SHARD, batch=256, rounds=7)


def _encoder(folder: Path, node: dict[str, Any], files: Sequence[bytes], rows: int, batch: int, rounds: int) -> Found:
    write_images(folder / "images", files, (rounds + 1) * rows, rows)
    worker = Worker(make_order(folder, {"space": node}, (rounds + 1) * rows, rows, batch=batch, threads=1))
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

    alone = 256 / statistics.median(alternate({"decode": prepare}, 5, time.process_time)["decode"])
    return dataclasses.replace(found, figures={**found.figures, "decoding alone, rows a second of a core": alone})


def _against(
    worker: Worker,
    bare: Callable[[], None],
    rounds: int,
    rows: int,
    before: Callable[[], None] = lambda: None,
    *,
    warm: bool = False,
) -> Found:
    """A build of a shard a round, and the bare loop over as many rows; `before` is called before each build."""
    shard = iter(range(rounds + 1))

    def build() -> None:
        before()
        compute(worker, next(shard), "space")

    taken = alternate({"bare": bare, "build": build}, rounds, time.process_time, warm=warm)
    return Found(
        over(taken["bare"], taken["build"]),
        {
            "whole build, rows a second of a core": rows / statistics.median(taken["build"]),
            "bare loop, rows a second of a core": rows / statistics.median(taken["bare"]),
        },
    )


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

    def idle(self) -> float:
        """The share of the time, from the first call of the last build to its last, in which the network was not called."""
        busy = sum(end - begin for begin, end in self.calls)
        return 1 - busy / (self.calls[-1][1] - self.calls[0][0])


CASES = [
    Case(
        "engine.diffusion",
        f"a build of toy_sd with {STEPS} DDIM steps",
        "autoencoder and network in a bare loop on ready tensors",
        diffusion,
        target=0.97,
        limit="1, the networks themselves",
    ),
    Case(
        "engine.encoder",
        "a build of a ViT-S/16 at 224 from 178×218 JPEG files",
        "the model in a bare loop on ready tensors",
        vit,
        target=0.90,
        limit="1, the model itself",
    ),
    Case(
        "engine.encoder_toy",
        "a build of toy_clip from 64×64 PNG files",
        "the model in a bare loop on ready tensors",
        toy,
        limit="the model and the decoding share the cores",
    ),
]
