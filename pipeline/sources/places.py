"""Where an image file's bytes lie on disk — a file, or a run of bytes in a tar or zip — and how to fetch them without ever leaving the source's folder.

Nothing here raises for a bad file: it says why, in a phrase that ends up in the quarantine list.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, overload

import numpy as np

LARGEST_FILE = 256 * 1024 * 1024
"""Bytes of one image file; more is no image that any space would take, and would only fill the memory."""

_LOCAL_HEADER = struct.Struct("<4sHHHHHIIIHH")


@dataclass(frozen=True, slots=True)
class Place:
    """One image file: all of `path`, or `length` bytes of it at `offset`."""

    path: str
    offset: int = 0
    length: int = -1
    """Bytes as stored; -1 for the whole file."""
    zipped: bool = False
    """`offset` is that of a zip's local header, and the bytes may be deflated."""
    size: int = -1
    """Bytes once unpacked; zips only."""
    crc: int = 0
    """CRC-32 of the unpacked bytes; zips only."""
    within: str = ""
    """The folder that `path` must not leave, by link or otherwise; empty where `path` is an archive that the user named."""
    fault: str = ""
    """A reason, known from the table alone, not to read at all."""


class FolderPlaces(Sequence[Place]):
    """The places of many files in one folder, made when they are asked for: only their names are kept."""

    def __init__(self, folder: str, names: tuple[str, ...]) -> None:
        self.folder = folder
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, i: int) -> Place: ...
    @overload
    def __getitem__(self, i: slice) -> list[Place]: ...
    def __getitem__(self, i: int | slice) -> Place | list[Place]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        return Place(os.path.join(self.folder, self.names[i]), within=self.folder)


class UnreadableError(Exception):
    """Why there are no bytes, as a phrase."""


class Reader:
    """Fetches places; keeps the archive it read last open, because the next place is most often in it too."""

    def __init__(self) -> None:
        self._path = ""
        self._file: BinaryIO | None = None
        self._real: dict[str, str] = {}
        """Folders with all links followed."""

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def fetch(self, place: Place) -> bytes:
        """The image file's bytes; `UnreadableError` with a reason where there are none."""
        if place.fault:
            raise UnreadableError(place.fault)
        try:
            if place.length < 0:
                return _whole(place, self._real)
            return self._part(place)
        except OSError as e:
            raise UnreadableError(_phrase(e)) from e
        except ValueError as e:  # a NUL in the name
            raise UnreadableError("a name that no file can have") from e

    def _part(self, place: Place) -> bytes:
        if place.length > LARGEST_FILE or place.size > LARGEST_FILE:
            raise UnreadableError(f"larger than {LARGEST_FILE >> 20} MiB")
        if self._path != place.path or self._file is None:
            if self._file is not None:
                self._file.close()
            self._file = open(place.path, "rb")  # noqa: SIM115 - kept for the next place
            self._path = place.path
        self._file.seek(place.offset)
        if place.zipped:
            return _unzip(self._file, place)
        data = self._file.read(place.length)
        if len(data) < place.length:
            raise UnreadableError("the archive ends before this file does")
        return data


def stamps(places: Iterable[Place]) -> np.ndarray:
    """(n, 2) int64: size and modification time in ns of the file that holds each place, -1 where there is none; equal stamps mean that nobody has touched it."""
    archives: dict[str, tuple[int, int]] = {}
    return np.array([_stamp(place, archives) for place in places], np.int64).reshape(-1, 2)


def _stamp(place: Place, archives: dict[str, tuple[int, int]]) -> tuple[int, int]:
    if place.fault:
        return -1, -1
    if place.path in archives:
        return archives[place.path]
    try:
        found = os.stat(place.path)
    except (OSError, ValueError):
        return -1, -1
    told = found.st_size, found.st_mtime_ns
    if place.length >= 0:  # an archive holds many rows
        archives[place.path] = told
    return told


def outside(name: str) -> bool:
    """Whether a name given by a table or an archive would lead out of the folder it belongs to."""
    parts = name.replace("\\", "/").split("/")
    return (
        not name
        or name.startswith(("/", "\\"))
        or ".." in parts
        or (len(parts[0]) == 2 and parts[0][1] == ":")
        or "\0" in name
    )


def _whole(place: Place, real: dict[str, str]) -> bytes:
    path = place.path
    if place.within and not _inside(_real_folder(os.path.dirname(path), real), _real_folder(place.within, real)):
        raise UnreadableError("a name outside the folder")
    # Without O_NONBLOCK a named pipe would hang here for ever; with O_NOFOLLOW a link is noticed before it is followed.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        fd = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))
    except OSError as e:
        if e.errno != errno.ELOOP or not os.path.islink(path):
            raise
        target = os.path.realpath(path)
        if place.within and not _inside(target, _real_folder(place.within, real)):
            raise UnreadableError("a link that leads outside the folder") from e
        fd = os.open(target, flags)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableError("not a regular file")
        if found.st_size > LARGEST_FILE:
            raise UnreadableError(f"larger than {LARGEST_FILE >> 20} MiB")
        data = os.read(fd, found.st_size)
        while len(data) < found.st_size:
            more = os.read(fd, found.st_size - len(data))
            if not more:
                raise UnreadableError("shrank while it was read")
            data += more
        return data
    finally:
        os.close(fd)


def _real_folder(folder: str, known: dict[str, str]) -> str:
    if folder not in known:
        known[folder] = os.path.realpath(folder)
    return known[folder]


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _unzip(file: BinaryIO, place: Place) -> bytes:
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size:
        raise UnreadableError("the archive ends before this file does")
    magic, _, flags, method, *_, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    if magic != b"PK\3\4":
        raise UnreadableError("the zip's directory points at something else")
    if flags & 1:
        raise UnreadableError("encrypted in the zip")
    file.seek(name_length + extra_length, os.SEEK_CUR)
    data = file.read(place.length)
    if len(data) < place.length:
        raise UnreadableError("the archive ends before this file does")
    if method == 8:
        try:
            data = zlib.decompressobj(-15).decompress(data, place.size + 1)
        except zlib.error as e:
            raise UnreadableError("damaged inside the zip") from e
    elif method != 0:
        raise UnreadableError(f"compressed in the zip by method {method}, which is neither stored nor deflated")
    if len(data) != place.size or zlib.crc32(data) != place.crc:
        raise UnreadableError("damaged inside the zip")
    return data


def _phrase(error: OSError) -> str:
    known = {
        errno.ENOENT: "no such file",
        errno.ENOTDIR: "no such file",
        errno.EACCES: "permission denied",
        errno.EPERM: "permission denied",
        errno.ELOOP: "a link to itself",
    }
    return known.get(error.errno or 0, (error.strerror or "cannot be read").lower())
