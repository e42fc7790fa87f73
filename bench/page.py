"""Writes docs/benchmarks.md from the results: `python -m bench.page`.

The words around the figures are in bench/page.md; this fills in the tables and draws the ratios as an SVG beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from bench.harness import Result, from_json

ROOT = Path(__file__).resolve().parents[1]
PAGE, PICTURE = "benchmarks.md", "img/benchmarks.svg"
SUBJECTS = ("engine", "inversion", "store", "study", "start", "scaling")


def number(value: float) -> str:
    """Three figures, without an exponent where one can read it so."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-3 <= abs(value) < 1e5:
        return f"{value:.1e}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def table(results: Iterable[Result]) -> str:
    """One line a case, and below it what else was measured."""
    lines = ["| case | ours | against | ratio | quartiles | target |", "| --- | --- | --- | --- | --- | --- |"]
    for one in results:
        target = "–" if one.target is None else f"{one.target:g}, {'met' if one.met else '**missed**'}"
        spread = "–" if one.rounds == 1 else f"{number(one.low)} … {number(one.high)}"
        rival = f"{one.rival}{f' (limit: {one.limit})' if one.limit else ''}"
        lines.append(f"| `{one.name}` | {one.what} | {rival} | **{number(one.ratio)}** | {spread} | {target} |")
    return "\n".join(lines)


def details(results: Iterable[Result]) -> str:
    """The other figures of each case, a line each."""
    told = [
        f"- `{one.name}`: " + "; ".join(f"{name} {number(value)}" for name, value in one.figures.items())
        for one in results
        if one.figures
    ]
    return "\n".join(told)


def draw(results: Sequence[Result]) -> str:
    """Ratios on a logarithmic axis with their quartiles; the line at 1 is the rival, ticks are targets."""
    left, right, row, top = 210, 700, 20, 30
    low = min(0.1, *(one.low for one in results))
    high = max(10.0, *(one.high for one in results))
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))

    def x(value: float) -> float:
        return left + (right - left) * (math.log10(value) - first) / (last - first)

    height = top + row * len(results) + 26
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="720" height="{height}" fill="#fff"/>',
        '<text x="10" y="16" font-weight="bold">ratio to the rival in the same run; right of 1 is ahead</text>',
    ]
    for power in range(first, last + 1):
        at = x(10.0**power)
        colour = "#333" if power == 0 else "#ddd"
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top - 6}" y2="{height - 22}" stroke="{colour}"/>')
        parts.append(f'<text x="{at:.1f}" y="{height - 8}" text-anchor="middle">{10.0**power:g}</text>')
    for i, one in enumerate(results):
        y = top + row * i + 8
        fill = "#2a6f97" if one.met else "#c1440e"
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(one.name)}</text>')
        parts.append(
            f'<line x1="{x(one.low):.1f}" x2="{x(one.high):.1f}" y1="{y}" y2="{y}" stroke="{fill}" stroke-width="3" opacity="0.4"/>'
        )
        parts.append(f'<circle cx="{x(one.ratio):.1f}" cy="{y}" r="4" fill="{fill}"/>')
        if one.target is not None:
            at = x(one.target)
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y - 7}" y2="{y + 7}" stroke="#000" stroke-width="1.5"/>'
            )
    return "\n".join([*parts, "</svg>"]) + "\n"


def page(results: Sequence[Result], facts: dict[str, Any], words: str) -> str:
    """The page: the words, with each `{{subject}}` replaced by its tables."""
    for subject in SUBJECTS:
        mine = [one for one in results if one.name.split(".")[0] == subject]
        missing = "Not measured in this run."
        words = words.replace(f"{{{{{subject}}}}}", f"{table(mine)}\n\n{details(mine)}".rstrip() if mine else missing)
    busiest = max((one.load for one in results), default=0.0)
    machine = (
        f"{facts['cores']} cores ({facts['architecture']}, {facts['instructions']}), {facts['memory_gb']:g} GB of memory, "
        f"{facts['accelerator'] or 'no accelerator'}; Python {facts['python']}, torch {facts['torch']}, diffusers {facts['diffusers']}, "
        f"transformers {facts['transformers']}, NumPy {facts['numpy']}, Zarr {facts['zarr']}, scikit-learn {facts['scikit-learn']}. "
        f"While it ran, up to {busiest:.0f} processes wanted one of the {facts['cores']} cores."
    )
    return words.replace("{{machine}}", machine).replace("{{picture}}", f"![All ratios]({PICTURE})")


def main() -> None:
    kept = json.loads((ROOT / "bench" / "results" / "latest.json").read_text())
    results = [from_json(facts) for facts in kept["results"]]
    docs = ROOT / "docs"
    (docs / PAGE).write_text(page(results, kept["machine"], (ROOT / "bench" / "page.md").read_text()))
    (docs / PICTURE).write_text(draw(results))
    print(docs / PAGE)


if __name__ == "__main__":
    main()
