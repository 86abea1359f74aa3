"""A database as a caller may use it, for asyncio; ``docdb.aio`` hands it out.

What lives here: ``AsyncUserDatabase``. What it must not know: how anything is judged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, TypeVar, Unpack, overload

from docdb import command as _command
from docdb.aio import AsyncCollection
from docdb.aio_transaction import AsyncSnapshotView, AsyncTransaction, run
from docdb.faces.aio_cursor import AsyncCommandCursor
from docdb.faces.aio_feeds import AsyncChangeStream
from docdb.faces.aio_threads import Wrapper, threaded
from docdb.faces.arguments import WatchOptions
from docdb.feeds.events import Change
from docdb.user import SAME_AS_CURSORS, UserDatabase, retries_of

__all__ = ["AsyncUserDatabase"]

M = TypeVar("M")
R = TypeVar("R")


class AsyncUserDatabase(Wrapper):
    """The face of ``AsyncDatabase`` for one caller: every access judged, administration refused; see ``UserDatabase``."""

    __slots__ = ()
    _inner: UserDatabase
    command = _command

    @property
    def path(self) -> str:
        """The folder, or ``":memory:"``."""
        return self._inner.path

    @property
    def id(self) -> str:
        """The database's own id."""
        return self._inner.id

    @property
    def auth(self) -> dict[str, Any] | None:
        """A copy of who is judged."""
        return self._inner.auth

    @overload
    def collection(self, name: str) -> AsyncCollection[dict[str, Any]]: ...
    @overload
    def collection(self, name: str, *, model: type[M]) -> AsyncCollection[M]: ...
    def collection(self, name: str, *, model: type | None = None) -> AsyncCollection[Any]:
        """Return a collection, which need not exist yet."""
        return AsyncCollection(self._inner.collection(name, model=model), self._runner)

    def __getitem__(self, name: str) -> AsyncCollection[dict[str, Any]]:
        return AsyncCollection(self._inner[name], self._runner)

    def aggregate(self, pipeline: Any, **options: Any) -> AsyncCommandCursor[dict[str, Any]]:
        """Run a pipeline that begins with ``$documents``."""
        return AsyncCommandCursor(partial(self._inner.aggregate, pipeline, **options), self._runner)

    def transaction(self) -> AsyncTransaction:
        """Return a transaction for ``async with``."""
        return AsyncTransaction(self._inner.transaction(), self._runner)

    async def start_transaction(self) -> AsyncTransaction:
        """Return a transaction by hand: end it with ``await t.commit()`` or ``await t.rollback()``."""
        return AsyncTransaction(self._inner.start_transaction(), self._runner)

    async def run_transaction(self, call: Callable[[AsyncTransaction], Awaitable[R]], times: int = 3) -> R:
        """Await ``call(transaction)``, commit and return what it returned; at a conflict again, judged again."""
        return await run(retries_of(self._inner, times), self._runner, call)

    def snapshot(self, *, limit_s: float | None = SAME_AS_CURSORS) -> AsyncSnapshotView:
        """Return the database and its rules as they are now, to be read; for ``async with``."""
        return AsyncSnapshotView(self._inner.snapshot(limit_s=limit_s), self._runner)

    async def close(self) -> None:
        """Refuse every later call through this face; the database stays open."""
        self._inner.close()

    async def __aenter__(self) -> AsyncUserDatabase:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    __hash__ = object.__hash__

    def as_user(self, auth: Any, **options: Any) -> NoReturn:
        """Refuse: nobody becomes somebody else."""
        self._inner.as_user(auth, **options)

    def changes(
        self, *, operations: Any = None, pipeline: Any = None, resume_after: Any = None, from_: str = "now"
    ) -> AsyncChangeStream[Change]:
        """Return every change of what the caller may read, of all collections."""
        named: Any = {"operations": operations, "pipeline": pipeline, "resume_after": resume_after, "from_": from_}
        return AsyncChangeStream(self._inner.changes(**named), self._runner)

    def watch(self, pipeline: Any = None, **options: Unpack[WatchOptions]) -> AsyncChangeStream[dict[str, Any]]:
        """Return the changes of what the caller may read as pymongo's."""
        return AsyncChangeStream(self._inner.watch(pipeline, **options), self._runner)

    def consume(self, name: str, fn: Any, **options: Any) -> NoReturn:
        """Refuse."""
        self._inner.consume(name, fn, **options)

    def trigger(self, collection: str, events: Any, fn: Any, **options: Any) -> NoReturn:
        """Refuse."""
        self._inner.trigger(collection, events, fn, **options)

    def list_collections(self) -> NoReturn:
        """Refuse: options are not for users."""
        self._inner.list_collections()

    explain_access = threaded(UserDatabase.explain_access)

    backup = threaded(UserDatabase.backup)
    check = threaded(UserDatabase.check)
    compact = threaded(UserDatabase.compact)
    create_collection = threaded(UserDatabase.create_collection)
    drop_collection = threaded(UserDatabase.drop_collection)
    list_collection_names = threaded(UserDatabase.list_collection_names)
    list_rules = threaded(UserDatabase.list_rules)
    load_rules = threaded(UserDatabase.load_rules)
    rules = threaded(UserDatabase.rules)
    set_rules = threaded(UserDatabase.set_rules)
    stats = threaded(UserDatabase.stats)
    sweep = threaded(UserDatabase.sweep)
