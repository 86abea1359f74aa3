"""The sessions of a caller who is judged by rules.

What lives here: ``Gated``, which stands before a session and lets through what the rules allow, and the three sessions it stands before: the database's, a
snapshot view's, a transaction's. What it must not know: how rules are evaluated (``user_gate``), how writes are judged (``user_writes``).

Two places see everything: ``complete``, which every filter that reads passes, and the guard of ``setting.Setting``, which every change passes. What goes
past both is refused here by name; a test holds this class to every public method that a session has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

from docdb.errors import BulkWriteError, DeniedError, DocdbError
from docdb.language import filters
from docdb.language.order import order_key
from docdb.language.projection import parse_projection
from docdb.language.tree import Expr, Pattern, Schema, walk
from docdb.language.values import canonical
from docdb.planner.queries import FindQuery
from docdb.rules.compiled import Compiled, bound, compiled, equalities_of
from docdb.rules.fields import check_size
from docdb.sessions.fixed import FixedSession, FixedStore
from docdb.sessions.operations import InsertOp, Operation, Outcome
from docdb.sessions.reads import conflict
from docdb.sessions.session import StoreSession
from docdb.sessions.transactions import TransactionSession, TransactionStore, together
from docdb.sessions.user_caller import Caller
from docdb.sessions.user_gate import Denials, Gate
from docdb.sessions.user_reader import Notes
from docdb.sessions.user_steady import SteadyRule, steady_rule
from docdb.sessions.user_templates import Nobody, filled, filled_stages, is_plain, templated
from docdb.sessions.user_writes import UserGuard
from docdb.store import codec
from docdb.store.batch import WriteBatch
from docdb.store.columns import Wanted
from docdb.store.points import Reader
from docdb.store.snapshots import Snapshot

if TYPE_CHECKING:
    from docdb.sessions.feeding import Feeds
    from docdb.sessions.setting import Guard
    from docdb.sessions.sources import PipelineSources
    from docdb.sessions.user_feeds import UserFeeds
    from docdb.sessions.writing import Step
    from docdb.store.rule_records import RuleRecord

__all__ = ["Gated", "UserSession"]

MOST_KEPT: Final = 256  # rules in a session


class Gated(StoreSession):
    """A session for one caller; see the module's docstring."""

    linear = True
    caller: Caller
    denials: Denials
    _asked: set[str] | None = None  # the names whose rules were looked at, where a commit will ask for them
    root: StoreSession  # the database's own, whose end is the end of this one

    def introduce(self, caller: Caller, denials: Denials, root: StoreSession) -> None:
        """Say who is judged; before the first call."""
        self.caller, self.denials, self.root = caller, denials, root
        self._id = caller.id
        self._steady: dict[str, SteadyRule] = {}
        self._creating: dict[str, tuple[Any, Compiled | None]] = {}

    def over(self) -> bool:
        """Tell whether the caller's time is over, by the clock that goes on where a picture's stands still."""
        expires_at = self.caller.expires_at
        return expires_at is not None and self.root.settings.clock() >= expires_at

    def close(self) -> None:
        """Refuse every later call; the database stays open."""
        self._closed = True

    @property
    def closed(self) -> bool:
        """Whether every call is refused."""
        return self._closed or self.root.closed

    def _open(self) -> None:
        if self._closed or self.root._closed:
            self._refuse()

    def left_s(self) -> float | None:
        """Return how many seconds the caller has, None: no end is known."""
        expires_at = self.caller.expires_at
        return None if expires_at is None else (expires_at - self.root.settings.clock()).total_seconds()

    def gate(self, snapshot: Snapshot, *, caller: Caller | None = None, quiet: bool = False) -> Gate:
        """Return the rules as a snapshot has them; of the same caller asking in another mode. ``quiet``: the program is told of no denial."""
        return self._gate(snapshot.catalog, snapshot.view, self._notes(), late=quiet, caller=caller)

    def silent_gate(self, snapshot: Snapshot) -> Gate:
        """Return the rules as a snapshot has them, for who only wants to know: denials are neither logged nor told."""
        return self._gate(snapshot.catalog, snapshot.view, self._notes(), late=True)

    def _gate_of_batch(self, batch: WriteBatch) -> Gate:
        return self._gate(batch.catalog, batch.view, batch.reads, late=True)

    def _gate_outside(self) -> Gate:
        catalog = self.store.catalog()
        return self._gate(catalog, _no_view, None, late=True)

    def _gate(self, catalog: Any, view_of: Any, notes: Any, *, late: bool, caller: Caller | None = None) -> Gate:
        now = self.settings.clock()
        over = self.over()
        caller = caller or self.caller
        return Gate(caller, self.denials, catalog, view_of, now, notes, over=over, late=late, asked=self._asked)

    def _notes(self) -> Notes | None:
        return None

    def _using(self) -> AbstractContextManager[object]:
        return nullcontext()

    def _denied(self, action: str, name: str | None, reason: str) -> DeniedError:
        self._open()
        return self._gate(self.store.catalog(), _no_view, None, late=False).denied(action, name, reason)

    def administration(self, action: str, name: str | None = None) -> DeniedError:
        """Return the refusal of what is for administrators."""
        return self._denied(action, name, "administration is not for users")

    # Reading

    def readers(self, name: str) -> tuple[Reader, Reader]:
        """Return ``get`` and ``match_id`` for one collection: judged, so by the long road."""
        return partial(self.get, name), partial(self.match_id, name)

    def finder(self, name: str) -> None:
        """Return the short road to documents by a field: none, all that is found is judged."""

    def changer(self, name: str) -> None:
        """Return the short road for changes: none, each is judged."""

    def get(self, name: str, id: Any) -> dict[str, Any] | None:
        """Return a document by ``_id``; DeniedError for one that may not be read, and where the rule looks at documents for an absent one alike."""
        self._open()
        id = canonical(id, "_id", naive_utc=self.settings.naive_utc)
        if self.caller.strict_ids:
            query = FindQuery(filter={"_id": id}, node=filters.parse({"_id": {"$eq": id}}), limit=1, simple=True)
            return next((document for batch in self.find(name, query) for document in batch), None)
        with self._using(), self.store.snapshot(self.settings.snapshot_limit_s) as snapshot:
            gate = self.gate(snapshot)
            known = gate.known(name, "read")
            data = gate.stored(known, "read", order_key(id))
            return None if data is None else gate.masked(known, codec.decode(data))

    def match_id(self, name: str, id: Any) -> dict[str, Any] | None:
        """Return the document that ``{"_id": id}`` finds first."""
        with self._using():
            if type(id) is str and (templated(id) or self._collates(name)):
                query = FindQuery(filter={"_id": id}, node=filters.parse({"_id": {"$eq": id}}), limit=1)
                return next((document for batch in self.find(name, query) for document in batch), None)
            return self.get(name, id)

    def _collates(self, name: str) -> bool:
        info = self.store.collection(name)
        return info is not None and info.collation is not None

    def find(self, name: str, query: FindQuery, *, max_time_ms: float | None = None) -> Iterator[list[dict[str, Any]]]:
        """Yield batches of documents that may be read."""
        if query.projection is not None or not is_plain(query.filter):
            query = self.filled_query(name, query)
        return super().find(name, query, max_time_ms=max_time_ms)

    def stored(self, name: str, query: FindQuery, *, max_time_ms: float | None = None) -> Iterator[list[bytes]]:
        """Yield batches of the stored bytes of documents that may be read."""
        whole = self.filled_query(name, query)._replace(projection=None, fields=None)  # who takes them shows a part
        return super().stored(name, whole, max_time_ms=max_time_ms)

    def count(self, name: str, query: FindQuery, *, max_time_ms: float | None = None) -> int:
        """Return the number of matches, all of which may be read."""
        return super().count(name, self.filled_query(name, query), max_time_ms=max_time_ms)

    def distinct(self, name: str, path: str, query: FindQuery, *, max_time_ms: float | None = None) -> list[Any]:
        """Return the distinct values at a path among the matches, all of which may be read."""
        return super().distinct(name, path, self.filled_query(name, query), max_time_ms=max_time_ms)

    def estimated_count(self, name: str) -> int:
        """Return the number of documents: from the counters where all may be read, else counted."""
        self._open()
        with self._using(), self.store.snapshot(self.settings.snapshot_limit_s) as snapshot:
            gate = self.gate(snapshot)
            if compiled(gate.rule(gate.known(name, "read"), "read"), gate.about).always:
                self.note_everything(name)
                return snapshot.view(name).document_count()
        return self.count(name, FindQuery())

    def aggregate(
        self, name: str | None, pipeline: Sequence[Mapping[str, Any]], **options: Any
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield batches of what a pipeline makes of documents that may be read; each collection it reads is judged by its own rules."""
        return super().aggregate(name, self._addressed_stages(name, pipeline), **options)

    def stored_aggregate(
        self, name: str, pipeline: Sequence[Mapping[str, Any]], **options: Any
    ) -> tuple[Wanted, Iterator[list[bytes]]] | None:
        """Return which fields of which stored documents a pipeline shows, all of which may be read."""
        return super().stored_aggregate(name, self._addressed_stages(name, pipeline), **options)

    def _addressed_stages(self, name: str | None, pipeline: Any) -> Any:
        """Return a pipeline with its templates filled; what it reaches is judged by ``sources``."""
        self._open()
        check_size(pipeline)
        try:
            return filled_stages(pipeline, self.caller)
        except Nobody:
            raise self._denied("read", name, "the query asks for the id of a caller that has none") from None

    def complete(self, name: str, query: FindQuery, snapshot: Snapshot, also: Sequence[str] = ()) -> FindQuery:
        """Return the query narrowed to what may be read, with what the collection adds."""
        info = snapshot.catalog.collections.get(name)
        if info is not None and info.collation is not None:
            query = self.collated(query, info)  # first: under another collation the filter says something else
        found = self._steadily(name, snapshot.catalog.rules.get(name)).narrowed(query)
        if found is None:
            found = self.gate(snapshot).narrowed(name, query, also)
        elif self._asked is not None:
            self._asked.add(name)
        return super().complete(name, found, snapshot)

    def _steadily(self, name: str, record: RuleRecord | None) -> SteadyRule:
        """Return the rule for reading as it is kept."""
        steady = self._steady.get(name)
        if steady is None or steady.record is not record:
            _make_room(self._steady)
            rule = steady_rule(name, record, self.caller, "read")
            equalities = None if rule is None else equalities_of(rule, self.caller.auth)
            steady = self._steady[name] = SteadyRule(record, equalities)
        return steady

    def sources(self, snapshot: Snapshot, deadline: float | None) -> PipelineSources:
        """Return what a pipeline runs on when it has been judged."""
        from docdb.sessions.user_pipelines import UserSources

        return UserSources(self, snapshot, deadline, self.gate(snapshot))

    def filled_query(self, name: str, query: FindQuery) -> FindQuery:
        """Return the query as the caller's: its id in the place of templates, patterns that take linear time."""
        if query.projection is None and is_plain(query.filter):
            return query
        for part, given in (("filter", query.filter), ("projection", query.fields), ("let", query.let)):
            check_size(given, part)
        if not templated(query.filter) and not _may_hold_patterns(query):
            return query
        filter = self.filled_filter(name, query.filter)
        named: Any = {"collation": query.collation, "let": query.let, "naive_utc": self.settings.naive_utc}
        with self.patterns():
            node = filters.parse(filter, **named)
            shown = query.projection if query.fields is None else parse_projection(query.fields, node=node, **named)
        return query._replace(filter=filter, node=node, projection=shown)

    def filled_filter(self, name: str | None, filter: Any) -> Any:
        """Return a filter with the caller's id in the place of templates; DeniedError where there is none."""
        try:
            return filled(filter, self.caller)
        except Nobody:
            raise self._denied("read", name, "the query asks for the id of a caller that has none") from None

    def collection_names(self) -> list[str]:
        """Return the names of the collections of which something may be read."""
        self._open()
        with self._using(), self.store.snapshot() as snapshot:
            gate = self.gate(snapshot)
            self.note_names()
            return [name for name in sorted(snapshot.catalog.collections) if gate.reads_of(name)]

    # Pictures

    def viewing(self, store: FixedStore) -> FixedSession:
        """Return the session on a snapshot view, of the same caller."""
        session = UserFixedSession(store)
        session.introduce(self.caller, self.denials, self.root)
        return session

    def transacting(self, store: TransactionStore) -> TransactionSession:
        """Return the session of a transaction, of the same caller; its commit asks whether the rules are still the same."""
        session = UserTransactionSession(store)
        session.introduce(self.caller, self.denials, self.root)
        store.permit = session.permit
        return session

    # Writing

    def guard(self, name: str) -> Guard | None:
        """Return who judges what a call writes."""
        return UserGuard(name, self._id, self._steadily_created, self._gate_of_batch, self._gate_outside)

    def _steadily_created(self, name: str, batch: WriteBatch) -> Compiled | None:
        """Return the rule for creating where it depends on the caller alone, None elsewhere."""
        record = batch.catalog.rules.get(name)
        steady = self._creating.get(name)
        if steady is None or steady[0] is not record:
            _make_room(self._creating)
            rule = steady_rule(name, record, self.caller, "create")
            known = None if rule is None else bound(rule, self.caller.auth, creating=True)
            steady = self._creating[name] = record, known
        if self._asked is not None:
            self._asked.add(name)
        return steady[1]

    def execute(
        self, name: str, operations: Sequence[Operation], *, ordered: bool = True, max_time_ms: float | None = None
    ) -> list[Outcome | DocdbError]:
        """Carry out the operations, all of them or none: DeniedError when one is denied, BulkWriteError when one of several is refused otherwise."""
        self._open()
        for operation in operations:
            _check_size(operation)
        try:
            prepared = [self._addressed(operation) for operation in operations]
        except Nobody:
            raise self._denied("write", name, "the query asks for the id of a caller that has none") from None
        try:
            outcomes = super().execute(name, prepared, ordered=ordered, max_time_ms=max_time_ms)
        except DeniedError as error:
            self.denials.tell(error)
            raise
        for outcome in outcomes:
            if isinstance(outcome, DocdbError):
                self._refuse_outcomes(outcomes, len(operations))
        return outcomes

    def _refuse_outcomes(self, outcomes: Sequence[Outcome | DocdbError], count: int) -> None:
        """Raise what a call with a refused operation ends with; one operation alone leaves that to who asked."""
        for outcome in outcomes:
            if isinstance(outcome, DeniedError):
                self.denials.tell(outcome)
                raise outcome
        if count > 1:
            refused = {place: outcome for place, outcome in enumerate(outcomes) if isinstance(outcome, DocdbError)}
            raise _nothing_written(refused, count)

    def _addressed(self, operation: Operation) -> Operation:
        if isinstance(operation, InsertOp) or not templated(operation.filter):
            return operation
        return replace(operation, filter=filled(operation.filter, self.caller))

    def run_steps(
        self, batch: WriteBatch, steps: Sequence[Step | DocdbError], guard: Guard | None, ordered: bool
    ) -> list[Outcome | DocdbError]:
        """Run the steps of one call inside the write transaction: all or nothing."""
        run = super().run_steps
        if len(steps) == 1:
            return run(batch, steps, guard, ordered)
        return together(batch, batch.reads, lambda scratch: run(scratch, steps, guard, ordered))

    def insert_all(self, name: str, documents: Sequence[Mapping[str, Any]]) -> list[Any] | None:
        """Insert documents in one commit and return their ids; None when one cannot go in (nothing is put then), DeniedError when one may not."""
        self._open()
        try:
            return super().insert_all(name, documents)
        except DeniedError as error:
            self.denials.tell(error)
            raise

    def replace_documents(self, name: str, batches: Any, write: Any) -> NoReturn:
        """Refuse ``$out``."""
        raise self.administration("$out", name)

    # What is not for users

    @property
    def feeds(self) -> Feeds:
        """Refuse: a picture does not change."""
        raise self.administration("watch")

    def administer(self, action: str, name: str | None = None) -> NoReturn:
        """Refuse."""
        raise self.administration(action, name)

    def explain(self, name: str, query: FindQuery, *, verbosity: str = "executionStats") -> NoReturn:
        """Refuse."""
        raise self.administration("explain", name)

    def explain_aggregate(self, name: str, pipeline: Any, **options: Any) -> NoReturn:
        """Refuse."""
        raise self.administration("explain", name)

    def create_collection(self, name: str, /, **options: Any) -> NoReturn:
        """Refuse."""
        raise self.administration("create_collection", name)

    def drop_collection(self, name: str) -> NoReturn:
        """Refuse."""
        raise self.administration("drop_collection", name)

    def rename_collection(self, name: str, new_name: str, *, drop_target: bool = False) -> NoReturn:
        """Refuse."""
        raise self.administration("rename_collection", name)

    def create_index(self, collection: str, keys: Any, /, **options: Any) -> NoReturn:
        """Refuse."""
        raise self.administration("create_index", collection)

    def drop_index(self, name: str, index: Any) -> NoReturn:
        """Refuse."""
        raise self.administration("drop_index", name)

    def list_indexes(self, name: str) -> NoReturn:
        """Refuse."""
        raise self.administration("list_indexes", name)

    def index_stats(self, name: str) -> NoReturn:
        """Refuse."""
        raise self.administration("index_stats", name)

    def collection_stats(self, name: str, snapshot: Snapshot) -> NoReturn:
        """Refuse."""
        raise self.administration("collection_stats", name)

    def collection_info(self, name: str) -> NoReturn:
        """Refuse."""
        raise self.administration("collection_info", name)

    def snapshot(self) -> NoReturn:
        """Refuse: what is read past the session is not judged."""
        raise self.administration("snapshot")


class UserSession(Gated):
    """The session of a caller on the database."""

    def __init__(self, root: StoreSession, caller: Caller) -> None:
        self.store, self.settings = root.store, root.settings
        self._closed = False
        self._followed: UserFeeds | None = None
        self.introduce(caller, Denials(caller, root.settings.on_denied), root)

    @property
    def feeds(self) -> UserFeeds:
        """Live queries and change streams of what the caller may read."""
        self._open()
        if self._followed is None:
            from docdb.sessions.user_feeds import UserFeeds  # most callers follow nothing

            self._followed = UserFeeds(self)
        return self._followed

    def find(self, name: str, query: FindQuery, *, max_time_ms: float | None = None) -> Iterator[list[dict[str, Any]]]:
        """Yield batches of documents that may be read."""
        if query.projection is None and query.after is None and is_plain(query.filter):
            return self._found(name, query, max_time_ms, None)
        return super().find(name, query, max_time_ms=max_time_ms)

    def complete(self, name: str, query: FindQuery, snapshot: Snapshot, also: Sequence[str] = ()) -> FindQuery:
        """Return the query narrowed to what may be read, with what the collection adds: nothing, of most, and then a rule that stands is all to ask."""
        catalog = snapshot.catalog
        steady = self._steady.get(name)
        if steady is not None and steady.record is catalog.rules.get(name):
            info = catalog.collections.get(name)
            if info is not None and info.collation is None and not info.expiring:
                found = steady.narrowed(query)
                if found is not None:
                    return found
        return super().complete(name, query, snapshot, also)

    def close(self) -> None:
        """End the caller's feeds and refuse every later call; the database stays open."""
        if self._followed is not None:
            self._followed.close()
        super().close()


class UserFixedSession(Gated, FixedSession):
    """The session of a caller on a snapshot view."""

    close = FixedSession.close
    feeds = FixedSession.feeds

    def _using(self) -> AbstractContextManager[object]:
        return self.store.turn()  # type: ignore[no-any-return]


class UserTransactionSession(Gated, TransactionSession):
    """The session of a caller's transaction."""

    close = FixedSession.close
    feeds = FixedSession.feeds
    store: TransactionStore

    def __init__(self, store: TransactionStore) -> None:
        super().__init__(store)
        self._asked = set()

    def _using(self) -> AbstractContextManager[object]:
        return self.store.turn()

    def _notes(self) -> Notes | None:
        return self.store

    def permit(self, batch: WriteBatch | None) -> None:
        """Refuse the commit of what was judged by rules that are no longer there; first outside the lock, then inside with the batch."""
        if batch is None:
            if self.over():
                raise self._denied("commit", None, "the caller's time is over")
            return
        known = self.store.base_rules
        if any(batch.catalog.rules.get(name) != known.get(name) for name in self._asked or ()):
            raise conflict("the rules that the transaction was judged by have changed")


def _make_room(kept: dict[str, Any]) -> None:
    if len(kept) >= MOST_KEPT:
        kept.clear()


def _may_hold_patterns(query: FindQuery) -> bool:
    """Tell whether a pattern may stand in a query, or come out of an expression."""
    shown = query.projection
    if shown is not None and shown.inclusion_paths is None:
        return True
    return any(isinstance(part, Expr | Pattern | Schema) or getattr(part, "patterns", ()) for part in walk(query.node))


def _check_size(operation: Operation) -> None:
    """Refuse what is nested too deep or has too many parts, but for documents, which have bounds of their own."""
    if not isinstance(operation, InsertOp):
        for part in ("filter", "update", "array_filters", "projection", "sort", "let"):
            check_size(getattr(operation, part, None), part)


def _no_view(name: str) -> Any:
    raise AssertionError("nothing is read here")


def _nothing_written(refused: Mapping[int, DocdbError], count: int) -> BulkWriteError:
    place, first = next(iter(refused.items()))
    details: dict[str, Any] = {
        "writeErrors": [{"index": at, "code": error.code, "errmsg": str(error)} for at, error in refused.items()],
        "writeConcernErrors": [], "nInserted": 0, "nUpserted": 0, "nMatched": 0, "nModified": 0, "nRemoved": 0, "upserted": [],
    }  # fmt: skip
    text = f"{len(refused)} of {count} operations failed, the first at index {place}: {first}; none was carried out"
    return BulkWriteError(text, details=details, errors=dict(refused))
