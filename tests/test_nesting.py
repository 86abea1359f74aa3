"""What is nested deeper than any stack is refused with docdb's own error, wherever it stands in a call."""

import pytest

import docdb
from docdb import command as _

LEVELS = 20_000


def nested(make, value):
    for _level in range(LEVELS):
        value = make(value)
    return value


VALUES = {
    "objects": nested(lambda below: {"a": below}, 1),
    "lists": nested(lambda below: [below], 1),
    "conditions": nested(lambda below: {"$and": [below]}, {"x": 1}),
    "operators": nested(lambda below: {"$not": below}, {"$eq": 1}),
    "expressions": nested(lambda below: {"$not": [below]}, True),
    "stages": nested(lambda below: {"$facet": {"a": [below]}}, {"$match": {}}),
    "commands": nested(lambda below: _.not_(below), _.eq(1)),
}
CALLS = {
    "find": lambda notes, value: notes.find(value).to_list(),
    "find a value": lambda notes, value: notes.find({"x": value}).to_list(),
    "find an id": lambda notes, value: notes.find_one({"_id": value}),
    "where": lambda notes, value: notes.where(value).get(),
    "where a value": lambda notes, value: notes.where({"x": value}).get(),
    "distinct": lambda notes, value: notes.distinct("x", value),
    "projection": lambda notes, value: notes.find({}, value).to_list(),
    "a field of a projection": lambda notes, value: notes.find({}, {"x": value}).to_list(),
    "field": lambda notes, value: notes.field({"x": value}).get(),
    "sort": lambda notes, value: notes.find({}).sort(value).to_list(),
    "hint": lambda notes, value: notes.find({}, hint=value).to_list(),
    "expression": lambda notes, value: notes.find({"$expr": value}).to_list(),
    "schema": lambda notes, value: notes.find({"$jsonSchema": value}).to_list(),
    "update": lambda notes, value: notes.update_one({}, value),
    "set": lambda notes, value: notes.update_one({}, {"$set": {"x": value}}),
    "pull": lambda notes, value: notes.update_one({}, {"$pull": {"x": value}}),
    "program": lambda notes, value: notes.update_one({}, [{"$set": {"x": value}}]),
    "array filter": lambda notes, value: notes.update_one({}, {"$set": {"x.$[f]": 1}}, array_filters=[{"f": value}]),
    "merge": lambda notes, value: notes.doc(1).update({"x": value}),
    "replace": lambda notes, value: notes.doc(1).set({"x": value}),
    "insert": lambda notes, value: notes.insert_one({"x": value}),
    "add": lambda notes, value: notes.add({"x": value}),
    "bulk": lambda notes, value: notes.bulk_write([docdb.UpdateOne(value, {"$set": {"a": 1}})]),
    "bulk insert": lambda notes, value: notes.bulk_write([docdb.InsertOne({"x": value})]),
    "match": lambda notes, value: notes.aggregate([{"$match": value}]).to_list(),
    "project": lambda notes, value: notes.aggregate([{"$project": {"x": value}}]).to_list(),
    "stage": lambda notes, value: notes.aggregate([value]).to_list(),
    "built": lambda notes, value: notes.aggregate().match(value).end(),
    "watch": lambda notes, value: notes.where(value).watch(),
    "changes": lambda notes, value: notes.changes(value),
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("call", CALLS)
def test_nested_beyond_the_stack(call, value):
    with docdb.open(":memory:") as db:
        db["notes"].insert_one({"_id": 1, "x": 1})
        with pytest.raises(docdb.DocdbError):
            CALLS[call](db["notes"], VALUES[value])
        assert db["notes"].find({}).to_list() == [{"_id": 1, "x": 1}]


@pytest.mark.parametrize("fields", [[[1]], [{"a": 1}], [1], [("a", 1)]])
def test_a_list_of_what_are_no_names_is_no_projection(fields):
    with docdb.open(":memory:") as db, pytest.raises(docdb.QueryError):
        db["notes"].find({}, fields)
