"""A session on one picture of the database: what snapshot views and transactions have in common.

What lives here: ``FixedStore``, which answers a session like a store does, but from one snapshot that it holds, and ``FixedSession``, the
session over it. What it must not know: faces, writing.

The clock stands still: ``now`` is the moment the picture was taken, so what expires does not vanish between two reads. Calls from several threads
follow one another (the storage's snapshot belongs to one thread at a time); the batches of a cursor are calls of their own.
"""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import Any, Final, Generic, NoReturn, TypeVar, cast

from docdb.engine.base import DOCUMENTS, EngineTransaction
from docdb.errors import DocdbError, InvalidOperation, SnapshotExpired
from docdb.planner.queries import FindQuery
from docdb.sessions.operations import Operation, Outcome
from docdb.sessions.register import register_of
from docdb.sessions.session import Page, StoreSession
from docdb.store import codec
from docdb.store.catalog import Catalog, CollectionInfo, State
from docdb.store.columns import Wanted
from docdb.store.keyspace import document_key
from docdb.store.points import Reader
from docdb.store.snapshots import Snapshot
from docdb.store.views import View

__all__ = ["FixedSession", "FixedStore", "guarded"]

NOT_HERE: Final = 263  # MongoDB's OperationNotSupportedInTransaction

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Picture(Snapshot):
    """The picture as one call or one cursor sees it; closing it does not end what it was taken from."""

    __slots__ = ("_fixed", "_picture")

    def __init__(self, fixed: FixedStore, txn: EngineTransaction, catalog: Catalog) -> None:
        self._fixed = fixed
        self._picture = txn
        self.catalog = catalog

    def view(self, name: str) -> View:
        """Return a collection as this picture has it."""
        info = self.catalog.get(name)
        self._fixed.note_name(name, info)
        engine = self._fixed.engine
        return View(
            self._picture, info, applies_programs=engine.applies_programs, check=self._fixed.check, join=engine.join
        )

    def state(self) -> State:
        """Return the last commit and the log's extent in this picture."""
        return State.read(self._picture)

    @property
    def txn(self) -> EngineTransaction:
        """The engine's transaction."""
        return self._picture

    def check(self) -> None:
        """Raise when what the picture was taken from is over."""
        self._fixed.check()

    def rest(self) -> None:
        """It is the register's business when what the picture was taken from is over."""

    def wake(self) -> None:
        """As ``rest``."""

    def cause(self, error: DocdbError) -> DocdbError:
        """Return the error."""
        return error

    def close(self) -> None:
        """End this look at the picture; twice is harmless."""
        self._fixed.looked(self._picture)


