"""The database object: opening, limits, history, backup, restore, compacting, expiry, time limits."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.engine import files
from docdb.engine.shared import SharedEngine
from docdb.store import changes, codec
from docdb.store.store import Store


@pytest.fixture(params=["memory", "lmdb", "default"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[docdb.Database]:
    """Give an empty database on each engine."""
    path = ":memory:" if request.param == "memory" else tmp_path / "db"
    with docdb.open(path, native=False if request.param == "lmdb" else None) as opened:
        yield opened


def log_of(db: docdb.Database) -> list[Any]:
    """Return the change log: (operation, before, after) and the number of a commit at its end."""
    found: list[Any] = []
    with db._store.snapshot() as snapshot:
        state = snapshot.state()
        for item in changes.read(snapshot.txn, state.oldest_commit - 1):
            if isinstance(item, changes.CommitEnd):
                found.append(item.commit)
            else:
                found.append(
                    (item.operation, *(codec.decode(image) if image else None for image in (item.before, item.after)))
                )
    return found


# The change log


def test_the_log_holds_both_images_of_every_operation(db: docdb.Database) -> None:
    items = db["items"]
    items.insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 1}])
    items.update_many({}, {"$inc": {"n": 1}})
    items.replace_one({"_id": 1}, {"m": 5})
    items.delete_one({"_id": 2})
    items.bulk_write([docdb.InsertOne({"_id": 3}), docdb.DeleteOne({"_id": 3})])
    assert log_of(db) == [
        ("x", None, {"what": "create", "name": "items"}), ("i", None, {"_id": 1, "n": 1}), ("i", None, {"_id": 2, "n": 1}), 1,
        ("u", {"_id": 1, "n": 1}, {"_id": 1, "n": 2}), ("u", {"_id": 2, "n": 1}, {"_id": 2, "n": 2}), 2,
        ("r", {"_id": 1, "n": 2}, {"_id": 1, "m": 5}), 3,
        ("d", {"_id": 2, "n": 2}, None), 4,
        ("i", None, {"_id": 3}), ("d", {"_id": 3}, None), 5,
    ]  # fmt: skip


def test_what_changes_nothing_makes_no_commit(db: docdb.Database) -> None:
    db["items"].insert_one({"_id": 1, "n": 1})
    before = db.stats()["history"]["commits"]
    db["items"].update_one({"_id": 1}, {"$set": {"n": 1}})
    db["items"].update_one({"_id": 9}, {"$set": {"n": 1}})
    db["items"].delete_one({"_id": 9})
    with pytest.raises(docdb.DuplicateKeyError):
        db["items"].insert_one({"_id": 1})
    assert db.stats()["history"]["commits"] == before


def test_catalog_changes_are_logged(db: docdb.Database) -> None:
    db.create_collection("a")
    db["a"].create_index("n")
    db["a"].drop_index("n_1")
    db["a"].rename("b")
    db.drop_collection("b")
    what = [after["what"] for operation, _, after in (item for item in log_of(db) if isinstance(item, tuple))]
    assert what == ["create", "build", "index", "drop index", "rename", "rename", "drop"]


def test_commit_numbers_are_consecutive_over_many_threads(db: docdb.Database) -> None:
    def insert(n: int) -> None:
        for i in range(25):
            db["items"].insert_one({"_id": f"{n}-{i}"})

    threads = [threading.Thread(target=insert, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [item for item in log_of(db) if isinstance(item, int)] == list(range(1, 201))


def test_a_small_history_keeps_the_log_and_the_file_small(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db", history_bytes=50_000, durability="relaxed") as db:
        db["items"].insert_many([{"_id": n, "text": "x" * 500, "n": 0} for n in range(50)])
        for _ in range(10):
            for n in range(50):
                db["items"].update_one({"_id": n}, {"$inc": {"n": 1}})
        history = db.stats()["history"]
        assert history["bytes"] <= 50_000 + 10_000
        assert history["oldest_commit"] > 300
        assert db.stats()["storage"]["file_bytes"] < 1_500_000
        assert db.check().problems == []


def test_history_is_given_up_by_age() -> None:
    with docdb.open(":memory:", history_age_s=0.001) as db:
        for n in range(300):
            db["items"].insert_one({"_id": n})
        time.sleep(0.01)
        for n in range(300, 500):
            db["items"].insert_one({"_id": n})
        assert db.stats()["history"]["oldest_commit"] > 200


# Opening


def test_a_path_opened_twice_shares_one_store(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db") as first, docdb.open(tmp_path / "db") as second:
        assert first._store is second._store
        first["items"].insert_one({"_id": 1})
        assert second["items"].find_one({"_id": 1}) == {"_id": 1}
        first.close()
        assert second["items"].count_documents({}) == 1


def test_a_closed_database_refuses(tmp_path: Path) -> None:
    db = docdb.open(tmp_path / "db")
    items, cursor = db["items"], db["items"].find()
    db.close()
    db.close()
    for call in (
        lambda: items.find_one({"_id": 1}),
        lambda: list(cursor),
        lambda: items.insert_one({}),
        db.stats,
        db.check,
    ):
        with pytest.raises(docdb.InvalidOperation):
            call()


def test_read_only_reads_and_writes_nothing(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db") as db:
        db["items"].insert_one({"_id": 1})
    with docdb.open(tmp_path / "db", read_only=True) as db:
        assert db["items"].find_one({"_id": 1}) == {"_id": 1}
        for call in (
            lambda: db["items"].insert_one({"_id": 2}),
            lambda: db["items"].create_index("a"),
            lambda: db.drop_collection("items"),
        ):
            with pytest.raises(docdb.InvalidOperation):
                call()


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}], ids=["create", "read_only"])
def test_what_is_not_there_is_not_opened(tmp_path: Path, options: Any) -> None:
    with pytest.raises(docdb.UsageError):
        docdb.open(tmp_path / "absent", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options", [{"durability": "none"}, {"naive_dates": "local"}], ids=["durability", "naive_dates"]
)
def test_unknown_options_are_refused(tmp_path: Path, options: Any) -> None:
    with pytest.raises(docdb.UsageError):
        docdb.open(tmp_path / "db", **options)


# Backup, restore, compact


def test_a_backup_while_writing_is_one_state(tmp_path: Path) -> None:
    stop = threading.Event()
    with docdb.open(tmp_path / "db", durability="relaxed") as db:
        db["items"].insert_many([{"_id": n, "n": 0} for n in range(100)])

        def write() -> None:
            while not stop.is_set():
                db["items"].update_many({}, {"$inc": {"n": 1}})

        thread = threading.Thread(target=write)
        thread.start()
        for number in range(3):
            db.backup(tmp_path / f"backup{number}", compact=number != 1)
        stop.set()
        thread.join()
    for number in range(3):
        with docdb.open(tmp_path / f"backup{number}", verify=True) as copy:
            assert len(copy["items"].distinct("n")) == 1


def test_a_backup_goes_into_an_empty_folder_only(db: docdb.Database, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(docdb.DocdbError):
        db.backup(tmp_path / "full")


def test_restore_begins_a_new_epoch(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db") as db:
        db["items"].insert_one({"_id": 1})
        db.backup(tmp_path / "backup")
        first = db._store.about
    docdb.restore(tmp_path / "backup", tmp_path / "copy")
    with docdb.open(tmp_path / "copy") as copy:
        assert copy._store.about["database_id"] == first["database_id"]
        assert copy._store.about["epoch"] != first["epoch"]
        assert copy["items"].count_documents({}) == 1


@pytest.mark.parametrize("way", ["backup", "restore", "replace"])
def test_a_copy_refuses_positions_of_the_original_wherever_it_is_opened(tmp_path: Path, way: str) -> None:
    with docdb.open(tmp_path / "db") as db:
        db["items"].insert_one({"_id": 1})
        position = db.changes().position
        db.backup(tmp_path / "backup")
        db["items"].insert_one({"_id": 2})
    target = {"backup": "backup", "restore": "copy", "replace": "db"}[way]
    if way != "backup":
        docdb.restore(tmp_path / "backup", tmp_path / target, replace=way == "replace")
    with docdb.open(tmp_path / target) as copy:
        copy["items"].insert_one({"_id": 3})
        with pytest.raises(docdb.HistoryLost, match="before a restore") as lost:
            copy.changes(resume_after=position)
        told = copy["items"].changes(resume_after=lost.value.oldest, operations="insert")
        assert [change.id for change in iter(told.try_next, None)] == [1, 3]


def test_compacting_keeps_the_epoch_and_its_positions(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db") as db:
        db["items"].insert_one({"_id": 1})
        position = db.changes().position
        db["items"].insert_one({"_id": 2})
        db.compact()
        assert [change.id for change in iter(db.changes(resume_after=position).try_next, None)] == [2]


def killed_in(step: str, call: Callable[[], Any]) -> None:
    """Run a call in a child that kills itself in front of a step, and wait for it."""
    child = os.fork()
    if child == 0:
        owner, name = {
            "copy": (SharedEngine, "copy"),
            "epoch": (Store, "begin_epoch"),
            "place": (files, "_rename"),
            "replace": (SharedEngine, "replace"),
        }[step]
        setattr(owner, name, lambda *arguments, **named: os.kill(os.getpid(), signal.SIGKILL))
        call()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize(
    ("step", "replace"),
    [
        ("copy", False),
        ("epoch", False),
        ("place", False),
        ("copy", True),
        ("epoch", True),
        ("place", True),
        ("replace", True),
    ],
)
def test_a_restore_that_is_killed_leaves_no_copy_with_the_old_epoch(tmp_path: Path, step: str, replace: bool) -> None:
    with docdb.open(tmp_path / "db") as db:
        db["items"].insert_one({"_id": 1})
        db.backup(tmp_path / "backup")
        db["items"].insert_one({"_id": 2})
        epoch = db._store.about["epoch"]
    target = tmp_path / ("db" if replace else "copy")
    killed_in(step, lambda: docdb.restore(tmp_path / "backup", target, replace=replace))
    assert target.exists() == replace
    if replace:
        with docdb.open(target) as db:  # the old one, untouched
            assert (db._store.about["epoch"], db["items"].distinct("_id")) == (epoch, [1, 2])
    docdb.restore(tmp_path / "backup", target, replace=replace)
    with docdb.open(target) as db:
        assert db._store.about["epoch"] != epoch
        assert db["items"].distinct("_id") == [1]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({"backup", "db", target.name})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("step", ["copy", "place", "replace"])
def test_compacting_that_is_killed_can_be_done_again(tmp_path: Path, step: str) -> None:
    def compact() -> None:
        with docdb.open(tmp_path / "db") as db:
            db.compact()

    with docdb.open(tmp_path / "db") as db:
        db["items"].insert_one({"_id": 1})
    killed_in(step, compact)
    compact()
    with docdb.open(tmp_path / "db") as db:
        assert db["items"].distinct("_id") == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


def test_restore_takes_a_place_only_when_told(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db") as db:
        db["items"].insert_one({"_id": 1})
        db.backup(tmp_path / "backup")
        db["items"].insert_one({"_id": 2})
    with pytest.raises(docdb.UsageError):
        docdb.restore(tmp_path / "backup", tmp_path / "db")
    docdb.restore(tmp_path / "backup", tmp_path / "db", replace=True)
    with docdb.open(tmp_path / "db") as db:
        assert db["items"].distinct("_id") == [1]


def test_restore_refuses_a_database_that_is_open(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db") as db:
        db["items"].insert_one({"_id": 1})
        db.backup(tmp_path / "backup")
        with pytest.raises(docdb.BusyError):
            docdb.restore(tmp_path / "backup", tmp_path / "db", replace=True)
        assert db["items"].count_documents({}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "db"]


def test_compact_gives_pages_back_and_goes_on(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db", history_bytes=0, durability="relaxed") as db:
        db["items"].insert_many([{"_id": n, "text": "x" * 1_000} for n in range(3_000)])
        db["items"].delete_many({"_id": {"$gte": 10}})
        for n in range(10):
            db["other"].insert_one({"_id": n})
        before = db.stats()["storage"]["file_bytes"]
        db.compact()
        assert db.stats()["storage"]["file_bytes"] < before / 3
        db["items"].insert_one({"_id": "after"})
        assert db["items"].count_documents({}) == 11
    with docdb.open(tmp_path / "db", verify=True) as db:
        assert db["items"].count_documents({}) == 11


def test_compact_wants_to_be_alone(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db") as first, docdb.open(tmp_path / "db"), pytest.raises(docdb.BusyError):
        first.compact()


# Expiry


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.fixture
def clock(db: docdb.Database) -> Clock:
    """Put a clock of the test's own into the session."""
    made = Clock()
    db._session.settings.clock = made
    db._store.sweep_s = None  # the sweeper's clock is the real one
    return made


