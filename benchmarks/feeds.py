"""Change streams and live queries: from a commit to who waits for it, and what those who wait cost the writer.

``python -m benchmarks run feeds [--documents N]`` (N live queries, where a row speaks of 100,000). Times are medians of rounds in which the contestants take
turns; the times of single events are told as median and 99th percentile. A commit counts from the moment it is durable and visible: LMDB's commit has
returned, and its writer has told nobody.
"""

from __future__ import annotations

import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docdb
from benchmarks.report import Row, Times
from benchmarks.workload import documents
from benchmarks.workloads import Settings
from docdb.feeds.predicates import PredicateIndex
from docdb.language import filters
from docdb.store import codec

EVENTS = 1_000
PAUSE_S = 0.002  # between commits whose way to a callback is measured
WRITES = 50  # in a round
ROUNDS = 30
MANY_ROUNDS = 120  # where some microseconds of 350 are to be seen
SETTLE_S = 0.02  # between rounds: the hub of the one before is done
REPLAYED = 200_000
OWN = "docdb"


class Stage:
    """A folder that goes with the stage, and how many live queries are meant by many."""

    def __init__(self, settings: Settings) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="docdb-bench-feeds-"))
        self.queries = settings.documents
        self._opened = 0

    @contextmanager
    def database(self, **options: Any) -> Iterator[Any]:
        """Open a fresh database."""
        self._opened += 1
        with docdb.open(self.folder / f"{self._opened}.docdb", **options) as db:
            yield db

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


# ---- from commit to callback


def callback(stage: Stage) -> Row:
    """From a commit to a live query's callback in the same process."""
    with stage.database() as db:
        arrived: dict[int, float] = {}
        with db["messages"].where({"room": 1}).watch(_noting(arrived)):
            sent = _write_slowly(db)
            _wait_for(lambda: len(arrived) >= EVENTS)
    return _latency("commit to callback, same process", sent, arrived, 50, 500)


def callback_elsewhere(stage: Stage) -> Row:
    """From a commit to a live query's callback in another process."""
    context = multiprocessing.get_context("spawn")
    with stage.database() as db:
        ours, theirs = context.Pipe()
        listener = context.Process(target=_listen, args=(str(db.path), theirs))
        listener.start()
        ours.recv()
        sent = _write_slowly(db)
        arrived = ours.recv()
        listener.join()
    return _latency("commit to callback, another process", sent, arrived, 100, 1_000)


def _listen(path: str, pipe: Any) -> None:
    arrived: dict[int, float] = {}
    with docdb.open(path) as db, db["messages"].where({"room": 1}).watch(_noting(arrived)):
        pipe.send(None)
        _wait_for(lambda: len(arrived) >= EVENTS)
    pipe.send(arrived)


def _noting(arrived: dict[int, float]) -> Callable[[Any], None]:
    """Return a callback that notes when each message came."""

    def note(snapshot: Any) -> None:
        at = time.monotonic()  # one clock for all processes
        for change in snapshot.doc_changes:
            arrived[change.doc["n"]] = at

    return note


def _write_slowly(db: Any) -> list[float]:
    """Commit messages with a pause between; return when each was durable."""
    heralds: list[Any] = []
    bell, messages = db._store.bell, db["messages"]
    herald = bell.herald

    def noting(number: int, **options: Any) -> Any:
        heralds.append(herald(number, **options))
        return heralds[-1]

    bell.herald = noting
    for n in range(EVENTS):
        messages.doc(n % 50).set({"room": 1, "n": n})
        time.sleep(PAUSE_S)
    del bell.herald
    return [told.settled_ns / 1e9 for told in heralds]


def _wait_for(reached: Callable[[], bool], most_s: float = 60.0) -> None:
    until = time.monotonic() + most_s
    while not reached():
        if time.monotonic() > until:
            raise TimeoutError("the events did not come")
        time.sleep(0.01)


def _latency(title: str, sent: list[float], arrived: dict[int, float], median: float, high: float) -> Row:
    times = [(arrived[n] - at) * 1e6 for n, at in enumerate(sent)]
    last = _percentile(times)
    row = Row(title, "us", Times({OWN: times}))
    row.mark = f"{median:,.0f} us, 99th percentile {high:,.0f} us"
    row.met = statistics.median(times) <= median and last <= high
    row.note = f"99th percentile {last:,.0f} us, of {len(times):,} commits"
    return row


