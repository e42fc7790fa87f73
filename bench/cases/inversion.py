"""Our inversion against what people run instead, and how many network calls a recovery costs.

Against a batch as large, both sides run on one core and are timed by its processor time, which other programs on the machine do not stretch. Against single images both have
all cores and the clock on the wall, since sharing a step out over cores is half of what a batch is for.
The rivals are plain loops around `DDIMInverseScheduler`, in the network's default memory layout, with the prompt repeated for every row: what diffusers' own pipelines do.
"""

from __future__ import annotations

import statistics
import time
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor

from bench.harness import CORES, Case, Found, alternate, over
from bench.inversion_toy import Bench
from pipeline import inversion
from pipeline.inversion.registry import INVERTERS
from pipeline.spaces.diffusion import Diffusion

MODEL = "models/toy_sd"
BATCH, LARGE_BATCH, STEPS = 64, 128, 5
ROUNDS, FEWER_ROUNDS = 15, 9
TOLERANCE = 1e-4
"""Largest difference of two inversions that counts as float32 rounding, relative to the largest value."""
A_ZOO = 10_000 * 50
"""Rows times steps over which the compile time is shared out: a small zoo."""


def vs_diffusers(folder: Path) -> Found:
    return _vs_diffusers(compiled=True)


def vs_diffusers_as_loaded(folder: Path) -> Found:
    return _vs_diffusers(compiled=False)


def _vs_diffusers(compiled: bool) -> Found:
    x, plain = torch.randn(BATCH, 3, 8, 8, generator=torch.Generator().manual_seed(0)), plain_loop()
    space = _space(compiled)
    with torch.inference_mode():
        begun = time.process_time()
        mine = ours(space, x)()
        first = time.process_time() - begun
        theirs = plain(x)
        difference = float((mine - theirs).abs().max() / theirs.abs().max())
        if difference > TOLERANCE:
            raise RuntimeError(f"the two inversions differ by {difference:.1e}: nothing to compare")
        taken = alternate({"plain": lambda: plain(x), "ours": ours(space, x)}, ROUNDS, time.process_time)
    a_row_step = {name: statistics.median(seconds) / STEPS / BATCH for name, seconds in taken.items()}
    figures = {
        "plain loop, ms a row and step": 1e3 * a_row_step["plain"],
        "ours, ms a row and step": 1e3 * a_row_step["ours"],
        "largest difference of the results, relative": difference,
    }
    ratios = over(taken["plain"], taken["ours"])
    if compiled:
        compiling = first - statistics.median(taken["ours"])
        whole = {name: A_ZOO * seconds for name, seconds in a_row_step.items()}
        saved = a_row_step["plain"] - a_row_step["ours"]
        figures |= {
            "compiling, s": compiling,
            "rows of 50 steps until compiling has paid": compiling / saved / 50 if saved > 0 else float("inf"),
            "ratio over 10,000 rows of 50 steps, compiling included": whole["plain"] / (whole["ours"] + compiling),
        }
    return Found(ratios, figures)


def vs_one_by_one(folder: Path) -> Found:
    """The rival has whichever is faster for it, one core or all."""
    few = 4
    x, plain, space = torch.randn(LARGE_BATCH, 3, 8, 8), plain_loop(), _space(compiled=True, threads=CORES)

    def singles(threads: int) -> None:
        torch.set_num_threads(threads)
        for row in x[:few]:
            plain(row[None])

    def batch() -> None:
        torch.set_num_threads(CORES)
        mine()

    with torch.inference_mode():
        mine = ours(space, x)
        batch()
        acts = {"one core": lambda: singles(1), "all cores": lambda: singles(CORES), "ours": batch}
        taken = alternate(acts, FEWER_ROUNDS)
    best = min(("one core", "all cores"), key=lambda name: statistics.median(taken[name]))
    a_row_step = {name: 1e3 * statistics.median(taken[name]) / STEPS / few for name in ("one core", "all cores")}
    return Found(
        over(taken[best], taken["ours"], LARGE_BATCH / few),
        {f"one by one on {name}, ms a row and step": value for name, value in a_row_step.items()}
        | {"ours, ms a row and step": 1e3 * statistics.median(taken["ours"]) / STEPS / LARGE_BATCH},
    )


def plain_loop() -> Callable[[Tensor], Tensor]:
    """A loop as one writes it with diffusers."""
    unet = diffusers.UNet2DConditionModel.from_pretrained(f"{MODEL}/unet").eval()
    scheduler = diffusers.DDIMInverseScheduler.from_pretrained(f"{MODEL}/scheduler", clip_sample=False)
    text = empty_prompt()

    def loop(x: Tensor) -> Tensor:
        scheduler.set_timesteps(STEPS)
        prompt = text.repeat(len(x), 1, 1)
        for t in scheduler.timesteps:
            noise = unet(x, t, encoder_hidden_states=prompt).sample
            x = scheduler.step(noise, t, x).prev_sample
        return x

    return loop


