"""Snapshots: one state of the whole store, and who may end one that nobody reads.

What lives here: ``Snapshot`` and ``Lent``, the snapshots of cursors that were given a batch and may never be asked again. What it must not know: what is
read, who looks at the clock.

A cursor's snapshot *rests* between two batches. While it rests, and only then, whoever finds it too old may end it, on any thread. Resting is being in the
set ``Lent.snapshots``: the reader who goes on, and whoever wants to end it, takes it out, which one alone can do. The set holds it weakly, so one whose
reader was interrupted on its last steps goes like any object nobody has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import ref

from docdb.engine.base import EngineTransaction
from docdb.errors import DocdbError, InvalidOperation, SnapshotExpired
from docdb.store.catalog import Catalog, State
from docdb.store.views import View

if TYPE_CHECKING:
    from docdb.store.store import Store

__all__ = ["Lent", "Snapshot"]

LOOKS: Final = 1_000  # of a millisecond each, at a snapshot that another thread is ending: that takes microseconds

T = TypeVar("T")


class Lent:
    """The resting snapshots of one store. The set is changed in single steps, without a lock."""

    __slots__ = ("due", "snapshots")

    def __init__(self) -> None:
        self.snapshots: set[ref[Snapshot]] = set()
        self.due = float("inf")  # when somebody looks at the clock next


class Snapshot:
    """One state of the whole store; close it, or use it as a context. ``limit_s`` None: as long as it takes."""

    __slots__ = ("__weakref__", "_ended", "_expires", "_lent", "_ref", "_rests", "_store", "_txn", "catalog")

    def __init__(self, store: Store, txn: EngineTransaction, catalog: Catalog, limit_s: float | None) -> None:
        self._store = store
        self._txn = txn
        self._expires = None if limit_s is None else time.monotonic() + limit_s
        self._lent = store.lent
        self._ref: ref[Snapshot] | None = None  # once it has rested
        self._rests = self._ended = False
        self.catalog = catalog

    def view(self, name: str) -> View:
        """Return a collection as this snapshot has it."""
        return View(
            self._txn,
            self.catalog.get(name),
            applies_programs=self._store.engine.applies_programs,
            check=self.check if self._expires is not None else None,
            join=self._store.engine.join,
        )

    def state(self) -> State:
        """Return the last commit and the log's extent in this snapshot."""
        return State.read(self._txn)

    @property
    def txn(self) -> EngineTransaction:
        """The engine's transaction, for the checker and the readers of the log."""
        return self._txn

    @property
    def due(self) -> float | None:
        """When it is too old, on the monotonic clock; None: never."""
        return self._expires

    def check(self) -> None:
        """Raise SnapshotExpired when the snapshot has outlived its limit: an old one keeps the file growing."""
        if self._expires is not None and time.monotonic() > self._expires:
            self.close()
            raise SnapshotExpired(
                "the cursor's snapshot is too old",
                hint="read faster, raise snapshot_limit_s, or go on with after(token)",
            )

    def rest(self) -> None:
        """Say that nobody reads until ``wake``. What has no limit is not watched."""
        expires = self._expires
        if expires is not None:
            lent, own = self._lent, self._ref
            if own is None:
                own = self._ref = ref(self, lent.snapshots.discard)
            lent.snapshots.add(own)
            self._rests = True
            if expires < lent.due:
                self._store.watch(self._store, expires)

    def wake(self) -> None:
        """Say that somebody reads; where it was ended meanwhile, reading raises what ``cause`` explains."""
        if self._rests:
            self._rests = False
            if not self._taken():
                self._await_end()

    def _taken(self) -> bool:
        """Take it out of those that rest; return whether it was there."""
        try:
            self._lent.snapshots.remove(self._ref)  # type: ignore[arg-type]
        except KeyError:
            return False
        return True

    def _await_end(self) -> None:
        for _ in range(LOOKS):
            if self._ended:
                return
            time.sleep(0.001)

    def cause(self, error: DocdbError) -> DocdbError:
        """Return why reading failed: SnapshotExpired where the transaction was over because it was ended as too old."""
        if isinstance(error, InvalidOperation):
            try:
                self.check()
            except SnapshotExpired as expired:
                return expired
        return error

    def lending(self, batches: Iterator[T]) -> Iterator[T]:
        """Yield batches; between two of them the snapshot rests."""
        try:
            for batch in batches:
                self.rest()
                yield batch
                self.wake()
        except InvalidOperation as error:
            raise self.cause(error) from error

    def end_if_idle(self) -> bool:
        """End it when it is too old and rests; return whether that was done."""
        if self._expires is None or time.monotonic() <= self._expires or not self._taken():
            return False
        try:
            self._txn.abort()
        finally:
            self._ended = True
        return True

    def close(self) -> None:
        """End the snapshot; twice is harmless."""
        self.wake()
        self._txn.abort()

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
