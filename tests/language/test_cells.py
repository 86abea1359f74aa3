"""Cells: numbers, ancestors, the curve, sets of numbers; every place lies in the cells that lead to its leaf."""

import itertools
import math
import random

import pytest

from docdb.language import cells
from docdb.language.cells import FACES, FINEST, INSIDE, PLANE, cover, first_id, ids_of, joined, last_id, without
from docdb.language.sphere import angle, vector

PLACES = [
    (0, 0),
    (180, 0),
    (-180, 0),
    (0, 90),
    (77, 90),
    (0, -90),
    (45, 35.26),
    (-45, 45),
    (179.999, -0.001),
    (90, 0),
    (10.75, 59.91),
]


def path_to(leaf, root):
    """The cells a leaf lies in, the largest first."""
    found = [root]
    while found[-1].level < FINEST:
        found += [child for child in found[-1].children() if first_id(child.id) <= leaf <= last_id(child.id)]
        assert found[-1].level == len(found) - 1
    return found


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_place_lies_in_every_cell_around_its_leaf(place):
    leaf, point = cells.leaf_of_place(*place), vector(*place)
    found = path_to(leaf, FACES[leaf >> 61])
    assert found[-1].id == leaf
    assert all(angle(cell.centre, point) <= cell.reach + 1e-15 for cell in found)
    assert [cell.id for cell in found[-2::-1]] == cells.ancestors(leaf)
    assert [cells.cell_around(leaf, cell.level) for cell in found] == [cell.id for cell in found]


def test_random_places_and_their_cells():
    chance = random.Random(1)
    for _ in range(150):
        place = chance.uniform(-180, 180), math.degrees(math.asin(chance.uniform(-1, 1)))
        leaf = cells.leaf_of_place(*place)
        assert all(angle(cell.centre, vector(*place)) <= cell.reach for cell in path_to(leaf, FACES[leaf >> 61]))


@pytest.mark.parametrize("place", [(-180, -180), (180, 180), (0, 0), (-180, 180), (179.9, -3.25)], ids=str)
def test_a_point_of_the_plane(place):
    low, high = -180.0, 180.0
    leaf = cells.leaf_of_plane(*place, low, high)
    for cell in path_to(leaf, PLANE):
        side = (high - low) / 2**cell.level
        x, y = low + cell.i * side, low + cell.j * side
        assert x <= place[0] <= x + side
        assert y <= place[1] <= y + side


def test_the_curve_meets_each_cell_of_a_level_once_and_goes_from_neighbour_to_neighbour():
    level = [PLANE]
    for _ in range(5):
        level = [child for cell in level for child in cell.children()]
    assert [cell.place for cell in level] == list(range(4**5))
    assert len({(cell.i, cell.j) for cell in level}) == 4**5
    steps = {abs(a.i - b.i) + abs(a.j - b.j) for a, b in itertools.pairwise(level)}
    assert steps == {1}
    assert [cell.id for cell in level] == sorted(cell.id for cell in level)


def test_keys_are_in_the_order_of_the_numbers():
    numbers = [first_id(FACES[0].id), FACES[0].id, last_id(FACES[0].id), last_id(FACES[5].id)]
    assert [cells.cell_key(number) for number in numbers] == sorted(map(cells.cell_key, numbers))
    assert {len(cells.cell_key(number)) for number in numbers} == {9}
    assert FACES[2].children()[3].name == "2/3"


def test_sets_of_numbers_against_plain_sets():
    chance = random.Random(2)

    def parts():
        starts = sorted(chance.sample(range(200), 8))
        return joined((low, low + chance.randrange(30)) for low in starts)

    def plain(ranges):
        return {number for low, high in ranges for number in range(low, high + 1)}

    for _ in range(200):
        left, right = parts(), parts()
        rest = without(left, right)
        assert plain(rest) == plain(left) - plain(right)
        assert rest == sorted(rest)


def test_a_cover_parts_what_is_not_inside():
    def narrow(state, cell):
        return INSIDE if cell.level == 2 and cell.place % 4 == 1 else state

    found = cover([PLANE], True, narrow, 16)
    assert len(found) == 16
    assert [cell.place for cell, inside in found if inside] == [1, 5, 9, 13]
    assert cover([PLANE], True, lambda state, cell: None, 16) == []


def test_a_cover_follows_a_single_cell_to_the_finest_level():
    leaf = cells.leaf_of_place(10, 20)
    found = cover(FACES, True, lambda state, cell: state if first_id(cell.id) <= leaf <= last_id(cell.id) else None, 1)
    assert [cell.id for cell, _ in found] == [leaf]
    assert ids_of(leaf) == (leaf, leaf)
