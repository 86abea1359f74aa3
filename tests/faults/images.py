"""Images of crashes: ``python -m tests.faults.images --seed 1 --count 300``.

What lives here: the record of what a process wrote and flushed (record.c), the disks that a power cut at any place of it may leave, and the
judge. A cut falls between any two events. What was flushed is on the disk; of every 512-byte sector written since, any version may be: the old one or any
of the new ones, each sector for itself. So writes are lost, reordered and torn, but a sector is whole, which is what LMDB's meta pages need of a
disk. The file may end where it ended at the last flush or anywhere behind it that a kept write reaches.

Every image is opened: LMDB's pages are verified, the checker is clean, everything acknowledged before the cut is there (with relaxed durability all but the
last commit), and of what was under way all or nothing.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import docdb
from docdb.engine.lmdb import verify_file
from tests.faults import campaign

ROOT: Final = Path(__file__).resolve().parents[2]
HEAD: Final = struct.Struct("<c?6xQQ")
SECTOR: Final = 512
THREADS: Final = 4
ROUNDS: Final = 60  # of each thread
RECORDINGS: Final = [
    (engine, durability, script) for engine in campaign.ENGINES for durability in ("full", "relaxed") for script in ("alone", "together")
]  # fmt: skip


class Event(NamedTuple):
    """One event of a record: see record.c."""

    kind: str
    durable: bool
    first: int
    data: bytes


# ---- recording: this runs in a process that has record.c loaded


def play(folder: Path, engine: str, durability: str, script: str) -> None:
    """Do the script, marking what is done."""
    mark = ctypes.CDLL(None).docdb_record_mark
    with docdb.open(
        folder, native=engine == "native", durability=durability, history_bytes=campaign.HISTORY_BYTES
    ) as db:
        if script == "alone":
            for number in range(campaign.OPERATIONS):
                campaign.perform(db, *campaign.operation(number))
                mark(ctypes.c_long(number))
        else:
            threads = [threading.Thread(target=_work, args=(db, mark, thread)) for thread in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


def _work(db: docdb.Database, mark: Callable[[ctypes.c_long], Any], thread: int) -> None:
    for number in range(ROUNDS):
        write(db["items"], thread, number)
        mark(ctypes.c_long(thread * ROUNDS + number))


def write(items: Any, thread: int, number: int) -> None:
    """Do one operation of a thread that works beside others: its own document grows, and changes its place in the index."""
    items.update_one({"_id": thread}, {"$set": {"n": number, "text": "x" * (number * 97 % 5000)}}, upsert=True)


def record(folder: Path, engine: str, durability: str, script: str) -> list[Event]:
    """Run the script in a child with the recorder; return the events."""
    target, log = folder / "recorded-docdb", folder / "record"
    settings = {"LD_PRELOAD": str(recorder()), "DOCDB_RECORD": str(log), "DOCDB_RECORD_PATH": "recorded-docdb"}
    command = [sys.executable, "-m", "tests.faults.images", "--play", str(target), engine, durability, script]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    events = list(read(log.read_bytes()))
    shutil.rmtree(target)
    log.unlink()
    return events


def read(log: bytes) -> Iterator[Event]:
    """Yield the events of a record."""
    at = 0
    while at < len(log):
        kind, durable, first, size = HEAD.unpack_from(log, at)
        at += HEAD.size
        yield Event(kind.decode(), durable, first, log[at : at + size])
        at += size


@cache
def recorder() -> Path:
    """Return the built recorder."""
    from tests.faults.driver import built

    return built("record.c")


# ---- disks


@dataclass
class Disk:
    """What is certainly on the disk, and what was written since the last flush."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, int, bytes]] = field(default_factory=list)  # number of the write, offset, bytes
    writes: int = 0
    there: bool = False
    marks: list[int] = field(default_factory=list)

    def advance(self, event: Event) -> None:
        """Let an event be over."""
        if event.kind == "W":
            self.writes += 1
            self.pending.append((self.writes, event.first, event.data))
            if event.durable:
                self._settle(lambda number: number == self.writes)
        elif event.kind == "S":
            self._settle(lambda number: number <= event.first)
        elif event.kind == "T":
            raise AssertionError("the data file was cut: the images know nothing of that")
        elif event.kind == "R":
            self.there = True
        else:
            self.marks.append(event.first)

    def _settle(self, certain: Callable[[int], bool]) -> None:
        """Put what is certain on the disk."""
        left = []
        for number, offset, data in self.pending:
            if certain(number):
                over = [start for _, start, old in left if start < offset + len(data) and offset < start + len(old)]
                assert not over, "a certain write over an uncertain one: the images know nothing of that"
                put(self.durable, offset, data)
            else:
                left.append((number, offset, data))
        self.pending = left

    def image(self, chance: random.Random, under_way: Event | None) -> bytearray:
        """Return a disk that a power cut may leave now; ``under_way`` is the write it interrupts."""
        found = bytearray(self.durable)
        pending = [(offset, data) for _, offset, data in self.pending]
        if under_way is not None and under_way.kind == "W":
            pending.append((under_way.first, under_way.data))
        way = chance.choice(("writes", "sectors", "mostly", "prefix"))
        share = chance.random()
        if way == "prefix":  # in order, the last one torn
            whole = chance.randrange(len(pending) + 1)
            for offset, data in pending[:whole]:
                put(found, offset, data)
            for offset, data in pending[whole : whole + 1]:
                put(found, offset, data[: chance.randrange(0, len(data) + 1, SECTOR)])
            return found
        for offset, data in pending:
            if way == "writes":
                if chance.random() < share:
                    put(found, offset, data)
                continue
            kept = share if way == "sectors" else 0.97
            for start, piece in sectors(offset, data):
                if chance.random() < kept:
                    put(found, start, piece)
        return found


