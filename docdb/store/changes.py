"""The change log: what every commit did, in order, in the same storage transaction as the data.

What lives here: the form of a change, the writer's side (``LogWriter``), the reader's side (``read``) and retention. What it must
not know: who reads it, and why. Format: ARCHITECTURE.md, "Change log".

A commit's records stand under (commit, 0), (commit, 1) ... and are closed by (commit, FFFFFFFF), which holds the wall clock in microseconds
and the number of changes. Commits below ``State.oldest_commit`` are history that is already lost; their bytes go
step by step, so that no writer ever waits for a cap: a commit removes a bounded number of records, and at least as many bytes as it adds while the log is
over its cap, and a little more: pages at the old end are touched once for many commits. So a log within its cap stays there, the newest commit apart, which
is never removed.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from docdb.engine.base import CHANGES, EngineTransaction
from docdb.errors import CorruptError
from docdb.store.catalog import State

if TYPE_CHECKING:
    from docdb.store.runs import Documents

__all__ = [
    "Change",
    "CommitEnd",
    "LogWriter",
    "key_of",
    "read",
    "unpack_change",
    "unpack_end",
    "unpack_images",
    "unpack_key",
]

INSERT: Final = "i"
UPDATE: Final = "u"
REPLACE: Final = "r"
DELETE: Final = "d"
CATALOG_CHANGE: Final = "x"
END_INDEX: Final = 0xFFFFFFFF
TRIM_STEPS: Final = 1_000  # records removed a commit at most, besides what it adds
FEW: Final = 64  # records of a storage transaction that are looked at once more
AGE_STEPS: Final = 128  # commits given up for their age a commit at most
SLACK_SHARE: Final = (
    64  # a log over its cap is cut to this part below it, so that the next commits have nothing to remove
)
MOST_SLACK: Final = 2**16

_KEY = struct.Struct(">QI")
_HEAD = struct.Struct(">cII")
_END = struct.Struct(">QI")


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one document; the images are stored bytes (``store/codec.py``), empty where there is none."""

    commit: int
    index: int
    operation: str
    collection: int
    before: bytes
    after: bytes


@dataclass(frozen=True, slots=True)
class CommitEnd:
    """The end of a commit: wall clock in microseconds since 1970, and how many changes it had."""

    commit: int
    clock_us: int
    changes: int


def record(operation: str, collection: int, before: bytes, after: bytes) -> bytes:
    """Return the stored form of a change."""
    return _HEAD.pack(operation.encode("ascii"), collection, len(before)) + before + after


class Few:
    """The records of one commit that was made outside a batch, as its feeds are told of them (see ``LogWriter.few``)."""

    __slots__ = ("first", "last", "records")

    def __init__(self, records: list[tuple[bytes, bytes]]) -> None:
        self.records = records
        self.first = self.last = unpack_key(records[0][0])[0]

    def few(self) -> list[tuple[bytes, bytes]]:
        """Return the records."""
        return self.records


