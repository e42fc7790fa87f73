"""Servers on loopback with a network's latency added: the tests' Hub and moto's S3, in a process of their own.

    python -m bench.slow hub FOLDER SECONDS    FOLDER as the dataset me/zoo
    python -m bench.slow s3 FOLDER SECONDS     FOLDER as the objects of the bucket `bucket`

prints the address and serves until it is ended. Every piece that a client sends arrives so many seconds later; answers come at full speed.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def serving(kind: str, folder: Path, seconds: float) -> Iterator[dict[str, str]]:
    """One of the servers for as long as the context lasts; the environment variables that lead clients to it."""
    command = [sys.executable, "-m", "bench.slow", kind, str(folder), str(seconds)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the {kind} server did not start")
        yield {"HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1"} if kind == "hub" else {"AWS_ENDPOINT_URL": url, **KEYS}
    finally:
        server.terminate()
        server.wait()


def hub(folder: Path, seconds: float) -> None:
    from tests.hub_server import Hub

    class Behind(Hub):
        """Its answers name the address that is delayed."""

        public = ""

        @property
        def url(self) -> str:
            return self.public

    server = Behind(folder.with_name(f"{folder.name}-server"))
    server.add_folder("me/zoo", folder)
    with delayed(("127.0.0.1", server.server_address[1]), seconds) as url:
        server.public = url
        print(url, flush=True)
        server.serve_forever()


def s3(folder: Path, seconds: float) -> None:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not a line a request
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    straight = f"http://{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{straight}/bucket", method="PUT")).close()
    os.environ.update(KEYS)
    import s3fs

    s3fs.S3FileSystem(endpoint_url=straight).put(f"{folder}/", "bucket/", recursive=True)
    with delayed((host, port), seconds) as url:
        print(url, flush=True)
        threading.Event().wait()


@contextmanager
def delayed(target: tuple[str, int], seconds: float) -> Iterator[str]:
    """The address of a port that leads to `target`; requests take `seconds` longer, answers come at full speed."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=128)) as server:
        threading.Thread(target=_accept, args=(server, target, seconds), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def _accept(server: socket.socket, target: tuple[str, int], seconds: float) -> None:
    with suppress(OSError):  # closed
        while True:
            client, _ = server.accept()
            threading.Thread(target=_serve, args=(client, target, seconds), daemon=True).start()


def _serve(client: socket.socket, target: tuple[str, int], seconds: float) -> None:
    with client, suppress(OSError), socket.create_connection(target) as behind:
        for one in (client, behind):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = threading.Thread(target=_pump, args=(behind, client, 0.0), daemon=True)
        back.start()
        _pump(client, behind, seconds)
        back.join()


def _pump(source: socket.socket, sink: socket.socket, seconds: float) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 18):
            time.sleep(seconds)
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["hub", "s3"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("seconds", type=float)
    asked = parser.parse_args()
    {"hub": hub, "s3": s3}[asked.kind](asked.folder, asked.seconds)
