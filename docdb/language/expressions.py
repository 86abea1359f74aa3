"""Aggregation expressions: a specification becomes a callable over one document.

What lives here: field paths, variables, literals, object and array expressions, the table of all operators, ``compile_expression``. What
it must not know: stages, filters, storage. The operators stand in ``expression_*.py``, one file a topic.

    >>> compile_expression({"$add": ["$a.b", 1]})({"a": {"b": 2}})
    3
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Iterable
from typing import Any, Final

from docdb.errors import NotSupportedError, QueryError
from docdb.language import (
    expression_arithmetic,
    expression_arrays,
    expression_date_arithmetic,
    expression_date_text,
    expression_dates,
    expression_folds,
    expression_logic,
    expression_objects,
    expression_regexes,
    expression_sets,
    expression_strings,
    expression_types,
    metadata,
)
from docdb.language.expression_core import Constant, Failing, Maker, Scope, Term, fail, folded
from docdb.language.values import MISSING, Timestamp

__all__ = ["Expression", "OPERATORS", "check_variable", "compile_expression", "field_path", "now", "read_path"]

SYSTEM_VARIABLES: Final = frozenset({"CLUSTER_TIME", "CURRENT", "NOW", "REMOVE", "ROOT"})
_NO_METADATA: Final[frozenset[str]] = frozenset()
_REFUSED_VARIABLES: Final = frozenset({"JS_SCOPE", "IS_MR", "USER_ROLES", "SEARCH_META"})
_USER_VARIABLE: Final = re.compile(r"[a-z\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*\Z")


class Expression:
    """A compiled expression. ``paths`` are the field paths it reads, None when it may read the whole document; ``constant`` tells whether it reads nothing."""

    __slots__ = ("_term", "collation", "constant", "metadata", "paths", "spec")

    def __init__(self, spec: Any, term: Term, reads: set[str | None], collation: Any) -> None:
        self.spec = spec
        self.collation = collation
        self.constant = isinstance(term, Constant)
        self.paths: frozenset[str] | None = (
            None if None in reads else frozenset(path for path in reads if path is not None)
        )
        self.metadata = metadata.asked_by(reads) if reads else _NO_METADATA
        self._term = term

    def __call__(self, document: dict[str, Any], variables: dict[str, Any] | None = None) -> Any:
        """Return the value for a document, MISSING for none."""
        if variables is None:
            return self._term({"ROOT": document, "CURRENT": document})
        return self._term({**variables, "ROOT": document, "CURRENT": document})

    def within(self, variables: dict[str, Any]) -> Any:
        """Return the value where ROOT and CURRENT stand in the variables already."""
        return self._term(variables)

    def __repr__(self) -> str:
        return f"Expression({self.spec!r})"


def compile_expression(spec: Any, *, variables: Iterable[str] = frozenset(), collation: Any = None) -> Expression:
    """Compile an expression; raises QueryError with MongoDB's code, also for a constant part that fails. ``variables`` are the user variables it may name."""
    reads: set[str | None] = set()
    scope = Scope(_compile, frozenset(variables), collation, reads)
    term = _compile(scope, spec)
    if isinstance(term, Failing):
        term({})
    return Expression(spec, term, reads, collation)


def field_path(text: str) -> tuple[str, ...]:
    """Return the parts of a dotted path; refuse empty parts, leading ``$``, NUL."""
    if not text:
        fail("a field path may not be empty", 40352)
    if text.endswith("."):
        fail("a field path may not end with '.'", 40353)
    parts = tuple(text.split("."))
    for part in parts:
        if not part:
            fail("a part of a field path may not be empty", 15998)
        if part.startswith("$"):
            fail("a part of a field path may not begin with '$'", 16410, hint="use $getField or $setField")
        if "\0" in part:
            fail("a part of a field path may not contain NUL", 16411)
    if len(parts) > 200:
        fail("a field path has at most 200 parts", 15)
    return parts


def read_path(value: Any, parts: tuple[str, ...], at: int = 0) -> Any:
    """Return what a path reaches from a value; arrays on the way give arrays of what their objects hold."""
    last = len(parts)
    while at < last:
        if type(value) is dict:
            value = value.get(parts[at], MISSING)
            at += 1
        elif type(value) is list:
            found = [read_path(item, parts, at) for item in value if type(item) is dict]
            return [item for item in found if item is not MISSING]
        else:
            return MISSING
    return value


def _compile(scope: Scope, spec: Any) -> Term:
    if type(spec) is str:
        return _string(scope, spec)
    if isinstance(spec, dict):
        return _object(scope, spec)
    if isinstance(spec, list):
        terms = [_compile(scope, item) for item in spec]
        return folded(terms, lambda v: [None if (x := term(v)) is MISSING else x for term in terms])
    return Constant(spec)


def _string(scope: Scope, spec: str) -> Term:
    if spec.startswith("$$"):
        return _variable(scope, spec[2:])
    if spec.startswith("$"):
        if spec == "$":
            fail("'$' by itself is not a valid field path", 16872)
        return _field(scope, field_path(spec[1:]))
    return Constant(spec)


def _field(scope: Scope, parts: tuple[str, ...]) -> Term:
    if "CURRENT" not in scope.variables:
        scope.reads.add(".".join(parts))
    if len(parts) == 1:
        (name,) = parts
        return lambda v: c.get(name, MISSING) if type(c := v["CURRENT"]) is dict else read_path(c, parts)
    return lambda v: read_path(v["CURRENT"], parts)


