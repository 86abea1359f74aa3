"""Interruptions at points chosen by a seed: all or nothing, and everything can go on. All points: ``python -m tests.interruption``."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

import docdb
from tests.interruption.cases import CASES, Strike
from tests.interruption.striking import count, struck

POINTS = 4  # of each case
ENGINES = {"memory": None, "native": None, "public": False}
# What is thrown into another thread than the main one may come in the middle of the maps of the engine in memory.
WAYS = [("memory", True), ("native", True), ("public", True), ("native", False), ("public", False)]

pytestmark = pytest.mark.usefixtures("interruptible")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises: a shell that starts the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def opened(path: Path, engine: str) -> Any:
    return (
        docdb.open(":memory:")
        if engine == "memory"
        else docdb.open(path / "db", native=ENGINES[engine], durability="relaxed")
    )


def on_thread(signalled: bool, work: Callable[[], None]) -> None:
    """Do the work here, or on another thread."""
    if signalled:
        work()
        return
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    for error in errors:
        raise error


@pytest.mark.parametrize(("engine", "signalled"), WAYS, ids=[f"{e}-{'signal' if s else 'thrown in'}" for e, s in WAYS])
@pytest.mark.parametrize("name", CASES)
def test_an_interrupted_call_has_happened_or_not(tmp_path: Path, name: str, engine: str, signalled: bool) -> None:
    with opened(tmp_path, engine) as db:

        def work() -> None:
            strike = Strike(db, name, signalled=signalled)
            assert strike.points > POINTS
            chance = Random(f"1/{name}/{engine}/{signalled}")
            places = [strike.at(point) for point in chance.sample(range(1, strike.points + 1), POINTS)]
            assert sum(map(bool, places)) > POINTS / 2  # a call may take a few steps less than when they were counted

        on_thread(signalled, work)


@pytest.mark.parametrize("name", ["transaction_commits", "transaction_rolls_back", "part_of_a_cursor"])
def test_the_last_steps_of_an_end_leave_it_ended(tmp_path: Path, name: str) -> None:
    with opened(tmp_path, "native") as db:
        strike = Strike(db, name, signalled=True)
        for point in range(strike.points - 20, strike.points + 1):
            strike.at(point)


@pytest.mark.parametrize("signalled", [True, False], ids=["signal", "thrown in"])
def test_a_live_query_tells_the_whole_result_behind_an_interruption(tmp_path: Path, signalled: bool) -> None:
    with opened(tmp_path, "native") as db:
        docs = db["docs"]
        docs.insert_many([{"_id": n, "k": n % 2} for n in range(6)])

        def told(query: Any, last: list[Any]) -> None:
            """Read until the newest commit is told."""
            item = query.next(timeout_s=30)
            last[:] = [item]

        def work() -> None:
            with docs.where({"k": 1}).order_by("n").limit(3).watch() as query:
                last = [query.next(timeout_s=30)]

                def step(n: int) -> None:
                    docs.update_one({"_id": 1}, {"$set": {"n": n}})
                    wait_for(lambda: query.pending is not None)

                step(0)
                points = count(lambda: told(query, last))
                chance = Random(f"live/{signalled}")
                for n, point in enumerate(chance.sample(range(1, points + 1), 60), 1):
                    step(n)
                    struck(lambda: told(query, last), point, signalled=signalled)
                    if last[0].docs[-1].get("n") != n:
                        told(query, last)
                    assert last[0].docs == docs.find({"k": 1}).sort([("n", 1), ("_id", 1)]).limit(3).to_list(), (
                        n,
                        point,
                    )
            gc.collect()
            assert db.stats()["storage"]["readers"] == 0

        on_thread(signalled, work)


@pytest.mark.parametrize("signalled", [True, False], ids=["signal", "thrown in"])
def test_a_change_stream_loses_and_doubles_nothing_by_an_interruption(tmp_path: Path, signalled: bool) -> None:
    with opened(tmp_path, "native") as db:
        docs = db.create_collection("docs")
        seen: list[Any] = []

        def work() -> None:
            with docs.changes() as stream:

                def read() -> None:
                    for change in stream:
                        seen.append(change)  # and looks at it later: that might be interrupted too
                        return

                docs.insert_many([{"_id": 0}, {"_id": 1}])
                points = count(read)
                read()
                chance = Random(f"stream/{signalled}")
                for n, point in enumerate(chance.sample(range(1, points + 1), min(points, 80)), 1):
                    docs.insert_many([{"_id": 2 * n}, {"_id": 2 * n + 1}])
                    struck(read, point, signalled=signalled)
                    while len(seen) < 2 * n + 2:
                        read()
                    assert [change.id for change in seen] == list(range(2 * n + 2)), point
                assert stream.try_next() is None

        on_thread(signalled, work)


def wait_for(true: Callable[[], bool]) -> None:
    ready = threading.Event()
    for _ in range(30_000):
        if true():
            return
        ready.wait(0.001)
    raise AssertionError("it did not come true")
