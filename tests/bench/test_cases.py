"""The cases themselves: named once, shown on the page, and able to run."""

from __future__ import annotations

import http.server
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from bench.__main__ import load, main
from bench.cases import CASES, scaling
from bench.page import ROOT, SUBJECTS
from bench.slow import delayed


def test_every_case_has_its_own_name_and_a_place_on_the_page() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert {name.split(".")[0] for name in names} == set(SUBJECTS)
    words = (ROOT / "bench" / "page.md").read_text()
    assert all(f"{{{{{subject}}}}}" in words for subject in SUBJECTS)


@pytest.mark.slow
def test_a_case_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    assert main(["--only", "start.import"], results=tmp_path) == 0
    found = load(tmp_path / "latest.json")["start.import"]
    assert found.ratio == pytest.approx(0.7 / found.figures["seconds"], rel=1e-6)
    assert 0 < found.figures["of these Python itself"] < found.figures["seconds"]


@pytest.mark.slow
def test_the_engine_builds_what_the_scaling_case_asks_for(tmp_path: Path) -> None:
    found = scaling.measured(tmp_path, 1100, 2)
    assert 0 < found["processor"] < 60
    assert found["peak_mb"] > 50


def test_early_units_are_held_against_late_ones() -> None:
    dear_late = [0.1 * unit + (0.05 * max(unit - 15, 0)) for unit in range(32)]
    early, late = scaling.early_and_late(dear_late)
    assert (early, late) == (pytest.approx(0.8), pytest.approx(1.2))


def test_a_request_is_late_by_as_much_as_was_asked() -> None:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 100_000)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with delayed(("127.0.0.1", server.server_address[1]), 0.3) as url:
            begun = time.perf_counter()
            assert urllib.request.urlopen(url).read() == b"x" * 100_000
            assert time.perf_counter() - begun >= 0.3
        server.shutdown()
