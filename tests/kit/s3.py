"""S3 on loopback for tests: moto's server for the plain case, and in front of it one that fails on purpose.

`Faulty` passes requests on to moto and spoils some of them, which ones by seed: the n-th request for a key meets the same fault in every run, whatever runs beside it. moto looks
whether a key exists and then puts it, in two steps; conditional puts pass through here one at a time, so that they are as indivisible as in S3 itself.
"""

from __future__ import annotations

import http.client
import logging
import os
import random
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

READ_TIMEOUT = 0.8
"""Seconds that the clients of these servers wait for an answer."""
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "planted-key-id",
    "AWS_SECRET_ACCESS_KEY": "planted/secret+0123456789",
    "AWS_DEFAULT_REGION": "us-east-1",
    "FSSPEC_S3": f'{{"config_kwargs": {{"read_timeout": {READ_TIMEOUT}, "connect_timeout": 2}}}}',
}
FAULTS = ("error", "slow_down", "refused", "late", "unheard", "cut", "half_sent")
"""500 and 503 without doing anything; no answer and nothing done; done, but answered too late or not at all; an answer that ends in the middle; a body of which half was read."""


@contextmanager
def plain() -> Iterator[str]:
    """The address of an S3 server with one empty bucket, `bucket`."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        for method, path in (("POST", "/moto-api/reset"), ("PUT", "/bucket")):
            urllib.request.urlopen(urllib.request.Request(url + path, method=method)).close()
        yield url
    finally:
        server.stop()


@contextmanager
def faulty(target: str, seed: int = 0, rate: float = 0.0, **more: Any) -> Iterator[Faulty]:
    """A server before `target` that spoils this share of all requests."""
    server = Faulty(target, seed, rate, **more)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Faulty(ThreadingHTTPServer):
    """See above. `kinds` are the faults to choose among; `heeds_conditions=False` drops the headers of conditional puts as old servers do."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        target: str,
        seed: int,
        rate: float,
        kinds: tuple[str, ...] = FAULTS,
        in_a_row: int = 3,
        heeds_conditions: bool = True,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.seed, self.rate, self.kinds, self.heeds_conditions = seed, rate, kinds, heeds_conditions
        self.in_a_row = in_a_row
        self.hold: str | None = None
        """Before a request whose line begins so ("PUT /bucket/…") is answered or its body asked for, it is held: `held` is set, and `go` is waited for."""
        self.held, self.go = threading.Event(), threading.Event()
        self.happened: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self.conditional = threading.Lock()
        self._seen: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self, method: str, path: str) -> str | None:
        """What becomes of this request. The same one is spoilt `in_a_row` times at most: clients give up some time."""
        with self._lock:
            self.requests.append((method, path))
            self._seen[method, path] += 1
            count = self._seen[method, path]
            dice = random.Random(f"{self.seed} {method} {path} {count}")
            if count % (self.in_a_row + 1) == 0 or dice.random() >= self.rate:
                return None
            kind = dice.choice(self.kinds)
            self.happened[kind] += 1
            return kind

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up; that is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Faulty

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def handle_expect_100(self) -> bool:
        """Before the client may send its body."""
        server = self.server
        if server.hold is not None and f"{self.command} {self.path}".startswith(server.hold):
            server.held.set()
            server.go.wait(60)
        return super().handle_expect_100()

    def _serve(self) -> None:
        fault = self.server.fault(self.command, self.path)
        if fault == "half_sent" and self.command == "PUT":
            self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
            return self._hang_up()
        body = self._body()
        if fault in ("refused", "half_sent"):
            return self._hang_up()
        if fault == "error":
            return self._answer(500, {}, b"<Error><Code>InternalError</Code><Message>We fail</Message></Error>")
        if fault == "slow_down":
            return self._answer(503, {}, b"<Error><Code>SlowDown</Code><Message>Slow down</Message></Error>")
        status, headers, data = self._passed_on(body)
        if fault == "late":
            time.sleep(READ_TIMEOUT + 0.3)
        if fault in ("unheard", "late"):
            return self._hang_up()
        self._answer(status, headers, data, cut=fault == "cut")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            length = int(self.headers.get("Content-Length", 0))
            if len(body := self.rfile.read(length)) < length:
                raise ConnectionResetError("the client died in the middle of its body")
            return body
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _passed_on(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        dropped = {"transfer-encoding", "connection", "expect", "content-length"}
        if not self.server.heeds_conditions:
            dropped |= {"if-match", "if-none-match"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        is_conditional = self.command == "PUT" and {"if-match", "if-none-match"} & {n.lower() for n in headers}
        connection = http.client.HTTPConnection(self.server.target, timeout=30)
        try:
            if is_conditional:
                self.server.conditional.acquire()
            try:
                connection.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
                answer = connection.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()
            finally:
                if is_conditional:
                    self.server.conditional.release()
        finally:
            connection.close()

    def _answer(self, status: int, headers: Mapping[str, str], data: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "server"):
                self.send_header(name, value)
        # The answer to HEAD tells the length of what it does not send.
        length = (
            headers.get("Content-Length", headers.get("content-length", "0")) if self.command == "HEAD" else len(data)
        )
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True


def environment(url: str) -> dict[str, str]:
    """The environment of a process that is to use such a server."""
    return {**os.environ, **ENVIRONMENT, "AWS_ENDPOINT_URL": url}


def objects(url: str, prefix: str) -> dict[str, bytes]:
    """Everything that a reader can see under `bucket/<prefix>`, name to bytes."""
    import s3fs

    fs = s3fs.S3FileSystem(
        key="x", secret="x", endpoint_url=url, skip_instance_cache=True, client_kwargs={"region_name": "us-east-1"}
    )
    return {name.removeprefix(f"bucket/{prefix}/"): fs.cat_file(name) for name in fs.find(f"bucket/{prefix}")}
