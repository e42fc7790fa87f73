"""Conditional writes: put a file only if none is there, or only if it is still the version that was read.

This is what lets several builders share a zoo without talking to each other. A version is an opaque word: S3's etag, Google's generation, on a disk
the sha256 of the bytes.

A put whose answer was lost is sent again (by us, by the store's client, or unseen by HTTP's), and is then refused because of itself. So a refusal is an
answer only where other bytes are there: a file with the very bytes that were to be put counts as put. Whoever must be told apart from others, such as
the holder of a lease, writes something random.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from fsspec.implementations.local import LocalFileSystem

from noisezoo.errors import NoiseZooError

LOCK_SECONDS = 5.0
"""How long a file's lock is waited for before the file counts as another's."""
TEMPORARY = re.compile(r".+\.[0-9a-f]{8}\.(tmp|part)")


def put(fs: Any, path: str, data: bytes, version: str | None) -> str | None:
    """The version of the file just put; None where the condition does not hold, and other bytes are there. `version` None means that there must be no file."""
    write, read = _backend(fs, path)
    if (put := write(fs, path, data, version)) is not None:
        return put
    try:
        there, found = read(fs, path)
    except FileNotFoundError:
        return None
    return found if there == data else None


def read(fs: Any, path: str) -> tuple[bytes, str]:
    """A file's bytes and their version; FileNotFoundError when there is none."""
    return _backend(fs, path)[1](fs, path)


Put = Callable[[Any, str, bytes, str | None], str | None]
Read = Callable[[Any, str], tuple[bytes, str]]


def _backend(fs: Any, path: str) -> tuple[Put, Read]:
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if isinstance(fs, LocalFileSystem):
        return _put_on_disk, _read_from_disk
    if "s3" in protocols:
        return _put_on_s3, _read_from_s3
    if "gs" in protocols:
        return _put_on_gcs, _read_from_gcs
    raise NoiseZooError(
        f"{path} is on a store without conditional writes ({min(protocols)}://), where two builds could spoil each other: "
        "build into a folder, s3:// or gs:// with dir=…, and publish from there."
    )


# Disks. A link to a file that is complete either appears or is refused. Who replaces a file holds the lock of the file that is there, which the kernel
# releases when its holder dies; whoever waited for it then finds another file under the name.


def _put_on_disk(fs: Any, path: str, data: bytes, version: str | None) -> str | None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if version is None:
        with temporary(path, data) as ready:
            return _content(data) if _link(ready, path) else None
    try:
        there = open(path, "r+b")  # noqa: SIM115 (closed below)
    except FileNotFoundError:
        return None
    # The new file is on the disk before the lock is taken: whoever is stopped while it holds a lock keeps everybody else from replacing the file.
    with there, temporary(path, data) as ready:
        if not _locked(there.fileno(), LOCK_SECONDS) or not _is_at(there.fileno(), path):
            return None
        if _content(there.read()) != version:
            return None
        os.replace(ready, path)
    return _content(data)


@contextmanager
def temporary(path: str, data: bytes) -> Iterator[str]:
    """A complete file on the same disk under a passing name."""
    with passing(path, "tmp") as (name, file):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        yield name


@contextmanager
def passing(path: str, suffix: str) -> Iterator[tuple[str, BinaryIO]]:
    """An empty file beside another, under a name that no reader looks for; gone afterwards, unless it was renamed. Its lock says that somebody works on it."""
    while True:
        name = f"{path}.{uuid.uuid4().hex[:8]}.{suffix}"
        with open(name, "xb", buffering=1 << 20) as file:
            # Swept away between these two lines, it is made again.
            if _locked(file.fileno(), 0.0) and not _is_at(file.fileno(), name):
                continue
            try:
                yield name, file
                return
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(name)


