"""An opened database: the one place that ties all rooms together.

What lives here: ``open`` and ``Database``. What it must not know: how anything below works.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar, Unpack, overload

from docdb.collection import Collection
from docdb.command import command
from docdb.engine.base import Engine
from docdb.engine.lmdb import open_engine
from docdb.errors import BusyError, CorruptError, InvalidOperation, UsageError
from docdb.faces.arguments import WatchOptions, check_watch
from docdb.feeds.positions import Position
from docdb.query import AggregateCursor
from docdb.sessions.followers import describe
from docdb.sessions.session import SessionSettings, StoreSession
from docdb.store import building
from docdb.store.store import HISTORY_AGE_S, HISTORY_BYTES, Store
from docdb.transaction import Retries, SnapshotView, Transaction, check_limit, check_times, run

if TYPE_CHECKING:
    import datetime as dt

    from docdb.consumer import Consumer, Trigger
    from docdb.feeds.events import Change
    from docdb.feeds.streams import ChangeStream
    from docdb.sessions.following import Following
    from docdb.store.check import Report
    from docdb.user import UserDatabase

__all__ = ["Database", "open", "restore"]

NAIVE_DATES: Final = ("refuse", "utc")
SAME_AS_CURSORS: Final = -1.0
M = TypeVar("M")
R = TypeVar("R")


@dataclass(slots=True)
class _Shared:
    """A store and how many databases of this process use it."""

    store: Store
    users: int


_shared: dict[int, _Shared] = {}
_shared_mutex = threading.Lock()


def _renew_lock() -> None:
    """In a forked child: a thread that is not there may hold the lock."""
    global _shared_mutex
    _shared_mutex = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def open(
    path: str | os.PathLike[str],
    *,
    read_only: bool = False,
    verify: bool = False,
    create: bool = True,
    durability: str = "full",
    naive_dates: str = "refuse",
    history_bytes: int = HISTORY_BYTES,
    history_age_s: float = HISTORY_AGE_S,
    sweep_s: float | None = 10.0,
    snapshot_limit_s: float | None = 60.0,
    transaction_limit_s: float | None = 30.0,
    commit_bytes: int = 256 * 2**20,
    slow_ms: float = 100.0,
    memory_limit: int = 100 * 2**20,
    native: bool | None = None,
    on_denied: Callable[[Any], Any] | None = None,
) -> Database:
    """Open the database in the folder ``path``, made when absent; ``":memory:"`` for one that lives as long as the object.

    ``durability`` is "full" (each commit is on the disk when the call returns) or "relaxed" (a power cut may undo the last commit, never
    damage the file). ``naive_dates`` is "refuse" or "utc". ``history_bytes`` and ``history_age_s`` bound the change log. ``sweep_s`` is how often a thread
    looks for expired documents, where an index lets any expire; None: only ``sweep()`` removes them. ``snapshot_limit_s`` bounds the life of a
    cursor's snapshot, read or not, ``transaction_limit_s`` that of a transaction, ``slow_ms`` is from where on operations are logged to
    ``docdb.slow``. ``verify`` reads the whole file before it is mapped, and then runs the checker.
    ``native`` False takes py-lmdb's public interface even where the kernels are there.
    ``on_denied(denial)`` is called after each refusal by the rules (``as_user``), with the reason that the caller is not told.

    Raises FormatError, CorruptError, BusyError or another StorageError. Cost: a few milliseconds, whatever the size.

    >>> with open(":memory:") as db:
    ...     db["users"].insert_one({"_id": 1, "name": "Ann"}).inserted_id
    1
    """
    if naive_dates not in NAIVE_DATES:
        raise UsageError(f"naive_dates is one of {', '.join(NAIVE_DATES)}", path="naive_dates")
    sweep_s = check_limit(sweep_s, "sweep_s")
    settings = SessionSettings(
        naive_utc=naive_dates == "utc",
        snapshot_limit_s=snapshot_limit_s,
        commit_bytes=commit_bytes,
        slow_ms=slow_ms,
        memory_limit=memory_limit,
        transaction_limit_s=check_limit(transaction_limit_s, "transaction_limit_s"),
        on_denied=on_denied,
    )
    location = os.fspath(path)
    engine = _engine_of(
        location, create=create, read_only=read_only, durability=durability, native=native, verify=verify
    )
    store = _share(engine, history_bytes, history_age_s, sweep_s)
    return _made_ready(Database(store, settings, location), verify)


def _made_ready(database: Database, verify: bool) -> Database:
    """Remove what an unfinished index build has left, and check; closes the database where that fails."""
    try:
        if not database._store.engine.read_only:
            building.sweep(database._store, unfinished=True)
        if verify:
            _refuse_damage(database.check())
    except BaseException:
        database.close()
        raise
    return database


def _engine_of(location: str, **options: Any) -> Engine:
    """Return the engine of a folder, or one that lives in memory."""
    if location != ":memory:":
        return open_engine(location, **options)
    from docdb.engine.memory import MemoryEngine

    return MemoryEngine()


def _share(engine: Engine, history_bytes: int, history_age_s: float, sweep_s: float | None) -> Store:
    """Return the store over an engine; all who open the same path share one, and so one group commit and one set of limits."""
    with _shared_mutex:
        known = _shared.get(id(engine.identity))
        if known is not None:
            known.users += 1
            engine.close()
            return known.store
        try:
            store = Store(engine, history_bytes=history_bytes, history_age_s=history_age_s, sweep_s=sweep_s)
        except BaseException:
            engine.close()
            raise
        _shared[id(engine.identity)] = _Shared(store, 1)
        return store


def _release(store: Store) -> None:
    with _shared_mutex:
        key = id(store.engine.identity)
        known = _shared[key]
        known.users -= 1
        if known.users:
            return
        del _shared[key]
        store.close()


def _users(store: Store) -> int:
    with _shared_mutex:
        return _shared[id(store.engine.identity)].users


def _refuse_damage(report: Report) -> None:
    if not report.ok:
        raise CorruptError(
            f"the file does not hold together: {report.problems[0]}", hint=f"{len(report.problems)} problems in all"
        )


class Database:
    """A database; close it, or use it as a context. Safe to use from any thread.

    ``db["users"]`` and ``db.collection("users")`` are the same; a collection is created by the first write to it.
    """

    command = command

    def __init__(self, store: Store, settings: SessionSettings, location: str) -> None:
        self._store = store
        self._session = StoreSession(store, settings)
        self._location = location
        self._open = True

    @property
    def path(self) -> str:
        """The folder, or ``":memory:"``."""
        return self._location

    @property
    def id(self) -> str:
        """The database's own id, 32 hexadecimal characters, made at creation."""
        return str(self._store.about["database_id"])

    @overload
    def collection(self, name: str, *, model: None = None) -> Collection[dict[str, Any]]: ...

    @overload
    def collection(self, name: str, *, model: type[M]) -> Collection[M]: ...

    @overload
    def collection(self, name: str, *, model: type | None) -> Collection[Any]: ...

    def collection(self, name: str, *, model: type | None = None) -> Collection[Any]:
        """Return a collection, which need not exist yet. ``model`` turns documents into objects of a class and back."""
        return Collection(self._session, name, model=model)

    def __getitem__(self, name: str) -> Collection[dict[str, Any]]:
        return Collection(self._session, name)

    def create_collection(self, name: str, **options: Any) -> Collection[dict[str, Any]]:
        """Create a collection with ``validator``, ``validationLevel``, ``validationAction``, ``collation``; CollectionError when it exists."""
        self._session.create_collection(name, **options)
        return Collection(self._session, name)

    def drop_collection(self, name: str) -> bool:
        """Remove a collection with all its documents and indexes; return whether it was there."""
        return self._session.drop_collection(name)

    def list_collection_names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        return self._session.collection_names()

    def list_collections(self) -> Iterator[dict[str, Any]]:
        """Yield name, type and options of each collection."""
        for name, info in sorted(self._store.catalog().collections.items()):
            yield {"name": name, "type": "collection", "options": dict(info.options)}

    def aggregate(self, pipeline: Sequence[Mapping[str, Any]], **options: Any) -> AggregateCursor:
        """Run a pipeline that begins with ``$documents``."""
        return AggregateCursor(self._session, None, pipeline, **options)

    def transaction(self) -> Transaction:
        """Return a transaction for ``with``: committed at the end of the block, rolled back when it raises."""
        self._session.refuse_closed()
        return Transaction(self._session, self._session.settings.transaction_limit_s)

    def start_transaction(self) -> Transaction:
        """Return a transaction by hand: end it with ``commit()`` or ``rollback()``."""
        return self.transaction()

    def run_transaction(self, call: Callable[[Transaction], R], times: int = 3) -> R:
        """Run ``call(transaction)``, commit and return what it returned; at a conflict run it again, ``times`` times at most.

        What ``call`` raises rolls back and comes out. Between two tries it waits a few milliseconds; from the second retry on, other transactions of
        this process that touch what it has read wait for it, for at most a second.
        """
        self._session.refuse_closed()
        return run(self._session, call, times, self._session.settings.transaction_limit_s)

    def snapshot(self, *, limit_s: float | None = SAME_AS_CURSORS) -> SnapshotView:
        """Return the database as it is now, to be read; for ``with``. It ends after ``limit_s`` seconds (None: never), by default as cursors do."""
        self._session.refuse_closed()
        given = self._session.settings.snapshot_limit_s if limit_s == SAME_AS_CURSORS else limit_s
        return SnapshotView(self._session, check_limit(given, "limit_s"))

    def changes(
        self, *, operations: Any = None, pipeline: Any = None, resume_after: Any = None, from_: str = "now"
    ) -> ChangeStream[Change]:
        """Return every change of all collections from now on, from ``"oldest"``, or from behind a position; see ``Collection.changes``."""
        return self._session.feeds.changes(
            None, operations=operations, pipeline=pipeline, resume_after=resume_after, from_=from_
        )

    def watch(self, pipeline: Any = None, **options: Unpack[WatchOptions]) -> ChangeStream[dict[str, Any]]:
        """Return a change stream of all collections as pymongo's."""
        return self._session.feeds.watch(None, pipeline, **check_watch(options))

    def set_rules(self, name: str, rules: Any, *, who: str | None = None, max_length: int = 1024) -> int | None:
        """Set who may do what in the collection of this name, which need not exist; return the version. None takes the rules away.

        ``rules`` is an object of expressions or the name of a preset. They are checked as a whole (RuleError with line and column) and take effect in one
        commit; what a transaction did under others is a TransactionConflict. Rules belong to the name: they stay when the collection is dropped
        or renamed. ``who`` is noted. Expressions have at most ``max_length`` characters.
        """
        from docdb.sessions.rulebook import set_rules  # the parser comes with it

        return set_rules(self._session, name, rules, who=who, max_length=max_length)

    def load_rules(
        self, path: str | os.PathLike[str], *, who: str | None = None, max_length: int = 1024
    ) -> dict[str, int]:
        """Set the rules of all collections in a file, JSON or YAML, in one commit or not at all; return the versions by name.

        A ``get`` of a collection that is neither in the file nor in the database is a mistake. Rules of other names stay as they are.
        """
        from docdb.sessions.rulebook import load_rules

        return load_rules(self._session, path, who=who, max_length=max_length)

    def rules(self, name: str) -> Any:
        """Return the rules of a name as they were set, None where there are none."""
        from docdb.sessions.rulebook import rules_of

        return rules_of(self._session, name)

    def list_rules(self) -> list[dict[str, Any]]:
        """Return ``name``, ``rules``, ``version``, ``when`` and ``who`` of all rules, by name."""
        from docdb.sessions.rulebook import list_rules

        return list_rules(self._session)

    def as_user(
        self, auth: Mapping[str, Any] | None, *, expires_at: dt.datetime | None = None, filter_mode: bool = False, strict_ids: bool = False,
        on_denied: Callable[[Any], Any] | None = None,
    ) -> UserDatabase:  # fmt: skip
        """Return this database as a caller may use it: the same face, each access judged by the rules.

        ``auth`` is what the rules see of the caller, None for nobody; it is copied. ``openid`` and ``uid`` are text. From ``expires_at`` on everything is
        denied. By default a query must prove that all it matches is allowed; with ``filter_mode`` it is narrowed instead. A query by ``_id``
        reads the document and judges that; with ``strict_ids`` it must prove, too. ``on_denied`` takes the place of the one of ``open``.
        """
        from docdb.sessions.user import UserSession
        from docdb.sessions.user_caller import caller_of
        from docdb.user import UserDatabase

        self._session.refuse_closed()
        caller = caller_of(
            auth, expires_at=expires_at, filter_mode=filter_mode, strict_ids=strict_ids, on_denied=on_denied
        )
        return UserDatabase(UserSession(self._session, caller), self.path, self.id)

    def sweep(self) -> int:
        """Remove every document that has expired, now and in short commits, and return how many; each is an ordinary delete.

        While a database is open for writing a thread does the same from time to time (``sweep_s`` of ``open``), in one process at a time.
        """
        from docdb.store.expiry import sweep

        self._session.refuse_closed()
        return sweep(self._store, self._session.settings.clock())

    def consume(
        self, name: str, fn: Callable[..., Any], *, collection: str | None = None, operations: Any = None, filter: Any = None,
        from_: str = "now", batch: int | None = None, times: int = 8,
    ) -> Consumer:  # fmt: skip
        """Call ``fn(change, transaction)`` for every change from now on, exactly once, and commit what it writes with the place it has got to.

        The place is stored under ``name``: the next consumer of that name goes on behind it, whatever killed the last one. One at a time holds
        the name, of all processes; others wait and take over. It begins now, or with the oldest change left. With ``batch`` the function gets a list of
        up to so many changes that are there; each call is one commit. ``fn`` may be a coroutine function. What it writes through the transaction is
        there once; what else it does may be done again after a failure or a crash.

        When ``fn`` raises it is called again, ``times`` times with growing pauses (conflicts do not count); then the consumer stops with that error in
        front of the change: logged to ``docdb.feeds``, shown in ``stats()``, until ``restart()``. One that falls behind the history stops with HistoryLost
        and goes on by ``restart(from_="oldest" | "now")``. Its own writes are changes too: name a ``collection`` it does not write to.
        """
        from docdb.consumer import Consumer, check_batch  # asyncio comes with it

        what = self._following(name, collection, operations, filter, from_, times)
        return Consumer(self._session, what, fn, batch=check_batch(batch))

    def trigger(
        self, collection: str, events: Any, fn: Callable[..., Any], *, filter: Any = None, name: str | None = None,
        from_: str = "now", times: int = 8, on_failure: str = "stop",
    ) -> Trigger:  # fmt: skip
        """Call ``fn(change)`` after the commit of every insert, update, replace or delete (``events``: one or several) in a collection.

        At least once, in order, in one process at a time; never in the way of the writer. The place is stored under ``name``, by default the collection and
        where ``fn`` is defined, a moment after the calls: a crash repeats those of the last 50 ms, 100 at most. ``fn`` may be a coroutine function.

        When ``fn`` raises it is called again, ``times`` times with growing pauses. Then ``on_failure`` "stop" stops the trigger in front of the change, as a
        consumer does, until ``restart()``; "skip" logs the change and goes on with the next.
        """
        from docdb.consumer import Trigger, default_name

        what = self._following(
            default_name(collection, fn) if name is None else name, collection, events, filter, from_, times
        )
        return Trigger(self._session, what, fn, on_failure=on_failure)

    def _following(self, name: Any, collection: Any, operations: Any, filter: Any, from_: Any, times: Any) -> Following:
        from docdb.sessions.following import Following

        self._session.refuse_closed()
        naive_utc = self._session.settings.naive_utc
        return Following.checked(name, collection, operations, filter, from_, times, naive_utc=naive_utc)

    def check(self, progress: Callable[[str, int], None] | None = None) -> Report:
        """Compare documents, entries, counters and change log in one snapshot; see ``Report.problems``. Reads everything."""
        from docdb.store.check import check

        with self._session.snapshot() as snapshot:
            return check(snapshot, progress)

    def stats(self) -> dict[str, Any]:
        """Return sizes in bytes and counts: the storage, each collection, the change log, the group commit, the oldest reader."""
        with self._session.snapshot() as snapshot:
            state = snapshot.state()
            collections = {}
            for name, info in sorted(snapshot.catalog.collections.items()):
                view = snapshot.view(name)
                collections[name] = {
                    "documents": view.document_count(),
                    "bytes": view.byte_count(),
                    "indexes": {index.name: view.counters(index).entries for index in info.indexes},
                }
            feeds = self._session.feeds.stats() | describe(self._session, snapshot)
        writer, sweeper = self._store.writer, self._store.sweeper
        oldest = str(Position(self.id, str(self._store.about["epoch"]), state.oldest_commit - 1))
        return {
            "path": self._location,
            "engine": self._store.engine.name,
            "database_id": self.id,
            "collections": collections,
            "history": {
                "commits": state.last_commit,
                "oldest_commit": state.oldest_commit,
                "oldest_position": oldest,
                "bytes": state.log_bytes,
                "limit_bytes": self._store.history_bytes,
                "limit_age_s": self._store.history_age_s,
            },
            "expiry": {
                "sweeping": sweeper is not None and sweeper.running,
                "removed": sweeper.removed if sweeper else 0,
            },
            "feeds": feeds,
            "writer": {"storage_commits": writer.commits, "callers": writer.callers},
            "storage": self._store.engine.stats(),
        }

    def backup(self, path: str | os.PathLike[str], *, compact: bool = True) -> None:
        """Write a consistent copy to a folder that is absent or empty, while others read and write.

        The copy is a database with a history of its own: it refuses positions of this one, because what is written to either is not in the other.
        """
        self._session.snapshot().close()  # refuses when closed
        self._store.engine.copy(os.fspath(path), compact=compact, finish=_begin_epoch)

    def compact(self) -> None:
        """Rewrite the file without free pages; BusyError while another process, or another open of this one, has it open."""
        self._session.snapshot().close()
        if _users(self._store) > 1:
            raise BusyError(f"{self._location} is open more than once in this process")
        scratch = f"{self._location.rstrip(os.sep)}.compacting"
        with self._store.engine.exclusive():
            shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
            try:
                self._store.engine.copy(scratch, compact=True)
                self._store.engine.replace(scratch)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        self._store.forget()

    def close(self) -> None:
        """Close the database; cursors and collections made from it raise InvalidOperation from now on. Twice is harmless."""
        self._session.close()
        was_open, self._open = self._open, False
        if was_open:
            _release(self._store)

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Database({self._location!r})"

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise InvalidOperation("a Database is neither true nor false", hint="compare with None")


