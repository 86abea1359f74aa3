"""What a pipeline reaches: fields, other collections, writes; and that nothing else decides its result."""

from copy import deepcopy

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from docdb.errors import DeniedError, DocdbError, QueryError
from docdb.language.expressions import compile_expression
from docdb.pipeline.optimiser import optimise
from docdb.pipeline.runner import compile_pipeline
from docdb.rules.fields import (
    MAX_DEPTH,
    MAX_NODES,
    Fields,
    check_size,
    fields_of_expression,
    fields_of_filter,
    fields_of_projection,
    fields_of_sort,
    fields_of_update,
)
from docdb.rules.reach import Written, fields_of_pipeline, fields_of_update_pipeline, reach
from tests.pipeline.fake import ListContext, run
from tests.rules import pipelines


def used(fields):
    return sorted(fields.used)


def shown(fields):
    return sorted(fields.shown)


FIELDS = {
    "a filter": ([{"$match": {"a.b": 1, "c": {"$gt": 2}}}, {"$count": "n"}], {"a.b", "c"}, set()),
    "whole documents": ([{"$match": {"a": 1}}], {"a"}, {""}),
    "a projection": ([{"$project": {"a": 1, "b.c": 1, "d": "$e"}}], set(), {"_id", "a", "b.c", "d", "e"}),
    "left out": ([{"$project": {"a": 0}}, {"$project": {"a": 1, "_id": 0}}], set(), set()),
    "a renamed field": ([{"$set": {"x": "$a.b"}}, {"$match": {"x.c": 1}}, {"$count": "n"}], {"a.b.c"}, {"a.b", "x"}),
    "renamed twice": (
        [{"$project": {"x": "$$ROOT.a", "_id": 0}}, {"$project": {"y": "$x", "_id": 0}}, {"$sort": {"y.b": 1}}, {"$count": "n"}],
        {"a.b"},
        {"a", "x"},
    ),
    "behind a group": ([{"$group": {"_id": "$a", "b": {"$max": "$c"}}}, {"$match": {"c": 1, "b": 2}}], {"a"}, {"c"}),
    "a new root": ([{"$replaceRoot": {"newRoot": "$a"}}, {"$group": {"_id": "$b"}}], {"a.b"}, {"a"}),
    "the document itself": ([{"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}], set(), {""}),
    "merged": ([{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"a": 1}]}}], set(), {""}),
    "all names": ([{"$project": {"_id": 0, "n": {"$size": {"$objectToArray": "$$ROOT"}}}}], set(), {"", "n"}),
    "a computed name": ([{"$project": {"_id": 0, "n": {"$getField": {"$concat": ["$a", "b"]}}}}], set(), {"", "a", "n"}),
    "a constant name": ([{"$project": {"_id": 0, "n": {"$getField": {"$literal": "a"}}}}], set(), {"a", "n"}),
    "a name below": ([{"$project": {"_id": 0, "n": {"$getField": {"field": "b", "input": "$a"}}}}], set(), {"a.b", "n"}),
    "a schema": ([{"$match": {"$jsonSchema": {"required": ["a"]}}}, {"$count": "n"}], {""}, set()),
    "a facet": ([{"$facet": {"x": [{"$match": {"a": 1}}, {"$count": "n"}], "y": [{"$project": {"b": 1}}]}}], {"a"}, {"_id", "b"}),
    "a group with the field output": ([{"$group": {"_id": 1, "output": {"$sum": "$a"}}}], set(), {"a"}),
    "buckets": ([{"$bucketAuto": {"groupBy": "$a", "buckets": 2, "output": {"n": {"$top": {"sortBy": {"b": 1}, "output": "$c"}}}}}], {"a", "b"}, {"c"}),
    "decided for every object": ([{"$redact": {"$cond": ["$a", "$$KEEP", "$$PRUNE"]}}, {"$count": "n"}], set(), {"", "a"}),
    "windows": ([{"$setWindowFields": {"partitionBy": "$a", "sortBy": {"b": 1}, "output": {"x": {"$shift": {"output": "$c", "by": 1}}}}}, {"$count": "n"}],
                {"a", "b"}, {"c", "x"}),
    "a series": ([{"$densify": {"field": "a", "partitionByFields": ["b"], "range": {"step": 1, "bounds": "full"}}}, {"$count": "n"}], {"a", "b"}, set()),
    "gaps": ([{"$fill": {"partitionByFields": ["a"], "sortBy": {"b": 1}, "output": {"c": {"method": "locf"}, "d": {"value": "$e"}}}}, {"$count": "n"}],
             {"a", "b"}, {"c", "d", "e"}),
}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_a_pipeline(name):
    pipeline, wanted_used, wanted_shown = FIELDS[name]
    fields = fields_of_pipeline(pipeline)
    assert (fields.used, fields.shown) == (wanted_used, wanted_shown)