def _percentile(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


# ---- what a write pays


def many(stage: Stage) -> Row:
    """A write with many different live queries, of which it concerns one, against the same write with none and with one.

    Two files are written to with different speed, by up to 15 us, as long as they live. So the same writes are measured before there are any queries, and
    what the files differ by then is taken out.
    """
    with stage.database() as alone, stage.database() as one, stage.database() as watched:
        databases = {"no live query": alone, "1 live query": one, OWN: watched}
        before = _against(databases, "", MANY_ROUNDS)
        queries = _watch_owners(one, 1) + _watch_owners(watched, stage.queries)
        row = _against(databases, f"a write with {stage.queries:,} live queries", MANY_ROUNDS)
        assert watched.stats()["feeds"]["live_queries"]["open"] == len(queries) - 1
    by_files, by_one, by_many = (
        found.times[name] - found.times["no live query"]
        for found, name in ((before, OWN), (row, "1 live query"), (row, OWN))
    )
    by_one -= before.times["1 live query"] - before.times["no live query"]
    more = by_many - by_files
    row.mark, row.met = "10 us more than with none", more <= 10
    row.note = f"{more:+.1f} us ({by_many:+.1f}, and {by_files:+.1f} before), with one {by_one:+.1f} us{row.note}"
    return row


def nobody(stage: Stage) -> Row:
    """A write that nobody waits for, against the same write with the bell switched off (without feeds there is no index)."""
    with stage.database() as quiet, stage.database() as plain:
        quiet._store.bell.herald = lambda number, **_: None
        row = _against({"bell off": quiet, OWN: plain}, "a write with no watcher, trigger or consumer")
        del quiet._store.bell.herald
    factor = row.times[OWN] / row.times["bell off"]
    row.mark, row.met = "10% more", factor <= 1.1
    row.note = f"{(factor - 1) * 100:+.1f}%{row.note}"
    return row


def blocked(stage: Stage) -> Row:
    """A write while consumers are slow, crashed, blocked or forgotten, against the same write with none; and what the file grows by."""
    with stage.database(history_bytes=2**20) as alone, stage.database(history_bytes=2**20) as burdened:
        release = threading.Event()
        held = [*_bad_consumers(burdened, release)]
        databases = {"no consumer": alone, OWN: burdened}
        _against(databases, "")  # the history has its full length
        before = {name: db.stats()["storage"]["file_bytes"] for name, db in databases.items()}
        row = _against(databases, f"a write with {len(held)} bad consumers")
        grown = {name: (db.stats()["storage"]["file_bytes"] - before[name]) // 1024 for name, db in databases.items()}
        release.set()
    factor = row.times[OWN] / row.times["no consumer"]
    row.mark, row.met = "flat", factor <= 1.1 and grown[OWN] <= grown["no consumer"] + 1_024
    sizes = ", ".join(f"{name} {size:,} KiB" for name, size in grown.items())
    row.note = f"{factor:.2f}x, files grew by: {sizes}{row.note}"
    return row


def _bad_consumers(db: Any, release: threading.Event) -> Iterator[Any]:
    messages = db["messages"]

    def block(snapshot: Any) -> None:
        if snapshot.id:
            release.wait()

    def crash(snapshot: Any) -> None:
        if snapshot.id:
            raise RuntimeError("this consumer fails")

    for n in range(5):
        yield messages.where({"owner": n}).watch(block)
        yield messages.where({"owner": n}).watch(crash, lambda error: None)
        yield messages.where({"owner": n}).watch()  # read once, then forgotten
        yield messages.changes()
        started = messages.changes()
        started.try_next()
        yield started


def _watch_owners(db: Any, count: int) -> list[Any]:
    messages = db["messages"]
    return [messages.where({"owner": n}).watch() for n in range(count)]


def _against(databases: dict[str, Any], title: str, rounds_of_each: int = ROUNDS) -> Row:
    """Write to each in turn, so that the machine's moods fall on all alike; the note tells the 99th percentiles and the processor's time."""
    single: dict[str, list[float]] = {name: [] for name in databases}
    rounds: dict[str, list[float]] = {name: [] for name in databases}
    spent: dict[str, list[float]] = {name: [] for name in databases}
    for turn in range(rounds_of_each + 1):
        for name, db in sorted(databases.items(), reverse=turn % 2 == 1):  # whose turn comes second is a little slower
            messages = db["messages"]
            used = time.process_time()
            times = []
            for n in range(WRITES):
                began = time.perf_counter()
                messages.doc(n).set({"owner": n, "turn": turn})
                times.append((time.perf_counter() - began) * 1e6)
            time.sleep(SETTLE_S)
            if turn:  # the first makes the documents
                rounds[name].append(statistics.median(times))
                single[name] += times
                spent[name].append((time.process_time() - used) / WRITES * 1e6)
    last = ", ".join(f"{name} {_percentile(times):,.0f}" for name, times in single.items())
    used = ", ".join(f"{name} {statistics.median(each):.0f}" for name, each in spent.items())
    return Row(title, "us", Times(rounds), note=f"; 99th percentiles: {last} us; processor of all threads: {used} us")


def index(stage: Stage) -> list[Row]:
    """Ask the predicate index which queries a change concerns: of 1,000, 100,000 and 1,000,000."""
    shapes: dict[str, tuple[Callable[[int], Any], Callable[[int], Any]]] = {
        "equality": (lambda n: {"owner": n}, lambda n: {"owner": n}),
        "two equalities": (
            lambda n: {"owner": n % 300, "room": n // 300}, lambda n: {"owner": n % 300, "room": n // 300}
        ),
        "range": (lambda n: {"owner": {"$gte": 10 * n, "$lt": 10 * n + 10}}, lambda n: {"owner": 10 * n + 5}),
        "array membership": (lambda n: {"tags": f"tag{n}"}, lambda n: {"tags": ["all", f"tag{n}"]}),
    }  # fmt: skip
    return [_ask_index(name, *shape) for name, shape in shapes.items()]


def _ask_index(name: str, condition: Callable[[int], Any], change: Callable[[int], Any]) -> Row:
    times: dict[str, float] = {}
    for count in (1_000, 100_000, 1_000_000):
        each, note = ask_index(count, condition, change)
        times[f"{count:,} queries"] = statistics.median(each)
    row = Row(f"which of many queries a change concerns, {name}", "us", times)
    factor = times["1,000,000 queries"] / times["1,000 queries"]
    row.note = f"{factor:.2f}x from 1,000 to 1,000,000, {note}"
    if name == "equality":
        row.mark, row.met = "flat, 10 us", factor <= 2 and times["1,000,000 queries"] <= 10
    return row


def ask_index(count: int, condition: Callable[[int], Any], change: Callable[[int], Any]) -> tuple[list[float], str]:
    """Return microseconds a change with so many queries, and a note on the 99th percentile and the memory."""
    asked = PredicateIndex()
    for n in range(count):
        asked.add(n, filters.parse(condition(n)))
    images = [
        (number, codec.encode(document), codec.encode({**document, "visits": 0}))
        for at, document in enumerate(documents(1_000))
        for number in [at * 7_919 % count]
        for document in [document | change(number)]
    ]
    each: list[float] = []
    for _ in range(5):
        for number, before, after in images:
            began = time.perf_counter()
            found = asked.candidates(before, after)
            each.append((time.perf_counter() - began) * 1e6)
            assert found == [number]
    size = (asked.stats()["bytes"] or 0) / count
    return each, f"99th percentile {_percentile(each):.1f} us, {size:.0f} bytes a query"


# ---- reading the log, memory


def replay(stage: Stage) -> Row:
    """Replay the change log through a change stream."""
    with stage.database(history_bytes=2**31) as db:
        for start in range(0, REPLAYED, 10_000):
            db["docs"].insert_many(documents(10_000, seed=start))
        rates, used = [], []
        for _ in range(5):
            with db.changes(from_="oldest") as stream:
                began, spent = time.perf_counter(), time.process_time()
                seen = 0
                while stream.try_next() is not None:
                    seen += 1
                rates.append((time.perf_counter() - began) / seen * 1e6)
                used.append((time.process_time() - spent) / seen * 1e6)
                assert seen > REPLAYED
    row = Row("replay of the change log, per change", "us", Times({OWN: rates}))
    row.mark, row.met = "100,000 a second (10 us)", row.times[OWN] <= 10
    row.note = f"{1e6 / row.times[OWN]:,.0f} a second; processor {statistics.median(used):.2f} us a change"
    return row


def memory(stage: Stage) -> Row:
    """Memory of many live queries with one matching document each, above the open database."""
    with stage.database() as db:
        for start in range(0, stage.queries, 10_000):
            db["docs"].insert_many([{"_id": n, "owner": n, "text": "x" * 60} for n in range(start, start + 10_000)])
        db["docs"].create_index("owner")
        path = db.path
    script = (
        "import docdb, gc, sys\n"
        "def own():\n"
        "    gc.collect()\n"
        "    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('RssAnon'))\n"
        "count = int(sys.argv[2])\n"
        "with docdb.open(sys.argv[1]) as db:\n"
        "    docs = db['docs']; docs.where({'owner': 1}).watch().try_next(); before = own()\n"
        "    queries = [docs.where({'owner': n}).watch() for n in range(count)]\n"
        "    assert [query.try_next().docs[0]['_id'] for query in queries] == list(range(count))\n"
        "    print(own() - before)\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", script, str(path), str(stage.queries)], check=True, capture_output=True, text=True
    )
    row = Row(
        f"memory of {stage.queries:,} live queries, a document each", "MB", {OWN: int(output.stdout) * 1024 / 1e6}
    )
    row.mark, row.met = "150 MB for 100,000", row.times[OWN] <= 150 * stage.queries / 100_000
    return row


WORKLOADS: dict[str, Callable[[Stage], Row | list[Row]]] = {
    "callback": callback, "callback_elsewhere": callback_elsewhere, "many": many, "nobody": nobody, "blocked": blocked,
    "index": index, "replay": replay, "live_memory": memory,
}  # fmt: skip
