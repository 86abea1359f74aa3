"""Sort keys of documents: what $sort, $top and windows order by.

What lives here: the reading of a sort specification with $sort's error codes, and the bytes of a document under it. What it must not
know: stages, batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from docdb.language.expression_core import fail
from docdb.language.expressions import field_path
from docdb.language.metadata import meta_direction
from docdb.language.sorting import key_under
from docdb.language.values import is_number

__all__ = ["SortKey", "document_key", "parse_sort", "plain_sort", "reach"]

SortKey = tuple[tuple[str, ...], int]
_DIGITS = frozenset("0123456789")


def parse_sort(spec: Any) -> tuple[SortKey, ...]:
    """Return the paths and directions of a sort document."""
    if not isinstance(spec, dict):
        fail("$sort takes an object", 15973)
    if not spec:
        fail("$sort names at least one field", 15976)
    if len(spec) > 32:
        fail("$sort takes at most 32 fields", 13103)
    return tuple(_key(path, value) for path, value in spec.items())


def _key(path: str, value: Any) -> SortKey:
    parts = field_path(path)
    if isinstance(value, dict) and "$meta" in value:
        return meta_direction(value, path), -1
    return parts, _direction(path, value)


def plain_sort(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a sort document that compiled with its directions as 1 and -1, whatever numbers $sort was given; ``$meta`` stays."""
    return {path: value if isinstance(value, dict) else _direction(path, value) for path, value in spec.items()}


def _direction(path: str, value: Any) -> int:
    if isinstance(value, dict):
        fail("a sort direction is 1 or -1", 17312, path=path)
    if not is_number(value):
        fail("a sort direction is 1 or -1", 15974, path=path)
    whole = value
    if type(value) is float and math.isfinite(value):
        whole = math.trunc(value)
    elif type(value) is Decimal and value.is_finite():
        whole = value.to_integral_value(ROUND_HALF_EVEN)
    if whole not in (1, -1):
        fail("a sort direction is 1 or -1", 15975, path=path)
    return int(whole)


def reach(value: Any, parts: tuple[str, ...], at: int = 0) -> Iterator[Any]:
    """Yield what a path reaches, arrays on the way fanning out, digits addressing elements too; nothing where the path ends early."""
    if at == len(parts):
        yield value
    elif type(value) is dict:
        if parts[at] in value:
            yield from reach(value[parts[at]], parts, at + 1)
    elif type(value) is list:
        part = parts[at]
        if part and set(part) <= _DIGITS and int(part) < len(value):
            yield from reach(value[int(part)], parts, at + 1)
        for item in value:
            if type(item) is dict:
                yield from reach(item, parts, at)


def document_key(keys: tuple[SortKey, ...], key: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Return the function from a document to the key it sorts by: find's own, so that a $sort gives one order wherever it runs."""
    return key_under(keys, key)
