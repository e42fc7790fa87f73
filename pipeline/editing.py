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
from pipeline.toy.reader import Reader, load_reader, read
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


def measure(studio: Studio, wish: Wish) -> Found:
    """Edits of held-out rows: how far each attribute moves, before and after orthogonalising, and how much of the image stays."""
    data, name = studio.data, studio.name
    rows = studio.held_out[np.linspace(0, len(studio.held_out) - 1, min(wish.rows, len(studio.held_out))).astype(int)]
    latents = np.stack([np.asarray(data.latents(name)[int(row)]) for row in rows])
    still = studio.images(latents)
    seen = studio.embed(still)
    reader = load_reader(READER) if data.zoo.source["name"] == "toy" and READER.exists() else None
    redraw = redrawn(data.zoo, rows)
    edits, strips = [], []
    for attribute in wish.attributes or best_read(studio, wish.count):
        edit = plan(data, name, attribute)
        entry, moved = _measure(studio, edit, latents, still, seen, wish.strength, reader)
        perfect = _perfect(studio, redraw, edit) if redraw else {}
        edits.append({**entry, **perfect, "rows": len(rows)})
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
    reader: tuple[Reader, tuple[str, ...]] | None,
) -> tuple[Found, tuple[torch.Tensor, torch.Tensor]]:
    """One attribute both ways; its figures, and the images of the direction that keeps the others."""
    names, attribute = studio.probes.names, edit.attribute
    moves = [way.move(latents, by) for way in (edit.kept, edit.plain) for by in (-strength, strength)]
    # One batch: small networks take hardly longer for four times the rows.
    images = studio.images(np.concatenate(moves))
    down, up = images[: 2 * len(latents)].chunk(2)
    seen_down, seen_up, *seen_plain = np.split(studio.embed(images), 4)
    after = effects(names, attribute, edit.keep, studio.scores(seen_down), studio.scores(seen_up), studio.spread)
    plain = [studio.scores(part) for part in seen_plain]
    before = effects(names, attribute, edit.keep, plain[0], plain[1], studio.spread)
    moved, leak, each = after
    per_sd = [abs(pair[1] / pair[0]) if pair[0] else float("nan") for pair in (before, after)]
    both = torch.cat([down, up]), torch.cat([still, still])
    cosine = [_cosine(part, seen).mean() for part in (seen_down, seen_up)]
    found: Found = {
        "space": edit.space,
        "attribute": attribute,
        "keep": list(edit.keep),
        "strength_sd": strength,
        "read_by": studio.reader_name,
        "target_shift_sd": number(moved),
        "target_shift_before_sd": number(before[0]),
        "leak_before_sd": number(before[1]),
        "leak_after_sd": number(leak),
        "leak_before_per_sd": number(per_sd[0]),
        "leak_after_per_sd": number(per_sd[1]),
        "leak_reduction": number(1 - per_sd[1] / per_sd[0]) if per_sd[0] else None,
        "each_before_sd": {n: number(v) for n, v in before[2].items()},
        "each_after_sd": {n: number(v) for n, v in each.items()},
        "psnr": float(fidelity.psnr(*both).mean()),
        "ssim": float(fidelity.ssim(*both).mean()),
        "encoder_cosine": number(np.mean(cosine)),
    }
    if reader and attribute in reader[1]:
        found |= _read(reader, attribute, down, up)
    return found, (down, up)


def _perfect(studio: Studio, redraw: Redraw, edit: Edit) -> Found:
    """What the same probes see when the truth is edited and the faces drawn again: their own leak, below which no edit of noise can be read to fall."""
    names, leaks = studio.probes.names, []
    for way in ways(edit.attribute) or ():
        down, up = (
            studio.scores(studio.embed(torch.from_numpy(redraw(sign * TRUTH_STRENGTH * way)).permute(0, 3, 1, 2) / 255))
            for sign in (-1, 1)
        )
        moved, leak, _ = effects(names, edit.attribute, edit.keep, down, up, studio.spread)
        leaks.append(abs(leak / moved) if moved else float("nan"))
    if len(leaks) < 2:
        return {}
    along, alone = leaks
    return {
        "perfect_leak_before_per_sd": number(along),
        "perfect_leak_after_per_sd": number(alone),
        "perfect_leak_reduction": number(1 - alone / along) if along else None,
    }


def _read(reader: tuple[Reader, tuple[str, ...]], attribute: str, down: torch.Tensor, up: torch.Tensor) -> Found:
    """What the attribute reader of the toy faces sees: how much more often the attribute, and on average any other, is there after moving up than after moving down."""
    shares = []
    for images in (down, up):
        sized = torch.nn.functional.interpolate(images, size=(64, 64), mode="bilinear", antialias=True)
        shares.append(read(reader[0], sized * 2 - 1).float().mean(dim=0))
    gained = shares[1] - shares[0]
    place = reader[1].index(attribute)
    others = torch.cat([gained[:place], gained[place + 1 :]]).abs()
    return {"reader_flips": float(gained[place]), "reader_leak": float(others.mean())}


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
