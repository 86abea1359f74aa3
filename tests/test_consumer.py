"""Consumers and triggers in one process: order, places, failures, lost history, waiting, closing, both faces."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.errors import (
    BusyError,
    HistoryLost,
    InvalidOperation,
    QueryError,
    StorageError,
    TransactionConflict,
    UsageError,
)  # fmt: skip
from docdb.sessions import following

SOON_S = 20.0


@pytest.fixture(params=["memory", "lmdb"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[docdb.Database]:
    """Give a database in each engine."""
    with docdb.open({"memory": ":memory:", "lmdb": tmp_path / "d"}[request.param]) as database:
        yield database


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait long."""
    monkeypatch.setattr(following, "FIRST_PAUSE_S", 0.0005)
    monkeypatch.setattr(following, "LEASE_POLL_S", 0.01)
    monkeypatch.setattr(following, "PASS_S", 0.1)


def until(condition: Callable[[], bool]) -> bool:
    """Wait until something is so; False when it does not come."""
    end = time.monotonic() + SOON_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def copy(change: Any, t: Any) -> None:
    """Write down what came: a second time would be a duplicate key."""
    t["log"].insert_one({"_id": f"{change.collection}-{change.id}", "operation": change.operation})


def copied(db: docdb.Database) -> list[str]:
    return [document["_id"] for document in db["log"].find().sort("_id", 1)]


# Consuming


def test_every_change_comes_once_with_a_transaction(db: docdb.Database) -> None:
    seen: list[tuple[str, Any, Any]] = []

    def fn(change: Any, t: Any) -> None:
        seen.append((change.operation, change.before, change.after))
        t["counts"].doc(change.operation).set({"n": (t["counts"].doc(change.operation).get() or {"n": 0})["n"] + 1})

    consumer = db.consume("c", fn, collection="a")
    assert consumer.catch_up(SOON_S)
    db["a"].insert_one({"_id": 1, "n": 0})
    db["b"].insert_one({"_id": 1})
    db["a"].update_one({"_id": 1}, {"$set": {"n": 1}})
    db["a"].delete_one({"_id": 1})
    assert consumer.catch_up(SOON_S)
    assert seen == [
        ("create", None, None),
        ("insert", None, {"_id": 1, "n": 0}),
        ("update", {"_id": 1, "n": 0}, {"_id": 1, "n": 1}),
        ("delete", {"_id": 1, "n": 1}, None),
    ]
    assert {d["_id"]: d["n"] for d in db["counts"].find()} == {"create": 1, "insert": 1, "update": 1, "delete": 1}
    assert (consumer.state, consumer.alive, consumer.delivered, consumer.failures) == ("running", True, 4, 0)


def test_it_begins_now_or_with_the_oldest_and_goes_on_where_it_was(db: docdb.Database) -> None:
    db["a"].insert_many([{"_id": n} for n in range(3)])
    with db.consume("now", copy, operations="insert", collection="a") as consumer:
        assert consumer.catch_up(SOON_S)
    assert copied(db) == []
    with db.consume("oldest", copy, operations="insert", collection="a", from_="oldest") as consumer:
        assert consumer.catch_up(SOON_S)
    assert copied(db) == ["a-0", "a-1", "a-2"]
    db["a"].insert_one({"_id": 3})
    with db.consume("oldest", copy, operations="insert", collection="a", from_="oldest") as consumer:
        assert consumer.catch_up(SOON_S)
        assert consumer.delivered == 1
    assert copied(db) == ["a-0", "a-1", "a-2", "a-3"]


def test_a_filter_and_operations_choose(db: docdb.Database) -> None:
    with db.consume("c", copy, collection="a", operations=["insert"], filter={"n": {"$gt": 1}}) as consumer:
        consumer.catch_up(SOON_S)
        db["a"].insert_many([{"_id": n, "n": n} for n in range(4)])
        db["a"].delete_many({})
        assert consumer.catch_up(SOON_S)
    assert copied(db) == ["a-2", "a-3"]


