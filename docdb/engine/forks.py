"""Forking while background threads use a storage.

What lives here: ``Inside``, the lock such a thread holds while it is inside the storage; who forks takes all of them first, because py-lmdb cannot be
closed in a child when a thread of the parent was inside. What it must not know: what the threads do.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Final

__all__ = ["PAUSE_S", "Inside"]

PAUSE_S: Final = 5.0  # for how long a fork waits for one thread; behind that the child may be refused

_all: weakref.WeakSet[Inside] = weakref.WeakSet()
_held: list[Inside] = []  # while the process forks
_mutex = threading.Lock()


class Inside:
    """A context of one background thread; may be nested."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        with _mutex:
            _all.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def hold(self) -> bool:
        """Wait until the thread is outside and keep it there; return whether that could be had in time."""
        return self._lock.acquire(timeout=PAUSE_S)

    def let_go(self) -> None:
        """Take a ``hold`` back."""
        self._lock.release()


def _pause_all() -> None:
    with _mutex:
        known = list(_all)
    _held.extend(inside for inside in known if inside.hold())


def _go_on() -> None:
    while _held:
        _held.pop().let_go()


def _go_on_in_child() -> None:
    global _mutex
    _mutex = threading.Lock()  # a thread that is not there may hold it
    _go_on()


os.register_at_fork(before=_pause_all, after_in_parent=_go_on, after_in_child=_go_on_in_child)
