"""Threads and processes on one database: nothing is lost, nothing is seen half done.

``DOCDB_LONG=1`` makes the mixed load last a minute instead of seconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb

ROOT = Path(__file__).resolve().parents[1]
LOAD_S = 60.0 if os.environ.get("DOCDB_LONG") == "1" else 4.0
PROCESSES = 4
THREADS = 8
TIMEOUT_S = LOAD_S + 60
REFUSED = 3  # a forked child's exit code


class Child:
    """A Python process that runs a script; what it prints can be waited for."""

    def __init__(self, script: str, *arguments: object) -> None:
        command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, text: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def end(self) -> str:
        output, _ = self.process.communicate(timeout=TIMEOUT_S)
        assert self.process.returncode == 0
        return output


@pytest.fixture
def spawn() -> Iterator[Callable[..., Child]]:
    """Start children that do not outlive the test."""
    children: list[Child] = []

    def start(script: str, *arguments: object) -> Child:
        children.append(Child(script, *arguments))
        return children[-1]

    yield start
    for child in children:
        child.process.kill()
        child.process.communicate()


@pytest.fixture(params=["lmdb", "default"])
def native(request: pytest.FixtureRequest) -> bool | None:
    """Say which LMDB engine the test runs on."""
    return False if request.param == "lmdb" else None


LOAD = """
import random, sys, threading, time
import docdb

path, native, who, seconds, threads = sys.argv[1], None if sys.argv[2] == "None" else False, sys.argv[3], float(sys.argv[4]), int(sys.argv[5])
complaints = []

def work(name):
    chance = random.Random(name)
    items, slots, count, slots_taken = db["items"], db["slots"], 0, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        count += 1
        items.update_one({"_id": name}, {"$inc": {"count": 1}, "$set": {"text": "x" * (count % 50 * 40)}}, upsert=True)
        if items.find_one({"_id": name})["count"] != count:
            complaints.append("own write not read")
        if next(iter(items.find({"count": count, "text": {"$exists": True}, "_id": name})), None) is None:
            complaints.append("own write not found through an index")
        try:
            slots.insert_one({"slot": chance.randrange(3000), "by": name})
            slots_taken += 1
        except docdb.DuplicateKeyError:
            pass
        if count % 8 == 0:
            items.insert_many([{"_id": f"{name}-{count}-{n}", "batch": f"{name}-{count}"} for n in range(3)])
            sizes = {row["n"] for row in items.aggregate([{"$match": {"batch": {"$exists": True}}}, {"$group": {"_id": "$batch", "n": {"$sum": 1}}}])}
            if sizes != {3}:
                complaints.append(f"half a batch {sizes}")
    results[name] = count, slots_taken