def test_what_indexes_hold_is_said_apart():
    assert fields_of_filter({"$text": {"$search": "x"}}) == Fields(searches=frozenset({"words"}))
    assert fields_of_pipeline([{"$geoNear": {"near": [0, 0]}}, {"$count": "n"}]).searches == {"place"}
    assert fields_of_pipeline([{"$geoNear": {"near": [0, 0], "key": "at"}}, {"$count": "n"}]) == Fields(
        frozenset({"at"})
    )
    assert fields_of_pipeline([{"$project": {"k": {"$meta": "indexKey"}}}]).searches == {"index"}
    assert fields_of_pipeline([{"$sort": {"s": {"$meta": "textScore"}}}]).searches == {"words"}


def test_other_collections_are_found_however_deep():
    found = reach(
        [
            {"$match": {"a": 1, "$and": [{"b": 2}, {"c": 3}]}},
            {"$match": {"d": 4}},
            {"$lookup": {"from": "one", "localField": "e", "foreignField": "f", "as": "g", "pipeline": [{"$match": {"h": 1}}]}},
            {
                "$facet": {
                    "x": [{"$unionWith": {"coll": "two", "pipeline": [{"$lookup": {"from": "three", "pipeline": [], "as": "i"}}]}}],
                    "y": [{"$graphLookup": {"from": "four", "startWith": "$j", "connectFromField": "k", "connectToField": "l", "as": "m",
                                            "restrictSearchWithMatch": {"n": 1}}}],
                }
            },
        ]
    )  # fmt: skip
    assert [(foreign.collection, foreign.path, used(foreign.fields), foreign.leading) for foreign in found.reads] == [
        ("one", "2.$lookup", ["f", "h"], ({"h": 1},)),
        ("two", "3.$facet.x.0.$unionWith", [], ()),
        ("three", "3.$facet.x.0.$unionWith.pipeline.0.$lookup", [], ()),
        ("four", "3.$facet.y.0.$graphLookup", ["k", "l", "n"], ({"n": 1},)),
    ]
    assert all("" in foreign.fields.shown for foreign in found.reads)
    assert found.leading == ({"a": 1}, {"b": 2}, {"c": 3}, {"d": 4})
    assert found.fields.paths >= {"a", "b", "c", "d", "e", "j"}
    assert (found.writes, found.admin) == ((), None)


def test_only_what_stands_in_front_is_leading():
    assert reach([{"$sort": {"a": 1}}, {"$match": {"b": 1}}]).leading == ()
    assert reach([{"$geoNear": {"near": [0, 0], "query": {"a": 1}}}, {"$match": {"b": 1}}]).leading == ({"a": 1},)


def test_writes_are_found_and_what_they_read():
    found = reach([{"$merge": {"into": "t", "on": ["a"], "whenMatched": [{"$set": {"b": "$c", "d": "$$new.e"}}]}}])
    assert found.writes == (Written("t", "0.$merge", "$merge", merges=True),)
    assert [
        reach([{"$merge": {"into": "t", "whenMatched": how}}]).writes[0].merges for how in ("merge", "replace", "fail")
    ] == [True, False, False]
    assert (found.reads[0].collection, used(found.reads[0].fields)) == ("t", ["a", "c"])
    assert reach([{"$out": {"db": "x", "coll": "t"}}]).writes == reach([{"$out": "t"}]).writes
    assert reach([{"$out": "t"}]).writes == (Written("t", "0.$out", "$out"),)


@pytest.mark.parametrize("stage", ["$collStats", "$indexStats"])
def test_what_only_administrators_see(stage):
    assert reach([{"$match": {}}, {stage: {}}]).admin == f"1.{stage}"
    assert reach([{"$unionWith": {"coll": "a", "pipeline": [{stage: {}}]}}]).admin == f"0.$unionWith.pipeline.0.{stage}"


