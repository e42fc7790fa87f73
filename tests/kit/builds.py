"""The command as a user types it, in a process of its own, and the bytes that it leaves."""

from __future__ import annotations

import hashlib
import subprocess
import sys
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
