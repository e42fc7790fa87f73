"""Figures that several toy models are judged by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def probe_auc(latents: NDArray[np.float32], labels: NDArray[np.int8], components: int) -> NDArray[np.float64]:
    """ROC AUC by attribute of linear probes fitted on the first 80 % of the rows and read on the rest, as the paper has it:
    principal components, unit deviation, L2 logistic regression."""
    cut = int(0.8 * len(latents))
    flat = latents.reshape(len(latents), -1)
    project = make_pipeline(PCA(min(components, flat.shape[1], cut), random_state=0), StandardScaler())
    train, test = project.fit_transform(flat[:cut]), project.transform(flat[cut:])
    scores = []
    for attribute in range(labels.shape[1]):
        fit = LogisticRegression(max_iter=1_000).fit(train, labels[:cut, attribute])
        scores.append(roc_auc_score(labels[cut:, attribute], fit.decision_function(test)))
    return np.array(scores)
