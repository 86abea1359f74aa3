"""The database's own session: what a Collection's calls become.

What lives here: ``StoreSession``, which ties planner, pipeline and store together for reading, and hands operations to the writer. What it must
not know: which face called.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from docdb.errors import (
    DocdbError,
    InvalidOperation,
    QueryError,
    SnapshotExpired,
    StorageError,
    TimeoutExpired,
    UsageError,
)
from docdb.language import filters
from docdb.language.collation import Collation
from docdb.language.expressions import now
from docdb.language.linear_patterns import linear_only
from docdb.language.matching import matcher
from docdb.language.order import order_key
from docdb.language.projection import parse_projection
from docdb.language.tree import TRUE, And
from docdb.language.values import canonical
from docdb.planner.plan import Plan
from docdb.planner.planner import plan
from docdb.planner.queries import FindQuery
from docdb.planner.shapes import answering
from docdb.sessions import administration, writing
from docdb.sessions.administering import Administering
from docdb.sessions.feeding import Feeds
from docdb.sessions.operations import Operation, Outcome
from docdb.sessions.setting import COMMIT_BYTES, Guard, Setting, TooLarge
from docdb.store import records
from docdb.store.batch import WriteBatch
from docdb.store.catalog import CollectionInfo
from docdb.store.columns import Wanted
from docdb.store.points import Changer, Finder, Points, Reader
from docdb.store.snapshots import Snapshot
from docdb.store.store import Store
from docdb.store.views import View

if TYPE_CHECKING:
    from docdb.sessions.fixed import FixedSession, FixedStore
    from docdb.sessions.sources import PipelineSources
    from docdb.sessions.transactions import TransactionSession, TransactionStore

__all__ = ["SessionSettings", "StoreSession"]

MOST_MS: Final = 2**31 - 1
LARGEST_ID: Final = 240  # no longer key of an _id is stored


@dataclass(slots=True)
class SessionSettings:
    """What ``docdb.open`` sets for all calls."""

    naive_utc: bool = False
    snapshot_limit_s: float | None = 60.0
    commit_bytes: int = COMMIT_BYTES
    slow_ms: float = 100.0
    memory_limit: int = 100 * 2**20
    transaction_limit_s: float | None = 30.0
    clock: Callable[[], dt.datetime] = now
    on_denied: Callable[[Any], Any] | None = None


class Page:
    """The batches of a find that began with a keyset token (an empty one on the first page), in an order that ``_id`` completes."""

    __slots__ = ("batches", "plan")

    def __init__(self) -> None:
        self.batches: Iterator[list[dict[str, Any]]] = iter(())
        self.plan: Plan | None = None

    @property
    def token(self) -> str | None:
        """The token of the last document delivered, None before the first."""
        return None if self.plan is None else self.plan.token()

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        return self.batches

    def __next__(self) -> list[dict[str, Any]]:
        return next(self.batches)

    def close(self) -> None:
        """Give the snapshot back."""
        close = getattr(self.batches, "close", None)
        if close is not None:
            close()


class StoreSession(Administering):
    """Fulfils ``operations.Session`` over a store."""

    linear = False  # whether patterns are read as RE2's
    replace_documents: Any = None  # how a session that is a transaction does ``$out``

    def __init__(self, store: Store, settings: SessionSettings) -> None:
        self.store = store
        store.watch = _watch
        self.settings = settings
        self._closed = False
        slow_s = settings.slow_ms / 1_000
        self._points = Points(store, self.get, self.match_id, answering, note=self._note_field, slow_s=slow_s)
        self._feeds = Feeds(self)

    def close(self) -> None:
        """End consumers and triggers, refuse every later call, and end the feeds."""
        self._feeds.end_followers()
        self._closed = True
        self._feeds.close()
        self._points.shut()

    @property
    def closed(self) -> bool:
        """Whether every call is refused."""
        return self._closed

    def refuse_closed(self) -> None:
        """Raise InvalidOperation when it is closed."""
        self._open()

    # Reading

    def readers(self, name: str) -> tuple[Reader, Reader]:
        """Return ``get`` and ``match_id`` for one collection, as fast as its engine can make them."""
        return self._points.readers(name)

    def finder(self, name: str) -> Finder | None:
        """Return what finds few documents of a collection by one field, or None; see ``store/points.py``."""
        return self._points.finder(name)

    def _note_field(self, name: str, field: str, value: Any, spent_s: float) -> None:
        self._note("find", name, time.perf_counter() - spent_s, FindQuery(filter={field: value}), None)

    def changer(self, name: str) -> Changer | None:
        """Return the short road for changes of one document, or None; see ``store/points.py``."""
        return self._points.changer(name, self.settings.commit_bytes, self._note_change)

    def _note_change(self, name: str, began: float) -> None:
        self._note("write", name, began, None, None)

    def get(self, name: str, id: Any) -> dict[str, Any] | None:
        """Return a document by ``_id``. Cost: one point read, no plan."""
        if self._closed:
            self._refuse()
        kind = type(id)
        if kind is not int and not (kind is str and id.isascii()):
            id = canonical(id, "_id", naive_utc=self.settings.naive_utc)
        key = order_key(id)
        if len(key) > LARGEST_ID:
            return None
        document = self.store.get(name, key)
        return self._unexpired(name, key) if document is ... else document

    def match_id(self, name: str, id: Any) -> dict[str, Any] | None:
        """Return the document that ``{"_id": id}`` finds first: under a collation of the collection that may be another text."""
        info = self.store.collection(name) if type(id) is str else None
        if info is None or info.collation is None:
            return self.get(name, id)
        query = FindQuery(filter={"_id": id}, node=filters.parse({"_id": {"$eq": id}}), limit=1)
        return next((d for batch in self.find(name, query) for d in batch), None)

    def _unexpired(self, name: str, key: bytes) -> dict[str, Any] | None:
        with self.store.snapshot() as snapshot:
            view = snapshot.view(name)
            document: dict[str, Any] | None = view.fetch([key])[0]
            if document is None or view.collection is None:
                return None
            return document if matcher(view.collection.alive(self.settings.clock()))(document) else None

    def find(self, name: str, query: FindQuery, *, max_time_ms: float | None = None) -> Iterator[list[dict[str, Any]]]:
        """Yield batches of documents from one snapshot, which lives until the iterator ends; with ``after`` a ``Page``."""
        if query.after is None:
            return self._found(name, query, max_time_ms, None)
        page = Page()
        page.batches = self._found(name, query, max_time_ms, page)
        return page

    def stored(self, name: str, query: FindQuery, *, max_time_ms: float | None = None) -> Iterator[list[bytes]]:
        """Yield batches of the stored bytes of the documents, whole; the query has no keyset token and asks for no metadata."""
        return self._found(name, query, max_time_ms, None, stored=True)

    def _found(
        self,
        name: str,
        query: FindQuery,
        max_time_ms: float | None,
        page: Page | None,
        *,
        stored: bool = False,
    ) -> Iterator[list[Any]]:
        deadline = _deadline(max_time_ms)
        self._open()
        began = time.perf_counter()
        spent = 0.0
        with self.store.snapshot(self.settings.snapshot_limit_s) as snapshot:
            view = snapshot.view(name)
            chosen = self._plan(name, query, snapshot, view)
            if page is not None:
                page.plan = chosen
            try:
                for batch in chosen.rows(view, deadline) if stored else chosen.run(view, deadline):
                    spent += time.perf_counter() - began
                    snapshot.rest()
                    yield batch
                    snapshot.wake()
                    began = time.perf_counter()  # what the reader does with a batch is his own time
            except (InvalidOperation, SnapshotExpired) as error:
                cause = snapshot.cause(error)
                if page is not None and isinstance(cause, SnapshotExpired):
                    cause.token = chosen.token() or query.after
                raise cause from error.__cause__
        self._note("find", name, began - spent, query, chosen)

    def count(self, name: str, query: FindQuery, *, max_time_ms: float | None = None) -> int:
        """Return the number of matches, skip and limit applied."""
        deadline = _deadline(max_time_ms)
        with self._reading("count", name, query) as (view, chosen):
            return chosen.count(view, deadline)

    def estimated_count(self, name: str) -> int:
        """Return the number of documents from the counters."""
        self._open()
        with self.store.snapshot() as snapshot:
            return snapshot.view(name).document_count()

    def distinct(self, name: str, path: str, query: FindQuery, *, max_time_ms: float | None = None) -> list[Any]:
        """Return the distinct values at a path among the matches; arrays give their elements."""
        if not isinstance(path, str) or hasattr(path, "scope"):  # JavaScript code of other packages is a kind of text
            raise QueryError(f"the key of distinct is text, not {type(path).__name__}", path="key", code=14)
        if "\0" in path:
            raise QueryError("the key of distinct may not contain NUL", path="key", code=31032)
        deadline = _deadline(max_time_ms)
        with self._reading("distinct", name, query, (path,)) as (view, chosen):
            return chosen.distinct(view, path, deadline)

    def explain(self, name: str, query: FindQuery, *, verbosity: str = "executionStats") -> dict[str, Any]:
        """Return the plan, printed; "queryPlanner" does not run it."""
        _check_verbosity(verbosity)
        with self._reading("explain", name, query) as (view, chosen):
            return {"collection": name, **chosen.explain(view, execute=verbosity != "queryPlanner")}

    def explain_aggregate(
        self, name: str, pipeline: Sequence[Mapping[str, Any]], *, verbosity: str = "executionStats", **options: Any
    ) -> dict[str, Any]:
        """Return the plan of a pipeline's front and the stages behind it; ``$out`` and ``$merge`` write nothing."""
        _check_verbosity(verbosity)
        self._open()
        with self.store.snapshot(self.settings.snapshot_limit_s) as snapshot:
            sources = self.sources(snapshot, None)
            return {
                "collection": name,
                **sources.explain(name, pipeline, execute=verbosity != "queryPlanner", **options),
            }

    def aggregate(
        self,
        name: str | None,
        pipeline: Sequence[Mapping[str, Any]],
        *,
        collation: Any = None,
        hint: Any = None,
        let: Mapping[str, Any] | None = None,
        max_time_ms: float | None = None,
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield batches of what a pipeline makes. ``$out`` and ``$merge`` write in commits of their own when the end is reached."""
        deadline = _deadline(max_time_ms)
        self._open()
        with self.store.snapshot(self.settings.snapshot_limit_s) as snapshot:
            sources = self.sources(snapshot, deadline)
            yield from snapshot.lending(sources.run(name, pipeline, collation=collation, hint=hint, let=let))

    def sources(self, snapshot: Snapshot, deadline: float | None) -> PipelineSources:
        """Return what a pipeline runs on."""
        from docdb.sessions.sources import PipelineSources  # the stages take long to load, and most sessions run none

        return PipelineSources(self, snapshot, deadline)

    def stored_aggregate(
        self, name: str, pipeline: Sequence[Mapping[str, Any]], *, max_time_ms: float | None = None, **options: Any
    ) -> tuple[Wanted, Iterator[list[bytes]]] | None:
        """Return which fields of which stored documents a pipeline shows, None where its stages make new ones. ``options``: collation, hint, let."""
        deadline = _deadline(max_time_ms)
        self._open()
        snapshot = self.store.snapshot(self.settings.snapshot_limit_s)
        found: tuple[Wanted, Iterator[list[bytes]]] | None = None
        try:
            found = self.sources(snapshot, deadline).stored(name, pipeline, **options)
        finally:
            if found is None:
                snapshot.close()
        return None if found is None else (found[0], _within(snapshot, found[1]))

    def _plan(self, name: str, query: FindQuery, snapshot: Snapshot, view: View, also: Sequence[str] = ()) -> Plan:
        chosen = plan(self.complete(name, query, snapshot, also), view)
        self.note_uses(chosen)
        return chosen

    def note_names(self) -> None:
        """Called before the names of collections are shown; a transaction takes note."""

    def note_uses(self, chosen: Plan) -> None:
        """Count the use of each index of a plan."""
        for index in chosen.indexes:
            self.store.note_use(index.number)

    def complete(self, name: str, query: FindQuery, snapshot: Snapshot, also: Sequence[str] = ()) -> FindQuery:
        """Return the query with what the collection adds: its collation, and the condition that nothing is expired.

        Every filter that reads passes here, those of other collections in pipelines included. ``also``: paths that are spoken of beside it.
        """
        info = snapshot.catalog.get(name)
        if info is None:
            return query
        query = self.collated(query, info)
        if info.expiring:
            alive = info.alive(self.settings.clock())
            node = alive if query.node is TRUE else And((query.node, alive))
            query = query._replace(node=node)
        return query

    def collated(self, query: FindQuery, info: CollectionInfo) -> FindQuery:
        """Return the query under the collection's collation where it names none."""
        if query.collation is None and info.collation is not None and not query.simple:
            with self.patterns():
                return _collated(query, info.collation, self.settings.naive_utc)
        return query

    @contextmanager
    def _reading(self, what: str, name: str, query: FindQuery, also: Sequence[str] = ()) -> Iterator[tuple[View, Plan]]:
        self._open()
        began = time.perf_counter()
        with self.store.snapshot(self.settings.snapshot_limit_s) as snapshot:
            view = snapshot.view(name)
            yield view, self._plan(name, query, snapshot, view, also)
        self._note(what, name, began, query, None)

    def snapshot(self) -> Snapshot:
        """Return a snapshot without a limit, for export, backup and the checker."""
        self._open()
        return self.store.snapshot()

    @property
    def feeds(self) -> Feeds:
        """Change streams and live queries."""
        self._open()
        return self._feeds

    def patterns(self) -> AbstractContextManager[None]:
        """Return what is entered while patterns are read that were sent by whoever this session is for."""
        return linear_only() if self.linear else nullcontext()

    # Pictures: sessions of the same caller

    def viewing(self, store: FixedStore) -> FixedSession:
        """Return the session on a snapshot view."""
        from docdb.sessions.fixed import FixedSession  # which stands on this module

        return FixedSession(store)

    def transacting(self, store: TransactionStore) -> TransactionSession:
        """Return the session of a transaction."""
        from docdb.sessions.transactions import TransactionSession

        return TransactionSession(store)

    # Writing

    def execute(
        self,
        name: str,
        operations: Sequence[Operation],
        *,
        ordered: bool = True,
        max_time_ms: float | None = None,
    ) -> list[Outcome | DocdbError]:
        """Carry out the operations in one commit; with ``ordered`` the first error ends the list."""
        setting = self._setting(name, _deadline(max_time_ms))
        began = time.perf_counter()
        result: list[Outcome | DocdbError] = self._run_steps(operations, setting, ordered)
        self._note("write", name, began, None, None)
        return result

    def _setting(self, name: str, deadline: float | None = None) -> Setting:
        self._open()
        administration.check_name(name)
        catalog = self.store.catalog()
        settings = self.settings
        return Setting(
            name,
            catalog.get(name),
            catalog.version,
            settings.clock(),
            settings.naive_utc,
            settings.commit_bytes,
            deadline,
            self.guard(name),
        )

    def guard(self, name: str) -> Guard | None:
        """Return who judges what a call writes; nobody, for the administrator."""
        return None

    def insert_all(self, name: str, documents: Sequence[Mapping[str, Any]]) -> list[Any] | None:
        """Insert documents in one commit and return their ids; None when one cannot go in (nothing is put then).

        The road of bulk loads: no operation, no outcome, no Python object a document. ``execute`` tells what is wrong.
        """
        setting = self._setting(name)
        began = time.perf_counter()
        try:
            prepared = writing.prepare_documents(documents, setting)
        except (StorageError, TooLarge):
            raise
        except DocdbError:
            return None  # the slow road tells which one

        def call(batch: WriteBatch) -> bool:
            if setting.guard is not None:
                batch.guard = setting.guard
                setting.guard.created(batch, prepared.documents)
            try:
                return records.insert_prepared(batch, batch.collection(setting.name), prepared)
            finally:
                batch.guard = None

        done: bool = self.store.write(call)
        self._note("insert", name, began, None, None)
        return prepared.ids if done else None

    def _run_steps(
        self, operations: Sequence[Operation], setting: Setting, ordered: bool
    ) -> list[Outcome | DocdbError]:
        steps: list[writing.Step | DocdbError] = []
        for operation in operations:
            try:
                with self.patterns():
                    steps += writing.prepare_all([operation], setting)
            except StorageError:
                raise
            except DocdbError as error:
                steps.append(error)
                if ordered:
                    break

        if all(isinstance(step, DocdbError) for step in steps):
            return list(steps)  # type: ignore[arg-type]
        result: list[Outcome | DocdbError] = self.store.write(
            lambda batch: self.run_steps(batch, steps, setting.guard, ordered)
        )
        return result

    def run_steps(
        self, batch: WriteBatch, steps: Sequence[writing.Step | DocdbError], guard: Guard | None, ordered: bool
    ) -> list[Outcome | DocdbError]:
        """Run the steps of one call inside the write transaction."""
        outcomes: list[Outcome | DocdbError] = []
        batch.guard = guard
        try:
            for step in steps:
                outcome = step if isinstance(step, DocdbError) else _attempt(step, batch)
                outcomes.append(outcome)
                if ordered and isinstance(outcome, DocdbError):
                    break
        finally:
            batch.guard = None
        return outcomes

    def _open(self) -> None:
        if self._closed:
            self._refuse()

    def _refuse(self) -> None:
        raise InvalidOperation("the database is closed")

    def _note(self, what: str, name: str, began: float, query: FindQuery | None, chosen: Plan | None) -> None:
        spent = (time.perf_counter() - began) * 1_000
        if spent < self.settings.slow_ms:
            return
        import logging

        path = f", {chosen.path}" if chosen is not None else ""
        names = [index.name for index in chosen.indexes] if chosen is not None else []
        path += f" on {', '.join(names)}" if names else ""
        text = repr(query.filter)[:500] if query is not None else ""
        logger = logging.getLogger("docdb.slow")
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())  # silent until the application listens
        logger.warning("%s on %s took %.0f ms%s %s", what, name, spent, path, text)


