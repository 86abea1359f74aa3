"""Exact signs on the unit sphere: which side of a great circle a point is on, and whether two edges cross.

What lives here: vectors, ``side``, ``crossing``, ``crosses_or_touches``, distances. What it must not know: GeoJSON, polygons.

Signs never lie: a determinant too small for its rounding error is computed again in whole fractions, and one that is zero is decided by a
symbolic shift of the points (Edelsbrunner and Muecke), which is the same for every caller. So each point lies in exactly one of
the polygons that share an edge or a corner.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

__all__ = [
    "ORIGIN", "Vector", "angle", "corner", "cross", "crosses_or_touches", "crossing", "dot", "edge_angle", "normalized", "ordered", "vector",
]  # fmt: skip

Vector = tuple[float, float, float]
_ROUNDING: Final = 4e-15


def vector(longitude: float, latitude: float) -> Vector:
    """Return the unit vector of a place in degrees."""
    phi, theta = math.radians(latitude), math.radians(longitude)
    flat = math.cos(phi)
    return math.cos(theta) * flat, math.sin(theta) * flat, math.sin(phi)


def dot(a: Vector, b: Vector) -> float:
    """Return the scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Vector, b: Vector) -> Vector:
    """Return the vector product."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def normalized(a: Vector) -> Vector:
    """Return the vector with length 1 (a zero vector as it is)."""
    size = math.sqrt(dot(a, a)) or 1.0
    return a[0] / size, a[1] / size, a[2] / size


ORIGIN: Final = normalized((0.00457, 1.0, 0.0321))  # a place no polygon is likely to touch


def angle(a: Vector, b: Vector) -> float:
    """Return the angle between two vectors in radians, exact for small and large ones."""
    normal = cross(a, b)
    return math.atan2(math.sqrt(dot(normal, normal)), dot(a, b))


def edge_angle(point: Vector, a: Vector, b: Vector) -> float:
    """Return the angle from a point to the nearest place of an edge."""
    normal = cross(a, b)
    if dot(cross(a, point), normal) > 0 and dot(cross(point, b), normal) > 0:
        size = math.sqrt(dot(normal, normal))
        height = dot(point, normal) / size
        along = cross(point, normal)
        return abs(math.atan2(height, math.sqrt(dot(along, along)) / size))
    return min(angle(point, a), angle(point, b))


def side(a: Vector, b: Vector, c: Vector) -> int:
    """Return 1 when a, b, c turn to the left, -1 to the right, 0 only when two of them are the same."""
    determinant = dot(cross(a, b), c)
    if determinant > _ROUNDING:
        return 1
    if determinant < -_ROUNDING:
        return -1
    if a in (b, c) or b == c:
        return 0
    return _exact_side(a, b, c)


def _exact_side(a: Vector, b: Vector, c: Vector) -> int:
    flip = 1
    if a > b:
        a, b, flip = b, a, -flip
    if b > c:
        b, c, flip = c, b, -flip
    if a > b:
        a, b, flip = b, a, -flip
    x, y, z = ([Fraction(part) for part in point] for point in (a, b, c))
    normal = _exact_cross(y, z)
    determinant = sum((normal[i] * x[i] for i in range(3)), Fraction(0))
    # The terms of the determinant of the shifted points, the largest shift first.
    terms = (
        determinant, normal[2], normal[1], normal[0], z[0] * x[1] - z[1] * x[0], z[0], -z[1], z[2] * x[0] - z[0] * x[2], z[2],
        x[0] * y[1] - x[1] * y[0], -y[0], y[1], x[0], Fraction(1),
    )  # fmt: skip
    first = next(term for term in terms if term)
    return flip if first > 0 else -flip


def _exact_cross(a: list[Fraction], b: list[Fraction]) -> tuple[Fraction, Fraction, Fraction]:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def crossing(a: Vector, b: Vector, c: Vector, d: Vector) -> int:
    """Return 1 when the edges ab and cd cross inside both, 0 when they share an end, else -1."""
    first, second = -side(a, b, c), side(a, b, d)
    if not first or not second:
        return 0
    if first != second:
        return -1
    third, fourth = -side(c, d, b), side(c, d, a)
    if not third or not fourth:
        return 0
    return 1 if third == first and fourth == first else -1


def crosses_or_touches(a: Vector, b: Vector, c: Vector, d: Vector) -> bool:
    """Tell whether going from a to b changes sides of a chain of edges at cd; a shared end counts at one of its edges only."""
    found = crossing(a, b, c, d)
    return found > 0 or (found == 0 and _corner_crossing(a, b, c, d))


def _corner_crossing(a: Vector, b: Vector, c: Vector, d: Vector) -> bool:
    if a == b or c == d:
        return False
    if a == d:
        return ordered(corner(a), c, b, a)
    if b == c:
        return ordered(corner(b), d, a, b)
    if a == c:
        return ordered(corner(a), d, b, a)
    return b == d and ordered(corner(b), c, a, b)


def ordered(a: Vector, b: Vector, c: Vector, centre: Vector) -> bool:
    """Tell whether the directions to a, b, c are met in this order when turning left around the centre."""
    return (side(b, centre, a) >= 0) + (side(c, centre, b) >= 0) + (side(a, centre, c) > 0) >= 2


def corner(a: Vector) -> Vector:
    """Return a direction at right angles, the same one for the same point."""
    largest = max(range(3), key=lambda i: abs(a[i]))
    turned = [0.012, 0.0053, 0.00457]
    turned[largest - 1] = 1.0
    return normalized(cross(a, (turned[0], turned[1], turned[2])))
