"""The native face: immutable queries, document references, updates by merging."""

from collections.abc import Iterator
from typing import Any

import pytest

import docdb
from docdb import command as _
from docdb.collection import Collection
from docdb.errors import QueryError, SnapshotExpired, UpdateError, UsageError
from docdb.sessions.operations import DeleteOp, FindAndModifyOp, Outcome, ReplaceOp, UpdateOp
from tests.fake_session import FakeSession

FIVE = [{"_id": n} for n in range(5)]


@pytest.fixture
def session() -> FakeSession:
    return FakeSession(list(FIVE))


@pytest.fixture
def users(session: FakeSession) -> Collection[dict[str, Any]]:
    return Collection(session, "users")


def test_where_checks_at_the_call(session, users):
    with pytest.raises(QueryError):
        users.where({"age": {"$gtee": 1}})
    assert session.calls == []


def test_a_query_is_immutable(users):
    query = users.where({"a": 1})
    changed = query.order_by("b", "desc").skip(1).limit(2).field({"a": 1})
    assert query.get() == FIVE
    assert changed.get() == FIVE[1:3]


def test_the_plan_of_a_query(session, users):
    query = (
        users.where({"a": {"b": 1}})
        .order_by("x", "desc")
        .order_by("y")
        .skip(1)
        .limit(2)
        .hint("i")
        .max_time_ms(9)
        .after("t")
    )
    query.get()
    name, _name, plan, limit = session.calls[-1]
    assert plan.filter == {"a.b": 1}
    assert plan.sort == ((("x",), -1), (("y",), 1))
    assert (plan.skip, plan.limit, plan.hint, plan.after, limit) == (1, 2, "i", "t", 9)


def test_a_second_where_replaces_the_first(session, users):
    users.where({"a": 1}).limit(1).where({"b": 1}).get()
    assert session.query.filter == {"b": 1}
    assert session.query.limit == 1


def test_iterating_is_lazy(session, users):
    documents = iter(users.where({}))
    assert next(documents) == {"_id": 0}
    assert session.open_finds == 1
    assert list(documents) == FIVE[1:]
    assert session.open_finds == 0


def test_first(session, users):
    assert users.where({}).first() == {"_id": 0}
    assert session.query.limit == 1
    assert users.where({}).skip(9).first() is None


def test_count_ignores_bounds(session, users):
    assert users.where({"a": 1}).skip(1).limit(2).count() == 5
    assert (session.query.skip, session.query.limit) == (0, None)


def test_options(session, users):
    users.where({"a": {"b": 1}}).limit(1).options(
        offset=2, projection={"a": True}, order={"n": -1}, timeout=7, raw=True
    ).get()
    name, _name, plan, limit = session.calls[-1]
    assert (plan.filter, plan.skip, plan.limit, plan.sort, limit) == ({"a": {"b": 1}}, 2, None, ((("n",), -1),), 7)


def test_queries_start_at_the_collection(users):
    assert users.get() == FIVE
    assert users.limit(2).get() == users.order_by("a").limit(2).get() == FIVE[:2]
    assert users.skip(3).get() == FIVE[3:]
    assert users.field({"a": 1}).get() == FIVE


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.where({}).order_by("a", "up"),
        lambda c: c.where({}).limit(0),
        lambda c: c.where({}).limit(-1),
        lambda c: c.where({}).skip(-1),
        lambda c: c.where({}).skip("1"),
        lambda c: c.where({}).after(5),
        lambda c: c.where(5),
        lambda c: c.where({}).options({"limits": 1}),
        lambda c: c.where({}).limit(1).update({"a": 1}),
        lambda c: c.where({}).skip(1).update({"a": 1}),
        lambda c: c.where({}).order_by("a").update({"a": 1}),
        lambda c: c.where({}).field({"a": 1}).update({"a": 1}),
        lambda c: c.where({}).limit(1).remove(),
        lambda c: c.where({}).order_by("a").remove(),
        lambda c: c.where({}).skip(1).update_and_return({"a": 1}),
    ],
)
def test_wrong_calls(users, call):
    with pytest.raises(UsageError):
        call(users)


# Changing


