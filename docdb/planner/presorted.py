"""Orders of which an access path gives the first fields: what is equal in these is sorted, one piece after the other.

What lives here: ``sorted_within``, the form over items in memory (``top.smallest`` is the one over stored bytes), and ``entries_until``, how many entries
such a sort with a limit reads. What it must not know: how the path was chosen. A sort key begins with the key of its first fields, and no key of values is
the beginning of another one: so an item belongs to the piece of the one before exactly when its key begins alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

from docdb.pipeline.spill import ordered
from docdb.planner.access import IndexScan
from docdb.planner.components import component_ends
from docdb.planner.queries import SortKeys
from docdb.planner.views import View

__all__ = ["entries_until", "sorted_within"]

_SMALL: Final = 256  # a piece of so many items is sorted without asking what it weighs

_Row = tuple[bytes, Any]


def sorted_within(
    batches: Iterable[list[Any]], first: Callable[[Any], bytes], key: Callable[[Any], bytes], limit: int | None
) -> Iterator[Any]:
    """Yield items that come in the order of ``first`` in the order of ``key``, at most ``limit``; ties keep the order of arrival.

    ``first`` gives the beginning of what ``key`` gives. Reads no further than the piece in which the limit is reached. Memory: one piece, as far as
    ``ordered`` keeps it there.
    """
    rows = ((key(item), item) for batch in batches for item in batch)
    row = next(rows, None)
    while row is not None and (limit is None or limit > 0):
        begin = first(row[1])
        left: list[_Row] = []  # the row that ended the piece
        piece = _piece(row, rows, begin, left)
        held = list(islice(piece, _SMALL))
        if len(held) < _SMALL:
            held.sort(key=_key_of)
            found: Iterable[_Row] = held if limit is None else held[:limit]
        else:
            found = ordered(([row] for row in chain(held, piece)), _key_of, limit)
        for _, item in found:
            yield item
            limit = None if limit is None else limit - 1
        row = left[0] if left else None


def _piece(row: _Row, rows: Iterator[_Row], begin: bytes, left: list[_Row]) -> Iterator[_Row]:
    yield row
    for row in rows:
        if not row[0].startswith(begin):
            left.append(row)
            return
        yield row


def _key_of(row: _Row) -> bytes:
    return row[0]


def entries_until(view: View, scan: IndexScan, sort: SortKeys, wanted: int, most: int) -> int:
    """Return how many entries the scan reads until the ``wanted``-th and all that are equal to it in the fields of ``sort``; ``most`` where it is more.

    Cost: a walk over as many entries. The scan merges nothing, and its index holds no entry that was cut.
    """
    paths = [path for path, _ in sort]
    keys = scan.index.keys
    length = 1 + max((at for at, (path, _) in enumerate(keys) if path in paths), default=len(keys) - 1)
    met = 0
    for item in scan.bounds.ranges[::-1] if scan.reverse else scan.bounds.ranges:
        for pairs in view.entries(scan.index, item.low, item.high, reverse=scan.reverse):
            if met + len(pairs) < wanted:
                met += len(pairs)
                continue
            key = pairs[wanted - met - 1][0]
            begin = key[: component_ends(key, [way for _, way in keys[:length]])[-1]]
            behind = key + b"\0"
            low, high = (max(item.low, begin), key) if scan.reverse else (behind, min(item.high, begin + b"\xff"))
            return min(most, wanted + view.entry_count(scan.index, low, high, most))
    return min(most, met)
