"""The shortcut against the chooser: the same plan, or none."""

from __future__ import annotations

import random
from typing import Any

import pytest

from docdb.planner import planner
from docdb.planner.access import IndexScan
from docdb.planner.plan import Plan
from docdb.planner.shortcuts import quick_scan
from docdb.planner.views import View
from tests.planner.fakes import FakeView, index, query

VALUES = [0, 1, 5, -3, 2.5, float("nan"), True, "", "p", "pq", "p" * 300, 2**60, None, [1], {"x": 1}]
KEYS = [
    {"a": 1},
    {"a": 1},
    {"a": -1},
    {"a": -1},
    {"a": 1, "b": 1},
    {"a": -1, "b": 1},
    {"b": 1},
    {"b": 1, "a": 1},
    {"a.x": 1},
    {"a.0": 1},
]
OPTIONS: list[dict[str, Any]] = [
    {}, {}, {}, {"unique": True}, {"sparse": True}, {"hidden": True}, {"building": True}, {"partial": {"a": {"$gt": 0}}},
    {"collation": {"locale": "en", "strength": 2}},
]  # fmt: skip
SORTS: list[dict[str, int] | None] = [
    None,
    None,
    {"a": 1},
    {"a": 1},
    {"a": -1},
    {"a": -1},
    {"b": 1},
    {"a": 1, "b": 1},
    {"_id": 1},
    {"a.x": -1},
]


def chosen(monkeypatch: pytest.MonkeyPatch, asked: Any, view: View) -> Plan:
    """The plan without the shortcut."""
    with monkeypatch.context() as patch:
        patch.setattr(planner, "quick_scan", lambda query, view: None)
        return planner.plan(asked, view)


def facts(plan: Plan) -> tuple[Any, ...]:
    candidates = [(c.access, c.sources, c.ordered, c.bounded, c.estimate, c.counted) for c in plan.considered]
    return plan.access, plan.exact, plan.ordered, plan.sort, plan.covered, plan.fallback, plan.budget, candidates


@pytest.mark.parametrize("seed", range(10))
def test_the_same_plan_as_the_chooser(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chance = random.Random(seed)
    answers = 0
    for _ in range(400):
        pool = VALUES if chance.random() < 0.2 else VALUES[:9]
        documents = [{"_id": n, "a": chance.choice(pool), "b": chance.choice(VALUES[:9])} for n in range(12)]
        indexes = [index(n + 1, chance.choice(KEYS), **chance.choice(OPTIONS)) for n in range(chance.choice([1, 1, 2]))]
        view: Any = FakeView(documents, *indexes)
        operator = chance.choice(["$eq", "$gt", "$gte", "$lt", "$lte"])
        path = chance.choice(["a", "a", "a", "b", "a.x", "a.0"])
        filter: dict[str, Any] = {path: {operator: chance.choice(VALUES)}}
        if chance.random() < 0.3:
            filter = {path: {"$in": [chance.choice(VALUES[:9]) for _ in range(chance.choice([1, 2, 4]))]}}
        elif chance.random() < 0.3:
            filter[path]["$not"] = {"$type": "array"}
        asked = query(filter, sort=chance.choice(SORTS), limit=chance.choice([0, 3, 3]), skip=chance.choice([0, 2]))
        quick = quick_scan(asked, view)
        if quick is not None:
            answers += 1
            assert facts(quick) == facts(chosen(monkeypatch, asked, view))
    assert answers > 5


@pytest.mark.parametrize("operator", ["$eq", "$gt", "$gte", "$lt", "$lte"])
@pytest.mark.parametrize("way", [1, -1])
def test_the_commonest_query_takes_it(operator: str, way: int) -> None:
    view: Any = FakeView([{"_id": n, "a": n} for n in range(5)], index(1, {"a": 1}), index(2, {"b": 1}))
    plan = quick_scan(query({"a": {operator: 2}}, sort={"a": way}, limit=3), view)
    assert plan is not None
    assert isinstance(plan.access, IndexScan)
    assert (plan.exact, plan.ordered, plan.access.reverse) == (True, True, way < 0)
