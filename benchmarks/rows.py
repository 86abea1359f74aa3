"""The rows of the table: what is measured, against whom, and the mark.

Each row returns microseconds a unit for every contestant, the median of several rounds in which the contestants take turns, so that a
drift of the machine's speed falls on all alike.
"""

from __future__ import annotations

import gzip
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import Row, Times
from benchmarks.rivals.by_hand import ByHand
from benchmarks.rivals.docdb_itself import Docdb
from benchmarks.rivals.sqlite_jsonb import SqliteJsonb
from benchmarks.stage import Stage as AnyStage
from benchmarks.text import FTS5
from benchmarks.text import measure as measure_text
from benchmarks.workloads import Settings

POSTGRES = "PostgreSQL jsonb"
CITIES = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "cities.json.gz"


class Stage(AnyStage):
    """The contestants of the table; PostgreSQL and DuckDB take part where they are installed."""


def get(stage: Stage) -> Row:
    """Get by ``_id`` as dict."""
    chosen = random.Random(2).sample([d["_id"] for d in stage.documents], min(5_000, len(stage.documents)))
    times = stage.rounds(lambda c: sum(c.get(id)["age"] for id in chosen), len(chosen))
    return _against_hand(Row("get by _id as dict", "us", times), 1.8)


def range_(stage: Stage) -> Row:
    """Read 100 documents through an index, in its order."""
    starts = random.Random(3).sample(range(900), 50)
    times = stage.rounds(lambda c: sum(len(c.range(age, 100)) for age in starts), len(starts))
    return _against_hand(Row("100 documents through an index", "us", times), 2.5)


def first(stage: Stage) -> Row:
    """Find one document by the value of an indexed field."""
    ages = random.Random(4).choices([d["age"] for d in stage.documents], k=2_000)
    times = stage.rounds(lambda c: sum(c.first(age)["age"] for age in ages), len(ages))
    row = _against_hand(Row("one document by an indexed field", "us", times), 0.0)
    row.mark, row.met = "", None  # there is none
    return row


def filter_(stage: Stage) -> Row:
    """Count by an unindexed filter."""
    times = stage.rounds(lambda c: c.filter("city123", 5_000), len(stage.documents), rounds=5)
    return _against_sqlite(Row("unindexed filter, per document", "us", times), 3.5, 2.0)


def top(stage: Stage) -> Row:
    """Find the ten documents with the highest score, without an index."""
    times = stage.rounds(lambda c: c.top(10), len(stage.documents), rounds=5)
    return _against_sqlite(Row("top 10 of an unindexed sort, per document", "us", times), 2.5)


def group(stage: Stage) -> Row:
    """Sum a field by the values of another."""
    times = stage.rounds(lambda c: c.group(), len(stage.documents), rounds=5)
    return _against_sqlite(Row("group by + sum, per document", "us", times), 4.0, 2.5)


def _against_sqlite(row: Row, mark: float, postgres: float | None = None) -> Row:
    own = row.times[Docdb.name]
    factor = row.times[SqliteJsonb.name] / own
    row.mark, row.met = f"{mark}x SQLite JSONB", factor >= mark
    row.note = f"{factor:.1f}x SQLite, {row.times[ByHand.name] / own:.1f}x by hand"
    if POSTGRES in row.times:
        other = row.times[POSTGRES] / own
        row.note += f", {other:.1f}x PostgreSQL"
        if postgres is not None:
            row.mark += f", {postgres}x PostgreSQL"
            row.met = row.met and other >= postgres
    return row


def load(stage: Stage) -> Row:
    """Bulk load with two indexes; the median of three fresh databases each."""
    times = {name: [value] for name, value in stage.loaded.items()}
    for _ in range(2):
        again = Stage(Settings(len(stage.documents)))
        for name, value in again.loaded.items():
            times[name].append(value)
        again.close()
    row = Row("bulk load with two indexes, per document", "us", Times(times))
    return _against_hand(row, 1.0)


def update(stage: Stage) -> Row:
    """Change one document durably."""
    ids = [d["_id"] for d in random.Random(4).sample(stage.documents, 300)]
    fresh = {
        c.name: iter(range(1_000_000, 10_000_000)) for c in stage.contestants
    }  # an update that changes nothing is not written
    times = stage.rounds(lambda c: [c.update(id, next(fresh[c.name])) for id in ids], len(ids), rounds=7)
    row = Row("one durable update", "us", times)
    factor = times[Docdb.name] / times[ByHand.name]
    row.mark, row.met, row.note = "within 15% of by hand", factor <= 1.15, f"{factor:.2f} of by hand"
    return row


