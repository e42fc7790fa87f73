"""Linear probes: is an attribute a direction of the space?

`fit_probes` is the paper's: principal components, standard scaling, one L2 logistic regression for each attribute, all composed back into one (w, b) in the raw
space, so that a probe is a hyperplane w·x + b = 0 there and its normal is a direction to move along. `fit_class_means` is the second method: w = μ₁ − μ₀.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from noisezoo.analysis.logistic import fit_logistic
from noisezoo.analysis.metrics import RESAMPLES, Evaluation, evaluate
from noisezoo.analysis.pca import fit_pca
from noisezoo.analysis.streams import Floats, Ints, Latents, Rows, held, numbered_blocks, row_numbers, width
from noisezoo.errors import NoiseZooError

DIFFUSION_COMPONENTS, ENCODER_COMPONENTS = 500, 310


@dataclass(frozen=True)
class Probes:
    """Hyperplanes w·x + b in the raw space: `weights` `(a, d)`, `biases` `(a,)`; `skipped` says why an attribute has none."""

    names: tuple[str, ...]
    weights: Floats
    biases: Floats
    skipped: dict[str, str]
    components: int = 0
    explained: float = 1.0

    def scores(self, X: Latents, rows: Rows = None, block_rows: int | None = None) -> Floats:
        """w·x + b of the chosen rows: `(rows, a)`."""
        out = np.empty((len(row_numbers(X, rows)), len(self.names)))
        for positions, block in numbered_blocks(X, rows, block_rows):
            out[positions] = block @ self.weights.T + self.biases
        return out

    def evaluate(
        self, X: Latents, labels: Ints, names: Sequence[str], rows: Rows = None, *, resamples: int = RESAMPLES
    ) -> Evaluation:
        """Measures on the chosen rows; `labels` `(all rows of X, attributes)` with their names."""
        columns = [list(names).index(name) for name in self.names]
        return evaluate(self.names, self.scores(X, rows), labels[row_numbers(X, rows)][:, columns], resamples=resamples)


def fit_probes(
    X: Latents,
    labels: Ints,
    names: Sequence[str],
    rows: Rows = None,
    *,
    components: int = DIFFUSION_COMPONENTS,
    C: float = 1.0,
    seed: int = 42,
    block_rows: int | None = None,
    device: str | None = None,
) -> Probes:
    """PCA to `components` (or as many as rows and dimensions span), scaling to variance 1, logistic regressions; `labels` `(all rows of X, attributes)`.

    With scores s = V(x − μ), scales σ and a fitted (β, c): w = Vᵀ(β/σ), b = c − w·μ.
    """
    known, kept, skipped = usable(labels[row_numbers(X, rows)], names)
    X, rows = held(X, rows)
    pca = fit_pca(X, components, rows, seed=seed, block_rows=block_rows, device=device)
    scale = np.sqrt(pca.variance)
    features = np.divide(pca.scores(X, rows, block_rows), scale, dtype=np.float32, casting="same_kind")
    beta, intercept = fit_logistic(features, known, C=C) if kept else (np.empty((0, len(scale))), np.empty(0))
    weights = (beta / scale) @ pca.components
    return Probes(kept, weights.astype(np.float32), intercept - weights @ pca.mean, skipped, len(scale), pca.explained)


def fit_class_means(
    X: Latents, labels: Ints, names: Sequence[str], rows: Rows = None, *, block_rows: int | None = None
) -> Probes:
    """w = μ₁ − μ₀ and the threshold half-way between the means, b = −w·(μ₁ + μ₀)/2: linear discriminant analysis with an isotropic covariance."""
    known, kept, skipped = usable(labels[row_numbers(X, rows)], names)
    ups, downs = (known == 1).astype(np.float32), (known == 0).astype(np.float32)
    up, down = np.zeros((len(kept), width(X))), np.zeros((len(kept), width(X)))
    for positions, block in numbered_blocks(X, rows, block_rows):
        up += ups[positions].T @ block
        down += downs[positions].T @ block
    up /= ups.sum(axis=0, dtype=np.float64)[:, None]
    down /= downs.sum(axis=0, dtype=np.float64)[:, None]
    weights = up - down
    return Probes(kept, weights.astype(np.float32), -(weights * (up + down)).sum(axis=1) / 2, skipped)


def accuracy_by_size(
    train: Floats,
    test: Floats,
    train_labels: Ints,
    test_labels: Ints,
    names: Sequence[str],
    sizes: Sequence[int],
    *,
    C: float = 1.0,
    resamples: int = RESAMPLES,
) -> dict[int, Evaluation]:
    """Probes on the first k of nested coordinates `(rows, most)` — shared coordinates, principal components — for each k in `sizes` that there are."""
    known, kept, _ = usable(train_labels, names)
    columns = [list(names).index(name) for name in kept]
    mean, scale = train.mean(axis=0), train.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    found = {}
    for k in (size for size in sizes if size <= train.shape[1]):
        weights, intercepts = fit_logistic((train[:, :k] - mean[:k]) / scale[:k], known, C=C)
        scores = (test[:, :k] - mean[:k]) / scale[:k] @ weights.T + intercepts
        found[k] = evaluate(kept, scores, test_labels[:, columns], resamples=resamples)
    return found


def permuted(labels: Ints, seed: int = 42) -> Ints:
    """The labels of other rows, whole lines shuffled so that attributes still go together: what probes score on these is chance."""
    return labels[np.random.default_rng(seed).permutation(len(labels))]


def usable(labels: Ints, names: Sequence[str]) -> tuple[Ints, tuple[str, ...], dict[str, str]]:
    """The columns whose known labels show both classes, their names, and for every other name the reason."""
    if labels.ndim != 2 or labels.shape[1] != len(names):
        raise NoiseZooError(
            f"The labels have shape {labels.shape} but {len(names)} names were given; pass one column for each name."
        )
    skipped = {}
    for name, column in zip(names, labels.T, strict=True):
        found = set(np.unique(column[column >= 0]).tolist())
        if not found <= {0, 1}:
            skipped[name] = f"its labels are not 0 and 1 (found {sorted(found)[:5]})"
        elif not found:
            skipped[name] = "no label is known in these rows"
        elif len(found) == 1:
            skipped[name] = f"every known label in these rows is {found.pop()}"
    kept = [index for index, name in enumerate(names) if name not in skipped]
    return labels[:, kept], tuple(names[index] for index in kept), skipped
