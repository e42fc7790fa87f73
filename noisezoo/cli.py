"""The command `noisezoo`.

What a downloader types is answered here; what a builder types is handed to the engine when this package runs from a checkout, and answered with how to get one otherwise.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence

from noisezoo._version import __version__
from noisezoo.errors import NoiseZooError, nearest

BUILDER = {
    "build": "ingest the images and compute every space that is asked for; goes on where it stopped",
    "all": "build, verify, study and publish, one after another; what is finished is not done again",
    "ingest": "the images alone: tar shards, rows and labels",
    "invert": "the diffusion spaces alone",
    "encode": "the other spaces alone",
    "plan": "what a build will compute, call and write, before it does; --measure times it",
    "status": "what is done, running, failed and left; --watch, --json",
    "verify": "check every finished unit against the ledger; corrupt ones are computed again by the next build",
    "study": "analyse the zoo and write its report",
    "edit": "move rows along an attribute: noisezoo edit --space toy_sd --rows 12,80 --attribute Smiling --strength -3:3:7 --keep Male,Young",
    "publish": "write the publishable folder",
    "spaces": "list the spaces that can be built",
    "space": "try one space on eight images: noisezoo space check NAME",
}
DOWNLOADER = {
    "info": "what a zoo holds: noisezoo info PATH-OR-URL",
    "verify": "check every shard against its digest: noisezoo verify PATH-OR-URL",
    "fetch": "bring a published zoo here, or a part of it: noisezoo fetch USER/NAME --spaces sd15 --rows 0:1000",
    "study": "analyse a zoo and write its report: noisezoo study PATH --out report --only probes,transfer",
    "import-npy": "make a zoo of noises_<model>.npy files: noisezoo import-npy FOLDER-OR-DATASET",
    "export-npy": "write such files: noisezoo export-npy PATH-OR-URL FOLDER",
}
HELP = """\
NoiseZoo {version}: every image as one row in many latent spaces.

Read a zoo (anywhere):
{reader}

Build a zoo (from a checkout):
{builder}

What is built is said by overrides, after the command:
  noisezoo build experiment=toy                       the small world that ships with the project
  noisezoo build dataset=folder dataset.root=photos spaces=[toy_clip] name=mine
  noisezoo build experiment=celeba dataset.root=/data/celeba spaces=[sd15,clip_b16] dataset.limit=1000
  noisezoo build --cfg job                            the whole configuration, without running it
  noisezoo build --multirun inverter.steps=10,20,50   one build for each value
"""


def usage() -> str:
    """The text of `noisezoo --help`."""

    def lines(commands: dict[str, str]) -> str:
        return "\n".join(f"  noisezoo {name:<11}{text}" for name, text in commands.items())

    return HELP.format(version=__version__, reader=lines(DOWNLOADER), builder=lines(BUILDER))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; every failure a user can mend is one sentence on standard error and status 1."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0
    if args[0] == "--version":
        print(__version__)
        return 0
    try:
        return _run(args[0], args[1:])
    except NoiseZooError as e:
        return _tell(e)
    except BrokenPipeError:
        return 1
    except Exception as e:
        from noisezoo import retry

        # What Zarr's own stores raise is told like what ours do.
        if (sentence := retry.told(e, "The store")) is None:
            raise
        return _tell(sentence)


def _tell(error: NoiseZooError) -> int:
    from noisezoo.secrets import hidden

    print(f"noisezoo: {hidden(str(error))}", file=sys.stderr)
    return 1


def _run(command: str, rest: list[str]) -> int:
    if command in LONGER:
        run: Callable[[list[str]], int] = importlib.import_module("noisezoo.commands").COMMANDS[command]
        return run(rest)
    if command in READERS and rest and _is_place(rest[0]):
        return READERS[command](rest)
    if command in BUILDER:
        return _engine(command, rest)
    if command in READERS:
        raise NoiseZooError(f"Say which zoo: noisezoo {command} PATH-OR-URL.")
    raise NoiseZooError(
        f"There is no command '{command}': {nearest(command, {*BUILDER, *READERS, *LONGER})} Type `noisezoo --help`."
    )


def _is_place(word: str) -> bool:
    return "=" not in word and not word.startswith("-")


def _engine(command: str, rest: list[str]) -> int:
    if importlib.util.find_spec("pipeline") is None or importlib.util.find_spec("stages") is None:
        raise NoiseZooError(
            f"`noisezoo {command}` needs the engine, which runs from a checkout: clone the repository and type `pip install -e '.[build]'` in it."
        )
    if importlib.util.find_spec("hydra") is None or importlib.util.find_spec("torch") is None:
        raise NoiseZooError(
            f"`noisezoo {command}` needs the extra 'build': type `pip install -e '.[build]'` in the checkout."
        )
    from importlib import import_module

    # By name, not by import statement: the library never depends on the engine.
    run: Callable[[str, list[str], str], int] = import_module("pipeline.app").run
    return run(command, rest, BUILDER[command])


def _info(rest: list[str]) -> int:
    import noisezoo
    from noisezoo.info import table

    print(table(noisezoo.open(rest[0])))
    return 0


def _verify(rest: list[str]) -> int:
    import noisezoo
    from noisezoo.verify import verify

    zoo = noisezoo.open(rest[0])
    problems = verify(zoo)
    units = sum(len(space.finished) for space in zoo.spaces.values())
    for problem in problems:
        print(problem)
    if problems:
        raise NoiseZooError(
            f"{len(problems)} of {units} units of {rest[0]} are not what the ledger says; fetch or build them again."
        )
    print(f"{units} units in {len(zoo.spaces)} spaces agree with the ledger.")
    return 0


def _study(rest: list[str]) -> int:
    run: Callable[[list[str]], int] = importlib.import_module("noisezoo.commands").study
    return run(rest)


LONGER = ("fetch", "import-npy", "export-npy")
"""Commands with flags of their own, in `noisezoo.commands`."""
READERS: dict[str, Callable[[list[str]], int]] = {"info": _info, "verify": _verify, "study": _study}
