"""How news arrives: by the bell alone, by the look alone, from writers killed between the two; never before the commit can be read."""

from __future__ import annotations

import asyncio
import itertools
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
from docdb.engine import bell as bells
from docdb.store.catalog import State

SOON_S = 60.0
ROOT = Path(__file__).resolve().parents[2]
NEVER_S = 10_000.0


@pytest.fixture
def db(tmp_path: Path) -> Iterator[docdb.Database]:
    """Give a database on disk."""
    with docdb.open(tmp_path / "d", durability="relaxed") as database:
        database["a"].insert_one({"_id": -1})
        yield database


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; the test fails when it is not soon."""
    until = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.002)


# Each is given what to call with the id of an inserted document, begins to listen, and returns what ends it.


def _stream(db: docdb.Database, note: Callable[[Any], None]) -> Callable[[], None]:
    stream = db["a"].changes(operations="insert")
    threading.Thread(target=lambda: [note(change.id) for change in stream], daemon=True).start()
    return stream.close


def _iterator(db: docdb.Database, note: Callable[[Any], None]) -> Callable[[], None]:
    query = db["a"].where({"_id": {"$gte": 0}}).watch()
    query.next()

    def read() -> None:
        for snapshot in query:
            for change in snapshot.doc_changes:
                note(change.doc_id)

    threading.Thread(target=read, daemon=True).start()
    return query.close


def _callback(db: docdb.Database, note: Callable[[Any], None]) -> Callable[[], None]:
    newest = db["a"].where({"_id": {"$gte": 0}}).order_by("_id", "desc").limit(1)
    return newest.watch(on_change=lambda snapshot: [note(document["_id"]) for document in snapshot.docs]).close


def _asynchronous(db: docdb.Database, note: Callable[[Any], None]) -> Callable[[], None]:
    begun = threading.Event()
    query = db["a"].where({"_id": {"$gte": 0}}).watch()

    async def read() -> None:
        async for snapshot in query:
            for change in snapshot.doc_changes:
                note(change.doc_id)
            begun.set()

    threading.Thread(target=lambda: asyncio.run(read()), daemon=True).start()
    assert begun.wait(SOON_S)
    return query.close


def _consumer(db: docdb.Database, note: Callable[[Any], None]) -> Callable[[], None]:
    consumer = db.consume("c", lambda change, t: note(change.id), collection="a", operations="insert")
    wait_for(lambda: consumer.state == "running")
    return consumer.close


def _trigger(db: docdb.Database, note: Callable[[Any], None]) -> Callable[[], None]:
    trigger = db.trigger("a", "insert", lambda change: note(change.id), name="t")
    wait_for(lambda: trigger.state == "running")
    return trigger.close


LISTENERS = [_asynchronous, _callback, _consumer, _iterator, _stream, _trigger]
each = pytest.mark.parametrize("listen", LISTENERS, ids=lambda listen: listen.__name__[1:])

WRITER = """
    import os, signal, sys, docdb
    how = sys.argv[2]
    with docdb.open(sys.argv[1], durability="relaxed") as db:
        if how != "ringing":
            db._store.bell.herald = lambda number, **_: None
        if how == "killed":
            db._store.writer._committed = lambda batch: os.kill(os.getpid(), signal.SIGKILL)
        for line in sys.stdin:
            db["a"].insert_one({"_id": int(line)})
"""


def say(writer: subprocess.Popen[str], number: int) -> None:
    assert writer.stdin is not None
    writer.stdin.write(f"{number}\n")
    writer.stdin.flush()


@each
def test_by_the_bell_alone(db: docdb.Database, monkeypatch: pytest.MonkeyPatch, listen: Any) -> None:
    """Nobody looks by himself; another process commits, and its ring is enough, each time."""
    monkeypatch.setattr(db._store.bell, "poll_s", NEVER_S)
    monkeypatch.setattr("docdb.sessions.following.PASS_S", NEVER_S)
    heard: list[Any] = []
    end = listen(db, heard.append)
    writer = start(WRITER, db.path, "ringing")
    for number in range(20):
        say(writer, number)
        wait_for(lambda number=number: heard == list(range(number + 1)))
    writer.communicate()
    end()


@each
@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_by_the_look_alone(db: docdb.Database, monkeypatch: pytest.MonkeyPatch, listen: Any, where: str) -> None:
    """The bell of whoever commits is silent."""
    heard: list[Any] = []
    end = listen(db, heard.append)
    monkeypatch.setattr(type(db._store.bell), "herald", lambda bell, number, **_: None)
    monkeypatch.setattr(type(db._store.bell), "ring", _only_nudges)
    writer = start(WRITER, db.path, "silent")
    commit = {
        "here": lambda number: db["a"].insert_one({"_id": number}),
        "elsewhere": lambda number: say(writer, number),
    }
    for number in range(5):
        commit[where](number)
        wait_for(lambda number=number: heard == list(range(number + 1)))
    monkeypatch.undo()
    writer.communicate()
    end()


def _only_nudges(bell: Any, number: int, **_: Any) -> None:
    if number == bell.value() ^ 0x80000000:
        bell._form.ring(bell._memory, number & 0xFFFFFFFF)


def test_all_hear_of_writers_killed_between_commit_and_bell(db: docdb.Database) -> None:
    heard: dict[str, list[Any]] = {listen.__name__: [] for listen in LISTENERS}
    ends = [listen(db, heard[listen.__name__].append) for listen in LISTENERS]
    for number in range(5):
        writer = start(WRITER, db.path, "killed")
        say(writer, number)
        assert writer.wait(SOON_S) == -signal.SIGKILL
        writer.communicate()
        wait_for(lambda number=number: all(found == list(range(number + 1)) for found in heard.values()))
    for end in ends:
        end()
    assert db.check().ok


def test_a_commit_can_be_read_when_its_bell_rings(db: docdb.Database) -> None:
    """What is watched instead of a bell, the data file, tells of commits that cannot be read yet."""
    bell, found = db._store.bell, []
    heard_all = threading.Event()

    def listen() -> None:
        seen = bell.value()
        while not heard_all.is_set():
            bell.wait(seen, 0.01)
            seen = bell.value()
            with db._store.snapshot() as snapshot:
                found.append((seen & 0x7FFFFFFF, State.read(snapshot.txn).last_commit))

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    writer = start(WRITER, db.path, "ringing")
    for number in range(300):
        say(writer, number)
        db["a"].insert_one({"_id": -2 - number})
    writer.communicate()
    heard_all.set()
    listener.join(SOON_S)
    assert len({rung for rung, _ in found}) > 50
    assert [(rung, last) for rung, last in found if last < rung] == []


def test_a_process_that_cannot_ring_or_be_rung_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no futex is, and where the file of the bell cannot be written."""
    monkeypatch.setattr(bells, "_form", bells._Condition)
    with docdb.open(tmp_path / "d", durability="relaxed") as db:
        assert db._store.bell.poll_s == bells.BLIND_POLL_S
        heard: list[Any] = []
        end = _callback(db, heard.append)
        writer = start(WRITER, db.path, "ringing")
        for number in range(5):
            say(writer, number)
            wait_for(lambda number=number: heard == list(range(number + 1)))
        writer.communicate()
        end()


