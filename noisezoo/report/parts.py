"""What a page is made of: sections with a finding, figures and tables; and how numbers are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

COLOURS = 8
GREYS = 4


@dataclass(frozen=True)
class Key:
    """A line of a figure's legend."""

    name: str
    colour: str


@dataclass(frozen=True)
class Figure:
    """An SVG with its caption; the keys say which colour is which."""

    svg: str
    caption: str
    keys: Sequence[Key] = ()


@dataclass(frozen=True)
class Cell:
    """What a table shows, and the value it sorts by and writes to CSV."""

    text: str
    value: Any = None
    css: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns; `name` names the CSV."""

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    folded: bool = False
    """Long tables open on a click."""


@dataclass
class Section:
    """One experiment: its question, what was found, how, and what shows it."""

    id: str
    title: str
    finding: str
    method: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pictures: list[Mapping[str, str]] = field(default_factory=list)
    short: str = ""
    """The finding in a few words, for the list of sections."""


def number(value: float | None, digits: int = 3) -> Cell:
    """A number, or a dash."""
    if value is None:
        return Cell("–")
    return Cell(f"{value:.{digits}f}".replace("-", "−"), value)


def percent(value: float | None, digits: int = 1) -> Cell:
    """A share as per cent."""
    return Cell("–") if value is None else Cell(f"{100 * value:.{digits}f}\u00a0%".replace("-", "−"), value)


def interval(pair: Sequence[float | None] | None, digits: int = 3, scale: float = 1.0) -> Cell:
    """Two ends of an interval."""
    if not pair or pair[0] is None or pair[1] is None:
        return Cell("–")
    low, high = (f"{scale * (v or 0.0):.{digits}f}".replace("-", "−") for v in pair)
    return Cell(f"{low} to {high}" if "−" in high + low else f"{low} – {high}", pair[0])


def text(value: object) -> Cell:
    """Words, to the left; or a count."""
    return Cell(f"{value:,}", value) if isinstance(value, int) else Cell(str(value), value, "words")


def colours(spaces: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """A colour for each space, the same in every figure; controls are grey."""
    found: dict[str, str] = {}
    kinds = ("noise", "encoder", "control")
    seen = {"control": 0, "other": 0}
    for name, space in sorted(spaces.items(), key=lambda pair: kinds.index(pair[1]["kind"])):
        group = "control" if space["kind"] == "control" else "other"
        number = seen[group]
        seen[group] += 1
        found[name] = f"g{number % GREYS}" if group == "control" else f"c{number % COLOURS}"
    return found


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
