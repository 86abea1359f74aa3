"""Plans of known shapes against the planner that does not know them: the same range of the same index, and the same documents."""

from __future__ import annotations

import random
from typing import Any

import pytest

import docdb
from docdb import _native
from docdb.faces.models import Binding
from docdb.faces.selection import Selection
from docdb.language.projection import parse_projection
from docdb.planner import planner
from docdb.planner.access import IndexScan
from docdb.planner.choice import FIRST_STEP
from docdb.planner.plan import Plan
from docdb.planner.planner import plan
from docdb.planner.shapes import MOST_SHAPES, BoundPlan
from tests.planner.fakes import FakeView, index, query
from tests.planner.test_shortcuts import KEYS, OPTIONS, SORTS, facts

VALUES = [
    0,
    1,
    5,
    -3,
    2.5,
    float("inf"),
    float("nan"),
    True,
    False,
    "",
    "p",
    "pq",
    "p" * 300,
    2**60,
    -(2**53) - 1,
    None,
    [1],
    {"x": 1},
]
PLAIN = VALUES[:6] + VALUES[7:12]
SHOWN: list[dict[str, int] | None] = [
    None, None, {"a": 1, "_id": 0}, {"a": 1, "b": 1}, {"b": 1}, {"_id": 1}, {"c": 1}, {"a": 0}, {"a.x": 1}, {f"f{n}": 1 for n in range(70)},
]  # fmt: skip
MANY = 300  # documents: enough for few entries to be cheaper than a scan


def thought(asked: Any, view: Any) -> Plan:
    """The plan of the planner without shapes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "bind", lambda query, view, think: None)
        return plan(asked, view)


def asked_of(chance: random.Random) -> Any:
    path = chance.choice(["a", "a", "a", "b", "a.x", "a.0"])
    filter: dict[str, Any] = {path: {chance.choice(["$eq", "$gt", "$gte", "$lt", "$lte"]): chance.choice(VALUES)}}
    if chance.random() < 0.3:
        filter[path]["$not"] = {"$type": "array"}
    if chance.random() < 0.3:
        filter = {path: {"$in": [chance.choice(VALUES) for _ in range(chance.choice([1, 2, 9]))]}}
    if chance.random() < 0.2:
        filter = {}
    shown = parse_projection(chance.choice(SHOWN))
    how: dict[str, Any] = {"limit": chance.choice([0, 0, 3, 3]), "skip": chance.choice([0, 2]), "projection": shown}
    return query(filter, sort=chance.choice(SORTS), **how)


@pytest.mark.parametrize("seed", range(12))
def test_new_constants_give_the_plan_that_thinking_gives(seed: int) -> None:
    chance = random.Random(seed)
    pools = [PLAIN, PLAIN, PLAIN, VALUES]
    answers = 0
    for pool in pools * 8:
        documents = [{"_id": n, "a": chance.choice(pool), "b": chance.choice(PLAIN)} for n in range(MANY)]
        keys = chance.choice([[{"a": 1}], [{"a": 1}], [{"a": 1, "b": 1}], KEYS])
        count = chance.choice([1, 1, 2])
        indexes = [index(n + 1, chance.choice(keys), **chance.choice(OPTIONS)) for n in range(count)]
        view: Any = FakeView(documents, *indexes)
        for _ in range(40):  # the shapes are met again and again
            asked = asked_of(chance)
            made = plan(asked, view)
            if isinstance(made, BoundPlan):
                answers += 1
                other = thought(asked, view)
                access: Any = other.access
                if not made._most:
                    assert made.indexes == (access.index,)
                    assert made._ranges == tuple((item.low, item.high) for item in access.bounds.ranges)
                    assert made._shape.reverse == access.reverse
                    assert (other.exact, other.ordered, other.fallback) == (True, True, None)
                    assert other.covered == (made._shape.reader is not None)
                assert facts(made) == facts(other)
    assert answers > 4


def both(
    collection: Any, filter: dict[str, Any], *, ordered: int = 0, skip: int = 0, limit: int = 0, shown: Any = None
) -> list[Any]:
    """The ids that a find gives; it gives the same documents without shapes."""
    cursor = collection.find(filter, shown).skip(skip).limit(limit)
    cursor = cursor.sort("a", ordered) if ordered else cursor
    found = list(cursor.clone())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "bind", lambda query, view, think: None)
        assert list(map(repr, cursor)) == list(map(repr, found))
    return [document.get("_id") for document in found]


@pytest.fixture(autouse=True)
def by_the_planner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Close the road past the planner, which has its own tests (``test_few``)."""
    monkeypatch.setattr(Binding, "few", lambda *_: None)


