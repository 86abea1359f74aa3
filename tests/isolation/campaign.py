"""Processes that work on one database and are killed meanwhile; their histories go to the checker.

What lives here: ``Campaign`` and ``run``. What it must not know: what the transactions do, and what is wrong with a history.

Each process has two threads and two asyncio tasks, so that group commits hold several callers; each writes its history to a file of its own. With
``interrupts`` every second process does, in the place of the tasks, transactions on its main thread, where SIGINT hits it at random moments: one that is
interrupted is left as it is, but what an interrupted commit says of itself (``committed``) is written down as its outcome, and must be true. Progress is
counted in shared memory: it tells which generation of keys is in use, when a process is to be killed (SIGKILL, at a random moment) or interrupted, and when
it is done. A killed one is started again and goes on with the rest.
"""

from __future__ import annotations

import asyncio
import importlib
import mmap
import os
import pkgutil
import random
import shutil
import signal
import struct
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import docdb
from docdb import aio
from tests.isolation.checker import Verdict, check
from tests.isolation.driver import MANAGED, Lane, finish, new_values, run_alone, run_lane_async
from tests.isolation.histories import Recorder, read_files
from tests.isolation.workloads import set_up

__all__ = ["Campaign", "Result", "run"]

EACH: Final = 250  # transactions that share a generation of keys
LOOK_S: Final = 0.002
THREADS: Final = ("a", "b")
TASKS: Final = ("x", "y")


def load_everything() -> None:
    """Load all modules now: an interruption in the middle of an import may leave its lock taken for ever, which is Python's affair (``importlib``)."""
    for name in ("items", "predicates"):
        importlib.import_module(f"tests.isolation.{name}")
    for module in pkgutil.walk_packages(docdb.__path__, "docdb."):
        if not module.name.endswith(("__main__", "pytest_plugin")):
            importlib.import_module(module.name)


class Progress:
    """Counts of begun transactions, one for each process, in memory that all share. Each lane of a process adds under that process's lock."""

    def __init__(self, processes: int) -> None:
        self._counts = mmap.mmap(-1, 8 * processes)
        self._processes = processes
        self._lock = threading.Lock()

    def of(self, process: int) -> int:
        number: int = struct.unpack_from("q", self._counts, 8 * process)[0]
        return number

    def total(self) -> int:
        return sum(self.of(process) for process in range(self._processes))

    def take(self, process: int, quota: int) -> bool:
        """Count one more; False when the process has done its part."""
        with self._lock:
            number = self.of(process)
            if number >= quota:
                return False
            struct.pack_into("q", self._counts, 8 * process, number + 1)
            return True


@dataclass
class Result:
    """How a campaign went."""

    verdict: Verdict
    kills: int
    interrupts: int
    worked_s: float
    checked_s: float
    ways: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = self.verdict.counts
        rate = counts["transactions"] / self.worked_s
        ways = ", ".join(f"{way} {count}" for way, count in sorted(self.ways.items()))
        return (
            f"{self.verdict}\n{self.kills} kills, {self.interrupts} interrupts, {rate:.0f} attempts a second, "
            f"{100 * counts['failed'] / counts['transactions']:.1f}% failed, worked {self.worked_s:.0f} s, checked in {self.checked_s:.0f} s\n{ways}"
        )


