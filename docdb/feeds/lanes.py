"""Callbacks that wait for threads, and threads that wait for work.

What lives here: ``Lane`` and ``Rest``. What it must not know: who runs them (``hub``), what the callbacks do.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["STUCK_S", "Lane", "Rest"]

STUCK_S: Final = 0.005  # how long a callback may keep others waiting


class Lane:
    """Callbacks that wait for one another: ``at_once`` threads begin without asking, more only when nothing is finished any more."""

    __slots__ = ("at_once", "finished", "seen", "work", "working")

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.work: deque[Callable[[], None]] = deque()
        self.working = 0
        self.finished = 0
        self.seen = (0, 0.0)

    def needs_a_thread(self) -> bool:
        """Tell whether there is room for one more at work, or those who are have finished nothing for a while."""
        now = time.monotonic()
        if self.working < self.at_once:
            return True
        finished, since = self.seen
        if finished == self.finished:
            return now - since >= STUCK_S
        self.seen = self.finished, now
        return False


class Rest:
    """A thread that waits for the lead, or for ``errand``."""

    __slots__ = ("errand", "thread", "turn")

    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self.errand: Callable[[], None] | None = None
        self.turn = threading.Lock()
        self.turn.acquire()