# Beginning amid the writes of other processes

COUNTING = """
    import sys, docdb
    with docdb.open(sys.argv[1], durability="relaxed") as db:
        for n in range(int(sys.argv[2]), 1_000_000_000, 2):
            db["a"].insert_one({"_id": n, "n": n})
            if n % 10 < 2:
                db["a"].doc(n - 8).remove()
            if sys.argv[3] in db.list_collection_names():
                break
"""


def test_queries_that_begin_amid_other_processes_have_no_gap_and_nothing_twice(tmp_path: Path) -> None:
    """Each begins with the result of some commit, and tells of every commit behind it; replayed from the log, both are what they should be."""
    with docdb.open(tmp_path / "d", durability="relaxed") as db:
        writers = [start(COUNTING, db.path, first, "stop") for first in (0, 1)]
        wait_for(lambda: db["a"].count_documents({}) > 20)
        queries = []
        for _ in range(10):
            queries += [db["a"].where({}).watch(), db["a"].where({}).order_by("_id", "desc").limit(3).watch()]
            time.sleep(0.02)
        db.create_collection("stop")
        assert [writer.wait(SOON_S) for writer in writers] == [0, 0]
        for writer in writers:
            writer.communicate()
        db["a"].insert_one({"_id": 10**9})
        found = []
        for query in queries:
            found.append([query.next(SOON_S)])
            while not any(document["_id"] == 10**9 for document in found[-1][-1].docs):
                found[-1].append(query.next(SOON_S))
        states, state = {}, {}
        everything = iter(db["a"].changes(from_="oldest").try_next, None)
        for commit, changes in itertools.groupby(everything, lambda change: change.commit):
            for change in changes:
                state = {**state, change.id: change.after} if change.detail is None else state
            state = {id: after for id, after in state.items() if after is not None}
            states[commit] = sorted(state)
    for at, snapshots in enumerate(found):
        begin = snapshots[0].commit
        shown = [ids[:-4:-1] if at % 2 else ids for commit, ids in states.items() if commit >= begin]
        expected = [ids for ids, before in zip(shown, [None, *shown], strict=False) if ids != before]
        assert [[document["_id"] for document in snapshot.docs] for snapshot in snapshots] == expected
        assert not any(snapshot.coalesced for snapshot in snapshots)
    assert len({snapshots[0].commit for snapshots in found}) > 2


# Stored positions

READING = """
    import os, signal, sys, docdb
    folder, place = sys.argv[1:]
    with docdb.open(folder, durability="relaxed") as db:
        stored = open(place).read().splitlines()
        after = stored[-1].split()[0] if stored else None
        stream = db["a"].changes(operations="insert", resume_after=after, from_="now" if stored else "oldest")
        with open(place, "a") as file:
            for _ in range(7):
                change = stream.next(30)
                file.write(f"{change.position} {change.id}\\n")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_stored_position_goes_on_in_another_process(db: docdb.Database, tmp_path: Path) -> None:
    """One reader after the other is killed behind storing where it has got to, while others write."""
    place = tmp_path / "place"
    place.touch()
    writer = start(WRITER, db.path, "ringing")
    for turn in range(4):
        for number in range(7 * turn, 7 * turn + 7):
            say(writer, number)
        reader = start(READING, db.path, place)
        assert reader.wait(SOON_S) == -signal.SIGKILL
        reader.communicate()
    writer.communicate()
    told = [line.split() for line in place.read_text().splitlines()]
    assert [int(id) for _, id in told] == [-1, *range(27)]
    assert len({position for position, _ in told}) == 28
