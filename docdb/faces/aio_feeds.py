"""Feeds for asyncio.

What lives here: ``AsyncChangeStream`` and ``AsyncLiveQuery``. What it must not know: how a feed learns of commits. Looking at the log is short work and
runs inline; waiting is a future of the loop that asks. A live query is asked, first and anew, on a thread.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from docdb.faces.aio_threads import Runner, Wrapper
from docdb.feeds.delivery import LoopWatcher, OnChange, OnError, check_callbacks
from docdb.feeds.live import LiveQuery
from docdb.feeds.live_events import LiveSnapshot
from docdb.feeds.streams import ChangeStream
from docdb.feeds.waiting import Feed, check_timeout

__all__ = ["AsyncChangeStream", "AsyncFeed", "AsyncLiveQuery", "watched"]

T = TypeVar("T")
F = TypeVar("F", bound="AsyncFeed[Any]")


class AsyncFeed(Wrapper, Generic[T]):
    """Items that come as time goes by; ``async for``, or ask with ``next`` and ``try_next``."""

    __slots__ = ()
    _inner: Feed[T]

    @property
    def alive(self) -> bool:
        """Whether more may come: not closed."""
        return self._inner.alive

    async def try_next(self) -> T | None:
        """Return the next item, or None when there is none now."""
        return self._inner.try_next()

    async def next(self, timeout_s: float | None = None) -> T:
        """Return the next item; StopAsyncIteration when the feed is closed or the time is up."""
        check_timeout(timeout_s)
        try:
            return await asyncio.wait_for(self.__anext__(), timeout_s)
        except TimeoutError:
            raise StopAsyncIteration from None

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        return await self._inner.__anext__()

    async def close(self) -> None:
        """End the feed and wake whoever waits for it. Twice is harmless."""
        self._inner.close()

    async def __aenter__(self: F) -> F:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._inner.close()


class AsyncChangeStream(AsyncFeed[T]):
    """Changes as they are committed; see ``ChangeStream``."""

    __slots__ = ()
    _inner: ChangeStream[T]

    @property
    def position(self) -> str:
        """Where the stream has got to: the text to resume behind what was delivered last."""
        return self._inner.position

    @property
    def resume_token(self) -> dict[str, str]:
        """The position in pymongo's form."""
        return self._inner.resume_token

    async def restart(self, from_: str = "oldest") -> None:
        """Go on after HistoryLost: from the oldest change left, or from now."""
        self._inner.restart(from_)


class AsyncLiveQuery(AsyncFeed[LiveSnapshot[T]]):
    """The result of a query, now and behind every commit that touches it; see ``LiveQuery``. Its first result is that of the moment it was made."""

    __slots__ = ("_beginning", "_looking")
    _inner: LiveQuery[T]

    def __init__(self, inner: LiveQuery[T], runner: Runner) -> None:
        super().__init__(inner, runner)
        self._looking: Future[LiveSnapshot[T] | None] | None = None
        try:
            snapshot = inner.beginning()
        except BaseException:
            inner.close()
            raise
        self._beginning = runner.submit(functools.partial(inner.begin, snapshot))

    @property
    def position(self) -> str:
        """Where the query has got to: everything up to this position is told."""
        return self._inner.position

    def refresh(self) -> None:
        """Ask the query anew before anything more is told."""
        self._inner.refresh()

    async def try_next(self) -> LiveSnapshot[T] | None:
        """Return the next snapshot, or None when there is none now."""
        await self._begun()
        while self._looking is not None or not self._inner.light:
            if self._looking is None:
                self._looking = self._runner.submit(self._inner.try_next)
            looking = (
                self._looking
            )  # goes on when the task that waits is cancelled, and the next one gets what it found
            await _over(looking)
            if self._looking is looking:
                self._looking = None
                return looking.result()
        return self._inner.try_next()

    async def __anext__(self) -> LiveSnapshot[T]:
        with self._inner.rung() as event:
            while self._inner.alive:
                event.clear()
                snapshot = await self.try_next()
                if snapshot is not None:
                    return snapshot
                await event.wait()
        raise StopAsyncIteration

    async def _begun(self) -> None:
        """Wait until the first result is there; the second time that is at once."""
        if not self._beginning.done():
            await _over(self._beginning)
        error = self._beginning.exception()
        if error is not None:
            self._inner.close()
            raise error


def watched(live: LiveQuery[T], runner: Runner, on_change: OnChange | None, on_error: OnError | None) -> Any:
    """Return the asynchronous live query, or with callbacks its watcher, a task of the running loop."""
    check_callbacks(on_change, on_error)
    found = AsyncLiveQuery(live, runner)
    if on_change is None:
        return found
    watcher: LoopWatcher[T] = LoopWatcher(live.router, live, on_change, on_error)
    watcher.start(found)
    return watcher


async def _over(future: Future[Any]) -> None:
    """Wait for the end of what a thread does; who is cancelled here leaves it running."""
    wrapped = asyncio.wrap_future(future)
    wrapped.add_done_callback(lambda done: done.cancelled() or done.exception())  # else asyncio reports it as lost
    await asyncio.wait([wrapped])
