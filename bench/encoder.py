"""How much of a bare model's speed is left when its images come as files: `python -m bench.encoder`.

Two questions. Is `Encoder.__call__` on uint8 batches as fast as the model on tensors that are ready, at a batch size where the model is busy? And when images are
decoded in two threads ahead of a small encoder, is the slower of the two, decoding or the model, the only thing that limits the rate? Weights are random; speed does
not ask for meaning.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.decode import decode
from pipeline.spaces.encoder import Encoder

SIZES = {
    "ViT-S/16 at 224": {
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "intermediate_size": 1536,
        "image_size": 224,
        "patch_size": 16,
    },
    "toy ViT/8 at 64": {
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "image_size": 64,
        "patch_size": 8,
    },
}


def random_vit(name: str, folder: Path, device: torch.device, dtype: torch.dtype) -> Encoder:
    """A ViT of this size with random weights, loaded as any other."""
    from transformers import ViTConfig, ViTModel

    size = SIZES[name]["image_size"]
    ViTModel(ViTConfig(**SIZES[name])).save_pretrained(folder)
    settings = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": size, "width": size},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    encoder = Encoder(str(folder), pool="cls")
    encoder.load(device, dtype)
    return encoder


def processor_seconds(work: Callable[[], object]) -> float:
    """Time that this process was on a core: on the CPU, a measure that other work on the machine does not touch."""
    start = time.process_time()
    work()
    return time.process_time() - start


def seconds(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def against_the_bare_model(encoder: Encoder, batch: int, rounds: int, device: torch.device) -> dict[str, float]:
    """Both, turn about, so that whatever else the machine does meets both; the median of the ratios."""
    size = encoder.recipe.size
    images, rows = torch.randint(0, 255, (batch, 3, *size), dtype=torch.uint8), torch.arange(batch)
    model = encoder._model
    assert model is not None
    ready = encoder.recipe.normalise(images.to(device), next(model.parameters()).dtype)

    @torch.inference_mode()
    def bare() -> None:
        model(pixel_values=ready)

    for work in (bare, lambda: encoder(images, rows)):
        seconds(work, device)
    pairs = [(seconds(bare, device), seconds(lambda: encoder(images, rows), device)) for _ in range(rounds)]
    ratios = sorted(bare_s / ours_s for bare_s, ours_s in pairs)
    by_cpu = [processor_seconds(bare) / processor_seconds(lambda: encoder(images, rows)) for _ in range(rounds)]
    on_cpu = {"ratio by processor time": statistics.median(by_cpu)} if device.type == "cpu" else {}
    return {
        "bare images/s": batch / statistics.median(bare_s for bare_s, _ in pairs),
        "encoder images/s": batch / statistics.median(ours_s for _, ours_s in pairs),
        "ratio": statistics.median(ratios),
        "ratio, lowest": ratios[0],
        "ratio, highest": ratios[-1],
        **on_cpu,
    }


def jpegs(count: int) -> list[bytes]:
    """Files like CelebA's: 178 x 218, quality 90, some grain."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:218, 0:178] / 40
    files = []
    for i in range(count):
        waves = np.stack([128 + 90 * np.sin((c + 1) * x + (i % 7 - c) * y + c) for c in range(3)], -1)
        file = io.BytesIO()
        Image.fromarray(np.uint8(np.clip(waves + rng.normal(0, 8, waves.shape), 0, 255))).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def decoded(encoder: Encoder, files: Sequence[bytes], threads: int, ahead: int) -> Iterator[torch.Tensor]:
    """Prepared images in order, decoded ahead by so many."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[torch.Tensor]] = deque()
        for data in files:
            waiting.append(pool.submit(lambda data: encoder.prepare(decode(data)), data))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def from_files(
    encoder: Encoder, files: Sequence[bytes], batch: int, threads: int, device: torch.device
) -> dict[str, float]:
    """Rates of decoding alone, of the model alone, and of both together, with the share of the cores that was used."""
    cores = len(os.sched_getaffinity(0))
    images = torch.stack(list(decoded(encoder, files[:batch], threads, batch)))

    def together() -> None:
        stream = decoded(encoder, files, threads, 2 * batch)
        rows = torch.arange(batch)
        held: list[torch.Tensor] = []
        for image in stream:
            held.append(image)
            if len(held) == batch:
                encoder(torch.stack(held), rows)
                held = []

    decode_s = seconds(lambda: sum(1 for _ in decoded(encoder, files, threads, 2 * batch)), device)
    model_s = seconds(lambda: [encoder(images, torch.arange(batch)) for _ in range(len(files) // batch)], device)
    cpu = time.process_time()
    both_s = seconds(together, device)
    used = (time.process_time() - cpu) / both_s / cores
    count = len(files)
    return {
        "decoding alone, images/s": count / decode_s,
        "model alone, images/s": count / model_s,
        "both, images/s": count / both_s,
        "share of the slower alone": max(decode_s, model_s) / both_s,
        "share of all work on these cores": used,
    }


def main() -> None:
    """Both measurements, as text and, with --json, into a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=16, help="rows in a batch of the larger model")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--files", type=int, default=2048)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        large, toy = (random_vit(name, Path(folder) / str(i), device, dtype) for i, name in enumerate(SIZES))
        found[f"ViT-S/16 at 224, batch {asked.batch}, against the bare model"] = against_the_bare_model(
            large, asked.batch, asked.rounds, device
        )
        found["toy ViT/8 at 64, batch 256, against the bare model"] = against_the_bare_model(
            toy, 256, asked.rounds, device
        )
        found["toy ViT/8 at 64, batch 256, from JPEG files, 2 threads"] = from_files(
            toy, jpegs(asked.files), 256, 2, device
        )
    for title, figures in found.items():
        print(title)
        print("\n".join(f"  {name:34} {value:10.3f}" for name, value in figures.items()))
    if asked.json:
        asked.json.write_text(
            json.dumps(
                {"device": str(device), "cores": len(os.sched_getaffinity(0)), "torch": torch.__version__, **found},
                indent=2,
            )
        )


if __name__ == "__main__":
    main()
