"""What a pipeline reaches: fields of its own documents, other collections, what it writes to, what only administrators see.

What lives here: ``reach`` and ``fields_of_pipeline``. What it must not know: how stages run (each has its row in ``reach_table``; what
has none is refused), rules, sessions. Pipelines are plain values, as they are written, and are measured before they are walked.

Names are followed from stage to stage: ``{"$set": {"x": "$a.b"}}`` makes a later ``x.c`` speak of ``a.b.c``, and behind a $group nothing of the
source is spoken of any more: whatever went into it has been counted. That a stage gives out whole documents counts at the end of the pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from docdb.errors import DeniedError, QueryError
from docdb.language.values import is_number
from docdb.rules import reach_table
from docdb.rules.fields import (
    WHOLE,
    Fields,
    Reader,
    State,
    check_size,
    is_operator_object,
    joined_path,
    plain_path,
    row,
)
from docdb.rules.reach_table import StageRow

__all__ = ["Foreign", "Reach", "Written", "conjuncts", "fields_of_pipeline", "fields_of_update_pipeline", "reach"]

Stages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Foreign:
    """Another collection that is read: ``fields`` are what is spoken of in its documents, ``leading`` the conditions that whatever is
    read of it meets, ``path`` the place in the pipeline (``2.$facet.a.0.$lookup``)."""

    collection: str
    path: str
    fields: Fields
    leading: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A collection that is written to, by ``$out`` (which removes what was there) or ``$merge``. ``merges``: documents there become new
    ones that are made of what is read of them."""

    collection: str
    path: str
    stage: str
    merges: bool = False


@dataclass(frozen=True, slots=True)
class Reach:
    """All that a pipeline touches.

    ``fields``: of the collection it runs over. ``reads``: other collections, however deep, in their order; one that $merge
    writes to is read, too. ``writes``; ``admin``: the place of the first stage that only administrators may use. ``leading``: the conditions
    of the leading $match stages, which speak of documents as they are stored: only these may prove anything.
    """

    fields: Fields
    reads: tuple[Foreign, ...] = ()
    writes: tuple[Written, ...] = ()
    admin: str | None = None
    leading: tuple[Mapping[str, Any], ...] = ()


def reach(pipeline: Stages, path: str = "") -> Reach:
    """Return what a pipeline touches.

    Raises QueryError with the place for a stage, operator or option without a row, for nesting beyond 64 levels and 10,000 parts;
    DeniedError where a collection is named that users may not address. Cost: linear.

    >>> reach([{"$match": {"a": 1}}, {"$lookup": {"from": "b", "localField": "c", "foreignField": "d", "as": "e"}}]).reads[0].fields.used
    frozenset({'d'})
    """
    check_size(pipeline, path)
    walk = _Walk(Reader(), [], [], [])
    walk.stages(pipeline, path)
    walk.finish()
    found = walk.found
    return Reach(
        walk.reader.fields(), tuple(found), tuple(walk.writes), walk.admin[0] if walk.admin else None, leading(pipeline)
    )


def fields_of_pipeline(pipeline: Stages) -> Fields:
    """Return the paths of the source's documents that the result depends on; other fields may have any value.

    >>> sorted(fields_of_pipeline([{"$set": {"x": "$a"}}, {"$group": {"_id": "$x.b", "n": {"$sum": 1}}}]).paths)
    ['a', 'a.b', 'x']
    """
    return reach(pipeline).fields


def fields_of_update_pipeline(pipeline: Stages) -> Fields:
    """Return what an update in pipeline form reads: all of it as used, since the stored documents it reads wear no mask; what stays
    where it is counts as shown."""
    check_size(pipeline, "update")
    walk = _Walk(Reader(strict=True), [], [], [])
    walk.stages(pipeline, "update")
    return walk.reader.fields()


def leading(pipeline: Stages) -> tuple[Mapping[str, Any], ...]:
    """Return the conditions of the leading $match stages (or of a leading $geoNear), nested $and opened."""
    found: list[Mapping[str, Any]] = []
    for stage in pipeline:
        if not isinstance(stage, Mapping):
            break
        if "$geoNear" in stage and isinstance(stage["$geoNear"], Mapping):
            found += conjuncts(stage["$geoNear"].get("query", {}))
        if "$match" not in stage:
            break
        found += conjuncts(stage["$match"])
    return tuple(found)


