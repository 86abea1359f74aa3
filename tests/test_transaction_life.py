"""The life of a transaction: nobody waits for it, its time is limited whatever its process does, and who is tried again goes first for a while."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import docdb
from docdb import aio
from docdb import command as _
from docdb.sessions import reads, register
from docdb.sessions.register import Claim, register_of

ROOT = Path(__file__).resolve().parents[1]
SOON_S = 60.0


@pytest.fixture
def db(tmp_path: Path) -> Iterator[docdb.Database]:
    with docdb.open(tmp_path / "d", durability="relaxed") as opened:
        opened["a"].insert_many([{"_id": n, "n": 0} for n in range(3)])
        yield opened


def until(condition: Callable[[], bool]) -> bool:
    """Wait until something is so; False when it does not come."""
    end = time.monotonic() + SOON_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


# Nobody waits for user code


WRITER = """
    import sys, docdb
    with docdb.open(sys.argv[1]) as db:
        for n in range(int(sys.argv[2])):
            db["a"].update_one({"_id": 1}, {"$inc": {"n": 1}})
            db["b"].insert_one({"_id": n})
"""


def write_elsewhere(path: Path, count: int) -> None:
    """Commit in another process; raises when that waits for somebody."""
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(count)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=SOON_S)


def write_here(db: docdb.Database, count: int) -> None:
    """Commit on another thread; raises when that waits for somebody."""

    def work() -> None:
        for n in range(count):
            db["a"].update_one({"_id": 1}, {"$inc": {"n": 1}})
            db["b"].insert_one({"_id": f"here-{n}"})

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(SOON_S)
    assert not thread.is_alive()


def test_others_write_while_a_transaction_that_has_written_is_open(db: docdb.Database, tmp_path: Path) -> None:
    with db.transaction() as t:
        t["a"].doc(0).update({"n": 7})
        t["c"].insert_many([{"_id": n} for n in range(100)])
        write_here(db, 20)
        write_elsewhere(tmp_path / "d", 20)
        assert db["a"].doc(1).get() == {"_id": 1, "n": 40}
    assert (db["a"].doc(0).get(), db["c"].count()) == ({"_id": 0, "n": 7}, 100)


def test_others_write_while_the_function_of_a_transaction_waits(db: docdb.Database, tmp_path: Path) -> None:
    def call(t: docdb.Transaction) -> None:
        t["a"].doc(0).update({"n": 7})
        write_here(db, 5)
        write_elsewhere(tmp_path / "d", 5)

    db.run_transaction(call, times=0)
    assert [document["n"] for document in db["a"].find()] == [7, 10, 0]


def test_others_write_while_a_task_awaits_inside_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.open(tmp_path / "d") as db:
            await db["a"].insert_many([{"_id": 0}, {"_id": 1}])
            wrote = asyncio.Event()

            async def call(t: aio.AsyncTransaction) -> None:
                await t["a"].doc(0).update({"n": 7})
                await asyncio.wait_for(wrote.wait(), SOON_S)

            async def other() -> None:
                for _n in range(20):
                    await db["a"].doc(1).update({"n": _.inc(1)})
                wrote.set()

            await asyncio.gather(db.run_transaction(call, times=0), other())
            assert [document["n"] async for document in db["a"].find()] == [7, 20]

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["consumer", "trigger"])
def test_others_write_while_the_function_of_a_consumer_or_trigger_waits(
    db: docdb.Database, tmp_path: Path, kind: str
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def fn(change: Any, t: Any = db) -> None:
        t["seen"].insert_one({"_id": change.id})
        entered.set()
        assert go_on.wait(SOON_S)

    make = {
        "consumer": lambda: db.consume("c", fn, collection="source", operations="insert", times=0),
        "trigger": lambda: db.trigger("source", "insert", fn, name="t", times=0),
    }[kind]
    with make() as follower:
        assert follower.catch_up(SOON_S)
        db["source"].insert_one({"_id": 1})
        assert entered.wait(SOON_S)
        write_here(db, 20)
        write_elsewhere(tmp_path / "d", 5)
        go_on.set()
        assert follower.catch_up(SOON_S)
    assert db["seen"].distinct("_id") == [1]


# Its time


def test_the_limit_is_thirty_seconds_unless_said_otherwise(tmp_path: Path) -> None:
    limits = {}
    for given in ({}, {"transaction_limit_s": 5}, {"transaction_limit_s": None}):
        with docdb.open(tmp_path / "d", **given) as db:  # type: ignore[arg-type]
            began = time.monotonic()
            due = db.start_transaction()._store.due
            limits[str(given)] = None if due is None else round(due - began)
    assert list(limits.values()) == [30, 5, None]
    for wrong in (0, -1, "5", True):
        with pytest.raises(docdb.UsageError, match="transaction_limit_s"):
            docdb.open(tmp_path / "d", transaction_limit_s=wrong)  # type: ignore[arg-type]


class Kept(NamedTuple):
    """A transaction and what was made of it while it was open."""

    t: Any
    a: Any
    reference: Any
    cursor: Any


CALLS: dict[str, Callable[[Kept], Any]] = {
    "collection": lambda k: k.t["a"],
    "get": lambda k: k.t.get(k.reference),
    "set": lambda k: k.t.set(k.reference, {"n": 1}),
    "update": lambda k: k.t.update(k.reference, {"n": 1}),
    "remove": lambda k: k.t.remove(k.reference),
    "doc.get": lambda k: k.a.doc(0).get(),
    "find": lambda k: k.a.find().to_list(),
    "count": lambda k: k.a.count(),
    "aggregate": lambda k: k.a.aggregate([]).to_list(),
    "insert": lambda k: k.a.insert_one({}),
    "insert_many": lambda k: k.a.insert_many([{}, {}]),
    "update_many": lambda k: k.a.update_many({}, {"$set": {"n": 1}}),
    "an open cursor": lambda k: list(k.cursor),
    "create_collection": lambda k: k.t.create_collection("new"),
    "list_collection_names": lambda k: k.t.list_collection_names(),
    "commit": lambda k: k.t.commit(),
    "rollback": lambda k: k.t.rollback(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("end", ["commit", "rollback", "conflict", "expiry"])
def test_after_its_end_every_call_raises(tmp_path: Path, call: Any, end: str) -> None:
    with docdb.open(tmp_path / "d", durability="relaxed") as db:
        db["a"].insert_many([{"_id": n} for n in range(1_000)])
        t: Any = db.start_transaction()
        kept = Kept(t, t["a"], db["a"].doc(0), t["a"].find().batch_size(2))
        next(kept.cursor)
        t["a"].doc(0).update({"n": 1})
        finish(db, t, end)
        before = db["a"].doc(0).get()
        for _twice in range(2):
            with pytest.raises((docdb.InvalidOperation, docdb.TransactionExpired)) as raised:
                call(kept)
            assert type(raised.value) is (docdb.TransactionExpired if end == "expiry" else docdb.InvalidOperation)
            assert (raised.value.code, raised.value.errcode) == (251, "DATABASE_TRANSACTION_FAIL")
        assert (t.active, t.committed, t.rolled_back) == (False, end == "commit", end == "rollback")
        assert (db["a"].doc(0).get(), db["a"].count()) == (before, 1_000)


def finish(db: docdb.Database, t: Any, how: str) -> None:
    """End a transaction."""
    if how == "conflict":
        db["a"].doc(0).update({"n": 5})
        with pytest.raises(docdb.TransactionConflict) as raised:
            t.commit()
        assert (raised.value.code, raised.value.errcode) == (112, "DATABASE_TRANSACTION_CONFLICT")
    elif how == "expiry":
        t._store.due = time.monotonic() - 1
    else:
        getattr(t, how)()


FORGETFUL = """
    import sys, docdb
    db = docdb.open(sys.argv[1], transaction_limit_s=2)
    def transaction():
        t = db.start_transaction()
        t["a"].insert_one({})
        return t
    kept = {"transaction": transaction, "view": lambda: db.snapshot(limit_s=2)}[sys.argv[2]]()
    assert kept["a"].count() >= 3
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("what", ["transaction", "view"])
def test_one_that_is_forgotten_by_a_process_that_does_nothing_keeps_no_snapshot(
    db: docdb.Database, tmp_path: Path, what: str
) -> None:
    command = [sys.executable, "-c", textwrap.dedent(FORGETFUL), str(tmp_path / "d"), what]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert until(lambda: db.stats()["storage"]["readers"] == 0)
        assert process.poll() is None


