"""Zoos from NumPy files and back: `noises_<model>.npy`, one array of rows × flattened latent a model, as the authors of the NoiseZoo paper publish them.

No file is ever held whole: both ways go shard by shard.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from noisezoo import layout
from noisezoo.errors import NoiseZooError
from noisezoo.zoo import SpaceView, Zoo

AUTHORS = {
    "clip_b16": "vitB16",
    "clip_l14": "vitL14",
    "openclip_b16": "ocB16",
    "openclip_l14": "ocL14",
    "dinov3_l16": "dinov3",
}
"""Spaces that the authors call otherwise; sd15, sd21 and lcmv7 have one name."""
Progress = Callable[[str, int], None]
"""Called with a space and a number of rows that are done."""


def file_name(space: str) -> str:
    """The authors' name of a space's file."""
    return f"noises_{AUTHORS.get(space, space)}.npy"


def export(
    zoo: Zoo,
    folder: str | Path,
    spaces: Sequence[str] | None = None,
    split: str | None = None,
    progress: Progress = lambda space, rows: None,
) -> list[Path]:
    """Write each space's rows, all or those of a split, flattened and in order. Every row keeps its place: one that is not valid is filled with NaN (or 0)."""
    made = []
    for name in spaces or list(zoo.spaces):
        path = Path(folder) / file_name(name)
        _export_space(zoo[name], zoo.rows(split), path, progress)
        made.append(path)
    return made


def _export_space(space: SpaceView, rows: np.ndarray, path: Path, progress: Progress) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    shard_rows = space.zoo.shard_rows
    dtype = space.array.dtype
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
    try:
        with part.open("wb") as file:
            shape = (len(rows), math.prod(space.shape[1:]))
            np.lib.format.write_array_header_1_0(file, {**header, "shape": shape})
            for shard in layout.shards_of(rows, shard_rows):
                span = layout.span(shard, len(space), shard_rows)
                here = rows[np.searchsorted(rows, span.start) : np.searchsorted(rows, span.stop)]
                latent = np.asarray(space.array[span.start : span.stop])
                file.write(np.ascontiguousarray(latent[here - span.start]).data)
                progress(space.name, len(here))
    except OSError as e:
        raise NoiseZooError(f"Cannot write {path} ({e.strerror}): give a folder with room for {path.name}.") from e
    os.replace(part, path)
