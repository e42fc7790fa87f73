"""Ingest killed again and again, by SIGKILL to the whole process group or to its head alone, ends with the bytes of an undisturbed run."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.ingest import ingest
from pipeline.sources.folder import Folder
from tests.kit import lookalikes as like

ROWS, SHARD, KILLS = 6_000, 40, 10
REPOSITORY = Path(__file__).parents[2]
PROGRAM = """
import sys
from pipeline.ingest import ingest
from pipeline.sources.folder import Folder
if __name__ == "__main__":
    ingest(Folder(sys.argv[1]), sys.argv[2], shard_rows=int(sys.argv[3]), workers=2)
"""


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def finished(folder: Path) -> int:
    return len(list(folder.glob("shard-*.json")))


def started(tmp_path: Path) -> subprocess.Popen[bytes]:
    script = tmp_path / "run.py"
    script.write_text(PROGRAM)
    command = [sys.executable, str(script), str(tmp_path / "source"), str(tmp_path / "killed"), str(SHARD)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, start_new_session=True)


@pytest.mark.slow
def test_killed_ten_times_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    data = [like.picture(i, (40, 40)) for i in range(20)]
    # A comment makes each of them a file of its own: FF FE, its length, its text.
    files = [
        (f"{i:05d}.jpg", data[i % 20][:2] + b"\xff\xfe\0\x08" + b"%06d" % i + data[i % 20][2:]) for i in range(ROWS)
    ]
    source = Folder(str(like.lay(tmp_path / "source", files)))
    ingest(source, str(tmp_path / "whole"), shard_rows=SHARD, workers=1)
    chance = random.Random(1)
    progress = []
    for kill in range(KILLS):
        process = started(tmp_path)
        # Past its start, which takes the longest: some way into this run's share of the shards.
        goal = min(finished(tmp_path / "killed") + chance.randint(1, 12), ROWS // SHARD - 1)
        while finished(tmp_path / "killed") < goal and process.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.random() * 0.02)
        assert process.poll() is None, "it finished before it could be killed: use more rows"
        workers = psutil.Process(process.pid).children(recursive=True)
        if kill % 2:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        progress.append(finished(tmp_path / "killed"))
        # Workers whose head was killed end by themselves, at once.
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive
    assert progress == sorted(progress)
    assert 0 < progress[0] < progress[-1] < ROWS // SHARD
    process = started(tmp_path)
    assert process.wait() == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
