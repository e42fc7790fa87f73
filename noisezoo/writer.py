"""Making zoos: the root with its rows and labels, spaces, and units written whole.

Zarr's sharding corrupts silently when two writers touch one shard, so nothing here ever writes part of one: a unit's arrays are encoded in memory, digested, put in place as
whole objects, and only then entered in the ledger.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from noisezoo import layout, ledger
from noisezoo.errors import NoiseZooError, StopsAllError
from noisezoo.ledger import Entry
from noisezoo.store import Store

TABLE_CHUNK_ROWS = 1 << 18
SETTLE_TRIES = 5
"""How often a file may be changed under our hands before that is an error: each builder that lost its unit does it once at most."""


@dataclass(frozen=True)
class Table:
    """What a zoo knows of its rows before any space exists."""

    keys: np.ndarray
    """(rows,) the source's own names."""
    numbers: np.ndarray
    """(rows,) each row's number in the whole source; the same as its place unless a part was selected."""
    sha256: np.ndarray
    """(rows, 32) uint8, digest of the image file; zeros where there was none."""
    attributes: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    """(rows, attributes) int8, -1 = unknown."""
    splits: tuple[str, ...] = ()
    split: np.ndarray | None = None
    """(rows,) int8, place in `splits`, -1 for none."""
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The words for the numbers of those arrays of `extra` that are categories."""


def create(store: Store, table: Table, source: Mapping[str, Any], shard_rows: int) -> None:
    """Write an empty zoo: root attributes, `rows/`, `labels/`. `source` holds name, licence, homepage, digest and selection."""
    rows = len(table.keys)
    facts: dict[str, Any] = {
        "format": layout.FORMAT,
        "rows": rows,
        "shard_rows": shard_rows,
        "splits": list(table.splits),
        "source": dict(source),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    root = store.group("w")
    group = root.create_group(layout.ROWS)
    _put(group, "key", np.asarray(table.keys, dtype=object), ("row",))
    _put(group, "number", np.asarray(table.numbers, np.int64), ("row",))
    _put(group, "sha256", table.sha256, ("row", "byte"))
    split = np.full(rows, -1, np.int8) if table.split is None else np.asarray(table.split, np.int8)
    _put(group, "split", split, ("row",), {"names": list(table.splits)})
    for name, values in table.extra.items():
        words = {"names": list(table.names[name])} if name in table.names else None
        _put(group, name, values, ("row", *(f"{name}_{i}" for i in range(1, values.ndim))), words)
    group = root.create_group(layout.LABELS)
    labels = np.zeros((rows, 0), np.int8) if table.labels is None else table.labels
    if len(table.attributes):
        _put(group, "label", np.asarray(labels, np.int8), ("row", "attribute"))
        _put(group, "attribute", np.array(table.attributes, dtype=object), ("attribute",))
    root.create_group(layout.SPACES)
    # The facts come last: a root without them is a creation that was cut short, and is made anew.
    root.attrs[layout.ATTRIBUTE] = facts
    consolidate(store)


def add_space(
    store: Store,
    name: str,
    shape: tuple[int, ...],
    dims: tuple[str, ...],
    dtype: str,
    provenance: Mapping[str, Any],
    *,
    fidelity: bool = False,
) -> str:
    """Make an empty space, or find it as it was made, and give its configuration digest; refuse one that was made with another configuration."""
    layout.check_name(name)
    root = store.group("a")
    facts = layout.check_format(root.attrs.asdict(), store.url)
    rows, shard_rows = int(facts["rows"]), int(facts["shard_rows"])
    config = {
        "shape": list(shape),
        "dtype": dtype,
        "rows": rows,
        "shard_rows": shard_rows,
        "source": facts["source"]["digest"],
        **provenance,
    }
    config_digest = ledger.digest(config)
    path = layout.space_path(name)
    if path in root and "config_digest" in root[path].attrs:
        before: dict[str, Any] = root[path].attrs.asdict()
        if path not in _consolidated(store):  # a build that was killed, or another build, left the copy behind
            consolidate(store)
        if before["config_digest"] != config_digest:
            raise NoiseZooError(
                f"Space '{name}' in {store.url} was built with {differences(before['config'], config)}: type `rebuild=[{name}]` to compute it anew, or give the space another name."
            )
        return config_digest
    group = root.create_group(path, overwrite=True)
    chunk = layout.chunk_rows(shape, dtype, shard_rows)
    group.create_array(
        layout.LATENT,
        shape=(rows, *shape),
        chunks=(chunk, *shape),
        shards=(shard_rows, *shape),
        dtype=dtype,
        fill_value=np.nan if np.dtype(dtype).kind == "f" else 0,
        compressors=None,  # float16 noise hardly compresses; see docs/format.md
        serializer=BytesCodec(endian="little"),
        dimension_names=("row", *dims),
    )
    group.create_array(
        layout.VALID,
        shape=(rows,),
        chunks=(shard_rows,),
        dtype="bool",
        fill_value=False,
        compressors=None,
        dimension_names=("row",),
    )
    if fidelity:
        measures = layout.FIDELITY_MEASURES
        group.create_array(
            layout.FIDELITY,
            shape=(rows, len(measures)),
            chunks=(shard_rows, len(measures)),
            dtype="float32",
            fill_value=np.nan,
            compressors=None,
            dimension_names=("row", "measure"),
            attributes={"measures": list(measures)},
        )
    for array, array_shape in (provenance.get("extra_arrays") or {}).items():
        group.create_array(
            array,
            shape=(rows, *array_shape),
            chunks=(layout.chunk_rows(tuple(array_shape), dtype, shard_rows), *array_shape),
            shards=(shard_rows, *array_shape),
            dtype=dtype,
            fill_value=np.nan,
            compressors=None,
            serializer=BytesCodec(endian="little"),
            dimension_names=("row", *dims),
        )
    group.attrs.update({"config": config, "config_digest": config_digest})
    consolidate(store)
    return config_digest


def remove_space(store: Store, name: str) -> None:
    """Delete a space and its ledger: first the leases, so that whoever computes it gives up, and the ledger before the bytes, so that no entry outlives them."""
    store.remove(layout.lease_path(name))
    store.remove(layout.ledger_path(name))
    store.remove(layout.space_path(name))
    consolidate(store)


@dataclass(frozen=True)
class Unit:
    """A computed unit on its way to the disk: every array over the unit's rows, and what is said of them."""

    space: str
    shard: int
    config_digest: str
    arrays: Mapping[str, np.ndarray]
    """Name in the space (`latent`, `valid`, …) to values `(rows of the shard, …)`."""
    invalid: Mapping[int, str]
    rescued: int = 0
    started: float = 0.0
    """`time.monotonic()` when work on it began."""
    device: str = ""
    worker: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


