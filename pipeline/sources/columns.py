"""Columns of a user's table, and lists of words, as the numbers that an `Index` holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from noisezoo.errors import NoiseZooError, nearest

FILE_COLUMNS = ("file_name", "filename", "file", "path", "image", "image_id", "key", "name")
MOST_CLASSES = 2000


def read_table(path: str) -> pa.Table:
    """A CSV, TSV or Parquet file; one sentence where it is none."""
    try:
        if path.endswith((".parquet", ".pq")):
            return pa.parquet.read_table(path)
        with open(path, "rb") as file:
            head = file.read(4096)
        if head.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith((b"<!doctype", b"<html")):
            raise NoiseZooError(
                f"{path} is an HTML page, not a table: download it again, from the link behind the page."
            )
        return pa.csv.read_csv(
            path, parse_options=pa.csv.ParseOptions(delimiter="\t" if path.endswith(".tsv") else ",")
        )
    except FileNotFoundError as e:
        raise NoiseZooError(
            f"There is no table {path}: give its path relative to dataset.root, dataset.labels=labels.csv, or dataset.labels=folders."
        ) from e
    except (pa.ArrowInvalid, OSError) as e:
        raise NoiseZooError(
            f"{path} cannot be read as a table ({str(e).splitlines()[0]}): it must be CSV, TSV or Parquet with a header."
        ) from e


def file_column(table: pa.Table, wanted: str | None, where: str) -> str:
    """The column of file names."""
    if wanted is not None:
        if wanted not in table.column_names:
            raise NoiseZooError(f"{where} has no column '{wanted}': {nearest(wanted, table.column_names)}")
        return wanted
    for name in table.column_names:
        if name.lower() in FILE_COLUMNS:
            return str(name)
    raise NoiseZooError(
        f"{where} has no column that is named like a file name ({', '.join(table.column_names)}): name it with dataset.file_column=…."
    )


def as_labels(table: pa.Table, names: Sequence[str], where: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Columns as labels: truth values and small whole numbers stay as they are (-1 / 1 becomes 0 / 1), words become one attribute each, missing is -1."""
    attributes: list[str] = []
    labels: list[np.ndarray] = []
    for name in names:
        if name not in table.column_names:
            raise NoiseZooError(f"{where} has no column '{name}': {nearest(name, table.column_names)}")
        column = table.column(name)
        if pa.types.is_boolean(column.type) or pa.types.is_integer(column.type):
            values = np.array([-2 if v is None else int(v) for v in column.to_pylist()], np.int64)
            attributes.append(name)
            labels.append(_small(values, name, where))
        elif (
            pa.types.is_string(column.type)
            or pa.types.is_large_string(column.type)
            or pa.types.is_dictionary(column.type)
        ):
            words, hot = one_hot(column.to_pylist())
            attributes += words
            labels += list(hot.T)
        else:
            raise NoiseZooError(
                f"Column '{name}' of {where} holds {column.type}, which is no label: leave it out with dataset.label_columns=[…]."
            )
    if len(set(attributes)) < len(attributes):
        raise NoiseZooError(
            f"Two label columns of {where} give the same attribute name: choose one with dataset.label_columns=[…]."
        )
    return tuple(attributes), np.stack(labels, axis=1) if labels else np.zeros((table.num_rows, 0), np.int8)


def _small(values: np.ndarray, name: str, where: str) -> np.ndarray:
    known = values[values != -2]
    if known.size and known.min() == -1 and set(np.unique(known)) <= {-1, 1}:  # as in CelebA's tables
        values = np.where(values == -1, 0, values)
    elif known.size and (known.min() < 0 or known.max() > 127):
        raise NoiseZooError(
            f"Column '{name}' of {where} holds numbers outside 0…127, which are no labels: leave it out with dataset.label_columns=[…]."
        )
    return np.where(values == -2, -1, values).astype(np.int8)


def one_hot(words: Sequence[str | None]) -> tuple[tuple[str, ...], np.ndarray]:
    """Distinct words, sorted, and `(rows, words)` int8: 1 for a row's own, 0 for the others, -1 throughout where a row has none."""
    distinct = sorted({w for w in words if w is not None})
    if len(distinct) > MOST_CLASSES:
        raise NoiseZooError(
            f"There are {len(distinct):,} classes, more than {MOST_CLASSES:,}: type dataset.labels=none, or choose columns with dataset.label_columns=[…]."
        )
    place = {word: j for j, word in enumerate(distinct)}
    labels = np.zeros((len(words), len(distinct)), np.int8)
    for i, word in enumerate(words):
        if word is None:
            labels[i] = -1
        else:
            labels[i, place[word]] = 1
    return tuple(distinct), labels


def categories(words: Sequence[str | None], order: Sequence[str] = ()) -> tuple[tuple[str, ...], np.ndarray]:
    """Distinct words, those of `order` first, and each row's place among them (int8, -1 for none)."""
    distinct = {w for w in words if w is not None}
    names = [w for w in order if w in distinct] + sorted(distinct - set(order))
    if len(names) > 127:
        raise NoiseZooError(
            f"There are {len(names)} different splits, more than 127: name the column that holds them with dataset.split_column=…."
        )
    place = {name: i for i, name in enumerate(names)}
    return tuple(names), np.array([-1 if w is None else place[w] for w in words], np.int8)


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Names made unique by numbering the repeated ones: `a.jpg`, `a.jpg#2`."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return tuple(out)
