"""A user's face: the same names as the database's, and every method of a session has a user's form."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
from typing import Any

import pytest

import docdb
from docdb import DeniedError, UsageError, UserDatabase
from docdb.aio_user import AsyncUserDatabase
from docdb.database import Database
from docdb.sessions.operations import Session
from docdb.sessions.session import StoreSession
from docdb.sessions.user import Gated, UserFixedSession, UserTransactionSession

# What a session has that reads and writes nothing by itself, or only through what is judged.
HARMLESS = {
    "collated", "insert_all", "note_everything", "note_names", "note_uses", "patterns", "refuse_closed", "settings", "store",
}  # fmt: skip


@pytest.fixture
def db():
    with docdb.open(":memory:") as database:
        yield database


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_every_method_of_a_session_has_a_users_form():
    missing = (public(StoreSession) | public(Session)) - set(Gated.__dict__) - HARMLESS
    assert missing == set()
    assert Gated.linear  # what ``patterns`` looks at


@pytest.mark.parametrize("kind", [UserFixedSession, UserTransactionSession])
def test_what_a_picture_adds_to_a_session_stands_behind_the_gate(kind):
    first = kind.__mro__[1:3]
    assert Gated in first
    known = {"close", "introduce", "permit", "store"}
    assert public(kind) - public(Gated) - known == set()


def test_the_face_is_that_of_the_database():
    assert public(Database) - public(UserDatabase) == set()
    assert public(docdb.aio.AsyncDatabase) - public(AsyncUserDatabase) == set()


REFUSED: list[tuple[str, tuple[Any, ...]]] = [
    ("as_user", (None,)), ("backup", ("there",)), ("check", ()), ("compact", ()), ("consume", ("c", print)),
    ("create_collection", ("new",)), ("drop_collection", ("notes",)), ("list_collections", ()), ("list_rules", ()), ("load_rules", ("file",)),
    ("rules", ("notes",)), ("set_rules", ("notes", "READONLY")), ("stats", ()), ("sweep", ()), ("trigger", ("notes", "insert", print)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments"), REFUSED, ids=[name for name, _ in REFUSED])
def test_administration_is_refused(db, name, arguments):
    db.set_rules("notes", {"read": True, "write": True})
    with pytest.raises(DeniedError):
        getattr(db.as_user({"openid": "ann"}), name)(*arguments)


OF_COLLECTIONS: list[tuple[str, Any]] = [
    ("create_index", lambda c: c.create_index("a")),
    ("create_indexes", lambda c: c.create_indexes([{"key": {"a": 1}}])),
    ("drop", lambda c: c.drop()),
    ("drop_index", lambda c: c.drop_index("a_1")),
    ("drop_indexes", lambda c: c.drop_indexes()),
    ("explain", lambda c: c.find().explain()),
    ("explain a pipeline", lambda c: c.aggregate().match({}).explain()),
    ("explain a query", lambda c: c.where({}).explain()),
    ("index_information", lambda c: c.index_information()),
    ("index_stats", lambda c: c.index_stats()),
    ("list_indexes", lambda c: c.list_indexes().to_list()),
    ("options", lambda c: c.options()),
    ("rename", lambda c: c.rename("other")),
    ("$collStats", lambda c: c.aggregate([{"$collStats": {"count": {}}}]).to_list()),
    ("$indexStats", lambda c: c.aggregate([{"$indexStats": {}}]).to_list()),
    ("$out", lambda c: c.aggregate([{"$out": "other"}]).to_list()),
]


@pytest.mark.parametrize("call", [call for _, call in OF_COLLECTIONS], ids=[name for name, _ in OF_COLLECTIONS])
@pytest.mark.parametrize("inside", ["database", "transaction", "snapshot"])
def test_administration_of_collections_is_refused(db, call, inside):
    db.set_rules("notes", {"read": True, "write": True})
    db["notes"].insert_one({"_id": 1})
    user = db.as_user({"openid": "ann"})
    if inside == "database":
        with pytest.raises(DeniedError):
            call(user["notes"])
        return
    with user.transaction() if inside == "transaction" else user.snapshot() as picture, pytest.raises(DeniedError):
        call(picture["notes"])


def test_a_user_of_asyncio(tmp_path):
    async def main():
        async with docdb.aio.open(tmp_path / "db") as db:
            await db.set_rules("notes", "PRIVATE", who="ops")
            ann, bob = db.as_user({"openid": "ann"}), db.as_user({"openid": "bob"})
            await ann["notes"].insert_one({"_id": 1})
            with pytest.raises(DeniedError):
                await bob["notes"].doc(1).get()
            with pytest.raises(DeniedError):
                await bob["notes"].find_one({"_id": 1})
            with pytest.raises(DeniedError):
                await bob.set_rules("notes", "READONLY")
            with pytest.raises(DeniedError):
                await bob.stats()

            async def call(transaction):
                await transaction["notes"].insert_one({"_id": 2})
                return [document["_id"] async for document in transaction["notes"].find({})]

            assert await ann.run_transaction(call) == [1, 2]
            async with ann.transaction() as t:
                await t["notes"].doc(1).update({"n": 1})
            async with ann.snapshot() as s:
                assert await s["notes"].count_documents({}) == 2
            await ann.close()
            return await bob["notes"].find({}).to_list(), [row["who"] for row in await db.list_rules()]

    assert asyncio.run(main()) == ([], ["ops"])


def test_the_asynchronous_face_has_no_hole():
    plain = {name for name in public(AsyncUserDatabase) if callable(getattr(AsyncUserDatabase, name))} - {"command"}
    wrapped = {name: inspect.unwrap(getattr(AsyncUserDatabase, name)) for name in plain}
    foreign = {
        name
        for name, found in wrapped.items()
        if found.__qualname__.split(".")[0] not in ("UserDatabase", "AsyncUserDatabase")
    }
    assert foreign == set()


BAD_AUTH: list[Any] = [
    "ann", 1, ["ann"], {"openid": {"$ne": ""}}, {"openid": ["ann"]}, {"openid": 1}, {"openid": None}, {"uid": {"$gt": ""}}, {"uid": True},
    {1: "ann"}, {"openid": "\ud800"}, pytest.param({"role": object()}, id="object"),
]  # fmt: skip


@pytest.mark.parametrize("auth", BAD_AUTH, ids=repr)
def test_what_is_no_caller_is_refused(db, auth):
    with pytest.raises(UsageError):
        db.as_user(auth)


@pytest.mark.parametrize(
    "options",
    [
        {"expires_at": 5},
        {"expires_at": dt.datetime(2026, 1, 1)},
        {"filter_mode": 1},
        {"strict_ids": None},
        {"on_denied": 1},
    ],  # noqa: DTZ001
    ids=repr,
)
def test_what_is_no_option_is_refused(db, options):
    with pytest.raises(UsageError):
        db.as_user(None, **options)


def test_auth_is_a_copy(db):
    auth = {"openid": "ann", "roles": ["a"]}
    db.set_rules("notes", {"read": "'admin' in auth.roles"})
    user = db.as_user(auth)
    auth["roles"].append("admin")
    user.auth["roles"].append("admin")
    with pytest.raises(DeniedError):
        user["notes"].find().to_list()


def test_a_closed_face(db):
    db.set_rules("notes", {"read": True, "write": True})
    user = db.as_user(None)
    with user:
        assert user["notes"].find().to_list() == []
    with pytest.raises(docdb.InvalidOperation):
        user["notes"].find().to_list()
    with pytest.raises(docdb.InvalidOperation):
        user["notes"].insert_one({})
    assert db["notes"].find().to_list() == []


def test_a_face_ends_with_the_database():
    db = docdb.open(":memory:")
    db.set_rules("notes", {"read": True})
    user = db.as_user(None)
    db.close()
    for call in (
        lambda: user["notes"].doc(1).get(),
        lambda: user["notes"].count_documents({}),
        user.list_collection_names,
    ):
        with pytest.raises(docdb.InvalidOperation):
            call()


def test_time_that_is_over(db):
    db.set_rules("notes", {"read": True, "write": True})
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    user = db.as_user({"openid": "ann"}, expires_at=moment + dt.timedelta(seconds=1))
    db._session.settings.clock = lambda: moment
    user["notes"].insert_one({"_id": 1})
    transaction = user.start_transaction()
    transaction["notes"].insert_one({"_id": 2})
    db._session.settings.clock = lambda: moment + dt.timedelta(seconds=1)
    for call in (
        lambda: user["notes"].doc(1).get(), lambda: user["notes"].count_documents({}), lambda: user["notes"].insert_one({}),
        lambda: user["notes"].aggregate([]).to_list(), lambda: transaction["notes"].doc(1).get(), transaction.commit,
    ):  # fmt: skip
        with pytest.raises(DeniedError):
            call()
    assert db["notes"].count_documents({}) == 1
