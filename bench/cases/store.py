"""A zoo's rows written and read, against the other places where people keep such arrays.

Local files lie in the system's temporary folder and are in its cache after the first round, as they are for all rivals. Remote ones are served from loopback with 20 ms added
to every request, which is what a bucket on the same continent takes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import noisezoo
from bench import store
from bench.builds import write_zoo
from bench.harness import Case, Found, alternate, over
from bench.slow import serving
from noisezoo import layout, writer

ROWS, REMOTE_ROWS = 4096, 2048
LATENCY = 0.02
SHARDS = ROWS // store.SHARD_ROWS
PICKED = np.random.default_rng(1).choice(ROWS, store.RANDOM_ROWS, replace=False)


def write(folder: Path) -> Found:
    """Whole units, digested, synced and entered in the ledger, against `np.save` of the same shards, synced too."""
    place = write_zoo(folder / "zoo.zarr", ROWS, store.SHARD_ROWS)
    arrays = [store.shard(number) for number in range(SHARDS)]
    ready = np.ones(store.SHARD_ROWS, bool)
    rounds = 8
    names = iter(range(rounds + 1))
    digests = [
        writer.add_space(place, f"space_{i}", store.SHAPE, ("channel", "y", "x"), "float16", {})
        for i in range(rounds + 1)
    ]

    def ours() -> None:
        """Into a space that has no units yet."""
        i = next(names)
        group: Any = place.group("r+")[layout.space_path(f"space_{i}")]
        for number, latent in enumerate(arrays):
            arrays_of_unit = {"latent": latent, "valid": ready}
            writer.write_unit(place, group, writer.Unit(f"space_{i}", number, digests[i], arrays_of_unit, {}))

    def saved(sync: bool) -> None:
        for number, latent in enumerate(arrays):
            with (folder / f"{number}.npy").open("wb") as file:
                np.save(file, latent)
                file.flush()
                if sync:
                    os.fsync(file.fileno())

    taken = alternate({"rival": lambda: saved(True), "loose": lambda: saved(False), "ours": ours}, rounds)
    return Found(
        over(taken["rival"], taken["ours"]),
        _rates(taken, ours="ours", rival="rival", **{"np.save without sync": "loose"}),
    )


def sequential(folder: Path) -> Found:
    return _local(folder, lambda ours, mapped: (
        lambda: store._in_order(ours, ROWS, store.SHARD_ROWS),
        lambda: store._in_order(store._Copies(mapped), ROWS, store.SHARD_ROWS),
    ))  # fmt: skip


def random(folder: Path) -> Found:
    return _local(folder, lambda ours, mapped: (lambda: ours[PICKED], lambda: np.array(mapped[PICKED])), rounds=41)


def _local(
    folder: Path, acts: Callable[[Any, Any], tuple[Callable[[], Any], Callable[[], Any]]], rounds: int = 9
) -> Found:
    space = store.make_zoo(folder / "zoo.zarr", ROWS)["sd15"]
    store.make_npy(folder / "noise.npy", ROWS)
    ours, theirs = acts(space, np.load(folder / "noise.npy", mmap_mode="r"))
    taken = alternate({"rival": theirs, "ours": ours}, rounds)
    return Found(
        over(taken["rival"], taken["ours"]),
        {f"{name}, ms": 1e3 * statistics.median(seconds) for name, seconds in taken.items()},
    )


def _rates(taken: dict[str, list[float]], **names: str) -> dict[str, float]:
    size = ROWS * store.ROW_BYTES / 1e6
    return {f"{label}, MB/s": size / statistics.median(taken[key]) for label, key in names.items()}


def parquet(folder: Path) -> Found:
    """All rows in order; random rows as a figure."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    space = store.make_zoo(folder / "zoo.zarr", ROWS)["sd15"]
    width = store.ROW_BYTES // 2
    parts = [pa.FixedSizeListArray.from_arrays(pa.array(store.shard(n).reshape(-1)), width) for n in range(SHARDS)]
    pq.write_table(
        pa.table({"latent": pa.chunked_array(parts)}),
        folder / "rows.parquet",
        row_group_size=store.SHARD_ROWS,
        compression="none",
        use_dictionary=False,
    )

    def whole() -> None:
        file = pq.ParquetFile(folder / "rows.parquet")
        for number in range(file.num_row_groups):
            _values(file.read_row_group(number))

    def picked() -> None:
        file, rows = pq.ParquetFile(folder / "rows.parquet"), np.sort(PICKED)
        for number in np.unique(rows // store.SHARD_ROWS).tolist():
            _values(file.read_row_group(number).take(rows[rows // store.SHARD_ROWS == number] % store.SHARD_ROWS))

    def _values(table: Any) -> np.ndarray:
        column = table["latent"].combine_chunks()
        return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(-1, *store.SHAPE)

    taken = alternate({
        "rival": whole, "ours": lambda: store._in_order(space, ROWS, store.SHARD_ROWS), "rival rows": picked, "our rows": lambda: space[PICKED],
    }, 9)  # fmt: skip
    return Found(over(taken["rival"], taken["ours"]), {
        **_rates(taken, Parquet="rival", ours="ours"),
        "200 random rows, times faster": statistics.median(over(taken["rival rows"], taken["our rows"])),
    })  # fmt: skip


def webdataset(folder: Path) -> Found:
    """All rows in order: tars have no random rows."""
    import webdataset

    space = store.make_zoo(folder / "zoo.zarr", ROWS)["sd15"]
    urls = []
    for number in range(SHARDS):
        urls.append(str(folder / f"{number}.tar"))
        with webdataset.TarWriter(urls[-1]) as tar:
            for row, latent in enumerate(store.shard(number)):
                tar.write({"__key__": f"{number:03d}{row:06d}", "npy": latent})

    def whole() -> None:
        dataset = webdataset.WebDataset(urls, shardshuffle=False).decode().to_tuple("npy").batched(store.SHARD_ROWS)
        assert sum(len(latents) for (latents,) in dataset) == ROWS

    taken = alternate({"rival": whole, "ours": lambda: store._in_order(space, ROWS, store.SHARD_ROWS)}, 5)
    return Found(over(taken["rival"], taken["ours"]), _rates(taken, WebDataset="rival", ours="ours"))


def http_random(folder: Path) -> Found:
    return _remote(folder, "hub", "random")


def http_sequential(folder: Path) -> Found:
    return _remote(folder, "hub", "sequential")


def s3_random(folder: Path) -> Found:
    return _remote(folder, "s3", "random")


def s3_sequential(folder: Path) -> Found:
    return _remote(folder, "s3", "sequential")


def _remote(folder: Path, kind: str, what: str) -> Found:
    store.make_zoo(folder / "data" / layout.PUBLISHED, REMOTE_ROWS)
    (folder / "data" / "README.md").write_text("# synthetic\n")
    place = "hf://datasets/me/zoo" if kind == "hub" else f"s3://bucket/{layout.PUBLISHED}"
    with serving(kind, folder / "data", LATENCY) as environment:
        done = subprocess.run(
            [sys.executable, "-c", f"from bench.cases.store import client; client({place!r}, {what!r})"],
            env={**os.environ, **environment, "HF_HOME": str(folder / "home")},
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    taken = json.loads(done.stdout)
    figures = {f"{name}, s": statistics.median(seconds) for name, seconds in taken.items()}
    return Found(over(taken["zarr"], taken["ours"]), figures)


def client(place: str, what: str) -> None:
    """What `_remote` runs in a process that knows the server by its address alone."""
    space = noisezoo.open(place)["sd15"]
    picked = np.sort(PICKED[PICKED < REMOTE_ROWS])
    if what == "random":
        acts: dict[str, Callable[[], Any]] = {"zarr": lambda: space.array.oindex[picked], "ours": lambda: space[picked]}
    else:
        acts = {
            "zarr": lambda: store._in_order(space.array, REMOTE_ROWS, store.SHARD_ROWS),
            "ours": lambda: store._in_order(space, REMOTE_ROWS, store.SHARD_ROWS),
        }
    print(json.dumps(alternate(acts, 5)))


LATE = f"{REMOTE_ROWS:,} rows of 4×64×64, {1000 * LATENCY:.0f} ms added to each request"
CASES = [
    Case("store.write", f"{ROWS:,} rows of 4×64×64 as units: digested, synced, entered", "np.save, synced", write),
    Case("store.sequential", f"{ROWS:,} rows in order", "np.memmap and a copy", sequential, limit="1, the memory's speed"),
    Case("store.random", "200 random rows at once", "np.memmap", random, limit="1, the memory's speed"),
    Case("store.parquet", f"{ROWS:,} rows in order", "Parquet by pyarrow, uncompressed, a row group a shard", parquet),
    Case("store.webdataset", f"{ROWS:,} rows in order", "WebDataset tars of .npy", webdataset),
    Case("store.http_random", f"100 random rows from a Hub; {LATE}", "Zarr's own reader", http_random),
    Case("store.http_sequential", f"all rows from a Hub; {LATE}", "Zarr's own reader", http_sequential),
    Case("store.s3_random", f"100 random rows from S3; {LATE}", "Zarr's own reader", s3_random),
    Case("store.s3_sequential", f"all rows from S3; {LATE}", "Zarr's own reader", s3_sequential),
]  # fmt: skip
