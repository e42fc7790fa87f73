"""Status: what is done and what is left, per space. Reads the ledger, writes nothing."""

from __future__ import annotations

from omegaconf import DictConfig

from noisezoo.info import table
from noisezoo.store import Store
from noisezoo.zoo import Zoo


def run(cfg: DictConfig) -> None:
    """Print the table of spaces."""
    print(table(Zoo(Store(cfg.zoo))))
