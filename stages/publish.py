"""Publish: the zoo → a folder that can be uploaded as it is, and, where `hub.repo` says so, a dataset on the Hub.

Reads the zoo, verifies it, and writes `hub.folder`; run again on the same zoo it finds the folder made. What was killed is finished by the next
run: every file is put in place whole, the card and the manifest last. Refuses a zoo that is unfinished or not what its ledger says, unless `publish.force=true`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from noisezoo.zoo import Zoo
from pipeline.overrides import CONF
from pipeline.progress import duration, log_file, say
from pipeline.publish import folder as publishable
from pipeline.publish.card import size

if TYPE_CHECKING:
    from pipeline.publish.upload import Plan


def run(cfg: DictConfig) -> None:
    """Make the folder, and upload it where a repository is named."""
    if "://" in cfg.hub.folder:
        raise NoiseZooError(f"{cfg.hub.folder} is not on this machine's disk: give hub.folder=… a local folder.")
    zoo = Zoo(Store(cfg.zoo))
    folder = Path(cfg.hub.folder)
    wish = publishable.Wish(
        force=cfg.publish.force,
        numpy=cfg.publish.numpy,
        webdataset=cfg.publish.webdataset,
        images=cfg.publish.images,
        repo=cfg.hub.repo,
        licences={name: licence(cfg, name) for name in zoo.spaces},
        metrics=metrics(Path(cfg.report)),
        image_shards=cfg.images,
    )
    with log_file(cfg.dir):
        try:
            is_new = publishable.write(zoo, folder, wish, lambda what: say(f"publish: {what}"))
        except OSError as e:
            raise NoiseZooError(
                f"Cannot write {folder} ({e.strerror or e}): free some space, or give hub.folder=… another folder, and type the same command again; what is made is kept."
            ) from e
        if not is_new:
            say(f"{folder} is up to date.")
        else:
            manifest = publishable.read_manifest(folder)
            say(f"{folder}: {manifest['files']} files, {size(manifest['bytes'])}, digest {manifest['digest'][:12]}.")
        if cfg.publish.dry_run:
            from pipeline.publish.upload import plan  # the Hub's client takes seconds to import

            show(plan(folder, cfg.hub.repo), cfg.hub.repo)
        elif cfg.hub.repo:
            send(folder, cfg.hub.repo, cfg.hub.private)


def show(plan: Plan, repo: str | None) -> None:
    """What an upload would do, file by file."""
    for name, count in plan.send.items():
        print(f"{size(count):>10}  {name}")
    for name in plan.delete:
        print(f"{'delete':>10}  {name}")
    where = repo or "a new dataset"
    print(f"{len(plan.send)} files, {size(plan.bytes)}, would go to {where}; {plan.same} are there already.")


def send(folder: Path, repo: str, private: bool) -> None:
    """Upload, saying how far it is and how long it takes."""
    from pipeline.publish.upload import upload

    started = time.monotonic()

    def progress(files: int, all_files: int, done: int, total: int) -> None:
        rate = done / max(time.monotonic() - started, 1e-3)
        left = duration((total - done) / rate) if rate else "?"
        say(f"upload: {files}/{all_files} files, {size(done)} of {size(total)}, {size(rate)}/s, {left} left")

    sha = upload(folder, repo, private=private, progress=progress)
    say(f"https://huggingface.co/datasets/{repo} holds it, at {sha[:12]}.")


def licence(cfg: DictConfig, space: str) -> str:
    """The licence of a space's model, as its YAML states it."""
    node = cfg.space.get(space)
    path = CONF / "space" / f"{space}.yaml"
    if node is None and path.exists():
        node = OmegaConf.load(path)
    return str(node.get("licence", "not stated")) if node is not None else "not stated"


def metrics(report: Path) -> dict[str, object]:
    """What the study wrote; nothing where there was none."""
    try:
        found = json.loads((report / "metrics.json").read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
