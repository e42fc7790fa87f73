"""Networks that know the truth: mixtures of Gaussians, answered in a path's own prediction and time, and the exact flow of a single Gaussian."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.inversion import Denoiser, Path
from pipeline.inversion.paths import Edm, Flow

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
KARRAS = {"sigma_min": 0.002, "sigma_max": 80.0, "use_karras_sigmas": True}

PATHS: dict[str, dict[str, Any]] = {
    "flow": {"_class_name": "FlowMatchEulerDiscreteScheduler"},
    "flow_shifted": {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
    "edm": {"_class_name": "EDMEulerScheduler"},
    "edm_v": {
        "_class_name": "EDMEulerScheduler",
        "prediction_type": "v_prediction",
        "sigma_data": 1.0,
        "sigma_max": 120.0,
        "sigma_schedule": "exponential",
    },
    "euler_v": {
        "_class_name": "EulerDiscreteScheduler",
        "timestep_type": "continuous",
        "prediction_type": "v_prediction",
        **KARRAS,
    },
    "sd15": {
        "_class_name": "PNDMScheduler",
        **SD,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
    },
    "ddpm": {"_class_name": "DDPMScheduler", "clip_sample": True},
    "cosine_v": {
        "_class_name": "DDIMScheduler",
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "v_prediction",
        "timestep_spacing": "linspace",
    },
    "terminal_v": {
        "_class_name": "DDIMScheduler",
        **SD,
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": True,
    },
    "sample": {"_class_name": "DDIMScheduler", "prediction_type": "sample", "timestep_spacing": "trailing"},
}


@dataclass(frozen=True)
class Mixture:
    """Data drawn from sum_k w_k N(m_k, diag(S_k)); means and variances are (components, d)."""

    means: Tensor
    variances: Tensor
    weights: Tensor

    def sample(self, rows: int, seed: int = 0) -> Tensor:
        random = torch.Generator().manual_seed(seed)
        which = torch.multinomial(self.weights, rows, replacement=True, generator=random)
        noise = torch.randn(rows, self.means.shape[1], generator=random, dtype=self.means.dtype)
        return self.means[which] + self.variances[which].sqrt() * noise

    def posterior(self, x: Tensor, alpha: float, sigma: float) -> tuple[Tensor, Tensor]:
        """E[x0 | x] and E[eps | x]: the components' linear answers, weighed by how likely each is to have made x."""
        spread = alpha**2 * self.variances + sigma**2
        off = x[:, None] - alpha * self.means
        share = torch.softmax(self.weights.log() - 0.5 * (off**2 / spread + spread.log()).sum(-1), dim=1)[..., None]
        x0 = self.means + alpha * self.variances / spread * off
        return (share * x0).sum(1), (share * (sigma / spread) * off).sum(1)

    def along(self, path: Path) -> Denoiser:
        """This mixture's perfect network, as a model of that path in fp64."""

        def network(x: Tensor, time: Tensor) -> Tensor:
            told = float(time[0])
            if isinstance(path, Edm):
                s, d = math.exp(4 * told), path.sigma_data
                x0, eps = self.posterior(x * math.hypot(s, d), 1.0, s)
                residual = (s * x0 - d**2 * eps) / (d * math.hypot(s, d))
                return residual if path.prediction == "epsilon" else -residual
            t = told / 1000 if isinstance(path, Flow) else told
            alpha, sigma = path.alpha(t), path.sigma(t)
            x0, eps = self.posterior(x, alpha, sigma)
            return {"epsilon": eps, "sample": x0, "flow": eps - x0, "v_prediction": alpha * eps - sigma * x0}[
                path.prediction
            ]

        return Denoiser(network, path, torch.float64)


GAUSSIAN = Mixture(
    torch.tensor([[0.5, -0.3, 0.0, 1.0]], dtype=torch.float64),
    torch.tensor([[0.05, 0.3, 1.0, 2.0]], dtype=torch.float64),
    torch.ones(1).double(),
)
MIXTURE = Mixture(
    torch.tensor([[0.9, -0.6], [-0.8, 0.5], [0.2, 1.1]], dtype=torch.float64),
    torch.tensor([[0.2, 0.3], [0.25, 0.15], [0.3, 0.3]], dtype=torch.float64),
    torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
)


def flow_map(gaussian: Mixture, path: Path, x: Tensor, t: float, target: float) -> Tensor:
    """The exact probability flow of one Gaussian: the whitened deviation from the mean stays what it is."""

    def moments(t: float) -> tuple[Tensor, Tensor]:
        alpha, sigma = path.alpha(t), path.sigma(t)
        return alpha * gaussian.means[0], (alpha**2 * gaussian.variances[0] + sigma**2).sqrt()

    (mean, spread), (mean_there, spread_there) = moments(t), moments(target)
    return mean_there + spread_there * (x - mean) / spread
