"""The engine contract: ordered bytes in batches.

What lives here: the two abstract classes every engine fulfils, and the forms of the optional operations that are correct for any
engine. What it must not know: documents, indexes, what any byte means.

A *space* is one of four ordered maps from bytes to bytes. Keys are 1 to 511 bytes. A transaction belongs to the thread that
uses it at the moment (never two at once); a write transaction stays on the thread that began it. There is one write transaction at a time
across all processes: ``begin(write=True)`` waits for it. A read transaction sees the state of its begin (or last renew) until
its end; several are pooled by the engine. All errors of the storage leave as ``StorageError`` or its children.

``program`` and ``decode`` are optional accelerators. ``program`` has ``match(value: bytes) -> int`` (1 yes, 0 no, 2 ask again above);
an engine may apply it (then values with 0 do not arrive) or ignore it: the layer above always asks again unless
``applies_programs`` is true *and* the program says ``exact``. ``decode`` is a callable ``bytes -> value``; an engine may run it on its own memory
without making the bytes; it must be called exactly once per delivered value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from docdb.engine.bell import Bell, Herald
from docdb.engine.leases import Lease, take_in_process
from docdb.errors import CorruptError, InvalidOperation, UsageError

__all__ = ["CATALOG", "CHANGES", "DOCUMENTS", "ENTRIES", "Engine", "EngineTransaction", "SPACES"]

DOCUMENTS: Final = 0
ENTRIES: Final = 1
CHANGES: Final = 2
CATALOG: Final = 3
SPACES: Final[tuple[bytes, ...]] = (b"documents", b"entries", b"changes", b"catalog")


def id_of_entry(key: bytes, value: bytes) -> bytes:
    """Return the encoded id at the end of an entry's key; CorruptError when its value cannot tell."""
    if not value or not 0 < value[0] <= len(key):
        raise CorruptError("the value of an index entry is damaged")
    return key[len(key) - value[0] :]


class EngineTransaction(ABC):
    """A snapshot, or the one writer. ``id`` is the number of the newest storage commit it sees (a hint: compacting resets it)."""

    id: int
    write: bool

    @abstractmethod
    def get(self, space: int, key: bytes, decode: Callable[[bytes], Any] | None = None) -> Any | None:
        """Return the value, or None."""

    @abstractmethod
    def get_many(
        self, space: int, keys: Sequence[bytes], *, program: Any = None, decode: Callable[[bytes], Any] | None = None
    ) -> list[Any | None]:
        """Return the values in the order of the keys; None for an absent key and for a value the program refuses."""

    @abstractmethod
    def scan(
        self,
        space: int,
        low: bytes,
        high: bytes,
        *,
        reverse: bool = False,
        batch: int = 256,
        keys: bool = True,
        values: bool = True,
        program: Any = None,
        decode: Callable[[bytes], Any] | None = None,
    ) -> Iterator[list[Any]]:
        """Yield batches of (key, value) of low <= key < high, in order; only keys or only values when the other is False.

        Batches grow from small to ``batch``, so a caller who wants one item does not pay for 256. A write transaction may be written
        to between two batches: what was put behind the position is then seen, what was put before it is not. With a program a
        batch may be empty (so that a caller can watch the clock).
        """

    @abstractmethod
    def count(self, space: int, low: bytes, high: bytes, limit: int | None = None) -> int:
        """Return the number of keys in low <= key < high, stopping at ``limit``."""

    @abstractmethod
    def put_many(self, space: int, items: Iterable[tuple[bytes, bytes]], *, append: bool = False) -> None:
        """Put all pairs; ``append`` promises that keys ascend and lie above every key in the space."""

    def holds_any(self, space: int, items: Iterable[tuple[bytes, bytes]], *, whole: bool = True) -> bool:
        """Tell whether the key of any of these pairs is stored.

        Not ``whole``: whether any key is stored that begins like one of these index entries before its id (the last value[0] bytes).
        """
        for key, value in items:
            low = key if whole else key[: len(key) - value[0]]
            if self.count(space, low, low + (b"\0" if whole else b"\xff" * 512), 1):
                return True
        return False

    @abstractmethod
    def delete_many(self, space: int, keys: Iterable[bytes]) -> int:
        """Delete the keys that are there; return how many were."""

    @abstractmethod
    def commit(self, herald: Herald | None = None) -> None:
        """Make everything durable, as the engine was opened, and have the herald tell of it; the transaction is over, also when this raises."""

    @abstractmethod
    def abort(self) -> None:
        """Undo everything, or end the snapshot (it goes back to the pool). Twice is harmless."""

    def entry_ids(self, low: bytes, high: bytes, *, reverse: bool = False, batch: int = 256) -> Iterator[list[bytes]]:
        """Yield batches of encoded ids of the index entries in low <= key < high (the last value[0] bytes of each key)."""
        for pairs in self.scan(ENTRIES, low, high, reverse=reverse, batch=batch):
            yield [id_of_entry(key, value) for key, value in pairs]


