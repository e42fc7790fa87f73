"""How fast rows are written and read, where from, and at what cost in bytes: the measurements behind format 1.

    python -m bench.store codecs             chunk, shard and codec on 0.5 GB; the table of docs/format.md
    python -m bench.store local              a whole space read in order and at random, against np.memmap in the same run
    python -m bench.store remote             200 random rows, and all in order, over HTTP from the Hub of tests/
    python -m bench.store npy                an import from .npy and the export back, with the memory they take
    … --rows 162770                          CelebA's training split: 5.3 GB of 4×64×64 float16 (16,384 rows by default)

Latents are random, which is what they are. Each figure is the best of a few; what is compared is measured in turn in one run, for
machines are shared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

import noisezoo
from noisezoo import layout, writer
from noisezoo.store import Store

SHAPE = (4, 64, 64)
ROW_BYTES = 2 * 4 * 64 * 64
SHARD_ROWS = 1024
RANDOM_ROWS = 200
TIMES = 3


def shard(number: int, rows: int = SHARD_ROWS) -> np.ndarray:
    """Different normal numbers for each shard, cheaply: one block, rolled."""
    return np.roll(_block()[:rows], number * 7919)


def _block(cache: list[np.ndarray] = []) -> np.ndarray:  # noqa: B006
    if not cache:
        random = np.random.default_rng(0)
        cache.append(random.standard_normal((SHARD_ROWS, *SHAPE), np.float32).astype(np.float16))
    return cache[0]


def make_zoo(place: Path, rows: int) -> noisezoo.Zoo:
    """A zoo of one space, in format 1."""
    store = Store(str(place))
    keys = np.array([f"{row:06d}.jpg" for row in range(rows)], dtype=object)
    table = writer.Table(keys, np.arange(rows), np.zeros((rows, 32), np.uint8))
    writer.create(store, table, {"name": "synthetic", "licence": "CC0-1.0", "digest": "0" * 64}, SHARD_ROWS)
    digest = writer.add_space(store, "sd15", SHAPE, ("channel", "y", "x"), "float16", {})
    group: Any = store.group("r+")["spaces/sd15"]
    for number in range(layout.shard_count(rows, SHARD_ROWS)):
        count = len(layout.span(number, rows, SHARD_ROWS))
        arrays = {"latent": shard(number, count), "valid": np.ones(count, bool)}
        writer.write_unit(store, group, writer.Unit("sd15", number, digest, arrays, {}))
    return noisezoo.open(str(place))


def make_npy(path: Path, rows: int) -> None:
    """The same numbers as one .npy file of rows × 16,384."""
    with path.open("wb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (rows, ROW_BYTES // 2)}
        np.lib.format.write_array_header_1_0(file, header)
        for number in range(layout.shard_count(rows, SHARD_ROWS)):
            file.write(shard(number, len(layout.span(number, rows, SHARD_ROWS))).data)


def seconds(act: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def best(acts: dict[str, Callable[[], Any]], times: int = TIMES) -> dict[str, float]:
    """The least time of each, taken in turn; as `<name>_cpu` the processor time of this process, which others on the machine disturb less."""
    found: dict[str, list[float]] = {}
    for _ in range(times):
        for name, act in acts.items():
            cpu = time.process_time()
            found.setdefault(name, []).append(seconds(act))
            found.setdefault(f"{name}_cpu", []).append(time.process_time() - cpu)
    return {name: min(values) for name, values in found.items()}


def codecs(folder: Path, rows: int) -> dict[str, Any]:
    """Zarr arrays of one space with different chunks, shards and codecs, all read by Zarr; the last line is our reader on the layout that was chosen."""
    kinds: dict[str, Any] = {
        "none": None,
        "zstd 1": ZstdCodec(level=1),
        "blosc lz4 + shuffle": BloscCodec(cname="lz4", clevel=1, shuffle="shuffle"),
        "blosc zstd 1 + bitshuffle": BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"),
    }
    choices = [(chunk, SHARD_ROWS, "none") for chunk in (1, 8, 32, 128, 1024)]
    choices += [(8, 256, "none"), (8, 4096, "none")]
    choices += [(8, SHARD_ROWS, kind) for kind in kinds if kind != "none"]
    picked = np.sort(np.random.default_rng(1).choice(rows, RANDOM_ROWS, replace=False))
    table = []
    for chunk, shard_rows, kind in choices:
        place = folder / "array"
        shutil.rmtree(place, ignore_errors=True)
        array = zarr.create_array(
            str(place),
            shape=(rows, *SHAPE),
            chunks=(chunk, *SHAPE),
            shards=(shard_rows, *SHAPE),
            dtype="float16",
            compressors=kinds[kind],
        )
        blocks = max(1, shard_rows // SHARD_ROWS)
        whole = np.concatenate([shard(number) for number in range(blocks)])[:shard_rows]
        wrote = best({"write": partial(_fill, array, rows, whole)}, 1)
        size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        acts = {"read": partial(_in_order, array, rows, shard_rows), "rows": partial(array.oindex.__getitem__, picked)}
        took = wrote | best(acts, 2)
        table.append(
            {
                "chunk_rows": chunk,
                "chunk_kb": chunk * ROW_BYTES // 1024,
                "shard_rows": shard_rows,
                "files": len(list(place.rglob("c/*/*/*/*"))),
                "codec": kind,
                "size": size / (rows * ROW_BYTES),
                "write_mb_s": rows * ROW_BYTES / took["write"] / 1e6,
                "write_mb_cpu_s": rows * ROW_BYTES / took["write_cpu"] / 1e6,
                "read_mb_s": rows * ROW_BYTES / took["read"] / 1e6,
                "read_mb_cpu_s": rows * ROW_BYTES / took["read_cpu"] / 1e6,
                "random_ms": took["rows"] * 1e3,
                "random_bytes": len(np.unique(picked // chunk)) * chunk * ROW_BYTES / (rows * ROW_BYTES),
            }
        )
        print(json.dumps(table[-1]), file=sys.stderr, flush=True)
    return {"codecs": table}


def _fill(array: Any, rows: int, block: np.ndarray) -> None:
    for start in range(0, rows, len(block)):
        array[start : start + len(block)] = block


def _in_order(array: Any, rows: int, step: int) -> None:
    for start in range(0, rows, step):
        array[start : start + step]


class _Copies:
    """A mapped file whose rows are copied when they are indexed, as a reader's are."""

    def __init__(self, mapped: np.ndarray) -> None:
        self._mapped = mapped

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.array(self._mapped[rows])


