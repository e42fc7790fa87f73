"""The one kind of error that a user is meant to read.

Every message is a single sentence that says what is wrong and what to type; the command line prints it and exits with a status that is not zero.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NoiseZooError(Exception):
    """Something the user can mend; the message says how."""


class StopsAllError(NoiseZooError):
    """An error that whatever is tried next would meet too, such as a full disk: a build stops at once."""


class UnfinishedError(NoiseZooError):
    """Units are left that could not be computed; other spaces may still be, unless it `stops_all`."""

    def __init__(self, message: str, *, stops_all: bool = False) -> None:
        super().__init__(message)
        self.stops_all = stops_all


def nearest(word: str, known: Iterable[str]) -> str:
    """A tail for an error message that offers the nearest known words, or lists them all when none is near."""
    names = sorted(set(known))
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(f"'{name}'" for name in close) + "?"
    if not names:
        return "none is known here."
    return "known are " + ", ".join(names) + "."
