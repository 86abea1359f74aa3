"""Stages that choose, order or multiply documents: $match, $sort, $limit, $skip, $count, $sample, $unwind, $sortByCount, $documents.

What lives here: their parsers. What it must not know: storage; a $sort that an index can serve never arrives here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from docdb.language import filters, matching, tree
from docdb.language.expression_core import fail, integer_of
from docdb.language.expressions import Expression, compile_expression, field_path
from docdb.language.metadata import TEXT_SCORE
from docdb.language.values import MISSING, Int64, is_number
from docdb.pipeline.context import Batches
from docdb.pipeline.ordering import document_key, parse_sort
from docdb.pipeline.spill import ordered
from docdb.pipeline.stage import Builder, Run, Stage, Variables, check_options, in_batches, through

__all__ = ["count", "documents", "limit", "match", "sample", "skip", "sort", "sort_by_count", "top_of", "unwind"]


class _Bound:
    """An expression of a filter whose variables are those of the run: the stage sets them before each batch."""

    def __init__(self, expression: Expression, cell: list[Variables]) -> None:
        self.expression, self.cell = expression, cell
        self.paths, self.constant = expression.paths, expression.constant

    def __call__(self, document: dict[str, Any], variables: Variables | None = None) -> Any:
        return self.expression(document, self.cell[0])


def match(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $match."""
    if not isinstance(spec, dict):
        fail("$match takes a filter document", 15959)
    cell: list[Variables] = [{}]

    def compile_bound(inner: Any, **more: Any) -> _Bound:
        expression = compile_expression(inner, variables=builder.variables, collation=builder.context.collation)
        builder.metadata.ask(expression.metadata)
        return _Bound(expression, cell)

    node = filters.parse(spec, collation=builder.context.collation, expressions=compile_bound, near=False, text=True)
    searches = any(isinstance(part, tree.Text) for part in tree.walk(node))
    if searches:
        builder.metadata.available.add(TEXT_SCORE)

    known = None if searches else matching.matcher(node)

    def run(batches: Batches, variables: Variables) -> Batches:
        test = known or matching.matcher(node)  # a search that no plan has taken over is refused here
        for batch in batches:
            cell[0] = variables
            yield [document for document in batch if test(document)]

    return Stage(name, run, spec, searches=searches)


