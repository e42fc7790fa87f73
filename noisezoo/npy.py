"""Zoos from NumPy files and back: `noises_<model>.npy`, one array of rows × flattened latent a model, as the authors of the NoiseZoo paper publish them.

No file is ever held whole: both ways go shard by shard, and an import that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from noisezoo import layout, ledger, ranges, writer
from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from noisezoo.zoo import SpaceView, Zoo

AUTHORS = {
    "clip_b16": "vitB16",
    "clip_l14": "vitL14",
    "openclip_b16": "ocB16",
    "openclip_l14": "ocL14",
    "dinov3_l16": "dinov3",
}
"""Spaces that the authors call otherwise; sd15, sd21 and lcmv7 have one name."""
SHAPES = {name: (4, 64, 64) for name in ("sd15", "sd21", "lcmv7")} | {"sdxl": (4, 128, 128)}
"""What the flattened latents of the paper's diffusion models were."""
CELEBA = tuple(
    """5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby
    Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose
    Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie
    Young""".split()  # noqa: SIM905
)
"""The attributes that a table may hold as one list without names, as `eurecom-ds/celeba` does."""
KEYS = ("key", "image_id", "file_name", "filename", "name")
PREFIX, SUFFIX = "noises_", ".npy"
HEADER_BYTES = 64 * 1024
Progress = Callable[[str, int], None]
"""Called with a space and a number of rows that are done."""


@dataclass(frozen=True)
class Array:
    """A `.npy` file that has not been read: its header, and where its numbers begin."""

    store: Store
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int

    def read(self, rows: range) -> np.ndarray:
        """Some rows, from where they lie. `(n, *shape[1:])`"""
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        start = self.offset + rows.start * row_bytes
        data = ranges.get(self.store, self.name, start, start + len(rows) * row_bytes)
        return np.frombuffer(data, self.dtype).reshape(len(rows), *self.shape[1:])


def file_name(space: str) -> str:
    """The authors' name of a space's file."""
    return f"{PREFIX}{AUTHORS.get(space, space)}{SUFFIX}"


def space_name(file: str) -> str:
    """Our name of the space in one of the authors' files."""
    word = file.rsplit("/", 1)[-1].removeprefix(PREFIX).removesuffix(SUFFIX)
    return layout.check_name({theirs: ours for ours, theirs in AUTHORS.items()}.get(word, word))


def find(place: str) -> dict[str, Array]:
    """The arrays at a folder or URL, or in `data/` of it, by space."""
    for store in (Store(place), Store(f"{place.rstrip('/')}/data")):
        names = [name for name in store.names() if name.startswith(PREFIX) and name.endswith(SUFFIX)]
        if names:
            return {space_name(name): header(store, name) for name in names}
    raise NoiseZooError(
        f"{place} holds no noises_<model>.npy: give a folder of such files, or USER/NAME of a dataset with them."
    )


def header(store: Store, name: str) -> Array:
    """The header of a `.npy` file; a sentence for what cannot become a space."""
    where = f"{store.url.rstrip('/')}/{name}"
    size = int(store.fs.info(store.path(name))["size"])
    head = io.BytesIO(ranges.get(store, name, 0, min(size, HEADER_BYTES)))
    try:
        version = np.lib.format.read_magic(head)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(head)
    except ValueError as e:
        raise NoiseZooError(f"{where} is no .npy file ({e}): download it again.") from e
    if dtype.kind not in "fiub" or is_fortran or len(shape) < 2:
        what = (
            "Python objects"
            if dtype.hasobject
            else f"{dtype} of shape {shape}{' in Fortran order' if is_fortran else ''}"
        )
        raise NoiseZooError(f"{where} holds {what}: save it with numpy.save as rows × numbers.")
    if size != head.tell() + math.prod(shape) * dtype.itemsize:
        raise NoiseZooError(f"{where} is cut short ({size} bytes for {shape} of {dtype}): download it again.")
    return Array(store, name, shape, dtype, head.tell())


def labels(table: str, rows: int) -> tuple[list[str] | None, tuple[str, ...], np.ndarray]:
    """Keys (if the table has some), attributes and their values `(rows, attributes)` out of CSV or Parquet files, in the order of their names."""
    store, _, pattern = table.rpartition("/")
    folder = Store(store or ".")
    names = sorted(path.rsplit("/", 1)[-1] for path in folder.fs.glob(folder.path(pattern)))
    if not names:
        raise NoiseZooError(
            f"There is no table {table}: give a CSV or Parquet file, or a pattern such as train-*.parquet."
        )
    parts = [_table(folder, name) for name in names]
    whole = pa.concat_tables(parts, promote_options="default")
    if len(whole) != rows:
        raise NoiseZooError(
            f"{table} has {len(whole)} rows and the arrays have {rows}: give the table of these very rows."
        )
    keys, columns = None, {}
    for field in whole.schema:
        values = whole[field.name]
        if pa.types.is_string(field.type) and field.name in KEYS:
            keys = values.to_pylist()
        elif pa.types.is_boolean(field.type) or pa.types.is_integer(field.type):
            columns[field.name] = np.asarray(values.cast(pa.int64()))
        elif field.name == "attributes":
            listed = np.asarray(values.combine_chunks().flatten()).reshape(rows, -1).astype(np.int64)
            columns |= dict(zip(CELEBA, listed.T, strict=True))
    # CelebA says -1 for no; here that means unknown.
    found = [np.where(v < 0, 0, v) if set(np.unique(v)) <= {-1, 1} else v for v in columns.values()]
    fits = [i for i, v in enumerate(found) if v.min() >= -1 and v.max() <= 127]
    return keys, tuple(list(columns)[i] for i in fits), np.stack([found[i] for i in fits], 1).astype(np.int8)


