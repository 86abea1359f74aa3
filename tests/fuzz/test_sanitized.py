"""A short form of the sanitized campaign, over kernels that compile quickly; ``make sanitize`` is the long one."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from docdb import _native
from tests.fuzz import damage, sanitized

pytestmark = pytest.mark.skipif(
    not _native.AVAILABLE or sanitized.missing() is not None, reason=f"no kernels, or {sanitized.missing()}"
)
KERNELS = "cells,joining,keys,top"
EXECUTIONS = 20_000


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the package with a few sanitized kernels."""
    return sanitized.build(tmp_path_factory.mktemp("sanitized"), KERNELS)


def test_a_planted_fault_ends_the_process(library: Path, tmp_path: Path) -> None:
    assert sanitized.Campaign(library, 1, ["keys.order_key"], tmp_path).is_awake()


def test_damaged_bytes_have_no_finding(library: Path, tmp_path: Path) -> None:
    from tests.fuzz.kernels import DOORS

    doors = [name for name in sorted(DOORS) if name.startswith(tuple(KERNELS.split(",")))]
    counts = sanitized.Campaign(library, 5, doors, tmp_path).run(EXECUTIONS)
    assert counts is not None
    assert all(number >= EXECUTIONS // len(doors) - damage.BATCH for number, _ in counts.values())


def test_a_finding_is_told_with_its_input(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sanitized.Campaign(library, 1, ["keys.order_key", "planted.overrun"], tmp_path).run(10_000) is None
    told = capsys.readouterr().out
    assert "FOUND: planted.overrun, seed 1, round 0" in told
    assert "AddressSanitizer: " in told
    assert "input 0 alone is enough" in told


def test_the_same_seed_gives_the_same_inputs() -> None:
    from tests.fuzz.kernels import DOORS

    for name in ("codec.decode", "keys.split_components", "lmdb_engine.walk"):
        assert sanitized.batch(name, 3, 7) == DOORS[name]().source(Random(f"3 {name} 7"))
        assert sanitized.batch(name, 3, 7) != sanitized.batch(name, 3, 8)


def test_every_kernel_has_a_door() -> None:
    from tests.fuzz.kernels import DOORS

    kernels = {path.stem for path in (sanitized.ROOT / "docdb" / "_native").glob("*.pyx")}
    assert kernels - {name.partition(".")[0] for name in DOORS} == set()
