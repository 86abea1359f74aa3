"""Filter documents become filter trees.

What lives here: ``parse``, the logical operators and those that speak of a whole document. The operators of one field
are in ``filter_operators``. What it must not know: how a tree is judged (``matching``, ``programs``), indexes,
collections.

A filter document is a conjunction of clauses. A clause is ``name: value`` with a field's dotted path and a value
(equality) or a document of operators, or ``$operator: argument`` from ``DOCUMENT_OPERATORS``. Every error carries the
way to the mistake (``$and.0.age.$gtee``) and MongoDB's code. Values become canonical here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from docdb.errors import NotSupportedError, QueryError
from docdb.language import filter_operators as fields
from docdb.language.filter_operators import Scope, at, unknown_operator
from docdb.language.schema import compile_schema
from docdb.language.tree import FALSE, TRUE, And, Compare, ElemMatch, Expr, Near, Node, Not, Or, Path, Schema
from docdb.language.values import INT64_MAX, INT64_MIN, is_number

__all__ = [
    "DOCUMENT_OPERATORS",
    "KNOWN_OPERATORS",
    "MAX_FILTER_DEPTH",
    "UNSUPPORTED_OPERATORS",
    "parse",
    "parse_comparisons",
]

MAX_FILTER_DEPTH: Final = 100
_REFERENCE_FIELDS: Final = frozenset({"$db", "$id", "$ref"})
# An $elemMatch that begins with one of these speaks of the element as a document, not of the element itself.
_WHOLE_DOCUMENT_FIRST: Final = frozenset({"$and", "$nor", "$or", "$where"})


def parse(
    filter: Mapping[str, Any] | None,
    *,
    collation: Any = None,
    let: Mapping[str, Any] | None = None,
    expressions: Callable[..., Any] | None = None,
    naive_utc: bool = False,
    near: bool = True,
    text: bool | None = None,
) -> Node:
    """Return the tree of a filter document (None is ``{}``, which matches all).

    ``collation`` is a parsed collation or None; ``let`` holds the values of ``$$name`` in ``$expr``; ``expressions``
    compiles those (default: ``compile_expression``); ``naive_utc`` reads dates without a zone as UTC; ``near`` allows $near,
    ``text`` $text (default: as ``near``). Raises
    QueryError with the path of the mistake, NotSupportedError for what MongoDB knows and docdb does not. Cost: one
    pass over the filter.

    >>> parse({"age": {"$gt": 20}})
    Compare(path=('age',), op='gt', value=20, collation=None)
    """
    if filter is None:
        return TRUE
    if not isinstance(filter, Mapping):
        raise QueryError(f"a filter is a document, not {type(filter).__name__}", code=14)
    if let is not None and not isinstance(let, Mapping):
        raise QueryError(f"let is a document, not {type(let).__name__}", path="let", code=14)
    quick = parse_comparisons(filter) if collation is None and type(filter) is dict else None
    if quick is not None:
        return quick
    scope = Scope(collation, let, expressions, naive_utc, 0, near=near, text=near if text is None else text)
    return _document(scope, filter, "")


def parse_comparisons(filter: dict[Any, Any]) -> Node | None:
    """Return the tree of a filter that only compares fields with plain scalars, as most do; None for any other.

    What ``parse`` returns for it whatever its options but for a collation, in fewer steps.
    """
    parts: list[Node] = []
    for name, value in filter.items():
        if type(name) is not str or name[:1] == "$":
            return None
        op = "eq"
        if type(value) is dict and len(value) == 1:
            ((operator, value),) = value.items()
            if operator not in _COMPARISONS:
                return None
            op = _COMPARISONS[operator]
        kind = type(value)
        if not (
            (kind is int and INT64_MIN <= value <= INT64_MAX)
            or (kind is str and value.isascii())
            or (kind is float or kind is bool or value is None)
        ):
            return None
        parts.append(Compare(tuple(name.split(".")) if "." in name else (name,), op, value))
    if len(parts) == 1:
        return parts[0]
    return And(tuple(parts)) if parts else TRUE


_COMPARISONS: Final = {"$eq": "eq", "$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}


def _document(scope: Scope, filter: Mapping[str, Any], where: str) -> Node:
    if scope.depth > MAX_FILTER_DEPTH:
        raise QueryError(f"a filter is nested deeper than {MAX_FILTER_DEPTH} levels", path=where[:80])
    return conjunction([_clause(scope, name, value, where) for name, value in filter.items()])


def _clause(scope: Scope, name: Any, value: Any, where: str) -> Node:
    if not isinstance(name, str):
        raise QueryError(f"a field name is text, not {type(name).__name__}", path=where or None)
    here = at(where, name)
    if not name.startswith("$") or name in _REFERENCE_FIELDS:
        return _field(scope, tuple(name.split(".")), value, here)
    operator = DOCUMENT_OPERATORS.get(name)
    if operator is not None:
        return operator(scope, value, here)
    if name in UNSUPPORTED_OPERATORS:
        raise _not_supported(name, here)
    raise unknown_operator(name, here, DOCUMENT_OPERATORS, "unknown top level operator")


def conjunction(parts: list[Node]) -> Node:
    """Return the parts as one node, nested conjunctions opened; no parts are true."""
    if len(parts) == 1:
        return parts[0]
    flat: list[Node] = []
    for part in parts:
        if isinstance(part, And):
            flat.extend(part.parts)
        elif part is not TRUE:
            flat.append(part)
    if not flat:
        return TRUE
    if sum(type(part) is Near for part in flat) > 1:
        raise QueryError("a filter has one $near")
    return flat[0] if len(flat) == 1 else And(tuple(flat))


# Fields


def is_operator_document(value: Any) -> bool:
    """Tell whether a value is a document of operators: its first name begins with ``$`` and it is no $ref with $id."""
    if (type(value) is not dict and not isinstance(value, Mapping)) or not value:
        return False
    first = next(iter(value))
    return isinstance(first, str) and first.startswith("$") and not ("$ref" in value and "$id" in value)


def _field(scope: Scope, path: Path, value: Any, where: str) -> Node:
    if is_operator_document(value):
        return _operators(scope, path, value, where)
    return fields.implicit_equality(scope, path, scope.canonical(value, where), where)


def _operators(scope: Scope, path: Path, operators: Mapping[str, Any], where: str) -> Node:
    if scope.depth > MAX_FILTER_DEPTH:
        raise QueryError(f"a filter is nested deeper than {MAX_FILTER_DEPTH} levels", path=where[:80])
    parts: list[Node] = []
    for name, value in operators.items():
        here = at(where, str(name))
        if name in fields.FIELD_OPERATORS:
            parts.append(fields.FIELD_OPERATORS[name](scope, path, scope.canonical(value, here), here))
        elif name in _NESTING_OPERATORS:
            parts.append(_NESTING_OPERATORS[name](scope.deeper(), path, value, here))
        elif name == "$regex" or (name == "$options" and "$regex" not in operators):
            parts.append(fields.regex(scope, path, operators, where))
        elif name == "$options" or (name in _BESIDE_NEAR and not _NEAR.isdisjoint(operators)):
            continue
        elif name in _GEOGRAPHY:
            parts.append(_geography(scope, path, operators, name, where))
        elif name in UNSUPPORTED_OPERATORS:
            raise _not_supported(name, here)
        else:
            raise unknown_operator(str(name), here, KNOWN_OPERATORS, "unknown operator")
    return conjunction(parts)


def _geography(scope: Scope, path: Path, operators: Mapping[str, Any], name: str, where: str) -> Node:
    from docdb.language import geo_filters  # loaded at the first operator of its kind: most filters need none

    if name in _NEAR:
        return geo_filters.near(scope, path, operators, name, where)
    here = at(where, name)
    return geo_filters.SHAPE_OPERATORS[name](scope, path, scope.canonical(operators[name], here), here)


def _not(scope: Scope, path: Path, value: Any, where: str) -> Node:
    if isinstance(value, Mapping):
        if not value:
            raise QueryError("$not needs operators, not an empty document", path=where)
        return Not(_operators(scope.inside_negation(), path, value, where))
    pattern = fields.pattern_of(scope, path, scope.canonical(value, where), where)
    if pattern is None:
        raise QueryError("$not needs a regular expression or a document of operators", path=where)
    return Not(pattern)


def _elem_match(scope: Scope, path: Path, value: Any, where: str) -> Node:
    if not isinstance(value, Mapping):
        raise QueryError("$elemMatch needs a document", path=where)
    inner = scope.inside_element()
    first = next(iter(value), "")
    if is_operator_document(value) and first not in _WHOLE_DOCUMENT_FIRST and first not in _REFERENCE_FIELDS:
        return ElemMatch(path, _operators(inner, (), value, where), values=True)
    return ElemMatch(path, _document(inner, value, where))


def _all(scope: Scope, path: Path, value: Any, where: str) -> Node:
    if not isinstance(value, list | tuple):
        raise QueryError("$all needs an array", path=where)
    if not value:
        return FALSE
    elements = [isinstance(item, Mapping) and next(iter(item), "") == "$elemMatch" for item in value]
    if elements[0]:
        return conjunction([_all_element(scope, path, item, at(where, str(i))) for i, item in enumerate(value)])
    parts = []
    for i, item in enumerate(value):
        here = at(where, str(i))
        if is_operator_document(item):
            raise QueryError("no operators in $all, except $elemMatch in all of its elements", path=here)
        parts.append(fields.implicit_equality(scope, path, scope.canonical(item, here), here))
    return conjunction(parts)


def _all_element(scope: Scope, path: Path, item: Any, where: str) -> Node:
    if not (isinstance(item, Mapping) and list(item) == ["$elemMatch"]):
        raise QueryError("$all with $elemMatch holds nothing else", path=where)
    return _elem_match(scope, path, item["$elemMatch"], at(where, "$elemMatch"))


# Documents


def _branches(inner: Scope, value: Any, where: str) -> list[Node]:
    name = where.rpartition(".")[2]
    if not isinstance(value, list | tuple) or not value:
        raise QueryError(f"{name} needs a nonempty array", path=where)
    parts = []
    for i, item in enumerate(value):
        here = at(where, str(i))
        if not isinstance(item, Mapping):
            raise QueryError(f"the entries of {name} are documents, not {type(item).__name__}", path=here)
        parts.append(_document(inner, item, here))
    return parts


def _disjunction(parts: list[Node]) -> Node:
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def _and(scope: Scope, value: Any, where: str) -> Node:
    return conjunction(_branches(scope.deeper(), value, where))


def _or(scope: Scope, value: Any, where: str) -> Node:
    return _disjunction(_branches(scope.inside_choice(), value, where))


def _nor(scope: Scope, value: Any, where: str) -> Node:
    return Not(_disjunction(_branches(scope.inside_negation(), value, where)))


def _expr(scope: Scope, value: Any, where: str) -> Node:
    if scope.element:
        raise QueryError("$expr can only be applied to the top-level document", path=where)
    return Expr(scope.compile(scope.canonical(value, where)))


def _json_schema(scope: Scope, value: Any, where: str) -> Node:
    return Schema(compile_schema(scope.canonical(value, where), path=where))


def _text(scope: Scope, value: Any, where: str) -> Node:
    from docdb.language.text_filters import text  # loaded at the first search

    return text(scope, value, where)


def _comment(scope: Scope, value: Any, where: str) -> Node:
    return TRUE


@dataclass(frozen=True, slots=True)
class Sample:
    """An expression that is true of a random share of the documents."""

    rate: float
    paths: frozenset[str] = frozenset()
    constant: bool = False

    def __call__(self, document: Any, variables: Any = None) -> bool:
        return random.random() < self.rate


def _sample_rate(scope: Scope, value: Any, where: str) -> Node:
    rate = scope.canonical(value, where)
    if not is_number(rate):
        raise QueryError("$sampleRate needs a number", path=where)
    if rate != rate or not 0 <= rate <= 1:  # a Decimal NaN cannot be compared
        raise QueryError("$sampleRate needs a number from 0 to 1", path=where)
    return TRUE if rate == 1 else FALSE if rate == 0 else Expr(Sample(float(rate)))


def _always(result: Node) -> Callable[[Scope, Any, str], Node]:
    def operator(scope: Scope, value: Any, where: str) -> Node:
        if not is_number(scope.canonical(value, where)) or value != 1:
            raise QueryError(f"{where.rpartition('.')[2]} takes the number 1", path=where, code=9)
        return result

    return operator


def _not_supported(name: str, where: str) -> NotSupportedError:
    return NotSupportedError(f"{name} is not supported", path=where, hint=UNSUPPORTED_OPERATORS[name])


_NEAR: Final = frozenset({"$geoNear", "$near", "$nearSphere"})
_BESIDE_NEAR: Final = frozenset({"$maxDistance", "$minDistance", "$uniqueDocs"})
_GEOGRAPHY: Final = _NEAR | {"$geoIntersects", "$geoWithin", "$within"}

DOCUMENT_OPERATORS: Final[dict[str, Callable[[Scope, Any, str], Node]]] = {
    "$alwaysFalse": _always(FALSE),
    "$alwaysTrue": _always(TRUE),
    "$and": _and,
    "$comment": _comment,
    "$expr": _expr,
    "$jsonSchema": _json_schema,
    "$nor": _nor,
    "$or": _or,
    "$sampleRate": _sample_rate,
    "$text": _text,
}

_NESTING_OPERATORS: Final[dict[str, Callable[[Scope, Path, Any, str], Node]]] = {
    "$all": _all,
    "$elemMatch": _elem_match,
    "$not": _not,
}

UNSUPPORTED_OPERATORS: Final[dict[str, str]] = {
    "$where": "docdb runs no JavaScript; use $expr",
}

KNOWN_OPERATORS: Final[tuple[str, ...]] = tuple(
    sorted({*fields.FIELD_OPERATORS, *_NESTING_OPERATORS, *_GEOGRAPHY, "$options", "$regex"})
)  # the operators of a field
