"""What regions have in common with cells: the covers of documents and of questions.

What lives here: ``cells_of`` (the cells of a document's geometry), ``GeoField`` (one geographic field of an index: on the sphere or in the plane), which
covers the leaves of a filter and the rings around the point of ``$near``. What it must not know: entries, keys, plans.

A cover is never too small: cells are taken for their circumscribed circles (on the sphere) or squares (in the plane), a little larger than they are, because
the judges see things that are millimetres apart as touching. It may be too large: what it finds is judged again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from docdb import _native
from docdb.language import cells, tree
from docdb.language.cells import FACES, FINEST, INSIDE, PLANE, Cell, Ids
from docdb.language.geometry import EARTH_RADIUS_M, Cap, Polygon, Shape
from docdb.language.planar import Box, Circle, FlatShape, Pair
from docdb.language.sphere import Vector, angle, cross, dot, edge_angle, vector

__all__ = ["GeoField", "cells_of"]

Covered = list[tuple[Cell, bool]]
Edge = tuple[Vector, Vector]
_ASIDE: Final = 1e-8  # radians (6 cm): more than what the judges take for the same place, more than any rounding
_FLAT_ASIDE: Final = 2.0**-28  # of the plane's side
_DEGREES_ASIDE: Final = 1e-6
_ANTIPODAL: Final = 1e-6
_REACHES: Final = [reach + _ASIDE for reach in cells.REACHES]
MOST_OF_DOCUMENT: Final = 12  # cells of a line or a polygon
MOST_POINTS: Final = 64  # points beyond are covered as a region
FINEST_OF_DOCUMENT: Final = 24  # lines and polygons are not followed below a metre
MOST_OF_QUERY: Final = 32
MOST_OF_RING: Final = 16


# ---- the sphere


class _Part(NamedTuple):
    """What of a shape may lie in a cell: a polygon (None: a line or points) with its edges there, and points."""

    polygon: Polygon | None
    edges: tuple[Edge, ...]
    points: tuple[Vector, ...] = ()


def _parts_of(shape: Shape) -> tuple[_Part, ...]:
    parts = [_Part(None, (), shape.points)] if shape.points else []
    parts += [_Part(None, tuple(zip(line, line[1:], strict=False))) for line in shape.lines]
    parts += [_Part(polygon, polygon.edges) for polygon in shape.polygons]
    return tuple(parts)


def _narrow_shape(parts: tuple[_Part, ...], cell: Cell) -> Any:
    centre, reach = cell.centre, cell.reach + _ASIDE
    found = []
    for part in parts:
        edges = tuple(edge for edge in part.edges if _is_near(centre, edge, reach))
        points = tuple(point for point in part.points if angle(centre, point) <= reach)
        if edges or points:
            found.append(_Part(part.polygon, edges, points))
        elif part.polygon is not None and part.polygon.contains(centre):
            return INSIDE
    return tuple(found) or None


def _is_near(centre: Vector, edge: Edge, reach: float) -> bool:
    a, b = edge
    if dot(a, b) < 0:
        normal = cross(a, b)
        if dot(normal, normal) < _ANTIPODAL * _ANTIPODAL:
            return True  # the great circle of opposite places is anybody's guess
    return edge_angle(centre, a, b) <= reach


def cells_of(shape: Shape) -> list[int]:
    """Return the numbers of the cells that hold a document's geometry: of each point its leaf, of lines and polygons about twelve."""
    if len(shape.points) > MOST_POINTS:
        return _numbers(cells.cover(FACES, _parts_of(shape), _narrow_shape, MOST_POINTS, FINEST_OF_DOCUMENT))
    found = {cells.leaf_at(point) for point in shape.points}
    if shape.lines or shape.polygons:
        wide = Shape(lines=shape.lines, polygons=shape.polygons)
        found.update(_numbers(cells.cover(FACES, _parts_of(wide), _narrow_shape, MOST_OF_DOCUMENT, FINEST_OF_DOCUMENT)))
    return sorted(found)


def _numbers(covered: Covered) -> list[int]:
    return [cell.id for cell, _ in covered]


def _cover_cap(centre: Vector, low: float, high: float, most: int) -> Covered:
    """Return the cover of all places from ``low`` to ``high`` radians away; no whole cell is inside a ring."""

    outer = [_chord(high + reach) for reach in _REACHES]
    inner = [_chord(high - reach) if low <= 0 else -1.0 for reach in _REACHES]
    hole = [_chord(low - reach) for reach in _REACHES]
    if _native.AVAILABLE:
        from docdb._native.cells import cover_ring

        return [(Cell(*cell), inside) for *cell, inside in cover_ring(*centre, outer, inner, hole, most, FINEST)]
    return reference_cover_ring(centre, outer, inner, hole, most)


