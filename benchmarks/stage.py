"""A stage: contestants loaded with the same documents, taking turns.

What lives here: ``Stage``. A rival that is not installed, or cannot start, leaves a note and the others go on. What it must not know: what is asked.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from benchmarks.report import Row, Times
from benchmarks.rivals import Absent, find
from benchmarks.workload import documents
from benchmarks.workloads import Settings

__all__ = ["LONGEST_S", "Stage"]

LONGEST_S: Final = 20.0  # a contestant that has used so much of a workload takes no further turns


class Stage:
    """All contestants, loaded with the same documents, in a folder that goes with it."""

    rivals: ClassVar[Sequence[str]] = ("docdb", "hand", "sqlite", "duckdb", "postgres")

    def __init__(self, settings: Settings) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="docdb-bench-"))
        self.settings = settings
        self.documents = self.make()
        self.loaded: dict[str, float] = {}
        self.contestants: list[Any] = []
        makers, self.notes = self.find()
        for maker in makers:
            try:
                contestant = maker(self.folder)
            except Absent as absent:
                self.notes.append(str(absent))
                continue
            began = time.perf_counter()
            contestant.load(self.documents)
            self.loaded[maker.name] = (time.perf_counter() - began) / len(self.documents) * 1e6
            self.contestants.append(contestant)

    def make(self) -> list[dict[str, Any]]:
        """Return the documents."""
        return documents(self.settings.documents, self.settings.seed)

    def find(self) -> tuple[list[type[Any]], list[str]]:
        """Return the contestants' classes, and notes about those that are not here."""
        return find(self.rivals)

    def rounds(self, action: Callable[[Any], Any], units: float, rounds: int = 7) -> Times:
        """Return the median of microseconds a unit by contestant; the answers of all must be equal."""
        times: dict[str, list[float]] = {contestant.name: [] for contestant in self.contestants}
        first: Any = None
        for turn in range(rounds):
            for contestant in self.contestants:
                spent = times[contestant.name]
                if sum(spent) * units / 1e6 > LONGEST_S:
                    continue
                began = time.perf_counter()
                answer = action(contestant)
                spent.append((time.perf_counter() - began) / units * 1e6)
                if turn == 0 and contestant is self.contestants[0]:
                    first = answer
                assert answer == first, f"{contestant.name} and {self.contestants[0].name} disagree"
        return Times(times)

    def ask(
        self, title: str, action: Callable[[Any], Any], *, marks: dict[str, float] | None = None, units: float = 0, unit: str = "us", rounds: int = 5,
    ) -> Row:  # fmt: skip
        """Return a row of one question: by document unless ``units`` says otherwise, with docdb's factor to every rival and the marks (rival -> factor)."""
        units = units or len(self.documents)
        row = Row(title, unit, self.rounds(action, units * (1 if unit == "us" else 1000), rounds))
        own = row.times["docdb"]
        factors = {name: time / own for name, time in row.times.items() if name != "docdb"}
        row.note = ", ".join(f"{factor:.2f}x {name}" for name, factor in sorted(factors.items()))
        wanted = {name: factor for name, factor in (marks or {}).items() if name in factors}
        if wanted:
            row.mark = ", ".join(f"{factor}x {name}" for name, factor in wanted.items())
            row.met = all(factors[name] >= factor for name, factor in wanted.items())
        return row

    def close(self) -> None:
        """Close everything and remove the folder."""
        for contestant in self.contestants:
            contestant.close()
        shutil.rmtree(self.folder, ignore_errors=True)
