"""Kill writers at random and look at what is left: ``python -m tests.faults.crash --seed 1 --cycles 50``.

Two writing processes and a reading one work on one database; after some milliseconds all three get SIGKILL. Then the database is
opened again: the checker must be clean, everything acknowledged must be there, and of what was under way either all or nothing. Each
writer notes every operation in a file of its own before it starts ("intent") and when the call has returned ("done"); the
operating system keeps what was written to a file by a process that is killed.
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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import docdb

GROUPS = 4
GROUP_SIZE = 5
WRITERS = 2
FRESH_EVERY = 10  # cycles on one database

State = dict[str, Any]  # _id -> document


class Model:
    """What one writer's documents must be."""

    def __init__(self, writer: int) -> None:
        self.writer = writer
        self.documents: State = {
            f"{writer}-g{g}-{i}": {"_id": f"{writer}-g{g}-{i}", "w": writer, "group": g, "seq": 0}
            for g in range(GROUPS)
            for i in range(GROUP_SIZE)
        }

    def apply(self, operation: list[str]) -> None:
        """Do an operation on the model."""
        kind, *words = operation
        numbers = [int(word) for word in words]
        if kind == "insert":
            for n in range(numbers[0], numbers[1]):
                self.documents[f"{self.writer}-{n}"] = new_document(self.writer, n)
        elif kind == "delete":
            for n in range(numbers[0], numbers[1]):
                self.documents.pop(f"{self.writer}-{n}", None)
        elif kind == "mark":
            if f"{self.writer}-{numbers[0]}" in self.documents:
                self.documents[f"{self.writer}-{numbers[0]}"]["mark"] = numbers[1]
        elif kind == "group":
            for document in self.documents.values():
                if document.get("group") == numbers[0]:
                    document["seq"] = numbers[1]


def new_document(writer: int, n: int) -> dict[str, Any]:
    """Return the n-th document of a writer; some are larger than a page."""
    return {"_id": f"{writer}-{n}", "w": writer, "n": n, "tags": [n % 7, n % 11], "text": "x" * (n * 37 % 9000)}


def perform(collection: Any, writer: int, operation: list[str]) -> None:
    """Do an operation on the database; each is one call, so one commit."""
    kind, *words = operation
    numbers = [int(word) for word in words]
    if kind == "insert":
        collection.insert_many([new_document(writer, n) for n in range(numbers[0], numbers[1])])
    elif kind == "delete":
        collection.delete_many({"w": writer, "n": {"$gte": numbers[0], "$lt": numbers[1]}})
    elif kind == "mark":
        collection.update_one({"_id": f"{writer}-{numbers[0]}"}, {"$set": {"mark": numbers[1]}})
    else:
        collection.update_many({"w": writer, "group": numbers[0]}, {"$set": {"seq": numbers[1]}})


def write(path: str, notes: str, writer: int, start: int, seed: int) -> None:
    """Be a writer until killed."""
    chance = random.Random(seed)
    fd = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with docdb.open(path) as db:
        collection = db["docs"]
        n = start
        while True:
            pick = chance.random()
            if pick < 0.4:
                count = chance.choice((1, 1, 1, 20))
                operation = ["insert", str(n), str(n + count)]
                n += count
            elif pick < 0.6 and n > 0:
                first = chance.randrange(n)
                operation = ["delete", str(first), str(first + chance.choice((1, 5)))]
            elif pick < 0.8 and n > 0:
                operation = ["mark", str(chance.randrange(n)), str(chance.randrange(10**9))]
            else:
                operation = ["group", str(chance.randrange(GROUPS)), str(chance.randrange(10**9))]
            os.write(fd, f"intent {' '.join(operation)}\n".encode())
            perform(collection, writer, operation)
            os.write(fd, b"done\n")


def look(path: str, complaints: str) -> None:
    """Be a reader until killed: every group must be of one piece in every snapshot."""
    with docdb.open(path) as db:
        collection = db["docs"]
        while True:
            seen: dict[tuple[int, int], set[int]] = {}
            for document in collection.find({"group": {"$exists": True}}):
                seen.setdefault((document["w"], document["group"]), set()).add(document["seq"])
            torn = {group: values for group, values in seen.items() if len(values) != 1}
            if torn:
                Path(complaints).write_text(f"torn groups in a snapshot: {torn}\n")
                return