def test_the_thread_ends_with_the_database(tmp_path: Path) -> None:
    others = set(threading.enumerate())

    def watchers() -> int:
        return sum(thread.name == "docdb-transactions" for thread in set(threading.enumerate()) - others)

    db = docdb.open(tmp_path / "d")
    db["a"].insert_one({})
    assert watchers() == 0
    with db.transaction() as t:
        t["a"].count()
    with db.snapshot() as s:
        s["a"].count()
    assert watchers() == 1
    db.close()
    assert watchers() == 0


def test_a_shorter_limit_wakes_the_thread_that_sleeps_for_a_longer_one(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d") as db:
        long, short = db.snapshot(limit_s=1_000), db.snapshot(limit_s=1.5)
        assert (long["a"].count(), short["a"].count()) == (0, 0)
        assert until(lambda: short._session.store._base is None)
        assert long["a"].count() == 0


def test_the_thread_asks_again_for_one_that_was_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register, "BUSY_S", 0.01)
    with docdb.open(tmp_path / "d", transaction_limit_s=1.5) as db:
        t = db.start_transaction()
        assert t["a"].count() == 0
        with t._store.lock:
            time.sleep(1.6)
            assert t._store._base is not None
        assert until(lambda: t._store._base is None)


def test_the_thread_ends_when_there_has_been_nothing_to_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register, "LINGER_S", 0.02)
    with docdb.open(tmp_path / "d", transaction_limit_s=1.5) as db:
        known = register_of(db._store)
        for _n in range(3):
            with db.transaction() as t:
                t["a"].count()
            assert until(lambda: known._watchman is None)
        t = db.start_transaction()
        assert t["a"].count() == 0
        assert until(lambda: t._store._base is None)


