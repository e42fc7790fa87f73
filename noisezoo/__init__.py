"""NoiseZoo: aligned rows of images in the latent spaces of many models.

`noisezoo.open("zoos/toy/zoo.zarr")` reads a zoo; importing this package needs neither torch nor a network, and loads Zarr only when a zoo is opened.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from noisezoo._version import __version__
from noisezoo.errors import NoiseZooError

if TYPE_CHECKING:
    from noisezoo.zoo import Zoo, open

__all__ = ["NoiseZooError", "Zoo", "__version__", "open"]


def __getattr__(name: str) -> Any:
    if name in ("Zoo", "open"):
        return getattr(import_module("noisezoo.zoo"), name)
    raise AttributeError(f"module 'noisezoo' has no attribute '{name}'")
