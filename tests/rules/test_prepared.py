"""Rules with places for what they ask of the caller, against the same rules compiled for each caller anew."""

from __future__ import annotations

import datetime as dt
import gc
import weakref
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Any

import pytest

import docdb
from docdb.errors import DeniedError, DocdbError
from docdb.language import tree
from docdb.language.filters import parse as parse_filter
from docdb.language.matching import matcher
from docdb.language.values import Int64, ObjectId
from docdb.rules import compiled as compiled_room
from docdb.rules import prepared as prepared_room
from docdb.rules import prover
from docdb.rules.checker import check
from docdb.rules.compiled import Compiled, bound, compiled, equalities_of
from docdb.rules.evaluator import FUEL, Circumstances
from docdb.rules.formula import All, Asked, Formula, Holds, Within
from docdb.rules.formula import Any as Either
from docdb.rules.parser import parse
from docdb.rules.prepared import MOST_COMPARED, Prepared, prepared
from docdb.rules.prover import decide
from docdb.rules.spelling import spell
from docdb.store import codec
from docdb.store.runs import gather
from tests.fuzz.rules import NOW, SHOPS, aimed_query, document, query, rule
from tests.rules.readers import Rows

DATE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
NAN = float("nan")
CLAIMS: tuple[Any, ...] = (
    "x", "y", "me", "", "a", "o", "a.b", "$x", "Ä", 0, 1, 2, -1, 2**53 + 1, 2**70, True, False, None, 1.0, 1.5, -0.0, NAN, float("inf"), DATE,
    dt.datetime(2026, 1, 1), Decimal("1.0"), Decimal("NaN"), Int64(1), ObjectId("64b7f0c2a1b2c3d4e5f60718"), b"x", [], ["x"], ["x", "y", None], [1, True, 1.0],
    [["x"]], [NAN], [{"a": 1}], ["x"] * 60, ["x"] * 1_001, list(range(FUEL)), {}, {"a": 1}, {"a": {"b": ["x"]}}, {"a": "x", "sub": "me", "role": "admin"},
    ("x", 1), "long" * 2_000,
)  # fmt: skip
NAMES = ("openid", "uid", "level", "list", "field", "token", "role", "nothing", "nan", "date")
SETTLED = (
    "auth.openid", "auth.openid", "auth.openid", "auth.uid", "auth.level", "auth.list", "auth.token.sub", "auth.token.a", "auth.token.a.b",
    "auth.list[0]", "auth['openid']", "auth[auth.field]", "[auth.openid, 'x']", "{a: auth.level}", "auth.openid + 'x'", "auth.level + 1",
    "`${auth.openid}`", "auth.list.size()", "default(auth.openid, 'x')", "auth.token", "auth", "'x'", "1", "true", "null", "auth.nan", "auth.date",
    "auth.a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r",
)  # fmt: skip
PLACES = (
    "doc.a", "doc.a", "doc.b", "doc._openid", "doc.o.a", "doc.o.o.a", "doc.l", "doc.l[0]", "doc[auth.field]", "doc.o[auth.field]", "doc._id", "doc.l.size()",
    "default(doc.a, auth.openid)", "default(doc.o.a, 'x')", "default(doc.l[0], auth.level)", "default(doc[auth.field], 1)",
)  # fmt: skip
ALONE = (
    "auth != null", "auth != null", "auth == null", "null != auth", "auth.role == 'admin'", "auth.role != auth.openid", "auth.level > 1",
    "'x' in auth.list", "auth.role in ['admin', 'x']", "exists(auth.openid)", "auth.openid != undefined", "auth.openid", "auth.token == {a: 1}",
    "auth.list == ['x']", "/^x/.test(auth.openid)", "auth.level == true", "auth.token.a == null", "auth.nothing == null", "auth.date == auth.date",
    "exists(doc[auth.field])", "doc[auth.field] == undefined", "/^x/.test(doc[auth.field])", "default(doc.a, auth.role)", "auth.list != null",
)  # fmt: skip

USUAL = (
    "auth != null",
    "doc.a == auth.openid",
    "auth.role == 'admin'",
    "doc.b == true",
    "doc.o.a == auth.openid",
    "auth.openid != null",
)


