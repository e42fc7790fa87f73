"""Being told to stop, by Ctrl-C or SIGTERM: a KeyboardInterrupt, and one that cannot get lost.

Python raises it wherever the main thread happens to be, and drops it where that is a finalizer or a callback of the garbage collector. So it is also noted, for whoever goes
through the results to look at.
"""

from __future__ import annotations

import signal
from types import FrameType

_told = False


def listen() -> None:
    """From now on both signals are noted, and interrupt; one that is ignored, as Ctrl-C is by what a script starts in the background, stays so."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _note)


def check() -> None:
    """Raise the interrupt, once more, if there was one."""
    if _told:
        raise KeyboardInterrupt


def _note(number: int, frame: FrameType | None) -> None:
    global _told
    _told = True
    raise KeyboardInterrupt
