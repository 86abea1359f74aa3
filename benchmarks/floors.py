"""Physical limits: what a row of the table cannot be faster than on this machine, measured in the same run.

``python -m benchmarks run floors [--documents N] --write``. A floor is the same work without docdb: LMDB's calls in C on the same file (``floors.c``), flushes
of as many pages, a wake-up from thread to thread, the objects of a document. Each row says which part of docdb's time it is.

To add one: a function ``stage -> Row`` (or rows) that ends with ``floor_row``, and its name in ``WORKLOADS``. ``Floors`` holds the C loops.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final

import lmdb

from benchmarks import feeds
from benchmarks.report import Row, Times
from benchmarks.rivals.by_hand import ByHand
from benchmarks.rivals.docdb_itself import Docdb
from benchmarks.stage import Stage as AnyStage
from benchmarks.workloads import Settings
from docdb.engine.base import CATALOG, CHANGES, DOCUMENTS, ENTRIES, SPACES
from docdb.engine.bell import Bell
from docdb.store import codec
from docdb.store.catalog import Counters
from docdb.store.changes import END_INDEX, UPDATE, key_of, record
from docdb.store.keyspace import (
    STATE_KEY,
    collection_counters_key,
    component,
    document_key,
    index_counters_key,
    index_prefix,
)

FLOOR: Final = "floor"
OWN: Final = Docdb.name
MAP_BYTES: Final = 2**36
MOST_FOR_UPDATES: Final = 100_000  # as in the table of rows, whatever the other floors are measured on
APPEND, DELETE, READ = 1, 2, 4  # flags of a step in floors.c
META_BYTES: Final = 152  # of LMDB's meta page, written with a flush of its own
UPDATES: Final = 500
WAKES: Final = 1_000
PAUSE_S: Final = 0.002
ON_S: Final = 0.001  # how long a ringer that goes on does so


class Step(ctypes.Structure):
    """One call of LMDB within a commit."""

    _fields_: ClassVar = [
        ("space", ctypes.c_int), ("flags", ctypes.c_int), ("key", ctypes.c_char_p), ("value", ctypes.c_char_p),
        ("key_size", ctypes.c_size_t), ("value_size", ctypes.c_size_t),
    ]  # fmt: skip


@cache
def _library() -> tuple[Any, Any]:
    """Return floors.c built and loaded: to be called without and with the interpreter's lock."""
    folder = Path(tempfile.mkdtemp(prefix="docdb-floors-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    here = Path(__file__).parent
    headers = [sysconfig.get_paths()["include"], str(here.parent / "docdb" / "_native")]
    built = folder / "floors.so"
    command = [
        "cc",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Wno-unused-function",
        "-shared",
        "-fPIC",
        *(f"-I{header}" for header in headers),
    ]
    subprocess.run([*command, "-o", built, here / "floors.c", "-ldl"], check=True)
    free, held = ctypes.CDLL(str(built)), ctypes.PyDLL(str(built))
    free.floor_open.restype = ctypes.c_void_p
    free.floor_open.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]
    for function, kinds in (
        (free.floor_commit, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]),
        (free.floor_get, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]),
        (free.floor_range, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]),
        (free.floor_flush, [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, *[ctypes.c_size_t] * 2]),
        (held.floor_dicts, [ctypes.py_object]),
    ):
        function.argtypes, function.restype = kinds, ctypes.c_longlong
    free.floor_close.argtypes, free.floor_close.restype = [ctypes.c_void_p], None
    return free, held


