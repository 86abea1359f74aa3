"""Operators over objects.

What lives here: their makers. What it must not know: stages.
"""

from __future__ import annotations

from typing import Any, Final

from docdb.language.expression_core import Constant, Maker, Scope, Term, fail, fixed, is_nullish, variadic
from docdb.language.values import MISSING, type_name

__all__ = ["OPERATORS", "merge_objects"]


def merge_objects(values: list[Any]) -> dict[str, Any]:
    """Return the objects merged, the later winning; null counts as empty."""
    result: dict[str, Any] = {}
    for value in values:
        if is_nullish(value):
            continue
        if type(value) is not dict:
            fail(f"$mergeObjects takes objects, not {type_name(value)}", 40400)
        result.update(value)
    return result


def _to_array(value: Any) -> Any:
    if is_nullish(value):
        return None
    if type(value) is not dict:
        fail(f"$objectToArray takes an object, not {type_name(value)}", 40390)
    return [{"k": key, "v": item} for key, item in value.items()]


def _get_field(scope: Scope, spec: Any, name: str) -> Term:
    if isinstance(spec, dict) and not next(iter(spec), "x").startswith("$"):
        for key in spec:
            if key not in ("field", "input"):
                fail(f"$getField has no argument {key!r}", 3041701)
        if "field" not in spec:
            fail("$getField needs 'field'", 3041702)
        if "input" not in spec:
            fail("$getField needs 'input'", 3041703)
        field, source = scope.compile(spec["field"]), scope.compile(spec["input"])
    else:
        field, source = scope.compile(spec), scope.compile("$$CURRENT")
    if isinstance(field, Constant) and type(field.value) is not str:
        fail(f"the field of $getField is text, not {type_name(field.value)}", 3041704)

    def run(v: dict[str, Any]) -> Any:
        key = field(v)
        if type(key) is not str:
            fail(f"the field of $getField is text, not {type_name(key)}", 3041704)
        value = source(v)
        if type(value) is dict:
            return value.get(key, MISSING)
        return None if value is None else MISSING

    return run


def _constant_name(scope: Scope, spec: Any, name: str) -> str:
    if type(spec) is str and spec.startswith("$"):
        fail(f"the field of {name} is constant text", 4161108, hint="wrap it in $literal")
    field = scope.compile(spec)
    if not isinstance(field, Constant) or (isinstance(spec, dict) and not {"$literal", "$const"} & set(spec)):
        fail(f"the field of {name} is constant", 4161106)
    if type(field.value) is not str:
        fail(f"the field of {name} is text, not {type_name(field.value)}", 4161107)
    if "\0" in field.value:
        fail(f"the field of {name} may not contain NUL", 9534700)
    return field.value


def _setting(takes_value: bool) -> Maker:
    def make(scope: Scope, spec: Any, name: str) -> Term:
        if not isinstance(spec, dict):
            fail(f"{name} takes an object", 4161100)
        known = ("field", "input", "value") if takes_value else ("field", "input")
        for key in spec:
            if key not in known:
                fail(f"{name} has no argument {key!r}", 4161101)
        for key, code in (("field", 4161102), ("value", 4161103), ("input", 4161109)):
            if key in known and key not in spec:
                fail(f"{name} needs {key!r}", code)
        field = _constant_name(scope, spec["field"], name)
        source = scope.compile(spec["input"])
        value = scope.compile(spec["value"]) if takes_value else Constant(MISSING)

        def run(v: dict[str, Any]) -> Any:
            found = source(v)
            if is_nullish(found):
                return None
            if type(found) is not dict:
                fail(f"the input of {name} is an object, not {type_name(found)}", 4161105)
            new = value(v)
            if new is MISSING:
                return {key: item for key, item in found.items() if key != field}
            return {**found, field: new}

        return run

    return make


OPERATORS: Final[dict[str, Maker]] = {
    "$getField": _get_field,
    "$mergeObjects": variadic(
        lambda values: merge_objects(values[0] if len(values) == 1 and type(values[0]) is list else values)
    ),
    "$objectToArray": fixed(1, _to_array),
    "$setField": _setting(True),
    "$unsetField": _setting(False),
}
