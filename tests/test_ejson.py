"""Extended JSON: exact shapes, both forms, and errors that name the place."""

import datetime as dt
import json
import uuid
from decimal import Decimal

import pytest

from docdb import ejson
from docdb.errors import DocumentError
from docdb.language.values import Binary, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

OID = ObjectId("64b7f0c2a1b2c3d4e5f60718")
UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
DATE = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)

SHAPES = [
    ("null", None, None, None),
    ("true", True, True, True),
    ("text", "aé", "aé", "aé"),
    ("int", 5, 5, {"$numberInt": "5"}),
    ("largest int32", 2**31 - 1, 2**31 - 1, {"$numberInt": "2147483647"}),
    ("long", 2**31, 2**31, {"$numberLong": "2147483648"}),
    ("float", 1.5, 1.5, {"$numberDouble": "1.5"}),
    ("whole float", 1.0, 1.0, {"$numberDouble": "1.0"}),
    ("negative zero", -0.0, -0.0, {"$numberDouble": "-0.0"}),
    ("infinity", float("inf"), {"$numberDouble": "Infinity"}, {"$numberDouble": "Infinity"}),
    ("minus infinity", float("-inf"), {"$numberDouble": "-Infinity"}, {"$numberDouble": "-Infinity"}),
    ("decimal", Decimal("1.50"), {"$numberDecimal": "1.50"}, {"$numberDecimal": "1.50"}),
    ("date", DATE, {"$date": "2024-01-02T03:04:05Z"}, {"$date": {"$numberLong": "1704164645000"}}),
    (
        "date with milliseconds",
        DATE.replace(microsecond=67000),
        {"$date": "2024-01-02T03:04:05.067Z"},
        {"$date": {"$numberLong": "1704164645067"}},
    ),
    (
        "date with microseconds",
        DATE.replace(microsecond=67001),
        {"$date": "2024-01-02T03:04:05.067001Z"},
        {"$date": "2024-01-02T03:04:05.067001Z"},
    ),
    (
        "date before 1970",
        dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=dt.UTC),
        {"$date": {"$numberLong": "-1000"}},
        {"$date": {"$numberLong": "-1000"}},
    ),
    (
        "bytes",
        b"\0\1",
        {"$binary": {"base64": "AAE=", "subType": "00"}},
        {"$binary": {"base64": "AAE=", "subType": "00"}},
    ),
    (
        "binary",
        Binary(b"ab", 0x80),
        {"$binary": {"base64": "YWI=", "subType": "80"}},
        {"$binary": {"base64": "YWI=", "subType": "80"}},
    ),
    (
        "uuid",
        UUID,
        {"$binary": {"base64": "EjRWeBI0VngSNFZ4EjRWeA==", "subType": "04"}},
        {"$binary": {"base64": "EjRWeBI0VngSNFZ4EjRWeA==", "subType": "04"}},
    ),
    ("object id", OID, {"$oid": "64b7f0c2a1b2c3d4e5f60718"}, {"$oid": "64b7f0c2a1b2c3d4e5f60718"}),
    (
        "regex",
        Regex("^a", "im"),
        {"$regularExpression": {"pattern": "^a", "options": "im"}},
        {"$regularExpression": {"pattern": "^a", "options": "im"}},
    ),
    ("timestamp", Timestamp(7, 8), {"$timestamp": {"t": 7, "i": 8}}, {"$timestamp": {"t": 7, "i": 8}}),
    ("min key", MinKey(), {"$minKey": 1}, {"$minKey": 1}),
    ("max key", MaxKey(), {"$maxKey": 1}, {"$maxKey": 1}),
    ("nested", {"a": [1, {"b": OID}]}, {"a": [1, {"b": {"$oid": str(OID)}}]},
     {"a": [{"$numberInt": "1"}, {"b": {"$oid": str(OID)}}]}),
]  # fmt: skip
IDS = [shape[0] for shape in SHAPES]


@pytest.mark.parametrize(("value", "relaxed"), [(s[1], s[2]) for s in SHAPES], ids=IDS)
def test_relaxed_shape(value, relaxed):
    assert repr(ejson.encode(value)) == repr(relaxed)


@pytest.mark.parametrize(("value", "canonical"), [(s[1], s[3]) for s in SHAPES], ids=IDS)
def test_canonical_shape(value, canonical):
    assert repr(ejson.encode(value, canonical=True)) == repr(canonical)


@pytest.mark.parametrize("canonical", [False, True], ids=["relaxed", "canonical"])
@pytest.mark.parametrize("value", [s[1] for s in SHAPES], ids=IDS)
def test_round_trip_keeps_value_and_type(value, canonical):
    assert repr(ejson.loads(ejson.dumps({"v": value}, canonical))) == repr({"v": value})


def test_canonical_keeps_the_mark_of_a_small_long():
    assert repr(ejson.loads(ejson.dumps(Int64(5), canonical=True))) == "Int64(5)"


