"""The command as a user types it, in a process of its own, and the bytes that it leaves."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONF = Path(__file__).resolve().parent / "conf"
"""conf/space/ with the tests' own spaces."""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "noisezoo", *words]


def noisezoo(*words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(command(*words), cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)


def build_words(folder: Path, spaces: str = "regenerating,thumbnail", rows: int = 300, *more: str) -> list[str]:
    """A build of toy faces in small shards with the tests' spaces."""
    return [
        "build",
        "--config-dir",
        str(CONF),
        f"spaces=[{spaces}]",
        f"dir={folder}",
        f"dataset.size={rows}",
        "shard_rows=32",
        *more,
    ]


def shard_digests(folder: Path) -> dict[str, str]:
    """sha256 of every image shard and every shard of every space."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and ("/c/" in str(p) or p.suffix == ".tar"))
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def started(*words: str, clock: float = 0.0) -> subprocess.Popen[str]:
    """A command under way, on a machine whose clock is wrong by so many seconds."""
    if not clock:
        call = command(*words)
    else:
        code = (
            "import sys, time; now = time.time; "
            f"time.time = lambda: now() + {clock}; "
            "from noisezoo.cli import main; sys.exit(main(sys.argv[1:]))"
        )
        call = [sys.executable, "-c", code, *words]
    return subprocess.Popen(call, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def entries(folder: Path) -> dict[str, str]:
    """Every ledger entry's text: it holds a time and a process, so a unit computed twice has another one."""
    return {str(p.relative_to(folder)): p.read_text() for p in folder.glob("zoo.zarr/ledger/*/*.json")}


def holders(folder: Path) -> dict[str, int]:
    """The processes that hold units now: `slow_one/000002` to the number of its process."""
    found = {}
    for path in folder.glob("zoo.zarr/leases/*/*.json"):
        try:
            worker = json.loads(path.read_text())["worker"]
        except (FileNotFoundError, json.JSONDecodeError):  # let go of while we looked
            continue
        if worker and path.parent.name != "leases":
            found[f"{path.parent.name}/{path.stem}"] = int(worker.rsplit(":", 1)[1])
    return found


def wait_until(holds: Callable[[], object], seconds: float = 240) -> None:
    """Wait for something to come true; an assertion where it does not."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