class Campaign:
    """One campaign in a folder."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        transactions: int,
        processes: int,
        kills: int,
        interrupts: int,
        options: dict[str, Any],
    ) -> None:
        self.folder = folder
        self.path = folder / "db"
        self.seed = seed
        self.quota = -(-transactions // processes)
        self.processes = processes
        self.kills = kills
        self.options = options
        self.progress = Progress(processes)
        self.chance = random.Random(seed)
        self.interrupts = interrupts
        self.started = 0  # processes started so far

    def run(self) -> Result:
        """Work, kill, look, judge."""
        load_everything()
        with docdb.open(self.path, **self.options) as db:
            set_up(db)
        began = time.monotonic()
        self._work()
        worked = time.monotonic() - began
        with docdb.open(self.path, **self.options) as db:
            problems = db.check().problems
            assert problems == [], f"seed {self.seed}: {problems[:5]}"
            finish(db, self._recorder("last"), self.progress.total() // EACH + 1)
        began = time.monotonic()
        history = read_files(sorted(self.folder.glob("*.history")))
        verdict = check(history)
        ways: dict[str, int] = {}
        for transaction in history:
            ways[transaction.way] = ways.get(transaction.way, 0) + 1
        return Result(verdict, self.kills, self.interrupts, worked, time.monotonic() - began, ways)

    def _recorder(self, name: str) -> Recorder:
        return Recorder.to_file(self.folder / f"{name}.history", name)

    def _work(self) -> None:
        alive = {self._start(process): process for process in range(self.processes)}
        total = self.quota * self.processes
        moments = sorted(self.chance.randrange(total // 20, total) for _ in range(self.kills))
        signals = sorted(self.chance.randrange(total // 20, total) for _ in range(self.interrupts))
        try:
            while alive:
                time.sleep(LOOK_S)
                while moments and self.progress.total() >= moments[0] and alive:
                    del moments[0]
                    time.sleep(self.chance.random() * 4 * LOOK_S)
                    self._kill(alive, self.chance.choice(sorted(alive)))
                while signals and self.progress.total() >= signals[0] and alive:
                    del signals[0]
                    time.sleep(self.chance.random() * LOOK_S)
                    for pid, process in alive.items():
                        if process % 2:
                            os.kill(pid, signal.SIGINT)
                for pid in list(alive):
                    ended, status = os.waitpid(pid, os.WNOHANG)
                    if ended:
                        del alive[pid]
                        assert status == 0, f"seed {self.seed}: a process ended with {status}"
        finally:
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        self.kills -= len(moments)
        self.interrupts -= len(signals)

    def _kill(self, alive: dict[int, int], pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        process = alive.pop(pid)
        _, status = os.waitpid(pid, 0)
        assert status in (0, signal.SIGKILL), f"seed {self.seed}: a process ended by itself with {status}"
        alive[self._start(process)] = process

    def _start(self, process: int) -> int:
        self.started += 1
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the child has a handler for it
        pid = os.fork()
        if pid:
            signal.signal(signal.SIGINT, before)
            return pid
        try:
            self._be(process, self.started)
        except BaseException:
            os.write(2, traceback.format_exc().encode())
            os._exit(3)
        os._exit(0)

    def _be(self, process: int, number: int) -> None:
        """Be a process."""
        recorder = self._recorder(f"p{process}n{number}")
        fresh = new_values(number << 32)
        errors: list[BaseException] = []
        with docdb.open(self.path, **self.options) as db:

            def lane(name: str) -> Lane:
                return Lane(
                    name, db, recorder, f"{self.seed}/{number}", fresh, lambda: self.progress.total() // EACH, MANAGED
                )

            def goes_on() -> bool:
                return not errors and self.progress.take(process, self.quota)

            def guarded(work: Callable[[], None]) -> None:
                try:
                    work()
                except BaseException as error:
                    errors.append(error)

            def by_hand(name: str) -> None:
                mine = lane(name)
                while goes_on():
                    run_alone(mine.transaction())

            threads = [threading.Thread(target=guarded, args=(lambda name=name: by_hand(name),)) for name in THREADS]

            def on_main_thread() -> None:
                mine = lane("m")
                mine.interrupted = True
                armed = [False]

                def interrupt(number: int, frame: Any) -> None:
                    if armed[0]:
                        raise KeyboardInterrupt

                signal.signal(signal.SIGINT, interrupt)
                while goes_on():
                    try:
                        armed[0] = True
                        run_alone(mine.transaction())
                        armed[0] = False
                    except KeyboardInterrupt:
                        armed[0] = False

            async def tasks() -> None:
                async with aio.AsyncDatabase(db) as database:  # whose end closes the database
                    await asyncio.gather(*(run_lane_async(lane(name), database, goes_on) for name in TASKS))
                    for thread in threads:
                        await asyncio.to_thread(thread.join)

            for thread in threads:
                thread.start()
            if self.interrupts and process % 2:
                guarded(on_main_thread)
            else:
                guarded(lambda: asyncio.run(tasks()))
            for thread in threads:
                thread.join()
        for error in errors:
            raise error


def run(
    seed: int,
    transactions: int,
    processes: int,
    kills: int,
    keep: str | None = None,
    *,
    interrupts: int = 0,
    **options: Any,
) -> Result:
    """Run a campaign in a temporary folder, or in ``keep``, which stays. Raises AssertionError with the seed when a process fails."""
    folder = Path(keep) if keep is not None else Path(tempfile.mkdtemp(prefix="docdb-isolation-"))
    folder.mkdir(exist_ok=True)
    try:
        return Campaign(folder, seed, transactions, processes, kills, interrupts, options).run()
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