def test_nan_round_trip():
    assert ejson.encode(float("nan")) == {"$numberDouble": "NaN"}
    assert str(ejson.decode({"$numberDouble": "NaN"})) == "nan"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ({"$binary": "YWI=", "$type": "00"}, b"ab"),
        ({"$binary": "YWI=", "$type": "80"}, Binary(b"ab", 0x80)),
        ({"$type": 5, "$binary": "YWI="}, Binary(b"ab", 5)),
        ({"$date": 1704164645000}, DATE),
        ({"$date": "2024-01-02T04:04:05+01:00"}, DATE),
        ({"$date": "2024-01-01T22:04:05-0500"}, DATE),
        ({"$uuid": str(UUID)}, UUID),
        ({"$numberDouble": "1e3"}, 1000.0),
        ({"$numberLong": "5000000000"}, 5_000_000_000),
        ({"$gt": {"$numberInt": "5"}}, {"$gt": 5}),
        ({"$regex": "^a", "$options": "i"}, {"$regex": "^a", "$options": "i"}),
        ({"$type": "string"}, {"$type": "string"}),
        ({"$ref": "users", "$id": {"$oid": str(OID)}}, {"$ref": "users", "$id": OID}),
    ],
    ids=str,
)
def test_other_spellings_and_operators(written, value):
    assert ejson.decode(written) == value


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ({"a": {"$oid": "xyz"}}, "a.$oid"),
        ({"a": [1, {"b": {"$date": "yesterday"}}]}, "a.1.b.$date"),
        ({"a": {"$date": "2024-02-30T00:00:00Z"}}, "a.$date"),
        ({"a": {"$date": {"$numberLong": "9223372036854775807"}}}, "a.$date"),
        ({"$numberInt": "2147483648"}, "$numberInt"),
        ({"$numberInt": 5}, "$numberInt"),
        ({"$numberLong": "9223372036854775808"}, "$numberLong"),
        ({"$numberDouble": "one"}, "$numberDouble"),
        ({"$numberDecimal": "1_0"}, "$numberDecimal"),
        ({"$numberDecimal": "x"}, "$numberDecimal"),
        ({"$binary": {"base64": "?", "subType": "00"}}, "$binary"),
        ({"$binary": {"base64": "YWI="}}, "$binary"),
        ({"$binary": "YWI=", "$type": "zz"}, "$binary"),
        ({"$uuid": "1234"}, "$uuid"),
        ({"$timestamp": {"t": -1, "i": 0}}, "$timestamp"),
        ({"$minKey": 2}, "$minKey"),
        ({"$regularExpression": {"pattern": "a"}}, "$regularExpression"),
        ({"a": {"$undefined": True}}, "a.$undefined"),
        ({"a": {"$code": "f()"}}, "a.$code"),
        ({"a": {"$oid": str(OID), "b": 1}}, "a"),
        ({"a": 2**64}, "a"),
    ],
    ids=str,
)
def test_errors_carry_the_path(written, path):
    with pytest.raises(DocumentError) as caught:
        ejson.decode(written)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("{", 1, 2), ('{"a": 1,\n "b": }', 2, 7), ("", 1, 1), ("[1 2]", 1, 4)],
    ids=["open", "second line", "empty", "no comma"],
)
def test_bad_json_names_line_and_column(text, line, column):
    with pytest.raises(DocumentError) as caught:
        ejson.loads(text)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": 1, "a": 2}', "[" * 200 + "]" * 200, "1e999", "9" * 5000])
def test_refused_texts(text):
    with pytest.raises(DocumentError):
        ejson.loads(text)


def test_very_deep_text_is_refused():
    with pytest.raises(DocumentError, match="deeper"):
        ejson.loads("[" * 100_000 + "]" * 100_000)


def test_encode_error_carries_the_path():
    with pytest.raises(DocumentError) as caught:
        ejson.encode({"a": [1, {"b": object()}]})
    assert caught.value.path == "a.1.b"


def test_naive_date_is_refused():
    with pytest.raises(DocumentError, match="time zone"):
        ejson.encode({"a": dt.datetime(2024, 1, 1)})


def test_pymongo_values_are_accepted():
    bson = pytest.importorskip("bson")
    value = {"i": bson.ObjectId(str(OID)), "n": bson.Int64(5), "d": bson.Decimal128("1.5")}
    assert ejson.encode(value, canonical=True) == {
        "i": {"$oid": str(OID)},
        "n": {"$numberLong": "5"},
        "d": {"$numberDecimal": "1.5"},
    }


def test_agrees_with_pymongo_on_canonical_text():
    json_util = pytest.importorskip("bson.json_util")
    value = {"n": 5, "x": 1.5, "b": b"ab", "u": None, "l": [True, "a"]}
    theirs = json.loads(json_util.dumps(value, json_options=json_util.CANONICAL_JSON_OPTIONS))
    assert ejson.encode(value, canonical=True) == theirs
