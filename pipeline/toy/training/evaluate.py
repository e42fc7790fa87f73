"""Measures the toy models on held-out faces through the very spaces that a zoo is built with: `python -m pipeline.toy.training.evaluate NAME`.

Writes models/<name>/metrics.json, and for a diffusion model a sheet of 64 samples, docs/img/<name>.png.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, CLIPModel

from noisezoo.analysis.gaussianity import gaussianity
from pipeline import inversion
from pipeline.spaces.diffusion import Diffusion
from pipeline.toy.reader import load_reader, read
from pipeline.toy.training import clip, dino
from pipeline.toy.training.attributes import accuracy
from pipeline.toy.training.data import TRAIN_ROWS, held_out, signed
from pipeline.toy.training.loop import spent
from pipeline.toy.training.measures import probe_auc
from pipeline.toy.truth import ATTRIBUTES, RATES

ROOT = Path(__file__).resolve().parents[3]
MODELS, SHEETS = ROOT / "models", ROOT / "docs" / "img"
STEPS, RECOVERY_STEPS = 50, 100
DEFAULT: dict[str, Any] = {"name": "dpmpp_2m", "steps": 25}
"""As the toy zoo inverts noise-predicting models."""
SAMPLE_CALLS = {"toy_sd": (8, 20), "toy_sd_v": (8, 20), "toy_flow": (8, 20), "toy_ddpm": (20, 25)}
"""Calls for a sample, and how many more are tried beside: the more exactly these networks' equation is solved, the smoother a face comes out."""
ROWS, ROUND_TRIPS, RECOVERIES = 2_000, 256, 64
BATCH = 64
PROJECTIONS = 1_000
MANY = 4_000
VARIANTS: dict[str, dict[str, Any]] = {
    "ddim, 50 steps, the authors' rule": {"name": "ddim", "steps": 50, "variant": "authors"},
    "ddim, 50 steps, the first 2 by noising": {"name": "ddim", "steps": 50, "forward_first": 2},
    "ddim, 50 steps, the first 5 by noising": {"name": "ddim", "steps": 50, "forward_first": 5},
    "heun, 25 steps": {"name": "heun", "steps": 25},
}
"""Ways to invert that are compared on a few rows of toy_sd."""
STATES = (0, 2, 5, 8, 12, 16, 20, 25)
"""After how many calls probes read what an inversion has come to."""
NOISE_COMPONENTS, FEATURE_COMPONENTS = 500, 310


