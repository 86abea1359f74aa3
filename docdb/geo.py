"""Geometry as GeoJSON, checked where it is made.

    from docdb import geo
    db["cafes"].insert_one({"name": "Kaffa", "at": geo.Point(10.75, 59.91)})

What lives here: ``Point``, ``LineString``, ``Polygon``, ``MultiPoint``, ``MultiLineString`` and ``MultiPolygon``, which return plain
documents. What it must not know: how geometry is stored or searched.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from docdb.errors import DocumentError

__all__ = ["LineString", "MultiLineString", "MultiPoint", "MultiPolygon", "Point", "Polygon"]

Geometry = dict[str, Any]


def Point(longitude: float, latitude: float) -> Geometry:
    """Return a place: longitude from -180 to 180, latitude from -90 to 90; DocumentError for others.

    >>> Point(10.75, 59.91)
    {'type': 'Point', 'coordinates': [10.75, 59.91]}
    """
    return {"type": "Point", "coordinates": [_degrees(longitude, 180, "longitude"), _degrees(latitude, 90, "latitude")]}


def LineString(points: Iterable[Any]) -> Geometry:
    """Return a line through at least two points (``Point`` documents or pairs)."""
    return {"type": "LineString", "coordinates": _line(points)}


def Polygon(rings: Iterable[Any]) -> Geometry:
    """Return a polygon: the outer ring and then its holes, each a closed line (``LineString`` documents or lists of points)."""
    return {"type": "Polygon", "coordinates": _rings(rings)}


def MultiPoint(points: Iterable[Any]) -> Geometry:
    """Return several points."""
    return {
        "type": "MultiPoint",
        "coordinates": _some([_pair(point) for point in _items(points, "MultiPoint")], "MultiPoint"),
    }


def MultiLineString(lines: Iterable[Any]) -> Geometry:
    """Return several lines."""
    found = [_line(line) for line in _items(lines, "MultiLineString")]
    return {"type": "MultiLineString", "coordinates": _some(found, "MultiLineString")}


def MultiPolygon(polygons: Iterable[Any]) -> Geometry:
    """Return several polygons (``Polygon`` documents or lists of rings)."""
    found = [_rings(polygon) for polygon in _items(polygons, "MultiPolygon")]
    return {"type": "MultiPolygon", "coordinates": _some(found, "MultiPolygon")}


def _degrees(value: Any, most: int, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DocumentError(f"a {name} is a number, not {type(value).__name__}", path=name)
    if not math.isfinite(value) or not -most <= value <= most:
        raise DocumentError(f"a {name} is from {-most} to {most}, not {value!r}", path=name)
    return value


def _items(value: Any, what: str) -> list[Any]:
    if isinstance(value, Mapping):
        value = value.get("coordinates")
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise DocumentError(f"{what} takes a list, not {type(value).__name__}", path=what)
    return list(value)


def _some(found: list[Any], what: str) -> list[Any]:
    if not found:
        raise DocumentError(f"{what} takes at least one", path=what)
    return found


def _pair(point: Any) -> list[float]:
    parts = _items(point, "Point")
    if len(parts) != 2:
        raise DocumentError("a point has a longitude and a latitude", path="Point")
    made: list[float] = Point(*parts)["coordinates"]
    return made


def _line(points: Any) -> list[list[float]]:
    found = [_pair(point) for point in _items(points, "LineString")]
    if len(found) < 2:
        raise DocumentError("a line has at least two points", path="LineString")
    return found


def _rings(rings: Any) -> list[list[list[float]]]:
    found = [_line(ring) for ring in _some(_items(rings, "Polygon"), "Polygon")]
    for ring in found:
        if len(ring) < 4 or ring[0] != ring[-1]:
            raise DocumentError("a ring has at least four points and ends where it begins", path="Polygon")
    return found
