"""`noisezoo study` with the toy's own models: strips of regenerated faces, and edits that are measured by an encoder, by the attribute reader and beside the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kit.builds import noisezoo

pytestmark = pytest.mark.slow
ATTRIBUTES = ["Eyeglasses", "Pale_Skin"]
ZOO = ["spaces=[toy_sd,toy_clip]", "space.toy_sd.inverter.steps=5"]
STUDY = [*ZOO, "study.only=[probes,edits]", f"study.edit_attributes=[{','.join(ATTRIBUTES)}]", "study.edit_rows=8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("studied")
    done = noisezoo("build", *ZOO, f"dir={made}", "dataset.size=384", "shard_rows=128")
    assert done.returncode == 0, done.stderr
    done = noisezoo("study", *STUDY, f"dir={made}")
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def edits(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "report" / "metrics.json").read_text())["edits"]
    return found


def test_each_edit_moves_its_target_whoever_reads(edits: list[dict[str, Any]]) -> None:
    assert [edit["attribute"] for edit in edits] == ATTRIBUTES
    for edit in edits:
        assert edit["read_by"] == "toy_clip"
        assert edit["rows"] == 8
        assert edit["target_shift_sd"] > 0.5
        assert edit["by_reader"]["target_shift_sd"] > 0.5
        assert edit["by_reader"]["flips"] > 0.5


def test_figures_of_leaks_follow_from_the_shifts(edits: list[dict[str, Any]]) -> None:
    for edit in edits:
        for read in (edit, edit["by_reader"]):
            others = [abs(read["each_after_sd"][name]) for name in edit["keep"]]
            assert len(others) >= 15
            assert read["leak_after_sd"] == pytest.approx(sum(others) / len(others), rel=1e-6)
            assert read["leak_after_per_sd"] == pytest.approx(read["leak_after_sd"] / read["target_shift_sd"], rel=1e-6)
            fall = 1 - read["leak_after_per_sd"] / read["leak_before_per_sd"]
            assert read["leak_reduction"] == pytest.approx(fall, rel=1e-6)


def test_the_reader_sees_hardly_any_leak_of_a_perfect_edit(edits: list[dict[str, Any]]) -> None:
    """Faces drawn again with one attribute of the truth moved alone: what is left is the reader's own error."""
    for edit in edits:
        read = edit["by_reader"]
        assert read["perfect_leak_after_per_sd"] < 0.06
        assert read["perfect_leak_after_per_sd"] < read["leak_after_per_sd"]


def test_the_page_tells_it_and_is_not_made_twice(folder: Path) -> None:
    page = (folder / "report" / "index.html").read_text()
    assert "As the attribute reader sees it" in page
    assert page.count("data:image/png;base64") >= 2  # a strip of pairs, and one of edits
    again = noisezoo("study", *STUDY, f"dir={folder}")
    assert again.returncode == 0, again.stderr
    assert "nothing has changed" in again.stdout + again.stderr