def sort(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $sort."""
    return Stage(name, _sorting(builder, document_key(builder.sort_keys(spec), builder.key), None), spec)


def top_of(builder: Builder, spec: Any, most: int) -> Stage:
    """Compile $sort with a $limit behind it: only so many documents are held."""
    return Stage("$sort", _sorting(builder, document_key(parse_sort(spec), builder.key), most), spec)


def _sorting(builder: Builder, key: Callable[[Any], Any], most: int | None) -> Run:
    """Return the run of a stage that gives its documents in the order of a key, the first ones only where there is a ``most``."""
    context = builder.context

    def run(batches: Batches, variables: Variables) -> Batches:
        found = ordered(batches, key, most, memory=context.memory_limit, check=context.check_deadline)
        yield from in_batches(found)

    return run


def limit(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $limit."""
    most = _count(spec, name, 5107201)
    if most == 0:
        fail("$limit takes a positive number", 15958)

    def run(batches: Batches, variables: Variables) -> Batches:
        left = most
        for batch in batches:
            yield batch[:left]
            left -= len(batch)
            if left <= 0:
                return

    return Stage(name, run, spec)


def _count(spec: Any, name: str, code: int) -> int:
    number = integer_of(spec) if is_number(spec) else None
    if number is None or not 0 <= number < 2**63:
        fail(f"{name} takes a whole number that is not negative", code)
    return number


def skip(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $skip."""
    left_out = _count(spec, name, 5107200)

    def run(batches: Batches, variables: Variables) -> Batches:
        left = left_out
        for batch in batches:
            if left < len(batch):
                yield batch[left:] if left else batch
            left = max(0, left - len(batch))

    return Stage(name, run, spec)


def count(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $count."""
    if type(spec) is not str:
        fail("$count takes the name of a field", 40156)
    if not spec:
        fail("the field of $count is not empty", 40157)
    for wrong, code in (
        (spec.startswith("$"), 40158),
        ("\0" in spec, 40159),
        ("." in spec, 40160),
        (spec == "_id", 9039800),
    ):
        if wrong:
            fail(f"{spec!r} cannot be the field of $count", code)

    def run(batches: Batches, variables: Variables) -> Batches:
        total = sum(len(batch) for batch in batches)
        if total:
            yield [{spec: total}]

    return Stage(name, run, spec)


def sample(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $sample."""
    check_options(spec, name, ("size",), {"size": 28749}, shape=28745, unknown=28748)
    if not is_number(spec["size"]):
        fail("the size of $sample is a number", 28746)
    size = spec["size"]
    if isinstance(size, Decimal) and size.is_finite():
        size = size.to_integral_value(ROUND_HALF_EVEN)
    if size != size or size in (math.inf, -math.inf) or int(size) < 1:
        fail("the size of $sample is positive", 28747)

    return Stage(name, _sorting(builder, lambda document: random.random(), int(size)), spec)


_UNWIND_OPTIONS: Final = ("path", "preserveNullAndEmptyArrays", "includeArrayIndex")


def _unwind_options(spec: Any) -> tuple[tuple[str, ...], bool, tuple[str, ...] | None]:
    options = {"path": spec} if type(spec) is str else spec
    if not isinstance(options, dict):
        fail("$unwind takes a path or an object", 15981)
    path, keep, index = (
        options.get("path", MISSING),
        options.get("preserveNullAndEmptyArrays", False),
        options.get("includeArrayIndex"),
    )
    for key in options:
        if key not in _UNWIND_OPTIONS:
            fail(f"$unwind has no option {key!r}", 28811, hint=f"it takes {', '.join(_UNWIND_OPTIONS)}")
    if path is MISSING:
        fail("$unwind needs 'path'", 28812)
    if type(path) is not str:
        fail("the path of $unwind is text", 28808)
    if type(keep) is not bool:
        fail("preserveNullAndEmptyArrays is a bool", 28809)
    if "includeArrayIndex" in options and (type(index) is not str or not index):
        fail("includeArrayIndex is the name of a field", 28810)
    if not path:
        fail("the path of $unwind is not empty", 28812)
    if not path.startswith("$"):
        fail("the path of $unwind begins with $", 28818)
    if index and index.startswith("$"):
        fail("includeArrayIndex is a field and has no $", 28822)
    return field_path(path[1:]), keep, field_path(index) if index else None


def unwind(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $unwind."""
    parts, keep, index = _unwind_options(spec)

    def run(batches: Batches, variables: Variables) -> Batches:
        for batch in batches:
            yield from in_batches(new for document in batch for new in _unwound(document, parts, keep, index))

    return Stage(name, run, spec)


def _unwound(
    document: dict[str, Any], parts: tuple[str, ...], keep: bool, index: tuple[str, ...] | None
) -> Iterator[dict[str, Any]]:
    value: Any = document
    for part in parts:
        value = value.get(part, MISSING) if type(value) is dict else MISSING
    if type(value) is list and value:
        for i, item in enumerate(value):
            new = with_path(document, parts, item)
            yield with_path(new, index, Int64(i)) if index else new
    elif type(value) is list or value is None or value is MISSING:
        if keep:
            new = without_path(document, parts) if type(value) is list else document
            yield with_path(new, index, None) if index else new
    else:
        yield with_path(document, index, None) if index else document


def with_path(document: dict[str, Any], parts: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a copy with the value at a path of objects; only the objects on the way are copied."""
    new = dict(document)
    if len(parts) == 1:
        new[parts[0]] = value
    else:
        below = new.get(parts[0])
        new[parts[0]] = with_path(below if type(below) is dict else {}, parts[1:], value)
    return new


def without_path(document: dict[str, Any], parts: tuple[str, ...]) -> dict[str, Any]:
    """Return a copy without the field at a path of objects."""
    new = dict(document)
    if len(parts) == 1:
        new.pop(parts[0], None)
    elif type(new.get(parts[0])) is dict:
        new[parts[0]] = without_path(new[parts[0]], parts[1:])
    return new


def sort_by_count(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $sortByCount."""
    if isinstance(spec, dict) and not (spec and next(iter(spec)).startswith("$")):
        fail("$sortByCount takes an expression", 40147)
    if type(spec) is str and not spec.startswith("$"):
        fail("$sortByCount takes an expression; a path begins with $", 40148)
    if not isinstance(spec, dict | str):
        fail("$sortByCount takes an expression", 40149)
    stages = builder.compile(builder, [{"$group": {"_id": spec, "count": {"$sum": 1}}}, {"$sort": {"count": -1}}])

    def run(batches: Batches, variables: Variables) -> Batches:
        return through(stages, batches, variables, builder.context.check_deadline)

    return Stage(name, run, spec)


def documents(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $documents."""
    expression = builder.expression(spec)

    def run(batches: Batches, variables: Variables) -> Batches:
        found = expression({}, variables)
        if type(found) is not list:
            fail("$documents takes an array of objects", 5858203)
        for document in found:
            if type(document) is not dict:
                fail("$documents takes an array of objects", 40228)
        return in_batches(found)

    return Stage(name, run, spec, starts=True)