def asking_rule(chance: Random) -> str:
    """A rule that asks much of the caller; one in four is as most rules are."""
    if chance.random() < 0.25:
        return " && ".join(chance.sample(USUAL, chance.choice([1, 2, 2, 3])))
    parts = [asking_part(chance) for _ in range(chance.choice([1, 1, 2, 2, 3]))]
    text = parts[0]
    for part in parts[1:]:
        text = f"{text} {chance.choice(['&&', '&&', '||'])} {part}"
    return f"!({text})" if chance.random() < 0.1 else text


def asking_part(chance: Random) -> str:
    place, settled = chance.choice(PLACES), chance.choice(SETTLED)
    sides = chance.choice([(place, settled), (place, settled), (settled, place)])
    operator = chance.choice(["==", "==", "==", "!=", "<", ">=", "in"])
    return chance.choice(
        [f"{sides[0]} {operator} {sides[1]}"] * 3 + [chance.choice(ALONE), f"!({sides[0]} {operator} {sides[1]})"]
    )


def caller(chance: Random) -> dict[str, Any] | None:
    """Who asks: nobody, or one with a few claims, of which ever two callers have some in common."""
    usual = (
        {"openid": chance.choice("xy"), "field": chance.choice("ab"), "role": "admin"} if chance.random() < 0.6 else {}
    )
    odd = chance.sample(NAMES, chance.randrange(len(NAMES) + 1))
    return None if chance.random() < 0.08 else {**usual, **{name: chance.choice(CLAIMS) for name in odd}}


def rules(chance: Random, count: int) -> Iterator[tuple[str, Any]]:
    """Rules that depend on the caller alone, with their texts."""
    for _ in range(count):
        text = asking_rule(chance) if chance.random() < 0.75 else rule(chance)
        try:
            found = parse(text)
            check(text, found, "read")
        except DocdbError:
            continue
        yield text, found


def about(auth: Any) -> Circumstances:
    return Circumstances(auth=auth, now=NOW, doc=None, reader=Rows(shops=SHOPS))


def shown(demand: Formula, documents: list[dict[str, Any]]) -> Any:
    """A formula as it can be compared; a question to the evaluator by what it answers."""
    match demand:
        case All(parts=parts) | Either(parts=parts):
            return type(demand).__name__, [shown(part, documents) for part in parts]
        case Within():
            return "within", repr(demand.node), demand.path, demand.region, repr(demand.value)
        case Holds():
            return "holds", repr(demand.node), demand.path, demand.region, demand.wanted
    assert isinstance(demand, Asked)
    hint = demand.node.parts[0] if isinstance(demand.node, tree.And) else None
    return "asked", spell(demand.part), demand.wanted, repr(hint), list(map(matcher(demand.node), documents))


def said(node: Any) -> str | None:
    return None if node is None else spell(node)


def assert_same(found: Compiled, law: Compiled, documents: list[dict[str, Any]], where: Any) -> None:
    """Both say the same, in everything that anybody asks of them."""
    assert [(said(part), shown(demand, documents)) for part, demand in found.parts] == [
        (said(part), shown(demand, documents)) for part, demand in law.parts
    ], where
    assert (found.always, said(found.false), said(found.hopeless)) == (
        law.always,
        said(law.false),
        said(law.hopeless),
    ), where
    assert (repr(found.equalities), found.held) == (repr(law.equalities), law.held), where
    stored = [codec.encode(one) for one in documents]
    answers = [bool(law.verdict(data)) for data in stored]
    assert [bool(found.verdict(data)) for data in stored] == answers, where
    keys = [codec.reference_prepare(one)[1] for one in documents]
    for taken in ([True] * len(stored), answers):
        some = [(key, data) for key, data, take in zip(keys, stored, taken, strict=True) if take]
        judged = found.allows_all(gather(9, [key for key, _ in some], [data for _, data in some]))
        assert judged == all(answer for answer, take in zip(answers, taken, strict=True) if take), where


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("creating", [False, True], ids=["stored", "created"])
def test_what_is_bound_is_what_is_compiled_anew(seed: int, creating: bool) -> None:
    chance, seen = Random(seed), Counter[str]()
    for text, of in rules(chance, 80):
        documents = [document(chance) for _ in range(6)]
        for auth in [caller(chance) for _ in range(8)]:  # one rule meets many callers
            found = compiled(of, about(auth), creating=creating)
            law = Compiled.anew(of, about(auth), creating=creating)
            assert_same(found, law, documents, (text, auth))
            made = prepared(of, creating)
            seen["steady"] += made is not None
            seen["whole"] += made is not None and made.whole
            seen["true"] += law.always
            seen["false"] += law.false is not None
            seen["open"] += not law.always and law.false is None
            seen["equalities"] += bool(law.equalities)
    assert min(seen[name] for name in ("steady", "whole", "true", "false", "open", "equalities")) > 20


