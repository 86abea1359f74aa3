"""The doors that are fuzzed: each a function of a random.Random that raises where something is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from random import Random
from typing import Any, Final

import docdb
from docdb import _native
from docdb.language import filters, projection, sorting, updates
from docdb.language.matching import matcher
from docdb.language.order import order_key
from docdb.language.programs import compile_program
from docdb.sessions.sources import PipelineSources
from docdb.store import codec
from docdb.store.keyspace import EntryMaker, EntrySpec
from tests.fuzz import inputs, sensible

LIMIT_S: Final = 1.0


class SlowError(AssertionError):
    """An execution that took longer than a second."""


def run_one(name: str, chance: Random) -> None:
    """Run a target once; a docdb error is an answer."""
    began = time.process_time()
    try:
        TARGETS[name](chance)
    except docdb.DocdbError as error:
        assert not isinstance(error, docdb.StorageError) or name == "decode", error
    spent = time.process_time() - began
    if spent > LIMIT_S:
        raise SlowError(f"{name} took {spent:.1f} s")


def outcome(call: Callable[[], Any]) -> tuple[str, Any]:
    """Return what a call gives, or the class of its docdb error."""
    try:
        return "value", call()
    except docdb.DocdbError as error:
        return type(error).__name__, None


def _decode(chance: Random) -> None:
    data = bytearray(codec.encode(inputs.document(chance)))
    for _ in range(chance.randrange(4)):
        mode, place = chance.randrange(4), chance.randrange(len(data) or 1)
        if mode == 0 and data:
            data[place] = chance.randrange(256)
        elif mode == 1 and data:
            del data[place:]
        elif mode == 2:
            data[place:place] = chance.randbytes(chance.randrange(1, 6))
        elif data:
            data[place] ^= 1 << chance.randrange(8)
    packed = bytes(data)
    kernel, reference = (
        outcome(lambda: codec.decode_value(packed)),
        outcome(lambda: codec.reference_decode_value(packed)),
    )
    # The reference, msgpack, takes forms that docdb never writes (a float of four bytes); the kernel may refuse those.
    foreign = kernel[0] == "CorruptError" and outcome(lambda: codec.reference_encode_value(reference[1])) != (
        "value",
        packed,
    )
    assert foreign or repr(kernel) == repr(reference), (packed, kernel, reference)
    for program in _programs():
        assert program.match(packed) in (0, 1, 2)
    _entries_of(
        packed, EntryMaker(EntrySpec(number=1, fields=((("a",), 1), (("b", "0"), -1)), unique=False, sparse=False))
    )


def _entries_of(packed: bytes, maker: EntryMaker) -> Any:
    return outcome(lambda: maker.entries_many([b"\x20\x01"], [packed]))


@cache
def _programs() -> list[Any]:
    made = [
        {"a": 1},
        {"a.b": {"$gt": 1}},
        {"b": {"$in": [1, "a", None]}},
        {"c": {"$elemMatch": {"a": 1}}},
        {"a": {"$size": 2}},
        {"b": {"$regex": "a"}},
    ]
    programs = [compile_program(filters.parse(one)) for one in made]
    return [program for program in programs if program is not None]


def _encode(chance: Random) -> None:
    document = {"_id": 1, "v": inputs.value(chance)}
    kernel, reference = outcome(lambda: codec.encode(document)), outcome(lambda: codec.reference_encode(document))
    assert kernel == reference, (document, kernel, reference)
    if kernel[0] == "value":
        assert codec.encode(codec.decode(kernel[1])) == kernel[1]


def _order(chance: Random) -> None:
    left, right = inputs.stored(chance), inputs.stored(chance)
    left_key, right_key = order_key(left), order_key(right)
    if _native.AVAILABLE:
        from docdb._native import keys

        for value, key in ((left, left_key), (right, right_key)):
            compiled = keys.order_key(codec.encode_value(value))
            assert compiled is None or compiled == key, (value, compiled, key)
    assert (left_key == right_key) == (order_key([left]) == order_key([right]))


def _entries(chance: Random) -> None:
    paths = [
        tuple(chance.choice(("a", "b", "c", "a.b", "a.0", "b.a.c", "0")).split("."))
        for _ in range(chance.randrange(1, 4))
    ]
    fields = tuple((path, chance.choice((1, -1))) for path in dict.fromkeys(paths))
    spec = EntrySpec(number=3, fields=fields, unique=chance.random() < 0.3, sparse=chance.random() < 0.3)
    maker = EntryMaker(spec)
    document = inputs.document(chance)
    data, id_key = codec.encode(document), order_key(document["_id"])
    many = outcome(lambda: [sorted(row) for row in maker.entries_many([id_key], [data])])
    one = outcome(lambda: [sorted(maker.entries(id_key, data))])
    assert many == one, (document, fields, many, one)


def _filter(chance: Random) -> None:
    node = filters.parse(inputs.filter(chance))
    judge, program = matcher(node), compile_program(node)
    for _ in range(3):
        document = inputs.document(chance)
        verdict = outcome(lambda document=document: bool(judge(document)))
        if program is not None and verdict[0] == "value":
            answer = program.match(codec.encode(document))
            assert answer == 2 or bool(answer) == verdict[1], (node, document, answer, verdict)
            assert answer != 2 or not program.exact


def _update(chance: Random) -> None:
    update = updates.parse_update(
        inputs.update(chance), array_filters=[{"x": 1}] if chance.random() < 0.1 else None, merge=chance.random() < 0.1
    )
    document = inputs.document(chance)
    before = repr(document)
    new = update.apply(document, position=0, now=inputs.SCALARS[-13], inserting=chance.random() < 0.2)
    assert repr(document) == before
    codec.encode(new)


def _show(chance: Random) -> None:
    document = inputs.document(chance)
    if chance.random() < 0.5:
        shown = projection.parse_projection(inputs.projection(chance))
        if shown is not None:
            shown.apply(document)
    else:
        sorting.sort_key(sorting.parse_sort(inputs.sort(chance)))(document)


@cache
def _database() -> docdb.Database:
    db = docdb.open(":memory:", slow_ms=1e9)
    chance = Random(7)
    db["items"].insert_many([{**inputs.document(chance), "_id": n} for n in range(30)])
    db["items"].create_index("a")
    db["items"].create_index([("b", 1), ("_id", -1)])
    return db


def _pipeline(chance: Random) -> None:
    list(_database()["items"].aggregate(inputs.pipeline(chance)))


@cache
def _plain_database() -> docdb.Database:
    """Without an index: the order of documents is that of their ids, however they are read."""
    db = docdb.open(":memory:", slow_ms=1e9)
    chance = Random(8)
    db["items"].insert_many([sensible.document(chance, n) for n in range(40)])
    return db


def _optimised(chance: Random) -> None:
    items, stages = _plain_database()["items"], sensible.pipeline(chance)
    with written_as_is():
        expected = outcome(lambda: list(items.aggregate(stages)))
    if expected[0] == "value":  # what it raises over a document it may not have to look at when rearranged
        found = outcome(lambda: list(items.aggregate(stages)))
        assert repr(found) == repr(expected), (stages, found, expected)


@cache
def _narrow_database() -> docdb.Database:
    """As the plain one, but every stage goes to files at once."""
    db = docdb.open(":memory:", slow_ms=1e9, memory_limit=1_000)
    db["items"].insert_many(list(_plain_database()["items"].find({})))
    return db


def _pipelines(chance: Random) -> None:
    """Rearranged or as written, in kernels or by the stages, in memory or in files: one answer."""
    stages = sensible.spread(chance)
    with written_as_is():
        expected = outcome(lambda: list(_plain_database()["items"].aggregate(stages)))
    if expected[0] != "value":
        return
    for db in (_plain_database(), _narrow_database()):
        found = outcome(lambda db=db: list(db["items"].aggregate(stages)))
        assert repr(found) == repr(expected), (stages, found, expected)
    with written_as_is():
        found = outcome(lambda: list(_narrow_database()["items"].aggregate(stages)))
    assert repr(found) == repr(expected), (stages, found, expected)


@contextmanager
def written_as_is() -> Iterator[None]:
    """Run pipelines stage by stage over whole documents: no optimiser, no kernel."""
    PipelineSources.optimises = False
    try:
        yield
    finally:
        PipelineSources.optimises = True


def _find(chance: Random) -> None:
    items, filter = _database()["items"], inputs.filter(chance)
    found = list(items.find(filter))
    counted, node = items.count_documents(filter), filters.parse(filter)
    if "$sampleRate" not in repr(filter) and "$rand" not in repr(filter):
        assert counted == len(found), filter
        judge = matcher(node)
        expected = [document["_id"] for document in items.find({}) if judge(document)]
        assert sorted(document["_id"] for document in found) == expected, filter


def _write(chance: Random) -> None:
    items = _database()["scratch"]
    items.insert_one({**inputs.document(chance), "_id": 1})
    try:
        items.update_many(inputs.filter(chance, 1), inputs.update(chance), upsert=chance.random() < 0.2)
    finally:
        items.delete_many({})
        assert items.estimated_document_count() == 0


TARGETS: Final[dict[str, Callable[[Random], None]]] = {
    "decode": _decode,
    "encode": _encode,
    "entries": _entries,
    "filter": _filter,
    "find": _find,
    "optimised": _optimised,
    "order": _order,
    "pipeline": _pipeline,
    "pipelines": _pipelines,
    "show": _show,
    "update": _update,
    "write": _write,
}