def reference_cover_ring(
    centre: Vector, outer: Sequence[float], inner: Sequence[float], hole: Sequence[float], most: int
) -> Covered:
    """Return the cover of a ring whose squared distances from cells' centres are given for each level."""
    x, y, z = centre

    def narrow(state: Any, cell: Cell) -> Any:
        (cx, cy, cz), level = cell.centre, cell.level
        dx, dy, dz = cx - x, cy - y, cz - z
        away = dx * dx + dy * dy + dz * dz
        if away > outer[level] or away < hole[level]:
            return None
        return INSIDE if away <= inner[level] else state

    return cells.cover(FACES, True, narrow, most)


def _chord(radius: float) -> float:
    """Return the square of the straight distance of places so many radians apart, -1 below zero."""
    return -1.0 if radius < 0 else 5.0 if radius >= math.pi else (2 * math.sin(radius / 2)) ** 2


def _cover_flat_on_sphere(region: FlatShape, most: int) -> Covered:
    """Return the cover of a flat region, which speaks of longitude and latitude as of x and y."""

    def narrow(state: Any, cell: Cell) -> Any:
        x, y, z = cell.centre
        place = math.degrees(math.atan2(y, x)), math.degrees(math.asin(max(-1.0, min(1.0, z))))
        answers = {_meets(region, box, _DEGREES_ASIDE) for box in _boxes_around(place, cell.reach + _ASIDE)}
        return None if answers == {None} else INSIDE if answers == {INSIDE} else state

    return cells.cover(FACES, True, narrow, most)


def _boxes_around(place: Pair, radius: float) -> list[Box]:
    """Return boxes of longitude and latitude that hold all places at most ``radius`` radians from a place."""
    longitude, latitude = place
    spread = math.degrees(radius) + _DEGREES_ASIDE
    south, north = latitude - spread, latitude + spread
    if south <= -90 or north >= 90:
        return [Box((-180.0, max(south, -90.0)), (180.0, min(north, 90.0)))]
    ratio = math.sin(radius) / math.cos(math.radians(latitude)) if radius < math.pi / 2 else 1.0
    wide = math.degrees(math.asin(ratio)) + 2 * _DEGREES_ASIDE if ratio < 1 else 180.0
    west, east = longitude - wide, longitude + wide
    if east - west >= 360:
        return [Box((-180.0, south), (180.0, north))]
    found = [Box((max(west, -180.0), south), (min(east, 180.0), north))]
    if west < -180:
        found.append(Box((west + 360, south), (180.0, north)))
    if east > 180:
        found.append(Box((-180.0, south), (east - 360, north)))
    return found


# ---- the plane


def _meets(region: FlatShape, box: Box, aside: float) -> Any:
    """Return None when a box, made larger by ``aside``, has nothing of the region, ``INSIDE`` when all of it is inside, else True."""
    (x0, y0), (x1, y1) = box.low, box.high
    x0, y0, x1, y1 = x0 - aside, y0 - aside, x1 + aside, y1 + aside
    if isinstance(region, Box):
        (west, south), (east, north) = region.low, region.high
        if x1 < west or x0 > east or y1 < south or y0 > north:
            return None
        return INSIDE if west <= x0 and x1 <= east and south <= y0 and y1 <= north else True
    if isinstance(region, Circle):
        return _meets_circle(region, x0, y0, x1, y1)
    middle = (x0 + x1) / 2, (y0 + y1) / 2
    reach = math.hypot(x1 - x0, y1 - y0) / 2
    corners = (*region.points, region.points[0])
    if any(_segment_distance(middle, a, b) <= reach for a, b in zip(corners, corners[1:], strict=False)):
        return True
    return INSIDE if region.contains(*middle) else None


def _meets_circle(region: Circle, x0: float, y0: float, x1: float, y1: float) -> Any:
    x, y = region.centre
    nearest = math.hypot(max(x0 - x, 0.0, x - x1), max(y0 - y, 0.0, y - y1))
    furthest = math.hypot(max(abs(x0 - x), abs(x1 - x)), max(abs(y0 - y), abs(y1 - y)))
    if nearest > region.radius:
        return None
    return INSIDE if furthest <= region.radius else True


def _segment_distance(point: Pair, a: Pair, b: Pair) -> float:
    dx, dy = b[0] - a[0], b[1] - a[1]
    size = dx * dx + dy * dy
    along = ((point[0] - a[0]) * dx + (point[1] - a[1]) * dy) / size if size else 0.0
    along = min(1.0, max(0.0, along))
    return math.hypot(point[0] - a[0] - along * dx, point[1] - a[1] - along * dy)


# ---- fields


