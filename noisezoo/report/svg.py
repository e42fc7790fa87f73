"""Charts as inline SVG: drawn in the page's own colours and type, so that they follow its theme, stay sharp in print and need nothing from anywhere.

Every chart is about as wide as a phone, so that its labels keep their size there; a page sets several side by side. Series take their colour from the classes c0, c1, …
of the page's style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 10, 40
LABEL_WIDTH = 122
LETTER = 6.6
"""Width of a letter, about."""
ROW = 24


@dataclass(frozen=True)
class Line:
    """One curve: its name, its colour class, and its points; `low` and `high` draw a band around it."""

    name: str
    colour: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    marks: bool = False


@dataclass(frozen=True)
class Dot:
    """A value with its interval, on a line of its own."""

    name: str
    colour: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Scale:
    """From values to places along an axis, linear or logarithmic."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value lies, held inside the frame."""
        low, high, v = (math.log10(max(x, 1e-12)) if self.log else x for x in (self.low, self.high, value))
        share = (v - low) / (high - low) if high > low else 0.5
        return round(self.start + min(max(share, -0.02), 1.02) * (self.stop - self.start), 1)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two values: steps of 1, 2, 2.5 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def label(value: float) -> str:
    """A tick's number, short."""
    if abs(value) >= 1000 and value == int(value):
        return f"{int(value):,}"
    return f"{value:.10g}".replace("-", "−")


def dots(rows: Sequence[Dot], *, title: str, axis: str, span: tuple[float, float], mark: float | None = None) -> str:
    """Values with intervals, one line each, and a vertical mark to compare with."""
    height = TOP + ROW * len(rows) + BOTTOM
    most = 17 if max(len(row.name) for row in rows) <= 17 else 26
    room = min(LABEL_WIDTH, 12 + LETTER * max(len(row.name) for row in rows)) if most == 17 else 12 + LETTER * most
    x = Scale(*span, round(room + 8), WIDTH - RIGHT - 4)
    bottom = height - BOTTOM
    parts = _x_axis(x, ticks(*span, 4), bottom, axis, TOP)
    if mark is not None:
        parts.append(f'<line class="mark" x1="{x(mark)}" x2="{x(mark)}" y1="{TOP}" y2="{bottom}"/>')
    for i, row in enumerate(rows):
        y = TOP + ROW * (i + 0.5)
        parts.append(
            f'<text class="name" x="{room:.0f}" y="{y + 4}" text-anchor="end">{escape(_short(row.name, most))}</text>'
        )
        if row.low is not None and row.high is not None:
            parts.append(f'<line class="whisker {row.colour}" x1="{x(row.low)}" x2="{x(row.high)}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<circle class="dot {row.colour}" cx="{x(row.value)}" cy="{y}" r="4.5"><title>{escape(row.name)}: {row.value:.4g}</title></circle>'
        )
    return _svg(parts, height, title)


def lines(
    curves: Sequence[Line],
    *,
    title: str,
    x_axis: str,
    y_axis: str,
    log: bool = False,
    x_span: tuple[float, float] | None = None,
    y_span: tuple[float, float] | None = None,
    mark: float | None = None,
    diagonal: bool = False,
    band: Line | None = None,
) -> str:
    """Curves over one axis; `mark` is a horizontal line, `diagonal` the line y = x, `band` a region to be inside of."""
    drawn = [*curves, *([band] if band else [])]
    xs = [v for c in drawn for v in c.x]
    ys = [v for c in drawn for part in (c.y, c.low or (), c.high or ()) for v in part if v is not None]
    x_span = x_span or (min(xs), max(xs))
    y_span = y_span or padded(
        min([*ys, *([mark] if mark is not None else [])]), max([*ys, *([mark] if mark is not None else [])])
    )
    x = Scale(*x_span, LEFT, WIDTH - RIGHT, log)
    y = Scale(*y_span, HEIGHT - BOTTOM, TOP)
    parts = _frame(x, y, _log_ticks(xs) if log else ticks(*x_span), ticks(*y_span), x_axis, y_axis)
    if band and band.low and band.high:
        parts.append(f'<polygon class="expected" points="{_outline(x, y, band)}"/>')
    if mark is not None:
        parts.append(f'<line class="mark" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(mark)}" y2="{y(mark)}"/>')
    if diagonal:
        low, high = max(x_span[0], y_span[0]), min(x_span[1], y_span[1])
        parts.append(f'<line class="mark" x1="{x(low)}" y1="{y(low)}" x2="{x(high)}" y2="{y(high)}"/>')
    for curve in curves:
        if curve.low and curve.high:
            parts.append(f'<polygon class="band {curve.colour}" points="{_outline(x, y, curve)}"/>')
    for curve in curves:
        there = [(x(a), y(b)) for a, b in zip(curve.x, curve.y, strict=True) if b is not None]
        points = " ".join(f"{a},{b}" for a, b in there)
        parts.append(
            f'<polyline class="line {curve.colour}" points="{points}"><title>{escape(curve.name)}</title></polyline>'
        )
        if curve.marks:
            parts += [f'<circle class="dot {curve.colour}" cx="{a}" cy="{b}" r="3"/>' for a, b in there]
    return _svg(parts, HEIGHT, title)


def scatter(
    points: Sequence[tuple[str, float, float]], *, title: str, x_axis: str, y_axis: str, colour: str = "c0"
) -> str:
    """Named points in a square of equal axes with its diagonal; names show on hovering."""
    low, high = padded(min(min(x, y) for _, x, y in points), max(max(x, y) for _, x, y in points))
    height = 320
    x, y = Scale(low, high, LEFT, WIDTH - RIGHT), Scale(low, high, height - BOTTOM, TOP)
    marks = ticks(low, high)
    parts = _frame(x, y, marks, marks, x_axis, y_axis)
    parts.append(f'<line class="mark" x1="{x(low)}" y1="{y(low)}" x2="{x(high)}" y2="{y(high)}"/>')
    for name, a, b in points:
        parts.append(
            f'<circle class="dot {colour}" cx="{x(a)}" cy="{y(b)}" r="4"><title>{escape(name)}: {a:.3f}, {b:.3f}</title></circle>'
        )
    return _svg(parts, height, title)


