"""The geographic operators of a filter become leaves.

What lives here: ``SHAPE_OPERATORS`` ($geoWithin, $geoIntersects), ``near`` ($near and its kin with their distances). What it must not know: how a leaf is
judged (``geo_matching``), indexes.

MongoDB's codes: 2 for what is no geometry, 34413 for $near beside other operators, 5626500 where documents are not found in order, 16893 to 16896 for the
distances beside a legacy pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from docdb.errors import QueryError
from docdb.language.filter_operators import Scope, at
from docdb.language.geojson import GeometryError, is_place, read_geometry, read_pair
from docdb.language.geometry import Cap, Shape
from docdb.language.planar import Box, Circle, FlatPolygon, Pair
from docdb.language.sphere import vector
from docdb.language.tree import GeoIntersects, GeoWithin, Near, Node, Path
from docdb.language.values import is_number

__all__ = ["SHAPE_OPERATORS", "near", "near_point"]

_BESIDE_NEAR: Final = frozenset({"$maxDistance", "$minDistance", "$uniqueDocs"})
_NEARS: Final = frozenset({"$geoNear", "$near", "$nearSphere"})


def geo_within(scope: Scope, path: Path, value: Any, where: str) -> Node:
    """Return the leaf of $geoWithin."""
    value = _document(value, where)
    shapes = [name for name in value if name != "$uniqueDocs"]
    if len(shapes) != 1 or shapes[0] not in _REGIONS:
        raise QueryError(f"$geoWithin takes one of {', '.join(_REGIONS)}", path=where)
    try:
        return GeoWithin(path, _REGIONS[shapes[0]](value[shapes[0]]))
    except GeometryError as error:
        raise QueryError(str(error), path=at(where, shapes[0])) from error


def geo_intersects(scope: Scope, path: Path, value: Any, where: str) -> Node:
    """Return the leaf of $geoIntersects."""
    value = _document(value, where)
    if list(value) != ["$geometry"]:
        raise QueryError("$geoIntersects takes a $geometry", path=where)
    try:
        return GeoIntersects(path, _shape(value["$geometry"]))
    except GeometryError as error:
        raise QueryError(str(error), path=at(where, "$geometry")) from error


def _document(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise QueryError("a geographic operator takes a document", path=where)
    return value


def _shape(value: Any) -> Shape:
    """Return the shape of a $geometry: GeoJSON, or a legacy pair."""
    if isinstance(value, dict) and ("type" in value or "coordinates" in value or not value):
        return read_geometry(value, query=True)
    pair = read_pair(value)
    if not is_place(pair):
        raise GeometryError("longitude and latitude are out of range")
    return Shape((vector(*pair),))


def _regions(value: Any) -> Any:
    if not isinstance(value, dict):
        raise GeometryError("a $geometry is a document")
    if value.get("type") not in ("MultiPolygon", "Polygon"):
        raise GeometryError("$geoWithin takes a Polygon or a MultiPolygon")
    return read_geometry(value, query=True).polygons


def _items(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list | dict):
        raise GeometryError(f"{what} takes an array")
    return list(value.values()) if isinstance(value, dict) else value


def _box(value: Any) -> Box:
    corners = _items(value, "$box")
    if len(corners) < 2:
        raise GeometryError("$box takes two corners")
    (x1, y1), (x2, y2) = (read_pair(corner) for corner in corners[:2])
    return Box((min(x1, x2), min(y1, y2)), (max(x1, x2), max(y1, y2)))


def _flat_polygon(value: Any) -> FlatPolygon:
    points = tuple(map(read_pair, _items(value, "$polygon")))
    if len(points) < 3:
        raise GeometryError("$polygon takes at least three points")
    return FlatPolygon(points)


def _circle(value: Any, what: str) -> tuple[Pair, float]:
    parts = _items(value, what)
    if len(parts) != 2:
        raise GeometryError(f"{what} takes a centre and a radius")
    if not is_number(parts[1]) or not float(parts[1]) >= 0:
        raise GeometryError("a radius is a number that is not negative")
    return read_pair(parts[0]), float(parts[1])


def _cap(value: Any) -> Cap:
    centre, radius = _circle(value, "$centerSphere")
    if not is_place(centre):
        raise GeometryError("longitude and latitude are out of range")
    return Cap(vector(*centre), radius)


_REGIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "$box": _box,
    "$center": lambda value: Circle(*_circle(value, "$center")),
    "$centerSphere": _cap,
    "$geometry": _regions,
    "$polygon": _flat_polygon,
}
SHAPE_OPERATORS: Final[dict[str, Callable[[Scope, Path, Any, str], Node]]] = {
    "$geoIntersects": geo_intersects,
    "$geoWithin": geo_within,
    "$within": geo_within,
}


# ---- $near


def near(scope: Scope, path: Path, operators: Mapping[str, Any], name: str, where: str) -> Node:
    """Return the leaf of $near, $nearSphere or $geoNear; the operators beside it give a legacy pair's distances."""
    here = at(where, name)
    if not scope.near:
        raise QueryError(
            f"{name} may not stand here", path=here, hint="use $geoNear, or $geoWithin with $centerSphere", code=5626500
        )
    if scope.nested or scope.element:
        raise QueryError(f"{name} stands at the top of a filter, or in its $and", path=here)
    for other in operators:
        if other in _NEARS and other != name:
            raise QueryError("a filter has one $near", path=at(where, other))
        if other != name and other not in _BESIDE_NEAR:
            raise QueryError(f"{name} stands alone on its field", path=at(where, other), code=34413)
    value = scope.canonical(operators[name], here)
    try:
        if isinstance(value, dict) and next(iter(value), "$").startswith("$"):
            return _near_geometry(path, name, value)
        return _near_pair(scope, path, operators, name, value, where)
    except GeometryError as error:
        raise QueryError(str(error), path=here) from error


