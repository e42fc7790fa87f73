"""Small downloads that look like the real ones: same file names, same headers, same quirks, few images."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.sources.celeba import ATTRIBUTES

TRAIN, VALIDATION, TEST = 25, 20, 6
ROWS = TRAIN + VALIDATION + TEST
KEYS = [f"{i + 1:06d}.jpg" for i in range(ROWS)]
_RANDOM = np.random.RandomState(7)
LABELS = _RANDOM.randint(0, 2, (ROWS, 40))
SPLIT = np.repeat([0, 1, 2], [TRAIN, VALIDATION, TEST])
IDENTITY = _RANDOM.randint(1, 10178, ROWS)
LANDMARKS = _RANDOM.randint(20, 160, (ROWS, 10))
POINTS = [
    "lefteye_x",
    "lefteye_y",
    "righteye_x",
    "righteye_y",
    "nose_x",
    "nose_y",
    "leftmouth_x",
    "leftmouth_y",
    "rightmouth_x",
    "rightmouth_y",
]


def picture(seed: int, size: tuple[int, int] = (18, 22), kind: str = "JPEG") -> bytes:
    """An image file like no other seed's."""
    pixels = np.random.RandomState(seed).randint(0, 255, (4, 4, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


def text(*lines: str, end: str = "\n", bom: bool = False, last: str | None = None) -> bytes:
    return ("\ufeff" if bom else "").encode() + (end.join(lines) + (end if last is None else last)).encode()


def celeba_text(folder: Path, end: str = "\n", bom: bool = False, last: str | None = None) -> dict[str, Path]:
    """The five text tables in one folder, with CelebA's count lines, double spaces, and headers that end in a space."""
    folder.mkdir(parents=True, exist_ok=True)
    signs = ["".join(f" {'' if v else '-'}1".rjust(3) for v in row) for row in LABELS]
    tables = {
        "list_attr_celeba.txt": [
            str(ROWS),
            " ".join(ATTRIBUTES) + " ",
            *(k + s for k, s in zip(KEYS, signs, strict=True)),
        ],
        "list_eval_partition.txt": [f"{k} {s}" for k, s in zip(KEYS, SPLIT, strict=True)],
        "identity_CelebA.txt": [f"{k} {i}" for k, i in zip(KEYS, IDENTITY, strict=True)],
        "list_landmarks_align_celeba.txt": [
            str(ROWS),
            " ".join(POINTS) + " ",
            *(k + "".join(f"  {v:<4d}" for v in p) for k, p in zip(KEYS, LANDMARKS, strict=True)),
        ],
        "list_bbox_celeba.txt": [str(ROWS), "image_id x_1 y_1 width height", *(f"{k}    95  71 226 313" for k in KEYS)],
    }
    for name, lines in tables.items():
        (folder / name).write_bytes(text(*lines, end=end, bom=bom, last=last))
    return {name: folder / name for name in tables}


def celeba_images(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, key in enumerate(KEYS):
        (folder / key).write_bytes(picture(i))


def zipped(path: Path, names: Sequence[str], method: int = zipfile.ZIP_STORED) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("img_align_celeba/", b"")
        for i, name in enumerate(names):
            archive.writestr(name, picture(i))
        archive.writestr("__MACOSX/img_align_celeba/._000001.jpg", b"finder")


def official_zip(root: Path) -> Path:
    """As the Drive folder unpacks: Anno, Eval, Img, the images still zipped."""
    tables = celeba_text(root / "Anno")
    (root / "Eval").mkdir()
    shutil.move(tables["list_eval_partition.txt"], root / "Eval")
    zipped(root / "Img" / "img_align_celeba.zip", [f"img_align_celeba/{key}" for key in KEYS])
    (root / "README.txt").write_text("CelebFaces Attributes Dataset (CelebA)")
    return root


def official_folder(root: Path) -> Path:
    """The same, unpacked, tables with Windows line ends and a byte-order mark."""
    tables = celeba_text(root / "Anno", end="\r\n", bom=True)
    (root / "Eval").mkdir()
    shutil.move(tables["list_eval_partition.txt"], root / "Eval")
    celeba_images(root / "Img" / "img_align_celeba")
    return root


def torchvision(root: Path) -> Path:
    """What torchvision.datasets.CelebA(root, download=True) leaves: everything in root/celeba, zip and folder; no line end at the end."""
    celeba_text(root / "celeba", last="")
    celeba_images(root / "celeba" / "img_align_celeba")
    zipped(root / "celeba" / "img_align_celeba.zip", [f"img_align_celeba/{key}" for key in KEYS], zipfile.ZIP_DEFLATED)
    return root


def kaggle(root: Path) -> Path:
    """Kaggle's: CSV tables with headers, the images in a folder of the same name twice."""
    root.mkdir(parents=True, exist_ok=True)

    def write(name: str, header: Sequence[str], rows: np.ndarray) -> None:
        with open(root / name, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image_id", *header])
            writer.writerows([key, *row] for key, row in zip(KEYS, rows, strict=True))

    write("list_attr_celeba.csv", ATTRIBUTES, LABELS * 2 - 1)
    write("list_eval_partition.csv", ["partition"], SPLIT[:, None])
    write("list_landmarks_align_celeba.csv", POINTS, LANDMARKS)
    write("list_bbox_celeba.csv", ["x_1", "y_1", "width", "height"], np.tile([95, 71, 226, 313], (ROWS, 1)))
    celeba_images(root / "img_align_celeba" / "img_align_celeba")
    return root


def hub_celeba(root: Path) -> Path:
    """The hub's `eurecom-ds/celeba`: Parquet files by split, image bytes and a list of forty 0/1; no file names."""
    import datasets

    features = datasets.Features(
        image=datasets.Image(),
        attributes=datasets.Sequence(datasets.Value("int8"), length=40),
        identity=datasets.Value("int64"),
    )
    (root / "data").mkdir(parents=True)
    for s, name in enumerate(("train", "validation", "test")):
        rows = np.flatnonzero(s == SPLIT)
        for part, some in enumerate(np.array_split(rows, 2)):
            columns = {
                "image": [{"bytes": picture(i), "path": None} for i in some],
                "attributes": LABELS[some].tolist(),
                "identity": IDENTITY[some].tolist(),
            }
            datasets.Dataset.from_dict(columns, features).to_parquet(
                root / "data" / f"{name}-{part:05d}-of-00002.parquet"
            )
    (root / "README.md").write_text("Porting of the famous celeba dataset\n")
    return root


CELEBA = {
    "official_zip": official_zip,
    "official_folder": official_folder,
    "torchvision": torchvision,
    "kaggle": kaggle,
    "hub": hub_celeba,
}


def afhq(root: Path, version: int = 1, each: int = 3) -> list[tuple[str, bytes]]:
    """AFHQ's files below its folder: v1 has val and JPEG, v2 test and PNG."""
    files = []
    for split in ("train", "val" if version == 1 else "test"):
        for kind in ("cat", "dog", "wild"):
            for i in range(each):
                name = f"flickr_{kind}_{i:06d}.jpg" if version == 1 else f"flickr_{kind}_{i:06d}.png"
                files.append(
                    (f"{split}/{kind}/{name}", picture(len(files), (16, 16), "JPEG" if version == 1 else "PNG"))
                )
    return files


def lay(root: Path, files: Sequence[tuple[str, bytes]]) -> Path:
    """Files as a tree."""
    for name, data in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def pack_zip(path: Path, files: Sequence[tuple[str, bytes]], prefix: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(prefix + name, data)
    return path


def pack_tar(path: Path, files: Sequence[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def web_samples(first: int, count: int) -> list[tuple[str, bytes]]:
    """A webdataset tar's members: image, class and facts of each sample."""
    files = []
    for i in range(first, first + count):
        files += [
            (f"{i:06d}.jpg", picture(i)),
            (f"{i:06d}.cls", str(i % 3).encode()),
            (f"{i:06d}.json", json.dumps({"smiling": bool(i % 2), "caption": "x"}).encode()),
        ]
    return files
