"""Feeds over processes: changes of others arrive, writers killed between commit and bell lose nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.feeds import live_window
from tests.fuzz.live import run_together

SOON_S = 30.0
ROOT = Path(__file__).resolve().parents[2]


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


WRITER = """
    import sys, docdb
    db = docdb.open(sys.argv[1])
    for n in range(int(sys.argv[2]), int(sys.argv[3])):
        db["a"].insert_one({"_id": n})
    db.close()
"""


def test_changes_of_two_processes_come_once_in_commit_order(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d") as db:
        stream = db["a"].changes(operations="insert")
        writers = [start(WRITER, tmp_path / "d", first, first + 100) for first in (0, 1_000)]
        found = [stream.next(SOON_S) for _ in range(200)]
        assert [writer.wait(SOON_S) for writer in writers] == [0, 0]
        for writer in writers:
            writer.communicate()
        ids = [change.id for change in found]
        assert sorted(ids) == [*range(100), *range(1_000, 1_100)]
        assert [n for n in ids if n < 1_000] == list(range(100))
        commits = [change.commit for change in found]
        assert commits == sorted(commits)


KILLED = """
    import os, signal, sys, docdb
    db = docdb.open(sys.argv[1])
    db._store.bell.herald = lambda number, **_: None
    db._store.writer._committed = lambda batch: os.kill(os.getpid(), signal.SIGKILL)
    db["a"].insert_one({"_id": int(sys.argv[2])})
"""


def test_a_writer_killed_between_commit_and_bell_is_heard(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d") as db:
        stream = db["a"].changes(operations="insert")
        for n in range(3):
            writer = start(KILLED, tmp_path / "d", n)
            assert stream.next(SOON_S).id == n
            assert writer.wait(SOON_S) == -signal.SIGKILL
            writer.communicate()


READER = """
    import sys, docdb
    db = docdb.open(sys.argv[1], read_only=True)
    stream = db["a"].changes(operations="insert")
    print("ready", flush=True)
    print(stream.next(30).id, flush=True)
    db.close()
"""


def test_a_read_only_process_hears_too(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d") as db:
        db["a"].insert_one({"_id": 0})
        reader = start(READER, tmp_path / "d")
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        db["a"].insert_one({"_id": 1})
        assert reader.communicate(timeout=SOON_S)[0] == "1\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_makes_feeds_of_its_own(tmp_path: Path) -> None:
    script = """
        import os, sys, docdb
        db = docdb.open(sys.argv[1])
        inherited = db["a"].changes()
        pid = os.fork()
        if pid == 0:
            try:
                inherited.try_next()
            except docdb.errors.InvalidOperation:
                stream = db["a"].changes(operations="insert")
                db["a"].insert_one({"_id": 1})
                os._exit(stream.next(30).id)
            os._exit(9)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(code, inherited.next(30).operation, inherited.next(30).id, flush=True)
        db.close()
    """
    child: Any = start("import warnings; warnings.simplefilter('ignore')\n" + textwrap.dedent(script), tmp_path / "d")
    assert child.communicate(timeout=SOON_S)[0] == "1 create 1\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_finds_no_feed_inside_the_storage(tmp_path: Path) -> None:
    """py-lmdb's public interface cannot be closed in a child whose parent had a thread inside; the feeds' thread stands still meanwhile."""
    script = """
        import os, subprocess, sys, docdb
        folder = sys.argv[1]
        if len(sys.argv) > 2:
            with docdb.open(folder, native=False, durability="relaxed") as db:
                while True:
                    db["a"].insert_one({})
        db = docdb.open(folder, native=False, durability="relaxed")
        stream = db["a"].changes()
        writer = subprocess.Popen([sys.executable, "-c", SCRIPT, folder, "write"])
        refused = 0
        for _ in range(60):
            stream.next(30)
            pid = os.fork()
            if pid == 0:
                try:
                    db["a"].count_documents({})
                    os._exit(0)
                except docdb.DocdbError:
                    os._exit(1)
            refused += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        writer.kill()
        writer.wait()
        print(refused, flush=True)
        db.close()
    """
    text = "import warnings; warnings.simplefilter('ignore')\n" + textwrap.dedent(script)
    child: Any = start(f"SCRIPT = {text!r}\n{text}", tmp_path / "d")
    assert child.communicate(timeout=SOON_S)[0] == "0\n"


# Live queries

COUNTER = """
    import sys, docdb
    db = docdb.open(sys.argv[1])
    for n in range(int(sys.argv[2]), int(sys.argv[3])):
        db["a"].doc(n).set({"n": n % 7})
        db["a"].doc(n - 5).remove()
    db.close()
