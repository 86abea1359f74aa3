"""Retention: the history's caps are kept whoever lags, blocks, leaks or is killed; who falls behind them is told."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.errors import HistoryLost

ROOT = Path(__file__).resolve().parents[2]
SOON_S = 60.0
CAP = 100_000
ROUND = 150  # updates, of 1,000 bytes each in two images: three times the cap
SLACK = 1.25  # growth of the file is in steps


@pytest.fixture
def db(tmp_path: Path) -> Any:
    with docdb.open(tmp_path / "d", history_bytes=CAP, durability="relaxed") as opened:
        opened["a"].insert_many([{"_id": n, "text": "x" * 1_000} for n in range(50)])
        yield opened


def until(condition: Callable[[], bool]) -> bool:
    """Wait until something is so; False when it does not come."""
    end = time.monotonic() + SOON_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def write(db: docdb.Database, rounds: int) -> list[int]:
    """Update, and return the file's bytes after each round; the log is within its cap at every commit that is looked at."""
    sizes = []
    for _ in range(rounds):
        for n in range(ROUND):
            db["a"].update_one({"_id": n % 50}, {"$inc": {"n": 1}})
            if n % 20 == 0:
                assert db.stats()["history"]["bytes"] <= CAP
        sizes.append(db.stats()["storage"]["file_bytes"])
    return sizes


def stays_flat(sizes: list[int]) -> bool:
    """Tell whether the file was as large at the end as behind the second round, when the log had been at its cap for long."""
    return sizes[-1] <= sizes[1] * SLACK


def test_the_file_grows_without_a_cap(tmp_path: Path) -> None:
    """So what the other tests see is the cap's doing."""
    with docdb.open(tmp_path / "d", durability="relaxed") as db:
        db["a"].insert_many([{"_id": n, "text": "x" * 1_000} for n in range(50)])
        sizes = []
        for _ in range(4):
            for n in range(ROUND):
                db["a"].update_one({"_id": n % 50}, {"$inc": {"n": 1}})
            sizes.append(db.stats()["storage"]["file_bytes"])
    assert not stays_flat(sizes)


def test_the_file_stays_flat_beside_a_consumer_that_is_blocked(db: docdb.Database, caplog: Any) -> None:
    db._session.settings.transaction_limit_s = 3
    entered, go_on = threading.Event(), threading.Event()

    def fn(change: Any, t: Any) -> None:
        t["a"].count_documents({})  # takes a snapshot, which ends with the transaction's time
        entered.set()
        go_on.wait(SOON_S)

    consumer = db.consume("c", fn, collection="a", operations="update", times=0)
    assert consumer.catch_up(SOON_S)
    db["a"].update_one({"_id": 0}, {"$inc": {"n": 1}})
    assert entered.wait(SOON_S)
    assert until(lambda: db.stats()["storage"]["readers"] == 0)
    assert stays_flat(write(db, 4))
    assert db.stats()["feeds"]["consumers"]["c"]["lag"] > ROUND
    go_on.set()
    with pytest.raises((HistoryLost, docdb.TransactionExpired)):
        consumer.catch_up(SOON_S)
    assert consumer.state == "stopped"
    shown = db.stats()["feeds"]["consumers"]["c"]
    assert (shown["state"], shown["lost"]) == ("stopped", True)
    assert [record.name for record in caplog.records if record.levelno == logging.ERROR] == ["docdb.feeds"]


def test_the_file_stays_flat_beside_a_consumer_that_lags_and_it_is_told(db: docdb.Database, caplog: Any) -> None:
    """It does one change while the writer does hundreds, until the history no longer reaches back to its place."""
    go_on = threading.Semaphore(0)

    def fn(change: Any, t: Any) -> None:
        assert go_on.acquire(timeout=SOON_S)
        t["seen"].insert_one({"_id": f"{change.commit}.{change.index}"})

    consumer = db.consume("c", fn, collection="a", operations="update")
    assert consumer.catch_up(SOON_S)
    sizes = []
    for _ in range(4):
        sizes += write(db, 1)
        go_on.release()
    assert stays_flat(sizes)
    go_on.release(10_000)
    with pytest.raises(HistoryLost) as lost:
        consumer.catch_up(SOON_S)
    assert lost.value.oldest is not None
    shown = db.stats()["feeds"]["consumers"]["c"]
    assert (shown["state"], shown["lost"], shown["lag"] > 0) == ("stopped", True, True)
    assert shown["error"].startswith("HistoryLost")
    assert [record.levelno for record in caplog.records if record.name == "docdb.feeds"] == [logging.ERROR]
    assert 0 < db["seen"].count_documents({}) < 4 * ROUND
    consumer.restart(from_="oldest")
    assert consumer.catch_up(SOON_S)


