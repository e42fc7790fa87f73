"""The table of an ingest's rows as Parquet, so that anything can read it: key, number in the source, split, one column an attribute, and the further arrays."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from pipeline.sources.base import Index

_META = b"noisezoo"


def to_bytes(index: Index, numbers: np.ndarray) -> bytes:
    """A table of the rows `index` whose numbers in the source are `numbers` `(rows,)`; the same bytes for the same rows."""
    import pyarrow as pa  # here, because ingest's workers do without: 35 MB each
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"key": pa.array(index.keys, pa.string()), "number": pa.array(numbers, pa.int64())}
    split = index.split if len(index.split) else np.full(len(index), -1, np.int8)
    columns["split"] = pa.array(split, pa.int8())
    for j, attribute in enumerate(index.attributes):
        columns[f"labels/{attribute}"] = pa.array(np.ascontiguousarray(index.labels[:, j]), pa.int8())
    for name, values in index.extra.items():
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        columns[f"extra/{name}"] = (
            flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))
        )
    meta = {
        "attributes": index.attributes,
        "splits": index.splits,
        "extra": {name: list(values.shape[1:]) for name, values in index.extra.items()},
        "names": index.names,
    }
    table = pa.table(columns).replace_schema_metadata({_META: json.dumps(meta).encode()})
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue().to_pybytes()


def from_bytes(data: bytes) -> tuple[Index, np.ndarray]:
    """The rows and their numbers in the source, as they were written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # In this thread and from Arrow's own buffer: a pool thread that still holds a Python object when the interpreter ends aborts the process.
    table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    meta = json.loads(table.schema.metadata[_META])
    columns = [table.column(f"labels/{attribute}").to_numpy() for attribute in meta["attributes"]]
    extra: dict[str, np.ndarray] = {}
    for name, shape in meta["extra"].items():
        column = table.column(f"extra/{name}").combine_chunks()
        flat = column.flatten() if shape else column
        extra[name] = flat.to_numpy(zero_copy_only=False).reshape(len(table), *shape)
    index = Index(
        keys=tuple(table.column("key").to_pylist()),
        attributes=tuple(meta["attributes"]),
        labels=np.stack(columns, axis=1).astype(np.int8) if columns else np.zeros((len(table), 0), np.int8),
        splits=tuple(meta["splits"]),
        split=table.column("split").to_numpy().astype(np.int8),
        extra=extra,
        names={name: tuple(words) for name, words in meta["names"].items()},
    )
    return index, table.column("number").to_numpy().astype(np.int64)
