"""The same face for asyncio: the very same names, with ``await`` and ``async for``.

What lives here: ``open``, ``AsyncDatabase``, ``AsyncCollection``, ``AsyncQuery``, ``AsyncDocumentReference``,
``AsyncCursor``, ... Each wraps the object of the same name. What it must not know: how anything is done; it decides
only where.

Point reads by ``_id`` run inline, since a hop to a thread costs a hundred times the read. Everything else runs on a
few threads of the database. Cancelling a task withdraws its call when that has not begun; otherwise the cancellation
waits for the call's end, so that no commit goes on unseen behind a task that is gone."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack, overload

from docdb import command as _command
from docdb import database as _database
from docdb.aio_consumer import AsyncConsumer, AsyncTrigger, dress_for, loop_wait
from docdb.aio_transaction import AsyncSnapshotView, AsyncTransaction, run
from docdb.collection import Collection, is_point
from docdb.consumer import Consumer, Trigger, check_batch, default_name
from docdb.database import SAME_AS_CURSORS, Database
from docdb.faces.aio_cursor import AsyncAggregation, AsyncCommandCursor, AsyncCursor
from docdb.faces.aio_feeds import AsyncChangeStream, AsyncLiveQuery, watched
from docdb.faces.aio_threads import Runner, Wrapper, threaded
from docdb.faces.arguments import AggregateOptions, FindOptions, ModifyOptions, WatchOptions
from docdb.faces.cursor import CommandCursor
from docdb.faces.results import Result, UpdateAndReturnOutcome
from docdb.query import DocumentReference, Query

__all__ = [
    "AsyncAggregation", "AsyncChangeStream", "AsyncCollection", "AsyncCommandCursor", "AsyncConsumer", "AsyncCursor",
    "AsyncDatabase", "AsyncDocumentReference", "AsyncLiveQuery", "AsyncQuery", "AsyncSnapshotView", "AsyncTransaction", "AsyncTrigger", "open",
]  # fmt: skip

if TYPE_CHECKING:
    import datetime as dt

    from docdb.aio_user import AsyncUserDatabase
    from docdb.feeds.delivery import OnChange, OnError, Watcher
    from docdb.feeds.events import Change

T = TypeVar("T")
M = TypeVar("M")
R = TypeVar("R")


class AsyncQuery(Wrapper, Generic[T]):
    """Which documents, in which order, how many: a value."""

    __slots__ = ()
    _inner: Query[T]

    def where(self, condition: Any) -> AsyncQuery[T]:
        """Return the query with another condition in the place of the one before."""
        return AsyncQuery(self._inner.where(condition), self._runner)

    def order_by(self, field: str, direction: Any = "asc") -> AsyncQuery[T]:
        """Return the query with one more sort key, "asc" or "desc"."""
        return AsyncQuery(self._inner.order_by(field, direction), self._runner)

    def skip(self, count: int) -> AsyncQuery[T]:
        """Return the query without its first documents."""
        return AsyncQuery(self._inner.skip(count), self._runner)

    def limit(self, count: int) -> AsyncQuery[T]:
        """Return the query bounded to so many documents, at least one."""
        return AsyncQuery(self._inner.limit(count), self._runner)

    def field(self, fields: Any) -> AsyncQuery[T]:
        """Return the query with a projection."""
        return AsyncQuery(self._inner.field(fields), self._runner)

    def after(self, token: str | None) -> AsyncQuery[T]:
        """Return the query that begins behind the document a keyset token names."""
        return AsyncQuery(self._inner.after(token), self._runner)

    def hint(self, index: Any) -> AsyncQuery[T]:
        """Return the query that must use this index, by name or keys."""
        return AsyncQuery(self._inner.hint(index), self._runner)

    def collation(self, collation: Any) -> AsyncQuery[T]:
        """Return the query that compares text by this collation."""
        return AsyncQuery(self._inner.collation(collation), self._runner)

    def max_time_ms(self, limit: int | None) -> AsyncQuery[T]:
        """Return the query that raises TimeoutExpired after so many milliseconds."""
        return AsyncQuery(self._inner.max_time_ms(limit), self._runner)

    def options(self, options: Mapping[str, Any] | None = None, **named: Any) -> AsyncQuery[T]:
        """Return the query with these options and, for those not named, none."""
        return AsyncQuery(self._inner.options(options, **named), self._runner)

    async def get(self) -> Result[T]:
        """Return all documents of the query."""
        return await self._runner.run(self._inner.get)

    async def first(self) -> T | None:
        """Return the first document of the query, or None."""
        return await self._runner.run(self._inner.first)

    async def update_and_return(self, data: Mapping[str, Any]) -> UpdateAndReturnOutcome[T]:
        """Change the first match, in the query's order, and return it as it is then."""
        return await self._runner.run(functools.partial(self._inner.update_and_return, data))

    def cursor(self) -> AsyncCursor[T]:
        """Return the documents of the query as an unused cursor."""
        return AsyncCursor(self._inner.cursor(), self._runner)

    @overload
    def watch(self) -> AsyncLiveQuery[T]: ...
    @overload
    def watch(self, on_change: OnChange, on_error: OnError | None = None) -> Watcher[T]: ...
    def watch(self, on_change: Any = None, on_error: Any = None) -> AsyncLiveQuery[T] | Watcher[T]:
        """Return the query's result as it is now, and anew behind every commit that touches it.

        Callbacks are functions or coroutine functions and run in the running loop; see ``Query.watch``.
        """
        return watched(self._inner.live(), self._runner, on_change, on_error)  # type: ignore[no-any-return]

    count = threaded(Query.count)
    delete = threaded(Query.delete)
    distinct = threaded(Query.distinct)
    explain = threaded(Query.explain)
    remove = threaded(Query.remove)
    to_arrow = threaded(Query.to_arrow)
    to_arrow_reader = threaded(Query.to_arrow_reader)
    to_pandas = threaded(Query.to_pandas)
    to_polars = threaded(Query.to_polars)
    update = threaded(Query.update)

    def __aiter__(self) -> AsyncIterator[T]:
        return self.cursor()


