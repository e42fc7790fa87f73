"""Captions say what is in the picture, in few words."""

import re

import pytest

from pipeline.toy.captions import ADJECTIVES, AGES, HAIR, HAS, NOUNS, WEARS, captions
from pipeline.toy.truth import ATTRIBUTES, labels, latents

N = 4000
WORDS = {**ADJECTIVES, **HAIR, **HAS, **WEARS, "Male": NOUNS[1], "Young": AGES[1]}


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return captions(0, range(N))


def mentions(text: str, name: str) -> bool:
    """Whether one of the words for an attribute is said of the face, and not under a `no`."""
    of_face = text.split(" on a")[0]
    return any(re.search(rf"(?<!no )\b{words}\b", of_face) for words in WORDS[name])


def test_every_attribute_has_words() -> None:
    assert set(WORDS) == set(ATTRIBUTES)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_that_hold_are_mostly_mentioned_and_others_never(texts: list[str], name: str) -> None:
    holds = labels(latents(0, range(N)))[:, ATTRIBUTES.index(name)]
    said = [mentions(text, name) for text in texts]
    where_it_holds = [s for s, h in zip(said, holds, strict=True) if h]
    assert sum(where_it_holds) / len(where_it_holds) > 0.75
    assert not any(s for s, h in zip(said, holds, strict=True) if not h)


def test_the_vocabulary_is_small_and_captions_are_short(texts: list[str]) -> None:
    words = [re.findall(r"[a-z]+|,", text) for text in texts]
    assert len({word for text in words for word in text}) < 200
    assert max(len(text) for text in words) < 60


def test_captions_depend_on_the_row_alone_and_vary(texts: list[str]) -> None:
    assert captions(0, [11, 5]) == [texts[11], texts[5]]
    assert len(set(texts)) > 0.95 * N


def test_articles_agree(texts: list[str]) -> None:
    assert not any(re.search(r"\ba [aeiou]|\ban [^aeiou]", text) for text in texts)