def retries_of(database: Database, times: int) -> Retries:
    """Return the tries of one transaction, for a face that runs its function itself."""
    database._session.refuse_closed()
    return Retries(database._session, check_times(times), database._session.settings.transaction_limit_s)


def end_followers(database: Database) -> None:
    """End the consumers and triggers of a database that is about to be closed, for a face whose functions they call."""
    if not database._session.closed:
        database._session.feeds.end_followers()


def restore(backup: str | os.PathLike[str], path: str | os.PathLike[str], *, replace: bool = False) -> None:
    """Make the database in the folder ``path`` from a backup.

    ``replace`` puts it in the place of one that nobody has open.

    The backup is verified first. The copy begins a new history epoch before it takes its place: positions of the original are refused.
    Raises CorruptError, BusyError (naming the processes) or UsageError.
    """
    target = os.fspath(path)
    exists = os.path.isdir(target) and bool(os.listdir(target))
    if exists and not replace:
        raise UsageError(f"{target} is not empty", hint="replace=True puts the backup in its place")
    with open(backup, read_only=True, verify=True) as source:
        original = source._store.engine
        if not exists:
            original.copy(target, compact=True, finish=_begin_epoch)
            return
        scratch = f"{target.rstrip(os.sep)}.restoring"
        engine = open_engine(target, create=False)
        try:
            with engine.exclusive():
                shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
                try:
                    original.copy(scratch, compact=True, finish=_begin_epoch)
                    engine.replace(scratch)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
        finally:
            engine.close()


def _begin_epoch(folder: str) -> None:
    """Let a database begin a new history."""
    with open(folder, sweep_s=None) as copy:
        copy._store.begin_epoch()
