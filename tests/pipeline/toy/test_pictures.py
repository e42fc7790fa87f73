"""The pictures of both toy sets: the same bytes everywhere, in any batch; and every attribute shows."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.toy import animals, faces
from pipeline.toy.truth import ATTRIBUTES, NUISANCES, THRESHOLDS, latents, nuisances

Render = Callable[[int, list[int]], np.ndarray]

DIGESTS = {
    "faces": "4de5794555eb6a37791f76704e1ab072cff3ba73dca403893a8e95fb0b1d5131",
    "animals": "18202384bd95f65b5369cb403ed99059e1973fd6ef090145ec151ad336a5c677",
}
RENDERERS: dict[str, Render] = {"faces": faces.render, "animals": animals.render}


@pytest.mark.parametrize("name", RENDERERS)
def test_the_same_bytes_on_every_machine(name: str) -> None:
    pictures = RENDERERS[name](0, list(range(256)))
    assert pictures.shape == (256, 64, 64, 3)
    assert pictures.dtype == np.uint8
    assert hashlib.sha256(pictures.tobytes()).hexdigest() == DIGESTS[name]


@pytest.mark.parametrize("name", RENDERERS)
@settings(deadline=None, max_examples=15)
@given(rows=st.lists(st.integers(0, 2**40), min_size=1, max_size=20), data=st.data())
def test_a_row_is_the_same_in_every_batch(name: str, rows: list[int], data: st.DataObject) -> None:
    i = data.draw(st.integers(0, len(rows) - 1))
    assert np.array_equal(RENDERERS[name](3, rows)[i], RENDERERS[name](3, [rows[i]])[0])


@pytest.mark.parametrize("name", RENDERERS)
def test_no_rows_are_no_pictures(name: str) -> None:
    assert RENDERERS[name](0, []).shape == (0, 64, 64, 3)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_each_attribute_shows_in_every_face(name: str) -> None:
    """Crossing the threshold of one attribute changes each picture somewhere by an amount that an eye sees."""
    z, n = latents(1, range(200)), nuisances(1, range(200))
    j = ATTRIBUTES.index(name)
    without, has = z.copy(), z.copy()
    without[:, j], has[:, j] = THRESHOLDS[j] - 0.3, THRESHOLDS[j] + 0.3
    change = np.abs(faces.draw(has, n).astype(int) - faces.draw(without, n)).max(axis=(1, 2, 3))
    assert change.min() > 16


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_faces_follow_their_latent_continuously(name: str) -> None:
    """A small step of z, even across the threshold, is a small step of the picture."""
    z, n = latents(2, range(32)), nuisances(2, range(32))
    j = ATTRIBUTES.index(name)
    steps = np.linspace(THRESHOLDS[j] - 0.06, THRESHOLDS[j] + 0.06, 25)
    path = []
    for value in steps:
        z[:, j] = value
        path.append(faces.draw(z, n).astype(float))
    assert np.abs(np.diff(path, axis=0)).mean(axis=(2, 3, 4)).max() < 4.0


def test_faces_follow_their_nuisances() -> None:
    z, n = latents(4, range(8)), np.zeros((8, len(NUISANCES)))
    moved = n.copy()
    moved[:, NUISANCES.index("shift_x")] = 0.9
    assert np.abs(faces.draw(z, n).astype(int) - faces.draw(z, moved)).mean() > 2.0


def test_species_come_in_thirds() -> None:
    counts = np.bincount(animals.labels(0, range(3000)), minlength=3)
    assert len(counts) == len(animals.SPECIES)
    assert np.abs(counts - 1000).max() < 130
