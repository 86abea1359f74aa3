"""Pipelines: a list of stages becomes iterators over batches.

What lives here: the sorted table of stages, the table of known but unsupported ones, ``compile_pipeline``, ``pipeline_update``, and
``take_front``, which says what an access path may take over. What it must not know: the planner, the store; documents arrive as batches and
other collections through the context.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

from docdb.errors import NotSupportedError, QueryError, UpdateError
from docdb.language.expression_core import fail
from docdb.language.expressions import check_variable, compile_expression
from docdb.language.expressions import now as this_moment
from docdb.language.metadata import Metadata, stripped
from docdb.pipeline import (
    filling,
    stages_flow,
    stages_geo,
    stages_group,
    stages_join,
    stages_shape,
    stages_write,
    windows,
)
from docdb.pipeline.context import Batch, Batches, Context
from docdb.pipeline.ordering import plain_sort
from docdb.pipeline.stage import Builder, Stage, Variables, through, watched

__all__ = ["Front", "Pipeline", "STAGES", "compile_pipeline", "evaluate_let", "pipeline_update", "take_front"]


class Pipeline:
    """A compiled pipeline. ``starts`` tells that it brings its own documents, ``writes`` that its last stage writes, ``metadata`` what it asks of ``$meta``."""

    __slots__ = ("_builder", "metadata", "stages", "starts", "writes")

    def __init__(self, builder: Builder, stages: list[Stage]) -> None:
        self._builder = builder
        self.stages = tuple(stages)
        self.starts = bool(stages) and stages[0].starts
        self.writes = bool(stages) and stages[-1].writes
        self.metadata = frozenset(builder.metadata.used)

    def run(self, source: Iterable[Batch], watch: Callable[[str, Batches], Batches] | None = None) -> Batches:
        """Yield the batches of the result; nothing runs before the first is asked for. ``watch(name, batches)`` looks at what each stage gives."""
        context = self._builder.context
        variables = self._builder.start_variables()
        flow: Batches = watched(source, context.check_deadline)
        for stage in self.stages:
            if stage.writes and self.metadata:
                flow = stripped(flow)
            flow = through((stage,), flow, variables, context.check_deadline)
            if watch is not None:
                flow = watch(stage.name, flow)
        if self.metadata:
            flow = stripped(flow)
        return (batch for batch in flow if batch)


def compile_pipeline(stages: Any, *, context: Context, metadata: Iterable[str] = ()) -> Pipeline:
    """Compile a pipeline; raises QueryError with the path of the stage. Variables are those of the context, ``metadata`` is what documents carry."""
    builder = Builder(context, frozenset(context.variables), compile=_compile, metadata=Metadata(metadata))
    return Pipeline(builder, _compile(builder, stages))


def _compile(builder: Builder, stages: Any) -> list[Stage]:
    if not isinstance(stages, list | tuple):
        fail("a pipeline is an array of stages", 14)
    if len(stages) > 1000:
        fail("a pipeline has at most 1000 stages", 7749501)
    compiled = []
    for at, stage in enumerate(stages):
        compiled.append(_compile_stage(builder, stage, at))
        if compiled[-1].name in _NEW_DOCUMENTS:
            builder.metadata.available.clear()
    for at, stage in enumerate(compiled):
        if stage.searches and (at or builder.within == "$facet"):
            fail("$text stands in the first stage of a pipeline", 17313, path=f"{at}.$match")
        if stage.starts and at:
            fail(f"{stage.name} stands first in its pipeline", 40602, path=f"{at}.{stage.name}")
        if stage.name == "$geoNear" and not all(
            before.name == "$match" and not before.spec for before in compiled[:at]
        ):
            fail("$geoNear stands first in its pipeline", 40603, path=f"{at}.$geoNear")
        if stage.writes and at < len(compiled) - 1:
            fail(f"{stage.name} stands last in its pipeline", 40601, path=f"{at}.{stage.name}")
    return _joined_neighbours(builder, compiled)


_NEW_DOCUMENTS: Final = frozenset(
    {"$bucket", "$bucketAuto", "$collStats", "$count", "$documents", "$facet", "$group", "$indexStats", "$sortByCount"}
)  # of which nothing is known beside their fields


def _joined_neighbours(builder: Builder, stages: list[Stage]) -> list[Stage]:
    """Give a $sort the bound of the $limit behind it, which stays, and unwind what a $lookup finds at once."""
    result: list[Stage] = []
    for stage in stages:
        before = result[-1] if result else None
        if before is not None and before.name == "$sort" and stage.name == "$limit":
            result[-1] = stages_flow.top_of(builder, before.spec, int(stage.spec))
        if before is not None and before.name == "$lookup" and stage.name == "$unwind":
            both = stages_join.lookup_unwound(builder, before.spec, stage.spec)
            if both is not None:
                result[-1] = both
                continue
        result.append(stage)
    return result


def _compile_stage(builder: Builder, stage: Any, at: int) -> Stage:
    if not isinstance(stage, Mapping):
        fail("a stage is an object", 14, path=str(at))
    if len(stage) != 1:
        fail(f"a stage has exactly one field, not {len(stage)}", 40323, path=str(at))
    ((name, spec),) = stage.items()
    maker = STAGES.get(name)
    if maker is None:
        raise _unknown(name, at)
    if name in ("$merge", "$out") and builder.within:
        code = {"$lookup": 51047, "$facet": 40600}.get(builder.within, 31441)
        fail(f"{name} may not stand inside {builder.within}", code, path=f"{at}.{name}")
    try:
        return maker(builder, spec, name)
    except QueryError as error:
        error.path = f"{at}.{name}.{error.path}" if error.path else f"{at}.{name}"
        raise


def _unknown(name: str, at: int) -> QueryError:
    if name in KNOWN_ELSEWHERE:
        return NotSupportedError(f"{name} needs a server", path=f"{at}.{name}")
    near = difflib.get_close_matches(name, STAGES, 1)
    hint = f"did you mean {near[0]}?" if near else None
    return QueryError(f"unknown stage {name!r}", path=str(at), code=40324, hint=hint)


def _statistics(kind: str) -> Callable[[Builder, Any, str], Stage]:
    def make(builder: Builder, spec: Any, name: str) -> Stage:
        if not isinstance(spec, dict):
            fail(f"{name} takes an object", 5447000 if kind == "collection" else 28803)
        if kind == "index" and spec:
            fail("$indexStats takes an empty object", 28803)

        def run(batches: Batches, variables: Variables) -> Batches:
            yield builder.context.statistics(builder.context.collection or "", kind)

        return Stage(name, run, spec, starts=True)

    return make


@dataclass(frozen=True, slots=True)
class Front:
    """What the beginning of a pipeline asks of an access path, and the stages that are left."""

    filter: dict[str, Any]
    sort: dict[str, Any] | None
    skip: int
    limit: int | None
    rest: tuple[Any, ...]


def take_front(stages: Sequence[Mapping[str, Any]]) -> Front:
    """Return the leading $match stages, one $sort, one $skip and one $limit of a pipeline that compiled."""
    filters: list[Any] = []
    at = 0
    while at < len(stages) and "$match" in stages[at]:
        filters.append(stages[at]["$match"])
        at += 1
    taken: dict[str, Any] = {}
    for name in ("$sort", "$skip", "$limit"):
        if at < len(stages) and name in stages[at]:
            taken[name] = stages[at][name]
            at += 1
    filter = filters[0] if len(filters) == 1 else {"$and": filters} if filters else {}
    limit = taken.get("$limit")
    return Front(
        filter,
        plain_sort(taken["$sort"]) if "$sort" in taken else None,
        int(taken.get("$skip", 0)),
        None if limit is None else int(limit),
        tuple(stages[at:]),
    )


def evaluate_let(let: Any, *, collation: Any = None, now: dt.datetime | None = None) -> dict[str, Any]:
    """Return the values of a command's ``let``: constant expressions, each knowing the ones before it."""
    if let is None:
        return {}
    if not isinstance(let, Mapping):
        fail("let is an object", 14)
    values: dict[str, Any] = {}
    moment = {"NOW": now} if now is not None else {}
    for name, spec in let.items():
        check_variable(name)
        expression = compile_expression(spec, variables=frozenset(values), collation=collation)
        if expression.paths != frozenset():
            fail(f"the variable {name!r} of let reads a document", 4890500)
        values[name] = expression({}, {**values, **moment})
    return values


