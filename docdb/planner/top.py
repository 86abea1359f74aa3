"""Sorts over stored bytes: only what comes out is decoded, in its order.

What lives here: ``smallest`` (sort + limit) and ``whole``. What it must not know: access paths. The keys come from the kernel ``_native/top.pyx``; where it
declines from ``language/sorting.sort_key``, which is the law. Sorts over documents are ``pipeline/spill.ordered``, which stands for ``whole`` without kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from docdb import _native
from docdb.language.sorting import sort_key
from docdb.pipeline.spill import SORT_BYTES, external
from docdb.planner.queries import SortKeys
from docdb.store import codec

__all__ = ["CAN_SORT", "smallest", "whole"]

SLACK: Final = 64  # rows beyond the wanted ones that are held before the worst are dropped

CAN_SORT: Final = _native.AVAILABLE  # whether ``whole`` may be called
_BATCH: Final = 256

_kernel: Any = None
if _native.AVAILABLE:
    from docdb._native import top as _kernel


def smallest(
    read: Callable[[Callable[[bytes], Any]], Iterator[list[Any]]],
    sort: SortKeys,
    most: int,
    decode: Callable[[bytes], Any] = codec.decode,
    *,
    leads: int = 0,
    skip: int = 0,
) -> list[Any]:
    """Return the first ``most`` of the stored documents in the order of ``sort``, decoded, but for the first ``skip``; ties keep the order of arrival.

    ``read(take)`` gives batches whose documents have been handed to ``take``; where they come in the order of the first ``leads`` fields, no more is read than
    it takes. Memory: about twice ``most`` documents and a batch. Raises what ``sort_key``
    raises, and CorruptError for a damaged document that is met.
    """
    key = sort_key(sort)
    firsts: Any = _All() if _kernel is None else _kernel.Firsts(*_spelled(sort), leads)
    first = sort_key(sort[:leads])
    seen = b""
    most_held = most + max(most, SLACK)

    def cut() -> list[tuple[bytes, int, bytes]]:
        held = [(found or key(codec.decode(data)), number, data) for found, number, data in firsts.held]
        held.sort()
        del held[most:]
        return held

    for _ in read(firsts):
        lead = b""
        if leads and len(firsts.held) >= most:
            lead = firsts.lead or first(codec.decode(firsts.last))
        if len(firsts.held) > most_held or lead != seen:
            firsts.held, seen = cut(), lead
            firsts.worst = firsts.held[-1][0]
            if lead > firsts.worst:
                break  # what follows comes behind all that is held
    return [decode(data) for _, _, data in cut()[skip:]]


def whole(
    read: Callable[[Callable[[bytes], Any]], Iterator[list[Any]]],
    sort: SortKeys,
    names: Iterable[str] | None = None,
    *,
    skip: int = 0,
    end: int | None = None,
    plain: bool = False,
    memory: int = SORT_BYTES,
) -> Iterator[list[Any]]:
    """Yield the stored documents in the order of ``sort``, from the ``skip``-th to the ``end``-th; ties keep the order of arrival.

    They come decoded, ``plain`` as they are. Where ``names`` are given, no more than these top-level fields is kept and decoded. Memory: keys and these
    bytes, up to ``memory``, then runs on disk (``pipeline/spill``). ``read`` and what is raised: as in ``smallest``.
    """
    key = sort_key(sort)
    kept = None if names is None else tuple([_utf8(name) for name in names])
    sorter = _kernel.Sorter(*_spelled(sort), kept, lambda data: key(codec.decode(data)))
    batches = read(sorter)
    for _ in batches:
        if sorter.used > memory:
            rows = external(_taken(sorter, batches, memory // 4), memory, None)
            yield from _in_batches(islice(rows, skip, end), bytes if plain else codec.decode)
            return
    sorter.sort()
    end = len(sorter) if end is None else min(end, len(sorter))
    for at in range(skip, end, _BATCH):
        stop = min(at + _BATCH, end)
        yield sorter.stored(at, stop) if plain else sorter.decoded(at, stop)


def _taken(sorter: Any, batches: Iterator[list[Any]], most: int) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield the rows of a sorter again and again, until there are no more batches."""
    more = True
    while more:
        sorter.sort()
        for at in range(0, len(sorter), _BATCH):
            yield from sorter.rows(at, min(at + _BATCH, len(sorter)))
        sorter.clear()
        more = False
        for _ in batches:
            if sorter.used > most:
                more = True
                break
        more = more or len(sorter) > 0


def _in_batches(items: Iterator[bytes], decode: Callable[[bytes], Any]) -> Iterator[list[Any]]:
    while batch := [decode(data) for data in islice(items, _BATCH)]:
        yield batch


def _spelled(sort: SortKeys) -> tuple[tuple[tuple[bytes, ...], ...], tuple[int, ...]]:
    return tuple([tuple([_utf8(part) for part in path]) for path, _ in sort]), tuple([way for _, way in sort])


def _utf8(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


class _All:
    """The form without a kernel: every document is kept, its key is made when they are cut."""

    def __init__(self) -> None:
        self.held: list[tuple[bytes | None, int, bytes]] = []
        self.worst: bytes | None = None
        self.lead: bytes | None = None
        self.last = b""
        self._number = 0

    def __call__(self, data: bytes) -> bool:
        self._number += 1
        self.last = data
        self.held.append((None, self._number, data))
        return True