class FixedStore:
    """One snapshot of a session's store, taken at the first use. ``limit_s`` None: without a limit."""

    what = "snapshot view"

    def __init__(self, session: StoreSession, limit_s: float | None) -> None:
        self.parent = session
        self.origin = session.store
        self.engine: Any = self.origin.engine
        self.lock = threading.RLock()
        self.due = None if limit_s is None else time.monotonic() + limit_s
        self._limit_s = limit_s
        self._register = register_of(self.origin)
        self._pid = os.getpid()
        self._base: Snapshot | None = None
        self._now: dt.datetime | None = None
        self._over: Callable[[], DocdbError] | None = None

    # Its life

    @property
    def active(self) -> bool:
        """Whether calls are still answered."""
        return self._over is None and not self._late() and not self.parent.closed

    def check(self) -> None:
        """Raise when it is over, for whatever reason."""
        if self._over is not None:
            raise self._over()
        if self._pid != os.getpid():
            raise InvalidOperation(f"the {self.what} was begun in another process", hint="begin one after the fork")
        if self.parent.closed:
            self.end(lambda: InvalidOperation("the database is closed"))
        elif self._late():
            self.end(self._expired)
        if self._over is not None:
            raise self._over()

    def turn(self) -> threading.RLock:
        """Return what a call holds while it is inside, and asks ``check`` in; raises at once when it is over.

        The lock itself, because no interruption comes between taking it and the block behind ``with``.
        """
        self.check()
        return self.lock

    def end(self, over: Callable[[], DocdbError]) -> None:
        """Refuse every later call with this error and give the snapshot back."""
        with self.lock:
            if self._over is None:
                self._over = over
            self._drop()

    def end_if_idle(self) -> bool:
        """End it when its time is over and no call is running; return whether it is over."""
        if self._pid != os.getpid():  # its lock may be held by a thread that does not exist here
            return True
        if self._over is None and not self._late():
            return False
        if not self.lock.acquire(blocking=False):
            return False
        try:
            self.end(self._expired)
        finally:
            self.lock.release()
        return True

    def _late(self) -> bool:
        return self.due is not None and time.monotonic() > self.due

    def _expired(self) -> DocdbError:
        return SnapshotExpired(
            f"the {self.what} is older than {self._limit_s} s", hint="take a new one, or raise its limit_s"
        )

    def _drop(self) -> None:
        base, self._base = self._base, None
        if base is not None:
            base.close()
            self._register.remove(self)

    @property
    def base(self) -> Snapshot:
        """The snapshot everything is read from."""
        if self._base is None:
            self.check()
            base = self.origin.snapshot()
            try:
                self._now = self.parent.settings.clock()
                self.begun(base)
                self._register.add(self)
            except BaseException:
                self._register.remove(self)
                base.close()
                raise
            self._base = base
        return self._base

    def begun(self, base: Snapshot) -> None:
        """Called once, when the snapshot has been taken."""

    def now(self) -> dt.datetime:
        """Return the moment at which the picture was taken."""
        if self._now is None:
            _ = self.base
        assert self._now is not None
        return self._now

    # What a session asks of its store

    def snapshot(self, limit_s: float | None = None) -> Snapshot:
        """Return the picture for one call or one cursor."""
        return Picture(self, self.base.txn, self.base.catalog)

    def looked(self, txn: EngineTransaction) -> None:
        """Called at the end of each call or cursor."""

    def catalog(self) -> Catalog:
        """Return the catalog of the picture."""
        return self.base.catalog

    def names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        return sorted(self.catalog().collections)

    def collection(self, name: str) -> CollectionInfo | None:
        """Return a collection's definition, or None."""
        info = self.catalog().get(name)
        self.note_name(name, info)
        return info

    def get(self, name: str, id_key: bytes) -> Any | None:
        """Return a document by its id key; ``Ellipsis`` where the clock has to be asked."""
        info = self.collection(name)
        if info is None:
            return None
        self.note_id(name, info, id_key)
        return ... if info.expiring else self.reading.get(DOCUMENTS, document_key(info.number, id_key), codec.decode)

    @property
    def reading(self) -> EngineTransaction:
        """What documents are read from."""
        return self.base.txn

    def note_name(self, name: str, info: CollectionInfo | None) -> None:
        """Called whenever a name is looked up."""

    def note_id(self, name: str, info: CollectionInfo, id_key: bytes) -> None:
        """Called before a document is read by its id."""

    def note_use(self, index_number: int) -> None:
        """Count that a query was served by an index."""
        self.origin.note_use(index_number)

    def uses(self, index_number: int) -> int:
        """Return how often an index served a query in this process since open."""
        return self.origin.uses(index_number)

    def write(self, call: Callable[[Any], Any]) -> Any:
        """Refuse."""
        raise InvalidOperation(f"a {self.what} cannot be written to", hint="use db.transaction()")


class Batches(Generic[T]):
    """The batches of a cursor, each a call of its own."""

    __slots__ = ("_batches", "_store")

    def __init__(self, store: FixedStore, batches: Iterator[list[T]]) -> None:
        self._store = store
        self._batches = batches

    def __iter__(self) -> Iterator[list[T]]:
        return self

    def __next__(self) -> list[T]:
        with self._store.turn():
            self._store.check()
            return next(self._batches)

    def close(self) -> None:
        """Let go of the picture."""
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()


def guarded(method: F) -> F:
    """Return a method of the session as a call of its own."""

    @wraps(method)
    def call(self: FixedSession, /, *args: Any, **named: Any) -> Any:
        store = self.store
        with store.turn():
            store.check()
            return method(self, *args, **named)

    return cast(F, call)


