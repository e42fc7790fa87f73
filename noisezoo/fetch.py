"""Bringing a published zoo, or the part of it that is wanted, to a disk: only the shards needed, several at once, each checked against the ledger's digest.

A fetched part is a zoo: it knows every row, and holds of the spaces what was fetched; rows of other shards are not valid in it. Fetching
more adds to it. A shard is finished here as anywhere, when its ledger entry stands beside it, so that a fetch that was killed goes on
where it stopped, and a shard whose bytes have rotted is mended.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisezoo import layout, ledger, ranges, retry, writer
from noisezoo.errors import NoiseZooError, nearest
from noisezoo.ledger import Entry
from noisezoo.store import Store
from noisezoo.zoo import Zoo

SUMS = "SHA256SUMS"
TRIES = 6
Progress = Callable[[int, int, int], None]
"""Called after each unit with units done, units in all, and bytes that came over the network."""


@dataclass(frozen=True)
class Fetched:
    """What a fetch did."""

    zoo: Zoo
    units: int
    """Units asked for."""
    new: int
    """Units that were not here, or not as the ledger says."""
    bytes: int


@dataclass(frozen=True)
class _Unit:
    space: str
    shard: int


def address(place: str, revision: str | None = None) -> str:
    """`USER/NAME` as the URL of a dataset on the Hub, pinned to a commit so that all its files are of one state; any other URL or folder as it is."""
    if "://" in place or place.startswith((".", "/", "~")) or place.count("/") != 1 or Path(place).exists():
        return place
    from huggingface_hub import HfApi

    try:
        sha = retry.over_http(lambda: HfApi().repo_info(place, repo_type="dataset", revision=revision)).sha
    except Exception as e:
        status = getattr(getattr(e, "response", None), "status_code", None)
        if status == 403:
            what = f"asks you to accept its terms: visit https://huggingface.co/datasets/{place}, then type `hf auth login`"
        elif status in (401, 404) or isinstance(e, ValueError):
            what = f"is not there{f' at {revision}' if revision else ''}, or is private: check its name, or type `hf auth login`"
        elif retry.is_transport(e):
            what = f"cannot be reached ({type(e).__name__}): look at the network and type the same command again"
        else:
            raise
        raise NoiseZooError(f"The dataset {place} of the Hub {what}.") from e
    return f"hf://datasets/{place}@{sha}"


def fetch(
    place: str,
    folder: str | Path,
    spaces: Sequence[str] | None = None,
    *,
    split: str | None = None,
    rows: str | None = None,
    revision: str | None = None,
    workers: int = 8,
    progress: Progress = lambda done, units, count: None,
) -> Fetched:
    """Bring spaces (all by default) over the rows that `split` and `rows` ("0:10000") name into `folder`."""
    source = _published(address(place, revision))
    target = Store(str(folder))
    facts = _facts(source)
    names = list(dict.fromkeys(spaces or _spaces(source)))
    for name in names:
        if name not in _spaces(source):
            raise NoiseZooError(f"{place} has no space '{name}': {nearest(name, _spaces(source))}")
    _claim(target, facts, source.url)
    count = _tables(source, target, names, _sums(source))
    zoo = Zoo(target)
    wanted = layout.shards_of(_rows(zoo, split, rows), zoo.shard_rows)
    units = [_Unit(name, shard) for name in names for shard in wanted]
    digests = {name: zoo[name].config_digest for name in names}
    new = done = 0
    for fresh, size in _run(units, workers, lambda unit: _bring(source, target, unit, digests[unit.space])):
        done, new, count = done + 1, new + fresh, count + size
        progress(done, len(units), count)
    target.sweep()
    return Fetched(Zoo(target), len(units), new, count)


def select(text: str, rows: int) -> range:
    """`a:b`, as in Python; either may be left out."""
    first, colon, last = text.partition(":")
    try:
        picked = range(rows)[int(first) if first else None : int(last) if last else None]
        return picked if colon else range(rows)[int(first) : int(first) + 1]
    except ValueError:
        raise NoiseZooError(f"'{text}' are no rows: write --rows 0:10000, as in Python.") from None


def _rows(zoo: Zoo, split: str | None, rows: str | None) -> np.ndarray:
    chosen = zoo.rows(split)
    if rows is not None:
        picked = select(rows, len(zoo))
        chosen = chosen[(chosen >= picked.start) & (chosen < picked.stop)]
    if not len(chosen):
        raise NoiseZooError(
            f"No row of the zoo is in {rows or 'all'} and {split or 'any split'}: it has {len(zoo)} rows."
        )
    return chosen


def _published(url: str) -> Store:
    """The zoo's store at an address: the address itself, or `zoo.zarr` in it."""
    for store in (Store(f"{url.rstrip('/')}/{layout.PUBLISHED}"), Store(url)):
        try:
            _read(store, "zarr.json")
        except FileNotFoundError:
            continue
        return store
    raise NoiseZooError(f"{url} holds no zoo: give USER/NAME of a published one, or the URL of its zoo.zarr.")


def _facts(source: Store) -> dict[str, Any]:
    root = json.loads(_read(source, "zarr.json"))
    return layout.check_format(root.get("attributes"), source.url)


def _spaces(source: Store) -> list[str]:
    """Names of the zoo's spaces, out of the root's consolidated metadata."""
    known = json.loads(_read(source, "zarr.json"))["consolidated_metadata"]["metadata"]
    prefix = layout.SPACES + "/"
    return [
        path.removeprefix(prefix)
        for path, meta in sorted(known.items())
        if path.startswith(prefix) and path.count("/") == 1 and "config_digest" in meta.get("attributes", {})
    ]


