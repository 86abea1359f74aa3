"""What a transaction has read, and whether a change of somebody else's concerns it: precision locking.

What lives here: ``ReadSet``. What it must not know: how the transaction read, who made the change.

The law. A transaction that reads at commit ``s`` and writes at commit ``c`` is as if it had run at ``c`` alone, when no change between the two would
have altered what it read. A read is an id (found or not) or a filter; of a find with sort, skip or limit the whole filter. A change alters it
when it concerns the id, or when its before or its after image matches the filter. The definition of each collection that was
touched, or that was found not to exist, is read as well. Everything may be read more coarsely, never more finely: what cannot be
judged concerns, and beyond a bound a collection's reads become the whole collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from docdb.errors import DocdbError, StorageError, TransactionConflict
from docdb.language.matching import matcher
from docdb.language.order import order_key
from docdb.language.programs import compile_program
from docdb.language.tree import TRUE, Node
from docdb.store import codec
from docdb.store.catalog import CollectionInfo
from docdb.store.changes import CATALOG_CHANGE, Change
from docdb.store.records import DocumentChange

__all__ = ["ReadSet"]

MOST_IDS: Final = 100_000
MOST_FILTERS: Final = 1_000
RENAMED: Final = ("create", "drop", "rename")  # catalog changes whose ``name`` is a collection's

Judge = Callable[[bytes], bool]


class CollectionReads:
    """The reads of one collection: ids, filters, or everything."""

    __slots__ = ("_judges", "filters", "ids", "whole")

    def __init__(self) -> None:
        self.ids: set[bytes] = set()
        self.filters: list[Node] = []
        self.whole = False
        self._judges: list[Judge] = []

    def widen(self) -> None:
        """Let every change of the collection concern."""
        self.whole = True
        self.ids.clear()
        self.filters.clear()

    def add_ids(self, id_keys: Iterable[bytes]) -> None:
        """Note ids that were asked for, whether they were found or not."""
        if not self.whole:
            self.ids.update(id_keys)
            if len(self.ids) > MOST_IDS:
                self.widen()

    def add_filter(self, node: Node) -> None:
        """Note the filter of a scan."""
        if self.whole:
            return
        self.filters.append(node)
        if node is TRUE or len(self.filters) > MOST_FILTERS:
            self.widen()

    def concerns(self, id_key: bytes | None, before: bytes | None, after: bytes | None) -> bool:
        """Tell whether a change alters what was read; the id key is computed only when it is None and needed."""
        if self.whole:
            return True
        if self.ids:
            if id_key is None:
                id_key = order_key(codec.decode(after or before or b"")["_id"])
            if id_key in self.ids:
                return True
        for node in self.filters[len(self._judges) :]:
            self._judges.append(_judge(node))
        images = [image for image in (before, after) if image]
        return any(judge(image) for judge in self._judges for image in images)


class ReadSet:
    """All reads of one transaction, by collection number; and the names whose meaning it relies on."""

    def __init__(self) -> None:
        self._collections: dict[int, CollectionReads] = {}
        self._names: set[str] = set()
        self._all_names = False
        # Numbers from here on are the transaction's own and mean other collections elsewhere.
        self.first_own: int | None = None

    def note_name(self, name: str, info: CollectionInfo | None) -> CollectionReads | None:
        """Note that a name was looked up, and what it stood for; return the reads of that collection, None where there is nothing to read."""
        self._names.add(name)
        if info is None or (self.first_own is not None and info.number >= self.first_own):
            return None
        known = self._collections.get(info.number)
        if known is None:
            known = self._collections[info.number] = CollectionReads()
        return known

    def note_all_names(self) -> None:
        """Note that it was asked which collections there are."""
        self._all_names = True

    def refuse(self, changes: Iterable[Change]) -> None:
        """Raise TransactionConflict at the first change that concerns what was read."""
        for change in changes:
            if change.operation == CATALOG_CHANGE:
                if change.collection in self._collections or self._renames(change):
                    raise conflict("a collection that the transaction uses was created, dropped, renamed or indexed")
                continue
            reads = self._collections.get(change.collection)
            if reads is not None and reads.concerns(None, change.before, change.after):
                raise conflict(f"commit {change.commit} changed what the transaction has read")

    def concerned(self, number: int, changes: Iterable[DocumentChange]) -> bool:
        """Tell whether any of these changes of a collection, not yet committed, concerns what was read."""
        reads = self._collections.get(number)
        return reads is not None and any(reads.concerns(c.id_key, c.before, c.after) for c in changes)

    def _renames(self, change: Change) -> bool:
        what = codec.decode(change.after)
        if what.get("what") in RENAMED and (self._all_names or what.get("name") in self._names):
            return True
        return what.get("to") in self._names


def conflict(why: str) -> TransactionConflict:
    """Return the error for a transaction that may not commit."""
    return TransactionConflict(why, hint="run the transaction again; run_transaction() does")


def _judge(node: Node) -> Judge:
    """Return what tells from stored bytes whether a filter may match."""
    program = compile_program(node)
    if program is not None and program.exact:
        match = program.match
        return lambda data: match(data) == 1
    slow: Any = None

    def judge(data: bytes) -> bool:
        nonlocal slow
        if program is not None:
            answer = program.match(data)
            if answer != 2:
                return bool(answer)
        try:
            slow = slow or matcher(node)
            return bool(slow(codec.decode(data)))
        except StorageError:
            raise
        except DocdbError:
            return True  # an expression that fails on this document would have failed in the transaction too

    return judge
