"""What the kernels are given in the sanitized campaign: for each door of a kernel a function that takes a batch of damaged bytes.

What lives here: ``DOORS``, by the kernel's name and the door's. What it must not know: sanitizers, processes. An input is one execution. A door raises where a
kernel does anything but give a result or a docdb error; whether results are right is told by the other targets, which have a reference.
"""

from __future__ import annotations

import importlib
import mmap
import os
import shutil
import tempfile
from array import array
from collections import UserDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any, Final, NamedTuple

from docdb._native import (
    bell,
    cells,
    columns,
    entries,
    grouping,
    joining,
    keys,
    lmdb_engine,
    predicates,
    runs,
    text,
    top,
)
from docdb._native import codec as codec_kernel
from docdb.engine.base import CATALOG, DOCUMENTS, ENTRIES
from docdb.engine.lmdb import open_engine
from docdb.errors import DocdbError
from docdb.language import filters
from docdb.language.expression_dates import zone_of
from docdb.language.order import order_key
from docdb.language.programs import compile_program
from docdb.language.text_search import FREQUENCY, WHOLE_TEXT, TextSpec
from docdb.language.values import MISSING, MaxKey, ObjectId, Timestamp
from docdb.pipeline.grouping_dates import zone_days
from docdb.store import codec, components
from tests.fuzz import damage, inputs

Batch = Sequence[bytes]
Door = Callable[[Random, Batch], None]

PATHS: Final[tuple[tuple[bytes, ...], ...]] = (
    (b"a",),
    (b"a", b"b"),
    (b"b",),
    (b"c",),
    (b"nested", b"a", b"b"),
    (b"items",),
    (b"_id",),
)
STORED: Final = 600  # documents of the engine that are read
GOOD: Final = codec.encode({"_id": 0, "a": 1, "b": "red", "c": 2.5, "date": damage._DATE, "text": "Red apples"})


class Way(NamedTuple):
    """A door, and where its inputs come from."""

    door: Door
    source: Callable[[Random], list[bytearray]] = damage.documents


def each(call: Callable[[bytes], Any]) -> Door:
    """Return a door that gives each input to a call."""

    def door(chance: Random, batch: Batch) -> None:
        for data in batch:
            with suppress(DocdbError):
                call(data)

    return door


def any_of(calls: Iterable[Callable[[bytes], Any]]) -> Door:
    """Return a door that gives each input to one of several calls."""
    chosen = tuple(calls)

    def door(chance: Random, batch: Batch) -> None:
        for data in batch:
            with suppress(DocdbError):
                chosen[int(chance.random() * len(chosen))](data)

    return door


# ---- documents and values


def _value(chance: Random, data: bytes) -> Any:
    """Return what damaged bytes decode to, else any value, which may be none that can be stored."""
    try:
        return codec_kernel.decode(data)
    except DocdbError:
        return inputs.value(chance) if chance.random() < 0.5 else UserDict({"a": inputs.value(chance)})


def _encode(chance: Random, batch: Batch) -> None:
    for data in batch:
        value = _value(chance, data)
        for call in (codec_kernel.encode_value, codec_kernel.encode, codec_kernel.prepare):
            with suppress(DocdbError):
                call(value)
        codec_kernel.order_key_of_value(inputs.stored(chance))


def _prepared(chance: Random, batch: Batch) -> None:
    """Prepare a run of documents, some of which the kernel declines."""
    values = [_value(chance, data) for data in batch]
    made = [value if type(value) is dict else {"a": value} for value in values]
    fallback = (None, b"\x10", GOOD)
    _, rows = codec_kernel.prepare_run(made, False, 7, lambda document: fallback)
    _use(chance, rows)


# ---- keys, entries, runs


def _split(chance: Random, batch: Batch) -> None:
    for data in batch:
        keys.split_components(data, ((1, 1, -1), (-1, 1), (1,), (-1, -1, -1, -1))[int(chance.random() * 4)])


def _decode_key(chance: Random, batch: Batch) -> None:
    for data in batch:
        with suppress(DocdbError):
            components.decode_key(data, int(chance.random() * 16))


