"""Optimistic transactions: reads from one snapshot, writes beside it, everything judged at commit.

What lives here: ``TransactionStore``, the store as a transaction sees it, with ``commit``, and ``TransactionSession``, what its collections speak to. What
it must not know: faces, retries.

Life. The first operation takes the snapshot. Reads go through an overlay and are noted in a ``ReadSet``; each writing call runs its steps on a
``WriteBatch`` over the overlay, undone to its savepoint when it is refused. Commit makes of the overlay the net change of each document, judges the
change log since the snapshot before the writer's lock, and inside the batch what has come since, earlier callers of the same batch
included; then it puts the changes as one caller. Nothing of the user runs under the lock.

Interruptions. What docdb refuses is raised between two steps, and undone to the savepoint. Anything else (Ctrl-C, a timeout that a signal raises, no
memory) may come inside one, with the overlay half changed: it ends the transaction. A commit that is interrupted has landed or not, as ``committed`` says.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Final, TypeVar, cast

from docdb.engine.base import CATALOG, DOCUMENTS, EngineTransaction
from docdb.errors import DocdbError, DuplicateKeyError, InvalidOperation, TransactionConflict, TransactionExpired
from docdb.language.order import order_key
from docdb.language.tree import TRUE, Node
from docdb.planner.queries import FindQuery
from docdb.sessions.fixed import FixedSession, FixedStore, Picture, guarded
from docdb.sessions.operations import DeleteOp, Operation, Outcome
from docdb.sessions.reads import ReadSet, conflict
from docdb.sessions.register import Claim
from docdb.sessions.session import StoreSession
from docdb.sessions.setting import TooLarge
from docdb.store import catalog as catalog_room
from docdb.store import codec, records
from docdb.store.batch import WriteBatch
from docdb.store.catalog import Catalog, CollectionInfo, State
from docdb.store.changes import DELETE, INSERT, REPLACE, UPDATE, read
from docdb.store.keyspace import STATE_KEY, collection_prefix, document_key
from docdb.store.overlay import Frozen, Overlay, OverlayEngine
from docdb.store.progress import Step
from docdb.store.records import RENEWAL, DocumentChange
from docdb.store.runs import Documents
from docdb.store.snapshots import Snapshot
from docdb.store.writer import Ticket

__all__ = ["TransactionSession", "TransactionStore", "together"]

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")
OVER_CODE: Final = 251  # MongoDB's NoSuchTransaction
OVER_ERRCODE: Final = "DATABASE_TRANSACTION_FAIL"
WHOLE: Final = (INSERT.encode(), REPLACE.encode())
_HEAD = struct.Struct(">cII")  # of a change record

Net = list[tuple[str, list[DocumentChange]]]  # the changes of each collection, by name


class WholeWrites:
    """Stands for the log while a transaction works: remembers which documents were written as a whole, which makes an update a replacement.

    And which ones had expired when they made way for others of their ids: the log tells of them as it does outside, by a delete and an insertion.
    """

    def __init__(self) -> None:
        self.keys: set[bytes] = set()
        self.expired: set[bytes] = set()

    def add(self, made: list[bytes]) -> None:
        """Look at the records of a call."""
        for record in made:
            operation, number, _ = _HEAD.unpack_from(record)
            if operation in WHOLE:
                after = record[_HEAD.size + int.from_bytes(record[5:9], "big") :]
                self.keys.add(document_key(number, order_key(codec.decode(after)["_id"])))

    def add_documents(self, documents: Documents, number: int) -> None:
        """Look at new documents."""
        prefix = collection_prefix(number)
        self.keys.update([prefix + key for key in documents.lists()[0]])

    def take(self, other: WholeWrites) -> None:
        """Remember what another one does."""
        self.keys |= other.keys
        self.expired |= other.expired

    def operation(self, key: bytes, before: bytes | None, after: bytes | None) -> str:
        """Return the operation of a net change."""
        if before is None:
            return INSERT
        if after is None:
            return DELETE
        return RENEWAL if key in self.expired else REPLACE if key in self.keys else UPDATE


class OverlayBatch(WriteBatch):
    """A write batch of one call whose storage is the overlay."""

    def __init__(self, overlay: Overlay, known: Catalog, reads: Any, state: State | None = None) -> None:
        super().__init__(overlay, known, history_bytes=0, history_age_s=0, state=state)
        self.reads = reads
        self.whole = WholeWrites()
        self.log: Any = self.whole

    def made_way(self, info: CollectionInfo, id_keys: Sequence[bytes]) -> None:
        self.whole.expired.update([document_key(info.number, key) for key in id_keys])

    def finish(self) -> None:
        """Put counters, catalog version and numbers into the overlay."""
        items = [(key, counters.pack()) for key, counters in self._counters.items()]
        if self.catalog is not self._began_with:
            items.append(catalog_room.version_item(self.catalog))
        self.txn.put_many(CATALOG, [*items, (STATE_KEY, self.state.pack())])


class TransactionStore(FixedStore):
    """The store as one transaction sees it; see the module's docstring."""

    what = "transaction"

    def __init__(self, session: StoreSession, limit_s: float | None) -> None:
        super().__init__(session, limit_s)
        self.engine = OverlayEngine(self.origin.engine)
        self.reads = ReadSet()
        self.claim: Claim | None = None  # its turn, when it is tried again
        self.step: Step | None = None  # of a consumer, committed with what was written, or alone
        self.permit: Callable[[WriteBatch | None], None] | None = None  # who is asked whether the caller still may
        self.base_rules: Mapping[str, Any] = {}
        self._nothing_written = False  # committed all the same
        self._ticket: Ticket | None = None  # of the commit
        self._overlay: Overlay | None = None
        self._catalog: Catalog | None = None
        self._whole = WholeWrites()

    def begun(self, base: Snapshot) -> None:
        self._overlay = Overlay(base.txn)
        self._catalog = base.catalog
        self.base_rules = base.catalog.rules

    @property
    def overlay(self) -> Overlay:
        """What was written, over the snapshot."""
        _ = self.base
        assert self._overlay is not None
        return self._overlay

    # What a session asks of its store

    @property
    def reading(self) -> EngineTransaction:
        return self.overlay

    def snapshot(self, limit_s: float | None = None) -> Snapshot:
        return Picture(self, self.overlay.freeze(), self.catalog())

    def looked(self, txn: EngineTransaction) -> None:
        if isinstance(txn, Frozen):
            txn.abort()

    def catalog(self) -> Catalog:
        _ = self.base
        assert self._catalog is not None
        return self._catalog

    def names(self) -> list[str]:
        self.reads.note_all_names()
        return super().names()

    def note_name(self, name: str, info: CollectionInfo | None) -> None:
        self.reads.note_name(name, info)

    def note_id(self, name: str, info: CollectionInfo, id_key: bytes) -> None:
        known = self.reads.note_name(name, info)
        if known is not None:
            known.add_ids((id_key,))

    def note_ids(self, name: str, id_keys: Sequence[bytes]) -> None:
        """Note documents that a step reads by their ids."""
        known = self.reads.note_name(name, self.catalog().get(name))
        if known is not None:
            known.add_ids(id_keys)

    def note_filter(self, name: str, node: Node) -> None:
        """Note the filter of a scan."""
        known = self.reads.note_name(name, self.catalog().get(name))
        if known is not None:
            known.add_filter(node)

    def write(self, call: Callable[[WriteBatch], Any]) -> Any:
        """Run a call on the overlay; what it raises undoes it."""

        def work() -> Any:
            batch = OverlayBatch(self.overlay, self.catalog(), self)
            result = call(batch)
            batch.finish()
            if self.overlay.document_bytes > self.parent.settings.commit_bytes:
                raise self._too_large()
            if batch.catalog is not self._catalog:
                self._catalog = batch.catalog
                self._note_own(batch.catalog)
            self._whole.take(batch.whole)
            return result

        return self.atomic(work)

    def interrupted(self) -> None:
        """End it: something came in the middle of a write."""
        self._finish("was interrupted in the middle of a write")

    def atomic(self, work: Callable[[], R]) -> R:
        """Do some work, and undo everything that it wrote when it is refused."""
        overlay, catalog = self.overlay, self.catalog()
        mark = overlay.savepoint()
        try:
            result = work()
        except DocdbError:
            overlay.rollback(mark)
            self._catalog = catalog
            raise
        overlay.release()
        return result

    def _note_own(self, catalog: Catalog) -> None:
        """Remember from which number on collections are the transaction's own."""
        if self.reads.first_own is None:
            self.reads.first_own = self.base.state().next_collection

    # The end

    def commit(self) -> None:
        """Make everything that was written durable in one commit; TransactionConflict when what was read has changed."""
        with self.turn():
            self.check()
            if self._base is None or not self._overlay or not any(self._overlay.maps):
                # What was only read is true at the snapshot.
                self._commit_step()
                return
            try:
                if self.permit is not None:
                    self.permit(None)
                net, made, position = self._net()
                if not net and not made:
                    self._commit_step()
                    return
                # From here on the outcome is open: other threads are refused, and the snapshot is no longer needed.
                self._over = _over("is being committed")
                self._drop()
                position = self._judged(position)
                self._register.wait(net, self._numbers(net), self.claim)
                self._submit(lambda batch: self._put(batch, net, made, position))
            except TransactionConflict:
                self._finish("had a conflict")
                raise
            except BaseException:
                self._finish("was committed" if self.committed else "failed to commit")
                raise
            self._finish("was committed")

    @property
    def committed(self) -> bool:
        """Whether the commit has landed, also when it was interrupted."""
        return self._nothing_written or (self._ticket is not None and self._ticket.landed)

    def _submit(self, call: Callable[[WriteBatch], Any]) -> None:
        self._ticket = Ticket(call)
        self.origin.submit(self._ticket)

    def _commit_step(self) -> None:
        """Commit without any write of its own."""
        if self.step is not None:
            try:
                self._over = _over("is being committed")
                self._drop()
                self._submit(self.step)
            except BaseException:
                self._finish("was committed" if self.committed else "failed to commit")
                raise
        self._nothing_written = True
        self._finish("was committed")

    def rollback(self) -> None:
        """Forget everything that was written."""
        with self.turn():
            self.check()
            self._finish("was rolled back")

    def _finish(self, what: str) -> None:
        # In one step: an interruption between two would find it active, and begin it anew.
        self._over = over = _over(what)
        self.end(over)

    def _drop(self) -> None:
        super()._drop()
        self._overlay = None

    def _net(self) -> tuple[Net, dict[str, CollectionInfo], int]:
        """Return the change of each document in the order of writing, the collections made, and the commit that was read at."""
        base, catalog = self.base, self.catalog()
        made = {name: info for name, info in catalog.collections.items() if name not in base.catalog.collections}
        net = net_of(self.overlay, catalog, self._whole)
        images = (image for _, changes in net for change in changes for image in (change.before, change.after))
        if sum(len(image or b"") for image in images) > self.parent.settings.commit_bytes:
            raise self._too_large()
        return net, made, base.state().last_commit

    def _numbers(self, net: Net) -> list[int | None]:
        catalog, own = self.catalog_of_end, self.reads.first_own
        infos = [catalog.get(name) for name, _ in net]
        return [None if info is None or (own is not None and info.number >= own) else info.number for info in infos]

    @property
    def catalog_of_end(self) -> Catalog:
        """The catalog as the transaction left it."""
        assert self._catalog is not None
        return self._catalog

    def _judged(self, position: int) -> int:
        """Judge the log up to now, outside the lock; return the commit it was judged to."""
        with self.origin.snapshot() as snapshot:
            state = snapshot.state()
            if state.last_commit > position:
                _refuse_lost(state.oldest_commit, position)
                self.reads.refuse(_documents(read(snapshot.txn, position, state.last_commit)))
            return state.last_commit

    def _put(self, batch: WriteBatch, net: Net, made: Mapping[str, CollectionInfo], position: int) -> None:
        """Judge the rest of the log, check, and put: a caller of the group commit. It refuses before its first put."""
        if self.step is not None:
            self.step.check(batch)
        if self.permit is not None:
            self.permit(batch)
        if batch.state.last_commit > position:
            _refuse_lost(batch.state.oldest_commit, position)
            self.reads.refuse(_documents(read(batch.txn, position)))
            self.reads.refuse(batch.log.unwritten())
        for name in made:
            if batch.catalog.get(name) is not None:
                raise conflict(f"collection {name!r} was created meanwhile")
        examined = [(name, changes, self._examine(batch, name, changes)) for name, changes in net if name not in made]
        for name, info in made.items():
            created = batch.create_collection(name, dict(info.options))
            examined += [(name, changes, records.examine(batch, created, changes)) for n, changes in net if n == name]
        put_net(batch, examined)
        if self.step is not None:
            self.step.put(batch)

    def _examine(self, batch: WriteBatch, name: str, changes: list[DocumentChange]) -> list[records.Difference]:
        info = batch.catalog.get(name)
        if info is None:
            raise conflict(f"collection {name!r} is gone")
        stored = batch.txn.get_many(DOCUMENTS, [document_key(info.number, change.id_key) for change in changes])
        if stored != [change.before for change in changes]:
            raise conflict(f"a document of {name!r} that the transaction writes was changed")
        try:
            return records.examine(batch, info, changes)
        except DuplicateKeyError as error:
            # It was free in the snapshot: run again, the transaction meets the key and can say what then.
            raise conflict(f"another commit took a unique key: {error.message}") from error

    def _too_large(self) -> DocdbError:
        limit = self.parent.settings.commit_bytes
        return TooLarge(
            f"one transaction may change at most {limit} bytes", hint="commit in steps, or raise commit_bytes"
        )

    def _expired(self) -> DocdbError:
        return TransactionExpired(
            f"the transaction took longer than {self._limit_s} s", hint="run it again, or raise transaction_limit_s"
        )


