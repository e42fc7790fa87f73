"""A zoo in PyTorch: `Rows`, which is indexed, and `Stream`, which is iterated, block by block, divided among workers and ranks.

Both give dictionaries, `{"row": …, "labels": (attributes,), <space>: (*shape)}`, and hold an address, not an open zoo: each worker opens it for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

import noisezoo
from noisezoo.zoo import Zoo

BLOCK_ROWS = 64
"""Rows that a stream reads at once, consecutive where the split allows it."""
POOL_BLOCKS = 32
"""Blocks among whose rows a shuffled stream draws."""
Sample = dict[str, Any]


class _Selected:
    """Some rows of some spaces of a zoo: those of a split that are valid in each space."""

    def __init__(self, zoo: Zoo | str, spaces: Sequence[str], split: str | None) -> None:
        opened = noisezoo.open(zoo) if isinstance(zoo, str) else zoo
        self.url = opened.store.url
        self.spaces = list(spaces)
        self.attributes = list(opened.labels)
        self.rows = opened.valid_rows(self.spaces, split)
        self._zoo: Zoo | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_zoo": None}

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, places: np.ndarray) -> list[Sample]:
        """The samples at these places among the selected rows."""
        if self._zoo is None:
            self._zoo = noisezoo.open(self.url)
        zoo, rows = self._zoo, self.rows[places]
        latents = {name: torch.from_numpy(zoo[name].take(rows)) for name in self.spaces}
        labels = torch.from_numpy(zoo.labels.values[rows] if self.attributes else np.zeros((len(rows), 0), np.int8))
        return [
            {"row": int(row), "labels": labels[i], **{name: latents[name][i] for name in self.spaces}}
            for i, row in enumerate(rows)
        ]


class Rows(Dataset[Sample]):
    """Any row at any time. A `DataLoader` asks for a batch at once, and each block of the store is then read once for it."""

    def __init__(self, zoo: Zoo | str, spaces: Sequence[str], split: str | None = None) -> None:
        self._selected = _Selected(zoo, spaces, split)
        self.attributes = self._selected.attributes

    def __len__(self) -> int:
        return len(self._selected)

    def __getitem__(self, place: int) -> Sample:
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        return self._selected.read(np.array([place]))[0]

    def __getitems__(self, places: Sequence[int]) -> list[Sample]:
        return self._selected.read(np.asarray(places, np.int64))


class Stream(IterableDataset[Sample]):
    """All rows once, in blocks; every block goes to one worker of one rank.

    With `shuffle`, blocks come in an order drawn from `seed` and the epoch, and rows are drawn from the next few blocks together:
    as good as random for training, and read as runs. Call `set_epoch` before each epoch, in the main process, as with a `DistributedSampler`.
    """

    def __init__(
        self,
        zoo: Zoo | str,
        spaces: Sequence[str],
        split: str | None = None,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int | None = None,
        ranks: int | None = None,
    ) -> None:
        self._selected = _Selected(zoo, spaces, split)
        self.attributes = self._selected.attributes
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        is_distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = rank if rank is not None else torch.distributed.get_rank() if is_distributed else 0
        self.ranks = ranks if ranks is not None else torch.distributed.get_world_size() if is_distributed else 1

    def set_epoch(self, epoch: int) -> None:
        """Draw another order."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Sample]:
        random = np.random.default_rng([self.seed, self.epoch])
        worker = get_worker_info()
        part, parts = (worker.id, worker.num_workers) if worker else (0, 1)
        starts = np.arange(0, len(self._selected), BLOCK_ROWS)
        if self.shuffle:
            random.shuffle(starts)
        mine = starts[self.rank * parts + part :: self.ranks * parts]
        for at in range(0, len(mine), POOL_BLOCKS if self.shuffle else 1):
            pool = mine[at : at + (POOL_BLOCKS if self.shuffle else 1)]
            places = np.concatenate([np.arange(s, min(s + BLOCK_ROWS, len(self._selected))) for s in pool])
            if self.shuffle:
                random.shuffle(places)
            yield from self._selected.read(places)
