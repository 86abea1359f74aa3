"""Order keys read back."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import docdb
from docdb.engine.base import ENTRIES
from docdb.errors import CorruptError
from docdb.language.order import invert, order_key
from docdb.language.values import Binary, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from docdb.planner.components import component_end, covered_values, decode_component
from docdb.store import codec
from docdb.store.keyspace import EntryMaker, EntrySpec

VALUES = [
    None, True, False, 0, -1, 2**53 + 1, -(2**53) - 1, -(2**63), 2**63 - 1, 0.1, -2.5, float("inf"), float("-inf"), "", "a\0b", "é",
    b"", b"\xff\0", Binary(b"x", 5), UUID(int=7), ObjectId("64b7f0c2a1b2c3d4e5f60718"), dt.datetime(1969, 1, 1, 2, 3, 4, 5, dt.UTC),
    Timestamp(1, 2), Regex("a.b", "i"), MinKey(), MaxKey(), [1, [2, "x"]], {"a": {"b": None}, "c": [1]},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_key_gives_its_value_back(value: Any) -> None:
    key = order_key(value)
    assert component_end(b"\x05" + key + b"\x10", 1) == len(key) + 1
    assert decode_component(key) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**20), max_value=10**20))
def test_decimals_keep_their_value(value: Decimal) -> None:
    key = order_key(value)
    assert component_end(key + b"\x10") == len(key)
    assert order_key(decode_component(key)) == key


@pytest.mark.parametrize(
    "value",
    [1, Int64(1), 1.0, -0.0, 2**40, "x", None, True, b"x", UUID(int=3)],
    ids=lambda v: f"{type(v).__name__} {v}",
)
@pytest.mark.parametrize("way", [1, -1], ids=["up", "down"])
def test_an_entry_gives_the_exact_value_back(value: Any, way: int) -> None:
    spec = EntrySpec(1, ((("a",), way), (("b",), 1)))
    [(key, types)] = EntryMaker(spec).entries(order_key(1), codec.encode({"_id": 1, "a": value, "b": 2.5}))
    keys = type("Definition", (), {"keys": spec.fields})
    found = covered_values(keys, key[4:], types)
    assert found is not None
    assert (repr(found[0]), type(found[0]), found[1]) == (repr(value), type(value), 2.5)


@pytest.mark.parametrize("value", [Decimal(1), [1], {"x": 1}, Regex("a"), Binary(b"x", 5)], ids=repr)
def test_what_the_key_does_not_tell_is_not_covered(value: Any) -> None:
    spec = EntrySpec(1, ((("a",), 1),))
    data = codec.encode({"_id": 1, "a": value})
    pairs = EntryMaker(spec).entries(order_key(1), data)
    keys = type("Definition", (), {"keys": spec.fields})
    assert value == [1] or [covered_values(keys, key[4:], types) for key, types in pairs] == [None]


def test_inverting_twice_gives_the_key_back() -> None:
    assert invert(invert(order_key("abc"))) == order_key("abc")


@pytest.mark.damaged
@pytest.mark.parametrize("value", [b"", b"\0\x01", b"\xff\x01"], ids=["empty", "no id", "id longer than the key"])
def test_a_damaged_entry_is_refused_by_a_covered_read(value: bytes) -> None:
    with docdb.open(":memory:") as db:
        items = db["items"]
        items.create_index("n")
        items.insert_one({"_id": "a", "n": 1})
        txn = db._store.engine.begin(write=True)
        (((key, _),),) = txn.scan(ENTRIES, b"", b"\xff" * 5)
        txn.put_many(ENTRIES, [(key, value)])
        txn.commit()
        with pytest.raises(CorruptError):
            list(items.find({"n": 1}, {"n": 1}, hint="n_1"))
