"""Shapes on the sphere: sides, polygons at poles and date line, holes, distances."""

import itertools
import math
import random

import pytest

from docdb.language.geojson import GeometryError, read_geometry, read_stored
from docdb.language.geometry import EARTH_RADIUS_M
from docdb.language.sphere import angle, crossing, edge_angle, side, vector


def polygon(*rings, **more):
    return read_geometry(
        {"type": "Polygon", "coordinates": [list(map(list, ring)) for ring in rings], **more}, query=True
    ).polygons[0]


def box(west, south, east, north):
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def shape(kind, coordinates):
    return read_geometry({"type": kind, "coordinates": coordinates})


STRICT = {"crs": {"type": "name", "properties": {"name": "urn:x-mongodb:crs:strictwinding:EPSG:4326"}}}


@pytest.mark.parametrize("points", list(itertools.permutations([(0, 0), (1, 0), (2, 0)])), ids=str)
def test_three_points_on_a_great_circle_have_a_side_all_the_same(points):
    a, b, c = (vector(*point) for point in points)
    assert side(a, b, c) == side(b, c, a) == side(c, a, b) == -side(b, a, c) != 0


def test_two_equal_points_have_no_side():
    a, b = vector(3, 4), vector(5, 6)
    assert side(a, a, b) == side(a, b, a) == side(b, a, a) == 0


def test_edges_cross():
    a, b, c, d = (vector(*point) for point in [(-1, -1), (1, 1), (-1, 1), (1, -1)])
    assert crossing(a, b, c, d) == 1 and crossing(a, c, b, d) == -1 and crossing(a, b, b, d) == 0


@pytest.mark.parametrize(
    ("ring", "inside", "outside"),
    [
        (box(-10, -10, 10, 10), [(0, 0), (9.9, 0)], [(11, 0), (180, 0)]),
        (box(-10, -10, 10, 10)[::-1], [(0, 0)], [(11, 0), (180, 0)]),
        ([(0, 80), (120, 80), (-120, 80), (0, 80)], [(0, 90), (60, 89)], [(0, 0), (0, -90), (0, 79)]),
        ([(0, -80), (120, -80), (-120, -80), (0, -80)], [(0, -90)], [(0, 90), (0, 0)]),
        (box(170, -5, -170, 5), [(180, 0), (-180, 0), (175, 0), (-175, 0)], [(0, 0), (169, 0), (-169, 0)]),
    ],
    ids=["plain", "turned", "north pole", "south pole", "date line"],
)
def test_points_in_polygons(ring, inside, outside):
    found = polygon(ring)
    assert [found.contains(vector(*point)) for point in inside] == [True] * len(inside)
    assert [found.contains(vector(*point)) for point in outside] == [False] * len(outside)


def test_holes_are_outside():
    found = polygon(box(-10, -10, 10, 10), box(-5, -5, 5, 5))
    assert found.contains(vector(7, 7)) and not found.contains(vector(0, 0))


def test_strict_winding_keeps_the_larger_part():
    clockwise = box(-10, -10, 10, 10)[::-1]
    found = polygon(clockwise, **STRICT)
    assert found.contains(vector(50, 50)) and not found.contains(vector(0, 0))


def test_polygons_that_share_edges_share_no_point():
    tiles = [polygon(box(x, y, x + 10, y + 10)) for x in range(-20, 20, 10) for y in range(-20, 20, 10)]
    generator = random.Random(1)
    places = [(generator.randint(-19, 19), generator.randint(-19, 19)) for _ in range(100)]
    inner = [p for p in places if -15 < p[0] < 15 and -15 < p[1] < 15]
    assert {sum(tile.contains(vector(*point)) for tile in tiles) for point in inner} == {1}


def test_touching_polygons_do_not_intersect():
    first = shape("Polygon", [box(0, 0, 10, 10)])
    assert not first.intersects(shape("Polygon", [box(10, 0, 20, 10)]))
    assert not first.intersects(shape("Polygon", [box(10, 10, 20, 20)]))
    assert first.intersects(first) and first.intersects(shape("Polygon", [box(2, 2, 3, 3)]))
    assert first.intersects(shape("Polygon", [box(5, 5, 20, 20)]))


def test_lines_intersect_where_they_touch():
    first = shape("LineString", [[0, 0], [1, 0]])
    assert first.intersects(shape("LineString", [[1, 0], [2, 1]]))
    assert not first.intersects(shape("LineString", [[0, 2], [1, 2]]))
    assert first.intersects(shape("Point", [0.5, 0])) and not first.intersects(shape("Point", [0.5, 0.1]))
    assert shape("Polygon", [box(-1, -1, 1, 1)]).intersects(shape("LineString", [[-5, 0], [5, 0]]))


def test_within():
    region = polygon(box(0, 0, 10, 10), box(4, 4, 6, 6))
    assert shape("LineString", [[1, 1], [2, 2]]).within(region)
    assert not shape("LineString", [[1, 1], [9, 9]]).within(region)
    assert shape("Polygon", [box(1, 1, 3, 3)]).within(region)
    assert not shape("Polygon", [box(3, 3, 7, 7)]).within(region)
    assert shape("Polygon", [box(0, 0, 10, 10), box(4, 4, 6, 6)]).within(region)
    assert shape("MultiPoint", [[1, 1], [9, 9]]).within(region)
    assert not shape("MultiPoint", [[1, 1], [5, 5]]).within(region)


def test_distances():
    assert angle(vector(0, 0), vector(1, 0)) * EARTH_RADIUS_M == 111318.84502145034
    assert math.isclose(angle(vector(0, 0), vector(180, 0)), math.pi)
    assert edge_angle(vector(1, 0), vector(0, 0), vector(2, 0)) == 0
    assert math.isclose(edge_angle(vector(1, 1), vector(0, 0), vector(2, 0)), math.radians(1))
    assert math.isclose(edge_angle(vector(-1, 0), vector(0, 0), vector(2, 0)), math.radians(1))
    assert shape("Polygon", [box(0, 0, 10, 10)]).distance(vector(5, 5)) == 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"type": "point", "coordinates": [0, 0]}, "unknown type"),
        ({"type": "Point", "coordinates": [181, 0]}, "out of range"),
        ({"type": "Point", "coordinates": [0]}, "two numbers"),
        ({"type": "Point", "coordinates": [True, 0]}, "finite numbers"),
        ({"type": "LineString", "coordinates": [[0, 0], [0, 0]]}, "different"),
        ({"type": "Polygon", "coordinates": [box(0, 0, 1, 1)[:-1]]}, "ends where it begins"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}, "cross"),
        ({"type": "Polygon", "coordinates": [box(0, 0, 1, 1), box(5, 5, 6, 6)]}, "inside the outer"),
        ({"type": "Polygon", "coordinates": [box(0, 0, 9, 9), box(1, 1, 5, 5), box(3, 3, 7, 7)]}, "overlap"),
        ({"type": "Polygon", "coordinates": [box(0, 0, 1, 1)], **STRICT}, "strict"),
        ({"type": "GeometryCollection", "geometries": []}, "at least 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_no_geometry(value, message):
    with pytest.raises(GeometryError, match=message):
        read_geometry(value)


def test_what_documents_hold():
    assert read_stored([1, 2]).pair == (1.0, 2.0) and read_stored({"x": 1, "y": 2}).pair == (1.0, 2.0)
    assert read_stored([1000, 2]).shape is None
    assert read_stored({"type": "LineString", "coordinates": [[0, 0], [1, 1]]}).pair is None
