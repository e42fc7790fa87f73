"""Many logistic regressions on the same features at once.

Each attribute a has its own convex objective, scikit-learn's: ½‖w‖² + C·Σᵢ ln(1 + exp(−yᵢ(w·xᵢ + b))), the intercept free of penalty, rows whose label is unknown
(−1) left out. All are solved together by truncated Newton steps: the gradients and the Hessian-vector products of all attributes are then two matrix products on
the shared features, which is what makes forty fits cost little more than one.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from noisezoo.analysis.streams import Bools, Floats, Ints

_NEWTON_STEPS, _CG_STEPS, _TOLERANCE = 50, 100, 1e-5


def fit_logistic(features: Floats, labels: Ints, *, C: float = 1.0) -> tuple[Floats, Floats]:
    """Weights `(a, k)` and intercepts `(a,)` at the optimum, for features `(n, k)` and labels `(n, a)` in {0, 1, −1}.

    Every attribute must show both classes. Features should be scaled to about one, as `fit_probes` does: the preconditioner counts on it.
    """
    X = np.hstack([np.asarray(features, np.float32), np.ones((len(features), 1), np.float32)])
    known = (labels >= 0).astype(np.float32)
    target = (labels == 1).astype(np.float32)
    ridge = np.ones((X.shape[1], 1))
    ridge[-1] = 0.0
    theta = np.zeros((X.shape[1], labels.shape[1]))
    rate = (target * known).sum(axis=0) / known.sum(axis=0)
    theta[-1] = np.log(rate / (1.0 - rate))
    margin = _times(X, theta)
    power = np.einsum("ij,ij->j", X, X).astype(np.float64)[:, None] / len(X)
    start = np.linalg.norm(_gradient(X, theta, margin, target, known, ridge, C), axis=0)

    active = np.arange(labels.shape[1])
    for _ in range(_NEWTON_STEPS):
        here, y, m = theta[:, active], target[:, active], known[:, active]
        gradient = _gradient(X, here, margin[:, active], y, m, ridge, C)
        size = np.linalg.norm(gradient, axis=0)
        going = size > _TOLERANCE * np.maximum(start[active], C)
        active = active[going]
        if not active.size:
            break
        here, y, m, gradient, size = here[:, going], y[:, going], m[:, going], gradient[:, going], size[going]
        chance = expit(margin[:, active])
        curve = C * chance * (1 - chance) * m
        step = _solve(X, curve, ridge, power, gradient, np.minimum(0.1, np.sqrt(size / start[active])))
        move = _times(X, step)
        length = _step_length(here, step, margin[:, active], move, y, m, gradient, ridge, C)
        theta[:, active] = here - length * step
        margin[:, active] -= (length * move).astype(np.float32)
    return theta[:-1].T.copy(), theta[-1].copy()


def _times(X: Floats, theta: Floats) -> Floats:
    return X @ theta.astype(np.float32)


def _gradient(X: Floats, theta: Floats, margin: Floats, y: Floats, known: Floats, ridge: Floats, C: float) -> Floats:
    return C * (X.T @ ((expit(margin) - y) * known)).astype(np.float64) + ridge * theta


def _solve(X: Floats, curve: Floats, ridge: Floats, power: Floats, gradient: Floats, accuracy: Floats) -> Floats:
    """Conjugate gradients on H s = g for all attributes, H = Xᵀ diag(curve) X + ridge, preconditioned by H's approximate diagonal."""
    diagonal = power * curve.sum(axis=0, dtype=np.float64) + ridge
    solution = np.zeros_like(gradient)
    residual = gradient.copy()
    conditioned = residual / diagonal
    direction, fit = conditioned.copy(), (residual * conditioned).sum(axis=0)
    goal = accuracy * np.linalg.norm(gradient, axis=0)
    for _ in range(_CG_STEPS):
        image = (X.T @ (curve * _times(X, direction))).astype(np.float64) + ridge * direction
        bend = (direction * image).sum(axis=0)
        going = (np.linalg.norm(residual, axis=0) > goal) & (bend > 0)
        if not going.any():
            break
        rate = np.where(going, fit / np.where(bend > 0, bend, 1.0), 0.0)
        solution += rate * direction
        residual -= rate * image
        conditioned = residual / diagonal
        new = (residual * conditioned).sum(axis=0)
        direction = conditioned + np.where(fit > 0, new / np.where(fit > 0, fit, 1.0), 0.0) * direction
        fit = new
    return solution


def _step_length(
    theta: Floats,
    step: Floats,
    margin: Floats,
    move: Floats,
    y: Floats,
    known: Floats,
    gradient: Floats,
    ridge: Floats,
    C: float,
) -> Floats:
    """For each attribute the largest of 1, ½, ¼ … that lowers its objective enough (Armijo)."""

    def objective(length: Floats) -> Floats:
        value = margin.astype(np.float64) - length * move
        loss = ((np.logaddexp(0.0, value) - y * value) * known).sum(axis=0)
        return np.asarray(C * loss + 0.5 * (ridge * (theta - length * step) ** 2).sum(axis=0))

    before, slope = objective(np.zeros(theta.shape[1])), (gradient * step).sum(axis=0)
    length = np.ones(theta.shape[1])
    slack = 1e-7 * np.abs(before)  # float32 margins do not resolve less
    for _ in range(30):
        short: Bools = objective(length) > before - 1e-4 * length * slope + slack
        if not short.any():
            break
        length[short] /= 2
    return length