class AsyncDocumentReference(Wrapper, Generic[T]):
    """One document by its ``_id``, whether it exists or not."""

    __slots__ = ()
    _inner: DocumentReference[T]

    @property
    def id(self) -> Any:
        """The document's ``_id``."""
        return self._inner.id

    @property
    def collection(self) -> AsyncCollection[T]:
        """The collection the document belongs to."""
        return AsyncCollection(self._inner.collection, self._runner)

    def field(self, fields: Any) -> AsyncDocumentReference[T]:
        """Return the reference with a projection for ``get``."""
        return AsyncDocumentReference(self._inner.field(fields), self._runner)

    async def get(self) -> T | None:
        """Return the document, or None; inline."""
        return self._inner.get()

    @overload
    def watch(self) -> AsyncLiveQuery[T]: ...
    @overload
    def watch(self, on_change: OnChange, on_error: OnError | None = None) -> Watcher[T]: ...
    def watch(self, on_change: Any = None, on_error: Any = None) -> AsyncLiveQuery[T] | Watcher[T]:
        """Return the document as it is now, in a ``LiveSnapshot``, and anew behind every commit that touches it."""
        return watched(self._inner.live(), self._runner, on_change, on_error)  # type: ignore[no-any-return]

    delete = threaded(DocumentReference.delete)
    remove = threaded(DocumentReference.remove)
    set = threaded(DocumentReference.set)
    update = threaded(DocumentReference.update)


