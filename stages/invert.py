"""Invert: image shards → the noise that each diffusion space would have started from.

Reads `images` and the zoo; writes one unit (space, shard) at a time and enters it in the ledger. Run again it computes only units without an entry. Spaces are done one after
another, so that one network is in memory at a time.
"""

from __future__ import annotations

from omegaconf import DictConfig

from pipeline.build import compute


def run(cfg: DictConfig) -> None:
    """Compute every unit that is left of the spaces whose latent is noise."""
    compute(cfg, cfg.invert, lambda space: space.facts.task == "noise", together=False)
