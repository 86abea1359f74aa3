"""What ``$near`` asks of the planner: a geographic index on its field, and the order of distance.

What lives here: ``check_near``, ``near_key`` and ``NEAR_ORDER``, the sort that stands for it. What it must not know: how distances are measured
(``language/geo_matching.py``), plans.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, Final

from docdb.errors import QueryError
from docdb.language import tree
from docdb.planner.queries import SortKeys

__all__ = ["NEAR_ORDER", "check_near", "near_key"]

NEAR_ORDER: Final[SortKeys] = ((("$near",), 1),)
_DISTANCE: Final = struct.Struct(">d")  # distances are not negative: their bytes are in their order


def check_near(near: tree.Near, indexes: Iterable[Any]) -> None:
    """Refuse a $near without an index that speaks of its field; one on the sphere serves GeoJSON, a flat one flat pairs."""
    kinds = {way for index in indexes if not index.building for path, way in index.keys if path == near.path}
    fitting = {"2dsphere"} if near.metres else {"2d", "2dsphere"} if near.spherical else {"2d"}
    if kinds.isdisjoint(fitting):
        name, kind = ".".join(near.path), "2dsphere" if near.spherical else "2d"
        raise QueryError(
            "$near needs a geographic index", path=name, hint=f'create_index([("{name}", "{kind}")])', code=291
        )


def near_key(near: tree.Near) -> Callable[[Any], bytes]:
    """Return the sort key of documents that match."""
    from docdb.language.geo_matching import nearest  # loaded at the first $near

    find = nearest(near)

    def key(document: Any) -> bytes:
        found = find(document)
        return b"\xff" if found is None else _DISTANCE.pack(found[0])

    return key
