"""Clusters that outlive a stage: the next stage of the same command goes on with the workers of the last, instead of starting or queueing for new ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

_OPEN: dict[str, Any] = {}
_CLOSING = ExitStack()


def kept(name: str, start: Callable[[], AbstractContextManager[Any]]) -> Any:
    """The client of the cluster of this name, started if it is not there; `name` says all that it was started with."""
    client = _OPEN.get(name)
    if client is None or client.status != "running":
        client = _OPEN[name] = _CLOSING.enter_context(start())
    return client


def close() -> None:
    """End all of them; called once, when the command ends."""
    _OPEN.clear()
    _CLOSING.close()
