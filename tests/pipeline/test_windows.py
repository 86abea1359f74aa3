"""Windows that slide: covariance as pairs enter and leave, arrays as arguments."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docdb.errors import QueryError
from tests.pipeline.fake import run

INF, NAN, LARGEST = math.inf, math.nan, Decimal("9.999999999999999999999999999999999E+6144")
NUMBERS = st.one_of(st.integers(-100, 100), st.floats(-100, 100), st.decimals(-100, 100, places=2))


def covariance(pairs: Any, low: Any = "unbounded", high: Any = "unbounded", name: str = "$covariancePop") -> list[Any]:
    documents = [{"_id": at, "x": x, "y": y} for at, (x, y) in enumerate(pairs)]
    output = {"r": {name: ["$x", "$y"], "window": {"documents": [low, high]}}}
    found = run(documents, [{"$setWindowFields": {"sortBy": {"_id": 1}, "output": output}}])
    return [document["r"] for document in found]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(INF, 10), (2, 20), (3, 30), (4, 40)], [None, 0.0, 2.5, 2.5]),
        ([(NAN, 10), (2, 20), (3, 30), (4, 40)], [None, 0.0, 2.5, 2.5]),
        ([(1, 10), (2, Decimal("-Infinity")), (3, 30), (4, 40)], [0.0, 0.0, 0.0, 2.5]),
        ([("a", 10), (2, None), (3, 30), (4, 40)], [None, None, 0.0, 2.5]),
        ([(1e308, 1e308), (-1e308, -1e308), (3, 30), (4, 40)], [0.0, INF, -0.0, 2.5]),
    ],
    ids=["infinity", "nan", "decimal infinity", "no pair", "overflow"],
)
def test_what_leaves_the_window_leaves_nothing_behind(pairs: Any, expected: list[Any]) -> None:
    found = covariance(pairs, -1, 0)
    assert found[0] == expected[0]
    assert found[3] == pytest.approx(expected[3])
    assert found[1] == expected[1]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(1, 2), (INF, 4), (3, 6)], INF),
        ([(1, -INF), (2, 4), (3, 6)], -INF),
        ([(INF, 1), (-INF, 2), (3, 3), (4, 4)], NAN),
        ([(1, 2), (Decimal("NaN"), 4), (3, 6)], NAN),
        ([(1e308, 1e308)] * 3, NAN),
        ([(LARGEST, 1), (LARGEST, 2), (LARGEST, 3)], Decimal("-Infinity")),
        ([(LARGEST, 1), (Decimal(0), 2)], Decimal("-2.5E+6144")),
        ([(Decimal(1), 2.0), (2, 4), (3, 6)], Decimal("1.333333333333333333333333333333333")),
    ],
    ids=str,
)
def test_the_covariance_of_what_is_not_finite_or_not_double(pairs: Any, expected: Any) -> None:
    found = covariance(pairs)[0]
    assert type(found) is type(expected)
    assert found == expected or (math.isnan(found) and math.isnan(expected))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=12), st.integers(-4, 2), st.integers(0, 4), st.booleans())
def test_a_sliding_window_gives_what_each_window_gives_alone(pairs: Any, low: int, width: int, sample: bool) -> None:
    name = "$covarianceSamp" if sample else "$covariancePop"
    for at, value in enumerate(covariance(pairs, low, low + width, name)):
        window = pairs[max(0, at + low) : max(0, at + low + width + 1)]
        alone = covariance(window, name=name)[0] if window else None
        assert type(value) is type(alone)
        assert value is None or float(value) == pytest.approx(float(alone), abs=1e-6)


def test_an_array_is_the_value_in_a_window() -> None:
    documents = [{"_id": 1, "a": 1, "b": 2}, {"_id": 2, "a": 1, "b": 3}]
    output = {"set": {"$addToSet": ["$a", "$b"]}, "sum": {"$sum": ["$a"]}}
    (first, _) = run(documents, [{"$setWindowFields": {"output": output}}])
    assert (first["set"], first["sum"]) == ([[1, 2], [1, 3]], 0)


def over(values: list[Any], function: dict[str, Any], **more: Any) -> list[Any]:
    documents = [{"_id": at, "x": value} for at, value in enumerate(values)]
    stage = {"$setWindowFields": {"sortBy": {"_id": 1}, "output": {"r": {**function, **more}}}}
    return [document["r"] for document in run(documents, [stage])]


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([10, 12, 15], {"N": 2}, [10.0, 34 / 3, 13.777777777777779]),
        ([10, None, "x", 20], {"alpha": 0.5}, [10.0, 10.0, 10.0, 15.0]),
        ([None, 4], {"alpha": 0.5}, [None, 4.0]),
        ([Decimal(10), Decimal(12)], {"N": 2}, [Decimal(10), Decimal("11.33333333333333333333333333333333")]),
        ([1, Decimal("1234567890123456789012345678901234")], {"alpha": 0.5}, [1.0, Decimal("617283945061728394506172839450617.5")]),
        ([Decimal("0.1"), 0.3], {"alpha": Decimal("0.5")}, [Decimal("0.1"), Decimal("0.20")]),
    ],
    ids=["doubles", "what is no number", "later", "decimals", "34 digits", "decimal and double"],
)  # fmt: skip
def test_exp_moving_avg(values: list[Any], options: dict[str, Any], expected: list[Any]) -> None:
    found = over(values, {"$expMovingAvg": {"input": "$x", **options}})
    assert [type(value) for value in found] == [type(value) for value in expected]
    assert found == [value if isinstance(value, Decimal | None) else pytest.approx(value) for value in expected]


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([1, 3, 2], {}, [0.0, 1.0, 0.5]),
        ([1, "x", 2], {"min": -1, "max": 1}, [-1.0, None, 1.0]),
        ([7, 7], {"min": 2, "max": 3}, [2.0, 2.0]),
        ([Decimal(1), Decimal(3), Decimal(2)], {}, [Decimal(0), Decimal(1), Decimal("0.5")]),
        ([0, Decimal(3), 1], {}, [Decimal(0), Decimal(1), Decimal("0.3333333333333333333333333333333333")]),
        ([1, 3, 2], {"max": Decimal("0.1")}, [Decimal(0), Decimal("0.1"), Decimal("0.05")]),
        ([Decimal(5)], {}, [Decimal(0)]),
    ],
    ids=["ints", "what is no number", "one value", "decimals", "34 digits", "decimal bound", "one decimal"],
)
def test_min_max_scaler(values: list[Any], options: dict[str, Any], expected: list[Any]) -> None:
    window = {"window": {"documents": ["unbounded", "unbounded"]}}
    found = over(values, {"$minMaxScaler": {"input": "$x", **options}}, **window)
    assert [type(value) for value in found] == [type(value) for value in expected]
    assert found == expected


@pytest.mark.parametrize(
    "function",
    [
        {"$expMovingAvg": {"input": "$x", "alpha": Decimal("NaN")}},
        {"$minMaxScaler": {"input": "$x", "min": Decimal("NaN")}},
        {"$minMaxScaler": {"input": "$x", "min": 1, "max": 1}},
    ],
    ids=["alpha", "min", "equal"],
)
def test_bounds_that_are_no_numbers_are_refused(function: dict[str, Any]) -> None:
    with pytest.raises(QueryError) as refused:
        over([1], function)
    assert refused.value.code == 9
