"""The shape of a compiled stage, and what stage parsers share.

What lives here: ``Stage``, ``Builder`` (what is known while a pipeline is compiled), argument checks. What it must not know: any
stage by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from docdb.errors import QueryError
from docdb.language.expression_core import fail
from docdb.language.expressions import Expression, compile_expression, now
from docdb.language.metadata import Metadata, is_sorted_by
from docdb.language.order import order_key
from docdb.pipeline.context import Batch, Batches, Context
from docdb.pipeline.ordering import SortKey, parse_sort

__all__ = [
    "BATCH",
    "Builder",
    "Run",
    "Stage",
    "Variables",
    "check_options",
    "each",
    "in_batches",
    "looking",
    "through",
    "watched",
]

BATCH: Final = 256
T = TypeVar("T")
Variables = dict[str, Any]
Run = Callable[[Batches, Variables], Batches]


@dataclass(frozen=True, slots=True)
class Stage:
    """A compiled stage: ``run(batches, variables)`` yields batches."""

    name: str
    run: Run
    spec: Any = None
    starts: bool = False  # brings its own documents: first in its pipeline
    writes: bool = False  # last in its pipeline
    searches: bool = False  # looks for words: first in its pipeline, so that an index serves it


@dataclass(frozen=True, slots=True)
class Builder:
    """What is known while a pipeline is compiled: context, variables in scope, depth, what the pipeline is part of and what its documents carry."""

    context: Context
    variables: frozenset[str] = frozenset()
    within: str = ""
    source: str | None = None  # the collection it reads, when that is not the context's
    depth: int = 0
    compile: Callable[[Builder, Any], list[Stage]] = field(default=lambda builder, stages: [])
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def key(self) -> Callable[[Any], bytes]:
        """Return the sort key of values under the pipeline's collation."""
        return order_key if self.context.collation is None else self.context.collation.order_key

    def expression(self, spec: Any, *more: str) -> Expression:
        """Return the compiled expression; ``more`` are variables known beside those in scope."""
        expression = compile_expression(spec, variables=self.variables | set(more), collation=self.context.collation)
        self.metadata.ask(expression.metadata)
        return expression

    def sort_keys(self, spec: Any) -> tuple[SortKey, ...]:
        """Return the paths and directions of a sort document."""
        keys = parse_sort(spec)
        self.metadata.ask(is_sorted_by(keys))
        return keys

    def inner(self, within: str, *more: str, source: str | None = None) -> Builder:
        """Return the builder of a pipeline inside a stage."""
        if self.depth >= 20:
            raise QueryError("pipelines are nested at most 20 deep", code=232)
        carried = self.metadata.branch() if within == "$facet" else Metadata()
        return Builder(self.context, self.variables | set(more), within, source, self.depth + 1, self.compile, carried)

    def start_variables(self) -> Variables:
        """Return the variables a run begins with."""
        return {**self.context.variables, "NOW": self.context.now or now()}


def check_options(
    spec: Any, name: str, known: Iterable[str], required: Mapping[str, int] | None = None, *, shape: int, unknown: int
) -> None:
    """Refuse a stage's argument that is no object, has unknown fields or lacks required ones."""
    if not isinstance(spec, dict):
        fail(f"{name} takes an object", shape)
    for key in spec:
        if key not in known:
            fail(f"{name} has no option {key!r}", unknown, hint=f"it takes {', '.join(known)}")
    for key, code in (required or {}).items():
        if key not in spec:
            fail(f"{name} needs {key!r}", code)


def each(function: Callable[[dict[str, Any], Variables], Any]) -> Run:
    """Return the run of a stage that makes one document of each."""

    def run(batches: Batches, variables: Variables) -> Batches:
        for batch in batches:
            yield [function(document, variables) for document in batch]

    return run


def watched(batches: Iterable[list[T]], check: Callable[[], None]) -> Iterator[list[T]]:
    """Yield batches, looking at the clock before each."""
    for batch in batches:
        check()
        yield batch


def looking(items: Iterable[T], check: Callable[[], None]) -> Iterator[T]:
    """Yield items, looking at the clock before each 256th: for work that neither reads nor gives a batch for long."""
    for number, item in enumerate(items):
        if number % BATCH == 0:
            check()
        yield item


def through(stages: Iterable[Stage], batches: Batches, variables: Variables, check: Callable[[], None]) -> Batches:
    """Send batches through stages, looking at the clock at each."""
    for stage in stages:
        batches = watched(stage.run(batches, variables), check)
    return batches


def in_batches(documents: Iterable[dict[str, Any]]) -> Iterator[Batch]:
    """Yield documents in batches."""
    batch: Batch = []
    for document in documents:
        batch.append(document)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