class Engine(ABC):
    """One opened store. ``name`` tells which; ``applies_programs`` whether scan and get_many run programs on their own."""

    name: str
    applies_programs: bool = False
    read_only: bool = False

    @property
    def identity(self) -> object:
        """What all engine objects on the same storage in this process have in common."""
        return self

    @abstractmethod
    def begin(self, write: bool = False) -> EngineTransaction:
        """Return a snapshot of now, or the write transaction (waits for its turn)."""

    @abstractmethod
    def close(self) -> None:
        """Release everything; every later call raises InvalidOperation. Twice is harmless."""

    @abstractmethod
    def last_id(self) -> int:
        """Return the number of the newest storage commit, of any process; cheap (no transaction).

        It may be a moment ahead of what a snapshot begun now sees: a poller remembers the ``id`` of the snapshot it read.
        """

    @abstractmethod
    def copy(self, path: str, *, compact: bool = False, finish: Callable[[str], None] | None = None) -> None:
        """Write a consistent copy to the folder ``path`` (which must be absent or empty) while others read and write.

        ``finish`` gets the folder in which it is made, before it takes its place.
        """

    @abstractmethod
    def stats(self) -> dict[str, Any]:
        """Return sizes in bytes, pages, free pages, readers and the oldest reader (``oldest_reader_id``, ``readers``)."""

    @abstractmethod
    def reopen(self) -> None:
        """Close and open the storage again under the registry, after a failed flush."""

    def end_turn(self) -> None:  # noqa: B027
        """Give back the writer's turn if this thread still has it: it has no write transaction open, but the end of one was interrupted."""

    def settle(self) -> None:  # noqa: B027
        """Return when no write of this process is running and the storage is open, opened again if a failed flush took it away.

        For a reader that met EnvironmentFailed or a storage just being opened again: it may begin anew, once.
        Raises BusyError when a write of another thread does not end within 30 seconds.
        """

    def join(
        self,
        transaction: EngineTransaction,
        low: bytes,
        high: bytes,
        prefix: bytes,
        *,
        more: Sequence[tuple[bytes, bytes]] = (),
        reverse: bool = False,
        first: int = 16,
        batch: int = 256,
        program: Any = None,
        decode: Callable[[bytes], Any] | None = None,
        check: Callable[[], None] | None = None,
        covered: Callable[[bytes, bytes], Any] | None = None,
    ) -> Iterator[tuple[Any, ...]] | None:
        """Yield (number of entries walked, documents) for the index entries in low <= key < high, in the order of the entries, then for those in the
        ranges of ``more``.

        A document's key is the prefix and the id of its entry; what is absent or refused by the program is left out. Without ``decode`` documents are
        their stored bytes. ``covered`` makes a document of an entry's components and id key, and its value; only where it gives None one is looked up,
        and each batch tells as its third part how many were. None: not in this engine or transaction.
        """
        return None

    def gate(self) -> Any | None:
        """Return what shuts the point readers made with it (``shut()``), or None where the engine has no point readers."""
        return None

    def point_reader(self, gate: Any, slow: Callable[[Any], Any], plain: Callable[[Any], Any], object_id: type) -> Any:
        """Return a callable from an id to its document, which is to be taught (``learn``, ``forget``); see ``_native/lmdb_points.pxi``."""
        raise InvalidOperation(f"the engine {self.name} has no point readers")

    def field_reader(self, gate: Any, note: Callable[[Any, float], None], object_id: type, slow_s: float) -> Any | None:
        """Return what finds documents by the value of an indexed field, which is to be taught (``learn``), or None; see ``_native/lmdb_fields.pxi``."""
        return None

    def point_writer(self, gate: Any, store: Any, object_id: type, **limits: Any) -> Any:
        """Return what changes documents by id in commits of their own, which is to be taught (``learn``), or None; see ``_native/lmdb_changes.pxi``."""
        return None

    def get_latest(
        self, space: int, key: bytes, decode: Callable[[bytes], Any] | None = None
    ) -> tuple[int, Any | None]:
        """Return (id of the newest commit, value or None): one point read in a snapshot of its own."""
        transaction = self.begin()
        try:
            return transaction.id, transaction.get(space, key, decode)
        finally:
            transaction.abort()

    def bell(self) -> Bell:
        """Return what is rung after each commit; an engine that other processes share returns one that they share too."""
        return Bell.in_process()

    def lease(self, name: str) -> Lease | None:
        """Return the right to do what ``name`` says, which one holder at a time has, of all processes; None while somebody else has it."""
        return take_in_process(self.identity, name)

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold the storage alone, of all processes; raises BusyError that names the others."""
        return nullcontext()

    def replace(self, folder: str) -> None:
        """Put the copy in ``folder`` in the place of this storage, which nobody else may have open (compact, restore)."""
        raise UsageError(f"the {self.name} engine has no files to replace")

    def reader_check(self) -> int:
        """Free the reader slots of dead processes; return how many."""
        return 0
