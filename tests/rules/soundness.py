"""The soundness campaign through handles of users: ``python -m tests.rules.soundness --seed 1 --count 1000000``.

Each triple is a rule, a query and documents, made as for ``tests.fuzz.rules``, and played through ``db.as_user``: found, counted, gathered, updated
and deleted, with a proof and in filter mode, alone, in transactions and in snapshots. Held to the evaluator, which is the law:

- no document that the law denies is returned, counted, gathered, changed or removed;
- what is allowed gives every match that the law allows, and no other; in filter mode only a question that can have no answer is refused.

It also says how many of the queries that the rule contained, as far as their matches told, were proved. Rules that ask the clock are left out: here it is
the machine's.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import docdb
from docdb.errors import DeniedError, DocdbError, RuleError
from docdb.language.filters import parse as parse_filter
from docdb.language.matching import matcher
from docdb.rules.constraint import constraint
from docdb.rules.evaluator import Circumstances, allows
from docdb.rules.readers import Documents
from docdb.rules.ruleset import load
from tests.fuzz.rules import AUTHS, SHOPS, aimed_query, document, query, rule

__all__ = ["Play", "Tally", "one_rule"]

QUERIES: Final = 12  # of each rule
MOST_DOCUMENTS: Final = 8


@dataclass
class Tally:
    """What a run saw."""

    triples: int = 0
    calls: int = 0
    allowed: int = 0
    contained: int = 0
    proved: int = 0
    by_call: dict[str, int] = field(default_factory=dict)


class Play:
    """A database that rules and documents come and go in."""

    def __init__(self) -> None:
        self.db = docdb.open(":memory:", sweep_s=None, slow_ms=1e9)
        self.db["shops"].insert_many([dict(shop) for shop in SHOPS])
        self.db["home"].insert_one({"_id": "h"})
        self.db.set_rules("home", {"read": True, "write": True})
        self.db.set_rules("shops", "ADMINONLY")
        self.db["notes"].create_index("a")
        self.db["notes"].create_index("b")
        self.stored: list[dict[str, Any]] = []

    def store(self, documents: list[dict[str, Any]]) -> None:
        """Put documents in the place of those before."""
        self.db["notes"].delete_many({})
        self.db["notes"].insert_many([dict(one) for one in documents])
        self.stored = list(self.db["notes"].find({}).sort("_id", 1))

    def changed(self) -> list[dict[str, Any]]:
        """Return the documents as they were before, of those that are no longer the same, and put them back."""
        now = {repr(one["_id"]): repr(one) for one in self.db["notes"].find({})}
        lost = [one for one in self.stored if now.get(repr(one["_id"])) != repr(one)]
        if lost or len(now) != len(self.stored):
            self.store(self.stored)
        return lost


Call = Callable[[Any, dict[str, Any]], Any]


def _ids(rows: Any) -> list[str]:
    return sorted(repr(row["_id"]) for row in rows)


def _joined(handle: Any, spec: dict[str, Any]) -> list[str]:
    stages = [
        {"$lookup": {"from": "notes", "pipeline": [{"$match": spec}], "as": "all"}},
        {"$unwind": "$all"},
        {"$replaceWith": "$all"},
    ]
    return _ids(handle["home"].aggregate(stages))


def _in_transaction(handle: Any, spec: dict[str, Any]) -> list[str]:
    with handle.transaction() as t:
        return _ids(t["notes"].find(spec))


def _in_snapshot(handle: Any, spec: dict[str, Any]) -> list[str]:
    with handle.snapshot() as view:
        return _ids(view["notes"].find(spec))


# Each returns the ids that it has seen; those of COUNTS only how many.
READS: Final[dict[str, Call]] = {
    "find": lambda handle, spec: _ids(handle["notes"].find(spec)),
    "find sorted": lambda handle, spec: _ids(handle["notes"].find(spec).sort([("b", 1), ("_id", 1)]).limit(100)),
    "find ids": lambda handle, spec: _ids(handle["notes"].find(spec, {"_id": 1})),
    "match": lambda handle, spec: _ids(handle["notes"].aggregate([{"$match": spec}, {"$set": {"z": 1}}])),
    "facet": lambda handle, spec: _ids(next(iter(handle["notes"].aggregate([{"$match": spec}, {"$facet": {"x": [{"$limit": 99}]}}])))["x"]),
    "push": lambda handle, spec: sorted(
        repr(id) for row in handle["notes"].aggregate([{"$match": spec}, {"$group": {"_id": None, "all": {"$push": "$_id"}}}]) for id in row["all"]
    ),
    "distinct": lambda handle, spec: sorted(repr(id) for id in handle["notes"].distinct("_id", spec)),
    "lookup": _joined,
    "union": lambda handle, spec: _ids(
        handle["home"].aggregate([{"$match": {"_id": "none"}}, {"$unionWith": {"coll": "notes", "pipeline": [{"$match": spec}]}}])
    ),
    "transaction": _in_transaction,
    "snapshot": _in_snapshot,
}  # fmt: skip
COUNTS: Final[dict[str, Call]] = {
    "count": lambda handle, spec: handle["notes"].count_documents(spec),
    "count stage": lambda handle, spec: sum(
        row["n"] for row in handle["notes"].aggregate([{"$match": spec}, {"$count": "n"}])
    ),
}
WRITES: Final[dict[str, Call]] = {
    "update": lambda handle, spec: handle["notes"].update_many(spec, {"$set": {"mark": 1}}),
    "program": lambda handle, spec: handle["notes"].update_many(spec, [{"$set": {"mark": 1}}]),
    "delete": lambda handle, spec: handle["notes"].delete_many(spec),
}
ONE: Final[dict[str, Call]] = {
    "update one": lambda handle, spec: handle["notes"].update_one(spec, {"$set": {"mark": 1}}),
    "delete one": lambda handle, spec: handle["notes"].delete_one(spec),
    "find and update": lambda handle, spec: handle["notes"].find_one_and_update(spec, {"$set": {"mark": 1}}),
}


def one_rule(chance: Random, play: Play, tally: Tally) -> None:
    """Make a rule and documents, and hold some queries to them; raise AssertionError at the first difference."""
    text = rule(chance)
    if "now" in text:
        return
    try:
        ruleset = load({"read": text, "write": text})
        play.db.set_rules("notes", {"read": text, "write": text})
    except RuleError:
        return
    auth = chance.choice(AUTHS)
    pool = {repr(one["_id"]): one for one in (document(chance) for _ in range(MOST_DOCUMENTS))}
    play.store(list({(type(one["_id"]) is bool, one["_id"]): one for one in pool.values()}.values()))
    reader = Documents({"shops": SHOPS})
    law = [
        allows(ruleset.trees["read"], Circumstances(auth=auth, now=0, doc=one, old=one, reader=reader))
        for one in play.stored
    ]
    wanted = constraint(ruleset.trees["read"], Circumstances(auth=auth, now=0, reader=reader))
    handles = {mode: play.db.as_user(auth, filter_mode=mode == "filter") for mode in ("prove", "filter")}
    for _ in range(QUERIES):
        spec = aimed_query(chance, wanted) if chance.random() < 0.6 else query(chance)
        try:
            asked = matcher(parse_filter(spec, text=False))
        except DocdbError:
            continue
        tally.triples += 1
        _held(
            chance,
            play,
            tally,
            handles,
            spec,
            [asked(one) for one in play.stored],
            law,
            f"{text!r} for {auth!r} and {spec!r}",
        )


def _held(
    chance: Random,
    play: Play,
    tally: Tally,
    handles: dict[str, Any],
    spec: Any,
    found: list[bool],
    law: list[bool],
    label: str,
) -> None:
    matched = [one for one, match in zip(play.stored, found, strict=True) if match]
    lawful = [one for one, match, allowed in zip(play.stored, found, law, strict=True) if match and allowed]
    for mode, handle in handles.items():
        name = chance.choice(("find", *READS, *COUNTS, *WRITES, *ONE))
        where = f"{name} in {mode} mode under {label}"
        tally.calls += 1
        tally.by_call[name] = tally.by_call.get(name, 0) + 1
        denied = not _one_call(play, handle, name, spec, lawful, where)
        tally.allowed += not denied
        if mode == "filter":
            assert not denied or not lawful or _pinned(spec), f"{where}: refused, though {lawful[0]!r} is allowed"
        elif len(matched) >= 2 and len(lawful) == len(matched) and name in READS:
            tally.contained += 1
            tally.proved += not denied


def _one_call(play: Play, handle: Any, name: str, spec: Any, lawful: list[dict[str, Any]], where: str) -> bool:
    """Make a call and hold what came of it to the law; return whether it was allowed."""
    allowed, answer = True, None
    try:
        answer = (READS | COUNTS | WRITES | ONE)[name](handle, spec)
    except DeniedError:
        allowed = False
    if name in WRITES or name in ONE:
        ids, permitted = _ids(play.changed()), _ids(lawful)
        assert set(ids) <= set(permitted), f"{where}: changed {ids}, allowed are {permitted}"
        assert allowed or not ids, f"{where}: changed {ids} and refused"
        if allowed and name in WRITES:
            assert ids == permitted, f"{where}: changed {ids}, allowed are {permitted}"
        if allowed and name in ONE:
            assert len(ids) == min(1, len(permitted)), f"{where}: changed {ids}, allowed are {permitted}"
    elif allowed and name in COUNTS:
        assert answer == len(lawful), f"{where}: {answer}, allowed are {_ids(lawful)}"
    elif allowed:
        assert answer == _ids(lawful), f"{where}: {answer}, allowed are {_ids(lawful)}"
    return allowed


def _pinned(spec: Any) -> bool:
    """Tell whether a query may be one of a single ``_id``, which is judged by what is stored: an absent one is refused."""
    return "_id" in repr(spec)


def main() -> int:
    """Run the campaign; 1 at the first violation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=5_000, help="triples")
    options = parser.parse_args()
    began, tally, number, play = time.monotonic(), Tally(), 0, Play()
    while tally.triples < options.count:
        seed = options.seed * 1_000_003 + number
        number += 1
        if number % 2_000 == 0:
            play.db.close()
            play = Play()
        try:
            one_rule(Random(seed), play, tally)
        except Exception as error:
            print(f"seed {seed}: {type(error).__name__}: {error}", flush=True)
            return 1
    print(report(tally, time.monotonic() - began))
    return 0


def report(tally: Tally, seconds: float) -> str:
    """Return the figures of a run as text."""
    share = f"{100 * tally.proved / tally.contained:.1f}%" if tally.contained else "-"
    calls = ", ".join(f"{name} {count:,}" for name, count in sorted(tally.by_call.items()))
    return (
        f"{tally.triples:,} triples, {tally.calls:,} calls, 0 violations, {seconds:.0f} s\n"
        f"{tally.allowed:,} calls allowed; {tally.proved:,} of {tally.contained:,} reads contained by their matches proved ({share})\n"
        f"{calls}"
    )


if __name__ == "__main__":
    sys.exit(main())
