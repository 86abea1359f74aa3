"""The group commit: one leader, storage errors, withdrawn and interrupted callers."""

from __future__ import annotations

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
from docdb.errors import StorageError, UsageError
from docdb.store.signals import Shield
from docdb.store.writer import Ticket, Writer

INTERRUPTIONS = 100


class Log:
    """Counts one caller's changes."""

    def __init__(self) -> None:
        self.pending: list[Any] = []
        self.commits = 0
        self.last_end = None

    def commit(self) -> None:
        self.pending.clear()
        self.commits += 1


class Batch:
    """A write batch over a list: what is put appears in ``done`` when it is finished."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.log = Log()
        self.items: list[Any] = []

    @property
    def changed(self) -> bool:
        return bool(self.items)

    def put(self, item: Any) -> None:
        self.items.append(item)
        self.log.pending.append(item)

    def finish(self) -> None:
        self.store.before_finish(self)
        self.store.done += self.items
        self.store.sizes.append(len(self.items))

    def abort(self) -> None:
        self.store.aborted += 1


class Store:
    """What a Writer needs, in memory."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.sizes: list[int] = []
        self.aborted = self.repaired = 0
        self.before_finish: Callable[[Batch], None] = lambda batch: None
        self.after: Callable[[Batch], None] = lambda batch: None
        self.landed = False
        self.writer = Writer(
            lambda: Batch(self), lambda batch: self.after(batch), self.repair, lambda batch: self.landed, lambda: None
        )  # type: ignore[arg-type, return-value]

    def repair(self) -> None:
        self.repaired += 1

    def put(self, item: Any) -> Any:
        return self.writer.submit(Ticket(lambda batch: batch.put(item) or item))  # type: ignore[attr-defined, func-returns-value]


@pytest.fixture
def store() -> Store:
    """Give a fresh one."""
    return Store()


def start(*calls: Callable[[], Any]) -> list[threading.Thread]:
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Gate:
    """Holds the first batch in its commit until opened."""

    def __init__(self, store: Store) -> None:
        self.entered, self._open = threading.Event(), threading.Event()
        store.before_finish = self._wait

    def _wait(self, batch: Batch) -> None:
        self.entered.set()
        assert self._open.wait(20)

    def open(self) -> None:
        self._open.set()


def test_a_lone_caller_gets_what_it_returned(store: Store) -> None:
    assert store.put(1) == 1
    assert (store.done, store.writer.commits, store.writer.callers) == ([1], 1, 1)


def test_who_comes_during_a_commit_shares_the_next(store: Store) -> None:
    gate = Gate(store)
    first = start(lambda: store.put(0))
    gate.entered.wait(20)
    others = start(*(lambda n=n: store.put(n) for n in range(1, 9)))  # type: ignore[misc]
    until(lambda: len(store.writer._queue) == 8)
    gate.open()
    join(first + others)
    assert sorted(store.done) == list(range(9))
    assert store.sizes == [1, 8]


def test_a_refusal_is_the_callers_own(store: Store) -> None:
    def refuse(batch: Any) -> None:
        raise UsageError("no")

    with pytest.raises(UsageError):
        store.writer.submit(Ticket(refuse))
    assert store.put(2) == 2
    assert (store.done, store.repaired) == ([2], 0)


def test_a_storage_error_is_tried_again_one_by_one(store: Store) -> None:
    gate = Gate(store)
    first = start(lambda: store.put(0))
    gate.entered.wait(20)
    outcomes: dict[int, Any] = {}

    def call(n: int) -> None:
        try:
            outcomes[n] = store.put(n)
        except StorageError:
            outcomes[n] = "failed"

    def fail(batch: Batch) -> None:
        if 3 in batch.items:
            raise StorageError("disk")

    others = start(*(lambda n=n: call(n) for n in range(1, 6)))  # type: ignore[misc]
    until(lambda: len(store.writer._queue) == 5)
    store.before_finish = fail
    gate.open()
    join(first + others)
    assert outcomes == {1: 1, 2: 2, 3: "failed", 4: 4, 5: 5}
    assert sorted(store.done) == [0, 1, 2, 4, 5]
    assert store.repaired == 2


