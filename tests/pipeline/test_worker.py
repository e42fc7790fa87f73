"""The worker: aligned rows, whole units, rescue, back-off, fidelity; with spaces whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from noisezoo import writer
from noisezoo.store import Store
from noisezoo.verify import verify
from noisezoo.zoo import Zoo
from pipeline import fidelity
from pipeline.decode import decode
from pipeline.ingest import ingest, load
from pipeline.sources.toy import Toy
from pipeline.units import Failed, Job, Order, left
from pipeline.worker import Worker
from stages.ingest import make_zoo
from tests.kit.spaces import Regenerating, Thumbnail

ROWS, SHARD = 75, 32


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    ingest(Toy(size=ROWS), str(folder), shard_rows=SHARD, workers=1)
    return folder


def run(
    folder: Path, images: Path, spaces: dict[str, dict[str, Any]], **settings: Any
) -> tuple[Zoo, Worker, list[Any]]:
    """Build these spaces into a new zoo with one worker."""
    store = Store(str(folder / "zoo.zarr"))
    make_zoo(store, load(str(images)))
    kinds = {"thumbnail": Thumbnail, "regenerating": Regenerating}
    configs, digests = {}, {}
    for name, options in spaces.items():
        options = dict(options)
        kind = kinds[options.pop("kind", "thumbnail")]
        configs[name] = {"_target_": f"tests.kit.spaces.{kind.__name__}", **options}
        space = kind(**options)
        fits = kind is Regenerating
        digests[name] = writer.add_space(
            store, name, space.shape, space.dims, space.dtype, space.describe(), fidelity=fits
        )
    order = Order(store.url, str(images), configs, digests, **{"device": "cpu", **settings})
    worker = Worker(order)
    entries = list(worker.run(left(store, ROWS, SHARD, digests, together=True).jobs))
    return Zoo(store), worker, entries


def expected(images: Path) -> np.ndarray:
    """What a thumbnail must be, computed plainly from the source."""
    pictures = [decode(p.data) for p in Toy(size=ROWS).read(range(ROWS)) if p.data]
    small = [np.asarray(image.resize((8, 8), Image.Resampling.BOX)) for image in pictures]
    return (np.stack(small).transpose(0, 3, 1, 2).astype(np.float32) / 255).astype(np.float16)


def test_every_row_is_in_its_place_in_every_space(tmp_path: Path, images: Path) -> None:
    zoo, _, entries = run(tmp_path, images, {"a": {}, "b": {"scale": 2.0}, "c": {"kind": "regenerating"}})
    assert [(e.space, e.shard) for e in entries] == [(s, i) for i in range(3) for s in "abc"]
    np.testing.assert_array_equal(zoo["a"][:], expected(images))
    np.testing.assert_array_equal(zoo["b"][:], 2 * expected(images))
    assert zoo["a"].valid.all()
    assert verify(zoo) == []


def test_batches_never_cross_a_shard(tmp_path: Path, images: Path) -> None:
    _, worker, _ = run(tmp_path, images, {"a": {}}, batch=20)
    assert worker.spaces["a"].batches == [20, 12, 20, 12, 11]  # type: ignore[attr-defined]


def test_out_of_memory_halves_the_batch_and_loses_no_row(tmp_path: Path, images: Path) -> None:
    zoo, worker, _ = run(tmp_path, images, {"a": {"memory_rows": 3}}, batch=32)
    batches = worker.spaces["a"].batches  # type: ignore[attr-defined]
    assert max(batches) <= 3
    assert sum(batches) == ROWS
    np.testing.assert_array_equal(zoo["a"][:], expected(images))


def test_out_of_memory_at_one_row_fails_that_unit_alone(tmp_path: Path, images: Path) -> None:
    zoo, _, results = run(tmp_path, images, {"a": {"memory_rows": 0}, "b": {}})
    failed = [r for r in results if isinstance(r, Failed)]
    # Both spaces share the reading of a shard: what "a" breaks is tried again for "b" by itself, by whoever runs the queue.
    assert {r.job.shard for r in failed} == {0, 1, 2}
    assert {r.error for r in failed} == {"the memory does not suffice for a batch of one row"}
    assert not zoo["a"].finished
    assert not list((tmp_path / "zoo.zarr/leases/a").glob("*.lock*"))


def test_rows_that_overflow_are_rescued_in_float32(tmp_path: Path, images: Path) -> None:
    zoo, _, entries = run(tmp_path, images, {"a": {"precision": "bfloat16", "overflow_below_float32": True}})
    np.testing.assert_array_equal(zoo["a"][:], expected(images))
    assert sum(e.rescued for e in entries) == ROWS // 5
    assert zoo["a"].valid.all()


@pytest.mark.parametrize(
    ("options", "bad", "reason"),
    [
        ({"nan_row": 40}, [40], "not finite"),
        ({"nan_row": 40, "precision": "float16"}, [40], "not finite"),
        ({"scale": 1e6}, None, "does not fit float16"),
    ],
)
def test_rows_without_a_result_are_invalid_filled_and_explained(
    tmp_path: Path, images: Path, options: dict[str, Any], bad: list[int] | None, reason: str
) -> None:
    zoo, _, entries = run(tmp_path, images, {"a": options})
    wrong = np.flatnonzero(~zoo["a"].valid)
    assert len(wrong) if bad is None else list(wrong) == bad
    assert np.isnan(zoo["a"].take(wrong)).all()
    reasons = {int(row): why for e in entries for row, why in e.invalid.items()}
    assert sorted(reasons) == list(wrong)
    assert all(reason in why for why in reasons.values())
    assert verify(zoo) == []


def test_fidelity_is_sampled_evenly_and_measured(tmp_path: Path, images: Path) -> None:
    zoo, _, _ = run(tmp_path, images, {"a": {"kind": "regenerating"}}, fidelity_rows=4)
    measured = zoo["a"].group["fidelity"][...]  # type: ignore[index]
    rows = [0, 8, 16, 24, 32, 40, 48, 56, 64, 66, 69, 72]
    assert list(np.flatnonzero(np.isfinite(measured[:, 0]))) == rows  # type: ignore[index]
    assert zoo["a"].fidelity["psnr_image"].min() > 60  # float16 rounding alone
    assert zoo["a"].fidelity["ssim_image"].min() > 0.999


def test_a_finished_unit_is_not_in_the_next_order(tmp_path: Path, images: Path) -> None:
    zoo, _, _ = run(tmp_path, images, {"a": {}, "b": {}})
    digests = {name: zoo[name].config_digest for name in "ab"}
    assert left(zoo.store, ROWS, SHARD, digests, together=True).jobs == []
    zoo.store.remove("ledger/a/000001.json")
    assert left(zoo.store, ROWS, SHARD, digests, together=True).jobs == [Job(1, ("a",))]
    assert left(zoo.store, ROWS, SHARD, {**digests, "b": "other"}, together=False).jobs == [
        Job(1, ("a",)),
        *(Job(s, ("b",)) for s in range(3)),
    ]


def test_psnr_and_ssim_on_known_pairs() -> None:
    a = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        fidelity.psnr(a, a + 0.1), torch.full((3,), 20.0, dtype=torch.float64), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(fidelity.ssim(a, a), torch.ones(3, dtype=torch.float64))
    noisy = [float(fidelity.ssim(a, (a + s * torch.randn(a.shape)).clamp(0, 1)).mean()) for s in (0.02, 0.1, 0.5)]
    assert noisy == sorted(noisy, reverse=True)
    flat = torch.full((1, 3, 16, 16), 0.5)
    shifted = (2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4)  # the luminance term alone
    assert float(fidelity.ssim(flat, flat + 0.1)) == pytest.approx(shifted, abs=1e-6)
