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
    batches: Iterator[list[bytes]], sort: SortKeys, most: int, decode: Callable[[bytes], Any] = codec.decode
) -> list[dict[str, Any]]:
    """Return the first ``most`` of the stored documents in the order of ``sort``, decoded; ties keep the order of arrival.

    Memory: about twice ``most`` documents. Raises what ``sort_key`` raises, and CorruptError for a damaged document that is met.
    """
    key = sort_key(sort)
    paths = tuple(tuple(part.encode("utf-8", "surrogatepass") for part in path) for path, _ in sort)
    ways = tuple(way for _, way in sort)
    held: list[tuple[bytes, int, bytes]] = []
    worst: bytes | None = None
    most_held = most + max(most, SLACK)
    number = 0
    for batch in batches:
        for at, found in _keys(batch, paths, ways, worst):
            data = batch[at]
            held.append((key(codec.decode(data)) if found is None else found, number + at, data))
        number += len(batch)
        if len(held) > most_held:
            held.sort()
            del held[most:]
            worst = held[-1][0]
    held.sort()
    return [decode(data) for _, _, data in held[:most]]


def _keys(
    batch: list[bytes], paths: tuple[tuple[bytes, ...], ...], ways: tuple[int, ...], worst: bytes | None
) -> list[tuple[int, bytes | None]]:
    if _kernel is None:
        return [(at, None) for at in range(len(batch))]
    found: list[tuple[int, bytes | None]] = _kernel.keys_below(batch, paths, ways, worst)
    return found
