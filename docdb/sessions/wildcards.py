"""Understanding the definitions of wildcard indexes.

What lives here: ``check_wildcard`` and ``wildcard_projection``. What it must not know: how other indexes are defined, how entries are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from docdb.errors import IndexDefinitionError
from docdb.language.tree import Path
from docdb.store.wildcard_entries import WILDCARD, WildcardScope, wildcard_place

__all__ = ["check_wildcard", "wildcard_projection"]

Keys = tuple[tuple[Path, Any], ...]


def wildcard_projection(name: str, value: Any) -> dict[str, bool]:
    """Return which paths the projection takes or leaves out. Raises IndexDefinitionError for what is no such projection."""
    if not isinstance(value, Mapping):
        raise IndexDefinitionError("a wildcard projection is a document", path=name, code=14)
    if not value:
        raise IndexDefinitionError("a wildcard projection is not empty", path=name, code=9)
    taken = dict(_leaves(value, name, ""))
    ways = {way for path, way in taken.items() if path != "_id"}
    if len(ways) > 1:
        raise IndexDefinitionError(
            "a wildcard projection takes paths or leaves them out, not both", path=name, code=31253
        )
    paths = [tuple(path.split(".")) for path in taken]
    for path in paths:
        if any(path != other and path == other[: len(path)] for other in paths):
            raise IndexDefinitionError(
                "one path of the projection lies below another", path=f"{name}.{'.'.join(path)}", code=31249
            )
    return taken


def _leaves(value: Mapping[str, Any], where: str, before: str) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    for name, way in value.items():
        here, path = f"{where}.{name}", f"{before}{name}"
        if not all(path.split(".")) or any(part.startswith("$") for part in path.split(".")):
            raise IndexDefinitionError("a path has no empty part and none that begins with $", path=here, code=16410)
        if isinstance(way, Mapping):
            if not way or any(key.startswith("$") for key in way):
                raise IndexDefinitionError("a wildcard projection has no expressions", path=here, code=51271)
            found += _leaves(way, here, f"{path}.")
        elif isinstance(way, bool | int | float | Decimal):
            found.append((path, bool(way)))
        else:
            raise IndexDefinitionError("a path is taken with 1 or left out with 0", path=here, code=51271)
    return found


def check_wildcard(keys: Keys, fields: Mapping[str, Any]) -> None:
    """Refuse what does not go with a wildcard, and a projection without one."""
    place = wildcard_place(keys)
    projection = fields.get("projection")
    if place is None:
        if projection is not None:
            raise IndexDefinitionError(
                "only an index on $** has a wildcard projection", path="wildcardProjection", code=2
            )
        return
    path, way = keys[place]
    if way not in (1, -1):
        raise IndexDefinitionError("a wildcard is ascending or descending", path=".".join(path), code=67)
    for name, option in (("unique", "unique"), ("sparse", "sparse"), ("expire_after_s", "expireAfterSeconds")):
        if fields.get(name) not in (None, False):
            raise IndexDefinitionError(f"a wildcard index has no option {option}", path=option, code=67)
    if projection is not None and len(path) > 1:
        raise IndexDefinitionError(
            "only $** has a wildcard projection, a path does not", path="wildcardProjection", code=2
        )
    _check_others(keys, place, projection)


def _check_others(keys: Keys, place: int, projection: Mapping[str, Any] | None) -> None:
    """The other fields of a compound index are plain, and not below the wildcard."""
    others = keys[:place] + keys[place + 1 :]
    scope = WildcardScope.of(keys[place][0], projection)
    for path, way in others:
        name = ".".join(path)
        if path[-1] == WILDCARD:
            raise IndexDefinitionError("an index has one wildcard", path=name, code=67)
        if way not in (1, -1):
            raise IndexDefinitionError(
                "beside a wildcard there are only ascending and descending fields", path=name, code=67
            )
        if scope.reaches(path):
            raise IndexDefinitionError(
                "the field is among the paths of the wildcard",
                path=name,
                hint="leave it out in wildcardProjection",
                code=67,
            )
