"""The publishable folder of a small zoo: what is in it, when it is refused, when it is left alone, and what a kill leaves behind."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard

import noisezoo
from noisezoo import layout, ledger
from noisezoo.errors import NoiseZooError
from noisezoo.verify import verify
from pipeline.publish import folder as publishable
from pipeline.publish.folder import Wish
from tests.kit.zoos import SOURCE, make_zoo, values

METRICS = {
    "spaces": {
        "toy_sd": {"gaussianity": {"ad": 0.951, "dp": 0.947, "sw": 0.96}, "probe": {"auc": 0.9}},
        "toy_clip": {"gaussianity": {"ad": 0.31, "dp": 0.3, "sw": 0.3}, "probe": {"auc": 0.98}},
    }
}


def everything(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_store_in_the_folder_is_the_zoo(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr", invalid={"toy_sd": [3, 50]})
    assert publishable.write(zoo, tmp_path / "hub", Wish())
    published = noisezoo.open(str(tmp_path / "hub" / "zoo.zarr"))
    assert published.digest == zoo.digest
    assert verify(published) == []
    shard = layout.chunk_key(layout.array_path("toy_sd"), 0, 4)
    assert os.path.samefile(tmp_path / "zoo.zarr" / shard, tmp_path / "hub" / "zoo.zarr" / shard)


def test_tables_hold_the_valid_rows_of_each_split_with_keys_and_labels(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr", invalid={"toy_sd": [3, 50, 90]})
    publishable.write(zoo, tmp_path / "hub", Wish())
    for name, space in zoo.spaces.items():
        for split in ("train", "test"):
            table = pq.read_table(tmp_path / "hub" / "parquet" / name / f"{split}-00000-of-00001.parquet")
            rows = zoo.rows(split)
            rows = rows[space.valid[rows]]
            assert table["row"].to_pylist() == rows.tolist()
            assert table["key"].to_pylist() == [f"{row:06d}.jpg" for row in rows]
            assert table["Male"].to_numpy().tolist() == zoo.labels["Male"][rows].tolist()
            flat = table["latent"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            assert flat.dtype == np.float16
            np.testing.assert_array_equal(flat.reshape(len(rows), *space.shape[1:]), space.take(rows))


def test_files_and_row_groups_are_cut_at_their_sizes_wherever_shards_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.publish.tables.GROUP_BYTES", 3 * 512)
    monkeypatch.setattr("pipeline.publish.tables.FILE_BYTES", 4 * 3 * 512)
    zoo = make_zoo(tmp_path / "zoo.zarr", spaces={"toy_sd": (4, 8, 8)}, invalid={"toy_sd": [5]})
    publishable.write(zoo, tmp_path / "hub", Wish())
    files = sorted((tmp_path / "hub" / "parquet" / "toy_sd").glob("train-*"))
    assert [f.name for f in files] == [f"train-{i:05d}-of-00007.parquet" for i in range(7)]
    sizes = [
        [pq.read_metadata(f).row_group(g).num_rows for g in range(pq.read_metadata(f).num_row_groups)] for f in files
    ]
    assert sizes == [[3, 3, 3, 3]] * 6 + [[3, 3, 1]]
    read = np.concatenate([pq.read_table(f)["row"].to_numpy() for f in files])
    assert read.tolist() == [row for row in range(80) if row != 5]


def test_checksums_cover_every_file_and_agree(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr")
    publishable.write(zoo, tmp_path / "hub", Wish(numpy=True, webdataset=True, metrics=METRICS))
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS", "--quiet"], cwd=tmp_path / "hub", check=False)
    assert checked.returncode == 0
    listed = set(publishable.checksums(tmp_path / "hub"))
    assert listed == set(everything(tmp_path / "hub")) - {"SHA256SUMS", "noisezoo.json"}


def test_an_unchanged_zoo_is_published_once(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr")
    assert publishable.write(zoo, tmp_path / "hub", Wish())
    before = everything(tmp_path / "hub")
    started = time.monotonic()
    assert not publishable.write(noisezoo.open(str(tmp_path / "zoo.zarr")), tmp_path / "hub", Wish())
    assert time.monotonic() - started < 2
    assert everything(tmp_path / "hub") == before
    (tmp_path / "hub" / "parquet" / "labels" / "test-00000-of-00001.parquet").unlink()
    assert publishable.write(zoo, tmp_path / "hub", Wish())
    assert everything(tmp_path / "hub") == before


def test_a_changed_zoo_is_published_anew_and_what_is_gone_goes(tmp_path: Path) -> None:
    publishable.write(make_zoo(tmp_path / "zoo.zarr"), tmp_path / "hub", Wish(numpy=True))
    smaller = make_zoo(tmp_path / "zoo.zarr", rows=50, spaces={"toy_clip": (32,)})
    assert publishable.write(smaller, tmp_path / "hub", Wish())
    fresh = make_zoo(tmp_path / "other.zarr", rows=50, spaces={"toy_clip": (32,)})
    publishable.write(fresh, tmp_path / "fresh", Wish())
    assert set(everything(tmp_path / "hub")) == set(everything(tmp_path / "fresh"))


def test_numpy_and_tars_come_on_request(tmp_path: Path) -> None:
    import webdataset

    zoo = make_zoo(tmp_path / "zoo.zarr", spaces={"clip_b16": (32,)}, invalid={"clip_b16": [7]})
    publishable.write(zoo, tmp_path / "hub", Wish(numpy=True, webdataset=True))
    found = np.load(tmp_path / "hub" / "data" / "noises_vitB16.npy")
    np.testing.assert_array_equal(found, zoo["clip_b16"][:])
    tars = [str(p) for p in sorted((tmp_path / "hub" / "webdataset").glob("train-*.tar"))]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode())
    assert [s["json"]["row"] for s in samples] == list(range(80))
    assert "clip_b16.npy" not in samples[7]
    np.testing.assert_array_equal(samples[8]["clip_b16.npy"], values("clip_b16", np.array([8]), (32,))[0])


def test_an_unfinished_zoo_is_refused_and_when_forced_says_so_first(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr", without=[("toy_sd", 2)])
    with pytest.raises(NoiseZooError, match=r"toy_sd lacks 1 shards.*noisezoo build"):
        publishable.write(zoo, tmp_path / "hub", Wish())
    assert not (tmp_path / "hub").exists()
    publishable.write(zoo, tmp_path / "hub", Wish(force=True))
    text = (tmp_path / "hub" / "README.md").read_text().split("---\n", 2)[2].strip()
    assert text.startswith("> **Unfinished or unverified: toy_sd lacks 1 shards.**")
    assert publishable.read_manifest(tmp_path / "hub")["complete"] is False


def test_a_corrupt_zoo_is_refused_and_leaves_no_card(tmp_path: Path) -> None:
    publishable.write(make_zoo(tmp_path / "zoo.zarr"), tmp_path / "hub", Wish())
    zoo = make_zoo(tmp_path / "zoo.zarr", rows=99)
    path = tmp_path / "zoo.zarr" / layout.chunk_key(layout.array_path("toy_clip"), 1, 2)
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    with pytest.raises(NoiseZooError, match="toy_clip shard 1"):
        publishable.write(zoo, tmp_path / "hub", Wish())
    assert not (tmp_path / "hub" / "README.md").exists()
    publishable.write(zoo, tmp_path / "hub", Wish(force=True))
    assert "toy_clip shard 1" in (tmp_path / "hub" / "README.md").read_text()


def test_images_are_refused_where_the_licence_does_not_allow_them(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr", source={**SOURCE, "name": "celeba", "images_may_be_published": False})
    with pytest.raises(NoiseZooError, match="does not allow its images"):
        publishable.write(zoo, tmp_path / "hub", Wish(images=True, webdataset=True))


def test_images_go_into_the_tars_where_the_licence_allows_it(tmp_path: Path) -> None:
    import webdataset

    from pipeline.ingest import ingest
    from pipeline.sources.toy import Toy

    done = ingest(Toy(size=100), str(tmp_path / "images"), shard_rows=16, workers=1)
    zoo = make_zoo(tmp_path / "zoo.zarr", spaces={"toy_clip": (32,)})
    with pytest.raises(NoiseZooError, match=r"publish\.webdataset=true"):
        publishable.write(zoo, tmp_path / "hub", Wish(images=True))
    wish = Wish(images=True, webdataset=True, image_shards=str(tmp_path / "images"))
    publishable.write(zoo, tmp_path / "hub", wish)
    tars = [str(p) for p in sorted((tmp_path / "hub" / "webdataset").glob("test-*.tar"))]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert len(samples) == 20
    for row, sample in zip(range(80, 100), samples, strict=True):
        assert hashlib.sha256(sample["png"]).digest() == bytes(done.sha256[row])


def test_a_source_without_splits_or_labels(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr", splits=(), attributes=(), source={**SOURCE, "name": "my photos"})
    publishable.write(zoo, tmp_path / "hub", Wish())
    table = pq.read_table(tmp_path / "hub" / "parquet" / "toy_sd" / "train-00000-of-00001.parquet")
    assert table.column_names == ["row", "key", "latent"]
    assert len(table) == 100


def test_rows_outside_every_split_are_published_too(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr")
    array = zoo.store.group("r+")["rows/split"]
    array[:5] = -1  # type: ignore[index]
    zoo = noisezoo.open(str(tmp_path / "zoo.zarr"))
    publishable.write(zoo, tmp_path / "hub", Wish())
    table = pq.read_table(tmp_path / "hub" / "parquet" / "labels" / "unassigned-00000-of-00001.parquet")
    assert table["row"].to_pylist() == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_killed_at_random_moments_and_started_again_the_folder_is_the_same(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo.zarr", rows=2000, shard_rows=32, spaces={"toy_sd": (4, 32, 32), "toy_clip": (512,)})
    publishable.write(zoo, tmp_path / "whole", Wish(numpy=True))
    code = (
        "import noisezoo\nfrom pathlib import Path\nfrom pipeline.publish import folder\n"
        f"folder.write(noisezoo.open({str(tmp_path / 'zoo.zarr')!r}), Path({str(tmp_path / 'hub')!r}), folder.Wish(numpy=True), print)\n"
    )
    random = np.random.default_rng(5)
    killed = 0
    for _ in range(10):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()  # the imports are done, verifying has begun
        time.sleep(random.uniform(0, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        killed += process.returncode == -signal.SIGKILL
        if publishable.read_manifest(tmp_path / "hub"):
            (tmp_path / "hub" / "noisezoo.json").unlink()
    assert killed >= 5
    publishable.write(zoo, tmp_path / "hub", Wish(numpy=True))
    assert everything(tmp_path / "hub") == everything(tmp_path / "whole")


@pytest.mark.parametrize("source", ["celeba", "afhq", "toy", "toy_animals", "my photos"])
def test_the_card_of_each_source_passes_the_hubs_own_classes(tmp_path: Path, source: str) -> None:
    facts = {**SOURCE, "name": source, "licence": "as you like", "homepage": "https://example.org"}
    zoo = make_zoo(tmp_path / "zoo.zarr", source=facts, invalid={"toy_sd": [3]})
    publishable.write(zoo, tmp_path / "hub", Wish(metrics=METRICS, licences={"toy_sd": "MIT"}, repo="me/zoo"))
    card = DatasetCard.load(tmp_path / "hub" / "README.md")
    top = card.data.to_dict()
    assert {c["config_name"] for c in top["configs"]} == {"default", "labels", "toy_sd", "toy_clip"}
    assert top["license"] in ("cc0-1.0", "cc-by-nc-4.0", "other")
    for part in (
        "regenerates",
        "95.1 %",
        "made invalid",
        "me/zoo",
        "Gaussianity",
        "Citation",
        zoo.digest,
        "50 steps",
        "MIT",
    ):
        assert part in card.text, part
    if source == "celeba":
        assert "non-commercial research only" in card.text
        assert "personal data" in card.text
    if source == "afhq":
        assert "BY-NC 4.0" in card.text
    assert yaml.safe_load(card.content.split("---\n")[1]) == top


def test_controls_are_told_as_such(tmp_path: Path) -> None:
    """They have no model, no revision, no licence, and the examples are not about them."""
    zoo = make_zoo(tmp_path / "zoo.zarr", spaces={"gaussian_noise": (4, 8, 8), "toy_clip": (32,)})
    publishable.write(zoo, tmp_path / "hub", Wish())
    text = (tmp_path / "hub" / "README.md").read_text()
    assert "| `gaussian_noise` | 4×8×8 | float16 | gaussian noise | gaussian noise | 100 |" in text
    assert 'zoo["toy_clip"][:100]' in text
    assert "- `gaussian_noise`" not in text


def test_digest_of_a_zoo_is_of_its_contents_not_its_makers(tmp_path: Path) -> None:
    a, b = make_zoo(tmp_path / "a.zarr"), make_zoo(tmp_path / "b.zarr")
    entry = ledger.read(b.store, "toy_sd", 0)
    assert entry is not None
    ledger.write(b.store, ledger.Entry(**{**vars(entry), "seconds": 99.0, "worker": "elsewhere"}))
    assert a.digest == b.digest
    assert make_zoo(tmp_path / "c.zarr", invalid={"toy_sd": [1]}).digest != a.digest
