"""One pass of a build over some spaces: make or check the zoo, see what is left, run it.

The stages invert and encode are both this pass; they differ in which spaces they take and in whether spaces share one reading of the images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from noisezoo import writer
from noisezoo.errors import UnfinishedError
from noisezoo.store import Store
from noisezoo.zoo import Zoo
from pipeline import failures, leases
from pipeline.config import plain
from pipeline.progress import LOG, Board, log_file, say
from pipeline.queue import Queue
from pipeline.runners import Runner
from pipeline.spaces.base import Generates, Space
from pipeline.units import Failed, Order, left

NAMED = 5
"""Units that are named one by one in a message."""


def space_configs(cfg: DictConfig) -> dict[str, dict[str, Any]]:
    """Each chosen space's configuration, with the inverter that was asked for in place of its own."""
    asked = {key: value for key, value in plain(cfg.inverter).items() if value is not None}
    configs: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(cfg.spaces):
        node = plain(cfg.space[name])
        if asked and "inverter" in node:
            own = node["inverter"] or {}
            # Another procedure's options mean nothing to this one; steps do.
            kept = own if asked.get("name", own.get("name")) == own.get("name") else {"steps": own.get("steps")}
            node["inverter"] = {**kept, **asked}
        configs[name] = node
    return configs


def compute(cfg: DictConfig, settings: DictConfig, wanted: Callable[[Space], bool], *, together: bool) -> None:
    """Compute every unit that is left of the chosen spaces for which `wanted` holds."""
    store = Store(cfg.zoo)
    configs = space_configs(cfg)
    spaces: dict[str, Space] = {name: instantiate(node, _convert_="all") for name, node in configs.items()}
    spaces = {name: space for name, space in spaces.items() if wanted(space)}
    if not spaces:
        return
    zoo = Zoo(store)
    with log_file(cfg.dir):
        with leases.alone(
            store, "spaces", lambda worker: say(f"Another build ({worker}) makes the spaces: waiting for it.")
        ):
            digests = add_spaces(store, spaces, set(cfg.rebuild), settings.fidelity_rows)
        work = left(store, len(zoo), zoo.shard_rows, digests, together=together)
        # What killed builds left: halves of files, and the leases of units that they had finished.
        store.sweep()
        leases.forget(store, digests, {(name, job.shard) for job in work.jobs for name in job.spaces})
        totals = {name: len(zoo) for name in spaces}
        if not work.jobs:
            say(f"{', '.join(spaces)}: all {len(zoo)} rows are there.")
            return
        order = Order(
            zoo=cfg.zoo,
            images=cfg.images,
            spaces={name: configs[name] for name in spaces},
            digests=digests,
            device=cfg.device,
            batch=settings.batch,
            decode_threads=settings.decode_threads,
            fidelity_rows=settings.fidelity_rows,
            threads=cfg.threads,
            lease_seconds=cfg.lease_seconds,
        )
        runner: Runner = instantiate(cfg.runner, _convert_="all")
        queue = Queue(work.jobs, cfg.attempts, held_seconds=min(5.0, cfg.lease_seconds / 4))
        follow(store, runner, order, queue, Board(totals, work.done))


def follow(store: Store, runner: Runner, order: Order, queue: Queue, board: Board) -> None:
    """Run the queue to its end, tell what happens, and keep a record of what fails; raise where units are left."""
    recorded = failures.recorded(store, order.spaces)
    with board:
        for result in runner.run(order, queue, board.add):
            if isinstance(result, Failed):
                for space in result.job.spaces:
                    recorded.add((space, result.job.shard))
                    failures.record(store, space, result)
                say(f"{', '.join(result.job.spaces)} shard {result.job.shard} failed: {result.error}")
                LOG.info(result.trace)
                continue
            if (result.space, result.shard) in recorded:
                failures.forget(store, result.space, result.shard)
            if result.invalid:
                say(
                    f"{result.space} shard {result.shard}: {len(result.invalid)} rows invalid, first {next(iter(result.invalid.items()))}"
                )
    if queue.hopeless is not None:
        raise UnfinishedError(_left(queue, order), stops_all=queue.hopeless.stops_all or queue.hopeless.ends_worker)
    if queue.set_aside:
        raise UnfinishedError(_left(queue, order))


def _left(queue: Queue, order: Order) -> str:
    """What is left of a build, and why, in one sentence."""
    aside = queue.set_aside or ([queue.hopeless] if queue.hopeless else [])
    named = [f"{space} shard {failed.job.shard}" for failed in aside for space in failed.job.spaces]
    last = queue.hopeless or aside[-1]
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    reason = last.error.rstrip(".")
    if queue.hopeless is not None:
        return f"Stopped at {', '.join(named[:NAMED])}{more}, because what failed would fail everywhere: {reason}."
    return (
        f"{len(named)} unit{'s' if len(named) > 1 else ''} could not be computed ({', '.join(named[:NAMED])}{more}; {reason}); "
        f"the rest is finished: mend that and type the same command again."
    )


def add_spaces(store: Store, spaces: Mapping[str, Space], rebuild: set[str], fidelity_rows: int) -> dict[str, str]:
    """Make the spaces that the zoo lacks and check those that it has; their configuration digests."""
    known = set(spaces)
    if unknown := rebuild - known:
        # Spaces of the other stage are rebuilt there.
        rebuild = rebuild - unknown
    digests: dict[str, str] = {}
    for name, space in spaces.items():
        if name in rebuild:
            writer.remove_space(store, name)
        provenance = {
            **space.describe(),
            "extra_arrays": {key: list(shape) for key, shape in space.extra_arrays().items()},
        }
        has_fidelity = fidelity_rows > 0 and isinstance(space, Generates)
        digests[name] = writer.add_space(
            store, name, space.shape, space.dims, space.dtype, provenance, fidelity=has_fidelity
        )
    return digests