def unbroken(method: F) -> F:
    """Return a method that writes as a call of its own, which ends the transaction when it is interrupted."""

    @wraps(method)
    def call(self: TransactionSession, /, *args: Any, **named: Any) -> Any:
        store = self.store
        with store.turn():
            store.check()
            try:
                return method(self, *args, **named)
            except DocdbError:
                raise
            except BaseException:
                store.interrupted()
                raise

    return cast(F, call)


class TransactionSession(FixedSession):
    """What the collections of a transaction speak to."""

    store: TransactionStore

    def complete(self, name: str, query: FindQuery, snapshot: Snapshot, also: Sequence[str] = ()) -> FindQuery:
        """Return the query with what the collection adds, and note its filter: all reading by filters passes here."""
        query = super().complete(name, query, snapshot, also)
        self.store.note_filter(name, query.node)
        return query

    def note_names(self) -> None:
        """Note that it was asked which collections there are."""
        self.store.reads.note_all_names()

    def note_everything(self, name: str) -> None:
        """Note that a collection's numbers were read, which every change of it alters."""
        self.store.note_filter(name, TRUE)

    @guarded
    def estimated_count(self, name: str) -> int:
        """Return the number of documents from the counters."""
        self.note_everything(name)
        return super().estimated_count(name)

    @guarded
    def index_stats(self, name: str) -> list[dict[str, Any]]:
        """Return name, key, entries, bytes and uses of each index."""
        self.note_everything(name)
        return super().index_stats(name)

    @unbroken
    def execute(
        self, name: str, operations: Sequence[Operation], *, ordered: bool = True, max_time_ms: float | None = None
    ) -> list[Outcome | DocdbError]:
        """Carry out the operations on the transaction's own picture; with ``ordered`` the first error ends the list."""
        self.store.collection(name)
        outcomes = StoreSession.execute(self, name, operations, ordered=ordered, max_time_ms=max_time_ms)
        for outcome in outcomes:
            if isinstance(outcome, DuplicateKeyError):
                self._note_rival(name, outcome)
        return outcomes

    @unbroken
    def insert_all(self, name: str, documents: Sequence[Mapping[str, Any]]) -> list[Any] | None:
        """Insert documents and return their ids; None when one cannot go in (nothing is put then)."""
        self.store.collection(name)
        return StoreSession.insert_all(self, name, documents)

    def _note_rival(self, name: str, error: DuplicateKeyError) -> None:
        """Note the read that a refused key is: that the other document is there."""
        if error.details.get("index_name") == "_id_":
            self.store.note_ids(name, [order_key(error.details["keyValue"]["_id"])])
        else:
            self.note_everything(name)

    @unbroken
    def create_collection(self, name: str, /, **options: Any) -> None:
        """Create a collection; it is there for others after the commit."""
        self.store.collection(name)
        StoreSession.create_collection(self, name, **options)

    @unbroken
    def replace_documents(
        self, name: str, batches: Iterator[list[dict[str, Any]]], write: Callable[[Any], None]
    ) -> None:
        """Put documents in place of the collection's: ``$out`` inside a transaction."""

        def work() -> None:
            (removed,) = self.execute(name, [DeleteOp({}, multi=True)])
            if isinstance(removed, DocdbError):
                raise removed
            for batch in batches:
                write(batch)

        self.store.atomic(work)


