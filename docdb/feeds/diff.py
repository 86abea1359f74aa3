"""What an update changed, from the images before and after.

What lives here: ``difference``. What it must not know: where the images come from.
"""

from __future__ import annotations

from typing import Any

from docdb.language.order import order_key
from docdb.store import codec

__all__ = ["difference"]


def difference(before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return (path -> new value, removed paths). Objects are compared by field, everything else, arrays too, as a whole.

    >>> difference({"a": 1, "b": {"c": 1, "d": 2}, "e": 0}, {"a": 1, "b": {"c": 3}, "f": [1]})
    ({'b.c': 3, 'f': [1]}, ['b.d', 'e'])
    """
    updated: dict[str, Any] = {}
    removed: list[str] = []
    _compare(before, after, "", updated, removed)
    return updated, removed


def _compare(
    before: dict[str, Any], after: dict[str, Any], path: str, updated: dict[str, Any], removed: list[str]
) -> None:
    for name, new in after.items():
        if name not in before:
            updated[path + name] = new
            continue
        old = before[name]
        if old.__class__ is dict and new.__class__ is dict and old and new:
            _compare(old, new, f"{path}{name}.", updated, removed)
        elif not _same(old, new):
            updated[path + name] = new
    removed.extend(path + name for name in before if name not in after)


def _same(old: Any, new: Any) -> bool:
    """Tell whether two values are stored alike; 1 and 1.0 are equal and not the same."""
    if old.__class__ is not new.__class__:
        return False
    if old.__class__ in (str, int, bool, bytes):
        return bool(old == new)
    return order_key(old) == order_key(new) and codec.encode_value(old) == codec.encode_value(new)
