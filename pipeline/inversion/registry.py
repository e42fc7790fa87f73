"""The inverters by name, and the two calls that a family makes: `invert` and `generate`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from noisezoo.errors import NoiseZooError, nearest
from pipeline.inversion import bdia, ddim, dpmpp, fixed_point, heun
from pipeline.inversion.denoiser import Denoiser
from pipeline.inversion.states import State, States, forward_noise


@dataclass(frozen=True)
class Inverter:
    """One procedure: walks (model, x, times, **options) from clean to noise and back, and what they cost.

    `order` is that of the error against the exact flow; `calls_per_step` counts network calls of the inversion, and is a bound where a walk iterates
    (`iterations` of its options).
    """

    invert: Callable[..., States]
    generate: Callable[..., States]
    calls_per_step: int
    order: int
    paper: str
    description: str


# fmt: off
INVERTERS = {
    "ddim": Inverter(ddim.invert, ddim.generate, 1, 1, "arXiv 2010.02502", "DDIM or Euler backwards, explicit; the common choice"),
    "fixed_point": Inverter(fixed_point.invert, ddim.generate, 10, 1, "arXiv 2309.04907", "solves each DDIM step: the exact inverse of the DDIM sampler"),
    "estimate": Inverter(fixed_point.estimate, ddim.generate, 1, 1, "arXiv 2512.08547", "estimates that fixed point in one call a step"),
    "heun": Inverter(heun.invert, heun.generate, 2, 2, "arXiv 2206.00364", "trapezoid rule, two calls a step"),
    "dpmpp_2m": Inverter(dpmpp.invert, dpmpp.generate, 1, 2, "arXiv 2211.01095", "DPM-Solver++(2M), one call a step"),
    "bdia": Inverter(bdia.invert, bdia.generate, 1, 2, "arXiv 2307.10829", "exactly reversible from its last two states, one call a step"),
}
# fmt: on


def get(name: str) -> Inverter:
    """The inverter of this name."""
    if name not in INVERTERS:
        raise NoiseZooError(f"no inverter is called '{name}': {nearest(name, INVERTERS)}")
    return INVERTERS[name]


def calls(name: str, steps: int, forward_first: int = 0, **options: Any) -> int:
    """The network calls of one inversion, at most."""
    per_step = options.get("iterations", get(name).calls_per_step)
    return int((steps - forward_first) * per_step)


def check(name: str, steps: int, forward_first: int = 0, seed: int = 0, **options: Any) -> None:
    """Refuses, before any work, a name, an option or a value that no inversion can use."""
    walk = get(name).invert
    known = list(inspect.signature(walk).parameters)[3:]
    wanted = get_type_hints(walk) | {"steps": int}
    for option, value in {"steps": steps, **options}.items():
        if option not in ("steps", *known):
            raise NoiseZooError(
                f"the inverter {name} has no option '{option}': {nearest(option, ['name', 'steps', 'forward_first', 'seed', *known])}"
            )
        _check_value(f"inverter.{option}", value, wanted[option])
    if not (isinstance(forward_first, int) and 0 <= forward_first < steps):
        raise NoiseZooError(
            f"inverter.forward_first is {forward_first} of {steps} steps: set it between 0 and {steps - 1}."
        )
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise NoiseZooError(f"inverter.seed is {seed}: give a whole number, such as inverter.seed=1.")


def _check_value(option: str, value: Any, wanted: Any) -> None:
    """An option's value against its annotation: one of a few words, a whole number above 0, or a number from 0 on."""
    if get_origin(wanted) is Literal:
        if value not in get_args(wanted):
            raise NoiseZooError(f"{option} is '{value}': {nearest(str(value), get_args(wanted))}")
    elif wanted is int:
        if isinstance(value, bool) or not (isinstance(value, int) and value > 0):
            raise NoiseZooError(f"{option} is {value}: give a whole number above 0.")
    elif isinstance(value, bool) or not (isinstance(value, int | float) and value >= 0):
        raise NoiseZooError(f"{option} is {value}: give a number, 0 or more.")


def invert(
    model: Denoiser,
    x: Tensor,
    name: str,
    steps: int,
    *,
    forward_first: int = 0,
    rows: Sequence[int] = (),
    seed: int = 0,
    **options: Any,
) -> States:
    """States (t, x) from clean x (rows, ...) to the noise end, steps + 1 of them; `options` are the inverter's own.

    With `forward_first` = k the first k steps are replaced by forward noising, keyed by `rows`, the rows' numbers in the zoo: the states then are the
    clean one and those from node k on.
    """
    check(name, steps, forward_first, **options)
    x, times = _wide(x), model.path.times(steps)
    if forward_first == 0:
        return get(name).invert(model, x, times, **options)
    if len(rows) != len(x):
        raise NoiseZooError(
            f"forward_first needs the number of every row, and got {len(rows)} numbers for {len(x)} rows."
        )
    rest = times.after(forward_first)
    noised = forward_noise(model.path, x, rest.nodes[0], rows, seed)
    return chain([State(times.nodes[0], x)], get(name).invert(model, noised, rest, **options))


def generate(model: Denoiser, x: Tensor, name: str, steps: int, **options: Any) -> States:
    """States (t, x) from noise x (rows, ...) to the clean end by the sampler that the inverter inverts, as many steps + 1."""
    return get(name).generate(model, _wide(x), model.path.times(steps), **options)


def _wide(x: Tensor) -> Tensor:
    """States are kept in fp32 at least, whatever the network runs in."""
    return x if x.dtype == torch.float64 else x.float()
