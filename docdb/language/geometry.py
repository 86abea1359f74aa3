"""Shapes on the sphere: points, lines and polygons; within, intersects, distance.

What lives here: ``Loop``, ``Polygon``, ``Shape`` (any GeoJSON geometry, taken apart) and ``Cap`` (a circle). What it must not know: how
shapes are written (``geojson``), filters, documents.

Edges are great circles. The inside of a loop is on its left; loops that enclose more than half of the sphere are turned round, but for those of
the strict winding. Polygons intersect when their insides do: a shared edge or corner is none; lines intersect where they touch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from docdb.cached import cached_property
from docdb.language.sphere import (
    ORIGIN,
    Vector,
    angle,
    corner,
    cross,
    crosses_or_touches,
    crossing,
    dot,
    edge_angle,
    normalized,
    ordered,
)

__all__ = ["EARTH_RADIUS_M", "Cap", "Loop", "Polygon", "Shape"]

EARTH_RADIUS_M: Final = 6_378_100.0
SAME_PLACE: Final = 1e-9  # radians: 6 mm, the grain of a leaf cell in MongoDB
_ASIDE: Final = 1e-7  # how far beside an edge its two sides are looked at
Edge = tuple[Vector, Vector]


class Loop:
    """A closed chain of edges, first vertex not repeated. ``strict``: the inside is on the left even where that is the larger part."""

    def __init__(self, vertices: Sequence[Vector], *, strict: bool = False) -> None:
        self.vertices = tuple(vertices)
        if not strict and _area(self.vertices) > 2 * math.pi:
            self.vertices = self.vertices[::-1]
        self._origin_inside = False
        first, second, third = self.vertices[:3]
        self._origin_inside = ordered(corner(second), first, third, second) != self.contains(second)

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """The edges, in order."""
        return tuple(zip(self.vertices, (*self.vertices[1:], self.vertices[0]), strict=True))

    def contains(self, point: Vector) -> bool:
        """Tell whether the point is inside. Cost: every edge."""
        inside = self._origin_inside
        for start, end in self.edges:
            if crosses_or_touches(ORIGIN, point, start, end):
                inside = not inside
        return inside

    def crosses_itself(self) -> bool:
        """Tell whether two edges cross, or meet where they are not neighbours."""
        edges = self.edges
        if len(set(self.vertices)) < len(edges):
            return True
        return any(crossing(*edges[i], *edges[k]) > 0 for i in range(len(edges)) for k in range(i + 2, len(edges)))


def _area(vertices: tuple[Vector, ...]) -> float:
    """Return the area on the left, from 0 to 4 pi."""
    total = 0.0
    first = vertices[0]
    for a, b in zip(vertices[1:], vertices[2:], strict=False):
        volume = dot(cross(first, a), b)
        total += 2 * math.atan2(volume, 1 + dot(first, a) + dot(a, b) + dot(b, first))
    return total % (4 * math.pi)


class Polygon:
    """An outer loop and the holes in it."""

    def __init__(self, outer: Loop, holes: Sequence[Loop] = ()) -> None:
        self.loops = (outer, *holes)

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """The edges of all loops."""
        return tuple(edge for loop in self.loops for edge in loop.edges)

    @cached_property
    def besides(self) -> tuple[tuple[Vector, bool], ...]:
        """Places just beside each edge's middle, on both sides, and whether they are inside."""
        return tuple((place, self.contains(place)) for edge in self.edges for place in _beside(edge))

    def contains(self, point: Vector) -> bool:
        """Tell whether the point is inside; of a boundary that polygons share, each point is inside exactly one of them."""
        return self.loops[0].contains(point) and not any(hole.contains(point) for hole in self.loops[1:])

    def distance(self, point: Vector) -> float:
        """Return the angle to the polygon, 0 inside."""
        return 0.0 if self.contains(point) else min(edge_angle(point, *edge) for edge in self.edges)

    def holds_point(self, point: Vector) -> bool:
        """Tell whether the point is inside or a corner of the polygon."""
        return self.contains(point)

    def holds_line(self, line: Sequence[Vector]) -> bool:
        """Tell whether no part of the line is outside."""
        if self._crossed(_edges_of(line)):
            return False
        corners = {vertex for loop in self.loops for vertex in loop.vertices}
        places = [*(p for p in line if p not in corners), *(_middle(edge) for edge in _edges_of(line))]
        return all(self.contains(place) or self._is_near(place) for place in places)

    def holds_polygon(self, other: Polygon) -> bool:
        """Tell whether no inside of the other is outside."""
        if self._crossed(other.edges):
            return False
        if not all(self.contains(place) for place, inside in other.besides if inside):
            return False
        return not any(other.contains(place) for place, inside in self.besides if not inside)

    def meets_line(self, line: Sequence[Vector]) -> bool:
        """Tell whether a part of the line is inside."""
        return any(map(self.contains, line)) or self._crossed(_edges_of(line))

    def meets_polygon(self, other: Polygon) -> bool:
        """Tell whether the insides have a place in common."""
        if self._crossed(other.edges):
            return True
        mine = any(other.contains(place) for place, inside in self.besides if inside)
        return mine or any(self.contains(place) for place, inside in other.besides if inside)

    def _crossed(self, edges: Iterable[Edge]) -> bool:
        return any(crossing(*edge, *mine) > 0 for edge in edges for mine in self.edges)

    def _is_near(self, point: Vector) -> bool:
        return any(edge_angle(point, *edge) < SAME_PLACE for edge in self.edges)