@pytest.mark.parametrize("batch", [1, 7, 10_000])
def test_batches_are_one_commit_each(db: docdb.Database, batch: int) -> None:
    db["a"].insert_many([{"_id": n} for n in range(50)])
    sizes: list[int] = []

    def fn(changes: list[Any], t: Any) -> None:
        sizes.append(len(changes))
        t["log"].insert_many([{"_id": change.id} for change in changes])

    with db.consume("c", fn, collection="a", operations="insert", from_="oldest", batch=batch) as consumer:
        assert consumer.catch_up(SOON_S)
        assert consumer.delivered == 50
    assert sizes == {1: [1] * 50, 7: [7] * 7 + [1], 10_000: [50]}[batch]
    assert copied(db) == list(range(50))
    with db["log"].changes(from_="oldest", operations="insert") as stream:
        commits = {change.commit for change in iter(stream.try_next, None)}
    assert len(commits) == len(sizes)


def test_a_failing_function_writes_nothing_and_is_called_again(db: docdb.Database, caplog: Any) -> None:
    tries: list[Any] = []

    def fn(change: Any, t: Any) -> None:
        copy(change, t)
        tries.append(change.id)
        if tries.count(change.id) <= change.id:
            raise ValueError("not yet")

    with db.consume("c", fn, collection="a", operations="insert") as consumer:
        consumer.catch_up(SOON_S)
        db["a"].insert_many([{"_id": n} for n in range(3)])
        assert consumer.catch_up(SOON_S)
        assert consumer.failures == 3
    assert tries == [0, 1, 1, 2, 2, 2]
    assert copied(db) == ["a-0", "a-1", "a-2"]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_one_that_fails_too_often_stops_and_can_be_restarted(db: docdb.Database, caplog: Any) -> None:
    broken = True

    def fn(change: Any, t: Any) -> None:
        copy(change, t)
        if broken and change.id == 1:
            raise ValueError("broken")

    consumer = db.consume("c", fn, collection="a", operations="insert", times=2)
    consumer.catch_up(SOON_S)
    db["a"].insert_many([{"_id": n} for n in range(3)])
    with pytest.raises(ValueError, match="broken"):
        consumer.catch_up(SOON_S)
    assert (consumer.state, consumer.alive, consumer.failures) == ("stopped", False, 3)
    assert copied(db) == ["a-0"]
    shown = db.stats()["feeds"]["consumers"]["c"]
    assert (shown["state"], shown["error"], shown["lag"]) == ("stopped", "ValueError: broken", 1)
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1
    broken = False
    consumer.restart()
    assert consumer.catch_up(SOON_S)
    assert copied(db) == ["a-0", "a-1", "a-2"]
    with pytest.raises(InvalidOperation, match="running"):
        consumer.restart()


@pytest.mark.parametrize("from_", ["oldest", "now"])
def test_a_restart_elsewhere_leaves_out_what_lies_between(db: docdb.Database, from_: str) -> None:
    broken = True

    def fn(change: Any, t: Any) -> None:
        if broken:
            raise ValueError("broken")
        t["log"].doc(change.id).set({"n": 1})

    consumer = db.consume("c", fn, collection="a", operations="insert", times=0)
    consumer.catch_up(SOON_S)
    db["a"].insert_many([{"_id": n} for n in range(3)])
    with pytest.raises(ValueError, match="broken"):
        consumer.catch_up(SOON_S)
    broken = False
    consumer.restart(from_=from_)
    assert consumer.catch_up(SOON_S)
    db["a"].insert_one({"_id": 3})
    assert consumer.catch_up(SOON_S)
    assert copied(db) == {"oldest": [0, 1, 2, 3], "now": [3]}[from_]
    with pytest.raises(UsageError, match="from_"):
        consumer.restart(from_="behind")


def test_a_restart_elsewhere_does_not_touch_the_place_of_who_took_over(db: docdb.Database) -> None:
    def broken(change: Any, t: Any) -> None:
        raise ValueError("broken")

    first = db.consume("c", broken, collection="a", operations="insert", times=0)
    first.catch_up(SOON_S)
    db["a"].insert_one({"_id": 0})
    with pytest.raises(ValueError, match="broken"):
        first.catch_up(SOON_S)
    second = db.consume("c", copy, collection="a", operations="insert")
    assert second.catch_up(SOON_S)
    with pytest.raises(BusyError, match="taken"):
        first.restart(from_="now")
    assert first.state == "stopped"
    first.restart()
    db["a"].insert_one({"_id": 1})
    assert second.catch_up(SOON_S)
    assert (first.state, second.state) == ("waiting", "running")
    assert db.stats()["feeds"]["consumers"]["c"]["state"] == "running"
    assert copied(db) == ["a-0", "a-1"]


