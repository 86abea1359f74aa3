"""The threads of the asyncio face.

What lives here: ``Runner``, which decides when a call ends for the task that made it, ``threaded``, which turns a method into its asynchronous form, and
``Wrapper``, what all asynchronous objects have in common. What it must not know: what the calls do.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from docdb.engine.interrupts import Interrupt, Interrupted

__all__ = ["Runner", "Wrapper", "threaded"]

R = TypeVar("R")
P = ParamSpec("P")
# Writers wait together for one storage commit, so there are more threads than processors.
_THREADS: Final = 16


class Runner:
    """The threads of one database."""

    __slots__ = ("_executor",)

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="docdb")

    def submit(self, call: Callable[[], R]) -> Future[R]:
        """Begin a call on a thread; nobody waits for it yet."""
        return self._executor.submit(call)

    async def run(self, call: Callable[[], R]) -> R:
        """Run a call on a thread. Cancelled before it began it never runs; later the cancellation waits for its end, which a read hastens."""
        interrupt = Interrupt()
        future = self._executor.submit(interrupt.run, call)
        waiter = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            if future.cancel():
                raise
            interrupt.ask()
            while not waiter.done():
                try:
                    await asyncio.wait([waiter])
                except asyncio.CancelledError:
                    continue
            # Fetched so that asyncio does not report it as lost; the cancellation is what the task must see.
            failure = None if waiter.cancelled() else waiter.exception()
            if failure is not None and not isinstance(failure, Interrupted):
                raise asyncio.CancelledError from failure
            raise

    def close(self) -> None:
        """End the threads when they have finished what they do."""
        self._executor.shutdown(wait=True)


def threaded(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """Return the asynchronous form of a method: the same signature, run on a thread."""

    async def call(self: Any, /, *args: P.args, **named: P.kwargs) -> R:
        answer: R = await self._runner.run(functools.partial(method, self._inner, *args, **named))
        return answer

    functools.update_wrapper(call, method)
    return call


class Wrapper:
    """What wraps an object and knows the threads."""

    __slots__ = ("_inner", "_runner")

    def __init__(self, inner: Any, runner: Runner) -> None:
        self._inner = inner
        self._runner = runner

    def __eq__(self, other: object) -> bool:
        return bool(self._inner == other._inner) if isinstance(other, Wrapper) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._inner)

    def __repr__(self) -> str:
        return f"Async{self._inner!r}"
