"""Image data sets of the Hugging Face hub, or a local copy of one, read through `datasets` as they stream.

Nothing is unpacked into a cache, and label columns of Parquet files are read without the images. A stream only goes
forwards, so a reader keeps its place: rows asked for in ascending order cost one pass.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa

from noisezoo.errors import NoiseZooError, nearest
from pipeline.sources import columns
from pipeline.sources.base import Index, Picture
from pipeline.sources.places import Place, Reader, UnreadableError

_REMOTE = re.compile(r"(zip://[^:]*::)?hf://datasets/")


class Rows:
    """The rows of all splits of a data set, one split after the other.

    `path` is a name on the hub or a local folder; `splits` orders them (as the data set has them by default).
    """

    def __init__(
        self,
        path: str,
        image: str | None = None,
        config: str | None = None,
        revision: str | None = None,
        splits: Sequence[str] | None = None,
    ) -> None:
        self.path, self.config, self.revision = path, config, revision
        self._loaded: Any = None
        self._cursor: _Cursor | None = None
        held = self._data()
        self.splits = [s for s in splits if s in held] if splits is not None else list(held)
        if not self.splits:
            raise NoiseZooError(f"{path} has none of the splits {', '.join(splits or ())}; it has {', '.join(held)}.")
        first = held[self.splits[0]]
        # Some formats say what they hold only once their first rows have been seen.
        self.features: dict[str, Any] = dict(first.features or first._resolve_features().features or {})
        self.image = image or self._image_column()
        if self.image not in self.features:
            raise NoiseZooError(f"{path} has no column '{self.image}': {nearest(self.image, self.features)}")
        self._lengths: list[tuple[str, int, int]] | None = None
        """(split, file, rows) of each file, in order."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None, "_cursor": None}

    @property
    def split(self) -> np.ndarray:
        """(rows,) int8, place in `splits`."""
        return np.concatenate(
            [np.full(rows, self.splits.index(name), np.int8) for name, _, rows in self._files()]
            or [np.zeros(0, np.int8)]
        )

    def table(self, names: Sequence[str]) -> pa.Table:
        """Some columns of every row, in order; for Parquet the others are not even fetched."""
        some = self._data(names)
        parts: list[pa.Table] = []
        lengths: list[tuple[str, int, int]] = []
        for split in self.splits:
            data = some[split]
            data = data.select_columns(list(names)) if names else self._without_decoding(data)
            for file in range(data.num_shards):
                rows = 0
                for batch in data.shard(data.num_shards, file).with_format("arrow").iter(batch_size=1000):
                    rows += batch.num_rows
                    if names:
                        parts.append(batch.select(list(names)))
                lengths.append((split, file, rows))
        self._lengths = lengths
        return pa.concat_tables(parts) if parts else pa.table({})

    def read(self, rows: Sequence[int]) -> Iterator[Picture]:
        """The image files of these rows, ascending."""
        files = self._files()
        ends = np.cumsum([n for _, _, n in files])
        with Reader() as reader:
            for row in rows:
                at = int(np.searchsorted(ends, row, side="right"))
                split, file, length = files[at]
                value = self._at(split, file, int(row) - int(ends[at]) + length)
                yield self._picture(int(row), value, reader)

    def _picture(self, row: int, value: Any, reader: Reader) -> Picture:
        if isinstance(value, bytes):
            return Picture(row, value)
        if not isinstance(value, dict) or (value.get("bytes") is None and not value.get("path")):
            return Picture(row, None, "no image in this row")
        if value.get("bytes") is not None:
            return Picture(row, value["bytes"])
        # A table may name files instead of holding them. It may come from anyone: only files of the data set itself are opened.
        path = str(value["path"])
        try:
            if _REMOTE.match(path):
                with fsspec.open(path, "rb") as file:
                    return Picture(row, file.read())
            if not os.path.isdir(self.path):
                raise UnreadableError("a file name outside the data set")
            root = os.path.abspath(self.path)
            return Picture(row, reader.fetch(Place(os.path.join(root, path), within=root)))
        except UnreadableError as e:
            return Picture(row, None, str(e))
        except OSError as e:
            return Picture(row, None, (e.strerror or "cannot be fetched").lower())

    def _at(self, split: str, file: int, i: int) -> Any:
        """The image of row `i` of a file of the data set."""
        cursor = self._cursor
        if cursor is None or (cursor.split, cursor.file) != (split, file) or cursor.next > i:
            data = self._without_decoding(self._data()[split].select_columns([self.image]))
            cursor = self._cursor = _Cursor(split, file, iter(data.shard(data.num_shards, file)))
        while True:
            try:
                item = next(cursor.stream)
            except (OSError, StopIteration) as e:
                raise NoiseZooError(
                    f"'{self.path}' ended or failed at row {cursor.next:,} of file {file + 1} of split {split} ({e}): run the same command again."
                ) from e
            cursor.next += 1
            if cursor.next > i:
                return item[self.image]

    def _without_decoding(self, data: Any) -> Any:
        import datasets

        return (
            data.cast_column(self.image, datasets.Image(decode=False)) if _is_image(self.features[self.image]) else data
        )

    def _files(self) -> list[tuple[str, int, int]]:
        if self._lengths is None:
            self.table([])
        assert self._lengths is not None
        return self._lengths

    def _image_column(self) -> str:
        found = [name for name, feature in self.features.items() if _is_image(feature)]
        if len(found) != 1:
            raise NoiseZooError(
                f"{self.path} has {len(found)} image columns among {', '.join(self.features)}: name the one to take with dataset.image=…."
            )
        return found[0]

    def _data(self, names: Sequence[str] = ()) -> Any:
        """The streaming data set; with `names`, of these columns alone where its format can do that."""
        if names:
            try:
                return self._load(columns=list(names))
            except (TypeError, ValueError):  # only Parquet knows `columns`
                return self._data()
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _load(self, **options: Any) -> Any:
        import datasets

        try:
            return datasets.load_dataset(self.path, self.config, revision=self.revision, streaming=True, **options)
        except (datasets.exceptions.DatasetNotFoundError, FileNotFoundError, ConnectionError, OSError) as e:
            raise NoiseZooError(
                f"Cannot open the data set '{self.path}' ({str(e).splitlines()[0][:160]}): check its name and the network, "
                "log in with `hf auth login` if it is gated, or give a local copy."
            ) from e