def net_of(overlay: Overlay, catalog: Catalog, whole: WholeWrites) -> Net:
    """Return the change of each document of an overlay, in the order of their first writing."""
    found: dict[int, list[DocumentChange]] = {}
    keys = overlay.written(DOCUMENTS)
    for key, before in zip(keys, overlay.base.get_many(DOCUMENTS, keys), strict=True):
        after = overlay.get(DOCUMENTS, key)
        if before == after:
            continue
        number = int.from_bytes(key[:4], "big")
        operation = whole.operation(key, before, after)
        found.setdefault(number, []).append(DocumentChange(operation, key[4:], before, after))
    return [(catalog.by_number[number].name, changes) for number, changes in found.items()]


def put_net(batch: WriteBatch, examined: Sequence[tuple[str, list[DocumentChange], list[records.Difference]]]) -> None:
    """Put net changes that have been examined."""
    for name, changes, differences in examined:
        records.put_examined(batch, batch.catalog.collections[name], changes, differences)


def together(
    batch: WriteBatch, reads: Any, run: Callable[[WriteBatch], list[Outcome | DocdbError]]
) -> list[Outcome | DocdbError]:
    """Run several operations of one call on an overlay of a batch; all of them go into the batch, or, when one is refused, none."""
    overlay = Overlay(batch.txn)
    scratch = OverlayBatch(overlay, batch.catalog, reads, batch.state.copy())
    outcomes = run(scratch)
    if any(isinstance(outcome, DocdbError) for outcome in outcomes):
        return outcomes
    made = {name: info for name, info in scratch.catalog.collections.items() if batch.catalog.get(name) is None}
    net = net_of(overlay, scratch.catalog, scratch.whole)
    for name, info in made.items():
        batch.create_collection(name, dict(info.options))
    put_net(
        batch,
        [(name, changes, records.examine(batch, batch.catalog.collections[name], changes)) for name, changes in net],
    )
    return outcomes


def _documents(changes: Iterator[Any]) -> Iterator[Any]:
    """Leave out the ends of the commits."""
    return (change for change in changes if hasattr(change, "operation"))


def _refuse_lost(oldest: int, position: int) -> None:
    if oldest > position + 1:
        raise conflict(f"the change log no longer reaches back to commit {position}, which the transaction read at")


def _over(what: str) -> Callable[[], DocdbError]:
    return lambda: InvalidOperation(f"the transaction {what}", code=OVER_CODE, errcode=OVER_ERRCODE)
