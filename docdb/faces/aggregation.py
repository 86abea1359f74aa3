"""Pipelines: as a list of stages, and built one method a stage.

What lives here: ``PipelineBuilder`` (a list of stages and nothing else) and ``Aggregation``, one that knows its
collection and can be run. What it must not know: what a stage does (``pipeline/``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from docdb.errors import QueryError, UsageError
from docdb.faces.arguments import (
    AggregateOptions,
    check_options,
    collation_document,
    flag,
    hint_of,
    sort_document,
    whole_number,
)
from docdb.faces.conditions import encode_where
from docdb.faces.cursor import CommandCursor
from docdb.faces.results import Result
from docdb.faces.tables import Tabular, text_of
from docdb.store.columns import Chunk, chunks_of_stored

if TYPE_CHECKING:
    from docdb.sessions.operations import Session

__all__ = ["AggregateCursor", "Aggregation", "PipelineBuilder", "check_pipeline"]

T = TypeVar("T")
Self = TypeVar("Self", bound="PipelineBuilder")


class PipelineBuilder:
    """Stages in order; each method adds one and returns the builder.

    >>> PipelineBuilder().match({"a": {"b": 1}}).sort("n", "desc").limit(2).done()
    [{'$match': {'a.b': 1}}, {'$sort': {'n': -1}}, {'$limit': 2}]
    """

    __slots__ = ("_stages",)

    def __init__(self) -> None:
        self._stages: list[dict[str, Any]] = []

    def done(self) -> list[dict[str, Any]]:
        """Return the stages as a plain list, for ``lookup(pipeline=...)`` and the like."""
        return list(self._stages)

    def stage(self: Self, name: str, operand: Any) -> Self:
        """Add a stage by its name in MongoDB's spelling."""
        self._stages.append({name: operand})
        return self

    def stages(self: Self, pipeline: Any) -> Self:
        """Add the stages of a list or of another builder."""
        self._stages += check_pipeline(pipeline)
        return self

    def match(self: Self, condition: Any) -> Self:
        """Keep the documents that satisfy a condition, said as in ``where``."""
        return self.stage("$match", encode_where(condition))

    def project(self: Self, fields: Mapping[str, Any]) -> Self:
        """Include, exclude or compute fields."""
        return self.stage("$project", fields)

    def add_fields(self: Self, fields: Mapping[str, Any]) -> Self:
        """Add or overwrite computed fields."""
        return self.stage("$addFields", fields)

    def set(self: Self, fields: Mapping[str, Any]) -> Self:
        """Add or overwrite computed fields (the short name)."""
        return self.stage("$set", fields)

    def unset(self: Self, *fields: Any) -> Self:
        """Leave fields out."""
        return self.stage("$unset", fields[0] if len(fields) == 1 else list(fields))

    def group(self: Self, spec: Mapping[str, Any]) -> Self:
        """Bring documents with the same ``_id`` expression together under accumulators."""
        return self.stage("$group", spec)

    def sort(self: Self, keys: Any, order: Any = None) -> Self:
        """Put documents in order."""
        return self.stage("$sort", sort_document(keys, order))

    def limit(self: Self, count: int) -> Self:
        """Let so many documents through."""
        return self.stage("$limit", count)

    def skip(self: Self, count: int) -> Self:
        """Leave the first so many documents out."""
        return self.stage("$skip", count)

    def unwind(self: Self, path: str | Mapping[str, Any]) -> Self:
        """Give one document for each element of an array."""
        return self.stage("$unwind", path)

    def lookup(self: Self, spec: Mapping[str, Any]) -> Self:
        """Join documents of another collection; a builder may stand as the pipeline."""
        return self.stage("$lookup", _nested(spec, "pipeline"))

    def bucket(self: Self, spec: Mapping[str, Any]) -> Self:
        """Group by ranges."""
        return self.stage("$bucket", spec)

    def bucket_auto(self: Self, spec: Mapping[str, Any]) -> Self:
        """Group by ranges of about the same number of documents."""
        return self.stage("$bucketAuto", spec)

    def count(self: Self, name: str) -> Self:
        """Give one document with the number of documents."""
        return self.stage("$count", name)

    def sort_by_count(self: Self, expression: Any) -> Self:
        """Group by an expression, count, largest first."""
        return self.stage("$sortByCount", expression)

    def sample(self: Self, size: int | Mapping[str, Any]) -> Self:
        """Give so many documents by chance."""
        return self.stage("$sample", {"size": size} if isinstance(size, int) else size)

    def replace_root(self: Self, spec: Mapping[str, Any]) -> Self:
        """Put a part of the document, or an expression, in its place."""
        return self.stage("$replaceRoot", spec)

    def replace_with(self: Self, expression: Any) -> Self:
        """Put an expression in the document's place (the short form)."""
        return self.stage("$replaceWith", expression)

    def geo_near(self: Self, spec: Mapping[str, Any]) -> Self:
        """Give documents in order of their distance."""
        return self.stage("$geoNear", spec)

    def facet(self: Self, pipelines: Mapping[str, Any]) -> Self:
        """Run several pipelines on the same documents; builders may stand as pipelines."""
        return self.stage("$facet", {name: _stages(pipeline) for name, pipeline in pipelines.items()})

    def graph_lookup(self: Self, spec: Mapping[str, Any]) -> Self:
        """Follow references through a collection."""
        return self.stage("$graphLookup", spec)

    def union_with(self: Self, spec: str | Mapping[str, Any]) -> Self:
        """Add the documents of another collection."""
        return self.stage("$unionWith", spec if isinstance(spec, str) else _nested(spec, "pipeline"))

    def set_window_fields(self: Self, spec: Mapping[str, Any]) -> Self:
        """Compute over windows of documents."""
        return self.stage("$setWindowFields", spec)

    def densify(self: Self, spec: Mapping[str, Any]) -> Self:
        """Add the documents that are missing in a sequence."""
        return self.stage("$densify", spec)

    def fill(self: Self, spec: Mapping[str, Any]) -> Self:
        """Fill fields that are null or missing."""
        return self.stage("$fill", spec)

    def redact(self: Self, expression: Any) -> Self:
        """Keep, descend into or prune each level of a document."""
        return self.stage("$redact", expression)

    def documents(self: Self, documents: Any) -> Self:
        """Begin with these documents instead of a collection's."""
        return self.stage("$documents", documents)

    def coll_stats(self: Self, spec: Mapping[str, Any]) -> Self:
        """Give the collection's figures."""
        return self.stage("$collStats", spec)

    def index_stats(self: Self) -> Self:
        """Give the indexes' figures."""
        return self.stage("$indexStats", {})

    def out(self: Self, target: str | Mapping[str, Any]) -> Self:
        """Write the documents to a collection in place of what it holds."""
        return self.stage("$out", target)

    def merge(self: Self, spec: str | Mapping[str, Any]) -> Self:
        """Write the documents into a collection."""
        return self.stage("$merge", spec)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._stages!r})"


