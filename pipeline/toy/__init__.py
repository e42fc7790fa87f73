"""The toy world: drawn faces and animals whose attributes come from a Gaussian latent with a known covariance."""

HELD_OUT = 1_000_000
"""Toy models are trained on rows below this one; toy zoos begin at it."""
