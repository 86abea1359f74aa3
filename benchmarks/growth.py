"""How costs grow with the number of documents: from 10,000 on, ten times as many each step, up to ``--documents``.

The databases grow, they are not made anew: what is measured at a step happens in a file that has been written to for a while. docdb, hand-written lmdb +
msgpack and SQLite JSONB hold the same documents of 300 bytes with two indexes; docdb's files also hold the change log, at most 256 MiB of it.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.feeds import ask_index
from benchmarks.report import Row, Times
from benchmarks.rivals.by_hand import ByHand
from benchmarks.rivals.docdb_itself import Docdb
from benchmarks.rivals.sqlite_jsonb import SqliteJsonb
from benchmarks.workload import documents
from benchmarks.workloads import Settings

SMALLEST: Final = 10_000
BATCH: Final = 10_000
ROUNDS: Final = 5
SAMPLE: Final = 2_000
FILES: Final = {Docdb.name: "docs.docdb", ByHand.name: "hand", SqliteJsonb.name: "docs.sqlite"}


class Stage:
    """The contestants; ``rows`` measures every step once, and the workloads pick theirs out."""

    def __init__(self, settings: Settings) -> None:
        self.sizes = [SMALLEST]
        while self.sizes[-1] * 10 <= settings.documents:
            self.sizes.append(self.sizes[-1] * 10)
        if settings.documents < SMALLEST:
            self.sizes = [max(1, settings.documents // 10), settings.documents]
        self.settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="docdb-growth-"))
        self.contestants: list[Any] = [maker(self.folder) for maker in (Docdb, ByHand, SqliteJsonb)]
        self.chance = random.Random(settings.seed)
        self.ids: list[str] = []  # a sample of those that are there
        self.count = 0
        self.measured: list[Row] = []

    def rows(self) -> list[Row]:
        """Return all points of all curves."""
        if not self.measured:
            for size in self.sizes:
                self.measured += [self.insert(size), *self.ask(size), self.file(size), live(size)]
        return self.measured

    def insert(self, size: int) -> Row:
        """Grow to a size, in commits of 10,000 documents; the last ones count."""
        times: dict[str, list[float]] = {contestant.name: [] for contestant in self.contestants}
        while self.count < size:
            made = documents(min(BATCH, size - self.count), self.settings.seed + self.count, first=self.count)
            for contestant in self.contestants:
                gc.collect()
                began = time.perf_counter()
                contestant.load(made)
                times[contestant.name].append((time.perf_counter() - began) / len(made) * 1e6)
            self.count += len(made)
            self.ids += [
                document["_id"] for document in self.chance.sample(made, max(1, len(made) * SAMPLE // self.sizes[-1]))
            ]
        return point(
            "insert, two indexes, per document", "us", size, Times({name: each[-20:] for name, each in times.items()})
        )

    def ask(self, size: int) -> list[Row]:
        """Ask the questions of the other groups."""
        ids = self.chance.choices(self.ids, k=SAMPLE)
        ages = self.chance.sample(range(900), 20)
        return [
            point("get by _id", "us", size, self.rounds(lambda c: sum(c.get(id)["age"] for id in ids), len(ids))),
            point("100 documents through an index", "us", size, self.rounds(lambda c: sum(len(c.range(age, 100)) for age in ages), len(ages))),
            point("count by an unindexed filter, per document", "us", size, self.rounds(lambda c: c.filter("city123", 5_000), size)),
        ]  # fmt: skip

    def rounds(self, action: Callable[[Any], Any], units: int) -> Times:
        """Let the contestants take turns; their answers must be equal."""
        times: dict[str, list[float]] = {contestant.name: [] for contestant in self.contestants}
        for _ in range(ROUNDS if self.count < 5_000_000 else 2):
            answers = []
            for contestant in self.contestants:
                began = time.perf_counter()
                answers.append(action(contestant))
                times[contestant.name].append((time.perf_counter() - began) / units * 1e6)
            assert all(answer == answers[0] for answer in answers), "the contestants disagree"
        return Times(times)

    def file(self, size: int) -> Row:
        """Measure what the contestants take on the disk; SQLite's write-ahead log is brought home first."""
        list(self.contestants[2].run("pragma wal_checkpoint(truncate)"))
        found = {name: occupied(self.folder, prefix) / size for name, prefix in FILES.items()}
        row = point("file size, per document", "B", size, found)
        log = self.contestants[0].db.stats()["history"]["bytes"] / size
        row.note = f"{log:.0f} B of docdb's are change log"
        return row

    def close(self) -> None:
        """Close everything and remove the folder."""
        for contestant in self.contestants:
            contestant.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def live(size: int) -> Row:
    """Ask which of so many live queries a change concerns."""
    times, note = ask_index(size, lambda n: {"owner": n}, lambda n: {"owner": n})
    rounds = [statistics.median(times[at : at + 1_000]) for at in range(0, len(times), 1_000)]
    row = point("which of as many live queries a change concerns", "us", size, Times({Docdb.name: rounds}))
    row.note = f"{size:,} queries, {note}"
    return row


def point(curve: str, unit: str, size: int, times: dict[str, float]) -> Row:
    """Return a row that is a point of a curve."""
    return Row(f"{curve}: {size:,} documents", unit, times, curve=curve, size=size)


def occupied(folder: Path, prefix: str) -> int:
    """Return the bytes that the files and folders of a prefix take on the disk."""
    paths = [Path(where) / name for where, _, names in os.walk(folder) for name in names]
    return sum(path.stat().st_blocks * 512 for path in paths if str(path.relative_to(folder)).startswith(prefix))


def _curve(curve: str, about: str) -> Callable[[Stage], list[Row]]:
    def run(stage: Stage) -> list[Row]:
        return [row for row in stage.rows() if row.curve == curve]

    run.__doc__ = about
    return run


WORKLOADS: Final[dict[str, Callable[[Any], list[Row]]]] = {
    "growth_get": _curve("get by _id", "Get by ``_id`` in larger and larger databases."),
    "growth_range": _curve("100 documents through an index", "Read 100 documents through an index."),
    "growth_insert": _curve("insert, two indexes, per document", "Insert in commits of 10,000."),
    "growth_count": _curve("count by an unindexed filter, per document", "Count by an unindexed filter."),
    "growth_live": _curve(
        "which of as many live queries a change concerns", "Ask the predicate index of live queries."
    ),
    "growth_size": _curve("file size, per document", "Measure the files."),
}
