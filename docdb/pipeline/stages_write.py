"""Stages that write: $out and $merge.

What lives here: their parsers, and what $merge does with each document. What it must not know: how a write is committed; the context's
``write`` and ``replace_collection`` do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from docdb.errors import CollectionError, DocdbError, DuplicateKeyError, NotSupportedError, QueryError
from docdb.language.expression_core import fail
from docdb.language.expressions import Expression, check_variable, field_path, read_path
from docdb.language.linear_patterns import is_linear_only, linear_only
from docdb.language.order import order_key
from docdb.language.values import MISSING, is_number, make_id, type_name
from docdb.pipeline.context import Batch, Batches, Change
from docdb.pipeline.joining import equality_filter
from docdb.pipeline.stage import Builder, Stage, Variables, check_options

__all__ = ["merge", "out"]

_Change = Callable[[dict[str, Any], dict[str, Any], Variables], dict[str, Any]]
_MATCHED: Final = ("fail", "keepExisting", "merge", "replace")
_NOT_MATCHED: Final = ("discard", "fail", "insert")
_UPDATING: Final = ("$addFields", "$project", "$replaceRoot", "$replaceWith", "$set", "$unset")


def _check_target(name: str) -> str:
    if not name or "\0" in name or name.startswith(".") or name.endswith("."):
        raise CollectionError(f"{name!r} cannot be the name of a collection", code=73)
    if name.startswith("$") or "$" in name:
        raise CollectionError(f"{name!r} cannot be the name of a collection", code=20)
    if name.startswith("system."):
        raise CollectionError(f"{name!r} belongs to the system", code=17385)
    return name


def _database(value: Any, name: str) -> None:
    if type(value) is not str:
        fail(f"the db of {name} is text, not {type_name(value)}", 14)
    if not value or any(c in value for c in ' ."$/\\\0'):
        fail(f"{value!r} cannot be the name of a database", 73)
    if value in ("admin", "config", "local"):
        fail(f"{name} cannot write to the database {value!r}", 31321 if name == "$out" else 31320)
    raise NotSupportedError(f"{name} writes to its own database", path="db")


def _check_series(spec: Any) -> None:
    """Refuse impossible options of a time series collection as what they are, before saying that there is no such thing here."""
    known = ("bucketMaxSpanSeconds", "bucketRoundingSeconds", "granularity", "metaField", "timeField")
    check_options(spec, "timeseries", known, shape=14, unknown=40415)
    if spec.get("timeField") is None:
        fail("timeseries needs 'timeField'", 40414)
    for key in ("granularity", "metaField", "timeField"):
        if spec.get(key) is not None and type(spec[key]) is not str:
            fail(f"{key} of timeseries is text, not {type_name(spec[key])}", 14)
    spans = [spec.get(key) for key in ("bucketMaxSpanSeconds", "bucketRoundingSeconds")]
    for span in spans:
        if span is not None and not is_number(span):
            fail(f"the spans of timeseries are numbers, not {type_name(span)}", 14)
        if span is not None and not 1 <= (span if span == span else 0) <= 31_536_000:
            fail("the spans of timeseries are 1 to 31536000 seconds", 2)
    if spec.get("granularity") not in (None, "hours", "minutes", "seconds"):
        fail(f"unknown granularity {spec['granularity']!r}", 2)
    if spans != [None, None] and (None in spans or spans[0] != spans[1] or spec.get("granularity") is not None):
        fail("the spans of timeseries stand together, are equal and exclude granularity", 72)


def out(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $out."""
    if not isinstance(spec, str | dict):
        fail("$out takes the name of a collection", 16990)
    if not isinstance(spec, str):
        check_options(spec, name, ("coll", "db", "timeseries"), shape=16990, unknown=40415)
        for key in ("coll", "db"):
            if spec.get(key) is None:
                fail(f"$out needs {key!r}", 40414)
        if type(spec["coll"]) is not str:
            fail("the coll of $out is text", 14)
        if spec.get("timeseries") is not None:
            _check_series(spec["timeseries"])
            raise NotSupportedError("time series collections are not supported", path="timeseries")
        _database(spec["db"], name)
    target = _check_target(str(spec))

    def run(batches: Batches, variables: Variables) -> Batches:
        builder.context.replace_collection(target, ([_with_id(document) for document in batch] for batch in batches))
        return iter(())

    return Stage(name, lambda batches, variables: _deferred(run, batches, variables), spec, writes=True)


def _deferred(run: Callable[[Batches, Variables], Batches], batches: Batches, variables: Variables) -> Batches:
    yield from run(batches, variables)


def _with_id(document: dict[str, Any]) -> dict[str, Any]:
    return document if "_id" in document else {"_id": make_id(), **document}


