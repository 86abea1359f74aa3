"""The core of expressions: paths, variables, literals, what an expression says about itself."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from docdb.errors import NotSupportedError, QueryError
from docdb.language.expressions import OPERATORS, compile_expression, read_path
from docdb.language.values import MISSING, Timestamp

DOCUMENT = {
    "_id": 1,
    "a": {"b": 2},
    "list": [{"x": 1}, {"x": 2}, {"y": 3}, 4, [{"x": 5}]],
    "text": "word",
    "none": None,
}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("$a.b", 2, id="path"),
        pytest.param("$list.x", [1, 2], id="through an array"),
        pytest.param("$gone", MISSING, id="missing"),
        pytest.param("$text.x", MISSING, id="through text"),
        pytest.param("$$ROOT.a", {"b": 2}, id="root"),
        pytest.param("$$CURRENT.a.b", 2, id="current"),
        pytest.param("$$REMOVE", MISSING, id="remove"),
        pytest.param({"$literal": "$a.b"}, "$a.b", id="literal"),
        pytest.param({"v": "$a.b", "gone": "$gone"}, {"v": 2}, id="object"),
        pytest.param(["$a.b", "$gone"], [2, None], id="array"),
        pytest.param({"$let": {"vars": {"v": "$a"}, "in": "$$v.b"}}, 2, id="let"),
        pytest.param({"$let": {"vars": {"CURRENT": "$a"}, "in": "$b"}}, 2, id="let current"),
        pytest.param("plain", "plain", id="text"),
        pytest.param({}, {}, id="empty object"),
    ],
)
def test_value(spec: Any, expected: Any) -> None:
    assert compile_expression(spec)(DOCUMENT) == expected


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        pytest.param({"$addd": [1, 2]}, 168, id="unknown operator"),
        pytest.param({"$add": [1], "$sum": 2}, 15983, id="two operators"),
        pytest.param({"a": 1, "$add": 2}, 16410, id="operator among fields"),
        pytest.param({"a.b": 1}, 16412, id="dotted field"),
        pytest.param("$", 16872, id="bare dollar"),
        pytest.param("$a.", 40353, id="trailing dot"),
        pytest.param("$a..b", 15998, id="empty part"),
        pytest.param("$a.$b", 16410, id="dollar part"),
        pytest.param("$$", 9, id="empty variable"),
        pytest.param("$$nobody", 17276, id="undefined variable"),
        pytest.param({"$let": {"vars": {"Big": 1}, "in": 1}}, 9, id="bad variable name"),
    ],
)
def test_refusal(spec: Any, code: int) -> None:
    with pytest.raises(QueryError) as caught:
        compile_expression(spec)
    assert caught.value.code == code


def test_unknown_operator_names_the_nearest() -> None:
    with pytest.raises(QueryError) as caught:
        compile_expression({"$conca": []})
    assert caught.value.hint == "did you mean $concat?"
    assert caught.value.path == "$conca"


def test_path_of_a_nested_mistake() -> None:
    with pytest.raises(QueryError) as caught:
        compile_expression({"$add": [1, {"$divid": [1, 2]}]})
    assert caught.value.path == "$add.$divid"


def test_server_operators_are_not_supported() -> None:
    with pytest.raises(NotSupportedError):
        compile_expression({"$function": {"body": "", "args": [], "lang": "js"}})


@pytest.mark.parametrize(
    ("spec", "paths"),
    [
        pytest.param({"$add": ["$a.b", "$c"]}, {"a.b", "c"}, id="two paths"),
        pytest.param({"$map": {"input": "$list", "in": "$$this.x"}}, {"list"}, id="variables are no paths"),
        pytest.param("$$ROOT.a", {"a"}, id="a path of the root"),
        pytest.param("$$ROOT", None, id="whole document"),
        pytest.param(1, set(), id="constant"),
    ],
)
def test_paths(spec: Any, paths: set[str] | None) -> None:
    assert compile_expression(spec).paths == paths


def test_constant() -> None:
    assert compile_expression({"$add": [1, 2]}).constant
    assert not compile_expression({"$add": [1, "$a"]}).constant


def test_user_variables() -> None:
    expression = compile_expression("$$x.y", variables=frozenset({"x"}))
    assert expression({}, {"x": {"y": 5}}) == 5


def test_now_and_cluster_time_are_of_one_moment() -> None:
    now = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    found = compile_expression(["$$NOW", "$$CLUSTER_TIME"])({}, {"NOW": now})
    assert found == [now, Timestamp(1704067200, 1)]


def test_operators_are_sorted() -> None:
    assert list(OPERATORS) == sorted(OPERATORS)


def test_read_path_skips_nested_arrays() -> None:
    assert read_path([[{"a": 1}], {"a": 2}], ("a",)) == [2]