class Floors:
    """LMDB in C on a copy of docdb's own file, with room at its end as docdb keeps it."""

    def __init__(self, db: Any, folder: Path, room_bytes: int = 0) -> None:
        self._free, self._held = _library()
        db.backup(folder, compact=False)
        with open(folder / "data.mdb", "r+b") as file:  # which the copy has left to the disk alone
            while file.read(2**20):
                pass
            file.write(bytes(room_bytes))
        names = (ctypes.c_char_p * len(SPACES))(*SPACES)
        extension = os.fsencode(lmdb.cpython.__file__)
        self._handle = self._free.floor_open(extension, os.fsencode(folder), names, MAP_BYTES)
        if not self._handle:
            raise RuntimeError("LMDB's functions are not where they were")

    def warm(self, keys: Sequence[bytes]) -> None:
        """Touch the pages of these documents, as whoever loaded or scanned them has."""
        self.get_us(keys)

    def commit_us(self, steps: Sequence[tuple[int, int, bytes, bytes]]) -> float:
        """Return what a durable commit of (space, flags, key, value) takes."""
        rows = (Step * len(steps))(*[(s, f, key, value, len(key), len(value)) for s, f, key, value in steps])
        return _checked(self._free.floor_commit(self._handle, rows, len(steps))) / 1e3

    def get_us(self, keys: Sequence[bytes]) -> float:
        """Return what getting a document takes, of these."""
        sizes = (ctypes.c_size_t * len(keys))(*map(len, keys))
        return _checked(self._free.floor_get(self._handle, b"".join(keys), sizes, len(keys))) / 1e3 / len(keys)

    def range_us(self, low: bytes, prefix: bytes, count: int) -> float:
        """Return what going along an index for so many documents takes."""
        return _checked(self._free.floor_range(self._handle, low, len(low), prefix, count)) / 1e3

    def dict_us(self, documents: list[dict[str, Any]]) -> float:
        """Return what making the objects of a document takes, of these."""
        return _checked(self._held.floor_dicts(documents)) / 1e3 / len(documents)

    def close(self) -> None:
        """Close the copy; twice is harmless."""
        handle, self._handle = self._handle, None
        if handle:
            self._free.floor_close(handle)


def _checked(answer: int) -> int:
    if answer < 0:
        raise RuntimeError(f"a floor ended with {answer}")
    return answer


class Stage(AnyStage):
    """docdb and the hand-written form with the same documents, and the C loops on a copy of docdb's."""

    rivals = ("docdb", "hand")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.own, self.hand = self.contestants
        self.floors = Floors(self.own.db, self.folder / "floors")
        self.number, self.index = _numbers(self.own.db)
        for contestant in self.contestants:
            contestant.filter("city123", 5_000)
        self.floors.warm(self.keys())

    def keys(self) -> list[bytes]:
        """Return the keys of all documents."""
        return [document_key(self.number, component(document["_id"])) for document in self.documents]

    def close(self) -> None:
        """Close everything and remove the folder."""
        self.floors.close()
        super().close()


def _numbers(db: Any) -> tuple[int, dict[str, int]]:
    """Return the number of the collection and those of its indexes by field."""
    info = db._store.collection("docs")
    return info.number, {index.keys[0][0][0]: index.number for index in info.indexes}


def floor_row(title: str, times: Times, note: str = "", unit: str = "us") -> Row:
    """Return a row that says which part of docdb's time the floor is, where docdb does the same."""
    row = Row(title, unit, times)
    part = [f"floor {times[FLOOR] / times[OWN]:.0%} of docdb"] if OWN in times else []
    row.note = ", ".join([*part, *filter(None, [note])])
    return row


# ---- one durable update


def update(stage: Stage) -> list[Row]:
    """The puts of a durable update in C, without and with the entries of two indexes; then flushes of as many pages alone."""
    small = Stage(Settings(min(len(stage.documents), MOST_FOR_UPDATES)))
    floors = Floors(small.own.db, small.folder / "updated", room_bytes=2**26)
    floors.warm(small.keys())
    try:
        fresh = itertools.count(1_000_000)
        first, pages = _updates(small, floors, lambda: {"visits": next(fresh)}, with_hand=True)
        both, more = _updates(small, floors, lambda: {"age": next(fresh), "email": f"{next(fresh)}@example.com"})
        counts = [round(pages[name]) for name in (OWN, ByHand.name)]
        flushed = _flushes(small, counts, lambda: {"visits": next(fresh)})
    finally:
        floors.close()
        small.close()
    part = first[FLOOR] / first[ByHand.name]
    rows = [
        floor_row("one durable update: its puts in C", first, f"{part:.2f} of by hand; {_pages(pages)}"),
        floor_row("one durable update of two indexed fields: its puts in C", both, _pages(more)),
    ]
    for name, count in zip((OWN, ByHand.name), counts, strict=True):
        times = Times({OWN: flushed[0], FLOOR: flushed[count]})
        rows.append(floor_row(f"one durable update: writing and flushing {count} pages ({name}'s) alone", times))
    return rows


