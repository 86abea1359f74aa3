"""Who carries plans out: lanes, in one thread interleaved, in threads, or as asyncio tasks.

What lives here: ``Lane``, ``interleave`` and ``run_lane_async``. What it must not know: what the steps do, and what is wrong with a history.

A lane does one transaction after the other. As a generator it stops before every call, so that a seed decides who comes next and the same seed gives the same
history.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from random import Random
from typing import Any, Final

import docdb
from docdb import aio
from tests.isolation.histories import Attempt, Recorder, Transaction, load
from tests.isolation.workloads import Work, final, plan, set_up

__all__ = ["Lane", "finish", "interleave", "new_values", "run_alone", "run_lane_async"]

STEPPED: Final = ("by hand", "by hand", "by hand", "plain", "snapshot", "rolled back")
MANAGED: Final = ("with", "run", "run", "by hand", "plain", "snapshot")
Commit = Callable[[], None]
Moments = Generator[Commit | None, None, None]
FAILED: Final = (docdb.TransactionConflict, docdb.TransactionExpired)  # nothing was written
KIND: Final = {"plain": "plain", "snapshot": "reads"}  # plans by way; other ways take any


def new_values(first: int) -> Callable[[], int]:
    """Return a function that gives a new number each time."""
    numbers = iter(range(first, first + 2**32))
    return lambda: next(numbers)


class Lane:
    """One thread of work: transactions one after the other, with plans from a seed."""

    def __init__(
        self, name: str, db: Any, recorder: Recorder, seed: object, fresh: Callable[[], int], generation: Callable[[], int],
        ways: tuple[str, ...] = STEPPED, only: frozenset[str] = frozenset(), interrupted: bool = False,
    ) -> None:  # fmt: skip
        self.name = name
        self.db = db
        self.recorder = recorder
        self.chance = Random(f"{seed}/{name}")
        self.fresh = fresh
        self.generation = generation
        self.ways = ways
        self.only = only
        self.interrupted = interrupted

    def work(self, way: str) -> Work:
        """Begin an attempt."""
        return Work(self.recorder.begin(self.name, way), self.chance, self.generation(), self.fresh)

    def transaction(self) -> Moments:
        """Do one transaction, stopping before every call; a commit that it yields is for whoever drives it to make."""
        way = self.chance.choice(self.ways)
        if way in ("with", "run"):
            self._managed(way)
            return
        work = self.work(way)
        try:
            yield from self._stepped(way, work)
        except FAILED:
            work.attempt.end("fail")

    def _stepped(self, way: str, work: Work) -> Moments:
        attempt, steps = work.attempt, plan(self.chance, KIND.get(way, "any"), self.only)
        if way == "plain":
            yield
            for step in steps:
                _call_all(self.db, step(work), attempt.trying)
        elif way == "snapshot":
            with self.db.snapshot() as view:
                for step in steps:
                    yield from _calls(view, step(work))
        else:
            t = self.db.start_transaction()
            for step in steps:
                yield from _calls(t, step(work))
            if way == "rolled back":
                yield
                t.rollback()
                attempt.end("fail")
                return
            attempt.trying()
            yield t.commit if not self.interrupted else lambda: _commit_told(t, attempt)
        attempt.end("ok")

    def _managed(self, way: str) -> None:
        """Let ``with`` or ``run_transaction`` end it; each try of that one is an attempt."""
        works: list[Work] = []
        tries: list[Any] = []
        steps = plan(self.chance, "any")

        def body(t: Any) -> None:
            tries.append(t)
            if works:
                works[-1].attempt.end("fail")
            works.append(self.work(way))
            for step in steps:
                _call_all(t, step(works[-1]))
            works[-1].attempt.trying()

        try:
            if way == "run":
                self.db.run_transaction(body, times=2)
            else:
                with self.db.transaction() as t:
                    body(t)
        except FAILED:
            works[-1].attempt.end("fail")
        except KeyboardInterrupt:
            if works:
                works[-1].attempt.told = None  # its line may not have been written
                works[-1].attempt.end("ok" if tries[-1].committed else "fail")
            raise
        else:
            works[-1].attempt.end("ok")


def _commit_told(t: Any, attempt: Attempt) -> None:
    """Commit; believe what an interrupted commit says of itself."""
    try:
        t.commit()
    except KeyboardInterrupt:
        attempt.end("ok" if t.committed else "fail")
        raise


class Walk:
    """The calls of a step, one after the other: ``call`` is the next one, None behind the last; a refused key comes back to the step."""

    def __init__(self, step: Generator[Any, Any, None]) -> None:
        self.step = step
        self.call: Any = None
        self.go_on(None)

    def go_on(self, answer: Any) -> None:
        """Give the answer to the last call."""
        try:
            self.call = self.step.throw(answer) if isinstance(answer, Exception) else self.step.send(answer)
        except StopIteration:
            self.call = None

    def make(self, face: Any) -> None:
        """Make the call and go on."""
        try:
            answer = self.call(face)
        except docdb.DuplicateKeyError as refused:
            answer = refused
        self.go_on(answer)

    async def make_async(self, face: Any) -> None:
        """Make the call, await it where it wants that, and go on."""
        try:
            answer = self.call(face)
            if inspect.isawaitable(answer):
                answer = await answer
        except docdb.DuplicateKeyError as refused:
            answer = refused
        self.go_on(answer)


def _calls(face: Any, step: Generator[Any, Any, None]) -> Moments:
    walk = Walk(step)
    while walk.call is not None:
        yield
        walk.make(face)


def _call_all(face: Any, step: Generator[Any, Any, None], before: Callable[[], None] = lambda: None) -> None:
    walk = Walk(step)
    while walk.call is not None:
        before()
        walk.make(face)


def run_alone(moments: Moments) -> None:
    """Go through a transaction without stopping."""
    running = Running(moments)
    while running.step():
        running.commit()


class Running:
    """A lane that somebody drives: ``step`` goes on to its next stop, or makes the commit it asks for when nobody else does."""

    def __init__(self, moments: Moments) -> None:
        self.moments = moments
        self.pending: Commit | None = None
        self.busy = False
        self.outcome: BaseException | None = None

    def step(self) -> bool:
        """Go on; False at the end."""
        outcome, self.outcome, self.busy = self.outcome, None, True
        try:
            self.pending = self.moments.send(None) if outcome is None else self.moments.throw(outcome)
        except StopIteration:
            return False
        finally:
            self.busy = False
        return True

    def commit(self) -> None:
        """Make the commit that is pending; the lane hears of it when it goes on."""
        commit, self.pending, self.busy = self.pending, None, True
        try:
            if commit is not None:
                commit()
        except docdb.DocdbError as error:
            self.outcome = error
        finally:
            self.busy = False


class Interleaving:
    """Lanes in one thread; a seed decides who comes next."""

    def __init__(self, lanes: list[Running], chance: Random) -> None:
        self.lanes = lanes
        self.chance = chance

    def step(self) -> None:
        """Let one lane that is not in the middle of something go on to its next stop."""
        free = [lane for lane in self.lanes if not lane.busy]
        if free:
            self._go_on(self.chance.choice(free))

    def _go_on(self, lane: Running) -> None:
        if lane.pending is not None:
            lane.commit()
        elif not lane.step():
            self.lanes.remove(lane)

    def run(self) -> None:
        while self.lanes:
            self.step()

    def run_in_pairs(self, together: Callable[[Commit, Commit], None]) -> None:
        """Let whoever wants to commit wait for a second one; ``together`` makes both commits."""
        while self.lanes:
            waiting = [lane for lane in self.lanes if lane.pending is not None]
            others = [lane for lane in self.lanes if lane.pending is None]
            if len(waiting) > 1:
                together(waiting[0].commit, waiting[1].commit)
            elif others:
                self._go_on(self.chance.choice(others))
            else:
                waiting[0].commit()


def interleave(
    db: docdb.Database, seed: object, transactions: int, *, lanes: int = 4, each: int = 40,
    only: frozenset[str] = frozenset(), others: list[Callable[[], None]] | None = None,
    pairs: Callable[[Commit, Commit], None] | None = None,
) -> list[Transaction]:  # fmt: skip
    """Run about so many transactions in one thread, interleaved by a seed; return the history, with a last look at everything.

    ``each`` is how many share a generation of keys, ``only`` the names of the steps to choose from (none: all). Into ``others`` comes a function that lets
    another lane go on, for whoever wants to do that in the middle of a call; ``pairs`` makes commits two at a time.
    """
    set_up(db)
    lines: list[bytes] = []
    ticks = iter(range(2**62))
    recorder = Recorder(lines.append, "p", lambda: next(ticks))
    begun, fresh = [0], new_values(1)

    def endless(lane: Lane) -> Moments:
        while begun[0] < transactions:
            begun[0] += 1
            yield from lane.transaction()

    running = [
        Running(endless(Lane(str(n), db, recorder, seed, fresh, lambda: begun[0] // each, only=only)))
        for n in range(lanes)
    ]
    interleaving = Interleaving(running, Random(f"{seed}"))
    if others is not None:
        others.append(interleaving.step)
    if pairs is not None:
        interleaving.run_in_pairs(pairs)
    else:
        interleaving.run()
    finish(db, recorder, transactions // each + 1)
    return load(lines)


def finish(db: docdb.Database, recorder: Recorder, generations: int) -> None:
    """Read everything, as the last transaction of a history."""
    work = Work(recorder.begin("last", "snapshot"), Random(0), 0, new_values(0))
    with db.snapshot() as view:
        _call_all(view, final(work, generations))
    work.attempt.end("ok")


async def run_lane_async(lane: Lane, database: aio.AsyncDatabase, goes_on: Callable[[], bool]) -> None:
    """Do the lane's transactions with asyncio, each way that it has there."""
    while goes_on():
        way = "aio " + lane.chance.choice(("with", "run", "by hand", "plain"))
        works: list[Work] = []
        steps = plan(lane.chance, "plain" if way == "aio plain" else "any")

        async def body(t: Any, way: str = way, works: list[Work] = works, steps: list[Any] = steps) -> None:
            if works:
                works[-1].attempt.end("fail")
            works.append(lane.work(way))
            attempt = works[-1].attempt
            for step in steps:
                await _await_all(t, step(works[-1]), attempt if way == "aio plain" else None)
            if way != "aio plain":
                attempt.trying()

        try:
            if way == "aio run":
                await database.run_transaction(body, times=2)
            elif way == "aio with":
                async with database.transaction() as t:
                    await body(t)
            elif way == "aio by hand":
                t = await database.start_transaction()
                await body(t)
                await t.commit()
            else:
                await body(database)
        except FAILED:
            works[-1].attempt.end("fail")
        else:
            works[-1].attempt.end("ok")


async def _await_all(face: Any, step: Generator[Any, Any, None], plain: Attempt | None) -> None:
    walk = Walk(step)
    while walk.call is not None:
        if plain is not None:
            plain.trying()
        await walk.make_async(face)