@pytest.mark.parametrize(
    ("call", "operation"),
    [
        (lambda c: c.where({"a": {"b": 1}}).update({"c": {"d": 1}}), UpdateOp({"a.b": 1}, {"c": {"d": 1}}, multi=True, merge=True)),
        (lambda c: c.where({}).update({"n": _.inc(1)}), UpdateOp({}, {"n": _.inc(1)}, multi=True, merge=True)),
        (lambda c: c.where({}).update({"$inc": {"n": 1}}), UpdateOp({}, {"$inc": {"n": 1}}, multi=True)),
        (lambda c: c.where({}).update({"$pull": {"a": _.or_({"b": 1}, {"c": 2})}}),
         UpdateOp({}, {"$pull": {"a": {"$or": [{"b": 1}, {"c": 2}]}}}, multi=True)),
        (lambda c: c.where({}).options(multiple=False, order={"a": 1}).update({"n": 1}), UpdateOp({}, {"n": 1}, merge=True, sort={"a": 1})),
        (lambda c: c.where({"a": 1}).order_by("n").field({"n": 1}).update_and_return({"n": 1}),
         FindAndModifyOp({"a": 1}, {"n": 1}, sort={"n": 1}, projection={"n": 1}, return_new=True, merge=True)),
        (lambda c: c.where({"a": 1}).hint("i").remove(), DeleteOp({"a": 1}, multi=True, hint="i")),
        (lambda c: c.doc("x").update({"a.b": 1}), UpdateOp({"_id": "x"}, {"a.b": 1}, merge=True)),
        (lambda c: c.doc({"k": 1}).update({"a": 1}), UpdateOp({"_id": {"$eq": {"k": 1}}}, {"a": 1}, merge=True)),
        (lambda c: c.doc("x").set({"a": 1}), ReplaceOp({"_id": "x"}, {"a": 1}, upsert=True)),
        (lambda c: c.doc("x").remove(), DeleteOp({"_id": "x"})),
        (lambda c: c.doc("x").delete(), DeleteOp({"_id": "x"})),
    ],
    ids=[
        "merge", "command", "operators", "pull", "one", "and_return", "remove", "doc update", "document as id", "set", "doc remove",
        "doc delete",
    ],
)  # fmt: skip
def test_operation(session, users, call, operation):
    call(users)
    assert session.operation == operation


def test_outcomes():
    users = Collection(FakeSession(execute=[Outcome(matched=3, modified=2, deleted=4, document={"n": 1})]), "users")
    updated = users.where({}).update({"a": 1})
    assert (updated.updated, updated.matched) == (2, 3)
    assert users.where({}).remove().removed == 4
    assert users.where({}).update_and_return({"a": 1}).doc == {"n": 1}


def test_set_tells_what_it_made():
    users = Collection(FakeSession(execute=[Outcome(upserted=True, upserted_id="x")]), "users")
    assert users.doc("x").set({"a": 1}).upserted_id == "x"


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.doc("x").update({}),
        lambda c: c.doc("x").update(5),
        lambda c: c.doc("x").update({"_id": 1, "a": 1}),
        lambda c: c.doc("x").update({"$set": {"a": 1}, "b": 1}),
        lambda c: c.doc("x").update({"$set": {"_id": 1}}),
        lambda c: c.doc("x").set({}),
        lambda c: c.doc("x").set({"_id": 1, "a": 1}),
        lambda c: c.doc("x").set({"$set": {"a": 1}}),
        lambda c: c.doc("x").set({"a": [{"b": _.inc(1)}]}),
        lambda c: c.where({}).update({"_id": 1}),
    ],
    ids=[
        "empty",
        "number",
        "_id",
        "mixture",
        "$set _id",
        "set empty",
        "set _id",
        "set operators",
        "set command",
        "where _id",
    ],
)
def test_wrong_updates(session, users, call):
    with pytest.raises(UpdateError):
        call(users)
    assert session.calls == []


# Documents


def test_doc_get(session, users):
    assert users.doc(3).get() == {"_id": 3}
    assert users.doc(9).get() is None
    assert session.calls == [("get", "users", 3), ("get", "users", 9)]


def test_doc_field(session, users):
    assert users.doc(3).field({"a": 1}).get() == {"_id": 0}  # the fake does not filter
    assert session.query.filter == {"_id": 3}
    assert session.query.projection is not None


@pytest.mark.parametrize("id", [[1], (1,), {1}], ids=str)
def test_what_cannot_be_an_id(users, id):
    with pytest.raises(UsageError, match="_id"):
        users.doc(id)


def test_references_compare(users):
    assert users.doc(1) == users.doc(1) != users.doc(2)
    assert users.doc(1).collection == users


# Following a snapshot that expires


class Expiring(FakeSession):
    """Each snapshot lives for two documents."""

    token: str | None = "t"

    def find(self, name: str, query: Any, *, max_time_ms: Any = None) -> Iterator[list[dict[str, Any]]]:
        self.calls.append(("find", name, query, max_time_ms))
        first = int(query.after) + 1 if query.after else query.skip
        last = len(self.documents) if query.limit is None else min(len(self.documents), first + query.limit)
        yield self.documents[first : min(first + 2, last)]
        if first + 2 < last:
            raise SnapshotExpired("old", token=self.token and str(first + 1))


def test_a_cursor_that_follows_goes_on():
    users = Collection(Expiring(list(FIVE)), "users")
    assert users.find(follow=True).to_list() == FIVE
    assert users.find().follow().skip(1).limit(3).to_list() == FIVE[1:4]


def test_a_cursor_that_does_not_follow_expires():
    users = Collection(Expiring(list(FIVE)), "users")
    with pytest.raises(SnapshotExpired):
        users.find().to_list()


def test_following_needs_a_token():
    session = Expiring(list(FIVE))
    session.token = None
    with pytest.raises(SnapshotExpired):
        Collection(session, "users").find(follow=True).to_list()


# End to end


@pytest.fixture
def live() -> Iterator[Collection[dict[str, Any]]]:
    import docdb

    with docdb.open(":memory:") as db:
        yield db.collection("users")