@pytest.fixture(params=["memory", "file"])
def database(request: pytest.FixtureRequest, tmp_path: Any):
    place = ":memory:" if request.param == "memory" else tmp_path / "things.docdb"
    with docdb.open(place, sweep_s=None) as db:
        db["things"].create_index("a")
        rows = [{"_id": n, "a": n % 7 if n < 900 else f"t{n}"} for n in range(1_500)]
        db["things"].insert_many(rows)
        yield db


@pytest.fixture
def filled(database: Any) -> Any:
    return database["things"]


@pytest.mark.parametrize("ordered", [0, 1, -1])
@pytest.mark.parametrize(("skip", "limit"), [(0, 0), (3, 0), (0, 5), (40, 300), (700, 1)])
def test_documents_are_the_same(filled: Any, ordered: int, skip: int, limit: int) -> None:
    how: Any = {"ordered": ordered, "skip": skip, "limit": limit}
    for _ in range(2):
        for value in ("t950", "t99", 3, "absent", "t1450", 8, "t901"):  # one, few or many of them, in turn
            for operator in ("$eq", "$gt", "$gte", "$lt", "$lte"):
                both(filled, {"a": {operator: value}}, **how)


@pytest.mark.parametrize(
    "shown", [{"a": 1, "_id": 0}, {"a": 1}, {"_id": 1}, {"b": 1}, {"a": 0}, {"a": {"$slice": 1}}], ids=str
)
@pytest.mark.parametrize("ordered", [0, 1, -1])
def test_fields_are_the_same(filled: Any, ordered: int, shown: Any) -> None:
    filled.update_many({"_id": {"$gte": 1_200}}, {"$set": {"b": 5}})
    for limit in (0, 9, 400):
        for filter in ({"a": "t950"}, {"a": {"$gt": 3}}, {"a": {"$gte": "t9"}}, {}, {}):
            both(filled, filter, ordered=ordered, limit=limit, shown=shown)


@pytest.mark.parametrize(
    "keys", [[("a", 1)], [("a", -1)], [("b", -1)], [("b", -1), ("a", 1)], [("b", 1), ("a", -1)]], ids=str
)
@pytest.mark.parametrize("shown", [None, {"a": 1, "b": 1, "_id": 0}, {"c": 1}], ids=str)
def test_the_first_of_an_order(tmp_path: Any, keys: Any, shown: Any) -> None:
    with docdb.open(tmp_path / "things.docdb") as db:
        things = db["things"]
        things.create_index("a")
        things.create_index([("b", -1), ("c", 1)])
        things.insert_many([{"_id": n, "a": n * 7 % 400, "b": n % 5 / 2, "c": str(n)} for n in range(1_000)])

        def first() -> list[Any]:
            places = ((0, 5), (3, 300), (990, 50))
            return [list(things.find({}, shown).sort(keys).skip(skip).limit(limit)) for skip, limit in places]

        for change in ({"c": "0"}, {"a": [5, -1]}, {"a": 3, "b": [9.5, -1.5]}):  # an index with entries from arrays
            things.update_one({"_id": 999}, {"$set": change})
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(planner, "bind", lambda query, view, think: None)
                expected = first()
            assert [first(), first()] == [expected, expected]


@pytest.mark.parametrize("limit", [0, 7, 500])
@pytest.mark.parametrize("shown", [None, {"a": 1, "_id": 0}, {"b": 1}], ids=str)
def test_lists_of_values(filled: Any, limit: int, shown: Any) -> None:
    lists = [
        ["t950", "t1000", "t951"],
        ["t950"],
        ["t1"],
        [3],
        [8, "t950", 2.0, True],
        [f"t{n}" for n in range(890, 1_250)],
        list(range(9)),
    ]
    for _ in range(2):
        for values in lists + [[None, "t950"], [[1], "t950"], ["t950", float("nan")]]:
            both(filled, {"a": {"$in": values}}, limit=limit, shown=shown)
    assert sorted(filled.find({"a": {"$in": ["t950", "t1200", "t950"]}}), key=lambda d: d["_id"]) == [
        {"_id": 950, "a": "t950"},
        {"_id": 1200, "a": "t1200"},
    ]


@pytest.mark.parametrize("limit", [0, 7])
def test_stored_bytes_are_the_same(filled: Any, limit: int) -> None:
    def stored(filter: dict[str, Any]) -> list[bytes]:
        selection = Selection.of(filter).with_limit(limit)
        return [data for batch in filled.session.stored("things", selection.query()) for data in batch]

    for filter in ({"a": "t950"}, {"a": 3}, {"a": {"$in": ["t950", "t951"]}}, {"a": {"$in": [*range(9)]}}):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(planner, "bind", lambda query, view, think: None)
            expected = stored(filter)
        assert [stored(filter), stored(filter)] == [expected, expected]


