"""Feeds for asyncio.

What lives here: ``AsyncChangeStream``. What it must not know: how a feed learns of commits. Looking at the log is short work and
runs inline; waiting is a future of the loop that asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

from docdb.faces.aio_threads import Wrapper
from docdb.feeds.streams import ChangeStream
from docdb.feeds.waiting import Feed, check_timeout

__all__ = ["AsyncChangeStream", "AsyncFeed"]

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
            return await asyncio.wait_for(self._inner.__anext__(), timeout_s)
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
