"""Files that are broken or mean harm: none stops ingest, none is read from outside its folder, and the fate of each is in the quarantine list."""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import socket
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import shards
from pipeline.ingest import Ingested, ingest
from pipeline.sources.afhq import AFHQ
from pipeline.sources.base import Source
from pipeline.sources.celeba import CelebA
from pipeline.sources.check import NotAnImageError, check
from pipeline.sources.folder import Folder
from pipeline.sources.places import LARGEST_FILE
from pipeline.sources.tars import Tars
from tests.kit import lookalikes as like

JPEG = like.picture(1, (32, 32))
PNG = like.picture(2, (32, 32), "PNG")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes = b"\x78\x9c\x03\x00\x00\x00\x00\x01", extra: bytes = b"") -> bytes:
    """A PNG that claims a size."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG whose head claims a size."""
    at = JPEG.index(b"\xff\xc0")
    return JPEG[: at + 5] + struct.pack(">HH", height, width) + JPEG[at + 9 :]


def saved(kind: str, size: tuple[int, int] = (32, 32), frames: int = 1) -> bytes:
    file = io.BytesIO()
    images = [Image.fromarray(np.full((*size[::-1], 3), 60 * f, np.uint8)) for f in range(frames)]
    images[0].save(file, kind, **({"save_all": True, "append_images": images[1:]} if frames > 1 else {}))
    return file.getvalue()


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty.jpg": (b"", "empty"),
    "zeros.jpg": (bytes(4000), "nothing but zeros"),
    "text.jpg": (b"hello", "not an image"),
    "noise.png": (np.random.RandomState(0).bytes(4000), "not an image"),
    "page.jpg": (b"\n<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
    "json.jpg": (b'{"error": "quota"}', "not an image"),
    "program.jpg": (b"\x7fELF\x02\x01\x01" + bytes(100), "not an image"),
    "windows.jpg": (b"MZ" + bytes(100), "not an image"),
    "zip.jpg": (b"PK\3\4" + bytes(100), "not an image"),
    "pdf.jpg": (b"%PDF-1.7", "not an image"),
    "pickle.jpg": (b"\x80\x04\x95cos\nsystem\n", "not an image"),
    "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "photoshop.jpg": (b"8BPS\0\1" + bytes(100), "not an image"),
    "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "drawing2.svg": (b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>', "SVG"),
    "drawing.jpg": (b"\xef\xbb\xbf  <svg onload='x()'/>", "SVG"),
    "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    "phone.heif": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
    "web.avif": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "AVIF"),
    "film.jpg": (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", "a video"),
    "jpeg_head_only.jpg": (JPEG[:2] + b"\xff", "truncated"),
    "jpeg_cut_in_head.jpg": (JPEG[:100], "truncated"),
    "jpeg_cut_in_half.jpg": (JPEG[: len(JPEG) // 2 + 200], "truncated"),
    "jpeg_cut_at_end.jpg": (JPEG[:-2], "truncated"),
    "jpeg_tail_zeroed.jpg": (JPEG[: len(JPEG) - 60] + bytes(60), "truncated"),
    "jpeg_lying_segment.jpg": (b"\xff\xd8\xff\xe0\xff\xff" + bytes(50) + JPEG[20:], "a damaged JPEG head"),
    "jpeg_no_size.jpg": (jpeg_of_size(0, 0), "a damaged JPEG head"),
    "jpeg_huge.jpg": (jpeg_of_size(65_000, 65_000), "decompression bomb"),
    "jpeg_strip.jpg": (jpeg_of_size(60_000, 8), "absurd dimensions"),
    "png_cut.png": (PNG[:-20], "truncated"),
    "png_no_end.png": (PNG[:-12], "truncated"),
    "png_bad_sum.png": (PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], "damaged"),
    "png_signature.png": (PNG[:8], "truncated"),
    "png_bomb.png": (png(30_000, 30_000), "decompression bomb"),
    "png_absurd.png": (png(2**31 - 1, 2**31 - 1), "decompression bomb"),
    "png_line.png": (png(10_000, 8), "absurd dimensions"),
    "png_dot.png": (saved("PNG", (1, 1)), "absurd dimensions"),
    "png_text_bomb.png": (
        png(32, 32, extra=chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(200_000_000), 9))),
        "a damaged PNG head",
    ),
    "png_profile_bomb.png": (png(32, 32, extra=chunk(b"IHDR", b"")), "a damaged PNG head"),
    "moving.png": (saved("PNG", frames=3), "an animation"),
    "moving.gif": (saved("GIF", frames=3), "an animation"),
    "moving.webp": (saved("WEBP", frames=3), "an animation"),
    "pages.tif": (saved("TIFF", frames=2), "an animation or several pages"),
    "gif_cut.gif": (saved("GIF")[:-8], "truncated"),
    "webp_cut.webp": (saved("WEBP")[:-4], "truncated"),
    "bmp_cut.bmp": (saved("BMP")[:60], "truncated"),
    "bmp_negative.bmp": (saved("BMP")[:18] + struct.pack("<ii", 2**31 - 1, -(2**31) + 1) + saved("BMP")[26:], "decompression bomb"),
    "tiff_loop.tif": (b"II*\0\x08\0\0\0\0\0\x08\0\0\0", "a damaged TIFF head"),
    "tiff_far.tif": (b"II*\0\xff\xff\xff\x7f", "a damaged TIFF head"),
}  # fmt: skip