def in_batches(run: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """A function over a few rows at a time."""
    with torch.inference_mode():
        return torch.cat([run(part) for part in values.split(BATCH)])


def decibels(one: Tensor, other: Tensor) -> float:
    """Mean over images in [0, 1] of 10 log10(1 / mean squared difference)."""
    error = (one - other).square().flatten(1).mean(1)
    return float((-10.0 * error.log10()).mean())


def diffusion(name: str, rows: int) -> dict[str, Any]:
    """Everything that is asked of a diffusion model."""
    space = opened(name)
    faces, labels, _ = held_out(rows)
    images = torch.stack([space.prepare(Image.fromarray(face)) for face in faces])
    figures: dict[str, Any] = {"rows": rows, "steps": STEPS}

    clean = in_batches(space.encode, images)
    again = in_batches(space.decode, clean)
    truth = images.float() / 255.0
    figures["autoencoder_psnr"] = None if name == "toy_ddpm" else decibels(again, truth)

    noise = inverted(space, clean, **DEFAULT)
    figures["noise_deviation"] = float(noise.std())
    figures["noise_deviation_by_channel"] = [round(float(value), 4) for value in noise.std((0, 2, 3))]
    figures["anderson_darling"] = gaussianity(noise.flatten(1).numpy(), projections=PROJECTIONS).ad.share
    by_attribute = probe_auc(noise.numpy(), labels, NOISE_COMPONENTS)
    figures["probe_auc_noise"] = float(by_attribute.mean())
    figures["probe_auc_noise_by_attribute"] = dict(zip(ATTRIBUTES, by_attribute.round(4).tolist(), strict=True))
    figures["probe_auc_clean"] = float(probe_auc(clean.numpy(), labels, NOISE_COMPONENTS).mean())

    by_ddim = inverted(space, clean, name="ddim", steps=STEPS)
    figures["probe_auc_noise_ddim"] = float(probe_auc(by_ddim.numpy(), labels, NOISE_COMPONENTS).mean())
    back = in_batches(space.generate, by_ddim[:ROUND_TRIPS])
    figures["round_trip_psnr"] = decibels(back, again[:ROUND_TRIPS])
    figures["round_trip_psnr_authors"] = authors_round_trip(space, clean[:ROUND_TRIPS], again[:ROUND_TRIPS])
    figures |= recovery(space)
    return figures | samples(name, space, again)


def samples(name: str, space: Diffusion, reconstructed: Tensor) -> dict[str, Any]:
    """What the reader finds in as many samples as there are reconstructions, and the sheet of the first 64."""
    calls, more = SAMPLE_CALLS[name]
    made, beside = (sampled(space, len(reconstructed), number) for number in (calls, more))
    sheet(made[:64], SHEETS / f"{name}.png")
    return {
        **rate_errors(made, reconstructed),
        "sample_calls": calls,
        "more_calls": more,
        "largest_rate_error_more_calls": rate_errors(beside, reconstructed)["largest_rate_error"],
    }


def sampled_again(name: str) -> dict[str, Any]:
    """Only what is asked of samples."""
    space = opened(name)
    images = torch.stack([space.prepare(Image.fromarray(face)) for face in held_out(ROWS)[0]])
    return samples(name, space, in_batches(lambda part: space.decode(space.encode(part)), images))


def opened(name: str) -> Diffusion:
    """The space of a diffusion model, loaded."""
    space = Diffusion(str(MODELS / name), {"name": "ddim", "steps": STEPS}, precision="float32", licence="CC0-1.0")
    space.load(torch.device("cpu"), torch.float32)
    return space


def inversion_studied(name: str) -> dict[str, Any]:
    """What inversion loses: other inverters on a few rows, and probes on more rows than 2,000."""
    space = opened(name)
    faces = held_out(ROUND_TRIPS)[0]
    clean = in_batches(space.encode, torch.stack([space.prepare(Image.fromarray(face)) for face in faces]))
    return {"inverters": compared(space, clean), "probe_auc_by_rows": by_rows(space), "probe_auc_along": along(space)}


def authors_round_trip(space: Diffusion, clean: Tensor, expected: Tensor) -> float:
    """As `round_trip_psnr`, with DDIM inverted by the rule of the paper's authors; the sampler is the same."""
    noise = inverted(space, clean, name="ddim", steps=STEPS, variant="authors")
    return decibels(in_batches(space.generate, noise), expected)


def recovery(space: Diffusion) -> dict[str, float]:
    """How much of a known noise is found again from what was generated out of it, RECOVERY_STEPS calls each way: correlation over all values."""
    model = space._model()
    known = torch.randn(RECOVERIES, *space.shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        made = inversion.last(inversion.generate(model, known, "ddim", RECOVERY_STEPS))
        found = inversion.last(inversion.invert(model, made, "ddim", RECOVERY_STEPS))
        pixels = (space.decode(made) * 255).round().to(torch.uint8)
        from_pixels = inversion.last(inversion.invert(model, space.encode(pixels), "ddim", RECOVERY_STEPS))
    return {
        "recovered_noise_correlation": correlation(known, found),
        "recovered_noise_correlation_through_pixels": correlation(known, from_pixels),
        "recovered_noise_deviation": float(found.std()),
    }


def inverted(space: Diffusion, clean: Tensor, **inverter: Any) -> Tensor:
    """Noise behind x0 by another inverter than the space's own."""
    numbers = torch.arange(len(clean)).split(BATCH)
    with torch.inference_mode():
        return torch.cat(
            [
                inversion.last(inversion.invert(space._model(), part, **inverter, rows=rows.tolist()))
                for part, rows in zip(clean.split(BATCH), numbers, strict=True)
            ]
        )


def compared(space: Diffusion, clean: Tensor) -> dict[str, dict[str, float]]:
    """The VARIANTS on the same rows: how normal their noise is, and how large."""
    figures = {}
    for words, inverter in VARIANTS.items():
        noise = inverted(space, clean, **inverter)
        accepted = gaussianity(noise.flatten(1).numpy(), projections=PROJECTIONS).ad.share
        figures[words] = {"noise_deviation": round(float(noise.std()), 4), "anderson_darling": round(accepted, 3)}
    return figures


def by_rows(space: Diffusion) -> dict[str, dict[str, float]]:
    """Mean probe AUC against the number of rows that probes are fitted and read on: noise, and what is inverted."""
    faces, labels, _ = held_out(MANY)
    clean = in_batches(space.encode, torch.stack([space.prepare(Image.fromarray(face)) for face in faces]))
    noise = inverted(space, clean, **DEFAULT)
    return {
        str(rows): {
            "noise": round(float(probe_auc(noise[:rows].numpy(), labels[:rows], NOISE_COMPONENTS).mean()), 4),
            "clean": round(float(probe_auc(clean[:rows].numpy(), labels[:rows], NOISE_COMPONENTS).mean()), 4),
        }
        for rows in (1_000, 2_000, MANY)
    }


def along(space: Diffusion, rows: int = ROWS) -> dict[str, float]:
    """Mean probe AUC of the states on the way from the clean end to the noise (DEFAULT), by the number of calls made."""
    faces, labels, _ = held_out(rows)
    model = space._model()
    clean = in_batches(space.encode, torch.stack([space.prepare(Image.fromarray(face)) for face in faces]))
    states: dict[int, list[Tensor]] = {step: [] for step in STATES}
    with torch.inference_mode():
        for part in clean.split(BATCH):
            for step, state in enumerate(inversion.invert(model, part, **DEFAULT)):
                if step in states:
                    states[step].append(state.x)
    read = {step: probe_auc(torch.cat(parts).numpy(), labels, NOISE_COMPONENTS) for step, parts in states.items()}
    return {str(step): round(float(by_attribute.mean()), 4) for step, by_attribute in read.items()}


def correlation(one: Tensor, other: Tensor) -> float:
    """Over all values of all rows."""
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def sampled(space: Diffusion, rows: int, calls: int) -> Tensor:
    """Images (rows, 3, h, w) in [0, 1] out of fresh noise, by DPM-Solver++(2M)."""
    fresh = torch.randn(rows, *space.shape, generator=torch.Generator().manual_seed(2))
    model = space._model()
    return in_batches(
        lambda part: space.decode(inversion.last(inversion.generate(model, part, "dpmpp_2m", calls))), fresh
    )


def rate_errors(samples: Tensor, reconstructed: Tensor) -> dict[str, Any]:
    """How often the reader finds each attribute in samples, and in what the autoencoder makes of real faces, beside how often it holds in truth."""
    made, kept = found_rates(samples), found_rates(reconstructed)
    return {
        "attribute_rates": {
            name: {"truth": RATES[name], "samples": round(made[name], 4), "reconstructions": round(kept[name], 4)}
            for name in made
        },
        "largest_rate_error": max(abs(made[name] - RATES[name]) for name in made),
        "largest_rate_error_of_autoencoder": max(abs(kept[name] - RATES[name]) for name in kept),
    }


def found_rates(images: Tensor) -> dict[str, float]:
    """Share of images (n, 3, h, w) in [0, 1] in which the reader finds each attribute."""
    reader, names = load_reader(MODELS / "toy_reader")
    found = in_batches(lambda part: read(reader, full_size(part) * 2 - 1), images).float().mean(0)
    return dict(zip(names, found.tolist(), strict=True))


def full_size(images: Tensor) -> Tensor:
    """At the reader's 64 x 64."""
    return images if images.shape[-1] == 64 else functional.interpolate(images, size=64, mode="bilinear")


def sheet(images: Tensor, path: Path) -> None:
    """64 images, eight by eight, as a small PNG."""
    tiles = (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    side = tiles.shape[1]
    grid = tiles.reshape(8, 8, side, side, 3).transpose(0, 2, 1, 3, 4).reshape(8 * side, 8 * side, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid).quantize(256).save(path, optimize=True)


def toy_clip(rows: int) -> dict[str, Any]:
    """Linear probes on image features."""
    model = CLIPModel.from_pretrained(MODELS / "toy_clip", dtype=torch.float32).eval()
    faces, labels, _ = held_out(rows)
    return probes(clip.features(model, signed(faces)).numpy(), labels, FEATURE_COMPONENTS) | {"rows": rows}


def toy_dino(rows: int) -> dict[str, Any]:
    """Linear probes on class tokens, and on raw pixels beside them."""
    model = AutoModel.from_pretrained(MODELS / "toy_dino", dtype=torch.float32).eval()
    faces, labels, _ = held_out(rows)
    return probes(dino.features(model, signed(faces)).numpy(), labels, FEATURE_COMPONENTS) | {"rows": rows}


def toy_reader(rows: int) -> dict[str, Any]:
    """Accuracy by attribute; and, for the world's own hardness, probes on raw pixels."""
    reader, names = load_reader(MODELS / "toy_reader")
    faces, labels, _ = held_out(rows)
    right = accuracy(reader, signed(faces), labels)
    pixels = faces.reshape(len(faces), -1).astype(np.float32)
    return {
        "rows": rows,
        "accuracy": float(right.mean()),
        "least_accuracy": float(right.min()),
        "accuracy_by_attribute": dict(zip(names, right.round(4).tolist(), strict=True)),
        "probe_auc_pixels": float(probe_auc(pixels, labels, NOISE_COMPONENTS).mean()),
    }


def probes(features: NDArray[np.float32], labels: NDArray[np.int8], components: int) -> dict[str, Any]:
    """Mean and by attribute."""
    by_attribute = probe_auc(features, labels, components)
    return {
        "probe_auc": float(by_attribute.mean()),
        "probe_auc_by_attribute": dict(zip(ATTRIBUTES, by_attribute.round(4).tolist(), strict=True)),
    }


RUNS_BEHIND = {
    "toy_sd": ("toy_vae", "toy_clip", "toy_sd"),
    "toy_sd_v": ("toy_vae", "toy_clip", "toy_sd", "toy_sd_v"),
    "toy_flow": ("toy_vae", "toy_flow"),
}


def training(name: str, runs: Path) -> dict[str, Any]:
    """What has gone into a model."""
    return {
        "rows": TRAIN_ROWS,
        "hardware": "two cores of a shared machine, one for each of two runs at a time",
        "runs": {part: spent(runs, part) for part in RUNS_BEHIND.get(name, (name,))},
    }


MEASURES: dict[str, Callable[[int], dict[str, Any]]] = {
    "toy_reader": toy_reader,
    "toy_clip": toy_clip,
    "toy_dino": toy_dino,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--runs", type=Path, default=Path("runs/toy"))
    parser.add_argument("--study", action="store_true", help="add what inversion loses to what was measured before")
    parser.add_argument("--samples", action="store_true", help="measure samples again, and leave the other figures")
    chosen = parser.parse_args()
    for name in chosen.names:
        began = time.monotonic()
        if chosen.study or chosen.samples:
            figures = json.loads((MODELS / name / "metrics.json").read_text())
            figures |= inversion_studied(name) if chosen.study else sampled_again(name)
        else:
            figures = MEASURES[name](chosen.rows) if name in MEASURES else diffusion(name, chosen.rows)
            figures["training"] = training(name, chosen.runs)
        (MODELS / name / "metrics.json").write_text(json.dumps(figures, indent=1) + "\n")
        shown = {key: value for key, value in figures.items() if not isinstance(value, dict)}
        print(f"{name} ({time.monotonic() - began:.0f} s): {shown}")


if __name__ == "__main__":
    main()
