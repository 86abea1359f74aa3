"""$group over stored documents against the stage itself."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import docdb
from docdb import _native
from docdb.errors import CorruptError, QueryError
from docdb.language.order import order_key
from docdb.language.values import Int64
from docdb.pipeline.grouping import Grouping, compile_bucket, compile_grouping, distinct_values
from docdb.planner import covering
from docdb.store import codec
from tests.pipeline.fake import run

pytestmark = pytest.mark.skipif(not _native.AVAILABLE, reason="the kernels are not there")

NUMBERS = st.one_of(
    st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1), st.floats(), st.sampled_from([Int64(2), 2**31])
)
DATES = st.datetimes(timezones=st.just(dt.UTC)).map(lambda date: date.replace(fold=0))
SCALARS = st.one_of(NUMBERS, st.none(), st.booleans(), st.text(max_size=3), st.just(-0.0), DATES)
RARE = st.sampled_from([Decimal("1.5"), [1, 2], [{"b": 1}], {"b": 2}, {"b": {"c": 1}}, [], [[1], 2]])
VALUES = st.one_of(SCALARS, SCALARS, SCALARS, RARE)
DOCUMENTS = st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), max_size=40)
GROUPS: list[dict[str, Any]] = [
    {"_id": "$a", "n": {"$sum": 1}, "s": {"$sum": "$b"}, "m": {"$avg": "$c"}},
    {"_id": None, "s": {"$sum": "$b"}, "n": {"$count": {}}, "seven": {"$avg": 7}},
    {"_id": "$a.b", "s": {"$sum": "$a.b"}},
    {"_id": "$c"},
    {"_id": "all", "low": {"$min": "$a"}, "high": {"$max": "$a"}, "l": {"$last": "$b"}, "f": {"$first": "$b"}},
    {
        "_id": {"a": "$a", "in": {"b": "$b"}, "kind": "x"},
        "low": {"$min": "$c"},
        "again": {"$min": "$c"},
        "s": {"$sum": "$c"},
    },
    {"_id": {"$floor": {"$divide": ["$a", 500]}}, "n": {"$sum": 1}},
    {"_id": {"m": {"$mod": [{"$trunc": "$a"}, 7]}, "b": "$b"}, "s": {"$sum": "$c"}},
    {"_id": {"$multiply": [{"$floor": [{"$divide": [{"$subtract": ["$a", 0.5]}, 0.1]}]}, 3]}, "n": {"$count": {}}},
    {"_id": {"$add": [{"$abs": "$a"}, {"$ceil": {"$mod": ["$a", -2.5]}}]}, "l": {"$last": "$a"}},
    {"_id": {"$divide": [1, "$a.b"]}, "n": {"$sum": 1}},
    {"_id": {"$multiply": ["$a", "$a"]}, "n": {"$sum": 1}},
    {"_id": {"ab": "$a.b", "b": "$b"}, "high": {"$max": "$a.b.c"}, "m": {"$avg": "$a.b"}},
]
ELEMENTS = st.one_of(SCALARS, st.dictionaries(st.sampled_from("xy"), VALUES, max_size=2), RARE)
LISTS = st.one_of(st.lists(ELEMENTS, max_size=4), VALUES, st.none())
UNWOUND = st.lists(
    st.fixed_dictionaries(
        {}, optional={"a": LISTS, "o": st.one_of(st.fixed_dictionaries({"a": LISTS}), VALUES), "b": SCALARS}
    ),
    max_size=20,
)
UNWINDS: list[tuple[Any, dict[str, Any]]] = [
    ("$a", {"_id": "$a", "n": {"$sum": 1}, "s": {"$sum": "$b"}}),
    ("$a", {"_id": "$a.x", "s": {"$sum": "$a.y"}, "low": {"$min": "$a"}, "l": {"$last": "$a.x"}}),
    ({"path": "$a", "preserveNullAndEmptyArrays": True}, {"_id": {"a": "$a", "b": "$b"}, "n": {"$count": {}}, "f": {"$first": "$a"}}),
    ({"path": "$o.a", "preserveNullAndEmptyArrays": True}, {"_id": "$o.a.x", "s": {"$sum": "$o.a"}, "m": {"$avg": "$b"}}),
    ({"path": "$o.a"}, {"_id": None, "s": {"$sum": "$o.b"}, "high": {"$max": "$o.a.y"}}),
]  # fmt: skip


def grouped(
    grouping: Grouping | None, documents: list[dict[str, Any]], memory_limit: int = 1 << 30
) -> list[dict[str, Any]] | None:
    assert grouping is not None
    stored = [codec.encode(document) for document in documents]
    return grouping.run(lambda take: ([take(data) for data in part] for part in (stored[:7], stored[7:])), memory_limit)


def numbered(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"_id": n, **document} for n, document in enumerate(documents)]


@pytest.mark.parametrize("spec", GROUPS, ids=str)
@given(DOCUMENTS)
def test_it_gives_what_the_stage_gives_or_declines(spec: dict[str, Any], documents: list[dict[str, Any]]) -> None:
    documents = numbered(documents)
    found = grouped(compile_grouping(spec), documents)
    assert found is None or repr(found) == repr(run(documents, [{"$group": spec}]))


COMPUTED = [spec for spec in GROUPS if "$" in str(list(spec["_id"])[:1] if isinstance(spec["_id"], dict) else "")] + [
    {"_id": {"x": {"$mod": ["$a", 3]}, "y": {"$subtract": [10, {"$trunc": "$a"}]}}, "n": {"$sum": 1}}
]
PLAIN = st.one_of(
    st.integers(-1000, 1000), st.floats(-1e6, 1e6), st.integers(-(2**53), 2**53), st.just(Int64(3)), st.none()
)


@pytest.mark.parametrize("spec", COMPUTED, ids=str)
@given(st.lists(st.fixed_dictionaries({"a": PLAIN}, optional={"b": PLAIN, "c": PLAIN}), max_size=40))
def test_ids_computed_of_numbers(spec: dict[str, Any], documents: list[dict[str, Any]]) -> None:
    documents = numbered(documents)
    found = grouped(compile_grouping(spec), documents)
    try:
        expected = run(documents, [{"$group": spec}])
    except QueryError:  # a division by zero
        assert found is None
        return
    assert found is None or repr(found) == repr(expected)


@pytest.mark.parametrize("spec", COMPUTED, ids=str)
def test_ids_computed_of_plain_numbers_are_not_declined(spec: dict[str, Any]) -> None:
    documents = [{"_id": n, "a": n / 4 if n % 3 else n + 1, "b": n % 2} for n in range(1, 3000)]
    documents = [d | {"a": {"b": d["a"]}} if "a.b" in str(spec) else d for d in documents]
    found = grouped(compile_grouping(spec), documents)
    assert found is not None
    assert repr(found) == repr(run(documents, [{"$group": spec}]))


@pytest.mark.parametrize(
    "id",
    [
        {"$floor": {"$divide": ["$a", "$b"]}}, {"$add": ["$a", 1, 2]}, {"$multiply": ["$a", 2**53 + 1]}, {"$multiply": ["$a", True]},
        {"$floor": {"$toInt": "$a"}}, {"$trunc": ["$a", 1]}, {"$add": ["$$NOW", 1]}, {"$add": [1, 2]}, {"$subtract": ["$a", {"$literal": 1}]},
    ],
    ids=str,
)  # fmt: skip
def test_other_computed_ids_take_the_stage(id: Any) -> None:
    assert compile_grouping({"_id": id}) is None


@pytest.mark.parametrize(("unwind", "spec"), UNWINDS, ids=str)
@given(UNWOUND)
@example([{"a": []}, {"a": None}, {}, {"o": {"a": []}}, {"o": {"a": None}}, {"o": [1]}])
def test_what_is_unwound_before(unwind: Any, spec: dict[str, Any], documents: list[dict[str, Any]]) -> None:
    documents = numbered(documents)
    found = grouped(compile_grouping(spec, unwind), documents)
    assert found is None or repr(found) == repr(run(documents, [{"$unwind": unwind}, {"$group": spec}]))


BUCKETS: list[dict[str, Any]] = [
    {"groupBy": "$a", "boundaries": [0, 2, 2.5, 2**40]},
    {"groupBy": "$a", "boundaries": [-(2**70), 0, 1], "default": "other", "output": {"n": {"$count": {}}, "l": {"$last": "$b"}}},
    {"groupBy": "$a.b", "boundaries": ["a", "b"], "default": None, "output": {"s": {"$sum": "$b"}, "m": {"$avg": "$c"}}},
]  # fmt: skip


@pytest.mark.parametrize("spec", BUCKETS, ids=str)
@given(DOCUMENTS)
def test_buckets(spec: dict[str, Any], documents: list[dict[str, Any]]) -> None:
    documents = numbered(documents)
    found = grouped(compile_bucket(spec), documents)
    assert found is None or repr(found) == repr(run(documents, [{"$bucket": spec}]))


def test_buckets_are_not_declined() -> None:
    documents = [{"_id": n, "a": n % 100, "b": n} for n in range(1000)]
    spec = {
        "groupBy": "$a",
        "boundaries": [0, 20, 50],
        "default": 99,
        "output": {"n": {"$sum": 1}, "m": {"$max": "$b"}},
    }
    assert grouped(compile_bucket(spec), documents) == run(documents, [{"$bucket": spec}])
    del spec["default"]
    assert grouped(compile_bucket(spec), documents) is None
    assert compile_bucket({**spec, "boundaries": [0, {"$add": [1, 2]}]}) is None
    assert compile_bucket({**spec, "groupBy": {"$abs": "$a"}}) is None


@pytest.mark.parametrize("path", ["a", "a.b", "o.a", "b"])
@given(UNWOUND)
@example([{"a": []}, {"a": None}, {}, {"a": [[1], [], None, {"b": 1}]}, {"o": {"a": []}}, {"o": [1]}])
def test_distinct_values(path: str, documents: list[dict[str, Any]]) -> None:
    parts = tuple(path.split("."))
    stored = [codec.encode(document) for document in numbered(documents)]
    found = distinct_values(parts, lambda take: ([take(data) for data in part] for part in (stored[:7], stored[7:])))
    seen: dict[bytes, Any] = {}
    for document in documents:
        for value in covering.reached(document, parts):
            seen.setdefault(order_key(value), value)
    assert found is None or repr(found) == repr(list(seen.values()))


ZONES = st.sampled_from([
    None, "UTC", "+05:45", "-0300", "Europe/Oslo", "America/New_York", "Australia/Lord_Howe", "Africa/Monrovia", "Pacific/Apia", "Asia/Kathmandu",
])  # fmt: skip
PARTS = [
    "$dayOfMonth", "$dayOfWeek", "$dayOfYear", "$hour", "$isoDayOfWeek", "$isoWeek", "$isoWeekYear", "$millisecond", "$minute", "$month", "$second",
    "$week", "$year",
]  # fmt: skip
UNITS = ["year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond"]
FORMATS = ["%Y-%m-%d", "%H:%M:%S.%L", "%G-W%V-%u", "%j%U%w", "%b %B %z %Z %%", "%m", "none"]
TRUNCATED = st.builds(
    lambda unit, size, day: ("$dateTrunc", {"unit": unit, **({"binSize": size} if size else {}), **({"startOfWeek": day} if day else {})}),
    st.sampled_from(UNITS), st.sampled_from([None, 1, 2, 7, 15, 100]), st.sampled_from([None, "monday", "thu"]),
)  # fmt: skip
TEXTS = st.builds(
    lambda form, null: ("$dateToString", {**({"format": form} if form else {}), **({"onNull": null} if null else {})}),
    st.sampled_from([None, *FORMATS]), st.sampled_from([None, "none", "2020"]),
)  # fmt: skip
EXPRESSIONS = st.one_of(TRUNCATED, TEXTS, st.sampled_from(PARTS).map(lambda name: (name, {})))
# Close to each other and to changes of the clock, so that groups have members.
NEAR = st.builds(
    lambda base, hours, micros: base + dt.timedelta(hours=hours, microseconds=micros),
    st.sampled_from([(2024, 3, 31), (2024, 10, 27), (1972, 1, 7), (2011, 12, 30), (2000, 1, 1), (1910, 4, 1)]).map(
        lambda day: dt.datetime(*day, tzinfo=dt.UTC)
    ),
    st.integers(-60, 60), st.sampled_from([0, 1, -1, 1_800_000_000, 999]),
)  # fmt: skip
MOMENTS = st.lists(st.one_of(NEAR, NEAR, NEAR, DATES, st.none()), max_size=30)


@given(EXPRESSIONS, ZONES, MOMENTS)
def test_dates_as_ids(expression: Any, zone: str | None, moments: list[Any]) -> None:
    name, more = expression
    spec = {name: {"date": "$a.t", **more, **({"timezone": zone} if zone else {})}}
    documents = [{"_id": n, "a": {"t": moment}} for n, moment in enumerate(moments)] + [{"_id": -1}]
    group: dict[str, Any] = {"_id": {"d": spec, "k": "$k"}, "n": {"$sum": 1}, "f": {"$first": "$a.t"}}
    for asked in (group, {**group, "_id": spec}):
        found = grouped(compile_grouping(asked), documents)
        assert found is None or repr(found) == repr(run(documents, [{"$group": asked}]))


@pytest.mark.parametrize(
    "spec",
    [
        {"$dateTrunc": {"date": "$t", "unit": "day", "timezone": "Europe/Oslo"}},
        {"$month": "$t"},
        {"$year": ["$t"]},
        {"$dateToString": {"date": "$t", "format": "%H"}},
    ],
    ids=str,
)
def test_a_histogram_is_not_declined(spec: dict[str, Any]) -> None:
    documents = [{"_id": n, "t": dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=n)} for n in range(10_000)]
    found = grouped(compile_grouping({"_id": spec, "n": {"$sum": 1}}), documents)
    assert found == run(documents, [{"$group": {"_id": spec, "n": {"$sum": 1}}}])


@pytest.mark.parametrize("value", ["2024", 5, Int64(1), {"a": 1}], ids=str)
def test_what_is_no_date_is_declined(value: Any) -> None:
    assert grouped(compile_grouping({"_id": {"$month": "$t"}}), [{"_id": 1, "t": value}]) is None


@pytest.mark.parametrize(
    ("value", "declined"),
    [(1, False), (2.5, False), ("x", False), (Decimal(1), True), ([1], False)],
    ids=["int", "float", "text", "decimal", "array"],
)
def test_what_is_declined(value: Any, declined: bool) -> None:
    grouping = compile_grouping({"_id": None, "s": {"$sum": "$a"}})
    assert (grouped(grouping, [{"_id": 1, "a": value}]) is None) == declined


def test_groups_beyond_the_limit_are_declined() -> None:
    grouping = compile_grouping({"_id": "$_id", "s": {"$sum": "$a"}})
    documents = [{"_id": n, "a": 2**62} for n in range(10)]
    assert grouped(grouping, documents, 1_000) is None
    assert len(grouped(grouping, documents) or ()) == 10


def test_values_that_are_kept_count_towards_the_limit() -> None:
    grouping = compile_grouping({"_id": None, "l": {"$last": "$a"}})
    assert grouped(grouping, [{"_id": 1, "a": "x" * 5_000}], 4_000) is None


def test_sums_beyond_64_bit() -> None:
    grouping = compile_grouping({"_id": None, "s": {"$sum": "$a"}, "m": {"$avg": "$a"}})
    for value in (2**62, -(2**63), 2**63 - 1):
        documents = [{"_id": n, "a": value} for n in range(100)] + [{"_id": 100, "a": -7}]
        spec = {"$group": {"_id": None, "s": {"$sum": "$a"}, "m": {"$avg": "$a"}}}
        assert repr(grouped(grouping, documents)) == repr(run(documents, [spec]))


def test_many_groups() -> None:
    documents = [{"_id": n, "k": n % 5_000, "v": n} for n in range(20_000)]
    spec = {"_id": "$k", "s": {"$sum": "$v"}, "low": {"$min": "$v"}, "l": {"$last": "$_id"}}
    assert grouped(compile_grouping(spec), documents) == run(documents, [{"$group": spec}])


@pytest.mark.parametrize(
    "spec",
    [
        {"_id": ["$a"]},
        {"_id": "$$ROOT"},
        {"_id": {"a": {"$toLower": "$a"}}},
        {"_id": {"a": "$a", "b": "$a.b"}},
        {"_id": "$a", "all": {"$push": "$b"}},
        {"_id": "$a", "s": {"$sum": {"$add": ["$b", 1]}}},
        {"_id": "$a", "s": {"$sum": "$$NOW"}},
        {"_id": {"$dateTrunc": {"date": "$a", "unit": "$b"}}},
        {"_id": {"$dateToString": {"date": "$a", "onNull": "$b"}}},
        {"_id": {"$month": {"date": "$a", "timezone": "$b"}}},
    ],
    ids=str,
)
def test_what_the_kernel_does_not_know(spec: dict[str, Any]) -> None:
    assert compile_grouping(spec) is None


@pytest.mark.parametrize(
    ("unwind", "spec"),
    [({"path": "$a", "includeArrayIndex": "i"}, {"_id": "$a"}), ("$a.b", {"_id": None, "f": {"$first": "$a"}})],
    ids=["index", "object around it"],
)
def test_what_cannot_be_unwound(unwind: Any, spec: dict[str, Any]) -> None:
    assert compile_grouping(spec, unwind) is None


@pytest.mark.parametrize("unwind", [None, "$a"], ids=["plain", "unwound"])
@pytest.mark.parametrize("spec", GROUPS[:5], ids=str)
@given(st.binary(max_size=40))
def test_the_kernel_survives_any_bytes(spec: dict[str, Any], unwind: str | None, data: bytes) -> None:
    grouping = compile_grouping(spec, unwind)
    assert grouping is not None
    for whole in (b"\x82\xa1a" + data + b"\xa1b" + data, data):
        try:
            grouping.run(lambda take, whole=whole: iter([[take(whole)]]), 1 << 30)
        except (CorruptError, QueryError):
            continue


def test_an_aggregation_answers_the_same_with_and_without_stages_before_it() -> None:
    with docdb.open(":memory:") as db:
        items = db["items"]
        items.insert_many([{"_id": n, "k": n % 3, "v": n} for n in range(100)])
        group = {"$group": {"_id": "$k", "v": {"$sum": "$v"}}}
        order = {"$sort": {"_id": 1}}
        plain = list(items.aggregate([group, order]))
        assert plain == [{"_id": k, "v": sum(range(k, 100, 3))} for k in range(3)]
        assert list(items.aggregate([{"$addFields": {"x": 1}}, group, order])) == plain
        assert list(items.aggregate([{"$match": {"v": {"$lt": 3}}}, group, order])) == [
            {"_id": k, "v": k} for k in range(3)
        ]