def test_without_another_thread_it_works_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with docdb.open(tmp_path / "d") as db:
        monkeypatch.setattr(threading.Thread, "start", refused)
        with db.transaction() as t:
            t["a"].insert_one({"_id": 1})
        monkeypatch.undo()
        assert db["a"].distinct("_id") == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_watches_over_its_own(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d", transaction_limit_s=2) as db:
        with db.transaction() as t:
            assert t["a"].count() == 0
        child = os.fork()  # outside: with py-lmdb a child cannot use what was forked amid a transaction
        if child == 0:
            own = db.start_transaction()
            empty = own["a"].count() == 0
            os._exit(0 if empty and until(lambda: own._store._base is None) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        t = db.start_transaction()
        assert t["a"].count() == 0
        assert until(lambda: t._store._base is None)


# Again


def test_a_conflict_that_the_function_raises_is_tried_again(db: docdb.Database) -> None:
    tries: list[int] = []

    def call(t: docdb.Transaction) -> int:
        t["a"].doc(0).update({"n": _.inc(1)})
        tries.append(1)
        if len(tries) < 3:
            raise docdb.TransactionConflict("found out by itself")
        return len(tries)

    assert db.run_transaction(call) == 3
    assert db["a"].doc(0).get() == {"_id": 0, "n": 1}


@pytest.mark.parametrize(
    "error", [docdb.DuplicateKeyError("x"), docdb.BusyError("x"), docdb.TransactionExpired("x"), KeyError("x")]
)
def test_other_errors_are_not_tried_again(db: docdb.Database, error: Exception) -> None:
    tries: list[int] = []

    def call(t: docdb.Transaction) -> None:
        t["a"].doc(0).update({"n": _.inc(1)})
        tries.append(1)
        raise error

    with pytest.raises(type(error)):
        db.run_transaction(call)
    assert (len(tries), db["a"].doc(0).get()) == (1, {"_id": 0, "n": 0})


def test_pauses_grow_differ_and_are_bounded(db: docdb.Database) -> None:
    from docdb.transaction import FIRST_PAUSE_S, LONGEST_PAUSE_S, Retries

    conflict = docdb.TransactionConflict("x")
    rows = []
    for _n in range(50):
        retries = Retries(db._session, 20, None)
        rows.append([retries.pause_s(conflict) for _m in range(20)])
    longest = [max(column) for column in zip(*rows, strict=True)]
    assert all(0 <= pause <= LONGEST_PAUSE_S for row in rows for pause in row)
    assert longest[0] <= 2 * FIRST_PAUSE_S < longest[4] < longest[9]
    assert len({row[9] for row in rows}) == 50


def test_a_coroutine_function_is_refused_and_a_plain_one_by_asyncio(db: docdb.Database) -> None:
    async def call(t: Any) -> None:
        t["a"].doc(0).update({"n": 1})

    with pytest.raises(docdb.UsageError, match="asyncio"):
        db.run_transaction(call)

    async def main() -> None:
        async with aio.open(":memory:") as other:
            with pytest.raises(docdb.UsageError, match="coroutine function"):
                await other.run_transaction(lambda t: 1)  # type: ignore[arg-type, return-value]

    asyncio.run(main())
    assert db["a"].doc(0).get() == {"_id": 0, "n": 0}


def test_one_that_goes_first_holds_others_up_for_a_limited_time(
    db: docdb.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third try does not end before the other, which touches what it has read, has committed: so the other waits, but not for ever."""
    monkeypatch.setattr(register, "CLAIM_S", 0.2)
    tries: list[int] = []
    waited: list[int] = []
    original = Claim.wait

    def wait(self: Claim) -> None:
        waited.append(len(tries))
        original(self)

    monkeypatch.setattr(Claim, "wait", wait)

    def slow(t: docdb.Transaction) -> None:
        n = t["a"].doc(0).get()["n"]  # type: ignore[index]
        tries.append(n)
        if len(tries) <= 2:
            db["a"].doc(0).update({"n": _.inc(1)})
        elif len(tries) == 3:
            db.run_transaction(lambda other: other["a"].doc(1).update({"n": 1}))
            assert waited == []  # it touches something else
            db.run_transaction(lambda other: other["a"].doc(0).update({"n": _.inc(1)}))
        t["a"].doc(0).update({"n": n + 100})

    db.run_transaction(slow)
    assert (tries, waited, db["a"].doc(0).get()) == ([0, 1, 2, 3], [3], {"_id": 0, "n": 103})


# What is read is remembered up to a bound


@pytest.mark.parametrize(
    ("bound", "read"),
    [
        ("MOST_IDS", lambda c: [c.doc(n).get() for n in range(10)]),
        ("MOST_FILTERS", lambda c: [c.count_documents({"n": n}) for n in range(100, 110)]),
    ],
)
@pytest.mark.parametrize("beyond", [False, True], ids=["within", "beyond"])
def test_beyond_a_bound_the_collection_is_read(
    db: docdb.Database, monkeypatch: pytest.MonkeyPatch, bound: str, read: Any, beyond: bool
) -> None:
    monkeypatch.setattr(reads, bound, 9 if beyond else 10)
    t = db.start_transaction()
    read(t["a"])
    t["b"].insert_one({"_id": 1})
    db["a"].insert_one({"_id": "elsewhere", "n": -1})
    committed = True
    try:
        t.commit()
    except docdb.TransactionConflict:
        committed = False
    assert committed is not beyond
