"""Order keys of stored documents, one at a time.

What lives here: ``id_of`` and ``order_of``. What it must not know: whose order it is. The kernel ``_native/top.pyx`` makes the keys from the stored bytes;
where it declines, and without kernels, ``language/sorting.sort_key`` does, which is the law.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from docdb import _native
from docdb.language.order import order_key
from docdb.language.sorting import sort_key
from docdb.language.tree import Path
from docdb.store import codec

__all__ = ["id_of", "order_of"]

SortKeys = tuple[tuple[Path, int], ...]
_ID: Final = ((b"_id",),)
_ASCENDING: Final = (1,)

_kernel: Any = None
if _native.AVAILABLE:
    from docdb._native import top as _kernel


def id_of(data: bytes) -> bytes:
    """Return the id key of a stored document."""
    if _kernel is not None:
        found: bytes | None = _kernel.keys_below([data], _ID, _ASCENDING, None)[0][1]
        if found is not None:
            return found
    return order_key(codec.decode(data)["_id"])


def order_of(sort: SortKeys, collation: Any = None) -> Callable[[bytes], bytes]:
    """Return the function from a stored document to its place in an order without ties: the sort, ``_id`` ascending, and under a collation the id key.

    The function raises what ``sort_key`` raises.
    """
    if not any(path == ("_id",) for path, _ in sort):
        if not sort and collation is None:
            return id_of
        sort = (*sort, (("_id",), 1))
    slow = sort_key(sort, collation)
    if collation is not None:
        return lambda data: slow(codec.decode(data)) + id_of(data)
    if _kernel is None:
        return lambda data: slow(codec.decode(data))
    return _fast(sort, slow)


def _fast(sort: SortKeys, slow: Callable[[Any], bytes]) -> Callable[[bytes], bytes]:
    keys_below = _kernel.keys_below
    paths = tuple(tuple(part.encode("utf-8", "surrogatepass") for part in path) for path, _ in sort)
    ways = tuple(way for _, way in sort)

    def key(data: bytes) -> bytes:
        found: bytes | None = keys_below([data], paths, ways, None)[0][1]
        return slow(codec.decode(data)) if found is None else found

    return key
