"""One collection in one snapshot: what the planner reads through.

What lives here: ``View``. What it must not know: filters, plans, who asked. It turns collection and index numbers into key ranges and
hands the rest to the engine in batches; decoding and programs go along so that an engine can run them on its own memory.

A view is valid as long as the transaction it was made from. Over a write transaction it sees what was put before each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from docdb.engine.base import DOCUMENTS, ENTRIES, EngineTransaction
from docdb.store import codec
from docdb.store.catalog import CollectionInfo, Counters, IndexInfo
from docdb.store.keyspace import (
    after_prefix,
    collection_counters_key,
    collection_prefix,
    index_counters_key,
    index_prefix,
)

__all__ = ["View"]


class View:
    """A collection as a transaction sees it; ``collection`` is None (and everything empty) when it does not exist."""

    __slots__ = ("_check", "_documents", "_join", "_txn", "applies_programs", "collection")

    def __init__(
        self,
        txn: EngineTransaction,
        collection: CollectionInfo | None,
        *,
        applies_programs: bool = False,
        check: Callable[[], None] | None = None,
        join: Callable[..., Any] | None = None,
    ) -> None:
        self._txn = txn
        self._check = check
        self._join = join
        self.collection = collection
        self.applies_programs = applies_programs
        self._documents = collection_prefix(collection.number) if collection else b""

    def scan(
        self,
        *,
        low: bytes = b"",
        high: bytes | None = None,
        reverse: bool = False,
        program: Any = None,
        decode: Any = True,
        batch: int = 256,
    ) -> Iterator[list[Any]]:
        """Yield batches of documents with low <= id key < high, in the order of their ids.

        ``decode`` True gives dicts, False stored bytes, "pairs" (id key, stored bytes), "presence" True for each document, a callable what it makes
        of the stored bytes.
        """
        if self.collection is None:
            return
        prefix = self._documents
        pairs = decode == "pairs"
        for items in self._txn.scan(
            DOCUMENTS,
            prefix + low,
            after_prefix(prefix) if high is None else prefix + high,
            reverse=reverse,
            batch=batch,
            keys=pairs,
            program=program,
            decode=_decoder(decode),
        ):
            if self._check is not None:
                self._check()
            yield [(key[4:], value) for key, value in items] if pairs else items

    def fetch(self, ids: Sequence[bytes], *, program: Any = None, decode: Any = True) -> list[Any]:
        """Return documents by id key (``decode`` as in ``scan``), in the order asked; None where absent or refused by the program."""
        if self.collection is None:
            return [None] * len(ids)
        if self._check is not None:
            self._check()
        prefix = self._documents
        return self._txn.get_many(DOCUMENTS, [prefix + key for key in ids], program=program, decode=_decoder(decode))

    def join(
        self,
        index: IndexInfo,
        low: bytes,
        high: bytes,
        *,
        more: Sequence[tuple[bytes, bytes]] = (),
        reverse: bool = False,
        first: int = 16,
        program: Any = None,
        decode: Any = True,
        covered: Callable[[bytes, bytes], Any] | None = None,
    ) -> Iterator[tuple[Any, ...]] | None:
        """Yield (number of entries, their documents) of a range of an index, then of those of ``more``, in one step; None where the engine cannot.

        Absent documents and those the program refuses are left out. ``covered`` makes documents of entries, or None: these alone are looked up, and counted
        as the third part of each batch.
        """
        if self._join is None:
            return None
        prefix = index_prefix(index.number)
        return self._join(  # type: ignore[no-any-return]
            self._txn, prefix + low, prefix + high, self._documents,
            more=[(prefix + start, prefix + stop) for start, stop in more],
            reverse=reverse, first=first, program=program, decode=_decoder(decode), check=self._check, covered=covered,
        )  # fmt: skip

    def entry_ids(
        self, index: IndexInfo, low: bytes, high: bytes, *, reverse: bool = False, batch: int = 256
    ) -> Iterator[list[bytes]]:
        """Yield batches of id keys of the entries whose components lie in low <= c < high, in the order of the entries."""
        prefix = index_prefix(index.number)
        for ids in self._txn.entry_ids(prefix + low, prefix + high, reverse=reverse, batch=batch):
            if self._check is not None:
                self._check()
            yield ids

    def entries(
        self, index: IndexInfo, low: bytes, high: bytes, *, reverse: bool = False, batch: int = 256
    ) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield batches of (components and id key, value) of the entries whose components lie in low <= c < high."""
        prefix = index_prefix(index.number)
        for items in self._txn.scan(ENTRIES, prefix + low, prefix + high, reverse=reverse, batch=batch):
            if self._check is not None:
                self._check()
            yield [(key[4:], value) for key, value in items]

    def entry_count(self, index: IndexInfo, low: bytes, high: bytes, limit: int | None = None) -> int:
        """Return the number of entries whose components lie in low <= c < high, stopping at ``limit``."""
        prefix = index_prefix(index.number)
        return self._txn.count(ENTRIES, prefix + low, prefix + high, limit)

    def document_range_count(self, low: bytes, high: bytes, limit: int | None = None) -> int:
        """Return the number of documents with low <= id key < high, stopping at ``limit``."""
        if self.collection is None:
            return 0
        return self._txn.count(DOCUMENTS, self._documents + low, self._documents + high, limit)

    def counters(self, index: IndexInfo) -> Counters:
        """Return how many entries the index has, how many of them are cut and multikey."""
        return Counters.read(self._txn, index_counters_key(index.number))

    def is_plain(self, index: IndexInfo) -> bool:
        """Tell whether no entry of the index is cut or comes from an array."""
        return Counters.only_first(self._txn, index_counters_key(index.number))

    def document_count(self) -> int:
        """Return the number of documents; one get, expired documents included."""
        if self.collection is None:
            return 0
        return Counters.read(self._txn, collection_counters_key(self.collection.number)).first

    def byte_count(self) -> int:
        """Return the stored size of all documents in bytes."""
        if self.collection is None:
            return 0
        return Counters.read(self._txn, collection_counters_key(self.collection.number)).second

    def entry_bytes(self, index: IndexInfo) -> int:
        """Return the stored size of an index's entries in bytes. Cost: one scan of the index."""
        prefix = index_prefix(index.number)
        return sum(
            len(key) + len(value)
            for items in self._txn.scan(ENTRIES, prefix, after_prefix(prefix))
            for key, value in items
        )


def _decoder(decode: Any) -> Callable[[bytes], Any] | None:
    if decode is True:
        return codec.decode
    return bool if decode == "presence" else decode if callable(decode) else None
