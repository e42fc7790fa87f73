"""The loop that every toy model is trained by: a warm-up, a constant rate and a fall at the end, and a moving average of the weights.

Batches are drawn from a generator seeded by (seed, step), so that a run that was killed goes on with the very batches it would have had.
The state (weights, average, the optimizers' moments, step) lies in two files in the run's folder, written to one side and renamed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.toy.training.optimizer import optimizers

console = Console()
REPORT_SECONDS = 30.0
SAVE_SECONDS = 60.0


@dataclass(frozen=True)
class Task:
    """One model to train."""

    name: str
    network: nn.Module
    loss: Callable[[Any, torch.Generator], Tensor]
    """The loss of one batch, drawn with the generator."""
    measure: Callable[[Any], dict[str, float]]
    """A few quick figures on held-out faces, of the averaged weights."""
    steps: int
    batch: int
    rate: float
    after_step: Callable[[int], None] = lambda step: None
    weight_decay: float = 0.01
    average: float = 0.998
    measures: int = 6
    """How many times `measure` is run on the way."""


@dataclass
class State:
    """Where a run stands."""

    step: int
    seconds: float
    network: dict[str, Tensor]
    averaged: dict[str, Tensor]


def rate_at(step: int, steps: int, warm_up: int = 100, fall: float = 0.25) -> float:
    """The factor on the learning rate: up over `warm_up` steps, 1, then down to 0 over the last `fall` of all steps."""
    up = min(1.0, (step + 1) / warm_up)
    left = (steps - step) / (fall * steps)
    return up * min(1.0, max(left, 0.0))


def train(task: Task, runs: Path, device: torch.device) -> nn.Module:
    """Train to `task.steps`, going on from what the run's folder holds; the network with its averaged weights."""
    folder = runs / task.name
    network = task.network.to(device).train()
    weights = dict(network.named_parameters())
    moving = [weight for weight in weights.values() if weight.requires_grad]
    movers = optimizers(network, task.rate, task.weight_decay)
    averaged = {key: weight.detach().clone() for key, weight in weights.items()}
    step, before = _load(folder, weights, averaged, movers)
    task.after_step(step)

    began = saved = reported = time.monotonic()
    since, total = step, 0.0
    while step < task.steps:
        generator = torch.Generator().manual_seed(step)
        for mover in movers:
            mover.param_groups[0]["lr"] = task.rate * rate_at(step, task.steps)
        loss = task.loss(network, generator)
        loss.backward()
        nn.utils.clip_grad_norm_(moving, 1.0)
        for mover in movers:
            mover.step()
            mover.zero_grad(set_to_none=True)
        step += 1
        task.after_step(step)
        total += float(loss.detach())
        keep = min(task.average, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(averaged.values()), [w.detach() for w in weights.values()], 1.0 - keep)

        now = time.monotonic()
        if now - reported > REPORT_SECONDS or step == task.steps:
            per_second = (step - since) / (now - reported)
            left = (task.steps - step) / per_second
            ends = time.strftime("%H:%M", time.localtime(time.time() + left))
            console.print(
                f"{task.name}: step {step:,} of {task.steps:,}, loss {total / (step - since):.4f}, "
                f"{per_second * task.batch:.0f} rows/s, {left / 60:.1f} min left, ends {ends}",
                highlight=False,
            )
            reported, since, total = now, step, 0.0
        if now - saved > SAVE_SECONDS or step == task.steps:
            _save(folder, task.batch, step, before + now - began, weights, averaged, movers)
            saved = now
        if step % max(1, task.steps // task.measures) == 0 and step < task.steps:
            figures = with_weights(network, averaged, task.measure)
            console.print(f"{task.name}: held out {_text(figures)}", highlight=False)
            reported += time.monotonic() - now
    network.load_state_dict(averaged, strict=False)
    network.eval()
    figures = task.measure(network)
    console.print(f"{task.name}: finished, held out {_text(figures)}", highlight=False)
    return network


def spent(runs: Path, name: str) -> dict[str, float]:
    """What has gone into a model, over all calls."""
    facts = json.loads((runs / name / "state.json").read_text())
    return {"steps": facts["step"], "batch": facts["batch"], "minutes": round(facts["seconds"] / 60, 1)}


def with_weights(network: nn.Module, averaged: dict[str, Tensor], do: Callable[[Any], Any]) -> Any:
    """Run something on the network with its averaged weights, and put its own back."""
    own = {key: weight.detach().clone() for key, weight in network.named_parameters()}
    network.load_state_dict(averaged, strict=False)
    network.eval()
    try:
        with torch.no_grad():
            return do(network)
    finally:
        network.load_state_dict(own, strict=False)
        network.train()


def _text(figures: dict[str, float]) -> str:
    return ", ".join(f"{key} {value:.4g}" for key, value in figures.items())


def _save(
    folder: Path,
    batch: int,
    step: int,
    seconds: float,
    weights: dict[str, nn.Parameter],
    averaged: dict[str, Tensor],
    movers: list[torch.optim.Optimizer],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    held = {f"weight/{key}": weight.detach().contiguous() for key, weight in weights.items()}
    held |= {f"average/{key}": weight.contiguous() for key, weight in averaged.items()}
    for key, weight in weights.items():
        for mover in movers:
            for kind, value in mover.state.get(weight, {}).items():
                held[f"{kind}/{key}"] = value.contiguous()
    save_file({key: value.clone() for key, value in held.items()}, folder / "state.part")
    (folder / "state.part").rename(folder / "state.safetensors")
    (folder / "state.json").write_text(json.dumps({"step": step, "batch": batch, "seconds": round(seconds, 1)}))


def _load(
    folder: Path,
    weights: dict[str, nn.Parameter],
    averaged: dict[str, Tensor],
    movers: list[torch.optim.Optimizer],
) -> tuple[int, float]:
    """Put back what `_save` wrote, if anything; the step and the seconds spent."""
    if not (folder / "state.safetensors").exists():
        return 0, 0.0
    held = load_file(folder / "state.safetensors")
    facts = json.loads((folder / "state.json").read_text())
    kinds = (("momentum",), ("step", "exp_avg", "exp_avg_sq"))
    for mover, names in zip(movers, kinds, strict=True):
        mine = {id(weight) for weight in mover.param_groups[0]["params"]}
        for key, weight in weights.items():
            if id(weight) in mine and f"{names[-1]}/{key}" in held:
                mover.state[weight] = {kind: held[f"{kind}/{key}"].clone() for kind in names}
    for key, weight in weights.items():
        weight.data.copy_(held[f"weight/{key}"])
        averaged[key].copy_(held[f"average/{key}"])
    return int(facts["step"]), float(facts["seconds"])
