"""What a benchmark case is, how its two sides are timed, and how a run is held against the one on record.

A case is ours and a rival in one process on one machine. Both take turns, so that whatever else the machine does meets both; each round gives one ratio, and what is
reported is the median of the rounds with their quartiles. A ratio above 1 always means that ours is ahead.
"""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

LEAST_MARGIN = 0.10
"""No fall of a ratio below this share is called a regression, however steady its rounds."""
NORMAL = 1.25
"""Standard error of a median of n normal draws of deviation s: 1.25 s / √n."""
QUARTILES = 1.349
"""Width between the quartiles of a normal distribution of deviation 1."""
SURE = 3.0
"""Standard errors between two medians that chance does not make."""
CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Found:
    """What measuring one case gave."""

    ratios: Sequence[float]
    """One a round."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Whatever else is worth a line, by name and unit."""


@dataclass(frozen=True)
class Case:
    """One comparison."""

    name: str
    what: str
    """What is timed, in words."""
    rival: str
    """What it is held against."""
    measure: Callable[[Path], Found]
    """Called with an empty folder of its own."""
    target: float | None = None
    """The ratio to reach, where one was set."""
    limit: str = ""
    """What no system could pass here, where that is known."""


@dataclass(frozen=True)
class Result:
    """A measured case, as results keep it."""

    name: str
    what: str
    rival: str
    limit: str
    target: float | None
    ratio: float
    low: float
    """Lower quartile of the rounds."""
    high: float
    rounds: int
    figures: dict[str, float]
    seconds: float
    """What measuring took."""
    load: float
    """Processes that wanted a core when it began: above the number of cores, others disturb."""

    @property
    def met(self) -> bool:
        """Whether the target is reached, or was never set."""
        return self.target is None or self.ratio >= self.target

    @property
    def error(self) -> float:
        """Standard error of the ratio, relative to it."""
        return NORMAL * (self.high - self.low) / QUARTILES / math.sqrt(self.rounds) / self.ratio


def run(case: Case, folder: Path) -> Result:
    """Measure one case."""
    load, begun = os.getloadavg()[0], time.perf_counter()
    found = case.measure(folder)
    low, middle, high = quartiles(found.ratios)
    return Result(
        case.name, case.what, case.rival, case.limit, case.target, middle, low, high,
        len(found.ratios), {key: float(value) for key, value in found.figures.items()}, time.perf_counter() - begun, load,
    )  # fmt: skip


def alternate(
    acts: Mapping[str, Callable[[], Any]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    *,
    warm: bool = False,
) -> dict[str, list[float]]:
    """Seconds of each act, round by round, in turn, after one round of warmth unless they are `warm`; who goes first changes every round.

    `clock` is the one on the wall, or `time.process_time` where the work is arithmetic: what other programs do on the same cores stretches the former and not the latter.
    """
    taken: dict[str, list[float]] = {name: [] for name in acts}
    for number in range(0 if warm else -1, rounds):
        for name in list(acts)[:: 1 if number % 2 else -1]:
            begun = clock()
            acts[name]()
            if number >= 0:
                taken[name].append(clock() - begun)
    return taken


def over(rival: Sequence[float], ours: Sequence[float], scale: float = 1.0) -> list[float]:
    """Round by round how many times the rival's seconds are ours; `scale` where the two did different amounts of work."""
    return [scale * theirs / mine for theirs, mine in zip(rival, ours, strict=True)]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def regression(now: Result, then: Result) -> str | None:
    """How this ratio is worse than the one on record beyond what their spreads allow, in a sentence; None where it is not.

    The margin is three standard errors of the difference of both medians, but never under a tenth.
    """
    margin = max(LEAST_MARGIN, SURE * math.hypot(now.error, then.error))
    if now.ratio >= then.ratio * (1 - margin):
        return None
    return f"{now.name} fell from {then.ratio:.3g} to {now.ratio:.3g}, more than its noise of {100 * margin:.0f} %."


def machine() -> dict[str, Any]:
    """What a ratio may depend on; neither host nor user."""
    import torch

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": CORES,
        "architecture": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "memory_gb": round(pages / 1e9, 1),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "diffusers", "transformers", "numpy", "zarr", "scikit-learn")},
    }


def to_json(result: Result) -> dict[str, Any]:
    """As results keep it."""
    return {**asdict(result), "met": result.met}


def from_json(facts: Mapping[str, Any]) -> Result:
    """A result as it was kept."""
    return Result(**{key: value for key, value in facts.items() if key != "met"})
