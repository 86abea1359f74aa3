"""Transactions and snapshot views: the same face, on one picture of the database.

What lives here: ``Transaction``, ``SnapshotView`` and ``run``, which tries a function again. What it must not know: how conflicts are found.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from docdb.collection import Collection
from docdb.errors import RolledBack, TransactionConflict, UsageError
from docdb.faces.results import RemoveOutcome, UpdateOutcome
from docdb.query import AggregateCursor, DocumentReference, rebound
from docdb.sessions.fixed import FixedStore
from docdb.sessions.register import register_of
from docdb.sessions.transactions import TransactionStore

if TYPE_CHECKING:
    from docdb.sessions.fixed import FixedSession
    from docdb.sessions.register import Claim
    from docdb.sessions.session import StoreSession
    from docdb.sessions.transactions import TransactionSession

__all__ = ["Retries", "SnapshotView", "Transaction", "check_limit", "check_times", "raise_reason", "run"]

M = TypeVar("M")
R = TypeVar("R")
FIRST_PAUSE_S: Final = 0.002
LONGEST_PAUSE_S: Final = 0.1
MOST_TIMES: Final = 1_000


class _Face:
    """Collections by name, in a session."""

    _session: FixedSession

    @overload
    def collection(self, name: str, *, model: None = None) -> Collection[dict[str, Any]]: ...

    @overload
    def collection(self, name: str, *, model: type[M]) -> Collection[M]: ...

    @overload
    def collection(self, name: str, *, model: type | None) -> Collection[Any]: ...

    def collection(self, name: str, *, model: type | None = None) -> Collection[Any]:
        """Return a collection with the face of ``db.collection(name)``."""
        self._session.store.check()
        return Collection(self._session, name, model=model)

    def __getitem__(self, name: str) -> Collection[dict[str, Any]]:
        return self.collection(name)

    def aggregate(self, pipeline: Sequence[Mapping[str, Any]], **options: Any) -> AggregateCursor:
        """Run a pipeline that begins with ``$documents``."""
        return AggregateCursor(self._session, None, pipeline, **options)

    def list_collection_names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        return self._session.collection_names()

    @property
    def active(self) -> bool:
        """Whether calls are still answered."""
        active: bool = self._session.store.active
        return active


class SnapshotView(_Face):
    """The database as it was at one moment, to be read: ``with db.snapshot() as s``. Whatever others write, it stays the same."""

    def __init__(self, session: StoreSession, limit_s: float | None) -> None:
        store = FixedStore(session, limit_s)
        _ = store.base  # the moment is this one, not that of the first read
        self._session = session.viewing(store)

    def close(self) -> None:
        """Give the snapshot back; every later call raises InvalidOperation. Twice is harmless."""
        self._session.close()

    def __enter__(self) -> SnapshotView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SnapshotView(active={self.active})"


class Transaction(_Face):
    """Several reads and writes that are one: serializable, or a TransactionConflict at commit.

    As a context it commits at the end and rolls back when the block raises. Its reads see the database as it was at its first
    operation, and its own writes. After commit, rollback, a conflict or its time limit every call raises.

    >>> import docdb
    >>> db = docdb.open(":memory:")
    >>> with db.transaction() as t:
    ...     t["accounts"].insert_one({"_id": "a", "balance": 10}).inserted_id
    'a'
    >>> db["accounts"].count_documents({})
    1
    >>> db.close()
    """

    def __init__(self, session: StoreSession, limit_s: float | None) -> None:
        self._store = TransactionStore(session, limit_s)
        self._session: TransactionSession = session.transacting(self._store)
        self._rolled_back = False
        self._reason: Any = None

    def create_collection(self, name: str, **options: Any) -> Collection[dict[str, Any]]:
        """Create a collection, there for others after the commit; CollectionError when it exists."""
        self._session.create_collection(name, **options)
        return Collection(self._session, name)

    def commit(self) -> None:
        """Make all writes durable in one commit.

        Raises TransactionConflict when another commit changed what this transaction has read, TransactionExpired, or a StorageError. Nothing is
        written then.
        """
        self._store.commit()

    def rollback(self, reason: Any = None) -> None:
        """Forget all writes. Inside ``run_transaction`` that ends it: it raises ``reason`` when that is an exception, else RolledBack."""
        self._store.rollback()
        self._rolled_back, self._reason = True, reason

    @property
    def committed(self) -> bool:
        """Whether its commit has landed: known behind an interrupted ``commit`` too."""
        return self._store.committed

    @property
    def rolled_back(self) -> bool:
        """Whether it was rolled back by hand."""
        return self._rolled_back

    @property
    def reason(self) -> Any:
        """What ``rollback`` was given."""
        return self._reason

    def get(self, reference: DocumentReference[M]) -> M | None:
        """Return the document a reference of any collection of this database names, or None."""
        return self._own(reference).get()

    def set(self, reference: DocumentReference[Any], data: Any) -> UpdateOutcome:
        """Put a document in the place of the one a reference names; create it when absent."""
        return self._own(reference).set(data)

    def update(self, reference: DocumentReference[Any], data: Mapping[str, Any]) -> UpdateOutcome:
        """Change the document a reference names."""
        return self._own(reference).update(data)

    def remove(self, reference: DocumentReference[Any]) -> RemoveOutcome:
        """Delete the document a reference names."""
        return self._own(reference).remove()

    def delete(self, reference: DocumentReference[Any]) -> RemoveOutcome:
        """Delete the document a reference names (the other name of ``remove``)."""
        return self.remove(reference)

    def _own(self, reference: DocumentReference[M]) -> DocumentReference[M]:
        """Return the reference to the same document as this transaction sees it."""
        if not isinstance(reference, DocumentReference):
            raise UsageError(
                f"a document reference is needed, not {type(reference).__name__}", hint="db.collection(name).doc(id)"
            )
        binding = reference.collection
        store = getattr(binding.session, "store", None)
        if store is not self._store and store is not self._store.origin:
            raise UsageError(
                "the reference belongs to another database or transaction", hint="db.collection(name).doc(id)"
            )
        return rebound(reference, Collection(self._session, binding.name, binding.settings))

    def __enter__(self) -> Transaction:
        self._store.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            if not self.rolled_back and not self._store.committed:
                self.commit()
        elif self.active:
            self.rollback()

    def __repr__(self) -> str:
        return f"Transaction(active={self.active})"


class Retries:
    """Whether and when a transaction is tried again. ``close`` at the end, whatever it was."""

    def __init__(self, session: StoreSession, times: int, limit_s: float | None) -> None:
        self._session = session
        self._times = times
        self._limit_s = limit_s
        self._register = register_of(session.store)
        self._failed = 0
        self._last: Transaction | None = None
        self._claim: Claim | None = None

    def begin(self) -> Transaction:
        """Return the transaction of the next try; from the second retry on with the claim that it goes first."""
        transaction = Transaction(self._session, self._limit_s)
        if self._failed >= 2 and self._last is not None:
            self._claim = self._register.enter(self._last._store.reads, self._claim)
            transaction._store.claim = self._claim
        self._last = transaction
        return transaction

    def pause_s(self, conflict: TransactionConflict) -> float:
        """Return how long to wait before the next try; raises the conflict when there is none."""
        self._failed += 1
        if self._failed > self._times:
            raise conflict
        return random.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._failed))

    def close(self) -> None:
        """Let the others go on."""
        claim, self._claim = self._claim, None
        if claim is not None:
            self._register.leave(claim)


def run(session: StoreSession, call: Callable[[Transaction], R], times: int, limit_s: float | None) -> R:
    """Run ``call(transaction)`` and commit; at a conflict again, ``times`` times at most. Return what the call returned."""
    retries = Retries(session, check_times(times), limit_s)
    try:
        while True:
            transaction = retries.begin()
            try:
                with transaction:
                    result = call(transaction)
                    _refuse_coroutine(result)
                raise_reason(transaction)
                return result
            except TransactionConflict as conflict:
                pause_s = retries.pause_s(conflict)
            time.sleep(pause_s)
    finally:
        retries.close()


def _refuse_coroutine(result: Any) -> None:
    """Raise UsageError for what a coroutine function returns: nothing of it has run."""
    if isinstance(result, CoroutineType):
        result.close()
        raise UsageError("a coroutine function runs in an asyncio database", path="call", hint="docdb.aio.open")


def raise_reason(transaction: Transaction) -> None:
    """Raise what a transaction that its function rolled back ends with."""
    if transaction.rolled_back:
        if isinstance(transaction.reason, BaseException):
            raise transaction.reason
        raise RolledBack("the transaction was rolled back by its function", reason=transaction.reason)


def check_times(times: Any) -> int:
    """Return how often a transaction may be tried again; UsageError for what is no such number."""
    if isinstance(times, bool) or not isinstance(times, int) or not 0 <= times <= MOST_TIMES:
        raise UsageError(f"times is a number from 0 to {MOST_TIMES}", path="times")
    return times


def check_limit(limit_s: Any, path: str) -> float | None:
    """Return a time limit in seconds, None for none; UsageError for what is none."""
    if limit_s is None:
        return None
    if isinstance(limit_s, bool) or not isinstance(limit_s, int | float) or not limit_s > 0:
        raise UsageError(f"{path} is a number of seconds above 0, or None", path=path)
    return float(limit_s)
