"""One line an operator: value, or the code of the refusal."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pytest

from docdb.errors import QueryError
from docdb.language.expressions import compile_expression
from docdb.language.filters import parse
from docdb.language.matching import matcher
from docdb.language.values import MISSING, Binary, Int64, ObjectId, Regex, type_name

DAY = dt.datetime(2024, 2, 29, 13, 5, 7, 250000, tzinfo=dt.UTC)
DOCUMENT: dict[str, Any] = {"n": None, "i": 3, "d": DAY, "a": [3, 1, 2], "s": "Grüße", "o": {"x": 1, "y": 2}}

VALUES: list[tuple[Any, Any]] = [
    ({"$abs": -3}, 3),
    ({"$add": [1, 2.5]}, 3.5),
    ({"$add": ["$d", 1000]}, DAY + dt.timedelta(seconds=1)),
    ({"$add": [1, "$gone"]}, None),
    ({"$allElementsTrue": [[1, True, "x"]]}, True),
    ({"$and": [1, 0]}, False),
    ({"$anyElementTrue": [[0, None]]}, False),
    ({"$arrayElemAt": ["$a", -1]}, 2),
    ({"$arrayElemAt": ["$a", 9]}, MISSING),
    ({"$arrayToObject": [[["k", 1], ["l", 2]]]}, {"k": 1, "l": 2}),
    ({"$avg": "$a"}, 2.0),
    ({"$binarySize": "ü"}, 2),
    ({"$bitXor": [5, 3]}, 6),
    ({"$bsonSize": {"a": 1}}, 12),
    ({"$ceil": 1.2}, 2.0),
    ({"$cmp": [1, "a"]}, -1),
    ({"$concat": ["a", None]}, None),
    ({"$concat": ["a", "b"]}, "ab"),
    ({"$concatArrays": ["$a", [9]]}, [3, 1, 2, 9]),
    ({"$cond": [{"$gt": ["$i", 2]}, "yes", "no"]}, "yes"),
    ({"$convert": {"input": "x", "to": "int", "onError": -1}}, -1),
    ({"$convert": {"input": None, "to": "int", "onNull": 0}}, 0),
    ({"$dateAdd": {"startDate": "$d", "unit": "year", "amount": 1}}, DAY.replace(year=2025, day=28)),
    ({"$dateDiff": {"startDate": "$d", "endDate": {"$add": ["$d", 86400000]}, "unit": "day"}}, 1),
    ({"$dateFromParts": {"year": 2024, "month": 14}}, dt.datetime(2025, 2, 1, tzinfo=dt.UTC)),
    ({"$dateFromString": {"dateString": "2024-02-29T13:05:07.250Z"}}, DAY),
    ({"$dateFromString": {"dateString": "29.02.2024", "format": "%d.%m.%Y"}}, dt.datetime(2024, 2, 29, tzinfo=dt.UTC)),
    ({"$dateSubtract": {"startDate": "$d", "unit": "day", "amount": 1}}, DAY - dt.timedelta(days=1)),
    (
        {"$dateToParts": {"date": "$d"}},
        {"year": 2024, "month": 2, "day": 29, "hour": 13, "minute": 5, "second": 7, "millisecond": 250},
    ),
    ({"$dateToString": {"date": "$d"}}, "2024-02-29T13:05:07.250Z"),
    ({"$dateToString": {"date": "$d", "format": "%H:%M", "timezone": "+02:00"}}, "15:05"),
    ({"$dateTrunc": {"date": "$d", "unit": "month"}}, dt.datetime(2024, 2, 1, tzinfo=dt.UTC)),
    ({"$dayOfWeek": "$d"}, 5),
    ({"$dayOfYear": "$d"}, 60),
    ({"$divide": [7, 2]}, 3.5),
    ({"$eq": [1, 1.0]}, True),
    ({"$filter": {"input": "$a", "cond": {"$gt": ["$$this", 1]}, "limit": 1}}, [3]),
    ({"$first": "$a"}, 3),
    ({"$getField": {"field": "x", "input": "$o"}}, 1),
    ({"$hour": {"date": "$d", "timezone": "Asia/Shanghai"}}, 21),
    ({"$ifNull": ["$n", "$gone", 7]}, 7),
    ({"$in": [2, "$a"]}, True),
    ({"$indexOfArray": ["$a", 2]}, 2),
    ({"$indexOfBytes": ["$s", "e"]}, 6),
    ({"$indexOfCP": ["$s", "e"]}, 4),
    ({"$isoWeek": "$d"}, 9),
    ({"$isArray": "$a"}, True),
    ({"$log10": 100}, 2.0),
    ({"$map": {"input": "$a", "as": "v", "in": {"$multiply": ["$$v", 2]}}}, [6, 2, 4]),
    ({"$max": [1, "a", None]}, "a"),
    ({"$maxN": {"n": 2, "input": "$a"}}, [3, 2]),
    ({"$median": {"input": "$a", "method": "approximate"}}, 2.0),
    ({"$mergeObjects": ["$o", {"y": 3}]}, {"x": 1, "y": 3}),
    ({"$mod": [-7, 3]}, -1),
    ({"$multiply": [2, 3]}, 6),
    ({"$objectToArray": "$o"}, [{"k": "x", "v": 1}, {"k": "y", "v": 2}]),
    ({"$pow": [2, 10]}, 1024),
    ({"$range": [0, 6, 2]}, [0, 2, 4]),
    ({"$reduce": {"input": "$a", "initialValue": 0, "in": {"$add": ["$$value", "$$this"]}}}, 6),
    ({"$regexFind": {"input": "abc", "regex": "(b)"}}, {"match": "b", "idx": 1, "captures": ["b"]}),
    ({"$regexMatch": {"input": "ABC", "regex": Regex("b", "i")}}, True),
    ({"$replaceAll": {"input": "aXbX", "find": "X", "replacement": "-"}}, "a-b-"),
    ({"$reverseArray": "$a"}, [2, 1, 3]),
    ({"$round": [2.5]}, 2.0),
    ({"$round": [1.25, 1]}, 1.2),
    ({"$setDifference": [[1, 2], [2]]}, [1]),
    ({"$setEquals": [[1, 2], [2, 1, 1]]}, True),
    ({"$setField": {"field": "a.b", "input": {}, "value": 1}}, {"a.b": 1}),
    ({"$setIsSubset": [[1], [1, 2]]}, True),
    ({"$size": "$a"}, 3),
    ({"$slice": ["$a", 1, 1]}, [1]),
    ({"$sortArray": {"input": "$a", "sortBy": 1}}, [1, 2, 3]),
    ({"$split": ["a,b", ","]}, ["a", "b"]),
    ({"$sqrt": 9}, 3.0),
    ({"$stdDevPop": [[1, 3]]}, 1.0),
    ({"$strLenBytes": "$s"}, 7),
    ({"$strLenCP": "$s"}, 5),
    ({"$strcasecmp": ["a", "A"]}, 0),
    ({"$substrBytes": ["abcdef", 1, 2]}, "bc"),
    ({"$substrCP": ["$s", 2, 2]}, "üß"),
    ({"$subtract": ["$d", "$d"]}, 0),
    ({"$sum": ["$a", "x", 1]}, 1),
    ({"$switch": {"branches": [{"case": False, "then": 1}], "default": 2}}, 2),
    ({"$toDate": Int64(0)}, dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
    ({"$toDecimal": 3.14}, Decimal("3.14000000000000")),
    ({"$toInt": "12"}, 12),
    ({"$toObjectId": "64b7f0c2a1b2c3d4e5f60718"}, ObjectId("64b7f0c2a1b2c3d4e5f60718")),
    ({"$toString": 1.5}, "1.5"),
    ({"$toUpper": "aß"}, "Aß"),
    ({"$toUUID": "00112233-4455-6677-8899-aabbccddeeff"}, uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")),
    ({"$trim": {"input": " x "}}, "x"),
    ({"$trunc": [1.29, 1]}, 1.2),
    ({"$type": "$gone"}, "missing"),
    ({"$unsetField": {"field": "x", "input": "$o"}}, {"y": 2}),
    ({"$week": "$d"}, 8),
    ({"$zip": {"inputs": [[1, 2], ["a"]], "useLongestLength": True, "defaults": [0, "z"]}}, [[1, "a"], [2, "z"]]),
]
VALUES += [
    ({"$dateAdd": {"startDate": "$d", "unit": "day", "amount": 1, "timezone": "+99:99"}}, DAY + dt.timedelta(days=1)),
    (
        {"$dateFromParts": {"year": 2020, "hour": 12, "timezone": "-99:99"}},
        dt.datetime(2020, 1, 5, 16, 39, tzinfo=dt.UTC),
    ),
    ({"$dateFromString": {"dateString": "2020-01-01T12:00:00-99:99"}}, dt.datetime(2020, 1, 5, 16, 39, tzinfo=dt.UTC)),
    ({"$dateToString": {"date": "$d", "format": "%d %H:%M %z %Z", "timezone": "+25:00"}}, "01 14:05 +2500 1500"),
    (
        {"$dateTrunc": {"date": "$d", "unit": "hour", "timezone": "+99:99"}},
        DAY.replace(hour=12, minute=21, second=0, microsecond=0),
    ),
    ({"$hour": {"date": "$d", "timezone": "-25:00"}}, 12),
    ({"$indexOfCP": ["hello", "", 5]}, -1),
    ({"$indexOfCP": ["", "", 0]}, 0),
    ({"$indexOfBytes": ["hello", "", 5]}, 5),
    ({"$or": [{"$divide": [1, "$gone.x"]}, {"$add": ["$s", 1]}, True]}, True),
    ({"$and": [{"$add": ["$s", 1]}, False]}, False),
    ({"$round": [2.675, 2]}, 2.67),
    ({"$trunc": [0.29, 2]}, 0.28),
    ({"$trunc": [0.1, 100]}, 0.1),
    ({"$setUnion": [{"$literal": "x"}, "$gone"]}, None),
    ({"$size": {"$regexFindAll": {"input": "abc", "regex": ""}}}, 3),
    ({"$size": {"$regexFindAll": {"input": "", "regex": ""}}}, 1),
    ({"$size": {"$regexFindAll": {"input": "hello", "regex": "l*"}}}, 4),
    ({"$switch": {"branches": [{"case": True, "then": 1}, {"case": {"$divide": [1, 0]}, "then": 2}]}}, 1),
    ({"$cond": [False, {"$divide": [1, 0]}, 3]}, 3),
    ({"$toDate": "\0 2024-02-29T13:05:07.250Z\0"}, DAY),
    ({"$toString": Binary(b"hello", 2)}, "BQAAAGhlbGxv"),
]
CODES: list[tuple[Any, int]] = [
    ({"$abs": "x"}, 28765),
    ({"$add": ["$d", "$d"]}, 16612),
    ({"$arrayToObject": 1}, 40386),
    ({"$concat": [1]}, 16702),
    ({"$cond": [1, 2]}, 16020),
    ({"$dateToString": {"date": 1}}, 16006),
    ({"$divide": [1, 0]}, 2),
    ({"$filter": {"input": 1, "cond": 1}}, 28651),
    ({"$hour": {"date": "$d", "timezone": "Nowhere/Land"}}, 40485),
    ({"$hour": {"date": "$d", "timezone": "Z"}}, 40485),
    ({"$hour": {"date": dt.datetime(9999, 12, 31, tzinfo=dt.UTC), "timezone": "+25:00"}}, 241),
    ({"$dateFromString": {"dateString": "2024-02-29T13:05:07Z", "timezone": "Europe/Rome"}}, 241),
    ({"$dateFromString": {"dateString": "2024-02-29 +999999999999", "format": "%Y-%m-%d %Z"}}, 241),
    ({"$substr": ["abc", 1e20, 1]}, 31109),
    ({"$substrBytes": ["abc", 0, 1e308]}, 31109),
    ({"$regexFind": {"input": "a", "regex": "é" * 8193}}, 51111),
    ({"$convert": {"input": b"a", "to": "string"}}, 4341115),
    ({"$convert": {"input": "YQ==", "to": "binData", "format": "auto"}}, 241),
    ({"$convert": {"input": "YQ==", "to": {"type": "binData", "subtype": 4}, "format": "base64"}}, 241),
    ({"$convert": {"input": "$i", "to": "int", "onNull": {"$divide": [1, 0]}}}, 2),
    ({"$toInt": uuid.UUID(int=0)}, 241),
    ({"$toDouble": uuid.UUID(int=0)}, 241),
    ({"$setUnion": [{"$literal": "x"}, "$a"]}, 17043),
    ({"$ifNull": [1]}, 1257300),
    ({"$in": [1, 2]}, 40081),
    ({"$map": {"input": 1, "in": 1}}, 16883),
    ({"$regexMatch": {"input": "a", "regex": "("}}, 51111),
    ({"$size": "$gone"}, 17124),
    ({"$substrBytes": ["é", 1, 1]}, 28656),
    ({"$switch": {"branches": []}}, 40068),
    ({"$toInt": "x"}, 241),
    ({"$zip": {"inputs": [1]}}, 34468),
]


@pytest.mark.parametrize(("spec", "expected"), [pytest.param(*case, id=str(case[0])[:60]) for case in VALUES])
def test_value(spec: Any, expected: Any) -> None:
    found = compile_expression(spec)(DOCUMENT)
    assert found == expected
    assert type(found) in (type(expected), Int64)


@pytest.mark.parametrize(("spec", "code"), [pytest.param(*case, id=str(case[0])[:60]) for case in CODES])
def test_refusal(spec: Any, code: int) -> None:
    with pytest.raises(QueryError) as caught:
        compile_expression(spec)(DOCUMENT)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"$ifNull": ["$i", {"$divide": [1, 0]}, 1]}, id="behind a value that is there"),
        pytest.param({"$cond": ["$i", 1, {"$divide": [1, 0]}]}, id="branch of a condition"),
        pytest.param({"a": {"b": [{"$divide": [1, 0]}]}}, id="within an object"),
        pytest.param(
            {"$switch": {"branches": [{"case": "$i", "then": 1}], "default": {"$divide": [1, 0]}}}, id="default"
        ),
    ],
)
def test_a_constant_part_that_fails_is_refused_when_compiled(spec: Any) -> None:
    with pytest.raises(QueryError, match="divide by zero"):
        compile_expression(spec)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        pytest.param({"$add": [1, 2]}, "int", id="int and int"),
        pytest.param({"$add": [2**31 - 1, 1]}, "long", id="int overflows to long"),
        pytest.param({"$add": [2**63 - 1, 1]}, "double", id="long overflows to double"),
        pytest.param({"$add": [Int64(1), 1]}, "long", id="long and int"),
        pytest.param({"$multiply": [1.0, Int64(1)]}, "double", id="double and long"),
        pytest.param({"$multiply": [1.0, Decimal(1)]}, "decimal", id="double and decimal"),
        pytest.param({"$divide": [4, 2]}, "double", id="division"),
        pytest.param({"$sum": [1, Int64(1)]}, "long", id="sum"),
        pytest.param({"$floor": Decimal("1.5")}, "decimal", id="floor"),
    ],
)
def test_number_type(spec: Any, kind: str) -> None:
    assert type_name(compile_expression(spec)({})) == kind


def test_short_circuit() -> None:
    assert compile_expression({"$or": [True, {"$divide": ["$i", 0]}]})(DOCUMENT) is True


class _CaseBlind:
    """A collation that ignores case."""

    def order_key(self, value: Any) -> bytes:
        return str(value).lower().encode()


def test_collation_reaches_comparisons_and_sets() -> None:
    spec = [{"$eq": ["$a", "X"]}, {"$in": ["X", ["y", "x"]]}, {"$setEquals": [["x"], ["X"]]}]
    assert compile_expression(spec, collation=_CaseBlind())({"a": "x"}) == [True, True, True]


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [(r"\s", "\u00a0", False), (r"\d", "\u0663", False), (r"\w", "\u00e9", False), ("(?i)\u00c9", "\u00e9", True), (r"a\Q.\E", "a.", True)],
    ids=["space", "digit", "word", "case", "quoted"],
)  # fmt: skip
def test_patterns_mean_what_they_mean_in_a_filter(pattern: str, text: str, found: bool) -> None:
    expression = compile_expression({"$regexMatch": {"input": "$t", "regex": pattern}})
    assert expression({"t": text}) is found
    assert matcher(parse({"t": {"$regex": pattern}}))({"t": text}) is found
