"""`python -m bench`: every case, as ratios, in one run; `make bench` types it.

    python -m bench                            all cases, under 15 minutes on two cores, and the comparison with the run on record
    python -m bench --only engine store.http   the cases whose names begin so; the others' results stay as they are
    python -m bench --list                     what there is
    python -m bench --record                   afterwards, make these results the ones on record

Results go to bench/results/latest.json after every case. The status is 1 where a ratio fell below the one in bench/results/recorded.json by more than its noise.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.harness import Case, Result, from_json, machine, regression, run, to_json

RESULTS = Path(__file__).resolve().parent / "results"
LATEST, RECORDED = "latest.json", "recorded.json"


def chosen(cases: Sequence[Case], only: Sequence[str]) -> list[Case]:
    """The cases whose names are one of these or begin with it and a dot; all where none is named."""
    if not only:
        return list(cases)
    found = [case for case in cases if any(case.name == word or case.name.startswith(f"{word}.") for word in only)]
    for word in only:
        if not any(case.name == word or case.name.startswith(f"{word}.") for case in found):
            raise SystemExit(f"There is no case '{word}': `python -m bench --list` names them.")
    return found


def load(path: Path) -> dict[str, Result]:
    """Results of an earlier run by name; none where there is no file."""
    if not path.exists():
        return {}
    return {facts["name"]: from_json(facts) for facts in json.loads(path.read_text())["results"]}


def save(path: Path, results: Mapping[str, Result], facts: Mapping[str, Any]) -> None:
    """All results with the machine they were measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {"machine": facts, "results": [to_json(result) for result in results.values()]}
    path.write_text(json.dumps(kept, indent=1) + "\n")


def line(result: Result) -> str:
    """A result on the terminal."""
    target = "" if result.target is None else f"target {result.target:g}: {'met' if result.met else 'MISSED'}"
    spread = f"{result.low:.3g} … {result.high:.3g}"
    return f"{result.name:26} {result.ratio:8.3g}   {spread:>17}   {result.seconds:5.0f} s   {target}"


def own_process(case: Case) -> Result | None:
    """A case measured in a process of its own, so that none meets another's memory, threads or compiled code; None where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, "-m", "bench", "--only", case.name, "--here", str(out)]
        done = subprocess.run(command, check=False, env={**os.environ, "TOKENIZERS_PARALLELISM": "false"})
        return from_json(json.loads(out.read_text())) if done.returncode == 0 else None


def here(case: Case) -> Result:
    """A case measured in this process."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return run(case, Path(folder))


def main(
    argv: Sequence[str] | None = None,
    cases: Sequence[Case] | None = None,
    results: Path = RESULTS,
    measured: Callable[[Case], Result | None] = own_process,
) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE")
    parser.add_argument("--list", action="store_true", help="names and what they compare")
    parser.add_argument("--record", action="store_true", help="make the results the ones on record")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    if cases is None:
        from bench.cases import CASES

        cases = CASES
    mine = chosen(cases, asked.only)
    if asked.list:
        for case in mine:
            print(f"{case.name:26} {case.what}; against {case.rival}")
        return 0
    if asked.here:
        asked.here.write_text(json.dumps(to_json(here(mine[0]))))
        return 0
    measured_now: dict[str, Result] = {}
    recorded = load(results / RECORDED)
    facts, failed, fallen = machine(), [], []
    print(f"{'case':26} {'ratio':>8}   {'quartiles':>17}   {'took':>7}", flush=True)
    for case in mine:
        result = measured(case)
        if result is None:
            failed.append(case.name)
            continue
        done = {**load(results / LATEST), case.name: result}  # as another run may have left it
        known = {one.name: done[one.name] for one in cases if one.name in done}
        save(results / LATEST, known, facts)
        measured_now[case.name] = result
        print(line(result), flush=True)
        if case.name in recorded and (told := regression(result, recorded[case.name])):
            fallen.append(told)
    if asked.record and not failed:
        save(results / RECORDED, {**recorded, **measured_now}, facts)
    for name in failed:
        print(f"{name} could not be measured; its error is above.", file=sys.stderr)
    for told in fallen:
        print(told, file=sys.stderr)
    return 1 if failed or fallen else 0


if __name__ == "__main__":
    sys.exit(main())
