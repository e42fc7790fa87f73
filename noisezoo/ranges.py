"""Byte ranges of files, many at once: by `pread` on a disk, over HTTP from the Hub, through fsspec elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from noisezoo import hub
from noisezoo.errors import NoiseZooError
from noisezoo.store import Store

AT_ONCE = 16
"""Requests under way to a remote store."""
LARGE = 1 << 20
"""Bytes from which a range of a file of the Hub is worth a connection of its own."""
A = TypeVar("A")
B = TypeVar("B")


class Range(NamedTuple):
    """A run of bytes of one file, and where to put them."""

    name: str
    start: int
    out: memoryview


def read_into(store: Store, wanted: Sequence[Range]) -> None:
    """Fill every range."""
    if store.is_local:
        _pread(store, wanted)
        return

    def fill(one: Range) -> None:
        if store.fs.protocol == "hf" and len(one.out) >= LARGE:
            hub.get_into(store.fs, store.path(one.name), one.start, one.out)
            return
        data = get(store, one.name, one.start, one.start + len(one.out))
        if len(data) != len(one.out):
            raise _cut(store, one.name)
        one.out[:] = data

    at_once(fill, wanted)


def tails(store: Store, names: Sequence[str], count: int) -> list[bytes | None]:
    """The last `count` bytes of each file; None for a file that is not there."""

    def tail(name: str) -> bytes | None:
        try:
            return _tail_on_disk(store.path(name), count) if store.is_local else get(store, name, -count, None)
        except FileNotFoundError:
            return None

    return [tail(name) for name in names] if store.is_local else at_once(tail, names)


def get(store: Store, name: str, start: int = 0, stop: int | None = None) -> bytes:
    """Some bytes of one remote file, all by default, the last ones where `start` is negative."""
    fs, path = store.fs, store.path(name)
    if fs.protocol == "hf":
        return hub.get(fs, path, start, stop)
    exactly: dict[str, Any] = {} if fs.async_impl else {"cache_type": "none"}
    data: bytes = fs.cat_file(path, start=start or None, end=stop, **exactly)
    return data


def at_once(act: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """The results of `act`, in order, `AT_ONCE` of them under way."""
    if len(items) < 2:
        return [act(item) for item in items]
    with ThreadPoolExecutor(min(AT_ONCE, len(items)), "read") as pool:
        return list(pool.map(act, items))


def _pread(store: Store, wanted: Sequence[Range]) -> None:
    """From the disk straight to where the bytes belong; ranges of one file come one after another, so it is opened once."""
    name, descriptor = "", -1
    try:
        for one in wanted:
            if one.name != name:
                if descriptor >= 0:
                    os.close(descriptor)
                    descriptor = -1
                descriptor = os.open(store.path(one.name), os.O_RDONLY)
                name = one.name
            done = 0
            while done < len(one.out):
                count = os.preadv(descriptor, [one.out[done:]], one.start + done)
                if not count:
                    raise _cut(store, one.name)
                done += count
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _tail_on_disk(path: str, count: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - count))
        return file.read()


def _cut(store: Store, name: str) -> NoiseZooError:
    return NoiseZooError(f"{name} is cut short: type `noisezoo verify {store.url}`, then fetch or build it again.")
