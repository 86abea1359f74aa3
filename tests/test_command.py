"""Commands: what they build, how they combine, how conditions become filters."""

import copy
import pickle
import re

import pytest

from docdb import command as _
from docdb.errors import QueryError, UpdateError
from docdb.faces.conditions import LogicCommand, encode_find, encode_where
from docdb.language.server_date import ServerDate
from docdb.language.updates import Command
from docdb.language.values import Regex

agg = _.aggregate


@pytest.mark.parametrize(
    ("command", "document"),
    [
        (_.eq(1), {"$eq": 1}),
        (_.neq(1), {"$ne": 1}),
        (_.gt(1), {"$gt": 1}),
        (_.gte(1), {"$gte": 1}),
        (_.lt(1), {"$lt": 1}),
        (_.lte(1), {"$lte": 1}),
        (_.in_((1, 2)), {"$in": [1, 2]}),
        (_.nin([1, 2]), {"$nin": [1, 2]}),
        (_.exists(), {"$exists": True}),
        (_.exists(False), {"$exists": False}),
        (_.type("string"), {"$type": "string"}),
        (_.mod(10, 1), {"$mod": [10, 1]}),
        (_.mod([10, 1]), {"$mod": [10, 1]}),
        (_.size(2), {"$size": 2}),
        (_.all([1, 2]), {"$all": [1, 2]}),
        (_.elem_match({"a": {"b": _.gt(1)}}), {"$elemMatch": {"a.b": {"$gt": 1}}}),
        (_.elem_match(_.gt(1).and_(_.lt(5))), {"$elemMatch": {"$gt": 1, "$lt": 5}}),
        (_.elem_match(_.not_(_.gt(1))), {"$elemMatch": {"$not": {"$gt": 1}}}),
        (_.elem_match(_.or_({"a": 1}, {"b": 2})), {"$elemMatch": {"$or": [{"a": 1}, {"b": 2}]}}),
        (_.not_(_.gt(1)), {"$not": {"$gt": 1}}),
        (_.not_(re.compile("^a")), {"$not": re.compile("^a")}),
        (_.regex("^a"), {"$regex": "^a"}),
        (_.regex("^a", "i"), {"$regex": "^a", "$options": "i"}),
        (_.regex(re.compile("^a", re.I)), {"$regex": Regex("^a", "i")}),
        (_.bits_all_set(3), {"$bitsAllSet": 3}),
        (_.expr({"$gt": ["$a", 1]}), {"$expr": {"$gt": ["$a", 1]}}),
        (_.json_schema({}), {"$jsonSchema": {}}),
        (_.gt(1).lt(5), {"$gt": 1, "$lt": 5}),
        (_.gt(1) & _.lt(5), {"$gt": 1, "$lt": 5}),
        (_.and_(_.gt(1), _.lt(5)), {"$gt": 1, "$lt": 5}),
        (_.gt(1).neq(3).in_([2]).nin([4]), {"$gt": 1, "$ne": 3, "$in": [2], "$nin": [4]}),
    ],
    ids=str,
)
def test_query_command(command, document):
    assert command == document


@pytest.mark.parametrize(
    ("condition", "filter"),
    [
        ({}, {}),
        ({"a": 1}, {"a": 1}),
        ({"a": {"b": 1, "c": _.gt(2)}}, {"a.b": 1, "a.c": {"$gt": 2}}),
        ({"a": {"b": {"c": {"d": 1}}}}, {"a.b.c.d": 1}),
        ({"a": {}}, {"a": {"$eq": {}}}),
        ({"a": {"b": {}}}, {"a.b": {"$eq": {}}}),
        ({"a": _.eq({"b": 1})}, {"a": {"$eq": {"b": 1}}}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1}]}),
        ({"a": {"$gt": 1}}, {"a": {"$gt": 1}}),
        ({"a": _.or_(_.lt(1), _.gt(5))}, {"$or": [{"a": {"$lt": 1}}, {"a": {"$gt": 5}}]}),
        ({"a": _.lt(1) | _.gt(5)}, {"$or": [{"a": {"$lt": 1}}, {"a": {"$gt": 5}}]}),
        ({"a": _.or_(1, 2)}, {"$or": [{"a": 1}, {"a": 2}]}),
        ({"a": _.nor_([_.lt(1), _.gt(5)])}, {"$nor": [{"a": {"$lt": 1}}, {"a": {"$gt": 5}}]}),
        ({"a": ~_.gt(5)}, {"$nor": [{"a": {"$gt": 5}}]}),
        ({"a": _.gt(1).and_(_.gt(2))}, {"$and": [{"a": {"$gt": 1}}, {"a": {"$gt": 2}}]}),
        ({"a": {"b": _.or_(1, 2)}}, {"$or": [{"a.b": 1}, {"a.b": 2}]}),
        (
            {"a": _.or_(1, 2), "b": _.or_(3, 4), "c": 5},
            {"$and": [{"c": 5}, {"$or": [{"a": 1}, {"a": 2}]}, {"$or": [{"b": 3}, {"b": 4}]}]},
        ),
        ({"a.b": 1, "a": {"b": 2}}, {"$and": [{"a.b": 1}, {"a.b": 2}]}),
        (_.or_({"a": 1}, {"b": {"c": 2}}), {"$or": [{"a": 1}, {"b.c": 2}]}),
        (_.and_([{"a": 1}, _.or_({"b": 2}, {"c": 3})]), {"$and": [{"a": 1}, {"$or": [{"b": 2}, {"c": 3}]}]}),
        ({"$or": [{"a": {"b": 1}}, {"c": _.gt(2)}]}, {"$or": [{"a.b": 1}, {"c": {"$gt": 2}}]}),
        (_.expr({"$gt": ["$a", 1]}), {"$expr": {"$gt": ["$a", 1]}}),
        (_.expr(True).and_({"a": 1}), {"$and": [{"$expr": True}, {"a": 1}]}),
        ({"a": _.elem_match(_.or_(_.lt(1), _.gt(5)))},
         {"$or": [{"a": {"$elemMatch": {"$lt": 1}}}, {"a": {"$elemMatch": {"$gt": 5}}}]}),
        ({"a": {"$elemMatch": {"b": _.or_(1, 2)}}}, {"a": {"$elemMatch": {"$or": [{"b": 1}, {"b": 2}]}}}),
    ],
    ids=str,
)  # fmt: skip
def test_where(condition, filter):
    assert encode_where(condition) == filter


