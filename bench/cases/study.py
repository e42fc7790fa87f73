"""The study's mathematics against SciPy and scikit-learn, each side in processes of its own: `bench/study.py` at its medium size (4,000 × 16,384)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import study
from bench.harness import Case, Found, over, quartiles

SIZE = "medium"
PROCESSOR = "processor_seconds"


def against(case: str, rounds: int) -> Callable[[Path], Found]:
    """Ours and the first rival of a case of `bench/study.py`, in turn."""

    def measure(folder: Path) -> Found:
        study.write_data(folder, SIZE)
        ours, rival = (function.__name__ for function in study.CASES[case][:2])
        pairs = [(study.measure(ours, folder, SIZE), study.measure(rival, folder, SIZE)) for _ in range(rounds)]
        mine, theirs = pairs[-1]
        differences = {
            f"largest difference of {key}": float(np.abs(np.subtract(mine[key], theirs[key])).max())
            for key in ("aucs", "accuracies", "ad", "cosine")
            if key in mine and key in theirs
        }
        middle = {
            key: [quartiles([pair[side][key] for pair in pairs])[1] for side in (0, 1)]
            for key in ("seconds", PROCESSOR)
        }
        return Found(
            over([rival[PROCESSOR] for _, rival in pairs], [ours[PROCESSOR] for ours, _ in pairs]),
            {
                "ours, processor seconds": middle[PROCESSOR][0],
                "rival, processor seconds": middle[PROCESSOR][1],
                "times by the clock": middle["seconds"][1] / middle["seconds"][0],
                **differences,
            },
        )

    return measure


CASES = [
    Case("study.gaussianity", "Anderson–Darling, D'Agostino–Pearson and Shapiro–Wilk over 500 projections", "SciPy in a loop, all rows in memory", against("normality", 2)),
    Case("study.probes", "PCA to 100 and 10 probes", "scikit-learn's PCA and logistic regressions (saga)", against("probes", 2)),
    Case("study.transfer", "the ridge map from noise to encoder", "scikit-learn's Ridge on all rows in memory", against("transfer", 2)),
]  # fmt: skip
