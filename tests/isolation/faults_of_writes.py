"""Faults of snapshots, own writes and commits.

What lives here: ``FAULTS``. What it must not know: the checker.
"""

from __future__ import annotations

from typing import Any, Final

import docdb
from docdb.engine.base import DOCUMENTS
from docdb.errors import TransactionConflict
from docdb.sessions import transactions
from docdb.sessions.fixed import FixedStore
from docdb.sessions.transactions import TransactionStore
from docdb.store import overlay, records
from docdb.store.store import Store
from tests.isolation.faults import Fault, registrar

__all__ = ["FAULTS"]

FAULTS: Final[dict[str, Fault]] = {}
fault = registrar(FAULTS)

# The snapshot is none


@fault("G-single-realtime", "G-single-predicate-realtime", "G-single-process", "G-single-predicate-process", "count")
def the_snapshot_is_stale(patch: Any) -> None:
    """Every other transaction gets the snapshot that the one before had."""
    original = Store.snapshot
    kept: list[Any] = []

    def base(self: Any) -> Any:
        if self._base is None:
            fresh = original(self.origin)
            kept.append(fresh)
            self._base = original(self.origin) if len(kept) % 2 else _Kept(kept[-2])
            self._now = self.parent.settings.clock()
            self.begun(self._base)
        return self._base

    patch.setattr(FixedStore, "base", property(base))


class _Kept:
    """A snapshot that stays open."""

    def __init__(self, snapshot: Any) -> None:
        self._snapshot = snapshot

    def __getattr__(self, name: str) -> Any:
        return getattr(self._snapshot, name)

    def close(self) -> None: ...


@fault("non-repeatable read", "G-single", "G-single-predicate", "internal")
def the_snapshot_is_taken_at_every_read(patch: Any) -> None:
    original = TransactionStore.snapshot

    def snapshot(self: Any, limit_s: float | None = None) -> Any:
        _renew(self)
        return original(self, limit_s)

    patch.setattr(TransactionStore, "snapshot", snapshot)


@fault("non-repeatable read", "G-single", "G-single-predicate", "G2-item")
def the_snapshot_is_taken_again_for_points(patch: Any) -> None:
    original = TransactionStore.get

    def get(self: Any, name: str, id_key: bytes) -> Any:
        _renew(self)
        return original(self, name, id_key)

    patch.setattr(TransactionStore, "get", get)


def _renew(self: Any) -> None:
    """Read from a newer snapshot from now on; the position stays that of the first one."""
    base = self.base
    if not hasattr(self, "first_position"):
        self.first_position = base.state().last_commit
    self._base = self.origin.snapshot()
    self.overlay.base = self._base.txn


@fault("non-repeatable read", "G-single", "G-single-predicate", "internal", "count")
def a_snapshot_view_moves_on(patch: Any) -> None:
    patch.setattr(FixedStore, "snapshot", lambda self, limit_s=None: self.origin.snapshot())


@fault("G1a", "G1b", "internal", "non-repeatable read")
def writes_of_others_are_seen_before_their_commit(patch: Any) -> None:
    opened: list[Any] = []
    begin, get = overlay.Overlay.__init__, overlay.Layered.get

    def begun(self: Any, base: Any) -> None:
        begin(self, base)
        opened.append(self)

    def dirty(self: Any, space: int, key: bytes, decode: Any = None) -> Any:
        if space == DOCUMENTS and key not in self.maps[space]:
            for other in opened[-4:]:
                value = other.maps[space].get(key)
                if value is not None:
                    return value if decode is None else decode(value)
        return get(self, space, key, decode)

    patch.setattr(overlay.Overlay, "__init__", begun)
    patch.setattr(overlay.Layered, "get", dirty)


# Own writes


@fault("internal")
def own_writes_are_not_seen_by_scans(patch: Any) -> None:
    def scan(self: Any, space: int, low: bytes, high: bytes, **options: Any) -> Any:
        return self.base.scan(space, low, high, **options)

    patch.setattr(overlay.Layered, "scan", scan)


