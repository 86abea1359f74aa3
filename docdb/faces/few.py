"""The short road to few documents: a filter that gives fields plain values, one of which is looked up and the others compared.

What lives here: ``few``. What it must not know: indexes, how a reader reads. It answers as the planner's road does, in the same order, or not at all.
"""

from __future__ import annotations

import re
from typing import Any, Final

from docdb.language.values import INT64_MAX, INT64_MIN, ObjectId
from docdb.store.points import FEW, Finder

__all__ = ["POINT_TYPES", "few"]

POINT_TYPES: Final = frozenset({ObjectId, int, str})  # of values that are looked up without a plan
MOST_FIELDS: Final = 8
_NUMBERS: Final = frozenset({int, float})
_PLAIN: Final = frozenset({str, bool, type(None), ObjectId})
_COMPARED: Final = _NUMBERS | _PLAIN
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def few(finder: Finder, filter: Any, limit: int) -> list[dict[str, Any]] | None:
    """Return the first documents that a filter finds, without a limit all of them; None where the session is to be asked."""
    if type(filter) is not dict or limit > FEW or not 0 < len(filter) <= MOST_FIELDS:
        return None
    fields = tuple(filter)
    known = finder.readers.get(fields)
    if known is None:
        finder.missed(fields)
        return None
    field, read = known
    value = filter[field]
    if type(value) not in POINT_TYPES:
        return None
    if len(fields) == 1:
        found = read(value, limit or FEW, not limit)
    else:
        others = [item for item in filter.items() if item[0] != field]
        if not all(_is_plain(*other) for other in others):
            return None
        found = read(value, FEW, True)
        found = None if found is None else _holding(found, others, limit)
    if found is None:
        finder.missed(fields)
    return found


def _is_plain(name: str, value: Any) -> bool:
    """Tell whether a field's value is compared here: one that needs no checks, neither for what it is nor for where it stands."""
    kind = type(value)
    if kind is str:
        return "." not in name and (value.isascii() or not _SURROGATE.search(value))
    if kind is int:
        return "." not in name and INT64_MIN <= value <= INT64_MAX
    return "." not in name and kind in _COMPARED


def _holding(found: list[dict[str, Any]], others: list[tuple[str, Any]], limit: int) -> list[dict[str, Any]] | None:
    """Return those of the documents whose other fields have the values; None where one does not tell as plainly as that."""
    left = []
    for document in found:
        holds = True
        for name, value in others:
            same = _same(document.get(name), value)
            if same is None:
                return None
            holds = holds and same
        if holds:
            left.append(document)
    return left[:limit] if limit else left


def _same(stored: Any, value: Any) -> bool | None:
    """Tell whether a field with the stored value (None: or without one) is found by a plain value, None where the stored one is not plain."""
    kind, wanted = type(stored), type(value)
    if kind not in _COMPARED:
        return None
    if kind in _NUMBERS and wanted in _NUMBERS:
        return bool(stored == value or (stored != stored and value != value))
    return kind is wanted and bool(stored == value)
