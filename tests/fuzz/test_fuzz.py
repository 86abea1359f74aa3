"""A short form of the fuzzing; ``python -m tests.fuzz`` is the long one."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.targets import TARGETS, run_one

SEED = 4
EXECUTIONS = 500


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_generated_input_gives_a_result_or_a_docdb_error(name: str) -> None:
    for number in range(EXECUTIONS):
        seed = SEED * 1_000_003 + number
        try:
            run_one(name, Random(seed))
        except BaseException as error:
            error.add_note(f"target {name}, seed {seed}")
            raise