def _pages(pages: dict[str, float]) -> str:
    return "pages a commit: " + ", ".join(f"{name} {count:.1f}" for name, count in pages.items())


def _updates(
    stage: Stage, floors: Floors, fields: Callable[[], dict[str, Any]], *, with_hand: bool = False
) -> tuple[Times, dict[str, float]]:
    """Return the times of updates by turns, one document after the other, and the pages each writes a commit."""
    times: dict[str, list[float]] = {OWN: [], FLOOR: []}
    written: dict[str, list[float]] = {OWN: [], FLOOR: []}
    ids = [document["_id"] for document in random.Random(4).sample(stage.documents, min(len(stage.documents), UPDATES))]
    log = _Log(stage)
    for id in ids:
        change = fields()
        steps = log.steps(id, change)
        turns: list[tuple[str, Callable[[], float]]] = [
            (FLOOR, lambda steps=steps: floors.commit_us(steps)),  # type: ignore[misc]
            (OWN, _timed(lambda id=id, change=change: stage.own.docs.update_one({"_id": id}, {"$set": change}))),  # type: ignore[misc]
        ]
        if with_hand:
            turns.append((ByHand.name, _timed(lambda id=id, change=change: stage.hand.update(id, change["visits"]))))  # type: ignore[misc]
        random.shuffle(turns)  # whoever comes first meets what others have left to the disk
        for name, act in turns:
            before = _written()
            times.setdefault(name, []).append(act())
            written.setdefault(name, []).append((_written() - before) / 4096)
    return Times(times), {name: statistics.mean(values) for name, values in written.items()}


def _timed(act: Callable[[], Any]) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        act()
        return (time.perf_counter() - began) * 1e6

    return run


def _written() -> int:
    """Return how many bytes this process has written so far."""
    with open("/proc/self/io", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("wchar"))


