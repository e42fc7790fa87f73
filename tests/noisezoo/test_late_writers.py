"""Two builders of one unit, one of them stopped at the worst moment: just after it made sure that the unit is its own, and just before it writes.

Every such moment is tried, with builders that compute the same bytes and with builders that differ in the last bits, as on different devices. What is
claimed is in `pipeline.leases`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisezoo import ledger, writer
from noisezoo.store import Store
from noisezoo.verify import check_unit, verify
from noisezoo.writer import TakenError, Unit
from noisezoo.zoo import Zoo
from tests.kit.small import small_table

CHECKS = 8
"""More than `write_unit` ever asks whether the unit is ours, for a unit of three files."""


class DiedError(Exception):
    """A builder was killed."""


class World:
    """One zoo with one unit, and builders of it. The lease is whoever took it last."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(str(folder / "zoo"))
        source = {"name": "made", "licence": "CC0", "homepage": "", "digest": "d", "selection": {}}
        writer.create(self.store, small_table(8), source, 8)
        self.digest = writer.add_space(self.store, "s", (2, 2), ("y", "x"), "float16", {}, fidelity=True)
        self.group: Any = self.store.group("r+")["spaces/s"]
        self.holder = ""

    def build(self, name: str, device: float, at: int = 0, then: Callable[[], object] = lambda: None) -> bool:
        """Compute and write the unit as `name`, on a device that is off by so much; at the n-th check, once it was answered, `then` happens. Whether the unit was still ours."""
        self.holder = name
        asked = 0

        def is_ours() -> bool:
            nonlocal asked
            asked += 1
            answer = self.holder == name
            if asked == at:
                then()
            return answer

        latent = np.full((8, 2, 2), 1 + device, np.float16)
        fidelity = np.full((8, 4), 30 + device, np.float32)
        arrays = {"latent": latent, "valid": np.ones(8, bool), "fidelity": fidelity}
        unit = Unit("s", 0, self.digest, arrays, {}, worker=name)
        try:
            writer.write_unit(self.store, self.group, unit, is_ours)
        except TakenError:
            return False
        return True

    @property
    def entry(self) -> ledger.Entry | None:
        return ledger.read(self.store, "s", 0)

    def is_right(self) -> bool:
        """One entry, and it says the bytes that are there."""
        entry = self.entry
        return entry is not None and check_unit(Zoo(self.store)["s"], entry) is None


def die() -> None:
    raise DiedError


@pytest.fixture
def worlds(tmp_path: Path) -> Callable[[], World]:
    made = iter(range(1000))
    return lambda: World(tmp_path / str(next(made)))


@pytest.mark.parametrize("device", [0.0, 0.25], ids=["same bytes", "other bytes"])
def test_a_builder_that_wakes_late_changes_nothing(worlds: Callable[[], World], device: float) -> None:
    moments = 0
    for at in range(1, CHECKS):
        world = worlds()
        held: list[ledger.Entry | None] = []

        def finish(world: World = world, held: list[ledger.Entry | None] = held) -> None:
            assert world.build("holder", device)
            held.append(world.entry)

        won = world.build("late", 0.0, at, finish)
        assert world.is_right()
        if held:
            moments += 1
            assert world.entry == held[0], "the entry of the unit that was finished has changed"
            assert won == (device == 0.0 and at == 4), (
                "only one that was at its entry, with the same bytes, may think that it did it"
            )
    assert moments == 4, "a check before each of three files and before the entry"


@pytest.mark.parametrize("device", [0.0, 0.25], ids=["same bytes", "other bytes"])
def test_what_a_dead_builder_left_is_finished_by_the_next(worlds: Callable[[], World], device: float) -> None:
    for at in range(1, 5):
        world = worlds()
        with pytest.raises(DiedError):
            world.build("dead", 0.0, at, die)
        assert world.entry is None
        assert world.build("next", device)
        assert world.is_right()
        assert world.entry is not None
        assert world.entry.worker == "next"


def test_an_entry_that_comes_too_late_is_put_right_by_the_holder(worlds: Callable[[], World]) -> None:
    """The late one has written its files and wakes between the holder's last file and its entry."""
    world = worlds()

    def late_wakes() -> None:
        late = ledger.Entry("s", 0, (0, 8), world.digest, digests, 8, worker="late")
        assert ledger.enter(world.store, late).worker == "late"

    assert world.build("late", 0.0)
    assert world.entry is not None
    digests = world.entry.files
    ledger.retract(world.store, "s", 0)
    assert world.build("holder", 0.25, 7, late_wakes)
    assert world.entry is not None
    assert world.entry.worker == "holder"
    assert world.is_right()


def test_two_faults_in_one_unit_at_the_worst_places_are_found_and_mended(worlds: Callable[[], World]) -> None:
    """The late one was stopped before its entry, the holder replaces a file and dies, and the late one wakes. With equal bytes there is nothing to find."""
    outcomes = set()
    for device in (0.0, 0.25):
        for at in range(1, CHECKS):
            world = worlds()
            died = []

            def take_over_and_die(
                world: World = world, device: float = device, at: int = at, died: list[int] = died
            ) -> None:
                try:
                    world.build("holder", device, at, die)
                except DiedError:
                    died.append(at)

            world.build("late", 0.0, 4, take_over_and_die)
            outcomes |= {(device, is_found_and_mended(world))} if died else set()
    assert outcomes == {(0.0, False), (0.25, False), (0.25, True)}


def test_a_late_replacement_of_bytes_that_came_back_is_found_and_mended(worlds: Callable[[], World]) -> None:
    """Three builders: the first died and left the holder's very bytes; the late one read them and was stopped before it replaced them."""
    world = worlds()
    with pytest.raises(DiedError):
        world.build("dead", 0.25, 4, die)
    assert not world.build("late", 0.0, 2, lambda: world.build("holder", 0.25))
    assert is_found_and_mended(world)


def is_found_and_mended(world: World) -> bool:
    """Whether `verify` finds the unit wrong; in either case the next build makes it right."""
    problems = verify(Zoo(world.store))
    for problem in problems:
        ledger.retract(world.store, problem.space, problem.shard)
    assert world.entry is None or world.is_right()
    assert world.build("next", 0.25)
    assert world.is_right()
    return bool(problems)


def test_a_space_that_was_made_anew_takes_nothing_of_the_old(worlds: Callable[[], World]) -> None:
    world = worlds()
    old = world.digest
    writer.remove_space(world.store, "s")
    assert writer.add_space(world.store, "s", (2, 2), ("y", "x"), "float16", {"scale": 2}, fidelity=True) != old
    with pytest.raises(writer.StopsAllError, match="made anew with another configuration"):
        world.build("old", 0.0)
    assert world.store.files("ledger") == []
