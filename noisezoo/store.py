"""Files of a zoo by URL: a folder, `s3://`, `gs://`, `hf://`, anything that fsspec opens.

Zarr reads arrays through its own stores; this module is for what is not an array (the ledger) and for writing a shard as one object, all or nothing.
Credentials come from the environment alone, as the stores' own tools read it; what fails in passing is tried again, and then told in a sentence.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import fsspec
import zarr
from fsspec.implementations.local import LocalFileSystem

from noisezoo import conditional, retry
from noisezoo.errors import NoiseZooError, StopsAllError
from noisezoo.secrets import checked, hidden

ATTEMPTS = 4
"""Of one request by the S3 client, unless AWS_MAX_ATTEMPTS says otherwise."""
CONNECTIONS = 64
"""Requests under way at once when many small files are read."""
A = TypeVar("A")


@dataclass(frozen=True)
class Store:
    """A folder at a URL; paths given to its methods are relative to it."""

    url: str

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        try:
            fs, root = fsspec.core.url_to_fs(checked(self.url), **options(self.url))
        except (ImportError, ValueError) as e:
            raise NoiseZooError(f"Cannot open {hidden(self.url)}: {hidden(str(e)).rstrip('.')}.") from e
        if hasattr(fs, "retries"):
            fs.retries = 2  # around those of the client, which asks again by itself
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
        if self.is_local:
            with open(self.path(name), "rb") as file:
                return file.read()
        data: bytes = self._asked(lambda: self.fs.cat_file(self.path(name), **_plainly(self.fs)))
        return data

    def read_many(self, names: Sequence[str]) -> dict[str, bytes]:
        """The bytes of many small files, many of them at once; files that are not there are left out."""
        if self.is_local or not self.fs.async_impl:
            return {name: data for name in names if (data := self._read_or_none(name)) is not None}
        paths = {self.path(name): name for name in names}
        found = self._asked(lambda: _cat_all(self.fs, list(paths)))
        return {paths[path]: data for path, data in found.items()}

    def _read_or_none(self, name: str) -> bytes | None:
        try:
            return self.read(name)
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Put a file in place as a whole: a reader sees the old bytes or the new, never a part, and a crash leaves no half of it."""
        path = self.path(name)
        if not self.is_local:
            self._asked(lambda: self.fs.pipe_file(path, data), is_write=True)
            return
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with conditional.temporary(path, data) as ready:
                os.replace(ready, path)
        except OSError as e:
            raise _told(e, path) from e

    def create(self, name: str, data: bytes) -> str | None:
        """Put a file only if there is none, whole or not at all; its version, or None where there is one already with other bytes."""
        return self._put(name, data, None)

    def replace(self, name: str, data: bytes, version: str) -> str | None:
        """Put a file only if it is still of this version; its new version, or None where somebody else removed it or put other bytes."""
        return self._put(name, data, version)

    def _put(self, name: str, data: bytes, version: str | None) -> str | None:
        path = self.path(name)
        if not self.is_local:
            return self._asked(lambda: conditional.put(self.fs, path, data, version), is_write=True)
        try:
            return conditional.put(self.fs, path, data, version)
        except OSError as e:
            raise _told(e, path) from e

    def read_version(self, name: str) -> tuple[bytes, str]:
        """The bytes of a file and their version; FileNotFoundError when there is none."""
        return self._asked(lambda: conditional.read(self.fs, self.path(name)))

    def upload(self, name: str, path: str) -> None:
        """Put a file of this machine's disk in place as a whole; for stores that are not disks."""
        self._asked(lambda: self.fs.put_file(path, self.path(name)), is_write=True)

    def exists(self, name: str = "") -> bool:
        return self._asked(lambda: bool(self.fs.exists(self.path(name))))

    def size(self, name: str) -> int:
        """Bytes of a file; FileNotFoundError when there is none."""
        return self._asked(lambda: int(self.fs.size(self.path(name))))

    def names(self, folder: str = "") -> list[str]:
        """Names directly inside a folder, sorted; none when it does not exist."""

        def ask() -> list[str]:
            self.fs.invalidate_cache()  # the Hub's listing is remembered
            return list(self.fs.ls(self.path(folder), detail=False))

        try:
            found = self._asked(ask)
        except FileNotFoundError:
            return []
        return sorted(str(p).rstrip("/").rsplit("/", 1)[-1] for p in found)

    def files(self, folder: str = "") -> list[str]:
        """Names of all files under a folder, relative to the store, sorted."""

        def ask() -> list[str]:
            self.fs.invalidate_cache()
            return list(self.fs.find(self.path(folder)))

        try:
            found = self._asked(ask)
        except FileNotFoundError:
            return []
        return sorted(os.path.relpath(p, self.path()).replace(os.sep, "/") for p in found)

    def remove(self, name: str) -> None:
        """Delete a file or folder if it is there."""
        if self.exists(name):
            self._asked(lambda: self.fs.rm(self.path(name), recursive=True))

    def unlink(self, name: str) -> None:
        """Delete one file if it is there, in one request."""
        try:
            self._asked(lambda: self.fs.rm_file(self.path(name)))
        except FileNotFoundError:
            return

    def sweep(self, folder: str = "") -> None:
        """Remove what killed processes left half written under a folder. Object stores show no halves."""
        if self.is_local:
            conditional.sweep(self.path(folder))

    def group(self, mode: str = "r") -> zarr.Group:
        """The Zarr group at this URL; to be written it is looked at as it is, not through the root's copy of the metadata."""
        more = {} if self.is_local else {"storage_options": options(checked(self.url))}
        return zarr.open_group(
            self.path() if self.is_local else self.url,
            mode=mode,  # type: ignore[arg-type]
            zarr_format=3,
            use_consolidated=None if mode == "r" else False,
            **more,  # type: ignore[arg-type]
        )

    def _asked(self, act: Callable[[], A], *, is_write: bool = False) -> A:
        """What a request gives, asked again where that may help. That a file is not there is an answer, unless something was to be put there."""
        if self.is_local:
            return act()
        try:
            return retry.again(act)
        except NoiseZooError:
            raise
        except Exception as e:
            sentence = None if isinstance(e, FileNotFoundError) and not is_write else retry.told(e, self.url)
            if sentence is None:
                raise
            raise sentence from e


