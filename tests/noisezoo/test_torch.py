"""The datasets for PyTorch: every row once, whatever the workers and ranks, in an order that a seed gives."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from noisezoo import torch as zoo_torch
from noisezoo.torch import Rows, Stream
from noisezoo.zoo import Zoo
from tests.kit.zoos import make_zoo, values


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    monkeypatch.setattr(zoo_torch, "BLOCK_ROWS", 8)
    monkeypatch.setattr(zoo_torch, "POOL_BLOCKS", 4)
    return make_zoo(tmp_path / "zoo.zarr", rows=203, invalid={"toy_sd": [3, 50]})


def rows_of(samples: Any) -> list[int]:
    return [int(sample["row"]) for sample in samples]


def test_any_row_at_any_time(zoo: Zoo) -> None:
    data = Rows(zoo, ["toy_sd", "toy_clip"], "train")
    assert len(data) == 160
    assert data[3]["row"] == 4, "row 3 is not valid"
    np.testing.assert_array_equal(data[-1]["toy_clip"].numpy(), values("toy_clip", np.array([161]), (32,))[0])
    assert data[10]["labels"].tolist() == [int(zoo.labels[name][11]) for name in zoo.labels]
    with pytest.raises(IndexError):
        data[160]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_over_rows(zoo: Zoo, workers: int) -> None:
    loader = DataLoader(Rows(zoo, ["toy_sd"]), batch_size=32, shuffle=True, num_workers=workers)
    batches = list(loader)
    rows = torch.cat([batch["row"] for batch in batches])
    assert sorted(rows.tolist()) == [row for row in range(203) if row not in (3, 50)]
    latents = torch.cat([batch["toy_sd"] for batch in batches])
    np.testing.assert_array_equal(latents.numpy(), values("toy_sd", rows.numpy(), (4, 8, 8)))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("workers", [0, 2, 3])
@pytest.mark.parametrize("ranks", [1, 2])
def test_workers_and_ranks_divide_the_rows(zoo: Zoo, shuffle: bool, workers: int, ranks: int) -> None:
    seen: list[int] = []
    for rank in range(ranks):
        stream = Stream(zoo, ["toy_sd", "toy_clip"], shuffle=shuffle, rank=rank, ranks=ranks)
        for batch in DataLoader(stream, batch_size=16, num_workers=workers):
            seen += batch["row"].tolist()
            np.testing.assert_array_equal(batch["toy_clip"].numpy(), values("toy_clip", batch["row"].numpy(), (32,)))
    assert sorted(seen) == [row for row in range(203) if row not in (3, 50)]


def test_order_comes_from_seed_and_epoch(zoo: Zoo) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        stream = Stream(zoo, ["toy_clip"], shuffle=True, seed=seed)
        stream.set_epoch(epoch)
        return rows_of(stream)

    assert rows_of(Stream(zoo, ["toy_clip"])) == list(range(203))
    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6


def test_shuffled_rows_move_far(zoo: Zoo) -> None:
    places = np.array(rows_of(Stream(zoo, ["toy_clip"], shuffle=True)))
    assert abs(np.corrcoef(places, np.arange(len(places)))[0, 1]) < 0.5
    assert (np.abs(np.diff(places)) == 1).mean() < 0.2


def test_datasets_hold_an_address_not_an_open_zoo(zoo: Zoo) -> None:
    data = Rows(zoo, ["toy_sd"])
    _ = data[0]
    again = pickle.loads(pickle.dumps(data))
    assert len(pickle.dumps(data)) < 20_000
    assert torch.equal(again[5]["toy_sd"], data[5]["toy_sd"])