class _Log:
    """What docdb puts for an update, as its copy needs it next."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._engine = stage.own.db._store.engine
        with stage.own.db._store.snapshot() as snapshot:
            self._state = snapshot.state()
            self._counters = Counters.read(snapshot.txn, collection_counters_key(stage.number))
            self._index_counters = {
                number: Counters.read(snapshot.txn, index_counters_key(number)).pack()
                for number in stage.index.values()
            }

    def steps(self, id: str, change: dict[str, Any]) -> list[tuple[int, int, bytes, bytes]]:
        """Return the calls of one update: read, entries, document, change record with both images, end of the commit, counters, state."""
        number, state = self._stage.number, self._state
        id_key = component(id)
        key = document_key(number, id_key)
        with self._stage.own.db._store.snapshot() as snapshot:
            before = snapshot.txn.get(DOCUMENTS, key)
        old = codec.decode(before)
        after = codec.encode({**old, **change})
        steps = [(DOCUMENTS, READ, key, b"")]
        counted: list[tuple[int, int, bytes, bytes]] = []
        for field in change.keys() & self._stage.index.keys():
            prefix, kept = index_prefix(self._stage.index[field]), bytes((len(id_key), field == "age"))
            steps.append((ENTRIES, DELETE, prefix + component(old[field]) + id_key, b""))
            steps.append((ENTRIES, 0, prefix + component(change[field]) + id_key, kept))
            counted.append(
                (
                    CATALOG,
                    0,
                    index_counters_key(self._stage.index[field]),
                    self._index_counters[self._stage.index[field]],
                )
            )
        if len(after) != len(before):
            self._counters.second += len(after) - len(before)
            counted.append((CATALOG, 0, collection_counters_key(number), self._counters.pack()))
        state.last_commit += 1
        end = (time.time_ns() // 1_000).to_bytes(8, "big") + (1).to_bytes(4, "big")
        logged = record(UPDATE, number, before, after)
        state.log_bytes += len(logged) + 12 + 24
        return [
            *steps,
            (DOCUMENTS, 0, key, after),
            (CHANGES, APPEND, key_of(state.last_commit, 0), logged),
            (CHANGES, APPEND, key_of(state.last_commit, END_INDEX), end),
            *counted,
            (CATALOG, 0, STATE_KEY, state.pack()),
        ]


def _flushes(stage: Stage, counts: Sequence[int], fields: Callable[[], dict[str, Any]]) -> dict[int, list[float]]:
    """Return the times of writing so many scattered pages and a meta page, each with its flush, into a file that has its length; 0: of docdb's update."""
    free, _ = _library()
    path, size = stage.folder / "flushed", 2**26
    path.write_bytes(bytes(size))
    data, meta = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR | os.O_DSYNC)
    os.fsync(data)
    times: dict[int, list[float]] = {0: [], **{count: [] for count in counts}}
    for round_ in range(UPDATES):
        id = random.choice(stage.documents)["_id"]
        for count in random.sample([*times], len(times)):
            if count == 0:
                times[0].append(_timed(lambda: stage.own.docs.update_one({"_id": id}, {"$set": fields()}))())  # noqa: B023 (called at once)
                continue
            places = sorted(4096 * place for place in random.sample(range(2, size // 4096), count))
            page = bytes((round_ % 256,)) * 4096
            spent = free.floor_flush(data, meta, page, (ctypes.c_long * count)(*places), count, META_BYTES)
            times[count].append(_checked(spent) / 1e3)
    os.close(data)
    os.close(meta)
    path.unlink()
    return times


# ---- from thread to thread


def wake(stage: Stage) -> list[Row]:
    """A wake-up from one Python thread to another, beside docdb's way from a commit to a callback; then from process to process."""
    feed = feeds.Stage(stage.settings)
    try:
        own, far = feeds.callback(feed), feeds.callback_elsewhere(feed)
    finally:
        feed.close()
    rows = []
    for on_s, title in (
        (0.0, "wake a thread, the first then sleeps: commit to callback"),
        (ON_S, f"wake a thread, the first goes on in Python for {ON_S * 1e3:.0f} ms"),
    ):
        ways = {FLOOR: _Futex(), "Condition": _Condition(), "eventfd": _EventFd()}
        times = {name: _wakes(way, on_s) for name, way in ways.items()}
        rows.append(_wake_row(title, times, None if on_s else own))
    return [*rows, _wake_row("wake another process: commit to callback", {FLOOR: _wakes_elsewhere(stage.folder)}, far)]


def _wake_row(title: str, times: dict[str, list[float]], own: Row | None) -> Row:
    high = "99th percentile: " + ", ".join(f"{name} {feeds._percentile(spent):.0f} us" for name, spent in times.items())
    if own is None:
        return floor_row(title, Times(times), high)
    return floor_row(title, Times({OWN: [own.times[feeds.OWN]], **times}), f"{high}; docdb {own.note}")


class _Condition:
    """Python's own."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rung = 0

    def wait(self, seen: int) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._rung != seen)

    def ring(self, number: int) -> None:
        with self._condition:
            self._rung = number
            self._condition.notify()


class _EventFd:
    """The kernel's counter that can be waited for as a file."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_SEMAPHORE)

    def wait(self, seen: int) -> None:
        os.eventfd_read(self._fd)

    def ring(self, number: int) -> None:
        os.eventfd_write(self._fd, 1)


class _Futex:
    """docdb's bell."""

    def __init__(self, bell: Bell | None = None) -> None:
        self._bell = bell or Bell.in_process()

    def wait(self, seen: int) -> None:
        while self._bell.value() == seen:
            self._bell.wait(seen, 1.0)

    def ring(self, number: int) -> None:
        self._bell.ring(number)


def _wakes(way: Any, on_s: float) -> list[float]:
    """Return the microseconds from each ring until the other thread runs; the ringer goes on in Python for so long, and sleeps then."""
    woken: list[float] = []
    thread = threading.Thread(target=lambda: woken.extend(_awaited(way)))
    thread.start()
    rung = [*_rings(way, on_s)]
    thread.join()
    return [(there - here) * 1e6 for here, there in zip(rung, woken, strict=True)]


def _awaited(way: Any) -> Iterator[float]:
    for number in range(WAKES):
        way.wait(number)
        yield time.perf_counter()


def _rings(way: Any, on_s: float) -> Iterator[float]:
    for number in range(WAKES):
        time.sleep(PAUSE_S)
        began = time.perf_counter()
        way.ring(number + 1)
        while time.perf_counter() - began < on_s:
            pass
        yield began


def _wakes_elsewhere(folder: Path) -> list[float]:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_wait_elsewhere, args=(str(folder), theirs))
    process.start()
    ours.recv()
    rung = [*_rings(_Futex(Bell.beside(folder, create=True)), 0.0)]
    woken = ours.recv()
    process.join()
    return [(there - here) * 1e6 for here, there in zip(rung, woken, strict=True)]


def _wait_elsewhere(folder: str, pipe: Any) -> None:
    way = _Futex(Bell.beside(Path(folder), create=True))
    pipe.send(None)
    pipe.send([*_awaited(way)])


# ---- reading


def cold_get(stage: Stage) -> Row:
    """Get a random key without decoding, and make the objects of a document."""
    chance = random.Random(8)
    times: dict[str, list[float]] = {OWN: [], FLOOR: [], ByHand.name: [], "get in C": [], "objects in C": []}
    for _ in range(9):
        chosen = iter([chance.sample(stage.documents, min(2_000, len(stage.documents))) for _ in range(3)])
        for contestant in (stage.own, stage.hand):
            ids = [document["_id"] for document in next(chosen)]
            began = time.perf_counter()
            for id in ids:
                contestant.get(id)
            times[contestant.name].append((time.perf_counter() - began) / len(ids) * 1e6)
        documents = next(chosen)
        times["get in C"].append(
            stage.floors.get_us([document_key(stage.number, component(d["_id"])) for d in documents])
        )
        times["objects in C"].append(stage.floors.dict_us(documents[:1] * 1_000))
        times[FLOOR].append(times["get in C"][-1] + times["objects in C"][-1])
    made = Times(times)
    return floor_row("get by _id as dict, cold", made, f"by hand {made[ByHand.name] / made[FLOOR]:.2f}x the floor")


def cold_range(stage: Stage) -> Row:
    """Go along an index for 100 documents without decoding, and make their objects."""
    starts = random.Random(9).sample(range(900), 90)
    prefix, low = index_prefix(stage.number), index_prefix(stage.index["age"])
    times: dict[str, list[float]] = {OWN: [], FLOOR: [], ByHand.name: [], "index in C": [], "objects in C": []}
    for place in range(0, len(starts), 3):
        for contestant, age in zip((stage.own, stage.hand), starts[place:], strict=False):
            times[contestant.name].append(_timed(lambda: contestant.range(age, 100))())  # noqa: B023 (called at once)
        times["index in C"].append(stage.floors.range_us(low + component(starts[place + 2]), prefix, 100))
        times["objects in C"].append(100 * stage.floors.dict_us(stage.documents[:1] * 1_000))
        times[FLOOR].append(times["index in C"][-1] + times["objects in C"][-1])
    made = Times(times)
    return floor_row(
        "100 documents through an index, cold", made, f"by hand {made[ByHand.name] / made[FLOOR]:.2f}x the floor"
    )


WORKLOADS: dict[str, Callable[[Stage], Row | list[Row]]] = {
    "floor_get": cold_get, "floor_range": cold_range, "floor_update": update, "floor_wake": wake,
}  # fmt: skip
