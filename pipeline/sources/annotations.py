"""CelebA's tables in every dress: `list_*.txt` with a count line and double spaces, or without, and Kaggle's CSV.

CRLF, a byte-order mark and an empty last line do no harm.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from noisezoo.errors import NoiseZooError

_AGAIN = "download it again"
_BLOCK = 10_000
"""Lines parsed at once."""


@dataclass(frozen=True)
class Numbers:
    """A table of whole numbers with a name for each row."""

    names: list[str]
    columns: list[str]
    """Empty where the file has no header."""
    values: np.ndarray
    """(rows, columns) int32."""


def read_numbers(path: str) -> Numbers:
    """The table at `path`; one sentence naming it where it is not whole."""
    with open(path, "rb") as file:
        head = file.read(1024)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html")):
        raise NoiseZooError(
            f"{path} is a web page, not a table, which is what a file host sends when its limit is reached: {_AGAIN}."
        )
    try:
        with open(path, encoding="utf-8-sig") as text:
            return _read(path, (line for line in text if not line.isspace()))
    except UnicodeDecodeError as e:
        raise NoiseZooError(f"{path} is not a text file: {_AGAIN}.") from e


def _read(path: str, lines: Iterator[str]) -> Numbers:
    comma = path.endswith(".csv")
    first = next(lines, "")
    count: int | None = None
    columns: list[str] = []
    if comma:
        columns = [word.strip() for word in first.split(",")[1:]]
    elif first.strip().isdigit():
        count = int(first)
        columns = next(lines, "").split()
    else:
        lines = chain([first] if first else [], lines)
    names: list[str] = []
    blocks: list[np.ndarray] = []
    width = len(columns)
    # In blocks, because the words of all lines together would take ten times the memory of their numbers.
    for block in iter(lambda: list(islice(lines, _BLOCK)), []):
        pairs = [line.split("," if comma else None, 1) for line in block]
        width = width or len(pairs[0][-1].split())
        values = _numbers(" ".join(pair[1] for pair in pairs if len(pair) == 2).replace(",", " "))
        if values is None or values.size != len(pairs) * width:
            raise NoiseZooError(_bad_line(path, pairs, width, len(names)))
        names += [pair[0] for pair in pairs]
        blocks.append(values.reshape(-1, width).astype(np.int32))
    if count is not None and count != len(names):
        raise NoiseZooError(
            f"{path} says that it has {count:,} rows but holds {len(names):,}: the download was cut short, {_AGAIN}."
        )
    if not names:
        raise NoiseZooError(f"{path} has no rows: {_AGAIN}.")
    return Numbers(names, columns, np.concatenate(blocks))


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


def _bad_line(path: str, pairs: list[list[str]], width: int, before: int) -> str:
    for i, pair in enumerate(pairs):
        words = pair[1].replace(",", " ").split() if len(pair) == 2 else []
        if len(words) != width or not all(word.lstrip("+-").isdigit() for word in words):
            return f"{path} is damaged at row {before + i + 1:,} ('{pair[0][:40]}'), where {width} whole numbers should stand: {_AGAIN}."
    return f"{path} is damaged: {_AGAIN}."
