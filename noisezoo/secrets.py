"""Credentials stay in the environment: they are refused in an address, and blotted out of every text that is kept or shown."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from noisezoo.errors import NoiseZooError

_SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|ACCESS_KEY|API_KEY|CREDENTIAL")
_SHORTEST = 8
"""Characters from which a value is blotted out; shorter ones are words that occur by chance."""
_USER = re.compile(r"(?<=://)([^/@\s]+|[^/@:\s]+:[^@\s]+)@")
"""A user, and a password that may hold slashes."""
_SIGNED = re.compile(r"(?i)((?:signature|token|credential)=)[^&\s]+")


def hidden(text: str) -> str:
    """A text without the values of the environment's secrets, without users in addresses and without signatures."""
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= _SHORTEST:
            text = text.replace(value, "…")
    return _SIGNED.sub(r"\1…", _USER.sub("…@", text))


def checked(url: str) -> str:
    """An address without credentials in it; a sentence for one with, which does not repeat them."""
    parts = urlsplit(url)
    # A bucket has no colon in its name: what follows one is a password, with a slash in it. A revision stands after an @ in the path, hf://datasets/USER/NAME@REVISION.
    if "@" in parts.netloc or (parts.scheme in ("s3", "s3a", "gs", "gcs") and ":" in parts.netloc):
        raise NoiseZooError(
            f"{hidden(url)} holds credentials, which would end up in logs: leave them out and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment."
        )
    return url
