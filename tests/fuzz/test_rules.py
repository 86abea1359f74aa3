"""A short form of the rules' campaign; ``python -m tests.fuzz.rules`` is the long one."""

from __future__ import annotations

from random import Random

from tests.fuzz.rules import Tally, one_rule

SEED = 7
TRIPLES = 30_000


def test_the_prover_and_the_constraint_agree_with_the_evaluator() -> None:
    tally, number = Tally(), SEED * 1_000_003
    while tally.triples < TRIPLES:
        try:
            one_rule(Random(number), tally)
        except BaseException as error:
            error.add_note(f"seed {number}")
            raise
        number += 1
    assert tally.allowed > TRIPLES / 20
    assert tally.proved > tally.contained / 2
