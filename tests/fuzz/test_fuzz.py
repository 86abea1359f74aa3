"""A short form of the fuzzing; ``python -m tests.fuzz`` is the long one."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz import guided
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


@pytest.mark.parametrize(
    "data", [b"\x01\x81\xa3_id\x01", b"\x01\xdf\xff\xff\xff\xff", b'\x00{"a": {"$gt": 1}}', b"\x00[", b""], ids=repr
)
def test_the_doors_of_guided_fuzzing_take_anything(data: bytes) -> None:
    guided.one(data)
