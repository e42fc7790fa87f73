"""Check a zoo against its ledger: every file's digest, every row's validity and finiteness."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from noisezoo import layout
from noisezoo.ledger import Entry
from noisezoo.zoo import SpaceView, Zoo


@dataclass(frozen=True)
class Problem:
    """A unit that is not what its ledger entry says."""

    space: str
    shard: int
    rows: range
    what: str

    def __str__(self) -> str:
        return f"{self.space} shard {self.shard} (rows {self.rows.start}…{self.rows.stop - 1}): {self.what}"


def verify(
    zoo: Zoo, spaces: Sequence[str] | None = None, progress: Callable[[int], None] | None = None
) -> list[Problem]:
    """Every problem in the finished units of these spaces (all by default). `progress` is called with the number of units after each."""
    problems: list[Problem] = []
    for name in spaces or list(zoo.spaces):
        space = zoo[name]
        for shard, entry in sorted(space.finished.items()):
            what = check_unit(space, entry)
            if what:
                problems.append(Problem(name, shard, range(*entry.rows), what))
            if progress:
                progress(1)
    return problems


def check_unit(space: SpaceView, entry: Entry) -> str | None:
    """What is wrong with one finished unit; None when nothing is."""
    for path, sha256 in entry.files.items():
        try:
            data = space.zoo.store.read(path)
        except FileNotFoundError:
            return f"{path} is missing"
        if hashlib.sha256(data).hexdigest() != sha256:
            return f"{path} has another digest than the ledger ({len(data)} bytes)"
    rows = slice(*entry.rows)
    valid = np.asarray(space.group[layout.VALID][rows])  # type: ignore[index]
    if int(valid.sum()) != entry.valid or len(valid) - int(valid.sum()) != len(entry.invalid):
        return f"{int(valid.sum())} rows are marked valid and the ledger says {entry.valid}"
    latent = np.asarray(space.array[rows])
    if latent.dtype.kind == "f":
        wrong = np.flatnonzero(valid & ~np.isfinite(latent.reshape(len(latent), -1)).all(axis=1))
        if len(wrong):
            return f"row {entry.rows[0] + int(wrong[0])} is marked valid and is not finite ({len(wrong)} such rows)"
    return None


def unfinished(space: SpaceView) -> list[int]:
    """Shards of a space that no ledger entry covers."""
    done = space.finished
    return [shard for shard in range(layout.shard_count(len(space.zoo), space.zoo.shard_rows)) if shard not in done]
