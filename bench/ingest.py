"""How fast, and in how much memory, CelebA is ingested: synthetic JPEGs of CelebA's size (178×218, some 10 kB) in its official layout.

    python -m bench.ingest                 a tenth of CelebA, 20,260 rows
    python -m bench.ingest --rows 202599   all of it (4 GB of disk)

A few hundred pictures are encoded; each row's file is one of them with a comment of its own in the head, so that no two
are equal. The ingest runs in a process of its own; its memory and that of its workers is sampled twenty times a second.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from pipeline.sources.celeba import ATTRIBUTES

ALL = 202_599
PICTURES = 300

_PROGRAM = """
import json, sys, time
from pipeline.ingest import ingest
from pipeline.sources.celeba import CelebA
if __name__ == "__main__":
    begun = time.perf_counter()
    done = ingest(CelebA(sys.argv[1]), sys.argv[2], shard_rows=1024, workers=int(sys.argv[3]))
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "rows": len(done.rows), "bytes": done.bytes, "invalid": len(done.invalid)}))
"""


def make(root: Path, rows: int) -> None:
    """A CelebA of `rows` rows in `root`."""
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(PICTURES):
        coarse = Image.fromarray(random.integers(0, 255, (14, 12, 3), dtype=np.uint8)).resize(
            (178, 218), Image.Resampling.BICUBIC
        )
        noisy = np.clip(np.asarray(coarse) + random.normal(0, 6, (218, 178, 1)), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=78)
        pictures.append(file.getvalue())
    images = root / "img_align_celeba"
    images.mkdir(parents=True)
    keys = [f"{i + 1:06d}.jpg" for i in range(rows)]
    for i, key in enumerate(keys):
        data = pictures[i % PICTURES]
        (images / key).write_bytes(data[:2] + b"\xff\xfe\0\x0a" + b"%08d" % i + data[2:])
    signs = np.where(random.random((rows, len(ATTRIBUTES))) < 0.3, " 1", "-1")
    lines = [str(rows), " ".join(ATTRIBUTES), *(f"{k} " + " ".join(row) for k, row in zip(keys, signs, strict=True))]
    (root / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    ends = (rows * 162_770 // ALL, rows * 182_637 // ALL)
    split = np.searchsorted(ends, np.arange(rows), side="right")
    (root / "list_eval_partition.txt").write_text("".join(f"{k} {s}\n" for k, s in zip(keys, split, strict=True)))


def measure(source: Path, images: Path, workers: int) -> dict[str, Any]:
    """Ingest once; seconds by the clock and of computing, images a second, and the most memory that all its processes held."""
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    script = images.parent / "run.py"
    script.write_text(_PROGRAM)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(script), str(source), str(images), str(workers)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    memory = {"resident": 0, "proportional": 0}
    watcher = threading.Thread(target=_watch, args=(process, memory), daemon=True)
    watcher.start()
    out, _ = process.communicate()
    whole = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(process.returncode)
    told = json.loads(out)
    return {
        **told,
        "seconds": round(told["seconds"], 2),
        "seconds_with_start": round(whole, 2),
        "images_per_second": round(told["rows"] / whole),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "memory_mb_resident": round(memory["resident"] / 1e6),
        "memory_mb_proportional": round(memory["proportional"] / 1e6),
        "workers": workers,
    }


def _watch(process: subprocess.Popen[str], memory: dict[str, int]) -> None:
    """The most that the process and its children held: their resident sizes added up, and with what they share counted once."""
    head = psutil.Process(process.pid)
    while process.poll() is None:
        resident = proportional = 0
        try:
            for one in [head, *head.children(recursive=True)]:
                found = one.memory_full_info()
                resident += found.rss
                proportional += getattr(found, "pss", found.rss)
        except psutil.Error:
            continue
        memory["resident"] = max(memory["resident"], resident)
        memory["proportional"] = max(memory["proportional"], proportional)
        time.sleep(0.05)


def run(rows: int = ALL // 10 + 1, workers: int = 2, folder: str | None = None) -> dict[str, Any]:
    """Make the source, ingest it, and ingest it again with nothing to do."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        root = Path(place)
        make(root / "CelebA", rows)
        first = measure(root / "CelebA", root / "images", workers)
        again = measure(root / "CelebA", root / "images", workers)
    return {**first, "seconds_again": again["seconds"]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ALL // 10 + 1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", help="where to put the files; the system's temporary folder by default")
    asked = parser.parse_args()
    print(json.dumps(run(asked.rows, asked.workers, asked.folder), indent=1))
