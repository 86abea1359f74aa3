"""Operators that decide: boolean, comparison, conditional.

What lives here: their makers. What it must not know: how the arguments are evaluated beyond calling them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from docdb.language.expression_core import (
    Constant,
    Failing,
    Maker,
    Scope,
    Term,
    arguments,
    fail,
    fixed,
    folded,
    is_nullish,
    truth,
)
from docdb.language.values import MISSING

__all__ = ["OPERATORS"]


def _and(scope: Scope, spec: Any, name: str) -> Term:
    terms = arguments(scope, spec)
    if terms and isinstance(last := terms[-1], Constant) and not truth(last.value):
        return Constant(False)  # decided without the others, which may fail
    return folded(terms, lambda v: all(truth(term(v)) for term in terms))


def _or(scope: Scope, spec: Any, name: str) -> Term:
    terms = arguments(scope, spec)
    if terms and isinstance(last := terms[-1], Constant) and truth(last.value):
        return Constant(True)  # decided without the others, which may fail
    return folded(terms, lambda v: any(truth(term(v)) for term in terms))


def _comparison(judge: Callable[[int], Any]) -> Maker:
    def make(scope: Scope, spec: Any, name: str) -> Term:
        compare_values = scope.comparer()
        return fixed(2, lambda a, b: judge(compare_values(a, b)))(scope, spec, name)

    return make


def _cond(scope: Scope, spec: Any, name: str) -> Term:
    if isinstance(spec, dict):
        for key in spec:
            if key not in ("if", "then", "else"):
                fail(f"$cond has no argument {key!r}", 17083)
        for key, code in (("if", 17080), ("then", 17081), ("else", 17082)):
            if key not in spec:
                fail(f"$cond needs {key!r}", code)
        parts = [spec["if"], spec["then"], spec["else"]]
    elif isinstance(spec, list) and len(spec) == 3:
        parts = spec
    else:
        fail("$cond takes 3 arguments", 16020)
    test, yes, no = (scope.compile(part) for part in parts)
    if isinstance(test, Constant):
        return yes if truth(test.value) else no
    return next(
        (term for term in (test, yes, no) if isinstance(term, Failing)),
        lambda v: yes(v) if truth(test(v)) else no(v),
    )


def _if_null(scope: Scope, spec: Any, name: str) -> Term:
    if not isinstance(spec, list) or len(spec) < 2:
        fail("$ifNull takes at least 2 arguments", 1257300)
    terms = arguments(scope, spec)

    def run(v: dict[str, Any]) -> Any:
        value: Any = MISSING
        for term in terms:
            value = term(v)
            if not is_nullish(value):
                return value
        return value

    return folded(terms, run)


def _branch(scope: Scope, spec: Any) -> tuple[Term, Term]:
    if not isinstance(spec, dict):
        fail("a branch of $switch is an object", 40062)
    for key in spec:
        if key not in ("case", "then"):
            fail(f"a branch of $switch has no argument {key!r}", 40063)
    for key, code in (("case", 40064), ("then", 40065)):
        if key not in spec:
            fail(f"a branch of $switch needs {key!r}", code)
    return scope.compile(spec["case"]), scope.compile(spec["then"])


def _reachable(pairs: list[tuple[Term, Term]], default: Term | None) -> tuple[list[tuple[Term, Term]], Term | None]:
    """Return the branches that constant cases leave, and what stands after them."""
    kept = []
    for case, then in pairs:
        if not isinstance(case, Constant):
            kept.append((case, then))
        elif truth(case.value):
            return kept, then
    return kept, default


def _switch(scope: Scope, spec: Any, name: str) -> Term:
    if not isinstance(spec, dict):
        fail("$switch takes an object", 40060)
    for key in spec:
        if key not in ("branches", "default"):
            fail(f"$switch has no argument {key!r}", 40067)
    branches = spec.get("branches", [])
    if not isinstance(branches, list):
        fail("the branches of $switch are an array", 40061)
    pairs = [_branch(scope, branch) for branch in branches]
    if not pairs:
        fail("$switch needs at least one branch", 40068)
    default = scope.compile(spec["default"]) if "default" in spec else None

    if default is None and all(isinstance(case, Constant) and not truth(case.value) for case, _ in pairs):
        fail("no branch of $switch can apply and it has no default", 40069)
    pairs, default = _reachable(pairs, default)
    if not pairs and default is not None:
        return default

    def run(v: dict[str, Any]) -> Any:
        for case, then in pairs:
            if truth(case(v)):
                return then(v)
        if default is None:
            fail("no branch of $switch applies and it has no default", 40066)
        return default(v)

    return folded([term for pair in pairs for term in pair] + ([default] if default else []), run)


OPERATORS: Final[dict[str, Maker]] = {
    "$and": _and,
    "$cmp": _comparison(lambda c: c),
    "$cond": _cond,
    "$eq": _comparison(lambda c: c == 0),
    "$gt": _comparison(lambda c: c > 0),
    "$gte": _comparison(lambda c: c >= 0),
    "$ifNull": _if_null,
    "$lt": _comparison(lambda c: c < 0),
    "$lte": _comparison(lambda c: c <= 0),
    "$ne": _comparison(lambda c: c != 0),
    "$not": fixed(1, lambda value: not truth(value)),
    "$or": _or,
    "$switch": _switch,
}
