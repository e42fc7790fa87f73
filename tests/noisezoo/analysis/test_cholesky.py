"""The tiled factorisation is the dense one, wherever tiles end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisezoo.analysis import cholesky


@given(n=st.integers(1, 40), tile=st.integers(1, 45), columns=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_systems_are_solved_from_their_lower_triangle_alone(n: int, tile: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spread = rng.standard_normal((n, n + 2))
    A = spread @ spread.T + np.eye(n)
    B = rng.standard_normal((n, columns))
    lower = np.where(np.tri(n, dtype=bool), A, np.nan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cholesky, "TILE", tile)
        L = cholesky.factorise(lower)
        found = cholesky.solve(L, B.copy())
    np.testing.assert_allclose(np.tril(L), np.linalg.cholesky(A), atol=1e-9)
    np.testing.assert_allclose(found, np.linalg.solve(A, B), atol=1e-9)