class FixedSession(StoreSession):
    """The database's session, answered from one picture."""

    store: Any  # a FixedStore, which is asked like a Store

    def __init__(self, store: FixedStore) -> None:
        self.store = store
        # The limit is the store's own; the clock stands still.
        self.settings = replace(store.parent.settings, snapshot_limit_s=None, clock=store.now)
        self._closed = False

    def close(self) -> None:
        """Refuse every later call."""
        self.store.end(lambda: InvalidOperation(f"the {self.store.what} is closed"))

    def readers(self, name: str) -> tuple[Reader, Reader]:
        """Return ``get`` and ``match_id`` for one collection."""
        return partial(self.get, name), partial(self.match_id, name)

    def finder(self, name: str) -> None:
        """Return the short road to documents by a field: none, no reader knows the picture."""

    def changer(self, name: str) -> None:
        """Return the short road for changes: none, nothing is committed here."""

    def find(self, name: str, query: FindQuery, *, max_time_ms: float | None = None) -> Iterator[list[dict[str, Any]]]:
        """Yield batches of documents; with ``after`` a ``Page``."""
        self.store.check()
        found = super().find(name, query, max_time_ms=max_time_ms)
        if isinstance(found, Page):
            found.batches = Batches(self.store, found.batches)
            return found
        return Batches(self.store, found)

    def aggregate(self, name: str | None, pipeline: Any, **options: Any) -> Iterator[list[dict[str, Any]]]:
        """Yield batches of what a pipeline makes."""
        self.store.check()
        return Batches(self.store, super().aggregate(name, pipeline, **options))

    def stored(self, name: str, query: FindQuery, *, max_time_ms: float | None = None) -> Iterator[list[bytes]]:
        """Yield batches of the stored bytes of the documents."""
        self.store.check()
        return Batches(self.store, super().stored(name, query, max_time_ms=max_time_ms))

    def stored_aggregate(self, name: str, pipeline: Any, **options: Any) -> tuple[Wanted, Iterator[list[bytes]]] | None:
        """Return which fields of which stored documents a pipeline shows."""
        with self.store.turn():
            self.store.check()
            found = super().stored_aggregate(name, pipeline, **options)
        return None if found is None else (found[0], Batches(self.store, found[1]))

    get = guarded(StoreSession.get)
    match_id = guarded(StoreSession.match_id)
    count = guarded(StoreSession.count)
    estimated_count = guarded(StoreSession.estimated_count)
    distinct = guarded(StoreSession.distinct)
    explain = guarded(StoreSession.explain)
    explain_aggregate = guarded(StoreSession.explain_aggregate)
    list_indexes = guarded(StoreSession.list_indexes)
    index_stats = guarded(StoreSession.index_stats)
    collection_info = guarded(StoreSession.collection_info)
    collection_stats = guarded(StoreSession.collection_stats)

    def collection_names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        with self.store.turn():
            self.store.check()
            names: list[str] = self.store.names()
            return names

    @property
    def feeds(self) -> NoReturn:
        """Refuse: what is told afterwards does not belong to one picture."""
        self.store.check()
        raise InvalidOperation(f"a {self.store.what} has no feeds", hint="ask the database", code=NOT_HERE)

    def execute(
        self, name: str, operations: Sequence[Operation], *, ordered: bool = True, max_time_ms: float | None = None
    ) -> list[Outcome | DocdbError]:
        """Refuse."""
        self._refuse_change("written to")

    def insert_all(self, name: str, documents: Sequence[Any]) -> list[Any] | None:
        """Refuse."""
        self._refuse_change("written to")

    def create_collection(self, name: str, /, **options: Any) -> None:
        """Refuse."""
        self._refuse_change("given a collection")

    def drop_collection(self, name: str) -> bool:
        """Refuse."""
        self._refuse_change("made to drop a collection")

    def rename_collection(self, name: str, new_name: str, *, drop_target: bool = False) -> None:
        """Refuse."""
        self._refuse_change("made to rename a collection")

    def create_index(self, collection: str, keys: Any, /, **options: Any) -> str:
        """Refuse."""
        self._refuse_change("given an index")

    def drop_index(self, name: str, index: Any) -> None:
        """Refuse."""
        self._refuse_change("made to drop an index")

    def _refuse_change(self, doing: str) -> NoReturn:
        self.store.check()
        raise InvalidOperation(f"a {self.store.what} cannot be {doing}", code=NOT_HERE)
