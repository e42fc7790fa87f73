"""The worker: the only place where spaces meet stores.

It turns jobs into ledger entries: claims units, reads a shard's images, decodes them ahead of the model in threads, batches, computes,
rescues rows that are not finite, backs off when memory runs out, samples fidelity, and hands whole units to a writing thread so that the model never waits for the disk.
What goes wrong with one unit is told as a result, and the others go on.
"""

from __future__ import annotations

import math
import os
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate

from noisezoo import layout, ledger
from noisezoo.errors import NoiseZooError, StopsAllError
from noisezoo.store import Store
from noisezoo.writer import TakenError, Unit, write_unit
from pipeline import fidelity, shards
from pipeline.claims import Claims
from pipeline.decode import decode
from pipeline.sources.base import Picture
from pipeline.spaces.base import Generates, Space
from pipeline.units import Failed, Held, Job, Order, Result

PENDING_WRITES = 2
Report = Callable[[str, int], None]
"""Called with a space and a number of rows whenever a batch of them is computed."""


def pick_device(name: str) -> torch.device:
    """`auto` is the accelerator where there is one."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def versions() -> dict[str, str]:
    """The software that decides what a latent is, for the ledger."""
    return {name: version(name) for name in ("torch", "diffusers", "transformers", "numpy", "pillow")}


@dataclass
class _Prepared:
    """One row on its way to the models: an input for each space, or the reason why there is none."""

    place: int
    """Where it stands in the zoo."""
    row: int
    """Its number in the source: what noise is keyed by, the same whatever part of the source was selected."""
    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    reason: str | None = None


@dataclass(eq=False)
class _Task:
    """A job whose units are ours. Two tasks are never equal: a job that is tried again is another task."""

    job: Job


@dataclass
class _Draft:
    """A unit while its batches come in."""

    rows: range
    started: float
    batches: list[tuple[list[int], dict[str, torch.Tensor]]] = field(default_factory=list)
    invalid: dict[int, str] = field(default_factory=dict)
    samples: dict[int, torch.Tensor] = field(default_factory=dict)
    rescued: int = 0


class Worker:
    """Computes jobs of one order on one device."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.store = Store(order.zoo)
        self.device = pick_device(order.device)
        if order.threads is not None:
            torch.set_num_threads(order.threads)
        self.group = self.store.group("r+")
        facts = layout.check_format(self.group.attrs.asdict(), order.zoo)
        self.rows, self.shard_rows = int(facts["rows"]), int(facts["shard_rows"])
        self.spaces: dict[str, Space] = {}
        self.batch: dict[str, int] = {}
        self._loaded: set[str] = set()
        self._decoders = ThreadPoolExecutor(order.decode_threads, "decode")
        self._begun: dict[Job, tuple[list[Future[_Prepared]], Iterator[Future[_Prepared]]]] = {}
        self._who = f"{socket.gethostname()}:{os.getpid()}"
        self.claims = Claims(self.store, self._who, order.lease_seconds)
        self._device_name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    def run(
        self, jobs: Iterable[Job], report: Report = lambda space, rows: None, then: Job | None = None
    ) -> Iterator[Result]:
        """Compute jobs in order and yield what became of each of their units: its entry once it is on the disk, that another build holds it, or why it failed.

        Decoding runs ahead across jobs, so that the model does not pause between shards; so does writing, behind it. `then` is the job that the next call will
        probably be about: its first rows are decoded while this one's last are computed.
        """
        with self.claims, ThreadPoolExecutor(1, "write") as writing:
            pending: deque[Future[Result]] = deque()
            ahead: deque[tuple[_Task, Future[_Prepared]]] = deque()
            others: deque[Result] = deque()
            try:
                stream = self._prepared(self._claimed(jobs, others), ahead, then)
                for task, prepared in groupby(stream, key=lambda pair: pair[0]):
                    left = list(task.job.spaces)
                    try:
                        for unit in self._compute(task.job, (row for _, row in prepared), report):
                            pending.append(writing.submit(self._write, unit))
                            left.remove(unit.space)
                    except Exception as e:
                        yield self._failed(Job(task.job.shard, tuple(left)), e)
                    while others:
                        yield others.popleft()
                    while len(pending) > PENDING_WRITES:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
                yield from others
            finally:
                # Whatever ends the run, what was handed to the writer is finished or failed as a whole.
                for _, future in ahead:
                    future.cancel()

    def _claimed(self, jobs: Iterable[Job], others: deque[Result]) -> Iterator[_Task]:
        """Jobs reduced to the units that are ours to compute; what becomes of the rest goes to `others`."""
        for job in jobs:
            mine = []
            for space in job.spaces:
                unit = Job(job.shard, (space,))
                try:
                    if not self.claims.claim(space, job.shard):
                        others.append(Held(unit))
                        continue
                    # Asked after the claim: whoever had it before entered the unit first and let go then.
                    entry = ledger.read(self.store, space, job.shard)
                except Exception as e:
                    others.append(self._failed(unit, e))
                    continue
                if entry is not None and entry.config_digest == self.order.digests[space]:
                    self.claims.finish(space, job.shard)
                    others.append(entry)
                else:
                    mine.append(space)
            if mine:
                yield _Task(Job(job.shard, tuple(mine)))

    def _write(self, unit: Unit) -> Result:
        """Put a unit in place and enter it, unless it has become another's in the meantime."""
        job = Job(unit.shard, (unit.space,))
        group: Any = self.group[layout.space_path(unit.space)]
        try:
            entry = write_unit(self.store, group, unit, lambda: self.claims.holds(unit.space, unit.shard))
        except TakenError:
            return Held(job)
        except Exception as e:
            return self._failed(job, e)
        self.claims.finish(unit.space, unit.shard)
        return entry

    def _failed(self, job: Job, error: Exception) -> Failed:
        """What is told of units that could not be computed; they are free for others."""
        for space in job.spaces:
            self.claims.release(space, job.shard)
        return Failed(
            job,
            _reason(error),
            self._who,
            "".join(traceback.format_exception(error)),
            stops_all=isinstance(error, StopsAllError),
            # After an error of this kind every call of the process's device fails.
            ends_worker=isinstance(error, torch.AcceleratorError) and not _is_out_of_memory(error),
        )

    def _prepared(
        self, tasks: Iterable[_Task], ahead: deque[tuple[_Task, Future[_Prepared]]], then: Job | None
    ) -> Iterator[tuple[_Task, Future[_Prepared]]]:
        """Every row of every task, decoded ahead by up to two batches, in order; where a shard cannot be read, its rows end in the error."""
        for task in tasks:
            try:
                for future in self._decoding(task.job):
                    ahead.append((task, future))
                    while len(ahead) > self._depth(task.job):
                        yield ahead.popleft()
            except Exception as e:
                failed: Future[_Prepared] = Future()
                failed.set_exception(e)
                ahead.append((task, failed))
        self._begin(then)
        while ahead:
            yield ahead.popleft()

    def _decoding(self, job: Job) -> Iterator[Future[_Prepared]]:
        """A job's rows on their way through the decoders, one as it is asked for; the first ones may have been begun."""
        begun, rest = self._begun.pop(job) if job in self._begun else ([], self._reading(job))
        yield from begun
        yield from rest

    def _begin(self, job: Job | None) -> None:
        """Send a job's first rows through the decoders, for the next call; what was begun for a job that did not come is let go."""
        self._begun.clear()
        if job is not None:
            with suppress(Exception):  # it is told when the job's turn comes
                rows = self._reading(job)
                self._hold(job.spaces)  # which says the batch, and so the depth
                self._begun[job] = (list(islice(rows, self._depth(job))), rows)

    def _reading(self, job: Job) -> Iterator[Future[_Prepared]]:
        self._hold(job.spaces)
        spaces = {name: self.spaces[name] for name in job.spaces}
        for place, picture in enumerate(shards.read(self.order.images, job.shard), job.shard * self.shard_rows):
            yield self._decoders.submit(self._prepare, place, picture, spaces)

    def _depth(self, job: Job) -> int:
        """Rows to be ahead of the model."""
        return 2 * max(self.batch[name] for name in job.spaces) + self.order.decode_threads

    @staticmethod
    def _prepare(place: int, picture: Picture, spaces: Mapping[str, Space]) -> _Prepared:
        """Decode one image once and prepare it for each space."""
        if picture.data is None:
            return _Prepared(place, picture.row, reason=picture.reason or "no image")
        try:
            image = decode(picture.data)
            return _Prepared(place, picture.row, {name: space.prepare(image) for name, space in spaces.items()})
        except Exception as e:  # any decoder error is this row's alone
            return _Prepared(place, picture.row, reason=f"{type(e).__name__}: {e}"[:300])

    def _hold(self, names: tuple[str, ...]) -> None:
        """Load the spaces that are not loaded; spaces of an earlier job stay until their last rows have left the decoders."""
        for name in names:
            if name not in self.spaces:
                space: Space = instantiate(self.order.spaces[name])
                self.spaces[name] = space
                self.batch[name] = min(self.order.batch or space.limit, self.shard_rows)

    def _load(self, names: tuple[str, ...]) -> None:
        """Bring a job's weights to the device, and send away those of other spaces."""
        for name in set(self._loaded) - set(names):
            self.spaces[name].unload()
            self._loaded.discard(name)
        for name in names:
            if name not in self._loaded:
                self.spaces[name].load(self.device, getattr(torch, self.spaces[name].precision))
                self._loaded.add(name)

    def _compute(self, job: Job, prepared: Iterable[Future[_Prepared]], report: Report) -> Iterator[Unit]:
        """One unit for each space of a job."""
        rows = layout.span(job.shard, self.rows, self.shard_rows)
        started = time.monotonic()
        self._load(job.spaces)
        drafts = {name: _Draft(rows, started) for name in job.spaces}
        sampled = set(fidelity.sample(rows, self.order.fidelity_rows))
        waiting: dict[str, list[_Prepared]] = {name: [] for name in job.spaces}
        for future in prepared:
            row = future.result()
            for name, draft in drafts.items():
                if row.reason is not None:
                    draft.invalid[row.place] = row.reason
                    continue
                waiting[name].append(row)
                if row.place in sampled and isinstance(self.spaces[name], Generates):
                    draft.samples[row.place] = row.inputs[name]
                if len(waiting[name]) == self.batch[name]:
                    self._batch(name, waiting[name], draft)
                    report(name, len(waiting[name]))
                    waiting[name] = []
        for name, draft in drafts.items():
            if waiting[name]:
                self._batch(name, waiting[name], draft)
            report(name, len(waiting[name]) + len(draft.invalid))
            yield self._finish(name, job.shard, draft)

    def _batch(self, name: str, rows: list[_Prepared], draft: _Draft) -> None:
        """Compute one batch, halving it as often as memory demands; rows that come out not finite are computed again in float32."""
        numbers = torch.tensor([row.row for row in rows])
        inputs = torch.stack([row.inputs[name] for row in rows])
        out = self._call(name, inputs, numbers)
        bad = _not_finite(out["latent"])
        if bad.any():
            draft.rescued += self._rescue(name, inputs, numbers, out, bad)
        draft.batches.append(([row.place for row in rows], out))

    def _call(self, name: str, inputs: torch.Tensor, numbers: torch.Tensor) -> dict[str, torch.Tensor]:
        """The space on a batch; on out-of-memory on halves of it, and smaller batches from then on."""
        parts: list[dict[str, torch.Tensor]] = []
        start, size = 0, len(numbers)
        while start < len(numbers):
            stop = min(start + size, len(numbers))
            try:
                parts.append(self._forward(name, inputs[start:stop], numbers[start:stop]))
                start = stop
            except (MemoryError, RuntimeError) as e:
                if not _is_out_of_memory(e) or size == 1:
                    raise
                size = math.ceil(size / 2)
                self.batch[name] = min(self.batch[name], size)
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}

    @torch.inference_mode()
    def _forward(self, name: str, inputs: torch.Tensor, numbers: torch.Tensor) -> dict[str, torch.Tensor]:
        """One call of the space: to the device, through it, and back."""
        rows = len(numbers)
        if self.device.type == "cuda":
            # Compiled networks are built for one shape; a short batch is filled up with its last row rather than compiled for.
            short = self.batch[name] - rows
            if short > 0:
                inputs = torch.cat([inputs, inputs[-1:].expand(short, *inputs.shape[1:])])
                numbers = torch.cat([numbers, numbers[-1:].expand(short)])
            inputs = inputs.pin_memory().to(self.device, non_blocking=True)
        out = self.spaces[name](inputs, numbers)
        arrays = out if isinstance(out, dict) else {"latent": out}
        return {key: _back(value[:rows]) for key, value in arrays.items()}

    def _rescue(
        self, name: str, inputs: torch.Tensor, numbers: torch.Tensor, out: dict[str, torch.Tensor], bad: torch.Tensor
    ) -> int:
        """Recompute the bad rows in float32, in place; how many came out finite."""
        space = self.spaces[name]
        if space.precision == "float32":
            return 0
        space.load(self.device, torch.float32)
        where = torch.nonzero(bad).flatten()
        again = self._call(name, inputs[where], numbers[where])
        space.load(self.device, getattr(torch, space.precision))
        for key, value in again.items():
            out[key][where] = value
        return int((~_not_finite(again["latent"])).sum())

    def _finish(self, name: str, shard: int, draft: _Draft) -> Unit:
        """Batches to whole arrays over the shard's rows; rows without a result are filled and invalid."""
        group: Any = self.group[layout.space_path(name)]
        first = draft.rows.start
        arrays: dict[str, np.ndarray] = {}
        for key in [key for key in group.array_keys() if key not in (layout.VALID, layout.FIDELITY)]:
            array = group[key]
            arrays[key] = np.full((len(draft.rows), *array.shape[1:]), array.fill_value, array.dtype)
            for places, out in draft.batches:
                with np.errstate(over="ignore"):
                    arrays[key][np.array(places) - first] = out[key].numpy().astype(array.dtype)
        valid = np.zeros(len(draft.rows), bool)
        for places, out in draft.batches:
            stored = arrays[layout.LATENT][np.array(places) - first]
            finite = (
                np.isfinite(stored).reshape(len(places), -1).all(axis=1)
                if stored.dtype.kind == "f"
                else np.ones(len(places), bool)
            )
            valid[np.array(places)[finite] - first] = True
            for i in np.flatnonzero(~finite):
                computed = bool(torch.isfinite(out["latent"][i]).all())
                draft.invalid[places[i]] = (
                    f"does not fit {stored.dtype}" if computed else "not finite, in float32 either"
                )
        for key, values in arrays.items():
            values[~valid] = group[key].fill_value
        arrays[layout.VALID] = valid
        if layout.FIDELITY in group:
            arrays[layout.FIDELITY] = self._fidelity(name, draft, arrays[layout.LATENT], valid)
        return Unit(
            space=name,
            shard=shard,
            config_digest=self.order.digests[name],
            arrays=arrays,
            invalid=draft.invalid,
            rescued=draft.rescued,
            started=draft.started,
            device=self._device_name,
            worker=self._who,
            versions=versions(),
        )

    def _fidelity(self, name: str, draft: _Draft, latent: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Regenerate the sampled rows from their latents as stored, and compare."""
        table = np.full((len(draft.rows), len(layout.FIDELITY_MEASURES)), np.nan, np.float32)
        rows = [row for row in draft.samples if valid[row - draft.rows.start]]
        space = self.spaces[name]
        if rows and isinstance(space, Generates):
            places = np.array(rows) - draft.rows.start
            with torch.inference_mode():
                inputs = torch.stack([draft.samples[row] for row in rows]).to(self.device)
                table[places] = fidelity.measure(
                    space, inputs, torch.from_numpy(latent[places]).float().to(self.device)
                )
        return table


def _back(values: torch.Tensor) -> torch.Tensor:
    """To the CPU, half precision widened: NumPy knows no bfloat16."""
    return values.float().cpu() if values.is_floating_point() else values.cpu()


def _not_finite(latent: torch.Tensor) -> torch.Tensor:
    return (
        ~torch.isfinite(latent.flatten(1)).all(dim=1)
        if latent.is_floating_point()
        else torch.zeros(len(latent), dtype=torch.bool)
    )


def _reason(error: Exception) -> str:
    """An error in a line."""
    if isinstance(error, NoiseZooError):
        return str(error)
    if _is_out_of_memory(error):
        return "the memory does not suffice for a batch of one row"
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}"[:300]


def _is_out_of_memory(error: Exception) -> bool:
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "not enough memory" in str(error)
        or "can't allocate memory" in str(error)
    )