def empty_prompt() -> Tensor:
    """(1, tokens, width) that inversion is told."""
    text: Tensor = _space(compiled=False)._embedding()["text"]
    return text


def ours(space: Diffusion, x: Tensor) -> Callable[[], Tensor]:
    """The walk of a space from clean latents to noise."""
    model = space.denoiser
    assert model is not None
    return lambda: inversion.last(inversion.invert(model, x, "ddim", STEPS))


def _space(compiled: bool, threads: int = 1) -> Diffusion:
    torch.set_num_threads(threads)
    space = Diffusion(MODEL, {"name": "ddim", "steps": STEPS}, size=64, precision="float32", compile=compiled)
    space.load(torch.device("cpu"), torch.float32)
    return space


ROWS = 16
LADDER: dict[str, tuple[int, ...]] = {
    "heun": (6, 8, 10, 12, 16, 20, 25, 37, 50, 75),
    "dpmpp_2m": (10, 16, 20, 25, 34, 50, 75, 100, 150),
}
"""Steps tried of each second-order inverter; Heun calls the network twice a step."""


def calls(folder: Path) -> Found:
    return _fewer_calls(50)


def calls_150(folder: Path) -> Found:
    return _fewer_calls(150)


def _fewer_calls(budget: int) -> Found:
    """The fewest calls that come as near as DDIM does with `budget`, in three errors.

    - noise: known noise, images made of it by the inverter's own sampler in as many steps, and the noise found behind them;
    - noise of a fine sampler: the same behind images that Heun's rule made in 100 calls. DDIM by the authors' rule soon comes as near as that sampler's own
      error lets anything come;
    - round trip: faces inverted and regenerated by the inverter's own sampler.
    """
    torch.set_num_threads(1)
    bench = Bench("toy_sd", ROWS, ROWS)

    def missed(images: Tensor, name: str, steps: int, **options: Any) -> float:
        found = bench._each(lambda x: bench._invert(x, name, steps, options), images)
        return float((found - bench.noise).norm() / bench.noise.norm())

    def recovery(name: str, steps: int, **options: Any) -> float:
        return missed(bench._each(lambda x: bench._generate(x, name, steps), bench.noise), name, steps, **options)

    def of_a_fine_sampler(name: str, steps: int, **options: Any) -> float:
        return missed(bench.flow_images, name, steps, **options)

    def round_trip(name: str, steps: int, **options: Any) -> float:
        noise = bench._each(lambda x: bench._invert(x, name, steps, options), bench.clean)
        back = bench._each(lambda x: bench._generate(x, name, steps), noise)
        return float((back - bench.clean).norm() / bench.clean.norm())

    figures: dict[str, float] = {}
    saved: dict[str, float] = {}
    aims = {"noise": recovery, "noise of a fine sampler": of_a_fine_sampler, "round trip": round_trip}
    for aim, error in aims.items():
        variants = ("diffusers", "authors")
        ddim = min(error("ddim", budget, variant=variant) for variant in variants)
        figures[f"relative error of the {aim}, DDIM with {budget} calls"] = ddim
        enough: list[tuple[int, str]] = []
        for name, ladder in LADDER.items():
            # Errors fall with the steps, so half of what is left of the ladder is told by one try.
            place = bisect_left(ladder, True, key=lambda steps, name=name: error(name, steps) <= ddim)
            if place < len(ladder):
                enough.append((INVERTERS[name].calls_per_step * ladder[place], name))
        fewest, name = min(enough, default=(budget, "DDIM itself"))
        figures[f"calls of {name} for an equal {aim}"] = fewest
        saved[aim] = budget / fewest
    for aim in ("noise of a fine sampler", "round trip"):
        figures[f"fewer calls for the {aim}, times"] = saved[aim]
    return Found([saved["noise"]], figures)


PLAIN = "a plain diffusers loop (DDIMInverseScheduler), as large a batch, equal results"
ONE_BY_ONE = "that loop one image at a time, as the authors' demo runs, on one core or all, whichever is faster"
CASES = [
    Case("inversion.vs_diffusers", f"toy_sd on the CPU, float32, batch {BATCH}, compiled", PLAIN, vs_diffusers, target=1.3),
    Case("inversion.vs_diffusers_as_loaded", "the same without compiling, the default on CPUs", PLAIN, vs_diffusers_as_loaded),
    Case("inversion.vs_one_by_one", f"the same, compiled, batch {LARGE_BATCH}, all cores, by the clock", ONE_BY_ONE, vs_one_by_one, target=8.0),
    Case("inversion.calls", "network calls of the best second-order inverter for an equal recovery of known noise", "DDIM with 50 calls, its better variant", calls, target=2.0),
    Case("inversion.calls_150", "the same", "DDIM with 150 calls", calls_150, target=2.0),
]  # fmt: skip
