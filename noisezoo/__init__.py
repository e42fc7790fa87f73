"""NoiseZoo: aligned rows of images in the latent spaces of many models.

`noisezoo.open("zoos/toy/zoo.zarr")` reads a zoo; importing this package needs neither torch nor a network.
"""

from noisezoo._version import __version__
from noisezoo.errors import NoiseZooError
from noisezoo.zoo import Zoo, open

__all__ = ["NoiseZooError", "Zoo", "__version__", "open"]
