"""Working beyond memory: sorted runs, sequences and parts of groups in temporary files.

What lives here: ``ordered`` (a bounded heap for sort + limit, sorted runs on disk for what does not fit), ``Rows`` (a sequence that goes on in a file) and
``Partitions`` (what belongs to groups, set aside by key). What it must not know: where documents come from, stages. The files have no name from the moment
they are made, so nothing is left behind whatever happens, a killed process included; they hold pickles of docdb's own values, which nobody else can write to.
They lie where ``tempfile`` puts them (``TMPDIR``).
"""

from __future__ import annotations

import heapq
import pickle
import sys
import tempfile
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import IO, Any, Final

from docdb.errors import FullError

__all__ = [
    "HEAP_LIMIT",
    "OBJECT_FACTOR",
    "SORT_BYTES",
    "Doubles",
    "Partitions",
    "Rows",
    "Weight",
    "between",
    "external",
    "ordered",
]

SORT_BYTES: Final = 64 * 2**20  # what one sort holds in memory before it writes a run
HEAP_LIMIT: Final = 10_000  # above this many results a full sort costs less than a heap
OBJECT_FACTOR: Final = 4  # a decoded document takes about this many times its pickled bytes
FAN_OUT: Final = 16  # files of one Partitions
FAN_IN: Final = 64  # runs that are merged at once, each with a chunk in memory
_CHUNK: Final = 256  # rows of a chunk, at most
_CHUNK_BYTES: Final = 2**20  # about what a chunk takes in memory, at most
_CACHED: Final = 16  # chunks that Rows keeps
_SAMPLE: Final = 64

Row = tuple[Any, int, Any]
_Head = tuple[list[Row], int, Iterator[list[Row]]]  # a chunk of a run, how far it was taken, the run
Check = Callable[[], None]


class Weight:
    """An estimate of what documents take in memory: every 64th is weighed, the others count as much as the last one weighed."""

    __slots__ = ("_last", "_seen", "_sum", "_weighed")

    def __init__(self, mean: int = 0) -> None:
        self._seen = self._last = 0
        self._sum, self._weighed = mean, 1 if mean else 0

    @property
    def mean(self) -> int:
        """The mean of those that were weighed, in bytes."""
        return self._sum // self._weighed if self._weighed else 0

    def of(self, item: Any) -> int:
        """Return the estimate in bytes. Cost: a pickle each 64th time."""
        if self._seen % _SAMPLE == 0:
            self._last = len(pickle.dumps(item, pickle.HIGHEST_PROTOCOL)) * OBJECT_FACTOR
            self._sum += self._last
            self._weighed += 1
        self._seen += 1
        return self._last


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FullError(
            f"a temporary file in {tempfile.gettempdir()!r} cannot be written: {error.strerror}",
            hint="make room there, or name another folder by TMPDIR",
        ) from error


def _file() -> IO[bytes]:
    with _disk():
        return tempfile.TemporaryFile(prefix="docdb-spill-")


