"""The units that one worker holds: claimed before they are computed, kept while they are, and let go of.

The leases themselves, and what makes a late writer harmless, are in `pipeline.leases`.
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType

from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from pipeline.leases import Keeper, Lease, claim


class Claims:
    """Leases by unit, renewed in a thread while the context lasts; those that are left at its end are given back."""

    def __init__(self, store: Store, worker: str, seconds: float) -> None:
        self.store = store
        self.worker = worker
        self.seconds = seconds
        self._leases: dict[tuple[str, int], Lease] = {}
        self._keeper = Keeper()

    def __enter__(self) -> Claims:
        self._keeper = Keeper()
        self._keeper.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for space, shard in list(self._leases):
            self.release(space, shard)
        self._keeper.__exit__(kind, value, trace)

    def claim(self, space: str, shard: int) -> bool:
        """Whether the unit is ours to compute now."""
        lease = claim(self.store, space, shard, self.worker, self.seconds)
        if lease is not None:
            self._leases[space, shard] = lease
            self._keeper.add(lease)
        return lease is not None

    def holds(self, space: str, shard: int) -> bool:
        """Whether the unit is still ours: asked of the store, before each write."""
        lease = self._leases.get((space, shard))
        return lease is not None and lease.still_mine()

    def finish(self, space: str, shard: int) -> None:
        """The unit is in the ledger: nobody needs its lease any more."""
        if lease := self._pop(space, shard):
            lease.finish()

    def release(self, space: str, shard: int) -> None:
        """Let others compute the unit, if it is ours."""
        if lease := self._pop(space, shard):
            with suppress(OSError, NoiseZooError):  # on a disk that is full, say, it is left to run out
                lease.release()

    def _pop(self, space: str, shard: int) -> Lease | None:
        lease = self._leases.pop((space, shard), None)
        if lease is not None:
            self._keeper.drop(lease)
        return lease
