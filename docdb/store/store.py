"""An opened store: engine, catalog, writer, snapshots.

What lives here: ``Store``. What it must not know: filters of users, faces, plans.

A store belongs to one engine, and all databases opened on the same path in a process share it, so that all writers of the process share one
group commit.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import threading
import uuid
import weakref
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from docdb.engine.base import CATALOG, CHANGES, DOCUMENTS, Engine, EngineTransaction
from docdb.engine.failures import EnvironmentFailed
from docdb.engine.notices import Notice
from docdb.errors import FormatError, InvalidOperation, StorageError
from docdb.store import catalog as catalog_room
from docdb.store import codec
from docdb.store.batch import WriteBatch
from docdb.store.catalog import Catalog, CollectionInfo, State
from docdb.store.changes import Few
from docdb.store.keyspace import FORMAT_KEY, document_key
from docdb.store.signals import Shield
from docdb.store.snapshots import Lent, Snapshot
from docdb.store.writer import Ticket, Writer

if TYPE_CHECKING:
    from docdb.store.expiry import Sweeper

__all__ = ["HISTORY_AGE_S", "HISTORY_BYTES", "Store"]

HISTORY_BYTES: Final = 256 * 2**20
HISTORY_AGE_S: Final = 24 * 3600.0
READER_CHECK_COMMITS: Final = (
    100  # 5 us with eight processes; a killed reader's pages are kept till then, 40 KB of them a commit
)

WORTH_S: Final = 0.0001  # what a commit has to take for snapshots to be made ahead of it


def _nobody_watches(store: Store, due: float) -> None:
    """Stand for who ends the snapshots of cursors: without a session there are none."""


# Stores whose locks a forked child has to make anew: a thread that does not exist there may have held them.
_living: weakref.WeakSet[Store] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for store in list(_living):
        store.renew_locks()


os.register_at_fork(after_in_child=_after_fork_in_child)


class Store:
    """Everything below the faces, over one engine."""

    def __init__(
        self,
        engine: Engine,
        *,
        history_bytes: int = HISTORY_BYTES,
        history_age_s: float = HISTORY_AGE_S,
        sweep_s: float | None = None,
    ) -> None:
        """``sweep_s``: how often to look for expired documents in the background; None: never."""
        self.engine = engine
        self.history_bytes = history_bytes
        self.history_age_s = history_age_s
        self.sweep_s = None if engine.read_only else sweep_s
        self.sweeper: Sweeper | None = None  # made with the first expiring index
        self._catalog: Catalog | None = None
        self._seen_id = -1  # the storage commit up to which _catalog is known to be the newest
        # Storage commit, catalog and state that this process committed last: while no other commit follows, they are the newest.
        self._latest: tuple[int, Catalog, State] | None = None
        self.index_uses: dict[int, int] = {}  # by number: how often an index served a query of this process
        self._mutex = threading.Lock()
        self.bell = engine.bell()  # rung after each commit, outside the storage transaction
        self.bells: list[Callable[[], None]] = []  # called then too, on the writer's thread
        self.ends: list[Callable[[], None]] = []  # called at the begin of its close
        self.lent = Lent()
        self.watch: Callable[[Store, float], None] = (
            _nobody_watches  # called when a cursor rests that nobody looks after at its time
        )
        self.hub: Any = None  # what wakes the readers of the log (feeds/hub.py); made by the first of them
        self.secret: bytes | None = None  # once somebody has asked for it (store/secrets.py)
        self.about = self._establish()
        self._seal = _seal(self.about)
        self.writer = Writer(self._begin, self._committed, self._repair, self._landed, engine.end_turn)
        _living.add(self)

    def _establish(self) -> dict[str, Any]:
        """Return the format record; write the first contents into an empty store."""
        reading = self.engine.begin()
        try:
            about = catalog_room.read_about(reading)
        finally:
            reading.abort()
        if about is not None:
            return about
        if self.engine.read_only:
            raise FormatError("the store is empty and opened read-only")
        with Shield():
            return self._write_first_contents()

    def _write_first_contents(self) -> dict[str, Any]:
        txn = self.engine.begin(write=True)
        try:
            about = catalog_room.read_about(txn)  # another process may have been first
            if about is None:
                first = catalog_room.first_contents(uuid.uuid4().hex, uuid.uuid4().hex, dt.datetime.now(dt.UTC))
                txn.put_many(CATALOG, sorted(first))
                about = catalog_room.read_about(txn)
                txn.commit()
            else:
                txn.abort()
        except BaseException:
            txn.abort()
            raise
        assert about is not None
        return about

    def snapshot(self, limit_s: float | None = None) -> Snapshot:
        """Return the state of now; raises SnapshotExpired from its views after ``limit_s`` seconds."""
        txn = self._begun()
        try:
            return Snapshot(self, txn, self._newest(txn), limit_s)
        except BaseException:
            txn.abort()
            raise

    def _begun(self) -> EngineTransaction:
        """Return a snapshot of the engine; between a writer's failed flush and the opening anew it waits, and begins once more."""
        try:
            return self.engine.begin()
        except (EnvironmentFailed, InvalidOperation):
            self.engine.settle()
            return self.engine.begin()

    def _newest(self, txn: EngineTransaction) -> Catalog:
        known, seen = self._catalog, self._seen_id
        if known is not None and txn.id == seen:
            return known
        catalog = catalog_room.load(txn, known)
        with self._mutex:
            if self._catalog is None or catalog.version >= self._catalog.version:
                self._catalog = catalog
                self._seen_id = max(txn.id, self._seen_id)
        if catalog is not known:
            self._look_after(catalog)
        return catalog

    def _look_after(self, catalog: Catalog) -> None:
        """See to it that what a new catalog lets expire is removed."""
        if self.sweep_s is None or not catalog.expires:
            return
        from docdb.store.expiry import Sweeper  # few databases have an expiring index

        with self._mutex:
            if self.sweeper is None:
                self.sweeper = Sweeper(self, self.sweep_s)
            sweeper = self.sweeper
        sweeper.start()

    def get(self, name: str, id_key: bytes) -> Any | None:
        """Return a document by its id key, from the newest commit. The fast road: no snapshot object, no plan.

        Returns ``Ellipsis`` when the collection has an expiring index: the caller then takes the road that looks at the clock.
        """
        catalog = self._catalog or self.catalog()
        for _ in range(100):
            info = catalog.collections.get(name)
            if info is None:
                newer = self.catalog()
                if newer is catalog:
                    return None
                catalog = newer
                continue
            if info.expiring:
                return ...
            key = document_key(info.number, id_key)
            try:
                seen, document = self.engine.get_latest(DOCUMENTS, key, codec.decode)
            except EnvironmentFailed:
                self.engine.settle()
                seen, document = self.engine.get_latest(DOCUMENTS, key, codec.decode)
            if seen == self._seen_id:
                return document
            newer = self.catalog()
            if newer is catalog:
                return document
            catalog = newer
        raise StorageError("the catalog changes faster than it can be read")

    def catalog(self) -> Catalog:
        """Return the newest catalog. Cost, when nobody else has committed: a look at the number of the last commit."""
        known = self._catalog
        if known is not None and self.engine.last_id() == self._seen_id:
            return known
        with self.snapshot() as snapshot:
            return snapshot.catalog

    @property
    def known_version(self) -> int:
        """The version of the newest catalog that this process has seen; -1: none yet. Costs nothing."""
        known = self._catalog
        return -1 if known is None else known.version

    def write(self, call: Callable[[WriteBatch], Any], *, told: bool = True) -> Any:
        """Run a caller in the next group commit; see ``writer.Writer.submit``. ``told``: an interruption gets a note of the outcome."""
        return self.submit(Ticket(call, told=told))

    def submit(self, ticket: Ticket) -> Any:
        """Run the caller of a ticket, which tells the outcome even when the call is interrupted."""
        if self.engine.read_only:
            raise InvalidOperation("the database is opened read-only")
        return self.writer.submit(ticket)

    def note_use(self, index_number: int) -> None:
        """Count that a query was served by an index (in this process, since open)."""
        self.index_uses[index_number] = self.index_uses.get(index_number, 0) + 1

    def uses(self, index_number: int) -> int:
        """Return how often an index served a query in this process since open."""
        return self.index_uses.get(index_number, 0)

    def _begin(self) -> WriteBatch:
        txn = self.engine.begin(write=True)
        try:
            known, latest = self._catalog, self._latest
            if latest is not None and (latest[0] != txn.id or latest[1] is not known):
                latest = None
            return WriteBatch(
                txn,
                known,
                history_bytes=self.history_bytes,
                history_age_s=self.history_age_s,
                state=None if latest is None else latest[2].copy(),
                foretell=self._foretell,
            )
        except BaseException:
            txn.abort()
            raise

    def _committed(self, batch: WriteBatch) -> None:
        if batch.catalog is not self._catalog:
            self._look_after(batch.catalog)
        with self._mutex:
            if self._catalog is None or batch.catalog.version >= self._catalog.version:
                # Under the writer's lock nobody else has changed it up to this commit.
                self._catalog = batch.catalog
                self._seen_id = max(self._seen_id, batch.txn.id + 1)
            self._latest = batch.txn.id + 1, batch.catalog, batch.state
        if self.writer.commits % READER_CHECK_COMMITS == 0:
            self.engine.reader_check()
        hub, forecast, last = self.hub, batch.forecast, batch.state.last_commit
        told = hub is None
        try:
            told = hub is None or hub.committed(batch.log, last, batch.txn.id + 1, forecast)
        finally:
            if not told:  # the herald has left this process out, or rung before there was anything for its thread to do
                self.bell.nudge()
        for bell in self.bells:
            bell()

    def _foretell(self, batch: WriteBatch) -> None:
        """Have the feeds find out what a commit is for whom, while the processor's caches are warm; and name who tells of it."""
        hub, last, token = self.hub, batch.state.last_commit, 0
        worth = self.writer.usual_commit_s >= WORTH_S
        if worth:  # first: other processes need longer
            try:
                token = self.bell.foretell(batch.log.first, last, batch.log.few, self._seal)
            except Exception:  # the commit is none the worse for it
                _complain()
        if hub is not None:
            try:
                batch.forecast = hub.foresee(batch.log, last)
            except Exception:
                _complain()
        batch.herald = self.bell.herald(last, others=batch.forecast is not None, token=token)
        forecast = batch.forecast
        if worth and forecast and forecast.offers and batch.herald:
            hub.rouse(forecast, batch.herald)

    def notice(self) -> Notice | None:
        """Return what another process is about to commit, if it has posted something new; the newest counts."""
        return self.bell.notice(self._seal)

    def _announce(self, log: Few, storage_id: int) -> None:
        """Tell the feeds and whoever listens of a commit that nobody has foretold."""
        told = False
        try:
            told = self.hub is not None and self.hub.committed(log, log.last, storage_id)
        finally:  # other processes must hear of it, whatever goes wrong here
            self.bell.ring(log.last, others=told)
        for bell in self.bells:
            bell()

    def announce(self, records: list[tuple[bytes, bytes]]) -> None:
        """Tell of a commit outside a batch, by its records; what goes wrong with that does not concern its caller."""
        with Shield():
            try:
                self._announce(Few(records), self._latest[0] if self._latest else -1)
            except Exception:
                _complain()

    def _repair(self) -> None:
        """After a failed flush: what the environment holds in memory can no longer be trusted."""
        with contextlib.suppress(
            StorageError
        ):  # the caller's own error says more; the next begin tells if it is still broken
            self.engine.reopen()
        self.forget()

    def recover(self, error: StorageError, key: bytes, value: bytes) -> None:
        """Open the storage again after a commit outside a batch has failed; raise its error when it is in the file all the same."""
        with Shield():
            self._repair()
            if self._is_there(key, value):
                raise error

    def _landed(self, batch: WriteBatch) -> bool:
        """Tell whether a commit that raised is in the file all the same: by its end record, whose clock no other commit shares."""
        return batch.log.last_end is not None and self._is_there(*batch.log.last_end)

    def _is_there(self, key: bytes, value: bytes) -> bool:
        try:
            txn = self.engine.begin()
        except StorageError:
            return True  # it cannot be told: then nothing is done twice
        try:
            return bool(txn.get(CHANGES, key) == value)
        finally:
            txn.abort()

    def forget(self) -> None:
        """Forget the catalog, after the storage below has been replaced."""
        with self._mutex:
            self._catalog, self._seen_id, self._latest = None, -1, None

    def renew_locks(self) -> None:
        """Begin anew in a forked child."""
        self.hub = self.sweeper = None
        self.lent = Lent()
        self._mutex = threading.Lock()
        self.writer.forget()
        self.forget()

    def begin_epoch(self) -> None:
        """Begin a new history: positions from before are refused (after a restore)."""
        self.about = self.about | {"epoch": uuid.uuid4().hex}
        self._seal = _seal(self.about)
        about = codec.encode_value(self.about)
        self.write(lambda batch: batch.put_catalog([(FORMAT_KEY, about)]))

    def collection(self, name: str) -> CollectionInfo | None:
        """Return a collection's definition as of now, or None."""
        return self.catalog().get(name)

    def close(self) -> None:
        """Close the engine, and end the threads that read the log and remove what has expired."""
        self.sweep_s = None
        for end in self.ends:
            end()
        if self.sweeper is not None:
            self.sweeper.stop()
        hub, self.hub = self.hub, None
        if hub is not None:
            hub.stop()
        self.engine.close()
        self.bell.close()


def _seal(about: dict[str, Any]) -> int:
    """Return a number for a database and its history, which other processes find as well."""
    return zlib.crc32(f"{about['database_id']} {about['epoch']}".encode())


def _complain() -> None:
    import logging  # seldom needed, and slow to load

    logging.getLogger("docdb.store").exception("telling of a commit")
