"""Plan: what a build with these overrides would do. Reads the zoo where there is one, else the source's table of rows; writes nothing.

With `--measure` every space is loaded and timed on a few images of the source, on the device that is here.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import islice
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from noisezoo import layout
from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from noisezoo.zoo import Zoo
from pipeline.build import space_configs
from pipeline.config import plain
from pipeline.planning import SpacePlan, Timing, measure, plan
from pipeline.progress import say
from pipeline.sources.base import Source
from pipeline.sources.selection import Selection
from pipeline.spaces.base import Space
from pipeline.worker import pick_device
from stages.ingest import SELECTION

IMAGES = 32
"""Images that are decoded for timing; a larger batch repeats them."""


def run(cfg: DictConfig) -> None:
    """Print the plan."""
    source, selection = source_of(cfg)
    store = Store(cfg.zoo)
    zoo = Zoo(store) if store.exists("zarr.json") else None
    rows = len(zoo) if zoo else len(selection.of(source.index()))
    shard_rows = zoo.shard_rows if zoo else int(cfg.shard_rows)
    spaces: dict[str, Space] = {name: instantiate(node, _convert_="all") for name, node in space_configs(cfg).items()}
    if not spaces:
        raise NoiseZooError("No space is chosen: say which with spaces=[toy_sd,toy_clip].")
    images = first_images(source, selection) if cfg.plan.measure else []
    plans = {}
    for name, space in spaces.items():
        settings = cfg.invert if space.facts.task == "noise" else cfg.encode
        done = zoo[name].finished if zoo and name in zoo.spaces and name not in cfg.rebuild else {}
        units = [
            len(layout.span(shard, rows, shard_rows))
            for shard in range(layout.shard_count(rows, shard_rows))
            if shard not in done
        ]
        timing = timed(cfg, name, space, images, settings.batch, shard_rows) if cfg.plan.measure else None
        plans[name] = plan(space, units, shard_rows, settings.fidelity_rows, settings.decode_threads, timing)
    if cfg.plan.json:
        print(json.dumps({"rows": rows, "shard_rows": shard_rows, "spaces": {n: asdict(p) for n, p in plans.items()}}))
    else:
        print(text(rows, shard_rows, plans, workers(cfg)))


def source_of(cfg: DictConfig) -> tuple[Source, Selection]:
    """The source that `dataset` names, and which of its rows."""
    node = plain(cfg.dataset)
    selection = Selection(**{key: node.pop(key) for key in SELECTION if key in node})
    return instantiate(node, _convert_="all"), selection


def first_images(source: Source, selection: Selection) -> list[bytes]:
    """A few image files of the chosen rows."""
    rows = [int(row) for row in selection.of(source.index())[: 2 * IMAGES]]
    found = (picture.data for picture in source.read(rows))
    images = list(islice((data for data in found if data is not None), IMAGES))
    if not images:
        raise NoiseZooError(
            "None of the first images can be read: check dataset.root, then type the same command again."
        )
    return images


def timed(cfg: DictConfig, name: str, space: Space, images: list[bytes], batch: int | None, shard_rows: int) -> Timing:
    """A space's timing, with the largest batch that fits."""
    size = min(batch or space.limit, shard_rows)
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    while True:
        try:
            return measure(space, images, pick_device(cfg.device), size, cfg.plan.seconds)
        except torch.OutOfMemoryError:
            if size == 1:
                raise NoiseZooError(
                    f"The memory does not suffice for one row of {name}: choose a larger device."
                ) from None
            size //= 2
            say(f"{name}: trying a batch of {size}, which needs less memory.")


def workers(cfg: DictConfig) -> int:
    """How many devices the runner would use."""
    asked = cfg.runner.get("workers")
    return int(asked) if asked else max(1, torch.cuda.device_count()) if "local" in cfg.runner._target_ else 1


def text(rows: int, shard_rows: int, plans: dict[str, SpacePlan], workers: int) -> str:
    """A table, and the sums below it."""
    header = ("space", "units", "rows", "calls/row", "calls", "MB", "rows/s", "hours")
    body: list[tuple[str, ...]] = [header]
    for name, p in plans.items():
        rate = "–" if p.timing is None else f"{p.timing.rows_per_second:.1f}"
        hours = "–" if p.hours is None else f"{p.hours:.2f}"
        counts = (str(p.units), str(p.rows), str(p.calls_per_row), f"{p.calls:,}", f"{p.bytes / 1e6:,.1f}")
        body.append((name, *counts, rate, hours))
    widths = [max(len(row[i]) for row in body) for i in range(len(header))]
    lines = [f"{rows} rows in shards of {shard_rows}; what is left to compute:"]
    lines += ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in body]
    units, size = sum(p.units for p in plans.values()), sum(p.bytes for p in plans.values())
    lines.append(f"{units} units, {sum(p.calls for p in plans.values()):,} network calls, {size / 1e6:,.1f} MB.")
    known: list[Any] = [p for p in plans.values() if p.hours is not None]
    if known:
        total = sum(p.hours for p in known)
        kind = "GPU hours" if any(p.timing.device != "cpu" for p in known) else "CPU hours"
        each = f", {total / workers:.2f} hours on {workers} of them" if workers > 1 else ""
        lines.append(f"{total:.2f} {kind} on {known[0].timing.device}{each}.")
    return "\n".join(lines)
