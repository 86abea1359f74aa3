"""The engine that keeps everything in memory: for ``":memory:"`` and as the reference of the contract.

Each key holds a chain of versions ``(commit, value, older version)``, newest first; None as value is a deletion. A snapshot reads the
newest version not above its number, so a writer never disturbs it; the writer's own versions carry the number of the commit that is
to come. Versions that no snapshot can see any more are cut off at the next commit.

It must not know files. One lock guards the maps, for the length of one batch at most.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sortedcontainers import SortedDict  # type: ignore[import-untyped]

from docdb.engine.base import SPACES, Engine, EngineTransaction
from docdb.engine.batches import check_item, check_key, check_shape, deliver, sizes
from docdb.engine.bell import Herald
from docdb.errors import InvalidOperation

__all__ = ["MemoryEngine"]

Version = tuple[int, bytes | None, Any]


class MemoryTransaction(EngineTransaction):
    """A snapshot of the memory engine, or its one writer."""

    open = False

    def __init__(self, engine: MemoryEngine, number: int, write: bool) -> None:
        self.id = number
        self.write = write
        self._engine = engine
        self._sees = number + 1 if write else number
        self.open = True
        self._touched: set[tuple[int, bytes]] = set()

    def __del__(self) -> None:
        self.abort()

    def get(self, space: int, key: bytes, decode: Callable[[bytes], Any] | None = None) -> Any | None:
        check_key(key)
        with self._engine.lock:
            value = self._visible(self._space(space).get(key))
        return value if value is None or decode is None else decode(value)

    def get_many(
        self, space: int, keys: Sequence[bytes], *, program: Any = None, decode: Callable[[bytes], Any] | None = None
    ) -> list[Any | None]:
        for key in keys:
            check_key(key)
        with self._engine.lock:
            chains = self._space(space)
            found = [self._visible(chains.get(key)) for key in keys]
        if program is not None:
            found = [value if value is not None and program.match(value) else None for value in found]
        return found if decode is None else [None if value is None else decode(value) for value in found]

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
        check_shape(keys, values)
        return self._scan(space, low, high, reverse, batch, lambda pairs: deliver(pairs, keys, values, program, decode))

    def _scan(
        self, space: int, low: bytes, high: bytes, reverse: bool, batch: int, shape: Callable[[Any], list[Any]]
    ) -> Iterator[list[Any]]:
        last: bytes | None = None
        for size in sizes(batch):
            with self._engine.lock:
                chains = self._space(space)
                pairs = self._collect(chains, low, high, last, reverse, size)
            if pairs:
                last = pairs[-1][0]
                yield shape(pairs)
            if len(pairs) < size:
                return

    def _collect(
        self, chains: Any, low: bytes, high: bytes, last: bytes | None, reverse: bool, size: int
    ) -> list[tuple[bytes, bytes]]:
        """Return the next ``size`` visible pairs behind ``last``."""
        if low >= high:
            return []
        bounds, inclusive = (low, high), (True, False)
        if last is not None:
            bounds = (low, last) if reverse else (last, high)
            inclusive = (reverse, False)
        pairs: list[tuple[bytes, bytes]] = []
        for key in chains.irange(*bounds, inclusive=inclusive, reverse=reverse):
            value = self._visible(chains[key])
            if value is not None:
                pairs.append((key, value))
                if len(pairs) == size:
                    break
        return pairs

    def count(self, space: int, low: bytes, high: bytes, limit: int | None = None) -> int:
        total = 0
        for batch in self.scan(space, low, high, batch=4096, values=False):
            total += len(batch)
            if limit is not None and total >= limit:
                return limit
        return total

    def put_many(self, space: int, items: Iterable[tuple[bytes, bytes]], *, append: bool = False) -> None:
        self._require_write()
        items = list(items)
        for key, value in items:
            check_item(key, value)
        with self._engine.lock:
            chains = self._space(space)
            for key, value in items:
                self._put(chains, space, key, value)

    def delete_many(self, space: int, keys: Iterable[bytes]) -> int:
        self._require_write()
        keys = list(keys)
        for key in keys:
            check_key(key)
        deleted = 0
        with self._engine.lock:
            chains = self._space(space)
            for key in keys:
                if self._visible(chains.get(key)) is not None:
                    self._put(chains, space, key, None)
                    deleted += 1
        return deleted

    def commit(self, herald: Herald | None = None) -> None:
        self._require_open()
        if self.write:
            self._engine.committed(self._touched)
        self.open = False
        if herald is not None:
            herald.tell(True)

    def abort(self) -> None:
        if not self.open:
            return
        self.open = False
        if self.write:
            self._engine.undone(self._touched)

    def _put(self, chains: Any, space: int, key: bytes, value: bytes | None) -> None:
        older = chains.get(key)
        if older is not None and older[0] == self._sees:
            older = older[2]
        chains[key] = (self._sees, value, older)
        self._touched.add((space, key))

    def _visible(self, version: Version | None) -> bytes | None:
        while version is not None and version[0] > self._sees:
            version = version[2]
        return None if version is None else version[1]

    def _space(self, space: int) -> Any:
        self._require_open()
        return self._engine.spaces[space]

    def _require_open(self) -> None:
        if not self.open:
            raise InvalidOperation("the transaction is over")
        if self._engine.closed:
            raise InvalidOperation("the engine is closed")

    def _require_write(self) -> None:
        self._require_open()
        if not self.write:
            raise InvalidOperation("a snapshot cannot be written to")


class MemoryEngine(Engine):
    """Four SortedDicts of version chains; lives as long as the object."""

    name = "memory"

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.spaces: list[Any] = [SortedDict() for _ in SPACES]
        self.closed = False
        self._last = 0
        self._writer = threading.Lock()
        self._writer_thread = 0
        self._snapshots: weakref.WeakSet[MemoryTransaction] = weakref.WeakSet()
        self._old: deque[tuple[int, int, bytes]] = deque()

    def begin(self, write: bool = False) -> EngineTransaction:
        self._require_open()
        if not write:
            with self.lock:
                snapshot = MemoryTransaction(self, self._last, False)
                self._snapshots.add(snapshot)
                return snapshot
        if self._writer_thread == threading.get_ident():
            raise InvalidOperation("this thread has a write transaction open")
        self._writer.acquire()
        if self.closed:
            self._writer.release()
        self._require_open()
        self._writer_thread = threading.get_ident()
        return MemoryTransaction(self, self._last, True)

    def committed(self, touched: set[tuple[int, bytes]]) -> None:
        """Take the writer's versions over; called by its commit."""
        with self.lock:
            if touched:
                self._last += 1
                self._old.extend((self._last, space, key) for space, key in touched)
                self._prune()
            self._end_write()

    def undone(self, touched: set[tuple[int, bytes]]) -> None:
        """Take the writer's versions out; called by its abort."""
        with self.lock:
            for space, key in touched:
                older = self.spaces[space][key][2]
                if older is None:
                    del self.spaces[space][key]
                else:
                    self.spaces[space][key] = older
            self._end_write()

    def _end_write(self) -> None:
        self._writer_thread = 0
        self._writer.release()

    def _prune(self) -> None:
        """Cut off the versions that no snapshot can see. Done by commits alone: an interrupted reader would leave it half done."""
        oldest = min(self._open_snapshots(), default=self._last)
        while self._old and self._old[0][0] <= oldest:
            number, space, key = self._old.popleft()
            chains = self.spaces[space]
            newer: list[Version] = []
            version: Version | None = chains.get(key)
            while version is not None and version[0] > number:
                newer.append(version)
                version = version[2]
            if version is None or version[0] != number:
                continue
            kept: Version | None = None if version[1] is None else (number, version[1], None)
            for above in reversed(newer):
                kept = (above[0], above[1], kept)
            if kept is None:
                del chains[key]
            else:
                chains[key] = kept

    def _open_snapshots(self) -> list[int]:
        return [snapshot.id for snapshot in list(self._snapshots) if snapshot.open]

    def close(self) -> None:
        self.closed = True

    def last_id(self) -> int:
        self._require_open()
        return self._last

    def copy(self, path: str, *, compact: bool = False, finish: Callable[[str], None] | None = None) -> None:
        self._require_open()
        raise InvalidOperation("a database in memory has no files to copy", hint="export it instead")

    def stats(self) -> dict[str, Any]:
        self._require_open()
        with self.lock:
            snapshots = self._open_snapshots()
            return {
                "engine": self.name,
                "file_bytes": 0,
                "map_bytes": 0,
                "page_size": 0,
                "pages": 0,
                "free_pages": 0,
                "readers": len(snapshots),
                "oldest_reader_id": min(snapshots, default=None),
                "last_id": self._last,
                "entries": {name.decode(): len(chains) for name, chains in zip(SPACES, self.spaces, strict=True)},
            }

    def reopen(self) -> None:
        self._require_open()

    def _require_open(self) -> None:
        if self.closed:
            raise InvalidOperation("the engine is closed")
