"""Ideas for a faster walk on a CPU that are not in the product, each beside the walk as it is: `python -m bench.inversion_ideas`.

Half precision where the processor has the instructions, int8 linear layers, and oneDNN's graph compiler by way of TorchScript, all on one thread and timed by its processor time.
A line tells the ratio of rows a second, and by how much the noise differs from float32's, as a share of its deviation.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from bench.cases.inversion import BATCH, MODEL, STEPS, empty_prompt
from bench.harness import alternate, over
from pipeline import inversion
from pipeline.inversion.denoiser import Network
from pipeline.spaces.diffusion import Diffusion

ROUNDS = 9
SHAPE = (BATCH, 3, 8, 8)
Walk = Callable[[], Tensor]


def walk(dtype: torch.dtype, compiled: bool = False, network: Network | None = None) -> Walk:
    """Inversion of the same rows by DDIM, in this precision, through toy_sd's network or another in its place."""
    name = str(dtype).removeprefix("torch.")
    space = Diffusion(MODEL, {"name": "ddim", "steps": STEPS}, size=64, precision=name, compile=compiled)
    space.load(torch.device("cpu"), dtype)
    model = space.denoiser
    assert model is not None
    if network is not None:
        model = replace(model, network=network)
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    return lambda: inversion.last(inversion.invert(model, x, "ddim", STEPS))


class Told(nn.Module):
    """toy_sd's network as diffusers loads it, with the empty prompt of every row put in: (x, time) -> eps."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = UNet2DConditionModel.from_pretrained(f"{MODEL}/unet").eval().to(memory_format=torch.channels_last)
        self.register_buffer("text", empty_prompt().repeat(BATCH, 1, 1))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.unet(x, time, encoder_hidden_states=self.text, return_dict=False)[0]


def in_int8() -> nn.Module:
    """Linear layers with int8 weights, and activations made int8 on the way."""
    changed: nn.Module = torch.ao.quantization.quantize_dynamic(Told().eval(), {nn.Linear}, dtype=torch.qint8)
    return changed


def by_onednn_graph() -> nn.Module:
    """Traced for these shapes, frozen, and its parts handed to oneDNN's graph compiler."""
    torch.jit.enable_onednn_fusion(True)
    return torch.jit.freeze(torch.jit.trace(Told().eval(), (torch.randn(SHAPE), torch.ones(BATCH)), check_trace=False))


def compare(name: str, plain: Walk, other: Walk) -> None:
    """One line."""
    for act in (other, other, plain):  # TorchScript compiles on the second call
        act()
    expected, found = plain().float(), other().float()
    off = float((found - expected).std() / expected.std())
    taken = alternate({"plain": plain, "other": other}, ROUNDS, time.process_time)
    ratio = statistics.median(over(taken["plain"], taken["other"]))
    print(f"{name:32} {ratio:5.2f} times the rows a second, off by {100 * off:.2g} %", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    with torch.inference_mode():
        plain = walk(torch.float32)
        compare("bfloat16", plain, walk(torch.bfloat16))
        compare("float16", plain, walk(torch.float16))
        compare("int8 linear layers", plain, walk(torch.float32, network=in_int8()))
        compare("oneDNN graph", plain, walk(torch.float32, network=by_onednn_graph()))
        compiled = walk(torch.float32, compiled=True)
        compare("bfloat16, both compiled", compiled, walk(torch.bfloat16, compiled=True))
        compare("float16, both compiled", compiled, walk(torch.float16, compiled=True))


if __name__ == "__main__":
    main()
