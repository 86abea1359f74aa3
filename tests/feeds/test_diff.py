"""What an update changed, from both images."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from docdb.feeds.diff import difference


@pytest.mark.parametrize(
    ("before", "after", "updated", "removed"),
    [
        pytest.param({"a": 1}, {"a": 1}, {}, [], id="nothing"),
        pytest.param({"a": 1}, {"a": 2}, {"a": 2}, [], id="value"),
        pytest.param({"a": 1}, {"a": 1.0}, {"a": 1.0}, [], id="type alone"),
        pytest.param({"a": Decimal("1.0")}, {"a": Decimal("1.00")}, {"a": Decimal("1.00")}, [], id="exponent"),
        pytest.param({"a": 0.0}, {"a": -0.0}, {"a": -0.0}, [], id="sign of zero"),
        pytest.param({"a": float("nan")}, {"a": float("nan")}, {}, [], id="nan"),
        pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a.c": 3}, [], id="below"),
        pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {}, ["a.c"], id="removed below"),
        pytest.param({"a": {"b": 1}}, {"a": {}}, {"a": {}}, [], id="emptied"),
        pytest.param({"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 3]}, [], id="array as a whole"),
        pytest.param({"a": [1]}, {"a": [1.0]}, {"a": [1.0]}, [], id="type in an array"),
        pytest.param({"a": 1, "b": 2}, {"b": 2, "c": 3}, {"c": 3}, ["a"], id="both"),
        pytest.param({"a": None}, {}, {}, ["a"], id="null is there"),
    ],
)
def test_difference(before: dict[str, Any], after: dict[str, Any], updated: dict[str, Any], removed: list[str]) -> None:
    assert repr(difference(before, after)) == repr((updated, removed))
