"""An engine transaction that writes beside its snapshot instead of into the storage.

What lives here: ``Overlay``, which fulfils the engine contract over a snapshot and four ordered maps of what was put and deleted since, with
savepoints; ``Frozen``, the same picture held still for a cursor; and ``OverlayEngine``, the part of an engine that readers ask for. What it must
not know: what the bytes mean, when anything is committed.

A map holds ``key -> value``, or None where the key was deleted. A cursor shares the maps as long as nobody writes; the first write while a cursor is
open copies the map it changes, so a cursor sees what there was at its begin, and a transaction without open cursors never copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final

from sortedcontainers import SortedDict  # type: ignore[import-untyped]

from docdb.engine.base import DOCUMENTS, ENTRIES, SPACES, Engine, EngineTransaction
from docdb.engine.batches import check_item, check_key, check_shape, deliver, sizes
from docdb.engine.bell import Herald
from docdb.errors import InvalidOperation

__all__ = ["Frozen", "Overlay", "OverlayEngine"]

ABSENT: Final = object()  # what the journal notes for a key the map did not hold
Pair = tuple[bytes, Any]


class Layered(EngineTransaction):
    """Reading a snapshot through maps of puts and deletions."""

    write = False

    def __init__(self, base: EngineTransaction, maps: list[Any]) -> None:
        self.base = base
        self.id = base.id
        self.maps = maps

    def clean(self, space: int, low: bytes, high: bytes) -> bool:
        """Tell whether nothing was put or deleted in low <= key < high."""
        return next(self._keys(space, low, high), None) is None

    def get(self, space: int, key: bytes, decode: Callable[[bytes], Any] | None = None) -> Any | None:
        value = self.maps[space].get(key, ABSENT)
        if value is ABSENT:
            return self.base.get(space, key, decode)
        return value if value is None or decode is None else decode(value)

    def get_many(
        self, space: int, keys: Sequence[bytes], *, program: Any = None, decode: Callable[[bytes], Any] | None = None
    ) -> list[Any | None]:
        layer = self.maps[space]
        if not layer:
            return self.base.get_many(space, keys, program=program, decode=decode)
        below = [key for key in keys if key not in layer]
        found = iter(self.base.get_many(space, below, program=program, decode=decode) if below else ())
        return [_shown(layer[key], program, decode) if key in layer else next(found) for key in keys]

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
        if low >= high or self.clean(space, low, high):
            return self.base.scan(
                space, low, high, reverse=reverse, batch=batch, keys=keys, values=values, program=program, decode=decode
            )
        return self._merged(space, low, high, reverse, batch, keys, values, program, decode)

    def _merged(
        self, space: int, low: bytes, high: bytes, reverse: bool, batch: int, keys: bool, values: bool, program: Any, decode: Any
    ) -> Iterator[list[Any]]:  # fmt: skip
        """Yield both layers in one order; a batch whose documents the program refuses is yielded all the same."""
        below = (
            pair
            for pairs in self.base.scan(space, low, high, reverse=reverse, batch=batch, program=program)
            for pair in (pairs or (None,))
            if pair is None or pair[0] not in self.maps[space]
        )
        both = _merge(below, self._walk(space, low, high, reverse), reverse)
        merged = (pair for pair in both if pair is None or pair[1] is not None)
        for size in sizes(batch):
            pairs = list(islice(merged, size))
            if pairs:
                yield deliver([pair for pair in pairs if pair is not None], keys, values, program, decode)
            if len(pairs) < size:
                return

    def _walk(self, space: int, low: bytes, high: bytes, reverse: bool) -> Iterator[Pair]:
        """Yield the layer's own pairs, a few at a time: a transaction may write between two steps."""
        bounds, inclusive = (low, high), (True, False)
        for size in sizes(256):
            layer = self.maps[space]
            keys = list(islice(layer.irange(*bounds, inclusive=inclusive, reverse=reverse), size))
            yield from [(key, layer[key]) for key in keys]
            if len(keys) < size:
                return
            bounds = (low, keys[-1]) if reverse else (keys[-1], high)
            inclusive = (reverse, False)

    def count(self, space: int, low: bytes, high: bytes, limit: int | None = None) -> int:
        keys = list(self._keys(space, low, high)) if low < high else []
        if not keys:
            return self.base.count(space, low, high, limit)
        layer = self.maps[space]
        below = sum(value is not None for value in self.base.get_many(space, keys))
        above = sum(layer[key] is not None for key in keys)
        wanted = None if limit is None else limit + below
        total = self.base.count(space, low, high, wanted) - below + above
        return total if limit is None else min(total, limit)

    def holds_any(self, space: int, items: Iterable[tuple[bytes, bytes]], *, whole: bool = True) -> bool:
        if not self.maps[space]:
            return self.base.holds_any(space, items, whole=whole)
        return super().holds_any(space, items, whole=whole)

    def put_many(self, space: int, items: Iterable[tuple[bytes, bytes]], *, append: bool = False) -> None:
        raise InvalidOperation("a snapshot cannot be written to")

    def delete_many(self, space: int, keys: Iterable[bytes]) -> int:
        raise InvalidOperation("a snapshot cannot be written to")

    def commit(self, herald: Herald | None = None) -> None:
        raise InvalidOperation("what stands beside a snapshot is not committed by the engine")

    def _keys(self, space: int, low: bytes, high: bytes) -> Iterator[bytes]:
        layer = self.maps[space]
        return iter(layer.irange(low, high, inclusive=(True, False))) if layer else iter(())