def put(disk: bytearray, offset: int, data: bytes) -> None:
    """Write to the disk; what lies between its end and the offset is zeros."""
    if len(disk) < offset + len(data):
        disk.extend(bytes(offset + len(data) - len(disk)))
    disk[offset : offset + len(data)] = data


def sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut a write at the borders of sectors."""
    at = offset
    while at < offset + len(data):
        end = min(offset + len(data), (at // SECTOR + 1) * SECTOR)
        yield at, data[at - offset : end - offset]
        at = end


# ---- judging


class Judge:
    """What may be found after the operations that were acknowledged."""

    def __init__(self, engine: str, durability: str, script: str) -> None:
        self.engine, self.durability, self.script = engine, durability, script
        self.states: list[campaign.State] = [({}, frozenset())]
        for number in range(campaign.OPERATIONS):
            self.states.append(campaign.after(self.states[-1], *campaign.operation(number)))

    def problems(self, folder: Path, marks: Sequence[int]) -> list[str]:
        """Return what is wrong with an image."""
        try:
            verify_file(folder / "data.mdb")
            with docdb.open(folder, native=self.engine == "native", history_bytes=campaign.HISTORY_BYTES) as db:
                found = {document["_id"]: document for document in db["items"].find()}
                indexes = frozenset(db["items"].index_information()) - {"_id_"}
                return list(db.check().problems) + self._state(found, indexes, marks)
        except docdb.DocdbError as raised:
            return [f"cannot be opened: {raised!r}"]

    def _state(self, found: dict[Any, Any], indexes: frozenset[str], marks: Sequence[int]) -> list[str]:
        late = self.durability == "relaxed"
        if self.script == "alone":
            done = len(marks)
            allowed = self.states[max(0, done - late) : done + 2]
            return (
                [] if (found, indexes) in allowed else [f"neither the state after {done} operations nor one beside it"]
            )
        lost = 0
        for thread in range(THREADS):
            done = max((mark % ROUNDS + 1 for mark in marks if mark // ROUNDS == thread), default=0)
            document = found.pop(thread, {"n": -1, "text": ""})
            has = document["n"] + 1
            lost += max(0, done - has)
            if has > done + 1 or has < done - late or (has and document["text"] != "x" * (document["n"] * 97 % 5000)):
                return [f"thread {thread} had {done} operations acknowledged, {has} are there"]
        return [f"strange documents {list(found)}"] if found else []


def campaign_of(recording: int, count: int, seed: int, flushes: bool = True) -> tuple[int, int, float, list[str]]:
    """Make and judge ``count`` images of one recording; return events, images, seconds and failures. With ``flushes`` False as if nothing had been flushed."""
    engine, durability, script = RECORDINGS[recording]
    chance = random.Random(f"{seed} {recording}")
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="docdb-images-", dir=where) as name:
        events = record(Path(name), engine, durability, script)
        if not flushes:
            events = [event._replace(durable=False) for event in events if event.kind != "S"]
        began = time.monotonic()
        there = next(at for at, event in enumerate(events) if event.kind == "R") + 1
        cuts = sorted(chance.choices(range(there, len(events) + 1), k=count))
        disk, judge, at = Disk(), Judge(engine, durability, script), 0
        for number, cut in enumerate(cuts):
            while at < cut:
                disk.advance(events[at])
                at += 1
            folder = Path(name) / f"image{number}"
            folder.mkdir()
            (folder / "data.mdb").write_bytes(disk.image(chance, events[cut] if cut < len(events) else None))
            for problem in judge.problems(folder, disk.marks):
                failures.append(
                    f"{engine} {durability} {script}, seed {seed}, image {number}, cut at event {cut}: {problem}"
                )
            shutil.rmtree(folder)
    return len(events), count, time.monotonic() - began, failures


def _of(task: tuple[int, int, int]) -> tuple[int, int, float, list[str]]:
    return campaign_of(*task)


def main() -> int:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.images", description="open what power cuts may leave")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--play", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.play:
        folder, *how = chosen.play
        play(Path(folder), *how)
        return 0
    recorder()
    share = -(-chosen.count // len(RECORDINGS))
    part = min(share, 500)  # a piece of work: a recording of its own, so that threads fall differently
    tasks = [
        (recording, min(part, share - start), chosen.seed * 1_000_003 + start)
        for start in range(0, share, part)
        for recording in range(len(RECORDINGS))
    ]
    began, images, bad, spent = time.monotonic(), 0, 0, 0.0
    with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool:
        for task, (events, count, seconds, failures) in zip(tasks, pool.imap(_of, tasks), strict=True):
            images, bad, spent = images + count, bad + len(failures), spent + seconds
            print(
                *RECORDINGS[task[0]],
                f"seed {task[2]}: {events} events, {count} images, {len(failures)} failures",
                flush=True,
            )
            print(*failures[:20], sep="\n", end="\n" if failures else "", flush=True)
    print(
        f"images: {images}, seed {chosen.seed}, {bad} failures, {time.monotonic() - began:.0f} s, {images / max(spent, 0.001):.0f} a second and process"
    )
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
