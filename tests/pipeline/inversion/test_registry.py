"""What a family relies on: every inverter by name, batches that do not matter, forward noising, capture, refusals, and the files of conf/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from noisezoo.errors import NoiseZooError
from pipeline.inversion import INVERTERS, Denoiser, calls, capture, check, from_scheduler, generate, invert, last
from tests.pipeline.inversion.analytic import GAUSSIAN, MIXTURE, PATHS

SHORT = ["flow", "edm", "sd15", "terminal_v", "sample"]


class Network(nn.Module):
    """Convolutions and attention over the pixels, so that a row could feel its neighbours if anything let it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enter, self.leave = nn.Conv2d(4, 16, 3, padding=1), nn.Conv2d(16, 3, 3, padding=1)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.calls = 0

    @torch.no_grad()
    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        self.calls += 1
        phase = torch.sin(time.to(x.dtype) / 300).view(-1, 1, 1, 1).expand(len(x), 1, *x.shape[2:])
        hidden = torch.nn.functional.silu(self.enter(torch.cat([x, phase], dim=1)))
        tokens = hidden.flatten(2).mT
        return self.leave((tokens + self.attention(tokens, tokens, tokens)[0]).mT.reshape(hidden.shape))


def images(rows: int = 8) -> Tensor:
    """Rows of very different size, so that an iteration stops at very different times for each."""
    x = torch.randn(rows, 3, 6, 6, generator=torch.Generator().manual_seed(3))
    return x * torch.logspace(-1.5, 0.7, rows).view(-1, 1, 1, 1)


@pytest.mark.parametrize("forward_first", [0, 3])
@pytest.mark.parametrize("path_name", SHORT)
@pytest.mark.parametrize("name", INVERTERS)
def test_a_row_does_not_depend_on_its_neighbours(name: str, path_name: str, forward_first: int) -> None:
    """In fp64, where rounding cannot be taken for dependence, nor the other way round."""
    model, x = Denoiser(Network().double(), from_scheduler(PATHS[path_name]), torch.float64), images().double()
    together = last(invert(model, x, name, 10, forward_first=forward_first, rows=range(40, 48), seed=7))
    back = last(generate(model, together, name, 10))
    for row in (0, 5, 7):
        rows = [40 + row]
        alone = last(invert(model, x[row : row + 1], name, 10, forward_first=forward_first, rows=rows, seed=7))
        assert float((alone[0] - together[row]).norm() / together[row].norm()) < 1e-10
        back_alone = last(generate(model, together[row : row + 1], name, 10))
        assert float((back_alone[0] - back[row]).norm() / back[row].norm()) < 1e-10


@pytest.mark.parametrize("path_name", ["flow", "edm"])
@pytest.mark.parametrize("name", INVERTERS)
def test_a_row_in_fp32_feels_its_neighbours_by_rounding_alone(name: str, path_name: str) -> None:
    path, x = from_scheduler(PATHS[path_name]), GAUSSIAN.sample(8).float()
    model = Denoiser(GAUSSIAN.along(path).network, path)
    together = last(invert(model, x, name, 20))
    for row in range(8):
        assert (
            float((last(invert(model, x[row : row + 1], name, 20))[0] - together[row]).norm() / together[row].norm())
            < 1e-6
        )


