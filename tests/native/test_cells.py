"""The kernel's covers of rings against ``language/geo_covers.py``."""

import math
import random

import pytest

from docdb import _native
from docdb.language.cells import FINEST, REACHES, Cell
from docdb.language.geo_covers import reference_cover_ring
from docdb.language.sphere import vector

pytestmark = pytest.mark.skipif(
    not _native.AVAILABLE, reason="compares the kernel, which is switched off or was not built"
)


def distances(low, high):
    """For each level the squared distances beyond, inside and below which a cell's centre lies."""

    def chord(radius):
        return -1.0 if radius < 0 else 5.0 if radius >= math.pi else (2 * math.sin(radius / 2)) ** 2

    inner = [chord(high - reach) if low <= 0 else -1.0 for reach in REACHES]
    return [chord(high + reach) for reach in REACHES], inner, [chord(low - reach) for reach in REACHES]


@pytest.mark.parametrize("most", [1, 8, 40])
@pytest.mark.parametrize("high", [0.0, 1e-9, 1e-5, 0.01, 0.3, 1.6, 4.0])
def test_covers_are_the_reference_s(high, most):
    from docdb._native.cells import cover_ring

    chance = random.Random(f"{high} {most}")
    for low in (0.0, high / 2):
        for _ in range(4):
            centre = vector(chance.uniform(-180, 180), chance.choice([90, -90, chance.uniform(-90, 90)]))
            lists = distances(low, high)
            found = [(Cell(*cell), inside) for *cell, inside in cover_ring(*centre, *lists, most, FINEST)]
            assert found == reference_cover_ring(centre, *lists, most)


@pytest.mark.parametrize(("levels", "most", "finest"), [(30, 8, 30), (31, 0, 30), (31, 8, 31), (31, 10**9, 30)])
def test_what_is_no_ring_is_refused(levels, most, finest):
    from docdb._native.cells import cover_ring

    row = [1.0] * levels
    with pytest.raises(ValueError, match="ring"):
        cover_ring(1.0, 0.0, 0.0, row, row, row, most, finest)
