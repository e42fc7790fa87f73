"""Image shards: what ingest leaves for each run of consecutive rows, and how the worker reads it back.

A shard is a record (JSON) and, where images are copied, a tar whose members are named by the source's row numbers
(`000162770.jpg`), as webdataset and `tar` read it. Where they are not copied the record points at the source's own
files. Either way every image has its sha256 and its place, so that `read` and `pick` do not care.

Tars are written by the standard library: webdataset's writer is a thin layer over it, but importing webdataset imports
torch, 230 MB in each of ingest's processes. The tests read the shards with webdataset.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from noisezoo.conditional import passing
from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from pipeline.sources.base import Picture
from pipeline.sources.places import Place, Reader, UnreadableError


def tar_name(shard: int) -> str:
    return f"shard-{shard:06d}.tar"


def record_name(shard: int) -> str:
    return f"shard-{shard:06d}.json"


class DamagedError(NoiseZooError):
    """A tar does not hold what its record says."""


@dataclass
class Record:
    """One shard, row by row; all lists have one entry a row of the shard."""

    shard: int
    rows: list[int] = field(default_factory=list)
    """The source's row numbers."""
    sha256: list[str] = field(default_factory=list)
    """Hexadecimal; empty for a row without an image."""
    extension: list[str] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    """Where the image begins in the shard's tar, or in its place."""
    length: list[int] = field(default_factory=list)
    invalid: dict[str, str] = field(default_factory=dict)
    """Row number to the reason why it has no image."""
    bytes: int = 0
    """Size of the tar; zero where nothing was copied."""
    places: list[dict[str, Any]] | None = None
    """Where each image lies in the source, if it was not copied."""

    def add(self, row: int, digest: str, extension: str, offset: int, length: int) -> None:
        self.rows.append(row)
        self.sha256.append(digest)
        self.extension.append(extension)
        self.offset.append(offset)
        self.length.append(length)

    def add_invalid(self, row: int, reason: str) -> None:
        self.add(row, "", "", 0, 0)
        self.invalid[str(row)] = reason


class TarWriter:
    """A plain tar with the same bytes for the same images: no times, no owners, no padding beyond what tar asks for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._at = 0

    def add(self, name: str, data: bytes) -> int:
        """Append a file; the offset of its first byte."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        info.mode = 0o444
        self._file.write(info.tobuf(tarfile.USTAR_FORMAT))
        self._file.write(data)
        self._file.write(b"\0" * (-len(data) % tarfile.BLOCKSIZE))
        start = self._at + tarfile.BLOCKSIZE
        self._at = start + len(data) + (-len(data) % tarfile.BLOCKSIZE)
        return start

    def finish(self) -> int:
        """Close the archive; its size in bytes."""
        self._file.write(b"\0" * (2 * tarfile.BLOCKSIZE))
        return self._at + 2 * tarfile.BLOCKSIZE


@contextmanager
def writing(store: Store, shard: int) -> Iterator[TarWriter]:
    """A shard's tar, in place only once it is whole."""
    if not store.is_local:
        # Sent when it is whole: an upload under way would be ended by an error, as if that were all.
        try:
            with tempfile.NamedTemporaryFile(suffix=".tar", buffering=1 << 20) as file:
                yield TarWriter(file)
                file.flush()
                store.upload(tar_name(shard), file.name)
        except OSError as e:
            raise _cannot_write(tempfile.gettempdir(), e) from e
        return
    path = Path(store.path(tar_name(shard)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with passing(str(path), "part") as (part, file):
            yield TarWriter(file)
            file.flush()
            os.fsync(file.fileno())  # the record must not outlive its tar in a power cut
            os.replace(part, path)
    except OSError as e:
        raise _cannot_write(path, e) from e


def _cannot_write(path: object, error: OSError) -> NoiseZooError:
    return NoiseZooError(
        f"Cannot write {path} ({error.strerror}): free some space or give another folder, and run the same command again; every finished shard is kept."
    )


def write_record(store: Store, record: Record) -> None:
    """Declare a shard finished; call it after its tar is in place."""
    store.write(record_name(record.shard), json.dumps(asdict(record), separators=(",", ":")).encode())


def read_record(store: Store, shard: int) -> Record | None:
    """A shard's record; None where there is none, or where its tar is missing or short."""
    try:
        record = Record(**json.loads(store.read(record_name(shard))))
        if record.bytes and store.size(tar_name(shard)) != record.bytes:
            return None
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return record


def read(images_root: str, shard: int) -> Iterator[Picture]:
    """Every row of a shard in order: its image file, or the reason why there is none. An image outside the zoo that is no longer what ingest saw is one without.

    A tar of our own that is damaged counts as missing from then on, so that the next ingest brings it back.
    """
    store = Store(images_root)
    record = _record_or_raise(store, shard)
    try:
        yield from _pictures(store, record, range(len(record.rows)))
    except DamagedError:
        store.unlink(record_name(shard))
        raise


def pick(images_root: str, positions: Iterable[int], shard_rows: int) -> Iterator[Picture]:
    """The image files of any rows of a zoo, given by their places in it, in the order given."""
    store = Store(images_root)
    records: dict[int, Record] = {}
    for position in positions:
        shard = int(position) // shard_rows
        if shard not in records:
            records = {shard: _record_or_raise(store, shard)}
        yield from _pictures(store, records[shard], [int(position) % shard_rows])


def _record_or_raise(store: Store, shard: int) -> Record:
    record = read_record(store, shard)
    if record is None:
        raise NoiseZooError(
            f"Shard {shard} of the images in {store.url} is missing or cut short: type `noisezoo ingest` with the same overrides to bring it back."
        )
    return record


def _pictures(store: Store, record: Record, indices: Iterable[int]) -> Iterator[Picture]:
    with _opened(store, record) as fetch:
        for i in indices:
            row = record.rows[i]
            if not record.sha256[i]:
                yield Picture(row, None, record.invalid[str(row)])
                continue
            try:
                data = fetch(i)
            except UnreadableError as e:
                yield Picture(row, None, f"no longer what was ingested: {e}")
                continue
            if hashlib.sha256(data).hexdigest() == record.sha256[i]:
                yield Picture(row, data, None, record.extension[i])
            elif record.places is not None:
                yield Picture(row, None, "no longer what was ingested: its sha256 differs")
            else:
                raise DamagedError(
                    f"{tar_name(record.shard)} in {store.url} is damaged: type the same command again, or `noisezoo ingest`, to bring it back from the source."
                )


@contextmanager
def _opened(store: Store, record: Record) -> Iterator[Any]:
    """A function from a row's place in the shard to its bytes."""
    if record.places is not None:
        places = [Place(**place) for place in record.places]
        with Reader() as reader:
            yield lambda i: reader.fetch(places[i])
        return
    if not record.bytes:  # not one image in it
        yield lambda i: b""
        return
    with store.fs.open(store.path(tar_name(record.shard)), "rb") as file:

        def fetch(i: int) -> bytes:
            file.seek(record.offset[i])
            data: bytes = file.read(record.length[i])
            return data

        yield fetch
