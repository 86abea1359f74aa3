"""Rearranging a pipeline: the same result from fewer documents, smaller ones, and a front an access path can serve.

What lives here: ``optimise`` and its rules, each over two neighbours. What it must not know: how stages run (what they do to documents is in
``reading``), indexes, kernels. Stages arrive as they are written, and have compiled; the result compiles too.

    $match        forward through stages that leave its names alone, in parts where need be, by the old name through a renaming; joined with a $match before it
    $limit $skip  forward through stages that make one document of each; joined
    $sort         forward to the front, through stages that make one document of each and leave its names alone; dropped before $count
    dropped       $project, $addFields, $set, $unset before a stage that reads nothing of what they do

What an expression would have raised over a document that nobody asks for any more is not raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from docdb.language.expression_core import integer_of
from docdb.pipeline.reading import effect, filter_names, top

__all__ = ["Optimised", "optimise"]

Stage = Mapping[str, Any]
Made = tuple[list[Stage], str]
_SHAPING: Final = frozenset({"$addFields", "$project", "$set", "$unset"})
_CLOSING: Final = frozenset({"$bucket", "$bucketAuto", "$count", "$group", "$sortByCount"})
_CHANCE: Final = ("$rand", "$sampleRate")
_MOST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Optimised:
    """The stages to run, and what was done, for explain."""

    stages: tuple[Stage, ...]
    notes: tuple[str, ...]


def optimise(stages: Sequence[Stage]) -> Optimised:
    """Return the pipeline rearranged. Cost: some microseconds a stage and move."""
    result = list(stages)
    notes: list[str] = []
    at = 0
    while at < len(result) - 1:
        made = _rearranged(result, at)
        if made is None:
            at += 1
            continue
        result[at : at + 2] = made[0]
        notes.append(made[1])
        at = max(0, at - 1)
    return Optimised(tuple(result), tuple(notes))


def _rearranged(stages: list[Stage], at: int) -> Made | None:
    first, second = stages[at], stages[at + 1]
    rule = _RULES.get(_name(second))
    if rule is None or (_name(second) == "$sort" and not all(_name(stage) == "$match" for stage in stages[:at])):
        return None  # a $sort that does not reach the front would only hold larger documents
    return rule(first, second)


def _name(stage: Stage) -> str:
    return next(iter(stage))


# ---- $match


def _match(first: Stage, second: Stage) -> Made | None:
    condition = second["$match"]
    if not condition:
        return [first], "dropped an empty $match"
    name = _name(first)
    if name == "$match":
        return [{"$match": _joined([*_conjuncts(first["$match"]), *_conjuncts(condition)])}], "joined $match and $match"
    seen = effect(first)
    if not seen.filters:
        return None
    early: list[Stage] = []
    late: list[Stage] = []
    for part in _conjuncts(condition):
        moved = _before(part, seen.passes, seen.renamed)
        if moved is None:
            late.append(part)
        else:
            early.append(moved)
    if not early:
        return None
    rest = [{"$match": _joined(late)}] if late else []
    part_of = "a part of " if late else ""
    return [{"$match": _joined(early)}, first, *rest], f"moved {part_of}$match before {name}"


def _before(part: Stage, passes: Callable[[str], bool], renamed: Mapping[str, str]) -> Stage | None:
    """Return a condition as it reads in front of a stage, None when it must stay behind."""
    names = filter_names(part)
    if names is None or any(word in repr(part) for word in _CHANCE):
        return None
    if all(map(passes, names)):
        return part
    ((name, value),) = part.items()
    if name.startswith("$") or top(name) not in renamed:
        return None
    return {renamed[top(name)] + name[len(top(name)) :]: value}


def _conjuncts(condition: Stage) -> Iterator[Stage]:
    """Yield the conditions that must all hold, each a document of one field."""
    for name, value in condition.items():
        if name == "$and":
            for part in value:
                yield from _conjuncts(part)
        else:
            yield {name: value}


def _joined(parts: list[Stage]) -> Stage:
    names = [name for part in parts for name in part]
    if len(set(names)) < len(names):
        return {"$and": parts}
    return {name: value for part in parts for name, value in part.items()}


# ---- $limit, $skip, $sort


def _limit(first: Stage, second: Stage) -> Made | None:
    if "$limit" in first:
        return [min(first, second, key=lambda stage: _number(stage))], "joined $limit and $limit"
    return _through(first, second)


def _skip(first: Stage, second: Stage) -> Made | None:
    if not _number(second):
        return [first], "dropped an empty $skip"
    if "$skip" in first:
        return [{"$skip": min(_number(first) + _number(second), _MOST)}], "joined $skip and $skip"
    if "$limit" in first and _number(first) > _number(second):
        return [second, {"$limit": _number(first) - _number(second)}], "moved $skip before $limit"
    return _through(first, second)


def _number(stage: Stage) -> int:
    ((_, spec),) = stage.items()
    return integer_of(spec) or 0


def _through(first: Stage, second: Stage) -> Made | None:
    if not effect(first).each:
        return None
    return [second, first], f"moved {_name(second)} before {_name(first)}"


def _sort(first: Stage, second: Stage) -> Made | None:
    seen, wanted = effect(first), effect(second).reads
    if wanted is None or not seen.each:
        return None
    if all(map(seen.passes, wanted)):
        return [second, first], f"moved $sort before {_name(first)}"
    spec = second["$sort"]
    renamed = seen.renamed
    if not all(seen.passes(top(path)) or top(path) in renamed for path in spec):
        return None
    moved = {
        path if seen.passes(top(path)) else renamed[top(path)] + path[len(top(path)) :]: way
        for path, way in spec.items()
    }
    if len(moved) < len(spec):
        return None
    return [{"$sort": moved}, first], f"moved $sort before {_name(first)}"


# ---- dropping


def _closing(first: Stage, second: Stage) -> Made | None:
    name, wanted = _name(first), effect(second).reads
    if name == "$sort" and "$count" in second:
        return [second], "dropped $sort before $count"
    if name not in _SHAPING or wanted is None or not all(map(effect(first).passes, wanted)):
        return None
    return [second], f"dropped {name} before {_name(second)}"


_RULES: Final[dict[str, Callable[[Stage, Stage], Made | None]]] = {
    **dict.fromkeys(_CLOSING, _closing),
    "$limit": _limit,
    "$match": _match,
    "$skip": _skip,
    "$sort": _sort,
}