def test_expired_documents_are_hidden(db: docdb.Database, clock: Clock) -> None:
    items = db["items"]
    items.create_index("at", expireAfterSeconds=60)
    items.insert_many([{"_id": 1, "at": clock.now}, {"_id": 2, "at": clock.now + dt.timedelta(seconds=30)}, {"_id": 3}])
    clock.now += dt.timedelta(seconds=61)
    assert [document["_id"] for document in items.find().sort("_id", 1)] == [2, 3]
    assert items.find_one({"_id": 1}) is None
    assert items.count_documents({}) == 2
    assert items.count_documents({"at": {"$exists": True}}) == 1
    assert items.distinct("_id") == [2, 3]
    assert items.update_one({"_id": 1}, {"$set": {"n": 1}}).matched_count == 0
    assert items.delete_one({"_id": 1}).deleted_count == 0
    assert [d["_id"] for d in items.aggregate([{"$sort": {"_id": 1}}])] == [2, 3]


def test_an_expired_document_makes_way(db: docdb.Database, clock: Clock) -> None:
    items = db["items"]
    items.create_index("at", expireAfterSeconds=60)
    items.insert_one({"_id": 1, "at": clock.now, "n": "old"})
    with pytest.raises(docdb.DuplicateKeyError):
        items.insert_one({"_id": 1})
    clock.now += dt.timedelta(seconds=61)
    items.insert_one({"_id": 1, "at": clock.now, "n": "new"})
    assert items.find_one({"_id": 1})["n"] == "new"
    assert [item[0] for item in log_of(db)[-3:-1]] == ["d", "i"]


