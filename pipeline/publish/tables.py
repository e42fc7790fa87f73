"""Parquet for those who read tables: one configuration a space, one of labels alone, each with a file or more a split.

A row of a space's table is `row, key, <attribute> …, latent`, the latent flattened in C order to a list of fixed length. Rows that are not valid
are left out; `row` says which are there. Latents are stored plain, as in the store: float16 noise hardly compresses (docs/format.md).

Files are put in place whole, with the digest of what they were made of in their metadata, so that a second run, or one after a kill, makes only what is missing.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noisezoo import layout, ledger
from noisezoo.zoo import SpaceView, Zoo

FOLDER = "parquet"
LABELS = "labels"
LATENT = "latent"
GROUP_BYTES = 8 << 20
"""Of a row group: what a streaming reader holds, and the viewer of the Hub loads for a page."""
FILE_BYTES = 512 << 20
MADE_OF = b"noisezoo"
RESERVED = ("row", "key", LATENT)


@dataclass(frozen=True)
class Part:
    """One split of a configuration."""

    files: tuple[str, ...]
    """Relative to the published folder."""
    rows: int
    bytes: int
    """In memory, as Arrow."""


@dataclass(frozen=True)
class Config:
    """One table: what `datasets` calls a configuration."""

    name: str
    schema: pa.Schema
    parts: Mapping[str, Part]
    shape: tuple[int, ...] | None = None
    """Of a latent, which the table holds flat."""

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts.values())


def divide(zoo: Zoo) -> dict[str, np.ndarray]:
    """Every row in exactly one split: the source's own, `train` where it has none, `unassigned` for rows that it left out."""
    own = {name: rows for name, rows in zoo.splits.items() if ":" not in name}
    if not own:
        return {"train": np.arange(len(zoo))}
    parts = {re.sub(r"\W", "_", name): rows for name, rows in own.items()}
    rest = np.setdiff1d(np.arange(len(zoo)), np.concatenate(list(own.values())))
    return {name: rows for name, rows in {**parts, "unassigned": rest}.items() if len(rows)}


def facts(zoo: Zoo) -> pa.Table:
    """What every table says of a row: its number, its key, its labels. `(rows)`"""
    columns = {
        "row": pa.array(np.arange(len(zoo), dtype=np.int64)),
        "key": pa.array([str(key) for key in zoo.row_fact("key")], pa.string()),
    }
    for name in zoo.labels:
        columns[f"label_{name}" if name in RESERVED else name] = pa.array(zoo.labels[name].astype(np.int8))
    return _required(columns)


def write_labels(zoo: Zoo, folder: Path) -> Config:
    """The table without latents: rows, keys, labels, everything else that is known of a row, and in which spaces it is valid."""
    table = facts(zoo)
    columns = {name: table[name] for name in table.column_names}
    group: Any = zoo.group[layout.ROWS]
    for name in zoo.row_facts:
        if name in ("key", "split"):
            continue
        values = zoo.row_fact(name)
        words = group[name].attrs.get("names")
        if name == "sha256":
            columns[name] = pa.array([bytes(digest).hex() for digest in values], pa.string())
        elif words:
            columns[name] = pa.array([words[i] if i >= 0 else "" for i in values], pa.string())
        else:
            columns[name] = _flat(values)
    for name, space in zoo.spaces.items():
        columns[f"valid_{name}"] = pa.array(space.valid)
    table = _required(columns)
    made_of = ledger.digest({"source": zoo.source["digest"], "zoo": zoo.digest})
    parts = {split: table.take(pa.array(rows)) for split, rows in divide(zoo).items()}
    plan = {split: _plan(LABELS, split, part, 0) for split, part in parts.items()}
    if not _made(folder, LABELS, plan, made_of):
        for split, part in parts.items():
            _write_whole(folder / plan[split].files[0], part, made_of)
    return Config(LABELS, table.schema, plan)


def write_space(space: SpaceView, folder: Path) -> Config:
    """The table of one space: its valid rows."""
    zoo = space.zoo
    known = facts(zoo)
    shape = space.shape[1:]
    width = math.prod(shape)
    dtype = pa.from_numpy_dtype(space.array.dtype)
    row_bytes = width * space.array.dtype.itemsize
    kind = pa.list_(pa.field("element", dtype, nullable=False), width)
    schema = known.schema.append(pa.field(LATENT, kind, nullable=False))
    valid = space.valid
    splits = {split: rows[valid[rows]] for split, rows in divide(zoo).items()}
    splits = {split: rows for split, rows in splits.items() if len(rows)}
    plan = {split: _plan(space.name, split, known.take(pa.array(rows)), row_bytes) for split, rows in splits.items()}
    made_of = ledger.digest(
        {"config": space.config_digest, "source": zoo.source["digest"], "files": space.digests, "shape": list(shape)}
    )
    if not _made(folder, space.name, plan, made_of):
        writers = {split: _Writer(folder, plan[split].files, schema, made_of, row_bytes) for split in splits}
        for span, latent in _shards(space):
            for split, rows in splits.items():
                here = rows[np.searchsorted(rows, span.start) : np.searchsorted(rows, span.stop)]
                if len(here):
                    columns = known.take(pa.array(here)).columns
                    values = np.ascontiguousarray(latent[here - span.start]).reshape(len(here), width)
                    writers[split].add(pa.Table.from_arrays([*columns, _list(values, kind)], schema=schema))
        for writer in writers.values():
            writer.finish()
    return Config(space.name, schema, plan, shape)


def remove_others(folder: Path, configs: Sequence[Config]) -> None:
    """Delete tables of spaces that the zoo no longer has."""
    here = folder / FOLDER
    for path in here.iterdir():
        if path.name not in {config.name for config in configs}:
            shutil.rmtree(path)


