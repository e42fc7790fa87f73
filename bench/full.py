"""The long measurements at full size, hours on two cores: `python -m bench.full [NAME …]`, `--list` says which there are.

Each is a script of its own, or a case of `python -m bench` at another size; this runs them one after another and keeps what they print in bench/results/full/<name>.txt.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results" / "full"
SCALING = """
import tempfile
from pathlib import Path
from bench.cases.scaling import measured
for rows in (1_000, 10_000, 100_000, 1_000_000):
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), rows)
    print(f"{rows:9,} rows: {1e6 * found['processor'] / rows:6.0f} µs a row, {found['peak_mb']:6.0f} MB at most", flush=True)
"""
RUNS: dict[str, tuple[str, list[str]]] = {
    "ingest": ("all 202,599 pictures of CelebA's size", ["-m", "bench.ingest", "--rows", "202599"]),
    "scaling": ("a nearly free space over 10³ … 10⁶ rows", ["-c", SCALING]),
    "store_local": ("162,770 rows against np.memmap", ["-m", "bench.store", "local", "--rows", "162770"]),
    "store_remote": ("162,770 rows over HTTP", ["-m", "bench.store", "remote", "--rows", "162770"]),
    "store_npy": ("162,770 rows in and out of .npy", ["-m", "bench.store", "npy", "--rows", "162770"]),
    "store_codecs": ("chunks, shards and codecs", ["-m", "bench.store", "codecs"]),
    "study": ("19,867 × 16,384, against SciPy and scikit-learn", ["bench/study.py", "--size", "full"]),
    "study_training": ("162,770 × 16,384, ours alone", ["bench/study.py", "--size", "training"]),
    "encoder": ("Encoder against the bare model, and from files", ["-m", "bench.encoder"]),
    "inversion_orders": ("every inverter where the exact noise is known", ["bench/inversion_orders.py"]),
    "inversion_ideas": (
        "half precision, int8 and oneDNN graph beside the walk as it is",
        ["-m", "bench.inversion_ideas"],
    ),
    "inversion_toy": ("every inverter on the trained toy models", ["-m", "bench.inversion_toy"]),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(RUNS), metavar="NAME")
    parser.add_argument("--list", action="store_true")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(f"{name:18} {what}" for name, (what, _) in RUNS.items()))
        return 0
    if unknown := set(asked.names) - set(RUNS):
        parser.error(f"there is nothing called {', '.join(sorted(unknown))}: --list says what there is.")
    RESULTS.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in asked.names:
        print(f"{name}: {RUNS[name][0]}", flush=True)
        with (RESULTS / f"{name}.txt").open("w") as out:
            if subprocess.run([sys.executable, *RUNS[name][1]], stdout=out, check=False).returncode:
                failed.append(name)
        print((RESULTS / f"{name}.txt").read_text(), flush=True)
    for name in failed:
        print(f"{name} could not be measured; its error is above.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
