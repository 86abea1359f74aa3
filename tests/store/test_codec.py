"""Stored bytes: round trips, what is refused and where, damage."""

import datetime as dt
import random
import re
from collections import OrderedDict
from decimal import Decimal
from types import MappingProxyType

import bson
import pytest
from hypothesis import given, settings

from docdb.errors import CorruptError, DocumentError
from docdb.language.order import order_key
from docdb.language.values import Binary, Int64, MinKey, ObjectId, Regex
from docdb.store import codec
from tests.store.values import EDGES, same, values

DOCUMENT = {
    "_id": "x", "n": 5, "f": 1.5, "t": ["a", {"b": None}], "d": dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "m": Decimal("1.50"), "r": Regex("a", "i"),
    "o": ObjectId("64b7f0c2a1b2c3d4e5f60718"), "x": Binary(b"ab", 3), "l": Int64(3), "k": MinKey(), "y": b"bytes",
}  # fmt: skip
FORMS = [
    pytest.param(codec.encode, codec.decode, id="chosen"),
    pytest.param(codec.reference_encode, codec.reference_decode, id="reference"),
]
PREPARES = [pytest.param(codec.prepare, id="chosen"), pytest.param(codec.reference_prepare, id="reference")]


@pytest.mark.parametrize("value", EDGES, ids=lambda v: f"{type(v).__name__}-{v!r:.30}")
def test_every_value_comes_back_as_it_went_in(value):
    data = codec.encode_value(value)
    assert same(codec.decode_value(data), value)
    assert same(codec.reference_decode_value(data), value)
    assert codec.reference_encode_value(value) == data


@settings(max_examples=300, deadline=None)
@given(values)
def test_generated_values_come_back(value):
    data = codec.encode_value(value)
    assert same(codec.decode_value(data), value)
    assert same(codec.reference_decode_value(data), value)
    assert codec.reference_encode_value(value) == data


@pytest.mark.parametrize(("encode", "decode"), FORMS)
def test_an_int64_beyond_32_bits_is_a_plain_long_anyway(encode, decode):
    assert same(decode(encode({"a": Int64(2**40)})), {"a": 2**40})


def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


REFUSED = [
    ({"a": {"$b": 1}}, "a.$b", 52, "dollar"),
    ({"a": [{"b.c": 1}]}, "a.0.b.c", 57, "dot"),
    ({"a": {"x\0": 1}}, "a.'x\\x00'", 2, "nul"),
    ({"a": {1: 1}}, "a", 2, "name-not-text"),
    ({"a": ["\ud800"]}, "a.0", 2, "surrogate"),
    ({"a": {"b": 2**63}}, "a.b", 2, "big"),
    ({"a": -(2**63) - 1}, "a", 2, "small"),
    ({"a": Int64(2**63)}, "a", 2, "big-int64"),
    ({"a": dt.datetime(2024, 1, 1)}, "a", 2, "naive"),
    ({"a": [dt.date(2024, 1, 1)]}, "a.0", 2, "date"),
    ({"a": {"b": {1, 2}}}, "a.b", 2, "set"),
    ({"a": object()}, "a", 2, "object"),
    ({"a": Decimal("sNaN")}, "a", 2, "signalling"),
    ({"a": Decimal("1" * 35)}, "a", 2, "digits"),
    ({"a": nested(100)}, ".".join(["a"] + ["0"] * 99), 2, "deep"),
    ({"a": "x" * codec.MAX_SIZE}, None, 10334, "large"),
    ([], None, 14, "not-a-mapping"),
]


@pytest.mark.parametrize(("document", "path", "code"), [pytest.param(*case[:3], id=case[3]) for case in REFUSED])
@pytest.mark.parametrize("form", [codec.encode, codec.prepare, codec.reference_encode, codec.reference_prepare])
def test_what_cannot_be_stored_is_refused_with_its_path(form, document, path, code):
    with pytest.raises(DocumentError) as caught:
        form(document)
    assert (caught.value.path, caught.value.code) == (path, code)


@pytest.mark.parametrize("prepare", PREPARES)
@pytest.mark.parametrize(
    ("value", "code"),
    [
        pytest.param([1], 53, id="array"),
        pytest.param(Regex("a"), 53, id="regex"),
        pytest.param(re.compile("a"), 53, id="compiled"),
        pytest.param("x" * 239, 2, id="long"),
        pytest.param({"$a": 1}, 52, id="dollar"),
    ],
)
def test_impossible_ids_are_refused(prepare, value, code):
    with pytest.raises(DocumentError) as caught:
        prepare({"a": 1, "_id": value})
    assert caught.value.code == code
    assert caught.value.path.startswith("_id")


@pytest.mark.parametrize("prepare", PREPARES)
def test_prepare_puts_the_id_first(prepare):
    id_value, id_key, data = prepare({"a": 1, "_id": "x" * 238, "b": 2})
    assert (id_value, id_key) == ("x" * 238, order_key("x" * 238))
    assert list(codec.decode(data).items()) == [("_id", "x" * 238), ("a", 1), ("b", 2)]


@pytest.mark.parametrize("prepare", PREPARES)
def test_prepare_makes_an_absent_id_and_leaves_the_document_alone(prepare):
    document = {"a": 1}
    id_value, id_key, data = prepare(document)
    assert re.fullmatch("[0-9a-f]{32}", id_value)
    assert codec.decode(data) == {"_id": id_value, "a": 1}
    assert (document, id_key) == ({"a": 1}, order_key(id_value))