@pytest.mark.parametrize("name", ["_rules", "system.users", "_"])
@pytest.mark.parametrize(
    "stage",
    [
        lambda name: {"$lookup": {"from": name, "localField": "a", "foreignField": "b", "as": "c"}},
        lambda name: {"$lookup": {"from": name, "pipeline": [], "as": "c"}},
        lambda name: {"$graphLookup": {"from": name, "startWith": 1, "connectFromField": "a", "connectToField": "b", "as": "c"}},
        lambda name: {"$unionWith": name},
        lambda name: {"$unionWith": {"coll": name}},
        lambda name: {"$out": name},
        lambda name: {"$out": {"db": "d", "coll": name}},
        lambda name: {"$merge": name},
        lambda name: {"$merge": {"into": {"coll": name}}},
        lambda name: {"$facet": {"a": [{"$unionWith": name}]}},
    ],
    ids=range(10),
)  # fmt: skip
def test_collections_that_users_may_not_address(stage, name):
    with pytest.raises(DeniedError):
        reach([stage(name)])


@pytest.mark.parametrize(
    "stage",
    [
        {"$unionWith": {"coll": {"$concat": ["_", "rules"]}}},
        {"$lookup": {"from": {"db": "d", "coll": "c"}, "as": "c", "pipeline": []}},
        {"$merge": {"into": 1}},
        {"$densify": {"field": "a", "partitionByFields": "bc", "range": {}}},
        {"$fill": {"partitionByFields": "bc", "output": {}}},
    ],
    ids=str,
)
def test_names_are_constants(stage):
    with pytest.raises(QueryError):
        reach([stage])


@pytest.mark.parametrize("kind", [list, dict])
def test_depth_and_size_are_bounded_before_anything_is_walked(kind):
    deep = 1
    for _ in range(100_000):
        deep = [deep] if kind is list else {"a": deep}
    with pytest.raises(QueryError, match=f"deeper than {MAX_DEPTH}"):
        reach([{"$match": {"a": deep}}])
    wide = list(range(MAX_NODES)) if kind is list else dict.fromkeys(map(str, range(MAX_NODES)), 1)
    with pytest.raises(QueryError, match=f"more than {MAX_NODES}") as caught:
        reach([{"$match": {"a": wide}}])
    assert caught.value.path == "0.$match.a"
    while deep != 1:  # taken apart by hand: the interpreter would do it by recursion
        (deep,) = deep if kind is list else deep.values()


def test_an_object_inside_itself_ends():
    inside: dict = {}
    inside["a"] = inside
    with pytest.raises(QueryError):
        check_size(inside)


def test_fields_of_filters():
    filter = {
        "a": 1,
        "$nor": [{"b.c": {"$not": {"$gt": 1}}}],
        "d": {"$elemMatch": {"e": 1, "$or": [{"f": 2}]}},
        "g": {"$all": [{"$elemMatch": {"h": 1}}]},
    }
    assert used(fields_of_filter(filter)) == ["a", "b.c", "d", "d.e", "d.f", "g", "g.h"]
    assert used(fields_of_filter({"$expr": {"$gt": ["$a.b", "$$ROOT"]}})) == ["", "a.b"]
    assert fields_of_filter(None) == fields_of_filter({}) == Fields()


def test_fields_of_sorts_and_projections():
    assert used(fields_of_sort([("a.b", -1), "c"])) == used(fields_of_sort({"a.b": -1, "c": 1})) == ["a.b", "c"]
    assert used(fields_of_sort(((("a", "b"), -1), (("c",), 1)))) == ["a.b", "c"]
    assert fields_of_sort("$natural") == Fields()
    assert shown(fields_of_projection(["a", "b.c"])) == ["_id", "a", "b.c"]
    assert shown(fields_of_projection({"a": 0})) == [""]
    assert shown(fields_of_projection({"a.$": 1, "b": {"$slice": 1}, "c": {"d": "$e"}})) == [
        "_id",
        "a",
        "b",
        "c.d",
        "e",
    ]
    assert shown(fields_of_projection({"b": {"$slice": 1}})) == ["", "b"]
    found = fields_of_projection({"a": {"$elemMatch": {"b": 1}}})
    assert (used(found), shown(found)) == (["a", "a.b"], ["_id", "a"])


