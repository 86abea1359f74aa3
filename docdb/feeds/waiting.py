"""Waiting for news, on a thread or in a task.

What lives here: ``Feed``, what every feed is for the hub: something that can be rung and closed. What it must not know: what the news is.

A feed is rung by the hub's thread, which must not wait for anybody: ringing releases a lock, or posts to an event loop. The one who waits first
makes the bell silent, then looks, then waits; so no ring is lost. Several may wait for one feed: all are woken, and each item goes to one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from docdb.errors import DocdbError, InvalidOperation, UsageError

if TYPE_CHECKING:
    from docdb.feeds.hub import Hub

__all__ = ["Feed", "check_start", "check_timeout", "doubt"]

T = TypeVar("T")
F = TypeVar("F", bound="Feed[Any]")


class Feed(Generic[T]):
    """Items that come as time goes by: iterate with ``for`` or ``async for``, or ask with ``next`` and ``try_next``.

    ``close()`` may be called from anywhere, another thread too: it wakes all who wait, and iterating ends. Threads and tasks that read one feed share its
    items. A feed that is collected unused closes itself.
    """

    __slots__ = ("__weakref__", "_closed", "_error", "_hub", "_rings")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._closed = False
        self._error: BaseException | None = None
        self._rings: tuple[Callable[[], None], ...] = ()

    # What a feed must say

    def _look(self) -> T | None:
        """Return the next item without waiting, or None. Called on the thread of the one who reads."""
        raise NotImplementedError

    def _mark(self) -> Any:
        """Return what ``_rewind`` needs."""

    def _rewind(self, mark: Any) -> None:
        """Go back to a mark: the reader was interrupted and may not have the item, which must come again."""

    def _leave(self) -> None:
        """Give up what is held; called once, with the close."""

    # The face

    @property
    def alive(self) -> bool:
        """Whether more may come: not closed."""
        return not self._closed

    def try_next(self) -> T | None:
        """Return the next item, or None when there is none now."""
        mark = self._mark()
        try:
            return None if self._closed else self._checked()
        except DocdbError:
            raise
        except BaseException:
            self._rewind(mark)
            raise

    def next(self, timeout_s: float | None = None) -> T:
        """Return the next item; wait for it at most ``timeout_s``, without a limit when None.

        Raises StopIteration when the feed is closed or the time is up (``alive`` tells which).
        """
        check_timeout(timeout_s)
        until = None if timeout_s is None else time.monotonic() + timeout_s
        lock = threading.Lock()
        lock.acquire()
        ring = _releaser(lock)
        try:
            self._listen(ring)
            while not self._closed:
                mark = self._mark()
                try:
                    item = self._checked()
                    if item is not None:
                        self._unlisten(ring)  # here: an interruption behind a call must still find the mark
                        return item
                except DocdbError:
                    raise
                except BaseException:
                    self._rewind(mark)
                    raise
                left = -1.0 if until is None else until - time.monotonic()
                if until is not None and left <= 0 or not lock.acquire(timeout=left):
                    break
        except BaseException:
            self._unlisten(ring)
            raise
        self._unlisten(ring)
        raise StopIteration

    def __iter__(self) -> Iterator[T]:
        return self

    __next__ = next  # itself: behind a call of it an interruption would lose the item

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        with self.rung() as event:
            while not self._closed:
                event.clear()
                item = self.try_next()
                if item is not None:
                    return item
                await event.wait()
        raise StopAsyncIteration

    @contextlib.contextmanager
    def rung(self) -> Iterator[asyncio.Event]:
        """Give an event of the running loop that is set when there may be news: clear it, look, wait for it."""
        loop = asyncio.get_running_loop()
        event = asyncio.Event()

        def ring() -> None:
            # The loop may be gone before the feed is.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(event.set)

        self._listen(ring)
        try:
            yield event
        finally:
            self._unlisten(ring)

    def close(self) -> None:
        """End the feed and wake whoever waits for it. Twice is harmless."""
        if not self._closed:
            self._closed = True
            self._hub.leave(self)
            self._leave()
            self.ring()

    def ring_with(self, ring: Callable[[], None]) -> None:
        """Call this when there may be news, and at the close, for one who waits by other means; it must not wait."""
        self._listen(ring)

    def ring(self) -> None:
        """Say that there may be news; never waits."""
        for ring in self._rings:
            ring()

    @property
    def awaited(self) -> bool:
        """Whether anybody is to be rung."""
        return bool(self._rings)

    def _listen(self, ring: Callable[[], None]) -> None:
        with _mutex:
            self._rings = (*self._rings, ring)
        self._heed()

    def _unlisten(self, ring: Callable[[], None]) -> None:
        with _mutex:
            self._rings = tuple([other for other in self._rings if other is not ring])
        self._heed()

    def _heed(self) -> None:
        """Take note that ``awaited`` may have changed."""

    def fail(self, error: BaseException) -> None:
        """End the feed with an error, which the reader gets."""
        self._error = error
        self.ring()

    def _checked(self) -> T | None:
        if self._error is not None:
            error, self._error = self._error, None
            self.close()
            raise error
        if self._hub.foreign:
            raise InvalidOperation("the feed was made before the process forked", hint="make it anew in the child")
        return self._look()

    def __enter__(self: F) -> F:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Not close(): this may run anywhere, under the hub's lock too.
        if not getattr(self, "_closed", True):
            self._closed = True
            self._hub.bury(self._remains())

    def _remains(self) -> Any:
        """Return what the hub must still take out of its tables when the feed is collected."""
        return None


_mutex = threading.Lock()  # one for all feeds: of 100,000 live queries each byte counts


def _renew_lock() -> None:
    """In a forked child: a thread that is not there may hold the lock."""
    global _mutex
    _mutex = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def _releaser(lock: threading.Lock) -> Callable[[], None]:
    def ring() -> None:
        with contextlib.suppress(RuntimeError):  # rung twice
            lock.release()

    return ring


def check_timeout(timeout_s: Any) -> None:
    """Refuse what is no number of seconds."""
    if timeout_s is not None and (
        isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or timeout_s < 0
    ):
        raise UsageError("a time limit is a number of seconds, or None", path="timeout_s")


def check_start(from_: Any) -> None:
    """Refuse what is neither end of the history."""
    if from_ not in ("now", "oldest"):
        raise UsageError('history is read from "oldest" or from "now"', path="from_")


def doubt(when: str, error: Exception) -> None:
    """Note what went wrong where nobody can be told; an error that is none of docdb's own is a fault of docdb's."""
    level = logging.DEBUG if isinstance(error, DocdbError) else logging.WARNING
    logging.getLogger("docdb.feeds").log(level, "a live query, %s", when, exc_info=error)
