"""Stages that make one document of one: $project, $addFields, $set, $unset, $replaceRoot, $replaceWith, $redact.

What lives here: their parsers. What it must not know: how a projection is applied (``projecting``).
"""

from __future__ import annotations

from typing import Any

from docdb.language.expression_core import fail
from docdb.language.expressions import Expression
from docdb.language.metadata import FIELD
from docdb.language.values import MISSING, type_name
from docdb.pipeline.context import Batches
from docdb.pipeline.projecting import parse_add_fields, parse_project, parse_unset
from docdb.pipeline.stage import Builder, Stage, Variables, check_options, each

__all__ = ["add_fields", "project", "redact", "replace_root", "replace_with", "unset"]


def project(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $project."""
    shape, _ = parse_project(spec, builder.expression)
    return Stage(name, each(shape), spec)


def add_fields(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $addFields or $set."""
    return Stage(name, each(parse_add_fields(spec, name, builder.expression)), spec)


def unset(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $unset."""
    return Stage(name, each(parse_unset(spec)), spec)


def replace_root(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $replaceRoot."""
    check_options(spec, name, ("newRoot",), {"newRoot": 40414}, shape=40229, unknown=40415)
    return _replacing(builder.expression(spec["newRoot"]), spec, name)


def replace_with(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $replaceWith."""
    return _replacing(builder.expression(spec), spec, name)


def _replacing(expression: Expression, spec: Any, name: str) -> Stage:
    def replace(document: dict[str, Any], variables: Variables) -> Any:
        value = expression(document, variables)
        if type(value) is not dict:
            fail(f"the new root of {name} is an object, not {type_name(value)}", 40228)
        return _carrying(value, document)

    return Stage(name, each(replace), spec)


_KEEP, _PRUNE, _DESCEND = "keep", "prune", "descend"
_DECISIONS = {"DESCEND": _DESCEND, "KEEP": _KEEP, "PRUNE": _PRUNE}


def redact(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $redact."""
    expression = builder.expression(spec, *_DECISIONS)

    def run(batches: Batches, variables: Variables) -> Batches:
        known = {**variables, **_DECISIONS}
        for batch in batches:
            found = [(_redacted(expression, document, {**known, "ROOT": document}), document) for document in batch]
            yield [_carrying(new, document) for new, document in found if new is not MISSING]

    return Stage(name, run, spec)


def _carrying(new: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    return {**new, FIELD: document[FIELD]} if FIELD in document else new


def _redacted(expression: Expression, document: dict[str, Any], variables: Variables) -> Any:
    decision = expression.within({**variables, "CURRENT": document})
    if decision is _KEEP:
        return document
    if decision is _PRUNE:
        return MISSING
    if decision is not _DESCEND:
        fail("$redact decides for $$DESCEND, $$PRUNE or $$KEEP", 17053)
    below = {key: _redacted_value(expression, value, variables) for key, value in document.items()}
    return {key: value for key, value in below.items() if value is not MISSING}


def _redacted_value(expression: Expression, value: Any, variables: Variables) -> Any:
    if type(value) is dict:
        return _redacted(expression, value, variables)
    if type(value) is list:
        return [kept for item in value if (kept := _redacted_value(expression, item, variables)) is not MISSING]
    return value
