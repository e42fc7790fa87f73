"""CelebA's tables in every dress: `list_*.txt` with a count line and double spaces, or without, and Kaggle's CSV.

CRLF, a byte-order mark and an empty last line do no harm.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

import numpy as np

from noisezoo.errors import NoiseZooError

_AGAIN = "download it again"


@dataclass(frozen=True)
class Numbers:
    """A table of whole numbers with a name for each row."""

    names: list[str]
    columns: list[str]
    """Empty where the file has no header."""
    values: np.ndarray
    """(rows, columns) int64."""


def read_numbers(path: str) -> Numbers:
    """The table at `path`; one sentence naming it where it is not whole."""
    with open(path, "rb") as file:
        data = file.read()
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html")):
        raise NoiseZooError(
            f"{path} is a web page, not a table, which is what a file host sends when its limit is reached: {_AGAIN}."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise NoiseZooError(f"{path} is not a text file: {_AGAIN}.") from e
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise NoiseZooError(f"{path} is empty: {_AGAIN}.")
    comma = path.endswith(".csv")
    count: int | None = None
    columns: list[str] = []
    if comma:
        columns = lines.pop(0).split(",")[1:]
    elif lines[0].strip().isdigit():
        count = int(lines.pop(0))
        columns = lines.pop(0).split() if lines else []
    if count is not None and count != len(lines):
        raise NoiseZooError(
            f"{path} says that it has {count:,} rows but holds {len(lines):,}: the download was cut short, {_AGAIN}."
        )
    if not lines:
        raise NoiseZooError(f"{path} has no rows: {_AGAIN}.")
    pairs = [(line.split(",", 1) if comma else line.split(None, 1)) for line in lines]
    width = len(columns) or len(pairs[0][-1].split())
    rest = " ".join(pair[1] for pair in pairs if len(pair) == 2)
    values = _numbers(rest.replace(",", " ") if comma else rest)
    if values is None or values.size != len(lines) * width:
        raise NoiseZooError(_bad_line(path, pairs, width))
    return Numbers([pair[0] for pair in pairs], [c.strip() for c in columns], values.reshape(len(lines), width))


def match(table: Numbers, path: str, names: list[str], other: str) -> np.ndarray:
    """The values of `table` in the order of `names`, which are the rows of the file `other`; one sentence where a row is missing."""
    if table.names == names:
        return table.values
    place = {name: i for i, name in enumerate(table.names)}
    missing = [name for name in names if name not in place]
    if missing:
        raise NoiseZooError(
            f"{path} lacks {len(missing):,} of the {len(names):,} rows of {os.path.basename(other)} (first: {missing[0]}): it was cut short, {_AGAIN}."
        )
    return table.values[[place[name] for name in names]]


def _numbers(text: str) -> np.ndarray | None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.fromstring(text, np.int64, sep=" ")
        except (ValueError, DeprecationWarning):
            return None


def _bad_line(path: str, pairs: list[list[str]], width: int) -> str:
    for i, pair in enumerate(pairs):
        words = pair[1].replace(",", " ").split() if len(pair) == 2 else []
        if len(words) != width or not all(word.lstrip("+-").isdigit() for word in words):
            return f"{path} is damaged at row {i + 1:,} ('{pair[0][:40]}'), where {width} whole numbers should stand: {_AGAIN}."
    return f"{path} is damaged: {_AGAIN}."
