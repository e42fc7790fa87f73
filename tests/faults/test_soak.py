"""A short soak: a few random schedules of faults, of those that `python -m bench.soak` runs by the hundred."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.kit.builds import ROOT


@pytest.mark.slow
def test_nothing_is_lost_torn_or_written_twice() -> None:
    command = [sys.executable, "-m", "bench.soak", "--schedules", "6", "--start", "1000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert (found["lost_rows"], found["torn_shards"], found["double_writes"]) == (0, 0, 0)
    assert found["entries"] == 6 * 26
    assert found["faults"]["stopped"] > 0, "no builder was ever stopped: the test shows nothing"
    assert found["faults"]["kill"] > 0
