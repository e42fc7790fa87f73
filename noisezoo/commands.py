"""The downloader's longer commands: fetch, import-npy, export-npy, study; their words, and what is shown while they run."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from noisezoo.errors import NoiseZooError

AUTHORS_DATASET = "chentasker/NoiseZoo"
CELEBA_SOURCE = {
    "name": "celeba",
    "licence": "CelebA agreement: non-commercial research only, images not to be passed on",
    "homepage": "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
}
LINE_SECONDS = 5.0


class _Parser(argparse.ArgumentParser):
    """Wrong words are told as everything else is: one sentence."""

    def error(self, message: str) -> NoReturn:
        raise NoiseZooError(f"{message}: type `{self.prog} --help`.")


def fetch(argv: Sequence[str]) -> int:
    """noisezoo fetch USER/NAME --spaces sd15,clip_b16 --split validation --rows 0:10000"""
    parser = _Parser(
        "noisezoo fetch", description="Bring a published zoo, or a part of it, to this disk, every shard checked."
    )
    parser.add_argument("place", metavar="USER/NAME", help="a dataset of the Hub, or the URL or folder of a zoo")
    parser.add_argument("--to", metavar="FOLDER", help="where to (default: zoos/NAME/zoo.zarr)")
    parser.add_argument("--spaces", type=_words, help="separated by commas; all by default")
    parser.add_argument("--split", help="the rows of this split alone")
    parser.add_argument("--rows", help="these rows alone: 0:10000, as in Python")
    parser.add_argument("--revision", help="a tag or commit of the dataset, such as zoo-<digest>")
    parser.add_argument("--workers", type=int, default=8, help="shards brought at once (default: 8)")
    args = parser.parse_args(argv)
    from noisezoo.fetch import fetch as bring

    folder = args.to or f"zoos/{_name(args.place)}/zoo.zarr"
    show = _Progress("units")
    fetched = bring(
        args.place,
        folder,
        args.spaces,
        split=args.split,
        rows=args.rows,
        revision=args.revision,
        workers=args.workers,
        progress=lambda done, units, count: show(done, units, count),
    )
    here = fetched.units - fetched.new
    print(
        f"{folder}: {fetched.new} units fetched ({fetched.bytes / 1e6:.1f} MB), {here} were here already, all {fetched.units} agree with the ledger."
    )
    return 0


def import_npy(argv: Sequence[str]) -> int:
    """noisezoo import-npy FOLDER-OR-DATASET"""
    parser = _Parser(
        "noisezoo import-npy", description="Make a zoo of noises_<model>.npy files, without loading one whole."
    )
    parser.add_argument("place", metavar="PLACE", help=f"a folder, a URL, or a dataset such as {AUTHORS_DATASET}")
    parser.add_argument("--to", metavar="FOLDER", help="where to (default: zoos/NAME/zoo.zarr)")
    parser.add_argument(
        "--labels",
        metavar="TABLE",
        help="CSV or Parquet with the labels of these very rows; a pattern may name several",
    )
    parser.add_argument(
        "--source", help="where the images came from (default: celeba for the authors' dataset, else npy)"
    )
    parser.add_argument("--licence", help="of the images (default: that of CelebA for celeba, else unknown)")
    parser.add_argument("--shard-rows", type=int, default=1024, help="rows of a shard (default: 1024)")
    args = parser.parse_args(argv)
    from noisezoo import npy
    from noisezoo.fetch import address
    from noisezoo.store import Store

    name = args.source or ("celeba" if args.place == AUTHORS_DATASET else "npy")
    source = dict(CELEBA_SOURCE) if name == "celeba" else {"name": name, "licence": "unknown", "homepage": ""}
    source |= {"licence": args.licence} if args.licence else {}
    folder = args.to or f"zoos/{_name(args.place)}/zoo.zarr"
    shows: dict[str, _Progress] = {}
    place = address(args.place)
    rows = next(iter(npy.find(place).values())).shape[0]
    done: dict[str, int] = {}

    def progress(space: str, count: int) -> None:
        done[space] = done.get(space, 0) + count
        shows.setdefault(space, _Progress(f"{space}: rows"))(done[space], rows)

    zoo = npy.import_(
        place, Store(folder), source=source, table=args.labels, shard_rows=args.shard_rows, progress=progress
    )
    print(f"{folder}: {len(zoo)} rows in {', '.join(zoo.spaces)}.")
    if not args.labels:
        print("It has no labels: --labels TABLE adds those of these very rows, in their order.")
    return 0


def export_npy(argv: Sequence[str]) -> int:
    """noisezoo export-npy ZOO FOLDER"""
    parser = _Parser(
        "noisezoo export-npy", description="Write noises_<model>.npy files, as the paper's own code reads them."
    )
    parser.add_argument("place", metavar="ZOO", help="folder or URL of a zoo")
    parser.add_argument("folder", help="where the files go")
    parser.add_argument("--spaces", type=_words, help="separated by commas; all by default")
    parser.add_argument("--split", help="the rows of this split alone")
    args = parser.parse_args(argv)
    import noisezoo
    from noisezoo import npy

    zoo = noisezoo.open(args.place)
    shows: dict[str, _Progress] = {}
    total = len(zoo.rows(args.split))
    done: dict[str, int] = {}

    def progress(space: str, count: int) -> None:
        done[space] = done.get(space, 0) + count
        shows.setdefault(space, _Progress(f"{space}: rows"))(done[space], total)

    for path in npy.export(zoo, args.folder, args.spaces, args.split, progress):
        print(path)
    invalid = {name: int((~zoo[name].valid[zoo.rows(args.split)]).sum()) for name in args.spaces or zoo.spaces}
    for name, count in invalid.items():
        if count:
            print(
                f"{count} rows of {name} are not valid; they keep their places, filled with {zoo[name].array.fill_value}."
            )
    return 0


def study(argv: Sequence[str]) -> int:
    """noisezoo study PATH --out report --only probes,transfer"""
    parser = _Parser(
        "noisezoo study", description="Analyse a zoo: is it one Gaussian space? Writes metrics.json and index.html."
    )
    parser.add_argument("place", metavar="PATH", help="folder or URL of a zoo")
    parser.add_argument(
        "--out", metavar="FOLDER", help="where the report goes (default: report, beside a zoo on this disk)"
    )
    parser.add_argument(
        "--only", type=_words, help="parts: gaussianity,probes,transfer,edits,shared,truth; all by default"
    )
    parser.add_argument("--projections", type=int, default=5000, help="random directions of the tests (default: 5000)")
    parser.add_argument("--attributes", type=_words, help="attributes to probe; all by default")
    parser.add_argument(
        "--device", help="cpu, cuda, …: PyTorch's for the long products, sooner than NumPy, the default"
    )
    args = parser.parse_args(argv)
    import noisezoo
    from noisezoo import study as studies

    settings = studies.Settings(
        projections=args.projections,
        attributes=tuple(args.attributes) if args.attributes else None,
        only=tuple(args.only or studies.PARTS),
        device=args.device,
    )
    zoo = noisezoo.open(args.place)
    folder = Path(args.out or ("report" if "://" in args.place else Path(args.place.rstrip("/")).parent / "report"))
    show = _Progress("study: parts")
    found = studies.study(zoo, settings, folder=folder / "parts", progress=lambda done, total, what: show(done, total))
    page, is_new = studies.write(folder, found)
    for note in found["notes"]:
        print(note)
    print(f"The report is {page}." if is_new else f"{page}: nothing has changed since the last report.")
    return 0


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _name(place: str) -> str:
    """What a zoo is called where nothing else is said: the last word of its address."""
    words = [word for word in place.split("@")[0].rstrip("/").split("/") if word not in ("zoo.zarr", "hub", "data")]
    return Path(words[-1]).stem if words else "zoo"


class _Progress:
    """Done and left, with a rate and the time left: one line that is rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.begun = time.monotonic()
        self.told = self.begun

    def __call__(self, done: int, total: int, count: int | None = None) -> None:
        now = time.monotonic()
        is_live = sys.stderr.isatty()
        if now - self.told < (0.2 if is_live else LINE_SECONDS) and done < total:
            return
        self.told = now
        seconds = max(now - self.begun, 1e-3)
        rate, left = done / seconds, (total - done) * seconds / max(done, 1)
        moved = "" if count is None else f", {count / 1e6:.1f} MB at {count / 1e6 / seconds:.1f} MB/s"
        line = f"{self.what} {done}/{total}, {rate:.1f}/s{moved}, {_duration(left)} left"
        print(f"\r{line:<100}" if is_live else line, end="\n" if done >= total or not is_live else "", file=sys.stderr)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


COMMANDS: dict[str, Any] = {"fetch": fetch, "import-npy": import_npy, "export-npy": export_npy}