def steps(
    edges: Sequence[float], shares: Sequence[float], expected: Sequence[float], *, title: str, axis: str, colour: str
) -> str:
    """A histogram, and the outline of the one to expect."""
    x = Scale(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    top = max(*shares, *expected) * 1.05
    y = Scale(0, top, HEIGHT - BOTTOM, TOP)
    parts = _frame(x, y, ticks(edges[0], edges[-1]), ticks(0, top), axis, "share of rows")
    for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
        parts.append(
            f'<rect class="bar {colour}" x="{x(low)}" width="{max(x(high) - x(low) - 0.6, 0.4):.1f}" y="{y(share)}" height="{max(y(0) - y(share), 0):.1f}"/>'
        )
    path = [f"{x(e)},{y(v)}" for low, high, v in zip(edges[:-1], edges[1:], expected, strict=True) for e in (low, high)]
    parts.append(f'<polyline class="law" points="{" ".join(path)}"/>')
    return _svg(parts, HEIGHT, title)


NUMBER_WIDTH = 32
"""What a cell must measure for its number to stand clear of the next; in smaller ones the shade alone speaks."""


def matrix(names: Sequence[str], values: Sequence[Sequence[float | None]], *, title: str) -> str:
    """A square of numbers in [0, 1], darker where larger."""
    side = (WIDTH - LABEL_WIDTH - RIGHT) / len(names)
    height = TOP + side * len(names) + 78
    parts = []
    for i, row in enumerate(values):
        middle = TOP + side * (i + 0.5)
        parts.append(
            f'<text class="name" x="{LABEL_WIDTH}" y="{middle + 4:.1f}" text-anchor="end">{escape(_short(names[i]))}</text>'
        )
        across = LABEL_WIDTH + 6 + side * (i + 0.5)
        foot = TOP + side * len(names) + 12
        parts.append(
            f'<text class="name" transform="translate({across:.1f},{foot:.1f}) rotate(-45)" text-anchor="end">{escape(_short(names[i], 13))}</text>'
        )
        for j, value in enumerate(row):
            left, upper = LABEL_WIDTH + 6 + side * j, TOP + side * i
            if value is None:
                continue
            strength = min(max(value, 0.0), 1.0)
            parts.append(
                f'<rect class="cell" x="{left + 1:.1f}" y="{upper + 1:.1f}" width="{side - 2:.1f}" height="{side - 2:.1f}" rx="3"'
                f' style="fill-opacity:{0.06 + 0.84 * strength:.2f}"/>'
            )
            if side > NUMBER_WIDTH:
                ink = "on" if strength > 0.5 else "name"
                parts.append(
                    f'<text class="{ink}" x="{left + side / 2:.1f}" y="{middle + 4:.1f}" text-anchor="middle">{value:.2f}</text>'
                )
    return _svg(parts, height, title)


def padded(low: float, high: float) -> tuple[float, float]:
    """A little more room than the values take."""
    room = (high - low) * 0.06 or max(abs(high) * 0.05, 0.01)
    return low - room, high + room


def _short(name: str, most: int = 17) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _log_ticks(values: Sequence[float]) -> list[float]:
    """The values themselves where they are few, powers of two or of four else."""
    found = sorted(set(values))
    if len(found) <= 5:
        return found
    powers = [2.0**i for i in range(math.ceil(math.log2(found[0])), math.floor(math.log2(found[-1])) + 1)]
    return powers if len(powers) <= 5 else powers[:: 2 if len(powers) < 10 else 3]


def _outline(x: Scale, y: Scale, curve: Line) -> str:
    assert curve.low is not None
    assert curve.high is not None
    there = [(x(a), y(b)) for a, b in zip(curve.x, curve.high, strict=True)]
    back = [(x(a), y(b)) for a, b in zip(curve.x, curve.low, strict=True)][::-1]
    return " ".join(f"{a},{b}" for a, b in [*there, *back])


def _x_axis(x: Scale, marks: Sequence[float], bottom: float, axis: str, top: float) -> list[str]:
    parts = []
    for value in marks:
        parts.append(f'<line class="grid" x1="{x(value)}" x2="{x(value)}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x(value)}" y="{bottom + 16}" text-anchor="middle">{label(value)}</text>')
    parts.append(
        f'<text class="axis" x="{(x.start + x.stop) / 2}" y="{bottom + 34}" text-anchor="middle">{escape(axis)}</text>'
    )
    return parts


def _frame(
    x: Scale, y: Scale, x_marks: Sequence[float], y_marks: Sequence[float], x_axis: str, y_axis: str
) -> list[str]:
    bottom, top = y.start, y.stop
    parts = _x_axis(x, x_marks, bottom, x_axis, top)
    for value in y_marks:
        parts.append(f'<line class="grid" x1="{x.start}" x2="{x.stop}" y1="{y(value)}" y2="{y(value)}"/>')
        parts.append(f'<text class="tick" x="{x.start - 6}" y="{y(value) + 4}" text-anchor="end">{label(value)}</text>')
    middle = (bottom + top) / 2
    parts.append(
        f'<text class="axis" transform="translate(10,{middle}) rotate(-90)" text-anchor="middle">{escape(y_axis)}</text>'
    )
    return parts


def _svg(parts: Sequence[str], height: float, title: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title, quote=True)}">{"".join(parts)}</svg>'
