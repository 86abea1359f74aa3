"""The catalog: definitions come back as they were stored, damaged ones are refused."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from docdb.engine.base import CATALOG
from docdb.engine.memory import MemoryEngine
from docdb.errors import CorruptError, FormatError, IndexDefinitionError
from docdb.language.collation import parse_collation
from docdb.store import catalog, codec
from docdb.store.catalog import Catalog, CollectionInfo, Counters, IndexInfo, State
from docdb.store.keyspace import FORMAT_KEY, STATE_KEY, VERSION_KEY, collection_definition_key

INDEXES = (
    IndexInfo(1, "a_1", ((("a",), 1),)),
    IndexInfo(
        2, "full", ((("a", "b"), -1), (("c",), 1)), True, True, {"a": {"$gt": 5}}, 3600,
        parse_collation({"locale": "de", "strength": 2}), True, True, "1:2",
    ),
)  # fmt: skip


def engine_with(*items: tuple[bytes, bytes]) -> Any:
    engine = MemoryEngine()
    txn = engine.begin(write=True)
    txn.put_many(CATALOG, catalog.first_contents("id", "epoch", dt.datetime.now(dt.UTC)))
    txn.put_many(CATALOG, items)
    txn.commit()
    return engine.begin()


def test_definitions_come_back() -> None:
    info = CollectionInfo(7, "items", {"validator": {"a": 1}, "collation": {"locale": "de"}}, INDEXES)
    assert CollectionInfo.unpack("items", info.pack()) == info


def test_the_newest_version_is_loaded_once() -> None:
    info = CollectionInfo(7, "items", {}, INDEXES)
    txn = engine_with((collection_definition_key("items"), info.pack()), (VERSION_KEY, (5).to_bytes(8, "big")))
    loaded = catalog.load(txn)
    assert (loaded.version, loaded.collections) == (5, {"items": info})
    assert catalog.load(txn, loaded) is loaded
    assert loaded.by_number == {7: info}


def test_a_catalog_is_never_changed() -> None:
    first = Catalog(1, {})
    second = first.with_collection(CollectionInfo(1, "a"))
    third = second.without("a")
    assert (dict(first.collections), list(second.collections), dict(third.collections)) == ({}, ["a"], {})
    assert [first.version, second.version, third.version] == [1, 2, 3]


def test_indexes_of_a_collection() -> None:
    info = CollectionInfo(1, "a", {}, INDEXES)
    assert info.index("full") is INDEXES[1]
    assert info.without_index(1).indexes == INDEXES[1:]
    assert info.with_index(INDEXES[0]).indexes == (INDEXES[1], INDEXES[0])
    with pytest.raises(IndexDefinitionError) as caught:
        info.index("none")
    assert caught.value.code == 27


def test_state_and_counters_come_back() -> None:
    state = State(1, 2, 3, 4, 5)
    assert State.read(engine_with((STATE_KEY, state.pack()))) == state
    assert Counters.read(engine_with((b"n:1", Counters(1, 2, 3).pack())), b"n:1") == Counters(1, 2, 3)
    assert Counters.read(engine_with(), b"n:9") == Counters()


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", codec.encode_value({}), codec.encode_value(1), codec.encode_value({"number": 1, "options": {}, "indexes": [{}]}),
     codec.encode_value({"number": 1, "options": {}, "indexes": [{**INDEXES[0].pack(), "extra": 1}]}),
     codec.encode_value({"number": 1, "options": {}, "indexes": [{**INDEXES[0].pack(), "keys": [1]}]}),
     codec.encode_value({"number": "one", "options": {}, "indexes": []}),
     codec.encode_value({"number": 1, "options": [], "indexes": []})],
    ids=["empty", "no msgpack", "no fields", "a number", "an empty index", "an unknown field", "keys", "a number that is text", "options"],
)  # fmt: skip
def test_damaged_definitions_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptError):
        catalog.load(engine_with((collection_definition_key("items"), data)))


@pytest.mark.parametrize(
    ("key", "read"), [(STATE_KEY, State.read), (VERSION_KEY, catalog.load)], ids=["state", "version"]
)
def test_damaged_records_are_corrupt(key: bytes, read: Any) -> None:
    with pytest.raises(CorruptError):
        read(engine_with((key, b"short")))


def test_a_name_that_is_no_text_is_corrupt() -> None:
    with pytest.raises(CorruptError):
        catalog.load(engine_with((b"c:\xff\xfe", CollectionInfo(1, "x").pack())))


def test_damaged_counters_are_corrupt() -> None:
    with pytest.raises(CorruptError):
        Counters.read(engine_with((b"n:1", b"short")), b"n:1")


def test_counters_below_zero_are_corrupt() -> None:
    with pytest.raises(CorruptError):
        Counters(0, -1, 0).pack()


def test_another_format_is_refused() -> None:
    with pytest.raises(FormatError):
        catalog.read_about(engine_with((FORMAT_KEY, codec.encode_value({"format": 2}))))


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", codec.encode_value(5), codec.encode_value({"format": 1})],
    ids=["empty", "bytes", "number", "no id"],
)
def test_a_damaged_format_record_is_refused(data: bytes) -> None:
    with pytest.raises((CorruptError, FormatError)):
        catalog.read_about(engine_with((FORMAT_KEY, data)))
