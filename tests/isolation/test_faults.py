"""Each fault of the engine is found, and the same drivers find nothing in the engine as it is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.isolation import faults_of_reads, faults_of_writes
from tests.isolation.checker import check
from tests.isolation.drives import DRIVES

FAULTS = faults_of_reads.FAULTS | faults_of_writes.FAULTS

SEEDS = 12  # how many a fault may stay hidden from


@pytest.mark.damaged  # what a fault leaves behind is no sound database
@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = FAULTS[name]
    found: set[str] = set()
    for seed in range(SEEDS):
        with monkeypatch.context() as patch:
            fault.apply(patch)
            found |= check(DRIVES[fault.drive](seed, patch, only=fault.only, each=fault.each)).kinds
        if found & fault.kinds:
            return
    raise AssertionError(f"{name} stayed hidden from seeds 0 to {SEEDS - 1}; found {found}")


@pytest.mark.parametrize(
    "settings", sorted({(f.drive, *sorted(f.only), f.each) for f in FAULTS.values()}, key=str), ids=str
)
def test_nothing_is_found_in_the_engine(settings: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    drive, *only, each = settings
    verdict = check(DRIVES[drive](0, monkeypatch, only=frozenset(only), each=each))
    assert verdict.anomalies == []
    assert verdict.counts["failed"] < verdict.counts["committed"]


def test_there_are_enough() -> None:
    assert len(FAULTS) >= 20
    assert len(FAULTS) == len(faults_of_reads.FAULTS) + len(faults_of_writes.FAULTS)
