"""Kill consumers at random and count what they did: ``python -m tests.faults.consume --seed 1 --cycles 200``.

Two processes compete for one consumer and one trigger, a third writes; when something has been told, or a moment later, all three get SIGKILL. The
consumer's function does what shows a second call or a missed one: it counts the changes of each document, adds up their numbers, and writes the change
down under its position, which may be there once. At the end of each cycle the checker must be clean; at the end of all, when one more consumer has
caught up, every change of the log must have been applied exactly once and in order, and told to the trigger at least once and in order: each process
goes on behind a change that was told before, and leaves none out. Both functions hold a lock of their own while they run, which tells when two
processes are inside at once.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import docdb
import docdb.aio
from tests.faults.crash import child

DOCUMENTS = 20
CONSUMERS = 2
PATIENCE_S = 120.0


def write(path: str, seed: int) -> None:
    """Be the writer until killed: insertions, updates and deletions, single and in transactions of several."""
    chance = random.Random(seed)
    with docdb.open(path, durability="relaxed") as db:
        while True:
            _write_once(db, chance)
            time.sleep(chance.random() * 0.002)


def _write_once(db: docdb.Database, chance: random.Random) -> None:
    key = chance.randrange(DOCUMENTS)
    pick = chance.random()
    if pick < 0.6:
        db["source"].update_one({"_id": key}, {"$inc": {"n": 1}}, upsert=True)
    elif pick < 0.7:
        db["source"].delete_one({"_id": key})
    elif pick < 0.8:
        db["other"].insert_one({"text": "x" * chance.randrange(2_000)})
    else:
        with db.transaction() as t:
            for each in chance.sample(range(DOCUMENTS), 5):
                t["source"].update_one({"_id": each}, {"$inc": {"n": 1}}, upsert=True)


def apply(item: Any, t: Any) -> None:
    """Be the consumer's function, of one change or of a batch."""
    changes = item if isinstance(item, list) else [item]
    for change in changes:
        order = (t["state"].find_one({"_id": "order"}) or {"n": 0})["n"]
        t["state"].update_one({"_id": "order"}, {"$set": {"n": order + 1}}, upsert=True)
        t["counts"].update_one({"_id": change.id}, {"$inc": {change.operation: 1}}, upsert=True)
        t["applied"].insert_one({"_id": f"{change.commit}.{change.index}", "order": order})


