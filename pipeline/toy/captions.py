"""A caption for every toy face, from a small grammar: most of the attributes that hold, a few that do not, in varying words, and
now and then the colour of the wall."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.toy.counter import Rows, as_rows, uniforms
from pipeline.toy.truth import ATTRIBUTES, NUISANCES, labels, latents, nuisances

_CAPTION_STREAM = 3
_CHOICES = 96
MENTION, MENTION_ABSENT, MENTION_WALL = 0.85, 0.15, 0.25

OPENINGS = ("a", "a portrait of a", "a picture of a", "a drawing of a", "the face of a", "this is a")
NOUNS = {1: ("man", "man", "guy", "gentleman"), 0: ("woman", "woman", "lady", "female")}
AGES = {1: ("young", "young", "youthful"), 0: ("old", "older", "elderly")}

ADJECTIVES: dict[str, Sequence[str]] = {
    "Smiling": ("smiling", "smiling", "grinning", "happy"),
    "Bald": ("bald", "bald", "balding"),
    "Pale_Skin": ("pale", "pale", "white skinned"),
}
HAIR: dict[str, Sequence[str]] = {
    "Black_Hair": ("black", "black", "dark"),
    "Blond_Hair": ("blond", "blond", "yellow"),
    "Gray_Hair": ("gray", "gray", "silver"),
    "Wavy_Hair": ("wavy", "wavy", "curly"),
}
HAS: dict[str, Sequence[str]] = {
    "Bangs": ("bangs", "bangs", "a fringe"),
    "Big_Nose": ("a big nose", "a large nose"),
    "Bushy_Eyebrows": ("bushy eyebrows", "thick eyebrows"),
    "Goatee": ("a goatee", "a goatee", "a beard on the chin"),
    "Mouth_Slightly_Open": ("an open mouth", "a slightly open mouth", "parted lips"),
    "Mustache": ("a mustache",),
    "Rosy_Cheeks": ("rosy cheeks", "red cheeks"),
}
WEARS: dict[str, Sequence[str]] = {
    "Eyeglasses": ("glasses", "eyeglasses"),
    "Wearing_Earrings": ("earrings",),
    "Wearing_Hat": ("a hat",),
    "Wearing_Lipstick": ("lipstick", "lipstick", "bright lipstick"),
}
ABSENT: dict[str, Sequence[str]] = {
    "Bangs": ("no bangs", "a bare forehead"),
    "Big_Nose": ("a small nose",),
    "Bushy_Eyebrows": ("thin eyebrows",),
    "Eyeglasses": ("no glasses",),
    "Mouth_Slightly_Open": ("a closed mouth", "closed lips"),
    "Mustache": ("no mustache",),
    "Smiling": ("no smile", "a serious look"),
    "Wavy_Hair": ("straight hair",),
    "Wearing_Earrings": ("no earrings",),
    "Wearing_Hat": ("no hat",),
    "Wearing_Lipstick": ("no lipstick",),
}
WALLS = ("red", "orange", "green", "green", "teal", "blue", "purple", "pink")


def captions(seed: int, rows: Rows) -> list[str]:
    """The captions of these rows."""
    holds, looks = labels(latents(seed, rows)), nuisances(seed, rows)
    return [caption(holds[i], looks[i], seed, int(row)) for i, row in enumerate(as_rows(rows))]


def caption(holds: NDArray[np.int8], nuisance: NDArray[np.float64], seed: int, row: int) -> str:
    """The caption of one face from its labels (d,) and nuisances (m,); (seed, row) choose the words."""
    has = dict(zip(ATTRIBUTES, holds.tolist(), strict=True))
    chance = iter(uniforms(seed, _CAPTION_STREAM, [row], _CHOICES)[0].tolist())

    adjectives = _mentioned(ADJECTIVES, has, chance)
    if next(chance) < MENTION:
        adjectives.append(_pick(AGES[has["Young"]], chance))
    traits = _shuffled(_mentioned(HAS, has, chance), chance)
    hair = _mentioned(HAIR, has, chance)
    if hair:
        traits.insert(0, " ".join(hair) + " hair")
    traits += [
        _pick(words, chance) for name, words in ABSENT.items() if not has[name] and next(chance) < MENTION_ABSENT
    ]
    worn = _shuffled(_mentioned(WEARS, has, chance), chance)

    text = " ".join([_pick(OPENINGS, chance), *adjectives, _pick(NOUNS[has["Male"]], chance)])
    if traits:
        text += " with " + _listed(traits)
    if worn:
        text += (", wearing " if traits else " wearing ") + _listed(worn)
    if next(chance) < MENTION_WALL:
        text += f" on a {_wall(nuisance)} background"
    return _with_articles(text)


def _pick(words: Sequence[str], chance: Iterator[float]) -> str:
    return words[int(next(chance) * len(words))]


def _mentioned(table: dict[str, Sequence[str]], has: dict[str, int], chance: Iterator[float]) -> list[str]:
    """Words for the attributes of the table that hold, each left out now and then."""
    return [_pick(words, chance) for name, words in table.items() if has[name] and next(chance) < MENTION]


def _shuffled(words: list[str], chance: Iterator[float]) -> list[str]:
    order = [next(chance) for _ in words]
    return [word for _, word in sorted(zip(order, words, strict=True))]


def _listed(words: list[str]) -> str:
    """a, b and c"""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _wall(nuisance: NDArray[np.float64]) -> str:
    """The hue between the two colours of the wall, in a word, as `raster.background` mixes them."""
    look = dict(zip(NUISANCES, nuisance.tolist(), strict=True))
    hue = 0.5 * look["background_hue"] + 0.15 * look["background_hue_step"]
    if look["background_saturation"] < -0.6:
        return "gray"
    return WALLS[int((hue % 1.0) * len(WALLS))]


def _with_articles(text: str) -> str:
    """`a` made `an` before a vowel."""
    words = text.split(" ")
    followed = zip(words, [*words[1:], ""], strict=True)
    return " ".join("an" if word == "a" and after[:1] in "aeiou" and after else word for word, after in followed)
