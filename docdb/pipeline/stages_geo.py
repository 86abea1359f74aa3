"""The stage that gives documents in the order of their distance: $geoNear.

What lives here: its parser. What it must not know: storage, how distances are measured (``language/geo_matching.py``). It stands first and asks its
context for the documents, nearest first; the collection's geographic indexes say which field is meant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from docdb.errors import QueryError
from docdb.language import matching, tree
from docdb.language.expression_core import fail
from docdb.language.expressions import Expression, field_path
from docdb.language.geo_filters import near_point
from docdb.language.geo_matching import nearest
from docdb.language.geojson import GeometryError, is_place, read_pair
from docdb.language.metadata import FIELD, NEAR_DISTANCE, NEAR_POINT
from docdb.language.planar import Pair
from docdb.language.values import is_number
from docdb.pipeline.context import Batches, Context
from docdb.pipeline.stage import Builder, Stage, Variables
from docdb.pipeline.stages_flow import match, with_path

__all__ = ["asked", "geo_near"]

_OPTIONS: Final = (
    "distanceField", "distanceMultiplier", "includeLocs", "key", "maxDistance", "minDistance", "near", "query", "spherical", "uniqueDocs",
)  # fmt: skip
_DEEPEST: Final = 199  # parts of the path of an added field


class _Spec(NamedTuple):
    near: Expression
    low: Expression | None
    high: Expression | None
    spherical: bool
    multiplier: float
    distance: tuple[str, ...] | None
    places: tuple[str, ...] | None
    key: str | None


def geo_near(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $geoNear."""
    parsed = _parse(builder, spec, name)
    query = spec.get("query", {})
    if not isinstance(query, dict):
        fail("the query of $geoNear is a filter document", 14)
    chosen = match(builder, query, name)
    outermost = builder.depth == 0
    builder.metadata.available |= {NEAR_DISTANCE, NEAR_POINT}

    def run(documents: Batches, variables: Variables) -> Batches:
        near = _near(parsed, builder, variables)
        # Only the outermost pipeline has no variables but those that the context knows.
        found = builder.context.nearest(_collection(builder), near, query if outermost else {})
        for batch in found if outermost else chosen.run(found, variables):
            yield list(_measured(near, parsed, batch, bool(builder.metadata.used)))

    return Stage(name, run, spec)


def asked(context: Context, spec: Any) -> tuple[tree.Near, dict[str, Any]]:
    """Return what the stage, first in an outermost pipeline that compiled, asks of the collection: the leaf and the filter."""
    builder = Builder(context, frozenset(context.variables))
    near = _near(_parse(builder, spec, "$geoNear"), builder, builder.start_variables())
    return near, spec.get("query", {})


def _collection(builder: Builder) -> str:
    return builder.source or builder.context.collection or ""


def _parse(builder: Builder, spec: Any, name: str) -> _Spec:
    if not isinstance(spec, dict):
        fail("$geoNear takes an object", 5860400 if isinstance(spec, list) else 10065)
    if "near" not in spec:
        fail("$geoNear needs 'near'", 5860400)
    for option in spec:
        if option not in _OPTIONS:
            fail(f"$geoNear has no option {option!r}", 2, hint=f"it takes {', '.join(_OPTIONS)}")
    distance = _added(spec, "distanceField", 16606)
    places = _added(spec, "includeLocs", 16607)
    return _Spec(
        _constant(builder, spec["near"], "near", 5860402),
        _constant(builder, spec["minDistance"], "minDistance", 7555701) if "minDistance" in spec else None,
        _constant(builder, spec["maxDistance"], "maxDistance", 7555701) if "maxDistance" in spec else None,
        matching.truth(spec.get("spherical")),
        _multiplier(spec.get("distanceMultiplier", 1.0)),
        distance,
        places,
        _key(spec),
    )


def _added(spec: dict[str, Any], option: str, code: int) -> tuple[str, ...] | None:
    if option not in spec:
        return None
    if not isinstance(spec[option], str):
        fail(f"{option} is a field path", code)
    parts = field_path(spec[option])
    if len(parts) > _DEEPEST:
        fail(f"{option} is nested too deep", 5984700)
    return parts


