"""One find, piece by piece: what is kept of sorts and projections asks the same as what is parsed."""

from __future__ import annotations

from typing import Any

import pytest

from docdb.errors import DocdbError
from docdb.faces.selection import Selection
from docdb.language.sorting import parse_sort

SORTS: dict[str, Any] = {
    "pairs": [("a.b", 1), ("c", -1)],
    "document": {"a.b": 1, "c": -1},
    "names": ["a", "b"],
    "lists": [["a", -1]],
    "tuple": (("a", 1), ("b", -1)),
    "floats": {"a": 1.0},
}


@pytest.mark.parametrize("keys", SORTS.values(), ids=SORTS)
def test_a_sort(keys: Any) -> None:
    pairs = [(key, 1) if isinstance(key, str) else key for key in (keys.items() if isinstance(keys, dict) else keys)]
    for _ in range(2):
        made = Selection.of({}).with_sort(keys)
        assert made.order == dict(pairs)
        assert made.keys == parse_sort(dict(pairs))


@pytest.mark.parametrize("keys", [{}, [], ()], ids=["document", "pairs", "tuple"])
def test_an_empty_sort_is_none(keys: Any) -> None:
    made = Selection.of({}).with_sort("a", 1).with_sort(keys)
    assert (made.order, made.keys) == (None, ())


@pytest.mark.parametrize(
    "keys",
    [
        {"a": True},
        {"a": 2},
        [("a", 0)],
        [("", 1)],
        [("$a", 1)],
        [("a", 1, 1)],
        [("a", {})],
        [("a", 1), ("a", -1)],
        [1],
        5,
        {1: 1},
    ],
    ids=str,
)
def test_what_is_no_sort(keys: Any) -> None:
    for _ in range(2):
        with pytest.raises(DocdbError):
            Selection.of({}).with_sort(keys)


def test_a_plain_find_with_fields() -> None:
    shown = Selection.of({"a": 1}, {"b": 1, "_id": False}, naive_utc=True, linear=True)
    parsed = Selection.of({"a": {"$in": [1]}}, {"b": 1, "_id": False}, naive_utc=True, linear=True).with_filter(
        {"a": 1}
    )
    assert shown.projection is not None
    assert parsed.projection is not None
    assert shown.projection.names == parsed.projection.names == {"b"}
    assert shown._replace(projection=None) == parsed._replace(projection=None)


def test_skip_and_limit() -> None:
    made = Selection.of({}).with_skip(3).with_limit(5).with_skip(3)
    assert (made.skip, made.limit) == (3, 5)
    assert made.with_skip(0).skip == 0
