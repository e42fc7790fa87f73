"""What a user waits for before anything happens. The rival is the time that was set as the most it may take; a ratio above 1 is the room that is left."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.builds import write_zoo
from bench.harness import Case, Found
from noisezoo import layout, writer
from noisezoo.ledger import Entry
from noisezoo.zoo import Zoo

NOISEZOO = [sys.executable, "-m", "noisezoo"]
UNITS, SPACES = 10_000, 20


def seconds_of(command: Sequence[str], rounds: int) -> list[float]:
    """Wall time of a command in a process of its own, after one run that fills the disk's cache."""
    taken = []
    for number in range(rounds + 1):
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if number:
            taken.append(time.perf_counter() - begun)
    return taken


def within(most: float, make: Callable[[Path], Sequence[str]], rounds: int = 7) -> Callable[[Path], Found]:
    """A measurement of the command that `make` gives, against the most it may take."""

    def measure(folder: Path) -> Found:
        taken = seconds_of(make(folder), rounds)
        bare = statistics.median(seconds_of([sys.executable, "-c", "pass"], rounds))
        return Found(
            [most / seconds for seconds in taken],
            {"seconds": statistics.median(taken), "of these Python itself": bare},
        )

    return measure


def many_units(folder: Path) -> list[str]:
    """`noisezoo status` on a finished zoo of 10,000 units: 20 spaces of 500 shards, their files empty but their entries whole."""
    rows = 1024 * (UNITS // SPACES)
    store = write_zoo(folder / "zoo.zarr", rows, 1024)
    for number in range(SPACES):
        name = f"space_{number:02d}"
        digest = writer.add_space(store, name, (4, 64, 64), ("channel", "y", "x"), "float16", {"seed": number})
        for shard in range(layout.shard_count(rows, 1024)):
            span = layout.span(shard, rows, 1024)
            files = {layout.chunk_key(f"{layout.space_path(name)}/latent", shard, 4): "0" * 64}
            entry = Entry(name, shard, (span.start, span.stop), digest, files, len(span), seconds=60.0, device="cpu")
            path = Path(store.path(layout.ledger_path(name, shard)))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(entry.__dict__, indent=1))
    found = sum(len(view.finished) for view in Zoo(store).spaces.values())
    if found != UNITS:
        raise RuntimeError(f"the zoo has {found} finished units, not {UNITS}")
    return [*NOISEZOO, "status", f"dir={folder}"]


def nothing_to_do(folder: Path) -> list[str]:
    """A build of two controls that is finished already."""
    command = [*NOISEZOO, "build", f"dir={folder}", "dataset.size=2048", "spaces=[gaussian_noise,pixels]"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return command


CASES = [
    Case("start.import", "`import noisezoo`", "0.7 s", within(0.7, lambda _: [sys.executable, "-c", "import noisezoo"]), target=1.0),
    Case("start.help", "`noisezoo --help`", "0.7 s", within(0.7, lambda _: [*NOISEZOO, "--help"]), target=1.0),
    Case("start.status", f"`noisezoo status` on {UNITS:,} units", "2 s", within(2.0, many_units, 5), target=1.0),
    Case("start.nothing_to_do", "a build that finds everything finished", "10 s", within(10.0, nothing_to_do, 3)),
]  # fmt: skip