@fault("internal", "incompatible order", "lost write", "lost update")
def own_writes_are_not_seen_by_points(patch: Any) -> None:
    patch.setattr(overlay.Layered, "get", lambda self, space, key, decode=None: self.base.get(space, key, decode))


@fault("internal", "count", only="count_items insert_items delete_items")
def own_deletions_are_not_counted(patch: Any) -> None:
    patch.setattr(
        overlay.Layered, "count", lambda self, space, low, high, limit=None: self.base.count(space, low, high, limit)
    )


@fault("duplicate", "internal", "incompatible order")
def a_writing_call_is_made_twice(patch: Any) -> None:
    """As when a call is run again without having been undone."""
    original = TransactionStore.write

    def write(self: Any, call: Any) -> Any:
        result = original(self, call)
        try:
            original(self, call)
        except docdb.DocdbError:
            return result
        return result

    patch.setattr(TransactionStore, "write", write)


# The commit


@fault(
    "lost write",
    "internal",
    "incompatible order",
    "G-single-realtime",
    "sum",
    only="transfer append_by_id append_by_key read_lists",
)
def the_last_change_is_left_out(patch: Any) -> None:
    original = TransactionStore._net

    def net(self: Any) -> Any:
        found, made, position = original(self)
        if len(found) > 1:
            found = found[:-1]
        return found, made, position

    patch.setattr(TransactionStore, "_net", net)


@fault("G-single", "G-single-predicate", "sum", "G2-item", drive="between")
def a_commit_is_made_in_two_steps(patch: Any) -> None:
    """Others go on between the collections of one transaction."""
    write = Store.write

    def commit(self: Any) -> None:
        with self.turn():
            if self._base is None or not self._overlay or not any(self._overlay.maps):
                self._commit_step()
                return
            net, made, position = self._net()
            self._over = transactions._over("is being committed")
            self._drop()
            for number, part in enumerate(net):
                _put_part(self, part, made, position if number == 0 else 2**62)
            self._commit_step()

    def _put_part(self: Any, part: Any, made: Any, position: int) -> None:
        try:
            write(self.origin, lambda batch: self._put(batch, [part], made, position))
        except TransactionConflict:
            self._finish("had a conflict")
            raise
        self._register.wait([part], self._numbers([part]), None)

    patch.setattr(TransactionStore, "commit", commit)


@fault("G1a")
def a_rollback_commits(patch: Any) -> None:
    def rollback(self: Any) -> None:
        try:
            self.commit()
        except TransactionConflict:
            return

    patch.setattr(TransactionStore, "rollback", rollback)


@fault("G1a")
def a_conflict_is_told_after_the_writing(patch: Any) -> None:
    """Every fifth commit is durable, and says that it had a conflict."""
    original, count = TransactionStore.commit, [0]

    def commit(self: Any) -> None:
        original(self)
        count[0] += 1
        if count[0] % 5 == 0:
            raise TransactionConflict("a fault")

    patch.setattr(TransactionStore, "commit", commit)


@fault("lost write", "G-single-realtime", "internal", "G-single-predicate-realtime", "count", "G-single-process")
def a_conflict_is_not_told(patch: Any) -> None:
    """Whoever had one believes to have written."""
    original = TransactionStore.commit

    def commit(self: Any) -> None:
        try:
            original(self)
        except TransactionConflict:
            return

    patch.setattr(TransactionStore, "commit", commit)


@fault("G-single-realtime", "lost write", "G-single-predicate-realtime", "G-single-process", "count", "internal")
def index_entries_are_not_put(patch: Any) -> None:
    """The documents of a transaction are stored without their index entries."""
    original = records.put_examined
    patch.setattr(
        transactions.records, "put_examined",
        lambda batch, info, changes, differences: original(batch, info, changes, []),
    )  # fmt: skip
