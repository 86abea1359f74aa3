"""A short form of the campaign through users' handles; ``python -m tests.rules.soundness`` is the long one."""

from __future__ import annotations

from random import Random

from tests.rules.soundness import Play, Tally, one_rule

SEED = 11
TRIPLES = 3_000


def test_no_call_gives_or_changes_what_the_law_denies() -> None:
    tally, play, number = Tally(), Play(), SEED * 1_000_003
    while tally.triples < TRIPLES:
        try:
            one_rule(Random(number), play, tally)
        except BaseException as error:
            error.add_note(f"seed {number}")
            raise
        number += 1
    assert tally.allowed > tally.calls / 3
    assert tally.proved > tally.contained / 3
    play.db.close()
