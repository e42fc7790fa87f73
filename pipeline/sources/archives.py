"""The directories of zip and tar files: which images they hold and where, without unpacking them, and one sentence for an archive that is none."""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

from noisezoo.errors import NoiseZooError
from pipeline.sources.places import Place, outside


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside an archive."""

    name: str
    place: Place


def zip_members(path: str) -> list[Member]:
    """The files of a zip in its own order; names that would lead out of it, and links, come with a fault."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [Member(info.filename, _zip_place(path, info)) for info in archive.infolist() if not info.is_dir()]
    except FileNotFoundError as e:
        raise NoiseZooError(f"There is no file {path}: give the path of the zip you downloaded.") from e
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, EOFError) as e:
        raise NoiseZooError(_no_zip(path)) from e


def tar_members(path: str) -> Iterator[Member]:
    """The files of an uncompressed tar in order; links, devices and names that would lead out of it come with a fault."""
    try:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                if info.isdir():
                    continue
                yield Member(info.name, _tar_place(path, info))
                archive.members = []  # type: ignore[attr-defined]  # or tarfile keeps every header
            _check_tar_end(archive)
    except FileNotFoundError as e:
        raise NoiseZooError(
            f"There is no file {path}: give the tars as a path, a pattern or a URL, dataset.tars='…/*.tar'."
        ) from e
    except (tarfile.TarError, OSError) as e:
        raise NoiseZooError(_no_tar(path)) from e


def _zip_place(path: str, info: zipfile.ZipInfo) -> Place:
    fault = ""
    if outside(info.filename):
        fault = "a name outside the archive"
    elif stat.S_ISLNK(info.external_attr >> 16):
        fault = "a link inside the archive"
    return Place(
        path, info.header_offset, info.compress_size, zipped=True, size=info.file_size, crc=info.CRC, fault=fault
    )


def _tar_place(path: str, info: tarfile.TarInfo) -> Place:
    fault = ""
    if outside(info.name):
        fault = "a name outside the archive"
    elif info.issym() or info.islnk():
        fault = "a link inside the archive"
    elif not info.isreg() or info.issparse():
        fault = "not a regular file inside the archive"
    return Place(path, info.offset_data, info.size, fault=fault)


def _check_tar_end(archive: tarfile.TarFile) -> None:
    """tarfile takes any bytes that are no header for the end; a tar that is whole ends with a block of zeros."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    block = archive.fileobj.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE or any(block):
        raise tarfile.ReadError("unexpected end of data")


def _no_zip(path: str) -> str:
    head, size = _head(path)
    if _is_html(head):
        return f"{path} is a web page saved as .zip, which is what a file host sends when its limit is reached: download it again, in a browser or with a token."
    if head.startswith(b"PK"):
        return f"{path} is cut off after {size:,} bytes, its directory at the end is missing: download it again, continuing with `curl -C -` or `wget -c`."
    if head.startswith(b"7z\xbc\xaf"):
        return f"{path} is a 7z archive: unpack it with `7z x` and give the folder."
    return f"{path} is not a zip file ({size:,} bytes): download it again."


def _no_tar(path: str) -> str:
    head, size = _head(path)
    if _is_html(head):
        return f"{path} is a web page saved as .tar: download it again, from the link behind the page."
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        return f"{path} is compressed, and images in it cannot be reached one by one: uncompress it first, `gunzip {path}`."
    if head[257:262] == b"ustar":
        return f"{path} is cut off after {size:,} bytes: download it again."
    return f"{path} is not a tar file ({size:,} bytes): download it again."


def _head(path: str) -> tuple[bytes, int]:
    try:
        with open(path, "rb") as file:
            return file.read(1024), os.path.getsize(path)
    except OSError:
        return b"", 0


def _is_html(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html"))
