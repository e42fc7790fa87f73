"""The study of a zoo: are its spaces noisy linear views of one Gaussian space?

    from noisezoo import open, study

    found = study.study(open("zoos/toy/zoo.zarr"))         # every number
    study.write("report", found)                           # metrics.json and index.html

Needs `pip install 'noisezoo[study]'` and nothing of the engine. Measured edits and pictures take the models: the engine's stage hands them in as further jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from noisezoo.study.data import Data
from noisezoo.study.parts import Job, Parts
from noisezoo.study.settings import PARTS, Settings, check_parts
from noisezoo.zoo import Zoo

__all__ = ["PARTS", "Job", "Parts", "Settings", "check_parts", "study", "write"]


def study(
    zoo: Zoo | Data,
    settings: Settings | None = None,
    *,
    folder: str | Path | None = None,
    more: Sequence[Job] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """All numbers of the study. Parts already in `folder` are not computed again; `progress` hears of parts done, all parts, and what was done last."""
    from noisezoo.study import assemble, carrying, editing, gaussian, probing, sharing, truths

    data = zoo if isinstance(zoo, Data) else Data(zoo, settings or Settings())
    jobs = [job for module in (gaussian, probing, carrying, editing, sharing, truths) for job in module.jobs(data)]
    jobs += more
    parts = Parts(folder)
    results = {}
    for number, job in enumerate(jobs, 1):
        found = parts(job, compute=job.part in (*data.settings.only, "pictures"))
        if found is not None:
            results[job.part, job.name] = found
        if progress:
            progress(number, len(jobs), f"{job.part} {job.name}")
    return assemble.metrics(data, results)


def write(folder: str | Path, found: dict[str, Any]) -> tuple[Path, bool]:
    """metrics.json and index.html in a folder; where the page is, and whether anything in it is new."""
    from noisezoo.report import write as write_report

    return write_report(Path(folder), found)
