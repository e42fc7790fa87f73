"""The authors' files: imported without being held whole, exported again the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import noisezoo
from noisezoo import npy, writer
from noisezoo.cli import main
from noisezoo.verify import verify
from tests.kit.zoos import make_zoo

NAMES = {
    "sd15": 16384, "sd21": 16384, "lcmv7": 16384, "vitB16": 512, "vitL14": 768, "ocB16": 512, "ocL14": 768, "dinov3": 1024,
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """All eight files of the authors, few rows."""
    folder = tmp_path / "authors" / "data"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, width in NAMES.items():
        np.save(folder / f"noises_{name}.npy", random.standard_normal((50, width)).astype(np.float16))
    return tmp_path / "authors"


def test_there_and_back_is_the_same(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo_folder = str(tmp_path / "zoo.zarr")
    assert main(["import-npy", str(files), "--to", zoo_folder, "--shard-rows", "16"]) == 0
    assert "no labels" in capsys.readouterr().out
    zoo = noisezoo.open(zoo_folder)
    assert set(zoo.spaces) == {
        "sd15", "sd21", "lcmv7", "clip_b16", "clip_l14", "openclip_b16", "openclip_l14", "dinov3_l16",
    }  # fmt: skip
    assert zoo["sd15"].shape == (50, 4, 64, 64)
    assert verify(zoo) == []
    assert main(["export-npy", zoo_folder, str(tmp_path / "back")]) == 0
    for name in NAMES:
        assert (tmp_path / "back" / f"noises_{name}.npy").read_bytes() == (
            files / "data" / f"noises_{name}.npy"
        ).read_bytes()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16", "uint8"])
def test_each_dtype_is_kept(tmp_path: Path, dtype: str) -> None:
    values = (np.random.default_rng(1).standard_normal((20, 7)) * 50).astype(dtype)
    np.save(tmp_path / "noises_mine.npy", values)
    assert main(["import-npy", str(tmp_path), "--to", str(tmp_path / "zoo.zarr"), "--shard-rows", "8"]) == 0
    zoo = noisezoo.open(str(tmp_path / "zoo.zarr"))
    assert zoo["mine"].array.dtype == dtype
    np.testing.assert_array_equal(zoo["mine"][:], values)


def test_rows_that_are_not_finite_are_invalid_and_come_back_as_they_were(tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal((20, 7)).astype(np.float16)
    values[3, 2], values[17, 0] = np.nan, np.inf
    np.save(tmp_path / "noises_mine.npy", values)
    main(["import-npy", str(tmp_path), "--to", str(tmp_path / "zoo.zarr"), "--shard-rows", "8"])
    zoo = noisezoo.open(str(tmp_path / "zoo.zarr"))
    assert np.flatnonzero(~zoo["mine"].valid).tolist() == [3, 17]
    assert zoo["mine"].finished[0].invalid == {"3": "not finite in the file"}
    npy.export(zoo, tmp_path / "back")
    assert (tmp_path / "back" / "noises_mine.npy").read_bytes() == (tmp_path / "noises_mine.npy").read_bytes()


def test_an_import_that_was_stopped_goes_on(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["import-npy", str(files), "--to", str(tmp_path / "zoo.zarr"), "--shard-rows", "16"]
    written: list[str] = []
    write = writer.write_unit

    def counted(store: object, group: object, unit: writer.Unit) -> object:
        if len(written) == 9:
            raise KeyboardInterrupt
        written.append(f"{unit.space}/{unit.shard}")
        return write(store, group, unit)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "write_unit", counted)
    with pytest.raises(KeyboardInterrupt):
        main(words)
    monkeypatch.setattr(
        writer, "write_unit", lambda s, g, unit: written.append(f"{unit.space}/{unit.shard}") or write(s, g, unit)
    )
    assert main(words) == 0
    assert len(written) == len(set(written)) == 8 * 4
    assert verify(noisezoo.open(str(tmp_path / "zoo.zarr"))) == []


def test_labels_come_from_a_table(files: Path, tmp_path: Path) -> None:
    table = pa.table(
        {
            "image": pa.array([b"jpeg"] * 50),
            "image_id": [f"{i + 1:06d}.jpg" for i in range(50)],
            "Smiling": pa.array([1 if i % 3 else -1 for i in range(50)], pa.int8()),
            "Male": pa.array([bool(i % 2) for i in range(50)]),
        }
    )
    pq.write_table(table.slice(0, 30), tmp_path / "train-00000.parquet")
    pq.write_table(table.slice(30), tmp_path / "train-00001.parquet")
    words = ["import-npy", str(files), "--to", str(tmp_path / "zoo.zarr"), "--source", "celeba"]
    assert main([*words, "--labels", str(tmp_path / "train-*.parquet")]) == 0
    zoo = noisezoo.open(str(tmp_path / "zoo.zarr"))
    assert zoo.labels["Smiling"].tolist() == [1 if i % 3 else 0 for i in range(50)]
    assert zoo.labels["Male"].tolist() == [i % 2 for i in range(50)]
    assert zoo.row_fact("key")[49] == "000050.jpg"
    assert "non-commercial" in zoo.source["licence"]


def test_attributes_in_one_list_have_celebas_names(tmp_path: Path) -> None:
    listed = np.where(np.random.default_rng(2).random((20, 40)) < 0.5, 1, -1)
    pq.write_table(pa.table({"attributes": listed.tolist()}), tmp_path / "a.parquet")
    keys, names, values = npy.labels(str(tmp_path / "a.parquet"), 20)
    assert (keys, names) == (None, npy.CELEBA)
    np.testing.assert_array_equal(values, listed > 0)


def _objects(path: Path) -> None:
    np.save(path, np.array([{"a": 1}] * 4, dtype=object).reshape(2, 2), allow_pickle=True)


def _cut(path: Path) -> None:
    np.save(path, np.zeros((100, 10)))
    path.write_bytes(path.read_bytes()[:-8])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "objects": (_objects, "Python objects"),
    "cut short": (_cut, "cut short"),
    "fortran": (lambda path: np.save(path, np.asfortranarray(np.zeros((5, 4)))), "Fortran"),
    "one dimension": (lambda path: np.save(path, np.zeros(5)), "rows × numbers"),
    "a web page": (lambda path: path.write_text("<!doctype html>"), "no .npy file"),
    "other rows": (lambda path: np.save(path, np.zeros((7, 4))), "not of one zoo"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_such_file_is_told_and_never_unpickled(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, said = BAD[kind]
    np.save(tmp_path / "noises_a.npy", np.zeros((5, 4)))
    make(tmp_path / "noises_b.npy")
    assert main(["import-npy", str(tmp_path), "--to", str(tmp_path / "zoo.zarr")]) == 1
    assert said in capsys.readouterr().err


def test_an_empty_folder_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import-npy", str(tmp_path), "--to", str(tmp_path / "zoo.zarr")]) == 1
    assert "noises_<model>.npy" in capsys.readouterr().err


def test_a_split_and_some_spaces_are_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr", invalid={"toy_sd": [85]})
    words = ["export-npy", str(tmp_path / "zoo.zarr"), str(tmp_path / "out"), "--spaces", "toy_sd", "--split", "test"]
    assert main(words) == 0
    found = np.load(tmp_path / "out" / "noises_toy_sd.npy")
    np.testing.assert_array_equal(found, zoo["toy_sd"][80:].reshape(20, -1))
    assert "1 rows of toy_sd are not valid" in capsys.readouterr().out


@pytest.mark.slow
def test_neither_way_holds_a_file_whole(tmp_path: Path) -> None:
    """A file four times as large as what the process may grow by, in and out."""
    rows, width = 16000, 16384
    file = np.lib.format.open_memmap(tmp_path / "noises_sd15.npy", "w+", np.float16, (rows, width))
    part = np.random.default_rng(0).standard_normal((1000, width)).astype(np.float16)
    for at in range(0, rows, 1000):
        file[at : at + 1000] = part
    file.flush()
    del file
    code = (
        "import resource, sys\nfrom noisezoo.cli import main\nimport noisezoo.npy\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"main(['import-npy', {str(tmp_path)!r}, '--to', {str(tmp_path / 'zoo.zarr')!r}, '--shard-rows', '256'])\n"
        f"main(['export-npy', {str(tmp_path / 'zoo.zarr')!r}, {str(tmp_path / 'out')!r}])\n"
        "print('grew', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    grew = int(done.stdout.rsplit("grew ", 1)[1])
    assert grew * 1024 < rows * width * 2 / 4
    compared = subprocess.run(["cmp", tmp_path / "noises_sd15.npy", tmp_path / "out" / "noises_sd15.npy"], check=False)
    assert compared.returncode == 0
