"""The page says what the results say."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from bench.harness import Result
from bench.page import ROOT, draw, number, page

FACTS: dict[str, Any] = {
    "cores": 2, "architecture": "x86_64", "instructions": "AVX512", "memory_gb": 24.0, "accelerator": None, "python": "3", "torch": "2",
    "diffusers": "0", "transformers": "5", "numpy": "2", "zarr": "3", "scikit-learn": "1",
}  # fmt: skip
RESULTS = [
    Result("engine.diffusion", "a build", "a loop", "1", 0.97, 0.981, 0.97, 0.99, 5, {"idle share": 0.0123}, 60.0, 1.0),
    Result("store.write", "units", "np.save", "", None, 0.13, 0.12, 0.15, 8, {}, 10.0, 5.2),
    Result("start.help", "help", "0.7 s", "", 1.0, 0.5, 0.4, 0.6, 7, {}, 10.0, 1.0),
]


def test_the_page_shows_every_ratio_with_its_target_and_whether_it_is_met() -> None:
    words = (ROOT / "bench" / "page.md").read_text()
    text = page(RESULTS, FACTS, words)
    assert "| **0.981** | 0.970 … 0.990 | 0.97, met |" in text
    assert "| **0.500** | 0.400 … 0.600 | 1, **missed** |" in text
    assert "idle share 0.0123" in text
    assert "up to 5 processes" in text
    assert "{{" not in text
    assert text.count("Not measured in this run.") == 3


def test_the_picture_has_a_point_for_each_case() -> None:
    root = ET.fromstring(draw(RESULTS))
    points = [float(one.attrib["cx"]) for one in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert len(points) == 3
    assert points[1] < points[2] < points[0]


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.98765, "0.988"), (12.34, "12.3"), (1234.5, "1,234"), (0, "0"), (2.5e-7, "2.5e-07"), (float("inf"), "inf")],
)
def test_numbers_have_three_figures(value: float, said: str) -> None:
    assert number(value) == said
