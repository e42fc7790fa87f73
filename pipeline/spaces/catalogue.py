"""`noisezoo spaces`: what can be built, read from the YAML files and the entry points of other packages, without downloading or loading any weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from noisezoo.errors import NoiseZooError, nearest
from pipeline.overrides import CONF, GROUP
from pipeline.spaces import checkpoints
from pipeline.spaces.base import Space


@dataclass(frozen=True)
class Listing:
    """One line of `noisezoo spaces`."""

    name: str
    model: str
    revision: str | None
    pinned: bool
    parameters: int | None
    shape: tuple[int, ...] | None
    """None while only the model's files, which are not here, could tell."""
    bytes_per_100k: int | None
    """As stored, before compression."""
    licence: str
    task: str
    here: bool
    """Whether the weights are on this machine."""
    problem: str | None = None
    """Why the space could not be read; everything else is then empty."""


def space_files(folders: Iterable[Path] = (CONF,)) -> dict[str, Path]:
    """Names of spaces and their YAML files in the `space` folder of each configuration folder; a later folder goes before an earlier one."""
    return {path.stem: path for folder in folders for path in sorted((folder / "space").glob("*.yaml"))}


def space_entry_points() -> dict[str, EntryPoint]:
    """Spaces that installed packages register: each entry point is a function without arguments that returns a space."""
    return {point.name: point for point in entry_points(group=GROUP)}


def entry_point_config(name: str) -> dict[str, str]:
    """What a YAML for a registered space would say."""
    return {"_target_": space_entry_points()[name].value.replace(":", ".")}


def make_space(name: str, folders: Iterable[Path] = (CONF,)) -> Space:
    """The space of this name, from a YAML file or an entry point; nothing is loaded yet."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    files, points = space_files(folders), space_entry_points()
    if name in files:
        return instantiate(OmegaConf.load(files[name]), _convert_="all")
    if name in points:
        return instantiate(entry_point_config(name))
    raise NoiseZooError(f"There is no space '{name}': {nearest(name, [*files, *points])}")


def listings(folders: Iterable[Path] = (CONF,)) -> Iterator[Listing]:
    """A line for each space, by name; a broken one says what is wrong instead of spoiling the list."""
    folders = tuple(folders)
    for name in sorted({*space_files(folders), *space_entry_points()}):
        try:
            yield listing(name, make_space(name, folders))
        except Exception as error:  # one broken file must not hide the others
            yield Listing(name, "", None, False, None, None, None, "", "", False, problem=str(error).splitlines()[0])


def listing(name: str, space: Space) -> Listing:
    """What one space says of itself."""
    facts = space.facts
    local = bool(facts.model) and _is_folder(facts.model)
    here = not facts.model or _present(space)
    # A shape that no YAML states follows from the model's configuration, which must not be downloaded for a list.
    shape = tuple(space.shape) if here or getattr(space, "stated", True) is not None else None
    return Listing(
        name=name,
        model=facts.model,
        revision=facts.revision,
        pinned=not facts.model or local or checkpoints.is_pinned(facts.revision),
        parameters=space.measure()[1]
        if facts.parameters is None and here and hasattr(space, "measure")
        else facts.parameters,
        shape=shape,
        bytes_per_100k=None if shape is None else prod(shape) * np.dtype(space.dtype).itemsize * 100_000,
        licence=facts.licence,
        task=facts.task,
        here=here,
    )


def _is_folder(model: str) -> bool:
    try:
        return checkpoints.local_folder(model) is not None
    except NoiseZooError:
        return False


def _present(space: Any) -> bool:
    return (
        space.present() if hasattr(space, "present") else checkpoints.is_local(space.facts.model, space.facts.revision)
    )
