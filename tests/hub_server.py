"""A small Hub: the HTTP interface that the real `huggingface_hub` client speaks, over real sockets, for datasets, with faults on request.

It knows what publishing and fetching need: creating a repository, preupload, LFS (single and multipart), commits, trees, resolving with
ranges (LFS files by a redirect, as the Hub does), tags. Xet is another protocol and is switched off on the client's side
(HF_HUB_DISABLE_XET=1). Contents lie on the disk under their sha256, repositories in memory.

As a program, `python -m tests.hub_server FOLDER --dataset USER/NAME=PATH` serves a published folder and prints its address.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = 1000
REGULAR_BYTES = 10_000_000
DATE = "2026-11-21T00:00:00.000Z"


@dataclass(frozen=True)
class File:
    """One file of a commit."""

    size: int
    sha256: str
    blob: str
    """Git's own name of what is in the repository: the file, or the pointer to it."""
    is_lfs: bool


@dataclass
class Repo:
    """A dataset: its commits, each a whole tree."""

    private: bool = False
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, tree: dict[str, File], message: str) -> str:
        sha = hashlib.sha1(f"{len(self.commits)}{message}{sorted(tree)}".encode()).hexdigest()
        self.commits[sha], self.messages[sha] = tree, message
        self.branches[branch] = sha
        return sha

    def find(self, revision: str) -> str | None:
        """The commit that a branch, tag or sha names."""
        revision = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        found = self.branches.get(revision) or self.tags.get(revision) or revision
        return found if found in self.commits else None


@dataclass
class Fault:
    """Something that goes wrong: `kind` is `cut`, `corrupt` or a status; it happens to the first `times` requests that match, after `skip` of them."""

    kind: str | int
    match: str = ""
    """A regular expression searched in `METHOD /path`."""
    times: int = 1
    skip: int = 0
    retry_after: str | None = None

    def hits(self, line: str) -> bool:
        if not re.search(self.match, line) or self.times <= 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Request:
    """One line of the server's log."""

    method: str
    path: str
    status: int = 0
    received: int = 0
    sent: int = 0


