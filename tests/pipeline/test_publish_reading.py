"""What is published, read by the libraries that people use: every example of the card as it stands, from the Hub; and from the folder, for those who copied it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from huggingface_hub import constants

from noisezoo.zoo import Zoo
from pipeline.publish import folder as publishable
from pipeline.publish.folder import Wish
from tests.hub import environment
from tests.hub_server import Hub, running
from tests.kit.zoos import make_zoo

pytestmark = pytest.mark.slow
REPO = "me/zoo"
EXAMPLES = ("noisezoo", "datasets", "pandas", "duckdb", "xarray", "dask", "torch")
EXPECTED = {
    "noisezoo": "assert latents.shape == (100, 32) and labels.shape == (100,), latents.shape",
    "datasets": "assert row['row'] == 0 and len(row['latent']) == 32 and row['Smiling'] == -1, row",
    "pandas": "assert len(table) == 240 and table['latent'][5].shape == (32,) and table['latent'][5].dtype == 'float16'",
    "duckdb": "assert sorted(count) == [(-1, 3), (0, 148), (1, 149)], count",
    "xarray": "assert latents.shape == (100, 32) and str(latents.dtype) == 'float16'",
    "dask": "assert mean.shape == (32,)",
    "torch": "assert latents.shape == (64, 32) and labels.shape == (64, 2)",
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return make_zoo(tmp_path_factory.mktemp("zoo") / "zoo.zarr", rows=300, shard_rows=64, invalid={"toy_sd": [3, 250]})


@pytest.fixture(scope="module")
def folder(zoo: Zoo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "hub"
    publishable.write(zoo, folder, Wish(repo=REPO))
    return folder


@pytest.fixture(scope="module")
def hub(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running(tmp_path_factory.mktemp("server")) as hub:
        hub.add_folder(REPO, folder)
        yield hub


def examples(folder: Path) -> dict[str, str]:
    """The card's Python by the name that stands before it."""
    text = (folder / "README.md").read_text()
    return dict(re.findall(r"^`(\w+)`[^\n]*:\n\n```python\n(.*?)```", text, re.M | re.S))


def test_the_card_has_an_example_for_each(folder: Path) -> None:
    assert tuple(examples(folder)) == EXAMPLES


@pytest.mark.parametrize("library", EXAMPLES)
def test_each_example_runs_as_it_stands(folder: Path, hub: Hub, tmp_path: Path, library: str) -> None:
    script = tmp_path / "example.py"
    script.write_text(examples(folder)[library] + "\n" + EXPECTED[library] + "\n")
    done = subprocess.run(
        [sys.executable, script],
        env=environment(hub, tmp_path / "home"),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_datasets_reads_the_folder_whole_and_streaming(folder: Path, zoo: Zoo, tmp_path: Path) -> None:
    from datasets import get_dataset_config_names, load_dataset

    assert set(get_dataset_config_names(str(folder))) == {"default", "labels", "toy_sd", "toy_clip"}
    whole = load_dataset(str(folder), "toy_sd", cache_dir=str(tmp_path))
    assert {name: len(part) for name, part in whole.items()} == {"train": 239, "test": 59}
    assert str(whole["train"].features["latent"].feature.dtype) == "float16"
    first = whole["train"].with_format("numpy")[3]
    assert first["row"] == 4
    np.testing.assert_array_equal(first["latent"].reshape(4, 8, 8), zoo["toy_sd"][4])
    streamed = load_dataset(str(folder), "toy_clip", split="test", streaming=True)
    rows = [row["row"] for row in streamed]
    assert rows == list(range(240, 300))
    labels = load_dataset(str(folder), split="train", cache_dir=str(tmp_path))
    assert "latent" not in labels.column_names
    assert labels["valid_toy_sd"][3] is False


def test_pandas_and_duckdb_read_the_folder(folder: Path, zoo: Zoo) -> None:
    table = pd.read_parquet(folder / "parquet" / "toy_clip", columns=["row", "Male", "latent"])
    table = table.sort_values("row")
    np.testing.assert_array_equal(np.stack(table["latent"].to_list()), zoo["toy_clip"][:])
    query = f"SELECT s.row, l.key, l.Male FROM '{folder}/parquet/toy_sd/*.parquet' s JOIN '{folder}/parquet/labels/*.parquet' l USING (row) ORDER BY 1"
    found = duckdb.sql(query).fetchall()
    assert [row for row, _, _ in found] == [row for row in range(300) if row not in (3, 250)]
    assert all(key == f"{row:06d}.jpg" and male == zoo.labels["Male"][row] for row, key, male in found)
    [(mean,)] = duckdb.sql(f"SELECT avg(latent[1]) FROM '{folder}/parquet/toy_clip/*.parquet'").fetchall()
    assert mean == pytest.approx(float(zoo["toy_clip"][:, 0].astype(np.float64).mean()), abs=1e-6)


def test_croissant_agrees_with_its_checker_and_gives_the_rows(folder: Path, zoo: Zoo) -> None:
    import mlcroissant as mlc

    described = mlc.Dataset(jsonld=str(folder / "croissant.json"))
    issues = described.metadata.ctx.issues
    assert not issues.errors, issues.report()
    sets = {part.uuid for part in described.metadata.record_sets}
    assert sets == {f"{name}-{split}" for name in ("labels", "toy_sd", "toy_clip") for split in ("train", "test")}
    for row, record in zip(range(240, 244), described.records("toy_clip-test"), strict=False):
        assert record["toy_clip-test/row"] == row
        np.testing.assert_array_equal(np.asarray(record["toy_clip-test/latent"], np.float16), zoo["toy_clip"][row])


def test_the_clients_of_these_tests_speak_plain_lfs() -> None:
    """The small Hub knows no Xet; `environment` and `local_hub` switch it off, and this says so when the client changes its mind about how."""
    assert hasattr(constants, "HF_HUB_DISABLE_XET")
