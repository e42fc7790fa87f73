"""Edits, with the models at hand: moved noise back to images, and what a space that took no part reads in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from PIL import Image

from noisezoo.errors import NoiseZooError
from noisezoo.study.data import Data
from noisezoo.study.editing import Edit, effects, plan
from noisezoo.study.parts import Found
from noisezoo.study.probing import number
from pipeline import fidelity
from pipeline.pictures import base64_png, sheet
from pipeline.spaces.base import Generates, Space
from pipeline.toy.reader import Reader, load_reader
from pipeline.toy.redrawn import Redraw, redrawn, ways

READER = Path(__file__).resolve().parents[1] / "models" / "toy_reader"
BATCH = 64
TRUTH_STRENGTH = 1.5
"""Standard deviations of z that a perfect edit moves by: about what edits of noise move their target."""
ON_STRIP = 6
"""Images on a strip of the report."""


@dataclass(frozen=True)
class Wish:
    """Which edits to measure."""

    attributes: Sequence[str] | None
    """None takes the best-read ones."""
    count: int
    """How many of those."""
    rows: int
    strength: float
    """Standard deviations of the direction's own distribution."""


class Studio:
    """A space that leads back to images, and an encoder's space that reads them; both loaded once."""

    def __init__(self, data: Data, name: str, space: Generates, reader_name: str, encoder: Space, device: torch.device):
        self.data, self.name, self.space = data, name, space
        self.reader_name, self.encoder, self.device = reader_name, encoder, device
        self.probes = data.probes(reader_name)[0]
        _, held_out = data.divide(data.rows(name, reader_name))
        self.held_out = held_out
        self.spread = self.probes.scores(data.latents(reader_name), held_out).std(axis=0)

    def __enter__(self) -> Studio:
        for space in (self.space, self.encoder):
            space.load(self.device, getattr(torch, space.precision))
        return self

    def __exit__(self, *_: object) -> None:
        self.space.unload()
        self.encoder.unload()

    @torch.inference_mode()
    def images(self, latents: np.ndarray) -> torch.Tensor:
        """Latents `(n, *shape)` to images `(n, 3, h, w)` in [0, 1]."""
        parts = torch.from_numpy(np.asarray(latents, np.float32)).split(BATCH)
        return torch.cat([self.space.generate(part.to(self.device)).float().cpu() for part in parts])

    @torch.inference_mode()
    def embed(self, images: torch.Tensor) -> np.ndarray:
        """The encoder's view of images `(n, d)`."""
        prepared = torch.stack([self.encoder.prepare(Image.fromarray(pixels)) for pixels in to_bytes(images)])
        found = []
        for part in prepared.split(BATCH):
            out = self.encoder(part.to(self.device), torch.arange(len(part)))
            found.append((out["latent"] if isinstance(out, dict) else out).float().cpu().numpy())
        return np.concatenate(found)

    def scores(self, embedded: np.ndarray) -> np.ndarray:
        """What the encoder's probes read, `(n, attributes)`."""
        return np.asarray(embedded @ self.probes.weights.T + self.probes.biases)


