"""The study on a zoo whose truth is planted, and on zoos with something wrong: every part says what it found, or why it could not."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import noisezoo
from noisezoo import commands, study
from noisezoo.errors import NoiseZooError
from noisezoo.study.data import Data, Joined
from noisezoo.study.editing import effects, plan
from noisezoo.study.parts import Job, Parts
from noisezoo.study.sharing import RIDGES, choose_ridge
from tests.kit.planted import ATTRIBUTES, planted_zoo

SETTINGS = study.Settings(projections=300, rows_per_test=100)


def run(zoo: noisezoo.Zoo, **options: Any) -> dict[str, Any]:
    return study.study(zoo, options.pop("settings", SETTINGS), **options)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(planted_zoo(tmp_path_factory.mktemp("planted") / "zoo.zarr"))


def test_metrics_have_what_others_read_and_can_be_written_as_json(found: dict[str, Any]) -> None:
    assert found["rows"] == 600
    for space in found["spaces"].values():
        assert {"ad", "dp", "sw"} <= set(space["gaussianity"])
        assert {"auc", "accuracy"} <= set(space["probe"])
    assert found["spaces"]["noise_a"]["fidelity"]["psnr"] > 30
    assert all({"source", "target", "cosine", "accuracy_drop_points"} <= set(t) for t in found["transfer"])
    assert all({"name", "k", "accuracy"} <= set(s) for s in found["shared_space"])
    assert len(found["truth"]["noise_a"]["canonical_correlations"]) == len(ATTRIBUTES)
    json.dumps(found, allow_nan=False)


def test_what_was_planted_is_found_and_controls_find_nothing(found: dict[str, Any]) -> None:
    spaces, truth = found["spaces"], found["truth"]
    assert {n: s["kind"] for n, s in spaces.items()} == {
        "noise_a": "noise", "noise_b": "noise", "enc_a": "encoder", "enc_b": "encoder", "pixels": "control", "gaussian_noise": "control",
    }  # fmt: skip
    for name in ("noise_a", "noise_b", "enc_a", "enc_b"):
        assert spaces[name]["probe"]["auc"] > 0.8
        assert abs(spaces[name]["probe"]["permuted"]["auc"] - 0.5) < 0.12
        assert truth[name]["canonical_correlations"][0] > 0.85
        assert truth[name]["probes"]["mean_angle"] < 30
    assert abs(spaces["gaussian_noise"]["probe"]["auc"] - 0.5) < 0.1
    assert abs(truth["gaussian_noise"]["canonical_correlations"][0]) < 0.3
    assert truth["gaussian_noise"]["probes"]["mean_angle"] > 60
    assert truth["shared all"]["mean"] > truth["noise_a"]["mean"]
    drop = {(t["source"], t["target"]): t["accuracy_drop_points"] for t in found["transfer"]}
    assert drop["noise_a", "enc_a"] < 10 < drop["gaussian_noise", "enc_a"]
    assert ("enc_a", "noise_a") in drop
    near = {(n["first"], n["second"]): n for n in found["neighbours"]}
    assert near["enc_a", "enc_b"]["spearman"] > 5 * near["enc_a", "enc_b"]["spearman_by_chance"]


def test_narrow_sources_are_carried_with_a_chosen_penalty_too(tmp_path: Path, found: dict[str, Any]) -> None:
    one = next(t for t in found["transfer"] if (t["source"], t["target"]) == ("noise_a", "enc_a"))
    assert one["alpha"] == 1.0
    zoo = planted_zoo(tmp_path / "zoo.zarr", spaces=("noise_a", "enc_a"))
    told = study.Settings(projections=200, rows_per_test=100, alpha=one["chosen"]["alpha"], only=("transfer",))
    same = next(t for t in run(zoo, settings=told)["transfer"] if t["source"] == "noise_a")
    for key in ("cosine", "r2", "accuracy_drop_points"):
        assert one["chosen"][key] == pytest.approx(same[key], abs=1e-5)
    assert one["chosen"]["r2"] >= one["r2"] - 0.01


def test_the_truth_bounds_what_linear_views_can_keep(found: dict[str, Any]) -> None:
    bounds = {name: t["carried"] for name, t in found["truth"].items() if "carried" in t}
    assert set(bounds) == {"enc_a", "enc_b"}
    for name, bound in bounds.items():
        carried = [t["accuracy_drop_points"] for t in found["transfer"] if t["target"] == name]
        assert bound["accuracy_drop_points"] < min(carried) + 1
        assert (
            bound["r2"] > max(t["r2"] for t in found["transfer"] if t["target"] == name and t["source"] != name) - 0.02
        )


def test_sets_of_narrow_spaces_are_shared_with_a_chosen_penalty_too(found: dict[str, Any]) -> None:
    assert found["shared_sets"]["noise_a + enc_a"]["members"] == ["noise_a", "enc_a"]
    for name in found["shared_sets"]:
        lines = {v["name"]: v["accuracy"] for v in found["shared_space"] if v["kind"] == "shared" and v["k"] == 8}
        chosen = [v for v in lines if v.startswith(f"{name}, r ")]
        assert len(chosen) <= 1
        assert all(lines[v] > lines[name] - 0.03 for v in chosen)


class Two:
    """Two spaces that share z `(n, q)`, each with noise of its own beside it; the attributes are the signs of z."""

    def __init__(self, rows: int, shared: float, own: float, width: int) -> None:
        rng = np.random.default_rng(0)
        z = rng.standard_normal((rows, 4))
        self.spaces = {n: np.hstack([shared * z, own * rng.standard_normal((rows, width))]) for n in "ab"}
        self.labels, self.names = (z > 0).astype(np.int8), tuple("wxyz")

    def latents(self, name: str) -> np.ndarray:
        return self.spaces[name].astype(np.float32)


def test_the_penalty_chosen_is_small_where_the_shared_is_faint_and_large_where_rows_are_few() -> None:
    faint, few = Two(3000, shared=0.3, own=3.0, width=40), Two(75, shared=6.0, own=1.0, width=300)
    assert choose_ridge(faint, ["a", "b"], np.arange(3000)) == min(RIDGES)  # type: ignore[arg-type]
    assert choose_ridge(few, ["a", "b"], np.arange(75)) >= 1.0  # type: ignore[arg-type]


def test_a_second_run_computes_nothing_and_a_changed_space_only_its_own(tmp_path: Path) -> None:
    zoo = planted_zoo(tmp_path / "zoo.zarr", rows=200, spaces=("noise_a", "enc_a"))
    first = run(zoo, folder=tmp_path / "parts")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    assert run(zoo, folder=tmp_path / "parts") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()} == times
    run(zoo, folder=tmp_path / "parts", settings=study.Settings(projections=200, rows_per_test=100))
    changed = {path.stem for path in times if path.stat().st_mtime_ns != times[path]}
    assert changed == {"gaussianity-noise_a", "gaussianity-enc_a"}


def test_a_part_that_was_cut_short_is_computed_again(tmp_path: Path) -> None:
    job = Job("probes", "a", {"x": 1}, lambda: {"value": 3})
    assert Parts(tmp_path)(job) == {"value": 3}
    (tmp_path / "probes-a.json").write_text('{"digest": "')
    assert Parts(tmp_path)(job, compute=False) is None
    assert Parts(tmp_path)(job) == {"value": 3}


def test_only_the_parts_asked_for_are_computed_and_the_rest_is_kept(tmp_path: Path) -> None:
    zoo = planted_zoo(tmp_path / "zoo.zarr", rows=200, spaces=("noise_a", "enc_a"))
    only = study.Settings(projections=300, rows_per_test=100, only=("probes",))
    found = run(zoo, settings=only, folder=tmp_path / "parts")
    assert "gaussianity" not in found["spaces"]["enc_a"]
    assert "auc" in found["spaces"]["enc_a"]["probe"]
    assert not found["transfer"]
    run(zoo, folder=tmp_path / "parts")
    assert "gaussianity" in run(zoo, settings=only, folder=tmp_path / "parts")["spaces"]["enc_a"]
    with pytest.raises(NoiseZooError, match="did you mean 'probes'"):
        study.check_parts(["probs"])


def test_rows_do_not_count_that_are_invalid_not_finite_or_not_there(tmp_path: Path) -> None:
    zoo = planted_zoo(
        tmp_path / "zoo.zarr",
        spaces=("noise_a", "enc_a"),
        invalid={"noise_a": range(0, 40)},
        unmarked_nan={"enc_a": [50, 51]},
        without=[("enc_a", 1)],
    )
    data = Data(zoo, SETTINGS)
    assert set(data.rows("noise_a")) == set(range(40, 600))
    assert set(data.rows("enc_a")) == set(range(600)) - {50, 51} - set(range(128, 256))
    found = run(zoo)
    assert found["spaces"]["enc_a"]["probe"]["auc"] > 0.9
    assert any("enc_a is there in part, 4 of 5 units" in note for note in found["notes"])
    study.write(tmp_path / "report", found)


def test_a_device_changes_no_result_and_one_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    zoo = planted_zoo(tmp_path / "zoo.zarr", rows=200, spaces=("noise_a",))
    one, other = (
        run(zoo, settings=study.Settings(projections=300, rows_per_test=100, only=("gaussianity",), device=device))
        for device in (None, "cpu")
    )
    shares = [found["spaces"]["noise_a"]["gaussianity"]["ad"] for found in (one, other)]
    assert shares[1] == pytest.approx(shares[0], abs=0.01)
    with pytest.raises(NoiseZooError, match="There is no device 'cuda:77' here"):
        commands.study([str(tmp_path / "zoo.zarr"), "--device", "cuda:77"])
    assert not (tmp_path / "report").exists()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": ({"attributes": ()}, "This zoo has no labels"),
    "every row invalid": ({"invalid": {"noise_a": range(300)}}, "No row of noise_a is valid"),
    "every row NaN": ({"unmarked_nan": {"noise_a": range(300)}}, "No row of noise_a is valid"),
    "a space that does not vary": ({"constant": ["noise_a"]}, "noise_a"),
    "too few rows": ({"rows": 30}, "enc_a"),
    "nothing computed yet": ({"without": [("noise_a", i) for i in range(3)]}, "noise_a is there in part, 0 of 3 units"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_studied_is_told_and_the_rest_is_studied(case: str, tmp_path: Path) -> None:
    options, told = WRONG[case]
    zoo = planted_zoo(tmp_path / "zoo.zarr", **{"rows": 300, "spaces": ("noise_a", "enc_a", "enc_b"), **options})
    found = run(zoo)
    json.dumps(found, allow_nan=False)
    page, _ = study.write(tmp_path / "report", found)
    assert told in page.read_text()
    if case != "too few rows":
        assert found["spaces"]["enc_a"]["gaussianity"]["ad"] > 0.8
    if case not in ("no labels", "too few rows"):
        assert found["spaces"]["enc_a"]["probe"]["auc"] > 0.9
        assert any(t["source"] == "enc_a" and t["target"] == "enc_b" for t in found["transfer"])


def test_an_attribute_of_one_class_is_left_out_by_name(tmp_path: Path) -> None:
    found = run(planted_zoo(tmp_path / "zoo.zarr", rows=200, spaces=("enc_a", "enc_b"), one_class=["Bald"]))
    assert "Bald" in found["spaces"]["enc_a"]["probe"]["skipped"]
    assert set(found["spaces"]["enc_a"]["probe"]["each"]) == set(ATTRIBUTES) - {"Bald"}
    assert "Bald: every known label" in study.write(tmp_path / "report", found)[0].read_text()


def test_an_edit_moves_its_attribute_by_standard_deviations_and_keeps_the_others(tmp_path: Path) -> None:
    data = Data(planted_zoo(tmp_path / "zoo.zarr", spaces=("noise_a",)), SETTINGS)
    edit = plan(data, "noise_a", "Smiling", ["Male", "Young"])
    latents = np.asarray(data.latents("noise_a")[:50], np.float32)
    for probes in (data.means("noise_a"), data.probes("noise_a")[0]):
        ups, downs = (probes.scores(edit.kept.move(latents, by)) for by in (2.0, -2.0))
        spread = probes.scores(latents).std(axis=0)
        moved, leak, each = effects(probes.names, "Smiling", edit.keep, downs, ups, spread)
        assert moved > 0.5
        assert leak < 1e-3
        assert set(each) == set(ATTRIBUTES)
    flat = edit.kept.move(latents, 1.5).reshape(50, -1) @ edit.kept.vector
    before = latents.reshape(50, -1) @ edit.kept.vector
    assert np.allclose(edit.kept.strength.to_sd(flat) - edit.kept.strength.to_sd(before), 1.5, atol=1e-2)
    with pytest.raises(NoiseZooError, match="did you mean 'Smiling'"):
        plan(data, "noise_a", "Smilling")
    with pytest.raises(NoiseZooError, match="changed and kept"):
        plan(data, "noise_a", "Smiling", ["Smiling"])


def test_spaces_side_by_side_are_one_space() -> None:
    a, b = np.arange(24.0).reshape(4, 2, 3), np.arange(8.0).reshape(4, 2)
    joined = Joined([a, b])
    assert joined.shape == (4, 8)
    assert np.array_equal(joined[1:3], np.hstack([a[1:3].reshape(2, 6), b[1:3]]))


def test_sets_of_spaces_that_a_zoo_lacks_are_refused(tmp_path: Path) -> None:
    zoo = planted_zoo(tmp_path / "zoo.zarr", rows=100, spaces=("enc_a", "enc_b"))
    with pytest.raises(NoiseZooError, match="sd15"):
        run(zoo, settings=study.Settings(projections=50, rows_per_test=50, sets={"mine": ["enc_a", "sd15"]}))


def test_the_report_stands_alone_and_is_rewritten_only_when_it_changes(found: dict[str, Any], tmp_path: Path) -> None:
    page, is_new = study.write(tmp_path, found)
    assert is_new
    assert not study.write(tmp_path, found)[1]
    html = page.read_text()
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html
    assert "src=" not in html.replace('src="data:', "")
    assert json.loads((tmp_path / "metrics.json").read_text())["rows"] == 600
    for title in ("Does every shadow look normal?", "Are attributes directions?", "Is what they share the truth?"):
        assert title in html


def test_the_papers_figures_stand_beside_ours_for_celeba_alone(found: dict[str, Any]) -> None:
    from noisezoo.report import page

    assert "the paper" not in page(found)
    celeba = page({**found, "source": {**found["source"], "name": "celeba"}})
    assert "the paper, A–D" in celeba


def test_the_downloaders_command_needs_nothing_of_the_engine(tmp_path: Path) -> None:
    import subprocess
    import sys

    planted_zoo(tmp_path / "zoo.zarr", rows=100, spaces=("enc_a", "enc_b"))
    code = (
        "import sys; from noisezoo.cli import main; "
        f"status = main(['study', {str(tmp_path / 'zoo.zarr')!r}, '--only', 'probes', '--out', {str(tmp_path / 'out')!r}]); "
        "assert not {'torch', 'pipeline', 'stages', 'hydra'} & set(sys.modules); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "index.html").exists()


def test_csv_reads_back(found: dict[str, Any]) -> None:
    """What the page writes as CSV is what its cells carry: no cell may lack its value where it shows one."""
    from noisezoo.report import sections

    for section in sections(found):
        for table in section.tables:
            text = io.StringIO()
            csv.writer(text).writerows([[c.value for c in row] for row in table.rows])
            assert all(len(row) == len(table.columns) for row in table.rows), table.name
            assert all(c.value is not None or c.text == "–" for row in table.rows for c in row), table.name
