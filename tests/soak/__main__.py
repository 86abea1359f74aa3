"""``python -m tests.soak --minutes 10 --seed 1``: mixed load, watched.

Processes of all roles work on one database; victims are killed every second or so and replaced. Every few seconds memory, open files and threads of
every lasting process, the data file and the number of files are written down. It fails when a process complains, ends, or does nothing for a minute; when a
measure is not flat over the second half; when at the end the checker finds something, a sum is wrong, or an acknowledged commit is missing.
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
import traceback
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import docdb
from tests.faults.crash import child
from tests.soak import roles
from tests.soak.board import Board, Worker
from tests.soak.watch import Series, folder_facts, process_facts

LASTING: Final = ("writer", "writer", "transactor", "reader", "live", "consumer", "caller", "administrator")
VICTIMS: Final = 2
SETTLED_S: Final = (
    120.0  # in a shorter run the change log has not reached its cap by the half, and the data file still grows
)
STILL_S: Final = 60.0  # a process that has done nothing for so long hangs
END_S: Final = 60.0


@dataclass
class Process:
    """A running worker."""

    worker: Worker
    pid: int
    done: int = 0
    moved_s: float = 0.0


class Soak:
    """One run: ``problems`` is empty when all is well."""

    def __init__(self, folder: Path, seconds: float, seed: int, every_s: float) -> None:
        self.folder, self.seconds, self.seed, self.every_s = folder, seconds, seed, every_s
        self.path = folder / "soak.docdb"
        self.chance = random.Random(seed)
        self.board = Board()
        self.problems: list[str] = []
        self.series: dict[tuple[str, str], Series] = {}
        self.kills: Counter[int] = Counter()
        self.processes: list[Process] = []
        self.lasted_s = 0.0

    def run(self) -> None:
        """Do everything."""
        roles.prepare(str(self.path))
        names = [*LASTING, *["victim"] * VICTIMS]
        self.processes = [self.start(number, role) for number, role in enumerate(names)]
        began = time.monotonic()
        sample_s = kill_s = began
        while not self.problems and (now := time.monotonic()) < began + self.seconds:
            time.sleep(0.05)
            if now >= kill_s:
                kill_s = now + 0.3 + self.chance.random() * 1.7
                self.kill(self.chance.choice([p for p in self.processes if p.worker.role == "victim"]))
            if now >= sample_s:
                sample_s = now + self.every_s
                self.sample(now - began)
        self.lasted_s = time.monotonic() - began
        self.end()
        self.judge()

    def start(self, number: int, role: str) -> Process:
        """Fork a worker."""
        worker = Worker(number, role, str(self.path), self.folder, self.board, self.seed)
        return Process(worker, child(partial(work, worker)), moved_s=time.monotonic())

    def kill(self, victim: Process) -> None:
        """Kill a victim and start another in its place."""
        os.kill(victim.pid, signal.SIGKILL)
        _, status = os.waitpid(victim.pid, 0)
        if not os.WIFSIGNALED(status):
            self.problems.append(self.complaint(victim))
        self.kills[victim.worker.number] += 1
        shutil.rmtree(victim.worker.file("backup"), ignore_errors=True)
        self.processes[victim.worker.number] = self.start(victim.worker.number, "victim")

    def sample(self, time_s: float) -> None:
        """Write down everything; look for who ended or hangs."""
        for process in self.processes:
            if process.worker.role == "victim":
                continue
            if os.waitpid(process.pid, os.WNOHANG)[0]:
                self.problems.append(self.complaint(process))
                return
            done = self.board.get(process.worker.slot)
            if done != process.done:
                process.done, process.moved_s = done, time.monotonic()
            elif time.monotonic() - process.moved_s > STILL_S:
                self.problems.append(
                    f"{process.worker.role} {process.worker.number} has done nothing for {STILL_S:.0f} s"
                )
            self.note(f"{process.worker.role} {process.worker.number}", time_s, process_facts(process.pid))
        self.note("folder", time_s, folder_facts(self.path))

    def note(self, who: str, time_s: float, facts: dict[str, float]) -> None:
        for measure, value in facts.items():
            self.series.setdefault((who, measure), Series(measure)).add(time_s, value)

    def complaint(self, process: Process) -> str:
        """Return what a process that ended by itself left."""
        file = process.worker.file("complaint")
        return (
            file.read_text(encoding="utf-8")
            if file.exists()
            else f"{process.worker.role} {process.worker.number} ended"
        )

    def end(self) -> None:
        """Stop all: the lasting by asking, the victims by killing."""
        self.board.stop()
        until = time.monotonic() + END_S
        for process in self.processes:
            if process.worker.role == "victim":
                os.kill(process.pid, signal.SIGKILL)
                self.kills[process.worker.number] += 1
            status = self.wait(process, until)
            if process.worker.role != "victim" and status != 0:
                self.problems.append(self.complaint(process))

    def wait(self, process: Process, until_s: float) -> int:
        """Return how a process ended; one that does not end is killed and reported."""
        while True:
            try:
                pid, status = os.waitpid(process.pid, os.WNOHANG)
            except ChildProcessError:  # it had ended before
                return 1
            if pid:
                return status
            if time.monotonic() > until_s:
                self.problems.append(f"{process.worker.role} {process.worker.number} does not end")
                os.kill(process.pid, signal.SIGKILL)
                os.waitpid(process.pid, 0)
                return 0
            time.sleep(0.01)

    def judge(self) -> None:
        """Look at the series and at what is left."""
        self.problems += [
            f"{who} is not flat: {series.told()}"
            for (who, measure), series in self.series.items()
            if not series.flat() and (measure != "data MiB" or self.seconds >= SETTLED_S)
        ]
        with roles.opened(str(self.path)) as db:
            self.problems += [f"the checker: {text}" for text in db.check().problems]
            try:
                roles.look_once(db, self.chance)
            except AssertionError as error:
                self.problems.append(f"at the end: {error}")
            self.counters(db)
            self.mirror(db)
            before = folder_facts(self.path)["data MiB"]
            db.compact()
            self.problems += [f"the checker after compaction: {text}" for text in db.check().problems]
            if folder_facts(self.path)["data MiB"] > before:
                self.problems.append("compaction made the file larger")
        left = [
            path.name
            for path in self.folder.iterdir()
            if path != self.path and path.suffix != ".lost" and "victim" not in path.name
        ]
        if left:
            self.problems.append(f"left behind: {left}")

    def counters(self, db: docdb.Database) -> None:
        """Compare what writers were acknowledged with what is there: a kill may hide the acknowledgement of one."""
        for process in self.processes:
            number = process.worker.number
            found = (db["counters"].find_one({"_id": f"writer{number}"}) or {"n": 0})["n"]
            acknowledged = process.worker.acknowledged()
            if not acknowledged <= found <= acknowledged + self.kills[number]:
                self.problems.append(
                    f"writer {number}: {acknowledged} acknowledged, {found} there, killed {self.kills[number]} times"
                )

    def mirror(self, db: docdb.Database) -> None:
        """Let the consumer catch up and compare its mirror."""
        if list(self.folder.glob("*.lost")):
            return
        with db.consume("mirror", roles.mirror, collection="accounts", batch=100) as consumer:
            if not consumer.catch_up(END_S):
                self.problems.append("the consumer does not catch up")
        accounts, mirrored = list(db["accounts"].find()), list(db["mirror"].find())
        if accounts != mirrored:
            self.problems.append("the consumer's mirror is not what was mirrored")

    def told(self) -> str:
        """Return what was done and how everything went."""
        done: Counter[str] = Counter()
        for process in self.processes:
            done[process.worker.role] += self.board.get(process.worker.slot)
        lines = [
            f"{self.lasted_s:.0f} s, seed {self.seed}, kills {sum(self.kills.values())}, work done: "
            + ", ".join(f"{role} {count:,}" for role, count in sorted(done.items()))
        ]
        lines += [f"    {who:18} {series.told()}" for (who, _), series in self.series.items()]
        return "\n".join(lines)


def work(worker: Worker) -> None:
    """Be a worker; whatever it raises is written down."""
    try:
        roles.ROLES[worker.role](worker)
    except BaseException:
        text = f"{worker.role} {worker.number} complains:\n{traceback.format_exc()}"
        worker.file("complaint").write_text(text, encoding="utf-8")
        raise


def soak(seconds: float, seed: int, every_s: float) -> Soak:
    """Run a soak in a folder of its own, which goes with it when all is well."""
    folder = Path(tempfile.mkdtemp(prefix="docdb-soak-"))
    found = Soak(folder, seconds, seed, every_s)
    found.run()
    if not found.problems:
        shutil.rmtree(folder)
    return found


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="mixed load, watched for what grows")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    found = soak(chosen.minutes * 60, chosen.seed, every_s=min(5.0, max(0.5, chosen.minutes * 60 / 120)))
    print(found.told())
    print(*found.problems, sep="\n", end="\n" if found.problems else "")
    print(
        f"soak: {'FAILED, the database is kept in ' + str(found.folder) if found.problems else 'all flat, checker clean'}"
    )
    return bool(found.problems)


if __name__ == "__main__":
    sys.exit(main())