def to_bytes(images: torch.Tensor) -> np.ndarray:
    """Images in [0, 1] as bytes `(n, h, w, 3)`."""
    return np.asarray((images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy())


@dataclass(frozen=True)
class Toys:
    """What toy faces have beside an encoder: a classifier that reads attributes, and the truth behind each row, which can be edited and drawn again."""

    redraw: Redraw
    reader: Reader
    names: tuple[str, ...]
    spread: np.ndarray
    """Deviation of each logit over the held-out faces as they were drawn, `(a,)`."""

    def logits(self, images: torch.Tensor) -> np.ndarray:
        """`(n, a)` of images in [0, 1] of any size."""
        return logits(self.reader, images)


@torch.inference_mode()
def logits(reader: Reader, images: torch.Tensor) -> np.ndarray:
    """`(n, a)` of images in [0, 1] of any size."""
    sized = torch.nn.functional.interpolate(images, size=(64, 64), mode="bilinear", antialias=True)
    return np.concatenate([reader(part * 2 - 1).numpy() for part in sized.split(BATCH)])


def toys(data: Data, rows: np.ndarray, held_out: np.ndarray) -> Toys | None:
    """None where the rows are no toy faces."""
    redraw, all_faces = redrawn(data.zoo, rows), redrawn(data.zoo, held_out)
    if redraw is None or all_faces is None or not READER.exists():
        return None
    reader, names = load_reader(READER)
    return Toys(redraw, reader, names, logits(reader, drawn(all_faces, 0.0)).std(axis=0))


def drawn(redraw: Redraw, by: np.ndarray | float) -> torch.Tensor:
    """Faces with their truth moved, as images `(n, 3, h, w)` in [0, 1]."""
    return torch.from_numpy(redraw(np.asarray(by))).permute(0, 3, 1, 2) / 255


def measure(studio: Studio, wish: Wish) -> Found:
    """Edits of held-out rows: how far each attribute moves, before and after orthogonalising, and how much of the image stays."""
    data, name = studio.data, studio.name
    rows = studio.held_out[np.linspace(0, len(studio.held_out) - 1, min(wish.rows, len(studio.held_out))).astype(int)]
    latents = np.stack([np.asarray(data.latents(name)[int(row)]) for row in rows])
    still = studio.images(latents)
    seen = studio.embed(still)
    toy = toys(data, rows, studio.held_out)
    edits, strips = [], []
    for attribute in wish.attributes or best_read(studio, wish.count):
        edit = plan(data, name, attribute)
        entry, moved = _measure(studio, edit, latents, still, seen, wish.strength, toy)
        edits.append({**entry, "rows": len(rows)})
        strips.append((attribute, moved))
    return {"edits": edits, "pictures": [_picture(name, still, strips, wish.strength)]}


def best_read(studio: Studio, count: int) -> list[str]:
    """The attributes that the space's own probes read best, of those that the encoder reads too."""
    data, name = studio.data, studio.name
    probes = data.means(name)
    judged = probes.evaluate(data.latents(name), data.labels, data.names, studio.held_out, resamples=0)
    ranked = sorted(zip(judged.auc.each, judged.names, strict=True), key=lambda pair: -np.nan_to_num(pair[0]))
    return [attribute for _, attribute in ranked if attribute in studio.probes.names][:count]


def _measure(
    studio: Studio,
    edit: Edit,
    latents: np.ndarray,
    still: torch.Tensor,
    seen: np.ndarray,
    strength: float,
    toy: Toys | None,
) -> tuple[Found, tuple[torch.Tensor, torch.Tensor]]:
    """One attribute both ways; its figures, and the images of the direction that keeps the others."""
    moves = [way.move(latents, by) for way in (edit.kept, edit.plain) for by in (-strength, strength)]
    # One batch: small networks take hardly longer for four times the rows.
    images = studio.images(np.concatenate(moves))
    down, up = images[: 2 * len(latents)].chunk(2)
    embedded = studio.embed(images)
    both = torch.cat([down, up]), torch.cat([still, still])
    found: Found = {
        "space": edit.space,
        "attribute": edit.attribute,
        "keep": list(edit.keep),
        "strength_sd": strength,
        "read_by": studio.reader_name,
        **_moved(studio.probes.names, studio.scores(embedded), edit, studio.spread),
        "psnr": float(fidelity.psnr(*both).mean()),
        "ssim": float(fidelity.ssim(*both).mean()),
        "encoder_cosine": number(_cosine(embedded[: 2 * len(latents)], np.concatenate([seen, seen])).mean()),
    }
    if toy and edit.attribute in toy.names:
        found |= _with_truth(studio, toy, edit, images)
    return found, (down, up)


def _moved(names: Sequence[str], scores: np.ndarray, edit: Edit, spread: np.ndarray) -> Found:
    """How far attributes moved, from four parts of scores `(4n, a)`: down and up with the others kept, down and up with nothing kept."""
    down, up, plain_down, plain_up = np.split(scores, 4)
    target, leak, each = effects(names, edit.attribute, edit.keep, down, up, spread)
    target_before, leak_before, each_before = effects(names, edit.attribute, edit.keep, plain_down, plain_up, spread)
    after, before = (
        abs(leaked / moved) if moved else float("nan")
        for leaked, moved in ((leak, target), (leak_before, target_before))
    )
    return {
        "target_shift_sd": number(target),
        "target_shift_before_sd": number(target_before),
        "leak_before_sd": number(leak_before),
        "leak_after_sd": number(leak),
        "leak_before_per_sd": number(before),
        "leak_after_per_sd": number(after),
        "leak_reduction": number(1 - after / before) if before else None,
        "each_before_sd": {name: number(shift) for name, shift in each_before.items()},
        "each_after_sd": {name: number(shift) for name, shift in each.items()},
    }


def _with_truth(studio: Studio, toy: Toys, edit: Edit, images: torch.Tensor) -> Found:
    """The same edit as the attribute reader sees it, and what either sees of a perfect one: z moved alone, and along with all that goes with it.

    A perfect edit's leak is the reading's own, below which no edit of noise can be read to fall.
    """
    along, alone = ways(edit.attribute)
    ideal = torch.cat([drawn(toy.redraw, sign * TRUTH_STRENGTH * way) for way in (alone, along) for sign in (-1, 1)])
    read = toy.logits(images)
    there = np.stack([(part > 0).mean(axis=0) for part in np.split(read, 4)])
    by_reader = _moved(toy.names, read, edit, toy.spread)
    perfect = {
        "read": _moved(studio.probes.names, studio.scores(studio.embed(ideal)), edit, studio.spread),
        "by reader": _moved(toy.names, toy.logits(ideal), edit, toy.spread),
    }
    return {
        **_perfect(perfect["read"]),
        "by_reader": {
            **by_reader,
            **_perfect(perfect["by reader"]),
            "flips": float((there[1] - there[0])[toy.names.index(edit.attribute)]),
        },
    }


def _perfect(moved: Found) -> Found:
    return {f"perfect_{key}": moved[key] for key in ("leak_before_per_sd", "leak_after_per_sd", "leak_reduction")}


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray((a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))


def _picture(
    name: str, still: torch.Tensor, strips: Sequence[tuple[str, tuple[torch.Tensor, torch.Tensor]]], strength: float
) -> Found:
    """Rows of faces: unedited, then each attribute moved up."""
    lines = [still[:ON_STRIP], *(up[:ON_STRIP] for _, (_, up) in strips)]
    words = ", ".join(attribute.replace("_", " ") for attribute, _ in strips)
    caption = f"{name}: unedited above; below, line by line, moved by {strength:g} standard deviations towards {words}, all other attributes kept."
    return {"kind": "edit", "caption": caption, "png": base64_png(sheet(lines))}


def strengths(words: str) -> list[float]:
    """`-3:3:7` as seven strengths from -3 to 3; `2` as one."""
    try:
        parts = words.split(":")
        if len(parts) == 1:
            return [float(words)]
        low, high, count = float(parts[0]), float(parts[1]), int(parts[2])
        if len(parts) != 3 or count < 1:
            raise ValueError
    except (ValueError, IndexError):
        raise NoiseZooError(
            f"A strength of '{words}' cannot be read: give first:last:count, such as -3:3:7, or one number."
        ) from None
    return np.linspace(low, high, count).tolist()


@torch.inference_mode()
def strip(config: dict[str, Any], moved: np.ndarray, device: torch.device) -> Image.Image:
    """The pictures of moved latents `(rows, strengths, *shape)`: a line a row, a column a strength."""
    space = instantiate(config, _convert_="all")
    if not isinstance(space, Generates):
        raise NoiseZooError(
            f"{config.get('model', 'This space')} does not lead back to images: choose a space of noise."
        )
    space.load(device, getattr(torch, space.precision))
    lines = [space.generate(torch.from_numpy(line).float().to(device)).cpu() for line in moved]
    space.unload()
    return sheet(lines)


def studio_of(data: Data, configs: dict[str, dict[str, Any]], name: str, device: torch.device) -> Studio:
    """The models for one space; a sentence where they cannot be had."""
    if name not in data.spaces:
        raise NoiseZooError(f"This zoo has no space '{name}': it has {', '.join(data.spaces)}.")
    space = instantiate(configs[name], _convert_="all")
    if not isinstance(space, Generates):
        raise NoiseZooError(f"{name} does not lead back to images: choose a space of noise.")
    encoders = [n for n in data.of_kind("encoder") if n in configs]
    if not encoders:
        raise NoiseZooError(
            "Edits are read by an encoder's space: add one that the zoo has to spaces=[…], such as toy_clip."
        )
    return Studio(data, name, space, encoders[0], instantiate(configs[encoders[0]], _convert_="all"), device)
