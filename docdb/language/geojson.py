"""GeoJSON and legacy pairs become shapes.

What lives here: ``read_geometry`` (GeoJSON to ``Shape``), ``read_pair`` (two numbers), ``read_stored`` (whatever a document may hold) and
``GeometryError``. What it must not know: filters, indexes, MongoDB's codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from docdb.language.geometry import Loop, Polygon, Shape
from docdb.language.planar import Pair
from docdb.language.sphere import Vector, vector
from docdb.language.values import is_number

__all__ = ["GeometryError", "Stored", "is_place", "read_geometry", "read_pair", "read_stored"]

STRICT_WINDING: Final = "urn:x-mongodb:crs:strictwinding:EPSG:4326"
_SYSTEMS: Final = frozenset({"EPSG:4326", STRICT_WINDING, "urn:ogc:def:crs:OGC:1.3:CRS84"})


class GeometryError(ValueError):
    """What is wrong with a geometry."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A geometry of a document: on the sphere (None: out of its range), and as a flat pair (None: not a point)."""

    shape: Shape | None
    pair: Pair | None = None


def is_place(pair: Pair) -> bool:
    """Tell whether a pair is a longitude and a latitude."""
    return -180 <= pair[0] <= 180 and -90 <= pair[1] <= 90


def read_pair(value: Any, *, more: bool = False) -> Pair:
    """Return the two numbers of an array, or of a document's first fields; ``more``: others may follow. Raises GeometryError."""
    if not isinstance(value, list | dict):
        raise GeometryError("a point is an array or a document of two numbers")
    parts = list(value.values()) if isinstance(value, dict) else value
    if len(parts) < 2 or (len(parts) > 2 and not more):
        raise GeometryError(f"a point has two numbers, not {len(parts)} values")
    if not all(is_number(part) and math.isfinite(part) for part in parts[:2]):
        raise GeometryError("a point has two finite numbers")
    return float(parts[0]), float(parts[1])


def read_stored(value: Any) -> Stored:
    """Return what a value of a document says: GeoJSON, or a legacy pair. Raises GeometryError for anything else."""
    if isinstance(value, dict) and isinstance(value.get("type"), str) and value["type"] in _READERS:
        shape = read_geometry(value)
        return Stored(shape, read_pair(value["coordinates"], more=True) if value["type"] == "Point" else None)
    pair = read_pair(value, more=True)
    return Stored(Shape((vector(*pair),)) if is_place(pair) else None, pair)


def read_geometry(value: Mapping[str, Any], *, query: bool = False) -> Shape:
    """Return the shape of a GeoJSON document; a ``query`` may give a polygon of strict winding. Raises GeometryError."""
    kind = value.get("type")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise GeometryError(f"unknown type of geometry {kind!r}")
    strict = _reference_system(value) == STRICT_WINDING
    if strict and not (query and kind == "Polygon"):
        raise GeometryError("only a polygon of a query has the strict winding")
    if kind == "GeometryCollection":
        return _collection(value.get("geometries"))
    coordinates = value.get("coordinates")
    return Shape(polygons=(_polygon(coordinates, strict=True),)) if strict else reader(coordinates)


def _reference_system(value: Mapping[str, Any]) -> str | None:
    if "crs" not in value:
        return None
    system = value["crs"]
    if not isinstance(system, dict) or system.get("type") != "name" or not isinstance(system.get("properties"), dict):
        raise GeometryError('the crs is {"type": "name", "properties": {"name": ...}}')
    name = system["properties"].get("name")
    if not isinstance(name, str) or name not in _SYSTEMS:
        raise GeometryError(f"unknown coordinate reference system {name!r}")
    return name


def _array(value: Any, what: str, least: int) -> list[Any]:
    if not isinstance(value, list) or len(value) < least:
        raise GeometryError(f"{what} is an array of at least {least}")
    return value


def _place(value: Any) -> Vector:
    pair = read_pair(value, more=True)
    if not is_place(pair):
        raise GeometryError(f"longitude and latitude are out of range: {pair[0]}, {pair[1]}")
    return vector(*pair)


def _chain(value: Any, what: str) -> tuple[Vector, ...]:
    """Return the places of a line, neighbours that are the same taken as one."""
    places = [_place(item) for item in _array(value, what, 2)]
    return tuple(p for i, p in enumerate(places) if not i or p != places[i - 1])


def _line(value: Any) -> tuple[Vector, ...]:
    chain = _chain(value, "a line")
    if len(chain) < 2:
        raise GeometryError("a line has two different places")
    return chain


def _loop(value: Any, strict: bool) -> Loop:
    chain = _chain(value, "a ring")
    if value[0] != value[-1] and chain[0] != chain[-1]:
        raise GeometryError("a ring ends where it begins")
    if len(set(chain)) < 3:
        raise GeometryError("a ring has at least three different places")
    loop = Loop(chain[:-1], strict=strict)
    if loop.crosses_itself():
        raise GeometryError("a ring does not cross or touch itself")
    return loop


def _polygon(value: Any, strict: bool = False) -> Polygon:
    outer, *holes = (_loop(ring, strict) for ring in _array(value, "a polygon", 1))
    if strict and holes:
        raise GeometryError("a polygon of strict winding has no holes")
    whole = Polygon(outer)
    for number, hole in enumerate(holes):
        if not whole.holds_polygon(Polygon(hole)):
            raise GeometryError("a hole lies inside the outer ring")
        if any(Polygon(hole).meets_polygon(Polygon(other)) for other in holes[:number]):
            raise GeometryError("holes do not overlap")
    return Polygon(outer, holes)


def _collection(value: Any) -> Shape:
    total = Shape()
    for item in _array(value, "a collection", 1):
        if not isinstance(item, dict) or item.get("type") == "GeometryCollection":
            raise GeometryError("a collection holds geometries other than collections")
        total = total + read_geometry(item)
    return total


_READERS: Final[dict[str, Callable[[Any], Shape]]] = {
    "GeometryCollection": _collection,
    "LineString": lambda value: Shape(lines=(_line(value),)),
    "MultiLineString": lambda value: Shape(lines=tuple(map(_line, _array(value, "a geometry of lines", 1)))),
    "MultiPoint": lambda value: Shape(points=tuple(map(_place, _array(value, "a geometry of points", 1)))),
    "MultiPolygon": lambda value: Shape(polygons=tuple(map(_polygon, _array(value, "a geometry of polygons", 1)))),
    "Point": lambda value: Shape(points=(_place(value),)),
    "Polygon": lambda value: Shape(polygons=(_polygon(value),)),
}
