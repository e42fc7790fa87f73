"""Leases: at most one builder works on a unit, and nothing is spoilt when two do.

A lease is a small file, `leases/<space>/<shard>.json`, that says who works on a unit. It is put with a conditional write and says a random token, a
count that each renewal raises, and for how long a builder may be silent. Nobody reads anybody's clock: who wants a unit that another holds watches
the file, and takes the lease over once the file has not changed for the lease's own duration on the watcher's monotonic clock. A file that is renewed
never looks twice the same, so a watcher that was itself stopped for an hour is right too; clocks that are set wrongly do not matter. On the machine
where the holder ran, a holder that died (same boot, same process space, no such process) is not waited for.

**What leases are for.** They save work. They cannot keep the bytes safe: a builder that looks at its lease and is then stopped (SIGSTOP, a paused
virtual machine, a packet that the network delivers an hour late) writes when it wakes, whatever the lease has become. What keeps the bytes safe is
how a unit is written (`noisezoo.writer.write_unit`):

1. Every file of a unit is put with a conditional write, *only if there is none*. Where there is one already and its bytes are ours, it is as good as
   written. Where its bytes are others (a builder on another device died before its entry, or `verify` took the entry back), they are replaced only
   *if still the version that was read*, and only while the lease is ours.
2. The ledger's entry comes last and is also created only if there is none. So a unit has one entry, whatever happens.

*Same bytes.* A unit's bytes follow from its configuration, so builders on like devices write the same bytes. Whatever a late one does, the bytes stay,
and the entry that is there stays.

*Devices that differ in the last bits.* Let L be late, H the present holder, and their bytes differ. Where H has finished, every file and the entry are
there: L's creations are refused, and L looks at its lease before it replaces anything, and gives up. Where L enters the unit between H's last file and
H's entry, H finds an entry that does not say its bytes and, holding the lease, replaces it. What remains takes two faults within one unit, at just these
places: L is stopped between looking and writing, for longer than its lease, and another builder of the unit dies in the middle of its files: H, after it
replaced a file and before its entry, so that L's entry stands; or one before L, which left the very bytes that H will have, so that L's replacement of
them still finds the version that it read. Then the ledger says other bytes than are there. `noisezoo verify` finds that and takes the entry back, and the
next build computes that unit again. No reader ever gets half a file. tests/noisezoo/test_late_writers.py goes through every such moment.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from noisezoo import layout
from noisezoo.errors import StopsAllError
from noisezoo.store import Store

SECONDS = 60.0
"""How long a builder may be silent before others take its unit."""

_watched: dict[tuple[str, str], tuple[str, float]] = {}
"""Every lease of others that this process has seen: its version, and when it was first seen, by this process's monotonic clock."""