def _target(spec: dict[str, Any]) -> str:
    into = spec.get("into", MISSING)
    if into is MISSING:
        fail("$merge needs 'into'", 40414)
    if isinstance(into, dict):
        check_options(into, "$merge", ("coll", "db"), shape=51178, unknown=40415)
        if into.get("coll") is None:
            fail("the into of $merge needs 'coll'", 5786801)
        if type(into["coll"]) is not str:
            fail("the coll of $merge is text", 14)
        if not into["coll"]:
            fail("the coll of $merge is not empty", 5786800)
        if into.get("db") is not None:
            _database(into["db"], "$merge")
        return _check_target(into["coll"])
    if type(into) is not str:
        fail("the into of $merge is a collection's name or an object", 51178)
    if not into:
        fail("the into of $merge is not empty", 5786800)
    return _check_target(into)


def _on_fields(spec: dict[str, Any]) -> tuple[str, ...]:
    on = spec.get("on", "_id")
    if type(on) is not str and not isinstance(on, list):
        fail("the on of $merge is a field or an array of fields", 51186)
    names = [on] if type(on) is str else on
    if not names:
        fail("the on of $merge names at least one field", 51187)
    for item in names:
        if type(item) is not str:
            fail("the on of $merge holds text", 51134)
        field_path(item)
    if len(set(names)) != len(names):
        fail("the on of $merge names a field twice", 31465)
    return tuple(names)


def _modes(spec: dict[str, Any]) -> tuple[Any, str]:
    matched, not_matched = spec.get("whenMatched", "merge"), spec.get("whenNotMatched", "insert")
    if type(matched) is not str and not isinstance(matched, list):
        fail("whenMatched of $merge is text or a pipeline", 51191)
    if type(not_matched) is not str:
        fail("whenNotMatched of $merge is text", 14)
    if type(matched) is str and matched not in _MATCHED:
        fail(f"unknown whenMatched {matched!r}", 2, hint=f"one of {', '.join(_MATCHED)}, or a pipeline")
    if not_matched not in _NOT_MATCHED:
        fail(f"unknown whenNotMatched {not_matched!r}", 2, hint=f"one of {', '.join(_NOT_MATCHED)}")
    if (matched, not_matched) in (
        ("fail", "fail"),
        ("fail", "discard"),
        ("keepExisting", "fail"),
        ("keepExisting", "discard"),
    ):
        fail(
            f"$merge cannot combine whenMatched {matched!r} with whenNotMatched {not_matched!r}",
            51181 if matched != "x" else 51189,
        )
    return matched, not_matched


def _let(builder: Builder, spec: dict[str, Any]) -> dict[str, Expression]:
    let = spec.get("let")
    if let is None:
        return {"new": builder.expression("$$ROOT")}
    if not isinstance(let, dict):
        fail("the let of $merge is an object", 14)
    if not isinstance(spec.get("whenMatched"), list):
        if not isinstance(spec.get("whenMatched"), list) and "whenMatched" in spec or let:
            fail("the let of $merge needs a pipeline in whenMatched", 51199)
        return {"new": builder.expression("$$ROOT")}
    if "new" in let and let["new"] != "$$ROOT":
        fail("the variable new of $merge is always $$ROOT", 51273)
    bound = {check_variable(name): builder.expression(item) for name, item in let.items()}
    return {"new": builder.expression("$$ROOT"), **bound}