def _variable(scope: Scope, text: str) -> Term:
    name, _, rest = text.partition(".")
    if not name:
        fail("an empty variable name is not valid", 9)
    if name == "CURRENT" and rest:
        return _field(scope, field_path(rest))
    if name in _REFUSED_VARIABLES and name not in scope.variables:
        raise NotSupportedError(f"$${name} needs a server")
    if name not in SYSTEM_VARIABLES and name not in scope.variables:
        check_variable(name, reading=True)
        fail(f"use of the undefined variable {name!r}", 17276)
    if name == "REMOVE":
        return Constant(MISSING)
    parts = field_path(rest) if "." in text else ()
    if name == "ROOT":
        scope.reads.add(".".join(parts) if parts else None)
    if name == "CURRENT" and "CURRENT" not in scope.variables:
        scope.reads.add(None)
    if name in ("CLUSTER_TIME", "NOW"):
        value_of: Term = _now if name == "NOW" else _cluster_time
        return (lambda v: MISSING) if parts else value_of
    if not parts and name in ("CURRENT", "ROOT"):
        return lambda v: metadata.bare(v.get(name, MISSING))
    if not parts:
        return lambda v: v.get(name, MISSING)
    return lambda v: read_path(v.get(name, MISSING), parts)


def _now(v: dict[str, Any]) -> dt.datetime:
    return v.get("NOW") or now()


def _cluster_time(v: dict[str, Any]) -> Timestamp:
    # There is no cluster: the second of $$NOW, so that one statement sees one value.
    return Timestamp(int(_now(v).timestamp()), 1)


def now() -> dt.datetime:
    """Return this moment, cut to milliseconds as MongoDB's dates are."""
    moment = dt.datetime.now(dt.UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def check_variable(name: Any, *, reading: bool = False) -> str:
    """Refuse a name no user variable may have (CURRENT may be set)."""
    if type(name) is not str or not name:
        fail("an empty variable name is not valid", 9)
    if name != "CURRENT" and not _USER_VARIABLE.match(name) and not (reading and name.isupper()):
        fail(
            f"{name!r} is not a valid name for a variable",
            9,
            hint="it begins with a lower-case letter; letters, digits, _",
        )
    return name


def _object(scope: Scope, spec: dict[str, Any]) -> Term:
    first = next(iter(spec), "")
    if first.startswith("$"):
        if len(spec) != 1:
            fail(f"an operator stands alone in its object; this one has {len(spec)} fields", 15983, path=first)
        return _operator(scope, first, spec[first])
    for key in spec:
        if key.startswith("$"):
            fail("a field name in an object may not begin with '$'", 16410, path=key)
        if not key:
            fail("a field name in an object may not be empty", 15998)
        if "." in key:
            fail("a field name in an object may not contain '.'", 16412, path=key)
    fields = [(key, _compile(scope, item)) for key, item in spec.items()]

    def run(v: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, term in fields if (value := term(v)) is not MISSING}

    return folded([term for _, term in fields], run)


def _operator(scope: Scope, name: str, spec: Any) -> Term:
    maker = OPERATORS.get(name)
    if maker is None:
        if name in _KNOWN_ELSEWHERE:
            raise NotSupportedError(f"{name} is known to MongoDB but not supported here", path=name)
        near = difflib.get_close_matches(name, OPERATORS, 1)
        raise QueryError(
            f"unknown expression {name}", path=name, code=168, hint=f"did you mean {near[0]}?" if near else None
        )
    try:
        return maker(scope, spec, name)
    except QueryError as error:
        error.path = f"{name}.{error.path}" if error.path else name
        raise


def _literal(scope: Scope, spec: Any, name: str) -> Term:
    return Constant(spec)


def _let(scope: Scope, spec: Any, name: str) -> Term:
    if not isinstance(spec, dict):
        fail("$let takes an object", 16874)
    for key in spec:
        if key not in ("vars", "in"):
            fail(f"$let has no argument {key!r}", 16875)
    if "vars" not in spec:
        fail("$let needs 'vars'", 16876)
    if "in" not in spec:
        fail("$let needs 'in'", 16877)
    if not isinstance(spec["vars"], dict):
        fail("the vars of $let are an object", 10065)
    bound = [(check_variable(key), _compile(scope, item)) for key, item in spec["vars"].items()]
    body = _compile(scope.knowing(*(key for key, _ in bound)), spec["in"])
    return lambda v: body({**v, **{key: term(v) for key, term in bound}})


_KNOWN_ELSEWHERE: Final = frozenset({
    "$_internalFindElemMatch", "$accumulator", "$createObjectId", "$encStrContains", "$encStrEndsWith", "$encStrStartsWith",
    "$function", "$toHashedIndexKey",
})  # fmt: skip
OPERATORS: Final[dict[str, Maker]] = dict(
    sorted(
        {
            "$const": _literal,
            "$let": _let,
            "$literal": _literal,
            "$meta": metadata.meta,
            **expression_arithmetic.OPERATORS,
            **expression_arrays.OPERATORS,
            **expression_date_arithmetic.OPERATORS,
            **expression_date_text.OPERATORS,
            **expression_dates.OPERATORS,
            **expression_folds.OPERATORS,
            **expression_logic.OPERATORS,
            **expression_objects.OPERATORS,
            **expression_regexes.OPERATORS,
            **expression_sets.OPERATORS,
            **expression_strings.OPERATORS,
            **expression_types.OPERATORS,
        }.items()
    )
)
