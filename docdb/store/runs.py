"""Many new documents, and many pairs in order: what the road of bulk inserts and index builds carries.

What lives here: ``Run`` and ``Documents`` as the store sees them, their reference forms ``PairRun`` and ``DocumentList``, ``gather`` and
``prepare_run``. What it must not know: indexes, transactions. ``_native/runs.pyx`` has the fast twins, which hold all bytes in a few blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from docdb import _native
from docdb.store import codec
from docdb.store.changes import INSERT, record
from docdb.store.keyspace import change_key, collection_prefix, is_cut, is_multikey, unique_prefix

if TYPE_CHECKING:
    from docdb._native.program import Program

__all__ = ["DocumentList", "Documents", "PairRun", "Run", "gather", "prepare_run"]

Pair = tuple[bytes, bytes]
Prepare = Callable[[Mapping[str, Any]], tuple[Any, bytes, bytes]]


class Run(Protocol):
    """Pairs of key and value; the keys ascend, each is there once. ``cut`` and ``multikey`` count index entries."""

    @property
    def cut(self) -> int:
        """Entries whose components were cut."""

    @property
    def multikey(self) -> int:
        """Entries that come from arrays."""

    @property
    def total_bytes(self) -> int:
        """How many bytes keys and values have together."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Pair]: ...

    def pair(self, place: int) -> Pair:
        """Return the pair at a place; IndexError outside."""

    def collides(self) -> bool:
        """Tell whether two index entries are alike but for their ids; cost: one pass."""


class Documents(Protocol):
    """New documents in the order they came, with their keys."""

    @property
    def data_bytes(self) -> int:
        """How many bytes the stored forms have together."""

    def __len__(self) -> int: ...

    def lists(self) -> tuple[list[bytes], list[bytes]]:
        """Return the id keys and the stored bytes."""

    def all_hold(self, path: Sequence[bytes], packed: bytes) -> bool:
        """Tell whether each document has the value with just these stored bytes where a path of names leads, through objects only."""

    def all_match(self, program: Program) -> bool:
        """Tell whether a program is sure of every document that it matches."""

    def documents(self, number: int) -> Run:
        """Return the run of the documents of a collection; shorter than the documents when an id occurs twice."""

    def changes(self, number: int, commit: int, first: int) -> Run:
        """Return the run of the change records, the first of which is ``first`` in its commit."""


class PairRun:
    """The reference form of a run."""

    def __init__(self, pairs: Iterable[Pair], *, entries: bool = True) -> None:
        made: dict[bytes, bytes] = {}
        for key, value in pairs:
            made.setdefault(key, value)
        self._pairs = sorted(made.items())
        self.cut = sum(is_cut(value) for _, value in self._pairs) if entries else 0
        self.multikey = sum(is_multikey(value) for _, value in self._pairs) if entries else 0

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs)

    @property
    def total_bytes(self) -> int:
        """How many bytes keys and values have together."""
        return sum(len(key) + len(value) for key, value in self._pairs)

    def pair(self, place: int) -> Pair:
        """Return the pair at a place; IndexError outside."""
        if place < 0:
            raise IndexError(place)
        return self._pairs[place]

    def collides(self) -> bool:
        """Tell whether two index entries are alike but for their ids."""
        return any(
            key.startswith(unique_prefix(*before))
            for before, (key, _) in zip(self._pairs, self._pairs[1:], strict=False)
        )


class DocumentList:
    """The reference form of Documents."""

    def __init__(self, id_keys: Sequence[bytes], datas: Sequence[bytes]) -> None:
        self._id_keys = list(id_keys)
        self._datas = list(datas)
        self.data_bytes = sum(map(len, self._datas))

    def __len__(self) -> int:
        return len(self._datas)

    def lists(self) -> tuple[list[bytes], list[bytes]]:
        """Return the id keys and the stored bytes."""
        return self._id_keys, self._datas

    def all_hold(self, path: Sequence[bytes], packed: bytes) -> bool:
        """Tell whether each document has the value with just these stored bytes where a path of names leads, through objects only."""
        names = [name.decode() for name in path]
        return all(_holds(codec.decode(data), names, packed) for data in self._datas)

    def all_match(self, program: Program) -> bool:
        """Tell whether a program is sure of every document that it matches."""
        return all(program.match(data) == 1 for data in self._datas)

    def documents(self, number: int) -> PairRun:
        """Return the run of the documents of a collection; shorter than the documents when an id occurs twice."""
        prefix = collection_prefix(number)
        pairs = ((prefix + key, data) for key, data in zip(self._id_keys, self._datas, strict=True))
        return PairRun(pairs, entries=False)

    def changes(self, number: int, commit: int, first: int) -> PairRun:
        """Return the run of the change records, the first of which is ``first`` in its commit."""
        records = (record(INSERT, number, b"", data) for data in self._datas)
        return PairRun(((change_key(commit, first + i), value) for i, value in enumerate(records)), entries=False)


def _holds(value: Any, names: Sequence[str], packed: bytes) -> bool:
    for name in names:
        if type(value) is not dict or name not in value:
            return False
        value = value[name]
    return bool(codec.encode_value(value) == packed)


def gather(number: int, id_keys: Sequence[bytes], datas: Sequence[bytes]) -> Documents:
    """Return Documents of id keys and stored bytes; ``number`` is the collection they are probably for."""
    if _native.AVAILABLE:
        made: Documents = _native.runs.gather(number, id_keys, datas)
        return made
    return DocumentList(id_keys, datas)


def prepare_run(
    documents: Sequence[Mapping[str, Any]],
    naive_utc: bool,
    number: int,
    prepare: Prepare,
    owner: tuple[str, str] | None = None,
) -> tuple[list[Any], Documents]:
    """Return the ids and the Documents of new documents.

    ``prepare(document)`` returns (``_id``, order key, stored bytes) or raises; the kernel asks it only for what it does not know. ``owner`` is a field and the
    text in it: ``prepare`` puts it behind the fields of a document that has no such field, and raises for one that has anything else there.
    """
    if _native.AVAILABLE:
        made: tuple[list[Any], Documents] = _native.codec.prepare_run(documents, naive_utc, number, prepare, owner)
        return made
    rows = [prepare(document) for document in documents]
    return [row[0] for row in rows], DocumentList([row[1] for row in rows], [row[2] for row in rows])