def _middle(edge: Edge) -> Vector:
    (a, b) = edge
    return normalized((a[0] + b[0], a[1] + b[1], a[2] + b[2]))


def _beside(edge: Edge) -> Iterator[Vector]:
    middle, normal = _middle(edge), normalized(cross(*edge))
    for aside in (_ASIDE, -_ASIDE):
        yield normalized((middle[0] + aside * normal[0], middle[1] + aside * normal[1], middle[2] + aside * normal[2]))


def _edges_of(line: Sequence[Vector]) -> list[Edge]:
    return list(zip(line, line[1:], strict=False))


@dataclass(frozen=True, eq=False)
class Shape:
    """Any geometry, as the points, lines and polygons it consists of."""

    points: tuple[Vector, ...] = ()
    lines: tuple[tuple[Vector, ...], ...] = ()
    polygons: tuple[Polygon, ...] = ()

    def __add__(self, other: Shape) -> Shape:
        return Shape(self.points + other.points, self.lines + other.lines, self.polygons + other.polygons)

    def distance(self, point: Vector) -> float:
        """Return the angle from a point to the nearest place of the shape."""
        found = [angle(point, mine) for mine in self.points]
        found += [edge_angle(point, *edge) for line in self.lines for edge in _edges_of(line)]
        found += [polygon.distance(point) for polygon in self.polygons]
        return min(found)

    def within(self, region: Polygon | Cap) -> bool:
        """Tell whether the whole shape is inside the region."""
        return (
            all(map(region.holds_point, self.points))
            and all(map(region.holds_line, self.lines))
            and all(map(region.holds_polygon, self.polygons))
        )

    def intersects(self, other: Shape) -> bool:
        """Tell whether the shapes have a place in common."""
        if any(other.has_point(point) for point in self.points) or any(self.has_point(point) for point in other.points):
            return True
        if any(_lines_meet(mine, line) for mine in self.lines for line in other.lines):
            return True
        if any(polygon.meets_line(line) for polygon in self.polygons for line in other.lines):
            return True
        if any(polygon.meets_line(line) for polygon in other.polygons for line in self.lines):
            return True
        return any(mine.meets_polygon(polygon) for mine in self.polygons for polygon in other.polygons)

    def has_point(self, point: Vector) -> bool:
        """Tell whether a point is a place of the shape; on a line it may be millimetres off."""
        if any(angle(point, mine) < SAME_PLACE for mine in self.points):
            return True
        if any(edge_angle(point, *edge) < SAME_PLACE for line in self.lines for edge in _edges_of(line)):
            return True
        return any(polygon.contains(point) for polygon in self.polygons)


def _lines_meet(left: Sequence[Vector], right: Sequence[Vector]) -> bool:
    return any(crossing(*a, *b) >= 0 for a in _edges_of(left) for b in _edges_of(right))


@dataclass(frozen=True, slots=True)
class Cap:
    """All places at most ``radius`` radians from the centre."""

    centre: Vector
    radius: float

    def holds_point(self, point: Vector) -> bool:
        """Tell whether the point is inside."""
        return self.radius >= math.pi or angle(self.centre, point) <= self.radius

    def holds_line(self, line: Sequence[Vector]) -> bool:
        """Tell whether the whole line is inside."""
        if not all(map(self.holds_point, line)):
            return False
        if self.radius < math.pi / 2 or self.radius >= math.pi:
            return True
        opposite = (-self.centre[0], -self.centre[1], -self.centre[2])
        return all(edge_angle(opposite, *edge) >= math.pi - self.radius for edge in _edges_of(line))

    def holds_polygon(self, polygon: Polygon) -> bool:
        """Tell whether the whole polygon is inside."""
        if self.radius >= math.pi:
            return True
        opposite = (-self.centre[0], -self.centre[1], -self.centre[2])
        rings = [(*loop.vertices, loop.vertices[0]) for loop in polygon.loops]
        return all(map(self.holds_line, rings)) and not polygon.contains(opposite)
