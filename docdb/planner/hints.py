"""What the caller asks of the planner: hints, and the bounds of ``min`` and ``max``.

What lives here: ``read_hint`` and ``key_range``. What it must not know: estimates, how a plan is run.

A hinted index is used as it is: a sparse or partial one gives only what it holds, as in MongoDB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from docdb.errors import DocumentError, QueryError
from docdb.language.order import invert, order_key
from docdb.language.values import canonical, is_number
from docdb.planner.bounds import Range
from docdb.planner.queries import FindQuery

__all__ = ["ID_INDEX", "Natural", "key_range", "read_hint"]

ID_INDEX: Final = "_id_"


class Natural:
    """The order of the documents themselves."""

    def __init__(self, direction: int) -> None:
        self.direction = direction


def read_hint(hint: Any, indexes: Sequence[Any]) -> Any:
    """Return None (no hint), a ``Natural``, ``ID_INDEX``, or the index meant; raise QueryError (2) when there is none."""
    if hint is None or (not isinstance(hint, str) and isinstance(hint, Mapping | tuple | list) and not hint):
        return None
    if isinstance(hint, str):
        return _by_name(hint, indexes)
    pattern = _pairs(hint)
    if pattern[0][0] == "$natural" or any(name == "$natural" for name, _ in pattern):
        if len(pattern) > 1 or _direction(pattern[0][1]) not in (1, -1):
            raise QueryError("$natural stands alone in a hint, with 1 or -1", path="hint", code=2)
        return Natural(_direction(pattern[0][1]))
    wanted = [(name, _direction(way)) for name, way in pattern]
    if wanted == [("_id", 1)]:
        return ID_INDEX
    for index in indexes:
        if [(".".join(path), way) for path, way in index.keys] == wanted and _usable(index):
            return index
    raise _unknown(hint)


def _by_name(name: str, indexes: Sequence[Any]) -> Any:
    if name == ID_INDEX:
        return ID_INDEX
    for index in indexes:
        if index.name == name and _usable(index):
            return index
    raise _unknown(name)


def _usable(index: Any) -> bool:
    return not index.building and not index.hidden


def _pairs(hint: Any) -> list[tuple[str, Any]]:
    if isinstance(hint, Mapping):
        return list(hint.items())
    if isinstance(hint, tuple | list) and all(isinstance(p, tuple | list) and len(p) == 2 for p in hint):
        return [(name, way) for name, way in hint]
    raise QueryError(f"a hint is an index name or a key pattern, not {type(hint).__name__}", path="hint", code=9)


def _direction(way: Any) -> Any:
    """Return 1 or -1 of any number type, a text as it is, else None (which fits no index)."""
    if isinstance(way, str):
        return way
    try:
        number = canonical(way)
    except DocumentError:
        return None
    return int(number) if is_number(number) and number in (1, -1) else None


def _unknown(hint: Any) -> QueryError:
    try:
        shown = repr(hint)
    except RecursionError:
        shown = "one nested so deep"
    return QueryError(
        "hint provided does not correspond to an existing index", path="hint", code=2, hint=f"no index fits {shown}"
    )


def key_range(query: FindQuery, keys: Sequence[tuple[tuple[str, ...], int]], collation: Any) -> Range:
    """Return the entries from ``min`` (inclusive) to ``max`` (exclusive); raise QueryError (51174) when they do not fit the index."""
    low = _joined(query.min, keys, collation, "min") if query.min else b""
    high = _joined(query.max, keys, collation, "max") if query.max else b"\xff"
    if query.min and query.max and low >= high:
        raise QueryError("min must be less than max", path="min", code=51175)
    return Range(low, high)


def _joined(given: Mapping[str, Any], keys: Sequence[tuple[tuple[str, ...], int]], collation: Any, where: str) -> bytes:
    if list(given) != [".".join(path) for path, _ in keys]:
        raise QueryError(
            f"{where} does not name the fields of the hinted index, in their order", path=where, code=51174
        )
    parts = []
    for path, way in keys:
        value = canonical(given[".".join(path)])
        key = order_key(value) if collation is None else collation.order_key(value)
        parts.append(key if way > 0 else invert(key))
    return b"".join(parts)