FINE: dict[str, bytes] = {
    "plain.jpg": JPEG,
    "plain.png": PNG,
    "still.gif": saved("GIF"),
    "still.webp": saved("WEBP"),
    "plain.bmp": saved("BMP"),
    "plain.tif": saved("TIFF"),
    "padded.jpg": JPEG + bytes(300),
    "misnamed.png": JPEG,
    "sp ace ünïcode 图.jpg": like.picture(5),
    "-rf.jpg": like.picture(6),
    "line\nbreak.jpg": like.picture(7),
    "quote'\"; --.jpg": like.picture(8),
    "a" * 200 + ".jpg": like.picture(9),
}


def fates(done: Ingested) -> dict[str, str]:
    return {item.key: item.reason for item in done.invalid}


def swallowed(tmp_path: Path, source: Source) -> Ingested:
    """Ingest with everything allowed to be broken; whatever is kept must be an image that Pillow can open."""
    done = ingest(source, str(tmp_path / "images"), shard_rows=8, workers=1, max_broken_share=1.0)
    for shard in range(-(-len(done.rows) // 8)):
        for found in shards.read(str(tmp_path / "images"), shard):
            if found.data is not None:
                Image.open(io.BytesIO(found.data))
    return done


@pytest.mark.parametrize("name", BROKEN)
def test_the_check_tells_what_is_wrong(name: str) -> None:
    data, reason = BROKEN[name]
    with pytest.raises(NotAnImageError) as told:
        check(data)
    assert reason in str(told.value)


@pytest.mark.parametrize("name", FINE)
def test_the_check_lets_images_pass(name: str) -> None:
    assert check(FINE[name]) in ("jpg", "png", "gif", "webp", "bmp", "tif")


def test_there_are_at_least_forty() -> None:
    assert len(BROKEN) >= 40


def test_a_folder_of_hostile_files(tmp_path: Path) -> None:
    root = tmp_path / "source"
    like.lay(root, [(name, data) for name, (data, _) in BROKEN.items()])
    like.lay(root, list(FINE.items()))
    done = swallowed(tmp_path, Folder(str(root)))
    told = fates(done)
    assert set(told) == set(BROKEN)
    assert all(BROKEN[name][1] in reason for name, reason in told.items())
    assert len(done.rows) == len(BROKEN) + len(FINE)


def test_links_pipes_sockets_and_devices(tmp_path: Path) -> None:
    root = like.lay(tmp_path / "source", [("a/fine.jpg", JPEG), ("a/other.jpg", PNG)])
    (tmp_path / "secret.jpg").write_bytes(JPEG)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "1.jpg").write_bytes(JPEG)
    here = root / "a"
    (here / "inside_link.jpg").symlink_to(here / "fine.jpg")
    (here / "outside_link.jpg").symlink_to(tmp_path / "secret.jpg")
    (here / "relative_link.jpg").symlink_to("../../secret.jpg")
    (here / "passwd.jpg").symlink_to("/etc/passwd")
    (here / "dangling.jpg").symlink_to(here / "gone.jpg")
    (here / "loop.jpg").symlink_to(here / "loop.jpg")
    (here / "folder_link").symlink_to(tmp_path / "secrets")
    os.mkfifo(here / "pipe.jpg")
    (here / "device.jpg").symlink_to("/dev/zero")
    (here / "folder.jpg").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.relpath(here / "socket.jpg"))
    try:
        done = swallowed(tmp_path, Folder(str(root)))
    finally:
        listener.close()
    told = fates(done)
    for name in ("outside_link", "relative_link", "passwd", "device"):
        assert told.pop(f"a/{name}.jpg") == "a link that leads outside the folder"
    assert told.pop("a/dangling.jpg") == "no such file"
    assert told.pop("a/loop.jpg") == "a link to itself"
    assert told.pop("a/folder_link") == "a link to a folder, which is not followed"
    assert told.pop("a/pipe.jpg") == "not a regular file"
    assert "socket" in (found := told.popitem())[0]
    assert found[1] in ("no such device or address", "not a regular file")
    assert not told
    assert done.index.keys == tuple(sorted([*fates(done), "a/fine.jpg", "a/inside_link.jpg", "a/other.jpg"]))


