"""Faults of what transactions note and judge.

What lives here: ``FAULTS``. What it must not know: the checker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import docdb
from docdb.errors import TransactionConflict
from docdb.sessions import reads, sources, transactions
from docdb.sessions.reads import CollectionReads, ReadSet
from docdb.sessions.session import StoreSession
from docdb.sessions.transactions import TransactionSession, TransactionStore
from docdb.store import changes, records
from tests.isolation.faults import CYCLES, Fault, registrar

__all__ = ["FAULTS"]

FAULTS: Final[dict[str, Fault]] = {}
fault = registrar(FAULTS)

# What was read is not noted


@fault(*CYCLES, only="read_list read_register append_by_id write_register", each=20)
def ids_are_not_noted(patch: Any) -> None:
    patch.setattr(CollectionReads, "add_ids", lambda self, id_keys: None)


@fault(*CYCLES, only="read_list read_register append_by_id write_register", each=20)
def point_reads_are_not_noted(patch: Any) -> None:
    patch.setattr(TransactionStore, "note_id", lambda self, name, info, id_key: None)


@fault(*CYCLES)
def filters_are_not_noted(patch: Any) -> None:
    patch.setattr(CollectionReads, "add_filter", lambda self, node: None)


@fault(*CYCLES, only="change_items_blindly take_item insert_item find_items")
def filters_of_writes_are_not_noted(patch: Any) -> None:
    """find_one_and_update and its like choose by a filter that nobody judges."""

    class Blind:
        def note_ids(self, name: str, id_keys: Any) -> None: ...
        def note_filter(self, name: str, node: Any) -> None: ...

    original = transactions.OverlayBatch.__init__
    patch.setattr(
        transactions.OverlayBatch, "__init__", lambda self, over, known, reads: original(self, over, known, Blind())
    )


def _complete_without_noting(patch: Any, skipped: Callable[[Any], bool]) -> None:
    original = TransactionSession.complete

    def complete(self: Any, name: str, query: Any, *rest: Any) -> Any:
        whole = StoreSession.complete if skipped(query) else original
        return whole(self, name, query, *rest)

    patch.setattr(TransactionSession, "complete", complete)


@fault(*CYCLES, only="first_items insert_item insert_items", each=20)
def filters_with_a_limit_are_not_noted(patch: Any) -> None:
    _complete_without_noting(patch, lambda query: bool(query.limit))


@fault(*CYCLES, only="first_items insert_item insert_items", each=20)
def sort_and_limit_note_what_was_found_only(patch: Any) -> None:
    """The read set holds the documents delivered, not those that could have come before them."""
    original = StoreSession.find
    _complete_without_noting(patch, lambda query: bool(query.limit and query.sort))

    def find(self: Any, name: str, query: Any, **named: Any) -> Iterator[Any]:
        for batch in original(self, name, query, **named):
            if isinstance(self, TransactionSession):
                keys = [transactions.order_key(document["_id"]) for document in batch if "_id" in document]
                self.store.note_ids(name, keys)
            yield batch

    patch.setattr(StoreSession, "find", find)


@fault(*CYCLES)
def foreign_collections_are_not_noted(patch: Any) -> None:
    """What $lookup, $graphLookup and $unionWith read."""
    original, foreign = sources.PipelineSources.source, [False]
    _complete_without_noting(patch, lambda query: foreign[0])

    def source(self: Any, *args: Any, **named: Any) -> Any:
        foreign[0] = True
        try:
            return original(self, *args, **named)
        finally:
            foreign[0] = False

    patch.setattr(sources.PipelineSources, "source", source)


@fault(*CYCLES, only="see_items insert_item change_item")
def distinct_is_not_noted(patch: Any) -> None:
    _in_method_without_noting(patch, "distinct")


@fault(*CYCLES, only="count_items insert_unless_there insert_item")
def counts_are_not_noted(patch: Any) -> None:
    _in_method_without_noting(patch, "count")


def _in_method_without_noting(patch: Any, name: str) -> None:
    original, inside = getattr(TransactionSession, name), [False]
    _complete_without_noting(patch, lambda query: inside[0])

    def method(self: Any, *args: Any, **named: Any) -> Any:
        inside[0] = True
        try:
            return original(self, *args, **named)
        finally:
            inside[0] = False

    patch.setattr(TransactionSession, name, method)


@fault(*CYCLES)
def a_wide_read_set_is_forgotten(patch: Any) -> None:
    """Beyond its bound the read set becomes nothing instead of the whole collection."""
    patch.setattr(reads, "MOST_FILTERS", 1)

    def widen(self: Any) -> None:
        self.ids.clear()
        self.filters.clear()

    patch.setattr(CollectionReads, "widen", widen)


@fault(*CYCLES, only="use_new_collection read_register write_register", each=3)
def a_collection_that_is_not_there_is_not_noted(patch: Any) -> None:
    patch.setattr(ReadSet, "_renames", lambda self, change: False)


@fault(*CYCLES, "lost write", "incompatible order", only="use_new_collection read_register write_register", each=3)
def a_collection_created_meanwhile_is_not_looked_for(patch: Any) -> None:
    """Neither in the log nor in the catalog: the second one's collection takes the place of the first one's."""
    patch.setattr(ReadSet, "_renames", lambda self, change: False)
    original = TransactionStore._put

    def put(self: Any, batch: Any, net: Any, made: Any, position: int) -> None:
        get = type(batch.catalog).get
        with patch.context() as inner:
            inner.setattr(type(batch.catalog), "get", lambda known, name: None if name in made else get(known, name))
            original(self, batch, net, made, position)

    patch.setattr(TransactionStore, "_put", put)


# What is noted is not judged


@fault(*CYCLES)
def before_images_are_not_judged(patch: Any) -> None:
    """Documents that leave a filter go unnoticed."""
    _judge_images(patch, lambda before, after: (None, after))


@fault(*CYCLES)
def after_images_are_not_judged(patch: Any) -> None:
    """Documents that enter a filter go unnoticed."""
    _judge_images(patch, lambda before, after: (before, None))


def _judge_images(patch: Any, left: Callable[[Any, Any], tuple[Any, Any]]) -> None:
    original = CollectionReads.concerns

    def concerns(self: Any, id_key: Any, before: Any, after: Any) -> bool:
        id_key = id_key or transactions.order_key(transactions.codec.decode(after or before)["_id"])
        return original(self, id_key, *left(before, after))

    patch.setattr(CollectionReads, "concerns", concerns)


@fault(*CYCLES)
def the_log_is_judged_to_one_commit_before_its_end(patch: Any) -> None:
    original = transactions.read

    def read(txn: Any, position: int, until: int | None = None) -> Iterator[Any]:
        found = list(original(txn, position, until))
        last = max((change.commit for change in found), default=0)
        return iter([change for change in found if change.commit != last])

    patch.setattr(transactions, "read", read)


@fault(*CYCLES)
def the_log_is_judged_from_one_commit_too_late(patch: Any) -> None:
    original = transactions.read
    patch.setattr(transactions, "read", lambda txn, position, until=None: original(txn, position + 1, until))


@fault(*CYCLES)
def the_log_is_judged_from_the_commit_on(patch: Any) -> None:
    """The position is taken at the end, not at the snapshot."""
    original = TransactionStore._net

    def net(self: Any) -> Any:
        changes, made, _ = original(self)
        with self.origin.snapshot() as now:
            return changes, made, now.state().last_commit

    patch.setattr(TransactionStore, "_net", net)


@fault(*CYCLES)
def the_log_before_the_lock_is_not_judged(patch: Any) -> None:
    def judged(self: Any, position: int) -> int:
        with self.origin.snapshot() as snapshot:
            last: int = snapshot.state().last_commit
            return last

    patch.setattr(TransactionStore, "_judged", judged)


@fault(*CYCLES, drive="between")
def the_log_under_the_lock_is_not_judged(patch: Any) -> None:
    original = TransactionStore._put
    patch.setattr(TransactionStore, "_put", lambda self, batch, net, made, _: original(self, batch, net, made, 2**62))


@fault(*CYCLES, drive="batched")
def earlier_callers_of_the_batch_are_not_judged(patch: Any) -> None:
    patch.setattr(changes.LogWriter, "unwritten", lambda self: iter(()))


@fault(*CYCLES, drive="short_log")
def a_log_that_does_not_reach_back_is_enough(patch: Any) -> None:
    patch.setattr(transactions, "_refuse_lost", lambda oldest, position: None)


@fault(
    "lost write",
    "incompatible order",
    "lost update",
    "G-single",
    "G2-item",
    only="insert_list read_list read_register",
    each=10,
)
def before_images_are_not_compared(patch: Any) -> None:
    """Whoever inserts what another has inserted meanwhile writes over it."""

    def examine(self: Any, batch: Any, name: str, changes: Any) -> Any:
        try:
            return records.examine(batch, batch.catalog.get(name), changes)
        except docdb.DuplicateKeyError as error:
            raise TransactionConflict("a unique key") from error

    patch.setattr(TransactionStore, "_examine", examine)


@fault("duplicate key", "incompatible order", "lost write", only="insert_list read_keyed write_register", each=10)
def unique_keys_are_not_checked(patch: Any) -> None:
    patch.setattr(records, "_check_unique", lambda batch, info, index, gone, new: None)
