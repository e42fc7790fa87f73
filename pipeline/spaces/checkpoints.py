"""Finds a model's files: a folder on this machine, or a hub repository at a pinned revision.

Only safetensors, json and text are ever fetched or read. What cannot be used (half a download, pickles, code that would have to be trusted, a licence not yet accepted)
is refused in one sentence that says what to type, before any library tries to load it.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from noisezoo.errors import NoiseZooError

CHECKOUT = Path(__file__).resolve().parents[2]
PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model")
"""What a model may consist of; never `.bin`, `.ckpt`, `.pt` or `.py`."""
CONFIGS = ("*.json",)

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


def local_folder(model: str) -> Path | None:
    """The folder that `model` names, seen from here or from the checkout; None when it is a hub name."""
    given = Path(model).expanduser()
    for path in (given, CHECKOUT / given):
        if path.is_dir():
            return path
    if given.is_absolute() or given.parts[:1] in ((".",), ("..",), ("models",)) or len(given.parts) != 2:
        raise NoiseZooError(
            f"There is no folder '{model}' here or in {CHECKOUT}; give a folder with config.json and *.safetensors, or a hub name such as openai/clip-vit-large-patch14."
        )
    return None


def is_pinned(revision: str | None) -> bool:
    """Whether a revision can never come to mean other weights."""
    return revision is not None and (COMMIT.fullmatch(revision) is not None or revision.startswith("sha256:"))


def pinned(model: str, revision: str | None) -> str:
    """The revision that cannot move: a full commit hash, or `sha256:…` over the files of a folder. A branch is resolved in the cache or at the hub."""
    path = local_folder(model)
    if path is not None:
        return _folder_digest(path)
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    return _snapshot(model, revision, ("config.json", "model_index.json")).name


def is_local(model: str, revision: str | None, patterns: Sequence[str] = PATTERNS) -> bool:
    """Whether the files are complete on this machine; asks no network."""
    from huggingface_hub import snapshot_download

    try:
        root = local_folder(model) or Path(
            snapshot_download(model, revision=revision, allow_patterns=list(patterns), local_files_only=True)
        )
        check_files(root, model, weights=_wants_weights(patterns))
    except (NoiseZooError, OSError, ValueError):
        return False
    return True


def folder(model: str, revision: str | None, patterns: Sequence[str] | None = None) -> Path:
    """A folder with the model's files, downloaded if need be (a broken line is taken up again; of a download that was given up, whole files are kept), and checked."""
    patterns = tuple(patterns or PATTERNS)
    weights = _wants_weights(patterns)
    path = local_folder(model)
    root = path or _snapshot(model, revision, patterns)
    try:
        check_files(root, model, weights)
    except NoiseZooError:
        if path is not None or _offline():
            raise
        root = _download(model, revision, patterns)
        check_files(root, model, weights)
    check_code(root, model)
    if path is None:
        check_hashes(root, model)
    return root


