"""What a write does to one document.

What lives here: ``parse_update`` (operators, the merge form, replacements), ``Update``, and ``upsert_base``, the document an upsert
starts from. The operators are in ``update_operators`` and ``update_arrays``, the walk in ``update_paths``. What it must not know:
collections, stored bytes, aggregation stages (an update in pipeline form is made above this floor; ``ComputedUpdate`` gives it
the same shape).

The merge form is CloudBase's: ``{"name": "Ann", "address": {"city": "X"}, "visits": Command("$inc", 1)}``. Plain objects go on as
dotted paths, everything else is set, and a ``Command`` is its operator at that path. An empty object has no path to go on with;
it is kept: the field becomes ``{}`` unless it is an object already (merging nothing into an object changes nothing).
Keys that are positions (``{"arr": {0: ...}}``) address array elements.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from docdb.errors import QueryError, UpdateError
from docdb.language.filters import parse
from docdb.language.matching import matcher
from docdb.language.order import order_key
from docdb.language.paths import identical
from docdb.language.server_date import resolve_server_dates
from docdb.language.tree import And, Compare, Expr, In, Node, walk
from docdb.language.update_arrays import ARRAY_OPERATORS
from docdb.language.update_operators import FIELD_OPERATORS, Assign, EnsureObject, Maker, Scope, rename_leaves
from docdb.language.update_paths import Branch, Context, Leaf, build, change, parse_path
from docdb.language.values import INT64_MAX, INT64_MIN, MISSING

__all__ = ["Command", "ComputedUpdate", "OPERATORS", "Update", "parse_update", "upsert_base"]

OPERATORS: Final[dict[str, Maker]] = dict(sorted({**FIELD_OPERATORS, **ARRAY_OPERATORS}.items()))
_ENSURE_OBJECT: Final = "the merge of an empty object"
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

Placed = tuple[tuple[str, ...], Leaf]
Step = tuple[str, Any, Any, str]  # operator, path as written, operand, where it stands


@dataclass(frozen=True, slots=True)
class Command:
    """An operator inside update data in merge form: ``Command("$inc", 1)``."""

    operator: str
    operand: Any


class Update:
    """A change of one document, ready to be applied to many.

    ``needs_position``: a path holds the positional ``$``, so ``apply`` wants the index of the matched element.
    ``is_replacement``: the whole document but its ``_id`` is replaced. ``paths``: the paths it may change, None for all.
    """

    needs_position: bool = False
    is_replacement: bool = False
    paths: frozenset[tuple[str, ...]] | None = None

    def apply(
        self,
        document: dict[str, Any],
        *,
        position: int | None = None,
        now: dt.datetime,
        inserting: bool = False,
        filter_equalities: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the new document, or the very same object when nothing changes; the input stays as it is.

        ``inserting`` applies $setOnInsert and lets ``_id`` be given where ``document`` (``upsert_base``) has none;
        ``filter_equalities`` is laid under the document then. Raises UpdateError with the path; 66 for a changed ``_id``.
        """
        base = {**filter_equalities, **document} if filter_equalities else document
        return _kept_id(base, self._changed(base, position, now, inserting))

    def _changed(
        self, document: dict[str, Any], position: int | None, now: dt.datetime, inserting: bool
    ) -> dict[str, Any]:
        raise NotImplementedError


