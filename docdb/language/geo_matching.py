"""Judging geographic leaves, and the distances that ``$near`` sorts by.

What lives here: ``test_of``, ``distance_of``, ``nearest``. What it must not know: how the leaves are written (``geo_filters``), paths.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from docdb.language import tree
from docdb.language.geojson import GeometryError, Stored, read_stored
from docdb.language.geometry import EARTH_RADIUS_M, Cap
from docdb.language.matching import handed_over
from docdb.language.sphere import vector

__all__ = ["Distance", "distance_of", "nearest", "stored", "test_of"]

Distance = Callable[[Any], float | None]


def stored(value: Any) -> Stored | None:
    """Return the geometry of a value, or None when it is none."""
    if value.__class__ is not dict and value.__class__ is not list:
        return None
    try:
        return read_stored(value)
    except GeometryError:
        return None


def test_of(node: tree.GeoIntersects | tree.GeoWithin | tree.Near) -> Callable[[Any], bool]:
    """Return the test of one value."""
    if isinstance(node, tree.GeoIntersects):
        return _intersects(node)
    if isinstance(node, tree.GeoWithin):
        return _within(node)
    measure, low, high = distance_of(node), node.low, node.high

    def near(value: Any) -> bool:
        distance = measure(value)
        return distance is not None and low <= distance <= high

    return near


def _intersects(node: tree.GeoIntersects) -> Callable[[Any], bool]:
    shape = node.shape

    def intersects(value: Any) -> bool:
        found = stored(value)
        return found is not None and found.shape is not None and shape.intersects(found.shape)

    return intersects


def _within(node: tree.GeoWithin) -> Callable[[Any], bool]:
    region = node.region
    if isinstance(region, tuple | Cap):
        regions = region if isinstance(region, tuple) else (region,)

        def within(value: Any) -> bool:
            found = stored(value)
            shape = None if found is None else found.shape
            return shape is not None and any(shape.within(part) for part in regions)

        return within

    def within_flat(value: Any) -> bool:
        found = stored(value)
        return found is not None and found.pair is not None and region.contains(*found.pair)

    return within_flat


def distance_of(node: tree.Near) -> Distance:
    """Return the function from a value to its distance: metres, radians, or plain units; None where it has none."""
    x, y = node.point
    if not node.spherical:

        def flat(value: Any) -> float | None:
            found = stored(value)
            if found is None or found.pair is None:
                return None
            return math.sqrt((found.pair[0] - x) ** 2 + (found.pair[1] - y) ** 2)

        return flat
    centre, factor = vector(x, y), EARTH_RADIUS_M if node.metres else 1.0

    def spherical(value: Any) -> float | None:
        found = stored(value)
        return None if found is None or found.shape is None else found.shape.distance(centre) * factor

    return spherical


def nearest(near: tree.Near) -> Callable[[Any], tuple[float, Any] | None]:
    """Return the function from a document to the least distance within the bounds of $near and the geometry it is to; None where there is none."""
    measure = distance_of(near)

    def find(document: Any) -> tuple[float, Any] | None:
        best: tuple[float, Any] | None = None
        for value in handed_over(document, near.path):
            distance = measure(value)
            if distance is not None and near.low <= distance <= near.high and (best is None or distance < best[0]):
                best = distance, value
        return best

    return find
