"""The schema of the configuration: what may be set, of which type, with which default.

Hydra checks every override against it, so that a misspelt key or a wrong type is told before any work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf


@dataclass
class Ingest:
    """Source to tar shards, rows and labels."""

    _target_: str = MISSING
    workers: int = 2
    """Shards written at once."""
    copy: bool = True
    """False references the source's own files instead of copying them."""
    max_broken_share: float = 0.01
    """Share of broken images beyond which ingest stops."""


@dataclass
class Compute:
    """Spaces over shards: the stages invert and encode."""

    _target_: str = MISSING
    batch: int | None = None
    """Rows in a batch; each space's own limit by default."""
    decode_threads: int = 2
    fidelity_rows: int = 4
    """Rows of each shard that are regenerated and compared."""


@dataclass
class Bare:
    """A stage without settings of its own."""

    _target_: str = MISSING


@dataclass
class Status:
    """What `noisezoo status` is told: --watch, --json."""

    _target_: str = MISSING
    watch: bool = False
    """Show it again and again until everything is finished."""
    json: bool = False
    seconds: float = 2.0
    """Between two looks."""


@dataclass
class Plan:
    """What `noisezoo plan` is told: --measure, --json."""

    _target_: str = MISSING
    measure: bool = False
    """Load each space and time a few batches."""
    json: bool = False
    seconds: float = 5.0
    """So long each space is timed, after its first batch."""


@dataclass
class Study:
    _target_: str = MISSING
    only: list[str] | None = None
    """Parts to compute: gaussianity, probes, transfer, edits, shared, truth; all by default."""
    projections: int = 5000
    """Random directions of the Gaussianity tests."""
    rows_per_test: int = 250
    attributes: list[str] | None = None
    """Attributes to probe; all by default."""
    alpha: float | None = 1.0
    """Ridge penalty of transfer, in the paper's units; null chooses it by cross-validation."""
    sets: dict[str, list[str]] = field(default_factory=dict)
    """Sets of spaces to look for a shared space in: study.sets.mine=[sd15,clip_b16]."""
    edits: int = 8
    """Attributes to edit, the best-read ones; 0 leaves edits out."""
    edit_attributes: list[str] | None = None
    """Attributes to edit in their place."""
    edit_spaces: list[str] | None = None
    """Spaces to edit in; the first chosen space of noise by default, because generating takes long."""
    edit_rows: int = 12
    edit_strength: float = 4.0
    """Standard deviations to move by, both ways."""
    pictures: int = 8
    """Rows in the strip of originals and regenerations."""


@dataclass
class Edit:
    """What `noisezoo edit` is told, by flags: --space, --rows, --attribute, --strength, --keep."""

    _target_: str = MISSING
    space: str | None = None
    rows: list[int] = field(default_factory=lambda: [0, 1, 2])
    attribute: str | None = None
    strength: str = "-3:3:7"
    """First, last and number of strengths, in standard deviations; or one."""
    keep: list[str] | None = None
    """Attributes to leave as they are."""
    by: str = "power"
    """How standard deviations are measured along a direction whose distribution is not normal: power (Yeo and Johnson) or quantile."""


@dataclass
class Publish:
    _target_: str = MISSING
    force: bool = False
    """Publish a zoo that is unfinished or unverified; the card then says so in its first line."""
    numpy: bool = False
    """NumPy files in the authors' layout too, data/noises_<model>.npy."""
    webdataset: bool = False
    """WebDataset tars too, one sample a row."""
    images: bool = False
    """The image files in those tars; refused where the source's licence does not allow it."""
    dry_run: bool = False
    """List the files and bytes that an upload would send, and send nothing."""


@dataclass
class Config:
    """One build: which images, into which spaces, where to."""

    name: str = "${hydra:runtime.choices.dataset}"
    """Names the zoo, after its dataset unless told otherwise; zoos/<name> holds everything."""
    dir: str = "zoos/${name}"
    zoo: str = "${dir}/zoo.zarr"
    images: str = "${dir}/images"
    report: str = "${dir}/report"
    shard_rows: int = 1024
    """Rows of a shard, a power of two for the best chunks; fixed when the zoo is made."""
    spaces: list[str] = field(default_factory=list)
    """Names of conf/space/ to compute."""
    rebuild: list[str] = field(default_factory=list)
    """Spaces to delete and compute anew."""
    device: str = "auto"
    threads: int | None = None
    """Threads of a computation on a CPU, torch's own choice by default; the last bits of a sum may depend on it."""
    attempts: int = 3
    """So often a unit may fail before it is set aside and the rest goes on."""
    lease_seconds: float = 60.0
    """So long after its last sign of life a worker's unit is free for others."""
    dataset: Any = MISSING
    inverter: Any = MISSING
    runner: Any = MISSING
    hub: Any = MISSING
    ingest: Ingest = field(default_factory=Ingest)
    invert: Compute = field(default_factory=Compute)
    encode: Compute = field(default_factory=Compute)
    verify: Bare = field(default_factory=Bare)
    status: Status = field(default_factory=Status)
    plan: Plan = field(default_factory=Plan)
    study: Study = field(default_factory=Study)
    edit: Edit = field(default_factory=Edit)
    publish: Publish = field(default_factory=Publish)
    space: dict[str, Any] = field(default_factory=dict)
    """Each space's configuration, `space.<name>.<key>`; filled from conf/space/ for the names in `spaces`."""


def register() -> None:
    """Make the schema known to Hydra."""
    ConfigStore.instance().store("schema", Config)


def plain(node: Any) -> dict[str, Any]:
    """A configuration node as plain data, resolved."""
    value = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig | ListConfig) else node
    assert isinstance(value, Mapping)
    return {str(k): v for k, v in value.items()}