@pytest.mark.parametrize("name", INVERTERS)
def test_the_same_again_to_the_last_bit(name: str) -> None:
    model, x = Denoiser(Network(), from_scheduler(PATHS["sd15"])), images()
    first, second = (last(invert(model, x, name, 10, forward_first=2, rows=range(8), seed=1)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("path_name", SHORT)
@pytest.mark.parametrize("name", INVERTERS)
def test_calls_are_counted_right(name: str, path_name: str) -> None:
    network = Network()
    model = Denoiser(network, from_scheduler(PATHS[path_name]))
    last(invert(model, images(), name, 10))
    assert network.calls == calls(name, 10) or (name == "fixed_point" and 10 <= network.calls <= calls(name, 10))
    network.calls = 0
    last(invert(model, images(), name, 10, forward_first=4, rows=range(8)))
    assert network.calls == calls(name, 10, forward_first=4) or (name == "fixed_point" and network.calls <= 60)


def test_calls_of_an_iteration_are_bounded_by_its_option() -> None:
    network = Network()
    last(
        invert(Denoiser(network, from_scheduler(PATHS["sd15"])), images(), "fixed_point", 10, tolerance=0, iterations=4)
    )
    assert network.calls == calls("fixed_point", 10, tolerance=0, iterations=4) == 40


@pytest.mark.parametrize("name", INVERTERS)
def test_forward_noising_takes_the_place_of_the_first_steps(name: str) -> None:
    """On Gaussian data noised and inverted rows stay Gaussian: their spread at the noise end is that of the path, and so is another seed's."""
    path, x = from_scheduler(PATHS["flow"]), GAUSSIAN.sample(4000)
    model = GAUSSIAN.along(path)
    states = list(invert(model, x, name, 40, forward_first=20, rows=range(4000), seed=0))
    assert [s.t for s in states] == [0.0, *path.times(40).nodes[20:]]
    assert torch.equal(states[0].x, x)
    other = last(invert(model, x, name, 40, forward_first=20, rows=range(4000), seed=1))
    for noise in (states[-1].x, other):
        assert noise.mean(0).abs().max() < 0.08
        assert (noise.std(0) - 1).abs().max() < 0.08
    assert not torch.equal(states[-1].x, other)


def test_forward_noise_of_a_row_is_its_own() -> None:
    path = from_scheduler(PATHS["sd15"])
    model, x = GAUSSIAN.along(path), GAUSSIAN.sample(6)
    noised = list(invert(model, x, "ddim", 10, forward_first=2, rows=range(6), seed=5))[1].x
    some = list(invert(model, x[[4, 1]], "ddim", 10, forward_first=2, rows=[4, 1], seed=5))[1].x
    assert torch.equal(noised[[4, 1]], some)
    with pytest.raises(NoiseZooError, match="number of every row"):
        invert(model, x, "ddim", 10, forward_first=2, rows=[1, 2])


@pytest.mark.parametrize("name", INVERTERS)
@pytest.mark.parametrize("path_name", ["flow", "edm", "sd15"])
def test_states_are_captured_near_the_levels_asked_for(name: str, path_name: str) -> None:
    path = from_scheduler(PATHS[path_name])
    states = list(invert(MIXTURE.along(path), MIXTURE.sample(3), name, 40))
    end, caught = capture(iter(states), path, [2.0, -1.0, 2.0])
    assert torch.equal(end, states[-1].x)
    assert [s.t for s in caught] == [caught[0].t, caught[1].t, caught[0].t]
    for state, level in zip(caught, (2.0, -1.0), strict=False):
        assert path.log_snr(state.t) == pytest.approx(level, abs=0.5)
        assert any(torch.equal(state.x, other.x) for other in states)


def test_half_precision_input_is_walked_in_fp32() -> None:
    model = Denoiser(Network(), from_scheduler(PATHS["sd15"]))
    assert last(invert(model, images().half(), "ddim", 5)).dtype == torch.float32
    assert last(generate(model, images().half(), "ddim", 5)).dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "dddim", "steps": 10}, "no inverter is called 'dddim': did you mean 'ddim'"),
        ({"name": "heun", "steps": 10, "tolerance": 1e-3}, "heun has no option 'tolerance'"),
        ({"name": "fixed_point", "steps": 10, "tolerence": 1e-3}, "did you mean 'tolerance'"),
        ({"name": "ddim", "steps": 10, "forward_first": 10}, "between 0 and 9"),
        ({"name": "ddim", "steps": 0}, "inverter.steps is 0: give a whole number above 0"),
        ({"name": "ddim", "steps": None}, "inverter.steps is None"),
        ({"name": "ddim", "steps": 2.5}, "inverter.steps is 2.5"),
        ({"name": "ddim", "steps": 5, "forward_first": 1.5}, "between 0 and 4"),
        ({"name": "ddim", "steps": 5, "seed": "one"}, "inverter.seed is one"),
        ({"name": "ddim", "steps": 5, "variant": "author"}, "variant is 'author': did you mean 'authors'"),
        ({"name": "fixed_point", "steps": 5, "tolerance": -1e-3}, "tolerance is -0.001: give a number, 0 or more"),
        ({"name": "fixed_point", "steps": 5, "iterations": 0}, "iterations is 0: give a whole number above 0"),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_begins(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NoiseZooError, match=message) as refusal:
        check(**arguments)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", INVERTERS)
def test_every_inverter_has_a_configuration_that_runs(name: str) -> None:
    config = OmegaConf.to_container(OmegaConf.load(Path(__file__).parents[3] / "conf" / "inverter" / f"{name}.yaml"))
    assert isinstance(config, dict)
    assert config["name"] == name
    check(**{str(key): value for key, value in config.items()})
    walk = {str(key): value for key, value in config.items()} | {"steps": 4}
    assert len(list(invert(GAUSSIAN.along(from_scheduler(PATHS["sd15"])), GAUSSIAN.sample(2), **walk))) == 5