def child(action: Callable[[], None]) -> int:
    """Fork; the child runs the action and never returns."""
    pid = os.fork()
    if pid:
        return pid
    try:
        action()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(3)
    os._exit(0)


def verify(path: str, models: list[Model], notes: list[str]) -> None:
    """Compare the database with the models; the last intent that was not done may have happened or not."""
    with docdb.open(path) as db:
        report = db.check()
        assert report.ok, f"the checker: {report.problems}"
        stored = {document["_id"]: document for document in db["docs"].find({})}
    for model, name in zip(models, notes, strict=True):
        lines = Path(name).read_text().splitlines() if os.path.exists(name) else []
        pending: list[str] | None = None
        for line in lines:
            word, *operation = line.split()
            if word == "intent":
                pending = operation
            elif pending is not None:
                model.apply(pending)
                pending = None
        mine = {key: value for key, value in stored.items() if value["w"] == model.writer}
        if mine != model.documents and pending is not None:
            model.apply(pending)
        wrong = [key for key in mine.keys() | model.documents.keys() if mine.get(key) != model.documents.get(key)]
        assert not wrong, (
            f"writer {model.writer}: {len(wrong)} documents differ, {sorted(wrong)[:5]}, pending {pending}"
        )
        Path(name).write_text("")


def prepare(path: str) -> list[Model]:
    """Make a database with indexes and the groups of the writers."""
    models = [Model(writer) for writer in range(WRITERS)]
    with docdb.open(path, history_bytes=2**20) as db:
        db["docs"].create_index([("w", 1), ("n", 1)])
        db["docs"].create_index("tags")
        db["docs"].create_index("group", sparse=True)
        for model in models:
            db["docs"].insert_many(list(model.documents.values()))
    return models


def run(seed: int, cycles: int, progress: bool = False) -> int:
    """Run the campaign; return how many operations were acknowledged. Raises AssertionError with the seed."""
    chance = random.Random(seed)
    folder = tempfile.mkdtemp(prefix="docdb-crash-")
    acknowledged = 0
    try:
        for cycle in range(cycles):
            path = os.path.join(folder, f"{cycle // FRESH_EVERY}.docdb")
            if cycle % FRESH_EVERY == 0:
                models = prepare(path)
            notes = [os.path.join(folder, f"notes{writer}") for writer in range(WRITERS)]
            complaints = os.path.join(folder, "complaints")
            pids = []
            for writer, model in enumerate(models):
                start = 1 + max((d["n"] for d in model.documents.values() if "n" in d), default=0) + cycle * 10_000
                mine, own_seed = notes[writer], chance.randrange(2**32)
                pids.append(child(partial(write, path, mine, writer, start, own_seed)))
            pids.append(child(partial(look, path, complaints)))
            time.sleep(0.005 + chance.random() * 0.1)
            chance.shuffle(pids)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                time.sleep(chance.random() * 0.003)
            for pid in pids:
                _, status = os.waitpid(pid, 0)
                assert os.WIFSIGNALED(status), f"seed {seed}, cycle {cycle}: a child ended by itself with {status}"
            acknowledged += sum(Path(n).read_text().count("done") for n in notes if os.path.exists(n))
            try:
                assert not os.path.exists(complaints), Path(complaints).read_text()
                verify(path, models, notes)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, cycle {cycle}: {error}") from error
            if progress and (cycle + 1) % 50 == 0:
                print(f"{cycle + 1} cycles, {acknowledged} operations acknowledged", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return acknowledged


def main() -> int:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.crash")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cycles", type=int, default=50)
    chosen = parser.parse_args()
    began = time.monotonic()
    acknowledged = run(chosen.seed, chosen.cycles, progress=True)
    print(
        f"crash: {chosen.cycles} cycles, seed {chosen.seed}, {acknowledged} operations acknowledged, nothing lost, nothing half there, "
        f"checker clean, {time.monotonic() - began:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