def test_fields_of_updates():
    found = fields_of_update(
        {"$set": {"a": 1}, "$inc": {"b": 1}, "$rename": {"c": "d"}, "$unset": {"e": 1}, "$pull": {"f": {"g": 1}}}
    )
    assert used(found.reads) == ["b", "c", "f", "f.g"]
    assert found.writes == {"a", "b", "c", "d", "e", "f"}
    filtered = fields_of_update({"$set": {"a.$[x].b": 1}}, [{"$or": [{"x.c": 1}, {"x": {"$elemMatch": {"d": 1}}}]}])
    assert used(filtered.reads) == ["a", "a.c", "a.d"]
    assert fields_of_update({"a": 1}).writes == {""}


def test_an_update_in_pipeline_form_reads_what_it_copies_and_leaves_the_rest_alone():
    assert used(fields_of_update_pipeline([{"$set": {"a": "$b"}}])) == ["b"]
    assert used(fields_of_update_pipeline([{"$set": {"a": "$$ROOT"}}])) == [""]
    assert used(fields_of_update_pipeline([{"$set": {"a": 1}}, {"$unset": "b"}, {"$project": {"c": 1}}])) == []
    assert used(fields_of_update_pipeline([{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"a": 1}]}}])) == [""]


@settings(max_examples=200, deadline=None)
@given(
    pipelines.expressions.filter(lambda spec: "$getField" not in repr(spec))
)  # which the engine takes for one that reads anything
def test_an_expression_reads_at_least_what_its_compiled_form_says(spec):
    try:
        compiled = compile_expression(spec)
    except DocdbError:
        return
    assert ({""} if compiled.paths is None else compiled.paths) <= fields_of_expression(spec).shown


def changed(document, path, value):
    """Put a value, or nothing for ..., where the path leads already; through arrays, too."""
    head, _, tail = path.partition(".")
    if isinstance(document, list):
        return [changed(item, path, value) for item in document]
    if not isinstance(document, dict) or head not in document:
        return document
    if tail:
        return {**document, head: changed(document[head], tail, value)}
    return {
        name: value if name == head else item for name, item in document.items() if name != head or value is not ...
    }


def related(path, other):
    steps, others = ([step for step in text.split(".") if not step.isdigit()] for text in (path, other))
    shared = min(len(steps), len(others))
    return other == "" or steps[:shared] == others[:shared]


OTHER = [{"_id": 7, "a": 1, "b": {"x": 1}}, {"_id": 8, "a": "p", "b": 1, "c": [1, 2]}, {"_id": 9, "b": None}]


def outcome(documents, stages):
    context = ListContext({"other": deepcopy(OTHER)})
    try:
        return repr(run(deepcopy(documents), stages, context))
    except DocdbError as error:
        return f"{type(error).__name__}: {error.code}"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(pipelines.documents, pipelines.pipelines, st.lists(pipelines.values, min_size=2, max_size=2))
def test_a_field_that_a_pipeline_does_not_speak_of_decides_nothing(documents, pipeline, values):
    """The table is sound: whatever happens to a field outside the set, the result is the same, errors and the order of fields included."""
    check_that_nothing_else_decides(documents, pipeline, values)


@pytest.mark.parametrize("kind", range(len(pipelines.KINDS) - 1))  # the last one, $redact, reads everything
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(pipelines.documents, st.data(), pipelines.views, st.lists(pipelines.values, min_size=2, max_size=2))
def test_each_stage_reads_no_more_than_it_says(kind, documents, data, view, values):
    check_that_nothing_else_decides(documents, [data.draw(pipelines.KINDS[kind]), *view], values)


def check_that_nothing_else_decides(documents, pipeline, values):
    paths = fields_of_pipeline(pipeline).paths
    others = [path for path in pipelines.NAMED if not any(related(path, known) for known in paths)]
    assume(others)
    forms = [pipeline, *rearranged(pipeline)]
    before = [outcome(documents, form) for form in forms]
    for path in others:
        for value in (..., 2, [2], {"x": 1, "y": [2]}, *values):
            other = [changed(document, path, value) for document in documents]
            assert [outcome(other, form) for form in forms] == before


def rearranged(pipeline):
    """Return the pipeline as the optimiser leaves it; it takes only what has compiled."""
    try:
        compile_pipeline(pipeline, context=ListContext())
    except DocdbError:
        return []
    found = list(optimise(pipeline).stages)
    return [] if found == pipeline else [found]