def _near_geometry(path: Path, name: str, value: dict[str, Any]) -> Near:
    unknown = value.keys() - {"$geometry", "$maxDistance", "$minDistance"}
    if "$geometry" not in value or unknown:
        raise GeometryError(f"{name} takes $geometry, $maxDistance and $minDistance")
    geometry = value["$geometry"]
    if isinstance(geometry, list) or (isinstance(geometry, dict) and is_number(next(iter(geometry.values()), None))):
        point, metres = read_pair(geometry), False
    else:
        point, metres = near_point(geometry), True
    bounds = {}
    for bound in ("$minDistance", "$maxDistance"):
        distance = value.get(bound, 0)
        if not is_number(distance) or not math.isfinite(distance) or distance < 0:
            raise GeometryError(f"{bound} is a finite number that is not negative")
        bounds[bound] = float(distance)
    high = bounds["$maxDistance"] if "$maxDistance" in value else math.inf
    return Near(path, point, metres or name == "$nearSphere", metres, bounds["$minDistance"], high)


def near_point(value: Any) -> Pair:
    """Return the longitude and latitude of a GeoJSON point, whose type may be left out. Raises GeometryError."""
    if not isinstance(value, dict) or value.get("type", "Point") != "Point":
        raise GeometryError("a GeoJSON Point is needed")
    read_geometry({**value, "type": "Point"})
    return read_pair(value["coordinates"], more=True)


def _near_pair(scope: Scope, path: Path, operators: Mapping[str, Any], name: str, value: Any, where: str) -> Near:
    parts = list(value.values()) if isinstance(value, dict) else value
    pair = read_pair(value, more=True)
    low, high = 0.0, math.inf
    if len(parts) > 2:
        high = _distance(parts[2], at(where, name), 16895)
    if "$minDistance" in operators:
        low = _distance(scope.canonical(operators["$minDistance"], where), at(where, "$minDistance"), 16893)
    if "$maxDistance" in operators:
        high = _distance(scope.canonical(operators["$maxDistance"], where), at(where, "$maxDistance"), 16895)
    spherical = name == "$nearSphere"
    if spherical and not is_place(pair):
        raise GeometryError("longitude and latitude are out of range")
    return Near(path, pair, spherical, False, low, high)


def _distance(value: Any, where: str, code: int) -> float:
    """Return a distance; ``code`` stands for what is no number, the next one for a negative one."""
    if not is_number(value):
        raise QueryError("a distance is a number", path=where, code=code)
    distance = float(value)
    if not distance >= 0:
        raise QueryError("a distance is not negative", path=where, code=code + 1)
    return distance