def features(schema: pa.Schema) -> list[dict[str, Any]]:
    """A table's columns as the header of a card spells them."""
    told = []
    for field in schema:
        if pa.types.is_fixed_size_list(field.type):
            told.append({"name": field.name, "list": _word(field.type.value_type), "length": field.type.list_size})
        else:
            told.append({"name": field.name, "dtype": _word(field.type)})
    return told


def _word(kind: pa.DataType) -> str:
    """Arrow's name of a type as `datasets` has it."""
    return {"halffloat": "float16", "float": "float32", "double": "float64"}.get(str(kind), str(kind))


def _required(columns: Mapping[str, Any]) -> pa.Table:
    schema = pa.schema([pa.field(name, values.type, nullable=False) for name, values in columns.items()])
    return pa.Table.from_arrays(list(columns.values()), schema=schema)


def _list(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """`(n, width)` as n lists, without a copy."""
    flat = pa.Array.from_buffers(kind.value_type, values.size, [None, pa.py_buffer(values.reshape(-1))])
    return pa.FixedSizeListArray.from_arrays(flat, type=kind)


def _flat(values: np.ndarray) -> pa.Array:
    """One value a row, or a list of fixed length where there are more."""
    if values.ndim == 1:
        return pa.array(values)
    values = np.ascontiguousarray(values).reshape(len(values), -1)
    kind = pa.list_(pa.field("element", pa.from_numpy_dtype(values.dtype), nullable=False), values.shape[1])
    return _list(values, kind)


def _shards(space: SpaceView) -> Iterator[tuple[range, np.ndarray]]:
    """A space shard by shard, finished or not: what is not is not valid."""
    rows, shard_rows = len(space), space.zoo.shard_rows
    for shard in range(layout.shard_count(rows, shard_rows)):
        span = layout.span(shard, rows, shard_rows)
        yield span, np.asarray(space.array[span.start : span.stop])


def _rows_per_file(row_bytes: int) -> int:
    groups = max(1, FILE_BYTES // GROUP_BYTES)
    return groups * _rows_per_group(row_bytes)


def _rows_per_group(row_bytes: int) -> int:
    return max(1, min(8192, GROUP_BYTES // max(1, row_bytes)))


def _plan(name: str, split: str, rows: pa.Table, row_bytes: int) -> Part:
    count = 1 if row_bytes == 0 else layout.shard_count(len(rows), _rows_per_file(row_bytes))
    files = tuple(f"{FOLDER}/{name}/{split}-{i:05d}-of-{count:05d}.parquet" for i in range(count))
    return Part(files, len(rows), rows.nbytes + len(rows) * row_bytes)


def _made(folder: Path, name: str, plan: Mapping[str, Part], made_of: str) -> bool:
    """Whether every file of a configuration is there and was made of the same; files that no plan names are removed."""
    wanted = {file for part in plan.values() for file in part.files}
    here = folder / FOLDER / name
    for path in sorted(here.glob("*")) if here.is_dir() else []:
        if path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
    return all(_is_made_of(folder / file, made_of) for file in wanted)


def _is_made_of(path: Path, made_of: str) -> bool:
    try:
        found = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return False
    return bool(found.get(MADE_OF) == _mark(made_of))


def _mark(made_of: str) -> bytes:
    return json.dumps({"format": layout.FORMAT, "made_of": made_of}).encode()


def _options(schema: pa.Schema) -> dict[str, Any]:
    latents = [f.name for f in schema if pa.types.is_fixed_size_list(f.type)]
    plain = [f"{name}.list.element" for name in latents]
    others = [f.name for f in schema if f.name not in latents]
    return {
        "compression": {**dict.fromkeys(others, "zstd"), **dict.fromkeys(plain, "none")},
        "use_dictionary": [name for name in others if name not in ("row", "key", "sha256")],
        "write_statistics": ["row"],
        "write_page_index": True,
        "write_page_checksum": True,
    }


def _write_whole(path: Path, table: pa.Table, made_of: str) -> None:
    part = _part(path)
    table = table.replace_schema_metadata({MADE_OF: _mark(made_of)})
    pq.write_table(table, part, row_group_size=_rows_per_group(0), **_options(table.schema))
    os.replace(part, path)


def _part(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(path.name + ".part")


class _Writer:
    """Rows of one split on their way into files and row groups of equal length, wherever the shards' borders fall."""

    def __init__(self, folder: Path, files: Sequence[str], schema: pa.Schema, made_of: str, row_bytes: int) -> None:
        self._paths = [folder / file for file in files]
        self._schema = schema.with_metadata({MADE_OF: _mark(made_of)})
        self._group = _rows_per_group(row_bytes)
        self._file = _rows_per_file(row_bytes)
        self._waiting: list[pa.Table] = []
        self._written = 0
        self._open: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        self._waiting.append(table)
        while sum(map(len, self._waiting)) >= self._group:
            self._put(self._group)

    def finish(self) -> None:
        """Write what is left and put every file in place."""
        if self._waiting:
            self._put(sum(map(len, self._waiting)))
        if self._open is not None:
            self._open.close()
        for path in self._paths:
            os.replace(_part(path), path)

    def _put(self, rows: int) -> None:
        table = pa.concat_tables(self._waiting)
        self._waiting = [table.slice(rows)] if len(table) > rows else []
        if self._written % self._file == 0:
            if self._open is not None:
                self._open.close()
            path = self._paths[self._written // self._file]
            self._open = pq.ParquetWriter(_part(path), self._schema, **_options(self._schema))
        assert self._open is not None
        self._open.write_table(table.slice(0, rows), row_group_size=rows)
        self._written += rows
