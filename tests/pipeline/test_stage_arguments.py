"""Numbers, names and variables in the arguments of stages."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

import docdb
from docdb.errors import DocdbError
from tests.pipeline.fake import ListContext, run

DOCUMENTS: list[dict[str, Any]] = [{"_id": 1, "v": 20}, {"_id": 2, "v": 10}]


@pytest.mark.parametrize(
    ("direction", "ids"),
    [(1.999, [2, 1]), (-1.999, [1, 2]), (Decimal("0.51"), [2, 1]), (Decimal("-1.49"), [1, 2])],
    ids=str,
)
def test_a_leading_sort_takes_the_directions_any_sort_takes(
    docdb_database: docdb.Database, direction: Any, ids: list[int]
) -> None:
    docdb_database["c"].insert_many(DOCUMENTS)
    assert [found["_id"] for found in docdb_database["c"].aggregate([{"$sort": {"v": direction}}])] == ids
    assert [found["_id"] for found in run(DOCUMENTS, [{"$sort": {"v": direction}}])] == ids


def test_a_sample_of_more_than_a_double_holds_is_everything() -> None:
    assert len(run(DOCUMENTS, [{"$sample": {"size": Decimal("1E+6144")}}])) == 2


@pytest.mark.parametrize(
    ("stage", "code"),
    [
        ({"$group": {"_id": {"a": True}}}, 17390),
        ({"$group": {"_id": None, "s": {"$addToSet": ["$v"]}}}, 40237),
        ({"$lookup": {"from": "x", "pipeline": [{"$documents": []}], "as": "j"}}, 73),
        ({"$facet": {"a": [{"$unionWith": {"coll": "x", "pipeline": [{"$facet": {"b": []}}]}}]}}, 40600),
        ({"$lookup": {"from": "x", "localField": "v", "foreignField": "v", "let": {"n": {"$ln": "$s"}}, "pipeline": [], "as": "j"}}, 28765),
    ],
    ids=["bool in an id", "array in $group", "from and $documents", "facet in a union", "let nobody reads"],
)  # fmt: skip
def test_what_is_refused(stage: dict[str, Any], code: int) -> None:
    with pytest.raises(DocdbError) as refused:
        run([{"_id": 1, "v": 1, "s": "text"}], [stage], ListContext({"x": [{"_id": 1, "v": 1}]}))
    assert refused.value.code == code


def test_a_variable_of_merge_without_a_value_is_undefined() -> None:
    context = ListContext({"t": [{"_id": 1}, {"_id": 2}]})
    merge = {"into": "t", "let": {"w": "$w"}, "whenMatched": [{"$set": {"got": "$$w"}}]}
    run([{"_id": 1, "w": 5}], [{"$merge": merge}], context)
    assert {"_id": 1, "got": 5} in context.collections["t"]
    with pytest.raises(DocdbError) as refused:
        run([{"_id": 2}], [{"$merge": merge}], context)
    assert refused.value.code == 17276


def test_the_search_of_a_graph_reads_the_variables_around_it() -> None:
    context = ListContext({"x": [{"_id": 1, "to": 2, "k": "a"}, {"_id": 2, "to": 3, "k": "a"}, {"_id": 3, "k": "b"}]})
    search = {
        "from": "x", "startWith": "$to", "connectFromField": "to", "connectToField": "_id", "as": "g",
        "restrictSearchWithMatch": {"$expr": {"$eq": ["$k", "$$k"]}},
    }  # fmt: skip
    inner = [{"$match": {"_id": 1}}, {"$graphLookup": search}]
    (found,) = run(
        [{"_id": 9, "k": "a"}], [{"$lookup": {"from": "x", "let": {"k": "$k"}, "pipeline": inner, "as": "j"}}], context
    )
    assert [item["_id"] for item in found["j"][0]["g"]] == [2]