def _wants_weights(patterns: Sequence[str]) -> bool:
    return any("safetensors" in pattern and not pattern.endswith(".json") for pattern in patterns)


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _snapshot(model: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The cached snapshot where it is whole, a download otherwise."""
    import huggingface_hub.errors as hub
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(patterns), local_files_only=True))
    except hub.HFValidationError as error:
        raise NoiseZooError(f"'{model}' is neither a folder nor a hub name of the form owner/name.") from error
    except hub.LocalEntryNotFoundError as error:
        if not _offline():
            return _download(model, revision, patterns)
        fetch = f"hf download {model}" + (f" --revision {revision}" if revision else "")
        raise NoiseZooError(
            f"{model} at revision {revision or 'main'} is not complete here and HF_HUB_OFFLINE is set: where there is a connection type '{fetch}', or unset HF_HUB_OFFLINE."
        ) from error


def _download(model: str, revision: str | None, patterns: Sequence[str]) -> Path:
    import huggingface_hub.errors as hub
    from huggingface_hub import constants, snapshot_download

    at = f"{model} at revision {revision or 'main'}"
    page = f"{constants.ENDPOINT}/{model}"
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(patterns)))
    except hub.GatedRepoError as error:
        raise NoiseZooError(
            f"{model} is gated: accept its licence at {page}, type 'hf auth login', and run this again."
        ) from error
    except hub.RevisionNotFoundError as error:
        raise NoiseZooError(
            f"{model} has no revision {revision}: see its commits at {page}/commits/main and correct 'revision'."
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise NoiseZooError(
            f"There is no model {model} at {page}, or it is private: correct 'model', or type 'hf auth login'."
        ) from error
    except hub.LocalEntryNotFoundError as error:
        raise NoiseZooError(
            f"{at} is not complete on this machine and the hub cannot be reached: mend the connection and run this again, whole files are kept."
        ) from error
    except hub.HfHubHTTPError as error:
        raise NoiseZooError(
            f"The hub refused {at} ({error.response.status_code}): see {page}, then run this again."
        ) from error
    except OSError as error:
        raise NoiseZooError(
            f"{at} could not be stored in {constants.HF_HUB_CACHE} ({error.strerror or error}): make room or set HF_HOME to another disk, and run this again."
        ) from error
    except Exception as error:  # whatever the library's HTTP client of the day raises when a line breaks
        raise NoiseZooError(
            f"The download of {at} broke off ({type(error).__name__}): run this again, whole files are kept."
        ) from error


def _read_json(path: Path, model: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NoiseZooError(
            f"{path.name} of {model} cannot be read as JSON: delete {path} and fetch it again."
        ) from error
    if not isinstance(content, dict):
        raise NoiseZooError(f"{path.name} of {model} is not a JSON object: delete {path} and fetch it again.")
    return content


def safetensors_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: eight bytes of length N, N bytes of JSON, then data up to the largest offset; a file of any other length is refused."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if size < 8 + length or length == 0:
            raise NoiseZooError(
                f"{path} is empty or cut short ({size:,} bytes): delete {path.resolve()} and fetch it again."
            )
        try:
            header = json.loads(file.read(length))
            end = (
                8
                + length
                + max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NoiseZooError(
                f"{path} is not a safetensors file: delete {path.resolve()} and fetch it again."
            ) from error
    if size != end:
        raise NoiseZooError(
            f"{path} has {size:,} bytes where its header says {end:,}: delete {path.resolve()} and fetch it again."
        )
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def check_files(root: Path, model: str, weights: bool = True) -> None:
    """Refuse a folder that is not a saved model, holds pickles only, misses a shard or has a file cut short."""
    configs = [
        root / name for name in ("config.json", "model_index.json", "open_clip_config.json") if (root / name).exists()
    ]
    if not configs:
        raise NoiseZooError(
            f"{root} has no config.json or model_index.json, so it is no saved model: write it with save_pretrained, or correct 'model'."
        )
    for config in configs:
        _read_json(config, model)
    if not weights:
        return
    found = sorted(root.rglob("*.safetensors"))
    for index in sorted(root.rglob("*.safetensors.index*.json")):
        shards = sorted(set(_read_json(index, model).get("weight_map", {}).values()))
        missing = [shard for shard in shards if not (index.parent / shard).exists()]
        # A variant that was left out on purpose (fp32 beside fp16) leaves its index behind and no shard at all.
        alone = not any(path.parent == index.parent for path in found)
        if missing and (alone or len(missing) < len(shards)):
            raise NoiseZooError(
                f"{model} is half here: {index.name} names {missing[0]} ({len(missing)} of {len(shards)} shards are missing in {index.parent}); fetch it again."
            )
    if not found:
        if any(path.suffix in PICKLES for path in root.rglob("*")) or _hub_has_pickles(root, model):
            raise NoiseZooError(
                f"{model} comes as pickles only, which are never loaded: choose a revision with *.safetensors, or give a folder written by save_pretrained as 'model'."
            )
        raise NoiseZooError(f"{model} has no *.safetensors in {root}: fetch it again, or correct 'model'.")
    for path in found:
        safetensors_header(path)


def _hub_has_pickles(root: Path, model: str) -> bool:
    """Whether the hub's own list of this snapshot's files, kept beside the cache, has pickles that were not fetched."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    if root.parent.name != "snapshots":
        return False
    try:
        return any(Path(entry.path).suffix in PICKLES for entry in get_cached_repo_tree(model, revision=root.name))
    except (CachedRepoTreeNotFoundError, OSError, ValueError):
        return False


def check_code(root: Path, model: str) -> None:
    """Refuse a model that only its own Python could load."""
    advice = "remote code is never run: choose a model that transformers or diffusers has built in, or write a class of your own (docs/adding-a-model.md)"
    if (root / "config.json").exists():
        config = _read_json(root / "config.json", model)
        if "auto_map" in config:
            from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

            if config.get("model_type") not in CONFIG_MAPPING_NAMES:
                raise NoiseZooError(f"{model} wants its own code ('auto_map' in config.json), and {advice}.")
    if (root / "model_index.json").exists():
        import diffusers.pipelines

        index = _read_json(root / "model_index.json", model)
        parts = {name: part for name, part in index.items() if not name.startswith("_") and isinstance(part, list)}
        built_in = {None, "diffusers", "transformers", "stable_diffusion"}
        strange = [
            name
            for name, part in parts.items()
            if part[0] not in built_in and not hasattr(diffusers.pipelines, str(part[0]))
        ]
        if strange or not isinstance(index.get("_class_name"), str):
            raise NoiseZooError(
                f"{model} wants its own code ({strange[0] if strange else '_class_name'} in model_index.json), and {advice}."
            )


def check_hashes(root: Path, model: str) -> None:
    """Refuse weights whose sha256 is not the one the hub gave; the cache keeps that as the name of the blob that each file links to."""
    for path in sorted(root.rglob("*.safetensors")):
        blob = path.resolve()
        if SHA256.fullmatch(blob.name) and _sha256(blob) != blob.name:
            raise NoiseZooError(
                f"{path.name} of {model} does not have the hash that the hub gave for it: delete {blob} and run this again to fetch it anew."
            )


def _sha256(path: Path) -> str:
    status = path.stat()
    return _sha256_cached(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _sha256_cached(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_digest(root: Path) -> str:
    h = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.suffix in (".json", ".safetensors", ".txt", ".model")):
        h.update(f"{path.relative_to(root).as_posix()}\0{_sha256(path)}\n".encode())
    return "sha256:" + h.hexdigest()


def read_config(root: Path, model: str, name: str = "config.json") -> dict[str, Any]:
    """A configuration file of a model as plain data."""
    return _read_json(root / name, model)
