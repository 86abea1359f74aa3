"""Handles in disguise: asyncio's behind the face of the plain one, and one that writes down which methods were called.

What lives here: ``Blocking``, through which every entry point is its own asynchronous twin, and ``Traced``, from which the tests know what the table of entry
points covers.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Blocking", "Loop", "Traced"]

ANSWERS = ("docdb.faces.results", "docdb.feeds.events", "docdb.feeds.live_events")  # what is read, not called


class Loop:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, call: Callable[[], Any]) -> Any:
        """Run a call in the loop, with what it has to be awaited for."""

        async def awaited() -> Any:
            answer = call()
            return await answer if inspect.iscoroutine(answer) else answer

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(60)

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Disguise:
    """An object that passes calls on and disguises what they answer."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def _met(self, name: str) -> None:
        """Called with each public name that is asked for."""

    def _run(self, call: Callable[[], Any]) -> Any:
        return call()

    def _like(self, value: Any) -> Any:
        """Return an answer in the same disguise, plain values as they are."""
        raise NotImplementedError

    def _given(self, value: Any) -> Any:
        """Return an argument without a disguise; functions that are given are given disguised objects."""
        return value._inner if isinstance(value, _Disguise) else value

    def __getattr__(self, name: str) -> Any:
        self._met(name)
        found = getattr(self._inner, name)
        if not callable(found):
            return self._like(found)

        def call(*args: Any, **named: Any) -> Any:
            given = [self._given(value) for value in args]
            options = {key: self._given(value) for key, value in named.items()}
            return self._like(self._run(lambda: found(*given, **options)))

        return call

    def __getitem__(self, key: Any) -> Any:
        return self._like(self._run(lambda: self._inner[key]))


class Traced(_Disguise):
    """A plain handle that adds ``(class, name)`` to a set with each name that is asked for."""

    def __init__(self, inner: Any, names: set[tuple[type, str]]) -> None:
        super().__init__(inner)
        self._names = names

    def _met(self, name: str) -> None:
        self._names.add((type(self._inner), name))

    def _like(self, value: Any) -> Any:
        return Traced(value, self._names) if _is_handle(value) else value

    def _given(self, value: Any) -> Any:
        if inspect.isfunction(value):
            return lambda handle: value(self._like(handle))
        return super()._given(value)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._inner)

    def __next__(self) -> Any:
        return next(self._inner)

    def __enter__(self) -> Any:
        return self._like(self._inner.__enter__())

    def __exit__(self, *error: Any) -> Any:
        return self._inner.__exit__(*error)


class Blocking(_Disguise):
    """An asynchronous handle that waits for every answer."""

    def __init__(self, inner: Any, loop: Loop) -> None:
        super().__init__(inner)
        self._loop = loop

    def _run(self, call: Callable[[], Any]) -> Any:
        return self._loop.run(call)

    def _like(self, value: Any) -> Any:
        return Blocking(value, self._loop) if _is_handle(value) else value

    def _given(self, value: Any) -> Any:
        if inspect.isfunction(value):

            async def call(handle: Any) -> Any:
                return await asyncio.to_thread(value, self._like(handle))

            return call
        return super()._given(value)

    def __iter__(self) -> Iterator[Any]:
        items = self._run(self._inner.__aiter__)
        while True:
            try:
                yield self._run(items.__anext__)
            except StopAsyncIteration:
                return

    def __next__(self) -> Any:
        try:
            return self._run(self._inner.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> Any:
        return self._like(self._run(self._inner.__aenter__))

    def __exit__(self, *error: Any) -> Any:
        return self._run(lambda: self._inner.__aexit__(*error))


def _is_handle(value: Any) -> bool:
    """Tell whether a value has methods of its own that lead to documents."""
    kind = type(value)
    if kind.__module__ in ANSWERS:
        return False
    return kind.__module__.startswith("docdb.") and any(
        hasattr(kind, name)
        for name in ("collection", "find", "where", "get", "try_next", "to_list", "end", "commit", "bulk_write")
    )
