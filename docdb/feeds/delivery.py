"""Live queries with callbacks.

What lives here: ``Watcher``, whose callbacks run on a thread of the hub, and ``LoopWatcher``, whose callbacks run in a task of an event loop. What it must
not know: what the snapshots hold.

A watcher's callbacks follow one another, never two at once. What a callback raises ends its watcher and nobody else's: it goes to ``on_error``, or to the
logger ``docdb.feeds`` where there is none. A watcher lives until it is closed, whether or not anybody holds it. One whose callbacks take long is put aside,
where the quick ones do not wait for it, until it has been quick for a while.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from docdb.errors import UsageError
from docdb.feeds.waiting import doubt

if TYPE_CHECKING:
    from docdb.feeds.live import Commit, LiveQuery
    from docdb.feeds.live_events import LiveSnapshot
    from docdb.feeds.routing import LiveRouter

__all__ = ["LoopWatcher", "Watcher", "check_callbacks", "in_loop"]

T = TypeVar("T")
W = TypeVar("W", bound="Watcher[Any]")
TURNS: Final = 16  # snapshots delivered before others have their turn
SLOW_S: Final = 0.001  # what a turn may take among the quick
PROBATION: Final = 100  # quick turns until a slow one is thought to be quick again

OnChange = Callable[[Any], Any]
OnError = Callable[[BaseException], Any]


def check_callbacks(on_change: Any, on_error: Any) -> None:
    """Refuse what cannot be called, and an ``on_error`` that would never be."""
    for name, given in (("on_change", on_change), ("on_error", on_error)):
        if given is not None and not callable(given):
            raise UsageError(f"{name} is a function, not {type(given).__name__}", path=name)
    if on_change is None and on_error is not None:
        raise UsageError(
            "on_error goes with on_change", path="on_error", hint="iterating raises errors where they arise"
        )


def in_loop() -> bool:
    """Tell whether an event loop runs on this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Watcher(Generic[T]):
    """A live query that calls back: ``on_change(snapshot)`` for each snapshot, ``on_error(error)`` once, at the end, when it fails.

    ``close()`` may be called from anywhere, from inside a callback too. It waits for nobody: a callback that is running on another thread runs on, and is the
    last one.
    """

    __slots__ = ("__weakref__", "_again", "_feed", "_on_change", "_on_error", "_probation", "_router", "_scheduled")

    def __init__(
        self, router: LiveRouter, feed: LiveQuery[T], on_change: OnChange, on_error: OnError | None = None
    ) -> None:
        self._router = router
        self._feed = feed
        self._on_change = on_change
        self._on_error = on_error
        self._scheduled = False
        self._again = False
        self._probation = 0  # turns left in which it counts as slow
        router.watchers.add(self)

    def start(self) -> None:
        """Begin to call back."""
        self._feed.watcher = self
        self._feed.ring_with(self._ring)
        self._ring()

    @property
    def alive(self) -> bool:
        """Whether more may come: not closed."""
        return self._feed.alive

    @property
    def position(self) -> str:
        """Where the query has got to: everything up to this position is told."""
        return self._feed.position

    def refresh(self) -> None:
        """Ask the query anew before anything more is told."""
        self._feed.refresh()

    def close(self) -> None:
        """End the watcher. Twice is harmless."""
        self._router.watchers.discard(self)
        self._feed.watcher = None
        self._feed.close()

    def reserve(self) -> bool:
        """Take the turn for a commit ahead, if it is free and the callbacks are quick; ``foretell`` and ``go_on`` must follow."""
        with _mutex:
            if self._scheduled or self._probation or not self._feed.alive:
                return False
            self._scheduled = True
            return True

    def foretell(self, commit: Commit) -> None:
        """Make the snapshot of a commit that is not durable yet, where that is plain work."""
        try:
            self._feed.foretell(*commit)
        except Exception as error:  # the query will say so when it is asked
            doubt("ahead of a commit", error)

    def go_on(self, landed: bool) -> None:
        """Call back with what was foretold, if it has landed, and with what has come since."""
        snapshot = None
        try:
            snapshot = self._feed.settle(landed)
        except Exception as error:
            doubt("behind a commit", error)
        self._run(snapshot)

    def _ring(self) -> None:
        """Have the callbacks run; never waits."""
        if not self._feed.alive:
            self._router.watchers.discard(self)
            return
        with _mutex:
            self._again = True
            if self._scheduled:
                return
            self._scheduled = True
        self._router.hub.submit(self._run, aside=self._probation > 0)

    def _run(self, first: LiveSnapshot[T] | None = None) -> None:
        """Deliver what there is, on a thread of the hub."""
        aside, began = self._probation > 0, time.perf_counter()
        for _ in range(TURNS):
            self._again = self._again and first is not None
            delivered = self._deliver_one(first)
            first = None
            slow = time.perf_counter() - began >= SLOW_S
            if not delivered or slow:
                break
        self._probation = PROBATION if slow else max(0, self._probation - 1)
        if not delivered:
            with _mutex:
                if not self._again or not self._feed.alive:
                    self._scheduled = False
                    return
        now_aside = self._probation > 0
        self._router.hub.submit(self._run, aside=now_aside, inside=now_aside == aside)

    def _deliver_one(self, snapshot: LiveSnapshot[T] | None) -> bool:
        try:
            if snapshot is None:
                with self._router.hub.inside():
                    snapshot = self._feed.try_next()
            if snapshot is None or not self._feed.alive:
                return False
            answer = self._on_change(snapshot)
            if inspect.isawaitable(answer):
                asyncio.run(_awaited(answer))
        except BaseException as error:
            self.close()
            self._complain(error)
            return False
        return True

    def _complain(self, error: BaseException) -> None:
        """Hand an error to ``on_error``, or to the logger."""
        if self._on_error is None:
            _log(error)
            return
        try:
            answer = self._on_error(error)
            if inspect.isawaitable(answer):
                asyncio.run(_awaited(answer))
        except BaseException as failure:
            _log(failure)

    def __enter__(self: W) -> W:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<watcher of {self._feed!r}>"


class LoopWatcher(Watcher[T]):
    """The same in a task of the running event loop; callbacks may be functions or coroutine functions."""

    __slots__ = ("_items", "_task")

    def start(self, items: Any = None) -> None:
        """Begin to call back with what an asynchronous iterator gives, by default the query itself."""
        self._items = self._feed if items is None else items
        self._task = asyncio.get_running_loop().create_task(self._deliver(), name="docdb-watcher")

    async def _deliver(self) -> None:
        try:
            async for snapshot in self._items:
                await _settled(self._on_change(snapshot))
        except asyncio.CancelledError:
            self.close()
            raise
        except Exception as error:
            self.close()
            await self._complain_inline(error)
        finally:
            self._router.watchers.discard(self)

    async def _complain_inline(self, error: Exception) -> None:
        if self._on_error is None:
            _log(error)
            return
        try:
            await _settled(self._on_error(error))
        except Exception as failure:
            _log(failure)


_mutex = threading.Lock()


def _renew_lock() -> None:
    """In a forked child: a thread that is not there may hold the lock."""
    global _mutex
    _mutex = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


async def _awaited(answer: Any) -> Any:
    return await answer


async def _settled(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


def _log(error: BaseException) -> None:
    logging.getLogger("docdb.feeds").error("a live query's callback failed", exc_info=error)