def test_live_native_face(live):
    assert (
        live.add({"_id": "a", "name": "Ann", "age": 25, "city": "Shanghai", "address": {"city": "P", "zip": 1}}).id
        == "a"
    )
    assert live.add([{"_id": "b", "age": 15}, {"_id": "c", "age": 35, "city": "Shanghai"}]).ids == ["b", "c"]
    assert len(live.add({"n": 1}).id) == 32
    assert [d["_id"] for d in live.where({"age": _.gt(20).and_(_.lt(30))}).get()] == ["a"]
    assert [d["_id"] for d in live.where({"city": "Shanghai"}).order_by("age", "desc").get()] == ["c", "a"]
    assert live.where({"address": {"city": "P"}}).count() == 1
    assert live.where({"address": _.eq({"city": "P"})}).count() == 0
    assert live.where({"address": {}}).count() == 0
    assert live.doc("a").update({"age": 26, "address.city": "Q", "visits": _.inc(1), "tags": _.push("x")}).updated == 1
    assert live.doc("a").get() == {
        "_id": "a", "name": "Ann", "age": 26, "city": "Shanghai", "address": {"city": "Q", "zip": 1}, "visits": 1, "tags": ["x"],
    }  # fmt: skip
    assert live.doc("a").update({"address": {"street": "S"}}).updated == 1
    assert live.doc("a").field({"address": True, "_id": False}).get() == {
        "address": {"city": "Q", "zip": 1, "street": "S"}
    }
    assert live.doc("z").update({"a": 1}).updated == 0
    assert live.doc("z").set({"a": 1}).upserted_id == "z"
    assert live.doc("a").set({"b": 1}).updated == 1
    assert live.doc("a").get() == {"_id": "a", "b": 1}
    assert live.where({"city": "Shanghai"}).update({"country": "China"}).updated == 1
    assert live.where({"_id": "c"}).update_and_return({"age": _.inc(1)}).doc["age"] == 36
    assert live.where({"city": "Shanghai"}).remove().removed == 1


def test_live_two_alternatives_stay_apart(live):
    live.add([{"_id": n, "a": n % 2, "b": n % 3} for n in range(6)])
    found = live.where({"a": _.or_(_.eq(0), _.eq(9)), "b": _.or_(_.eq(1), _.eq(9))}).get()
    assert [d["_id"] for d in found] == [4]


def test_live_nothing_is_cut_off(live):
    live.add([{"_id": n} for n in range(2500)])
    assert len(live.where({}).get()) == 2500
    assert len(live.aggregate().match({}).end()) == 2500


def test_live_server_date(live):
    live.doc("a").set({"at": _.server_date()})
    first = live.doc("a").get()["at"]
    live.doc("b").set({"at": _.server_date(60_000)})
    assert live.doc("b").get()["at"] > first


@pytest.fixture
def numbers() -> Iterator[Collection[dict[str, Any]]]:
    with docdb.open(":memory:") as db:
        db["n"].insert_many([{"_id": n, "k": n % 3, "name": "x"} for n in range(20)])
        yield db["n"]


PAGINGS = {
    "by id": lambda c: c.where({}),
    "descending": lambda c: c.where({}).order_by("_id", "desc"),
    "with ties": lambda c: c.where({"k": {"$gt": 0}}).order_by("k", "desc"),
    "projected": lambda c: c.where({}).order_by("k").field({"name": 1, "_id": 0}),
}


@pytest.mark.parametrize("index", [None, "k"], ids=str)
@pytest.mark.parametrize("query", PAGINGS.values(), ids=PAGINGS)
def test_live_pages_follow_each_other(numbers, query, index):
    if index is not None:
        numbers.create_index(index)
    pages, token = [], ""
    while token is not None:
        page = query(numbers).limit(4).after(token).get()
        pages += page.to_list()
        token = page.token
    assert pages == query(numbers).after("").get().to_list()
    assert len(pages) == query(numbers).count() == query(numbers).after("").count()


def test_live_only_a_full_page_has_a_token(numbers):
    assert numbers.where({}).after("").limit(4).get().token is not None
    assert numbers.where({}).after("").limit(40).get().token is None
    assert numbers.where({}).after("").get().token is None
    assert numbers.where({}).limit(4).get().token is None
    assert numbers.where({"k": 9}).after("").limit(4).get().token is None


def test_live_a_cursor_has_its_token_at_the_end(numbers):
    cursor = numbers.find().limit(4).after("")
    next(cursor)
    assert cursor.token is None
    assert len(cursor.to_list()) == 3
    assert numbers.find().after(cursor.token).limit(2).to_list() == numbers.find().skip(4).limit(2).to_list()
    with pytest.raises(UsageError):
        numbers.find(follow=True).after("").to_list()


def test_live_an_expired_page_says_where_it_stood():
    with docdb.open(":memory:", snapshot_limit_s=0.0) as db:
        db["n"].insert_many([{"_id": n, "text": "x" * 100} for n in range(2_000)])
        with pytest.raises(SnapshotExpired) as caught:
            db["n"].where({}).after("").get()
        assert caught.value.token is not None
