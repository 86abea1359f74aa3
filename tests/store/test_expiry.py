"""Expiry: what is removed, when, in which steps, and who does it."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.errors import InvalidOperation, UsageError
from docdb.store import expiry

ROOT = Path(__file__).resolve().parents[2]
NOW = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
LONG_AGO = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
FAR_OFF = dt.datetime(9999, 12, 31, tzinfo=dt.UTC)


@pytest.fixture(params=["memory", "lmdb"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[docdb.Database]:
    """Give a database in each engine, without the thread, at a moment of the test's own."""
    where = {"memory": ":memory:", "lmdb": tmp_path / "d"}[request.param]
    with docdb.open(where, sweep_s=None) as database:
        database._session.settings.clock = lambda: NOW
        yield database


def ids(db: docdb.Database) -> list[Any]:
    """Return what is stored, expired or not."""
    with db._session.snapshot() as snapshot:
        return [document["_id"] for batch in snapshot.view("a").scan() for document in batch]


def until(condition: Callable[[], bool]) -> bool:
    """Wait until something is so; False when it does not come."""
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def at(seconds: float) -> dt.datetime:
    return NOW + dt.timedelta(seconds=seconds)


@pytest.mark.parametrize("way", [1, -1], ids=["ascending", "descending"])
def test_what_has_expired_goes_and_the_rest_stays(db: docdb.Database, way: int) -> None:
    db["a"].create_index([("at", way)], expireAfterSeconds=60)
    documents = [
        {"_id": "over", "at": at(-61)},
        {"_id": "just", "at": at(-60)},
        {"_id": "not yet", "at": at(-59.999)},
        {"_id": "later", "at": FAR_OFF},
        {"_id": "none"},
        {"_id": "null", "at": None},
        {"_id": "number", "at": 5},
        {"_id": "text", "at": "2001-01-01"},
        {"_id": "long ago", "at": LONG_AGO},
        {"_id": "array", "at": [FAR_OFF, at(-61), 7]},
        {"_id": "young array", "at": [FAR_OFF, at(0)]},
    ]
    db["a"].insert_many(documents)
    stream = db["a"].changes()
    assert db.sweep() == 4
    assert set(ids(db)) == {"not yet", "later", "none", "null", "number", "text", "young array"}
    told = list(iter(stream.try_next, None))
    assert {(change.operation, change.id) for change in told} == {
        ("delete", "over"), ("delete", "just"), ("delete", "long ago"), ("delete", "array"),
    }  # fmt: skip
    assert all(change.before["_id"] == change.id for change in told)
    assert db.sweep() == 0


def test_nothing_to_do_makes_no_commit(db: docdb.Database) -> None:
    db["b"].insert_one({"_id": 1})
    db["a"].create_index("at", expireAfterSeconds=60)
    db["a"].insert_one({"_id": 1, "at": at(0)})
    before = db.stats()["storage"]["last_id"]
    assert db.sweep() == 0
    assert db.stats()["storage"]["last_id"] == before


def test_many_go_in_bounded_commits(db: docdb.Database) -> None:
    db["a"].create_index("at", expireAfterSeconds=0)
    db["a"].insert_many([{"_id": n, "at": at(-n)} for n in range(3_000)])
    before = db.stats()["history"]["commits"]
    stream = db.changes()
    assert db.sweep() == 3_000
    commits = db.stats()["history"]["commits"] - before
    assert commits >= 3_000 // expiry.MOST_DOCUMENTS
    sizes: dict[int, int] = {}
    for change in iter(stream.try_next, None):
        sizes[change.commit] = sizes.get(change.commit, 0) + 1
    assert (len(sizes), sum(sizes.values())) == (commits, 3_000)
    assert max(sizes.values()) <= expiry.MOST_DOCUMENTS
    assert ids(db) == []


def test_large_documents_go_a_few_at_a_time(db: docdb.Database) -> None:
    db["a"].create_index("at", expireAfterSeconds=0)
    for n in range(12):
        db["a"].insert_one({"_id": n, "at": at(-1), "text": "x" * 2**20})
    before = db.stats()["history"]["commits"]
    assert db.sweep() == 12
    assert db.stats()["history"]["commits"] - before == 3


