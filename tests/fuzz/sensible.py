"""Pipelines that compile and mostly run: what is rearranged is compared with what was written.

What lives here: functions of a random.Random. What it must not know: what the pipelines are for.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from tests.fuzz import inputs

NAMES: Final = ("a", "b", "c", "d")
PATHS: Final = (*NAMES, "_id", "a.b", "b.c", "d.0", "c.a.b")
SMALL: Final[tuple[Any, ...]] = (
    0,
    1,
    2,
    -1,
    1.0,
    2.5,
    None,
    "x",
    "y",
    True,
    [1, 2],
    {"b": 1},
    {"b": [1, {"c": 2}]},
    [{"b": 1}, {"b": 2}],
)


def document(chance: Random, number: int) -> dict[str, Any]:
    """Return a document of few names and values, so that they meet."""
    made = {name: chance.choice(SMALL) for name in NAMES if chance.random() < 0.75}
    if chance.random() < 0.1:
        made[chance.choice(NAMES)] = inputs.stored(chance)
    return {"_id": number, **made}


def pipeline(chance: Random) -> list[dict[str, Any]]:
    """Return one to six stages, some of them a $group of what a $lookup found."""
    made = [_STAGES[chance.choice(_OFTEN)](chance) for _ in range(chance.randrange(1, 7))]
    if chance.random() < 0.2:
        at = chance.randrange(2)
        made[at:at] = _joined(chance)
    return made


def spread(chance: Random) -> list[dict[str, Any]]:
    """Return one to six stages of all kinds; groups are put in order, which they have none of by themselves."""
    made: list[dict[str, Any]] = []
    for _ in range(chance.randrange(1, 7)):
        name = chance.choice((*_OFTEN, *_LARGE, *_LARGE))
        made.append((_LARGE.get(name) or _STAGES[name])(chance))
        if next(iter(made[-1])) in ("$group", "$sortByCount"):
            made += [
                {"$match": {"_id": {"$not": {"$type": "array"}}}},
                {"$sort": {"_id": 1}},
            ]  # an array sorts as one of its elements
    return made


def _expression(chance: Random) -> Any:
    path = "$" + chance.choice(PATHS)
    kinds = (
        path, path, path, {"$ifNull": [path, 0]}, {"$type": path}, {"$eq": [path, 1]}, {"x": path}, [path, 1], "$$ROOT", "$$ROOT.a", {"$literal": 1},
        {"$cond": [{"$gt": [path, 1]}, "$a", "$b"]}, {"$isArray": path}, {"$getField": "a"},
    )  # fmt: skip
    return chance.choice(kinds)


def _condition(chance: Random) -> dict[str, Any]:
    path, value = chance.choice(PATHS), chance.choice(SMALL)
    kinds: tuple[dict[str, Any], ...] = (
        {path: value}, {path: {"$gt": value}}, {path: {"$ne": value}}, {path: {"$exists": chance.random() < 0.5}}, {path: None},
        {path: {"$in": [value, 1]}}, {"$or": [{path: value}, {chance.choice(PATHS): 1}]}, {"$expr": {"$eq": ["$" + path, 1]}},
        {"$and": [{path: {"$gte": 0}}, {chance.choice(PATHS): {"$exists": True}}]}, {path: {"$gte": 0}, chance.choice(PATHS): {"$ne": 2}},
    )  # fmt: skip
    return chance.choice(kinds)


def _project(chance: Random) -> dict[str, Any]:
    paths = chance.sample(("a", "b", "c", "d"), chance.randrange(1, 4))
    if chance.random() < 0.3:
        return {"$project": {chance.choice((path, path + ".b")): 0 for path in paths}}
    fields: dict[str, Any] = {
        chance.choice((path, path, path + ".b")): chance.choice((1, 1, True, _expression(chance))) for path in paths
    }
    if chance.random() < 0.3:
        fields["_id"] = chance.choice((0, 1, "$a"))
    return {"$project": fields}


def _add_fields(chance: Random) -> dict[str, Any]:
    return {
        chance.choice(("$addFields", "$set")): {
            chance.choice((name, name + ".b")): _expression(chance) for name in chance.sample(NAMES, chance.randrange(1, 3))
        }
    }  # fmt: skip


def _group(chance: Random) -> dict[str, Any]:
    fields = {
        name: {chance.choice(("$sum", "$avg", "$min", "$max", "$first", "$last", "$push", "$addToSet")): _argument(chance)}
        for name in chance.sample(("a", "n", "s"), chance.randrange(3))
    }  # fmt: skip
    path = "$" + chance.choice(PATHS)
    identity = chance.choice((path, path, None, {"k": path, "l": "$" + chance.choice(PATHS)}, _expression(chance)))
    return {"$group": {"_id": identity, **fields}}


def _argument(chance: Random) -> Any:
    return chance.choice(("$" + chance.choice(PATHS), "$" + chance.choice(PATHS), 1, {"$ifNull": ["$a", 0]}))


def _unwind(chance: Random) -> dict[str, Any]:
    path = "$" + chance.choice(("a", "b", "d", "a.b", "c"))
    options: dict[str, Any] = {"path": path, "preserveNullAndEmptyArrays": chance.random() < 0.5}
    if chance.random() < 0.3:
        options["includeArrayIndex"] = chance.choice(("i", "a", "b.i"))
    return {"$unwind": chance.choice((path, options))}


def _lookup(chance: Random) -> dict[str, Any]:
    fields = {
        "from": "items", "localField": chance.choice(PATHS), "foreignField": chance.choice(PATHS), "as": chance.choice(("a", "j", "b.j")),
    }  # fmt: skip
    return {"$lookup": fields}


def _joined(chance: Random) -> list[dict[str, Any]]:
    """Return a $lookup that is unwound and grouped at once."""
    lookup, unwind = _lookup(chance), {"path": "$a", "preserveNullAndEmptyArrays": chance.random() < 0.5}
    lookup["$lookup"]["as"] = "a"
    return [lookup, {"$unwind": unwind}, _group(chance)]


_STAGES: Final[dict[str, Callable[[Random], dict[str, Any]]]] = {
    "add": _add_fields,
    "count": lambda chance: {"$count": "n"},
    "group": _group,
    "limit": lambda chance: {"$limit": chance.randrange(1, 9)},
    "lookup": _lookup,
    "match": lambda chance: {"$match": chance.choice((_condition(chance), _condition(chance), {}))},
    "project": _project,
    "replace": lambda chance: {"$replaceWith": {"a": _expression(chance), "b": "$b"}},
    "skip": lambda chance: {"$skip": chance.randrange(5)},
    "sort": lambda chance: {"$sort": {path: chance.choice((1, -1)) for path in chance.sample(PATHS, chance.randrange(1, 3))}},
    "sort_by_count": lambda chance: {"$sortByCount": "$" + chance.choice(PATHS)},
    "unset": lambda chance: {"$unset": chance.choice(("a", ["b", "c.a"], "d"))},
    "unwind": _unwind,
}  # fmt: skip
_OFTEN: Final = (
    *_STAGES, "match", "match", "match", "project", "project", "add", "limit", "sort", "sort", "group", "unwind", "unwind",
)  # fmt: skip


def _window(chance: Random) -> dict[str, Any]:
    ends = chance.choice((["unbounded", "current"], [-2, 2], [0, 3], ["unbounded", "unbounded"]))
    fold = chance.choice(("$sum", "$max", "$push", "$avg", "$addToSet", "$stdDevPop"))
    output = chance.choice((
        {"w": {fold: "$" + chance.choice(PATHS), "window": {"documents": ends}}},
        {"w": {"$documentNumber": {}}, "v": {"$shift": {"output": "$a", "by": chance.choice((-1, 1, 3))}}},
        {"w": {"$rank": {}}, "v": {"$denseRank": {}}},
        {"a": {"$locf": "$a"}},
    ))  # fmt: skip
    partition = chance.choice((None, None, "$b", {"$type": "$a"}))
    return {"$setWindowFields": {"partitionBy": partition, "sortBy": {"_id": chance.choice((1, -1))}, "output": output}}


def _facet(chance: Random) -> dict[str, Any]:
    return {
        "$facet": {
            name: [_STAGES[chance.choice(_EACH)](chance) for _ in range(chance.randrange(3))] for name in ("a", "b")
        }
    }


def _buckets(chance: Random) -> dict[str, Any]:
    output = chance.choice(
        ({"n": {"$sum": 1}}, {"all": {"$push": "$_id"}}, {"a": {"$addToSet": "$a"}, "b": {"$max": "$b"}})
    )
    by = "$" + chance.choice(PATHS)
    if chance.random() < 0.5:
        return {"$bucketAuto": {"groupBy": by, "buckets": chance.randrange(1, 6), "output": output}}
    return {"$bucket": {"groupBy": by, "boundaries": [0, 1, 2], "default": "none", "output": output}}


_EACH: Final = ("add", "limit", "match", "project", "skip", "sort", "unset", "unwind")
_LARGE: Final[dict[str, Callable[[Random], dict[str, Any]]]] = {
    "buckets": _buckets,
    "densify": lambda chance: {"$densify": {"field": "_id", "range": {"step": chance.choice((0.5, 1, 3)), "bounds": "full"}}},
    "facet": _facet,
    "fill": lambda chance: {"$fill": {"sortBy": {"_id": 1}, "output": {chance.choice(NAMES): {"method": "locf"}, "x": {"value": "$b"}}}},
    "union": lambda chance: {"$unionWith": {"coll": "items", "pipeline": [_STAGES[chance.choice(_EACH)](chance)]}},
    "window": _window,
}  # fmt: skip
