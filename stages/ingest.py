"""Ingest: source → image shards, and a zoo with its rows and labels.

Reads the source that `dataset` names; writes `images` (tar shards and their records) and an empty zoo. Run again it finds what is finished and goes on; a source that has changed
since is refused, because rows would no longer mean the same images.
"""

from __future__ import annotations

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from noisezoo import layout, writer
from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from noisezoo.zoo import Zoo
from pipeline.config import plain
from pipeline.ingest import Ingested, ingest
from pipeline.leases import alone
from pipeline.progress import Board, log_file, say
from pipeline.sources.base import Source
from pipeline.sources.selection import Selection

SELECTION = ("limit", "rows", "split", "where")


def run(cfg: DictConfig) -> None:
    """Bring the chosen rows in, once."""
    if missing := sorted(OmegaConf.missing_keys(cfg.dataset)):
        raise NoiseZooError(f"{' and '.join(missing)} must be given: type {' '.join(f'{key}=…' for key in missing)}")
    node = plain(cfg.dataset)
    selection = Selection(**{key: node.pop(key) for key in SELECTION if key in node})
    source: Source = instantiate(node, _convert_="all")
    waiting = "Another build ({}) brings the images in: waiting for it."
    with log_file(cfg.dir), alone(Store(cfg.images), "_ingest", lambda worker: say(waiting.format(worker))):
        store = Store(cfg.zoo)
        if store.names() and not store.exists("zarr.json"):
            raise NoiseZooError(f"{cfg.zoo} holds something else than a zoo: give an empty or new folder with dir=….")
        board: Board | None = None

        def progress(done: int, total: int) -> None:
            nonlocal board
            if board is None:
                board = Board({"ingest": total}, {"ingest": done}).__enter__()
            board.add("ingest", done - board.done["ingest"])

        try:
            ingested = ingest(
                source,
                cfg.images,
                selection=selection,
                shard_rows=cfg.shard_rows,
                workers=cfg.ingest.workers,
                copy=cfg.ingest["copy"],  # .copy is a method of every node
                max_broken_share=cfg.ingest.max_broken_share,
                progress=progress,
            )
        finally:
            if board is not None:
                board.__exit__(None, None, None)
        if ingested.invalid:
            first = ingested.invalid[0]
            say(
                f"{len(ingested.invalid)} of {len(ingested.rows)} images are broken; their rows stay, invalid: first {first.key}, {first.reason}."
            )
        make_zoo(store, ingested)


def make_zoo(store: Store, ingested: Ingested) -> None:
    """Write the empty zoo, or check that the one that is there has these rows."""
    index = ingested.index
    facts = {**ingested.source, "digest": index.digest(), "selection": ingested.selection.facts()}
    if store.exists("zarr.json") and layout.ATTRIBUTE in store.group("r").attrs:
        zoo = Zoo(store)
        if zoo.source["digest"] != facts["digest"] or zoo.shard_rows != ingested.shard_rows:
            what = writer.differences(
                {**zoo.source, "shard_rows": zoo.shard_rows}, {**facts, "shard_rows": ingested.shard_rows}
            )
            raise NoiseZooError(f"{store.url} was made of other rows ({what}): give another name=… or dir=….")
        return
    table = writer.Table(
        keys=np.asarray(index.keys, dtype=object),
        numbers=ingested.rows,
        sha256=ingested.sha256,
        attributes=index.attributes,
        labels=index.labels if len(index.attributes) else None,
        splits=index.splits,
        split=index.split if len(index.splits) else None,
        extra=index.extra,
        names=index.names,
    )
    writer.create(store, table, facts, ingested.shard_rows)
