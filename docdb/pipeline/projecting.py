"""The tree behind $project, $addFields, $set and $unset: which fields stay, go, or are computed.

What lives here: the reading of a specification into a tree and its three applications. What it must not know: find's projections
(positional, $slice, $elemMatch), batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from docdb.language.expression_core import fail
from docdb.language.expressions import Expression, field_path
from docdb.language.metadata import FIELD
from docdb.language.values import MISSING, is_number

__all__ = ["Shape", "add_fields", "parse_add_fields", "parse_project", "parse_unset"]

KEEP: Final = "keep"
DROP: Final = "drop"
Tree = dict[str, Any]  # name -> KEEP | DROP | Expression | Tree
Shape = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
Compile = Callable[[Any], Expression]


def _place(tree: Tree, parts: tuple[str, ...], leaf: Any, code: int) -> None:
    for part in parts[:-1]:
        below = tree.setdefault(part, {})
        if type(below) is not dict:
            fail(f"the path {'.'.join(parts)} collides with {part}", code)
        tree = below
    if parts[-1] in tree:
        fail(
            f"the path {'.'.join(parts)} collides with another",
            31250 if type(tree[parts[-1]]) is dict and code == 31249 else code,
        )
    tree[parts[-1]] = leaf


def _is_flag(value: Any) -> bool:
    return type(value) is bool or is_number(value)


def _leaves(
    spec: dict[str, Any], prefix: tuple[str, ...], compile_value: Compile, found: list[tuple[tuple[str, ...], Any]]
) -> None:
    for name, value in spec.items():
        if prefix and "." in name:
            field_path(name)
        parts = (*prefix, *field_path(name))
        if isinstance(value, dict) and not next(iter(value), "").startswith("$"):
            if not value:
                fail("an empty object is no projection", 51270, path=".".join(parts))
            _leaves(value, parts, compile_value, found)
        elif _is_flag(value):
            found.append((parts, KEEP if value else DROP))
        else:
            found.append((parts, compile_value(value)))


def parse_project(spec: Any, compile_value: Compile) -> tuple[Shape, bool]:
    """Return the application of a $project, and whether it keeps fields (False: drops fields)."""
    if not isinstance(spec, dict):
        fail("$project takes an object", 15969)
    if not spec:
        fail("$project names at least one field", 51272)
    leaves: list[tuple[tuple[str, ...], Any]] = []
    _leaves(spec, (), compile_value, leaves)
    others = [leaf for parts, leaf in leaves if parts != ("_id",)]
    excludes = DROP in others if others else leaves[0][1] is DROP
    if others and DROP not in others or others and others[0] is not DROP:
        excludes = False
    tree: Tree = {}
    for parts, leaf in leaves:
        own_id = parts == ("_id",)
        if excludes and leaf is KEEP and not own_id:
            fail(f"cannot keep {'.'.join(parts)} in a projection that drops fields", 31253)
        if excludes and isinstance(leaf, Expression):
            fail(
                f"cannot compute {'.'.join(parts)} in a projection that drops fields",
                31310 if type(leaf.spec) is str else 31252,
            )
        if not excludes and leaf is DROP and not own_id:
            fail(f"cannot drop {'.'.join(parts)} in a projection that keeps fields", 31254)
        _place(tree, parts, leaf, 31249)
    if excludes:
        if tree.get("_id") is KEEP:
            del tree["_id"]
        return (lambda document, v: _drop(tree, document)), False
    if tree.get("_id") is DROP:
        del tree["_id"]
    elif "_id" not in tree:
        tree = {"_id": KEEP, **tree}
    tree[FIELD] = KEEP  # what is known beside the fields goes along
    computes = _computes(tree)

    def keep(document: dict[str, Any], v: dict[str, Any]) -> dict[str, Any]:
        result = _keep(tree, document)
        return _compute(tree, result, {**v, "ROOT": document, "CURRENT": document}) if computes else result

    return keep, True


def _computes(tree: Tree) -> bool:
    return any(isinstance(leaf, Expression) or (type(leaf) is dict and _computes(leaf)) for leaf in tree.values())


def _keep(tree: Tree, document: dict[str, Any]) -> dict[str, Any]:
    result = {}
    for name, value in document.items():
        leaf = tree.get(name)
        if leaf is KEEP:
            result[name] = value
        elif type(leaf) is dict:
            kept = _keep_value(leaf, value)
            if kept is not MISSING:
                result[name] = kept
    return result


def _keep_value(tree: Tree, value: Any) -> Any:
    if type(value) is dict:
        return _keep(tree, value)
    if type(value) is list:
        kept = [_keep_value(tree, item) for item in value]
        return kept if _computes(tree) else [item for item in kept if item is not MISSING]
    return MISSING


def _compute(tree: Tree, document: dict[str, Any], v: dict[str, Any]) -> dict[str, Any]:
    """Set the computed fields in a document of our own; what is below is copied before it changes."""
    for name, leaf in tree.items():
        if isinstance(leaf, Expression):
            value = leaf.within(v)
            if value is MISSING:
                document.pop(name, None)
            else:
                document[name] = value
        elif type(leaf) is dict and _computes(leaf):
            document[name] = _compute_value(leaf, document.get(name, MISSING), v)
    return document


def _compute_value(tree: Tree, value: Any, v: dict[str, Any]) -> Any:
    if type(value) is list:
        return [_compute_value(tree, item, v) for item in value]
    return _compute(tree, dict(value) if type(value) is dict else {}, v)


def _drop(tree: Tree, document: dict[str, Any]) -> dict[str, Any]:
    result = {}
    for name, value in document.items():
        leaf = tree.get(name)
        if leaf is None:
            result[name] = value
        elif leaf is not DROP:
            result[name] = _drop_value(leaf, value)
    return result


def _drop_value(tree: Tree, value: Any) -> Any:
    if type(value) is dict:
        return _drop(tree, value)
    return [_drop_value(tree, item) for item in value] if type(value) is list else value


def parse_add_fields(spec: Any, name: str, compile_value: Compile) -> Shape:
    """Return the application of $addFields or $set."""
    if not isinstance(spec, dict):
        fail(f"{name} takes an object", 40272)
    tree: Tree = {}
    _add_leaves(spec, (), tree, compile_value)
    return lambda document, v: add_fields(tree, document, v)


def _add_leaves(spec: dict[str, Any], prefix: tuple[str, ...], tree: Tree, compile_value: Compile) -> None:
    for name, value in spec.items():
        if prefix and "." in name:
            fail(f"a field inside an object may not contain a dot: {name}", 40183)
        parts = (*prefix, *field_path(name))
        if isinstance(value, dict) and value and not any(key.startswith("$") for key in value):
            _add_leaves(value, parts, tree, compile_value)
        else:
            if isinstance(value, dict) and len(value) > 1:
                fail("an operator stands alone in its object", 40181 if next(iter(value)).startswith("$") else 40182)
            _place(tree, parts, compile_value(value), 40176)


def add_fields(tree: Tree, document: dict[str, Any], v: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a document with the computed fields."""
    return _compute(tree, dict(document), {**v, "ROOT": document, "CURRENT": document})


def parse_unset(spec: Any) -> Shape:
    """Return the application of $unset."""
    if type(spec) is not str and not isinstance(spec, list):
        fail("$unset takes a field or an array of fields", 31002)
    names = [spec] if type(spec) is str else spec
    if not names:
        fail("$unset names at least one field", 31119)
    for name in names:
        if type(name) is not str:
            fail("$unset takes text", 31120)
    tree: Tree = {}
    for name in names:
        _place(tree, field_path(name), DROP, 31249)
    return lambda document, v: _drop(tree, document)
