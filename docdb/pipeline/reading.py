"""What a stage reads of its documents, and what it leaves as it was: the ground the optimiser stands on.

What lives here: ``effect``, ``filter_names``, ``needs``. What it must not know: how stages run, what is rearranged (``optimiser``).

Everything is said in top-level names, and in doubt too much is read and too little is left alone: an array on the way, or a path that becomes an
object where a scalar was, makes anything finer wrong. Stages arrive as they are written and have compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from docdb.language.values import is_number

__all__ = ["Effect", "effect", "filter_names", "names_in", "needs", "top"]

Names = frozenset[str]
NOTHING: Final[Names] = frozenset()
# Operators that name a field by plain text, or read what cannot be seen here.
_OPAQUE: Final = frozenset({"$accumulator", "$function", "$getField", "$meta", "$setField", "$unsetField"})


@dataclass(frozen=True, slots=True)
class Effect:
    """What a stage does to documents.

    ``reads``: the names its result depends on, None for any. ``closes``: nothing else of the document is in the result. ``kept``: the only names that
    leave it unchanged; None: all but ``changed``. ``each``: it makes one document of each, in their order. ``filters``: a $match on unchanged names may
    run before it. ``renamed``: new names of whole fields.
    """

    reads: Names | None
    closes: bool = False
    kept: Names | None = None
    changed: Names = NOTHING
    each: bool = False
    filters: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)

    def passes(self, name: str) -> bool:
        """Tell whether a field leaves the stage as it came, absent when it was."""
        return name in self.kept if self.kept is not None else name not in self.changed


def top(path: str) -> str:
    """Return the first part of a path."""
    return path.split(".", 1)[0]


def effect(stage: Mapping[str, Any]) -> Effect:
    """Return what a stage does."""
    ((name, spec),) = stage.items()
    maker = _EFFECTS.get(name)
    return Effect(None) if maker is None else maker(spec)


def needs(stages: Sequence[Mapping[str, Any]]) -> Names | None:
    """Return the names of the source's documents that stages read; None when whole documents come out, or it cannot be told."""
    found: Names = NOTHING
    for stage in stages:
        seen = effect(stage)
        if seen.reads is None:
            return None
        found |= seen.reads
        if seen.closes:
            return found
    return None


def names_in(*specs: Any) -> Names | None:
    """Return the names expressions may read, None for any."""
    found: set[str] = set()
    return frozenset(found) if all(_walk(spec, found) for spec in specs) else None


def _walk(spec: Any, found: set[str]) -> bool:
    if isinstance(spec, str):
        return _text(spec, found)
    if isinstance(spec, Mapping):
        if any(name in _OPAQUE for name in spec):
            return False
        if isinstance(spec.get("sortBy"), Mapping):
            found.update(map(top, spec["sortBy"]))
        return all(_walk(item, found) for item in spec.values())
    if isinstance(spec, list | tuple):
        return all(_walk(item, found) for item in spec)
    return True


def _text(spec: str, found: set[str]) -> bool:
    if spec.startswith("$$"):
        variable, _, rest = spec[2:].partition(".")
        if variable not in ("CURRENT", "ROOT"):
            return True
        found.add(top(rest))
        return bool(rest)
    if spec.startswith("$"):
        found.add(top(spec[1:]))
    return True


def filter_names(spec: Mapping[str, Any]) -> Names | None:
    """Return the names a filter reads, None for any."""
    found: Names = NOTHING
    for name, item in spec.items():
        names: Names | None
        if name in ("$and", "$nor", "$or"):
            names = _united(filter_names(part) for part in item)
        elif name == "$expr":
            names = names_in(item)
        elif name.startswith("$"):
            names = None
        else:
            names = frozenset({top(name)})
        if names is None:
            return None
        found |= names
    return found


def _united(parts: Iterable[Names | None]) -> Names | None:
    found: Names = NOTHING
    for part in parts:
        if part is None:
            return None
        found |= part
    return found


def _and(names: Names | None, *more: str) -> Names | None:
    return None if names is None else names | set(more)


def _flag(value: Any) -> bool:
    return type(value) is bool or is_number(value)


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping) and not next(iter(value), "").startswith("$")


def _drops(spec: Mapping[str, Any]) -> bool | None:
    """Tell whether a $project leaves out what it names; None when it names nothing but ``_id``."""
    for name, value in spec.items():
        if name == "_id":
            continue
        while _nested(value):
            value = next(iter(value.values()), 1)
        return _flag(value) and not value
    return None


