"""As much of Google Cloud Storage's JSON API on loopback as a store needs: put with conditions, read, list, delete. The client is gcsfs itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.held: dict[str, tuple[bytes, int]] = {}
        self.generation = 1000
        self.lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up; that is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""

    def _json(self, status: int, facts: object) -> None:
        self._bytes(status, json.dumps(facts).encode(), "application/json")

    def _bytes(self, status: int, data: bytes, kind: str = "application/octet-stream") -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, status: int, reason: str) -> None:
        self._json(status, {"error": {"code": status, "message": reason}})

    def _facts(self, key: str) -> dict[str, str]:
        data, generation = self.server.held[key]
        return {
            "kind": "storage#object",
            "bucket": "bucket",
            "name": key,
            "generation": str(generation),
            "size": str(len(data)),
            "updated": "2026-01-01T00:00:00Z",
            "timeCreated": "2026-01-01T00:00:00Z",
        }

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        wanted = parse_qs(urlsplit(self.path).query).get("ifGenerationMatch", [""])[0]
        head, _, rest = body.partition(b"\n\n")[2].partition(b"\n--==0==")
        data = rest.partition(b"\n\n")[2].removesuffix(b"\n--==0==--")
        key = json.loads(head)["name"]
        with self.server.lock:
            now = self.server.held.get(key, (b"", 0))[1]
            if wanted and int(wanted) != now:
                return self._refuse(412, "conditionNotMet")
            self.server.generation += 1
            self.server.held[key] = (data, self.server.generation)
            facts = self._facts(key)
        return self._json(200, facts)

    def do_GET(self) -> None:
        at = urlsplit(self.path)
        key = unquote(at.path.partition("/o/")[2])
        query = parse_qs(at.query)
        if not key:
            prefix = query.get("prefix", [""])[0]
            names = [name for name in sorted(self.server.held) if name.startswith(prefix)]
            if "delimiter" in query:
                tails = {name: name[len(prefix) :].partition("/") for name in names}
                folders = sorted({prefix + head + "/" for head, slash, _ in tails.values() if slash})
                names = [name for name, (_, slash, _) in tails.items() if not slash]
                return self._json(200, {"prefixes": folders, "items": [self._facts(name) for name in names]})
            return self._json(200, {"items": [self._facts(name) for name in names]})
        if key not in self.server.held:
            return self._refuse(404, "No such object")
        if query.get("alt") == ["media"]:
            return self._bytes(200, self.server.held[key][0])
        return self._json(200, self._facts(key))

    def do_DELETE(self) -> None:
        key = unquote(urlsplit(self.path).path.partition("/o/")[2])
        if self.server.held.pop(key, None) is None:
            return self._refuse(404, "No such object")
        return self._bytes(204, b"")


@contextmanager
def served() -> Iterator[str]:
    """The address of such a store, empty; any bucket is there."""
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