@pytest.mark.parametrize("leaked", ["stream", "live", "trigger", "view"])
def test_the_file_stays_flat_beside_what_nobody_reads(db: docdb.Database, leaked: str) -> None:
    go_on = threading.Event()
    make: dict[str, Callable[[], Any]] = {
        "stream": lambda: db["a"].changes(from_="oldest"),
        "live": lambda: db["a"].where({}).watch(),
        "trigger": lambda: db.trigger("a", "update", lambda change: go_on.wait(SOON_S), name="t"),
        "view": lambda: db.snapshot(limit_s=3),
    }
    begin: dict[str, Callable[[Any], Any]] = {
        "stream": lambda stream: stream.try_next(),
        "live": lambda query: query.next(),
        "trigger": lambda trigger: trigger.catch_up(SOON_S),
        "view": lambda view: view["a"].count(),
    }
    kept = make[leaked]()
    begin[leaked](kept)
    assert until(lambda: db.stats()["storage"]["readers"] == 0)
    assert stays_flat(write(db, 4))
    go_on.set()


KILLED = """
    import os, signal, sys, docdb
    db = docdb.open(sys.argv[1], transaction_limit_s=None)
    t = db.start_transaction()
    t["a"].count_documents({})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_file_stays_flat_behind_a_reader_that_was_killed(db: docdb.Database, tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "d")]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert stays_flat(write(db, 4))
    assert db.stats()["storage"]["readers"] == 0


def test_who_is_older_than_the_age_is_lost(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d", history_age_s=0.5, durability="relaxed") as db:
        db["a"].insert_one({"_id": 0})
        stream, position = db["a"].changes(), db.changes().position
        consumer = db.consume("c", lambda change, t: None, collection="a")
        assert consumer.catch_up(SOON_S)
        consumer.close()
        db["a"].insert_one({"_id": 1})
        time.sleep(0.6)
        for n in range(2, 4):
            db["a"].insert_one({"_id": n})
        history = db.stats()["history"]
        assert history["commits"] - history["oldest_commit"] <= 1
        for look in (stream.try_next, lambda: db["a"].changes(resume_after=position)):
            with pytest.raises(HistoryLost) as lost:
                look()
            assert lost.value.oldest == history["oldest_position"]
        assert db.stats()["feeds"]["consumers"]["c"]["lost"] is True
        with db.consume("c", lambda change, t: None, collection="a") as again, pytest.raises(HistoryLost):
            again.catch_up(SOON_S)


def test_a_trigger_that_falls_behind_is_told_and_goes_on_only_when_restarted(db: docdb.Database, caplog: Any) -> None:
    db.trigger("a", "update", lambda change: None, name="t").close()
    with db.trigger("a", "update", lambda change: None, name="t") as trigger:
        assert trigger.catch_up(SOON_S)
    write(db, 2)
    assert db.stats()["feeds"]["triggers"]["t"]["lost"] is True
    told: list[int] = []
    with db.trigger("a", "update", lambda change: told.append(change.commit), name="t") as trigger:
        with pytest.raises(HistoryLost):
            trigger.catch_up(SOON_S)
        shown = db.stats()["feeds"]["triggers"]["t"]
        assert (shown["state"], shown["lost"], told) == ("stopped", True, [])
        assert [record.levelno for record in caplog.records if record.name == "docdb.feeds"] == [logging.ERROR]
        trigger.restart(from_="now")
        assert trigger.catch_up(SOON_S)
        assert told == []
        db["a"].update_one({"_id": 0}, {"$inc": {"n": 1}})
        assert trigger.catch_up(SOON_S)
    assert told == [db.stats()["history"]["commits"]]
