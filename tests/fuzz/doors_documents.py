"""Doors of the kernels that read stored documents and keys, for the sanitized campaign.

What lives here: for each a function that takes a batch of damaged bytes, or makes one that does. What it must not know: engines, sanitizers, processes. A door
raises where a kernel does anything but give a result or a docdb error.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any, Final

from docdb._native import codec as codec_kernel
from docdb._native import columns, entries, grouping, joining, keys, predicates, runs, text, top
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
GOOD: Final = codec.encode({"_id": 0, "a": 1, "b": "red", "c": 2.5, "date": damage.DATE, "text": "Red apples"})


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


def encode(chance: Random, batch: Batch) -> None:
    for data in batch:
        value = _value(chance, data)
        for call in (codec_kernel.encode_value, codec_kernel.encode, codec_kernel.prepare):
            with suppress(DocdbError):
                call(value)
        codec_kernel.order_key_of_value(inputs.stored(chance))


def prepared(chance: Random, batch: Batch) -> None:
    """Prepare a run of documents, some of which the kernel declines."""
    values = [_value(chance, data) for data in batch]
    made = [value if type(value) is dict else {"a": value} for value in values]
    fallback = (None, b"\x10", GOOD)
    owner = (None, ("a", "x"), ("_openid", "red"))[int(chance.random() * 3)]
    _, rows = codec_kernel.prepare_run(made, False, 7, lambda document: fallback, owner)
    _use(chance, rows)


# ---- keys, entries, runs


def split(chance: Random, batch: Batch) -> None:
    for data in batch:
        keys.split_components(data, ((1, 1, -1), (-1, 1), (1,), (-1, -1, -1, -1))[int(chance.random() * 4)])


def decode_key(chance: Random, batch: Batch) -> None:
    for data in batch:
        with suppress(DocdbError):
            components.decode_key(data, int(chance.random() * 16))


def _unknown(key: bytes, value: bytes) -> None:
    """Stand in for the reference form of an entry's decoder."""


@cache
def covered_decoders() -> list[Any]:
    """Return decoders of entries."""
    forms: list[tuple[tuple[str | None, ...], tuple[int, ...], bool]] = [
        (("a",), (1,), True), (("a", "b"), (1, -1), True), ((None, "b", "c"), (-1, 1, -1), False), ((), (), True), (("a",) * 32, (1,) * 32, False),
    ]  # fmt: skip
    return [codec_kernel.EntryDecoder(*form, _unknown) for form in forms]


def entry_pairs() -> Door:
    """Decode entries, of damaged keys and of damaged documents."""
    makers, decoders = _entry_kernels(), covered_decoders()

    def door(chance: Random, batch: Batch) -> None:
        for data in batch:
            size, decoder = len(data), decoders[int(chance.random() * len(decoders))]
            kinds = bytes(int(chance.random() ** 2 * 9) for _ in range(1 + int(chance.random() * 3)))
            with suppress(DocdbError):
                decoder(data, bytes((int(chance.random() * (size + 2)) & 255,)) + kinds)
                for key, value in makers[int(chance.random() * 6)].entries(b"\x30id\0", data) or ():
                    decoder(key[4:], value)

    return door


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


def entries_door() -> Door:
    makers = _entry_kernels()
    ids = (b"\x10", b"\x20\x80\0\0\0\0\0\0\0\0", b"\x30" + b"i" * 200 + b"\0", b"", b"x" * 300)

    def door(chance: Random, batch: Batch) -> None:
        for data in batch:
            makers[int(chance.random() * len(makers))].entries(ids[int(chance.random() * len(ids))], data)

    return door


def gathered(chance: Random, batch: Batch) -> Any:
    return runs.gather(3, [data[int(chance.random() * len(data)) :][:240] for data in batch], batch)


def runs_door(chance: Random, batch: Batch) -> None:
    for data in batch:
        _use(chance, gathered(chance, (GOOD, data, data)))


def _use(chance: Random, rows: Any) -> None:
    """Make of documents what a store makes of them."""
    rows.lists()
    with suppress(DocdbError):
        rows.all_match(programs()[int(chance.random() * len(programs()))])
    with suppress(DocdbError):
        rows.all_hold(
            PATHS[int(chance.random() * len(PATHS))], (b"\x01", b"\xa3red", b"\xc0")[int(chance.random() * 3)]
        )
    made = rows.documents(int(chance.random() * 9)), rows.changes(8, 2**40, 2**32 - 2)
    for run in made:
        for _ in run:
            pass
        assert run.total_bytes >= 0


