"""Flat shapes for pairs of numbers: box, polygon, circle.

What lives here: ``Box``, ``FlatPolygon``, ``Circle``, each with ``contains(x, y)``; the edge belongs to the shape. What it must not know: the sphere, filters.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Box", "Circle", "FlatPolygon", "FlatShape", "Pair"]

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle along the axes, given by two opposite corners."""

    low: Pair
    high: Pair

    def contains(self, x: float, y: float) -> bool:
        """Tell whether the point is inside or on the edge."""
        return self.low[0] <= x <= self.high[0] and self.low[1] <= y <= self.high[1]


@dataclass(frozen=True, slots=True)
class Circle:
    """All points at most ``radius`` from the centre."""

    centre: Pair
    radius: float

    def contains(self, x: float, y: float) -> bool:
        """Tell whether the point is inside or on the edge."""
        dx, dy = x - self.centre[0], y - self.centre[1]
        return dx * dx + dy * dy <= self.radius * self.radius


@dataclass(frozen=True, slots=True)
class FlatPolygon:
    """A polygon of straight edges; closed by itself."""

    points: tuple[Pair, ...]

    def contains(self, x: float, y: float) -> bool:
        """Tell whether the point is inside.

        A corner and a horizontal or vertical edge belong to the polygon, a slanted edge as the count of crossings to the right decides.
        """
        inside = False
        x1, y1 = self.points[0]
        for x2, y2 in (*self.points[1:], self.points[0]):
            if (x, y) == (x1, y1) or (y == y1 == y2 and min(x1, x2) <= x <= max(x1, x2)):
                return True
            if min(y1, y2) < y <= max(y1, y2) and x <= max(x1, x2):
                if x == x1 == x2:
                    return True
                inside ^= x1 == x2 or x <= (y - y1) * (x2 - x1) / (y2 - y1) + x1
            x1, y1 = x2, y2
        return inside


FlatShape = Box | Circle | FlatPolygon
