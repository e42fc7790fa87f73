"""Stores that fail in passing: what is worth asking again, and what is told of it when asking again did not help.

The clients of the object stores try again by themselves; these few tries lie around theirs, for what escapes them: a body that was cut, a listing, a
refusal to connect that outlasts them.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

from noisezoo.errors import NoiseZooError, StopsAllError
from noisezoo.secrets import hidden

TRIES = 3
FIRST_WAIT = 0.2
"""Seconds before a second try; each further wait is twice as long."""
HTTP_TRIES = 6
LONGEST_WAIT = 30.0
FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Answers, rather than failures."""
A = TypeVar("A")

# By name, so that no client library needs to be installed: errors of a connection that broke, in botocore, aiohttp and fsspec.
_BROKEN = {"HTTPClientError", "ClientError", "IncompleteRead", "ResponseParserError", "FSTimeoutError"}
_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError"}
_TRANSPORTS = ("httpx2", "httpcore2", "aiohttp", "botocore")
_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google")


def again(act: Callable[[], A]) -> A:
    """What `act` gives, tried several times where the store or the network fails in passing."""
    for attempt in range(TRIES):
        try:
            return act()
        except FINAL:
            raise
        except Exception as e:
            if attempt == TRIES - 1 or not is_passing(e):
                raise
        time.sleep(FIRST_WAIT * 2**attempt)
    raise AssertionError("the last try answers or raises")


def over_http(ask: Callable[[], A]) -> A:
    """What `ask` gives, tried several times where an HTTP server or the way to it fails; as late as the server asks for, where it does."""
    for attempt in range(HTTP_TRIES):
        try:
            return ask()
        except FINAL:
            raise
        except Exception as e:
            if attempt == HTTP_TRIES - 1 or not is_transport(e):
                raise
            asked = str(getattr(getattr(_beneath(e), "response", None), "headers", {}).get("Retry-After", ""))
        wait = float(asked) if asked.isdigit() else min(LONGEST_WAIT, 0.5 * 2**attempt)
        time.sleep(wait + random.uniform(0, 0.1))
    raise AssertionError("the last try answers or raises")


def is_transport(error: Exception) -> bool:
    """Whether an HTTP request failed for the server's own reasons, or on the way, and not because of what it asked."""
    cause = _beneath(error)
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status is not None:
        return status in (408, 429) or status >= 500
    client = type(cause).__module__.split(".")[0]
    return client in _TRANSPORTS or (isinstance(cause, OSError) and client != "huggingface_hub")  # no token, or offline


def _beneath(error: BaseException) -> BaseException:
    """The failure that a client's RuntimeError stands for."""
    return error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed later: the server's own failures, timeouts, cut connections."""
    status = _status(error)
    if status:
        return status >= 500 or status in (408, 409, 429)
    return bool(
        isinstance(error, ConnectionError | TimeoutError)
        or (isinstance(error, OSError) and error.errno in (errno.EREMOTEIO, errno.EBUSY, errno.EIO, errno.EPIPE))
        or _names(error) & _BROKEN
    )


def told(error: BaseException, where: str) -> NoiseZooError | None:
    """A store's failure as a sentence; None for an error that is not a store's."""
    if not any(_is_client(e) for e in _chain(error)):
        return None
    if any(_names(e) & _CREDENTIALS for e in _chain(error)):
        return StopsAllError(
            f"There are no credentials for {where}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE (for gs:// log in with gcloud) in the environment."
        )
    reason = hidden(" ".join(str(error).split()))[:300].rstrip(".") or type(error).__name__
    if any(isinstance(e, PermissionError) or _status(e) in (401, 403) for e in _chain(error)):
        return StopsAllError(
            f"{where} refuses the credentials in the environment ({reason}): set those of an account that may read and write there."
        )
    if isinstance(error, FileNotFoundError):
        return StopsAllError(f"{where} cannot be written ({reason}): make the bucket, or give another with dir=….")
    return NoiseZooError(
        f"{where} does not answer as it should ({reason}): look at the network and the endpoint, and type the same command again; every finished unit is kept."
    )


def _is_client(error: BaseException) -> bool:
    return type(error).__module__.split(".")[0] in _CLIENTS or bool(_names(error) & {"FSTimeoutError"})


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what it came from."""
    found = [error]
    while (cause := found[-1].__cause__ or found[-1].__context__) is not None and cause not in found:
        found.append(cause)
    return found


def _status(error: BaseException) -> int:
    """The HTTP status that an error stands for; 0 where it stands for none."""
    for e in _chain(error):
        response = getattr(e, "response", None)
        code = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) if isinstance(response, dict) else 0
        code = code or (getattr(e, "code", 0) if type(e).__module__.startswith("gcsfs") else 0)
        if code:
            return int(code)
    return 0


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