def entry_runs() -> Door:
    makers = _entry_kernels()

    def door(chance: Random, batch: Batch) -> None:
        for data in batch:
            rows, program = gathered(chance, (GOOD, data)), programs()[int(chance.random() * len(programs()))]
            run = makers[int(chance.random() * len(makers))].run(rows, program if program.exact else None, b"\x30")
            if run is not None:
                run.collides()
                list(run)

    return door


# ---- predicates


@cache
def programs() -> list[Any]:
    made: list[dict[str, Any]] = [
        {"a": 1}, {"a.b": {"$gt": 1}}, {"b": {"$in": [1, "a", None, 2.5, ObjectId("64b7f0c2a1b2c3d4e5f60718")]}}, {"c": {"$elemMatch": {"a": 1}}},
        {"a": {"$elemMatch": {"$gt": 1, "$lt": 9}}}, {"a": {"$size": 2}}, {"b": {"$regex": "a"}}, {"text": {"$regex": "^Red"}},
        {"text": {"$regex": "s$"}}, {"a": {"$mod": [3, 1]}}, {"a": {"$bitsAllSet": 5}}, {"a": {"$bitsAnyClear": [1, 70, 200]}},
        {"a": {"$type": ["int", "array", "decimal"]}}, {"a": {"$exists": True}, "c": {"$exists": False}}, {"a": {"b": 1, "c": [1, {"x": None}]}},
        {"a": {"$gt": [1, {"a": "x"}]}}, {"$or": [{"a": 1}, {"nested.a.b": {"$gte": 3}}, {"items.a": 2}]}, {"$nor": [{"a": {"$lt": 1e300}}]},
        {"a": {"$lt": Decimal("1.5")}}, {"date": {"$gt": damage.DATE}}, {"_id": {"$gte": Timestamp(1, 2)}},
        {"a": {"$lt": MaxKey()}}, {"a.0.b": 1, "a.1": {"$ne": None}}, {"items.0.a": {"$in": [1, 2]}, "b": "red", "c": {"$gt": 1}},
        {f"f{n}": {"$gte": n} for n in range(70)}, {"b": "a text of exactly some length"}, {"": {"": 1}}, {"a": b"ab"}, {"a": float("nan")},
        {"a": {"$gte": 2**63 - 1}}, {"a": {"$lte": 2**53 + 1}},
        {"$or": [{"a": 1}, {"$expr": True}], "c": {"$gt": 1}}, {"a": {"$elemMatch": {"$regex": "x|y"}}}, {"items": {"$elemMatch": {"b": {"$regex": "^x*$"}}}},
        {"a.0.0.b": {"$gt": 0}}, {"a.1.0.0.b": 5}, {"0.0.a": 1, "a.b.c.d": {"$ne": 7}},
    ]  # fmt: skip
    programs = [compile_program(filters.parse(one)) for one in made]
    return [program for program in programs if program is not None]


def match(chance: Random, batch: Batch) -> None:
    made = programs()
    for data in batch:
        with suppress(DocdbError):
            made[int(chance.random() * len(made))].match(data)


def select(chance: Random, batch: Batch) -> None:
    program = programs()[int(chance.random() * len(programs()))]
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


def candidates() -> Door:
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


def queries() -> Door:
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
    field, seven = (0, 0.0, False), (1, 7.0, True)
    numbers = [
        (field, seven, (7, 0.0, False)),  # the remainder
        (field, seven, (5, 0.0, False), (6, 0.0, False)),  # the floor of a quotient
        (seven, field, (8, 0.0, False), field, (9, 0.0, False)),  # a product and a difference
    ]
    made += [(whole, ((at, ("number", steps), True),), folds[:4], None, 100, 2**40) for at, steps in enumerate(numbers)]
    made += [
        (dates[0], ((0, reading, True), (1, None, True)), ((0, 1), (4, 0)), None, 100, 2**40) for reading in readings
    ]
    return made


def groups() -> Door:
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