def local(folder: Path, rows: int) -> dict[str, Any]:
    """Our reader and Zarr's against np.memmap, a copy of every byte each."""
    zoo = make_zoo(folder / "zoo.zarr", rows)
    make_npy(folder / "noises_sd15.npy", rows)
    space, mapped = zoo["sd15"], np.load(folder / "noises_sd15.npy", mmap_mode="r")
    picked = np.random.default_rng(1).choice(rows, RANDOM_ROWS, replace=False)
    took = best(
        {
            "memmap": lambda: _in_order(_Copies(mapped), rows, SHARD_ROWS),
            "noisezoo": lambda: _in_order(space, rows, SHARD_ROWS),
            "memmap_rows": lambda: np.array(mapped[picked]),
            "noisezoo_rows": lambda: space[picked],
            "zarr": lambda: _in_order(space.array, rows, SHARD_ROWS),
        },
        2 if rows > 50_000 else TIMES,
    )
    rate = {name: rows * ROW_BYTES / took[name] / 1e9 for name in ("memmap", "noisezoo", "zarr")}
    return {
        "gb_s": rate,
        "gb_cpu_s": {name: rows * ROW_BYTES / took[f"{name}_cpu"] / 1e9 for name in rate},
        "share_of_memmap": rate["noisezoo"] / rate["memmap"],
        "random_ms": {name: took[f"{name}_rows"] * 1e3 for name in ("memmap", "noisezoo")},
    }


