"""Byte ranges of files of the Hub.

The Hub's own file system lists the folder of each file before it reads it, and reads megabytes ahead; a range of a file whose place is
known needs neither. The Hub says once where a file lies (a signed address elsewhere, for all but small files), and its ranges are asked
for there: small ones through the client's pool of connections, large ones by a plain socket, straight to where the bytes belong, at a
third of the client's work for each byte.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from typing import Any

from noisezoo.errors import NoiseZooError

# huggingface_hub is imported where it is needed: it takes longer than all of noisezoo.

KNOWN_SECONDS = 300.0
"""For so long a file's place is believed; the Hub's addresses are good for an hour."""
TIMEOUT = 60.0
TRIES = 5
_places: dict[tuple[str, str], tuple[str, float]] = {}


def get(fs: Any, path: str, start: int = 0, stop: int | None = None) -> bytes:
    """Some bytes of a file, all by default, the last ones where `start` is negative."""
    from huggingface_hub.utils import hf_raise_for_status, http_backoff

    wanted = {} if start == 0 and stop is None else {"range": _range(start, stop)}
    response = None
    for is_fresh in (False, True):
        place, headers = _place(fs, path, is_fresh)
        response = http_backoff("GET", place, headers={**headers, **wanted})
        if response.status_code not in (400, 401, 403, 404):
            break
    assert response is not None
    hf_raise_for_status(response)
    content: bytes = response.content
    return content


def get_into(fs: Any, path: str, start: int, out: memoryview) -> None:
    """Fill `out` from `start` on; goes on where it was cut off."""
    done = 0
    for attempt in range(TRIES):
        place, headers = _place(fs, path, attempt > 0)
        request = urllib.request.Request(place, headers={**headers, "range": _range(start + done, start + len(out))})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                while count := answer.readinto(out[done:]):
                    done += count
        except (OSError, http.client.HTTPException) as e:
            is_final = isinstance(e, urllib.error.HTTPError) and e.code in (404, 416)
            if is_final or attempt == TRIES - 1:
                raise NoiseZooError(f"Cannot read {path} from the Hub ({e}): try again.") from e
            time.sleep(0.5 * 2**attempt)
        if done == len(out):
            return
    raise NoiseZooError(f"{path} was cut off {TRIES} times in a row: try again.")


def _range(start: int, stop: int | None) -> str:
    return f"bytes={start}" if start < 0 else f"bytes={start}-{'' if stop is None else stop - 1}"


def _place(fs: Any, path: str, is_fresh: bool) -> tuple[str, dict[str, str]]:
    """Where a file lies, and the headers to ask there: who asks is told to the Hub alone."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError
    from huggingface_hub.utils import build_hf_headers

    known = _places.get((fs.endpoint, path))
    if is_fresh or known is None or known[1] < time.monotonic():
        at = fs.resolve_path(path)
        url = hf_hub_url(
            at.repo_id, at.path_in_repo, repo_type=at.repo_type, revision=at.revision, endpoint=fs.endpoint
        )
        try:
            told = get_hf_file_metadata(url, token=fs.token, endpoint=fs.endpoint, retry_on_errors=True)
        except EntryNotFoundError as e:
            raise FileNotFoundError(path) from e
        known = _places[fs.endpoint, path] = (told.location, time.monotonic() + KNOWN_SECONDS)
    place = known[0]
    return place, build_hf_headers(token=fs.token) if place.startswith(f"{fs.endpoint}/") else {}