def joined_groups() -> Door:
    paths = (((), True), ((b"b",), True), ((b"nested", b"a"), True), ((b"a",), False), ((b"_id",), False))
    forms: list[tuple[Any, ...]] = [
        (paths, ((1, None, True),), ((0, 3), (1, 0), (4, 2)), (3, True), 100, 2**40, (b"a",), 2**30),
        (paths, ((0, None, True), (4, None, False)), ((0, 1),), (3, False), 100, 2**40, (b"b",), 2_000),
        (paths, ((3, None, True),), ((3, 0), (2, 1)), (4, True), 100, 20_000, (b"_id",), 2**30),
    ]

    def door(chance: Random, batch: Batch) -> None:
        form = forms[int(chance.random() * len(forms))]
        groups = grouping.JoinedGroups(*form)
        for data in batch:
            groups(GOOD)
            sound = groups(data)
            if chance.random() < 0.3 or groups.full or not sound:
                with suppress(DocdbError):
                    groups.wanted()
                groups.bring([GOOD, data, damage.stored_documents()[int(chance.random() * 400)], GOOD])
                groups.resume()
                with suppress(DocdbError):
                    groups.rows(MISSING)
                if groups.declined:
                    groups = grouping.JoinedGroups(*form)

    return door


def join(chance: Random, batch: Batch) -> None:
    known = {
        value: ([{"_id": value, "x": 1}] * (number % 3), number % 5 > 0)
        for number, value in enumerate([*range(9), "red", "green"])
    }
    for data in batch:
        value = _value(chance, data)
        both = [value, {"a": value}, {"a": 1}]
        joining.copies(both[1:], joining.are_flat(both[1:]))
        joining.join_known(both, ("a",), known, "b")
        joining.join_unwound(both, ("a", "b")[: 1 + (chance.random() < 0.3)], known, "b", chance.random() < 0.5)


def fill(chance: Random, batch: Batch) -> None:
    kept = (None, None, ("a", "b", "c"), ("_id", "nope"), (), ("a", "a", "date", "text", "b", "o", "u", "x"))
    for data in batch:
        keep, start = kept[int(chance.random() * 6)], int(chance.random() * 2)
        rows = [GOOD, data, data, GOOD, data][start : start + 1 + int(chance.random() * 4)]
        columns.fill(rows, keep, ("b", "y"), ("c",), (1000, 30, 2)[int(chance.random() * 3)])


def text_entries() -> Door:
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
                program = programs()[int(chance.random() * len(programs()))] if chance.random() < 0.3 else None
                upto = b"\x30" if chance.random() < 0.1 else None
                run = makers[int(chance.random() * 3)].run(gathered(chance, (GOOD, data)), program, upto)
                assert run.total_bytes >= 0

    return door


def keys_below(chance: Random, batch: Batch) -> None:
    paths = tuple(PATHS[int(chance.random() * len(PATHS))] for _ in range(1 + int(chance.random() * 3)))
    ways = tuple(1 if chance.random() < 0.5 else -1 for _ in paths)
    worst = None if chance.random() < 0.5 else batch[0]
    top.keys_below(list(batch), paths, ways, worst)


def firsts(chance: Random, batch: Batch) -> None:
    firsts = top.Firsts((PATHS[int(chance.random() * len(PATHS))], (b"b",)), (1, -1), int(chance.random() * 4))
    for data in batch:
        firsts(data)
        assert (firsts.lead is None) == (firsts.last is not None)
        if len(firsts.held) > 20:
            firsts.held = [row for row in firsts.held if row[0] is not None][:10]
            firsts.worst = max((row[0] for row in firsts.held if row[0] is not None), default=None)


def sorter() -> Door:
    """Sort documents; what the kernel declines gets a key of its own."""
    names = (None, (b"_id", b"a"), (b"text", b"nested", b"nope"), ())

    def door(chance: Random, batch: Batch) -> None:
        paths = (PATHS[int(chance.random() * len(PATHS))], (b"b",))
        made = top.Sorter(paths, (1, -1), names[int(chance.random() * 4)], lambda data: b"\xff")
        for _ in range(2):
            for data in batch:
                made(data)
            made.sort()
            half = len(made) // 2
            assert len(made.rows(0, half)) + len(made.stored(half, len(made))) == len(batch) and made.used > 0
            with suppress(DocdbError):
                made.decoded(0, len(made))
            made.clear()

    return door
