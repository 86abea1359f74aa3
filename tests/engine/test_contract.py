"""What every engine promises, on all three."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from docdb.engine.base import CATALOG, DOCUMENTS, ENTRIES, Engine
from docdb.errors import InvalidOperation, UsageError

END = b"\xff" * 600
LETTERS = [b"a", b"b", b"c", b"d", b"e"]


class Longer:
    """A program: yes to values longer than one byte, "ask above" to exactly one byte."""

    exact = False

    def match(self, value: bytes) -> int:
        return 2 if len(value) == 1 else len(value) > 1


def fill(engine: Engine, items: list[tuple[bytes, bytes]], space: int = DOCUMENTS) -> None:
    transaction = engine.begin(write=True)
    transaction.put_many(space, items)
    transaction.commit()


def keys_of(transaction: Any, low: bytes = b"", high: bytes = END, **options: Any) -> list[bytes]:
    return [key for batch in transaction.scan(DOCUMENTS, low, high, values=False, **options) for key in batch]


def test_scan_orders_by_bytes(engine: Engine) -> None:
    fill(engine, [(b"b", b"2"), (b"a\xff", b"1"), (b"a", b"0"), (b"a\x00", b"9")])
    assert keys_of(engine.begin()) == [b"a", b"a\x00", b"a\xff", b"b"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (b"", END, LETTERS),
        (b"b", b"d", [b"b", b"c"]),
        (b"bb", b"dd", [b"c", b"d"]),
        (b"d", b"b", []),
        (b"c", b"c", []),
        (b"f", END, []),
        (b"", b"a", []),
        (b"", b"", []),
        (b"c" * 600, END, [b"d", b"e"]),
        (b"b", b"c" * 600, [b"b", b"c"]),
    ],
    ids=["all", "inside", "between", "crossed", "empty", "behind", "before", "nothing", "long low", "long high"],
)
@pytest.mark.parametrize("reverse", [False, True], ids=["up", "down"])
def test_scan_bounds(engine: Engine, low: bytes, high: bytes, expected: list[bytes], reverse: bool) -> None:
    fill(engine, [(key, b"v") for key in LETTERS])
    transaction = engine.begin()
    assert keys_of(transaction, low, high, reverse=reverse) == expected[:: -1 if reverse else 1]
    assert transaction.count(DOCUMENTS, low, high) == len(expected)


def test_long_bound_meets_the_longest_key(engine: Engine) -> None:
    longest = b"k" * 511
    fill(engine, [(longest, b"v"), (b"k" * 510, b"w")])
    transaction = engine.begin()
    assert keys_of(transaction, b"", longest + b"\x00", reverse=True) == [longest, b"k" * 510]
    assert keys_of(transaction, longest + b"\x00", END) == []


def test_empty_space(engine: Engine) -> None:
    transaction = engine.begin()
    assert list(transaction.scan(DOCUMENTS, b"", END)) == []
    assert list(transaction.scan(DOCUMENTS, b"", END, reverse=True)) == []
    assert transaction.get(DOCUMENTS, b"a") is None
    assert transaction.count(DOCUMENTS, b"", END) == 0


@pytest.mark.parametrize("reverse", [False, True], ids=["up", "down"])
def test_batches_grow_and_are_complete(engine: Engine, reverse: bool) -> None:
    fill(engine, [(b"%05d" % number, b"v") for number in range(1000)])
    sizes = [len(batch) for batch in engine.begin().scan(DOCUMENTS, b"", END, reverse=reverse)]
    assert sum(sizes) == 1000
    assert sizes[0] < 256 and max(sizes) == 256
    assert sizes[:3] == sorted(sizes[:3])


def test_batch_limits_the_first(engine: Engine) -> None:
    fill(engine, [(b"%05d" % number, b"v") for number in range(10)])
    assert [len(batch) for batch in engine.begin().scan(DOCUMENTS, b"", END, batch=3)] == [3, 3, 3, 1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, (b"a", b"1")), ({"values": False}, b"a"), ({"keys": False}, b"1")],
    ids=["pairs", "keys", "values"],
)
def test_scan_shapes(engine: Engine, options: dict[str, bool], expected: Any) -> None:
    fill(engine, [(b"a", b"1")])
    assert list(engine.begin().scan(DOCUMENTS, b"", END, **options)) == [[expected]]


def test_scan_of_nothing_is_refused(engine: Engine) -> None:
    with pytest.raises(UsageError):
        engine.begin().scan(DOCUMENTS, b"", END, keys=False, values=False)


@pytest.mark.parametrize("size", [0, 1, 4096, 1 << 20], ids=["empty", "one", "page", "1 MiB"])
@pytest.mark.parametrize("key", [b"\x00", b"k" * 511], ids=["shortest", "longest"])
def test_sizes_at_the_border(engine: Engine, key: bytes, size: int) -> None:
    value = b"\xa5" * size
    fill(engine, [(key, value)])
    transaction = engine.begin()
    assert transaction.get(DOCUMENTS, key) == value
    assert list(transaction.scan(DOCUMENTS, b"", END)) == [[(key, value)]]
    assert engine.get_latest(DOCUMENTS, key)[1] == value


@pytest.mark.parametrize("key", [b"", b"k" * 512, "text", None], ids=["empty", "too long", "str", "None"])
def test_impossible_keys_are_refused(engine: Engine, key: Any) -> None:
    reader = engine.begin()
    with pytest.raises(UsageError):
        reader.get(DOCUMENTS, key)
    with pytest.raises(UsageError):
        reader.get_many(DOCUMENTS, [key])
    with pytest.raises(UsageError):
        engine.get_latest(DOCUMENTS, key)
    writer = engine.begin(write=True)
    with pytest.raises(UsageError):
        writer.put_many(DOCUMENTS, [(key, b"v")])
    with pytest.raises(UsageError):
        writer.delete_many(DOCUMENTS, [key])
    writer.abort()


@pytest.mark.parametrize("value", ["text", None, 3], ids=["str", "None", "int"])
def test_impossible_values_are_refused(engine: Engine, value: Any) -> None:
    writer = engine.begin(write=True)
    with pytest.raises(UsageError):
        writer.put_many(DOCUMENTS, [(b"k", value)])
    writer.abort()


def test_get_many_keeps_order_and_gaps(engine: Engine) -> None:
    fill(engine, [(key, key * 2) for key in LETTERS])
    found = engine.begin().get_many(DOCUMENTS, [b"d", b"x", b"a", b"d"])
    assert found == [b"dd", None, b"aa", b"dd"]


def test_get_many_in_large_numbers(engine: Engine) -> None:
    fill(engine, [(b"%05d" % number, b"%d" % number) for number in range(3000)])
    wanted = [b"%05d" % number for number in range(2999, -1, -1)]
    assert engine.begin().get_many(DOCUMENTS, wanted) == [b"%d" % number for number in range(2999, -1, -1)]


def test_snapshot_is_not_disturbed(engine: Engine) -> None:
    fill(engine, [(b"a", b"1"), (b"b", b"1")])
    before = engine.begin()
    fill(engine, [(b"a", b"2"), (b"c", b"2")])
    writer = engine.begin(write=True)
    writer.delete_many(DOCUMENTS, [b"b"])
    writer.commit()
    after = engine.begin()
    assert [pair for batch in before.scan(DOCUMENTS, b"", END) for pair in batch] == [(b"a", b"1"), (b"b", b"1")]
    assert [pair for batch in after.scan(DOCUMENTS, b"", END) for pair in batch] == [(b"a", b"2"), (b"c", b"2")]
    assert before.id < after.id == engine.last_id()


def test_writer_sees_itself_and_others_do_not(engine: Engine) -> None:
    writer = engine.begin(write=True)
    writer.put_many(DOCUMENTS, [(b"a", b"1")])
    reader = engine.begin()
    assert (writer.get(DOCUMENTS, b"a"), reader.get(DOCUMENTS, b"a")) == (b"1", None)
    assert (keys_of(writer), keys_of(reader)) == ([b"a"], [])
    writer.commit()
    assert reader.get(DOCUMENTS, b"a") is None
    assert engine.begin().get(DOCUMENTS, b"a") == b"1"


def test_abort_undoes(engine: Engine) -> None:
    fill(engine, [(b"a", b"1"), (b"b", b"1")])
    last = engine.last_id()
    writer = engine.begin(write=True)
    writer.put_many(DOCUMENTS, [(b"a", b"2"), (b"c", b"2")])
    writer.delete_many(DOCUMENTS, [b"b"])
    writer.abort()
    writer.abort()
    assert keys_of(engine.begin()) == [b"a", b"b"]
    assert engine.begin().get(DOCUMENTS, b"a") == b"1"
    assert engine.last_id() == last


def test_spaces_are_apart(engine: Engine) -> None:
    fill(engine, [(b"a", b"documents")], DOCUMENTS)
    fill(engine, [(b"a", b"catalog")], CATALOG)
    reader = engine.begin()
    assert [reader.get(space, b"a") for space in range(4)] == [b"documents", None, None, b"catalog"]


@pytest.mark.parametrize("reverse", [False, True], ids=["up", "down"])
def test_writing_during_a_scan(engine: Engine, reverse: bool) -> None:
    fill(engine, [(b"%03d" % number, b"v") for number in range(0, 100, 2)])
    writer = engine.begin(write=True)
    scan = writer.scan(DOCUMENTS, b"", END, values=False, reverse=reverse, batch=10)
    first = next(scan)
    edge = int(first[-1])
    step = -1 if reverse else 1
    writer.put_many(DOCUMENTS, [(b"%03d" % (edge + step), b"seen"), (b"%03d" % (edge - step), b"not seen")])
    writer.delete_many(DOCUMENTS, [first[-1], b"%03d" % (edge + 2 * step)])
    rest = [int(key) for batch in scan for key in batch]
    assert rest[:2] == [edge + step, edge + 4 * step]
    assert rest == sorted(rest, reverse=reverse)
    assert len(rest) == 50 - 10
    writer.abort()


def test_delete_while_scanning_reaches_everything(engine: Engine) -> None:
    fill(engine, [(b"%05d" % number, b"v") for number in range(2000)])
    writer = engine.begin(write=True)
    deleted = sum(writer.delete_many(DOCUMENTS, batch) for batch in writer.scan(DOCUMENTS, b"", END, values=False))
    writer.commit()
    assert (deleted, keys_of(engine.begin())) == (2000, [])


@pytest.mark.parametrize(("limit", "expected"), [(None, 5), (0, 0), (1, 1), (5, 5), (9, 5)], ids=str)
def test_count_stops_at_the_limit(engine: Engine, limit: int | None, expected: int) -> None:
    fill(engine, [(key, b"v") for key in LETTERS])
    assert engine.begin().count(DOCUMENTS, b"", END, limit) == expected


def test_count_of_many(engine: Engine) -> None:
    fill(engine, [(b"%06d" % number, b"") for number in range(40_000)])
    assert engine.begin().count(DOCUMENTS, b"000001", b"039999") == 39_998


def test_delete_counts_what_was_there(engine: Engine) -> None:
    fill(engine, [(key, b"v") for key in LETTERS])
    writer = engine.begin(write=True)
    assert writer.delete_many(DOCUMENTS, [b"b", b"x", b"b", b"d"]) == 2
    writer.commit()
    assert keys_of(engine.begin()) == [b"a", b"c", b"e"]


@pytest.mark.parametrize("count", [3, 3000], ids=["few", "many"])
def test_append_falls_back_to_order(engine: Engine, count: int) -> None:
    fill(engine, [(b"%05d" % 1000, b"old")])
    items = [(b"%05d" % (number * 7 % 5000), b"new") for number in range(1, count)]
    writer = engine.begin(write=True)
    writer.put_many(DOCUMENTS, items, append=True)
    writer.commit()
    assert keys_of(engine.begin()) == sorted({b"01000", *(key for key, _ in items)})


def test_put_many_takes_any_iterable(engine: Engine) -> None:
    writer = engine.begin(write=True)
    writer.put_many(DOCUMENTS, ((b"%05d" % number, b"v") for number in range(2500)))
    writer.put_many(DOCUMENTS, [])
    assert writer.count(DOCUMENTS, b"", END) == 2500
    writer.abort()


def test_program_refuses_and_asks_above(engine: Engine) -> None:
    fill(engine, [(b"a", b""), (b"b", b"1"), (b"c", b"22")])
    reader = engine.begin()
    found = [pair for batch in reader.scan(DOCUMENTS, b"", END, program=Longer()) for pair in batch]
    assert found == [(b"b", b"1"), (b"c", b"22")]
    assert reader.get_many(DOCUMENTS, [b"a", b"b", b"c", b"d"], program=Longer()) == [None, b"1", b"22", None]
    assert [key for batch in reader.scan(DOCUMENTS, b"", END, program=Longer(), values=False) for key in batch] == [
        b"b",
        b"c",
    ]


def test_decode_runs_once_a_value(engine: Engine) -> None:
    fill(engine, [(b"a", b""), (b"b", b"1"), (b"c", b"22")])
    seen: list[bytes] = []

    def decode(value: bytes) -> int:
        seen.append(value)
        return len(value)

    reader = engine.begin()
    assert [item for batch in reader.scan(DOCUMENTS, b"", END, program=Longer(), decode=decode) for item in batch] == [
        (b"b", 1), (b"c", 2)
    ]  # fmt: skip
    assert seen == [b"1", b"22"]
    assert reader.get_many(DOCUMENTS, [b"c", b"x", b"a"], decode=decode) == [2, None, 0]
    assert reader.get(DOCUMENTS, b"c", decode) == 2
    assert engine.get_latest(DOCUMENTS, b"c", decode) == (engine.last_id(), 2)
    assert engine.get_latest(DOCUMENTS, b"x", decode) == (engine.last_id(), None)
    assert list(reader.scan(DOCUMENTS, b"", END, keys=False, decode=decode)) == [[0, 1, 2]]
    assert list(reader.scan(DOCUMENTS, b"", END, values=False, decode=decode)) == [[b"a", b"b", b"c"]]


def test_decode_may_use_the_transaction(engine: Engine) -> None:
    fill(engine, [(b"a", b"b"), (b"b", b"end")])
    reader = engine.begin()
    assert reader.get(DOCUMENTS, b"a", lambda value: reader.get(DOCUMENTS, value)) == b"end"
    found = list(reader.scan(DOCUMENTS, b"a", b"b", keys=False, decode=lambda value: reader.get(DOCUMENTS, value)))
    assert found == [[b"end"]]


def test_an_error_in_decode_leaves_the_transaction_usable(engine: Engine) -> None:
    fill(engine, [(b"a", b"1")])
    reader = engine.begin()
    with pytest.raises(ZeroDivisionError):
        reader.get(DOCUMENTS, b"a", lambda value: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        list(reader.scan(DOCUMENTS, b"", END, decode=lambda value: 1 // 0))
    assert reader.get(DOCUMENTS, b"a") == b"1"


def test_entry_ids(engine: Engine) -> None:
    fill(engine, [(b"0001" + b"x" + b"id1", b"\x03\x00"), (b"0001" + b"y" + b"i", b"\x01\x00")], ENTRIES)
    reader = engine.begin()
    assert list(reader.entry_ids(b"0001", b"0002")) == [[b"id1", b"i"]]
    assert list(reader.entry_ids(b"0001", b"0002", reverse=True)) == [[b"i", b"id1"]]


USES = {
    "get": lambda transaction: transaction.get(DOCUMENTS, b"a"),
    "get_many": lambda transaction: transaction.get_many(DOCUMENTS, [b"a"]),
    "scan": lambda transaction: list(transaction.scan(DOCUMENTS, b"", END)),
    "count": lambda transaction: transaction.count(DOCUMENTS, b"", END),
    "put_many": lambda transaction: transaction.put_many(DOCUMENTS, [(b"a", b"2")]),
    "delete_many": lambda transaction: transaction.delete_many(DOCUMENTS, [b"a"]),
    "commit": lambda transaction: transaction.commit(),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("end", ["commit", "abort", "close"])
@pytest.mark.parametrize("write", [False, True], ids=["reader", "writer"])
def test_use_after_the_end(engine: Engine, use: str, end: str, write: bool) -> None:
    fill(engine, [(b"a", b"1")])
    transaction = engine.begin(write)
    getattr(transaction, "abort" if (end == "close" and write) else end, engine.close)()
    engine.close() if end == "close" else None
    with pytest.raises(InvalidOperation):
        USES[use](transaction)
    transaction.abort()


def test_reader_refuses_writes(engine: Engine) -> None:
    reader = engine.begin()
    with pytest.raises(InvalidOperation):
        reader.put_many(DOCUMENTS, [(b"a", b"1")])
    with pytest.raises(InvalidOperation):
        reader.delete_many(DOCUMENTS, [b"a"])


@pytest.mark.parametrize("write", [False, True], ids=["reader", "writer"])
def test_iterator_left_over(engine: Engine, write: bool) -> None:
    fill(engine, [(b"%05d" % number, b"v") for number in range(1000)])
    transaction = engine.begin(write)
    scan = iter(transaction.scan(DOCUMENTS, b"", END))
    next(scan)
    transaction.abort()
    engine.begin().get(DOCUMENTS, b"00000")
    with pytest.raises(InvalidOperation):
        next(scan)


@pytest.mark.parametrize(
    "use",
    [
        lambda engine: engine.begin(), lambda engine: engine.begin(True), lambda engine: engine.last_id(),
        lambda engine: engine.stats(), lambda engine: engine.get_latest(DOCUMENTS, b"a"), lambda engine: engine.reopen(),
    ],
    ids=["begin", "begin write", "last_id", "stats", "get_latest", "reopen"],
)  # fmt: skip
def test_closed_engine(engine: Engine, use: Any) -> None:
    fill(engine, [(b"a", b"1")])
    scan = iter(engine.begin().scan(DOCUMENTS, b"", END))
    engine.close()
    engine.close()
    with pytest.raises(InvalidOperation):
        use(engine)
    with pytest.raises(InvalidOperation):
        next(scan)


def test_second_writer_waits(engine: Engine) -> None:
    first = engine.begin(write=True)
    first.put_many(DOCUMENTS, [(b"a", b"1")])
    seen: list[bytes | None] = []
    begun = threading.Event()

    def second() -> None:
        begun.set()
        writer = engine.begin(write=True)
        seen.append(writer.get(DOCUMENTS, b"a"))
        writer.abort()

    thread = threading.Thread(target=second)
    thread.start()
    begun.wait()
    thread.join(0.05)
    assert seen == []
    first.commit()
    thread.join(10)
    assert seen == [b"1"]


def test_second_writer_of_one_thread_is_refused(engine: Engine) -> None:
    first = engine.begin(write=True)
    with pytest.raises(InvalidOperation):
        engine.begin(write=True)
    first.commit()
    engine.begin(write=True).abort()


def test_many_readers(engine: Engine) -> None:
    readers = []
    for number in range(200):
        fill(engine, [(b"a", b"%d" % number)]) if number % 20 == 0 else None
        readers.append(engine.begin())
    assert [reader.get(DOCUMENTS, b"a") for reader in readers] == [b"%d" % (number // 20 * 20) for number in range(200)]
    assert engine.stats()["readers"] == 200
    assert engine.stats()["oldest_reader_id"] == readers[0].id
    for reader in readers:
        reader.abort()
    assert engine.stats()["readers"] == 0
    assert engine.begin().get(DOCUMENTS, b"a") == b"180"


def test_readers_in_threads(engine: Engine) -> None:
    fill(engine, [(b"%05d" % number, b"%d" % number) for number in range(500)])
    wrong: list[Any] = []

    def read() -> None:
        for _ in range(20):
            reader = engine.begin()
            total = sum(len(batch) for batch in reader.scan(DOCUMENTS, b"", END))
            reader.abort()
            wrong.extend([total] if total % 500 else [])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(10):
        fill(engine, [(b"%05d" % (500 * (1 + number) + at), b"v") for at in range(500)])
    for thread in threads:
        thread.join()
    assert wrong == []


def test_transaction_forgotten_by_the_caller(engine: Engine) -> None:
    for _ in range(10):
        engine.begin()
    engine.begin(write=True)
    writer = engine.begin(write=True)
    writer.abort()
    assert engine.stats()["readers"] == 0


def test_empty_commit_is_no_commit(engine: Engine) -> None:
    fill(engine, [(b"a", b"1")])
    last = engine.last_id()
    engine.begin(write=True).commit()
    assert engine.last_id() == last