"""


def test_live_queries_follow_other_processes(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d") as db:
        queries = [
            db["a"].where({}).watch(),
            db["a"].where({"n": {"$gt": 3}}).order_by("n", "desc").watch(),
            db["a"].where({}).order_by("n").skip(1).limit(2).watch(),
        ]
        again = [db["a"].where({}).order_by("_id"), db["a"].where({"n": {"$gt": 3}}).order_by("n", "desc").order_by("_id"),
                 db["a"].where({}).order_by("n").order_by("_id").skip(1).limit(2)]  # fmt: skip
        writers = [start(COUNTER, tmp_path / "d", first, first + 60) for first in (0, 1_000)]
        for number in range(1_000_000, 1_000_030):
            db["a"].doc(number).set({"n": number % 7})
        assert [writer.wait(SOON_S) for writer in writers] == [0, 0]
        for writer in writers:
            writer.communicate()
        db["a"].insert_one({"_id": -1, "n": 9})
        for query, asked in zip(queries, again, strict=True):
            snapshots = [query.next(SOON_S)]
            expected = asked.get().to_list()
            while snapshots[-1].docs != expected:
                snapshots.append(query.next(SOON_S))
            assert not any(snapshot.coalesced for snapshot in snapshots)
            commits = [snapshot.commit for snapshot in snapshots]
            assert commits == sorted(set(commits))


@pytest.mark.parametrize("seed", range(2))
def test_live_queries_amid_processes_and_threads_that_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seed: int
) -> None:
    monkeypatch.setattr(live_window, "SLACK", 0)
    assert run_together(seed, 40, str(tmp_path / "d")) > 500


def test_a_writer_killed_between_commit_and_bell_reaches_live_queries(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d") as db:
        seen: list[Any] = []
        heard = threading.Event()

        def note(snapshot: Any) -> None:
            seen.append(len(snapshot))
            if len(seen) == 2:
                heard.set()

        db["a"].watch(on_change=note)
        writer = start(KILLED, tmp_path / "d", 1)
        assert heard.wait(SOON_S)
        assert writer.wait(SOON_S) == -signal.SIGKILL
        writer.communicate()
        assert seen == [0, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_live_queries_stay_with_their_process(tmp_path: Path) -> None:
    script = """
        import os, sys, docdb
        db = docdb.open(sys.argv[1])
        inherited = db["a"].where({}).watch()
        inherited.next(30)
        seen = []
        db["a"].watch(on_change=seen.append)
        pid = os.fork()
        if pid == 0:
            try:
                inherited.try_next()
            except docdb.InvalidOperation:
                inherited.close()
                own = db["a"].where({}).watch()
                own.next(30)
                db["a"].insert_one({"_id": 1})
                os._exit(len(own.next(30)))
            os._exit(9)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(code, len(inherited.next(30)), inherited.alive, flush=True)
        db.close()
    """
    child: Any = start("import warnings; warnings.simplefilter('ignore')\n" + textwrap.dedent(script), tmp_path / "d")
    assert child.communicate(timeout=SOON_S)[0] == "1 1 True\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(
    "lock", ["database._shared_mutex", "feeds.delivery._mutex", "feeds.waiting._mutex", "language.values._id_lock",
             "sessions.feeding._making"],
)  # fmt: skip
def test_a_child_waits_for_no_lock_that_a_thread_of_its_parent_held(tmp_path: Path, lock: str) -> None:
    script = f"""
        import os, signal, sys, threading, docdb, docdb.sessions.feeding
        with docdb.open(sys.argv[1]) as db, db["a"].where({{}}).watch(print):
            held, done = threading.Event(), threading.Event()

            def hold():
                with docdb.{lock}:
                    held.set()
                    done.wait(30)

            threading.Thread(target=hold).start()
            held.wait(30)
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                came = threading.Event()
                docdb.open(":memory:")
                watcher = db["a"].where({{}}).watch(lambda snapshot: snapshot.docs and came.set())
                db["a"].insert_one({{}})
                os._exit(not came.wait(30))
            done.set()
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.exit(code)
    """
    child: Any = start("import warnings; warnings.simplefilter('ignore')\n" + textwrap.dedent(script), tmp_path / "d")
    child.communicate(timeout=SOON_S)
    assert child.returncode == 0