def _claim(target: Store, facts: dict[str, Any], url: str) -> None:
    """Refuse a folder that holds something else, or another zoo."""
    names = [name for name in target.names() if not name.endswith(".tmp")]
    if not names:
        return
    if "zarr.json" not in names and set(names) - {layout.ROWS, layout.LABELS, layout.SPACES, layout.LEDGER}:
        raise NoiseZooError(f"{target.url} holds something else than a zoo: give a new folder with --to.")
    if "zarr.json" in names:
        held = Zoo(target).facts
        if (held["source"]["digest"], held["shard_rows"]) != (facts["source"]["digest"], facts["shard_rows"]):
            raise NoiseZooError(f"{target.url} holds a zoo of other rows than {url}: give a new folder with --to.")


def _sums(source: Store) -> dict[str, str]:
    """The publisher's SHA256SUMS for what no ledger covers, metadata, rows and labels; empty where the zoo stands alone."""
    folder, _, name = source.url.rstrip("/").rpartition("/")
    try:
        lines = _read(Store(folder), SUMS).decode().splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return {}
    sums = {file: sha256 for sha256, _, file in (line.partition("  ") for line in lines)}
    return {file.removeprefix(f"{name}/"): sha256 for file, sha256 in sums.items() if file.startswith(f"{name}/")}


def _tables(source: Store, target: Store, spaces: Sequence[str], sums: dict[str, str]) -> int:
    """Metadata, rows and labels, and the metadata of the spaces; bytes that came."""
    known = json.loads(_read(source, "zarr.json"))["consolidated_metadata"]["metadata"]
    wanted = [layout.SPACES]
    for path in known:
        steps = path.split("/")
        if steps[0] in (layout.ROWS, layout.LABELS) or (
            len(steps) > 1 and steps[0] == layout.SPACES and steps[1] in spaces
        ):
            wanted.append(path)
    held = {
        name
        for folder in (layout.ROWS, layout.LABELS)
        for name in target.files(folder)
        if name not in sums or _has_digest(target, name, sums[name])
    }
    files = [f"{path}/zarr.json" for path in wanted]
    for path in wanted:
        meta = known[path]
        if path.startswith(layout.SPACES) or meta["node_type"] != "array":
            continue
        grid = [
            -(-n // c) for n, c in zip(meta["shape"], meta["chunk_grid"]["configuration"]["chunk_shape"], strict=True)
        ]
        keys = ["/".join(map(str, place)) for place in np.ndindex(*grid)]
        files += [name for key in keys if (name := f"{path}/c/{key}") not in held]
    files.append("zarr.json")

    def bring(name: str) -> int:
        try:
            data = _checked(source, name, sums[name]) if name in sums else _read(source, name)
        except FileNotFoundError:  # a chunk that holds the fill value alone
            return 0
        target.write(name, data)
        return len(data)

    size = sum(ranges.at_once(bring, files[:-1])) + bring(files[-1])
    writer.consolidate(target)
    return size


def _bring(source: Store, target: Store, unit: _Unit, config_digest: str) -> tuple[bool, int]:
    """One unit: whether it had to be brought, and the bytes that came."""
    held = ledger.read(target, unit.space, unit.shard)
    if held is not None and held.config_digest == config_digest and _is_whole(target, held):
        return False, 0
    entry = _entry(source, unit)
    if entry is None or entry.config_digest != config_digest:
        raise NoiseZooError(
            f"Shard {unit.shard} of '{unit.space}' is unfinished in {source.url}: leave its rows out, or ask its publisher."
        )
    size = 0
    for name, sha256 in entry.files.items():
        if not _has_digest(target, name, sha256):
            data = _checked(source, name, sha256)
            target.write(name, data)
            size += len(data)
    ledger.write(target, entry)
    return True, size


def _entry(source: Store, unit: _Unit) -> Entry | None:
    try:
        facts = json.loads(_read(source, layout.ledger_path(unit.space, unit.shard)))
        return Entry(**{**facts, "rows": tuple(facts["rows"])})
    except (FileNotFoundError, json.JSONDecodeError, TypeError, KeyError):
        return None


def _is_whole(store: Store, entry: Entry) -> bool:
    return all(_has_digest(store, name, sha256) for name, sha256 in entry.files.items())


def _has_digest(store: Store, name: str, sha256: str) -> bool:
    try:
        return hashlib.sha256(store.read(name)).hexdigest() == sha256
    except FileNotFoundError:
        return False


def _checked(source: Store, name: str, sha256: str) -> bytes:
    """A file that is what the ledger says; asked for again when what came is not."""
    for attempt in range(TRIES):
        data = _read(source, name)
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
        time.sleep(min(10.0, 0.2 * 2**attempt))
    raise NoiseZooError(
        f"{source.url}/{name} is not what its publisher's digest says, {TRIES} times in a row: try again later, or tell the publisher."
    )


def _read(source: Store, name: str) -> bytes:
    try:
        data: bytes = retry.over_http(lambda: ranges.get(source, name))
    except (FileNotFoundError, NoiseZooError):
        raise
    except Exception as e:
        if not retry.is_transport(e):
            raise
        raise NoiseZooError(
            f"Cannot read {name} of {source.url} ({type(e).__name__}): type the same command again to go on; what has come is kept."
        ) from e
    return data


def _run(units: Sequence[_Unit], workers: int, act: Callable[[_Unit], Any]) -> Iterator[Any]:
    """Results as they come, a few units under way, so that memory holds a few shards and no more."""
    waiting = iter(units)
    running: set[Future[Any]] = set()
    pool = ThreadPoolExecutor(max(1, workers), "fetch")
    try:
        while True:
            for unit in waiting:
                running.add(pool.submit(act, unit))
                if len(running) >= workers:
                    break
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