def _entry_kernels() -> list[Any]:
    fields = [
        [(("a",), 1)], [(("a", "b"), -1)], [(("a", "0"), 1), (("b",), -1)], [(("a", "b", "c"), 1), (("a", "b", "0"), 1)],
        [(("items", "a"), 1), (("items", "b"), -1)], [(("0",), 1), (("a", "0", "0"), -1)], [(("nested", "a"), 1), (("_id",), -1)],
        [((), 1)], [((name,), 1) for name in ("a", "b", "c", "text", "date", "nested", "items")],
    ]  # fmt: skip
    return [
        entries.EntryKernel(number, spec, number % 2 == 0, number % 3 == 0)
        for number, spec in enumerate([*fields, *fields], 1)
    ]


def _entries() -> Door:
    makers = _entry_kernels()
    ids = (b"\x10", b"\x20\x80\0\0\0\0\0\0\0\0", b"\x30" + b"i" * 200 + b"\0", b"", b"x" * 300)

    def door(chance: Random, batch: Batch) -> None:
        for data in batch:
            makers[int(chance.random() * len(makers))].entries(ids[int(chance.random() * len(ids))], data)

    return door


def _gathered(chance: Random, batch: Batch) -> Any:
    return runs.gather(3, [data[int(chance.random() * len(data)) :][:240] for data in batch], batch)


def _runs(chance: Random, batch: Batch) -> None:
    for data in batch:
        _use(chance, _gathered(chance, (GOOD, data, data)))


def _use(chance: Random, rows: Any) -> None:
    """Make of documents what a store makes of them."""
    rows.lists()
    with suppress(DocdbError):
        rows.all_match(_programs()[int(chance.random() * len(_programs()))])
    made = rows.documents(int(chance.random() * 9)), rows.changes(8, 2**40, 2**32 - 2)
    for run in made:
        for _ in run:
            pass
        assert run.total_bytes >= 0


def _entry_runs() -> Door:
    makers = _entry_kernels()

    def door(chance: Random, batch: Batch) -> None:
        for data in batch:
            rows, program = _gathered(chance, (GOOD, data)), _programs()[int(chance.random() * len(_programs()))]
            run = makers[int(chance.random() * len(makers))].run(rows, program if program.exact else None, b"\x30")
            if run is not None:
                run.collides()
                list(run)

    return door


# ---- predicates


@cache
def _programs() -> list[Any]:
    made: list[dict[str, Any]] = [
        {"a": 1}, {"a.b": {"$gt": 1}}, {"b": {"$in": [1, "a", None, 2.5, ObjectId("64b7f0c2a1b2c3d4e5f60718")]}}, {"c": {"$elemMatch": {"a": 1}}},
        {"a": {"$elemMatch": {"$gt": 1, "$lt": 9}}}, {"a": {"$size": 2}}, {"b": {"$regex": "a"}}, {"text": {"$regex": "^Red"}},
        {"text": {"$regex": "s$"}}, {"a": {"$mod": [3, 1]}}, {"a": {"$bitsAllSet": 5}}, {"a": {"$bitsAnyClear": [1, 70, 200]}},
        {"a": {"$type": ["int", "array", "decimal"]}}, {"a": {"$exists": True}, "c": {"$exists": False}}, {"a": {"b": 1, "c": [1, {"x": None}]}},
        {"a": {"$gt": [1, {"a": "x"}]}}, {"$or": [{"a": 1}, {"nested.a.b": {"$gte": 3}}, {"items.a": 2}]}, {"$nor": [{"a": {"$lt": 1e300}}]},
        {"a": {"$lt": Decimal("1.5")}}, {"date": {"$gt": damage._DATE}}, {"_id": {"$gte": Timestamp(1, 2)}},
        {"a": {"$lt": MaxKey()}}, {"a.0.b": 1, "a.1": {"$ne": None}}, {"items.0.a": {"$in": [1, 2]}, "b": "red", "c": {"$gt": 1}},
        {f"f{n}": {"$gte": n} for n in range(70)}, {"b": "a text of exactly some length"}, {"": {"": 1}}, {"a": b"ab"}, {"a": float("nan")},
        {"a": {"$gte": 2**63 - 1}}, {"a": {"$lte": 2**53 + 1}},
        {"$or": [{"a": 1}, {"$expr": True}], "c": {"$gt": 1}}, {"a": {"$elemMatch": {"$regex": "x|y"}}}, {"items": {"$elemMatch": {"b": {"$regex": "^x*$"}}}},
        {"a.0.0.b": {"$gt": 0}}, {"a.1.0.0.b": 5}, {"0.0.a": 1, "a.b.c.d": {"$ne": 7}},
    ]  # fmt: skip
    programs = [compile_program(filters.parse(one)) for one in made]
    return [program for program in programs if program is not None]


