"""Conditional writes: put a file only if none is there, or only if it is still the version that was read.

This is what lets several builders share a zoo without talking to each other. A version is an opaque word: S3's etag, Google's generation, on a disk
the sha256 of the bytes. Whoever needs every write to have a version of its own writes something random into it.

A put whose answer was lost is tried again, and is then refused because of itself. So after a refusal that follows a lost answer the file is read, and
bytes equal to ours are ours.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from noisezoo.errors import NoiseZooError

TRIES = 6
FIRST_WAIT = 0.2
"""Seconds before a second try; each further wait is twice as long."""
LOCK_SECONDS = 5.0
"""How long a disk's lock is waited for before the file counts as another's."""
LOCK = ".lock"


def put(fs: Any, path: str, data: bytes, version: str | None) -> str | None:
    """The version of the file just put; None where the condition does not hold. `version` None means that there must be no file."""
    return _backend(fs, path)[0](fs, path, data, version)


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


# Disks. A link to a file that is complete either appears or is refused; replacing takes the folder's lock, which the kernel releases when its holder dies.


def _put_on_disk(fs: Any, path: str, data: bytes, version: str | None) -> str | None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with temporary(path, data) as ready:
        if version is None:
            if not _link(ready, path):
                return None
        else:
            with _locked(os.path.dirname(path)) as is_ours:
                try:
                    if not is_ours or _read_from_disk(fs, path)[1] != version:
                        return None
                except FileNotFoundError:
                    return None
                os.replace(ready, path)
    return _content(data)


@contextmanager
def temporary(path: str, data: bytes) -> Iterator[str]:
    """A complete file on the same disk under a name that no reader looks for; gone afterwards, unless it was renamed."""
    name = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with open(name, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield name
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def _link(ready: str, path: str) -> bool:
    """Give the file a second name, unless that name is taken."""
    try:
        os.link(ready, path)
    except FileExistsError:
        # Over NFS a link may be made, its answer lost, and asked for again: two names tell.
        return os.stat(ready).st_nlink == 2
    except OSError as e:
        if e.errno in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
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


@contextmanager
def _locked(folder: str) -> Iterator[bool]:
    """Hold a folder's lock; False where another holds it for longer than anyone should, such as a process that was stopped."""
    import fcntl  # not on Windows, where zoos are read

    descriptor = os.open(f"{folder}/{LOCK}", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    yield False
                    return
                time.sleep(0.01)
        yield True
    finally:
        os.close(descriptor)


# Object stores.


def _put_on_s3(fs: Any, path: str, data: bytes, version: str | None) -> str | None:
    from botocore.exceptions import ClientError, HTTPClientError
    from fsspec.asyn import sync
    from s3fs.errors import translate_boto_error

    bucket, key, _ = fs.split_path(path)
    condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}

    async def send() -> Any:
        await fs.set_session()
        client = await fs.get_s3(bucket)
        kwargs = fs._get_s3_method_kwargs(client.put_object, Bucket=bucket, Key=key, Body=data, **condition)
        return await client.put_object(**kwargs)

    is_unheard = False
    for attempt in range(TRIES):
        try:
            answer = sync(fs.loop, send)
        except ClientError as e:
            status = int(e.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            is_unheard |= bool(e.response.get("ResponseMetadata", {}).get("RetryAttempts", 0))
            if status == 412 or (status == 404 and version is not None and _code(e) != "NoSuchBucket"):
                return _ours(_read_from_s3, fs, path, data) if is_unheard else None
            # 409: another conditional write of the same key was under way; it did not count as ours.
            if (status < 500 and status not in (409, 429)) or attempt == TRIES - 1:
                raise translate_boto_error(e) from e
            is_unheard |= status >= 500
        except (HTTPClientError, OSError):
            if attempt == TRIES - 1:
                raise
            is_unheard = True
        else:
            fs.invalidate_cache(path)
            return str(answer["ETag"])
        time.sleep(FIRST_WAIT * 2**attempt)
    raise AssertionError("every last try answers or raises")


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _read_from_s3(fs: Any, path: str) -> tuple[bytes, str]:
    from fsspec.asyn import sync

    bucket, key, _ = fs.split_path(path)

    async def fetch() -> tuple[bytes, str]:
        answer = await fs._call_s3("get_object", Bucket=bucket, Key=key)
        async with answer["Body"] as body:
            return await body.read(), str(answer["ETag"])

    return again(lambda: sync(fs.loop, fetch))


def _put_on_gcs(fs: Any, path: str, data: bytes, version: str | None) -> str | None:
    from fsspec.asyn import sync
    from gcsfs.retry import HttpError

    bucket, key, _ = fs.split_path(path)
    head = b"--==0==\nContent-Type: application/json; charset=UTF-8\n\n" + json.dumps({"name": key}).encode()
    body = head + b"\n--==0==\nContent-Type: application/octet-stream\n\n" + data + b"\n--==0==--"

    async def send() -> Any:
        # gcsfs tries again by itself what fails in passing, so that an answer may be lost unseen.
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
        answer = sync(fs.loop, send)
    except (HttpError, FileExistsError, FileNotFoundError) as e:
        if isinstance(e, HttpError) and int(e.code or 0) != 412:
            raise
        return _ours(_read_from_gcs, fs, path, data)
    fs.invalidate_cache(path)
    return str(answer["generation"])


def _read_from_gcs(fs: Any, path: str) -> tuple[bytes, str]:
    while True:
        before = str(fs.info(path, refresh=True)["generation"])
        data: bytes = fs.cat_file(path)
        if str(fs.info(path, refresh=True)["generation"]) == before:
            return data, before


def _ours(read: Read, fs: Any, path: str, data: bytes) -> str | None:
    """The version of what is there if it is what we put."""
    try:
        there, version = read(fs, path)
    except FileNotFoundError:
        return None
    return version if there == data else None


def again(act: Callable[[], Any]) -> Any:
    """What `act` gives, tried several times where the store or the network fails in passing."""
    for attempt in range(TRIES):
        try:
            return act()
        except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
            raise
        except Exception as e:
            if attempt == TRIES - 1 or not _is_passing(e):
                raise
        time.sleep(FIRST_WAIT * 2**attempt)
    raise AssertionError("every last try answers or raises")


def _is_passing(error: Exception) -> bool:
    """Whether the same request may succeed later: the server's own failures, timeouts, cut connections."""
    # By name, so that no client library needs to be there: botocore's and aiohttp's errors of a connection that broke.
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(
        isinstance(error, ConnectionError | TimeoutError)
        or (isinstance(error, OSError) and error.errno in (errno.EREMOTEIO, errno.EBUSY, errno.EIO))
        or names & {"HTTPClientError", "ClientPayloadError", "IncompleteRead", "ResponseParserError", "FSTimeoutError"}
    )
