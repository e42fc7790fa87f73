"""Inverters where the answer is known: the exact flow of a Gaussian, and a fine walk through a mixture."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor

from pipeline.inversion import INVERTERS, Times, from_scheduler, generate, invert, last
from tests.pipeline.inversion.analytic import GAUSSIAN, MIXTURE, PATHS, Mixture, flow_map

VARIANTS = [(name, {}) for name in INVERTERS if name not in ("ddim", "fixed_point")] + [
    ("ddim", {"variant": "authors"}),
    ("ddim", {"variant": "diffusers"}),
    ("fixed_point", {"tolerance": 1e-9, "iterations": 50}),
]
IDS = ["-".join([name, *options][:2]) + str(options.get("variant", "")) for name, options in VARIANTS]
FINE = {"flow": (80, 160, 320), "edm": (40, 80, 160), "euler_v": (40, 80, 160)}
DATA = {"gaussian": GAUSSIAN, "mixture": MIXTURE}


def distance(x: Tensor, y: Tensor) -> float:
    return float((x - y).norm() / y.norm())


@functools.cache
def truth(data: str, path_name: str) -> Tensor:
    """The noise end of the exact flow from sixteen draws of the data."""
    mixture, path = DATA[data], from_scheduler(PATHS[path_name])
    x = mixture.sample(16)
    if data == "gaussian":
        return flow_map(mixture, path, x, 0.0, path.times(10).nodes[-1])
    return last(invert(mixture.along(path), x, "heun", 1500))


def slope(counts: tuple[int, ...], errors: list[float]) -> float:
    """How fast the error falls with the number of steps, in powers of that number."""
    return math.log(errors[0] / errors[-1]) / math.log(counts[-1] / counts[0])


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("path_name", FINE)
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_order_is_the_one_stated(name: str, options: dict[str, object], path_name: str, data: str) -> None:
    path, x, counts = from_scheduler(PATHS[path_name]), DATA[data].sample(16), FINE[path_name]
    found = [last(invert(DATA[data].along(path), x, name, steps, **options)) for steps in counts]
    errors = [distance(x_end, truth(data, path_name)) for x_end in found]
    assert slope(counts, errors) == pytest.approx(INVERTERS[name].order, abs=0.3)
    assert errors[-1] < (0.05 if INVERTERS[name].order == 1 else 0.002)


@pytest.mark.parametrize("path_name", PATHS)
@pytest.mark.parametrize("name", INVERTERS)
def test_every_inverter_nears_the_truth_on_every_path(name: str, path_name: str) -> None:
    """Trained schedules are rough at their clean end, so no order is asked of them: only that a hundred steps come near."""
    path, x = from_scheduler(PATHS[path_name]), GAUSSIAN.sample(16)
    states = list(invert(GAUSSIAN.along(path), x, name, 100))
    exact = flow_map(GAUSSIAN, path, x, states[0].t, states[-1].t)
    assert len(states) == 101
    assert distance(states[-1].x, exact) < 0.1
    returned = last(generate(GAUSSIAN.along(path), states[-1].x, name, 100))
    assert distance(returned, x) < 0.1


@pytest.mark.parametrize("path_name", PATHS)
def test_bdia_retraces_itself_in_fp32(path_name: str) -> None:
    path, x = from_scheduler(PATHS[path_name]), MIXTURE.sample(16).float()
    states = list(invert(MIXTURE.along(path), x, "bdia", 50))
    assert states[-1].x.dtype == torch.float32
    returned = last(generate(MIXTURE.along(path), states[-1].x, "bdia", 50, second=states[-2].x))
    assert distance(returned, x) < 1e-5


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("path_name", PATHS)
def test_fixed_point_inverts_the_sampler_within_its_tolerance(path_name: str, tolerance: float) -> None:
    """Both ways round: an image returns through its noise, and a known noise is found again behind its image."""
    path = from_scheduler(PATHS[path_name])
    model, x = MIXTURE.along(path), MIXTURE.sample(16)
    noise = last(invert(model, x, "fixed_point", 50, tolerance=tolerance, iterations=100))
    assert distance(last(generate(model, noise, "fixed_point", 50)), x) < 10 * tolerance
    noise = torch.randn(16, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    image = last(generate(model, noise, "ddim", 50))
    # a missed step grows on its way to the noise as the flow spreads: by some factor for a flow, more where data are tight
    assert (
        distance(last(invert(model, image, "fixed_point", 50, tolerance=tolerance, iterations=100)), noise)
        < 100 * tolerance
    )


def test_estimate_misses_the_fixed_point_by_one_order_less_than_ddim() -> None:
    path = from_scheduler(PATHS["flow"])
    model, x = MIXTURE.along(path), MIXTURE.sample(16)

    def missed(name: str, steps: int) -> float:
        fixed = last(invert(model, x, "fixed_point", steps, tolerance=1e-10, iterations=100))
        return distance(last(invert(model, x, name, steps)), fixed)

    slopes = {name: slope((50, 200), [missed(name, 50), missed(name, 200)]) for name in ("ddim", "estimate")}
    assert slopes["ddim"] == pytest.approx(1, abs=0.3)
    assert slopes["estimate"] == pytest.approx(2, abs=0.3)


def test_a_step_of_no_length_changes_nothing() -> None:
    """With steps_offset 0 and set_alpha_to_one false the clean end and the first timestep are one level."""
    path = from_scheduler({**PATHS["ddpm"], "set_alpha_to_one": False})
    x = GAUSSIAN.sample(4)
    for name in INVERTERS:
        first, second = list(invert(GAUSSIAN.along(path), x, name, 10))[:2]
        assert path.sigma(first.t) == path.sigma(second.t)
        torch.testing.assert_close(first.x, second.x)


def test_walks_are_lazy() -> None:
    """A walk calls the network only as far as its states are read."""
    count = 0

    class Counting(Mixture):
        def posterior(self, x: Tensor, alpha: float, sigma: float) -> tuple[Tensor, Tensor]:
            nonlocal count
            count += 1
            return super().posterior(x, alpha, sigma)

    model = Counting(GAUSSIAN.means, GAUSSIAN.variances, GAUSSIAN.weights).along(from_scheduler(PATHS["flow"]))
    states = invert(model, GAUSSIAN.sample(2), "ddim", 10)
    next(states)
    next(states)
    assert count == 1


def test_times_can_be_given_by_hand() -> None:
    path = from_scheduler(PATHS["flow"])
    nodes = tuple((torch.linspace(0, 1, 201, dtype=torch.float64) ** 1.5).tolist())
    x = GAUSSIAN.sample(8)
    found = last(INVERTERS["heun"].invert(GAUSSIAN.along(path), x, Times(nodes, nodes[:-1])))
    assert distance(found, flow_map(GAUSSIAN, path, x, 0.0, 1.0)) < 1e-3