def _watch(store: Store, due: float) -> None:
    from docdb.sessions.register import register_of  # few processes leave a cursor in the middle

    register_of(store).watch(due)


def _within(snapshot: Snapshot, batches: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    with snapshot:
        yield from snapshot.lending(batches)


def _check_verbosity(verbosity: str) -> None:
    if verbosity not in ("queryPlanner", "executionStats", "allPlansExecution"):
        raise UsageError(f"unknown verbosity {verbosity!r}", hint="queryPlanner or executionStats")


def _collated(query: FindQuery, collation: Collation, naive_utc: bool) -> FindQuery:
    """Return the query under a collation it was not parsed with."""
    node = filters.parse(query.filter, collation=collation, let=query.let, naive_utc=naive_utc)
    shown = query.projection
    if query.fields is not None:
        shown = parse_projection(query.fields, node=node, collation=collation, let=query.let, naive_utc=naive_utc)
    return query._replace(node=node, collation=collation, projection=shown)


def _attempt(step: writing.Step, batch: WriteBatch) -> Outcome | DocdbError:
    try:
        return step(batch)
    except (StorageError, TimeoutExpired):
        raise
    except DocdbError as error:
        return error if batch.guard is None else batch.guard.refused(batch, error)


def _deadline(max_time_ms: float | None) -> float | None:
    """Return the moment at which time is up; 0 and None mean never. Raises QueryError for what is no number of milliseconds."""
    if max_time_ms is None:
        return None
    if isinstance(max_time_ms, bool) or not isinstance(max_time_ms, int | float):
        raise QueryError("max_time_ms is a number of milliseconds", path="max_time_ms", code=14)
    if isinstance(max_time_ms, float) and not max_time_ms.is_integer():
        raise QueryError("max_time_ms is a whole number", path="max_time_ms", code=9)
    if not 0 <= max_time_ms <= MOST_MS:
        raise QueryError(f"max_time_ms is from 0 to {MOST_MS}", path="max_time_ms", code=2)
    return time.monotonic() + max_time_ms / 1_000 if max_time_ms else None
