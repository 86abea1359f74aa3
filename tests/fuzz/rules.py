"""The soundness campaign of security rules: ``python -m tests.fuzz.rules --seed 1 --count 1000000``.

Each triple is a rule, a query and documents, all random and of few names and values, so that they meet. Held to the evaluator, which is the law:

- when ``decide`` allows, its filter matches exactly the documents that satisfy the rule and match the query; in filter mode always;
- ``constraint`` matches exactly where the evaluator allows; so does its program over stored bytes, and ``judge``.

It also says how many of the queries that looked contained in the rule (no document of a sample told otherwise) were proved.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import time
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any, Final

from docdb.errors import DocdbError
from docdb.language import tree
from docdb.language.collation import parse_collation
from docdb.language.filters import parse as parse_filter
from docdb.language.matching import matcher
from docdb.language.programs import compile_program
from docdb.language.values import Int64, ObjectId, Regex
from docdb.rules.checker import check
from docdb.rules.constraint import constraint
from docdb.rules.evaluator import Circumstances, allows
from docdb.rules.judging import judge
from docdb.rules.parser import parse
from docdb.rules.prover import decide
from docdb.rules.spelling import spell
from docdb.store import codec
from tests.rules.readers import Rows

DATE: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
NOW: Final = 1_767_225_600_000  # the same moment
NAN: Final = float("nan")
FIELDS: Final = ("a", "b", "o", "l", "t", "_id")
PATHS: Final = ("a", "b", "a", "b", "l", "t", "o.a", "o.b", "o.o.a", "l.0", "l.a", "_id", "a.b")
PLACES: Final = (
    "doc.a", "doc.b", "doc.a", "doc.b", "doc.l", "doc.t", "doc.o.a", "doc.o.b", "doc.o.o.a", "doc.l[0]", "doc['a']", "doc.l.a",
    "doc[auth.field]", "doc._id", "doc.a.b", "doc.o['b']", "doc.missing",
)  # fmt: skip
SETTLED: Final = (
    "'x'", "'y'", "1", "2", "1.0", "1.5", "true", "false", "null", "auth.openid", "auth.level", "auth.nothing", "now", "''", "'x' + 'y'", "-1",
    "9007199254740993", "[1, 'x']", "{a: 1}", "get('database.shops.s1').owner", "get('database.shops.s9').owner", "auth.nan", "auth.date",
    "auth.list", "now - 1", "now + 0.5", "auth.decimal", "get('database.shops.s9')", "get('database.collection.shops').size()",
)  # fmt: skip
LISTS: Final = (
    "['x', 'y']", "[1, 2]", "['x', 1, null]", "[]", "auth.list", "[auth.openid, auth.nan]", "[[1], 'x']", "auth.openid",
)  # fmt: skip
BOUNDS: Final = (
    "1",
    "2",
    "1.5",
    "'x'",
    "now",
    "auth.level",
    "auth.nan",
    "auth.date",
    "-1",
    "9007199254740993",
    "now + 0.5",
    "auth.decimal",
)
DEPENDENT: Final = (
    "get(`database.shops.${doc.a}`).owner == auth.openid", "get('database.shops.' + doc.b).owner == doc.a", "doc.l.size() > 1",
    "get('database.collection.shops').where({owner: doc.a}).size() > 0", "doc.a == doc.b", "doc.a + 1 > 2", "`${doc.a}${doc.b}` == 'xy'",
    "doc.a in doc.l", "doc == {a: 1}", "doc.l == [1, 2]", "[doc.a] == ['x']", "doc[doc.a] == 1", "doc.a + doc.b == 'xy'",
    "now - doc.t < 1000", "/^x/.test(doc.a)", "get(`database.shops.${doc.a}`) != null", "get('database.shops.' + doc.a) == undefined",
    "get('database.collection.shops').where({owner: doc.a})[0]._id == doc.b", "doc.b < get('database.collection.shops').size()",
)  # fmt: skip
VALUES: Final = (
    "x", "y", 1, 2, 1.0, 1.5, True, False, None, "", -1, 0.0, 3, "xy", NOW, Int64(1), Decimal("1"), Decimal("1.0"), DATE,
)  # fmt: skip
ODD: Final[tuple[Any, ...]] = (
    NAN, Decimal("NaN"), Decimal("2"), float("inf"), 2**53 + 1, float(2**53), 2**63 - 1, -(2**63), b"x", ObjectId("64b7f0c2a1b2c3d4e5f60718"),
    Regex("x"), [], {}, {"a": 1}, [1, 2], ["x"], [["x"]], [None], [Decimal(1)], [{"a": "x"}], {"b": "x"}, {"a": ["x"]}, {"o": {"a": 1}}, "𐀀", "\uffff",
    DATE + dt.timedelta(microseconds=1), DATE + dt.timedelta(microseconds=500), NOW + 0.5, NOW + 1, DATE + dt.timedelta(seconds=1),
)  # fmt: skip


SHOPS: Final = [{"_id": "s1", "owner": "x"}, {"_id": "x", "owner": "me"}, {"_id": "y", "owner": "y"}]


AUTHS: Final[tuple[dict[str, Any] | None, ...]] = (
    None,
    {"openid": "x", "level": 1, "list": ["x", "y"], "field": "a", "nan": NAN, "date": DATE, "decimal": Decimal("1.0")},
    {"openid": "me", "level": 2.0, "list": [1, None, "x"], "field": "o", "date": DATE + dt.timedelta(microseconds=1)},
    {"openid": "y", "level": True, "list": [], "field": 0},
)


@dataclass
class Tally:
    """What a run saw."""

    triples: int = 0
    judged: int = 0
    allowed: int = 0
    contained: int = 0
    proved: int = 0
    unknown: int = 0


# ---- rules, as text


def rule(chance: Random, depth: int = 0) -> str:
    """Return the text of a rule that may or may not pass the checker."""
    if depth == 0 and chance.random() < 0.5:
        return " && ".join(_atom(chance) for _ in range(chance.randrange(1, 4)))
    kind = chance.random()
    if depth < 3 and kind < 0.45:
        operator = chance.choice(("&&", "&&", "||"))
        return f"({rule(chance, depth + 1)}) {operator} ({rule(chance, depth + 1)})"
    if depth < 4 and kind < 0.55:
        return f"!({rule(chance, depth + 1)})"
    return _atom(chance)


def _atom(chance: Random) -> str:
    place, settled = chance.choice(PLACES), chance.choice(SETTLED)
    if chance.random() < 0.15:
        place = f"default({place}, {chance.choice((*SETTLED, *PLACES))})"
    kind = chance.randrange(14)
    if kind < 4:
        sides = [place, settled]
        chance.shuffle(sides)
        return f"{sides[0]} {chance.choice(('==', '==', '!='))} {sides[1]}"
    if kind < 7:
        sides = [place, chance.choice(BOUNDS)]
        chance.shuffle(sides)
        return f"{sides[0]} {chance.choice(('<', '<=', '>', '>='))} {sides[1]}"
    if kind == 7:
        return f"{place} in {chance.choice(LISTS)}"
    if kind == 8:
        return f"{settled} in {place}"
    if kind == 9:
        return chance.choice((f"exists({place})", f"{place} == undefined", f"{place} != undefined"))
    if kind == 10:
        return chance.choice((place, "true", "false", "auth != null", "auth.openid == 'x'", "auth.level > 1"))
    if kind == 11:
        return f"{place} == {chance.choice(PLACES)}"
    return chance.choice(DEPENDENT)


# ---- queries and documents


def query(chance: Random, depth: int = 0) -> dict[str, Any]:
    """Return a filter document."""
    kind = chance.random()
    if depth < 2 and kind < 0.3:
        name = chance.choice(("$and", "$or", "$or", "$nor"))
        return {name: [query(chance, depth + 1) for _ in range(chance.randrange(1, 4))]}
    found: dict[str, Any] = {}
    for _ in range(chance.randrange(1, 4)):
        found[chance.choice(PATHS)] = _condition(chance)
    return found


def aimed_query(chance: Random, wanted: tree.Node) -> dict[str, Any]:
    """Return a filter document about the paths and values of a constraint, so that it may well be contained in it."""
    leaves = [leaf for leaf in tree.walk(wanted) if getattr(leaf, "path", None)]
    found: dict[str, Any] = {}
    for leaf in leaves:
        values = getattr(leaf, "values", None) if isinstance(leaf, tree.In) else (getattr(leaf, "value", None),)
        value = chance.choice(values or (None,))
        near = value + chance.choice((-1, 0, 1)) if type(value) is int and abs(value) < 99 else value
        found[".".join(leaf.path)] = chance.choice(
            (near, near, {f"${leaf.op}": near} if isinstance(leaf, tree.Compare) else near, {"$in": [near]}, {"$gt": near}, {"$ne": near}, {"$exists": True})
        )  # fmt: skip
        if chance.random() < 0.15:
            found[".".join(leaf.path)] = _condition(chance)
    return {"$and": [found, query(chance)]} if chance.random() < 0.2 else found


def _condition(chance: Random) -> Any:
    value = _value(chance)
    kind = chance.randrange(16)
    if kind < 5:
        return Regex("^x") if isinstance(value, Regex) else value
    if isinstance(value, Regex):
        return {"$in": [value, "x"]}
    if kind < 9:
        return {chance.choice(("$gt", "$gte", "$lt", "$lte")): value}
    if kind == 9:
        return {"$gte": chance.choice((1, 1.5, "x")), "$lt": chance.choice((2, 3, "y"))}
    if kind == 10:
        return {chance.choice(("$in", "$in", "$nin")): [_plain(chance) for _ in range(chance.randrange(1, 4))]}
    if kind == 11:
        return {"$exists": chance.random() < 0.7}
    if kind == 12:
        return {"$ne": value}
    if kind == 13:
        return {"$type": chance.choice(("string", "number", "array", "bool", "null", "object", ["int", "null"]))}
    if kind == 14:
        return {"$not": {chance.choice(("$gt", "$lte", "$eq", "$exists")): chance.choice((1, "x", None))}}
    odd: tuple[Any, ...] = (
        {"$elemMatch": {"$eq": _plain(chance)}}, {"$elemMatch": {"$gt": 1, "$lt": 3}}, {"$elemMatch": {"a": "x"}}, {"$all": ["x", 1]},
        {"$size": 1}, {"$regex": "^x"}, {"$mod": [2, 1]}, {"$not": {"$elemMatch": {"$eq": "x"}}}, {"$all": ["x"], "$ne": "y"},
        {"$type": "array", "$eq": "x"}, {"$ne": None, "$gt": "x"},
    )  # fmt: skip
    return chance.choice(odd)


def _plain(chance: Random) -> Any:
    return chance.choice(VALUES)


def _value(chance: Random) -> Any:
    return chance.choice(ODD) if chance.random() < 0.15 else chance.choice(VALUES)


def document(chance: Random) -> dict[str, Any]:
    """Return a document of the same names and values."""
    found: dict[str, Any] = {"_id": chance.choice(("x", "y", 1, 2, True, 1.5))}
    for name in ("a", "b", "t", "l", "o"):
        if chance.random() < 0.8:
            found[name] = _field(chance, name)
    return found


def _field(chance: Random, name: str) -> Any:
    kind = chance.random()
    if name == "l" and kind < 0.7:
        return [_value(chance) if chance.random() < 0.9 else {"a": _value(chance)} for _ in range(chance.randrange(4))]
    if name == "o" and kind < 0.8:
        inner = {key: _value(chance) for key in ("a", "b") if chance.random() < 0.8}
        inner |= {"o": {"a": _value(chance)}} if chance.random() < 0.4 else {}
        return [inner, _plain(chance)] if chance.random() < 0.1 else inner
    if kind < 0.08:
        return [_value(chance) for _ in range(chance.randrange(4))]
    return _value(chance)


# ---- the campaign


def one_rule(chance: Random, tally: Tally, *, queries: int = 16, documents: int = 8, sample: int = 0) -> None:
    """Make a rule and hold some queries and documents to it; raise AssertionError at the first difference."""
    text = rule(chance)
    try:
        rule_tree = parse(text)
        check(text, rule_tree, "read")
    except DocdbError:
        return
    auth = chance.choice(AUTHS)
    pool = [document(chance) for _ in range(documents + sample)]
    law = [allows(rule_tree, _about(auth, one)) for one in pool]
    wanted = _compare_constraint(text, rule_tree, auth, pool, law, tally)
    for _ in range(queries):
        spec = aimed_query(chance, wanted) if chance.random() < 0.5 else query(chance)
        collation = parse_collation({"locale": "en", "strength": 2}) if chance.random() < 0.1 else None
        try:
            node = parse_filter(spec, collation=collation, text=False)
        except DocdbError:
            continue
        tally.triples += 1
        _compare_decision(f"{text!r} {auth!r} {spec!r}", rule_tree, auth, node, pool, law, tally)


def _about(auth: dict[str, Any] | None, doc: dict[str, Any] | None = None) -> Circumstances:
    return Circumstances(auth=auth, now=NOW, doc=doc, reader=Rows(shops=SHOPS))


def _compare_constraint(text: str, of: Any, auth: Any, pool: list[Any], law: list[bool], tally: Tally) -> tree.Node:
    node = constraint(of, _about(auth))
    matches, program = matcher(node), compile_program(node)
    judges = judge(of, _about(auth))
    for one, allowed in zip(pool, law, strict=True):
        tally.judged += 1
        assert matches(one) is allowed, f"constraint of {text!r} for {auth!r} says {not allowed} of {one!r}"
        stored = codec.encode(one)
        verdict = program.match(stored) if program is not None else 2
        tally.unknown += verdict == 2
        assert verdict in (allowed, 2), f"program of {text!r} for {auth!r} says {verdict} of {one!r}"
        assert bool(judges(stored)) is allowed, f"judge of {text!r} for {auth!r} says {not allowed} of {one!r}"
    assert spell(parse(spell(of))) == spell(of)
    return node


def _compare_decision(
    label: str, of: Any, auth: Any, node: Any, pool: list[Any], law: list[bool], tally: Tally
) -> None:
    decision = decide(of, _about(auth), node)
    filtered = decide(of, _about(auth), node, filter_mode=True)
    asked, ran, restricted = matcher(node), matcher(decision.node), matcher(filtered.node)
    tally.allowed += decision.allowed
    found = [asked(one) for one in pool]
    for one, allowed, matched in zip(pool, law, found, strict=True):
        if decision.allowed:
            assert ran(one) is (allowed and matched), f"{label} and {one!r}: rule {allowed}, query {matched}"
        wanted = filtered.allowed and allowed and matched
        assert restricted(one) is wanted, f"{label} in filter mode says {not wanted} of {one!r}"
        assert filtered.allowed or not allowed, f"{label} refused in filter mode, though {one!r} is allowed"
    _note_share(decision.allowed, pool, law, found, tally)


def _note_share(proved: bool, pool: list[Any], law: list[bool], found: list[bool], tally: Tally) -> None:
    """Contained, as far as the sample tells: at least three documents match, and all are allowed."""
    verdicts = [allowed for allowed, matched in zip(law, found, strict=True) if matched]
    if len(verdicts) >= 3 and all(verdicts):
        tally.contained += 1
        tally.proved += proved


def main() -> int:
    """Run the campaign; 1 at the first violation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=50_000, help="triples")
    parser.add_argument(
        "--sample", type=int, default=0, help="more documents a rule, for the share of provable queries"
    )
    options = parser.parse_args()
    began, tally, number = time.monotonic(), Tally(), 0
    while tally.triples < options.count:
        seed = options.seed * 1_000_003 + number
        number += 1
        try:
            one_rule(Random(seed), tally, sample=options.sample)
        except AssertionError as error:
            print(f"seed {seed}: {error}", flush=True)
            return 1
    print(report(tally, time.monotonic() - began))
    return 0


def report(tally: Tally, seconds: float) -> str:
    """Return the figures of a run as text."""
    share = f"{100 * tally.proved / tally.contained:.1f}%" if tally.contained else "-"
    return (
        f"{tally.triples:,} triples, {tally.judged:,} documents judged, 0 violations, {seconds:.0f} s\n"
        f"{tally.allowed:,} queries allowed; {tally.proved:,} of {tally.contained:,} contained by sample proved ({share})\n"
        f"{tally.unknown:,} verdicts left to the reference by the program"
    )


if __name__ == "__main__":
    sys.exit(main())
