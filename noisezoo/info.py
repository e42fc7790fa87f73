"""What can be said of a zoo without reading its latents: rows, units, validity, fidelity, bytes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from noisezoo import layout
from noisezoo.zoo import SpaceView, Zoo


@dataclass(frozen=True)
class SpaceSummary:
    """One space's state, from its ledger and metadata."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    units_done: int
    units: int
    rows_done: int
    rows: int
    invalid: int
    reasons: dict[str, int]
    """Reason of invalid rows to their number."""
    rescued: int
    seconds: float
    """Work of all units together."""
    bytes: int
    """Latents of the finished rows, uncompressed."""
    fidelity: dict[str, float] = field(default_factory=dict)
    """Median of each measure over the regenerated rows."""
    fidelity_floor: float | None = None

    @property
    def is_finished(self) -> bool:
        return self.units_done == self.units

    @property
    def is_below_floor(self) -> bool:
        """Whether regeneration is worse than the floor that the space was built with."""
        psnr = self.fidelity.get("psnr_autoencoder")
        return psnr is not None and self.fidelity_floor is not None and psnr < self.fidelity_floor

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def summary(space: SpaceView) -> SpaceSummary:
    """The state of one space."""
    done = space.finished
    shape = space.shape[1:]
    reasons: dict[str, int] = {}
    for entry in done.values():
        for reason in entry.invalid.values():
            reasons[reason] = reasons.get(reason, 0) + 1
    rows_done = sum(entry.rows[1] - entry.rows[0] for entry in done.values())
    measured = (
        {name: float(np.median(values)) for name, values in space.fidelity.items() if len(values)} if done else {}
    )
    return SpaceSummary(
        name=space.name,
        shape=shape,
        dtype=str(space.array.dtype),
        units_done=len(done),
        units=layout.shard_count(len(space), space.zoo.shard_rows),
        rows_done=rows_done,
        rows=len(space),
        invalid=sum(len(entry.invalid) for entry in done.values()),
        reasons=reasons,
        rescued=sum(entry.rescued for entry in done.values()),
        seconds=sum(entry.seconds for entry in done.values()),
        bytes=rows_done * math.prod(shape) * space.array.dtype.itemsize,
        fidelity=measured,
        fidelity_floor=space.config.get("fidelity_floor"),
    )


def table(zoo: Zoo) -> str:
    """The state of all spaces as text, one line a space."""
    source = zoo.source
    lines = [
        f"{zoo.store.url}: {len(zoo)} rows of {source['name']} in shards of {zoo.shard_rows}"
        f" ({', '.join(f'{name} {len(rows)}' for name, rows in zoo.splits.items()) or 'no splits'}), {len(zoo.labels)} attributes"
    ]
    header = ("space", "shape", "units", "rows", "invalid", "rescued", "rows/s", "MB", "PSNR", "state")
    body = [header]
    for space in zoo.spaces.values():
        s = summary(space)
        psnr = s.fidelity.get("psnr_autoencoder")
        state = "below its floor" if s.is_below_floor else "done" if s.is_finished else "unfinished"
        body.append(
            (
                s.name,
                "×".join(map(str, s.shape)),
                f"{s.units_done}/{s.units}",
                f"{s.rows_done}/{s.rows}",
                str(s.invalid),
                str(s.rescued),
                f"{s.rows_done / s.seconds:.1f}" if s.seconds else "–",
                f"{s.bytes / 1e6:.1f}",
                f"{psnr:.1f}" if psnr is not None else "–",
                state,
            )
        )
        lines += [f"  {s.name}: {count} rows invalid: {reason}" for reason, count in sorted(s.reasons.items())]
    widths = [max(len(row[i]) for row in body) for i in range(len(header))]
    return "\n".join(
        [
            lines[0],
            *("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in body),
            *lines[1:],
        ]
    )