def test_find_keeps_exact_objects_and_writes_logic_out():
    assert encode_find({"a": {"b": 1}, "c": _.or_(1, 2)}) == {"$and": [{"a": {"b": 1}}, {"$or": [{"c": 1}, {"c": 2}]}]}


def test_find_without_logic_is_untouched():
    filter = {"a": {"b": [1, {"c": _.gt(1)}]}}
    assert encode_find(filter) is filter


@pytest.mark.parametrize(
    "condition",
    [_.gt(5), [1], "a", {"a": {"$not": _.or_(1, 2)}}, {1: 2}, {"a": {1: 2}}, _.or_(_.gt(1), {"a": 1})],
    ids=str,
)
def test_where_refuses(condition):
    with pytest.raises(QueryError):
        encode_where(condition)


def test_bare_alternatives_in_one_element_are_refused():
    with pytest.raises(QueryError, match="one element"):
        _.elem_match(_.and_(_.or_(_.lt(1), _.gt(5)), _.neq(3)))


@pytest.mark.parametrize("make", [_.and_, _.or_, _.nor_], ids=["and_", "or_", "nor_"])
def test_logic_needs_a_condition(make):
    with pytest.raises(QueryError, match="at least one"):
        make()


@pytest.mark.parametrize("make", [_.in_, _.nin, _.all, _.pull_all], ids=["in_", "nin", "all", "pull_all"])
@pytest.mark.parametrize("values", ["abc", 5, {"a": 1}], ids=str)
def test_lists_are_lists(make, values):
    with pytest.raises(QueryError, match="list"):
        make(values)


@pytest.mark.parametrize(
    ("made", "filter"),
    [
        (_.text("a -b"), {"$text": {"$search": "a -b"}}),
        (_.text({"$search": "a", "$language": "fr"}), {"$text": {"$search": "a", "$language": "fr"}}),
        (
            _.text("a", language="de", case_sensitive=True, diacritic_sensitive=False),
            {"$text": {"$search": "a", "$language": "de", "$caseSensitive": True, "$diacriticSensitive": False}},
        ),
    ],
    ids=["words", "document", "options"],
)
def test_text_search(made, filter):
    assert dict(made) == filter


PLACE = {"type": "Point", "coordinates": [1, 2]}


@pytest.mark.parametrize(
    ("made", "filter"),
    [
        (_.geo_near(PLACE), {"$nearSphere": {"$geometry": PLACE}}),
        (_.geo_near(PLACE, 5, 1), {"$nearSphere": {"$geometry": PLACE, "$maxDistance": 5, "$minDistance": 1}}),
        (_.geo_near({"geometry": PLACE, "maxDistance": 5}), {"$nearSphere": {"$geometry": PLACE, "$maxDistance": 5}}),
        (_.geo_within(center_sphere=(PLACE, 0.1)), {"$geoWithin": {"$centerSphere": [[1, 2], 0.1]}}),
        (_.geo_within({"centerSphere": [[1, 2], 0.1]}), {"$geoWithin": {"$centerSphere": [[1, 2], 0.1]}}),
        (_.geo_intersects(PLACE), {"$geoIntersects": {"$geometry": PLACE}}),
        (_.geo_intersects({"geometry": PLACE}), {"$geoIntersects": {"$geometry": PLACE}}),
    ],
)
def test_geography(made, filter):
    assert made == filter


def test_an_unknown_argument_of_geography_is_named():
    with pytest.raises(QueryError, match="radius"):
        _.geo_near({"geometry": PLACE, "radius": 1})