def remote(folder: Path, rows: int) -> dict[str, Any]:
    """Random rows and all rows over HTTP. The server is a process of its own; what it can deliver is what the barest client gets of the same files."""
    make_zoo(folder / "hub" / layout.PUBLISHED, rows)
    (folder / "hub" / "README.md").write_text("# synthetic\n")
    command = [
        sys.executable,
        "-m",
        "tests.hub_server",
        str(folder / "server"),
        "--dataset",
        f"me/zoo={folder / 'hub'}",
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.store", "client", "--rows", str(rows), "--url", url],
            env={**os.environ, "HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "home")},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    finally:
        server.terminate()
        server.wait()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def client(url: str, rows: int) -> dict[str, Any]:
    """What `remote` runs in a process that knows the server by its address alone."""
    import http.client
    import urllib.request
    from urllib.parse import urlsplit

    def moved() -> int:
        with urllib.request.urlopen(f"{url}/sent") as answer:
            return int(answer.read())

    begun, before = time.perf_counter(), moved()
    zoo = noisezoo.open("hf://datasets/me/zoo")
    space = zoo["sd15"]
    opened, at_open = time.perf_counter() - begun, moved()
    picked = np.random.default_rng(1).choice(rows, RANDOM_ROWS, replace=False)
    random = seconds(lambda: space[picked])
    random_bytes = moved() - at_open
    hundred = seconds(lambda: space[:100])
    files = [layout.chunk_key("zoo.zarr/spaces/sd15/latent", n, 4) for n in range(layout.shard_count(rows, SHARD_ROWS))]
    where = urlsplit(url)

    def get(name: str) -> int:
        connection = http.client.HTTPConnection(where.hostname or "", where.port)
        connection.request("GET", f"/datasets/me/zoo/resolve/main/{name}")
        answer = connection.getresponse()
        location = answer.getheader("Location")
        answer.read()
        if location:
            connection.request("GET", urlsplit(location).path)
            answer = connection.getresponse()
        buffer, count = bytearray(1 << 20), 0
        while got := answer.readinto(buffer):
            count += got
        connection.close()
        return count

    def bare() -> None:
        with ThreadPoolExecutor(16) as pool:
            assert sum(pool.map(get, files)) >= rows * ROW_BYTES

    # As many shards at a time as the reader asks for at once.
    step = 16 * SHARD_ROWS
    took = best({"bare": bare, "noisezoo": lambda: _in_order(space, rows, step)}, 2 if rows > 50_000 else TIMES)
    rate = {name: rows * ROW_BYTES / took[name] / 1e6 for name in ("bare", "noisezoo")}
    return {
        "open_s": opened,
        "open_bytes": at_open - before,
        "random_s": random,
        "random_bytes": random_bytes,
        "random_share": random_bytes / (rows * ROW_BYTES),
        "first_100_s": hundred,
        "mb_s": rate,
        "share_of_server": rate["noisezoo"] / rate["bare"],
    }


def npy(folder: Path, rows: int) -> dict[str, Any]:
    """Import and export in processes of their own, and whether the file came back the same."""
    make_npy(folder / "noises_sd15.npy", rows)
    found: dict[str, Any] = {}
    for name, words in {
        "import": ["import-npy", str(folder), "--to", str(folder / "zoo.zarr")],
        "export": ["export-npy", str(folder / "zoo.zarr"), str(folder / "back")],
    }.items():
        begun = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", f"{_PEAK}main({words!r}); print(peak())"],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        took = time.perf_counter() - begun
        peak = int(done.stdout.split()[-1])
        found[name] = {"seconds": took, "mb_s": rows * ROW_BYTES / took / 1e6, "peak_mb": peak / 1e3}
    same = subprocess.run(["cmp", folder / "noises_sd15.npy", folder / "back" / "noises_sd15.npy"], check=False)
    return {**found, "identical": same.returncode == 0}


_PEAK = """
import resource
from noisezoo.cli import main
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""


def run(what: str, rows: int, folder: str | None = None) -> dict[str, Any]:
    """One measurement in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        act = {"codecs": codecs, "local": local, "remote": remote, "npy": npy}[what]
        return {"rows": rows, "gb": rows * ROW_BYTES / 1e9, "cores": os.cpu_count(), **act(Path(place), rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["codecs", "local", "remote", "npy", "client"])
    parser.add_argument("--rows", type=int, default=16_384)
    parser.add_argument("--folder", help="where to put the data (default: the system's temporary folder)")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    found = client(args.url, args.rows) if args.what == "client" else run(args.what, args.rows, args.folder)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
