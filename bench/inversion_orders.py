"""Error against network calls for every inverter, on Gaussian data, where the exact noise is known.

    python bench/inversion_orders.py

prints a table and draws docs/img/inversion_orders.png. Upper row: distance of the inverted noise from the exact flow's. Lower row: a known noise is
turned into an image by the model's own sampler (the inverter's `generate`, as many steps) and looked for again behind it. The data have as many
small variances as large ones, from 0.01 to 4, as images and their latents do; the network answers exactly.
"""

from __future__ import annotations

import math
from pathlib import Path as FilePath
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from pipeline.inversion import Denoiser, Path, from_scheduler, generate, invert, last

VARIANCES = torch.logspace(-2, math.log10(4), 256, dtype=torch.float64)
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "set_alpha_to_one": False}
PATHS = {
    "Stable Diffusion 1.5's schedule, predicts noise": {"_class_name": "PNDMScheduler", **SD, "steps_offset": 1},
    "flow matching, predicts velocity": {"_class_name": "FlowMatchEulerDiscreteScheduler"},
}
WALKS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim (diffusers)": ("ddim", {"variant": "diffusers"}),
    "ddim (authors)": ("ddim", {"variant": "authors"}),
    "estimate": ("estimate", {}),
    "fixed_point": ("fixed_point", {}),
    "heun": ("heun", {}),
    "dpmpp_2m": ("dpmpp_2m", {}),
    "bdia": ("bdia", {}),
}
BUDGETS = (10, 20, 50, 100, 200)  # network calls aimed at


class Network:
    """The exact predictor of N(0, diag(VARIANCES)) along a path, which counts its calls."""

    def __init__(self, path: Path) -> None:
        self.path, self.calls = path, 0

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        self.calls += 1
        t = float(time[0]) / (1000 if self.path.prediction == "flow" else 1)
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        scaled = x / (alpha**2 * VARIANCES + sigma**2)
        return sigma * scaled - alpha * VARIANCES * scaled if self.path.prediction == "flow" else sigma * scaled


def spread(path: Path, t: float) -> Tensor:
    """The standard deviation of x_t: what the exact flow keeps constant is x over this."""
    return (path.alpha(t) ** 2 * VARIANCES + path.sigma(t) ** 2).sqrt()


def measure(path: Path, name: str, options: dict[str, Any], steps: int) -> tuple[int, float, float]:
    """(calls of the inversion, error against the exact flow, error of a known noise found again), relative."""
    network = Network(path)
    model, random = Denoiser(network, path, torch.float64), torch.Generator().manual_seed(0)
    unit = torch.randn(64, len(VARIANCES), generator=random, dtype=torch.float64)
    start, end = path.times(steps).nodes[0], path.times(steps).nodes[-1]
    noise, exact = last(invert(model, unit * spread(path, start), name, steps, **options)), unit * spread(path, end)
    calls = network.calls
    image = last(generate(model, exact, name, steps))
    found = last(invert(model, image, name, steps, **options))
    return calls, float((noise - exact).norm() / exact.norm()), float((found - exact).norm() / exact.norm())


def main() -> None:
    figure, axes = plt.subplots(2, len(PATHS), figsize=(11, 8), sharex=True, sharey="row", layout="constrained")
    for column, (title, config) in enumerate(PATHS.items()):
        path = from_scheduler(config)
        print(f"\n{title}\n{'':18}{'calls: error against the exact flow | error of a known noise':>40}")
        for number, (label, (name, options)) in enumerate(WALKS.items()):
            per_step = {"heun": 2.0, "fixed_point": 3.0}.get(name, 1.0)
            results = [measure(path, name, options, max(3, round(budget / per_step))) for budget in BUDGETS]
            print(f"{label:18}" + "   ".join(f"{c:3d}: {exact:.1e} | {known:.1e}" for c, exact, known in results))
            style = {"color": f"C{number}", "marker": "osD^vXP"[number], "label": label, "markersize": 5}
            for row in (0, 1):
                axes[row, column].loglog([r[0] for r in results], [r[row + 1] for r in results], **style)
        axes[0, column].set_title(title)
        axes[1, column].set_xlabel("network calls of the inversion")
        for row in (0, 1):
            axes[row, column].grid(which="both", alpha=0.25)
            axes[row, column].set_xticks(BUDGETS, [str(budget) for budget in BUDGETS])
            axes[row, column].minorticks_off()
    axes[0, 0].set_ylabel("error of the noise against the exact flow")
    axes[1, 0].set_ylabel("error of a known noise, found behind its image")
    axes[0, -1].legend(fontsize=9)
    target = FilePath(__file__).parents[1] / "docs" / "img" / "inversion_orders.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)
    print(f"\ndrawn: {target}")


if __name__ == "__main__":
    main()
