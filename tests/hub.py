"""The real `huggingface_hub` client pointed at the small Hub, in this process or in another."""

from __future__ import annotations

import os
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
