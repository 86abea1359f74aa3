"""Sets of single values: their algebra, and what filter leaves say of one value."""

import random

import pytest

from docdb.language import tree
from docdb.language.matching import leaf_of
from docdb.language.values import MISSING
from docdb.rules.regions import (
    ABSENT,
    EVERYTHING,
    NOTHING,
    bracket,
    complement,
    intersect,
    leaf_region,
    outside,
    point,
    subset,
    union,
)
from tests.fuzz.rules import ODD, VALUES

SEED = 11
POOL = (*VALUES, *ODD, MISSING)


def holds(region, value):
    return subset(ABSENT if value is MISSING else point(value), region)


def some_region(chance):
    kinds = (
        lambda: point(chance.choice(POOL)),
        lambda: bracket(chance.choice((0x10, 0x20, 0x30, 0x50, 0x90))),
        lambda: leaf_region(tree.Compare(("a",), chance.choice(("gt", "gte", "lt", "lte")), chance.choice(VALUES)))[0],
        lambda: NOTHING,
        lambda: EVERYTHING,
    )
    return union(chance.choice(kinds)() for _ in range(chance.randrange(4)))


def test_the_algebra_is_that_of_sets():
    chance = random.Random(SEED)
    for _ in range(2_000):
        left, right, value = some_region(chance), some_region(chance), chance.choice(POOL)
        assert holds(union((left, right)), value) is (holds(left, value) or holds(right, value))
        assert holds(intersect(left, right), value) is (holds(left, value) and holds(right, value))
        assert holds(complement(left), value) is not holds(left, value)
        assert holds(outside(left, right), value) is (holds(left, value) and not holds(right, value))
        assert subset(left, union((left, right)))


LEAVES = [
    *(tree.Compare(("a",), op, value) for op in ("eq", "gt", "gte", "lt", "lte") for value in POOL[:-1]),
    tree.In(("a",), (1, "x", None)),
    tree.In(("a",), ("x",), (tree.Pattern(("a",), "^y", ""),)),
    tree.Exists(("a",)),
    tree.TypeIs(("a",), frozenset({"int"})),
    pytest.param(tree.TypeIs(("a",), frozenset({"int", "long", "double", "decimal"})), id="TypeIs number"),
    pytest.param(tree.TypeIs(("a",), frozenset({"date", "null"})), id="TypeIs date or null"),
    tree.Size(("a",), 2),
    tree.Mod(("a",), 2, 1),
    tree.Bits(("a",), "any_set", (0,)),
    tree.Pattern(("a",), "x", ""),
]


@pytest.mark.parametrize("leaf", LEAVES, ids=repr)
def test_a_leaf_says_what_its_region_says_of_one_value(leaf):
    region, exact = leaf_region(leaf)
    test = leaf_of(leaf)[1]
    passed = [value for value in POOL if test(value)]
    assert [value for value in passed if not holds(region, value)] == []
    surplus = [value for value in POOL if holds(region, value) and not test(value)]
    assert surplus == [] or not exact