def _match(chance: Random, batch: Batch) -> None:
    programs = _programs()
    for data in batch:
        with suppress(DocdbError):
            programs[int(chance.random() * len(programs))].match(data)


def _select(chance: Random, batch: Batch) -> None:
    program = _programs()[int(chance.random() * len(_programs()))]
    for at in range(0, len(batch), 8):  # damage ends a call
        with suppress(DocdbError):
            program.select(batch[at : at + 8])


PLACES: Final = (
    ("a",),
    ("a", "b"),
    ("a", "0"),
    ("items", "a"),
    ("b",),
    ("nested", "a", "b"),
    ("c",),
    ("", ""),
    ("_id",),
    None,
)


def _table() -> tuple[Any, list[int]]:
    table = predicates.PredicateTable()
    return table, [table.open(path) for path in PLACES]


def _wait(chance: Random, table: Any, slots: list[int], query: int) -> None:
    """Let a query wait for something."""
    values = [inputs.stored(chance, 1) for _ in range(4)]
    found = [order_key(value) for value in values]
    table.add(query)
    chosen = chance.sample(slots, 1 + query % 4)
    table.add_equal(query, tuple(chosen), tuple(found[: len(chosen)]))
    table.add_equal(query, (chosen[0],), (b"\x00",))
    low, high = sorted(found[:2])
    table.add_span(query, chosen[0], low, high, query & 1)


def _candidates() -> Door:
    table, slots = _table()
    chance = Random(5)
    for query in range(300):
        _wait(chance, table, slots, query)
    outside = slots[-1]
    assert len(table) == 300 and 7 in table and table.stats()["bytes"] > 0

    def door(chance: Random, batch: Batch) -> None:
        for data in batch:
            with suppress(DocdbError):
                table.candidates(GOOD, data, [(outside, b"\x10")], [(outside, b"\x20\x30")])

    return door