def merge(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $merge."""
    if not isinstance(spec, str | dict):
        fail("$merge takes a collection's name or an object", 14)
    options: dict[str, Any] = {"into": spec} if isinstance(spec, str) else spec
    check_options(options, name, ("into", "let", "on", "whenMatched", "whenNotMatched"), shape=51182, unknown=40415)
    target, on = _target(options), _on_fields(options)
    matched, not_matched = _modes(options)
    bound = _let(builder, options)
    change: _Change | None = None
    if isinstance(matched, list):
        change = _updating(builder, matched, bound)
    if on != ("_id",) and frozenset(on) not in set(builder.context.unique_fields(target)):
        fail("the on fields of $merge need a unique index", 51183, hint=f"create a unique index on {', '.join(on)}")

    nullable = on == ("_id",) or frozenset(on) in set(builder.context.unique_fields(target, dense=True))
    merging = _Merging(builder, target, on, matched, not_matched, change, nullable)

    def run(batches: Batches, variables: Variables) -> Batches:
        written: dict[tuple[bytes, ...], dict[str, Any]] = {}
        for batch in batches:
            builder.context.check_deadline()
            merging.batch(batch, written, variables)
        yield from ()

    return Stage(name, run, spec, writes=True)


def _updating(builder: Builder, stages: list[Any], bound: dict[str, Expression]) -> _Change:
    for stage in stages:
        if not isinstance(stage, dict) or len(stage) != 1:
            continue
        ((name, spec),) = stage.items()
        if name.startswith("$") and name not in _UPDATING and not _is_constant_fill(name, spec):
            fail(f"{name} may not stand in whenMatched", 72, hint=f"one of {', '.join(_UPDATING)}")
    compiled = {frozenset(bound): builder.compile(builder.inner("$merge", *bound), stages)}
    linear = is_linear_only()

    def change(old: dict[str, Any], new: dict[str, Any], variables: Variables) -> dict[str, Any]:
        given = {name: expression(new, variables) for name, expression in bound.items()}
        given = {name: value for name, value in given.items() if value is not MISSING}
        names = frozenset(given)
        if names not in compiled:  # a variable without a value is not defined: its use is refused
            with linear_only(linear):
                compiled[names] = builder.compile(builder.inner("$merge", *given), stages)
        known = {**variables, **given}
        flow: Batches = iter([[old]])
        for stage in compiled[names]:
            flow = stage.run(flow, known)
        return next(flow)[0]

    return change


def _is_constant_fill(name: str, spec: Any) -> bool:
    """Tell whether a stage is a $fill with constant values, which is $addFields by another name."""
    output = spec.get("output") if name == "$fill" and isinstance(spec, dict) else None
    return isinstance(output, dict) and all(isinstance(how, dict) and list(how) == ["value"] for how in output.values())


def _on_value(document: dict[str, Any], path: str, nullable: bool) -> Any:
    value: Any = document
    for part in path.split("."):
        value = value.get(part, MISSING) if type(value) is dict else MISSING
    if type(value) is list:
        fail(f"the on field {path!r} of $merge is an array", 51185)
    if (value is None or value is MISSING) and not nullable:
        fail(
            f"the on field {path!r} of $merge is missing or null",
            51132,
            hint="a unique index that is not sparse allows it",
        )
    return None if value is MISSING else value


class _Merging:
    """What one $merge does with the documents of its stream."""

    def __init__(
        self, builder: Builder, target: str, on: tuple[str, ...], matched: Any, not_matched: str, change: _Change | None,
        nullable: bool,
    ) -> None:  # fmt: skip
        self.context, self.key, self.target, self.on = builder.context, builder.key, target, on
        self.matched, self.not_matched, self.change, self.nullable = matched, not_matched, change, nullable

    def batch(self, batch: Batch, written: dict[tuple[bytes, ...], dict[str, Any]], variables: Variables) -> None:
        """Write what a batch asks for: one read and one write.

        ``written`` holds what earlier documents of this $merge left behind, which the snapshot that is read from does not show. What
        came before a refused document stays written, and what ``fail`` refuses stops none of the others.
        """
        documents = [_with_id(document) if "_id" in self.on else document for document in batch]
        places: list[tuple[bytes, ...]] = []
        changes: list[Change] = []
        refused: DocdbError | None = None
        try:
            values = [self._values(document) for document in documents]
            places = [tuple(self.key(value) for value in found) for found in values]
            known = self._read([found for found, place in zip(values, places, strict=True) if place not in written])
            for document, place in zip(documents, places, strict=True):
                found = written.get(place) or known.get(place)
                refused = refused or self._refusal(found)
                change = self._changed(document, found, variables)
                if change is not None:
                    changes.append(change)
                    written[place] = change.document
        finally:
            if changes:
                self.context.write(self.target, changes)
        if refused is not None:
            raise refused

    def _refusal(self, found: dict[str, Any] | None) -> DocdbError | None:
        if found is None and self.not_matched == "fail":
            return QueryError("$merge found no document to change and whenNotMatched is fail", code=13113)
        if found is not None and self.matched == "fail":
            return DuplicateKeyError("$merge found the document already there and whenMatched is fail")
        return None

    def _values(self, document: dict[str, Any]) -> list[Any]:
        return [_on_value(document, path, self.nullable) for path in self.on]

    def _read(self, wanted: list[list[Any]]) -> dict[tuple[bytes, ...], dict[str, Any]]:
        if not wanted:
            return {}
        if len(self.on) == 1:
            filter: dict[str, Any] = equality_filter(self.on[0], [value for (value,) in wanted])
        else:
            filter = {
                "$or": [{path: {"$eq": value} for path, value in zip(self.on, found, strict=True)} for found in wanted]
            }
        places = {tuple(self.key(value) for value in found) for found in wanted}
        known: dict[tuple[bytes, ...], dict[str, Any]] = {}
        for batch in self.context.source(self.target, filter):
            for document in batch:
                values = (read_path(document, field_path(path)) for path in self.on)
                place = tuple(self.key(None if value is MISSING else value) for value in values)
                if place in places:
                    known[place] = document
        return known

    def _changed(self, document: dict[str, Any], found: dict[str, Any] | None, variables: Variables) -> Change | None:
        """Return the change one document of the stream makes, None for none."""
        if found is None:
            return Change("insert", _with_id(document)) if self.not_matched == "insert" else None
        if self.matched in ("fail", "keepExisting"):
            return None
        if self.change is not None:
            new = self.change(found, document, variables)
        elif self.matched == "replace":
            new = document
        else:
            new = {**found, **document}
        if order_key(new.get("_id", found["_id"])) != order_key(found["_id"]):  # whatever the collation says
            raise QueryError("$merge cannot change the _id of a document", code=66)
        return Change(
            "replace", {**new, "_id": found["_id"]} if "_id" in new else {"_id": found["_id"], **new}, found["_id"]
        )
