"""Stages that read other collections or run pipelines inside: $lookup, $graphLookup, $unionWith, $facet.

What lives here: their parsers. What it must not know: how another collection is read; ``context.source`` is asked with filters that an
index can serve.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final

from docdb.errors import NotSupportedError, QueryError
from docdb.language.expression_core import fail, integer_of
from docdb.language.expression_types import bson_size
from docdb.language.expressions import Expression, check_variable, field_path
from docdb.language.metadata import Metadata, bare, stripped
from docdb.language.values import MISSING, is_number
from docdb.pipeline.context import Batch, Batches, Context
from docdb.pipeline.groups import MOST_BYTES
from docdb.pipeline.joining import FieldJoin, equality_filter, local_values, plain_join
from docdb.pipeline.spill import Rows, Weight
from docdb.pipeline.stage import BATCH, Builder, Run, Stage, Variables, check_options, in_batches, through, watched
from docdb.pipeline.stages_flow import with_path

__all__ = ["facet", "graph_lookup", "lookup", "lookup_unwound", "union_with"]


_MANY: Final = 16_384  # documents that are found at once, where there may be fewer
# What gives another answer each time it is asked.
_CHANCE: Final = ("$rand", "$sample", "$sampleRate")


class _Joined:
    """A sub-pipeline over a collection: a leading $match without $expr is handed to the source."""

    def __init__(self, builder: Builder, collection: str | None, stages: list[Any]) -> None:
        self.builder, self.collection = builder, collection
        self.filter: dict[str, Any] | None = None
        compiled = builder.compile(builder, stages)
        if (
            collection is not None
            and compiled
            and compiled[0].name == "$match"
            and "$expr" not in repr(compiled[0].spec)
        ):
            self.filter = compiled[0].spec or None
            compiled = compiled[1:]
        self.stages = compiled
        self.repeatable = not any(name in repr(stages) for name in _CHANCE)

    def read(self, extra: dict[str, Any] | None = None) -> Batches:
        if self.collection is None:
            return iter(())
        parts = [part for part in (extra, self.filter) if part]
        filter = {"$and": parts} if len(parts) == 2 else parts[0] if parts else None
        wanted = frozenset(self.builder.metadata.used)
        more: dict[str, Any] = {"metadata": wanted} if wanted else {}
        return self.builder.context.source(self.collection, filter, **more)

    def run(self, variables: Variables) -> Batches:
        return self.flow(self.read(), variables)

    def flow(self, batches: Batches, variables: Variables) -> Batches:
        batches = through(self.stages, batches, variables, self.builder.context.check_deadline)
        return stripped(batches) if self.builder.metadata.used else batches


def _collection_name(value: Any, name: str) -> str | None:
    if isinstance(value, dict):
        if set(value) - {"db", "coll"}:
            fail(f"the 'from' of {name} has no option {sorted(set(value) - {'db', 'coll'})[0]!r}", 40415)
        raise NotSupportedError(f"{name} reads collections of its own database")
    if type(value) is not str:
        fail(f"the 'from' of {name} is text", 9 if name == "$lookup" else 14)
    if not value or value.startswith(".") or "\0" in value:
        fail(f"{value!r} cannot be the name of a collection", 73)
    return value


def _let(builder: Builder, spec: Any) -> dict[str, Expression]:
    if spec is None:
        return {}
    if not isinstance(spec, dict):
        fail("the 'let' of $lookup is an object", 14)
    return {check_variable(name): builder.expression(item) for name, item in spec.items()}


def _lookup_options(spec: Any) -> None:
    known = ("from", "localField", "foreignField", "as", "let", "pipeline")
    check_options(spec, "$lookup", known, shape=9, unknown=9)
    for key in ("as", "localField", "foreignField"):
        if key in spec and type(spec[key]) is not str:
            fail(
                f"{key} of $lookup is text",
                14 if key == "as" and spec[key] is not None else 40414 if key == "as" else 9,
            )
    if "as" not in spec:
        fail("$lookup needs 'as'", 9)
    if ("localField" in spec) != ("foreignField" in spec):
        fail("$lookup needs localField and foreignField together", 9)
    if "localField" not in spec and "pipeline" not in spec:
        fail("$lookup needs localField and foreignField, or a pipeline", 9)
    if "let" in spec and "pipeline" not in spec:
        fail("the 'let' of $lookup needs a pipeline", 9)
    if "pipeline" in spec and not isinstance(spec["pipeline"], list):
        fail("the pipeline of $lookup is an array", 14)


def lookup(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $lookup, in all its forms."""
    if isinstance(spec, dict) and "pipeline" in spec:
        spec = {
            key: value for key, value in spec.items() if value is not None or key not in ("localField", "foreignField")
        }
    _lookup_options(spec)
    stages = spec.get("pipeline", [])
    starts_itself = bool(stages) and isinstance(stages[0], dict) and "$documents" in stages[0]
    if "from" not in spec and not starts_itself:
        fail("$lookup needs 'from'", 9)
    if "from" in spec and starts_itself:
        fail("$lookup with a pipeline that begins with $documents takes no 'from'", 73)
    collection = _collection_name(spec["from"], name) if "from" in spec else None
    target = field_path(spec["as"])
    bound = _let(builder, spec.get("let", {}))
    joined = _Joined(builder.inner(name, *bound, source=collection), None if starts_itself else collection, stages)
    if "localField" not in spec:
        return Stage(name, _lookup_by_pipeline(joined, bound, target), spec)
    local, foreign = field_path(spec["localField"]), field_path(spec["foreignField"])
    return Stage(name, _lookup_by_field(joined, bound, target, local, foreign), spec)


