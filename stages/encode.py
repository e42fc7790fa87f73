"""Encode: image shards → embeddings, tokens and controls.

Reads `images` and the zoo; writes units and ledger entries as invert does, and is resumed like it. All these spaces share one reading and decoding of each shard.
"""

from __future__ import annotations

from omegaconf import DictConfig

from pipeline.build import compute


def run(cfg: DictConfig) -> None:
    """Compute every unit that is left of the spaces that one pass of a network gives."""
    compute(cfg, cfg.encode, lambda space: space.facts.task != "noise", together=True)
