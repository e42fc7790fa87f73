"""The words on the command line: what Hydra makes of them, and what is told to the user when it cannot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from noisezoo.errors import NoiseZooError, nearest

CONF = Path(__file__).resolve().parents[1] / "conf"
WRONG = (HydraException, OmegaConfBaseException)
"""What Hydra raises about words that it cannot use."""
GROUP = "noisezoo.spaces"
"""Entry points by which other packages register spaces."""
_GROUPS = ("dataset", "experiment", "hub", "inverter", "runner")
_FOLDER_FLAGS = ("--config-dir", "-cd")


def plainly(argv: Sequence[str]) -> list[str]:
    """What people type for an upload, as overrides: `hub=USER/NAME` and `--dry-run`."""
    return [
        "publish.dry_run=true" if word == "--dry-run" else re.sub(r"^hub=(?=[^/]+/[^/]+$)", "hub.repo=", word)
        for word in argv
    ]


_SWITCHES = {"status": ("watch", "json"), "plan": ("measure", "json")}
_EDIT_WORDS = {"space": "{}", "attribute": "{}", "strength": '"{}"', "rows": "[{}]", "keep": "[{}]", "by": "{}"}


def as_edit(argv: Sequence[str]) -> list[str]:
    """The flags of `noisezoo edit` as overrides: `--rows 12,80` is `edit.rows=[12,80]`."""
    found, rest = [], iter(argv)
    for word in rest:
        name, has_value, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in _EDIT_WORDS:
            found.append(word)
            continue
        given = value if has_value else next(rest, None)
        if given is None:
            raise NoiseZooError(
                f"--{name} needs a value: noisezoo edit --space toy_sd --rows 12,80 --attribute Smiling"
            )
        found.append(f"edit.{name}={_EDIT_WORDS[name].format(given)}")
    return found


def with_switches(command: str, argv: Sequence[str]) -> list[str]:
    """The switches of a command as overrides: `--json` after status is `status.json=true`."""
    known = {f"--{name}": f"{command}.{name}=true" for name in _SWITCHES.get(command, ())}
    return [known.get(word, word) for word in argv]


def divide(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags with their values, and overrides: Hydra wants all overrides in one run."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = iter(argv)
    for word in rest:
        if word in (*_FOLDER_FLAGS, "--cfg", "-c", "--package", "-p"):
            flags += [word, *([value] if (value := next(rest, None)) is not None else [])]
        elif word.startswith("-"):
            flags.append(word)
        else:
            overrides.append(word)
    return flags, overrides


def composed(overrides: Sequence[str], flags: Sequence[str] = ()) -> DictConfig:
    """The configuration that these overrides give."""
    folder = config_folder(flags)
    # compose knows no --config-dir; a search path is the same thing.
    search = [f"hydra.searchpath=[file://{folder}]"] if folder else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*overrides, *search])


def config_folder(flags: Sequence[str]) -> Path | None:
    """The folder that `--config-dir` names."""
    for flag, value in pairwise([*flags, ""]):
        name, _, given = flag.partition("=")
        if name in _FOLDER_FLAGS:
            folder = Path(given or value)
            if not folder.is_dir():
                raise NoiseZooError(
                    f"There is no folder {folder}: give --config-dir a folder with space/NAME.yaml in it."
                )
            return folder.resolve()
    return None


def with_spaces(overrides: Sequence[str], flags: Sequence[str]) -> list[str]:
    """The overrides, and for each space that they choose one that puts its YAML at `space.<name>`, so that its keys can be set and are shown."""
    plain = [word for word in overrides if "=" in word and not _sweeps(word)]
    if any(word.startswith("spaces=") and _sweeps(word) for word in overrides):
        plain.append("spaces=[]")  # each job of the sweep adds its own
    try:
        cfg = composed([word for word in plain if not word.lstrip("+~").startswith("space.")], flags)
        registered = entry_points(group=GROUP).names
        # A space that another package registers has no YAML; its job finds it.
        added = [f"+space@space.{name}={name}" for name in cfg.spaces if name not in {*cfg.space, *registered}]
        composed([*plain, *added], flags)
    except WRONG as e:
        raise told(e, overrides, flags) from e
    return [*overrides, *added]


def _sweeps(override: str) -> bool:
    """Whether an override names several values for --multirun."""
    value = override.split("=", 1)[1]
    bare = re.sub(r"\[[^\]]*\]|\{[^}]*\}|'[^']*'|\"[^\"]*\"", "", value)
    return "," in bare or value.startswith(("range(", "choice(", "glob("))


def told(error: Exception, overrides: Sequence[str], flags: Sequence[str]) -> NoiseZooError:
    """What Hydra says in a paragraph, in a sentence, with the nearest right words."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, word = str(error.missing_cfg_file).rpartition("/")
        known = [name for name in error.options or [] if not name.startswith("_")]
        return NoiseZooError(f"There is no {group or 'configuration'} '{word}': {nearest(word, known)}")
    if isinstance(error, OverrideParseException):
        return NoiseZooError(
            f"Cannot read '{error.override}': overrides are key=value, and lists are key=[a,b] without spaces."
        )
    key = getattr(cause, "full_key", None)
    if key and isinstance(error, ConfigCompositionException) and " not in " in str(cause):
        more = f" What a space's YAML leaves out is set with a plus: +{key}=…." if str(key).startswith("space.") else ""
        return NoiseZooError(f"There is no key '{key}': {_nearest_key(str(key), overrides, flags)}{more}")
    first = str(cause).strip().splitlines()[0].rstrip(".")
    return NoiseZooError(f"The configuration is not right{f' at {key}' if key else ''}: {first}.")


def _nearest_key(key: str, overrides: Sequence[str], flags: Sequence[str]) -> str:
    """The known keys nearest to a wrong one."""
    kept = [word for word in overrides if word.split("=")[0] in (*_GROUPS, "spaces")]
    parent, _, word = key.rpartition(".")
    node: Any = composed(kept, flags)
    if parent.startswith("space."):
        node = composed([*kept, *(f"+space@space.{name}={name}" for name in node.spaces)], flags)
    for part in parent.split(".") if parent else []:
        node = node.get(part) if isinstance(node, DictConfig) else None
    known = [str(k) for k in node if not str(k).startswith("_")] if isinstance(node, DictConfig) else []
    return nearest(word, known + ([] if parent else ["experiment"]))