def lookup_unwound(builder: Builder, spec: Any, unwind: Any) -> Stage | None:
    """Compile a $lookup that compiled and the $unwind of what it found as one stage; None where they run one behind the other."""
    plain = plain_join(spec, unwind)
    if plain is None:
        return None
    joined = _Joined(builder.inner("$lookup", source=plain.collection), plain.collection, [])
    context = builder.context

    def run(batches: Batches, variables: Variables) -> Batches:
        join = FieldJoin(joined.read, plain.local, plain.foreign, builder.key, context.memory_limit // 2, None)
        pace = _Pace()
        for batch in pace.parts(batches):
            context.check_deadline()
            rows = join.unwound(batch, plain.target, plain.keeps)
            pace.found(len(rows))
            yield from in_batches(rows)

    return Stage("$lookup", run, spec)


def _bindings(bound: dict[str, Expression], document: dict[str, Any], variables: Variables) -> Variables:
    return {**variables, **{name: expression(document, variables) for name, expression in bound.items()}}


def _gathered(batches: Batches, context: Context, name: str, code: int) -> Batch:
    """Return documents as one list. Raises QueryError when they take more than the memory limit and are too large for a document."""
    found: Batch = []
    weight, used, allowed = Weight(), 0, max(context.memory_limit, MOST_BYTES)
    for batch in batches:
        found += batch
        used += sum(map(weight.of, batch))
        if used > allowed:
            size = sum(map(bson_size, found))
            if size > MOST_BYTES:
                fail(f"what {name} finds cannot be in one document, with {size} bytes", code)
            allowed = 2 * used
    return found


def _few(documents: Iterable[tuple[dict[str, Any], int]]) -> Batches:
    """Yield documents in batches that end early where they hold many others, whose number is given."""
    batch: Batch = []
    held = 0
    for document, count in documents:
        batch.append(document)
        held += count
        if len(batch) >= BATCH or held >= _MANY:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _lookup_by_pipeline(joined: _Joined, bound: dict[str, Expression], target: tuple[str, ...]) -> Run:
    context = joined.builder.context

    def joining(batches: Batches, variables: Variables) -> Iterator[tuple[dict[str, Any], int]]:
        shared: Batch | None = None
        for document in (document for batch in batches for document in batch):
            if bound or shared is None:
                context.check_deadline()
                shared = _gathered(joined.run(_bindings(bound, document, variables)), context, "$lookup", 4568)
            yield with_path(document, target, list(shared)), len(shared)

    return lambda batches, variables: _few(joining(batches, variables))


def _lookup_by_field(
    joined: _Joined,
    bound: dict[str, Expression],
    target: tuple[str, ...],
    local: tuple[str, ...],
    foreign: tuple[str, ...],
) -> Run:
    context = joined.builder.context

    def shaped(found: Batch, variables: Variables) -> Batch:
        return _gathered(joined.flow(iter([found]), variables), context, "$lookup", 4568)

    def run(batches: Batches, variables: Variables) -> Batches:
        once = partial(shaped, variables=variables) if joined.stages and not bound and joined.repeatable else None
        join = FieldJoin(joined.read, local, foreign, joined.builder.key, context.memory_limit // 2, once)
        each = once is None and bool(joined.stages or bound)  # a let is evaluated even when nothing reads it
        pace = _Pace()
        for batch in pace.parts(batches):
            context.check_deadline()
            if len(target) == 1 and not each:
                yield pace.counted(join.joined(batch, target[0]), target[0])
                continue
            result, many = [], 0
            for document, matches in zip(batch, join.matches(batch), strict=True):
                found = shaped(matches, _bindings(bound, document, variables)) if each else matches
                many += len(matches)
                result.append(with_path(document, target, found))
            pace.found(many)
            yield result

    return run


class _Pace:
    """How many documents are joined at once: fewer, where they find many."""

    def __init__(self) -> None:
        self._size = BATCH

    def parts(self, batches: Batches) -> Batches:
        """Yield batches of the present size, at most."""
        for batch in batches:
            at = 0
            while at < len(batch):
                part = batch[at : at + self._size]
                at += len(part)
                yield part

    def counted(self, batch: Batch, target: str) -> Batch:
        """Return a batch whose documents have found what lies under ``target``."""
        self.found(sum(len(document[target]) for document in batch))
        return batch

    def found(self, many: int) -> None:
        """Take note of how many were found for a part."""
        self._size = max(1, self._size // 2) if many > _MANY else min(BATCH, 2 * self._size)


def union_with(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $unionWith."""
    if not isinstance(spec, str | dict):
        fail("$unionWith takes a collection's name or an object", 9)
    options: dict[str, Any] = {"coll": spec} if isinstance(spec, str) else spec
    check_options(options, name, ("coll", "pipeline"), shape=9, unknown=40415)
    stages = options.get("pipeline", [])
    if not isinstance(stages, list):
        fail("the pipeline of $unionWith is an array", 14)
    starts_itself = bool(stages) and isinstance(stages[0], dict) and "$documents" in stages[0]
    if "coll" not in options and not starts_itself:
        fail("$unionWith needs 'coll', or a pipeline that begins with $documents", 9)
    collection = _collection_name(options["coll"], name) if "coll" in options else None
    joined = _Joined(builder.inner(name, source=collection), collection, stages)

    def run(batches: Batches, variables: Variables) -> Batches:
        yield from batches
        yield from joined.run(variables)

    return Stage(name, run, spec)


_NOT_IN_FACET: Final = frozenset({
    "$changeStream", "$collStats", "$currentOp", "$documents", "$facet", "$geoNear", "$indexStats", "$listSessions", "$merge", "$out",
    "$planCacheStats", "$search", "$searchMeta",
})  # fmt: skip


def _holds_facet(stage: dict[str, Any]) -> bool:
    """Tell whether a stage is a $unionWith whose pipeline has a $facet: a $facet holds no other, however deep."""
    joined = stage.get("$unionWith")
    stages = joined.get("pipeline") if isinstance(joined, dict) else None
    inner = [item for item in stages if isinstance(item, dict)] if isinstance(stages, list) else []
    return any("$facet" in item or _holds_facet(item) for item in inner)


def facet(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $facet."""
    if not isinstance(spec, dict) or not spec:
        fail("$facet takes an object with at least one pipeline", 40169)
    compiled: dict[str, list[Stage]] = {}
    for field, stages in spec.items():
        if len(field_path(field)) > 1:
            fail("a field of $facet has no dot", 16412)
        if not isinstance(stages, list):
            fail(f"the field {field!r} of $facet is a pipeline, an array", 40170)
        for stage in stages:
            if not isinstance(stage, dict):
                fail("a stage is an object", 40171)
            for inner in stage:
                if inner in _NOT_IN_FACET or _holds_facet(stage):
                    fail(f"{inner} may not stand in $facet", 40600)
        compiled[field] = builder.compile(builder.inner(name), stages)

    def run(batches: Batches, variables: Variables) -> Batches:
        context = builder.context
        documents = Rows(context.memory_limit // 2)
        try:
            for batch in batches:
                documents.extend(batch)
            result: dict[str, Any] = {}
            for field, stages in compiled.items():
                source = watched(documents.batches(), context.check_deadline)
                flow = through(stages, source, variables, context.check_deadline)
                result[field] = [bare(found) for found in _gathered(flow, context, name, 4031700)]
        finally:
            documents.close()
        yield [result]

    return Stage(name, run, spec)


def _graph_options(spec: Any) -> int | None:
    required = dict.fromkeys(("from", "startWith", "connectFromField", "connectToField", "as"), 40105)
    known = (*required, "maxDepth", "depthField", "restrictSearchWithMatch")
    check_options(spec, "$graphLookup", known, required, shape=40327, unknown=40104)
    for key in ("connectFromField", "connectToField", "as", "depthField"):
        if key in spec and type(spec[key]) is not str:
            fail(f"{key} of $graphLookup is text", 40103)
    if "restrictSearchWithMatch" in spec and not isinstance(spec["restrictSearchWithMatch"], dict):
        fail("restrictSearchWithMatch is a filter", 40185)
    if "maxDepth" not in spec:
        return None
    if not is_number(spec["maxDepth"]):
        fail("maxDepth of $graphLookup is a number", 40100)
    depth = integer_of(spec["maxDepth"])
    if depth is None:
        fail("maxDepth of $graphLookup is a whole number", 40102)
    if depth < 0:
        fail("maxDepth of $graphLookup is not negative", 40101)
    return depth


def _restricting(builder: Builder, restriction: dict[str, Any]) -> list[Stage]:
    """Return the stage that restricts a search, so that mistakes are found before anything runs."""
    try:
        return builder.compile(replace(builder, metadata=Metadata()), [{"$match": restriction}])
    except QueryError as error:
        error.path = (error.path or "0.$match").replace("0.$match", "restrictSearchWithMatch", 1)
        raise


def _names_variables(value: Any) -> bool:
    """Tell whether any text in a filter may be a variable; the document's own are no exception."""
    if isinstance(value, dict):
        return any(map(_names_variables, value.values()))
    if isinstance(value, list):
        return any(map(_names_variables, value))
    return isinstance(value, str) and value.startswith("$$")


def graph_lookup(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $graphLookup: breadth first, one query a level."""
    deepest = _graph_options(spec)
    collection = _collection_name(spec["from"], name)
    source, target, start = (
        field_path(spec["connectFromField"]),
        field_path(spec["as"]),
        builder.expression(spec["startWith"]),
    )
    depth_field = field_path(spec["depthField"]) if "depthField" in spec else None
    restriction, path, key = spec.get("restrictSearchWithMatch"), spec["connectToField"], builder.key
    restricting = _restricting(builder, restriction) if restriction else []
    # A source's filter knows no variables, the statement's moment among them: where some are read, the restriction is a stage behind it.
    behind = restricting if _names_variables(restriction) else []
    field_path(path)

    def search(document: dict[str, Any], variables: Variables) -> Batches:
        first = start(document, variables)
        frontier = list(first) if type(first) is list else [] if first is MISSING else [first]
        asked: set[bytes] = set()
        seen: set[bytes] = set()
        depth = 0
        while frontier and (deepest is None or depth <= deepest):
            fresh = {key(value): value for value in frontier if key(value) not in asked}
            asked |= set(fresh)
            filter = equality_filter(path, list(fresh.values()))
            frontier = []
            builder.context.check_deadline()
            if restriction and not behind:
                filter = {"$and": [filter, restriction]}
            found_batches = builder.context.source(str(collection), filter) if fresh else iter(())
            for stage in behind:
                found_batches = stage.run(found_batches, variables)
            for batch in found_batches:
                builder.context.check_deadline()
                fresh_found = []
                for found in batch:
                    if key(found.get("_id")) in seen:
                        continue
                    seen.add(key(found.get("_id")))
                    frontier += [value for value in local_values(found, source) if value is not None]
                    fresh_found.append(with_path(found, depth_field, depth) if depth_field else found)
                yield fresh_found
            depth += 1

    def joining(batches: Batches, variables: Variables) -> Iterator[tuple[dict[str, Any], int]]:
        for document in (document for batch in batches for document in batch):
            found = _gathered(search(document, variables), builder.context, name, 40099)
            yield with_path(document, target, found), len(found)

    return Stage(name, lambda batches, variables: _few(joining(batches, variables)), spec)
