"""How far consumers and triggers have got: records in the catalog space.

What lives here: ``Progress``, its stored form, and ``Step``, which takes one from a place in the change log to the next inside a commit. What it must not
know: who follows the log, and why.

A record lies in the data whose changes it counts: a restored copy goes on from where its data is, a compacting copy keeps it. So it names no epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from docdb.engine.base import CATALOG, EngineTransaction
from docdb.errors import BusyError, CorruptError, DocdbError
from docdb.store import codec
from docdb.store.keyspace import after_prefix

if TYPE_CHECKING:
    from docdb.store.batch import WriteBatch

__all__ = ["KINDS", "PREFIX", "Progress", "Step", "forget", "read", "read_all"]

PREFIX: Final = b"f:"
KINDS: Final = {b"c:": "consumer", b"t:": "trigger"}
LARGEST_INDEX: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Progress:
    """Everything up to and including change ``index`` of ``commit`` is done (``LARGEST_INDEX``: the whole commit)."""

    kind: str
    name: str
    commit: int
    index: int
    collection: str | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Commit and index."""
        return self.commit, self.index

    @property
    def key(self) -> bytes:
        """The catalog key."""
        return key_of(self.kind, self.name)

    def at(self, place: tuple[int, int]) -> Progress:
        """Return the same record at another place."""
        return replace(self, commit=place[0], index=place[1])

    def pack(self) -> bytes:
        """Return the stored form."""
        return codec.encode_value({"commit": self.commit, "index": self.index, "collection": self.collection})

    @staticmethod
    def unpack(key: bytes, data: bytes) -> Progress:
        """Return the record that was stored; CorruptError for anything else."""
        try:
            kind, name = KINDS[key[2:4]], key[4:].decode("utf-8")
            stored = codec.decode(data)
            found = Progress(kind, name, stored["commit"], stored["index"], stored["collection"])
            if type(found.commit) is not int or type(found.index) is not int or not 0 <= found.index <= LARGEST_INDEX:
                raise TypeError("commit or index")
            if found.collection is not None and type(found.collection) is not str:
                raise TypeError("collection")
        except (DocdbError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise CorruptError(f"the record of a consumer or trigger is damaged: {key!r}") from error
        return found


@dataclass(frozen=True, slots=True)
class Step:
    """From one record to the next, as a part of a commit: ``check`` refuses before anything is put, ``put`` puts."""

    before: Progress
    after: Progress

    def check(self, batch: WriteBatch) -> None:
        """Raise BusyError when the stored record is no longer the one the step begins at."""
        stored = read(batch.txn, self.before.kind, self.before.name)
        if stored is None or stored.place != self.before.place:
            raise BusyError(f"{self.before.kind} {self.before.name!r} was moved on meanwhile")

    def put(self, batch: WriteBatch) -> None:
        """Put the next record."""
        batch.put_catalog([(self.after.key, self.after.pack())])

    def __call__(self, batch: WriteBatch) -> None:
        """Do it alone, as a caller of the group commit."""
        self.check(batch)
        self.put(batch)


def key_of(kind: str, name: str) -> bytes:
    """Return the catalog key of a record."""
    return PREFIX + next(short for short, known in KINDS.items() if known == kind) + name.encode("utf-8")


def read(txn: EngineTransaction, kind: str, name: str) -> Progress | None:
    """Return a record, or None where there is none yet."""
    key = key_of(kind, name)
    data = txn.get(CATALOG, key)
    return None if data is None else Progress.unpack(key, data)


def read_all(txn: EngineTransaction) -> list[Progress]:
    """Return all records, ordered by kind and name."""
    scan = txn.scan(CATALOG, PREFIX, after_prefix(PREFIX))
    return [Progress.unpack(key, data) for batch in scan for key, data in batch]


def forget(batch: WriteBatch, kind: str, name: str) -> None:
    """Remove a record within a commit."""
    batch.delete_catalog([key_of(kind, name)])