@pytest.mark.parametrize(
    ("command", "operator", "operand"),
    [
        (_.set({"a": 1}), "$set", {"a": 1}),
        (_.set_on_insert(1), "$setOnInsert", 1),
        (_.remove(), "$unset", ""),
        (_.inc(2), "$inc", 2),
        (_.mul(2), "$mul", 2),
        (_.min(2), "$min", 2),
        (_.max(2), "$max", 2),
        (_.rename("b"), "$rename", "b"),
        (_.bit({"and": 5}), "$bit", {"and": 5}),
        (_.bit(or_=5, xor=1), "$bit", {"or": 5, "xor": 1}),
        (_.current_date(), "$currentDate", True),
        (_.push(1), "$push", {"$each": [1]}),
        (_.push(1, 2), "$push", {"$each": [1, 2]}),
        (_.push([1, 2]), "$push", {"$each": [1, 2]}),
        (_.push([[1, 2]]), "$push", {"$each": [[1, 2]]}),
        (_.push({"a": 1}), "$push", {"$each": [{"a": 1}]}),
        (_.push(each=[1], position=0, sort=-1, slice=3), "$push", {"$each": [1], "$position": 0, "$sort": -1, "$slice": 3}),
        (_.push({"each": [1], "slice": -3}), "$push", {"$each": [1], "$slice": -3}),
        (_.unshift(1, 2), "$push", {"$each": [1, 2], "$position": 0}),
        (_.pop(), "$pop", 1),
        (_.shift(), "$pop", -1),
        (_.add_to_set(1), "$addToSet", 1),
        (_.add_to_set({"each": [1, 2]}), "$addToSet", {"$each": [1, 2]}),
        (_.add_to_set({"$each": [1, 2]}), "$addToSet", {"$each": [1, 2]}),
        (_.add_to_set(each=[1, 2]), "$addToSet", {"$each": [1, 2]}),
        (_.pull(1), "$pull", 1),
        (_.pull(_.gt(1)), "$pull", {"$gt": 1}),
        (_.pull({"a": _.gt(1)}), "$pull", {"a": {"$gt": 1}}),
        (_.pull({"a": {"b": 1}}), "$pull", {"a": {"b": 1}}),
        (_.pull(_.or_({"a": 1}, {"b": 2})), "$pull", {"$or": [{"a": 1}, {"b": 2}]}),
        (_.pull_all([1, 2]), "$pullAll", [1, 2]),
    ],
    ids=str,
)  # fmt: skip
def test_update_command(command, operator, operand):
    assert isinstance(command, Command)
    assert (command.operator, command.operand) == (operator, operand)


@pytest.mark.parametrize(
    "make",
    [_.push, _.unshift, _.add_to_set, lambda: _.push(1, each=[2]), lambda: _.push({"each": [1], "slise": 1})],
    ids=["push nothing", "unshift nothing", "add nothing", "push twice", "push misspelt"],
)
def test_update_commands_refuse(make):
    with pytest.raises(UpdateError):
        make()


def test_server_date():
    assert isinstance(_.server_date(-1000), ServerDate)


def test_projection_commands():
    assert _.project.slice(2) == {"$slice": 2}
    assert _.project.slice([1, 2]) == _.project.slice(1, 2) == {"$slice": [1, 2]}
    assert _.project.elem_match({"a": _.gt(1)}) == {"$elemMatch": {"a": {"$gt": 1}}}


@pytest.mark.parametrize(
    ("built", "document"),
    [
        (agg.sum("$a"), {"$sum": "$a"}),
        (agg.sum(1), {"$sum": 1}),
        (agg.neq(["$a", 1]), {"$ne": ["$a", 1]}),
        (agg.add("$a", "$b"), {"$add": ["$a", "$b"]}),
        (agg.rand(), {"$rand": {}}),
        (agg.str_len_cp("$a"), {"$strLenCP": "$a"}),
        (agg.date_to_string(date="$d", format="%Y", on_null=None), {"$dateToString": {"date": "$d", "format": "%Y", "onNull": None}}),
        (agg.filter(input="$xs", as_="x", cond=True), {"$filter": {"input": "$xs", "as": "x", "cond": True}}),
        (agg.let(vars={"a": 1}, in_="$$a"), {"$let": {"vars": {"a": 1}, "in": "$$a"}}),
    ],
    ids=str,
)  # fmt: skip
def test_expression_builders(built, document):
    assert built == document


def test_operands_by_place_and_name_do_not_mix():
    with pytest.raises(QueryError):
        agg.filter("$xs", cond=True)


def test_a_pipeline_for_lookup():
    pipeline = agg.pipeline().match(_.expr(agg.eq(["$a", "$$b"]))).project({"_id": 0}).done()
    assert pipeline == [{"$match": {"$expr": {"$eq": ["$a", "$$b"]}}}, {"$project": {"_id": 0}}]


def test_commands_copy_and_compare():
    assert copy.deepcopy(_.gt(1)) == pickle.loads(pickle.dumps(_.gt(1))) == _.gt(1)
    assert _.or_(1, 2) == LogicCommand("$or", (1, 2))
    assert _.or_(1, 2) != _.or_(2, 1)
