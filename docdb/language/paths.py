"""Small things said about values and the paths to them, shared by updates, projections and sorting.

What lives here: how a plain path is read, whether two values are the same to the last bit, and numbers meant as whole ones.
What it must not know: what is done with them.
"""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

from docdb.language.values import MISSING

__all__ = ["identical", "read"]


def read(document: Any, parts: tuple[str, ...]) -> Any:
    """Return the value at a path of plain objects, MISSING when the path ends early; arrays are not entered."""
    for part in parts:
        if document.__class__ is not dict or part not in document:
            return MISSING
        document = document[part]
    return document


def identical(left: Any, right: Any) -> bool:
    """Tell whether two canonical values would be stored as the same bytes: types, key order and the sign of zero count."""
    kind = type(left)
    if kind is not type(right):
        return False
    if left is right:
        return True
    if kind is dict:
        return list(left) == list(right) and all(identical(item, right[name]) for name, item in left.items())
    if kind is list:
        return len(left) == len(right) and all(map(identical, left, right))
    if kind is float:
        return struct.pack(">d", left) == struct.pack(">d", right)
    if kind is Decimal:
        return bool(left.as_tuple() == right.as_tuple())
    return bool(left == right)
