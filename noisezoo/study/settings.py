"""What a study is asked to do: its parts, its numbers, its sets of spaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from noisezoo.errors import NoiseZooError, nearest

PARTS = ("gaussianity", "probes", "transfer", "edits", "shared", "truth")
PAPER_SETS: dict[str, tuple[str, ...]] = {
    "X1": ("sd21", "lcmv7", "clip_b16", "dinov3_l16"),
    "X2": ("sd15", "lcmv7", "openclip_b16", "dinov3_l16"),
    "X3": ("sd15", "sd21", "clip_l14", "openclip_b16"),
    "X4": ("sd15", "sd21", "clip_l14", "dinov3_l16"),
    "X5": ("sd15", "sd21", "lcmv7", "clip_l14", "openclip_b16", "dinov3_l16"),
}
"""The paper's sets of spaces; each is studied where the zoo has all of its spaces."""


@dataclass(frozen=True)
class Settings:
    """Everything that a result depends on beside the zoo."""

    projections: int = 5000
    """Random directions of the Gaussianity tests."""
    rows_per_test: int = 250
    attributes: tuple[str, ...] | None = None
    """Attributes to probe; all by default."""
    alpha: float | None = 1.0
    """Ridge penalty in units of the paper's α; None chooses it by five-fold cross-validation."""
    sets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Sets of spaces to look for a shared space in, beside the paper's and the obvious ones."""
    only: tuple[str, ...] = PARTS
    """Parts to compute; of the others, what an earlier run left is shown."""
    device: str | None = None
    """A device of torch ("cpu" is one) for random projections and for PCA of wide spaces; NumPy by default, which is slower and needs no torch."""

    def __post_init__(self) -> None:
        check_parts(self.only)
        if self.device:
            from noisezoo.analysis.devices import torch_on

            torch_on(self.device)
        if self.projections < 1 or self.rows_per_test < 12:
            raise NoiseZooError(
                f"{self.projections} projections of {self.rows_per_test} rows cannot be tested; give at least 1 projection and 12 rows."
            )

    def facts(self) -> dict[str, Any]:
        """As plain data, without what changes no result."""
        plain = {**asdict(self), "sets": {name: list(members) for name, members in self.sets.items()}}
        plain.pop("only")
        plain.pop("device")
        return plain


def check_parts(words: Iterable[str]) -> tuple[str, ...]:
    """The words, all of them parts of the study."""
    words = tuple(words)
    for word in words:
        if word not in PARTS:
            raise NoiseZooError(f"The study has no part '{word}': {nearest(word, PARTS)}")
    return words