def conjuncts(filter: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the conditions that must all hold, each a filter of one name."""
    for name, value in filter.items() if isinstance(filter, Mapping) else ():
        if name == "$and" and isinstance(value, list | tuple):
            for part in value:
                yield from conjuncts(part)
        else:
            yield {name: value}


@dataclass(slots=True)
class _Walk:
    """A walk over the stages of one pipeline; ``found``, ``writes`` and ``admin`` are shared with the pipelines inside it."""

    reader: Reader
    found: list[Foreign]
    writes: list[Written]
    admin: list[str]

    @property
    def state(self) -> State:
        return self.reader.state

    def stages(self, pipeline: Any, path: str) -> None:
        if not isinstance(pipeline, list | tuple):
            raise QueryError("a pipeline is an array of stages", path=path or None, code=14)
        for at, stage in enumerate(pipeline):
            here = joined_path(path, str(at))
            if not isinstance(stage, Mapping) or len(stage) != 1:
                raise QueryError("a stage is an object with exactly one field", path=here, code=40323)
            ((name, spec),) = stage.items()
            self.stage(name, spec, f"{here}.{name}")

    def finish(self) -> None:
        """Note that the documents as they are now are given out."""
        self.reader.keep(WHOLE)

    def stage(self, name: str, spec: Any, where: str) -> None:
        known: StageRow = row(reach_table.STAGES, name, where, "stage")
        follow = _FOLLOW.get(name)
        if follow is not None:
            follow(self, spec, where)
        elif known.options is None:
            self.argument(known.argument or "", spec, where)
        else:
            self.options(known.options, spec, where)
        if known.leaves == "made":
            self.reader.state = State(None)

    def options(self, known: Mapping[str, str], spec: Any, where: str) -> None:
        for option, value in options_of(known, spec, where):
            self.argument(known.get(option, known.get("*", "")), value, f"{where}.{option}")

    def argument(self, kind: str, value: Any, where: str) -> None:
        """Note what an argument of a kind says."""
        reader = self.reader
        if kind in ("expression", "key", "place"):
            reader.expression(value, where, key=kind == "key")
        elif kind in ("key field", "key fields"):
            for path in paths(value, kind, where):
                reader.use(path)
        elif kind == "field":
            reader.show(str(value))
        elif kind == "filter":
            reader.filter(value, where)
        elif kind == "sort":
            reader.sort(value or {}, where)
        elif kind == "target":
            self.target(str(value))
        elif kind == "server":
            self.admin.append(where)
        elif kind == "accumulators":
            for field, spec in value.items() if isinstance(value, Mapping) else ():
                self.accumulators(spec, f"{where}.{field}")
        elif kind == "accumulator":
            self.accumulators(value, where)
        elif kind not in ("chance", "nothing"):
            raise QueryError(f"nobody knows what {kind!r} reads", path=where)

    def target(self, path: str) -> None:
        """Note that a path is written."""
        self.reader.place(path)
        self.state.names[path.partition(".")[0]] = self.state.source(path.partition(".")[0]) if "." in path else None

    def accumulators(self, spec: Any, where: str) -> None:
        for name, argument in spec.items() if isinstance(spec, Mapping) else ():
            self.accumulator(name, argument, f"{where}.{name}")

    def accumulator(self, name: str, argument: Any, where: str) -> None:
        kind = row(reach_table.ACCUMULATORS, name, where, "accumulator")
        if kind == "sorted" and isinstance(argument, Mapping):
            for option, value in argument.items():
                if option == "sortBy":
                    self.reader.sort(value or {}, where)
                else:
                    self.reader.expression(value, f"{where}.{option}")
        elif kind == "expression":
            self.reader.expression(argument, where)

    def inner(self, reader: Reader) -> _Walk:
        """Return the walk of a pipeline inside a stage."""
        return _Walk(reader, self.found, self.writes, self.admin)

    def foreign(
        self, collection: Any, where: str, *, used: Sequence[Any] = (), filter: Any = None, pipeline: Any = (), strict: bool = False
    ) -> None:  # fmt: skip
        """Note that another collection is read: by fields and a filter, then through a pipeline."""
        name = addressed(collection, where)
        reader = Reader(strict=strict)
        for path in used:
            reader.use(str(path))
        if filter is not None:
            reader.filter(filter, f"{where}.restrictSearchWithMatch")
        at = len(self.found)
        walk = self.inner(reader)
        walk.stages(pipeline, f"{where}.pipeline")
        walk.finish()
        conditions = (*conjuncts(filter), *leading(pipeline))
        self.found.insert(at, Foreign(name, where, reader.fields(), conditions))


def options_of(known: Mapping[str, str], spec: Any, where: str) -> list[tuple[str, Any]]:
    """Return the options that are given; raise QueryError for one without a row."""
    if not isinstance(spec, Mapping):
        raise QueryError("this stage takes an object", path=where)
    for option in spec:
        if option not in known and "*" not in known:
            raise QueryError(f"unknown option {option!r}"[:200], path=where)
    return [(str(option), value) for option, value in spec.items()]


def paths(value: Any, kind: str, where: str) -> Sequence[str]:
    """Return the one path, or the list of them, that stands in an argument."""
    if kind == "key field" and isinstance(value, str):
        return [value]
    if kind == "key fields" and isinstance(value, list | tuple) and all(isinstance(path, str) for path in value):
        return value
    raise QueryError("this names fields by text", path=where, code=14)


def addressed(name: Any, where: str) -> str:
    """Return the name of a collection that users may address."""
    if not isinstance(name, str) or not name:
        raise QueryError("a collection is named by text", path=where, code=14)
    if name.startswith(("_", "system.")):
        raise DeniedError("this collection is not for users", path=where)
    return name


# Stages whose documents are shaped by what they say


def _add_fields(walk: _Walk, spec: Any, where: str) -> None:
    state, names = walk.state, dict(walk.state.names)
    for path, value in _leaves(spec, WHOLE):
        head = path.partition(".")[0]
        walk.reader.expression(value, f"{where}.{path}")
        walk.reader.place(path)
        names[head] = state.source(head) if path != head else _renamed(state, value)
    walk.reader.state = State(state.rest, names)


def _leaves(spec: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in spec.items() if isinstance(spec, Mapping) else ():
        path = joined_path(prefix, str(name))
        if isinstance(value, Mapping) and value and not is_operator_object(value):
            yield from _leaves(value, path)
        else:
            yield path, value


def _renamed(state: State, value: Any) -> str | None:
    path = plain_path(value)
    return state.source(path) if path else None


def _flag(value: Any) -> bool:
    return isinstance(value, bool) or is_number(value)


def _project(walk: _Walk, spec: Any, where: str) -> None:
    state, reader = walk.state, walk.reader
    leaves = list(_leaves(spec, WHOLE))
    others = [value for path, value in leaves if path != "_id"] or [value for _, value in leaves]
    if others and _flag(others[0]) and not others[0]:
        _unset(walk, [path for path, value in leaves if not (_flag(value) and value)], where)
        return
    names: dict[str, str | None] = {}
    for path, value in leaves:
        head = path.partition(".")[0]
        if not _flag(value):
            reader.expression(value, f"{where}.{path}")
            reader.place(path)
            names[head] = state.source(head) if path != head else _renamed(state, value)
        elif value:
            reader.keep(path)
            names[head] = state.source(head)
    if not any(path.partition(".")[0] == "_id" for path, _ in leaves):
        reader.keep("_id")
        names["_id"] = state.source("_id")
    reader.state = State(None, names)


def _unset(walk: _Walk, spec: Any, where: str) -> None:
    for name in [spec] if isinstance(spec, str) else spec if isinstance(spec, list | tuple) else ():
        if isinstance(name, str) and "." not in name:
            walk.state.names[name] = None


def _replace_root(walk: _Walk, spec: Any, where: str) -> None:
    for option, value in options_of(reach_table.STAGES["$replaceRoot"].options or {}, spec, where):
        _replace_with(walk, value, f"{where}.{option}")


def _replace_with(walk: _Walk, spec: Any, where: str) -> None:
    path = plain_path(spec)
    if path == WHOLE:
        return
    walk.reader.expression(spec, where)
    walk.reader.state = State(None if path is None else walk.state.source(path))


def _redact(walk: _Walk, spec: Any, where: str) -> None:
    """Every object in the document is judged, so every field may decide."""
    walk.reader.expression(spec, where)
    walk.reader.show(WHOLE)


def _unwind(walk: _Walk, spec: Any, where: str) -> None:
    given = {"path": spec} if isinstance(spec, str) else spec
    walk.options(reach_table.STAGES["$unwind"].options or {}, given, where)


def _facet(walk: _Walk, spec: Any, where: str) -> None:
    reader, state = walk.reader, walk.state
    for field, pipeline in options_of({"*": ""}, spec, where):
        reader.state = state.copy()
        walk.stages(pipeline, f"{where}.{field}")
        walk.finish()


# Windows and gaps


def _windows(walk: _Walk, spec: Any, where: str) -> None:
    given = dict(options_of(reach_table.STAGES["$setWindowFields"].options or {}, spec, where))
    output = given.pop("output", {})
    walk.options(reach_table.STAGES["$setWindowFields"].options or {}, given, where)
    for field, how in output.items() if isinstance(output, Mapping) else ():
        for name, argument in how.items() if isinstance(how, Mapping) else ():
            here = f"{where}.output.{field}.{name}"
            if name in reach_table.WINDOW_FUNCTIONS:
                if reach_table.WINDOW_FUNCTIONS[name] == "expression":
                    walk.reader.expression(argument, here)
            elif name != "window":
                walk.accumulator(name, argument, here)
    for field in output if isinstance(output, Mapping) else ():
        walk.target(str(field))


def _fill(walk: _Walk, spec: Any, where: str) -> None:
    given = dict(options_of(reach_table.STAGES["$fill"].options or {}, spec, where))
    output = given.pop("output", {})
    walk.options(reach_table.STAGES["$fill"].options or {}, given, where)
    for field, how in output.items() if isinstance(output, Mapping) else ():
        if isinstance(how, Mapping) and "value" in how:
            walk.reader.expression(how["value"], f"{where}.output.{field}")
    for field in output if isinstance(output, Mapping) else ():
        walk.target(str(field))


def _geo_near(walk: _Walk, spec: Any, where: str) -> None:
    walk.options(reach_table.STAGES["$geoNear"].options or {}, spec, where)
    if "key" not in spec:
        walk.reader.searches.add("place")


# Stages that reach other collections


def _lookup(walk: _Walk, spec: Any, where: str) -> None:
    known = reach_table.STAGES["$lookup"].options or {}
    given = dict(options_of(known, spec, where))
    own = {option: given[option] for option in ("localField", "let") if given.get(option) is not None}
    walk.options(known, own, where)
    pipeline = given.get("pipeline") or []
    used = [given["foreignField"]] if given.get("foreignField") is not None else []
    if "from" in given:
        walk.foreign(given["from"], where, used=used, pipeline=pipeline)
    else:
        walk.inner(Reader(State(None))).stages(pipeline, f"{where}.pipeline")
    walk.target(str(given.get("as")))


def _graph_lookup(walk: _Walk, spec: Any, where: str) -> None:
    known = reach_table.STAGES["$graphLookup"].options or {}
    given = dict(options_of(known, spec, where))
    walk.reader.expression(given.get("startWith"), f"{where}.startWith")
    used = [given[option] for option in ("connectFromField", "connectToField") if option in given]
    walk.foreign(given.get("from"), where, used=used, filter=given.get("restrictSearchWithMatch"))
    walk.target(str(given.get("as")))


def _union_with(walk: _Walk, spec: Any, where: str) -> None:
    known = reach_table.STAGES["$unionWith"].options or {}
    given = dict(options_of(known, {"coll": spec} if isinstance(spec, str) else spec, where))
    pipeline = given.get("pipeline") or []
    if "coll" in given:
        walk.foreign(given["coll"], where, pipeline=pipeline)
    else:
        walk.inner(Reader(State(None))).stages(pipeline, f"{where}.pipeline")


def _out(walk: _Walk, spec: Any, where: str) -> None:
    known = reach_table.STAGES["$out"].options or {}
    given = dict(options_of(known, {"coll": spec} if isinstance(spec, str) else spec, where))
    walk.writes.append(Written(addressed(given.get("coll"), where), where, "$out"))


def _merge(walk: _Walk, spec: Any, where: str) -> None:
    known = reach_table.STAGES["$merge"].options or {}
    given = dict(options_of(known, {"into": spec} if isinstance(spec, str) else spec, where))
    into = given.get("into")
    name = addressed(into.get("coll") if isinstance(into, Mapping) else into, f"{where}.into")
    walk.reader.expression(given.get("let"), f"{where}.let")
    on, matched = given.get("on", "_id"), given.get("whenMatched", "merge")
    changing = matched if isinstance(matched, list | tuple) else []
    walk.writes.append(Written(name, where, "$merge", bool(changing) or matched == "merge"))
    walk.foreign(name, where, used=[on] if isinstance(on, str) else on, pipeline=changing, strict=True)


_FOLLOW = {
    "$addFields": _add_fields,
    "$facet": _facet,
    "$fill": _fill,
    "$geoNear": _geo_near,
    "$graphLookup": _graph_lookup,
    "$lookup": _lookup,
    "$merge": _merge,
    "$out": _out,
    "$project": _project,
    "$redact": _redact,
    "$replaceRoot": _replace_root,
    "$replaceWith": _replace_with,
    "$set": _add_fields,
    "$setWindowFields": _windows,
    "$unionWith": _union_with,
    "$unset": _unset,
    "$unwind": _unwind,
}
