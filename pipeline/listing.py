"""`noisezoo spaces`: a table of what can be built, and `noisezoo space check NAME`: whether a space keeps its promises."""

from __future__ import annotations

from pathlib import Path

import torch

from noisezoo.errors import NoiseZooError
from pipeline.overrides import CONF, config_folder, divide
from pipeline.spaces.catalogue import Listing, listings, make_space
from pipeline.spaces.check import check


def run(command: str, argv: list[str]) -> int:
    """List all spaces, or check one; `--config-dir DIR` adds the spaces of DIR/space/."""
    flags, rest = divide(argv)
    own = config_folder(flags)
    folders = (CONF, own) if own else (CONF,)
    if command == "spaces" and not rest:
        print(table(list(listings(folders))))
        return 0
    if command == "space" and len(rest) == 2 and rest[0] == "check":
        return check_one(rest[1], folders)
    raise NoiseZooError(
        f"Cannot read '{' '.join([command, *rest])}': type `noisezoo spaces` or `noisezoo space check NAME`."
    )


def check_one(name: str, folders: tuple[Path, ...]) -> int:
    """Print what was found of a space; 1 where something has to be mended."""
    findings = check(make_space(name, folders), torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    for finding in findings:
        print(f"{'ok  ' if finding.passed else 'FAIL'}  {finding.promise}: {finding.seen}")
        if not finding.passed:
            print(f"      mend: {finding.mend}")
    failed = sum(not finding.passed for finding in findings)
    print(f"{name}: {len(findings) - failed} of {len(findings)} promises kept.")
    return 1 if failed else 0


def table(rows: list[Listing]) -> str:
    """One line a space."""
    header = ("space", "kind", "latent", "MB/100k", "parameters", "here", "licence", "model")
    body = [header]
    problems = []
    for row in rows:
        if row.problem:
            problems.append(f"{row.name}: {row.problem}")
            continue
        revision = f"@{row.revision[:8]}" if row.revision else "" if row.pinned else "@unpinned"
        body.append(
            (
                row.name,
                row.task,
                "×".join(map(str, row.shape)) if row.shape else "?",
                f"{row.bytes_per_100k / 1e6:,.0f}" if row.bytes_per_100k else "?",
                f"{row.parameters / 1e6:,.1f} M" if row.parameters else "–",
                "yes" if row.here else "no",
                row.licence,
                f"{row.model}{revision}" if row.model else "–",
            )
        )
    widths = [max(len(line[i]) for line in body) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in body]
    return "\n".join([*lines, *problems])