@dataclass
class Lease:
    """The right to work on one unit, for as long as it is renewed."""

    store: Store
    space: str
    shard: int
    worker: str
    seconds: float
    version: str
    token: str
    count: int = 0
    is_lost: bool = False
    """Whether another has been seen in its place."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def name(self) -> str:
        return layout.lease_path(self.space, self.shard)

    def renew(self) -> bool:
        """Say that the builder lives; False where another has taken the unit."""
        with self._lock:
            return self._change(_told(self.worker, self.seconds, self.token, self.count + 1))

    def still_mine(self) -> bool:
        """Whether the store says so now. Ask before each write that matters; why the moment after this answer is harmless is told above."""
        with self._lock:
            if not self.is_lost:
                try:
                    self.is_lost = self.store.read_version(self.name)[1] != self.version
                except FileNotFoundError:
                    self.is_lost = True
            return not self.is_lost

    def release(self) -> None:
        """Let others have the unit at once; call it where it could not be finished."""
        with self._lock:
            self._change(_told("", 0.0, self.token, self.count + 1))
            self.is_lost = True

    def finish(self) -> None:
        """Remove the lease of a unit whose entry is in the ledger: whoever held it by now needs it no more."""
        with self._lock:
            self.is_lost = True
            self.store.unlink(self.name)

    def _change(self, data: bytes) -> bool:
        if self.is_lost:
            return False
        version = self.store.replace(self.name, data, self.version)
        self.is_lost = version is None
        if version is not None:
            self.version = version
            self.count += 1
        return not self.is_lost


def claim(store: Store, space: str, shard: int, worker: str, seconds: float = SECONDS) -> Lease | None:
    """The lease of a unit; None while another's is alive, or not yet known to be dead: ask again later, and the watch goes on.

    Look into the ledger after this, not before: the unit may have been finished between.
    """
    name, token = layout.lease_path(space, shard), uuid.uuid4().hex
    told = _told(worker, seconds, token, 0)
    version = store.create(name, told)
    if version is None:
        asked = time.monotonic()
        try:
            there, seen = store.read_version(name)
        except FileNotFoundError:  # finished, or taken back, this very moment
            return None
        if not _is_free(store, name, there, seen, seconds, asked):
            return None
        version = store.replace(name, told, seen)
    if version is None:
        return None
    _watched.pop((store.url, name), None)
    return Lease(store, space, shard, worker, seconds, version, token)


def holder(store: Store, space: str, shard: int) -> dict[str, Any] | None:
    """What a lease says (`worker`, `seconds`, `count`); None where nobody works on the unit. That its holder lives is not said."""
    try:
        facts = _facts(store.read(layout.lease_path(space, shard)))
    except FileNotFoundError:
        return None
    return facts if facts.get("worker") else None


def forget(store: Store, spaces: Iterable[str], left: Container[tuple[str, int]]) -> None:
    """Remove the leases of units that are not among those left to compute: their holders died between the entry and the lease."""
    for space in spaces:
        folder = layout.lease_path(space)
        for name in store.names(folder):
            if name.endswith(".json") and (space, int(name.removesuffix(".json"))) not in left:
                store.unlink(f"{folder}/{name}")


@contextmanager
def alone(store: Store, what: str, waiting: Callable[[str], None] = lambda worker: None) -> Iterator[None]:
    """One builder at a time for `what`, such as making the zoo; others wait, and are told once for whom."""
    worker, has_told = me(), False
    while (lease := claim(store, what, 0, worker)) is None:
        if not has_told and (held := holder(store, what, 0)) is not None:
            waiting(str(held["worker"]))
            has_told = True
        time.sleep(0.2)
    if not store.is_local and store.create(lease.name, b"{}") is not None:
        raise StopsAllError(
            f"{store.url} takes conditional writes and ignores their conditions, so that two builds could spoil each other: "
            "give a store that heeds If-None-Match, or build into a folder and copy it."
        )
    with Keeper() as keeper:
        keeper.add(lease)
        try:
            yield
        finally:
            keeper.drop(lease)
            if lease.still_mine():
                lease.finish()


class Keeper:
    """Renews leases in a thread of its own, so that a unit may take longer than its lease. A process that is stopped renews nothing, which is the point."""

    def __init__(self) -> None:
        self._due: dict[int, tuple[Lease, float]] = {}
        """Leases by identity, and when each is to be renewed next."""
        self._changed = threading.Condition()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join()

    def add(self, lease: Lease) -> None:
        """Keep a lease alive from now on."""
        with self._changed:
            self._due[id(lease)] = (lease, time.monotonic() + lease.seconds / 3)
            self._changed.notify()

    def drop(self, lease: Lease) -> None:
        """Renew it no more."""
        with self._changed:
            self._due.pop(id(lease), None)

    def _run(self) -> None:
        while (lease := self._next()) is not None:
            # A store that fails in passing is asked again at the next turn, which says what became of the lease meanwhile.
            is_lost = False
            with suppress(Exception):
                is_lost = not lease.renew()
            with self._changed:
                if id(lease) in self._due:
                    self._due[id(lease)] = (lease, time.monotonic() + lease.seconds / 3)
            if is_lost:
                self.drop(lease)

    def _next(self) -> Lease | None:
        """The lease to renew now, when it is time; None at the end."""
        with self._changed:
            while not self._is_over:
                lease, when = min(self._due.values(), key=lambda pair: pair[1], default=(None, 0.0))
                if lease is None:
                    self._changed.wait()
                elif (seconds := when - time.monotonic()) > 0:
                    self._changed.wait(seconds)
                else:
                    return lease
        return None


def _told(worker: str, seconds: float, token: str, count: int) -> bytes:
    facts = {"worker": worker, "seconds": seconds, "token": token, "count": count, "process": process()}
    return json.dumps(facts).encode()


def _facts(data: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _is_free(store: Store, name: str, data: bytes, version: str, seconds: float, asked: float) -> bool:
    """Whether the lease in this file binds nobody: given back, its holder dead on this machine, or silent for as long as it said."""
    facts = _facts(data)
    if (facts and not facts.get("worker")) or _is_dead(facts.get("process")):
        return True
    # Unchanged from when the first answer had come to when this one was asked for; however long the answers were under way.
    known, since = _watched.setdefault((store.url, name), (version, time.monotonic()))
    if known != version:
        _watched[store.url, name] = (version, time.monotonic())
        return False
    told = facts.get("seconds")
    return asked - since > (told if isinstance(told, int | float) else seconds)


def me() -> str:
    """What this process is called in leases and in the ledger."""
    return f"{socket.gethostname()}:{os.getpid()}"


def process(pid: int | None = None) -> list[str]:
    """What names a process for good on Linux: boot, process space, number, time of start; empty elsewhere."""
    pid = os.getpid() if pid is None else pid
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state, *rest = file.read().rpartition(")")[2].split()
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        return []
    return [boot, space, str(pid), "dead" if state in "ZX" else rest[18]]


def _is_dead(them: Any) -> bool:
    """Whether a process is known to be no more: it ran in this boot and process space, and is not there now."""
    us = process()
    if not us or not isinstance(them, list) or len(them) != 4 or them[:2] != us[:2]:
        return False
    return process(int(them[2])) != them
