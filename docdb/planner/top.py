"""Sort + limit over stored bytes: only what is among the first is decoded.

What lives here: ``smallest``. What it must not know: access paths. The keys come from the kernel ``_native/top.pyx``; where it declines, and
without kernels, from ``language/sorting.sort_key``, which is the law. Plain sort + limit over documents is ``pipeline/spill.ordered``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from docdb import _native
from docdb.language.sorting import sort_key
from docdb.planner.queries import SortKeys
from docdb.store import codec

__all__ = ["smallest"]

SLACK: Final = 64  # rows beyond the wanted ones that are held before the worst are dropped

_kernel: Any = None
if _native.AVAILABLE:
    from docdb._native import top as _kernel


def smallest(
    read: Callable[[Callable[[bytes], Any]], Iterator[list[Any]]],
    sort: SortKeys,
    most: int,
    decode: Callable[[bytes], Any] = codec.decode,
    leads: int = 0,
) -> list[dict[str, Any]]:
    """Return the first ``most`` of the stored documents in the order of ``sort``, decoded; ties keep the order of arrival.

    ``read(take)`` gives batches whose documents have been handed to ``take``; where they come in the order of the first ``leads`` fields, no more is read than
    it takes. Memory: about twice ``most`` documents and a batch. Raises what ``sort_key``
    raises, and CorruptError for a damaged document that is met.
    """
    key = sort_key(sort)
    paths = tuple(tuple(part.encode("utf-8", "surrogatepass") for part in path) for path, _ in sort)
    firsts: Any = _All() if _kernel is None else _kernel.Firsts(paths, tuple(way for _, way in sort), leads)
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
    return [decode(data) for _, _, data in cut()]


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