@pytest.mark.parametrize("seed", range(4))
def test_equalities_found_without_formulas_are_those_of_the_formulas(seed: int) -> None:
    chance, seen = Random(seed), Counter[bool]()
    for text, of in rules(chance, 250):
        for auth in [caller(chance) for _ in range(6)]:
            law = Compiled.anew(of, about(auth)).equalities
            made = prepared(of, False)
            wanted = None if made is None else law
            assert repr(equalities_of(of, auth)) == repr(wanted), (text, auth)
            quick = None if made is None else made.equalities(auth)
            assert repr(quick) in (repr(law), "None"), (text, auth)
            seen[quick is None] += 1
    assert min(seen.values()) > 20


@pytest.mark.parametrize("seed", range(4))
def test_queries_are_decided_as_by_a_rule_compiled_anew(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance, seen = Random(seed), Counter[bool]()
    for text, of in rules(chance, 60):
        for auth in [caller(chance) for _ in range(4)]:
            law = Compiled.anew(of, about(auth))
            for _ in range(4):
                spec = aimed_query(chance, law.node) if chance.random() < 0.7 else query(chance)
                try:
                    node = parse_filter(spec, text=False)
                except DocdbError:
                    continue
                mode = chance.random() < 0.2
                found = decide(of, about(auth), node, filter_mode=mode)
                with monkeypatch.context() as patch:
                    patch.setattr(prover, "compiled", lambda rule, about, open_request: Compiled.anew(rule, about))
                    wanted = decide(of, about(auth), node, filter_mode=mode)
                assert (found.allowed, found.missing) == (wanted.allowed, wanted.missing), (text, auth, spec)
                documents = [document(chance) for _ in range(6)]
                ran, law_ran = matcher(found.node), matcher(wanted.node)
                assert list(map(ran, documents)) == list(map(law_ran, documents)), (text, auth, spec)
                seen[found.allowed] += 1
    assert min(seen.values()) > 20


OWN = "auth != null && doc._openid == auth.openid"


@pytest.mark.parametrize(
    ("text", "auth"),
    [
        (OWN, {"openid": "x", "list": list(range(FUEL))}),
        (OWN, {"openid": "x", "token": {str(n): n for n in range(FUEL)}}),
        ("auth.list != null", {"list": list(range(FUEL))}),
        ("auth.openid == auth.uid && doc.a == 1", {"openid": "x" * 256 * FUEL, "uid": "x" * 256 * FUEL}),
        ("auth.token == auth.token && doc.a == 1", {"token": {"a": {"b": [1, 2]}}}),
        (OWN, {"openid": "\udc00"}),  # text that cannot be stored
        ("doc.a < auth.openid || doc.a == auth.openid", {"openid": "\udc00"}),
        ("auth != null && doc.a == 1", {str(n): n for n in range(MOST_COMPARED + 1)}),
    ],
)
def test_odd_callers_are_left_to_the_evaluator(text: str, auth: dict[str, Any]) -> None:
    of, documents = parse(text), [{"_id": 1, "_openid": "x", "a": 1}, {"_id": 2}]
    found, law = compiled(of, about(auth)), Compiled.anew(of, about(auth))
    assert_same(found, law, documents, text)


def test_what_is_kept_does_not_change_with_the_caller() -> None:
    of = parse("doc.l == auth.list && auth.openid != doc[auth.field]")
    auth: dict[str, Any] = {"list": ["x"], "openid": "x", "field": "a"}
    stored = codec.encode({"_id": 1, "l": ["x"], "a": "y"})
    first = compiled(of, about(auth))
    auth["list"].append("y")
    auth["openid"] = "y"
    assert first.verdict(stored)
    assert compiled(of, about({"list": ["x"], "openid": "x", "field": "a"})) is first
    assert not compiled(of, about(auth)).verdict(stored)


def test_callers_alike_in_what_a_rule_asks_share_what_is_compiled() -> None:
    of = parse(OWN)
    one = compiled(of, about({"openid": "x", "token": {"exp": 1}}))
    assert compiled(of, about({"openid": "x", "token": {"exp": 2}, "role": "admin"})) is one
    assert compiled(of, about({"openid": "y", "token": {"exp": 1}})) is not one
    assert compiled(of, about(None)) is not one


class Claims(dict[str, Any]):
    """A dict that can be watched."""


@pytest.mark.parametrize(
    "text", [OWN, "doc.a in auth.list", "doc[auth.field] == 1", "doc.l == auth.token", "doc.l == auth.list"]
)
def test_no_caller_is_kept_alive(text: str) -> None:
    of = parse(text)
    claims = Claims(openid="x", list=["x"], field="a", token={"a": Claims()})
    watched = weakref.ref(claims), weakref.ref(claims["token"]["a"])
    equalities_of(of, claims)
    compiled(of, about(claims))
    compiled(of, about(claims), creating=True)
    del claims
    gc.collect()
    assert [ref() for ref in watched] == [None, None]


def test_what_is_kept_is_bounded() -> None:
    of = parse(OWN)
    for number in range(3 * compiled_room.MOST_KEPT):
        assert bound(of, {"openid": f"caller{number}"}).equalities[0][1] == f"caller{number}"  # type: ignore[union-attr, index]
        assert len(compiled_room._kept) <= compiled_room.MOST_KEPT
    for number in range(prepared_room.MOST_KEPT + 2):
        assert isinstance(prepared(parse(f"doc.a == {number}"), False), Prepared)
        assert len(prepared_room._known) <= prepared_room.MOST_KEPT


@pytest.fixture
def db(tmp_path: Any) -> Any:
    with docdb.open(tmp_path / "prepared.docdb", sweep_s=None) as db:
        db["notes"].insert_many([{"_id": n, "_openid": f"caller{n % 10}", "team": n % 3, "n": n} for n in range(300)])
        db["notes"].create_index("_openid")
        yield db


def ids(found: Any) -> list[int]:
    return sorted(one["_id"] for one in found)


def test_a_new_caller_sees_its_own_and_no_other(db: Any) -> None:
    db.set_rules("notes", {"read": OWN, "write": OWN})
    for number in (*range(10), *range(10)):
        notes = db.as_user({"openid": f"caller{number}"})["notes"]
        assert ids(notes.find({"_openid": f"caller{number}"})) == list(range(number, 300, 10))
        with pytest.raises(DeniedError):
            notes.find({"_openid": f"caller{(number + 1) % 10}"}).to_list()
    for nobody in (None, {}, {"uid": "caller1"}, {"openid": "", "uid": "caller1"}):
        with pytest.raises(DeniedError):
            db.as_user(nobody)["notes"].find({"_openid": "caller1"}).to_list()


def test_a_role_counts_for_who_has_it_when_he_has_it(db: Any) -> None:
    text = "auth.token.role == 'admin' || (auth.token.role == 'lead' && doc.team == auth.token.team) || doc._openid == auth.openid"
    db.set_rules("notes", {"read": text, "write": False})

    def seen(token: Any, filter: dict[str, Any]) -> list[int] | str:
        try:
            return ids(db.as_user({"openid": "caller1", "token": token})["notes"].find(filter))
        except DeniedError:
            return "denied"

    team, own = {"team": 2}, {"_openid": "caller1"}
    for _ in range(2):
        assert len(seen({"role": "admin"}, {})) == 300
        assert seen({"role": "user"}, {}) == seen({}, {}) == seen(None, {}) == seen(["admin"], {}) == "denied"
        assert seen({"role": "lead", "team": 2}, team) == list(range(2, 300, 3))
        assert seen({"role": "lead", "team": 1}, team) == seen({"role": "lead", "team": "2"}, team) == "denied"
        assert seen({"role": "lead", "team": True}, {"team": 1}) == seen({"role": "lead"}, team) == "denied"
        assert seen({"role": "lead", "team": 2.0}, team) == list(range(2, 300, 3))
        assert seen({"role": "user", "team": 2}, team) == seen("lead", team) == "denied"
        assert seen({"role": "user"}, own) == seen(1, own) == list(range(1, 300, 10))


def test_a_session_keeps_few_names(db: Any) -> None:
    user = db.as_user({"openid": "caller1"})
    for number in range(600):
        with pytest.raises(DeniedError):
            user[f"c{number}"].find({}).to_list()
    assert len(user._session._steady) <= 256
