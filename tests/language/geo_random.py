"""Random places, shapes and questions about them: poles, date line, small and large polygons, holes."""

from __future__ import annotations

import math
import random
from typing import Any

from docdb.language.sphere import cross, normalized, vector

STRICT = {"type": "name", "properties": {"name": "urn:x-mongodb:crs:strictwinding:EPSG:4326"}}


def place(chance: random.Random) -> list[float]:
    """A place; often at the date line, a pole, or near others."""
    kind = chance.random()
    if kind < 0.15:
        return [chance.choice([180, -180, 179.999, -179.99]), chance.uniform(-90, 90)]
    if kind < 0.3:
        return [chance.uniform(-180, 180), chance.choice([90, -90, 89.99, -89.9])]
    if kind < 0.5:
        return [chance.uniform(-5, 5), chance.uniform(-5, 5)]
    return [chance.uniform(-180, 180), math.degrees(math.asin(chance.uniform(-1, 1)))]


def ring(
    chance: random.Random, around: list[float], radius: float, corners: int, *, even: bool = False
) -> list[list[float]]:
    """A closed ring around a place, at most ``radius`` radians away; it may hold a pole or cross the date line."""
    centre = vector(*around)
    east = normalized(cross(centre, (0.3, 0.5, 0.7)))
    north = cross(centre, east)
    found = []
    for i in range(corners):
        turn, away = 2 * math.pi * i / corners, radius if even else radius * chance.uniform(0.5, 1)
        x, y, z = (
            math.cos(away) * c + math.sin(away) * (math.cos(turn) * e + math.sin(turn) * n)
            for c, e, n in zip(centre, east, north, strict=True)
        )
        found.append([math.degrees(math.atan2(y, x)), math.degrees(math.asin(max(-1.0, min(1.0, z))))])
    return [*found, found[0]]


def polygon(chance: random.Random) -> dict[str, Any]:
    """A polygon of ten metres to most of a hemisphere, some with a hole."""
    around, radius = place(chance), chance.choice([2e-6, 1e-4, 0.01, 0.1, 0.5, 1.2, 1.5])
    if chance.random() < 0.3:
        hole = ring(chance, around, radius * 0.3, 5, even=True)[::-1]
        return {"type": "Polygon", "coordinates": [ring(chance, around, radius, 9, even=True), hole]}
    return {"type": "Polygon", "coordinates": [ring(chance, around, radius, chance.randint(3, 8))]}


def shape(chance: random.Random) -> dict[str, Any]:
    """Any geometry."""
    kind = chance.choice(
        ["Point", "Point", "LineString", "Polygon", "MultiPoint", "MultiPolygon", "GeometryCollection"]
    )
    if kind == "Point":
        return {"type": kind, "coordinates": place(chance)}
    if kind == "Polygon":
        return polygon(chance)
    if kind == "MultiPolygon":
        return {"type": kind, "coordinates": [polygon(chance)["coordinates"]]}
    if kind == "GeometryCollection":
        line = {"type": "LineString", "coordinates": [place(chance), place(chance)]}
        return {"type": kind, "geometries": [{"type": "Point", "coordinates": place(chance)}, line]}
    return {"type": kind, "coordinates": [place(chance) for _ in range(chance.randint(2, 4))]}


def region(chance: random.Random) -> dict[str, Any]:
    """A geographic condition other than $near."""
    kind = chance.choice(["polygon", "strict", "cap", "box", "flat", "circle", "intersects", "intersects"])
    if kind == "polygon":
        return {"$geoWithin": {"$geometry": polygon(chance)}}
    if kind == "strict":
        corners = ring(chance, place(chance), chance.choice([0.01, 0.5, 1.4]), 6, even=True)
        corners = corners[::-1] if chance.random() < 0.5 else corners
        return {"$geoWithin": {"$geometry": {"type": "Polygon", "coordinates": [corners], "crs": STRICT}}}
    if kind == "cap":
        return {"$geoWithin": {"$centerSphere": [place(chance), chance.choice([0, 1e-5, 0.01, 0.2, 1.0, 2.0, 3.1, 4])]}}
    if kind == "box":
        return {"$geoWithin": {"$box": [place(chance), place(chance)]}}
    if kind == "flat":
        return {"$geoWithin": {"$polygon": [place(chance) for _ in range(4)]}}
    if kind == "circle":
        return {"$geoWithin": {"$center": [place(chance), chance.choice([0.1, 5, 60])]}}
    return {"$geoIntersects": {"$geometry": shape(chance)}}


def near(chance: random.Random) -> dict[str, Any]:
    """A $near on the sphere, with and without distances."""
    spec: dict[str, Any] = {"$geometry": {"type": "Point", "coordinates": place(chance)}}
    if chance.random() < 0.5:
        spec["$maxDistance"] = chance.choice([1e3, 1e5, 1e6, 1e7])
    if chance.random() < 0.4:
        spec["$minDistance"] = chance.choice([10, 1e4, 1e6, 1e7])
    return {"$near": spec}
