"""Random faults, many times over: does a build lose, tear or repeat anything?

    python -m bench.soak --schedules 200           every schedule is told by its seed: --start 40 --schedules 1 runs one again
    python -m bench.soak --schedules 100 --start 100

A schedule builds a small zoo with one to three builders at once, each a process of its own with the engine's real queue, worker, leases and writer. They are killed,
terminated, stopped for longer than their lease and woken again, at random times and at random points between the look at a lease and the write that follows it;
some have a clock that is set wrongly, or run where nobody can see whether they live; now and then a write fails. After the last fault, builders without
faults finish the zoo. Then every byte of every space has to be that of an undisturbed build, every unit has to be in the ledger once, and no file may have been written twice.

Every builder notes each file of a unit and each entry right after it put it, so that what was put twice is counted even where it was the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

# The builders are forked from this process, which has all code in memory and runs none of it: zarr's and torch's threads would not survive a fork.
from noisezoo import conditional, layout, ledger, writer
from noisezoo.store import Store
from pipeline import leases, units
from pipeline.ingest import ingest
from pipeline.queue import Queue
from pipeline.runners import Inline
from pipeline.sources.toy import Toy
from pipeline.units import Failed, Order
from stages.ingest import make_zoo
from tests.kit.spaces import Regenerating, Thumbnail

ROWS, SHARD_ROWS = 100, 8
LEASE_SECONDS = 0.4
SPACES: dict[str, tuple[type[Thumbnail], dict[str, Any]]] = {
    "noise": (Regenerating, {"seconds_per_batch": 0.01}),
    "code": (Thumbnail, {"seconds_per_batch": 0.005}),
}
PATIENCE = 60.0


class Faults:
    """What goes wrong inside one builder, told by its dice. It wraps the store, so that the faults hit between two of its requests."""

    def __init__(self, seed: int, notes: Path, *, is_mean: bool) -> None:
        self.dice = random.Random(seed)
        self.notes = notes
        self.is_mean = is_mean

    def install(self) -> None:
        """Wrap the two conditional writes of every store of this process, and what puts a file on the disk."""
        for name in ("create", "replace"):
            setattr(Store, name, self._wrapped(getattr(Store, name)))
        conditional._put_on_disk = self._noted(conditional._put_on_disk)
        if self.is_mean and self.dice.random() < 0.3:
            off = self.dice.uniform(-86_400, 86_400)
            now = time.time
            time.time = lambda: now() + off
        if self.is_mean and self.dice.random() < 0.5:
            leases.process = lambda pid=None: []  # as from another machine: nobody sees that it died

    def _wrapped(self, put: Callable[..., str | None]) -> Callable[..., str | None]:
        def act(store: Store, name: str, *rest: Any) -> str | None:
            self._fault()
            version = put(store, name, *rest)
            self._fault()
            return version

        return act

    def _noted(self, put: Callable[..., str | None]) -> Callable[..., str | None]:
        """Note what is really put: to a store, a file that is there already with the same bytes counts as put too."""

        def act(fs: Any, path: str, *rest: Any) -> str | None:
            version = put(fs, path, *rest)
            if version is not None and (f"/{layout.LEDGER}/" in path or "/c/" in path):
                with open(self.notes, "ab", buffering=0) as file:
                    file.write(f"{path}\n".encode())
            self._fault()
            return version

        return act

    def _fault(self) -> None:
        if not self.is_mean:
            return
        point = self.dice.random()
        if point < 0.004:
            os.kill(os.getpid(), signal.SIGKILL)
        elif point < 0.012:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif point < 0.018:
            raise OSError(5, "Input/output error")


def build(zoo: Path, images: Path, order_of: Callable[[Store], Order]) -> int:
    """One build of everything that is left, as `noisezoo build` runs it."""
    store = Store(str(zoo))
    order = order_of(store)
    work = units.left(store, ROWS, SHARD_ROWS, order.digests, together=False)
    queue = Queue(work.jobs, attempts=3, held_seconds=0.1)
    failed = [r for r in Inline().run(order, queue, lambda space, rows: None) if isinstance(r, Failed)]
    return 1 if queue.set_aside or queue.hopeless or any(f.stops_all for f in failed) else 0


def order_of(images: Path) -> Callable[[Store], Order]:
    """The order of the two spaces, which are added to the zoo where they are missing."""

    def order(store: Store) -> Order:
        digests, configs = {}, {}
        for name, (kind, options) in SPACES.items():
            space = kind(**options)
            configs[name] = {"_target_": f"tests.kit.spaces.{kind.__name__}", **options}
            digests[name] = writer.add_space(
                store, name, space.shape, space.dims, space.dtype, space.describe(), fidelity=kind is Regenerating
            )
        return Order(
            store.url, str(images), configs, digests, device="cpu", batch=8, threads=1, lease_seconds=LEASE_SECONDS
        )

    return order


def forked(act: Callable[[], int]) -> int:
    """The number of a new process that runs `act` and exits with what it gives."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        status = act()
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def ended(pid: int, patience: float = PATIENCE) -> int:
    """Wait for a process; one that does not end is a failure of its own."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -999


def template(folder: Path) -> None:
    """Images, an empty zoo, and the zoo of an undisturbed build."""

    def make() -> int:
        ingest(Toy(size=ROWS), str(folder / "images"), shard_rows=SHARD_ROWS, workers=1)
        from pipeline.ingest import load

        for name in ("empty", "undisturbed"):
            store = Store(str(folder / name))
            make_zoo(store, load(str(folder / "images")))
            order_of(folder / "images")(store)
        return build(folder / "undisturbed", folder / "images", order_of(folder / "images"))

    if ended(forked(make)):
        raise SystemExit("The undisturbed build failed.")


def digests(zoo: Path) -> dict[str, str]:
    """sha256 of every shard of every array of every space."""
    files = sorted(p for p in (zoo / "spaces").rglob("*") if p.is_file() and "/c/" in str(p))
    return {
        str(p.relative_to(zoo)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if p.suffix != ".tmp" and p.name != ".lock"
    }


def schedule(seed: int, folder: Path) -> dict[str, Any]:
    """One schedule of faults, and what it left."""
    dice = random.Random(seed)
    place = folder / f"schedule-{seed}"
    zoo, notes, images = place / "zoo", place / "notes", folder / "images"
    shutil.copytree(folder / "empty", zoo)
    begun = time.monotonic()
    counts: Counter[str] = Counter()

    def start(number: int) -> int:
        def act() -> int:
            sys.stderr = open(place / f"builder-{number}.log", "w")  # noqa: SIM115
            Faults(seed * 1000 + number, notes, is_mean=True).install()
            return build(zoo, images, order_of(images))

        counts["builders"] += 1
        return forked(act)

    alive = {start(i): 0.0 for i in range(dice.randint(1, 3))}
    for number in range(10, 10 + dice.randint(3, 8)):
        pause = time.monotonic() + dice.uniform(0.02, 0.35)
        while time.monotonic() < pause:
            _wake(alive, counts)
            time.sleep(0.01)
        kind = dice.choice(["kill", "kill", "term", "stop", "stop", "another"])
        victims = sorted(alive)
        if kind == "another" or not victims:
            alive[start(number)] = 0.0
            continue
        victim = victims[dice.randrange(len(victims))]
        counts[kind] += 1
        if kind == "stop":
            os.kill(victim, signal.SIGSTOP)
        else:
            os.kill(victim, signal.SIGKILL if kind == "kill" else signal.SIGTERM)
            if kind == "term":
                os.kill(victim, signal.SIGCONT)
    until = time.monotonic() + PATIENCE
    # Those that are still there go on, beside one that is spared.
    last = forked(lambda: _spared(zoo, images, notes, seed))
    while alive and time.monotonic() < until:
        _wake(alive, counts)
        time.sleep(0.01)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    status = ended(last)
    found = _judge(zoo, notes, folder)
    wrong = status != 0 or bool(alive) or any(found[key] for key in ("lost_rows", "torn_shards", "double_writes"))
    result = {
        "seed": seed,
        "seconds": round(time.monotonic() - begun, 2),
        "status": status,
        "never_ended": len(alive),
        **found,
        "faults": dict(counts),
        "wrong": wrong,
    }
    if not wrong:
        shutil.rmtree(place)
    return result


def _spared(zoo: Path, images: Path, notes: Path, seed: int) -> int:
    Faults(seed, notes, is_mean=False).install()
    return build(zoo, images, order_of(images))


def _wake(alive: dict[int, float], counts: Counter[str]) -> None:
    """Take note of builders that ended or were stopped, and wake those that have slept for longer than their lease."""
    now = time.monotonic()
    for pid, since in list(alive.items()):
        done, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if done and os.WIFSTOPPED(status):
            alive[pid] = now
            counts["stopped"] += 1
        elif done:
            del alive[pid]
            counts[f"ended {os.waitstatus_to_exitcode(status)}"] += 1
        elif since and now - since > 1.5 * LEASE_SECONDS:
            os.kill(pid, signal.SIGCONT)
            alive[pid] = 0.0


def _judge(zoo: Path, notes: Path, folder: Path) -> dict[str, Any]:
    """What differs from the undisturbed zoo."""
    right, found = digests(folder / "undisturbed"), digests(zoo)
    puts = Counter(notes.read_text().split())
    lost, torn, entries = 0, 0, 0
    for name in SPACES:
        store = Store(str(zoo))
        for shard in range(layout.shard_count(ROWS, SHARD_ROWS)):
            entry = ledger.read(store, name, shard)
            rows = len(layout.span(shard, ROWS, SHARD_ROWS))
            if entry is None:
                lost += rows
                continue
            entries += 1
            lost += rows - entry.valid
            torn += any(found.get(path) != digest or right.get(path) != digest for path, digest in entry.files.items())
    strangers = found.keys() - right.keys()
    return {
        "lost_rows": lost,
        "torn_shards": torn + len(strangers) + len(right.keys() - found.keys()),
        "double_writes": sum(count - 1 for count in puts.values()),
        "entries": entries,
        "halves": len(list(zoo.rglob("*.tmp"))),
    }


def soak(schedules: int, start: int, folder: Path) -> dict[str, Any]:
    """Many schedules, one after another, and their sum."""
    template(folder)
    results = []
    for seed in range(start, start + schedules):
        results.append(schedule(seed, folder))
        print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    total: Counter[str] = Counter()
    for result in results:
        total.update(result["faults"])
    return {
        "schedules": len(results),
        "start": start,
        "wrong": [r["seed"] for r in results if r["wrong"]],
        **{
            key: sum(r[key] for r in results)
            for key in ("lost_rows", "torn_shards", "double_writes", "entries", "halves")
        },
        "seconds": round(sum(r["seconds"] for r in results), 1),
        "faults": dict(sorted(total.items())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--start", type=int, default=0, help="the first schedule's seed")
    parser.add_argument("--folder", help="kept, with what went wrong; a temporary one by default")
    args = parser.parse_args()
    if args.folder:
        shutil.rmtree(args.folder, ignore_errors=True)
        Path(args.folder).mkdir(parents=True)
        found = soak(args.schedules, args.start, Path(args.folder))
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = soak(args.schedules, args.start, Path(folder))
    print(json.dumps(found, indent=1))
    raise SystemExit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
