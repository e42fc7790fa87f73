"""The real clients pointed at servers on this machine: `huggingface_hub` at the small Hub, in this process or in another, and s3fs at moto."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfFileSystem, constants

from tests.hub_server import Hub, running


@contextmanager
def local_hub(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[Hub]:
    """A Hub that every client in this process speaks to. The client's waits between tries are cut short."""
    with running(folder, **options) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        HfFileSystem.clear_instance_cache()
        yield hub
        HfFileSystem.clear_instance_cache()


def environment(hub: Hub, home: Path) -> dict[str, str]:
    """What another process needs to speak to the Hub, with caches of its own."""
    return {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(home),
        "HF_TOKEN": "hf_test",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def local_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A file system of S3 with an empty bucket, `bucket`."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        s3fs.S3FileSystem.clear_instance_cache()
        # moto keeps its buckets in the process, whatever server they came through.
        urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
        fs = s3fs.S3FileSystem()
        fs.mkdir("bucket")
        yield fs
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()
