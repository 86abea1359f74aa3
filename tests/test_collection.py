"""The collection's two faces: which operations they become, and what comes back."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypedDict

import pytest

from docdb import command as _
from docdb.collection import Collection
from docdb.errors import (
    BulkWriteError,
    DocumentError,
    DuplicateKeyError,
    InvalidOperation,
    NotSupportedError,
    QueryError,
    UpdateError,
    UsageError,
)
from docdb.faces.requests import (
    DeleteMany,
    DeleteOne,
    IndexModel,
    InsertOne,
    ReplaceOne,
    ReturnDocument,
    UpdateMany,
    UpdateOne,
)
from docdb.sessions.operations import DeleteOp, FindAndModifyOp, InsertOp, Outcome, ReplaceOp, UpdateOp
from tests.fake_session import FakeSession

FIVE = [{"_id": n} for n in range(5)]


@pytest.fixture
def session() -> FakeSession:
    return FakeSession(list(FIVE))


@pytest.fixture
def users(session: FakeSession) -> Collection[dict[str, Any]]:
    return Collection(session, "users")


def test_a_name_is_needed(session):
    with pytest.raises(UsageError):
        Collection(session, "")


def test_equality_and_repr(session, users):
    assert users == Collection(session, "users")
    assert users != Collection(FakeSession(), "users")
    assert len({users, Collection(session, "users")}) == 1
    assert repr(users) == "Collection('users')"
    assert users["old"].name == "users.old"


# Inserting


def test_add_one(session, users):
    document = {"name": "Ann"}
    assert users.add(document).id == "made0"
    assert session.calls == [("execute", "users", [InsertOp(document)], True)]
    assert document == {"name": "Ann"}


def test_add_list_is_one_commit(session, users):
    assert users.add([{"_id": 1}, {"_id": 2}]).ids == [1, 2]
    assert len(session.calls) == 1


def test_add_nothing(session, users):
    assert users.add([]).ids == []
    assert session.calls == []


def test_insert_one_gives_the_dict_its_id(users):
    document: dict[str, Any] = {"name": "Ann"}
    assert users.insert_one(document).inserted_id == document["_id"] == "made0"


def test_insert_many(users):
    documents: list[dict[str, Any]] = [{"_id": 1}, {"n": 2}]
    assert users.insert_many(iter(documents)).inserted_ids == [1, "made1"]
    assert documents[1] == {"n": 2, "_id": "made1"}


@pytest.mark.parametrize("documents", [[], {"a": 1}, "ab", 5], ids=str)
def test_insert_many_refuses(users, documents):
    with pytest.raises(UsageError):
        users.insert_many(documents)


@pytest.mark.parametrize("document", [5, "a", ["a"], None], ids=str)
def test_what_is_no_document(users, document):
    with pytest.raises(DocumentError):
        users.insert_one(document)


def test_an_error_of_one_operation_is_raised_as_it_is():
    error = DuplicateKeyError("twice")
    with pytest.raises(DuplicateKeyError):
        Collection(FakeSession(execute=[error]), "users").insert_one({"_id": 1})


def test_insert_many_reports_what_failed():
    error = DuplicateKeyError("twice", details={"keyPattern": {"_id": 1}, "keyValue": {"_id": 1}})
    users = Collection(FakeSession(execute=[Outcome(inserted_id=1), error]), "users")
    with pytest.raises(BulkWriteError) as caught:
        users.insert_many([{"_id": 1}, {"_id": 1}, {"_id": 2}])
    assert caught.value.errors == {1: error}
    assert caught.value.details["nInserted"] == 1
    (written,) = caught.value.details["writeErrors"]
    assert (written["index"], written["code"], written["op"]) == (1, 11000, {"_id": 1})
    assert written["keyPattern"] == {"_id": 1}


# Updating, replacing, deleting


@pytest.mark.parametrize(
    ("call", "operation"),
    [
        (lambda c: c.update_one({"a": 1}, {"$set": {"b": 2}}), UpdateOp({"a": 1}, {"$set": {"b": 2}})),
        (lambda c: c.update_one({}, [{"$set": {"b": 2}}], True), UpdateOp({}, [{"$set": {"b": 2}}], upsert=True)),
        (lambda c: c.update_many({}, {"$inc": {"b": 2}}), UpdateOp({}, {"$inc": {"b": 2}}, multi=True)),
        (
            lambda c: c.update_one({}, {"$set": {"a.$[x]": 1}}, array_filters=[{"x": 1}], hint=[("a", 1)], sort={"b": -1}),
            UpdateOp({}, {"$set": {"a.$[x]": 1}}, array_filters=[{"x": 1}], hint=(("a", 1),), sort={"b": -1}),
        ),
        (
            lambda c: c.update_one({"a": _.or_(1, 2)}, {"$set": {"b": 2}}, collation={"locale": "de"}, comment="x"),
            UpdateOp({"$or": [{"a": 1}, {"a": 2}]}, {"$set": {"b": 2}}, collation={"locale": "de"}),
        ),
        (lambda c: c.replace_one({"a": 1}, {"b": 2}, upsert=True), ReplaceOp({"a": 1}, {"b": 2}, upsert=True)),
        (lambda c: c.delete_one({"a": 1}), DeleteOp({"a": 1})),
        (lambda c: c.delete_many({}, hint="x"), DeleteOp({}, multi=True, hint="x")),
        (
            lambda c: c.find_one_and_update({}, {"$inc": {"a": 1}}, {"a": 1}, [("b", -1)], return_document=ReturnDocument.AFTER),
            FindAndModifyOp({}, {"$inc": {"a": 1}}, projection={"a": 1}, sort={"b": -1}, return_new=True),
        ),
        (lambda c: c.find_one_and_replace({}, {"a": 1}), FindAndModifyOp({}, replacement={"a": 1})),
        (lambda c: c.find_one_and_delete({}, sort=["b"]), FindAndModifyOp({}, remove=True, sort={"b": 1})),
    ],
    ids=[
        "update_one", "pipeline", "update_many", "options", "logic", "replace_one", "delete_one", "delete_many", "find_one_and_update",
        "find_one_and_replace", "find_one_and_delete",
    ],
)  # fmt: skip
def test_operation(session, users, call, operation):
    call(users)
    assert session.operation == operation


def test_results(users):
    assert users.update_one({}, {"$set": {"a": 1}}).matched_count == 1
    assert users.delete_many({}).deleted_count == 1


def test_upsert_result():
    users = Collection(FakeSession(execute=[Outcome(upserted=True, upserted_id="a")]), "users")
    result = users.update_one({}, {"$set": {"a": 1}}, upsert=True)
    assert (result.matched_count, result.upserted_id, result.did_upsert) == (0, "a", True)


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.update_one({}, {"a": 1}),
        lambda c: c.update_one({}, {}),
        lambda c: c.update_one({}, 5),
        lambda c: c.replace_one({}, {"$set": {"a": 1}}),
        lambda c: c.find_one_and_update({}, {"a": 1}),
        lambda c: c.find_one_and_replace({}, {"$set": {"a": 1}}),
    ],
    ids=["plain", "empty", "number", "replace with operators", "modify plain", "replace and return"],
)
def test_wrong_updates(users, call):
    with pytest.raises(UpdateError):
        call(users)


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.update_one({}, {"$set": {"a": 1}}, array_filters=5),
        lambda c: c.update_one({}, {"$set": {"a": 1}}, array_filters=[5]),
        lambda c: c.update_one({}, {"$set": {"a": 1}}, upsert="yes"),
        lambda c: c.find_one_and_update({}, {"$set": {"a": 1}}, return_document="after"),
        lambda c: c.insert_many([{}], ordered="no"),
        lambda c: c.bulk_write([InsertOne({})], ordered=1),
        lambda c: c.count_documents({}, skip="1"),
        lambda c: c.find().hint(5),
    ],
)
def test_arguments_of_a_wrong_type(users, call):
    with pytest.raises(UsageError) as caught:
        call(users)
    assert caught.value.code in (9, 14)


@pytest.mark.parametrize(
    ("given", "skip"), [(1.5, 2), (2.5, 2), (-0.5, 0), (float("nan"), 0), (float("inf"), 2**63 - 1)]
)
def test_count_rounds_its_skip_as_mongodb_does(session, users, given, skip):
    users.count_documents({}, skip=given)
    assert session.query.skip == skip


def test_wrong_filter(users):
    with pytest.raises(UsageError):
        users.delete_many(None)


def test_misspelt_argument_names_the_nearest(users):
    with pytest.raises(UsageError, match="did you mean collation") as caught:
        users.find({}, colation={"locale": "de"})
    assert caught.value.path == "colation"


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.find({}, foo=1),
        lambda c: c.find_one({"_id": 1}, foo=1),
        lambda c: c.update_one({}, {"$set": {"a": 1}}, foo=1),
        lambda c: c.delete_one({}, foo=1),
        lambda c: c.insert_one({}, foo=1),
        lambda c: c.count_documents({}, foo=1),
        lambda c: c.distinct("a", {}, foo=1),
        lambda c: c.aggregate([], foo=1),
        lambda c: c.aggregate(foo=1),
        lambda c: c.find_one_and_delete({}, foo=1),
        lambda c: c.bulk_write([InsertOne({})], foo=1),
        lambda c: c.create_indexes([IndexModel("a")], foo=1),
        lambda c: c.where({}).options(foo=1),
    ],
)
def test_unknown_arguments_are_refused(users, call):
    with pytest.raises(UsageError, match="foo"):
        call(users)


def test_what_pymongo_knows_and_docdb_does_not(users):
    with pytest.raises(NotSupportedError, match="session"):
        users.find({}, session=object())
    assert users.find({}, session=None, no_cursor_timeout=False).to_list() == FIVE


# Reading


def test_find_one_by_id_is_a_point_read(session, users):
    assert users.find_one({"_id": 3}) == {"_id": 3}
    assert users.find_one({"_id": 9}) is None
    assert {call[0] for call in session.calls} == {"get"}


@pytest.mark.parametrize("filter", [None, {}, {"_id": {"$gt": 1}}, {"_id": 1, "a": 1}, {"_id": None}], ids=str)
def test_find_one_otherwise_is_a_find_of_one(session, users, filter):
    assert users.find_one(filter) == {"_id": 0}
    assert session.query.limit == 1
    assert session.open_finds == 0


def test_find_one_takes_a_bare_id(session, users):
    users.find_one(3, {"a": 1})
    assert session.query.filter == {"_id": 3}


def test_find_checks_the_filter_at_the_call(session, users):
    with pytest.raises(QueryError):
        users.find({"age": {"$gtee": 18}})
    assert session.calls == []


def test_cursor_is_lazy_and_single_use(session, users):
    cursor = users.find({"a": 1})
    assert session.calls == []
    assert next(cursor) == {"_id": 0}
    assert list(cursor) == FIVE[1:]
    assert list(cursor) == []
    assert len(session.calls) == 1


def test_cursor_methods_change_the_cursor(session, users):
    cursor = users.find({"a": 1})
    cursor.sort("age", -1)
    cursor.skip(1)
    cursor.limit(3)
    cursor.hint([("age", 1)])
    cursor.max_time_ms(500)
    cursor.min([("age", 1)]).max([("age", 9)]).batch_size(10).comment("x").allow_disk_use(True)
    assert cursor.to_list() == FIVE[1:4]
    name, _name, query, limit = session.calls[-1]
    assert (query.sort, query.skip, query.limit, query.hint) == (((("age",), -1),), 1, 3, (("age", 1),))
    assert (query.min, query.max, limit) == ({"age": 1}, {"age": 9}, 500)


def test_a_cursor_that_has_begun_does_not_change(users):
    cursor = users.find()
    next(cursor)
    with pytest.raises(InvalidOperation):
        cursor.limit(1)


def test_close_gives_the_snapshot_back(session, users):
    cursor = users.find()
    next(cursor)
    assert session.open_finds == 1
    cursor.close()
    assert session.open_finds == 0
    assert list(cursor) == []
    with users.find() as other:
        next(other)
    assert session.open_finds == 0


def test_rewind_and_clone(users):
    cursor = users.find().limit(2)
    assert list(cursor) == list(cursor.rewind()) == list(cursor.clone()) == FIVE[:2]


def test_cursor_places(users):
    assert users.find()[3] == {"_id": 3}
    assert users.find()[1:3].to_list() == FIVE[1:3]
    assert users.find()[2:].to_list() == FIVE[2:]
    with pytest.raises(IndexError):
        users.find()[5]
    with pytest.raises(IndexError):
        users.find().limit(2)[2]
    with pytest.raises(UsageError):
        users.find()[-1]


def test_to_list_of_some(users):
    cursor = users.find()
    assert cursor.to_list(2) == FIVE[:2]
    assert cursor.next() == FIVE[2]


def test_cursor_distinct_and_explain(session, users):
    assert users.find({"a": 1}).limit(1).distinct("b") == ["x"]
    assert session.query.limit is None
    assert users.find().comment("why").explain() == {"plan": "fake", "comment": "why"}


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.find().skip(-1),
        lambda c: c.find().limit("3"),
        lambda c: c.find().limit(-3),
        lambda c: c.find().sort([("a", "asc")]),
        lambda c: c.find(sort="a"),
        lambda c: c.count_documents({}, limit=None),
        lambda c: c.find().skip(True),
        lambda c: c.find().batch_size(-1),
        lambda c: c.find().sort(5),
        lambda c: c.find().sort([("a", 1), ("a", -1)]),
        lambda c: c.find().sort("a", "up"),
        lambda c: c.find({}, 5),
        lambda c: c.find({}, "name"),
        lambda c: c.find().min([("a", 1)]).to_list(),
        lambda c: c.find(5),
        lambda c: c.find({}, allow_disk_use=False),
        lambda c: c.count_documents({}, limit=0),
        lambda c: c.aggregate(5),
        lambda c: c.aggregate([5]),
    ],
)
def test_wrong_reading_calls(users, call):
    with pytest.raises(UsageError):
        call(users)


def test_counts(session, users):
    assert users.count_documents({"a": 1}, skip=1, limit=2) == 5
    assert (session.query.skip, session.query.limit) == (1, 2)
    assert users.count() == 5
    session.answers["estimated_count"] = 7
    assert users.estimated_document_count() == 7
    assert users.distinct("b", {"a": 1}) == ["x"]


# Aggregation


def test_aggregate_list(session, users):
    assert list(users.aggregate([{"$match": {}}], let={"a": 1})) == FIVE
    assert session.calls[0][:3] == ("aggregate", "users", [{"$match": {}}])


def test_aggregate_starts_at_once(session, users):
    users.aggregate([{"$out": "other"}])
    assert session.calls[0][2] == [{"$out": "other"}]


def test_aggregate_builder(session, users):
    builder = users.aggregate().match({"a": {"b": _.gt(1)}}).group({"_id": "$c"}).sort({"_id": -1}).limit(1)
    assert session.calls == []
    assert builder.end() == FIVE
    assert list(builder) == FIVE
    assert session.calls[0][2] == [
        {"$match": {"a.b": {"$gt": 1}}}, {"$group": {"_id": "$c"}}, {"$sort": {"_id": -1}}, {"$limit": 1},
    ]  # fmt: skip


# Bulk writes


def test_bulk_write(session, users):
    requests = [
        InsertOne({"_id": 1}), UpdateOne({"a": 1}, {"$set": {"b": 1}}, upsert=True), UpdateMany({}, {"$inc": {"b": 1}}),
        ReplaceOne({"a": 1}, {"b": 1}), DeleteOne({"a": 1}), DeleteMany({}),
    ]  # fmt: skip
    result = users.bulk_write(requests, ordered=False)
    assert session.calls == [("execute", "users", [
        InsertOp({"_id": 1}), UpdateOp({"a": 1}, {"$set": {"b": 1}}, upsert=True), UpdateOp({}, {"$inc": {"b": 1}}, multi=True),
        ReplaceOp({"a": 1}, {"b": 1}), DeleteOp({"a": 1}), DeleteOp({}, multi=True),
    ], False)]  # fmt: skip
    assert (result.inserted_count, result.matched_count, result.modified_count, result.deleted_count) == (1, 3, 3, 2)


def test_bulk_write_takes_pymongos_requests(session, users):
    pymongo = pytest.importorskip("pymongo")
    users.bulk_write([
        pymongo.InsertOne({"_id": 1}),
        pymongo.UpdateOne({"a": 1}, {"$set": {"b": 1}}, upsert=True, hint=[("a", 1)], collation=pymongo.collation.Collation("de")),
        pymongo.ReplaceOne({"a": 1}, {"b": 1}, sort={"c": 1}),
        pymongo.DeleteMany({"a": 1}),
    ])  # fmt: skip
    assert session.calls[0][2] == [
        InsertOp({"_id": 1}),
        UpdateOp({"a": 1}, {"$set": {"b": 1}}, upsert=True, hint=(("a", 1),), collation={"locale": "de"}),
        ReplaceOp({"a": 1}, {"b": 1}, sort={"c": 1}),
        DeleteOp({"a": 1}, multi=True),
    ]


@pytest.mark.parametrize(
    ("requests", "path"),
    [
        ([], "requests"),
        ({"a": 1}, "requests"),
        ([InsertOne({}), 5], "requests.1"),
        ([UpdateOne({}, {"a": 1})], "requests.0.update"),
        ([ReplaceOne({}, {"$set": {}})], "requests.0.replacement"),
    ],
    ids=["none", "mapping", "no request", "no operator", "operator"],
)
def test_bulk_write_refuses(users, requests, path):
    with pytest.raises(UsageError) as caught:
        users.bulk_write(requests)
    assert caught.value.path == path


# Indexes and the collection


def test_index_calls(session, users):
    session.answers.update(create_index="n", list_indexes=[{"v": 2, "key": {"_id": 1}, "name": "_id_"},
                                                           {"v": 2, "key": {"a": 1, "b": -1}, "name": "n", "unique": True}])  # fmt: skip
    assert users.create_index([("a", 1), ("b", -1)], name="n", unique=True, session=None) == "n"
    assert session.calls[-1] == ("create_index", "users", [("a", 1), ("b", -1)], {"name": "n", "unique": True})
    assert users.create_index(keys="a") == "n"
    assert users.create_indexes([IndexModel("a", name="x"), {"key": {"b": 1}, "name": "y"}]) == ["n", "n"]
    assert session.calls[-1] == ("create_index", "users", {"b": 1}, {"name": "y"})
    assert users.index_information() == {
        "_id_": {"v": 2, "key": [("_id", 1)]},
        "n": {"v": 2, "key": [("a", 1), ("b", -1)], "unique": True},
    }
    assert [index["name"] for index in users.list_indexes()] == ["_id_", "n"]
    users.drop_indexes()
    assert session.calls[-1] == ("drop_index", "users", "n", {})


def test_drop_and_rename(session, users):
    session.answers["drop_collection"] = True
    assert users.drop()
    assert users.rename("people", drop_target=True).name == "people"
    assert session.calls[-1] == ("rename_collection", "users", "people", {"drop_target": True})


# Models


class Color(Enum):
    RED = "red"


@dataclass
class Address:
    city: str


@dataclass
class User:
    name: str
    id: str | None = None
    age: int = 0
    home: Address | None = None
    others: list[Address] = field(default_factory=list)
    color: Color = Color.RED


class Plain(TypedDict):
    _id: str


STORED = {
    "_id": "a", "name": "Ann", "age": 3, "home": {"city": "Rome"}, "others": [{"city": "Oslo"}], "color": "red", "more": 1,
}  # fmt: skip


def test_dataclass_in_and_out():
    session = FakeSession([STORED])
    users = Collection(session, "users", model=User)
    ann = users.find_one({"_id": "a"})
    assert ann == User("Ann", "a", 3, Address("Rome"), [Address("Oslo")])
    assert users.find({}).to_list() == users.where({}).get() == [ann]
    assert users.doc("a").get() == ann
    users.insert_one(ann)
    assert session.operation == InsertOp({name: STORED[name] for name in STORED if name != "more"})
    users.add(User("Bob"))
    assert "_id" not in session.operation.document
    users.doc("a").set(ann)
    assert "_id" not in session.operation.replacement


def test_a_projection_gives_dicts():
    users = Collection(FakeSession([STORED]), "users", model=User)
    assert users.find_one({}, {"name": 1}) == STORED


def test_a_document_that_does_not_fit_the_model():
    users = Collection(FakeSession([{"_id": "a"}]), "users", model=User)
    with pytest.raises(DocumentError, match="name"):
        users.find_one({"_id": "a"})


def test_other_models():
    assert Collection(FakeSession([{"_id": "a"}]), "users", model=Plain).find_one({"_id": "a"}) == {"_id": "a"}
    with pytest.raises(UsageError, match="model"):
        Collection(FakeSession(), "users", model=int)
    with pytest.raises(DocumentError, match="User"):
        Collection(FakeSession(), "users", model=User).insert_one(5)


def test_attrs_and_pydantic_models():
    attrs = pytest.importorskip("attrs")
    pydantic = pytest.importorskip("pydantic")
    made = attrs.make_class("Made", {"id": attrs.field(default=None), "name": attrs.field(default="")})
    checked = pydantic.create_model("Checked", id=(str | None, None), name=(str, ""))
    for kind in (made, checked):
        session = FakeSession([{"_id": "a", "name": "Ann"}])
        users = Collection(session, "users", model=kind)
        assert users.doc("a").get() == kind(id="a", name="Ann")
        users.insert_one(kind(name="Bob"))
        assert session.operation.document == {"name": "Bob"}


# End to end


@pytest.fixture
def live() -> Iterator[Collection[dict[str, Any]]]:
    import docdb

    with docdb.open(":memory:") as db:
        yield db["users"]


PEOPLE = [
    {"_id": "a", "name": "Ann", "age": 25, "city": "Shanghai", "tags": ["x", "y"], "address": {"city": "P", "zip": 1}},
    {"_id": "b", "name": "Bob", "age": 35, "city": "Beijing", "tags": ["y"], "address": {"city": "Q"}},
    {"_id": "c", "name": "Cid", "age": 45, "city": "Shanghai", "tags": [], "address": {}},
]


def test_live_pymongo_face(live):
    assert live.insert_many(PEOPLE).inserted_ids == ["a", "b", "c"]
    assert [d["_id"] for d in live.find({"age": {"$gte": 30}}).sort("age", -1)] == ["c", "b"]
    assert live.find_one({"_id": "a"}) == PEOPLE[0]
    assert live.find_one({"city": "Beijing"}, {"name": 1}) == {"_id": "b", "name": "Bob"}
    assert live.count_documents({"city": "Shanghai"}) == 2
    assert live.estimated_document_count() == 3
    assert sorted(live.distinct("tags")) == ["x", "y"]
    assert live.update_many({"city": "Shanghai"}, {"$inc": {"age": 1}}).modified_count == 2
    after = live.find_one_and_update({"_id": "a"}, {"$set": {"age": 1}}, return_document=ReturnDocument.AFTER)
    assert after is not None
    assert after["age"] == 1
    assert live.replace_one({"_id": "d"}, {"name": "Dan"}, upsert=True).upserted_id == "d"
    assert live.delete_many({"city": "Shanghai"}).deleted_count == 2
    assert live.find_one_and_delete({"_id": "d"}) == {"_id": "d", "name": "Dan"}
    assert live.find().to_list() == [PEOPLE[1]]


def test_live_bulk_write(live):
    result = live.bulk_write([
        InsertOne({"_id": 1, "n": 1}), UpdateOne({"_id": 1}, {"$set": {"n": 2}}), UpdateOne({"_id": 2}, {"$set": {"n": 2}}, upsert=True),
        DeleteOne({"_id": 1}),
    ])  # fmt: skip
    assert (result.inserted_count, result.modified_count, result.deleted_count) == (1, 1, 1)
    assert result.upserted_ids == {2: 2}
    with pytest.raises(BulkWriteError) as caught:
        live.bulk_write([InsertOne({"_id": 2}), InsertOne({"_id": 3})])
    assert caught.value.details["writeErrors"][0]["code"] == 11000
    assert live.count_documents({}) == 1


def test_live_indexes(live):
    assert live.create_index([("age", 1), ("city", -1)]) == "age_1_city_-1"
    live.create_index("name", unique=True)
    assert live.index_information()["age_1_city_-1"]["key"] == [("age", 1), ("city", -1)]
    live.insert_one({"name": "Ann"})
    with pytest.raises(DuplicateKeyError):
        live.insert_one({"name": "Ann"})
    live.drop_index("name_1")
    live.drop_indexes()
    assert list(live.index_information()) == ["_id_"]


def test_live_aggregate(live):
    live.insert_many(PEOPLE)
    by_city = live.aggregate().group({"_id": "$city", "n": _.aggregate.sum(1)}).sort({"n": -1}).end()
    assert by_city == [{"_id": "Shanghai", "n": 2}, {"_id": "Beijing", "n": 1}]
    assert list(live.aggregate([{"$match": {"_id": "a"}}, {"$project": {"name": 1}}])) == [{"_id": "a", "name": "Ann"}]


def test_live_rename_and_drop(live):
    live.insert_many(PEOPLE)
    people = live.rename("people")
    assert people.count() == 3
    assert live.count() == 0
    assert people.drop()
    assert not people.drop()


def test_live_naive_dates(live):
    import docdb

    with pytest.raises(DocumentError, match="time zone"):
        live.insert_one({"at": dt.datetime(2024, 1, 1)})
    with docdb.open(":memory:", naive_dates="utc") as db:
        db["t"].insert_one({"_id": 1, "at": dt.datetime(2024, 1, 1)})
        assert db["t"].find({"at": dt.datetime(2024, 1, 1)}).to_list() == db["t"].find().to_list()


def test_live_an_identical_replacement_counts_as_modified(live):
    live.insert_one({"_id": 1, "x": 5})
    assert live.replace_one({"_id": 1}, {"x": 5}).modified_count == 1
    assert live.update_one({"_id": 1}, {"$set": {"x": 5}}).modified_count == 0
    assert live.bulk_write([ReplaceOne({"_id": 1}, {"x": 5})]).modified_count == 1


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda c: c.count_documents({}, limit="1"), 2),
        (lambda c: c.count_documents({}, limit=1.5), 9),
        (lambda c: c.count_documents({}, limit=2**63), 9),
        (lambda c: c.count_documents({}, limit=-1), 2),
        (lambda c: c.count_documents({}, max_time_ms=1.5), 9),
        (lambda c: c.count_documents({}, max_time_ms=-1), 2),
        (lambda c: c.count_documents({}, max_time_ms="1"), 14),
        (lambda c: c.count_documents({}, nothing=1), 40415),
        (lambda c: c.count_documents({}, hint=[1, 2]), 9),
        (lambda c: c.distinct("a\0"), 31032),
        (lambda c: c.find_one_and_update({}, {"$set": {"a": 1}}, max_time_ms=1.5), 9),
        (lambda c: c.find_one_and_update({}, {"$set": {"a": 1}}, max_time_ms=True), 14),
        (lambda c: c.find_one_and_update({}, {"$set": {"a": 1}}, sort="a"), 14),
        (lambda c: c.find().limit(-1), 2),
        (lambda c: c.find().sort({"a": "asc"}), 15974),
        (lambda c: c["$x"], 73),
    ],
)
def test_live_codes_of_refused_arguments(live, call, code):
    with pytest.raises(UsageError) as caught:
        call(live)
    assert caught.value.code == code


def test_live_a_skip_beyond_all_numbers(live):
    live.insert_one({"_id": 1})
    assert live.count_documents({}, skip=10**6144) == 0
