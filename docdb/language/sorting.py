"""Sort specifications, and the bytes a document sorts by.

What lives here: ``parse_sort`` and ``sort_key``. What it must not know: batches, heaps, indexes (``planner`` puts documents in order,
``pipeline`` reads $sort).

The law is MongoDB's: a document has the keys an index on the same fields would give it, and sorts by the first of them in the
wanted order. So ascending goes by the smallest element of an array and descending by the largest, an empty array comes before
null, a missing field is null, and several fields below one array vary together, element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from docdb.errors import QueryError
from docdb.language.filter_operators import integral
from docdb.language.matching import position_of
from docdb.language.order import EMPTY_ARRAY_KEY, NULL_KEY, invert, order_key
from docdb.language.tree import Path
from docdb.language.values import MISSING, is_number

__all__ = ["MAX_KEYS", "NATURAL", "key_under", "parse_sort", "sort_key"]

MAX_KEYS: Final = 32
NATURAL: Final = "$natural"
_WORDS: Final = {"asc": 1, "ascending": 1, "desc": -1, "descending": -1}
_EMPTY: Final = object()  # an empty array at the end of a path

Key = tuple[Path, int]
Reach = tuple[Any, Path | None]  # a value and what is left of the path; None: the value is final


def parse_sort(spec: Any, direction: Any = 1) -> tuple[Key, ...]:
    """Return paths and directions of a sort: a name with a direction, a document, or a list of names and pairs.

    Raises QueryError: 14 for another shape, 15974 and 15975 for a bad direction, 13103 for more than 32 fields.

    >>> parse_sort([("a.b", -1), "c"])
    ((('a', 'b'), -1), (('c',), 1))
    """
    pairs = _pairs(spec, direction)
    if len(pairs) > MAX_KEYS:
        raise QueryError(f"a sort takes at most {MAX_KEYS} fields", path="sort", code=13103)
    words = not isinstance(spec, Mapping)
    keys = tuple([_key(name, way, words) for name, way in pairs])
    names = [path for path, _ in keys]
    if len(set(names)) < len(names):
        raise QueryError("a sort names a field twice", path="sort", code=2)
    if (NATURAL,) in names and len(names) > 1:
        raise QueryError("$natural stands alone", path=f"sort.{NATURAL}", code=2)
    return keys


def _key(name: Any, way: Any, words: bool) -> Key:
    path = _path(name)
    if isinstance(way, Mapping) and "$meta" in way:
        from docdb.language.metadata import meta_direction  # loaded at the first sort of its kind

        return meta_direction(way, f"sort.{name}"), -1
    return path, _direction(name, way, words)


def _pairs(spec: Any, direction: Any) -> list[tuple[Any, Any]]:
    if spec is None:
        return []
    if isinstance(spec, str):
        return [(spec, direction)]
    if isinstance(spec, Mapping):
        return list(spec.items())
    if not isinstance(spec, list | tuple):
        raise QueryError(f"a sort is a document or a list of pairs, not {type(spec).__name__}", path="sort", code=14)
    pairs: list[tuple[Any, Any]] = []
    for at, item in enumerate(spec):
        if isinstance(item, str):
            pairs.append((item, 1))
        elif isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str):
            pairs.append((item[0], item[1]))
        else:
            raise QueryError("a sort lists names and (name, direction) pairs", path=f"sort.{at}", code=14)
    return pairs


def _path(name: Any) -> Path:
    if not isinstance(name, str):
        raise QueryError(f"a field name is text, not {type(name).__name__}", path="sort", code=14)
    if name == NATURAL:
        return (NATURAL,)
    parts = tuple(name.split("."))
    if not name:
        raise QueryError("a field path may not be empty", path="sort", code=40352)
    if not parts[-1]:
        raise QueryError("a field path may not end with '.'", path=f"sort.{name}", code=40353)
    if "" in parts:
        raise QueryError("a part of a field path may not be empty", path=f"sort.{name}", code=15998)
    if any(part.startswith("$") and part not in ("$id", "$ref", "$db") for part in parts):
        raise QueryError("a part of a field path may not begin with '$'", path=f"sort.{name}", code=16410)
    return parts


def _direction(name: str, value: Any, words: bool) -> int:
    where = f"sort.{name}"
    if isinstance(value, Mapping):
        raise QueryError("a sort direction is 1 or -1", path=where, code=17312)
    if words and isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    if not isinstance(value, int) and not is_number(value) or isinstance(value, bool):
        raise QueryError("a sort direction is 1 or -1", path=where, code=15974)
    way = integral(value) if is_number(value) else int(value)
    if way not in (1, -1):
        raise QueryError("a sort direction is 1 or -1", path=where, code=15975)
    return way


def sort_key(keys: tuple[Key, ...], collation: Any = None) -> Callable[[dict[str, Any]], bytes]:
    """Return the function from a canonical document to the bytes it sorts by (memcmp order, directions included).

    The function raises QueryError (code 2) where two fields would vary over different arrays of one document.

    >>> key = sort_key(parse_sort({"a": -1}))
    >>> key({"a": [1, 9]}) < key({"a": 5})
    True
    """
    encode: Callable[[Any], bytes] = order_key if collation is None else collation.order_key
    return key_under(tuple([key for key in keys if key[0] != (NATURAL,)]), encode)


def key_under(keys: tuple[Key, ...], encode: Callable[[Any], bytes]) -> Callable[[dict[str, Any]], bytes]:
    """Return ``sort_key`` under a given key of values."""
    paths = [path for path, _ in keys]
    ways = [way for _, way in keys]
    if len(keys) == 1 and len(paths[0]) == 1:
        return _single(paths[0][0], ways[0], encode)

    def key(document: dict[str, Any]) -> bytes:
        rows = _rows([(document, path) for path in paths])
        return min(_joined(row, ways, encode) for row in rows)

    if any(path[0] == "$meta" for path in paths):
        from docdb.language.metadata import with_chance

        return with_chance(keys, key)
    return key


def _single(name: str, way: int, encode: Callable[[Any], bytes]) -> Callable[[dict[str, Any]], bytes]:
    """Return the key of one top-level field, the common case."""

    def key(document: dict[str, Any]) -> bytes:
        value = document.get(name, MISSING)
        if value.__class__ is not list:
            found = encode(value)
        elif not value:
            found = EMPTY_ARRAY_KEY
        else:
            found = (min if way > 0 else max)([encode(item) for item in value])
        return found if way > 0 else invert(found)

    return key


def _joined(row: list[Any], ways: list[int], encode: Callable[[Any], bytes]) -> bytes:
    parts = [NULL_KEY if v is MISSING else EMPTY_ARRAY_KEY if v is _EMPTY else encode(v) for v in row]
    return b"".join([part if way > 0 else invert(part) for part, way in zip(parts, ways, strict=True)])


def _rows(reaches: list[Reach]) -> list[list[Any]]:
    """Return the rows of values the paths reach together: one, or one for each element of the array they share."""
    walked = [_walk(value, rest) for value, rest in reaches]
    arrays = [value for value, rest in walked if rest is not None and value.__class__ is list]
    if not arrays:
        return [[value for value, _ in walked]]
    array = arrays[0]
    if any(other is not array for other in arrays):
        raise QueryError("cannot sort by two arrays of one document at once", path="sort", code=2)
    rows: list[list[Any]] = []
    for element in array or [_EMPTY]:
        rows += _rows([_below(element, value, rest, array) for value, rest in walked])
    return rows


def _walk(value: Any, rest: Path | None) -> Reach:
    """Follow a path up to its end or to an array that fans out."""
    while rest:
        if value.__class__ is dict:
            value = value.get(rest[0], MISSING)
        elif value.__class__ is list and _addresses(value, rest[0]):
            value = value[int(rest[0])]
        elif value.__class__ is list:
            return value, rest
        else:
            return MISSING, None
        rest = rest[1:]
    return value, rest if value.__class__ is list else None


def _addresses(array: list[Any], part: str) -> bool:
    position = position_of(part)
    if position is None or position >= len(array):
        return False
    return not any(item.__class__ is dict and part in item for item in array)


def _below(element: Any, value: Any, rest: Path | None, array: list[Any]) -> Reach:
    if rest is None or value is not array:
        return value, None
    if not rest:
        return element, None
    return (element, rest) if element.__class__ is dict else (MISSING, None)