class Alone:
    """A lock that a process holds while it is inside a function: a file that ends with the process, and notes whom it finds in there."""

    def __init__(self, told: str, what: str) -> None:
        self._lock = os.open(f"{told}.{what}", os.O_RDWR | os.O_CREAT)
        self._notes = os.open(f"{told}.together", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._what = what

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be inside; note when another process is, too."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.write(self._notes, f"{self._what} of {os.getpid()}\n".encode())
        yield
        fcntl.flock(self._lock, fcntl.LOCK_UN)


def trigger(db: docdb.Database, told: str) -> docdb.Trigger:
    """Make the trigger, which writes down who was told of what. Some calls take a while, so that kills come amid them."""
    fd = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    alone, chance = Alone(told, "trigger"), random.Random(os.getpid())

    def fn(change: Any) -> None:
        with alone.inside():
            time.sleep(chance.choice((0, 0, 0, 0.001)))
            os.write(fd, f"{os.getpid()} {change.commit}.{change.index}\n".encode())

    return db.trigger("source", None, fn, name="t", from_="oldest")


def consumer(db: docdb.Database, told: str, batch: int | None = None) -> docdb.Consumer:
    """Make the consumer."""
    alone = Alone(told, "consumer")

    def fn(item: Any, t: Any) -> None:
        with alone.inside():
            apply(item, t)

    return db.consume("c", fn, collection="source", from_="oldest", batch=batch, times=0)


async def apply_async(item: Any, t: Any) -> None:
    """Do what ``apply`` does, with asyncio."""
    for change in item if isinstance(item, list) else [item]:
        order = (await t["state"].find_one({"_id": "order"}) or {"n": 0})["n"]
        await t["state"].update_one({"_id": "order"}, {"$set": {"n": order + 1}}, upsert=True)
        await t["counts"].update_one({"_id": change.id}, {"$inc": {change.operation: 1}}, upsert=True)
        await t["applied"].insert_one({"_id": f"{change.commit}.{change.index}", "order": order})


def consume_async(path: str, told: str, batch: int | None) -> None:
    """Be a consumer of a coroutine function and a trigger of one until killed."""
    fd = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    of_consumer, of_trigger = Alone(told, "consumer"), Alone(told, "trigger")

    async def consuming(item: Any, t: Any) -> None:
        with of_consumer.inside():
            await apply_async(item, t)

    async def triggered(change: Any) -> None:
        with of_trigger.inside():
            await asyncio.sleep(0)
            os.write(fd, f"{os.getpid()} {change.commit}.{change.index}\n".encode())

    async def main() -> None:
        db = await docdb.aio.open(path, durability="relaxed")
        db.consume("c", consuming, collection="source", from_="oldest", batch=batch, times=0)
        db.trigger("source", None, triggered, name="t", from_="oldest")
        await asyncio.Event().wait()

    asyncio.run(main())


def consume(path: str, told: str, batch: int | None) -> None:
    """Be a consumer and a trigger until killed."""
    with docdb.open(path, durability="relaxed") as db:
        consumer(db, told, batch)
        trigger(db, told)
        while True:
            signal.pause()


def verify(path: str, told: str) -> dict[str, int]:
    """Let one more consumer catch up and compare what was applied with the log."""
    with docdb.open(path) as db:
        with consumer(db, told) as last:
            assert last.catch_up(PATIENCE_S), "the last consumer did not catch up"
        with trigger(db, told) as last_trigger:
            assert last_trigger.catch_up(PATIENCE_S), "the last trigger did not catch up"
        with db["source"].changes(from_="oldest") as stream:
            changes = list(iter(stream.try_next, None))
        expected = [f"{change.commit}.{change.index}" for change in changes]
        applied = [document["_id"] for document in db["applied"].find().sort("order", 1)]
        assert applied == expected, _difference(applied, expected)
        counts: dict[Any, dict[str, int]] = {}
        for change in changes:
            counted = counts.setdefault(change.id, {"_id": change.id})
            counted[change.operation] = counted.get(change.operation, 0) + 1
        stored = {document["_id"]: document for document in db["counts"].find()}
        assert stored == counts, f"counts differ: {stored} {counts}"
        assert db.check().problems == []
    lines = [line.split() for line in Path(told).read_text().split("\n")[:-1]]
    first = list(dict.fromkeys(place for _, place in lines))
    assert first == expected, f"the trigger: {_difference(first, expected)}"
    handovers = _follow(lines, expected)
    together = Path(f"{told}.together").read_text().split("\n")[:-1]
    assert together == [], f"two processes at once: {together}"
    return {"written": len(expected), "applied": len(applied), "told": len(lines), "handovers": handovers}


def _follow(lines: list[list[str]], expected: list[str]) -> int:
    """Hold each process to the order, from a change on that none before it is missing of; return how often another one took over."""
    places = {place: n for n, place in enumerate(expected)}
    reached, handovers = -1, 0
    for (pid, place), (before, _) in zip(lines, [["", ""], *lines], strict=False):
        here = places[place]
        if pid == before:
            assert here == reached + 1, f"the trigger of {pid} went from {expected[reached]} to {place}"
        else:
            handovers += 1
            assert here <= reached + 1, f"the trigger of {pid} began with {place}, behind {expected[reached]}"
        reached = here
    return handovers


def _difference(found: list[str], expected: list[str]) -> str:
    missing = sorted(set(expected) - set(found))
    return f"{len(found)} of {len(expected)}, missing {missing[:5]}, too many {sorted(set(found) - set(expected))[:5]}"


def run(seed: int, cycles: int, progress: bool = False) -> dict[str, int]:
    """Run the campaign; return how many changes were written, applied, told. Raises AssertionError with the seed."""
    chance = random.Random(seed)
    folder = tempfile.mkdtemp(prefix="docdb-consume-")
    path, told = os.path.join(folder, "d.docdb"), os.path.join(folder, "told")
    try:
        docdb.open(path, history_bytes=2**30).close()
        Path(told).touch()
        for cycle in range(cycles):
            pids = [child(partial(write, path, chance.randrange(2**32)))]
            for _ in range(CONSUMERS):
                kind = chance.choice((consume, consume, consume_async))
                pids.append(child(partial(kind, path, told, chance.choice((None, None, 3, 100)))))
            _wait(told, chance)
            chance.shuffle(pids)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                time.sleep(chance.random() * 0.01)
            for pid in pids:
                _, status = os.waitpid(pid, 0)
                assert os.WIFSIGNALED(status), f"seed {seed}, cycle {cycle}: a child ended by itself with {status}"
            with docdb.open(path) as db:
                problems = db.check().problems if cycle % 10 == 0 else []
                assert not problems, f"seed {seed}, cycle {cycle}: {problems}"
                if progress and (cycle + 1) % 20 == 0:
                    print(f"{cycle + 1} cycles, {db['applied'].count_documents({})} changes applied", flush=True)
        try:
            return verify(path, told)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(told: str, chance: random.Random) -> None:
    """Wait for some calls of the trigger, however slow the machine is; now and then not even for the first."""
    wanted = Path(told).stat().st_size + chance.choice((1, 1, 200, 2_000)) if chance.random() < 0.8 else 0
    until = time.monotonic() + PATIENCE_S
    while Path(told).stat().st_size < wanted:
        assert time.monotonic() < until, "nobody is told of anything"
        time.sleep(0.002)
    time.sleep(chance.random() * 0.05)


def main() -> int:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.consume")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cycles", type=int, default=50)
    chosen = parser.parse_args()
    began = time.monotonic()
    done = run(chosen.seed, chosen.cycles, progress=True)
    print(
        f"consume: {chosen.cycles} cycles, seed {chosen.seed}, {done['written']} changes, each applied once and in order; "
        f"told to the trigger {done['told']} times by {done['handovers']} processes, never two at once; checker clean, {time.monotonic() - began:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
