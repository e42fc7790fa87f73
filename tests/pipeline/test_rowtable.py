"""The table of an ingest's rows: what is written is what is read, and the process that read it ends in peace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import rowtable
from pipeline.sources.base import Index

PROGRAM = """
import sys
from pipeline import rowtable
index, numbers = rowtable.from_bytes(open(sys.argv[1], "rb").read())
assert len(index.keys) == len(numbers) == 6000
"""


def index(rows: int) -> Index:
    chance = np.random.default_rng(1)
    return Index(
        keys=tuple(f"{i:06d}.jpg" for i in range(rows)),
        attributes=("Smiling", "Male"),
        labels=chance.integers(-1, 2, (rows, 2)).astype(np.int8),
        splits=("train", "test"),
        split=chance.integers(-1, 2, rows).astype(np.int8),
        extra={"z": chance.standard_normal((rows, 3)), "kind": chance.integers(0, 2, rows)},
        names={"kind": ("cat", "dog")},
    )


def test_a_table_comes_back_as_it_was() -> None:
    before, numbers = index(100), np.arange(100)[::-1].copy()
    after, numbers_after = rowtable.from_bytes(rowtable.to_bytes(before, numbers))
    np.testing.assert_array_equal(numbers_after, numbers)
    assert (after.keys, after.attributes, after.splits, after.names) == (
        before.keys,
        before.attributes,
        before.splits,
        before.names,
    )
    np.testing.assert_array_equal(after.labels, before.labels)
    np.testing.assert_array_equal(after.split, before.split)
    for name, values in before.extra.items():
        np.testing.assert_array_equal(after.extra[name], values)


@pytest.mark.slow
def test_reading_it_never_aborts_the_process_at_its_end(tmp_path: Path) -> None:
    """Arrow's pool threads, holding a Python object while the interpreter ended, aborted about half of such processes."""
    path = tmp_path / "rows.parquet"
    path.write_bytes(rowtable.to_bytes(index(6000), np.arange(6000)))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for _ in range(10):
        assert subprocess.run([sys.executable, "-c", PROGRAM, str(path)], env=environment).returncode == 0