class Hub(ThreadingHTTPServer):
    """The server and what it holds."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: Path, *, multipart_bytes: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        (folder / "objects").mkdir(parents=True, exist_ok=True)
        self.repos: dict[str, Repo] = {}
        self.faults: list[Fault] = []
        self.log: list[Request] = []
        self.multipart_bytes = multipart_bytes
        self.before: Callable[[str], None] | None = None
        """Called with `METHOD /path` before a request is answered, for tests that stop the world at some point."""
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""

    def fault(self, line: str) -> Fault | None:
        with self.lock:
            return next((fault for fault in self.faults if fault.hits(line)), None)

    def object(self, sha256: str) -> Path:
        return self.folder / "objects" / sha256

    def put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        part = self.object(f"{sha256}.{uuid.uuid4().hex}")
        part.write_bytes(data)
        os.replace(part, self.object(sha256))
        return sha256

    def add_folder(self, name: str, folder: Path) -> str:
        """Make a dataset of a folder's files, as if they had been uploaded."""
        tree = {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            with path.open("rb") as f:
                sha256 = hashlib.file_digest(f, "sha256").hexdigest()
            if not self.object(sha256).exists():
                try:
                    os.link(path, self.object(sha256))
                except OSError:
                    shutil.copy(path, self.object(sha256))
            size = path.stat().st_size
            with path.open("rb") as f:
                is_lfs = self.is_lfs(path.name, f.read(512), size)
            blob = _pointer(sha256, size) if is_lfs else _blob(path.read_bytes(), False)
            tree[path.relative_to(folder).as_posix()] = File(size, sha256, blob, is_lfs)
        return self.repos.setdefault(name, Repo()).commit("main", tree, "all")

    @staticmethod
    def is_lfs(path: str, sample: bytes, size: int) -> bool:
        """Large or binary files go to LFS, as on the Hub."""
        return size > 0 and (size > REGULAR_BYTES or b"\0" in sample or path.endswith((".parquet", ".npy", ".tar")))

    def sent(self, match: str = "") -> int:
        """Bytes of the bodies of all answers to requests that match."""
        return sum(r.sent for r in self.log if re.search(match, f"{r.method} {r.path}"))

    def taken(self, match: str = "") -> int:
        """Bytes of the bodies of all requests that match and were granted."""
        granted = [r for r in self.log if r.status == 200]
        return sum(r.received for r in granted if re.search(match, f"{r.method} {r.path}"))

    def count(self, match: str) -> int:
        return sum(1 for r in self.log if re.search(match, f"{r.method} {r.path}"))


def _blob(data: bytes, is_lfs: bool) -> str:
    """Git's sha1 of a file, or of the pointer that stands for it."""
    if is_lfs:
        digest = hashlib.sha256(data).hexdigest()
        return _pointer(digest, len(data))
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _pointer(sha256: str, size: int) -> str:
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    return hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        line = f"{self.command} {path}"
        self.request_log = Request(self.command, path)
        self.server.log.append(self.request_log)
        if self.server.before:
            self.server.before(line)
        fault = self.server.fault(line)
        if fault is not None and fault.kind == "cut" and self.command in ("PUT", "POST"):
            self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
            self.close_connection = True
            self.connection.shutdown(2)
            return
        body = self._body()
        self.request_log.received = len(body)
        if fault is not None and isinstance(fault.kind, int):
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            return self._json({"error": "a fault"}, fault.kind, headers)
        self.fault = fault
        for method, pattern, act in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in method.split("|"):
                return act(self, query, body, **found.groupdict())
        self._json({"error": f"no route for {line}"}, 404)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _json(self, value: Any, status: int = 200, headers: Mapping[str, str] = {}) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **headers})

    def _send(self, data: bytes, status: int = 200, headers: Mapping[str, str] = {}) -> None:
        self.request_log.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
            self.request_log.sent += len(data)

    def _repo(self, repo: str, revision: str | None = None) -> tuple[Repo, str] | None:
        """A repository at a revision; answers itself where there is none."""
        found = self.server.repos.get(repo)
        if found is None:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return None
        sha = found.find(revision or "main")
        if sha is None:
            self._json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
            return None
        return found, sha

    # --- repositories

    def create(self, query: Any, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if name in self.server.repos:
            return self._json({"error": "You already created this dataset repo", "url": self._page(name)}, 409)
        repo = self.server.repos[name] = Repo(
            private=asked.get("visibility") == "private" or asked.get("private") is True
        )
        data = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
        file = File(len(data), self.server.put(data), _blob(data, False), False)
        repo.commit("main", {".gitattributes": file}, "initial commit")
        self._json({"url": self._page(name), "name": name, "id": name})

    def whoami(self, query: Any, body: bytes) -> None:
        self._json({"type": "user", "name": "me", "orgs": []})

    def info(self, query: Any, body: bytes, repo: str, revision: str | None = None) -> None:
        if found := self._repo(repo, revision):
            tree = found[0].commits[found[1]]
            names = [{"rfilename": name} for name in sorted(tree)]
            facts = {"_id": "0", "id": repo, "author": "me", "sha": found[1], "lastModified": DATE, "createdAt": DATE}
            self._json(
                {**facts, "private": found[0].private, "gated": False, "disabled": False, "tags": [], "siblings": names}
            )

    def refs(self, query: Any, body: bytes, repo: str) -> None:
        if found := self._repo(repo):
            branches = [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha}
                for name, sha in found[0].branches.items()
            ]
            tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": sha} for n, sha in found[0].tags.items()]
            self._json({"branches": branches, "tags": tags, "converts": [], "pullRequests": []})

    def tag(self, query: Any, body: bytes, repo: str, revision: str) -> None:
        if found := self._repo(repo, revision):
            name = json.loads(body)["tag"]
            if name in found[0].tags:
                return self._json({"error": "Tag reference exists already"}, 409)
            found[0].tags[name] = found[1]
            self._json({})

    def delete_tag(self, query: Any, body: bytes, repo: str, revision: str) -> None:
        if found := self._repo(repo):
            found[0].tags.pop(revision, None)
            self._json({})

    def commits(self, query: Any, body: bytes, repo: str, revision: str) -> None:
        if found := self._repo(repo, revision):
            told = [
                {"id": sha, "title": title, "message": "", "date": DATE, "authors": []}
                for sha, title in reversed(found[0].messages.items())
            ]
            self._json(told)

    def tree(self, query: Any, body: bytes, repo: str, revision: str, folder: str | None) -> None:
        if not (found := self._repo(repo, revision)):
            return
        folder = (folder or "").strip("/")
        tree = found[0].commits[found[1]]
        entries: dict[str, dict[str, Any]] = {}
        recursive, is_expanded = (
            query.get(word, ["false"])[0].lower() in ("true", "1") for word in ("recursive", "expand")
        )
        for name, file in sorted(tree.items()):
            if folder and not name.startswith(folder + "/"):
                continue
            steps = name[len(folder) + 1 if folder else 0 :].split("/")
            for depth in range(1, len(steps) if recursive else min(2, len(steps))):
                path = "/".join(([folder] if folder else []) + steps[:depth])
                entries[path] = {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
            if recursive or len(steps) == 1:
                entries[name] = _entry(name, file, found[1] if is_expanded else None)
        if folder and not entries:
            return self._json({"error": f"{folder} does not exist"}, 404, {"X-Error-Code": "EntryNotFound"})
        start = int(query.get("cursor", ["0"])[0])
        limit = int(query.get("limit", [str(PAGE)])[0])
        page = [entries[key] for key in sorted(entries)][start : start + limit]
        headers = {}
        if start + limit < len(entries):
            again = f"{self.path.split('?')[0]}?recursive={recursive}&expand={is_expanded}&limit={limit}&cursor={start + limit}"
            headers["Link"] = f'<{self.server.url}{again}>; rel="next"'
        self._json(page, 200, headers)

    def paths_info(self, query: Any, body: bytes, repo: str, revision: str) -> None:
        if found := self._repo(repo, revision):
            tree = found[0].commits[found[1]]
            asked = json.loads(body) if body[:1] == b"{" else parse_qs(body.decode())
            told: list[dict[str, Any]] = []
            for path in asked["paths"] if isinstance(asked["paths"], list) else [asked["paths"]]:
                if path in tree:
                    told.append(_entry(path, tree[path], found[1] if asked.get("expand") else None))
                elif any(name.startswith(path.rstrip("/") + "/") for name in tree):
                    told.append({"type": "directory", "path": path, "oid": "0" * 40, "size": 0})
            self._json(told)

    def count(self, query: Any, body: bytes) -> None:
        """Bytes of all answers so far, for who measures from another process."""
        self._send(str(self.server.sent()).encode())

    # --- upload

    def validate(self, query: Any, body: bytes) -> None:
        self._json({"errors": [], "warnings": []})

    def preupload(self, query: Any, body: bytes, repo: str, revision: str) -> None:
        if found := self._repo(repo, revision):
            tree = found[0].commits[found[1]]
            told = []
            for file in json.loads(body)["files"]:
                sample = base64.b64decode(file["sample"])
                mode = "lfs" if self.server.is_lfs(file["path"], sample, file["size"]) else "regular"
                known = tree.get(file["path"])
                oid = None if known is None else known.sha256 if known.is_lfs else known.blob
                told.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
            self._json({"files": told})

    def batch(self, query: Any, body: bytes, repo: str) -> None:
        if not self._repo(repo):
            return
        told = []
        for wanted in json.loads(body)["objects"]:
            oid, size = wanted["oid"], wanted["size"]
            answer: dict[str, Any] = {"oid": oid, "size": size}
            if not self.server.object(oid).exists():
                put, part = f"{self.server.url}/lfs/put/{oid}", self.server.multipart_bytes
                verify = {"href": f"{self.server.url}/lfs/verify", "header": {}}
                upload: dict[str, Any] = {"href": put, "header": {}}
                if part is not None and size > part:
                    urls = {str(i + 1): f"{put}/part/{i + 1}" for i in range(-(-size // part))}
                    upload = {
                        "href": f"{self.server.url}/lfs/complete",
                        "header": {"chunk_size": str(part), **urls},
                    }
                answer["actions"] = {"upload": upload, "verify": verify}
            told.append(answer)
        self._json({"transfer": "basic", "objects": told})

    def put_object(self, query: Any, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self._json({"error": "the bytes are not what the oid says"}, 400)
        self.server.put(body)
        self._send(b"")

    def put_part(self, query: Any, body: bytes, oid: str, part: str) -> None:
        self.server.object(f"{oid}.part{part}").write_bytes(body)
        self._send(b"", 200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def complete(self, query: Any, body: bytes) -> None:
        asked = json.loads(body)
        parts = [self.server.object(f"{asked['oid']}.part{part['partNumber']}") for part in asked["parts"]]
        data = b"".join(part.read_bytes() for part in parts)
        if hashlib.sha256(data).hexdigest() != asked["oid"]:
            return self._json({"error": "the bytes are not what the oid says"}, 400)
        self.server.put(data)
        for part in parts:
            part.unlink()
        self._json({})

    def verify(self, query: Any, body: bytes) -> None:
        asked = json.loads(body)
        path = self.server.object(asked["oid"])
        is_right = path.exists() and path.stat().st_size == asked["size"]
        self._json({}, 200 if is_right else 404)

    def commit(self, query: Any, body: bytes, repo: str, revision: str) -> None:
        if not (found := self._repo(repo, revision)):
            return
        with self.server.lock:
            held, sha = found[0], found[0].find(revision)
            assert sha is not None
            tree, title = dict(held.commits[sha]), ""
            for line in body.splitlines():
                item = json.loads(line)
                value = item["value"]
                if item["key"] == "header":
                    title = value["summary"]
                    if value.get("parentCommit", sha) != sha:
                        return self._json({"error": "The branch has moved on"}, 412)
                elif item["key"] == "file":
                    data = base64.b64decode(value["content"])
                    tree[value["path"]] = File(len(data), self.server.put(data), _blob(data, False), False)
                elif item["key"] == "lfsFile":
                    path = self.server.object(value["oid"])
                    if not path.exists():
                        return self._json({"error": f"LFS pointer to {value['oid']} that is not there"}, 400)
                    size = path.stat().st_size
                    tree[value["path"]] = File(size, value["oid"], _pointer(value["oid"], size), True)
                elif item["key"] == "deletedFile":
                    del tree[value["path"]]
                elif item["key"] == "deletedFolder":
                    tree = {k: f for k, f in tree.items() if not k.startswith(value["path"].rstrip("/") + "/")}
            new = held.commit(revision, tree, title)
        url = f"{self._page(repo)}/commit/{new}"
        self._json({"success": True, "commitOid": new, "commitUrl": url, "hookOutput": ""})

    # --- download

    def resolve(self, query: Any, body: bytes, repo: str, revision: str, path: str) -> None:
        if not (found := self._repo(repo, revision)):
            return
        file = found[0].commits[found[1]].get(path)
        if file is None:
            return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": found[1], "ETag": f'"{file.sha256 if file.is_lfs else file.blob}"'}
        if file.is_lfs:
            headers |= {"X-Linked-Size": str(file.size), "X-Linked-Etag": f'"{file.sha256}"'}
            return self._send(b"", 302, {**headers, "Location": f"{self.server.url}/cdn/{file.sha256}"})
        self._file(file.sha256, headers)

    def cdn(self, query: Any, body: bytes, sha256: str) -> None:
        self._file(sha256, {"ETag": f'"{sha256}"'})

    def _file(self, sha256: str, headers: Mapping[str, str]) -> None:
        path = self.server.object(sha256)
        size = path.stat().st_size
        start, stop, status = 0, size, 200
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if asked:
            first, last = asked.groups()
            start = int(first) if first else max(0, size - int(last))
            stop = min(size, int(last) + 1) if first and last else size
            if start >= size:
                return self._send(b"", 416, {"Content-Range": f"bytes */{size}"})
            status = 206
        self.request_log.status = status
        self.send_response(status)
        for name, value in {**headers, "Accept-Ranges": "bytes", "Content-Length": str(stop - start)}.items():
            self.send_header(name, value)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        if self.command == "HEAD":
            return
        kind = self.fault.kind if self.fault else None
        with path.open("rb") as f:
            if kind == "cut":
                self.request_log.sent += self.connection.sendfile(f, start, (stop - start) // 2)
                self.close_connection = True
                self.connection.shutdown(2)
            elif kind == "corrupt":
                f.seek(start)
                data = bytearray(f.read(stop - start))
                data[len(data) // 2] ^= 0xFF
                self.wfile.write(data)
            elif stop > start:
                self.request_log.sent += self.connection.sendfile(f, start, stop - start)

    def _page(self, repo: str) -> str:
        return f"{self.server.url}/datasets/{repo}"


def _entry(name: str, file: File, commit: str | None = None) -> dict[str, Any]:
    """What the Hub tells of a file; of the commit that changed it only when asked to."""
    entry: dict[str, Any] = {"type": "file", "path": name, "oid": file.blob, "size": file.size}
    if file.is_lfs:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 130}
    if commit is not None:
        entry["lastCommit"] = {"id": commit, "title": "a commit", "date": DATE}
    return entry


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_API = rf"/api/datasets/{_REPO}"
_REV = r"(?P<revision>[^/]+|refs/[^/]+/[^/]+)"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "/sent", Handler.count),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("GET", _API, Handler.info),
    ("GET", rf"{_API}/revision/{_REV}", Handler.info),
    ("GET", rf"{_API}/refs", Handler.refs),
    ("POST", rf"{_API}/tag/{_REV}", Handler.tag),
    ("DELETE", rf"{_API}/tag/{_REV}", Handler.delete_tag),
    ("GET", rf"{_API}/commits/{_REV}", Handler.commits),
    ("GET", rf"{_API}/tree/(?P<revision>refs/[^/]+/[^/]+|[^/]+)(?P<folder>/.*)?", Handler.tree),
    ("POST", rf"{_API}/paths-info/{_REV}", Handler.paths_info),
    ("POST", rf"{_API}/preupload/{_REV}", Handler.preupload),
    ("POST", rf"{_API}/commit/{_REV}", Handler.commit),
    ("POST", rf"/datasets/{_REPO}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/lfs/put/(?P<oid>[0-9a-f]{64})", Handler.put_object),
    ("PUT", r"/lfs/put/(?P<oid>[0-9a-f]{64})/part/(?P<part>\d+)", Handler.put_part),
    ("POST", r"/lfs/complete", Handler.complete),
    ("POST", r"/lfs/verify", Handler.verify),
    ("GET|HEAD", rf"/datasets/{_REPO}/resolve/(?P<revision>refs/[^/]+/[^/]+|[^/]+)/(?P<path>.+)", Handler.resolve),
    ("GET|HEAD", r"/cdn/(?P<sha256>[0-9a-f]{64})", Handler.cdn),
]


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Hub]:
    """A Hub for as long as the context lasts."""
    hub = Hub(folder, **options)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dataset", action="append", default=[], metavar="USER/NAME=PATH")
    args = parser.parse_args()
    hub = Hub(args.folder)
    for dataset in args.dataset:
        name, _, path = dataset.partition("=")
        hub.add_folder(name, Path(path))
    print(hub.url, flush=True)
    hub.serve_forever()


if __name__ == "__main__":
    main()
