"""Files of a zoo by URL: a folder, `s3://`, `gs://`, `hf://`, anything that fsspec opens.

Zarr reads arrays through its own stores; this module is for what is not an array (the ledger) and for writing a shard as one object, all or nothing.
"""

from __future__ import annotations

import errno
import os
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
import zarr
from fsspec.implementations.local import LocalFileSystem

from noisezoo import conditional
from noisezoo.errors import NoiseZooError, StopsAllError


@dataclass(frozen=True)
class Store:
    """A folder at a URL; paths given to its methods are relative to it."""

    url: str

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        try:
            fs, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as e:
            raise NoiseZooError(f"Cannot open {self.url}: {e}.") from e
        return fs, root.rstrip("/")

    @property
    def fs(self) -> Any:
        """The file system that holds it."""
        return self._opened[0]

    @property
    def is_local(self) -> bool:
        return isinstance(self._opened[0], LocalFileSystem)

    def path(self, name: str = "") -> str:
        """The path of `name` as the file system spells it."""
        root = self._opened[1]
        return f"{root}/{name}" if name else root

    def read(self, name: str) -> bytes:
        """The bytes of a file; FileNotFoundError when there is none."""
        data: bytes = self._opened[0].cat_file(self.path(name))
        return data

    def write(self, name: str, data: bytes) -> None:
        """Put a file in place as a whole: a reader sees the old bytes or the new, never a part, and a crash leaves no half of it."""
        path = self.path(name)
        if not self.is_local:
            self._opened[0].pipe_file(path, data)
            return
        # A name that no reader of the format looks for, in the same folder, so that the rename is atomic.
        temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(temporary, "wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            os.replace(temporary, path)
        except OSError as e:
            Path(temporary).unlink(missing_ok=True)
            raise _told(e, path) from e

    def create(self, name: str, data: bytes) -> str | None:
        """Put a file only if there is none, whole or not at all; its version, or None where there is one already."""
        return self._put(name, data, None)

    def replace(self, name: str, data: bytes, version: str) -> str | None:
        """Put a file only if it is still of this version; its new version, or None where somebody else changed or removed it."""
        return self._put(name, data, version)

    def read_version(self, name: str) -> tuple[bytes, str]:
        """The bytes of a file and their version; FileNotFoundError when there is none."""
        return conditional.read(self.fs, self.path(name))

    def _put(self, name: str, data: bytes, version: str | None) -> str | None:
        path = self.path(name)
        try:
            return conditional.put(self.fs, path, data, version)
        except OSError as e:
            raise _told(e, path) from e

    def exists(self, name: str = "") -> bool:
        return bool(self._opened[0].exists(self.path(name)))

    def names(self, folder: str = "") -> list[str]:
        """Names directly inside a folder, sorted; none when it does not exist."""
        fs = self._opened[0]
        fs.invalidate_cache()
        try:
            found = fs.ls(self.path(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(p).rstrip("/").rsplit("/", 1)[-1] for p in found)

    def files(self, folder: str = "") -> list[str]:
        """Names of all files under a folder, relative to the store, sorted."""
        fs = self._opened[0]
        fs.invalidate_cache()
        try:
            found = fs.find(self.path(folder))
        except FileNotFoundError:
            return []
        return sorted(os.path.relpath(p, self.path()).replace(os.sep, "/") for p in found)

    def remove(self, name: str) -> None:
        """Delete a file or folder if it is there."""
        if self.exists(name):
            self._opened[0].rm(self.path(name), recursive=True)

    def group(self, mode: str = "r") -> zarr.Group:
        """The Zarr group at this URL."""
        return zarr.open_group(self.path() if self.is_local else self.url, mode=mode, zarr_format=3)  # type: ignore[arg-type]


def _told(error: OSError, path: str) -> Exception:
    """An operating-system error as a sentence, where we know the mend."""
    if error.errno == errno.ENOSPC or error.errno == errno.EDQUOT:
        return StopsAllError(
            f"No space is left for {path}: free some and run the same command again; every finished unit is kept."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        return StopsAllError(f"Cannot write {path} ({error.strerror}): give a folder you may write to, with dir=….")
    return error
