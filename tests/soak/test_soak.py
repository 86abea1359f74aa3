"""The short form of the soak, and whether its measures notice what grows."""

from __future__ import annotations

import random
import sys

import pytest

from tests.soak.__main__ import soak
from tests.soak.watch import Series, slope


@pytest.mark.skipif(sys.platform != "linux", reason="measures come from /proc")
def test_twenty_seconds_of_everything() -> None:
    found = soak(20, seed=1, every_s=0.5)
    assert found.problems == []
    assert sum(found.kills.values()) >= 5
    assert min(found.board.get(process.worker.slot) for process in found.processes) > 0


def series(measure: str, *values: float) -> Series:
    found = Series(measure)
    for at, value in enumerate(values):
        found.add(float(at), value)
    return found


def test_a_leak_is_noticed() -> None:
    chance = random.Random(1)
    assert not series("memory MiB", *[100 + at * 0.5 + chance.random() * 5 for at in range(100)]).flat()
    assert not series("open files", *[12 + at // 10 for at in range(100)]).flat()
    assert not series("threads", *[2 + at // 20 for at in range(100)]).flat()


def test_noise_and_warming_up_are_none() -> None:
    chance = random.Random(2)
    assert series("memory MiB", *[min(at, 50) + chance.random() for at in range(100)]).flat()
    assert series("open files", *[12 + chance.choice((0, 0, 9)) for at in range(100)]).flat()


def test_a_slope_is_not_bent_by_outliers() -> None:
    values = [2.0 * at for at in range(20)]
    values[3] = values[11] = 1e6
    assert slope([float(at) for at in range(20)], values) == 2.0