_UPDATE_STAGES: Final = frozenset({"$addFields", "$project", "$replaceRoot", "$replaceWith", "$set", "$unset"})


def pipeline_update(
    stages: Sequence[Any],
    *,
    variables: Mapping[str, Any] | None = None,
    collation: Any = None,
    now: dt.datetime | None = None,
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the function from a document to the updated one; the input stays untouched. Only the stages that reshape a document are allowed."""
    for at, stage in enumerate(stages):
        if isinstance(stage, Mapping) and len(stage) == 1 and next(iter(stage)) not in _UPDATE_STAGES:
            name = next(iter(stage))
            if name in STAGES or name in KNOWN_ELSEWHERE:
                raise UpdateError(f"{name} may not stand in an update", path=f"{at}.{name}", code=72)
    context: Any = SimpleNamespace(
        collection=None,
        collation=collation,
        variables=dict(variables or {}),
        now=now or this_moment(),
        memory_limit=0,
    )
    builder = Builder(context, frozenset(context.variables), compile=_compile)
    compiled = _compile(builder, list(stages))

    def update(document: dict[str, Any]) -> dict[str, Any]:
        flow: Batches = iter([[document]])
        known = builder.start_variables()
        for stage in compiled:
            flow = stage.run(flow, known)
        return next(flow)[0]

    return update


STAGES: Final[dict[str, Callable[[Builder, Any, str], Stage]]] = {
    "$addFields": stages_shape.add_fields,
    "$bucket": stages_group.bucket,
    "$bucketAuto": stages_group.bucket_auto,
    "$collStats": _statistics("collection"),
    "$count": stages_flow.count,
    "$densify": filling.densify,
    "$documents": stages_flow.documents,
    "$facet": stages_join.facet,
    "$fill": filling.fill,
    "$geoNear": stages_geo.geo_near,
    "$graphLookup": stages_join.graph_lookup,
    "$group": stages_group.group,
    "$indexStats": _statistics("index"),
    "$limit": stages_flow.limit,
    "$lookup": stages_join.lookup,
    "$match": stages_flow.match,
    "$merge": stages_write.merge,
    "$out": stages_write.out,
    "$project": stages_shape.project,
    "$redact": stages_shape.redact,
    "$replaceRoot": stages_shape.replace_root,
    "$replaceWith": stages_shape.replace_with,
    "$sample": stages_flow.sample,
    "$set": stages_shape.add_fields,
    "$setWindowFields": windows.set_window_fields,
    "$skip": stages_flow.skip,
    "$sort": stages_flow.sort,
    "$sortByCount": stages_flow.sort_by_count,
    "$unionWith": stages_join.union_with,
    "$unset": stages_shape.unset,
    "$unwind": stages_flow.unwind,
}
KNOWN_ELSEWHERE: Final = frozenset({
    "$changeStream", "$changeStreamSplitLargeEvent", "$currentOp", "$listClusterCatalog", "$listLocalSessions",
    "$listSampledQueries", "$listSearchIndexes", "$listSessions", "$planCacheStats", "$queryStats", "$querySettings", "$rankFusion", "$score",
    "$scoreFusion", "$search", "$searchMeta", "$shardedDataDistribution", "$vectorSearch",
})  # fmt: skip