def test_conflicts_are_tried_again_and_are_no_failures(db: docdb.Database) -> None:
    db["total"].insert_one({"_id": 1, "n": 0})
    rivals = iter(range(5))

    def fn(change: Any, t: Any) -> None:
        n = t["total"].find_one({"_id": 1})["n"]
        for _ in (1 for _ in [next(rivals, None)] if _ is not None):
            db["total"].update_one({"_id": 1}, {"$inc": {"n": 100}})
        t["total"].update_one({"_id": 1}, {"$set": {"n": n + 1}})

    with db.consume("c", fn, collection="a", operations="insert") as consumer:
        consumer.catch_up(SOON_S)
        db["a"].insert_many([{"_id": n} for n in range(4)])
        assert consumer.catch_up(SOON_S)
        assert consumer.failures == 0
    assert db["total"].find_one({"_id": 1})["n"] == 504


def test_a_function_that_only_reads_or_writes_nothing_moves_on_too(db: docdb.Database) -> None:
    def fn(change: Any, t: Any) -> None:
        t["a"].find_one({"_id": change.id})
        t["a"].update_one({"_id": "none"}, {"$set": {"n": 1}})

    consumer = db.consume("c", fn, collection="a", operations="insert")
    consumer.catch_up(SOON_S)
    db["a"].insert_one({"_id": 1})
    assert consumer.catch_up(SOON_S)
    stored = consumer.position
    consumer.close()
    assert db.consume("c", fn, collection="a").position == stored
    assert stored == db.changes().position


def test_a_function_may_end_its_transaction(db: docdb.Database) -> None:
    def fn(change: Any, t: Any) -> None:
        copy(change, t)
        {0: t.commit, 1: lambda: t.rollback("no"), 2: lambda: None}[change.id]()

    consumer = db.consume("c", fn, collection="a", operations="insert", times=1)
    consumer.catch_up(SOON_S)
    db["a"].insert_many([{"_id": n} for n in range(3)])
    with pytest.raises(docdb.RolledBack):
        consumer.catch_up(SOON_S)
    assert copied(db) == ["a-0"]


def test_a_function_that_fails_behind_its_commit_is_not_called_again(db: docdb.Database) -> None:
    def fn(change: Any, t: Any) -> None:
        copy(change, t)
        t.commit()
        raise ValueError("too late")

    with db.consume("c", fn, collection="a", operations="insert", times=0) as consumer:
        consumer.catch_up(SOON_S)
        db["a"].insert_many([{"_id": n} for n in range(3)])
        assert consumer.catch_up(SOON_S)
    assert copied(db) == ["a-0", "a-1", "a-2"]


@pytest.mark.parametrize("landed", [False, True])
def test_a_commit_whose_outcome_was_lost_is_found_out(db: docdb.Database, landed: bool) -> None:
    failing = 3
    original = db._store.submit

    def submit(ticket: Any) -> Any:
        nonlocal failing
        if threading.current_thread().name != "docdb-consumer-c" or failing == 0:
            return original(ticket)
        failing -= 1
        for _ in range(landed):
            original(ticket)
        raise StorageError("the disk says nothing")

    with db.consume("c", copy, collection="a", operations="insert") as consumer:
        consumer.catch_up(SOON_S)
        db._store.submit = submit  # type: ignore[method-assign]
        db["a"].insert_many([{"_id": n} for n in range(5)])
        assert consumer.catch_up(SOON_S)
        assert failing == 0
    assert copied(db) == [f"a-{n}" for n in range(5)]


