"""What most spaces answer alike."""

from __future__ import annotations

from typing import Any

from noisezoo.errors import NoiseZooError, nearest

STORED = ("float16", "float32")
PRECISIONS = ("float32", "bfloat16", "float16")


class Defaults:
    """Latents stored and computed as these two words say, no arrays beside the latent, and a model that `unload` lets go of."""

    dtype = "float16"
    precision = "float32"
    _model: Any = None

    def _set_types(self, dtype: str, precision: str) -> None:
        for key, word, known in (("dtype", dtype, STORED), ("precision", precision, PRECISIONS)):
            if word not in known:
                raise NoiseZooError(f"There is no {key} '{word}': {nearest(word, known)}")
        self.dtype, self.precision = dtype, precision

    def unload(self) -> None:
        """Let go of the weights, if there are any."""
        self._model = None

    def extra_arrays(self) -> dict[str, tuple[int, ...]]:
        """None."""
        return {}
