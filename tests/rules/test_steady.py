"""What a session keeps of a rule that depends on the caller alone, against the whole proof made anew."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

import docdb
from docdb.errors import DeniedError, DocdbError
from docdb.language.filters import parse as parse_filter
from docdb.language.matching import matcher
from docdb.planner.conditions import conjuncts
from docdb.planner.queries import FindQuery
from docdb.rules import prover
from docdb.rules.checker import check
from docdb.rules.compiled import Compiled, bound, compiled, equalities_of
from docdb.rules.evaluator import Circumstances
from docdb.rules.parser import parse
from docdb.rules.prover import decide
from docdb.sessions.user_steady import SteadyRule
from docdb.store import codec
from docdb.store.runs import gather
from tests.fuzz.rules import AUTHS, NOW, SHOPS, document, query, rule
from tests.rules.readers import Rows

VALUES = ("'x'", "'y'", "true", "false", "auth.openid", "1", "auth.level")
PLACES = ("doc.a", "doc.b", "doc.o.a", "doc._id", "doc._openid", "doc.l[0]")


def plain_rule(chance: Random) -> str:
    """A conjunction of equalities, as most rules are."""
    return " && ".join(
        f"{chance.choice(PLACES)} == {chance.choice(VALUES)}" for _ in range(chance.choice([1, 1, 1, 2, 3]))
    )


def said(node: Any) -> set[str]:
    """What a conjunction says, said once."""
    return set(map(repr, conjuncts(node)))


def aimed(chance: Random, wanted: Any) -> dict[str, Any]:
    """A filter that says what a rule asks for, or nearly."""
    found: dict[str, Any] = {}
    for path, value, _ in wanted:
        near = chance.choice(
            ["x", "y", 1, True, 1.0, [value], {"$gte": value}, {"$in": [value]}, {"$eq": value, "$ne": 3}]
        )
        found[".".join(path)] = chance.choice([value, value, value, near])
    return {**found, "n": 1} if chance.random() < 0.3 else found


@pytest.mark.parametrize("seed", range(4))
def test_what_is_kept_decides_as_the_proof_made_anew(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = Random(seed)
    allowed = refused = 0
    for _ in range(150):
        text = plain_rule(chance) if chance.random() < 0.6 else rule(chance)
        try:
            tree = parse(text)
            check(text, tree, "read")
        except DocdbError:
            continue
        if bound(tree, None) is None:
            continue
        about = Circumstances(auth=chance.choice(AUTHS), now=NOW, doc=None, reader=Rows(shops=SHOPS))
        steady = SteadyRule(None, equalities_of(tree, about.auth))
        wanted = Compiled.anew(tree, about).equalities or ()
        for _ in range(12):  # one kept rule meets many filters and constants
            spec = aimed(chance, wanted) if chance.random() < 0.7 else query(chance)
            try:
                node = parse_filter(spec, text=False)
            except DocdbError:
                continue
            kept = steady.narrowed(FindQuery(filter=spec, node=node, limit=7))
            with monkeypatch.context() as patch:
                patch.setattr(prover, "proved_quickly", lambda wanted, node: None)
                law = decide(tree, about, node)
            if kept is not None:
                assert law.allowed, (text, spec)
                assert kept == FindQuery(filter=spec, node=kept.node, limit=7)
                assert said(kept.node) == said(law.node), (text, spec)
                allowed += 1
            refused += not law.allowed
    assert allowed > 20
    assert refused > 20


@pytest.mark.parametrize("seed", range(4))
def test_many_new_documents_are_judged_as_each_is(seed: int) -> None:
    chance = Random(seed)
    answers = {True: 0, False: 0}
    for _ in range(300):
        text = plain_rule(chance) if chance.random() < 0.7 else rule(chance)
        try:
            tree = parse(text)
            check(text, tree, "create")
        except DocdbError:
            continue
        about = Circumstances(auth=chance.choice(AUTHS), now=NOW, doc=None, reader=Rows(shops=SHOPS))
        known = compiled(tree, about, creating=True)
        matches = matcher(known.node)
        made = [document(chance) for _ in range(12)]
        made += [{"_id": n, **one} for n, one in enumerate(map(nearly, [chance] * 6, [known.equalities or ()] * 6))]
        for some in (made[:1], made, [one for one in made if matches(one)]):
            keys = [codec.reference_prepare({"_id": 1, **one}) for one in some]
            judged = known.allows_all(gather(9, [key for _, key, _ in keys], [codec.encode(one) for one in some]))
            assert judged == all(map(matches, some)), (text, some)
            answers[judged] += bool(some)
    assert min(answers.values()) > 50


def nearly(chance: Random, wanted: Any) -> dict[str, Any]:
    """A document that holds what a rule asks for, or nearly."""
    found: dict[str, Any] = {}
    for path, value, _ in wanted:
        if path == ("_id",):
            continue
        held = chance.choice([value, value, value, [value], "z", None, 1, {"a": value}])
        for name in reversed(path[1:]):
            held = chance.choice([{name: held}, {name: held}, {name: held}, [{name: held}], {"0": held}])
        found[path[0]] = held
    return found


OWN = "auth != null && doc._openid == auth.openid"


def ids(found: Any) -> list[Any]:
    return sorted(document["_id"] for document in found)


@pytest.fixture
def notes(tmp_path: Any) -> Any:
    """Notes of two owners; one is owned by both, as an array says."""
    with docdb.open(tmp_path / "notes.docdb", sweep_s=None) as db:
        rows = [{"_id": n, "_openid": "ann" if n % 100 == 0 else "bob", "n": n} for n in range(1_000)]
        db["notes"].insert_many(rows)
        db["notes"].create_index("_openid")
        db.set_rules("notes", {"read": OWN, "write": OWN})
        yield db


def test_new_constants_are_proved_anew(notes: Any) -> None:
    ann, bob = (notes.as_user({"openid": name})["notes"] for name in ("ann", "bob"))
    for _ in range(3):  # the shape is known from the second time on
        assert ids(ann.find({"_openid": "ann"})) == list(range(0, 1_000, 100))
        assert len(bob.find({"_openid": "bob"}).to_list()) == 990
        for handle, other in ((ann, "bob"), (bob, "ann"), (ann, "nobody"), (ann, 1), (ann, True)):
            with pytest.raises(DeniedError):
                handle.find({"_openid": other}).to_list()
        for operator in ("$gte", "$lte", "$gt", "$lt"):
            with pytest.raises(DeniedError):
                ann.find({"_openid": {operator: "ann"}}).to_list()


def test_arrays_with_the_owner_stay_hidden(notes: Any) -> None:
    ann = notes.as_user({"openid": "ann"})["notes"]
    assert len(ann.find({"_openid": "ann"}).to_list()) == 10
    notes["notes"].update_one({"_id": 1}, {"$set": {"_openid": ["ann", "bob"]}})
    for _ in range(2):
        assert ids(ann.find({"_openid": "ann"})) == list(range(0, 1_000, 100))
        assert ids(ann.find({"_openid": "ann"}).limit(50)) == list(range(0, 1_000, 100))
    notes["notes"].update_one({"_id": 1}, {"$set": {"_openid": "bob"}})
    assert ids(ann.find({"_openid": "ann"})) == list(range(0, 1_000, 100))


def test_new_rules_count_at_once(notes: Any) -> None:
    ann = notes.as_user({"openid": "ann"})["notes"]
    assert len(ann.find({"_openid": "ann"}).to_list()) == 10
    notes.set_rules("notes", {"read": f"{OWN} && doc.n < 500", "write": OWN})
    with pytest.raises(DeniedError):
        ann.find({"_openid": "ann"}).to_list()
    assert ids(ann.find({"_openid": "ann", "n": {"$lt": 500}})) == [0, 100, 200, 300, 400]
    notes.set_rules("notes", {"read": True, "write": OWN})
    assert len(ann.find({"_openid": "bob"}).to_list()) == 990


def test_templates_are_filled_before_they_are_proved(notes: Any) -> None:
    ann = notes.as_user({"openid": "ann"})["notes"]
    for _ in range(2):
        assert len(ann.find({"_openid": "ann"}).to_list()) == 10
        assert len(ann.find({"_openid": "{openid}"}).to_list()) == 10
    curly = notes.as_user({"openid": "{openid}"})["notes"]
    assert curly.find({"_openid": "{openid}"}).to_list() == []
    with pytest.raises(DeniedError):
        curly.find({"_openid": "ann"}).to_list()