def _project(spec: Mapping[str, Any]) -> Effect:
    drops = _drops(spec)
    if drops is None:
        drops = _flag(spec.get("_id")) and not spec["_id"]
    if drops:
        gone = frozenset(top(name) for name, value in spec.items() if not (_flag(value) and value))
        return Effect(NOTHING, changed=gone, each=True, filters=True)
    kept = {name for name, value in spec.items() if _flag(value) and value and "." not in name}
    if "_id" not in spec and not any(name.startswith("_id.") for name in spec):
        kept.add("_id")
    entered = {top(name) for name, value in spec.items() if "." in name or _nested(value)}
    reads = names_in(*[value for value in spec.values() if not _flag(value)])
    return Effect(
        _and(reads, *kept, *entered),
        closes=True,
        kept=frozenset(kept),
        each=True,
        filters=True,
        renamed=_renamed(spec),
    )


def _renamed(spec: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value[1:]
        for name, value in spec.items()
        if type(value) is str and value.startswith("$") and not value.startswith("$$") and "." not in name + value
    }


def _add_fields(spec: Mapping[str, Any]) -> Effect:
    entered = {top(name) for name, value in spec.items() if "." in name or _nested(value)}
    return Effect(
        _and(names_in(spec), *entered),
        changed=frozenset(map(top, spec)),
        each=True,
        filters=True,
        renamed=_renamed(spec),
    )


def _unset(spec: Any) -> Effect:
    names = [spec] if isinstance(spec, str) else spec
    return Effect(NOTHING, changed=frozenset(map(top, names)), each=True, filters=True)


def _unwind(spec: Any) -> Effect:
    options = {"path": spec} if isinstance(spec, str) else spec
    name = top(options["path"][1:])
    index = options.get("includeArrayIndex")
    return Effect(frozenset({name}), changed=frozenset({name, *([top(index)] if index else [])}), filters=True)


def _lookup(spec: Mapping[str, Any]) -> Effect:
    local = spec.get("localField")
    reads = _and(names_in(spec.get("let")), top(spec["as"]), *([top(local)] if local else []))
    return Effect(reads, changed=frozenset({top(spec["as"])}), each=True, filters=True)


def _graph_lookup(spec: Mapping[str, Any]) -> Effect:
    name = top(spec["as"])
    return Effect(_and(names_in(spec["startWith"]), name), changed=frozenset({name}), each=True, filters=True)


def _sort(spec: Mapping[str, Any]) -> Effect:
    plain = all(is_number(way) for way in spec.values())
    return Effect(frozenset(map(top, spec)) if plain else None, filters=True)


def _windows(spec: Mapping[str, Any]) -> Effect:
    names = _and(names_in(spec), *map(top, spec["output"]))
    return Effect(names, changed=frozenset(map(top, spec["output"])))


def _facet(spec: Mapping[str, Any]) -> Effect:
    return Effect(_united(map(needs, spec.values())), closes=True, kept=NOTHING)


def _closing(spec: Any) -> Effect:
    return Effect(names_in(spec), closes=True, kept=NOTHING)


def _replacing(spec: Any) -> Effect:
    return Effect(names_in(spec), closes=True, kept=NOTHING, each=True)


_EFFECTS: Final[dict[str, Callable[[Any], Effect]]] = {
    "$addFields": _add_fields,
    "$bucket": _closing,
    "$bucketAuto": _closing,
    "$count": lambda spec: Effect(NOTHING, closes=True, kept=NOTHING),
    "$facet": _facet,
    "$graphLookup": _graph_lookup,
    "$group": _closing,
    "$limit": lambda spec: Effect(NOTHING),
    "$lookup": _lookup,
    "$match": lambda spec: Effect(filter_names(spec)),
    "$project": _project,
    "$replaceRoot": _replacing,
    "$replaceWith": _replacing,
    "$sample": lambda spec: Effect(NOTHING),
    "$set": _add_fields,
    "$setWindowFields": _windows,
    "$skip": lambda spec: Effect(NOTHING),
    "$sort": _sort,
    "$sortByCount": _closing,
    "$unionWith": lambda spec: Effect(NOTHING),
    "$unset": _unset,
    "$unwind": _unwind,
}
