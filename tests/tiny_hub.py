"""A hub of a few files on this machine, speaking as much of the real one's protocol as a download needs; it can gate a model and break off in the middle."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class TinyHub:
    """Models by name, each a dictionary of path to bytes; and what went over the line."""

    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    break_off: dict[str, int] = field(default_factory=dict)
    """Paths whose bytes stop half way, so many times."""
    sent: list[tuple[str, str]] = field(default_factory=list)
    """(path, Range header) of every file that was asked for with GET."""
    endpoint: str = ""

    def add(self, name: str, folder: Path) -> None:
        self.models[name] = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@contextmanager
def tiny_hub() -> Iterator[TinyHub]:
    hub = TinyHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            if "Content_Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
            api = parts[:2] == ["api", "models"]
            parts = parts[2:] if api else parts
            name, what, revision = (
                "/".join(parts[:2]),
                parts[2] if len(parts) > 2 else "",
                parts[3] if len(parts) > 3 else "main",
            )
            files = hub.models.get(name)
            if files is None:
                return self.answer(404, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
            if revision not in ("main", COMMIT):
                return self.answer(404, X_Error_Code="RevisionNotFound", X_Error_Message="Invalid rev id")
            if name in hub.gated and what == "resolve":
                return self.answer(403, X_Error_Code="GatedRepo", X_Error_Message="Access to this model is restricted")
            if api and what == "tree":
                listed = [
                    {
                        "type": "file",
                        "path": path,
                        "size": len(data),
                        "oid": hashlib.sha1(data).hexdigest(),
                        **self.lfs(path, data),
                    }
                    for path, data in files.items()
                ]
                return self.answer(200, json.dumps(listed).encode(), Content_Type="application/json")
            if api:
                return self.answer(
                    200,
                    json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode(),
                    Content_Type="application/json",
                )
            self.file("/".join(parts[4:]), files)

        def lfs(self, path: str, data: bytes) -> dict[str, object]:
            large = path.endswith(".safetensors")
            return (
                {"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 1}} if large else {}
            )

        def file(self, path: str, files: dict[str, bytes]) -> None:
            if path not in files:
                return self.answer(404, X_Error_Code="EntryNotFound", X_Error_Message="Entry not found")
            data = files[path]
            etag = (hashlib.sha256 if path.endswith(".safetensors") else hashlib.sha1)(data).hexdigest()
            headers = {"ETag": f'"{etag}"', "X_Repo_Commit": COMMIT, "Accept_Ranges": "bytes"}
            if self.command == "HEAD":
                return self.answer(200, Content_Length=str(len(data)), **headers)
            asked = self.headers.get("Range", "")
            hub.sent.append((path, asked))
            start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
            if start:
                headers["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            rest = data[start:]
            if hub.break_off.get(path, 0):
                hub.break_off[path] -= 1
                self.answer(206 if start else 200, rest[: len(rest) // 2], Content_Length=str(len(rest)), **headers)
                self.close_connection = True
                return None
            return self.answer(206 if start else 200, rest, **headers)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
