"""$lookup by fields against a join written down as MongoDB describes it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docdb.language import filters, matching
from docdb.language.order import order_key
from docdb.language.values import Regex
from docdb.pipeline import joining
from docdb.pipeline.joining import equality_filter, foreign_values, local_values
from tests.pipeline.fake import ListContext, run

SCALARS = st.sampled_from([0, 1, 1.0, Decimal(1), True, None, "a", "b", float("nan"), Regex("a", ""), {"b": 1}])
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.lists(st.lists(SCALARS, max_size=2), max_size=2))
DOCUMENTS = st.lists(st.dictionaries(st.sampled_from("ab"), VALUES, max_size=2), max_size=12)


def joined(locals: list[Any], foreigns: list[Any], local: str, foreign: str) -> list[Any]:
    """Return what $lookup gives, each document looked for by itself."""
    result = []
    for document in locals:
        values = local_values(document, tuple(local.split(".")))
        matches = matching.matcher(filters.parse(equality_filter(foreign, values)))
        wanted = set(map(order_key, values))
        found = [
            f
            for f in foreigns
            if matches(f) and wanted & set(map(order_key, foreign_values(f, tuple(foreign.split(".")))))
        ]
        result.append({**document, "as": found})
    return result


@pytest.mark.parametrize(("local", "foreign"), [("a", "a"), ("a", "b"), ("a.b", "a"), ("a", "a.b"), ("b.0", "a")])
@given(DOCUMENTS, DOCUMENTS)
def test_it_finds_what_each_document_by_itself_would_find(
    local: str, foreign: str, locals: list[Any], foreigns: list[Any]
) -> None:
    locals = [{"_id": n, **document} for n, document in enumerate(locals)]
    foreigns = [{"_id": n, **document} for n, document in enumerate(foreigns)]
    context = ListContext({"other": foreigns})
    stage = {"$lookup": {"from": "other", "localField": local, "foreignField": foreign, "as": "as"}}
    assert repr(run(locals, [stage], context)) == repr(joined(locals, foreigns, local, foreign))


@pytest.mark.parametrize("kernel", [True, False], ids=["kernel", "plain"])
@pytest.mark.parametrize("unwind", ["$as", {"path": "$as", "preserveNullAndEmptyArrays": True}], ids=["drops", "keeps"])
@given(locals=DOCUMENTS, foreigns=DOCUMENTS)
def test_what_is_unwound_at_once(kernel: bool, unwind: Any, locals: list[Any], foreigns: list[Any]) -> None:
    locals = [{"_id": n, "as": n, **document} for n, document in enumerate(locals)] * 2
    foreigns = [{"_id": n, **document} for n, document in enumerate(foreigns)]
    stage = {"$lookup": {"from": "other", "localField": "a", "foreignField": "a", "as": "as"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "_kernel", joining._kernel if kernel else None)
        together = [
            run(part, [stage, {"$unwind": unwind}], ListContext({"other": foreigns})) for part in (locals, locals[:3])
        ]
    apart = [run(joined(part, foreigns, "a", "a"), [{"$unwind": unwind}]) for part in (locals, locals[:3])]
    assert repr(together) == repr(apart)


def test_later_batches_are_joined_as_the_first() -> None:
    locals = [{"_id": n, "k": [n % 5, f"x{n % 3}", [1], None, True, 2.0][n % 6]} for n in range(1500)]
    foreigns = [{"_id": n, "k": n % 4, "deep": [n] if n % 4 == 1 else n} for n in range(12)] + [{"_id": 20, "k": "x1"}]
    stage = {"$lookup": {"from": "other", "localField": "k", "foreignField": "k", "as": "as"}}
    found = run(locals, [stage], ListContext({"other": foreigns}))
    assert found == joined(locals, foreigns, "k", "k")
    unwound = run(locals, [stage, {"$unwind": "$as"}], ListContext({"other": foreigns}))
    assert unwound == [{**document, "as": one} for document in found for one in document["as"]]


def test_a_value_is_looked_for_once() -> None:
    context = ListContext({"other": [{"_id": 1, "k": "x"}, {"_id": 2, "k": "y"}]})
    stage = {"$lookup": {"from": "other", "localField": "k", "foreignField": "k", "as": "as"}}
    run([{"_id": n, "k": "xyz"[n % 3]} for n in range(1000)], [stage], context)
    assert context.asked == [{"k": {"$in": ["x", "y", "z"]}}]


def test_it_forgets_what_it_may_not_hold() -> None:
    context = ListContext({"other": [{"_id": 1, "k": "x"}]})
    context.memory_limit = 0
    stage = {"$lookup": {"from": "other", "localField": "k", "foreignField": "k", "as": "as"}}
    found = run([{"_id": n, "k": "x"} for n in range(4)], [stage], context)
    assert [len(document["as"]) for document in found] == [1, 1, 1, 1]
    assert len(context.asked) == 2


@pytest.mark.parametrize("foreign", [{"_id": 1, "k": 1}, {"_id": 1, "k": 1, "deep": {"list": [{"n": 1}]}}])
def test_documents_share_nothing_that_can_change(foreign: dict[str, Any]) -> None:
    context = ListContext({"other": [foreign]})
    stage = {"$lookup": {"from": "other", "localField": "k", "foreignField": "k", "as": "as"}}
    first, second = run([{"_id": 1, "k": 1}, {"_id": 2, "k": 1}], [stage], context)
    first["as"][0]["k"] = 2
    first["as"][0].setdefault("deep", {}).clear()
    assert second["as"] == [foreign]


def test_a_pipeline_without_variables_runs_once_for_a_value() -> None:
    context = ListContext({"other": [{"_id": n, "k": 1, "n": n} for n in range(5)]})
    inner = [{"$sort": {"n": -1}}, {"$limit": 1}, {"$project": {"n": 1}}]
    stage = {"$lookup": {"from": "other", "localField": "k", "foreignField": "k", "pipeline": inner, "as": "as"}}
    found = run([{"_id": 1, "k": 1}, {"_id": 2, "k": 1}, {"_id": 3, "k": 2}], [stage], context)
    assert [document["as"] for document in found] == [[{"_id": 4, "n": 4}], [{"_id": 4, "n": 4}], []]


def test_a_pipeline_with_variables_runs_for_each_document() -> None:
    context = ListContext({"other": [{"_id": n, "k": 1, "n": n} for n in range(5)]})
    inner = [{"$match": {"$expr": {"$lt": ["$n", "$$most"]}}}, {"$count": "below"}]
    stage = {"$lookup": {"from": "other", "localField": "k", "foreignField": "k", "let": {"most": "$most"}, "pipeline": inner,
                         "as": "as"}}  # fmt: skip
    found = run([{"_id": 1, "k": 1, "most": 2}, {"_id": 2, "k": 1, "most": 4}], [stage], context)
    assert [document["as"] for document in found] == [[{"below": 2}], [{"below": 4}]]