class Aggregation(Tabular, PipelineBuilder):
    """A pipeline on a collection: ``end()`` runs it, iterating runs it lazily."""

    __slots__ = ("_name", "_options", "_session")

    def __init__(self, session: Session, name: str | None, options: AggregateOptions) -> None:
        super().__init__()
        self._session = session
        self._name = name
        self._options = options

    def end(self) -> Result[dict[str, Any]]:
        """Run the pipeline and return all its documents."""
        return Result(self.cursor().to_list())

    def cursor(self) -> AggregateCursor:
        """Run the pipeline and return its documents as a cursor."""
        return AggregateCursor(self._session, self._name, self._stages, **self._options)

    def _chunks(self, text: frozenset[str]) -> Iterator[Chunk]:
        found = _stored_chunks(self._session, self._name, check_pipeline(self._stages), self._options, text)
        return self.cursor()._chunks(text) if found is None else found

    def explain(self, verbosity: str = "executionStats") -> dict[str, Any]:
        """Return how the documents are found, and under ``pipeline`` the stages that work on them; nothing is written."""
        if self._name is None:
            raise UsageError("a pipeline without a collection finds nothing", path="explain")
        return self._session.explain_aggregate(
            self._name, check_pipeline(self._stages), verbosity=verbosity,
            collation=collation_document(self._options.get("collation")), hint=hint_of(self._options.get("hint")),
            let=self._options.get("let"),
        )  # fmt: skip

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.cursor())


class AggregateCursor(CommandCursor[dict[str, Any]]):
    """What ``aggregate`` answers. The pipeline starts at once: a wrong one fails at the call, and ``$out`` writes without anyone reading."""

    __slots__ = ("_again",)

    def __init__(self, session: Session, name: str | None, pipeline: Any, **options: Unpack[AggregateOptions]) -> None:
        if options:
            check_options("aggregate", options, AggregateOptions)
            flag(options.get("allow_disk_use"), "allow_disk_use", strict=True)
        stages = check_pipeline(pipeline)
        batches = session.aggregate(name, stages, **_asked(options))
        first = next(batches, None)
        super().__init__(batches if first is None else _resumed(first, batches))
        self._again = partial(_stored_chunks, session, name, stages, options)

    def _chunks(self, text: frozenset[str]) -> Iterator[Chunk]:
        """Yield the columns; where nothing was read yet and documents are shown as stored, they are asked for anew."""
        stored = self._again(text) if self._stream is None and not self._closed else None
        if stored is None:
            return super()._chunks(text)
        self.close()
        return stored


def _stored_chunks(
    session: Session, name: str | None, stages: list[Any], options: AggregateOptions, text: frozenset[str]
) -> Iterator[Chunk] | None:
    """Return the columns of a pipeline that shows documents as they are stored, None of any other."""
    if name is None:
        return None
    check_options("aggregate", options, AggregateOptions)
    found = session.stored_aggregate(name, stages, **_asked(options))
    if found is None:
        return None
    wanted, stored = found
    return chunks_of_stored(stored, replace(wanted, text=text, text_of=text_of))


def _asked(options: AggregateOptions) -> dict[str, Any]:
    """Return the options as a session takes them."""
    limit = options.get("max_time_ms")
    return {
        "collation": collation_document(options.get("collation")),
        "hint": hint_of(options.get("hint")),
        "let": options.get("let"),
        "max_time_ms": None if limit is None else whole_number(limit, "max_time_ms"),
    }


def _resumed(first: list[T], rest: Iterator[list[T]]) -> Iterator[list[T]]:
    """Yield a batch that was taken already, then the others; closing this closes those."""
    yield first
    yield from rest


def check_pipeline(stages: Any) -> list[Any]:
    """Return a pipeline as a list: of documents, from a list, a tuple or a builder."""
    if isinstance(stages, PipelineBuilder):
        return stages.done()
    if not isinstance(stages, Sequence) or isinstance(stages, str | bytes):
        raise UsageError(f"a pipeline is a list of stages, not {type(stages).__name__}", path="pipeline", code=14)
    for position, stage in enumerate(stages):
        if not isinstance(stage, Mapping):
            raise QueryError(f"a stage is a document, not {type(stage).__name__}", path=f"pipeline.{position}", code=14)
    return list(stages)


def _stages(pipeline: Any) -> Any:
    return pipeline.done() if isinstance(pipeline, PipelineBuilder) else pipeline


def _nested(spec: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return {**spec, name: _stages(spec[name])} if isinstance(spec, Mapping) and name in spec else spec
