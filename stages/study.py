"""Study: a finished zoo → report/metrics.json and report/index.html.

Reads the zoo; computes again only the parts of which files or settings have changed since the last report. The analyses are the library's; what this stage adds is what takes the
models: strips of regenerated images, and edits that are measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from noisezoo import study
from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from noisezoo.study.data import Data
from noisezoo.study.parts import Found, Job
from noisezoo.zoo import Zoo
from pipeline.build import space_configs
from pipeline.progress import Board, log_file, say


def run(cfg: DictConfig) -> None:
    """Analyse the zoo and write its report."""
    if "://" in cfg.report:
        raise NoiseZooError(f"{cfg.report} is not on this machine's disk: give report=… a local folder.")
    zoo = Zoo(Store(cfg.zoo))
    if not zoo.spaces:
        raise NoiseZooError(f"{cfg.zoo} has no spaces yet: type `noisezoo build` with the same overrides first.")
    settings = settings_of(cfg)
    data = Data(zoo, settings)
    with log_file(cfg.dir):
        more = with_models(cfg, data)
        board: Board | None = None

        def progress(done: int, total: int, what: str) -> None:
            nonlocal board
            if board is None:
                board = Board({"study": total}, {}, unit="parts").__enter__()
            board.add("study", done - board.done["study"])

        try:
            found = study.study(data, folder=Path(cfg.report) / "parts", more=more, progress=progress)
        finally:
            if board is not None:
                board.__exit__(None, None, None)
        page, is_new = study.write(cfg.report, found)
        for note in found["notes"]:
            say(note)
        say(f"The report is {page}." if is_new else f"{cfg.report}: nothing has changed since the last report.")


def settings_of(cfg: DictConfig) -> study.Settings:
    """The stage's configuration as the library's settings."""
    node: Any = OmegaConf.to_container(cfg.study, resolve=True)
    return study.Settings(
        projections=node["projections"],
        rows_per_test=node["rows_per_test"],
        attributes=tuple(node["attributes"]) if node["attributes"] else None,
        alpha=node["alpha"],
        sets=node["sets"],
        only=tuple(node["only"] or study.PARTS),
        device=device(cfg),
    )


def device(cfg: DictConfig) -> str:
    """The device that a build would use."""
    from pipeline.worker import pick_device

    return str(pick_device(cfg.device))


def with_models(cfg: DictConfig, data: Data) -> list[Job]:
    """Pictures and edits of the chosen spaces; their models are loaded only where a result is missing."""
    configs = space_configs(cfg)
    noise = [name for name in configs if name in data.of_kind("noise") and data.finished(name)]
    jobs = []
    for name in noise:
        facts = {"space": data.digest(name), "config": configs[name]}
        if cfg.study.pictures:
            strip = partial(_strip, cfg, data, configs, name)
            jobs.append(Job("pictures", name, {**facts, "count": cfg.study.pictures}, strip))
        wanted = cfg.study.edit_spaces or noise[:1]
        if cfg.study.edits and data.names and name in wanted:
            encoders = {n: data.digest(n) for n in data.of_kind("encoder") if n in configs}
            asked = {key: cfg.study[key] for key in ("edits", "edit_rows", "edit_strength")}
            asked["edit_attributes"] = list(cfg.study.edit_attributes or [])
            facts |= {"encoders": encoders, "rows": data.rows_digest, **asked}
            jobs.append(Job("edits", name, facts, partial(_edits, cfg, data, configs, name)))
    return jobs


def _strip(cfg: DictConfig, data: Data, configs: Mapping[str, dict[str, Any]], name: str) -> Found:
    from pipeline.pictures import regenerated

    return regenerated(cfg, data.zoo, name, configs[name], cfg.study.pictures)


def _edits(cfg: DictConfig, data: Data, configs: dict[str, dict[str, Any]], name: str) -> Found:
    from pipeline.editing import Wish, measure, studio_of
    from pipeline.worker import pick_device

    attributes = list(cfg.study.edit_attributes) if cfg.study.edit_attributes else None
    wish = Wish(attributes, cfg.study.edits, cfg.study.edit_rows, cfg.study.edit_strength)
    with studio_of(data, configs, name, pick_device(cfg.device)) as studio:
        return measure(studio, wish)
