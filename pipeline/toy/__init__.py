"""The toy world: drawn faces and animals whose attributes come from a Gaussian latent with a known covariance."""