class Overlay(Layered):
    """The transaction's own picture, which may be written to. The snapshot below belongs to whoever made it."""

    write = True

    def __init__(self, base: EngineTransaction) -> None:
        super().__init__(base, [SortedDict() for _ in SPACES])
        self._sharers = [0] * len(SPACES)  # cursors that still look at a map
        self._journal: list[tuple[int, bytes, Any]] = []
        self._points = 0
        self.document_bytes = 0  # of all documents put

    def freeze(self) -> Frozen:
        """Return the picture of now for a cursor; it must be aborted at its end."""
        for space in range(len(SPACES)):
            self._sharers[space] += 1
        return Frozen(self)

    def thaw(self, maps: list[Any]) -> None:
        """Take note that a cursor has ended."""
        for space, layer in enumerate(maps):
            if layer is self.maps[space]:
                self._sharers[space] -= 1

    def written(self, space: int) -> list[bytes]:
        """Return the keys that were put or deleted, in the order of their first writing."""
        return list(dict.keys(self.maps[space]))

    def savepoint(self) -> int:
        """Return a mark to which ``rollback`` leads; each is ended by ``rollback`` or ``release``, the last one first."""
        self._points += 1
        return len(self._journal)

    def release(self) -> None:
        """Keep what was written since the last mark."""
        self._points -= 1
        if not self._points:
            self._journal.clear()

    def rollback(self, mark: int) -> None:
        """Undo what was written since the mark."""
        while len(self._journal) > mark:
            space, key, before = self._journal.pop()
            layer = self._owned(space)
            if space == DOCUMENTS:
                self.document_bytes += _size(before) - _size(layer.get(key))
            if before is ABSENT:
                del layer[key]
            else:
                layer[key] = before
        self.release()

    def put_many(self, space: int, items: Iterable[tuple[bytes, bytes]], *, append: bool = False) -> None:
        layer = self._owned(space)
        for key, value in items:
            check_item(key, value)
            self._set(layer, space, key, value)

    def delete_many(self, space: int, keys: Iterable[bytes]) -> int:
        keys = list(dict.fromkeys(keys))
        for key in keys:
            check_key(key)
        stored = self.get_many(space, keys)
        layer = self._owned(space)
        present = [key for key, value in zip(keys, stored, strict=True) if value is not None]
        for key in present:
            self._set(layer, space, key, None)
        return len(present)

    def abort(self) -> None:
        """Do nothing: the pictures of one operation share the transaction's layers."""

    def _set(self, layer: Any, space: int, key: bytes, value: bytes | None) -> None:
        before = layer.get(key, ABSENT)
        if self._points:
            self._journal.append((space, key, before))
        if space == DOCUMENTS:
            self.document_bytes += _size(value) - _size(before)
        layer[key] = value

    def _owned(self, space: int) -> Any:
        """Return the map, copied when a cursor looks at it."""
        if self._sharers[space]:
            self.maps[space] = SortedDict(dict.items(self.maps[space]))  # in the order of writing, as they were
            self._sharers[space] = 0
        return self.maps[space]


class Frozen(Layered):
    """What an overlay was at one moment."""

    _overlay: Overlay | None = None  # an interruption may come before the first line of __init__

    def __init__(self, overlay: Overlay) -> None:
        super().__init__(overlay.base, list(overlay.maps))
        self._overlay = overlay

    def abort(self) -> None:
        """Stop looking at the overlay's maps; twice is harmless."""
        overlay, self._overlay = self._overlay, None
        if overlay is not None:
            overlay.thaw(self.maps)

    def __del__(self) -> None:
        self.abort()


class OverlayEngine:
    """What views and sessions ask of an engine, answered for the layers above a snapshot."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.applies_programs = engine.applies_programs

    def join(
        self, transaction: Layered, low: bytes, high: bytes, prefix: bytes, **options: Any
    ) -> Iterator[tuple[int, list[Any]]] | None:
        """Join in the engine below where the layers hold nothing of the index's ranges and the collection; else None."""
        ranges = ((low, high), *options.get("more", ()))
        if not all(transaction.clean(ENTRIES, start, stop) for start, stop in ranges):
            return None
        if not transaction.clean(DOCUMENTS, prefix, prefix + b"\xff" * 512):
            return None
        return self._engine.join(transaction.base, low, high, prefix, **options)


def _merge(below: Iterator[Pair | None], above: Iterator[Pair], reverse: bool) -> Iterator[Pair | None]:
    """Yield the pairs of both in order; None where the layer below had nothing to show for a while."""
    pending = next(above, None)
    for pair in below:
        if pair is not None:
            while pending is not None and (pending[0] > pair[0]) == reverse:
                yield pending
                pending = next(above, None)
        yield pair
    if pending is not None:
        yield from chain((pending,), above)


def _shown(value: bytes | None, program: Any, decode: Callable[[bytes], Any] | None) -> Any | None:
    if value is None or (program is not None and not program.match(value)):
        return None
    return value if decode is None else decode(value)


def _size(value: Any) -> int:
    return len(value) if isinstance(value, bytes) else 0
