"""From the words on the command line to a stage with its configuration.

Hydra composes and checks the configuration; this module turns what Hydra and the user find wrong into one sentence each, and starts the stages that a command stands for.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from noisezoo.errors import NoiseZooError, nearest
from pipeline import config
from pipeline.progress import say

CONF = Path(__file__).resolve().parents[1] / "conf"
STAGES = {
    "all": ("ingest", "invert", "encode", "verify", "study", "publish"),
    "ingest": ("ingest",),
    "invert": ("invert",),
    "encode": ("encode",),
    "build": ("ingest", "invert", "encode"),
    "verify": ("verify",),
    "study": ("study",),
    "publish": ("publish",),
    "status": ("status",),
}
INTERRUPTED = 130


def run(command: str, argv: list[str]) -> int:
    """Run a command with Hydra's flags and overrides; the exit status."""
    config.register()
    if command == "spaces":
        from pipeline.spaces import listing

        return listing.run(argv, CONF)
    if "--help" in argv or "-h" in argv:
        print(help_text(command))
        return 0
    argv = [*argv, *chosen_spaces(argv)]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Hydra prints a traceback and exits by itself unless it is told to let errors through.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = ["noisezoo", *argv]

    def job(cfg: DictConfig) -> None:
        fill_spaces(cfg)
        for stage in STAGES[command]:
            get_method(cfg[stage]._target_)(cfg)

    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    except KeyboardInterrupt:
        say(
            f"Stopped. Every finished unit is kept; type `noisezoo {command} {' '.join(argv)}`.strip() again to go on.".replace(
                "`.strip()", "`"
            )
        )
        return INTERRUPTED
    except (HydraException, OmegaConfBaseException) as e:
        raise told(e, argv) from e
    return 0


def words(argv: list[str]) -> list[str]:
    """The overrides among the arguments that fix one value: no flags, no sweeps."""
    return [a for a in argv if "=" in a and not a.startswith("--") and not _sweeps(a)]


def _sweeps(override: str) -> bool:
    value = override.split("=", 1)[1]
    return "," in re.sub(r"\[[^\]]*\]|\{[^}]*\}|'[^']*'|\"[^\"]*\"", "", value) or value.startswith(
        ("range(", "choice(")
    )


def composed(overrides: list[str], search: list[str]) -> DictConfig:
    """The configuration that these overrides give."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*overrides, *search])


def search_path(argv: list[str]) -> list[str]:
    """`--config-dir DIR` as the override that compose understands."""
    for i, a in enumerate(argv):
        folder = (
            a.split("=", 1)[1]
            if a.startswith("--config-dir=")
            else argv[i + 1]
            if a in ("--config-dir", "-cd") and i + 1 < len(argv)
            else None
        )
        if folder is not None:
            if not Path(folder).is_dir():
                raise NoiseZooError(
                    f"There is no folder {folder}: give --config-dir a folder with space/NAME.yaml in it."
                )
            return [f"hydra.searchpath=[file://{Path(folder).resolve()}]"]
    return []


def chosen_spaces(argv: list[str]) -> list[str]:
    """Overrides that add each chosen space's YAML at `space.<name>`, so that its keys can be set and are shown; errors in the words are told here."""
    overrides = words(argv)
    top = [a for a in overrides if not a.lstrip("+~").startswith("space.")]
    try:
        cfg = composed(top, search_path(argv))
        extra = [f"+space@space.{name}={name}" for name in cfg.spaces if name not in cfg.space]
        if OmegaConf.is_missing(cfg, "name") or cfg.name is None:
            raise NoiseZooError("The zoo has no name: type name=mine, or an experiment such as experiment=toy.")
        composed([*overrides, *extra], search_path(argv))
    except (HydraException, OmegaConfBaseException) as e:
        raise told(e, overrides) from e
    return extra


def fill_spaces(cfg: DictConfig) -> None:
    """Compose the spaces that are not in the configuration yet: in a sweep over `spaces` they are known only now."""
    for name in cfg.spaces:
        if name not in cfg.space:
            OmegaConf.set_struct(cfg, False)
            cfg.space[name] = compose(f"space/{name}").space


def told(error: Exception, overrides: list[str]) -> NoiseZooError:
    """What Hydra says in a paragraph, in a sentence, with the nearest right words."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, word = str(error.missing_cfg_file).rpartition("/")
        return NoiseZooError(f"There is no {group or 'configuration'} '{word}': {nearest(word, error.options or [])}")
    if isinstance(error, OverrideParseException):
        return NoiseZooError(
            f"Cannot read '{error.override}': overrides are key=value, lists key=[a,b] without spaces."
        )
    key = getattr(cause, "full_key", None)
    if key and ("is not in struct" in str(cause) or "not in '" in str(cause)):
        return NoiseZooError(f"There is no key '{key}': {_nearest_key(str(key), overrides)}")
    first = str(cause).strip().splitlines()[0]
    return NoiseZooError(f"The configuration is not right{f' at {key}' if key else ''}: {first.rstrip('.')}.")


def _nearest_key(key: str, overrides: list[str]) -> str:
    """The known keys nearest to a wrong one, with their full names."""
    groups = [o for o in overrides if o.split("=")[0] in ("dataset", "runner", "inverter", "hub", "experiment")]
    try:
        node: Any = composed(groups, [])
    except (HydraException, OmegaConfBaseException):
        return "see `noisezoo build --cfg job`."
    parent, _, word = key.rpartition(".")
    for part in parent.split(".") if parent else []:
        node = node.get(part) if isinstance(node, DictConfig) else None
    if not isinstance(node, DictConfig):
        return "see `noisezoo build --cfg job`."
    known = [str(k) for k in node if not str(k).startswith("_")] + (["experiment"] if not parent else [])
    return nearest(word, known)


def help_text(command: str) -> str:
    """Help of one command: what it does, its own settings, and where all others are shown."""
    from noisezoo.cli import BUILDER

    cfg = composed([], [])
    lines = [
        f"noisezoo {command}: {BUILDER[command]}",
        "",
        "Settings, as key=value after the command (--cfg job shows all of them):",
    ]
    for key in ("dataset", "spaces", "name", "dir", "shard_rows", "inverter", "runner", "device", "rebuild"):
        lines.append(f"  {key:<12}{_shown(cfg, key)}")
    for stage in STAGES[command]:
        lines += [f"  {stage}.{key}={value}" for key, value in (cfg.get(stage) or {}).items() if key != "_target_"]
    choices = {
        group: sorted(p.stem for p in (CONF / group).glob("*.yaml"))
        for group in ("experiment", "dataset", "inverter", "runner")
    }
    lines += ["", *(f"{group}: {', '.join(names)}" for group, names in choices.items())]
    return "\n".join(lines)


def _shown(cfg: DictConfig, key: str) -> str:
    if OmegaConf.is_missing(cfg, key):
        return ""
    value = cfg[key]
    if isinstance(value, DictConfig):
        return f"one of {', '.join(sorted(p.stem for p in (CONF / key).glob('*.yaml')))}"
    return str(value)