@dataclass(frozen=True, slots=True)
class GeoField:
    """A geographic field of an index: ``kind`` is "2dsphere" or "2d"; ``low`` and ``high`` bound both coordinates of a flat one.

    A radius is in radians, and in units of the plane for what is measured flat.
    """

    kind: str
    low: float = -180.0
    high: float = 180.0

    def leaf(self, x: float, y: float) -> int:
        """Return the number of the leaf cell of a point."""
        flat = self.kind == "2d"
        return cells.leaf_of_plane(x, y, self.low, self.high) if flat else cells.leaf_of_place(x, y)

    def cover(self, node: tree.Node, most: int = MOST_OF_QUERY) -> Covered | None:
        """Return the cover of what a leaf of a filter may match; None when this field's cells say nothing about it."""
        if isinstance(node, tree.Near):
            return self.ring(node, self.radius(node, node.low), self.radius(node, node.high), most)
        if isinstance(node, tree.GeoIntersects):
            if self.kind == "2d":
                return None
            return cells.cover(FACES, _parts_of(node.shape), _narrow_shape, most)
        if not isinstance(node, tree.GeoWithin):
            return None
        region = node.region
        if isinstance(region, tuple):
            shape = Shape(polygons=region)
            return None if self.kind == "2d" else cells.cover(FACES, _parts_of(shape), _narrow_shape, most)
        if isinstance(region, Cap):
            if self.kind == "2d":
                return self._cover_cap(_place_of(region.centre), region.radius, most)
            return _cover_cap(region.centre, 0.0, region.radius, most)
        return self._cover_flat([region], most) if self.kind == "2d" else _cover_flat_on_sphere(region, most)

    def ring(self, near: tree.Near, low: float, high: float, most: int = MOST_OF_RING) -> Covered | None:
        """Return the cover of the places from one radius to another around the point of $near."""
        if self.kind == "2dsphere":
            return _cover_cap(vector(*near.point), low, high, most) if near.spherical else None
        if near.metres:
            return None
        if near.spherical:
            return self._cover_cap(near.point, high, most)
        return self._cover_flat([Circle(near.point, high)], most)

    def radius(self, near: tree.Near, distance: float) -> float:
        """Return the radius of a distance as $near gives it."""
        return distance / EARTH_RADIUS_M if near.metres else distance

    def distance(self, near: tree.Near, radius: float) -> float:
        """Return the distance that a radius is surely not less than, as $near measures."""
        aside = _ASIDE if near.spherical else _FLAT_ASIDE * (self.high - self.low)
        return (radius - aside) * (1 - 1e-12) * (EARTH_RADIUS_M if near.metres else 1.0)

    def outermost(self, near: tree.Near) -> float:
        """Return the radius within which everything lies."""
        if near.spherical:
            return 3.2
        x, y = near.point
        return 1.01 * math.hypot(max(abs(x - self.low), abs(x - self.high)), max(abs(y - self.low), abs(y - self.high)))

    def guess(self, near: tree.Near, count: Callable[[Ids, int], int], wanted: int) -> float:
        """Return a radius that holds about ``wanted`` points, from how dense they lie in the smallest cell around that holds as many.

        ``count(numbers, limit)`` counts what lies in a cell.
        """
        leaf = self.leaf(*near.point)
        for level in range(FINEST - 2, 0, -1):
            found = count(cells.ids_of(cells.cell_around(leaf, level)), 4 * wanted)
            if found >= wanted:
                return self._side(near, level) * math.sqrt(wanted / found)
        return self._side(near, 0)

    def _side(self, near: tree.Near, level: int) -> float:
        if self.kind == "2dsphere":
            return 1.45 * 0.5**level
        side = (self.high - self.low) * 0.5**level
        return math.radians(side) if near.spherical else side

    def _cover_cap(self, place: Pair, radius: float, most: int) -> Covered:
        return [(cell, False) for cell, _ in self._cover_flat(_boxes_around(place, radius), most)]

    def _cover_flat(self, regions: Sequence[FlatShape], most: int) -> Covered:
        aside = _FLAT_ASIDE * (self.high - self.low)

        def narrow(state: Any, cell: Cell) -> Any:
            side = (self.high - self.low) * 0.5**cell.level
            x, y = self.low + cell.i * side, self.low + cell.j * side
            answers = [_meets(region, Box((x, y), (x + side, y + side)), aside) for region in regions]
            return INSIDE if INSIDE in answers else True if True in answers else None

        return cells.cover((PLANE,), True, narrow, most)


def _place_of(point: Vector) -> Pair:
    x, y, z = point
    return math.degrees(math.atan2(y, x)), math.degrees(math.asin(max(-1.0, min(1.0, z))))
