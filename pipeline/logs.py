"""The log beside a zoo, on a disk or in an object store; no secret of the environment gets into it."""

from __future__ import annotations

import logging
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from noisezoo.errors import NoiseZooError
from noisezoo.secrets import hidden
from noisezoo.store import Store

SECONDS = 30.0
"""Between two copies of a log to an object store."""


class Discreet(logging.Formatter):
    """A formatter that blots out credentials, in messages and in traces."""

    def format(self, record: logging.LogRecord) -> str:
        return hidden(super().format(record))


class StoreHandler(logging.Handler):
    """Keeps a log as one object, put again as a whole now and then: an object cannot be appended to."""

    def __init__(self, store: Store, name: str) -> None:
        super().__init__()
        self.store = store
        self._object = name
        self._lines: list[str] = []
        self._put = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
        if time.monotonic() - self._put > SECONDS:
            self.flush()

    def flush(self) -> None:
        # A build must not fail for its log.
        with suppress(Exception):
            if self._lines:
                self.store.write(self._object, ("\n".join(self._lines) + "\n").encode())
        self._put = time.monotonic()

    def close(self) -> None:
        self.flush()
        super().close()


def handler(folder: str) -> logging.Handler:
    """The log of this run: `noisezoo.log` on a disk, where runs follow one another, and in an object store one object a run."""
    found: logging.Handler
    if "://" in folder:
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        found = StoreHandler(Store(folder), f"logs/{now}-{socket.gethostname()}-{os.getpid()}.log")
    else:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            found = logging.FileHandler(Path(folder) / "noisezoo.log", encoding="utf-8")
        except OSError as e:
            raise NoiseZooError(
                f"Cannot write in {folder} ({e.strerror}): give a folder you may write to, with dir=…."
            ) from e
    found.setFormatter(Discreet("%(asctime)s %(levelname)s %(message)s"))
    return found