def _queries() -> Door:
    """Queries come and go, with keys that are bytes from anywhere."""
    table, slots = _table()
    held: list[int] = []
    numbers = iter(range(2**62))

    def door(chance: Random, batch: Batch) -> None:
        for data in batch:
            query = next(numbers)
            if len(held) > 500 or (held and chance.random() < 0.4):
                at = int(chance.random() * len(held))
                held[at], held[-1] = held[-1], held[at]
                table.remove(held.pop())
                continue
            held.append(query)
            table.add(query)
            key = data or b"\0"
            table.add_span(query, slots[query % len(slots)], key[: len(key) // 2], key[len(key) // 2 :], query & 1)
            slot = table.open(("a", key[:3].hex(), "b"))
            table.add_equal(query, (slot,), (key,))
            table.waiting(slot, key)
            table.close(slot)
            with suppress(DocdbError):
                table.candidates(b"", data)

    return door


# ---- groups, joins, columns, text, sorts


def _group_forms() -> list[tuple[Any, ...]]:
    whole = tuple((path, False) for path in PATHS)
    folds = tuple((kind, at) for kind in range(5) for at in (0, 3, 5))
    berlin = zone_days(zone_of("Europe/Berlin"))
    dates = ((((b"date",), False), ((b"a",), False)), folds[:2])
    readings = [
        ("date", 0, 1, 0, 8191, 0, None), ("date", 0, 1, 0, 8191, 0, berlin), ("date", 1, 3_600_000, 946_684_800_000_000, 0, 0, None),
        ("date", 2, 86_400_000, 946_684_800_000_000, 0, 5_400_000_000, None), ("date", 3, 3, 24_000, 0, 0, berlin),
    ]  # fmt: skip
    marks = sorted(order_key(value) for value in (0, 5, "m", 9.5))
    made: list[tuple[Any, ...]] = [
        (whole, ((0, None, True),), folds, None, 100, 2**40),
        (whole, ((1, None, False), (2, None, False)), folds, None, 100, 2**40),
        (whole, ((6, None, True),), folds[:4], None, 100, 5_000),
        ((((), True), ((b"items",), False)), ((0, None, False),), (), (1, True), 0, 2**62),
        ((((b"a",), True), ((b"items",), False)), ((0, None, True),), ((0, 0), (1, 0), (4, 0)), (1, False), 100, 2**40),
        ((((), True), ((b"a",), False)), ((0, None, False),), ((2, 0),), (1, True), 0, 2**62),
        (whole, ((0, ("bins", marks, True), True),), folds[:6], None, 100, 2**40),
        (whole, ((3, ("bins", marks, False), True),), folds[:6], None, 100, 2**40),
    ]
    made += [
        (dates[0], ((0, reading, True), (1, None, True)), ((0, 1), (4, 0)), None, 100, 2**40) for reading in readings
    ]
    return made


def _groups() -> Door:
    forms = _group_forms()

    def door(chance: Random, batch: Batch) -> None:
        form = forms[int(chance.random() * len(forms))]
        groups = grouping.Groups(*form)
        if chance.random() < 0.2:  # enough of them that all tables grow
            for data in damage.stored_documents()[400:600]:
                groups(data)
        for data in batch:
            groups(GOOD)
            if not groups(data):
                with suppress(DocdbError):
                    groups.rows(MISSING)
                groups = grouping.Groups(*form)
        with suppress(DocdbError):
            groups.rows(MISSING)

    return door


def _join(chance: Random, batch: Batch) -> None:
    known = {
        value: ([{"_id": value, "x": 1}] * (number % 3), number % 5 > 0)
        for number, value in enumerate([*range(9), "red", "green"])
    }
    for data in batch:
        value = _value(chance, data)
        both = [value, {"a": value}, {"a": 1}]
        joining.join_known(both, "a", known, "b")
        joining.join_unwound(both, "a", known, "b", chance.random() < 0.5)


def _fill(chance: Random, batch: Batch) -> None:
    kept = (None, None, ("a", "b", "c"), ("_id", "nope"), (), ("a", "a", "date", "text", "b", "o", "u", "x"))
    for data in batch:
        keep, start = kept[int(chance.random() * 6)], int(chance.random() * 2)
        rows = [GOOD, data, data, GOOD, data][start : start + 1 + int(chance.random() * 4)]
        columns.fill(rows, keep, ("b", "y"), ("c",), (1000, 30, 2)[int(chance.random() * 3)])


def _text_entries() -> Door:
    weights = (("text", 1.0), ("b", 3.0), ("nested.a.b", 0.1), ("a", 7.0), ("items.b", 2.0))

    def maker(language: str, most: int) -> Any:
        spec = TextSpec(weights, language, "language", "none")
        words = spec.words()
        small = text.Vocabulary(words.term, words.terms, words.letters, most)  # type: ignore[call-arg]
        return text.TextEntries(
            b"\0\0\0\7",
            spec.branches() or (),
            b"language",
            FREQUENCY,
            WHOLE_TEXT,
            small,
            lambda data: spec.scores(codec.decode(data)),
        )

    makers = [maker("english", 5_000), maker("none", 200), maker("german", 1_500)]

    def door(chance: Random, batch: Batch) -> None:
        for data in batch:
            with suppress(DocdbError, AttributeError):  # the reference of a value that is no document
                program = _programs()[int(chance.random() * len(_programs()))] if chance.random() < 0.3 else None
                upto = b"\x30" if chance.random() < 0.1 else None
                run = makers[int(chance.random() * 3)].run(_gathered(chance, (GOOD, data)), program, upto)
                assert run.total_bytes >= 0

    return door


def _keys_below(chance: Random, batch: Batch) -> None:
    paths = tuple(PATHS[int(chance.random() * len(PATHS))] for _ in range(1 + int(chance.random() * 3)))
    ways = tuple(1 if chance.random() < 0.5 else -1 for _ in paths)
    worst = None if chance.random() < 0.5 else batch[0]
    top.keys_below(list(batch), paths, ways, worst)


def _firsts(chance: Random, batch: Batch) -> None:
    firsts = top.Firsts((PATHS[int(chance.random() * len(PATHS))], (b"b",)), (1, -1), int(chance.random() * 4))
    for data in batch:
        firsts(data)
        assert (firsts.lead is None) == (firsts.last is not None)
        if len(firsts.held) > 20:
            firsts.held = [row for row in firsts.held if row[0] is not None][:10]
            firsts.worst = max((row[0] for row in firsts.held if row[0] is not None), default=None)


# ---- the rest


def _cover(chance: Random, batch: Batch) -> None:
    odd = (0.0, -0.0, 1.0, -1.0, float("nan"), float("inf"), 1e300, 5.0, 1e-30)
    for _ in batch:
        number = chance.random
        x, y, z = (odd[int(number() * 9)] if number() < 0.2 else 2 * number() - 1 for _ in range(3))
        radius = number() ** 4
        lists = [[radius * factor + 0.5**level for level in range(31)] for factor in (1.0, 0.5, number() - 0.5)]
        if number() < 0.2:
            lists[int(number() * 3)][int(number() * 31)] = odd[int(number() * 9)]
        cells.cover_ring(x, y, z, *lists, 1 + int(number() * 20), int(number() * 31))


def _bell() -> Door:
    memory = mmap.mmap(-1, 4096)

    def door(chance: Random, batch: Batch) -> None:
        for _ in batch:
            number = chance.getrandbits(32)
            bell.ring(memory, number)
            assert bell.value(memory) == number
            timeout = (0, 1, -1, -(2**63), 2**63 - 1)[int(chance.random() * 5)]
            own = chance.getrandbits(32) | 1
            bell.wait(memory, number ^ 1 if timeout > 1 else number, timeout, array("I", [number ^ 2, 0]), own)
            bell.ring_others(memory, number ^ 4, own)

    return door


def _walk(chance: Random, batch: Batch) -> None:
    for data in batch:
        with suppress(DocdbError):
            lmdb_engine.walk_memory(data, damage.PAGE, damage.ROOT, 1 + int(chance.random() * 3), chance.random() < 0.5)


def _find(chance: Random, batch: Batch) -> None:
    for data in batch:
        with suppress(DocdbError):
            for key in (b"k%03d" % int(chance.random() * 70), b"", b"\xff" * 511):
                lmdb_engine.find_memory(data, damage.PAGE, damage.ROOT, 1 + int(chance.random() * 3), key)


@cache
def _engine() -> Any:
    folder = tempfile.mkdtemp(prefix="docdb-sanitized-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    engine = open_engine(os.path.join(folder, "x"), native=True, durability="relaxed")
    shutil.rmtree(folder)  # it stays open, and goes with the process
    return engine


def _engine_reads(chance: Random, batch: Batch) -> None:
    """Store damaged documents among those of the last rounds, and read some by one of the ways an engine has."""
    engine, prefix, low = _engine(), b"\0\0\0\7", b"\0\0\0\1"
    numbers = [int(chance.random() * STORED) for _ in batch]
    txn = engine.begin(write=True)
    txn.put_many(DOCUMENTS, [(prefix + b"%03d" % n, bytes(data)) for n, data in zip(numbers, batch, strict=True)])
    txn.put_many(ENTRIES, [(low + b"%03d" % (n * 37 % STORED) + b"%03d" % n, b"\3\1") for n in numbers])
    txn.delete_many(DOCUMENTS, [prefix + b"%03d" % int(chance.random() * STORED) for _ in range(5)])
    txn.commit()
    reader = engine.begin()
    program, decode, reverse = (
        _programs()[int(chance.random() * len(_programs()))],
        codec_kernel.Decoder(),
        chance.random() < 0.5,
    )
    start, end = sorted(b"%03d" % int(chance.random() * STORED) for _ in range(2))
    more = [(low + end, low + b"~")] if chance.random() < 0.2 else []
    before = lmdb_engine.walk_pages(chance.random() < 0.5)
    ways: list[Callable[[], Any]] = [
        lambda: list(
            lmdb_engine.join(
                reader,
                low + start,
                low + end,
                prefix,
                more=more,
                reverse=reverse,
                first=20,
                program=program,
                decode=decode,
            )
            or ()
        ),
        lambda: list(lmdb_engine.join(reader, low + start, low + end, prefix, more=more, reverse=reverse) or ()),
        lambda: list(
            reader.scan(DOCUMENTS, prefix + start, prefix + end, reverse=reverse, program=program, decode=decode)
        ),
        lambda: list(reader.scan(DOCUMENTS, prefix + start, prefix + end, reverse=reverse)),
        lambda: reader.get_many(DOCUMENTS, [prefix + b"%03d" % n for n in numbers], program=program, decode=decode),
        lambda: list(reader.entry_ids(low + start, low + end, reverse=reverse)),
        lambda: reader.count(DOCUMENTS, prefix + start, prefix + end),
    ]
    try:
        with suppress(DocdbError):
            ways[int(chance.random() * len(ways))]()
        for n in numbers[:3]:
            with suppress(DocdbError):
                engine.get_latest(DOCUMENTS, prefix + b"%03d" % n, decode)
    finally:
        lmdb_engine.walk_pages(before)
        reader.abort()


def _points() -> Door:
    """Read damaged documents by their ids, one at a time."""
    engine, prefix, catalog = _engine(), b"\0\0\0\x09", (CATALOG, b"m:version", b"12345678")
    reader = engine.point_reader(engine.gate(), lambda id: None, lambda id: None, ObjectId)
    ids = (1, "a", 2**53 + 1, -(2**63), "\u65e5", ObjectId("64b7f0c2a1b2c3d4e5f60718"), "x" * 239, 1.5, "\ud800")

    def door(chance: Random, batch: Batch) -> None:
        txn = engine.begin(write=True)
        txn.put_many(CATALOG, [catalog[1:]])
        txn.put_many(DOCUMENTS, [(prefix + order_key(id), bytes(batch[at])) for at, id in enumerate(ids[:6])])
        txn.commit()
        snapshot = engine.begin()
        reader.learn(snapshot, prefix, *catalog)
        snapshot.abort()
        for _ in batch:
            with suppress(DocdbError):
                reader.find(ids[int(chance.random() * len(ids))])

    return door


def _planted(chance: Random, batch: Batch) -> None:
    """Read a byte too many of each input: what a finding looks like."""
    planted: Any = importlib.import_module("planted")
    for data in batch:
        planted.overrun(data)


DOORS: Final[dict[str, Callable[[], Way]]] = {
    "bell.wait": lambda: Way(_bell()),
    "cells.cover_ring": lambda: Way(_cover),
    "codec.decode": lambda: Way(each(codec_kernel.decode)),
    "codec.decoders": lambda: Way(
        any_of(
            [
                codec_kernel.Decoder(),
                codec_kernel.FieldsDecoder(("a", "_id", "text", "nested", "0", "")),
                codec_kernel.FieldsDecoder(()),
            ]
        )
    ),
    "codec.encode": lambda: Way(_encode),
    "codec.prepare_run": lambda: Way(_prepared),
    "columns.fill": lambda: Way(_fill),
    "entries.entries": lambda: Way(_entries()),
    "entries.run": lambda: Way(_entry_runs()),
    "grouping.groups": lambda: Way(_groups()),
    "joining.join": lambda: Way(_join),
    "keys.decode_key": lambda: Way(_decode_key, damage.keys),
    "keys.order_key": lambda: Way(each(keys.order_key)),
    "keys.split_components": lambda: Way(_split, damage.keys),
    "lmdb_engine.find": lambda: Way(_find, damage.pages),
    "lmdb_engine.points": lambda: Way(_points()),
    "lmdb_engine.reads": lambda: Way(_engine_reads),
    "lmdb_engine.walk": lambda: Way(_walk, damage.pages),
    "planted.overrun": lambda: Way(_planted),
    "predicates.candidates": lambda: Way(_candidates()),
    "predicates.queries": lambda: Way(_queries()),
    "program.match": lambda: Way(_match),
    "program.select": lambda: Way(_select),
    "runs.gather": lambda: Way(_runs),
    "text.entries": lambda: Way(_text_entries()),
    "top.firsts": lambda: Way(_firsts),
    "top.keys_below": lambda: Way(_keys_below),
}
