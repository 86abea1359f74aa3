"""What a caller gets does not depend on what is hidden from it: random queries over documents that differ in hidden fields alone."""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import docdb
from docdb.errors import DocdbError
from tests.rules import pipelines
from tests.rules.test_masks import altered

hiding = st.sets(st.sampled_from(pipelines.NAMED), min_size=1, max_size=2)
projections = st.sampled_from(
    [None, {"a": 1}, {"b.x": 1}, {"c": 0}, {"e": "$$ROOT"}, {"e": "$a", "_id": 0}, {"l": {"$objectToArray": "$$ROOT"}}]
)
updates = st.sampled_from([
    {"$set": {"a": 1}}, {"$set": {"b.x": 1}}, {"$set": {"a.x.y": 1}}, {"$unset": {"a": ""}}, {"$inc": {"c": 1}}, {"$rename": {"a": "d"}}, {"$push": {"b": 1}},
    {"$max": {"a.x": 1}}, {"$pull": {"b": {"x": 1}}}, {"$addToSet": {"c": 1}}, {"$set": {"b.$[].x": 1}}, [{"$set": {"d": "$a"}}], [{"$set": {"d": "$$ROOT"}}],
    [{"$unset": "a"}], [{"$project": {"b": 1}}],
])  # fmt: skip


def outcome(documents, hidden, index, ask):
    """Return what a caller gets, and the documents as the administrator sees them, hidden fields apart."""
    with docdb.open(":memory:") as db:
        db["main"].insert_many(documents)
        db["other"].insert_many([{**document, "_id": -document["_id"]} for document in documents])
        if index is not None:
            db["main"].create_index(index)
            db["other"].create_index(index)
        for name in ("main", "other"):
            db.set_rules(name, {"read": True, "write": True, "fields": {path: {"read": False} for path in hidden}})
        try:
            return repr(ask(db.as_user({"openid": "ann"})["main"]))
        except DocdbError as error:
            return f"{type(error).__name__} {error.code}"


def check(documents, hidden, index, values, ask):
    before = outcome(documents, hidden, index, ask)
    for path in sorted(hidden):
        for value in (..., [3], {"x": 3}, *values):
            assert outcome([altered(document, path, value) for document in documents], hidden, index, ask) == before


quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
indexes = st.sampled_from([None, None, "a", "b.x", "c"])
some_values = st.lists(pipelines.values, min_size=1, max_size=1)


@quick
@example([{"_id": 0, "a": {"x": 1}, "b": 1}], {"a.x"}, "a", [2], [{"$set": {"e": "$a"}}, {"$match": {"e": {"x": 1}}}])
@given(pipelines.documents, hiding, indexes, some_values, pipelines.pipelines)
def test_pipelines(documents, hidden, index, values, pipeline):
    check(documents, hidden, index, values, lambda main: main.aggregate(pipeline).to_list())


@quick
@given(pipelines.documents, hiding, indexes, some_values, pipelines.filters, pipelines.sorts, projections)
def test_finds(documents, hidden, index, values, filter, sort, fields):
    check(
        documents,
        hidden,
        index,
        values,
        lambda main: main.find(filter, fields).sort(list(sort.items())).limit(3).to_list(),
    )


@quick
@given(pipelines.documents, hiding, indexes, some_values, pipelines.filters, pipelines.paths)
def test_counts_and_distinct_values(documents, hidden, index, values, filter, path):
    check(documents, hidden, index, values, lambda main: (main.count_documents(filter), main.distinct(path)))


@quick
@given(pipelines.documents, hiding, indexes, some_values, pipelines.filters, updates)
def test_updates(documents, hidden, index, values, filter, update):
    def ask(main):
        done = main.update_many(filter, update)
        return done.matched_count, done.modified_count, main.find({}).to_list()

    check(documents, hidden, index, values, ask)


@quick
@given(pipelines.documents, hiding, indexes, some_values, pipelines.filters, pipelines.sorts, updates, st.booleans())
def test_answers_of_updates(documents, hidden, index, values, filter, sort, update, new):
    check(
        documents, hidden, index, values,
        lambda main: main.find_one_and_update(filter, update, sort=list(sort.items()), return_document=new),
    )  # fmt: skip