@pytest.mark.parametrize("prepare", PREPARES)
@pytest.mark.parametrize(
    "value", [None, 1, 1.5, {"a": (1, 2)}, b"x", bson.ObjectId("64b7f0c2a1b2c3d4e5f60718")], ids=repr
)
def test_the_returned_id_is_canonical(prepare, value):
    id_value, id_key, data = prepare({"_id": value})
    assert same(codec.decode(data), {"_id": id_value})
    assert id_key == order_key(id_value)


def test_prepare_many_prepares_each():
    assert codec.prepare_many([{"_id": 1}, {"_id": 2, "a": 1}]) == [
        codec.prepare({"_id": 1}),
        codec.prepare({"_id": 2, "a": 1}),
    ]


@pytest.mark.parametrize(("encode", "decode"), FORMS)
def test_what_users_write_becomes_canonical(encode, decode):
    given = OrderedDict(
        t=(1, 2), o=bson.ObjectId("64b7f0c2a1b2c3d4e5f60718"), l=bson.Int64(3), m=MappingProxyType({"a": 1}), r=re.compile("a", re.I),
        b=bytearray(b"x"), d=dt.datetime(2024, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))), z=Binary(b"q", 0),
    )  # fmt: skip
    expected = {
        "t": [1, 2], "o": ObjectId("64b7f0c2a1b2c3d4e5f60718"), "l": Int64(3), "m": {"a": 1}, "r": Regex("a", "i"), "b": b"x",
        "d": dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "z": b"q",
    }  # fmt: skip
    assert same(decode(encode(given)), expected)
    assert same(decode(encode(dict(given))), expected)


@pytest.mark.parametrize(("encode", "decode"), FORMS)
def test_naive_dates_may_be_taken_as_utc(encode, decode):
    assert decode(encode({"d": dt.datetime(2024, 1, 1)}, naive_utc=True)) == {
        "d": dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    }


@pytest.mark.parametrize(("encode", "decode"), FORMS)
def test_a_hundred_levels_are_allowed(encode, decode):
    document = {"a": nested(99)}
    assert decode(encode(document)) == document


DAMAGED = {
    "empty": b"", "trailing": b"\x01\x01", "short-text": b"\xa3ab", "bad-utf8": b"\xa2\xff\xfe", "unused": b"\xc1", "wide-int": b"\xcf" + b"\xff" * 8,
    "name-not-text": b"\x81\x01\x01", "twice": b"\x82\xa1a\x01\xa1a\x02", "long-array": b"\xdd\xff\xff\xff\xff\x01", "deep": b"\x91" * 101 + b"\x01",
    "very-deep": b"\x91" * 100_000, "ext-unknown": b"\xd4\x0b\x00", "ext-timestamp": b"\xd6\xff\0\0\0\1", "date-size": b"\xd6\x01\0\0\0\0",
    "date-far": b"\xd7\x01\x7f" + b"\xff" * 7, "date-early": b"\xd7\x01\x80" + b"\0" * 7, "decimal": b"\xd5\x03\x01x", "decimal-empty": b"\xc7\x00\x03",
    "decimal-no-key": b"\xd5\x03\x011", "regex-flags": b"\xc7\x03\x05a\0q", "regex-open": b"\xd5\x05ab", "int64": b"\xd7\x06\0\0\0\1\0\0\0\0",
    "object-id": b"\xc7\x0b\x02" + b"a" * 11, "uuid": b"\xd7\x04" + b"a" * 8, "min-key": b"\xd4\x08\x01", "binary": b"\xd5\x0a\x00a",
}  # fmt: skip


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
@pytest.mark.parametrize(
    "decode",
    [codec.decode, codec.reference_decode, codec.decode_value, codec.reference_decode_value, codec.Decoder()],
    ids=["chosen", "reference", "value", "reference value", "decoder"],
)
def test_damage_is_named(decode, data):
    with pytest.raises(CorruptError):
        decode(data)


@pytest.mark.parametrize(
    "decode", [codec.decode, codec.reference_decode, codec.Decoder()], ids=["chosen", "reference", "decoder"]
)
def test_decoders_take_documents_only(decode):
    assert decode(codec.encode(DOCUMENT)) == DOCUMENT
    for value in (1, None, "text", [DOCUMENT], Int64(3)):
        with pytest.raises(CorruptError, match="not a document"):
            decode(codec.encode_value(value))


@pytest.mark.parametrize("decode", [codec.decode, codec.reference_decode], ids=["chosen", "reference"])
def test_every_truncation_is_damage(decode):
    data = codec.encode(DOCUMENT)
    for size in range(len(data)):
        with pytest.raises(CorruptError):
            decode(data[:size])


def survives(decode, data):
    try:
        decode(data)
    except CorruptError:
        return


def test_random_damage_never_raises_anything_else():
    chance = random.Random(20_241)
    data = codec.encode(DOCUMENT)
    for _ in range(5_000):
        hurt = bytearray(data)
        for _ in range(chance.randrange(1, 5)):
            hurt[chance.randrange(len(hurt))] = chance.randrange(256)
        survives(codec.decode, bytes(hurt))
        survives(codec.reference_decode, bytes(hurt))


def test_many_names_do_not_confuse_the_table_of_names():
    for start in range(0, 30_000, 1_000):
        document = {f"name{i}{'é' * (i % 3)}": i for i in range(start, start + 1_000)}
        assert codec.decode(codec.encode(document)) == document
