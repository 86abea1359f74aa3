"""The change log: records, consecutive commits, retention, damaged records."""

from __future__ import annotations

import struct
import time

import pytest

from docdb.engine.base import CHANGES
from docdb.engine.memory import MemoryEngine
from docdb.errors import CorruptError
from docdb.store.catalog import State
from docdb.store.changes import Change, CommitEnd, LogWriter, read, record


@pytest.fixture
def engine() -> MemoryEngine:
    """Give an empty engine."""
    return MemoryEngine()


def write(engine: MemoryEngine, state: State, *commits: list[bytes], cap: int = 10**6, age_s: float = 0) -> None:
    """Write callers' commits in one storage transaction."""
    txn = engine.begin(write=True)
    log = LogWriter(state, cap, age_s)
    for records in commits:
        log.add(records)
        log.commit()
    log.write(txn)
    txn.commit()


def stored(engine: MemoryEngine) -> list[tuple[bytes, bytes]]:
    return [pair for batch in engine.begin().scan(CHANGES, b"", b"\xff" * 13) for pair in batch]


def test_what_is_written_is_read(engine: MemoryEngine) -> None:
    state = State()
    write(engine, state, [record("i", 7, b"", b"new"), record("u", 7, b"old", b"new")], [record("d", 8, b"old", b"")])
    found = list(read(engine.begin(), 0))
    assert [item for item in found if isinstance(item, Change)] == [
        Change(1, 0, "i", 7, b"", b"new"), Change(1, 1, "u", 7, b"old", b"new"), Change(2, 0, "d", 8, b"old", b""),
    ]  # fmt: skip
    ends = [item for item in found if isinstance(item, CommitEnd)]
    assert [(end.commit, end.changes) for end in ends] == [(1, 2), (2, 1)]
    assert abs(ends[0].clock_us / 1e6 - time.time()) < 60


def test_reading_begins_behind_a_commit_and_ends_with_one(engine: MemoryEngine) -> None:
    state = State()
    write(engine, state, *[[record("i", 1, b"", b"x")] for _ in range(5)])
    found = [item.commit for item in read(engine.begin(), 2, 4) if isinstance(item, CommitEnd)]
    assert found == [3, 4]


def test_the_state_counts_the_bytes(engine: MemoryEngine) -> None:
    state = State()
    write(engine, state, [record("i", 1, b"", b"x" * 100)])
    assert state.log_bytes == sum(len(key) + len(value) for key, value in stored(engine))


def test_the_cap_removes_whole_commits(engine: MemoryEngine) -> None:
    state = State()
    for _ in range(50):
        write(engine, state, [record("i", 1, b"", b"x" * 100), record("i", 1, b"", b"y" * 100)], cap=2_000)
    pairs = stored(engine)
    assert state.log_bytes == sum(len(key) + len(value) for key, value in pairs) <= 2_300
    commits = [item.commit for item in read(engine.begin(), state.oldest_commit - 1) if isinstance(item, CommitEnd)]
    assert commits == list(range(state.oldest_commit, 51))


def test_the_newest_commit_stays_however_small_the_cap(engine: MemoryEngine) -> None:
    state = State()
    for _ in range(3):
        write(engine, state, [record("i", 1, b"", b"x" * 100)], cap=0)
    assert [item.commit for item in read(engine.begin(), state.oldest_commit - 1)] == [3, 3]


def test_a_large_commit_goes_in_steps(engine: MemoryEngine) -> None:
    state = State()
    write(engine, state, [record("i", 1, b"", b"x")] * 5_000)
    oldest = []
    for _ in range(8):
        write(engine, state, [record("i", 1, b"", b"x")], cap=0)
        oldest.append((state.oldest_commit, len(stored(engine))))
        assert state.log_bytes == sum(len(key) + len(value) for key, value in stored(engine))
    assert oldest[0][0] == 2  # given up at once, removed later
    assert oldest[0][1] > 3_000
    assert oldest[-1][1] < 10


def test_age_gives_commits_up(engine: MemoryEngine) -> None:
    state = State()
    for _ in range(63):
        write(engine, state, [record("i", 1, b"", b"x")])
    time.sleep(0.01)
    write(engine, state, [record("i", 1, b"", b"x")], age_s=0.001)
    assert state.oldest_commit == 64
    assert len(stored(engine)) == 2


def test_age_gives_up_whatever_the_commits_are_like(engine: MemoryEngine) -> None:
    """One small commit after the other, each alone in its storage transaction, as a quiet database has them."""
    state = State()
    for n in range(1, 10):
        write(engine, state, [record("i", 1, b"", b"x")], age_s=0.01)
        assert state.oldest_commit == n
        time.sleep(0.02)
    assert len(stored(engine)) == 2


def test_commits_younger_than_the_age_stay(engine: MemoryEngine) -> None:
    state = State()
    for _ in range(200):
        write(engine, state, [record("i", 1, b"", b"x")], age_s=1_000)
    assert (state.oldest_commit, len(stored(engine))) == (1, 400)


def test_many_old_commits_go_by_age_in_steps(engine: MemoryEngine) -> None:
    state = State()
    write(engine, state, *[[record("i", 1, b"", b"x")] for _ in range(300)])
    time.sleep(0.02)
    oldest = []
    for _ in range(3):
        write(engine, state, [record("i", 1, b"", b"x")], age_s=0.01)
        oldest.append(state.oldest_commit)
    assert oldest[:2] == [129, 257]
    assert oldest[2] >= 301


@pytest.mark.parametrize("small", [10, 50, 200])
def test_the_cap_is_hard_where_large_changes_follow_many_small_ones(engine: MemoryEngine, small: int) -> None:
    state, cap = State(), 400_000
    while state.log_bytes < cap - 50 * (small + 50):
        write(engine, state, *[[record("i", 1, b"", b"x" * small)] for _ in range(50)], cap=cap)
    for _ in range(10):
        write(engine, state, [record("i", 1, b"", b"x" * 150_000)], cap=cap)
        assert state.log_bytes <= cap
        assert state.log_bytes == sum(len(key) + len(value) for key, value in stored(engine))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"\0" * 7 + b"\1" + b"\0" * 5, b"i" + b"\0" * 8),
        (b"\0" * 7 + b"\1" + b"\0" * 4, b"i\0"),
        (b"\0" * 7 + b"\1" + b"\0" * 4, b"?" + b"\0" * 8),
        (b"\0" * 7 + b"\1" + b"\0" * 4, b"i" + struct.pack(">II", 1, 99) + b"short"),
        (b"\0" * 7 + b"\1" + b"\xff" * 4, b"short"),
    ],
    ids=["key", "cut", "operation", "length", "end"],
)
def test_damaged_records_are_corrupt(engine: MemoryEngine, key: bytes, value: bytes) -> None:
    txn = engine.begin(write=True)
    txn.put_many(CHANGES, [(key, value)])
    txn.commit()
    with pytest.raises(CorruptError):
        list(read(engine.begin(), -1))
