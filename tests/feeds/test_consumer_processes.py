"""Consumers and triggers over processes: killed at every point nothing is lost and nothing done twice; another one takes over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.consumer import STORE_CALLS, _Consuming
from docdb.sessions.transactions import TransactionStore
from docdb.store.batch import WriteBatch
from docdb.store.progress import Step
from tests.faults import consume as campaign
from tests.faults.crash import child

SOON_S = 60.0
ROOT = Path(__file__).resolve().parents[2]


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def until(condition: Callable[[], bool]) -> bool:
    """Wait until something is so; False when it does not come."""
    end = time.monotonic() + SOON_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


POINTS = (
    "read", "taken", "in fn", "fn done", "commit", "locked", "check", "checked", "step", "stepped", "put", "flush", "flushed", "bell",
    "rung", "committed",
)  # fmt: skip


def killed_at(path: Path, point: str, count: int, batch: int | None) -> None:
    """Be a consumer that kills itself when it comes to a point for the n-th time."""
    passed = 0

    def reached(here: str) -> None:
        nonlocal passed
        passed += here == point
        if passed == count:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(owner: Any, name: str, before: str, after: str) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            reached(before)
            result = original(*arguments, **options)
            reached(after)
            return result

        setattr(owner, name, call)

    def fn(item: Any, t: Any) -> None:
        reached("in fn")
        for change in item if batch else [item]:
            t["log"].insert_one({"_id": change.id})
        reached("fn done")

    around(_Consuming, "take", "read", "taken")
    around(TransactionStore, "commit", "commit", "committed")
    around(TransactionStore, "_put", "locked", "put")
    around(Step, "check", "check", "checked")
    around(Step, "put", "step", "stepped")
    around(WriteBatch, "finish", "flush", "flushed")
    db = docdb.open(path)
    consumer = db.consume("c", fn, collection="a", operations="insert", from_="oldest", batch=batch)
    around(db._store.writer, "_committed", "bell", "rung")
    consumer.catch_up(SOON_S)


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_every_point_each_change_is_done_once(tmp_path: Path, point: str, batch: int | None) -> None:
    with docdb.open(tmp_path / "d", durability="relaxed") as db:
        db["a"].insert_many([{"_id": n} for n in range(30)])
    for count in (2, 3):
        pid = child(partial(killed_at, tmp_path / "d", point, count, batch))
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status)
    with docdb.open(tmp_path / "d") as db:
        done = db["log"].count_documents({})
        assert 0 < done < 30

        def fn(change: Any, t: Any) -> None:
            t["log"].insert_one({"_id": change.id})

        with db.consume("c", fn, collection="a", operations="insert", times=0) as consumer:
            assert consumer.catch_up(SOON_S)
            assert consumer.delivered == 30 - done
        assert db["log"].distinct("_id") == list(range(30))


HOLDER = """
    import sys, time, docdb
    db = docdb.open(sys.argv[1])
    def fn(change, t):
        t["log"].insert_one({"_id": change.id, "by": sys.argv[2]})
    consumer = db.consume("c", fn, collection="a", operations="insert")
    trigger = db.trigger("a", "insert", lambda change: db["told"].insert_one({"change": change.id}), name="t")
    consumer.catch_up(60)
    trigger.catch_up(60)
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_another_process_takes_over_when_the_holder_is_killed(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d") as db, start(HOLDER, tmp_path / "d", "first") as first:
        assert first.stdout.readline() == "ready\n"
        with start(HOLDER, tmp_path / "d", "second") as second:
            for n in range(3):
                db["a"].insert_one({"_id": n})
            assert until(lambda: db["log"].count_documents({}) == 3)
            first.send_signal(signal.SIGKILL)
            for n in range(3, 6):
                db["a"].insert_one({"_id": n})
            assert until(lambda: db["log"].count_documents({}) == 6)
            assert until(lambda: set(db["told"].distinct("change")) == set(range(6)))
            second.send_signal(signal.SIGKILL)
        shown = db.stats()["feeds"]
        assert (shown["consumers"]["c"]["state"], shown["triggers"]["t"]["state"]) == ("elsewhere", "elsewhere")
        assert {d["_id"]: d["by"] for d in db["log"].find()} == {n: "first" if n < 3 else "second" for n in range(6)}


def test_a_forked_child_does_not_go_on_with_its_parents_consumer(tmp_path: Path) -> None:
    db = docdb.open(tmp_path / "d")
    consumer = db.consume(
        "c", lambda change, t: t["log"].insert_one({"_id": change.id}), collection="a", operations="insert"
    )
    assert consumer.catch_up(SOON_S)
    pid = os.fork()
    if pid == 0:
        dead = not consumer.alive
        consumer.close()
        own = db.consume("c", lambda change, t: None, collection="a", operations="insert")
        time.sleep(0.3)
        os._exit(0 if dead and own.state == "waiting" else 1)
    assert os.waitpid(pid, 0)[1] == 0
    db["a"].insert_one({"_id": 1})
    assert consumer.catch_up(SOON_S)
    assert db["log"].distinct("_id") == [1]
    db.close()


TOLD = """
    import os, signal, sys, docdb
    db = docdb.open(sys.argv[1])
    calls = 0
    def fn(change):
        global calls
        calls += 1
        if calls == 250:
            os.kill(os.getpid(), signal.SIGKILL)
    db.trigger("a", "insert", fn, name="t", from_="oldest").catch_up(60)
"""


def test_a_killed_trigger_repeats_its_last_calls_and_leaves_none_out(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d", durability="relaxed") as db:
        db["a"].insert_many([{"_id": n} for n in range(600)])
        with start(TOLD, tmp_path / "d") as first:
            assert first.wait(SOON_S) == -signal.SIGKILL
        told: list[int] = []
        with db.trigger("a", "insert", lambda change: told.append(change.id), name="t") as trigger:
            assert trigger.catch_up(SOON_S)
    assert 249 - STORE_CALLS <= told[0] <= 249
    assert told == list(range(told[0], 600))


SWEPT = """
    import os, signal, sys, docdb
    db = docdb.open(sys.argv[1])
    db._store.bell.herald = lambda number, **_: None
    db._store.writer._committed = lambda batch: os.kill(os.getpid(), signal.SIGKILL)
    db["a"].insert_one({"_id": int(sys.argv[2])})
"""


def test_a_consumer_hears_of_a_writer_killed_between_commit_and_bell(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d") as db:
        consumer = db.consume(
            "c", lambda change, t: t["log"].insert_one({"_id": change.id}), collection="a", operations="insert"
        )
        assert consumer.catch_up(SOON_S)
        for n in range(2):
            with start(SWEPT, tmp_path / "d", n) as writer:
                assert writer.wait(SOON_S) == -signal.SIGKILL
            assert until(lambda n=n: db["log"].find_one({"_id": n}) is not None)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_short_campaign(seed: int) -> None:
    result = campaign.run(seed, 4)
    assert result["applied"] == result["written"] > 0
    assert result["told"] >= result["written"]


def test_the_campaign_notices_two_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a lease is given to everybody who asks, the processes meet inside the function, or tell out of order."""
    monkeypatch.setattr("docdb.engine.shared.take", lambda *_: nullcontext())
    with pytest.raises(AssertionError, match="at once|the trigger|ended by itself"):
        campaign.run(1, 12)