def test_one_at_a_time_holds_a_name_and_another_takes_over(db: docdb.Database) -> None:
    first = db.consume("c", copy, collection="a", operations="insert")
    first.catch_up(SOON_S)
    second = db.consume("c", copy, collection="a", operations="insert")
    db["a"].insert_one({"_id": 0})
    assert first.catch_up(SOON_S)
    assert (first.state, second.state) == ("running", "waiting")
    assert second.catch_up(SOON_S)  # what the other one has done
    first.close()
    assert until(lambda: second.state == "running")
    db["a"].insert_one({"_id": 1})
    assert second.catch_up(SOON_S)
    assert (first.delivered, second.delivered) == (1, 1)
    assert copied(db) == ["a-0", "a-1"]


def test_names_are_independent(db: docdb.Database) -> None:
    consumers = [
        db.consume(
            name,
            partial(lambda name, change, t: t["log"].insert_one({"_id": f"{name}{change.id}"}), name),
            collection="a",
            operations="insert",
        )
        for name in ("x", "y")
    ]
    assert all(consumer.catch_up(SOON_S) for consumer in consumers)
    db["a"].insert_many([{"_id": 1}, {"_id": 2}])
    assert all(consumer.catch_up(SOON_S) for consumer in consumers)
    assert copied(db) == ["x1", "x2", "y1", "y2"]


def test_who_falls_behind_stops_with_history_lost(tmp_path: Path, caplog: Any) -> None:
    with docdb.open(tmp_path / "d", history_bytes=10_000, durability="relaxed") as db:
        db.consume("c", copy, collection="a", operations="insert").close()
        consumer = db.consume("c", copy, collection="a", operations="insert")
        consumer.catch_up(SOON_S)
        consumer.close()
        for n in range(40):
            db["a"].insert_one({"_id": n, "text": "x" * 1_000})
        shown = db.stats()["feeds"]["consumers"]["c"]
        assert (shown["lost"], shown["state"]) == (True, "elsewhere")
        consumer = db.consume("c", copy, collection="a", operations="insert")
        with pytest.raises(HistoryLost) as lost:
            consumer.catch_up(SOON_S)
        assert lost.value.oldest == db.stats()["history"]["oldest_position"]
        shown = db.stats()["feeds"]["consumers"]["c"]
        assert (shown["state"], shown["lost"]) == ("stopped", True)
        assert "HistoryLost" in shown["error"]
        assert copied(db) == []
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        consumer.restart(from_="oldest")
        assert consumer.catch_up(SOON_S)
        found = copied(db)
        assert 0 < len(found) < 40
        assert "a-39" in found


def test_an_idle_consumer_does_not_fall_behind_what_it_only_passes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PASS_S", 0.02)
    with docdb.open(tmp_path / "d", history_bytes=20_000, durability="relaxed") as db:
        consumer = db.consume("c", copy, collection="a", operations="insert")
        consumer.catch_up(SOON_S)
        before = consumer.position
        for _ in range(5):
            for n in range(10):
                db["other"].insert_one({"text": "x" * 1_000, "n": n})
            consumer.catch_up(SOON_S)
            assert until(lambda: consumer.position == db.changes().position)
        assert consumer.position != before
        last = db.stats()["storage"]["last_id"]
        time.sleep(0.1)
        assert db.stats()["storage"]["last_id"] == last  # its own commits wake it for nothing more
        consumer.close()
        db["a"].insert_one({"_id": 1})
        with db.consume("c", copy, collection="a", operations="insert") as again:
            assert again.catch_up(SOON_S)
        assert copied(db) == ["a-1"]


