"""Tars that exist already, as webdataset names things: `000123.jpg` with `000123.cls` or `000123.json` beside it.

Their sizes need not be known beforehand; tars at a URL are fetched once and kept. Row order is the order of the tars, and in each the order of its members.
"""

from __future__ import annotations

import glob
import json
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import fsspec
import numpy as np
from braceexpand import braceexpand

from noisezoo.errors import NoiseZooError
from pipeline.sources import columns
from pipeline.sources.archives import Member, tar_members
from pipeline.sources.base import Index, Picture, pictures
from pipeline.sources.folder import REFUSED, TAKEN, printable
from pipeline.sources.places import Place, Reader, UnreadableError


@dataclass
class Sample:
    """The members of a tar that share a name up to its first dot."""

    key: str
    image: Member | None = None
    sidecars: dict[str, Member] = field(default_factory=dict)


class Tars:
    """`tars`: a path, a pattern (`*`, `{000..031}`), a URL, or a list of these; `.cls` files give the class, `json_labels` names further labels in the `.json` files."""

    def __init__(
        self,
        tars: str | Sequence[str],
        json_labels: Sequence[str] = (),
        cache: str = "~/.cache/noisezoo/tars",
        name: str = "webdataset",
        licence: str = "unknown",
        homepage: str = "",
        images_may_be_published: bool = False,
    ) -> None:
        self.tars = [tars] if isinstance(tars, str) else list(tars)
        self.json_labels = list(json_labels)
        self.cache = os.path.abspath(os.path.expanduser(cache))
        self.name = name
        self.licence = licence
        self.homepage = homepage
        self.images_may_be_published = images_may_be_published
        self._images: list[Place] | None = None

    def index(self) -> Index:
        names: list[str] = []
        images: list[Place] = []
        classes: list[str | None] = []
        facts: list[dict[str, Any]] = []
        with Reader() as reader:
            for url in self._urls():
                for sample in samples(self._local(url)):
                    if sample.image is None:
                        continue
                    names.append(f"{posixpath.basename(url)}/{printable(sample.image.name)}")
                    images.append(sample.image.place)
                    classes.append(_text(reader, sample.sidecars.get("cls")))
                    facts.append(_json(reader, sample.sidecars.get("json")) if self.json_labels else {})
        if not images:
            raise NoiseZooError(
                f"There is no image in the tars {', '.join(self.tars)}: they must hold files such as 000123.jpg."
            )
        self._images = images
        attributes, labels = self._labels(classes, facts)
        return Index(columns.unique(names), attributes, labels)

    def read(self, rows: Sequence[int]) -> Iterator[Picture]:
        return pictures(rows, self.places(rows))

    def places(self, rows: Sequence[int]) -> list[Place]:
        if self._images is None:
            self.index()
        assert self._images is not None
        return [self._images[r] for r in rows]

    def _labels(
        self, classes: Sequence[str | None], facts: Sequence[dict[str, Any]]
    ) -> tuple[tuple[str, ...], np.ndarray]:
        attributes, labels = columns.one_hot(classes)
        for key in self.json_labels:
            values = np.array([_small(fact.get(key)) for fact in facts], np.int8)
            if (values < 0).all():
                raise NoiseZooError(
                    f"No .json file in the tars has a truth value or a number from 0 to 127 under '{key}': leave it out of dataset.json_labels."
                )
            attributes, labels = (*attributes, key), np.concatenate([labels, values[:, None]], axis=1)
        return attributes, labels

    def _urls(self) -> list[str]:
        urls: list[str] = []
        for given in self.tars:
            for pattern in braceexpand(given):
                if "://" in pattern:
                    urls.append(pattern)
                    continue
                path = os.path.abspath(os.path.expanduser(pattern))
                found = sorted(glob.glob(path)) if glob.has_magic(path) else [path]
                if not found:
                    raise NoiseZooError(
                        f"No file fits {pattern}: give the tars as a path, a pattern or a URL, dataset.tars='data/*.tar'."
                    )
                urls += found
        return urls

    def _local(self, url: str) -> str:
        """The tar on this disk; one at a URL is fetched, unless it has been."""
        if "://" not in url:
            return url
        try:
            path: str = fsspec.open_local(
                f"filecache::{url}", filecache={"cache_storage": self.cache, "expiry_time": False}
            )
        except (OSError, ValueError, ImportError) as e:
            raise NoiseZooError(
                f"Cannot fetch {url} ({str(e)[:160] or type(e).__name__}): check the address and the network, and run the same command again."
            ) from e
        return path


def samples(path: str) -> Iterator[Sample]:
    """The samples of a tar, in order."""
    sample: Sample | None = None
    for member in tar_members(path):
        folder, file = posixpath.split(member.name)
        stem, _, extension = file.partition(".")
        if not stem:
            continue
        key = posixpath.join(folder, stem)
        kind = "." + extension.lower().rsplit(".", 1)[-1]
        if sample is None or sample.key != key or (kind in TAKEN | REFUSED and sample.image is not None):
            if sample is not None:
                yield sample
            sample = Sample(key)
        if kind in TAKEN | REFUSED:
            sample.image = member
        else:
            sample.sidecars[extension.lower()] = member
    if sample is not None:
        yield sample


def _text(reader: Reader, member: Member | None) -> str | None:
    if member is None:
        return None
    try:
        return reader.fetch(member.place).decode("utf-8").strip() or None
    except (UnreadableError, UnicodeDecodeError):
        return None


def _json(reader: Reader, member: Member | None) -> dict[str, Any]:
    try:
        value = json.loads(_text(reader, member) or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _small(value: Any) -> int:
    """A label of a .json file, -1 where there is none."""
    return int(value) if isinstance(value, bool | int) and 0 <= int(value) <= 127 else -1