class TakenError(NoiseZooError):
    """The unit has become another builder's while we computed it."""


def write_unit(store: Store, group: zarr.Group, unit: Unit, is_ours: Callable[[], bool] = lambda: True) -> Entry:
    """Put a unit's arrays in place, then enter it in the ledger. `group` is the space's group; `is_ours` is asked before each write whether the unit still is.

    Two builders of one unit do no harm, however late one of them writes: a file is created only where there is none, other bytes are replaced only if they
    are still the ones that were read, and the unit is entered once. `pipeline.leases` says why that suffices.
    """
    _check_space(store, unit)
    files: dict[str, bytes] = {}
    rows = range(0)
    for name, values in unit.arrays.items():
        array = group[name]
        assert isinstance(array, zarr.Array)
        shard_rows = (array.shards or array.chunks)[0]
        rows = layout.span(unit.shard, array.shape[0], shard_rows)
        key = layout.chunk_key(layout.array_path(unit.space, name), unit.shard, array.ndim)
        files[key] = encode(array, rows, values)
    for key, data in files.items():
        _settle(store, key, data, lambda: _check(is_ours, unit))
    entry = Entry(
        space=unit.space,
        shard=unit.shard,
        rows=(rows.start, rows.stop),
        config_digest=unit.config_digest,
        files={key: hashlib.sha256(data).hexdigest() for key, data in files.items()},
        valid=int(np.count_nonzero(unit.arrays[layout.VALID])),
        invalid={str(row): reason for row, reason in sorted(unit.invalid.items())},
        rescued=unit.rescued,
        seconds=round(time.monotonic() - unit.started, 3) if unit.started else 0.0,
        device=unit.device,
        worker=unit.worker,
        versions=dict(unit.versions),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return ledger.enter(store, entry, lambda: _check(is_ours, unit))


def _settle(store: Store, key: str, data: bytes, check: Callable[[], None]) -> None:
    """See to it that a file holds these bytes."""
    for _ in range(SETTLE_TRIES):
        check()
        if store.create(key, data) is not None:
            return
        try:
            _, version = store.read_version(key)
        except FileNotFoundError:  # taken away this very moment
            continue
        check()
        if store.replace(key, data, version) is not None:
            return
    raise NoiseZooError(
        f"{key} in {store.url} is changed by somebody else again and again: stop the other builds of this zoo, and type the same command again."
    )


def _check_space(store: Store, unit: Unit) -> None:
    """Give up where the space has been made anew since the build began."""
    facts = json.loads(store.read(f"{layout.space_path(unit.space)}/zarr.json"))
    if facts["attributes"].get("config_digest") != unit.config_digest:
        raise StopsAllError(
            f"Space '{unit.space}' in {store.url} has been made anew with another configuration since this build began: let the other build finish."
        )


def _check(is_ours: Callable[[], bool], unit: Unit) -> None:
    if not is_ours():
        raise TakenError(f"Shard {unit.shard} of {unit.space} is computed by another build: nothing is lost, go on.")


def encode(array: zarr.Array, rows: range, values: np.ndarray) -> bytes:
    """The bytes of one whole shard of `array`, as Zarr itself encodes them, without touching the array's store."""
    if values.shape != (len(rows), *array.shape[1:]):
        raise ValueError(
            f"shard rows {rows.start}…{rows.stop - 1} need shape {(len(rows), *array.shape[1:])}, got {values.shape}"
        )
    memory: dict[str, Any] = array.metadata.to_buffer_dict(default_buffer_prototype())
    twin = zarr.open_array(MemoryStore(memory), mode="r+").with_config({"write_empty_chunks": True})
    twin[rows.start : rows.stop] = values
    key = layout.chunk_key("", rows.start // (array.shards or array.chunks)[0], array.ndim).lstrip("/")
    return bytes(memory[key].to_bytes())


def consolidate(store: Store) -> None:
    """Copy all metadata into the root and each group, so that opening a remote zoo takes one request and ordinary readers list nothing that is no array."""
    root = store.group("a")
    with warnings.catch_warnings():
        # Consolidated metadata are an extension of Zarr v3 that zarr, xarray and dask all read; the ledger beside the arrays is unknown to Zarr on purpose.
        warnings.simplefilter("ignore")
        paths = [
            layout.ROWS,
            layout.LABELS,
            *(layout.space_path(name) for name in store.names(layout.SPACES) if name != "zarr.json"),
            "",
        ]
        for path in paths:
            if path == "" or path in root:
                zarr.consolidate_metadata(root.store, path=path or None, zarr_format=3)


def _consolidated(store: Store) -> dict[str, Any]:
    """The copy of the metadata in the root, by path."""
    return dict((json.loads(store.read("zarr.json")).get("consolidated_metadata") or {}).get("metadata", {}))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The fields in which two configurations differ, as a phrase: `inverter.steps 50, not 25`."""
    a, b = _flat(before), _flat(now)
    told = [
        f"{key} {a.get(key, 'absent')!s}, not {b.get(key, 'absent')!s}"
        for key in sorted(a.keys() | b.keys())
        if a.get(key) != b.get(key)
    ]
    return "; ".join(told)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {
        k: v for key, part in value.items() for k, v in _flat(part, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def _put(
    group: zarr.Group, name: str, values: np.ndarray, dims: tuple[str, ...], attributes: dict[str, Any] | None = None
) -> None:
    dtype: Any = str if values.dtype == object else values.dtype
    chunks = (min(max(1, len(values)), TABLE_CHUNK_ROWS), *values.shape[1:])
    array = group.create_array(
        name, shape=values.shape, chunks=chunks, dtype=dtype, dimension_names=dims, attributes=attributes
    )
    if values.size:
        array[...] = values
