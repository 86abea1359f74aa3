"""$lookup, $unionWith, $graphLookup, $merge, $out over a context of lists."""

from __future__ import annotations

from typing import Any

import pytest

from docdb.errors import DuplicateKeyError, QueryError
from tests.pipeline.fake import ListContext, run


def people() -> ListContext:
    return ListContext(
        {
            "people": [
                {"_id": 1, "name": "a", "boss": None},
                {"_id": 2, "name": "b", "boss": 1},
                {"_id": 3, "name": "c", "boss": 2},
            ]
        }
    )


def test_lookup_by_field_asks_once_a_batch() -> None:
    context = people()
    found = run(
        [{"_id": 1, "who": 2}, {"_id": 2, "who": [1, 3]}],
        [{"$lookup": {"from": "people", "localField": "who", "foreignField": "_id", "as": "p"}}],
        context,
    )
    assert [[person["_id"] for person in document["p"]] for document in found] == [[2], [1, 3]]
    assert context.asked == [{"_id": {"$in": [2]}}, {"_id": {"$in": [1, 3]}}]


def test_lookup_joins_missing_with_null() -> None:
    stage = {"$lookup": {"from": "people", "localField": "gone", "foreignField": "boss", "as": "p"}}
    assert [person["_id"] for person in run([{"_id": 1}], [stage], people())[0]["p"]] == [1]


def test_lookup_by_pipeline_with_variables() -> None:
    inner = [{"$match": {"$expr": {"$gt": ["$_id", "$$low"]}}}, {"$project": {"_id": 1}}]
    stage = {"$lookup": {"from": "people", "let": {"low": "$n"}, "pipeline": inner, "as": "p"}}
    assert run([{"_id": 1, "n": 2}], [stage], people()) == [{"_id": 1, "n": 2, "p": [{"_id": 3}]}]


def test_lookup_hands_a_leading_match_to_the_source() -> None:
    context = people()
    run([{"_id": 1}], [{"$lookup": {"from": "people", "pipeline": [{"$match": {"name": "a"}}], "as": "p"}}], context)
    assert context.asked == [{"name": "a"}]


def test_union_with() -> None:
    stages = [{"$unionWith": {"coll": "people", "pipeline": [{"$match": {"boss": 1}}]}}, {"$project": {"_id": 1}}]
    assert run([{"_id": 9}], stages, people()) == [{"_id": 9}, {"_id": 2}]


def test_graph_lookup() -> None:
    stage = {
        "$graphLookup": {
            "from": "people",
            "startWith": "$boss",
            "connectFromField": "boss",
            "connectToField": "_id",
            "as": "up",
            "depthField": "d",
        }
    }
    (found,) = run([{"_id": 3, "boss": 2}], [stage], people())
    assert [(person["_id"], person["d"]) for person in found["up"]] == [(2, 0), (1, 1)]


def test_out_replaces_the_collection() -> None:
    context = ListContext({"target": [{"_id": 9}]})
    assert run([{"_id": 1}], [{"$out": "target"}], context) == []
    assert context.collections["target"] == [{"_id": 1}]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, [{"_id": 1, "a": 1, "b": 2}, {"_id": 2, "b": 2}], id="merge"),
        pytest.param({"whenMatched": "replace"}, [{"_id": 1, "b": 2}, {"_id": 2, "b": 2}], id="replace"),
        pytest.param({"whenMatched": "keepExisting"}, [{"_id": 1, "a": 1}, {"_id": 2, "b": 2}], id="keep"),
        pytest.param({"whenNotMatched": "discard"}, [{"_id": 1, "a": 1, "b": 2}], id="discard"),
        pytest.param(
            {"whenMatched": [{"$set": {"c": "$$new.b"}}]},
            [{"_id": 1, "a": 1, "c": 2}, {"_id": 2, "b": 2}],
            id="pipeline",
        ),
    ],
)
def test_merge(options: dict[str, Any], expected: list[Any]) -> None:
    context = ListContext({"target": [{"_id": 1, "a": 1}]})
    assert run([{"_id": 1, "b": 2}, {"_id": 2, "b": 2}], [{"$merge": {"into": "target", **options}}], context) == []
    assert context.collections["target"] == expected


def test_merge_fails_on_a_match() -> None:
    context = ListContext({"target": [{"_id": 1}]})
    with pytest.raises(DuplicateKeyError):
        run([{"_id": 1}], [{"$merge": {"into": "target", "whenMatched": "fail"}}], context)


def test_merge_fails_without_a_match() -> None:
    with pytest.raises(QueryError) as caught:
        run([{"_id": 1}], [{"$merge": {"into": "target", "whenNotMatched": "fail"}}], ListContext())
    assert caught.value.code == 13113


def test_merge_sees_what_it_wrote_before() -> None:
    context = ListContext({"target": []})
    context.unique = {"target": [frozenset({"k"})]}
    documents = [{"_id": n, "k": "same", f"f{n}": n} for n in range(3)]
    run(documents, [{"$project": {"_id": 0}}, {"$merge": {"into": "target", "on": "k"}}], context)
    (found,) = context.collections["target"]
    assert {key: value for key, value in found.items() if key != "_id"} == {"k": "same", "f0": 0, "f1": 1, "f2": 2}