def test_a_list_that_finds_many(filled: Any) -> None:
    assert len(both(filled, {"a": {"$in": ["t950", "t951"]}})) == 2
    filled.insert_many([{"_id": n, "a": "t950"} for n in range(2_000, 2_300)])
    assert len(both(filled, {"a": {"$in": ["t950", "t951"]}})) == 302
    assert len(both(filled, {"a": {"$in": ["t950", "t951"]}}, skip=100, limit=150)) == 150


def served(collection: Any) -> list[Any]:
    """The shapes that an index serves."""
    kept = collection.session.store.collection("things").shapes
    return [shape for shape in kept.values() if shape is not None]


def test_hoped_to_be_few_and_not(filled: Any) -> None:
    assert both(filled, {"a": "t950"}) == [950]
    assert [shape.few for shape in served(filled)] == [True]
    assert len(both(filled, {"a": {"$eq": "t951"}})) == 1
    filled.update_many({"_id": {"$gte": 1_400}}, {"$set": {"a": "t951"}})
    assert len(both(filled, {"a": "t951"}, skip=3)) == FIRST_STEP - 3
    assert len(both(filled, {"a": "t951"})) == FIRST_STEP


@pytest.mark.skipif(not _native.AVAILABLE, reason="the engine's own join is compiled")
def test_who_met_many_counts_the_next_time(tmp_path: Any) -> None:
    with docdb.open(tmp_path / "things.docdb") as db:
        db["things"].create_index("a")
        db["things"].insert_many([{"_id": n, "a": n % 3 if n < 900 else n} for n in range(1_000)])
        for value, few in ((950, True), (2, False), (1, False), (951, True)):
            assert len(both(db["things"], {"a": value})) == (1 if few else 300)
            assert [shape.few for shape in served(db["things"])] == [few]


def test_arrays_that_come_later_are_seen(filled: Any) -> None:
    assert both(filled, {"a": "t950"}, limit=9) == [950]
    filled.insert_one({"_id": -1, "a": ["t950", "t950x"]})
    assert sorted(both(filled, {"a": "t950"}, limit=9)) == [-1, 950]
    assert both(filled, {"a": {"$eq": "t950", "$not": {"$type": "array"}}}, limit=9) == [950]
    assert sorted(both(filled, {"a": {"$gte": "t950"}}, limit=2_000)) == [-1, *range(950, 1_000)]


def test_a_new_definition_knows_no_shapes(filled: Any) -> None:
    assert both(filled, {"a": "t950"}, limit=9) == [950]
    filled.drop_index("a_1")
    assert both(filled, {"a": "t950"}, limit=9) == [950]
    assert filled.find({"a": "t950"}).limit(9).explain()["access"] == "FullScan"
    filled.create_index([("a", 1), ("b", 1)], name="wider")
    assert both(filled, {"a": "t950"}, limit=9) == [950]
    assert filled.find({"a": "t950"}).limit(9).explain()["index"] == "wider"


def test_a_transaction_sees_its_own(database: Any, filled: Any) -> None:
    assert both(filled, {"a": "t950"}, limit=9) == [950]
    with database.transaction() as t:
        t["things"].insert_one({"_id": -1, "a": "t950"})
        assert both(t["things"], {"a": "t950"}, limit=9) == [-1, 950]
        t["things"].update_one({"_id": -1}, {"$set": {"a": ["t950"]}})
        assert both(t["things"], {"a": "t950"}, limit=9) == [-1, 950]
        t["things"].delete_one({"_id": 950})
        assert both(t["things"], {"a": "t950"}) == [-1]


def test_a_collation_is_no_known_shape(filled: Any) -> None:
    found = filled.find({"a": "T950"}).collation({"locale": "en", "strength": 2}).limit(9)
    assert found.to_list() == [{"_id": 950, "a": "t950"}]


def test_shapes_are_bounded(filled: Any) -> None:
    for n in range(2 * MOST_SHAPES):
        assert filled.find({f"a{n}": "t950"}).limit(1).to_list() == []
    assert len(filled.session.store.collection("things").shapes) <= MOST_SHAPES


def test_what_else_is_asked_of_a_bound_plan() -> None:
    view: Any = FakeView([{"_id": n, "a": n} for n in range(5)], index(1, {"a": 1}))
    made = plan(query({"a": {"$gte": 2}}, limit=2), view)
    assert isinstance(made, BoundPlan)
    assert (made.path, made.indexes, made.exact) == ("IndexScan", view.collection.indexes, True)
    assert isinstance(made.access, IndexScan)
    assert made.count(view) == 2
    assert [document["_id"] for batch in made.run(view) for document in batch] == [2, 3]
    with pytest.raises(AttributeError):
        made.nothing  # noqa: B018
