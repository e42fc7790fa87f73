"""The table of an ingest's rows: what is written is what is read, and the process that read it ends in peace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import rowtable
from pipeline.ingest import ingest
from pipeline.sources.base import Index
from pipeline.sources.folder import Folder
from tests.kit import lookalikes as like

PROGRAM = """
import sys
from pipeline.ingest import ingest
from pipeline.sources.folder import Folder
ingest(Folder(sys.argv[1]), sys.argv[2], shard_rows=40, workers=1)
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
def test_an_ingest_that_reads_it_never_aborts_at_its_end(tmp_path: Path) -> None:
    """Arrow's pool threads, holding a Python object while the interpreter ended, aborted about one in four of such processes."""
    source = like.lay(tmp_path / "source", [(f"{i:03d}.jpg", like.picture(i, (40, 40))) for i in range(600)])
    ingest(Folder(str(source)), str(tmp_path / "images"), shard_rows=40, workers=1)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(source), str(tmp_path / "images")]
    for _ in range(12):
        assert subprocess.run(command, env=environment).returncode == 0
