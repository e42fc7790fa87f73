"""What the user sees while a build runs: a live table on a terminal, plain lines elsewhere, and the same in a log file beside the zoo."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from noisezoo.secrets import hidden
from pipeline import logs

LOG = logging.getLogger("noisezoo")
CONSOLE = Console(stderr=True)
LINE_SECONDS = 10.0
"""Time between two plain lines of one space."""


def say(message: str) -> None:
    """One line to the user, and to the log."""
    message = hidden(message)
    CONSOLE.print(message, highlight=False, markup=False, soft_wrap=True)
    LOG.info(message)


@contextmanager
def log_file(folder: str) -> Iterator[None]:
    """Keep a log in `folder`, a path or an address, for as long as the context lasts."""
    handler = logs.handler(folder)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        handler.close()


class Board:
    """Rows done and left for each named piece of work, with rate and time left."""

    def __init__(self, totals: Mapping[str, int], done: Mapping[str, int], unit: str = "rows") -> None:
        self.totals = dict(totals)
        self.unit = unit
        self.done = {name: done.get(name, 0) for name in totals}
        self._before = dict(self.done)
        self._begun: dict[str, float] = {}
        self._made = time.monotonic()
        self._last: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        if CONSOLE.is_terminal and sys.stderr.isatty():
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=CONSOLE,
            )

    def __enter__(self) -> Board:
        if self._bars:
            self._bars.start()
            for name, total in self.totals.items():
                self._tasks[name] = self._bars.add_task(name, total=total, completed=self.done[name], rate="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()
        for name in self._begun:
            LOG.info(self._line(name))
            if not self._bars and kind is None:
                CONSOLE.print(self._line(name), highlight=False, soft_wrap=True)

    def add(self, name: str, rows: int) -> None:
        """So many more rows of `name` are computed."""
        now = time.monotonic()
        # Work on a name began when the last thing before it was heard of: its first rows took time too.
        self._begun.setdefault(name, max([self._made, *self._last.values()]))
        self._told.setdefault(name, now)
        self._last[name] = now
        self.done[name] += rows
        if self._bars:
            self._bars.update(self._tasks[name], completed=self.done[name], rate=f"{self.rate(name):.1f} {self.unit}/s")
        elif now - self._told[name] >= LINE_SECONDS:
            self._told[name] = now
            say(self._line(name))

    def rate(self, name: str) -> float:
        """Rows a second, from when this run began on `name` to when it last heard of it."""
        seconds = self._last.get(name, 0.0) - self._begun.get(name, 0.0)
        return (self.done[name] - self._before[name]) / seconds if seconds > 0 else 0.0

    def _line(self, name: str) -> str:
        rate = self.rate(name)
        left = self.totals[name] - self.done[name]
        end = f", {duration(left / rate)} left" if rate > 0 and left > 0 else ""
        return f"{name}: {self.done[name]}/{self.totals[name]} {self.unit}, {rate:.1f} {self.unit}/s{end}"


def duration(seconds: float) -> str:
    """`1:02:03`, or `2:03` under an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