results = {}
with docdb.open(path, native=native, durability="relaxed") as db:
    workers = [threading.Thread(target=work, args=(f"{who}.{n}",)) for n in range(threads)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
print((results, complaints))
"""


def test_processes_and_threads_lose_nothing(tmp_path: Path, spawn: Any, native: bool | None) -> None:
    with docdb.open(tmp_path / "db", native=native, durability="relaxed") as db:
        db["items"].create_index("count")
        db["slots"].create_index("slot", unique=True)
    children = [spawn(LOAD, tmp_path / "db", native, f"p{n}", LOAD_S, THREADS // PROCESSES) for n in range(PROCESSES)]
    counted: dict[str, tuple[int, int]] = {}
    for child in children:
        results, complaints = eval(child.end())  # noqa: S307 - what the child printed
        assert complaints == []
        counted |= results
    assert len(counted) == THREADS
    with docdb.open(tmp_path / "db", native=native, verify=True) as db:
        counters = {document["_id"]: document["count"] for document in db["items"].find({"count": {"$exists": True}})}
        assert counters == {name: count for name, (count, _) in counted.items()}
        taken = db["slots"].distinct("slot")
        assert len(taken) == db["slots"].count_documents({}) == sum(slots for _, slots in counted.values())


def test_threads_of_one_process_lose_nothing(tmp_path: Path, spawn: Any) -> None:
    with docdb.open(tmp_path / "db", durability="relaxed") as db:
        db["items"].create_index("count")
        db["slots"].create_index("slot", unique=True)
    results, complaints = eval(spawn(LOAD, tmp_path / "db", None, "p", LOAD_S / 2, THREADS).end())  # noqa: S307
    assert complaints == []
    with docdb.open(tmp_path / "db", verify=True) as db:
        counters = {document["_id"]: document["count"] for document in db["items"].find({"count": {"$exists": True}})}
        assert counters == {name: count for name, (count, _) in results.items()}


WATCHER = """
import sys
import docdb
with docdb.open(sys.argv[1], native=None if sys.argv[2] == "None" else False) as db:
    print("ready", flush=True)
    for line in sys.stdin:
        names = db.list_collection_names()
        print(repr((names, [sorted(db[name].index_information()) for name in names], [db[name].count_documents({"n": 1}) for name in names])), flush=True)
"""


def test_other_processes_see_catalog_changes(tmp_path: Path, spawn: Any, native: bool | None) -> None:
    with docdb.open(tmp_path / "db", native=native) as db:
        watcher = spawn(WATCHER, tmp_path / "db", native)
        assert watcher.line() == "ready"

        def seen() -> Any:
            watcher.tell()
            return eval(watcher.line())  # noqa: S307

        assert seen() == ([], [], [])
        db["a"].insert_one({"n": 1})
        assert seen() == (["a"], [["_id_"]], [1])
        db["a"].create_index("n")
        assert seen() == (["a"], [["_id_", "n_1"]], [1])
        db["a"].rename("b")
        assert seen() == (["b"], [["_id_", "n_1"]], [1])
        db["b"].drop_index("n_1")
        db["a"].insert_one({"n": 2})
        assert seen() == (["a", "b"], [["_id_"], ["_id_"]], [0, 1])
        db.drop_collection("b")
        assert seen() == (["a"], [["_id_"]], [0])


CHURN = """
import sys
import docdb
with docdb.open(sys.argv[1], durability="relaxed") as db:
    for n in range(60):
        items = db["churn"]
        items.create_index("n")
        items.insert_many([{"_id": i, "n": i, "round": n} for i in range(50)])
        if n % 3: items.rename("other", drop_target=True)
        else: items.drop()
print("done")
"""


def test_reading_and_writing_while_another_process_drops_and_renames(tmp_path: Path, spawn: Any) -> None:
    with docdb.open(tmp_path / "db", durability="relaxed") as db:
        child = spawn(CHURN, tmp_path / "db")
        rounds = 0
        while child.process.poll() is None:
            rounds += 1
            for name in ("churn", "other"):
                found = list(db[name].find({"n": {"$gte": 0}}, {"round": 1}))
                assert len(found) in (0, 50)
                assert len({document["round"] for document in found}) <= 1
            db["churn"].update_many({"n": 7}, {"$set": {"seen": rounds}})
        assert child.end() == "done\n"


BUILDER = """
import sys
import docdb
with docdb.open(sys.argv[1], native=None if sys.argv[2] == "None" else False, durability="relaxed") as db:
    def progress(done, total):
        print(done, flush=True)
        sys.stdin.readline()
    db["items"].create_index("n", progress=progress)
print("built", flush=True)
"""


def filled(path: Path, native: bool | None, count: int = 9_000) -> docdb.Database:
    db = docdb.open(path, native=native, durability="relaxed")
    db["items"].insert_many([{"_id": n, "n": n % 100} for n in range(count)])
    return db


def test_a_build_while_others_write(tmp_path: Path, spawn: Any, native: bool | None) -> None:
    with filled(tmp_path / "db", native) as db:
        builder = spawn(BUILDER, tmp_path / "db", native)
        steps, step = 0, builder.line()
        while step != "built":
            steps += 1
            db["items"].insert_many([{"_id": -steps, "n": 7}, {"_id": 10_000 + steps, "n": 7}])
            db["items"].update_many({"_id": {"$in": [steps, 9_000 - steps]}}, {"$set": {"n": 1_000}})
            db["items"].delete_many({"_id": {"$in": [steps + 100, 8_900 - steps]}})
            assert db["items"].count_documents({"n": 1_000}) == 2 * steps
            assert db.check().problems == []
            builder.tell()
            step = builder.line()
        assert steps > 1
        assert builder.end() == ""
        assert db["items"].count_documents({"n": 1_000}) == 2 * steps


def test_a_killed_builder_leaves_no_index(tmp_path: Path, spawn: Any, native: bool | None) -> None:
    with filled(tmp_path / "db", native) as db:
        builder = spawn(BUILDER, tmp_path / "db", native)
        assert int(builder.line()) > 0
        builder.process.send_signal(signal.SIGKILL)
        builder.process.wait()
        db["items"].insert_one({"_id": "while it lies there", "n": 1})
        assert db.check().problems == []
    with docdb.open(tmp_path / "db", native=native) as db:
        assert list(db["items"].index_information()) == ["_id_"]
        assert db["items"].create_index("n") == "n_1"
        assert db["items"].count_documents({"n": 1}) == 91


def test_a_unique_build_that_collides_leaves_no_index(tmp_path: Path) -> None:
    with filled(tmp_path / "db", None) as db:
        with pytest.raises(docdb.DuplicateKeyError):
            db["items"].create_index("n", unique=True)
        assert list(db["items"].index_information()) == ["_id_"]


def test_a_build_in_another_thread_is_not_swept_by_open(tmp_path: Path) -> None:
    halt, go = threading.Event(), threading.Event()

    def progress(done: int, total: int) -> None:
        halt.set()
        assert go.wait(20)

    with filled(tmp_path / "db", None) as db:
        thread = threading.Thread(target=lambda: db["items"].create_index("n", progress=progress))
        thread.start()
        assert halt.wait(20)
        with docdb.open(tmp_path / "db", durability="relaxed") as second:
            second["items"].insert_one({"_id": "x", "n": 5})
        go.set()
        thread.join(20)
        assert sorted(db["items"].index_information()) == ["_id_", "n_1"]


def test_a_fork_in_the_middle(tmp_path: Path, native: bool | None) -> None:
    with docdb.open(tmp_path / "db", native=native) as db:
        db["items"].insert_one({"_id": "before"})
        db["items"].insert_one({"_id": "first"})
        cursor = iter(db["items"].find())
        assert next(cursor) == {"_id": "before"}
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(20)
                db["items"].insert_many([{"_id": f"child {n}"} for n in range(10)])
                status = 0 if db["items"].count_documents({}) >= 12 else 2
            except docdb.InvalidOperation:
                status = REFUSED
            finally:
                os._exit(status)
        db["items"].insert_many([{"_id": f"parent {n}"} for n in range(10)])
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in allowed_codes(native)
        assert [document["_id"] for document in cursor] == ["first"]
        assert db["items"].count_documents({}) == (22 if code == 0 else 12)


def test_a_fork_while_other_threads_write(tmp_path: Path, native: bool | None) -> None:
    """The child has none of the parent's threads; what they held must not hold it up."""
    stop = threading.Event()
    done = [0] * 4
    with docdb.open(tmp_path / "db", native=native, durability="relaxed") as db:

        def write(n: int) -> None:
            while not stop.is_set():
                db["items"].update_one({"_id": n}, {"$inc": {"count": 1}}, upsert=True)
                done[n] += 1

        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        codes = [forked(db, f"child {number}") for number in range(12)]
        stop.set()
        for thread in threads:
            thread.join(20)
        assert set(codes) <= allowed_codes(native)
        assert [document["count"] for document in db["items"].find({"count": {"$exists": True}}).sort("_id", 1)] == done
        assert db["items"].count_documents({"by": "child"}) == codes.count(0)


def allowed_codes(native: bool | None) -> set[int]:
    """py-lmdb's public interface cannot let go of a transaction that was open at the fork: the child is refused then."""
    return {0, REFUSED} if native is False or os.environ.get("DOCDB_PURE") == "1" else {0}


def forked(db: docdb.Database, name: str) -> int:
    """Insert one document in a forked child; return how it ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(20)
            db["items"].insert_one({"_id": name, "by": "child"})
            status = 0
        except docdb.InvalidOperation:
            status = REFUSED
        finally:
            os._exit(status)
    _, code = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(code)


HOLDER = """
import sys
import docdb
with docdb.open(sys.argv[1]) as db:
    print("open", flush=True)
    sys.stdin.readline()
"""


def test_compact_and_restore_name_who_has_it_open(tmp_path: Path, spawn: Any) -> None:
    with docdb.open(tmp_path / "db") as db:
        db["items"].insert_one({"_id": 1})
        db.backup(tmp_path / "backup")
        holder = spawn(HOLDER, tmp_path / "db")
        assert holder.line() == "open"
        with pytest.raises(docdb.BusyError, match=str(holder.process.pid)):
            db.compact()
    with pytest.raises(docdb.BusyError, match=str(holder.process.pid)):
        docdb.restore(tmp_path / "backup", tmp_path / "db", replace=True)
    holder.tell()
    holder.end()
    docdb.restore(tmp_path / "backup", tmp_path / "db", replace=True)


def test_a_killed_process_holds_nobody_up(tmp_path: Path, spawn: Any) -> None:
    holder = spawn(HOLDER, tmp_path / "db")
    assert holder.line() == "open"
    holder.process.kill()
    holder.process.wait()
    with docdb.open(tmp_path / "db") as db:
        db["items"].insert_one({"_id": 1})
        db.compact()


def test_a_reader_keeps_its_snapshot_while_another_process_writes(
    tmp_path: Path, spawn: Any, native: bool | None
) -> None:
    with filled(tmp_path / "db", native, 3_000) as db:
        cursor = iter(db["items"].find())
        next(cursor)
        script = """
        import sys, docdb
        with docdb.open(sys.argv[1], native=None if sys.argv[2] == "None" else False, durability="relaxed") as db:
            db["items"].delete_many({})
            db["items"].drop()
        """
        spawn(script, tmp_path / "db", native).end()
        assert sum(1 for _ in cursor) == 2_999
        assert db["items"].count_documents({}) == 0


def test_read_your_writes_across_threads(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db", durability="relaxed") as db:
        wrong: list[int] = []

        def work(n: int) -> None:
            for i in range(100):
                db["items"].insert_one({"_id": (k := f"{n}-{i}")})
                if db["items"].find_one({"_id": k}) is None or not db["items"].count_documents({"_id": k}):
                    wrong.append(i)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert db["items"].count_documents({}) == 100 * THREADS


def test_one_name_created_by_many_at_once(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db", durability="relaxed") as db:
        barrier = threading.Barrier(THREADS)

        def work(n: int) -> None:
            for name in ("a", "b", "c"):
                barrier.wait(20)
                db[name].insert_one({"_id": n})

        threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [db[name].count_documents({}) for name in ("a", "b", "c")] == [THREADS] * 3
        assert db.list_collection_names() == ["a", "b", "c"]


def test_time_passes_for_a_waiter_of_another_process(tmp_path: Path, spawn: Any) -> None:
    """A writer of another process in a long transaction holds this one up, and then it goes on."""
    script = """
    import sys, time, docdb
    with docdb.open(sys.argv[1]) as db:
        def hold(batch):
            print("holding", flush=True)
            time.sleep(0.5)
        db._store.write(hold)
    """
    with docdb.open(tmp_path / "db") as db:
        child = spawn(script, tmp_path / "db")
        assert child.line() == "holding"
        began = time.monotonic()
        db["items"].insert_one({"_id": 1})
        assert time.monotonic() > began
        child.end()
