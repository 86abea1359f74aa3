"""Working beyond memory: sorted runs and partitions of documents in temporary files.

What lives here: ``ordered`` (a bounded heap for sort + limit, sorted runs on disk for what does not fit) and ``Partitions`` (documents set aside
by key). What it must not know: where documents come from, stages. The files have no name from the moment they are made, so nothing is left behind
whatever happens; they hold pickles of docdb's own values, which nobody else can write to.
"""

from __future__ import annotations

import heapq
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Final

__all__ = ["HEAP_LIMIT", "OBJECT_FACTOR", "SORT_BYTES", "Partitions", "Weight", "ordered"]

SORT_BYTES: Final = 64 * 2**20  # what one sort holds in memory before it writes a run
HEAP_LIMIT: Final = 10_000  # above this many results a full sort costs less than a heap
OBJECT_FACTOR: Final = 4  # a decoded document takes about this many times its pickled bytes
FAN_OUT: Final = 16  # files of one Partitions
_BATCH: Final = 256
_SAMPLE: Final = 64

Row = tuple[Any, int, Any]


class Weight:
    """An estimate of what documents take in memory: every 64th is weighed, the others count as much as the last one weighed."""

    __slots__ = ("_seen", "_size")

    def __init__(self) -> None:
        self._seen = self._size = 0

    def of(self, item: Any) -> int:
        """Return the estimate in bytes. Cost: a pickle each 64th time."""
        if self._seen % _SAMPLE == 0:
            self._size = len(pickle.dumps(item, pickle.HIGHEST_PROTOCOL)) * OBJECT_FACTOR
        self._seen += 1
        return self._size


def ordered(
    items: Iterable[list[Any]], key: Callable[[Any], Any], limit: int | None, *, memory: int = SORT_BYTES
) -> Iterator[Any]:
    """Yield items in the order of their keys, at most ``limit``; ties keep the order of arrival.

    Keys are bytes or tuples of them. Memory: ``limit`` items up to 10,000, else about ``memory`` bytes and one batch a run.
    """
    rows = ((key(item), number, item) for number, item in enumerate(item for batch in items for item in batch))
    if limit is not None and limit <= HEAP_LIMIT:
        return iter([row[2] for row in heapq.nsmallest(limit, rows, key=_rank)])
    found = _external(rows, memory)
    return (row[2] for row, _ in zip(found, range(limit), strict=False)) if limit is not None else (r[2] for r in found)


def _rank(row: Row) -> tuple[Any, int]:
    return row[:2]


def _external(rows: Iterator[Row], memory: int) -> Iterator[Row]:
    held: list[Row] = []
    files: list[IO[bytes]] = []
    weight = Weight()
    used = 0
    try:
        for row in rows:
            held.append(row)
            used += weight.of(row)
            if used > memory:
                files.append(_write_run(held))
                held, used = [], 0
        held.sort(key=_rank)
        yield from heapq.merge(*map(_batches_flat, files), held, key=_rank) if files else held
    finally:
        for file in files:
            file.close()


def _write_run(rows: list[Row]) -> IO[bytes]:
    rows.sort(key=_rank)
    file = _file()
    for at in range(0, len(rows), _BATCH):
        pickle.dump(rows[at : at + _BATCH], file, pickle.HIGHEST_PROTOCOL)
    file.seek(0)
    return file


def _file() -> IO[bytes]:
    return tempfile.TemporaryFile(prefix="docdb-spill-")


def _batches(file: IO[bytes]) -> Iterator[list[Any]]:
    while True:
        try:
            yield pickle.load(file)
        except EOFError:
            return


def _batches_flat(file: IO[bytes]) -> Iterator[Any]:
    for batch in _batches(file):
        yield from batch


class Partitions:
    """Documents set aside on disk: equal keys lie in the same part, each part keeps the order of arrival.

    ``level`` is how often they were set aside before: it spreads keys anew that met in one part. Close it in any case.
    """

    def __init__(self, level: int) -> None:
        self._level = level
        self._files: list[IO[bytes] | None] = [None] * FAN_OUT
        self._held: list[list[Any]] = [[] for _ in range(FAN_OUT)]

    def put(self, key: bytes, document: dict[str, Any]) -> None:
        """Set a document aside."""
        at = hash((self._level, key)) % FAN_OUT
        self._held[at].append(document)
        if len(self._held[at]) >= _BATCH:
            self._flush(at)

    def parts(self) -> Iterator[Iterator[list[dict[str, Any]]]]:
        """Yield each part's batches, once; read a part before asking for the next."""
        for at in range(FAN_OUT):
            self._flush(at)
            file, self._files[at] = self._files[at], None
            if file is None:
                continue
            with file:
                file.seek(0)
                yield _batches(file)

    def close(self) -> None:
        """Remove what was not read."""
        for file in self._files:
            if file is not None:
                file.close()

    def _flush(self, at: int) -> None:
        if not self._held[at]:
            return
        file = self._files[at]
        if file is None:
            file = self._files[at] = _file()
        pickle.dump(self._held[at], file, pickle.HIGHEST_PROTOCOL)
        self._held[at] = []
