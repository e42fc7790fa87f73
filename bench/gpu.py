"""How fast inversion runs on an accelerator: images/s of networks of real size with random weights, as a share of the device's matrix-product peak.

    python bench/gpu.py --out bench/results/gpu.json            SD-1.5-, SDXL- and DiT-XL/2-sized, some 8 minutes
    python bench/gpu.py --tiny                                  the same code on tiny networks, on the CPU, in a minute

For every network, precision and batch size three ways in turn, each timed over the same step of the same walk: diffusers' own DDIMInverseScheduler in a plain loop
(the rival), ours, and ours compiled. Weights do not change the speed, so none are needed. The peak is that of one large product in the same run and precision.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline import inversion
from pipeline.inversion import Denoiser
from pipeline.spaces.networks import Conditions, wrap

CELEBA = 162_770
BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
}


@dataclass(frozen=True)
class Case:
    """A network by its configuration, and what it is told."""

    kind: type[torch.nn.Module]
    config: dict[str, Any]
    shape: tuple[int, int, int]
    told: dict[str, tuple[int, ...]] = field(default_factory=dict)


SDXL = {
    "sample_size": 128, "block_out_channels": (320, 640, 1280), "transformer_layers_per_block": (1, 2, 10), "attention_head_dim": (5, 10, 20),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), "cross_attention_dim": 2048, "use_linear_projection": True,
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
DIT = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 28,
    "sample_size": 32,
}
TINY = {
    "sample_size": 8, "block_out_channels": (32, 64), "layers_per_block": 1, "cross_attention_dim": 32, "norm_num_groups": 8,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
CASES = {
    "sd15": Case(
        diffusers.UNet2DConditionModel,
        {"sample_size": 64, "cross_attention_dim": 768},
        (4, 64, 64),
        {"text": (1, 77, 768)},
    ),
    "sdxl": Case(diffusers.UNet2DConditionModel, SDXL, (4, 128, 128), {"text": (1, 77, 2048), "pooled": (1, 1280)}),
    "dit_xl2": Case(diffusers.DiTTransformer2DModel, DIT, (4, 32, 32)),
}
TINY_CASES = {
    "tiny_unet": Case(diffusers.UNet2DConditionModel, TINY, (4, 8, 8), {"text": (1, 77, 32)}),
    "tiny_sdxl": Case(
        diffusers.UNet2DConditionModel,
        {
            **TINY,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 24 + 6 * 8,
        },
        (4, 8, 8),
        {"text": (1, 77, 32), "pooled": (1, 24)},
    ),
    "tiny_dit": Case(
        diffusers.DiTTransformer2DModel, {**DIT, "attention_head_dim": 8, "num_layers": 2, "sample_size": 8}, (4, 8, 8)
    ),
}


def build(case: Case, device: torch.device, dtype: torch.dtype) -> Any:
    """The network, its weights drawn on the device itself."""
    torch.manual_seed(0)
    former = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return case.kind(**case.config).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(former)


def told(case: Case, device: torch.device, dtype: torch.dtype) -> Conditions:
    return Conditions(
        8 * case.shape[1], {name: torch.randn(shape, device=device, dtype=dtype) for name, shape in case.told.items()}
    )


def flops(case: Case) -> int:
    """Floating-point operations of one call for one image."""
    module = build(case, torch.device("meta"), torch.float32)
    network = wrap(module, told(case, torch.device("meta"), torch.float32))
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *case.shape, device="meta"), torch.zeros(1, device="meta"))
    return int(counter.get_total_flops())


def peak(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Operations a second of a size x size x size product, the best of many."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(clock(lambda: a @ b, device) for _ in range(20))


def clock(work: Callable[[], Any], device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def plain_loop(module: Any, conditions: Conditions, x: Tensor, steps: int) -> Iterator[Tensor]:
    """What people write: the scheduler's step around the network, everything in the network's precision, the prompt repeated for every row."""
    told = {name: value.expand(len(x), *value.shape[1:]) for name, value in conditions.embedding.items()}
    asked: dict[str, Any] = {}
    if "text" in told:
        asked["encoder_hidden_states"] = told["text"]
    else:
        asked["class_labels"] = torch.full((len(x),), module.config.num_embeds_ada_norm, device=x.device)
    if "pooled" in told:
        side = conditions.size
        sizes = torch.tensor([[side, side, 0, 0, side, side]], device=x.device, dtype=x.dtype).expand(len(x), -1)
        asked["added_cond_kwargs"] = {"text_embeds": told["pooled"], "time_ids": sizes}
    scheduler = diffusers.DDIMInverseScheduler(**BETAS)
    while True:
        scheduler.set_timesteps(steps, device=x.device)
        walk = x
        for t in scheduler.timesteps:
            walk = scheduler.step(
                module(walk, timestep=t.expand(len(walk)), **asked).sample[:, : walk.shape[1]], t, walk
            ).prev_sample
            yield walk


def ours(module: Any, conditions: Conditions, x: Tensor, steps: int) -> Iterator[Tensor]:
    path = inversion.from_scheduler({"_class_name": "DDIMScheduler", **BETAS})
    model = Denoiser(wrap(module, conditions), path, x.dtype)
    while True:
        states = inversion.invert(model, x, "ddim", steps)
        next(states)
        for state in states:
            yield state.x


def seconds_a_call(walk: Iterator[Tensor], device: torch.device, least: float) -> list[float]:
    """Times of single steps after three for warmth, for at least so many seconds."""
    for _ in range(3):
        next(walk)
    times: list[float] = []
    while sum(times) < least or len(times) < 5:
        times.append(clock(lambda: next(walk), device))
    return times


def free() -> None:
    gc.collect()
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def measure(
    name: str,
    case: Case,
    dtype: torch.dtype,
    batches: list[int],
    device: torch.device,
    ceiling: float,
    deadline: float,
    args: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """One result a batch size and way; none that would begin after the deadline."""
    work = flops(case)
    for way in ("plain loop", "ours", "ours compiled"):
        module = build(case, device, dtype)
        if way != "plain loop" and hasattr(module, "conv_in"):
            module.to(memory_format=torch.channels_last)
        if way == "ours compiled":
            module.compile(dynamic=False)
        conditions = told(case, device, dtype)
        for batch in batches:
            if time.monotonic() > deadline:
                print(f"{name} {dtype} {way} from batch {batch} on: no time left", flush=True)
                return
            x = torch.randn(batch, *case.shape, device=device, dtype=dtype)
            walk = (plain_loop if way == "plain loop" else ours)(module, conditions, x, args.steps)
            began = time.monotonic()
            try:
                with torch.inference_mode():
                    times = seconds_a_call(walk, device, args.seconds)
            except torch.OutOfMemoryError:
                print(f"{name} {dtype} {way} batch {batch}: out of memory", flush=True)
                free()
                continue
            call = statistics.median(times)
            images = batch / call / args.steps
            result = {
                "network": name, "precision": str(dtype).removeprefix("torch."), "batch": batch, "way": way, "steps": args.steps,
                "seconds_a_call": call, "spread": max(times) / min(times), "calls_timed": len(times), "images_per_second": images,
                "flops_a_call_per_image": work, "share_of_peak": work * batch / call / ceiling, "celeba_hours": CELEBA / images / 3600,
                "seconds_in_all": time.monotonic() - began,
            }  # fmt: skip
            print(
                f"{name:10} {result['precision']:9} {way:14} batch {batch:3} {images:9.3f} images/s {100 * result['share_of_peak']:5.1f} % of peak",
                flush=True,
            )
            yield result
        del module
        free()


def compared(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each of our ways against the plain loop at the same batch, and at batch 1, as the authors' demo runs."""
    rival = {
        (r["network"], r["precision"], r["batch"]): r["images_per_second"] for r in results if r["way"] == "plain loop"
    }
    for r in results:
        key = (r["network"], r["precision"])
        for name, other in (
            ("over_plain_loop", rival.get((*key, r["batch"]))),
            ("over_one_by_one", rival.get((*key, 1))),
        ):
            if other and r["way"] != "plain loop":
                r[name] = r["images_per_second"] / other
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="tiny networks, for a run on the CPU")
    parser.add_argument("--networks", nargs="+", help="some of the networks only")
    parser.add_argument("--batches", nargs="+", type=int, default=None, help="1 8 32 64 by default")
    parser.add_argument("--precisions", nargs="+", default=None, help="bfloat16 float16 by default")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=None, help="how long each case is timed at least")
    parser.add_argument("--minutes", type=float, default=8.0, help="no case begins later than this")
    parser.add_argument("--out", type=Path, help="where the results go as JSON")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() and not args.tiny else "cpu")
    if device.type == "cpu" and not args.tiny:
        parser.error("there is no accelerator here: type 'python bench/gpu.py --tiny' to try the script on the CPU.")
    cases = TINY_CASES if args.tiny else CASES
    args.seconds = args.seconds or (0.05 if args.tiny else 1.0)
    batches = args.batches or ([1, 4] if args.tiny else [32, 64, 8, 1])  # what matters most first, should time run out
    precisions = [
        getattr(torch, name) for name in args.precisions or (["float32"] if args.tiny else ["bfloat16", "float16"])
    ]
    deadline = time.monotonic() + 60 * args.minutes

    peaks = {dtype: peak(device, dtype, 512 if args.tiny else 8192) for dtype in precisions}
    for dtype, ceiling in peaks.items():
        print(f"{'peak':10} {str(dtype).removeprefix('torch.'):9} {ceiling / 1e12:.3f} TFLOP/s", flush=True)
    results: list[dict[str, Any]] = []
    for dtype in precisions:
        for name in args.networks or cases:
            results += measure(name, cases[name], dtype, batches, device, peaks[dtype], deadline, args)
    report = {
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "peak_flops": {str(dtype).removeprefix("torch."): ceiling for dtype, ceiling in peaks.items()},
        "results": compared(results),
    }
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    for r in results:
        if "over_plain_loop" in r:
            print(
                f"{r['network']:10} {r['precision']:9} {r['way']:14} batch {r['batch']:3} {r['over_plain_loop']:.2f} x the plain loop"
            )


if __name__ == "__main__":
    main()
