"""Transactions and snapshot views: what cannot happen, how they end, what works inside."""

import asyncio
import datetime as dt
import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb import aio
from docdb import command as _
from docdb.sessions import register

HOUR = dt.timedelta(hours=1)


@pytest.fixture(params=["memory", "lmdb", "default"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[docdb.Database]:
    """Give a database with a few accounts on each engine."""
    path = ":memory:" if request.param == "memory" else tmp_path / "db"
    with docdb.open(path, native=False if request.param == "lmdb" else None) as opened:
        opened["accounts"].insert_many(
            [{"_id": id, "n": n, "owner": "ann"} for id, n in (("a", 10), ("b", 20), ("c", 30))]
        )
        yield opened


def balance(face: Any, id: str) -> int:
    return int(face["accounts"].doc(id).get()["n"])


# What cannot happen


def test_no_lost_update(db: docdb.Database) -> None:
    one, two = db.start_transaction(), db.start_transaction()
    for t in (one, two):
        t["accounts"].doc("a").update({"n": balance(t, "a") + 1})
    one.commit()
    with pytest.raises(docdb.TransactionConflict):
        two.commit()
    assert balance(db, "a") == 11


def test_no_lost_update_against_a_plain_write(db: docdb.Database) -> None:
    t = db.start_transaction()
    read = balance(t, "a")
    db["accounts"].doc("a").update({"n": _.inc(5)})
    t["accounts"].doc("a").update({"n": read + 1})
    with pytest.raises(docdb.TransactionConflict):
        t.commit()
    assert balance(db, "a") == 15


def test_no_write_skew(db: docdb.Database) -> None:
    one, two = db.start_transaction(), db.start_transaction()
    assert balance(one, "a") + balance(one, "b") == balance(two, "a") + balance(two, "b")
    one["accounts"].doc("a").update({"n": -5})
    two["accounts"].doc("b").update({"n": -5})
    one.commit()
    with pytest.raises(docdb.TransactionConflict):
        two.commit()


@pytest.mark.parametrize(
    "read",
    [
        lambda c: c.count_documents({"n": {"$gt": 25}}),
        lambda c: c.where({"n": _.gt(25)}).get(),
        lambda c: c.find({"n": {"$gt": 25}}).sort("n", 1).limit(1).to_list(),
        lambda c: c.distinct("owner", {"n": {"$gt": 25}}),
        lambda c: list(
            c.aggregate([{"$match": {"n": {"$gt": 25}}}, {"$group": {"_id": "$owner", "n": {"$sum": "$n"}}}])
        ),
        lambda c: c.update_many({"n": {"$gt": 25}}, {"$set": {"rich": True}}),
        lambda c: c.delete_many({"n": {"$gt": 25}}),
        lambda c: c.find_one_and_update({"n": {"$gt": 25}}, {"$set": {"seen": 1}}),
        lambda c: c.update_one({"n": {"$gt": 100}}, {"$set": {"seen": 1}}, upsert=True),
    ],
    ids=["count", "where", "sorted", "distinct", "group", "update_many", "delete_many", "find_and_modify", "upsert"],
)
@pytest.mark.parametrize(
    "write",
    [lambda c: c.insert_one({"_id": "d", "n": 400}), lambda c: c.update_one({"_id": "a"}, {"$set": {"n": 400}})],
    ids=["insert", "enter"],
)
def test_no_phantom(db: docdb.Database, read: Any, write: Any) -> None:
    t = db.start_transaction()
    read(t["accounts"])
    t["log"].insert_one({"what": "read"})
    write(db["accounts"])
    with pytest.raises(docdb.TransactionConflict):
        t.commit()
    assert "log" not in db.list_collection_names()


@pytest.mark.parametrize(
    "read",
    [
        lambda c: c.estimated_document_count(),
        lambda c: c.count(),
        lambda c: list(c.aggregate([{"$collStats": {"count": {}}}])),
        lambda c: c.index_stats(),
    ],
    ids=["estimated", "count", "collStats", "index_stats"],
)
def test_the_number_of_documents_is_read(db: docdb.Database, read: Any) -> None:
    t = db.start_transaction()
    read(t["accounts"])
    t["log"].insert_one({})
    db["accounts"].insert_one({})
    with pytest.raises(docdb.TransactionConflict):
        t.commit()


def test_what_a_filter_does_not_match_is_no_conflict(db: docdb.Database) -> None:
    t = db.start_transaction()
    assert t["accounts"].count_documents({"n": {"$gt": 25}}) == 1
    t["accounts"].doc("c").update({"n": 31})
    db["accounts"].update_one({"_id": "a"}, {"$set": {"n": 11}})
    db["accounts"].insert_one({"_id": "d", "n": 1})
    t.commit()
    assert [balance(db, id) for id in "abc"] == [11, 20, 31]


def test_an_id_that_was_not_found_is_read(db: docdb.Database) -> None:
    t = db.start_transaction()
    assert t["accounts"].doc("z").get() is None
    t["accounts"].doc("a").update({"n": 0})
    db["accounts"].insert_one({"_id": "z", "n": 1})
    with pytest.raises(docdb.TransactionConflict):
        t.commit()


@pytest.mark.parametrize(
    "stage",
    [
        {"$lookup": {"from": "owners", "localField": "owner", "foreignField": "_id", "as": "o"}},
        {
            "$graphLookup": {
                "from": "owners",
                "startWith": "$owner",
                "connectFromField": "boss",
                "connectToField": "_id",
                "as": "o",
            }
        },
        {"$unionWith": {"coll": "owners"}},
    ],
    ids=["lookup", "graph", "union"],
)
def test_foreign_collections_are_read(db: docdb.Database, stage: dict[str, Any]) -> None:
    db["owners"].insert_one({"_id": "bob"})
    t = db.start_transaction()
    assert list(t["accounts"].aggregate([stage]))
    t["log"].insert_one({})
    db["owners"].insert_one({"_id": "ann"})
    with pytest.raises(docdb.TransactionConflict):
        t.commit()


def test_no_dirty_read(db: docdb.Database) -> None:
    with db.transaction() as t:
        t["accounts"].doc("a").update({"n": 99})
        assert (balance(t, "a"), balance(db, "a")) == (99, 10)
        with db.transaction() as other:
            assert balance(other, "a") == 10
    assert balance(db, "a") == 99


def test_no_non_repeatable_read(db: docdb.Database) -> None:
    t = db.start_transaction()
    assert balance(t, "a") == 10
    db["accounts"].doc("a").update({"n": 11})
    assert balance(t, "a") == 10
    db["accounts"].doc("a").remove()
    assert balance(t, "a") == 10
    t.commit()  # it has only read: nothing to refuse


def test_no_read_skew(db: docdb.Database) -> None:
    """What is read later belongs to what was read first, though it was changed together with it in between."""
    t = db.start_transaction()
    assert balance(t, "a") == 10
    with db.transaction() as other:
        other["accounts"].update_many({}, {"$inc": {"n": 1}})
    assert (balance(t, "a"), balance(t, "b")) == (10, 20)
    assert t["accounts"].distinct("n") == [10, 20, 30]
    t.commit()


def test_the_snapshot_is_that_of_the_first_operation(db: docdb.Database) -> None:
    t = db.start_transaction()
    db["accounts"].doc("a").update({"n": 1})
    assert balance(t, "a") == 1
    t.rollback()


# Unique keys, catalog, log


def test_a_unique_key_that_another_commit_took_is_a_conflict_and_then_a_duplicate(db: docdb.Database) -> None:
    db["accounts"].create_index("n", unique=True)
    t = db.start_transaction()
    t["accounts"].insert_one({"_id": "d", "n": 40})
    db["accounts"].insert_one({"_id": "e", "n": 40})
    with pytest.raises(docdb.TransactionConflict):
        t.commit()
    with pytest.raises(docdb.DuplicateKeyError), db.transaction() as again:
        again["accounts"].insert_one({"_id": "d", "n": 40})


@pytest.mark.parametrize("twin", [{"_id": "a", "n": 1}, {"_id": "d", "n": 10}], ids=["_id", "index"])
def test_a_refused_key_is_a_read(db: docdb.Database, twin: dict[str, Any]) -> None:
    db["accounts"].create_index("n", unique=True)
    t = db.start_transaction()
    with pytest.raises(docdb.DuplicateKeyError):
        t["accounts"].insert_one(twin)
    t["log"].insert_one({"refused": True})
    db["accounts"].delete_one({"_id": "a"})
    with pytest.raises(docdb.TransactionConflict):
        t.commit()


def test_unique_keys_may_be_swapped(db: docdb.Database) -> None:
    db["accounts"].create_index("n", unique=True)
    with db.transaction() as t:
        t["accounts"].doc("a").update({"n": -1})
        t["accounts"].doc("b").update({"n": 10})
        t["accounts"].doc("a").update({"n": 20})
    assert (balance(db, "a"), balance(db, "b")) == (20, 10)


@pytest.mark.parametrize(
    "change",
    [
        lambda db: db["accounts"].create_index("n"),
        lambda db: db["accounts"].drop(),
        lambda db: db["accounts"].rename("other"),
        lambda db: (db["accounts"].drop(), db["accounts"].insert_one({"_id": "a", "n": 10})),
    ],
    ids=["index", "drop", "rename", "again"],
)
def test_a_changed_catalog_is_a_conflict(db: docdb.Database, change: Any) -> None:
    t = db.start_transaction()
    t["accounts"].doc("a").update({"n": 0})
    change(db)
    with pytest.raises(docdb.TransactionConflict):
        t.commit()


@pytest.mark.parametrize(
    "change",
    [
        lambda db: db["new"].insert_one({}),
        lambda db: db["accounts"].drop(),
        lambda db: db["accounts"].rename("other"),
    ],
    ids=["create", "drop", "rename"],
)
def test_which_collections_there_are_is_read(db: docdb.Database, change: Any) -> None:
    db["log"].insert_one({})
    t = db.start_transaction()
    t["log"].insert_one({"names": t.list_collection_names()})
    change(db)
    with pytest.raises(docdb.TransactionConflict):
        t.commit()


def test_the_names_of_collections_do_not_change_with_an_index(db: docdb.Database) -> None:
    t = db.start_transaction()
    t["log"].insert_one({})
    assert t.list_collection_names() == ["accounts", "log"]
    db["accounts"].create_index("n")
    t.commit()


def test_other_collections_of_the_catalog_are_no_conflict(db: docdb.Database) -> None:
    with db.transaction() as t:
        t["accounts"].doc("a").update({"n": 0})
        db["others"].create_index("accounts")
        db["others"].drop()
    assert balance(db, "a") == 0


def test_a_collection_is_made_by_its_first_write(db: docdb.Database) -> None:
    with db.transaction() as t:
        t["made"].insert_one({"_id": 1})
        t.create_collection("checked", validator={"n": {"$gt": 0}})
        with pytest.raises(docdb.ValidationError):
            t["checked"].insert_one({"n": 0})
        t["checked"].insert_one({"_id": 1, "n": 1})
        db["between"].insert_one({})  # takes the number the transaction thought free
        assert db.list_collection_names() == ["accounts", "between"]
    assert db.list_collection_names() == ["accounts", "between", "checked", "made"]
    assert (db["made"].doc(1).get(), db["checked"].doc(1).get()) == ({"_id": 1}, {"_id": 1, "n": 1})
    assert db["checked"].options() == {"validator": {"n": {"$gt": 0}}}


def test_two_that_make_one_collection_conflict(db: docdb.Database) -> None:
    t = db.start_transaction()
    t["made"].insert_one({"_id": 1})
    db["made"].insert_one({"_id": 2})
    with pytest.raises(docdb.TransactionConflict):
        t.commit()


def test_a_collection_that_was_not_there_is_read(db: docdb.Database) -> None:
    t = db.start_transaction()
    assert t["made"].count_documents({}) == 0
    t["accounts"].doc("a").update({"n": 0})
    db["made"].insert_one({"_id": 2})
    with pytest.raises(docdb.TransactionConflict):
        t.commit()


def test_without_the_log_nothing_is_committed(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db", history_bytes=2_000) as db:
        db["a"].insert_one({"_id": 1})
        t = db.start_transaction()
        t["a"].doc(1).update({"n": 1})
        for n in range(50):
            db["b"].insert_one({"n": n, "text": "x" * 500})
        with pytest.raises(docdb.TransactionConflict, match="no longer reaches back"):
            t.commit()
        assert db["a"].doc(1).get() == {"_id": 1}


def test_the_log_holds_the_net_changes_in_one_commit(db: docdb.Database) -> None:
    before = db.stats()["history"]["commits"]
    with db.transaction() as t:
        t["accounts"].doc("c").set({"n": 1})
        t["accounts"].doc("b").update({"n": 1})
        t["accounts"].doc("b").update({"n": 2})
        t["accounts"].doc("a").remove()
        t["accounts"].insert_one({"_id": "x"})
        t["accounts"].insert_one({"_id": "gone"})
        t["accounts"].doc("gone").remove()
    from docdb.store.changes import Change, read

    with db._session.snapshot() as snapshot:
        changes = [change for change in read(snapshot.txn, before) if isinstance(change, Change)]
    assert db.stats()["history"]["commits"] == before + 1
    assert [change.operation for change in changes] == ["r", "u", "d", "i"]


# Inside


def test_an_operation_that_is_refused_changes_nothing(db: docdb.Database) -> None:
    db["accounts"].create_index("n", unique=True)
    with db.transaction() as t:
        t["accounts"].doc("a").update({"seen": True})
        with pytest.raises(docdb.DuplicateKeyError):
            t["accounts"].update_many({}, {"$set": {"n": 7}})
        with pytest.raises(docdb.BulkWriteError):
            t["accounts"].insert_many([{"_id": "d", "n": 70}, {"_id": "a"}])
        with pytest.raises(docdb.UpdateError):
            t["accounts"].update_one({"_id": "a"}, {"$push": {"n": 1}})
    assert sorted(db["accounts"].distinct("n")) == [10, 20, 30, 70]
    assert db["accounts"].doc("a").get() == {"_id": "a", "n": 10, "owner": "ann", "seen": True}


def test_out_and_merge_write_inside(db: docdb.Database) -> None:
    db["out"].insert_one({"_id": "old"})
    with db.transaction() as t:
        list(t["accounts"].aggregate([{"$match": {"n": {"$gt": 10}}}, {"$out": "out"}]))
        list(t["accounts"].aggregate([{"$set": {"n": {"$add": ["$n", 1]}}}, {"$merge": "accounts"}]))
        assert t["out"].distinct("_id") == ["b", "c"]
        assert db["out"].distinct("_id") == ["old"]
    assert db["out"].distinct("_id") == ["b", "c"]
    assert [balance(db, id) for id in "abc"] == [11, 21, 31]


def test_the_clock_stands_still(db: docdb.Database) -> None:
    with db.transaction() as t:
        t["log"].insert_one({"_id": 1, "at": docdb.server_date()})
        time.sleep(0.002)
        t["log"].insert_one({"_id": 2, "at": docdb.server_date()})
    assert len(db["log"].distinct("at")) == 1


def test_expired_documents_are_gone_inside(db: docdb.Database) -> None:
    now = dt.datetime.now(dt.UTC)
    db["log"].create_index("at", expire_after_s=60)
    db["log"].insert_many([{"_id": 1, "at": now - HOUR}, {"_id": 2, "at": now + HOUR}])
    with db.transaction() as t:
        assert (t["log"].doc(1).get(), t["log"].distinct("_id"), t["log"].count_documents({})) == (None, [2], 1)
        t["log"].insert_one({"_id": 1, "at": now + HOUR})
    assert db["log"].distinct("_id") == [1, 2]


def test_indexes_serve_inside_and_their_entries_are_right(db: docdb.Database) -> None:
    db["accounts"].create_index("n")
    with db.transaction() as t:
        t["accounts"].insert_many([{"_id": k, "n": k % 50} for k in range(500)])
        t["accounts"].update_many({"n": {"$lt": 25}}, {"$inc": {"n": 1000}})
        t["accounts"].delete_many({"n": 1003})
        assert t["accounts"].find({"n": {"$gte": 1020}}).sort("n", -1).limit(3).to_list()[0]["n"] == 1024
        assert t["accounts"].count_documents({"n": {"$gte": 1000}}) == 242
        assert t["accounts"].find({"n": {"$gte": 1000}}, {"_id": 0, "n": 1}).explain()["access"] is not None
    assert db["accounts"].count_documents({"n": {"$gte": 1000}}) == 242


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.create_index("n"),
        lambda c: c.drop_index("n_1"),
        lambda c: c.drop(),
        lambda c: c.rename("other"),
    ],
    ids=["create_index", "drop_index", "drop", "rename"],
)
def test_the_catalog_is_not_changed_inside(db: docdb.Database, call: Any) -> None:
    with db.transaction() as t, pytest.raises(docdb.InvalidOperation) as caught:
        call(t["accounts"])
    assert caught.value.code == 263


def test_references_of_the_database_are_taken(db: docdb.Database) -> None:
    a, z = db["accounts"].doc("a"), db["accounts"].doc("z")
    with db.transaction() as t:
        assert t.get(a) == {"_id": "a", "n": 10, "owner": "ann"}
        assert t.get(a.field({"n": True, "_id": False})) == {"n": 10}
        assert t.update(a, {"n": _.inc(1)}).updated == 1
        assert t.set(z, {"n": 1}).upserted_id == "z"
        assert t.remove(db["accounts"].doc("b")).removed == 1
        assert t.delete(t["accounts"].doc("c")).removed == 1
        assert a.get() == {"_id": "a", "n": 10, "owner": "ann"}
    assert sorted(db["accounts"].distinct("n")) == [1, 11]


def test_references_of_others_are_refused(db: docdb.Database) -> None:
    with docdb.open(":memory:") as other, db.transaction() as t:
        with pytest.raises(docdb.UsageError, match="another database"):
            t.get(other["accounts"].doc("a"))
        with pytest.raises(docdb.UsageError, match="document reference"):
            t.get("a")  # type: ignore[arg-type]


def test_too_large_is_refused_and_undone(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db", commit_bytes=10_000) as db:
        with db.transaction() as t:
            t["a"].insert_one({"_id": 1, "text": "x" * 6_000})
            with pytest.raises(docdb.UsageError, match="one transaction may change at most"):
                t["a"].insert_one({"_id": 2, "text": "x" * 6_000})
        assert db["a"].distinct("_id") == [1]


# How they end


def ended(t: docdb.Transaction) -> list[Any]:
    """Return the error of each kind of call."""
    calls = [
        lambda: t["accounts"], t.commit, t.rollback, t.list_collection_names, lambda: t.get(None), lambda: t.create_collection("x"),
    ]  # fmt: skip
    errors = []
    for call in calls:
        with pytest.raises(docdb.DocdbError) as caught:
            call()  # type: ignore[no-untyped-call]
        errors.append((type(caught.value), caught.value.code, caught.value.errcode))
    return errors


@pytest.mark.parametrize("end", ["commit", "rollback", "conflict"])
def test_every_call_after_the_end_raises(db: docdb.Database, end: str) -> None:
    t = db.start_transaction()
    accounts = t["accounts"]
    cursor = accounts.find()
    next(cursor)
    accounts.doc("a").update({"n": balance(t, "a") + 1})
    if end == "conflict":
        db["accounts"].doc("a").update({"n": 0})
        with pytest.raises(docdb.TransactionConflict):
            t.commit()
    else:
        getattr(t, end)()
    assert not t.active
    wanted = (docdb.InvalidOperation, 251, "DATABASE_TRANSACTION_FAIL")
    assert [e for e in ended(t) if e != wanted] == [(docdb.UsageError, 9, "INVALID_PARAM")]
    for call in (lambda: accounts.doc("a").get(), lambda: list(cursor), lambda: accounts.insert_one({})):
        with pytest.raises(docdb.InvalidOperation):
            call()


def test_it_expires(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db", transaction_limit_s=0.05) as db:
        t = db.start_transaction()
        t["a"].insert_one({"_id": 1})
        time.sleep(0.06)
        with pytest.raises(docdb.TransactionExpired):
            t["a"].doc(1).get()
        with pytest.raises(docdb.TransactionExpired):
            t.commit()
        assert db.list_collection_names() == []


def test_one_that_is_forgotten_gives_its_snapshot_back(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db", transaction_limit_s=0.05) as db:
        t = db.start_transaction()
        assert t["a"].count() == 0
        time.sleep(0.06)
        db["b"].insert_one({})  # a commit of anybody looks at the clock
        assert t._store._base is None
        assert not t.active


def test_one_that_is_dropped_gives_its_snapshot_back(db: docdb.Database) -> None:
    t = db.start_transaction()
    t["accounts"].doc("a").update({"n": 1})
    before = db._store.engine.stats()["readers"]
    del t
    gc.collect()
    assert db._store.engine.stats()["readers"] <= before
    assert len(register.register_of(db._store)._open) == 0


def test_a_block_that_raises_rolls_back(db: docdb.Database) -> None:
    with pytest.raises(ZeroDivisionError), db.transaction() as t:
        t["accounts"].doc("a").update({"n": 1})
        _ignored = 1 / 0
    assert balance(db, "a") == 10


def test_a_block_may_end_by_hand(db: docdb.Database) -> None:
    with db.transaction() as t:
        t["accounts"].doc("a").update({"n": 1})
        t.commit()
    with db.transaction() as t:
        t["accounts"].doc("b").update({"n": 1})
        t.rollback("no")
    assert (balance(db, "a"), balance(db, "b"), t.rolled_back, t.reason) == (1, 20, True, "no")


def test_a_closed_database_ends_it(tmp_path: Path) -> None:
    db = docdb.open(tmp_path / "db")
    t = db.start_transaction()
    t["a"].insert_one({"_id": 1})
    db.close()
    assert not t.active
    for call in (t.commit, t.rollback, lambda: t["a"]):
        with pytest.raises(docdb.InvalidOperation):
            call()
    for begin in (db.transaction, db.start_transaction, db.snapshot, lambda: db.run_transaction(len)):  # type: ignore[arg-type]
        with pytest.raises(docdb.InvalidOperation):
            begin()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_cannot_use_it(db: docdb.Database) -> None:
    t = db.start_transaction()
    t["accounts"].doc("a").update({"n": 1})
    child = os.fork()
    if child == 0:
        code = 1
        try:
            t["accounts"].doc("b").get()
        except docdb.InvalidOperation:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    t.commit()
    assert balance(db, "a") == 1


def test_several_threads_in_one_follow_one_another(db: docdb.Database) -> None:
    t = db.start_transaction()

    def work(k: int) -> None:
        for n in range(20):
            t["accounts"].insert_one({"_id": f"{k}.{n}", "n": n})
            assert t["accounts"].count_documents({"_id": {"$gte": f"{k}.", "$lt": f"{k}/"}}) == n + 1

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    t.commit()
    assert db["accounts"].count_documents({}) == 83


# run_transaction


def raises_often(db: docdb.Database, failures: int, calls: list[int]) -> Any:
    """Return a function that another commit disturbs so many times."""

    def call(t: docdb.Transaction) -> int:
        calls.append(balance(t, "a"))
        if len(calls) <= failures:
            db["accounts"].doc("a").update({"n": _.inc(1)})
        t["accounts"].doc("a").update({"n": calls[-1] + 100})
        return calls[-1]

    return call


@pytest.mark.parametrize(("times", "failures"), [(3, 0), (3, 1), (3, 3), (0, 0), (1, 1)])
def test_it_is_tried_again(db: docdb.Database, times: int, failures: int) -> None:
    calls: list[int] = []
    assert db.run_transaction(raises_often(db, failures, calls), times=times) == 10 + failures
    assert (len(calls), balance(db, "a")) == (failures + 1, 110 + failures)


@pytest.mark.parametrize("times", [0, 1, 3])
def test_after_so_many_times_the_conflict_comes_out(db: docdb.Database, times: int) -> None:
    calls: list[int] = []
    with pytest.raises(docdb.TransactionConflict):
        db.run_transaction(raises_often(db, 100, calls), times=times)
    assert len(calls) == times + 1


@pytest.mark.parametrize("times", [-1, True, 1.5, "3"])
def test_times_are_a_number(db: docdb.Database, times: Any) -> None:
    with pytest.raises(docdb.UsageError, match="times"):
        db.run_transaction(len, times=times)  # type: ignore[arg-type]


def test_an_error_of_the_function_comes_out_and_nothing_is_written(db: docdb.Database) -> None:
    calls = []

    def call(t: docdb.Transaction) -> None:
        calls.append(1)
        t["accounts"].doc("a").update({"n": 0})
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        db.run_transaction(call)
    assert (len(calls), balance(db, "a")) == (1, 10)


@pytest.mark.parametrize("reason", [LookupError("mine"), "just so", None])
def test_a_function_may_roll_back(db: docdb.Database, reason: Any) -> None:
    def call(t: docdb.Transaction) -> None:
        t["accounts"].doc("a").update({"n": 0})
        t.rollback(reason)

    with pytest.raises((LookupError, docdb.RolledBack)) as caught:
        db.run_transaction(call)
    assert caught.value is reason or caught.value.reason == reason  # type: ignore[attr-defined]
    assert balance(db, "a") == 10


def test_many_at_once_lose_nothing(db: docdb.Database) -> None:
    def add(t: docdb.Transaction) -> None:
        t["accounts"].doc("a").update({"n": balance(t, "a") + 1})

    threads = [
        threading.Thread(target=lambda: [db.run_transaction(add, times=50) for _ in range(25)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert balance(db, "a") == 110


def test_one_that_failed_twice_goes_first(db: docdb.Database) -> None:
    """The third try of the slow one claims what it read; a fast one that comes between has to wait for it."""
    tries: list[str] = []
    order: list[str] = []
    fast: list[threading.Thread] = []

    def other() -> None:
        db.run_transaction(lambda t: t["accounts"].doc("a").update({"n": _.inc(1)}))
        order.append("fast")

    def slow(t: docdb.Transaction) -> None:
        read = balance(t, "a")
        tries.append("slow")
        if len(tries) <= 2:
            db["accounts"].doc("a").update({"n": _.inc(1)})
        else:
            fast.append(threading.Thread(target=other))
            fast[-1].start()
            fast[-1].join(0.1)
        t["accounts"].doc("a").update({"n": read + 100})

    db.run_transaction(slow)
    order.append("slow")
    fast[0].join()
    assert (len(tries), balance(db, "a")) == (3, 113)
    assert sorted(order) == ["fast", "slow"]


# Snapshot views


def test_a_snapshot_view_stays_the_same(db: docdb.Database) -> None:
    with db.snapshot() as s:
        db["accounts"].update_many({}, {"$inc": {"n": 1}})
        db["more"].insert_one({})
        db["accounts"].create_index("n")
        assert [balance(s, id) for id in "abc"] == [10, 20, 30]
        assert s["accounts"].where({"n": _.gt(15)}).count() == 2
        assert s["accounts"].find().sort("n", -1).to_list()[0]["_id"] == "c"
        assert list(s["accounts"].aggregate([{"$group": {"_id": None, "n": {"$sum": "$n"}}}])) == [
            {"_id": None, "n": 60}
        ]
        assert s.list_collection_names() == ["accounts"]
        assert [index["name"] for index in s["accounts"].list_indexes()] == ["_id_"]
    with pytest.raises(docdb.InvalidOperation):
        s["accounts"]


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.insert_one({}),
        lambda c: c.insert_many([{}, {}]),
        lambda c: c.doc("a").update({"n": 1}),
        lambda c: c.create_index("n"),
        lambda c: c.drop(),
        lambda c: list(c.aggregate([{"$out": "x"}])),
        lambda c: list(c.aggregate([{"$merge": "accounts"}])),
    ],
    ids=["insert_one", "insert_many", "update", "create_index", "drop", "out", "merge"],
)
def test_a_snapshot_view_cannot_be_written_to(db: docdb.Database, call: Any) -> None:
    with db.snapshot() as s, pytest.raises(docdb.InvalidOperation):
        call(s["accounts"])


def test_a_snapshot_view_has_a_limit(db: docdb.Database) -> None:
    with db.snapshot(limit_s=0.02) as s:
        time.sleep(0.03)
        with pytest.raises(docdb.SnapshotExpired):
            s["accounts"].find_one()
    with db.snapshot(limit_s=None) as s:
        assert s["accounts"].count() == 3
    with pytest.raises(docdb.UsageError):
        db.snapshot(limit_s=0)


# asyncio


def test_asyncio(tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.open(tmp_path / "db") as db:
            await db["a"].insert_one({"_id": 1, "n": 1})
            async with db.transaction() as t:
                await t["a"].update_one({"_id": 1}, {"$inc": {"n": 1}})
                await asyncio.sleep(0)
                await db["b"].insert_one({"_id": "while it is open"})
                assert await t.get(db["a"].doc(1)) == {"_id": 1, "n": 2}
                assert [d async for d in t["a"].find()] == [{"_id": 1, "n": 2}]
                assert await db["a"].doc(1).get() == {"_id": 1, "n": 1}
                await asyncio.gather(*(t["a"].insert_one({"_id": k}) for k in range(10, 20)))
            assert await db["a"].count_documents({}) == 11
            by_hand = await db.start_transaction()
            await by_hand.update(db["a"].doc(1), {"n": 50})
            await by_hand.rollback()
            with pytest.raises(docdb.InvalidOperation):
                await by_hand.commit()
            calls = []

            async def call(t: aio.AsyncTransaction) -> int:
                found = await t["a"].doc(1).get()
                assert found is not None
                calls.append(1)
                if len(calls) < 3:
                    await db["a"].doc(1).update({"n": _.inc(1)})
                await t["a"].doc(1).update({"n": found["n"] + 10})
                return int(found["n"])

            assert (await db.run_transaction(call), len(calls)) == (4, 3)
            async with db.snapshot() as s:
                await db["a"].delete_many({})
                assert (await s["a"].count_documents({}), await s["a"].doc(1).get()) == (11, {"_id": 1, "n": 14})
            with pytest.raises(LookupError):
                async with db.transaction() as t:
                    await t["a"].insert_one({})
                    raise LookupError
            assert await db["a"].count_documents({}) == 0

    asyncio.run(asyncio.wait_for(main(), 20))