class AsyncCollection(Wrapper, Generic[T]):
    """Documents under a name; see ``Collection``."""

    __slots__ = ()
    _inner: Collection[T]

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._inner.name

    def doc(self, id: Any) -> AsyncDocumentReference[T]:
        """Return a reference to the document with this ``_id``; no request."""
        return AsyncDocumentReference(self._inner.doc(id), self._runner)

    def where(self, condition: Any) -> AsyncQuery[T]:
        """Return a query; QueryError when the condition is wrong."""
        return AsyncQuery(self._inner.where(condition), self._runner)

    def order_by(self, field: str, direction: Any = "asc") -> AsyncQuery[T]:
        """Return all documents in an order, as a query."""
        return AsyncQuery(self._inner.order_by(field, direction), self._runner)

    def skip(self, count: int) -> AsyncQuery[T]:
        """Return all documents but the first, as a query."""
        return AsyncQuery(self._inner.skip(count), self._runner)

    def limit(self, count: int) -> AsyncQuery[T]:
        """Return so many documents, as a query."""
        return AsyncQuery(self._inner.limit(count), self._runner)

    def field(self, fields: Any) -> AsyncQuery[T]:
        """Return a part of all documents, as a query."""
        return AsyncQuery(self._inner.field(fields), self._runner)

    async def get(self) -> Result[T]:
        """Return all documents."""
        return await self._runner.run(self._inner.get)

    @overload
    def aggregate(self) -> AsyncAggregation: ...
    @overload
    def aggregate(self, pipeline: Any, **options: Unpack[AggregateOptions]) -> AsyncCommandCursor[dict[str, Any]]: ...
    def aggregate(
        self, pipeline: Any = None, **options: Unpack[AggregateOptions]
    ) -> AsyncAggregation | AsyncCommandCursor[dict[str, Any]]:
        """Run a list of stages (``await`` it or ``async for`` over it); without one return a builder with ``end()``."""
        if pipeline is None:
            return AsyncAggregation(self._inner.aggregate(None, **options), self._runner)  # type: ignore[arg-type]
        inner = self._inner
        return AsyncCommandCursor(lambda: inner.aggregate(pipeline, **options), self._runner)

    def changes(
        self,
        filter: Any = None,
        *,
        operations: Any = None,
        pipeline: Any = None,
        resume_after: Any = None,
        from_: str = "now",
    ) -> AsyncChangeStream[Change]:
        """Return every change of this collection from now on, from ``"oldest"``, or from behind a position."""
        inner = self._inner.changes(
            filter, operations=operations, pipeline=pipeline, resume_after=resume_after, from_=from_
        )
        return AsyncChangeStream(inner, self._runner)

    @overload
    def watch(self, pipeline: Any = None, **options: Unpack[WatchOptions]) -> AsyncChangeStream[dict[str, Any]]: ...
    @overload
    def watch(self, *, on_change: OnChange, on_error: OnError | None = None) -> Watcher[T]: ...
    def watch(self, pipeline: Any = None, **options: Any) -> AsyncChangeStream[dict[str, Any]] | Watcher[T]:
        """Return a change stream as pymongo's; with callbacks a live query of all documents."""
        if pipeline is None and "on_change" in options:
            found: Watcher[T] = self.where({}).watch(options.pop("on_change"), **options)
            return found
        inner: Any = self._inner.watch(pipeline, **options)
        return AsyncChangeStream(inner, self._runner)

    @overload
    def find(
        self, filter: Any = None, projection: None = None, skip: int = 0, limit: int = 0, **options: Unpack[FindOptions]
    ) -> AsyncCursor[T]: ...
    @overload
    def find(
        self, filter: Any, projection: Any, skip: int = 0, limit: int = 0, **options: Unpack[FindOptions]
    ) -> AsyncCursor[dict[str, Any]]: ...
    @overload
    def find(
        self, filter: Any = None, *, projection: Any, skip: int = 0, limit: int = 0, **options: Unpack[FindOptions]
    ) -> AsyncCursor[dict[str, Any]]: ...
    def find(
        self, filter: Any = None, projection: Any = None, skip: int = 0, limit: int = 0, **options: Unpack[FindOptions]
    ) -> AsyncCursor[Any]:
        """Return a cursor over the documents that match; a wrong filter is refused here."""
        return AsyncCursor(self._inner.find(filter, projection, skip, limit, **options), self._runner)

    async def find_one(self, filter: Any = None, projection: Any = None, **options: Unpack[FindOptions]) -> T | None:
        """Return the first document that matches, or None; by ``_id``, and by one value of a field with an index, inline."""
        if projection is None and not options:
            if is_point(filter):
                return self._inner.find_one(filter)
            few = self._inner.few(filter, 1)
            if few is not None:
                return self._inner.object_of(few[0]) if few else None
        return await self._runner.run(functools.partial(self._inner.find_one, filter, projection, **options))

    async def find_one_and_update(
        self, filter: Any, update: Any, projection: Any = None, sort: Any = None, upsert: bool = False,
        return_document: bool = False, **options: Unpack[ModifyOptions],
    ) -> T | None:  # fmt: skip
        """Change the first document that matches and return it as it was, or as it is now."""
        method = self._inner.find_one_and_update
        call = functools.partial(method, filter, update, projection, sort, upsert, return_document, **options)
        return await self._runner.run(call)

    async def find_one_and_replace(
        self, filter: Any, replacement: Any, projection: Any = None, sort: Any = None, upsert: bool = False,
        return_document: bool = False, **options: Unpack[ModifyOptions],
    ) -> T | None:  # fmt: skip
        """Replace the first document that matches and return it as it was, or as it is now."""
        method = self._inner.find_one_and_replace
        call = functools.partial(method, filter, replacement, projection, sort, upsert, return_document, **options)
        return await self._runner.run(call)

    async def find_one_and_delete(
        self, filter: Any, projection: Any = None, sort: Any = None, **options: Unpack[ModifyOptions]
    ) -> T | None:
        """Delete the first document that matches and return it."""
        call = functools.partial(self._inner.find_one_and_delete, filter, projection, sort, **options)
        return await self._runner.run(call)

    async def create_index(self, keys: Any, **options: Any) -> str:
        """Create an index and return its name; the same one again changes nothing."""
        return await self._runner.run(functools.partial(self._inner.create_index, keys, **options))

    async def create_indexes(self, indexes: Sequence[Any], **options: Any) -> list[str]:
        """Create indexes from ``IndexModel`` objects or documents and return their names."""
        return await self._runner.run(functools.partial(self._inner.create_indexes, indexes, **options))

    def list_indexes(self) -> AsyncCommandCursor[dict[str, Any]]:
        """Return the definitions of all indexes, ``_id_`` first."""
        return AsyncCommandCursor(self._inner.list_indexes, self._runner)

    async def rename(self, new_name: str, *, drop_target: bool = False, dropTarget: bool = False) -> AsyncCollection[T]:
        """Give the collection another name and return it under that."""
        call = functools.partial(self._inner.rename, new_name, drop_target=drop_target, dropTarget=dropTarget)
        return AsyncCollection(await self._runner.run(call), self._runner)

    def with_options(self, *, model: type[M]) -> AsyncCollection[M]:
        """Return the same collection with another model."""
        return AsyncCollection(self._inner.with_options(model=model), self._runner)

    def __getitem__(self, name: str) -> AsyncCollection[dict[str, Any]]:
        return AsyncCollection(self._inner[name], self._runner)

    add = threaded(Collection.add)
    bulk_write = threaded(Collection.bulk_write)
    count = threaded(Collection.count)
    count_documents = threaded(Collection.count_documents)
    delete_many = threaded(Collection.delete_many)
    delete_one = threaded(Collection.delete_one)
    distinct = threaded(Collection.distinct)
    drop = threaded(Collection.drop)
    drop_index = threaded(Collection.drop_index)
    drop_indexes = threaded(Collection.drop_indexes)
    estimated_document_count = threaded(Collection.estimated_document_count)
    index_information = threaded(Collection.index_information)
    index_stats = threaded(Collection.index_stats)
    insert_many = threaded(Collection.insert_many)
    insert_one = threaded(Collection.insert_one)
    options = threaded(Collection.options)
    replace_one = threaded(Collection.replace_one)
    update_many = threaded(Collection.update_many)
    update_one = threaded(Collection.update_one)


