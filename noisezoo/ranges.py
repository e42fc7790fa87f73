"""Byte ranges of files, many at once: by `pread` on a disk, by one HTTP request each from the Hub, through fsspec elsewhere.

The Hub's own file system asks for a listing of the folder before each file and reads megabytes ahead; a range of a file at a known place needs neither.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from noisezoo.errors import NoiseZooError
from noisezoo.store import Store

AT_ONCE = 16
"""Requests under way to a remote store."""
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
        return _from_hub(fs, path, start, stop)
    exactly: dict[str, Any] = {} if fs.async_impl else {"cache_type": "none"}
    data: bytes = fs.cat_file(path, start=start or None, end=stop, **exactly)
    return data


def _from_hub(fs: Any, path: str, start: int, stop: int | None) -> bytes:
    # Not at the top: it takes longer to import than all of noisezoo.
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

    at = fs.resolve_path(path)
    url = hf_hub_url(at.repo_id, at.path_in_repo, repo_type=at.repo_type, revision=at.revision, endpoint=fs.endpoint)
    headers = build_hf_headers(token=fs.token)
    if start or stop is not None:
        headers["range"] = f"bytes={start}" if start < 0 else f"bytes={start}-{'' if stop is None else stop - 1}"
    response = http_backoff("GET", url, headers=headers, follow_redirects=True)
    try:
        hf_raise_for_status(response)
    except EntryNotFoundError as e:
        raise FileNotFoundError(path) from e
    content: bytes = response.content
    return content


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
