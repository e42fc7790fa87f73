"""An interrupt that falls into a finalizer."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from pipeline import stopping


@pytest.fixture(autouse=True)
def undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(stopping, "_told", False)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Leaving:
    """Is told to stop while it is taken away."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_python_drops_is_still_noted(number: signal.Signals) -> None:
    stopping.listen()
    stopping.check()
    leaving = Leaving(number)
    del leaving  # the interrupt is raised in here, and goes no further
    with pytest.raises(KeyboardInterrupt):
        stopping.check()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_interrupt(number: signal.Signals) -> None:
    stopping.listen()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stopping.listen()
    signal.raise_signal(signal.SIGINT)
    stopping.check()