def sweep(folder: str) -> None:
    """Remove what killed processes left half written anywhere in a folder; what living ones work on stays."""
    for place, _, names in os.walk(folder):
        for name in names:
            if TEMPORARY.fullmatch(name):
                with suppress(OSError), open(os.path.join(place, name), "r+b") as file:
                    if _locked(file.fileno(), 0.0):
                        os.unlink(file.name)


def _link(ready: str, path: str) -> bool:
    """Give the file a second name, unless that name is taken."""
    try:
        os.link(ready, path)
    except FileExistsError:
        return False
    except OSError as e:
        if e.errno in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise NoiseZooError(
                f"The disk that holds {path} knows no hard links, without which two builds could spoil each other: give another folder with dir=…."
            ) from e
        raise
    return True


def _read_from_disk(fs: Any, path: str) -> tuple[bytes, str]:
    data = Path(path).read_bytes()
    return data, _content(data)


def _content(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _locked(descriptor: int, seconds: float) -> bool:
    """Take the lock of an open file, held until it is closed; False where another holds it for longer, such as a process that was stopped, or where there are no locks."""
    try:
        import fcntl
    except ImportError:  # Windows, where zoos are read
        return False
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as e:
            if e.errno not in (errno.EWOULDBLOCK, errno.EACCES) or time.monotonic() >= until:
                return False
        time.sleep(0.01)


def _is_at(descriptor: int, path: str) -> bool:
    """Whether the open file is still the one of this name."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


# Object stores.


def _put_on_s3(fs: Any, path: str, data: bytes, version: str | None) -> str | None:
    from botocore.exceptions import ClientError
    from fsspec.asyn import sync
    from s3fs.errors import translate_boto_error

    bucket, key, _ = fs.split_path(path)
    condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}

    async def send() -> Any:
        await fs.set_session()
        client = await fs.get_s3(bucket)
        kwargs = fs._get_s3_method_kwargs(client.put_object, Bucket=bucket, Key=key, Body=data, **condition)
        return await client.put_object(**kwargs)

    try:
        return str(sync(fs.loop, send)["ETag"])
    except ClientError as e:
        status = e.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        is_gone = status == 404 and version is not None and e.response.get("Error", {}).get("Code") != "NoSuchBucket"
        if status == 412 or is_gone:
            return None
        raise translate_boto_error(e) from e


def _read_from_s3(fs: Any, path: str) -> tuple[bytes, str]:
    from fsspec.asyn import sync

    bucket, key, _ = fs.split_path(path)

    async def fetch() -> tuple[bytes, str]:
        answer = await fs._call_s3("get_object", Bucket=bucket, Key=key)
        async with answer["Body"] as body:
            return await body.read(), str(answer["ETag"])

    found: tuple[bytes, str] = sync(fs.loop, fetch)
    return found


def _put_on_gcs(fs: Any, path: str, data: bytes, version: str | None) -> str | None:
    from fsspec.asyn import sync
    from gcsfs.retry import HttpError

    bucket, key, _ = fs.split_path(path)
    head = b"--==0==\nContent-Type: application/json; charset=UTF-8\n\n" + json.dumps({"name": key}).encode()
    body = head + b"\n--==0==\nContent-Type: application/octet-stream\n\n" + data + b"\n--==0==--"

    async def send() -> Any:
        return await fs._call(
            "POST",
            f"{fs._location}/upload/storage/v1/b/{bucket}/o",
            uploadType="multipart",
            headers={"Content-Type": 'multipart/related; boundary="==0=="'},
            data=body,
            json_out=True,
            ifGenerationMatch=version or "0",
        )

    try:
        return str(sync(fs.loop, send)["generation"])
    except (HttpError, FileExistsError) as e:
        if isinstance(e, FileExistsError) or int(e.code or 0) == 412:
            return None
        raise


def _read_from_gcs(fs: Any, path: str) -> tuple[bytes, str]:
    while True:
        before = str(fs.info(path, refresh=True)["generation"])
        data: bytes = fs.cat_file(path)
        if str(fs.info(path, refresh=True)["generation"]) == before:
            return data, before
