"""Kill consumers at random and count what they did: ``python -m tests.faults.consume --seed 1 --cycles 200``.

Two processes compete for one consumer and one trigger, a third writes; after some milliseconds all three get SIGKILL. The consumer's function does what
shows a second call or a missed one: it counts the changes of each document, adds up their numbers, and writes the change down under its position, which
may be there once. At the end of each cycle the checker must be clean; at the end of all, when one more consumer has caught up, every change of the log must
have been applied exactly once and in order, and told to the trigger at least once and, first tellings only, in order.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import docdb
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


def consume(path: str, told: str, batch: int | None) -> None:
    """Be a consumer and a trigger until killed."""
    fd = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with docdb.open(path, durability="relaxed") as db:
        db.consume("c", apply, collection="source", from_="oldest", batch=batch)
        db.trigger(
            "source",
            None,
            lambda change: os.write(fd, f"{change.commit} {change.index}\n".encode()),
            name="t",
            from_="oldest",
        )
        while True:
            signal.pause()


def verify(path: str, told: str) -> dict[str, int]:
    """Let one more consumer catch up and compare what was applied with the log."""
    with docdb.open(path) as db:
        with db.consume("c", apply, collection="source", times=0) as consumer:
            assert consumer.catch_up(PATIENCE_S), "the last consumer did not catch up"
        fd = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        with db.trigger(
            "source", None, lambda change: os.write(fd, f"{change.commit} {change.index}\n".encode()), name="t"
        ) as trigger:
            assert trigger.catch_up(PATIENCE_S), "the last trigger did not catch up"
        os.close(fd)
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
    lines = Path(told).read_text().split("\n")[:-1]
    first = list(dict.fromkeys(line.replace(" ", ".") for line in lines))
    assert first == expected, f"the trigger: {_difference(first, expected)}"
    return {"written": len(expected), "applied": len(applied), "told": len(lines)}


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
        for cycle in range(cycles):
            pids = [child(partial(write, path, chance.randrange(2**32)))]
            for _ in range(CONSUMERS):
                pids.append(child(partial(consume, path, told, chance.choice((None, None, 3, 100)))))
            time.sleep(0.05 + chance.random() * 0.25)
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
        f"told to the trigger {done['told']} times; checker clean, {time.monotonic() - began:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
