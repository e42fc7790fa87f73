"""Any tree of images on disk.

Class folders become labels, folders named train, val or test become splits; or a CSV or Parquet table says which files
are rows and what their labels are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from noisezoo.errors import NoiseZooError
from pipeline.sources import columns
from pipeline.sources.base import Index, Picture, pictures
from pipeline.sources.places import Place, outside

TAKEN = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jpe", ".jfif"})
REFUSED = frozenset({".svg", ".heic", ".heif", ".avif", ".apng"})
"""Files that were meant as images: they become rows, and ingest says why they are invalid."""
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Found:
    """A file of the tree."""

    name: str
    """Below the root, with slashes."""
    path: str
    fault: str = ""


class Folder:
    """Images under `root`.

    `labels`: `folders` takes each image's first folder (below its split) as its class, `none` takes no labels, anything
    else is the path of a CSV or Parquet table, relative to `root`. In a table, `file_column` names the column of file
    names (found by itself where it has a usual name), `label_columns` those that become labels (by default all others).
    """

    def __init__(
        self,
        root: str,
        labels: str = "folders",
        file_column: str | None = None,
        label_columns: Sequence[str] | None = None,
        split_column: str = "split",
        name: str = "folder",
        licence: str = "unknown",
        homepage: str = "",
        images_may_be_published: bool = False,
    ) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))
        self.labels = labels
        self.file_column = file_column
        self.label_columns = None if label_columns is None else list(label_columns)
        self.split_column = split_column
        self.name = name
        self.licence = licence
        self.homepage = homepage
        self.images_may_be_published = images_may_be_published
        self._found: list[Found] | None = None

    def index(self) -> Index:
        if not os.path.isdir(self.root):
            raise NoiseZooError(
                f"There is no folder {self.root}: give the folder that holds your images, dataset.root=…."
            )
        if self.labels not in ("folders", "none"):
            return self._from_table()
        found = walk(self.root)
        if not found:
            raise NoiseZooError(
                f"There is no image under {self.root} ({', '.join(sorted(TAKEN))}): give the folder that holds your images, dataset.root=…."
            )
        self._found = found
        parts = [f.name.split("/")[:-1] for f in found]
        splits = [SPLITS.get(part[0].lower()) if part else None for part in parts]
        if all(s is None for s in splits):
            classes = [part[0] if part else None for part in parts]
        else:
            classes = [
                (part[1] if s and len(part) > 1 else None) if s else (part[0] if part else None)
                for part, s in zip(parts, splits, strict=True)
            ]
        attributes, labels = (
            columns.one_hot(classes) if self.labels == "folders" else ((), np.zeros((len(found), 0), np.int8))
        )
        names, split = columns.categories(splits, order=("train", "validation", "test"))
        return Index(tuple(f.name for f in found), attributes, labels, names, split)

    def places(self, rows: Sequence[int]) -> list[Place]:
        if self._found is None:
            self.index()
        assert self._found is not None
        return [Place(self._found[r].path, within=self.root, fault=self._found[r].fault) for r in rows]

    def read(self, rows: Sequence[int]) -> Iterator[Picture]:
        return pictures(rows, self.places(rows))

    def _from_table(self) -> Index:
        table = columns.read_table(os.path.join(self.root, self.labels))
        file_column = columns.file_column(table, self.file_column, self.labels)
        names = [str(name) for name in table.column(file_column).to_pylist()]
        self._found = [
            Found(name, self.root, "a name outside the folder")
            if outside(name)
            else Found(name, os.path.join(self.root, *name.replace("\\", "/").split("/")))
            for name in names
        ]
        keys = columns.unique(names)
        split_names: tuple[str, ...] = ()
        split = np.full(len(keys), -1, np.int8)
        if self.split_column in table.column_names:
            words = [
                None if word is None else SPLITS.get(str(word).lower(), str(word))
                for word in table.column(self.split_column).to_pylist()
            ]
            split_names, split = columns.categories(words, order=("train", "validation", "test"))
        chosen = (
            self.label_columns
            if self.label_columns is not None
            else [c for c in table.column_names if c not in (file_column, self.split_column)]
        )
        attributes, labels = columns.as_labels(table, chosen, self.labels)
        return Index(keys, attributes, labels, split_names, split)


def walk(root: str) -> list[Found]:
    """Every file under `root` that is or was meant to be an image, by name; hidden files and other files are passed over, links to folders are listed but not entered."""
    found: list[Found] = []
    folders = [("", root)]
    while folders:
        prefix, folder = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as e:
            if not prefix:
                raise NoiseZooError(
                    f"Cannot list {root} ({e.strerror}): give a folder you may read, dataset.root=…."
                ) from e
            found.append(Found(printable(prefix.rstrip("/")), folder, "a folder that may not be listed"))
            continue
        for entry in entries:
            name = prefix + entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append((name + "/", entry.path))
            elif entry.is_symlink() and os.path.isdir(entry.path):
                found.append(Found(printable(name), entry.path, "a link to a folder, which is not followed"))
            elif os.path.splitext(entry.name)[1].lower() in TAKEN | REFUSED:
                found.append(Found(printable(name), entry.path))
    return sorted(found, key=lambda f: f.name)


def printable(name: str) -> str:
    """A file name as text that can be stored: bytes that are no UTF-8 are spelt out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
