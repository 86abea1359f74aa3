"""Trying an attack: one way in, through the user's handle, on each of the three databases.

What lives here: ``tried``, which plays and states what must hold, and ``pairs``, which attacks meet which ways in.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import pytest

from tests.rules.attacks.detector import Seen, leaks, seen, unlawful, visible
from tests.rules.attacks.entry_points import ENTRIES, VARIANTS, Entry
from tests.rules.attacks.stage import HOME, HOME_RULES, Attack, Probe, Stage, dump, user_of
from tests.rules.attacks.twin import Blocking, Loop

__all__ = ["everywhere", "pairs", "tried"]

ALL: Final = (
    os.environ.get("DOCDB_ATTACKS") == "all"
)  # every variant of every entry point; else one besides the plain one
NO_TWIN: Final = ("where_live", "doc_live")  # the plain face's own door for faces like asyncio's


def variants(attack: Attack, entry: Entry) -> Sequence[tuple[str, bool]]:
    """Return through what an entry point is tried: a name of VARIANTS, and whether in asyncio."""
    fit = ["plain"] if entry.alone else ["plain", "transaction", "run_transaction"]
    if not entry.alone and not entry.writes:
        fit.append("snapshot")
    others = [(name, False) for name in fit[1:]]
    if entry.name not in NO_TWIN:
        others += [(name, True) for name in fit]
    if not ALL and others:
        others = [others[zlib.crc32(f"{attack.name} {entry.name}".encode()) % len(others)]]
    return [("plain", False), *others]


def everywhere(stage: Stage, entry: Entry, loop: Loop) -> None:
    """Try an attack through an entry point: one of its probes, in one mode, through the plain entry point or a variant.

    Which it is shifts from entry point to entry point, so that each probe meets several, in every way. With DOCDB_ATTACKS=all in the environment
    (``make attacks``): everything.
    """
    attack, shift = stage.attack, ENTRIES.index(entry)
    trials = [
        (probe, variant, twin, mode)
        for variant, twin in variants(attack, entry)
        for probe in attack.probes
        for mode in attack.modes
    ]
    if not ALL:
        half = len(attack.probes) * len(attack.modes)
        trials = [part[shift % half] for part in (trials[:half], trials[half:]) if part]
        trials = [trials[zlib.crc32(attack.name.encode()) % 2 - shift % 2]] if len(trials) == 2 else trials
    for probe, variant, twin, mode in trials:
        tried(stage, entry, probe, variant, mode, loop if twin else None)


def tried(
    stage: Stage, entry: Entry, probe: Probe, variant: str = "plain", mode: str = "prove", loop: Loop | None = None
) -> dict[str, Seen]:
    """Play a probe in all three databases; assert that nothing was learned and nothing changed that the law does not allow."""
    attack, found, learned = stage.attack, {}, {}
    rules = {HOME: HOME_RULES, **attack.rules}
    for world in stage.plays:
        found[world] = played(stage, world, entry, probe, variant, mode, loop)
        learned[world] = found[world].text
        after = dump(stage.plays[world])
        if entry.writes:
            learned[world] += visible(rules, attack.auth, after)
        if repr(after) != repr(stage.begun[world]):  # by text, since no NaN equals another
            assert unlawful(rules, attack.auth, stage.begun[world], after) == [], (world, variant, mode, probe)
            stage.restore(world)
        assert leaks(learned[world]) == [], (world, variant, mode, probe)
    assert learned["known"] == learned["other"], (variant, mode, probe)
    if not entry.makes:
        assert learned["known"] == learned["absent"], (variant, mode, probe)
    return found


def played(stage: Stage, world: str, entry: Entry, probe: Probe, variant: str, mode: str, loop: Loop | None) -> Seen:
    """Return what the user sees."""
    call = VARIANTS[variant](entry.call)
    db = stage.plays[world] if loop is None else Blocking(stage.twin(world), loop)
    return seen(lambda: call(user_of(db, stage.attack.auth, mode), probe))


def pairs(attacks: Iterable[Attack]) -> list[Any]:
    """Return every attack with every entry point that it concerns, as parameters of a test."""
    return [
        pytest.param(attack, entry, id=f"{attack.name}-{entry.name}")
        for attack in attacks
        for entry in ENTRIES
        if attack.concerns(entry.uses) and entry.kind not in attack.without
    ]
