"""What is published on request: NumPy files under the authors' names, and WebDataset tars with one sample a row."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np

from noisezoo import layout, npy
from noisezoo.zoo import Zoo
from pipeline import shards
from pipeline.publish.tables import divide
from pipeline.shards import TarWriter

NUMPY = "data"
TARS = "webdataset"


def write_numpy(zoo: Zoo, folder: Path) -> list[Path]:
    """`data/noises_<model>.npy` for every space, all rows in order."""
    return npy.export(zoo, folder / NUMPY)


def write_tars(zoo: Zoo, folder: Path, images: str | None) -> list[Path]:
    """`webdataset/<split>-<shard>.tar`: of each row `<row>.json` (key and labels), `<row>.<space>.npy` where it is valid, and the image file where `images` holds them."""
    spaces, parts = zoo.spaces, divide(zoo)
    keys, attributes = zoo.row_fact("key"), {name: zoo.labels[name] for name in zoo.labels}
    made = []
    for shard in range(layout.shard_count(len(zoo), zoo.shard_rows)):
        span = layout.span(shard, len(zoo), zoo.shard_rows)
        latents = {name: space[span.start : span.stop] for name, space in spaces.items()}
        pictures = list(shards.read(images, shard)) if images else []
        for split, rows in parts.items():
            here = rows[np.searchsorted(rows, span.start) : np.searchsorted(rows, span.stop)]
            if not len(here):
                continue
            path = folder / TARS / f"{split}-{shard:06d}.tar"
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            with part.open("wb") as file:
                tar = TarWriter(file)
                for row in map(int, here):
                    labels = {name: int(values[row]) for name, values in attributes.items()}
                    tar.add(
                        f"{row:09d}.json", json.dumps({"row": row, "key": str(keys[row]), "labels": labels}).encode()
                    )
                    for name, space in spaces.items():
                        if space.valid[row]:
                            tar.add(f"{row:09d}.{name}.npy", _npy(latents[name][row - span.start]))
                    picture = pictures[row - span.start] if pictures else None
                    if picture is not None and picture.data is not None:
                        tar.add(f"{row:09d}.{picture.extension}", picture.data)
                tar.finish()
            os.replace(part, path)
            made.append(path)
    return made


def _npy(values: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, values, allow_pickle=False)
    return data.getvalue()