def test_several_indexes_and_collections(db: docdb.Database) -> None:
    db["a"].create_index("at", expireAfterSeconds=60)
    db["a"].create_index("until", expireAfterSeconds=0)
    db["b"].create_index("at", expireAfterSeconds=5)
    db["a"].insert_many(
        [{"_id": 1, "at": at(-61)}, {"_id": 2, "until": at(-1)}, {"_id": 3, "at": at(-59), "until": at(1)}]
    )
    db["b"].insert_one({"_id": 1, "at": at(-6)})
    assert db.sweep() == 3
    assert ids(db) == [3]
    assert db["b"].count_documents({}) == 0


def test_a_partial_index_expires_only_what_it_holds(db: docdb.Database) -> None:
    db["a"].create_index("at", expireAfterSeconds=60, partialFilterExpression={"temporary": True})
    db["a"].insert_many([{"_id": 1, "at": LONG_AGO, "temporary": True}, {"_id": 2, "at": LONG_AGO}])
    assert [document["_id"] for document in db["a"].find()] == [2]
    assert db["a"].find_one({"_id": 2}) == {"_id": 2, "at": LONG_AGO}
    assert db.sweep() == 1
    assert ids(db) == [2]


def test_a_life_prolonged_meanwhile_is_spared(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    db["a"].create_index("at", expireAfterSeconds=60)
    db["a"].insert_many([{"_id": 1, "at": at(-61)}, {"_id": 2, "at": at(-61)}])
    original = db._store.write

    def write(call: Any) -> Any:
        monkeypatch.setattr(db._store, "write", original)
        db._session.settings.clock = lambda: at(-30)  # for it the document has not expired
        db["a"].update_one({"_id": 1}, {"$set": {"at": at(10)}})
        return original(call)

    monkeypatch.setattr(db._store, "write", write)
    assert expiry.sweep(db._store, NOW) == 1
    assert ids(db) == [1]


@pytest.mark.parametrize(
    "write",
    [
        lambda a: a.insert_one({"_id": 1, "n": 1}),
        lambda a: a.update_one({"_id": 1}, {"$set": {"n": 1}}, upsert=True),
        lambda a: a.replace_one({"_id": 1}, {"n": 1}, upsert=True),
        lambda a: a.find_one_and_update({"_id": 1}, {"$set": {"n": 1}}, upsert=True),
        lambda a: a.doc(1).set({"n": 1}),
        lambda a: a.insert_many([{"_id": 0, "n": 0}, {"_id": 1, "n": 1}]),
    ],
    ids=["insert", "upsert", "replace", "modify", "set", "many"],
)
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a transaction"])
def test_a_write_that_meets_an_expired_document_deletes_it_first(
    db: docdb.Database, write: Callable[[Any], Any], inside: bool
) -> None:
    db["a"].create_index("at", expireAfterSeconds=60)
    db["a"].insert_one({"_id": 1, "at": LONG_AGO, "old": True})
    stream = db["a"].changes()
    scope: Any = {False: lambda: None, True: db.transaction}[inside]()
    if inside:
        with scope as t:
            write(t["a"])
    else:
        write(db["a"])
    assert db["a"].find_one({"_id": 1}) == {"_id": 1, "n": 1}
    told = [(change.commit, change.operation) for change in iter(stream.try_next, None) if change.id == 1]
    assert len({commit for commit, _ in told}) == 1
    assert [operation for _, operation in told] == ["delete", "insert"]
    assert db.sweep() == 0


def test_earliest_tells_when_the_next_one_is_due(db: docdb.Database) -> None:
    assert expiry.earliest(db._store) is None
    db["a"].create_index([("at", -1)], expireAfterSeconds=60)
    db["b"].create_index("at", expireAfterSeconds=10)
    assert expiry.earliest(db._store) is None
    db["a"].insert_many([{"at": at(5)}, {"at": at(3)}, {"at": FAR_OFF}, {"at": "x"}])
    assert expiry.earliest(db._store) == at(63)
    db["b"].insert_one({"at": at(52)})
    assert expiry.earliest(db._store) == at(62)


def test_dates_at_the_end_of_the_calendar_never_expire(db: docdb.Database) -> None:
    db["a"].create_index("at", expireAfterSeconds=2**31 - 1)
    db["a"].insert_one({"_id": 1, "at": FAR_OFF})
    assert expiry.earliest(db._store) is None
    assert db.sweep() == 0


def test_a_closed_database_and_a_wrong_pause_are_refused(tmp_path: Path) -> None:
    db = docdb.open(tmp_path / "d")
    db.close()
    with pytest.raises(InvalidOperation):
        db.sweep()
    with pytest.raises(UsageError, match="sweep_s"):
        docdb.open(tmp_path / "d", sweep_s=0)


# The thread


def sweeping(db: docdb.Database) -> bool:
    return bool(db.stats()["expiry"]["sweeping"])


def test_the_thread_is_there_while_something_can_expire(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d", sweep_s=0.02) as db:
        db["a"].insert_one({"_id": 1, "at": LONG_AGO})
        assert not sweeping(db)
        db["a"].create_index("at", expireAfterSeconds=60)
        assert until(lambda: db.stats()["expiry"] == {"sweeping": True, "removed": 1})
        assert ids(db) == []
        db["a"].drop_index("at_1")
        assert until(lambda: not sweeping(db))
        db["a"].create_index("until", expireAfterSeconds=60)
        assert sweeping(db)
        thread = next(t for t in threading.enumerate() if t.name == "docdb-expiry")
    assert not thread.is_alive()
    with docdb.open(tmp_path / "d", read_only=True, sweep_s=0.02) as db:
        db["a"].find_one({})
        assert not sweeping(db)
    with docdb.open(tmp_path / "d", sweep_s=0.02) as db:
        assert sweeping(db)


def test_documents_go_when_their_time_has_come(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d", sweep_s=0.05) as db:
        db["a"].create_index("at", expireAfterSeconds=0)
        stream = db["a"].changes(operations="delete")
        moment = dt.datetime.now(dt.UTC)
        db["a"].insert_many([{"_id": n, "at": moment + dt.timedelta(milliseconds=60 * n)} for n in range(5)])
        assert [stream.next(20).id for _ in range(5)] == list(range(5))


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d", sweep_s=0.02) as db:
        lease = db._store.engine.lease(expiry.LEASE)
        db["a"].create_index("at", expireAfterSeconds=60)
        db["a"].insert_one({"_id": 1, "at": LONG_AGO})
        time.sleep(0.2)
        assert ids(db) == [1]
        lease.close()
        assert until(lambda: ids(db) == [])


def test_the_thread_outlives_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def broken(*_: Any) -> Any:
        monkeypatch.undo()
        raise OSError("broken")

    with docdb.open(tmp_path / "d", sweep_s=0.02) as db:
        monkeypatch.setattr(expiry, "earliest", broken)
        db["a"].create_index("at", expireAfterSeconds=60)
        db["a"].insert_one({"_id": 1, "at": LONG_AGO})
        assert until(lambda: ids(db) == [])
    assert [record.name for record in caplog.records] == ["docdb.expiry"]


def test_a_forked_child_sweeps_by_itself(tmp_path: Path) -> None:
    db = docdb.open(tmp_path / "d", sweep_s=0.02)
    db["a"].create_index("at", expireAfterSeconds=60)
    pid = os.fork()
    if pid == 0:
        db["a"].insert_one({"_id": 1, "at": LONG_AGO})
        os._exit(0 if until(lambda: ids(db) == []) and sweeping(db) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert sweeping(db)
    db.close()


KILLED = """
    import datetime as dt, os, signal, sys, docdb
    db = docdb.open(sys.argv[1], sweep_s=None)
    original = db._store.write
    calls = 0
    def write(call):
        global calls
        calls += 1
        result = original(call)
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    db._store.write = write
    db.sweep()
"""


def test_a_killed_sweeper_leaves_whole_commits(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d", sweep_s=None) as db:
        db["a"].create_index("at", expireAfterSeconds=60)
        db["a"].create_index("n")
        db["a"].insert_many([{"_id": n, "n": n, "at": LONG_AGO} for n in range(500)])
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "d"), "2"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    with docdb.open(tmp_path / "d", sweep_s=None) as db:
        left = len(ids(db))
        assert 0 < left < 500
        assert db.check().problems == []
        assert db.sweep() == left