def test_places_survive_backup_restore_and_compacting(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d") as db:
        db["a"].insert_many([{"_id": n} for n in range(3)])
        with db.consume("c", copy, collection="a", operations="insert", from_="oldest") as consumer:
            assert consumer.catch_up(SOON_S)
            old = consumer.position
        db["a"].insert_one({"_id": 3})
        db.backup(tmp_path / "b")
        db["a"].insert_one({"_id": 4})
        db.compact()
        with db.consume("c", copy, collection="a", operations="insert") as consumer:
            assert consumer.catch_up(SOON_S)
        assert copied(db) == [f"a-{n}" for n in range(5)]
    docdb.restore(tmp_path / "b", tmp_path / "r")
    with docdb.open(tmp_path / "r") as db:
        with pytest.raises(HistoryLost):
            db.changes(resume_after=old)  # a place kept outside belongs to the history before
        assert copied(db) == ["a-0", "a-1", "a-2"]
        with db.consume("c", copy, collection="a", operations="insert") as consumer:
            assert consumer.catch_up(SOON_S)  # the one inside belongs to the data it was restored with
        assert copied(db) == ["a-0", "a-1", "a-2", "a-3"]


def test_forget_removes_the_place(db: docdb.Database) -> None:
    db["a"].insert_one({"_id": 1})
    consumer = db.consume("c", copy, collection="a", operations="insert")
    consumer.catch_up(SOON_S)
    consumer.forget()
    assert consumer.state == "closed"
    assert db.stats()["feeds"]["consumers"] == {}
    with db.consume("c", copy, collection="a", operations="insert", from_="oldest") as consumer:
        assert consumer.catch_up(SOON_S)
    assert copied(db) == ["a-1"]


def test_a_coroutine_function_runs_on_the_threads_own_loop(db: docdb.Database) -> None:
    async def fn(change: Any, t: Any) -> None:
        await asyncio.sleep(0)
        copy(change, t)

    with db.consume("c", fn, collection="a", operations="insert") as consumer:
        consumer.catch_up(SOON_S)
        db["a"].insert_many([{"_id": n} for n in range(3)])
        assert consumer.catch_up(SOON_S)
    assert copied(db) == ["a-0", "a-1", "a-2"]


def test_a_stream_that_fails_is_opened_anew(db: docdb.Database) -> None:
    consumer = db.consume("c", copy, collection="a", operations="insert")
    assert consumer.catch_up(SOON_S)
    db["a"].insert_one({"_id": 0})
    assert consumer.catch_up(SOON_S)
    consumer._follower._stream.fail(StorageError("gone for a moment"))
    db["a"].insert_one({"_id": 1})
    assert consumer.catch_up(SOON_S)
    assert copied(db) == ["a-0", "a-1"]
    assert consumer.state == "running"


def test_what_was_read_before_the_history_was_lost_is_done(tmp_path: Path) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def fn(changes: list[Any], t: Any) -> None:
        entered.set()
        go_on.wait(SOON_S)
        t["log"].insert_many([{"_id": change.id} for change in changes])

    with docdb.open(tmp_path / "d", history_bytes=20_000, durability="relaxed") as db:
        consumer = db.consume("c", fn, collection="a", operations="insert", batch=4)
        consumer.catch_up(SOON_S)
        db["a"].insert_one({"_id": 0})
        assert entered.wait(SOON_S)
        for n in range(1, 60):
            db["a"].insert_one({"_id": n, "text": "x" * 1_000})
        go_on.set()
        with pytest.raises(HistoryLost):
            consumer.catch_up(SOON_S)
        assert copied(db) == [0]
        consumer.restart(from_="oldest")
        assert consumer.catch_up(SOON_S)
        found = copied(db)[1:]
        assert found == list(range(60 - len(found), 60))


@pytest.mark.parametrize("seed", range(3))
def test_consumers_that_come_and_go_apply_each_change_once(db: docdb.Database, seed: int) -> None:
    chance = random.Random(seed)
    stop = threading.Event()

    def fn(item: Any, t: Any) -> None:
        changes = item if isinstance(item, list) else [item]
        order = (t["order"].find_one({"_id": 0}) or {"n": 0})["n"]
        t["order"].doc(0).set({"n": order + len(changes)})
        t["log"].insert_many([{"_id": change.id, "order": order + n} for n, change in enumerate(changes)])

    def come_and_go(chance: random.Random) -> None:
        while not stop.is_set():
            batch = chance.choice((None, 2, 50))
            with db.consume("c", fn, collection="a", operations="insert", from_="oldest", batch=batch):
                time.sleep(chance.random() * 0.02)

    threads = [threading.Thread(target=come_and_go, args=(random.Random(chance.random()),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(150):
        db["a"].insert_one({"_id": n})
    stop.set()
    for thread in threads:
        thread.join()
    with db.consume("c", fn, collection="a", operations="insert", times=0) as consumer:
        assert consumer.catch_up(SOON_S)
    assert [document["_id"] for document in db["log"].find().sort("order", 1)] == list(range(150))


# Closing


def test_close_waits_for_the_call_that_runs(db: docdb.Database) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def fn(change: Any, t: Any) -> None:
        entered.set()
        go_on.wait(SOON_S)
        copy(change, t)

    consumer = db.consume("c", fn, collection="a", operations="insert")
    consumer.catch_up(SOON_S)
    db["a"].insert_many([{"_id": 0}, {"_id": 1}])
    assert entered.wait(SOON_S)
    threading.Timer(0.05, go_on.set).start()
    consumer.close()
    consumer.close()
    assert (consumer.state, consumer.alive) == ("closed", False)
    assert copied(db) == ["a-0"]
    assert "docdb-consumer-c" not in [thread.name for thread in threading.enumerate()]
    assert not consumer.catch_up(0.0)


def test_a_function_may_close_its_consumer(db: docdb.Database) -> None:
    def fn(change: Any, t: Any) -> None:
        copy(change, t)
        consumer.close()

    consumer = db.consume("c", fn, collection="a", operations="insert")
    consumer.catch_up(SOON_S)
    db["a"].insert_many([{"_id": 0}, {"_id": 1}])
    assert until(lambda: copied(db) == ["a-0"] and consumer.state == "closed")


def test_the_database_ends_its_consumers(tmp_path: Path) -> None:
    entered = threading.Event()

    def fn(change: Any, t: Any) -> None:
        entered.set()
        time.sleep(0.05)
        copy(change, t)

    db = docdb.open(tmp_path / "d")
    consumer = db.consume("c", fn, collection="a", operations="insert")
    waiting = db.consume("c", fn, collection="a", operations="insert")
    consumer.catch_up(SOON_S)
    db["a"].insert_one({"_id": 0})
    assert entered.wait(SOON_S)
    db.close()
    assert (consumer.state, waiting.state) == ("closed", "closed")
    with pytest.raises(InvalidOperation):
        consumer.restart()
    with docdb.open(tmp_path / "d") as db:
        assert copied(db) == ["a-0"]
        assert db.stats()["feeds"]["consumers"]["c"]["state"] == "elsewhere"


# Triggers


def test_a_trigger_is_called_for_its_events_in_order(db: docdb.Database) -> None:
    seen: list[tuple[str, Any]] = []
    trigger = db.trigger("a", ["insert", "delete"], lambda change: seen.append((change.operation, change.id)), name="t")
    assert trigger.catch_up(SOON_S)
    db["a"].insert_many([{"_id": n} for n in range(3)])
    db["a"].update_one({"_id": 1}, {"$set": {"n": 1}})
    db["b"].insert_one({"_id": 9})
    db["a"].delete_one({"_id": 1})
    assert trigger.catch_up(SOON_S)
    assert seen == [("insert", 0), ("insert", 1), ("insert", 2), ("delete", 1)]
    assert db.stats()["feeds"]["triggers"]["t"]["lag"] == 0
    trigger.close()
    assert trigger.position is not None
    with db.trigger("a", "insert", lambda change: seen.append(change.id), name="t") as trigger:
        assert trigger.catch_up(SOON_S)
    assert len(seen) == 4


def test_a_triggers_place_is_stored_a_moment_later(db: docdb.Database) -> None:
    with db.trigger("a", "insert", lambda change: None, name="t") as trigger:
        trigger.catch_up(SOON_S)
        before = trigger.position
        db["a"].insert_one({"_id": 1})
        assert until(lambda: trigger.position != before)


def test_many_calls_share_a_commit(db: docdb.Database) -> None:
    db["a"].insert_many([{"_id": n} for n in range(1_000)])
    before = db.stats()["storage"]["last_id"]
    with db.trigger("a", "insert", lambda change: None, name="t", from_="oldest") as trigger:
        assert trigger.catch_up(SOON_S)
        assert trigger.delivered == 1_000
    assert db.stats()["storage"]["last_id"] - before < 40


def test_a_failing_trigger_stops_in_front_of_the_change(db: docdb.Database) -> None:
    seen: list[Any] = []
    broken = True

    def fn(change: Any) -> None:
        seen.append(change.id)
        if broken and change.id == 1:
            raise ValueError("broken")

    trigger = db.trigger("a", "insert", fn, times=2)
    trigger.catch_up(SOON_S)
    db["a"].insert_many([{"_id": n} for n in range(3)])
    with pytest.raises(ValueError, match="broken"):
        trigger.catch_up(SOON_S)
    assert seen == [0, 1, 1, 1]
    (shown,) = db.stats()["feeds"]["triggers"].values()
    assert (shown["state"], shown["skipped"], shown["failures"]) == ("stopped", 0, 3)
    broken = False
    trigger.restart()
    assert trigger.catch_up(SOON_S)
    assert seen == [0, 1, 1, 1, 1, 2]


def test_a_failing_trigger_may_skip(db: docdb.Database, caplog: Any) -> None:
    seen: list[Any] = []

    async def fn(change: Any) -> None:
        seen.append(change.id)
        if change.id % 2:
            raise ValueError("broken")

    with db.trigger("a", "insert", fn, times=1, on_failure="skip") as trigger:
        trigger.catch_up(SOON_S)
        db["a"].insert_many([{"_id": n} for n in range(4)])
        assert trigger.catch_up(SOON_S)
        assert (trigger.skipped, trigger.delivered) == (2, 2)
    assert seen == [0, 1, 1, 2, 3, 3]
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2


def test_a_failing_trigger_never_blocks_the_writer(db: docdb.Database) -> None:
    blocked = threading.Event()
    trigger = db.trigger("a", "insert", lambda change: blocked.wait(SOON_S), name="t")
    trigger.catch_up(SOON_S)
    for n in range(200):
        db["a"].insert_one({"_id": n})
    assert db["a"].count_documents({}) == 200
    blocked.set()
    assert trigger.catch_up(SOON_S)


def named(change: Any) -> None:
    """Be a function with a name."""


def test_a_triggers_name_is_where_its_function_is_defined(db: docdb.Database) -> None:
    assert db.trigger("a", "insert", named).name == "a/tests.test_consumer.named"
    for call in (lambda change: None, partial(named)):
        with pytest.raises(UsageError, match="name"):
            db.trigger("a", "insert", call)


# Refusals


@pytest.mark.parametrize(
    ("options", "error", "path"),
    [
        ({"name": ""}, UsageError, "name"),
        ({"name": 5}, UsageError, "name"),
        ({"name": "x" * 201}, UsageError, "name"),
        ({"name": "a\nb"}, UsageError, "name"),
        ({"fn": 5}, UsageError, "fn"),
        ({"collection": "$a"}, UsageError, None),
        ({"operations": "upsert"}, UsageError, "operations"),
        ({"filter": {"a": {"$gtee": 1}}}, QueryError, "a.$gtee"),
        ({"from_": "later"}, UsageError, "from_"),
        ({"batch": 0}, UsageError, "batch"),
        ({"batch": True}, UsageError, "batch"),
        ({"times": -1}, UsageError, "times"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_arguments_are_refused(db: docdb.Database, options: dict[str, Any], error: Any, path: Any) -> None:
    given = {"name": "c", "fn": copy} | options
    with pytest.raises(error) as refused:
        db.consume(given.pop("name"), given.pop("fn"), **given)
    assert path is None or refused.value.path == path
    assert db.stats()["feeds"]["consumers"] == {}


def test_a_read_only_or_closed_database_refuses(tmp_path: Path) -> None:
    db = docdb.open(tmp_path / "d")
    db.close()
    with pytest.raises(InvalidOperation):
        db.consume("c", copy)
    with docdb.open(tmp_path / "d", read_only=True) as db, pytest.raises(InvalidOperation, match="writing"):
        db.trigger("a", "insert", named)
    with docdb.open(tmp_path / "d") as db, pytest.raises(UsageError, match="on_failure"):
        db.trigger("a", "insert", named, on_failure="ignore")


# asyncio


def test_a_coroutine_function_runs_as_a_task_of_the_loop(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def fn(change: Any, t: Any) -> None:
            assert asyncio.get_running_loop() is loop
            await t["log"].insert_one({"_id": f"a-{change.id}"})
            await asyncio.sleep(0)

        def plain(change: Any, t: Any) -> None:
            t["log"].insert_one({"_id": f"plain-{change.id}"})

        async with docdb.aio.open(tmp_path / "d") as db:
            consumer = db.consume("c", fn, collection="a", operations="insert")
            other = db.consume("p", plain, collection="a", operations="insert")
            seen: list[Any] = []
            trigger = db.trigger("a", "insert", lambda change: seen.append(change.id), name="t")
            for each in (consumer, other, trigger):
                assert await each.catch_up(SOON_S)
            await db["a"].insert_many([{"_id": n} for n in range(3)])
            for each in (consumer, other, trigger):
                assert await each.catch_up(SOON_S)
            found = [document["_id"] async for document in db["log"].find().sort("_id", 1)]
            assert found == ["a-0", "a-1", "a-2", "plain-0", "plain-1", "plain-2"]
            assert seen == [0, 1, 2]
            assert (consumer.state, consumer.delivered, consumer.failures, consumer.error) == ("running", 3, 0, None)
            assert (consumer.name, trigger.skipped, consumer.alive) == ("c", 0, True)
            assert consumer.position is not None
            await consumer.close()
            assert consumer.state == "closed"
            await other.forget()
        assert trigger.state == "closed"

    asyncio.run(asyncio.wait_for(main(), SOON_S))


def test_a_task_may_close_its_own_consumer_and_restart_after_a_stop(tmp_path: Path) -> None:
    async def main() -> None:
        async with docdb.aio.open(tmp_path / "d") as db:
            done = asyncio.Event()

            async def fn(change: Any, t: Any) -> None:
                if change.id == 0:
                    raise ValueError("broken")
                await t["log"].insert_one({"_id": change.id})
                await consumer.close()
                done.set()

            consumer = db.consume("c", fn, collection="a", operations="insert", times=0)
            await consumer.catch_up(SOON_S)
            await db["a"].insert_one({"_id": 0})
            with pytest.raises(ValueError, match="broken"):
                await consumer.catch_up(SOON_S)
            await consumer.restart(from_="now")
            await consumer.catch_up(SOON_S)
            await db["a"].insert_many([{"_id": 1}, {"_id": 2}])
            await done.wait()
            assert not await consumer.catch_up(0.0)
            while await db["log"].count_documents({}) != 1:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(main(), SOON_S))


def test_many_who_wait_do_not_take_the_threads_that_a_function_needs(tmp_path: Path) -> None:
    async def fn(change: Any, t: Any) -> None:
        await asyncio.sleep(0.05)
        await t["log"].insert_one({"_id": change.id})

    async def main() -> None:
        async with docdb.aio.open(tmp_path / "d") as db:
            consumer = db.consume("c", fn, collection="a", operations="insert")
            await consumer.catch_up(SOON_S)
            await db["a"].insert_many([{"_id": n} for n in range(3)])
            assert await asyncio.gather(*[consumer.catch_up(SOON_S) for _ in range(40)]) == [True] * 40
            await db["a"].insert_one({"_id": 3})
            await asyncio.gather(*[consumer.close() for _ in range(40)])

    asyncio.run(asyncio.wait_for(main(), SOON_S))


def test_the_end_of_the_loop_stops_it(tmp_path: Path) -> None:
    made: list[Any] = []

    async def fn(change: Any, t: Any) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        db = await docdb.aio.open(tmp_path / "d")
        consumer = db.consume("c", fn, collection="a", operations="insert")
        await consumer.catch_up(SOON_S)
        await db["a"].insert_one({"_id": 0})
        made.extend((db, consumer))
        await asyncio.sleep(0.05)

    asyncio.run(main())
    db, consumer = made
    assert until(lambda: consumer.state == "stopped")
    assert "event loop" in str(consumer.error)
    asyncio.run(db.close())


def test_a_conflict_error_of_its_own_does_not_end_it(db: docdb.Database) -> None:
    tries = iter(range(3))

    def fn(change: Any, t: Any) -> None:
        copy(change, t)
        if next(tries, None) is not None:
            raise TransactionConflict("somebody else's")

    with db.consume("c", fn, collection="a", operations="insert", times=0) as consumer:
        consumer.catch_up(SOON_S)
        db["a"].insert_one({"_id": 0})
        assert consumer.catch_up(SOON_S)
    assert copied(db) == ["a-0"]
