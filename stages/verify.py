"""Verify: the zoo against its ledger.

Reads every file of every finished unit; writes nothing but, for a unit that is not what its entry says, takes the entry back, so that the next build computes just that unit.
"""

from __future__ import annotations

from omegaconf import DictConfig

from noisezoo import ledger
from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from noisezoo.verify import verify
from noisezoo.zoo import Zoo
from pipeline.progress import Board, log_file, say


def run(cfg: DictConfig) -> None:
    """Check all units; name what is wrong."""
    zoo = Zoo(Store(cfg.zoo))
    units = sum(len(space.finished) for space in zoo.spaces.values())
    with log_file(cfg.dir):
        with Board({"verify": units}, {}, unit="units") as board:
            problems = verify(zoo, progress=lambda done: board.add("verify", done))
        for problem in problems:
            ledger.retract(zoo.store, problem.space, problem.shard)
            say(str(problem))
        if problems:
            raise NoiseZooError(
                f"{len(problems)} of {units} units are corrupt and no longer count as finished: type `noisezoo build` with the same overrides to compute them again."
            )
        say(f"{units} units in {len(zoo.spaces)} spaces agree with the ledger.")