def _key(spec: dict[str, Any]) -> str | None:
    if "key" not in spec:
        return None
    key = spec["key"]
    if not isinstance(key, str):
        fail("the key of $geoNear is a field path", 14)
    if not key:
        fail("the key of $geoNear is not empty", 2)
    field_path(key)
    return key


def _constant(builder: Builder, spec: Any, option: str, code: int) -> Expression:
    expression = builder.expression(spec)
    if expression.paths != frozenset():
        fail(f"{option} of $geoNear reads no document", code)
    return expression


def _multiplier(value: Any) -> float:
    if not is_number(value):
        fail("distanceMultiplier is a number", 14)
    factor = float(value)
    if not factor >= 0:
        fail("distanceMultiplier is not negative", 2)
    return factor


def _near(parsed: _Spec, builder: Builder, variables: Variables) -> tree.Near:
    """Return the leaf that stands for the stage in this run."""
    value = parsed.near({}, variables)
    if not isinstance(value, dict | list):
        fail("near is a GeoJSON point or a pair", 5860401)
    low = _distance(parsed.low, variables, "minDistance", 0.0)
    high = _distance(parsed.high, variables, "maxDistance", math.inf)
    geojson = isinstance(value, dict) and not is_number(next(iter(value.values()), None))
    spherical = parsed.spherical or geojson
    try:
        point = near_point(value) if geojson else read_pair(value, more=len(value) == 3)
    except GeometryError as error:
        raise QueryError(str(error), path="near") from error
    if spherical and not is_place(point):
        fail("longitude and latitude are out of range", 2, path="near")
    path = _field(parsed, builder, spherical, geojson, point)
    return tree.Near(tuple(path.split(".")), point, spherical, geojson, low, high)


def _distance(expression: Expression | None, variables: Variables, option: str, default: float) -> float:
    if expression is None:
        return default
    value = expression({}, variables)
    if not is_number(value):
        fail(f"{option} is a number", 14)
    distance = float(value)
    if not distance >= 0:
        fail(f"{option} is not negative", 2)
    return distance


def _field(parsed: _Spec, builder: Builder, spherical: bool, geojson: bool, point: Pair) -> str:
    """Return the field that a geographic index names, or ``key``."""
    name = _collection(builder)
    known = builder.context.geographic_fields(name)
    if known is None:
        fail(f"$geoNear needs a collection, there is none named {name!r}", 26)
    key = parsed.key
    if key is None:
        flat = [field.path for field in known if field.kind == "2d"]
        candidates = flat or [field.path for field in known]
        if len(candidates) != 1:
            how = "more than one" if candidates else "none"
            fail(f"$geoNear needs a geographic index, and there is {how}", 27, hint="name the field with key")
        key = candidates[0]
    fitting = {"2dsphere"} if geojson else {"2d", "2dsphere"} if spherical else {"2d"}
    serving = [field for field in known if field.path == key and field.kind in fitting]
    if not serving:
        kind = "2dsphere" if spherical else "2d"
        fail("$geoNear needs a geographic index", 291, path=key, hint=f'create_index([("{key}", "{kind}")])')
    if not spherical and not all(serving[0].low <= part <= serving[0].high for part in point):
        fail("the point is outside the bounds of the 2d index", 16433, path="near")
    return key


def _measured(
    near: tree.Near, parsed: _Spec, documents: Iterable[dict[str, Any]], carries: bool
) -> Iterator[dict[str, Any]]:
    find = nearest(near)
    for document in documents:
        place = find(document)
        if place is None:
            continue
        distance, value = place
        if parsed.distance is not None:
            document = with_path(document, parsed.distance, distance * parsed.multiplier)
        if parsed.places is not None:
            document = with_path(document, parsed.places, value)
        if carries:
            document = {**document, FIELD: {NEAR_DISTANCE: distance * parsed.multiplier, NEAR_POINT: value}}
        yield document