class ComputedUpdate(Update):
    """An update that a function computes from the document (the pipeline form)."""

    def __init__(self, function: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._function = function

    def _changed(
        self, document: dict[str, Any], position: int | None, now: dt.datetime, inserting: bool
    ) -> dict[str, Any]:
        new = self._function(document)
        if "_id" in document and "_id" not in new:
            new = {"_id": document["_id"], **new}
        return document if identical(document, new) else new


class _Replacement(Update):
    is_replacement = True

    def __init__(self, document: Mapping[str, Any], scope: Scope) -> None:
        self._raw, self._scope = document, scope
        self._fixed = resolve_server_dates(document, _EPOCH) is document
        self._document = self._resolved(_EPOCH)

    def _resolved(self, now: dt.datetime) -> dict[str, Any]:
        document = self._scope.canonical(resolve_server_dates(self._raw, now), "")
        for name in document:
            if name.startswith("$"):
                raise UpdateError(
                    f"a replacement holds no field {name}", path=name, code=52, hint="use an update for operators"
                )
        return document  # type: ignore[no-any-return]

    def _changed(
        self, document: dict[str, Any], position: int | None, now: dt.datetime, inserting: bool
    ) -> dict[str, Any]:
        new = self._document if self._fixed else self._resolved(now)
        if "_id" not in new and "_id" in document:
            new = {"_id": document["_id"], **new}
        elif "_id" in new and next(iter(new)) != "_id":
            new = {"_id": new["_id"], **new}
        return document if identical(document, new) else new


class _Operators(Update):
    def __init__(self, steps: list[Step], scope: Scope, array_filters: Any) -> None:
        self._steps, self._scope = steps, scope
        self._fixed = all(resolve_server_dates(operand, _EPOCH) is operand for _, _, operand, _ in steps)
        self._placed = self._leaves(_EPOCH)
        self._trees: dict[int | None, Branch] = {None: build(self._placed)}
        self.needs_position = any("$" in parts for parts, _ in self._placed)
        self.paths = frozenset(parts for parts, _ in self._placed)
        self._selectors = _selectors(array_filters, scope)
        _check_selectors(self._selectors, self._placed)

    def _leaves(self, now: dt.datetime) -> list[Placed]:
        placed: list[Placed] = []
        for operator, path, operand, where in self._steps:
            placed += _place(self._scope, operator, path, resolve_server_dates(operand, now), where)
        return placed

    def _changed(
        self, document: dict[str, Any], position: int | None, now: dt.datetime, inserting: bool
    ) -> dict[str, Any]:
        tree = self._tree(position, now)
        context = Context(now, inserting, document, self._selectors)
        new: dict[str, Any] = change(tree, document, context)
        return new

    def _tree(self, position: int | None, now: dt.datetime) -> Branch:
        if not self.needs_position:
            return self._trees[None] if self._fixed else build(self._leaves(now))
        if position is None:
            path = next(".".join(parts) for parts, _ in self._placed if "$" in parts)
            raise UpdateError(
                "the positional $ found no matched array element",
                path=path,
                code=2,
                hint="the filter needs a condition on the array",
            )
        if not self._fixed:
            return build(_positioned(self._leaves(now), position))
        tree = self._trees.get(position)
        if tree is None:
            tree = self._trees[position] = build(_positioned(self._placed, position))
        return tree


class _Flat(Update):
    """Operators on fields of the document itself: what most updates are. The same as ``_Operators`` gives, in fewer steps."""

    def __init__(self, leaves: dict[str, Leaf]) -> None:
        self._leaves = sorted(leaves.items()) if len(leaves) > 1 else list(leaves.items())
        self.paths = frozenset([(name,) for name in leaves])

    def _changed(
        self, document: dict[str, Any], position: int | None, now: dt.datetime, inserting: bool
    ) -> dict[str, Any]:
        result = document
        context = Context(now, inserting, document, {})
        for name, leaf in self._leaves:
            old = document.get(name, MISSING)
            new = leaf.apply(old, context)
            if new is old:
                continue
            if result is document:
                result = dict(document)
            if new is MISSING:
                del result[name]
            else:
                result[name] = new
        return result


def _flat_leaves(update: dict[Any, Any], scope: Scope) -> dict[str, Leaf] | None:
    """Return the leaves by field when every operator is plain, every path a simple name, every operand a plain scalar; else None."""
    leaves: dict[str, Leaf] = {}
    for operator, fields in update.items():
        if operator not in _FLAT or type(fields) is not dict:
            return None
        maker = OPERATORS[operator]
        for name, operand in fields.items():
            kind = type(operand)
            plain = (
                (kind is int and INT64_MIN <= operand <= INT64_MAX)
                or (kind is str and operand.isascii())
                or (kind is float or kind is bool or operand is None)
            )
            if not plain or type(name) is not str or not name.isidentifier() or name in leaves:
                return None
            leaves[name] = (
                Assign(name, operand) if operator == "$set" else maker(scope, name, operand, f"{operator}.{name}")
            )
    return leaves


_FLAT: Final = frozenset({"$inc", "$max", "$min", "$mul", "$set", "$unset"})


def parse_update(
    update: Any,
    *,
    array_filters: Any = None,
    merge: bool = False,
    replacement: bool = False,
    let: Mapping[str, Any] | None = None,
    collation: Any = None,
    naive_utc: bool = False,
) -> Update:
    """Return an update document, update data in merge form, or a replacement, ready to apply.

    Raises UpdateError with path and MongoDB's code (9 malformed, 40 conflicting paths, 56 empty name, 52 leading ``$``, ...),
    DocumentError for values that cannot be stored. Cost: one pass over the update.

    >>> parse_update({"$inc": {"n": 1}}).apply({"_id": 1, "n": 2}, now=_EPOCH)
    {'_id': 1, 'n': 3}
    """
    scope = Scope(collation, naive_utc, let)
    if type(update) is not dict and not isinstance(update, Mapping):
        hint = "an update in pipeline form is compiled above" if isinstance(update, list | tuple) else None
        raise UpdateError(f"an update is a document, not {type(update).__name__}", code=9, hint=hint)
    if replacement:
        if array_filters:
            raise UpdateError("a replacement takes no array_filters", path="array_filters", code=9)
        return _Replacement(update, scope)
    if array_filters is None and not merge and type(update) is dict:
        flat = _flat_leaves(update, scope)
        if flat:
            return _Flat(flat)
    try:
        steps = list(_merge_steps(update, "") if merge else _operator_steps(update))
    except RecursionError:
        raise UpdateError("the update is nested too deep") from None
    return _Operators(steps, scope, array_filters)


def upsert_base(condition: Node | Mapping[str, Any]) -> dict[str, Any]:
    """Return the document that the equalities of a filter describe, ``_id`` first: what an upsert starts from.

    Equality, $in with one value, and conjunctions of them count. Raises UpdateError with code 54 when two of them give
    values to one path.

    >>> upsert_base({"a.b": 1, "c": {"$gt": 2}})
    {'a': {'b': 1}}
    """
    node = condition if isinstance(condition, Node) else parse(condition)
    taken: dict[tuple[str, ...], Any] = {}
    for path, value in _equalities(node):
        for known in taken:
            shared = min(len(path), len(known))
            if path[:shared] == known[:shared]:
                message = "the filter gives this path more than one value; an upsert cannot choose"
                raise UpdateError(message, path=".".join(path), code=54)
        taken[path] = value
    base: dict[str, Any] = {"_id": None} if any(path[0] == "_id" for path in taken) else {}
    for path, value in taken.items():
        holder = base
        for part in path[:-1]:
            below = holder.get(part)
            if below is None:
                below = holder[part] = {}
            holder = below
        holder[path[-1]] = value
    return base


def _equalities(node: Node) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(node, And):
        for part in node.parts:
            yield from _equalities(part)
    elif isinstance(node, Compare) and node.op == "eq" and node.path:
        yield node.path, node.value
    elif isinstance(node, In) and len(node.values) == 1 and not node.patterns and node.path:
        yield node.path, node.values[0]


def _kept_id(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the new document with the ``_id`` it had (in the first place); another value is refused."""
    if new is old:
        return old
    given = new.get("_id", MISSING)
    if "_id" in old:
        if given is old["_id"]:
            return new
        if given is MISSING or order_key(given) != order_key(old["_id"]):
            raise UpdateError(
                "_id cannot be changed", path="_id", code=66, hint="insert a new document and delete this one"
            )
        return {name: old["_id"] if name == "_id" else value for name, value in new.items()}
    if given is not MISSING and next(iter(new)) != "_id":
        return {"_id": given, **new}
    return new


# What an update document says


def _operator_steps(update: Mapping[str, Any]) -> Iterator[Step]:
    if not update:
        raise UpdateError("an update needs at least one operator", code=9)
    for operator, fields in update.items():
        if operator not in OPERATORS and operator != "$rename":
            raise _unknown(operator, update)
        if not isinstance(fields, Mapping):
            raise UpdateError(
                f"{operator} takes a document of fields, not {type(fields).__name__}", path=operator, code=9
            )
        for path, operand in fields.items():
            yield operator, path, operand, f"{operator}.{path}"


def _unknown(operator: Any, update: Mapping[str, Any]) -> UpdateError:
    if not isinstance(operator, str) or not operator.startswith("$"):
        mixed = any(isinstance(name, str) and name.startswith("$") for name in update)
        message = "an update is all operators or none" if mixed else f"{operator!r} is not an update operator"
        return UpdateError(message, path=str(operator), code=9, hint="put plain fields below $set")
    near = difflib.get_close_matches(operator, [*OPERATORS, "$rename"], n=1)
    return UpdateError(
        f"unknown update operator {operator}", path=operator, code=9, hint=f"did you mean {near[0]}?" if near else None
    )


def _merge_steps(data: Mapping[Any, Any], prefix: str) -> Iterator[Step]:
    for name, value in data.items():
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise UpdateError(f"a field name is text, not {type(name).__name__}", path=prefix or None, code=9)
        path = f"{prefix}.{name}" if prefix else str(name)
        if str(name).startswith("$"):
            raise UpdateError(
                "update data is all operators or none", path=path, code=9, hint="use a command such as inc(1)"
            )
        if isinstance(value, Command):
            yield value.operator, path, value.operand, path
        elif isinstance(value, Mapping) and value:
            yield from _merge_steps(value, path)
        elif isinstance(value, Mapping):
            yield _ENSURE_OBJECT, path, value, path
        else:
            yield "$set", path, value, path


def _place(scope: Scope, operator: str, path: Any, operand: Any, where: str) -> list[Placed]:
    parts = parse_path(path, where)
    if operator == "$rename":
        if not isinstance(operand, str):
            raise UpdateError(f"the new name of a field is text, not {type(operand).__name__}", path=where, code=2)
        return rename_leaves(parts, parse_path(operand, where), where)
    if operator == _ENSURE_OBJECT:
        return [(parts, EnsureObject(path))]
    maker = OPERATORS.get(operator)
    if maker is None:
        raise _unknown(operator, {operator: operand})
    return [(parts, maker(scope, path, operand, where))]


def _positioned(placed: list[Placed], position: int) -> Iterator[Placed]:
    for parts, leaf in placed:
        yield tuple([str(position) if part == "$" else part for part in parts]), leaf


# Array filters


def _selectors(array_filters: Any, scope: Scope) -> dict[str, Callable[[Any], bool]]:
    if array_filters is None:
        return {}
    if not isinstance(array_filters, list | tuple):
        raise UpdateError(
            f"array_filters is a list of filters, not {type(array_filters).__name__}", path="array_filters", code=14
        )
    found: dict[str, Callable[[Any], bool]] = {}
    for at, document in enumerate(array_filters):
        where = f"array_filters.{at}"
        if not isinstance(document, Mapping):
            raise UpdateError(f"an array filter is a document, not {type(document).__name__}", path=where, code=14)
        name, test = _selector(document, scope, where)
        if name in found:
            raise UpdateError(f"two array filters are named {name!r}", path=where, code=9)
        found[name] = test
    return found


def _selector(document: Mapping[str, Any], scope: Scope, where: str) -> tuple[str, Callable[[Any], bool]]:
    try:
        node = parse(document, collation=scope.collation, let=scope.let, naive_utc=scope.naive_utc, near=False)
    except QueryError as error:
        path = f"{where}.{error.path}" if error.path else where
        raise UpdateError(error.message, path=path, hint=error.hint, code=error.code) from error
    nodes = walk(node)
    if any(isinstance(part, Expr) for part in nodes):
        raise UpdateError("$expr cannot stand in an array filter", path=where, code=224)
    names = _top_names(document)
    if len(names) != 1:
        raise UpdateError("an array filter speaks of exactly one name", path=where, code=9)
    (name,) = names
    parse_path(f"array.$[{name}]", where)
    test = matcher(node)
    return name, lambda element: test({name: element})


def _top_names(document: Mapping[str, Any]) -> set[str]:
    names: set[str] = set()
    for name, value in document.items():
        if not name.startswith("$"):
            names.add(name.split(".")[0])
        elif isinstance(value, list | tuple):
            for part in value:
                names |= _top_names(part)
    return names


def _check_selectors(selectors: Mapping[str, Any], placed: list[Placed]) -> None:
    used = {
        part[2:-1]: leaf.path for parts, leaf in placed for part in parts if part.startswith("$[") and part != "$[]"
    }
    for name, path in used.items():
        if name not in selectors:
            raise UpdateError(
                f"no array filter is named {name!r}", path=path, code=2, hint=f"array_filters=[{{{name!r}: ...}}]"
            )
    for name in selectors:
        if name not in used:
            raise UpdateError(f"no path uses the array filter {name!r}", path="array_filters", code=9)
