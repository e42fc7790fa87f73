"""Study: a finished zoo → report/metrics.json and report/index.html.

Reads the zoo; computes again only the spaces whose files or settings have changed since the last report. The analyses are the library's; what this stage adds is the strip of
pictures, because leading noise back to images takes the models.
"""

from __future__ import annotations

from omegaconf import DictConfig

from noisezoo import study
from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from noisezoo.zoo import Zoo
from pipeline.pictures import strips
from pipeline.progress import Board, log_file, say


def run(cfg: DictConfig) -> None:
    """Analyse the zoo and write its report."""
    zoo = Zoo(Store(cfg.zoo))
    if not zoo.spaces:
        raise NoiseZooError(f"{cfg.zoo} has no spaces yet: type `noisezoo build` with the same overrides first.")
    settings = cfg.study
    before = study.read_metrics(cfg.report)
    with log_file(cfg.dir):
        with Board({"study": len(zoo.spaces)}, {}, unit="spaces") as board:
            found = study.metrics(
                zoo,
                projections=settings.projections,
                rows_per_test=settings.rows_per_test,
                attributes=list(settings.attributes) if settings.attributes else None,
                before=before,
                progress=lambda name: board.add("study", 1),
            )
        if before and before == found:
            say(f"{cfg.report}: nothing has changed since the last report.")
            return
        page = study.write_report(cfg.report, found, zoo, strips(cfg, zoo, settings.pictures))
        say(f"The report is {page}.")
