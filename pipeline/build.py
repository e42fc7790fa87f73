"""One pass of a build over some spaces: make or check the zoo, see what is left, run it.

The stages invert and encode are both this pass; they differ in which spaces they take and in whether spaces share one reading of the images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from noisezoo import writer
from noisezoo.store import Store
from noisezoo.zoo import Zoo
from pipeline.config import plain
from pipeline.progress import Board, log_file, say
from pipeline.spaces.base import Generates, Space
from pipeline.units import Order, left


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
        digests = add_spaces(store, spaces, set(cfg.rebuild), settings.fidelity_rows)
        work = left(store, len(zoo), zoo.shard_rows, digests, together=together)
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
        )
        runner = instantiate(cfg.runner)
        with Board(totals, work.done) as board:
            for entry in runner.run(order, work.jobs, board.add):
                if entry.invalid:
                    say(
                        f"{entry.space} shard {entry.shard}: {len(entry.invalid)} rows invalid, first {next(iter(entry.invalid.items()))}"
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