class LogWriter:
    """Collects the records of one storage transaction and puts them at its end.

    ``commit`` closes one caller's commit; the numbers come from ``state``, which is updated in place.
    """

    def __init__(self, state: State, history_bytes: int, history_age_s: float) -> None:
        self._state = state
        self.first = state.last_commit + 1
        self._cap = history_bytes
        self._age_us = int(history_age_s * 1_000_000)
        self._parts: list[Any] = []  # lists and runs of pairs, in order
        self._items: list[tuple[bytes, bytes]] = []  # the last part, when it is a list
        self._open = 0
        self.last_end: tuple[bytes, bytes] | None = None

    def add(self, records: list[bytes]) -> None:
        """Add the records of a caller's change, in order."""
        commit, first = self._state.last_commit + 1, self._open
        self._append([(_KEY.pack(commit, first + i), value) for i, value in enumerate(records)])
        self._open += len(records)

    def add_documents(self, documents: Documents, collection: int) -> None:
        """Add the insertion of many documents; what they hold is put without a copy."""
        self._parts.append(documents.changes(collection, self._state.last_commit + 1, self._open))
        self._items = []
        self._open += len(documents)

    def _append(self, items: list[tuple[bytes, bytes]]) -> None:
        if not self._items and items:
            self._parts.append(self._items)
        self._items += items

    @property
    def pending(self) -> bool:
        """Whether the caller whose turn it is has changed anything."""
        return self._open > 0

    @property
    def changed(self) -> bool:
        """Whether the storage transaction holds any commit."""
        return bool(self._parts)

    def unwritten(self) -> Iterator[Change]:
        """Yield the changes of the callers that have committed in this storage transaction so far."""
        for part in self._parts:
            for key, value in part:
                commit, index = unpack_key(key)
                if index != END_INDEX:
                    yield unpack_change(commit, index, value)

    def few(self) -> list[tuple[bytes, bytes]] | None:
        """Return the records of a storage transaction of a few changes; None: there are many."""
        parts = self._parts
        if len(parts) == 1:
            return parts[0] if len(parts[0]) <= FEW else None
        return None if sum(map(len, parts)) > FEW else [pair for part in parts for pair in part]

    def commit(self) -> int:
        """Close the commit of this caller; return its number."""
        state = self._state
        state.last_commit += 1
        end = _END.pack(time.time_ns() // 1_000, self._open)
        self.last_end = _KEY.pack(state.last_commit, END_INDEX), end
        self._append([self.last_end])
        self._open = 0
        return state.last_commit

    def write(self, txn: EngineTransaction) -> None:
        """Put all records and remove what the caps no longer allow."""
        steps, added = TRIM_STEPS, 0
        for part in self._parts:
            txn.put_many(CHANGES, part, append=True)
            steps += 2 * len(part)
            added += part.total_bytes if type(part) is not list else sum([len(key) + len(value) for key, value in part])
        self._state.log_bytes += added
        self._trim(txn, steps, added)

    def _trim(self, txn: EngineTransaction, steps: int, added: int) -> None:
        """Remove what is given up: at most so many records, but as many bytes as were added while the log is over its cap."""
        state = self._state
        horizon = time.time_ns() // 1_000 - self._age_us
        if self._age_us and state.oldest_us < horizon:
            self._give_up_by_age(txn, horizon)
        if state.log_bytes <= self._cap and (state.tidy or not self._left_over(txn)):
            state.tidy = True
            return
        state.tidy = False
        cap = self._cap
        if state.log_bytes > cap:
            cap -= min(cap // SLACK_SHARE, MOST_SLACK)
        doomed: list[bytes] = []
        freed = 0
        for batch in txn.scan(CHANGES, b"", _KEY.pack(state.last_commit, 0)):
            for key, value in batch:
                commit, _ = unpack_key(key)
                over = state.log_bytes - freed > cap
                if commit >= state.oldest_commit and not over:
                    break
                if len(doomed) >= steps and (freed >= added or not over):
                    break
                if commit >= state.oldest_commit:
                    state.oldest_commit, state.oldest_us = commit + 1, 0
                doomed.append(key)
                freed += len(key) + len(value)
            else:
                continue
            break
        txn.delete_many(CHANGES, doomed)
        state.log_bytes -= freed

    def _left_over(self, txn: EngineTransaction) -> bool:
        """Tell whether records of a commit that is already given up are still there."""
        return txn.count(CHANGES, b"", _KEY.pack(self._state.oldest_commit, 0), limit=1) > 0

    def _give_up_by_age(self, txn: EngineTransaction, horizon: int) -> None:
        """Give up the oldest commits that ended before ``horizon``, and note when the oldest left has ended."""
        state = self._state
        for _ in range(AGE_STEPS):
            end = txn.get(CHANGES, _KEY.pack(state.oldest_commit, END_INDEX))
            if end is None or state.oldest_commit >= state.last_commit:
                return
            state.oldest_us = unpack_end(end)[0]
            if state.oldest_us >= horizon:
                return
            state.oldest_commit += 1
            state.oldest_us = 0
            state.tidy = False


def read(txn: EngineTransaction, after: int, until: int | None = None) -> Iterator[Change | CommitEnd]:
    """Yield the changes of the commits ``after`` < commit <= ``until``, each commit closed by its CommitEnd.

    The caller checks beforehand that ``after`` is not below ``State.oldest_commit - 1``. Cost: one scan.
    """
    high = _KEY.pack(until + 1, 0) if until is not None else b"\xff" * 13
    for batch in txn.scan(CHANGES, _KEY.pack(after + 1, 0), high):
        for key, value in batch:
            commit, index = unpack_key(key)
            if index == END_INDEX:
                yield CommitEnd(commit, *unpack_end(value))
            else:
                yield unpack_change(commit, index, value)


def key_of(commit: int, index: int) -> bytes:
    """Return the key of a record."""
    return _KEY.pack(commit, index)


def unpack_key(key: bytes) -> tuple[int, int]:
    """Return commit and index of a record's key."""
    if len(key) != _KEY.size:
        raise CorruptError("a key of the change log has a wrong length")
    commit, index = _KEY.unpack(key)
    return commit, index


def unpack_end(value: bytes) -> tuple[int, int]:
    """Return the clock in microseconds and the number of changes of a commit's end record."""
    if len(value) != _END.size:
        raise CorruptError("an end record of the change log has a wrong length")
    clock, changes = _END.unpack(value)
    return clock, changes


def unpack_change(commit: int, index: int, value: bytes) -> Change:
    """Return the change in a record."""
    operation, before, after = unpack_images(commit, index, value)
    return Change(commit, index, operation, int.from_bytes(value[1:5], "big"), before, after)


def unpack_images(commit: int, index: int, value: bytes) -> tuple[str, bytes, bytes]:
    """Return operation and images of the change in a record; its collection's number stands in the bytes 1 to 5."""
    if len(value) < _HEAD.size:
        raise CorruptError(f"change {commit}.{index} is cut off")
    operation, _, length = _HEAD.unpack_from(value)
    start = _HEAD.size
    if start + length > len(value) or operation not in b"iurdx":
        raise CorruptError(f"change {commit}.{index} is damaged")
    return operation.decode("ascii"), value[start : start + length], value[start + length :]