def writers(stage: Stage) -> Row:
    """Sixteen writers at once: callers a storage commit."""
    contestant = next(c for c in stage.contestants if isinstance(c, Docdb))
    ids = [d["_id"] for d in random.Random(5).sample(stage.documents, 1600)]
    before = contestant.db.stats()["writer"]
    began = time.perf_counter()
    threads = [
        threading.Thread(target=lambda part: [contestant.update(id, 77_000_000) for id in part], args=(ids[i::16],))
        for i in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - began
    after = contestant.db.stats()["writer"]
    callers = (after["callers"] - before["callers"]) / max(1, after["storage_commits"] - before["storage_commits"])
    row = Row("16 writers at once, per durable update", "us", {Docdb.name: spent / len(ids) * 1e6})
    row.mark, row.met, row.note = "8 callers a storage commit", callers >= 8, f"{callers:.1f} callers a commit"
    return row


def import_(stage: Stage) -> Row:
    """``import docdb`` in a fresh interpreter, above the interpreter's own start."""
    row = Row("import docdb", "ms", {Docdb.name: (_interpreter("import docdb") - _interpreter("pass")) * 1e3})
    row.mark, row.met = "60 ms", row.times[Docdb.name] <= 60
    return row


def open_(stage: Stage) -> Row:
    """Open a database of many documents."""
    import docdb

    folder = Path(tempfile.mkdtemp(prefix="docdb-bench-"))
    count = 1_000_000
    with docdb.open(folder / "big.docdb", history_bytes=2**20) as db:
        for start in range(0, count, 50_000):
            db["docs"].insert_many([{"_id": i, "n": i} for i in range(start, start + 50_000)])
    times = []
    for _ in range(9):
        began = time.perf_counter()
        db = docdb.open(folder / "big.docdb")
        times.append((time.perf_counter() - began) * 1e3)
        db.close()
    shutil.rmtree(folder)
    row = Row("open a database of 1,000,000 documents", "ms", {Docdb.name: statistics.median(times)})
    row.mark, row.met = "10 ms", row.times[Docdb.name] <= 10
    return row


def memory(stage: Stage) -> Row:
    """Growth of the process's own memory while an unindexed filter runs over many documents."""
    import docdb

    count = 1_000_000
    folder = Path(tempfile.mkdtemp(prefix="docdb-bench-"))
    with docdb.open(folder / "big.docdb", history_bytes=2**20) as db:
        for start in range(0, count, 50_000):
            db["docs"].insert_many([{"_id": i, "n": i, "text": "x" * 200} for i in range(start, start + 50_000)])
    script = (
        "import docdb, sys\n"
        "def own():\n"
        "    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('RssAnon'))\n"
        "with docdb.open(sys.argv[1]) as db:\n"
        "    docs = db['docs']; docs.count_documents({'n': {'$lt': 10}}); before = own()\n"
        "    assert sum(1 for d in docs.find({'n': {'$gte': 500_000}})) == 500_000\n"
        "    print(own() - before)\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", script, str(folder / "big.docdb")], check=True, capture_output=True, text=True
    )
    shutil.rmtree(folder)
    grown = int(output.stdout) / 1024
    row = Row(
        "memory grown by an unindexed find over 1,000,000 documents, 500,000 returned", "MiB", {Docdb.name: grown}
    )
    row.mark, row.met = "flat (8 MiB)", grown <= 8
    return row


def cities(stage: Stage) -> Row:
    """Import the real cities with two indexes."""
    import docdb

    if not CITIES.exists():
        return Row("import of 171,075 real cities, two indexes", "ms", note="skipped: the data is not here")
    with gzip.open(CITIES, "rt") as file:
        rows = json.load(file)
    folder = Path(tempfile.mkdtemp(prefix="docdb-bench-"))
    with docdb.open(folder / "cities.docdb") as db:
        db["cities"].create_index([("country", 1), ("name", 1)])
        db["cities"].create_index("name")
        began = time.perf_counter()
        db["cities"].insert_many(rows)
        spent = time.perf_counter() - began
    shutil.rmtree(folder)
    return Row(
        "import of 171,075 real cities, two indexes",
        "ms",
        {Docdb.name: spent * 1e3},
        note=f"{spent / len(rows) * 1e6:.1f} us a document",
    )


def geography(stage: Stage) -> Row:
    """Real cities within 25 km of one of them."""
    from benchmarks.geography import measure

    title = "171,075 cities, those within 25 km"
    measured = measure()
    if measured is None:
        return Row(title, "us", note="skipped: the data is not here")
    times, note = measured
    return Row(title, "us", times, note=note)


def _against_hand(row: Row, factor: float) -> Row:
    reached = row.times[ByHand.name] / row.times[Docdb.name]
    row.mark, row.met, row.note = f"{factor}x by hand", reached >= factor, f"{reached:.2f}x by hand"
    return row


def _interpreter(code: str) -> float:
    times = []
    for _ in range(9):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _text(place: int, about: str) -> Callable[[Stage], Row]:
    def row(stage: Stage) -> Row:
        title, unit, times = measure_text(len(stage.documents))[place]
        found = Row(title, unit, dict(times))
        found.note = f"{times[FTS5] / times[Docdb.name]:.2f}x {FTS5}"
        return found

    row.__doc__ = about
    return row


WORKLOADS: dict[str, Callable[[Stage], Row]] = {
    "get": get, "range": range_, "first": first, "filter": filter_, "group": group, "top": top, "load": load, "update": update, "writers": writers,
    "import": import_, "open": open_, "memory": memory, "cities": cities,
    "geography": geography,
    "text_build": _text(0, "Build a text index."), "text_rare": _text(1, "Search for a rare word."),
    "text_frequent": _text(2, "Search for a frequent word."), "text_two": _text(3, "Search for both."),
}  # fmt: skip