class _Cursor:
    """A place in a file that is read forwards."""

    def __init__(self, split: str, file: int, stream: Iterator[dict[str, Any]]) -> None:
        self.split, self.file, self.stream, self.next = split, file, stream, 0


class Hub:
    """Any image data set of the hub, or a local copy of one.

    `image` names the column of images (found by itself where there is only one), `labels` those that become labels (all
    class-label columns by default): classes and words become one attribute each, truth values and small numbers stay.
    """

    def __init__(
        self,
        path: str,
        image: str | None = None,
        labels: Sequence[str] | None = None,
        config: str | None = None,
        revision: str | None = None,
        licence: str = "unknown",
        images_may_be_published: bool = False,
    ) -> None:
        self.name = f"hub/{os.path.basename(path.rstrip('/'))}" if os.path.isdir(path) else f"hub/{path}"
        self.licence = licence
        self.homepage = "" if os.path.isdir(path) else f"https://huggingface.co/datasets/{path}"
        self.images_may_be_published = images_may_be_published
        self._arguments = (path, image, config, revision)
        self._labels = None if labels is None else list(labels)
        self._rows: Rows | None = None

    def index(self) -> Index:
        path, image, config, revision = self._arguments
        self._rows = rows = Rows(path, image, config, revision)
        chosen = (
            self._labels if self._labels is not None else [n for n, f in rows.features.items() if hasattr(f, "int2str")]
        )
        for name in chosen:
            if name not in rows.features:
                raise NoiseZooError(f"{path} has no column '{name}': {nearest(name, rows.features)}")
        table = rows.table(chosen)
        for i, name in enumerate(table.column_names):
            if hasattr(rows.features[name], "int2str"):
                words = [
                    None if n is None or n < 0 else rows.features[name].int2str(n)
                    for n in table.column(name).to_pylist()
                ]
                table = table.set_column(i, name, pa.array(words, pa.string()))
        attributes, labels = columns.as_labels(table, chosen, path)
        split = rows.split
        if not chosen:
            labels = np.zeros((len(split), 0), np.int8)
        keys = tuple(f"{rows.splits[s]}/{i:09d}" for i, s in enumerate(split))
        return Index(keys, attributes, labels, tuple(rows.splits), split)

    def read(self, rows: Sequence[int]) -> Iterator[Picture]:
        if self._rows is None:
            self.index()
        assert self._rows is not None
        return self._rows.read(rows)


def _is_image(feature: Any) -> bool:
    return type(feature).__name__ == "Image"
