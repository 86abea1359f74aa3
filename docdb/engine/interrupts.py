"""Reads that nobody waits for any more: a flag of the call a thread is in, which long reads look at.

What lives here: ``Interrupt``, and ``check``, asked once a batch. What it must not know: who waits (asyncio's face), what is read. Writes never ask: a thread
may be putting other callers' changes, and what a commit has begun is finished.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Interrupt", "Interrupted", "check", "possible"]

R = TypeVar("R")


class Interrupted(BaseException):
    """A read was given up because nobody waits for it; like KeyboardInterrupt no error of docdb, and it reaches no user."""


class _Call(threading.local):
    interrupt: Interrupt | None = None


_call = _Call()


class Interrupt:
    """The flag of one call. ``ask`` may come from any thread."""

    __slots__ = ("_asked",)

    def __init__(self) -> None:
        self._asked = False

    def ask(self) -> None:
        """Have the call's next look raise; harmless when it has ended."""
        self._asked = True

    def run(self, call: Callable[[], R]) -> R:
        """Run a call on this thread under the flag."""
        _call.interrupt = self
        try:
            return call()
        finally:
            _call.interrupt = None

    def look(self) -> None:
        """Raise Interrupted when it was asked for: once, so that what cleans up behind it is left alone."""
        if self._asked:
            self._asked = False
            raise Interrupted


def possible() -> bool:
    """Tell whether the call this thread is in may be interrupted."""
    return _call.interrupt is not None


def check() -> None:
    """Raise Interrupted when nobody waits for the call this thread is in."""
    if _call.interrupt is not None:
        _call.interrupt.look()
