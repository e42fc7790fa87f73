"""The zoo's store inside the published folder: the same files, hard-linked where the disk allows it, so that publishing takes no second copy of the latents."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from noisezoo import layout
from noisezoo.store import Store
from noisezoo.zoo import Zoo

NAME = layout.PUBLISHED


def mirror(zoo: Zoo, folder: Path) -> list[str]:
    """Make `folder/zoo.zarr` hold what the zoo holds and nothing else; its files, relative to `folder`."""
    wanted = files(zoo)
    target = folder / NAME
    for name in Store(str(target)).files():
        if name not in wanted:
            (target / name).unlink()
    for name in wanted:
        _place(zoo.store, name, target / name)
    return [f"{NAME}/{name}" for name in wanted]


def files(zoo: Zoo) -> list[str]:
    """The files of the format: metadata, tables, the arrays and ledgers of finished spaces; nothing that a build or a crash left beside them."""
    spaces = set(zoo.spaces)
    return [name for name in zoo.store.files() if _belongs(name.split("/"), spaces)]


def _belongs(parts: list[str], spaces: set[str]) -> bool:
    if parts[-1].endswith(".tmp"):
        return False
    if parts[0] in (layout.SPACES, layout.LEDGER) and len(parts) > 2:
        return parts[1] in spaces
    return parts == ["zarr.json"] or parts[0] in (layout.ROWS, layout.LABELS, layout.SPACES)


def _place(store: Store, name: str, target: Path) -> None:
    """One file, linked or copied. The writer never changes a shard in place, so a link stays what it was; small metadata are copied, for Zarr rewrites them."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not store.is_local:
        data = store.read(name)
        if not target.exists() or target.read_bytes() != data:
            Store(str(target.parent)).write(target.name, data)
        return
    source = Path(store.path(name))
    if name.endswith(".json"):
        if not target.exists() or target.read_bytes() != source.read_bytes():
            Store(str(target.parent)).write(target.name, source.read_bytes())
        return
    if target.exists():
        if os.path.samefile(source, target) or _same_copy(source, target):
            return
        target.unlink()
    try:
        os.link(source, target)
    except OSError:
        part = target.with_name(target.name + ".part")
        shutil.copy2(source, part)
        os.replace(part, target)


def _same_copy(source: Path, target: Path) -> bool:
    a, b = source.stat(), target.stat()
    return a.st_size == b.st_size and a.st_mtime_ns == b.st_mtime_ns
