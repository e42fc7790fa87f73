"""For all tests: what is kept between runs goes to a folder of this run, never to the user's own cache."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import fsspec
import pytest

from tests.kit import s3

os.environ["NOISEZOO_CACHE"] = tempfile.mkdtemp(prefix="noisezoo-cache-")
# A shell lets what it starts in the background ignore Ctrl-C, and so would every process that a test starts and then interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., s3.Faulty]]:
    """S3 servers that fail as they are told, each made the present one."""

    import s3fs

    with ExitStack() as stack:
        url = stack.enter_context(s3.plain())

        def serve(**how: object) -> s3.Faulty:
            server = stack.enter_context(s3.faulty(url, **how))  # type: ignore[arg-type]
            for name, value in {**s3.ENVIRONMENT, "AWS_ENDPOINT_URL": server.url}.items():
                monkeypatch.setenv(name, value)
            monkeypatch.setitem(fsspec.config.conf, "s3", json.loads(s3.ENVIRONMENT["FSSPEC_S3"]))
            s3fs.S3FileSystem.clear_instance_cache()
            return server

        yield serve
        s3fs.S3FileSystem.clear_instance_cache()
