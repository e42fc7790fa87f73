"""The paper's own figures (arXiv 2603.21786; and its authors' notebook, on 162,770 rows), to be shown beside ours where the images are the same."""

from __future__ import annotations

GAUSSIANITY_AD = {
    "sd15": 0.9600, "sd21": 0.9580, "lcmv7": 0.9558, "clip_b16": 0.8950, "clip_l14": 0.9190, "dinov3_l16": 0.8448,
    "bimodal_noise": 0.1588,
}  # fmt: skip
PROBE = {"sd15": {"accuracy": 0.8707, "auc": 0.8551}}
TRANSFER = {
    ("sd15", "clip_b16"): {"cosine": 0.80, "accuracy_drop_points": 0.20},
    ("sd21", "clip_b16"): {"cosine": 0.80, "accuracy_drop_points": 0.14},
    ("lcmv7", "clip_b16"): {"cosine": 0.81, "accuracy_drop_points": 0.00},
}
SHARED_16 = {"clip_b16": 0.79, "sd15": 0.77, "X1": 0.78, "X5": 0.77}


def applies(source: str) -> bool:
    """Whether a zoo's images are those of the paper."""
    return source == "celeba"