def test_a_table_that_names_files_outside(tmp_path: Path) -> None:
    root = like.lay(tmp_path / "source", [("a.jpg", JPEG), ("b/a.jpg", PNG)])
    (tmp_path / "secret.jpg").write_bytes(JPEG)
    (root / "out").symlink_to(tmp_path)
    absolute = str(tmp_path / "secret.jpg")
    bad = ["../secret.jpg", absolute, "b/../../secret.jpg", "out/secret.jpg", "C:\\secret.jpg", "..\\secret.jpg"]
    names = ["a.jpg", *bad, "~/x.jpg", "b", "a.jpg", "b/a.jpg"]
    (root / "labels.csv").write_text("\n".join(["path", *names]) + "\n")
    told = fates(swallowed(tmp_path, Folder(str(root), labels="labels.csv")))
    assert told == {
        "../secret.jpg": "a name outside the folder",
        str(tmp_path / "secret.jpg"): "a name outside the folder",
        "b/../../secret.jpg": "a name outside the folder",
        "out/secret.jpg": "a name outside the folder",
        "C:\\secret.jpg": "a name outside the folder",
        "..\\secret.jpg": "a name outside the folder",
        "~/x.jpg": "no such file",
        "b": "not a regular file",
    }


def test_a_hostile_tar(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(JPEG)

    def member(
        name: str, kind: bytes = tarfile.REGTYPE, target: str = "", data: bytes = b""
    ) -> tuple[tarfile.TarInfo, io.BytesIO]:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, target, len(data)
        return info, io.BytesIO(data)

    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for info, data in (
            member("fine.jpg", data=JPEG),
            member("../up.jpg", data=PNG),
            member("a/../../up.jpg", data=PNG),
            member(str(tmp_path / "absolute.jpg"), data=PNG),
            member("link.jpg", tarfile.SYMTYPE, str(secret)),
            member("hard.jpg", tarfile.LNKTYPE, str(secret)),
            member("device.jpg", tarfile.CHRTYPE),
            member("pipe.jpg", tarfile.FIFOTYPE),
            member("empty.jpg"),
            member("text.jpg", data=b"text"),
            member("fine.jpg", data=PNG),
            member("folder.jpg/", tarfile.DIRTYPE),
            member("shell.jpg;rm -rf.jpg", data=JPEG),
        ):
            archive.addfile(info, data)
    done = swallowed(tmp_path, Tars(str(tmp_path / "a.tar")))
    told = fates(done)
    (absolute,) = [key for key in told if "absolute" in key]
    assert told.pop(absolute) == "a name outside the archive"
    assert told == {
        "a.tar/../up.jpg": "a name outside the archive",
        "a.tar/a/../../up.jpg": "a name outside the archive",
        "a.tar/link.jpg": "a link inside the archive",
        "a.tar/hard.jpg": "a link inside the archive",
        "a.tar/device.jpg": "not a regular file inside the archive",
        "a.tar/pipe.jpg": "not a regular file inside the archive",
        "a.tar/empty.jpg": "empty",
        "a.tar/text.jpg": "not an image",
    }
    assert "a.tar/fine.jpg#2" in done.index.keys
    assert not (tmp_path.parent / "up.jpg").exists()
    assert not (tmp_path / "up.jpg").exists()


def test_a_hostile_zip(tmp_path: Path) -> None:
    path = tmp_path / "afhq.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/cat/fine.jpg", JPEG)
        link = zipfile.ZipInfo("train/cat/link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("train/cat/damaged.jpg", like.picture(3, (64, 64)))
        archive.writestr("train/cat/bomb.jpg", bytes(LARGEST_FILE + 1))
        archive.writestr("train/cat/odd.jpg", JPEG, zipfile.ZIP_BZIP2)
        archive.writestr("train/dog/liar.jpg", bytes(50_000))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data[archive.getinfo("train/cat/damaged.jpg").header_offset + 150] ^= 0xFF
    # The directory says that one file unpacks to 10 bytes; it would unpack to 50,000.
    at = data.rindex(b"train/dog/liar.jpg") - 46 + 24
    data[at : at + 4] = struct.pack("<I", 10)
    path.write_bytes(data)
    told = fates(swallowed(tmp_path, AFHQ(str(path))))
    assert told == {
        "train/cat/link.jpg": "a link inside the archive",
        "train/cat/damaged.jpg": "damaged inside the zip",
        "train/cat/bomb.jpg": "larger than 256 MiB",
        "train/cat/odd.jpg": "compressed in the zip by method 12, which is neither stored nor deflated",
        "train/dog/liar.jpg": "damaged inside the zip",
    }


def test_a_zip_whose_names_lead_out_of_it(tmp_path: Path) -> None:
    root = like.official_folder(tmp_path / "source")
    shutil.rmtree(root / "Img" / "img_align_celeba")
    with zipfile.ZipFile(root / "Img" / "img_align_celeba.zip", "w") as archive:
        for key in like.KEYS:
            archive.writestr(f"../../{key}" if key == "000003.jpg" else key, JPEG)
    assert fates(swallowed(tmp_path, CelebA(str(root)))) == {"000003.jpg": "a name outside the archive"}


def _read_as_nobody(root: str, answer: Any) -> None:
    """In a process of its own, because root may read everything and there is no way back to it."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    source = Folder(root)
    keys = source.index().keys
    answer.send([(key, found.reason) for key, found in zip(keys, source.read(range(len(keys))), strict=True)])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_files_that_may_not_be_read(tmp_path: Path) -> None:
    root = like.lay(tmp_path / "source", [("a/fine.jpg", JPEG), ("a/closed.jpg", PNG), ("closed/1.jpg", PNG)])
    (root / "a" / "closed.jpg").chmod(0)
    (root / "closed").chmod(0)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == os.geteuid() and folder.is_relative_to("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_read_as_nobody, args=(str(root), theirs))
    process.start()
    process.join(30)
    (root / "closed").chmod(0o755)
    assert process.exitcode == 0
    assert mine.recv() == [
        ("a/closed.jpg", "permission denied"),
        ("a/fine.jpg", None),
        ("closed", "a folder that may not be listed"),
    ]


def test_a_file_beyond_the_limit_is_not_read_into_memory(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with open(tmp_path / "source" / "large.jpg", "wb") as file:
        file.write(JPEG)
        file.truncate(LARGEST_FILE + 1)  # sparse: takes no room
    done = swallowed(tmp_path, Folder(str(tmp_path / "source")))
    assert fates(done) == {"large.jpg": "larger than 256 MiB"}


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with open(os.fsencode(tmp_path / "source") + b"/\xff\xfe.jpg", "wb") as file:
        file.write(JPEG)
    done = swallowed(tmp_path, Folder(str(tmp_path / "source")))
    assert done.index.keys == ("\\xff\\xfe.jpg",)
    assert not done.invalid


def mutated(data: bytes, seed: int) -> bytes:
    """A file with some bytes changed, cut or doubled."""
    chance = np.random.RandomState(seed)
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at = chance.randint(len(changed))
        what = chance.randint(4)
        if what == 0:
            changed[at] = chance.randint(256)
        elif what == 1:
            del changed[at : at + chance.randint(1, 40)]
        elif what == 2:
            changed[at:at] = chance.bytes(chance.randint(1, 40))
        else:
            changed[at : at + 4] = b"\xff\xff\xff\xff"
        if not changed:
            break
    return bytes(changed)


@pytest.mark.parametrize(
    "make",
    [
        lambda: JPEG,
        lambda: PNG,
        lambda: saved("WEBP"),
        lambda: saved("GIF"),
        lambda: saved("TIFF"),
        lambda: saved("BMP"),
    ],
)
def test_the_check_never_raises_anything_else(make: Callable[[], bytes]) -> None:
    data = make()
    for seed in range(300):
        try:
            found = check(mutated(data, seed))
        except NotAnImageError:
            continue
        assert found in ("jpg", "png", "gif", "webp", "bmp", "tif")