def test_a_commit_that_landed_in_spite_of_its_error_is_not_run_again(store: Store) -> None:
    def fail(batch: Batch) -> None:
        store.done += batch.items
        raise StorageError("the last flush")

    store.before_finish, store.landed = fail, True
    with pytest.raises(StorageError):
        store.put(1)
    assert store.done == [1]


def test_what_fails_after_the_commit_does_not_run_the_callers_again(store: Store, caplog: Any) -> None:
    def fail(batch: Batch) -> None:
        raise StorageError("a reader check that failed")

    store.after = fail
    assert store.put(1) == 1
    assert store.done == [1]
    assert [record.name for record in caplog.records] == ["docdb.store"]


def test_a_surprise_in_one_caller_spares_the_others(store: Store) -> None:
    gate = Gate(store)
    first = start(lambda: store.put(0))
    gate.entered.wait(20)
    raised: list[BaseException] = []

    def surprise(batch: Any) -> None:
        raise ZeroDivisionError

    def call() -> None:
        try:
            store.writer.submit(Ticket(surprise))
        except ZeroDivisionError as error:
            raised.append(error)

    others = start(call, lambda: store.put(1), lambda: store.put(2))
    until(lambda: len(store.writer._queue) == 3)
    gate.open()
    join(first + others)
    assert sorted(store.done) == [0, 1, 2]
    assert len(raised) == 1


def test_an_interrupted_waiter_is_withdrawn(store: Store) -> None:
    gate = Gate(store)
    first = start(lambda: store.put(0))
    gate.entered.wait(20)

    def interrupt() -> None:
        until(lambda: len(store.writer._queue) == 1)
        os.kill(os.getpid(), signal.SIGINT)

    helper = start(interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.put("withdrawn")
    gate.open()
    join(first + helper)
    assert store.put(1) == 1
    assert store.done == [0, 1]


def test_a_waiter_whose_signal_raises_nothing_is_served(store: Store) -> None:
    """A handler may only take a note: then the call goes on, as any call into the system does."""
    gate = Gate(store)
    first = start(lambda: store.put(0))
    gate.entered.wait(20)
    noted: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: noted.append(number))

    def send() -> None:
        until(lambda: len(store.writer._queue) == 1)
        os.kill(os.getpid(), signal.SIGUSR1)
        until(lambda: noted == [signal.SIGUSR1])
        gate.open()

    helper = start(send)
    try:
        assert store.put("mine") == "mine"
    finally:
        signal.signal(signal.SIGUSR1, before)
    join(first + helper)
    assert store.done == [0, "mine"]


def test_an_interruption_tells_that_nothing_was_written(store: Store) -> None:
    gate = Gate(store)
    first = start(lambda: store.put(0))
    gate.entered.wait(20)
    helper = start(lambda: until(lambda: len(store.writer._queue) == 1) or os.kill(os.getpid(), signal.SIGINT))  # type: ignore[func-returns-value]
    with pytest.raises(KeyboardInterrupt) as caught:
        store.put("withdrawn")
    gate.open()
    join(first + helper)
    assert caught.value.__notes__ == ["docdb: nothing was written"]


def test_an_interruption_tells_that_the_commit_has_landed(store: Store) -> None:
    store.before_finish = lambda batch: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        store.put("mine")
    assert caught.value.__notes__ == ["docdb: the write is committed"]


def test_an_interrupted_leader_finishes_first_and_once(store: Store) -> None:
    store.before_finish = lambda batch: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        store.put("mine")
    store.before_finish = lambda batch: None
    assert store.put("next") == "next"
    assert store.done == ["mine", "next"]


