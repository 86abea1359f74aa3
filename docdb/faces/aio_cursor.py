"""Streams of documents for asyncio.

What lives here: ``AsyncCommandCursor``, ``AsyncCursor`` and ``AsyncAggregation``. What it must not know: how documents are found. A batch is fetched on a
thread, its documents are then handed out inline.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Generator, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from docdb.engine.interrupts import Interrupted
from docdb.errors import InvalidOperation
from docdb.faces.aggregation import Aggregation, PipelineBuilder
from docdb.faces.aio_threads import Runner, Wrapper, threaded
from docdb.faces.cursor import CommandCursor, Cursor

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

__all__ = ["AsyncAggregation", "AsyncCommandCursor", "AsyncCursor"]

T = TypeVar("T")
_END: Final = object()


class AsyncCommandCursor(Wrapper, Generic[T]):
    """Documents, one after the other, once. ``await`` begins at once, ``async for`` begins with its first step."""

    __slots__ = ("_batches", "_buffer", "_start")

    def __init__(self, start: Callable[[], CommandCursor[T]], runner: Runner) -> None:
        super().__init__(None, runner)
        self._start = start
        self._batches: Iterator[list[T]] | None = None
        self._buffer: Iterator[T] = iter(())

    def _begin(self) -> None:
        self._batches = self._begin_inner().batches()

    def _begin_inner(self) -> CommandCursor[T]:
        if self._inner is None:
            self._inner = self._start()
        inner: CommandCursor[T] = self._inner
        return inner

    async def _begun(self: Self) -> Self:
        if self._inner is None:
            await self._runner.run(self._begin_inner)
        return self

    def __await__(self: Self) -> Generator[Any, None, Self]:
        return self._begun().__await__()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            document = next(self._buffer, _END)
            if document is not _END:
                return document  # type: ignore[return-value]
            if not await self._runner.run(self._fetch):
                raise StopAsyncIteration

    def _fetch(self) -> bool:
        """Take the next batch, on a thread; one that was ready stays here when the task that asked was cancelled meanwhile."""
        try:
            if self._batches is None:
                self._begin()
            batch = next(self._batches, None)  # type: ignore[arg-type]
        except Interrupted:
            self._batches = _GivenUp()
            raise
        self._buffer = iter(batch or ())
        return batch is not None

    async def next(self) -> T:
        """Return the next document; StopAsyncIteration behind the last."""
        return await self.__anext__()

    async def to_list(self, length: int | None = None) -> list[T]:
        """Return the documents that are left, or so many of them."""
        found: list[T] = []
        while length is None or len(found) < length:
            document = await anext(self, _END)
            if document is _END:
                break
            found.append(document)  # type: ignore[arg-type]
        return found

    def _left(self) -> CommandCursor[T]:
        """Return a cursor over what was not handed out yet."""
        if self._batches is None:
            return self._begin_inner()
        return CommandCursor(chain([list(self._buffer)], self._batches))

    async def to_arrow(self, *, text: Collection[str] = ()) -> pyarrow.Table:
        """Return the documents that are left as a ``pyarrow.Table``; see ``Cursor.to_arrow``."""
        return await self._runner.run(lambda: self._left().to_arrow(text=text))

    async def to_arrow_reader(
        self, schema: pyarrow.Schema | None = None, *, text: Collection[str] = ()
    ) -> pyarrow.RecordBatchReader:
        """Return the documents that are left as a stream of record batches, which is read on the thread of whoever asks it; see ``Cursor.to_arrow_reader``."""
        return await self._runner.run(lambda: self._left().to_arrow_reader(schema, text=text))

    async def to_pandas(self, *, text: Collection[str] = ()) -> pandas.DataFrame:
        """Return the documents that are left as a pandas DataFrame; see ``Cursor.to_pandas``."""
        return await self._runner.run(lambda: self._left().to_pandas(text=text))

    async def to_polars(self, *, text: Collection[str] = ()) -> polars.DataFrame:
        """Return the documents that are left as a polars DataFrame; see ``Cursor.to_polars``."""
        return await self._runner.run(lambda: self._left().to_polars(text=text))

    async def close(self) -> None:
        """Give the snapshot back; twice is harmless."""
        self._buffer = iter(())
        if self._inner is None:
            self._start = CommandCursor
        else:
            self._inner.close()
            self._batches = iter(())

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


Self = TypeVar("Self", bound="AsyncCommandCursor[Any]")


class _GivenUp(Iterator[Any]):
    """What is left of a cursor whose read was given up: the batch it was at is lost, so it never seems to be at its end."""

    def __next__(self) -> Any:
        raise InvalidOperation(
            "the task that read this cursor was cancelled", hint="rewind() a cursor of find, or ask again"
        )


class AsyncCursor(AsyncCommandCursor[T]):
    """What ``find`` answers: its methods change the cursor itself, until the first document is asked for."""

    __slots__ = ()

    def __init__(self, cursor: Cursor[T], runner: Runner) -> None:
        super().__init__(lambda: cursor, runner)
        self._inner: Cursor[T] = cursor

    @property
    def token(self) -> str | None:
        """The keyset token of the next page, once this page has been read to its end; None when there is none."""
        return self._inner.token

    def after(self, token: str | None) -> AsyncCursor[T]:
        """Begin behind the document a keyset token names, ``""`` for a first page; the order is completed by ``_id``."""
        self._inner.after(token)
        return self

    def sort(self, key_or_list: Any, direction: Any = None) -> AsyncCursor[T]:
        """Order by a field and direction, a list of pairs, or a document; the last call counts."""
        self._inner.sort(key_or_list, direction)
        return self

    def skip(self, skip: int) -> AsyncCursor[T]:
        """Leave out the first documents."""
        self._inner.skip(skip)
        return self

    def limit(self, limit: int) -> AsyncCursor[T]:
        """End after so many documents; 0 is no bound."""
        self._inner.limit(limit)
        return self

    def hint(self, index: Any) -> AsyncCursor[T]:
        """Use this index, by name or keys."""
        self._inner.hint(index)
        return self

    def collation(self, collation: Any) -> AsyncCursor[T]:
        """Compare text by this collation."""
        self._inner.collation(collation)
        return self

    def max_time_ms(self, max_time_ms: int | None) -> AsyncCursor[T]:
        """Raise TimeoutExpired after so many milliseconds."""
        self._inner.max_time_ms(max_time_ms)
        return self

    def batch_size(self, batch_size: int) -> AsyncCursor[T]:
        """Accept pymongo's advice on the size of messages."""
        self._inner.batch_size(batch_size)
        return self

    def comment(self, comment: Any) -> AsyncCursor[T]:
        """Attach a remark that ``explain()`` shows."""
        self._inner.comment(comment)
        return self

    def min(self, spec: Any) -> AsyncCursor[T]:
        """Begin at this key of the hinted index (inclusive)."""
        self._inner.min(spec)
        return self

    def max(self, spec: Any) -> AsyncCursor[T]:
        """End before this key of the hinted index (exclusive)."""
        self._inner.max(spec)
        return self

    def allow_disk_use(self, allow_disk_use: bool) -> AsyncCursor[T]:
        """Accept what is always so: a large sort may use the disk."""
        self._inner.allow_disk_use(allow_disk_use)
        return self

    def follow(self, follow: bool = True) -> AsyncCursor[T]:
        """Go on with a fresh snapshot when this one expires."""
        self._inner.follow(follow)
        return self

    def rewind(self) -> AsyncCursor[T]:
        """Begin again, on a new snapshot."""
        self._inner.rewind()
        self._batches, self._buffer = None, iter(())
        return self

    def clone(self) -> AsyncCursor[T]:
        """Return an unused cursor that asks the same."""
        return AsyncCursor(self._inner.clone(), self._runner)

    @overload
    def __getitem__(self, index: int) -> Coroutine[Any, Any, T]: ...
    @overload
    def __getitem__(self, index: slice) -> AsyncCursor[T]: ...
    def __getitem__(self, index: int | slice) -> Coroutine[Any, Any, T] | AsyncCursor[T]:
        """Return one document by its place (to be awaited), or bound this cursor by a slice."""
        if isinstance(index, slice):
            self._inner[index]
            return self
        return self._runner.run(functools.partial(self._inner.__getitem__, index))

    distinct = threaded(Cursor.distinct)
    explain = threaded(Cursor.explain)


class AsyncAggregation(PipelineBuilder):
    """A pipeline on a collection: ``await end()`` runs it, ``async for`` runs it lazily."""

    __slots__ = ("_inner", "_runner")

    def __init__(self, inner: Aggregation, runner: Runner) -> None:
        super().__init__()
        self._inner = inner
        self._inner._stages = self._stages
        self._runner = runner

    end = threaded(Aggregation.end)
    explain = threaded(Aggregation.explain)
    to_arrow = threaded(Aggregation.to_arrow)
    to_arrow_reader = threaded(Aggregation.to_arrow_reader)
    to_pandas = threaded(Aggregation.to_pandas)
    to_polars = threaded(Aggregation.to_polars)

    def cursor(self) -> AsyncCommandCursor[dict[str, Any]]:
        """Return the documents as a cursor."""
        return AsyncCommandCursor(self._inner.cursor, self._runner)

    def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        return self.cursor()
