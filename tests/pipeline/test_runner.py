"""Pipelines as a whole: stage by stage, refusals, fronts, updates."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from docdb.errors import NotSupportedError, QueryError, UpdateError
from docdb.pipeline.runner import STAGES, compile_pipeline, evaluate_let, pipeline_update, take_front
from tests.pipeline.fake import ListContext, run

DOCUMENTS: list[dict[str, Any]] = [
    {"_id": 1, "k": "a", "n": 3, "t": [1, 2], "o": {"x": 1, "y": 2}},
    {"_id": 2, "k": "b", "n": 1, "t": [], "o": {"x": 3}},
    {"_id": 3, "k": "a", "n": 2, "o": [{"x": 5}, {"y": 6}]},
]
CASES: list[tuple[str, list[Any], list[Any]]] = [
    ("match", [{"$match": {"n": {"$gt": 1}}}, {"$project": {"n": 1}}], [{"_id": 1, "n": 3}, {"_id": 3, "n": 2}]),
    ("match expr", [{"$match": {"$expr": {"$eq": ["$n", "$_id"]}}}, {"$count": "c"}], []),
    ("sort", [{"$sort": {"n": 1}}, {"$project": {"_id": 1}}], [{"_id": 2}, {"_id": 3}, {"_id": 1}]),
    ("sort limit", [{"$sort": {"n": -1}}, {"$limit": 1}, {"$project": {"_id": 1}}], [{"_id": 1}]),
    ("skip", [{"$skip": 2}, {"$project": {"_id": 1}}], [{"_id": 3}]),
    ("count", [{"$count": "c"}], [{"c": 3}]),
    ("project nested", [{"$project": {"_id": 0, "o.x": 1}}], [{"o": {"x": 1}}, {"o": {"x": 3}}, {"o": [{"x": 5}, {}]}]),
    ("project out", [{"$project": {"k": 0, "t": 0, "o": 0}}], [{"_id": 1, "n": 3}, {"_id": 2, "n": 1}, {"_id": 3, "n": 2}]),
    ("project computed", [{"$limit": 1}, {"$project": {"m": {"$add": ["$n", 1]}}}], [{"_id": 1, "m": 4}]),
    ("unset", [{"$limit": 1}, {"$unset": ["k", "t", "o.y"]}], [{"_id": 1, "n": 3, "o": {"x": 1}}]),
    ("unwind", [{"$unwind": "$t"}, {"$project": {"t": 1}}], [{"_id": 1, "t": 1}, {"_id": 1, "t": 2}]),
    (
        "unwind keeping",
        [{"$unwind": {"path": "$t", "preserveNullAndEmptyArrays": True, "includeArrayIndex": "i"}}, {"$project": {"i": 1}}],
        [{"_id": 1, "i": 0}, {"_id": 1, "i": 1}, {"_id": 2, "i": None}, {"_id": 3, "i": None}],
    ),
    ("replace root", [{"$limit": 2}, {"$replaceRoot": {"newRoot": "$o"}}], [{"x": 1, "y": 2}, {"x": 3}]),
    ("sort by count", [{"$sortByCount": "$k"}], [{"_id": "a", "count": 2}, {"_id": "b", "count": 1}]),
    (
        "group",
        [{"$group": {"_id": "$k", "s": {"$sum": "$n"}, "all": {"$push": "$n"}}}, {"$sort": {"_id": 1}}],
        [{"_id": "a", "s": 5, "all": [3, 2]}, {"_id": "b", "s": 1, "all": [1]}],
    ),
    (
        "bucket",
        [{"$bucket": {"groupBy": "$n", "boundaries": [0, 2], "default": "more"}}],
        [{"_id": 0, "count": 1}, {"_id": "more", "count": 2}],
    ),
    (
        "bucketAuto",
        [{"$bucketAuto": {"groupBy": "$n", "buckets": 2}}],
        [{"_id": {"min": 1, "max": 3}, "count": 2}, {"_id": {"min": 3, "max": 3}, "count": 1}],
    ),
    ("facet", [{"$facet": {"n": [{"$count": "c"}], "m": [{"$match": {"_id": 9}}]}}], [{"n": [{"c": 3}], "m": []}]),
    ("redact", [{"$limit": 1}, {"$redact": {"$cond": [{"$eq": ["$k", "a"]}, "$$KEEP", "$$PRUNE"]}}, {"$count": "c"}], [{"c": 1}]),
    (
        "window",
        [
            {"$setWindowFields": {"sortBy": {"n": 1}, "output": {"r": {"$rank": {}}, "s": {"$sum": "$n", "window": {"documents": ["unbounded", "current"]}}}}},
            {"$project": {"_id": 0, "r": 1, "s": 1}},
        ],
        [{"r": 1, "s": 1}, {"r": 2, "s": 3}, {"r": 3, "s": 6}],
    ),
    (
        "densify",
        [{"$project": {"_id": 0, "n": {"$multiply": ["$n", 2]}}}, {"$densify": {"field": "n", "range": {"step": 1, "bounds": "full"}}}, {"$count": "c"}],
        [{"c": 5}],
    ),
    (
        "fill",
        [
            {"$project": {"u": {"$cond": [{"$eq": ["$_id", 2]}, None, "$n"]}}},
            {"$fill": {"sortBy": {"_id": 1}, "output": {"u": {"method": "linear"}}}},
        ],
        [{"_id": 1, "u": 3}, {"_id": 2, "u": 2.5}, {"_id": 3, "u": 2}],
    ),
    ("documents", [{"$documents": [{"z": 1}]}], [{"z": 1}]),
]  # fmt: skip


@pytest.mark.parametrize(("stages", "expected"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_result(stages: list[Any], expected: list[Any]) -> None:
    assert run(DOCUMENTS, stages) == expected


@pytest.mark.parametrize(
    ("stages", "code"),
    [
        pytest.param({"$match": {}}, 14, id="no array"),
        pytest.param([{}], 40323, id="empty stage"),
        pytest.param([{"$mtch": {}}], 40324, id="unknown stage"),
        pytest.param([{"$match": 1}], 15959, id="match"),
        pytest.param([{"$limit": 0}], 15958, id="limit"),
        pytest.param([{"$skip": -1}], 5107200, id="skip"),
        pytest.param([{"$group": {"a": 1}}], 15955, id="group without id"),
        pytest.param([{"$group": {"_id": 1, "a": {"$what": 1}}}], 15952, id="unknown accumulator"),
        pytest.param([{"$project": {"a": 1, "b": 0}}], 31254, id="mixed projection"),
        pytest.param([{"$out": "x"}, {"$match": {}}], 40601, id="out is last"),
        pytest.param([{"$match": {}}, {"$documents": []}], 40602, id="documents is first"),
        pytest.param([{"$lookup": {"from": "a", "as": "b", "pipeline": [{"$out": "c"}]}}], 51047, id="out in lookup"),
        pytest.param([{"$facet": {"a": [{"$facet": {}}]}}], 40600, id="facet in facet"),
        pytest.param([{"$merge": {"into": "a", "on": "k"}}], 51183, id="merge needs a unique index"),
    ],
)
def test_refusal(stages: Any, code: int) -> None:
    with pytest.raises(QueryError) as caught:
        compile_pipeline(stages, context=ListContext())
    assert caught.value.code == code


def test_server_stages_are_not_supported() -> None:
    with pytest.raises(NotSupportedError):
        compile_pipeline([{"$search": {}}], context=ListContext())


def test_path_of_a_mistake() -> None:
    with pytest.raises(QueryError) as caught:
        compile_pipeline([{"$match": {}}, {"$set": {"a": {"$ad": 1}}}], context=ListContext())
    assert caught.value.path == "1.$set.$ad"


def test_input_is_not_changed() -> None:
    document = {"_id": 1, "o": {"x": 1}}
    run([document], [{"$set": {"o.y": 2}}, {"$unset": "o.x"}])
    assert document == {"_id": 1, "o": {"x": 1}}


def test_take_front() -> None:
    front = take_front(
        [{"$match": {"a": 1}}, {"$match": {"b": 2}}, {"$sort": {"a": 1}}, {"$limit": 3}, {"$count": "c"}]
    )
    assert (front.filter, front.sort, front.skip, front.limit) == ({"$and": [{"a": 1}, {"b": 2}]}, {"a": 1}, 0, 3)
    assert front.rest == ({"$count": "c"},)


def test_stages_are_sorted() -> None:
    assert list(STAGES) == sorted(STAGES)


def test_pipeline_update() -> None:
    now = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
    update = pipeline_update(
        [{"$set": {"b": {"$add": ["$a", "$$by"]}, "at": "$$NOW"}}, {"$unset": "a"}], variables={"by": 2}, now=now
    )
    assert update({"_id": 1, "a": 1}) == {"_id": 1, "b": 3, "at": now}


def test_pipeline_update_refuses_other_stages() -> None:
    with pytest.raises(UpdateError) as caught:
        pipeline_update([{"$match": {}}])
    assert caught.value.code == 72


def test_evaluate_let() -> None:
    assert evaluate_let({"a": {"$add": [1, 2]}, "b": {"$add": ["$$a", 1]}}) == {"a": 3, "b": 4}


@pytest.mark.parametrize(
    ("let", "code"), [(1, 14), ({"Big": 1}, 9), ({"a": "$$b"}, 17276), ({"a": "$b"}, 4890500)], ids=str
)
def test_evaluate_let_refuses(let: Any, code: int) -> None:
    with pytest.raises(QueryError) as caught:
        evaluate_let(let)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("stage", "code"),
    [
        ({"$group": {"_id": None, "n": {"$sum": {"$divide": ["$a", "$zero"]}}}}, 4848401),
        ({"$group": {"_id": None, "n": {"$push": {"$mod": ["$a", "$zero"]}}}}, 4848403),
        ({"$group": {"_id": None, "n": {"$max": {"$divide": [1, 0]}}}}, 4848401),
        ({"$group": {"_id": {"$divide": ["$a", "$zero"]}}}, 2),
        ({"$bucketAuto": {"groupBy": "$a", "buckets": 1, "output": {"n": {"$sum": {"$divide": ["$a", "$zero"]}}}}}, 2),
        ({"$project": {"n": {"$mod": ["$a", "$zero"]}}}, 16610),
    ],
    ids=["sum", "push", "constant", "id", "bucket", "project"],
)
def test_a_division_by_zero_has_another_number_in_a_group(stage: Any, code: int) -> None:
    with pytest.raises(QueryError) as refused:
        run([{"a": 1, "zero": 0}], [stage])
    assert refused.value.code == code