class _File:
    """Chunks of rows in a file without a name, each of at most 256 rows and about ``chunk`` bytes; close it in any case."""

    __slots__ = ("_chunk", "_file", "_held", "_used", "_weight", "firsts", "places", "rows")

    def __init__(self, chunk: int) -> None:
        self._file = _file()
        self._chunk = chunk
        self._held: list[Any] = []
        self._weight, self._used = Weight(), 0
        self.rows = 0
        self.firsts: list[int] = []  # of each chunk, the number of its first row
        self.places: list[int] = []  # of each chunk, where it begins

    def add(self, row: Any) -> None:
        """Put a row behind the others."""
        self._held.append(row)
        self._used += self._weight.of(row)
        if len(self._held) >= _CHUNK or self._used >= self._chunk:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are held. Raises FullError when the disk is full."""
        if not self._held:
            return
        with _disk():
            place = self._file.seek(0, 2)
            pickle.dump(self._held, self._file, pickle.HIGHEST_PROTOCOL)
            self._file.flush()
        self.firsts.append(self.rows)
        self.places.append(place)
        self.rows += len(self._held)
        self._held, self._used = [], 0

    def chunk(self, number: int) -> list[Any]:
        """Read a chunk that was written."""
        self._file.seek(self.places[number])
        found: list[Any] = pickle.load(self._file)
        return found

    def chunks(self) -> Iterator[list[Any]]:
        """Yield the chunks in order."""
        self.flush()
        for number in range(len(self.places)):
            yield self.chunk(number)

    def close(self) -> None:
        """Give the room on the disk back; twice is harmless."""
        self._file.close()


def _chunk_bytes(memory: int) -> int:
    return min(_CHUNK_BYTES, memory // (2 * FAN_IN))


# ---- sorting


def ordered(
    items: Iterable[list[Any]],
    key: Callable[[Any], Any],
    limit: int | None,
    *,
    memory: int = SORT_BYTES,
    check: Check | None = None,
) -> Iterator[Any]:
    """Yield items in the order of their keys, at most ``limit``; ties keep the order of arrival.

    Keys are bytes, or tuples of them. Memory: ``limit`` items up to 10,000, else about ``memory`` bytes while it reads, half of that afterwards. ``check``
    is asked while runs are merged, when nothing is read and nothing comes out.
    """
    rows = ((key(item), number, item) for number, item in enumerate(item for batch in items for item in batch))
    if limit is not None and limit <= HEAP_LIMIT:
        return iter([row[2] for row in heapq.nsmallest(limit, rows, key=_rank)])
    return islice(external(rows, memory, check), None if limit is None else min(limit, sys.maxsize))


def _rank(row: Row) -> tuple[Any, int]:
    return row[:2]


def external(rows: Iterator[Row], memory: int, check: Check | None) -> Iterator[Any]:
    """Yield the items of rows (key, number, item) in the order of keys and numbers, which are no two alike; memory and ``check`` as in ``ordered``."""
    held: list[Row] = []
    files: list[list[_File]] = [[]]  # runs, runs of merged runs and so on: none is rewritten more often than it must
    weight = Weight()
    used = 0
    try:
        for row in rows:
            held.append(row)
            used += weight.of(row)
            if used > memory:
                files[0].append(_write_run(held, memory))
                held, used = [], 0
                _join_full(files, memory, check)
        if not files[0] and len(files) == 1:
            held.sort()  # numbers differ, so no item is compared
            yield from (row[2] for row in held)
            return
        files[0].append(_write_run(held, memory))
        held = []
        for block in _merged([file.chunks() for level in files for file in level]):
            yield from (row[2] for row in block)
    finally:
        for level in files:
            for file in level:
                file.close()


def _write_run(rows: list[Row], memory: int) -> _File:
    rows.sort()
    file = _File(_chunk_bytes(memory))
    for row in rows:
        file.add(row)
    file.flush()
    return file


def _join_full(files: list[list[_File]], memory: int, check: Check | None) -> None:
    """Merge the runs of each level that is full into one of the next."""
    for at, level in enumerate(files):
        if len(level) < FAN_IN:
            return
        if at + 1 == len(files):
            files.append([])
        joined = _File(_chunk_bytes(memory))
        files[at + 1].append(joined)
        for block in _merged([file.chunks() for file in level]):
            if check is not None:
                check()
            for row in block:
                joined.add(row)
        joined.flush()
        for file in level:
            file.close()
        level.clear()


def _merged(runs: list[Iterator[list[Row]]]) -> Iterator[list[Row]]:
    """Yield blocks of rows in order.

    A block is what lies up to the first end of a chunk in memory, sorted: Python's sort merges the pieces, which ascend, faster than a heap that is asked
    for each row.
    """
    heads: list[_Head] = [(chunk, 0, run) for run in runs for chunk in islice(run, 1)]
    while heads:
        bound = min(head[0][-1] for head in heads)
        block: list[Row] = []
        left: list[_Head] = []
        for chunk, at, run in heads:
            end = bisect_right(chunk, bound, at)
            block += chunk[at:end]
            if end < len(chunk):
                left.append((chunk, end, run))
            elif (following := next(run, None)) is not None:
                left.append((following, 0, run))
        heads = left
        block.sort()
        yield block


# ---- sequences


class Rows:
    """A sequence that is filled, then read by place or from its beginning, any number of times. Beyond ``memory`` bytes it lies in a file; close it."""

    __slots__ = ("_cache", "_file", "_held", "_memory", "_used")

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._held: list[Any] = []
        self._file: _File | None = None
        self._used = 0
        self._cache: OrderedDict[int, list[Any]] = OrderedDict()

    def extend(self, items: list[Any]) -> None:
        """Put items behind the others; not after the first was read. Some hundred at a time cost the least."""
        if self._file is None:
            self._held += items
            some = items[::_SAMPLE]
            self._used += (
                len(pickle.dumps(some, pickle.HIGHEST_PROTOCOL)) * OBJECT_FACTOR * len(items) // (len(some) or 1)
            )
            if self._used <= self._memory:
                return
            self._file = _File(_chunk_bytes(self._memory))
            items, self._held = self._held, []
        for item in items:
            self._file.add(item)

    def settled(self) -> Sequence[Any]:
        """Return the sequence now that it is full: a list while it fits into memory."""
        if self._file is None:
            return self._held
        self._file.flush()
        return self  # type: ignore[return-value]  # it has what callers use: len, items, iteration

    def __len__(self) -> int:
        return len(self._held) if self._file is None else self._file.rows

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[Any]]:
        """Yield the items in lists, which are the caller's."""
        if self._file is not None:
            yield from self._file.chunks()
            return
        for at in range(0, len(self._held), _CHUNK):
            yield self._held[at : at + _CHUNK]

    def __getitem__(self, at: int) -> Any:
        if self._file is None:
            return self._held[at]
        number = bisect_right(self._file.firsts, at) - 1
        return self._chunk(self._file, number)[at - self._file.firsts[number]]

    def between(self, low: int, high: int) -> Iterator[Any]:
        """Yield the items from ``low`` up to ``high``, not included."""
        while low < high and self._file is not None:
            number = bisect_right(self._file.firsts, low) - 1
            first, chunk = self._file.firsts[number], self._chunk(self._file, number)
            yield from chunk[low - first : high - first]
            low = first + len(chunk)
        yield from self._held[low:high]

    def close(self) -> None:
        """Give memory and file back; twice is harmless."""
        self._held = []
        self._cache.clear()
        if self._file is not None:
            self._file.close()

    def _chunk(self, file: _File, number: int) -> list[Any]:
        """Return a chunk; the last ones asked for stay in memory."""
        found = self._cache.get(number)
        if found is None:
            found = self._cache[number] = file.chunk(number)
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(number)
        return found


