"""The published folder to a dataset on the Hub: nothing that is already there, the card last.

What is there is told by the Hub's own listing, sizes and digests, so an upload that was killed goes on where it stopped. While
files are missing the dataset has no card, no manifest and no tag; the last commit brings all three. Each state is tagged with the zoo's digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import disable_progress_bars

from noisezoo.errors import NoiseZooError
from noisezoo.retry import over_http
from pipeline.publish.folder import CARD, MANIFEST, SUMS, checksums, read_manifest

LAST = (CARD, MANIFEST)
"""What says that the rest is there."""
KEPT = (".gitattributes",)
"""The Hub's own."""
BATCH_FILES = 500
BATCH_BYTES = 2 << 30
Progress = Callable[[int, int, int, int], None]
"""Called with files done and in all, bytes done and in all."""


@dataclass(frozen=True)
class Plan:
    """What an upload has to do."""

    send: dict[str, int]
    """File to size, in the order of sending."""
    same: int
    """Files that are there already."""
    delete: tuple[str, ...]

    @property
    def bytes(self) -> int:
        return sum(self.send.values())


def tag(digest: str) -> str:
    """The tag of a zoo's digest."""
    return f"zoo-{digest[:12]}"


def plan(folder: Path, repo: str | None) -> Plan:
    """Compare the folder with what the dataset holds; without one, everything is to be sent."""
    if not read_manifest(folder):
        raise NoiseZooError(f"{folder} is not a finished publishable folder: type `noisezoo publish` first.")
    sums = checksums(folder)
    files = [name for name in (*sums, SUMS, MANIFEST) if name not in LAST] + list(LAST)
    there = _listing(repo) if repo else {}
    send = {name: (folder / name).stat().st_size for name in files if not _is_same(folder, name, sums, there)}
    gone = tuple(sorted(set(there) - set(files) - set(KEPT)))
    return Plan(send, len(files) - len(send), gone)


def upload(folder: Path, repo: str, *, private: bool = False, progress: Progress = lambda *done: None) -> str:
    """Bring the dataset to what the folder holds; its commit."""
    disable_progress_bars()
    api = HfApi()
    digest = read_manifest(folder).get("digest", "")
    try:
        over_http(lambda: api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True))
        todo = plan(folder, repo)
        _send(api, folder, repo, todo, digest, progress)
        sha = str(over_http(lambda: api.repo_info(repo, repo_type="dataset")).sha)
        refs = over_http(lambda: api.list_repo_refs(repo, repo_type="dataset"))
        if tag(digest) not in {known.name for known in refs.tags}:
            over_http(
                lambda: api.create_tag(
                    repo, tag=tag(digest), revision=sha, repo_type="dataset", exist_ok=True, tag_message=digest
                )
            )
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, httpx2.HTTPError, RuntimeError, OSError) as e:
        raise _told(e, repo) from e
    return sha


def _send(api: HfApi, folder: Path, repo: str, todo: Plan, digest: str, progress: Progress) -> None:
    """All commits of an upload."""
    sums = checksums(folder)
    body = {name: size for name, size in todo.send.items() if name not in LAST}
    last = [name for name in todo.send if name in LAST]
    there = set(_listing(repo))
    if body or todo.delete:
        # A dataset that changes is none until it is whole again; its earlier states keep their tags.
        stale = [CommitOperationDelete(name) for name in LAST if name in there]
        if stale:
            _commit(api, repo, stale, f"Begin zoo {digest[:12]}")
        last = list(LAST)
    files, size = 0, 0
    for batch in batches(body):
        operations = [CommitOperationAdd(name, folder / name) for name in batch]
        over_http(partial(api.preupload_lfs_files, repo, operations, repo_type="dataset", free_memory=False))
        for operation in operations:
            name = operation.path_in_repo
            if operation.upload_info.is_hashed and name in sums and operation.upload_info.sha256.hex() != sums[name]:
                raise NoiseZooError(
                    f"{folder / name} is not what SHA256SUMS says: delete {folder} and type `noisezoo publish` again."
                )
        _commit(api, repo, operations, f"Zoo {digest[:12]}: {len(batch)} files")
        files, size = files + len(batch), size + sum(body[name] for name in batch)
        progress(files, len(body), size, todo.bytes)
    if last or todo.delete:
        ending = [CommitOperationDelete(name) for name in todo.delete]
        adds = [CommitOperationAdd(name, folder / name) for name in last]
        _commit(api, repo, [*ending, *adds], f"Zoo {digest[:12]}")


def batches(sizes: dict[str, int]) -> Iterator[list[str]]:
    """Files in runs that one commit takes."""
    batch: list[str] = []
    size = 0
    for name, count in sizes.items():
        if batch and (len(batch) == BATCH_FILES or size + count > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += count
    if batch:
        yield batch


def _commit(
    api: HfApi, repo: str, operations: Sequence[CommitOperationAdd | CommitOperationDelete], message: str
) -> None:
    """One commit. Sent again if its answer was lost, it changes nothing the second time."""
    adds = [(o.path_in_repo, o.path_or_fileobj) for o in operations if isinstance(o, CommitOperationAdd)]
    gone = [o.path_in_repo for o in operations if isinstance(o, CommitOperationDelete)]

    def send() -> None:
        there = set(_listing(repo)) if gone else set()
        again = [CommitOperationDelete(name) for name in gone if name in there]
        again += [CommitOperationAdd(name, path) for name, path in adds]
        if again:
            api.create_commit(repo, again, commit_message=message, repo_type="dataset")

    over_http(send)


def _listing(repo: str) -> dict[str, tuple[int, str]]:
    """Every file of the dataset: size, and sha256 (LFS) or git's name of it; empty where there is no such dataset."""

    def ask() -> dict[str, tuple[int, str]]:
        found = HfApi().list_repo_tree(repo, repo_type="dataset", recursive=True)
        files = [entry for entry in found if isinstance(entry, RepoFile)]
        return {f.path: (f.size, f.lfs.sha256 if f.lfs else f.blob_id) for f in files}

    try:
        return over_http(ask)
    except RepositoryNotFoundError:
        return {}


def _is_same(folder: Path, name: str, sums: dict[str, str], there: dict[str, tuple[int, str]]) -> bool:
    """Whether the dataset holds this very file."""
    if name not in there:
        return False
    size, known = there[name]
    path = folder / name
    if path.stat().st_size != size:
        return False
    if len(known) == 64 and name in sums:
        return known == sums[name]
    data = path.read_bytes()
    if len(known) == 64:
        return known == hashlib.sha256(data).hexdigest()
    return known == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _told(error: Exception, repo: str) -> NoiseZooError:
    """What went wrong, and what to type."""
    cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if isinstance(cause, HFValidationError):
        return NoiseZooError(f"'{repo}' cannot name a dataset of the Hub: give hub.repo=USER/NAME.")
    if isinstance(cause, LocalTokenNotFoundError) or status == 401:
        return NoiseZooError(f"The Hub does not know who wants to write {repo}: type `hf auth login`, or set HF_TOKEN.")
    if status == 403:
        return NoiseZooError(f"Your token may not write {repo}: make one with write access and type `hf auth login`.")
    return NoiseZooError(
        f"The upload to {repo} stopped ({type(cause).__name__}: {str(cause).splitlines()[0]}): type the same command again to go on; what is there is not sent again."
    )