class AsyncDatabase(Wrapper):
    """A database for asyncio; see ``Database``. Use it as an asynchronous context, or ``await close()``."""

    __slots__ = ()
    _inner: Database
    command = _command

    def __init__(self, database: Database, runner: Runner | None = None) -> None:
        super().__init__(database, runner if runner is not None else Runner())

    @property
    def path(self) -> str:
        """The folder, or ``":memory:"``."""
        return self._inner.path

    @property
    def id(self) -> str:
        """The database's own id."""
        return self._inner.id

    @overload
    def collection(self, name: str) -> AsyncCollection[dict[str, Any]]: ...
    @overload
    def collection(self, name: str, *, model: type[M]) -> AsyncCollection[M]: ...
    def collection(self, name: str, *, model: type | None = None) -> AsyncCollection[Any]:
        """Return a collection, which need not exist yet."""
        return AsyncCollection(self._inner.collection(name, model=model), self._runner)

    def __getitem__(self, name: str) -> AsyncCollection[dict[str, Any]]:
        return AsyncCollection(self._inner[name], self._runner)

    async def create_collection(self, name: str, **options: Any) -> AsyncCollection[dict[str, Any]]:
        """Create a collection; CollectionError when it exists."""
        made = await self._runner.run(functools.partial(self._inner.create_collection, name, **options))
        return AsyncCollection(made, self._runner)

    def aggregate(self, pipeline: Any, **options: Any) -> AsyncCommandCursor[dict[str, Any]]:
        """Run a pipeline that begins with ``$documents``."""
        return AsyncCommandCursor(functools.partial(self._inner.aggregate, pipeline, **options), self._runner)

    def transaction(self) -> AsyncTransaction:
        """Return a transaction for ``async with``: committed at the end of the block, rolled back when it raises."""
        return AsyncTransaction(self._inner.transaction(), self._runner)

    async def start_transaction(self) -> AsyncTransaction:
        """Return a transaction by hand: end it with ``await t.commit()`` or ``await t.rollback()``."""
        return AsyncTransaction(self._inner.start_transaction(), self._runner)

    async def run_transaction(self, call: Callable[[AsyncTransaction], Awaitable[R]], times: int = 3) -> R:
        """Await ``call(transaction)``, commit and return what it returned; at a conflict again, ``times`` times at most."""
        return await run(_database.retries_of(self._inner, times), self._runner, call)

    def snapshot(self, *, limit_s: float | None = SAME_AS_CURSORS) -> AsyncSnapshotView:
        """Return the database as it is now, to be read; for ``async with``."""
        return AsyncSnapshotView(self._inner.snapshot(limit_s=limit_s), self._runner)

    def changes(
        self, *, operations: Any = None, pipeline: Any = None, resume_after: Any = None, from_: str = "now"
    ) -> AsyncChangeStream[Change]:
        """Return every change of all collections from now on, from ``"oldest"``, or from behind a position."""
        inner = self._inner.changes(operations=operations, pipeline=pipeline, resume_after=resume_after, from_=from_)
        return AsyncChangeStream(inner, self._runner)

    def watch(self, pipeline: Any = None, **options: Unpack[WatchOptions]) -> AsyncChangeStream[dict[str, Any]]:
        """Return a change stream of all collections as pymongo's."""
        return AsyncChangeStream(self._inner.watch(pipeline, **options), self._runner)

    def consume(
        self, name: str, fn: Callable[..., Any], *, collection: str | None = None, operations: Any = None, filter: Any = None,
        from_: str = "now", batch: int | None = None, times: int = 8,
    ) -> AsyncConsumer:  # fmt: skip
        """Call ``fn(change, transaction)`` for every change, exactly once; a coroutine function as a task of this loop. See ``Database.consume``."""
        what = self._inner._following(name, collection, operations, filter, from_, times)
        batch, dress = check_batch(batch), dress_for(fn, self._runner)
        inner = Consumer(self._inner._session, what, fn, batch=batch, wait=loop_wait(), dress=dress)
        return AsyncConsumer(inner, self._runner)

    def trigger(
        self, collection: str, events: Any, fn: Callable[..., Any], *, filter: Any = None, name: str | None = None,
        from_: str = "now", times: int = 8, on_failure: str = "stop",
    ) -> AsyncTrigger:  # fmt: skip
        """Call ``fn(change)`` after the commit of every such change, at least once; see ``Database.trigger``."""
        named = default_name(collection, fn) if name is None else name
        what = self._inner._following(named, collection, events, filter, from_, times)
        return AsyncTrigger(
            Trigger(self._inner._session, what, fn, on_failure=on_failure, wait=loop_wait()), self._runner
        )

    def list_collections(self) -> AsyncCommandCursor[dict[str, Any]]:
        """Return name, type and options of each collection."""
        return AsyncCommandCursor(lambda: CommandCursor(iter([list(self._inner.list_collections())])), self._runner)

    async def close(self) -> None:
        """Wait for the calls that run, then close the database and its threads. Twice is harmless."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._end)

    def _end(self) -> None:
        _database.end_followers(self._inner)  # whose functions use the threads
        self._runner.close()
        self._inner.close()

    async def __aenter__(self) -> AsyncDatabase:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    __hash__ = object.__hash__

    def as_user(
        self, auth: Mapping[str, Any] | None, *, expires_at: dt.datetime | None = None, filter_mode: bool = False, strict_ids: bool = False,
        on_denied: Callable[[Any], Any] | None = None,
    ) -> AsyncUserDatabase:  # fmt: skip
        """Return this database as a caller may use it, each access judged by the rules; see ``Database.as_user``."""
        from docdb.aio_user import AsyncUserDatabase  # which imports this module

        inner = self._inner.as_user(
            auth, expires_at=expires_at, filter_mode=filter_mode, strict_ids=strict_ids, on_denied=on_denied
        )
        return AsyncUserDatabase(inner, self._runner)

    backup = threaded(Database.backup)
    check = threaded(Database.check)
    compact = threaded(Database.compact)
    drop_collection = threaded(Database.drop_collection)
    list_collection_names = threaded(Database.list_collection_names)
    list_rules = threaded(Database.list_rules)
    load_rules = threaded(Database.load_rules)
    rules = threaded(Database.rules)
    set_rules = threaded(Database.set_rules)
    stats = threaded(Database.stats)
    sweep = threaded(Database.sweep)


class _Opening:
    """A database being opened: ``await`` it, or ``async with`` it."""

    __slots__ = ("_call", "_database")

    def __init__(self, call: Callable[[], Database]) -> None:
        self._call = call
        self._database: AsyncDatabase | None = None

    async def _opened(self) -> AsyncDatabase:
        runner = Runner()
        try:
            self._database = AsyncDatabase(await runner.run(self._call), runner)
        except BaseException:
            runner.close()
            raise
        return self._database

    def __await__(self) -> Generator[Any, None, AsyncDatabase]:
        return self._opened().__await__()

    async def __aenter__(self) -> AsyncDatabase:
        return await self._opened()

    async def __aexit__(self, *_: object) -> None:
        if self._database is not None:
            await self._database.close()


def open(path: str | os.PathLike[str], **options: Any) -> _Opening:
    """Open a database with the options of ``docdb.open``: ``async with docdb.aio.open(path) as db`` or ``db = await ...``.

    >>> async def main():
    ...     async with open(":memory:") as db:
    ...         await db["users"].insert_one({"_id": 1, "name": "Ann"})
    ...         return await db["users"].find_one({"_id": 1})
    >>> asyncio.run(main())
    {'_id': 1, 'name': 'Ann'}
    """
    return _Opening(functools.partial(_database.open, path, **options))