def options(url: str) -> dict[str, Any]:
    """What the file system of an address is opened with, besides what fsspec's own configuration says."""
    protocol = url.split("://")[0]
    if protocol not in ("s3", "s3a", "gs", "gcs"):
        return {}
    # Other builders change the store under our hands: a listing is never remembered.
    found: dict[str, Any] = {"use_listings_cache": False}
    if protocol.startswith("s3"):
        config = dict(fsspec.config.conf.get("s3", {}).get("config_kwargs", {}))
        config.setdefault("max_pool_connections", CONNECTIONS)
        if "AWS_MAX_ATTEMPTS" not in os.environ:
            config.setdefault("retries", {"mode": "standard", "total_max_attempts": ATTEMPTS})
        found["config_kwargs"] = config
    return found


def _plainly(fs: Any) -> dict[str, int]:
    """What spares S3 the question of how long a file is before it is read."""
    return {"max_concurrency": 1} if "s3" in fs.protocol else {}


def _cat_all(fs: Any, paths: Sequence[str]) -> dict[str, bytes]:
    """Many small files of an asynchronous file system, one request each."""
    from fsspec.asyn import _run_coros_in_chunks, sync

    async def fetch() -> Any:
        tasks = [fs._cat_file(path, **_plainly(fs)) for path in paths]
        return await _run_coros_in_chunks(tasks, batch_size=CONNECTIONS, return_exceptions=True)

    found: dict[str, bytes] = {}
    for path, data in zip(paths, sync(fs.loop, fetch), strict=True):
        if isinstance(data, bytes):
            found[path] = data
        elif not isinstance(data, FileNotFoundError):
            raise data
    return found


def _told(error: OSError, path: str) -> Exception:
    """An operating-system error as a sentence, where we know the mend."""
    if error.errno == errno.ENOSPC or error.errno == errno.EDQUOT:
        return StopsAllError(
            f"No space is left for {path}: free some and run the same command again; every finished unit is kept."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        return StopsAllError(f"Cannot write {path} ({error.strerror}): give a folder you may write to, with dir=….")
    return error