def between(items: Sequence[Any], low: int, high: int) -> Iterable[Any]:
    """Return the items from ``low`` up to ``high``, of a list or of ``Rows`` that settled."""
    return items.between(low, high) if isinstance(items, Rows) else items[low:high]


class Doubles:
    """Numbers, of which any part may lie in files; close it in any case."""

    __slots__ = ("_count", "_files", "_held")

    def __init__(self) -> None:
        self._held = array("d")
        self._files: list[IO[bytes]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count + len(self._held)

    def append(self, number: float) -> None:
        """Put a number to the others."""
        self._held.append(number)

    def spill(self) -> None:
        """Write what is in memory into a file."""
        file = _file()
        self._files.append(file)
        with _disk():
            array("d", sorted(self._held)).tofile(file)
            file.flush()
        self._count += len(self._held)
        self._held = array("d")

    def at(self, places: list[int]) -> list[float]:
        """Return the numbers at these places of their order. Cost: a sort, and where there are files a pass over all."""
        self._held = array("d", sorted(self._held))
        if not self._files:
            return [self._held[place] for place in places]
        wanted = set(places)
        merged = islice(heapq.merge(*map(_numbers, self._files), self._held), max(places) + 1)
        found = {place: number for place, number in enumerate(merged) if place in wanted}
        return [found[place] for place in places]

    def close(self) -> None:
        """Give memory and files back; twice is harmless."""
        for file in self._files:
            file.close()
        self._files, self._held = [], array("d")


def _numbers(file: IO[bytes]) -> Iterator[float]:
    file.seek(0)
    while data := file.read(_CHUNK_BYTES // 16):
        yield from array("d", data)


# ---- groups


class Partitions:
    """What belongs to groups, set aside on disk: equal keys lie in the same part, each part keeps the order of arrival.

    ``level`` is how often it was set aside before: it spreads keys anew that met in one part. Close it in any case.
    """

    def __init__(self, level: int, memory: int) -> None:
        self._level = level
        self._chunk = min(_CHUNK_BYTES, memory // (2 * FAN_OUT))
        self._files: list[_File | None] = [None] * FAN_OUT

    def put(self, key: bytes, item: Any) -> None:
        """Set an item aside."""
        at = hash((self._level, key)) % FAN_OUT
        file = self._files[at]
        if file is None:
            file = self._files[at] = _File(self._chunk)
        file.add(item)

    def parts(self) -> Iterator[Iterator[list[Any]]]:
        """Yield each part's items in lists, once; read a part before asking for the next."""
        for at, file in enumerate(self._files):
            if file is None:
                continue
            try:
                yield file.chunks()
            finally:
                file.close()
                self._files[at] = None

    def close(self) -> None:
        """Remove what was not read."""
        for file in self._files:
            if file is not None:
                file.close()
