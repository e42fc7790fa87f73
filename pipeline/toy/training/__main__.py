"""Train the toy models that are named, or all of them, each after what it needs, and write them to models/.

A run that was stopped goes on where it was when the same command is typed again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from noisezoo.errors import NoiseZooError, nearest
from pipeline.toy.training import attributes, autoencoder, clip, diffusion, dino
from pipeline.toy.training.export import export
from pipeline.toy.training.loop import Task, train

MODELS = Path(__file__).resolve().parents[3] / "models"

TASKS: dict[str, Callable[[Path], Task]] = {
    "toy_reader": attributes.task,
    "toy_vae": autoencoder.task,
    "toy_clip": clip.task,
    "toy_sd": partial(diffusion.sd_task, models=MODELS, velocity=False),
    "toy_ddpm": diffusion.ddpm_task,
    "toy_dino": dino.task,
    "toy_sd_v": partial(diffusion.sd_task, models=MODELS, velocity=True),
    "toy_flow": partial(diffusion.flow_task, models=MODELS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(TASKS), help=", ".join(TASKS))
    parser.add_argument("--runs", type=Path, default=Path("runs/toy"), help="where the states are kept")
    parser.add_argument("--steps", type=int, help="stop at this step instead of the recipe's own")
    chosen = parser.parse_args()
    for name in chosen.names:
        if name not in TASKS:
            raise NoiseZooError(f"There is no toy model '{name}': {nearest(name, TASKS)}")
    for name in chosen.names:
        torch.manual_seed(0)
        task = TASKS[name](chosen.runs)
        if chosen.steps:
            task = replace(task, steps=chosen.steps)
        export(name, train(task, chosen.runs, torch.device("cpu")), MODELS, chosen.runs)


if __name__ == "__main__":
    main()
