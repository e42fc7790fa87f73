"""The report in a real browser: no error in its console, no request to anywhere, nothing wider than the window, tables that sort."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from noisezoo import study
from tests.kit.planted import planted_zoo

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-default-apps", "--disable-extensions", "--hide-scrollbars",
)  # fmt: skip
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium here")]

PROBE = """<script>
addEventListener("load", () => {
  const table = document.querySelector('table[data-name="probes"]');
  const seen = () => [...table.tBodies[0].rows].map(row => Number(row.cells[1].dataset.v));
  const before = seen();
  table.tHead.rows[0].cells[1].firstChild.click();
  const down = seen();
  table.tHead.rows[0].cells[1].firstChild.click();
  let csv = "";
  const made = URL.createObjectURL;
  URL.createObjectURL = blob => { blob.text().then(text => { report(text) }); return made.call(URL, blob) };
  HTMLAnchorElement.prototype.click = () => {};
  document.querySelector('.csv[data-table="probes"]').click();
  function report(csv) {
    const figures = document.querySelectorAll("svg").length, wide = document.documentElement.scrollWidth;
    const tables = [...document.querySelectorAll("table")].map(t => ({ right: t.getBoundingClientRect().right, shown: t.checkVisibility({ contentVisibilityAuto: true }) }));
    const facts = { before, down, up: seen(), csv, figures, wide, tables, window: innerWidth, asked: performance.getEntriesByType("resource").map(e => e.name) };
    document.title = "FACTS" + JSON.stringify(facts);
  }
});
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    zoo = planted_zoo(folder / "zoo.zarr", rows=300, spaces=("noise_a", "enc_a", "enc_b"))
    found = study.study(zoo, study.Settings(projections=200, rows_per_test=100))
    return study.write(folder / "report", found)[0]


def browse(page: Path, folder: Path, width: int, *more: str) -> subprocess.CompletedProcess[str]:
    assert BROWSER is not None
    words = [
        BROWSER,
        *QUIET,
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},900",
        "--enable-logging=stderr",
        "--v=0",
        "--virtual-time-budget=3000",
        *more,
        page.as_uri(),
    ]
    return subprocess.run(words, capture_output=True, text=True, timeout=240, check=True)


@pytest.mark.parametrize("width", [1280, 500])
def test_it_opens_without_an_error(page: Path, tmp_path: Path, width: int) -> None:
    done = browse(page, tmp_path, width, f"--screenshot={tmp_path / 'page.png'}")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert "CONSOLE" not in done.stderr, done.stderr


def facts(page: Path, folder: Path, width: int) -> dict[str, Any]:
    """What a script inside the page sees."""
    probing = folder / "probing.html"
    probing.write_text(page.read_text().replace("</body>", f"{PROBE}</body>"))
    dump = browse(probing, folder, width, "--dump-dom").stdout
    found = re.search(r"<title>FACTS(.*?)</title>", dump, re.DOTALL)
    assert found, dump[:500]
    seen: dict[str, Any] = json.loads(found.group(1).replace("&quot;", '"').replace("&amp;", "&"))
    return seen


@pytest.mark.parametrize("width", [1280, 500])
def test_tables_sort_and_give_csv_and_nothing_is_asked_for_or_wider_than_the_window(
    page: Path, tmp_path: Path, width: int
) -> None:
    seen = facts(page, tmp_path, width)
    assert seen["down"] == sorted(seen["before"], reverse=True)
    assert seen["up"] == sorted(seen["before"])
    lines = seen["csv"].strip().split("\n")
    assert lines[0].startswith("space,ROC AUC")
    assert len(lines) == 1 + len(seen["before"])
    assert seen["wide"] <= seen["window"]
    assert seen["figures"] > 5
    assert not [url for url in seen["asked"] if not url.startswith(("data:", "blob:"))]


def test_print_shows_every_table_whole(page: Path, tmp_path: Path) -> None:
    paper = tmp_path / "paper.html"
    paper.write_text(page.read_text().replace("@media print {", "@media all {"))
    for path, are_whole in ((page, False), (paper, True)):
        tables = facts(path, tmp_path, 700)["tables"]
        assert len(tables) > 8
        assert all(t["shown"] and t["right"] <= 700 for t in tables) == are_whole
    done = browse(page, tmp_path, 700, f"--print-to-pdf={tmp_path / 'page.pdf'}")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF"), done.stderr


def test_an_error_would_be_noticed(page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text().replace("const value", "notThere(); const value"))
    assert "CONSOLE" in browse(broken, tmp_path, 800, f"--screenshot={tmp_path / 'page.png'}").stderr


def test_a_request_would_be_noticed(page: Path, tmp_path: Path) -> None:
    asking = tmp_path / "asking.html"
    asking.write_text(page.read_text().replace("<main>", '<main><img src="https://example.org/x.png" alt="x">'))
    assert "https://example.org/x.png" in facts(asking, tmp_path, 800)["asked"]
