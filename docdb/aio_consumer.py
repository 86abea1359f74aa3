"""Consumers and triggers for asyncio; ``docdb.aio`` hands them out.

What lives here: ``AsyncConsumer`` and ``AsyncTrigger``. What it must not know: how the log is followed. The following itself goes on in a thread; a coroutine
function runs as a task of the loop that made the consumer, with an ``AsyncTransaction``, a plain function in that thread, with a ``Transaction``.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, Final, TypeVar

from docdb.aio_transaction import AsyncTransaction
from docdb.consumer import Consumer, Trigger
from docdb.faces.aio_threads import Runner, Wrapper
from docdb.feeds.waiting import check_timeout
from docdb.sessions.following import LOOK_S, Wait
from docdb.transaction import Transaction

__all__ = ["AsyncConsumer", "AsyncTrigger", "dress_for", "loop_wait"]

LOOP_LOOK_S: Final = 0.5  # how often a thread that waits for a coroutine asks whether the loop still runs
F = TypeVar("F", bound="_AsyncFollower")


class _LoopEnded(BaseException):
    """The loop in which a function's coroutines ran is gone: no Exception, so that nothing is tried again."""


class _AsyncFollower(Wrapper):
    """What consumers and triggers have in common."""

    __slots__ = ()
    _inner: Consumer | Trigger

    @property
    def name(self) -> str:
        """The name under which the place is stored."""
        return self._inner.name

    @property
    def state(self) -> str:
        """Whether it is "waiting", "running", "stopped" or "closed"."""
        return self._inner.state

    @property
    def error(self) -> BaseException | None:
        """What it stopped with."""
        return self._inner.error

    @property
    def alive(self) -> bool:
        """Whether more may come: neither closed nor stopped."""
        return self._inner.alive

    @property
    def delivered(self) -> int:
        """Changes the function has been given, by this object."""
        return self._inner.delivered

    @property
    def failures(self) -> int:
        """How often the function failed, by this object."""
        return self._inner.failures

    @property
    def position(self) -> str | None:
        """The position stored last, by whoever holds the name; None before the first."""
        return self._inner.position

    async def catch_up(self, timeout_s: float | None = None) -> bool:
        """Wait until everything committed before this call is done; False when the time is up or it was closed. Raises the error it stopped with."""
        check_timeout(timeout_s)
        follower, loop = self._inner._follower, asyncio.get_running_loop()
        until = None if timeout_s is None else loop.time() + timeout_s
        goal = follower.goal()
        while not (done := follower.caught_up(goal)):
            if done is None or (until is not None and loop.time() >= until):
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def restart(self, from_: str = "stored") -> None:
        """Go on after a stop: from the stored place, from the oldest change left, or from now."""
        await _apart(functools.partial(self._inner.restart, from_))

    async def forget(self) -> None:
        """Close it and remove its stored place."""
        await self.close()
        await _apart(self._inner.forget)

    async def close(self) -> None:
        """End it behind the change that is being done; waits for that, unless the function itself calls. Twice is harmless."""
        if self._inner._follower.is_inside:
            self._inner.close()
        else:
            await _apart(self._inner.close)

    async def __aenter__(self: F) -> F:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _apart(call: Callable[[], None]) -> None:
    """Run what waits for a function on none of the database's threads: the function may need them all."""
    await asyncio.get_running_loop().run_in_executor(None, call)


class AsyncConsumer(_AsyncFollower):
    """Calls a function with every change and a transaction, exactly once; see ``Consumer``."""

    __slots__ = ()
    _inner: Consumer


class AsyncTrigger(_AsyncFollower):
    """Calls a function with every change, at least once; see ``Trigger``."""

    __slots__ = ()
    _inner: Trigger

    @property
    def skipped(self) -> int:
        """Changes that were given up, by this object."""
        return self._inner.skipped


def loop_wait() -> Wait:
    """Return how a follower's thread waits for coroutines that run as tasks of the loop that is running now."""
    loop = asyncio.get_running_loop()

    def wait(waiting: Any) -> Any:
        try:
            future = asyncio.run_coroutine_threadsafe(waiting, loop)
        except RuntimeError as error:
            waiting.close()
            raise _LoopEnded("its event loop has ended") from error
        while True:
            try:
                return future.result(LOOP_LOOK_S)
            except (TimeoutError, CancelledError) as error:
                if not loop.is_running():
                    raise _LoopEnded("its event loop has ended") from error
                if future.done():
                    raise

    return wait


def dress_for(call: Any, runner: Runner) -> Callable[[Transaction], Any] | None:
    """Return what makes of a transaction the one a function gets: a coroutine function the asynchronous one, a plain one (None) the other."""
    if inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None)):  # noqa: B004
        return lambda transaction: AsyncTransaction(transaction, runner)
    return None