def import_(
    place: str,
    target: Store,
    *,
    source: Mapping[str, Any],
    table: str | None = None,
    shard_rows: int = 1024,
    progress: Progress = lambda space, rows: None,
) -> Zoo:
    """Make a zoo of the arrays at `place`; `source` says where the images came from (name, licence, homepage)."""
    arrays = find(place)
    rows = next(iter(arrays.values())).shape[0]
    for array in arrays.values():
        if array.shape[0] != rows:
            raise NoiseZooError(
                f"{array.name} has {array.shape[0]} rows and the other files have {rows}: they are not of one zoo."
            )
    keys, attributes, values = labels(table, rows) if table else (None, (), np.zeros((rows, 0), np.int8))
    keys = keys or [f"{row:06d}" for row in range(rows)]
    told = hashlib.sha256("\n".join([*attributes, *keys]).encode() + values.tobytes()).hexdigest()
    facts = {"images_may_be_published": False, "selection": {}, **source, "digest": told}
    if not target.exists("zarr.json"):
        if target.names():
            raise NoiseZooError(f"{target.url} holds something else than a zoo: give a new folder with --to.")
        writer.create(
            target,
            writer.Table(
                keys=np.asarray(keys, dtype=object),
                numbers=np.arange(rows),
                sha256=np.zeros((rows, 32), np.uint8),
                attributes=attributes,
                labels=values if attributes else None,
            ),
            facts,
            shard_rows,
        )
    zoo = Zoo(target)
    if zoo.source["digest"] != told:
        raise NoiseZooError(f"{target.url} holds a zoo of other rows: give a new folder with --to.")
    for name, array in arrays.items():
        _import_space(zoo, name, array, place, progress)
    return Zoo(target)


def _import_space(zoo: Zoo, name: str, array: Array, place: str, progress: Progress) -> None:
    width = math.prod(array.shape[1:])
    shape = SHAPES[name] if math.prod(SHAPES.get(name, ())) == width and name in SHAPES else array.shape[1:]
    dims = (
        ("channel", "y", "x")
        if len(shape) == 3
        else tuple(f"feature_{i}" if i else "feature" for i in range(len(shape)))
    )
    provenance = {
        "family": "imported",
        "model": None,
        "file": array.name,
        "place": place,
        "dtype_of_file": str(array.dtype),
    }
    store = zoo.store
    dtype = array.dtype.newbyteorder("=").name
    config_digest = writer.add_space(store, name, shape, dims, dtype, provenance)
    group: Any = store.group("r+")[layout.space_path(name)]
    done = ledger.finished(store, name, config_digest)
    for shard in range(layout.shard_count(len(zoo), zoo.shard_rows)):
        span = layout.span(shard, len(zoo), zoo.shard_rows)
        if shard not in done:
            latent = array.read(span)
            flat = latent.reshape(len(span), -1)
            valid = np.isfinite(flat).all(axis=1) if latent.dtype.kind == "f" else np.ones(len(span), bool)
            invalid = {span.start + int(i): "not finite in the file" for i in np.flatnonzero(~valid)}
            values = latent.reshape(len(span), *shape)
            unit = writer.Unit(name, shard, config_digest, {layout.LATENT: values, layout.VALID: valid}, invalid)
            writer.write_unit(store, group, unit)
        progress(name, len(span))


def _table(folder: Store, name: str) -> pa.Table:
    """A CSV or Parquet file; of a Parquet file the label columns alone, so that images beside them are not read."""
    with folder.fs.open(folder.path(name), "rb") as file:
        try:
            # One thread: a pool thread of Arrow's that still holds a Python file when the interpreter ends aborts the process.
            if name.endswith(".csv"):
                return pa.csv.read_csv(file, read_options=pa.csv.ReadOptions(use_threads=False))
            schema = pa.parquet.read_schema(file)
            wanted = [
                f.name
                for f in schema
                if f.name in KEYS
                or f.name == "attributes"
                or pa.types.is_boolean(f.type)
                or pa.types.is_integer(f.type)
            ]
            file.seek(0)
            return pa.parquet.ParquetFile(file).read(columns=wanted, use_threads=False)
        except pa.ArrowInvalid as e:
            raise NoiseZooError(
                f"{name} cannot be read as a table ({str(e).splitlines()[0]}): give CSV or Parquet."
            ) from e


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
    head = {"descr": np.lib.format.dtype_to_descr(space.array.dtype), "fortran_order": False}
    try:
        with part.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {**head, "shape": (len(rows), math.prod(space.shape[1:]))})
            for shard in layout.shards_of(rows, shard_rows):
                span = layout.span(shard, len(space), shard_rows)
                here = rows[np.searchsorted(rows, span.start) : np.searchsorted(rows, span.stop)]
                file.write(np.ascontiguousarray(space.take(here)).data)
                progress(space.name, len(here))
    except OSError as e:
        part.unlink(missing_ok=True)
        raise NoiseZooError(f"Cannot write {path} ({e.strerror}): give a folder with room for {path.name}.") from e
    os.replace(part, path)
