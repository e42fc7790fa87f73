"""From a command to its stages: composes the configuration with Hydra and starts what the command stands for."""

from __future__ import annotations

import os
import signal
import sys

import hydra
from hydra import compose
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from noisezoo.errors import NoiseZooError, UnfinishedError
from pipeline import config, kept
from pipeline.overrides import CONF, WRONG, as_edit, composed, divide, plainly, told, with_spaces, with_switches
from pipeline.progress import say

STAGES = {
    "all": ("ingest", "invert", "encode", "verify", "study", "publish"),
    "build": ("ingest", "invert", "encode"),
    "ingest": ("ingest",),
    "invert": ("invert",),
    "encode": ("encode",),
    "verify": ("verify",),
    "study": ("study",),
    "edit": ("edit",),
    "publish": ("publish",),
    "status": ("status",),
    "plan": ("plan",),
}
COMPUTING = {"invert", "encode"}
NEED_SPACES = {"invert", "encode", "study", "edit", "plan"}
INTERRUPTED = 130


def run(command: str, argv: list[str], purpose: str) -> int:
    """Run a command with Hydra's flags and overrides; the exit status. `purpose` is what its help says first."""
    config.register()
    if command in ("space", "spaces"):
        from pipeline import listing

        return listing.run(command, argv)
    flags, overrides = divide(plainly(as_edit(argv) if command == "edit" else with_switches(command, argv)))
    if "--help" in flags or "-h" in flags:
        print(help_text(command, purpose))
        return 0
    if NEED_SPACES & set(STAGES[command]):
        overrides = with_spaces(overrides, flags)
    # SIGTERM stops as Ctrl-C does: the unit in hand is abandoned, what is finished stays.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Without this, Hydra prints errors in its own words and exits by itself.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = ["noisezoo", *flags, *overrides]
    ended: list[BaseException] = []

    def job(cfg: DictConfig) -> None:
        if ended:  # in a sweep, nothing is begun after a failure
            return
        try:
            if cfg.dir.startswith("file://"):
                cfg.dir = cfg.dir.removeprefix("file://")
            if NEED_SPACES & set(STAGES[command]):
                fill_spaces(cfg)
            left: list[Exception] = []
            for stage in STAGES[command]:
                if left and stage not in COMPUTING:
                    break
                try:
                    get_method(cfg[stage]._target_)(cfg)
                except UnfinishedError as e:  # the spaces of the other stage need not wait for these
                    left.append(e)
                    if e.stops_all:
                        break
            if left:
                raise NoiseZooError(" ".join(map(str, left)))
        except BaseException as e:  # Hydra would print it first; it is raised again below
            ended.append(e)

    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
        if ended:
            raise ended[0]
    except KeyboardInterrupt:
        if command in ("status", "plan"):
            return INTERRUPTED
        say("Stopped. Every finished unit is kept: type the same command again to go on.")
        return INTERRUPTED
    except WRONG as e:
        raise told(e, overrides, flags) from e
    finally:
        kept.close()
    return 0


def fill_spaces(cfg: DictConfig) -> None:
    """Compose the spaces that are not in the configuration yet: those that other packages register, and in a sweep all of them."""
    from pipeline.spaces.catalogue import (  # brings torch: not before the words are right
        entry_point_config,
        space_entry_points,
    )

    for name in cfg.spaces:
        if name not in cfg.space:
            OmegaConf.set_struct(cfg, False)
            registered = name in space_entry_points()
            cfg.space[name] = entry_point_config(name) if registered else compose(f"space/{name}").space


def help_text(command: str, purpose: str) -> str:
    """Help of one command: what it does, its own settings, and what can be chosen."""
    cfg = composed([])
    lines = [
        f"noisezoo {command}: {purpose}",
        "",
        "Settings, as key=value after the command, with their defaults (--cfg job shows all of them):",
    ]
    for key in ("spaces", "rebuild", "name", "dir", "shard_rows", "device"):
        lines.append(f"  {key}={OmegaConf.to_container(cfg)[key]}")  # type: ignore[index,call-overload]
    for stage in STAGES[command]:
        lines += [f"  {stage}.{key}={value}" for key, value in cfg[stage].items() if key != "_target_"]
    lines += ["", "Choices:"]
    for group in ("experiment", "dataset", "inverter", "runner"):
        names = sorted(path.stem for path in (CONF / group).glob("*.yaml") if not path.stem.startswith("_"))
        lines.append(f"  {group}={'|'.join(names)}")
    return "\n".join([*lines, "", "`noisezoo spaces` lists the spaces."])