def test_others_in_the_batch_of_an_interrupted_leader_are_served_once(store: Store) -> None:
    gate = Gate(store)
    first = start(lambda: store.put(0))
    gate.entered.wait(20)

    def helper() -> None:
        until(lambda: len(store.writer._queue) == 1)  # the main thread, which leads next
        others.extend(start(*(lambda n=n: store.put(n) for n in range(1, 5))))  # type: ignore[misc]
        until(lambda: len(store.writer._queue) == 5)
        store.before_finish = lambda batch: signal.raise_signal(signal.SIGINT) if "mine" in batch.items else None
        os.kill(os.getpid(), 0)
        gate.open()

    others: list[threading.Thread] = []
    starter = start(helper)
    with pytest.raises(KeyboardInterrupt):
        # raise_signal runs the handler on the main thread, which leads this batch
        store.put("mine")
    join(first + starter)
    join(others)
    assert sorted(map(str, store.done)) == ["0", "1", "2", "3", "4", "mine"]


@pytest.fixture
def alarm(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[BaseException]]:
    """Let SIGALRM raise an exception of its own.

    The interpreter swallows what is raised inside a finaliser or a callback of the garbage collector; such an alarm rings again.
    """

    class Alarm(BaseException):
        pass

    def handler(number: int, frame: Any) -> None:
        raise Alarm

    report = sys.unraisablehook

    def swallowed(what: sys.UnraisableHookArgs) -> None:
        if what.exc_type is Alarm:
            signal.setitimer(signal.ITIMER_REAL, 0.0002)
        else:
            report(what)

    monkeypatch.setattr(sys, "unraisablehook", swallowed)
    before = signal.signal(signal.SIGALRM, handler)
    yield Alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("native", [False, None], ids=["lmdb", "default"])
def test_interruptions_at_random_moments_lose_nothing(tmp_path: Path, alarm: Any, native: bool | None) -> None:
    """Four threads count up, the main thread too, interrupted all the time; each has its own document, and the sum must be exact."""
    done = [0] * 5
    stop = threading.Event()
    with docdb.open(tmp_path / "db", native=native, durability="relaxed") as db:
        counters = db["counters"]
        counters.insert_many([{"_id": n, "count": 0} for n in range(5)])

        def count(n: int) -> None:
            while not stop.is_set():
                counters.update_one({"_id": n}, {"$inc": {"count": 1}})
                done[n] += 1

        def count_until(moment: float) -> None:
            while time.monotonic() < moment:
                counters.update_one({"_id": 0}, {"$inc": {"count": 1}})
                done[0] += 1

        threads = start(*(lambda n=n: count(n) for n in range(1, 5)))  # type: ignore[misc]
        interrupted = 0
        for number in range(INTERRUPTIONS):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00005 + number % 37 * 0.0001)
                count_until(time.monotonic() + 20)  # an interruption that got lost in docdb ends here
            except alarm:
                interrupted += 1
        stop.set()
        join(threads)
        stored = [document["count"] for document in counters.find().sort("_id", 1)]
    assert interrupted == INTERRUPTIONS
    assert stored[1:] == done[1:]
    assert done[0] <= stored[0] <= done[0] + interrupted


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises: a shell that starts the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_shield_calls_the_handlers_when_it_comes_down() -> None:
    with pytest.raises(KeyboardInterrupt), Shield() as shield:
        signal.raise_signal(signal.SIGINT)
        assert [number for number, _ in shield.caught] == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interruptible")
def test_a_shield_in_a_shield_leaves_it_to_the_outer() -> None:
    with pytest.raises(KeyboardInterrupt), Shield() as outer:
        with Shield() as inner:
            signal.raise_signal(signal.SIGINT)
        assert (inner.caught, len(outer.caught)) == ([], 1)


@pytest.mark.usefixtures("interruptible")
def test_a_shield_calls_every_handler_though_one_raises() -> None:
    noted: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: noted.append(number))
    try:
        with pytest.raises(KeyboardInterrupt), Shield():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert noted == [signal.SIGUSR1]


def test_a_shield_on_another_thread_does_nothing() -> None:
    seen: list[bool] = []

    def look() -> None:
        with Shield() as shield:
            seen.append(shield.up)

    join(start(look))
    assert seen == [False]