def test_an_upsert_over_an_expired_document(db: docdb.Database, clock: Clock) -> None:
    items = db["items"]
    items.create_index("at", expireAfterSeconds=60)
    items.insert_one({"_id": 1, "at": clock.now, "n": 5})
    clock.now += dt.timedelta(seconds=61)
    assert items.update_one({"_id": 1}, {"$inc": {"n": 1}}, upsert=True).upserted_id == 1
    assert items.find_one({"_id": 1}) == {"_id": 1, "n": 1}


def test_an_expired_document_leaves_its_unique_value(db: docdb.Database, clock: Clock) -> None:
    items = db["items"]
    items.create_index("at", expireAfterSeconds=60)
    items.create_index("name", unique=True)
    items.insert_one({"_id": 1, "at": clock.now, "name": "ann"})
    clock.now += dt.timedelta(seconds=61)
    items.insert_one({"_id": 2, "name": "ann"})
    assert items.distinct("_id") == [2]


# Limits


def test_a_snapshot_has_a_limit(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db", snapshot_limit_s=0.05) as db:
        db["items"].insert_many([{"_id": n, "n": n % 3} for n in range(2_000)])
        cursor = db["items"].find({})
        assert next(cursor)["_id"] == 0
        time.sleep(0.06)
        for again in (list, next, list):  # it never seems to be at its end
            with pytest.raises(docdb.SnapshotExpired):
                again(cursor)
        assert db["items"].count_documents({}) == 2_000


def test_a_time_limit_ends_a_find_and_an_aggregation(db: docdb.Database) -> None:
    db["items"].insert_many([{"_id": n, "text": "x" * 200} for n in range(5_000)])
    with pytest.raises(docdb.TimeoutExpired) as caught:
        list(db["items"].find({"$expr": {"$gt": [{"$strLenCP": "$text"}, 300]}}, max_time_ms=1))
    assert caught.value.code == 50
    with pytest.raises(docdb.TimeoutExpired):
        list(
            db["items"].aggregate([{"$group": {"_id": "$text", "n": {"$sum": {"$strLenCP": "$text"}}}}], max_time_ms=1)
        )


@pytest.mark.parametrize(
    "call",
    [
        lambda items: items.insert_many([{"_id": 100 + n, "text": "x" * 1_000} for n in range(20)]),
        lambda items: items.update_many({}, {"$set": {"text": "y" * 5_000}}),
        lambda items: items.delete_many({}),
        lambda items: items.insert_one({"_id": 1_000, "text": "x" * 20_000}),
    ],
    ids=["insert", "update", "delete", "insert one"],
)
def test_a_call_too_large_leaves_nothing(tmp_path: Path, call: Any) -> None:
    with docdb.open(tmp_path / "db") as db:
        db["items"].insert_many([{"_id": n, "text": "x" * 2_000} for n in range(10)])
    with docdb.open(tmp_path / "db", commit_bytes=10_000) as db:
        before = db["items"].find().to_list()
        with pytest.raises((docdb.UsageError, docdb.BulkWriteError)):
            call(db["items"])
        assert db["items"].find().to_list() == before


def test_slow_operations_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with docdb.open(":memory:", slow_ms=0) as db, caplog.at_level(logging.WARNING, "docdb.slow"):
        db["items"].insert_one({"_id": 1, "a": 1})
        db["items"].create_index("a")
        list(db["items"].find({"a": 1}, hint="a_1"))
    texts = [record.getMessage() for record in caplog.records]
    assert any(text.startswith("write on items took") for text in texts)
    assert any("IndexScan on a_1 {'a': 1}" in text for text in texts)


def test_stats_count(db: docdb.Database) -> None:
    db["items"].create_index("a")
    db["items"].insert_many([{"_id": n, "a": [1, 2]} for n in range(5)])
    stats = db.stats()
    assert stats["collections"]["items"]["documents"] == 5
    assert stats["collections"]["items"]["indexes"] == {"a_1": 10}
    assert stats["database_id"] == db.id


# Collections


def test_a_dropped_collection_leaves_no_bytes(db: docdb.Database) -> None:
    db["items"].create_index("a")
    db["items"].insert_many([{"_id": n, "a": n} for n in range(500)])
    assert db["items"].drop() is True
    assert db["items"].drop() is False
    with db._store.snapshot() as snapshot:
        assert [snapshot.txn.count(space, b"", b"\xff" * 8) for space in (0, 1)] == [0, 0]
    db["items"].insert_one({"_id": 1})
    assert db["items"].index_information().keys() == {"_id_"}


def test_rename_keeps_documents_and_indexes(db: docdb.Database) -> None:
    db["a"].create_index("n", unique=True)
    db["a"].insert_one({"_id": 1, "n": 1})
    db["b"].insert_one({"_id": 2})
    with pytest.raises(docdb.CollectionError) as caught:
        db["a"].rename("b")
    assert caught.value.code == 48
    db["a"].rename("b", drop_target=True)
    assert db.list_collection_names() == ["b"]
    assert db["b"].find().to_list() == [{"_id": 1, "n": 1}]
    with pytest.raises(docdb.DuplicateKeyError):
        db["b"].insert_one({"_id": 2, "n": 1})


@pytest.mark.parametrize(
    ("projection", "upsert"),
    [({"x": {"$divide": [1, "$zero"]}}, False), ({"x": {"$divide": [1, "$zero"]}}, True), ({"tags.$": 1}, False)],
    ids=["expression", "expression of an upsert", "no position"],
)
def test_a_projection_that_fails_leaves_nothing_behind(projection: Any, upsert: bool) -> None:
    """The answer of find_one_and_update is made before anything is put."""
    with docdb.open(":memory:") as db:
        wanted = {"_id": 1}
        if not upsert:
            db["a"].insert_one({"_id": 1, "zero": 0, "n": 1, "tags": [1]})
        with pytest.raises(docdb.QueryError):
            db["a"].find_one_and_update(
                wanted, {"$set": {"n": 2, "zero": 0}}, projection, upsert=upsert, return_document=True
            )
        assert db["a"].find_one({"_id": 1}, {"_id": 0, "n": 1}) == (None if upsert else {"n": 1})
        assert db.list_collection_names() == ([] if upsert else ["a"])


LONE = "\ud800"


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: list(c.find({LONE: 1})),
        lambda c: list(c.find({f"a.{LONE}": {"$gt": 1}})),
        lambda c: list(c.find({"a": LONE})),
        lambda c: list(c.find({}, {LONE: 1})),
        lambda c: list(c.find().sort(LONE, 1).limit(1)),
        lambda c: c.distinct(LONE),
        lambda c: c.find_one({"_id": LONE}),
        lambda c: c.doc(LONE).get(),
        lambda c: c.update_one({"_id": LONE}, {"$set": {LONE: 1}}, upsert=True),
        lambda c: c.delete_many({LONE: {"$exists": True}}),
        lambda c: c.where({LONE: 1}).watch().close(),
    ],
    ids=["name", "path", "value", "projection", "sort", "distinct", "find_one", "doc", "update", "delete", "watch"],
)
@pytest.mark.parametrize("place", ["memory", "folder"])
def test_a_lone_surrogate_finds_nothing_or_is_refused(ask: Any, place: str, tmp_path: Path) -> None:
    """No stored name or text is like that; no error but docdb's own comes of it."""
    with docdb.open(":memory:" if place == "memory" else tmp_path / "d") as db:
        db["a"].insert_one({"_id": 1, "a": {"b": 1}})
        with contextlib.suppress(docdb.UsageError):
            ask(db["a"])
        assert list(db["a"].find()) == [{"_id": 1, "a": {"b": 1}}]


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are looked up in /proc")
def test_close_lets_go_of_every_file(tmp_path: Path) -> None:
    def held() -> set[str]:
        """Return what is open, but for files elsewhere: a thread that another test has left may just look at one."""
        found = set()
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/self/fd/{fd}")
                if not target.startswith("/") or target.startswith(str(tmp_path)):
                    found.add(f"{fd} {target}")
        return found

    gc.collect()
    gc.disable()
    try:
        before = held()
        for _ in range(3):
            with docdb.open(tmp_path / "d") as db, db["a"].where({}).watch() as live:
                db["a"].insert_one({"n": 1})
                live.next()
        assert held() - before == set()
    finally:
        gc.enable()
