"""Image shards, zoos and orders made on the spot, for cases that run the engine itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate

from noisezoo import layout, writer
from noisezoo.ledger import Entry
from noisezoo.store import Store
from pipeline import shards
from pipeline.build import add_spaces
from pipeline.units import Job, Order
from pipeline.worker import Worker

SOURCE = {"name": "made", "licence": "CC0-1.0", "homepage": "", "digest": "0" * 64, "selection": {}}


def write_images(folder: Path, pictures: Sequence[bytes], rows: int, shard_rows: int) -> None:
    """Tar shards of so many rows, the pictures taken round and round, as ingest leaves them."""
    store = Store(str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    digests = [hashlib.sha256(data).hexdigest() for data in pictures]
    for number in range(layout.shard_count(rows, shard_rows)):
        record = shards.Record(number)
        with shards.writing(store, number) as tar:
            for row in layout.span(number, rows, shard_rows):
                data = pictures[row % len(pictures)]
                place = tar.add(f"{row:09d}.png", data)
                record.add(row, digests[row % len(pictures)], ".png", place, len(data))
            record.bytes = tar.finish()
        shards.write_record(store, record)


def write_zoo(folder: Path, rows: int, shard_rows: int) -> Store:
    """A zoo without spaces."""
    store = Store(str(folder))
    keys = np.array([f"{row:09d}" for row in range(rows)], dtype=object)
    writer.create(store, writer.Table(keys, np.arange(rows), np.zeros((rows, 32), np.uint8)), SOURCE, shard_rows)
    return store


def make_order(
    folder: Path, spaces: Mapping[str, Mapping[str, Any]], rows: int, shard_rows: int, **options: Any
) -> Order:
    """Everything that a worker needs to compute these spaces over images that lie in `folder/images`."""
    store = write_zoo(folder / "zoo.zarr", rows, shard_rows)
    made = {name: instantiate(node, _convert_="all") for name, node in spaces.items()}
    digests = add_spaces(store, made, set(), options.get("fidelity_rows", 4))
    return Order(store.url, str(folder / "images"), dict(spaces), digests, device="cpu", **options)


def compute(worker: Worker, shard: int, *spaces: str) -> None:
    """One shard, from its images to its ledger entries."""
    for result in worker.run([Job(shard, spaces)]):
        if not isinstance(result, Entry):
            raise RuntimeError(f"shard {shard} was not finished: {result}")
