"""Edits of the truth: the face that is there is drawn again, and moving one attribute's z alone changes that attribute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from noisezoo.zoo import Zoo
from pipeline.sources.toy import Toy
from pipeline.toy import truth
from pipeline.toy.reader import load_reader, read
from pipeline.toy.redrawn import redrawn, ways
from tests.kit.zoos import make_zoo

READER = Path(__file__).resolve().parents[3] / "models" / "toy_reader"
ROWS = np.array([0, 3, 11])


class Faces:
    """As much of a zoo as drawing again asks for."""

    def __init__(self, seed: int = 0, name: str = "toy") -> None:
        index = Toy(size=16, seed=seed).index()
        self.source = {"name": name}
        self.facts = {"key": np.array(index.keys), "truth": index.extra["truth"]}
        self.row_facts = list(self.facts)

    def row_fact(self, name: str) -> np.ndarray:
        return self.facts[name]


def drawn(zoo: object, rows: np.ndarray = ROWS):
    return redrawn(zoo, rows)  # type: ignore[arg-type]


def test_without_a_move_it_is_the_image_of_the_source() -> None:
    from pipeline.decode import decode

    redraw = drawn(Faces())
    assert redraw is not None
    pictures = [np.asarray(decode(picture.data)) for picture in Toy(size=16).read(ROWS.tolist())]
    np.testing.assert_array_equal(redraw(np.zeros(len(truth.ATTRIBUTES))), np.stack(pictures))


@pytest.mark.parametrize("attribute", ["Eyeglasses", "Smiling", "Male"])
def test_moving_one_attribute_alone_is_read_as_that_attribute(attribute: str) -> None:
    rows = np.arange(16)
    redraw, both = drawn(Faces(), rows), ways(attribute)
    assert redraw is not None
    model, names = load_reader(READER)
    place = names.index(attribute)
    shares = []
    for by in (-3 * both[1], 3 * both[1]):
        images = torch.from_numpy(redraw(by)).permute(0, 3, 1, 2) / 127.5 - 1
        shares.append(read(model, images).float().mean(dim=0).numpy())
    gained = shares[1] - shares[0]
    assert gained[place] > 0.9
    assert np.abs(np.delete(gained, place)).mean() < 0.1
    along = both[0]
    assert along[place] == pytest.approx(1)
    assert np.count_nonzero(along) > 1


def test_what_cannot_be_drawn_again_is_none(tmp_path: Path) -> None:
    assert drawn(Faces(seed=1)) is None
    assert drawn(Faces(name="celeba")) is None
    assert redrawn(Zoo(make_zoo(tmp_path / "zoo.zarr").store), np.array([0, 1])) is None
