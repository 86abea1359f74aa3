"""YCSB's core workloads A to F (Cooper et al., "Benchmarking Cloud Serving Systems with YCSB", SoCC 2010).

A record is a key and ten texts of 100 characters; requests follow the scrambled zipfian distribution (D: the latest records). Each workload
is run by one thread, by eight threads, and by four processes; what is told is wall time divided by operations, and for docdb the median and the 99th
percentile of an operation. Every write is durable when it returns, for every contestant.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.report import Row, Times
from benchmarks.rivals.records import CONTESTANTS
from benchmarks.workloads import Settings
from benchmarks.zipf import Zipfian, scrambled

ROUNDS: Final = 3
FIELDS: Final = [f"field{n}" for n in range(10)]
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
LONGEST_SCAN: Final = 100
SHAPES: Final = {"1 thread": (1, 1), "8 threads": (1, 8), "4 processes": (4, 1)}  # processes, threads of each


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the operations in percent; the rest are reads."""

    about: str
    update: int = 0
    insert: int = 0
    scan: int = 0
    modify: int = 0
    latest: bool = False


MIXES: Final = {
    "a": Mix("update heavy: half reads, half updates", update=50),
    "b": Mix("read mostly: 5% updates", update=5),
    "c": Mix("read only"),
    "d": Mix("read latest: 5% inserts", insert=5, latest=True),
    "e": Mix("short ranges: 95% scans, 5% inserts", scan=95, insert=5),
    "f": Mix("read, modify, write: half of them", modify=50),
}


@dataclass(frozen=True, slots=True)
class Work:
    """What one worker does: all that another process must be told."""

    contestant: str
    folder: Path
    mix: Mix
    records: int
    operations: int
    worker: int
    workers: int
    round: int
    seed: int


class Stage:
    """A folder with the loaded contestants; the workloads run one after the other on what those before left, as YCSB's do."""

    def __init__(self, settings: Settings) -> None:
        self.records, self.seed = settings.documents, settings.seed
        self.operations = max(400, settings.documents // 10)
        self.folder = Path(tempfile.mkdtemp(prefix="docdb-ycsb-"))
        self.rounds = 0
        for maker in CONTESTANTS.values():
            contestant = maker(self.folder)
            chance = random.Random(settings.seed)
            contestant.load((key_of(n), record(chance)) for n in sorted(range(self.records), key=key_of))
            contestant.close()

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def key_of(number: int) -> str:
    """Return the key of a record: its number hashed, so that neighbours in time are none in order."""
    return f"user{scrambled(number, 2**63):019d}"


def record(chance: random.Random) -> dict[str, str]:
    """Return ten texts of 100 characters."""
    return {field: text(chance) for field in FIELDS}


def text(chance: random.Random) -> str:
    """Return 100 characters."""
    return "".join(chance.choices(LETTERS, k=100))


def plan(task: Work) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the operations of one worker, method and arguments, drawn before the clock runs."""
    chance = random.Random(f"{task.seed} {task.round} {task.worker}")
    zipfian = Zipfian(task.records, chance)
    mix, inserted, found = task.mix, 0, []
    first = task.records + task.round * task.operations * task.workers
    value = text(chance)
    for _ in range(task.operations):
        rank, drawn, field = zipfian(), chance.random() * 100, chance.choice(FIELDS)
        if not mix.latest:
            key = key_of(scrambled(rank, task.records))
        elif rank < inserted:
            key = key_of(first + task.worker + (inserted - 1 - rank) * task.workers)
        else:
            key = key_of(max(0, task.records - 1 - (rank - inserted)))
        if drawn < mix.insert:
            new = key_of(first + task.worker + inserted * task.workers)
            found.append(("insert", (new, dict.fromkeys(FIELDS, value))))
            inserted += 1
        elif (drawn := drawn - mix.insert) < mix.update:
            found.append(("update", (key, field, value)))
        elif (drawn := drawn - mix.update) < mix.scan:
            found.append(("scan", (key, chance.randint(1, LONGEST_SCAN))))
        elif (drawn := drawn - mix.scan) < mix.modify:
            found.append(("modify", (key, field, value)))
        else:
            found.append(("read", (key,)))
    return found


def work(contestant: Any, operations: list[tuple[str, tuple[Any, ...]]]) -> list[float]:
    """Carry out the operations; return the seconds each took. What is read must be there."""
    spent = []
    for name, arguments in operations:
        began = time.perf_counter()
        if name == "modify":
            answer = contestant.read(arguments[0])
            contestant.update(*arguments)
        else:
            answer = getattr(contestant, name)(*arguments)
        spent.append(time.perf_counter() - began)
        assert answer or name in ("insert", "update"), f"{name} of {arguments[0]} found nothing"
    return spent


def _process(task: Work, threads: int, begin: Any, answers: Any) -> None:
    contestant = CONTESTANTS[task.contestant](task.folder)
    plans = [plan(replace(task, worker=task.worker + at)) for at in range(threads)]
    found: list[list[float]] = [[] for _ in plans]

    def run(at: int) -> None:
        found[at] = work(contestant, plans[at])

    workers = [threading.Thread(target=run, args=(at,)) for at in range(threads)]
    begin.wait()
    began = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ended = time.monotonic()
    contestant.close()
    answers.put((began, ended, [value for part in found for value in part]))


def measure(stage: Stage, name: str, mix: Mix, shape: tuple[int, int]) -> tuple[float, list[float]]:
    """Return microseconds of wall time an operation, and the seconds of each operation."""
    processes, threads = shape
    workers = processes * threads
    spawn = multiprocessing.get_context("spawn")
    begin, answers = spawn.Barrier(processes), spawn.Queue()
    each = max(50, stage.operations // workers)
    children = []
    for at in range(processes):
        task = Work(
            name, stage.folder, mix, stage.records, each, at * threads, workers, stage.rounds, stage.seed
        )  # fmt: skip
        children.append(spawn.Process(target=_process, args=(task, threads, begin, answers)))
    for child in children:
        child.start()
    found = [answers.get(timeout=600) for _ in children]
    for child in children:
        child.join()
    wall = max(ended for _, ended, _ in found) - min(began for began, _, _ in found)
    spent = [value for _, _, part in found for value in part]
    return wall / len(spent) * 1e6, spent


def _workload(letter: str, mix: Mix) -> Callable[[Stage], list[Row]]:
    def run(stage: Stage) -> list[Row]:
        rows = []
        for title, shape in SHAPES.items():
            times: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
            own: list[float] = []
            for _ in range(ROUNDS):
                for name in CONTESTANTS:
                    mean, spent = measure(stage, name, mix, shape)
                    times[name].append(mean)
                    own += spent if name == "docdb" else []
                stage.rounds += 1
            row = Row(f"YCSB {letter.upper()}, {title}", "us", Times(times))
            cuts = statistics.quantiles(own, n=100)
            row.note = f"docdb's operations: median {cuts[49] * 1e6:.1f} us, 99th percentile {cuts[98] * 1e6:.0f} us"
            rows.append(row)
        return rows

    run.__doc__ = f"{mix.about.capitalize()}."
    return run


WORKLOADS: Final = {f"ycsb_{letter}": _workload(letter, mix) for letter, mix in MIXES.items()}
