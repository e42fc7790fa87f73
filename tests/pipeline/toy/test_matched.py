"""Noise that is paired with images for training: still noise, each used once, and nearer to its image than by chance."""

from __future__ import annotations

import torch

from pipeline.toy.training.diffusion import MATCHED, matched


def test_the_noise_is_as_normal_as_before_and_goes_with_its_row() -> None:
    clean = torch.randn(1_000, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    rows, noise = matched(clean, MATCHED, torch.Generator().manual_seed(2))
    assert noise.shape == (MATCHED, 3, 4, 4)
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1.0) < 0.02
    assert len(noise.flatten(1).unique(dim=0)) == MATCHED
    likeness = clean[rows].flatten(1) @ noise.flatten(1).T
    together = float(likeness.diagonal().sum())
    for turn in range(1, 20):  # no other pairing that was tried does better
        assert together > float(likeness[torch.arange(MATCHED), torch.arange(MATCHED).roll(turn)].sum())
    assert together / float(clean[rows].norm() * noise.norm()) > 0.15


def test_fewer_rows_are_the_first_of_the_same_pairs() -> None:
    clean = torch.randn(300, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    rows, noise = matched(clean, MATCHED, torch.Generator().manual_seed(2))
    fewer, its = matched(clean, 16, torch.Generator().manual_seed(2))
    assert torch.equal(fewer, rows[:16])
    assert torch.equal(its, noise[:16])
