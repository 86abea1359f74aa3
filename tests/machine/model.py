"""The oracle: a document database of dicts and lists, as plain as it can be.

Values are None, int, str, lists of those, and documents one level deep. ``Refused`` is raised where docdb must raise. It imports nothing of docdb.
"""

from __future__ import annotations

import copy
import itertools
from functools import partial
from operator import ge, gt, le, lt
from typing import Any, Final

Document = dict[str, Any]
MISSING: Final = object()
RANGES: Final[dict[str, Any]] = {"$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}


class Refused(Exception):
    """The call must fail."""


def reach(document: Any, path: str) -> Any:
    """Return the value at a path through documents."""
    for name in path.split("."):
        document = document.get(name, MISSING) if isinstance(document, dict) else MISSING
    return document


def values(document: Document, path: str) -> list[Any]:
    """Return what a condition looks at: the value, and its elements."""
    value = reach(document, path)
    return [*value, value] if isinstance(value, list) else [value]


def holds(value: Any, op: str, wanted: Any) -> bool:
    """Tell whether one value meets one condition."""
    if op == "$eq":
        return (None if value is MISSING else value) == wanted
    return type(value) is type(wanted) and not isinstance(value, list) and RANGES[op](value, wanted)


def meets(document: Document, path: str, op: str, wanted: Any) -> bool:
    """Tell whether a document meets one condition."""
    if op == "$exists":
        return (reach(document, path) is not MISSING) == wanted
    if op == "$ne":
        return not meets(document, path, "$eq", wanted)
    if op == "$in":
        return any(meets(document, path, "$eq", one) for one in wanted)
    return any(holds(value, op, wanted) for value in values(document, path))


def matches(document: Document, filter: Document) -> bool:
    """Tell whether a document matches a filter."""
    for path, condition in filter.items():
        if path in ("$or", "$and"):
            found = (any if path == "$or" else all)(matches(document, part) for part in condition)
        elif isinstance(condition, dict):
            found = all(meets(document, path, op, wanted) for op, wanted in condition.items())
        else:
            found = meets(document, path, "$eq", condition)
        if not found:
            return False
    return True


def rank(value: Any) -> tuple[int, Any]:
    """Return the order of one value: an empty array, null, numbers, texts."""
    if isinstance(value, list):
        return (0, 0)  # only empty ones come here
    return (1, 0) if value is None or value is MISSING else (3 if isinstance(value, str) else 2, value)


def sort_rank(document: Document, path: str, direction: int) -> tuple[int, Any]:
    """Return where a document stands in a sort: an array by its least element, or its greatest when descending."""
    value = reach(document, path)
    ranks = [rank(one) for one in value] if isinstance(value, list) and value else [rank(value)]
    return min(ranks) if direction > 0 else max(ranks)


def change(document: Document, update: Document) -> Document:
    """Return the document after an update of operators; Refused where an operator cannot be applied."""
    new = copy.deepcopy(document)
    for op, fields in update.items():
        for path, operand in fields.items():
            *parents, name = path.split(".")
            place = new
            for parent in parents:
                place = place.setdefault(parent, {}) if op != "$unset" else place.get(parent, {})
                if not isinstance(place, dict):
                    raise Refused
            if op == "$unset":
                place.pop(name, None)
            else:
                place[name] = operated(op, place.get(name, MISSING), operand)
    return new


def operated(op: str, old: Any, operand: Any) -> Any:
    """Return what an operator makes of a value."""
    if op == "$set":
        return operand
    if op in ("$min", "$max"):
        before, now = rank(old) if not isinstance(old, list) else (9, 0), rank(operand)
        return operand if old is MISSING or (now < before if op == "$min" else now > before) else old
    if op in ("$inc", "$mul"):
        if old is not MISSING and not isinstance(old, int):
            raise Refused
        old = 0 if old is MISSING else old
        return old + operand if op == "$inc" else old * operand
    if old is not MISSING and not isinstance(old, list):
        raise Refused
    old = [] if old is MISSING else old
    return old if op == "$addToSet" and operand in old else [*old, operand]


class Collection:
    """Documents by ``_id`` and indexes by name: (keys, unique, sparse, partial filter)."""

    def __init__(self) -> None:
        self.documents: dict[Any, Document] = {}
        self.indexes: dict[str, tuple[list[tuple[str, int]], bool, bool, Document | None]] = {}

    def find(self, filter: Document, sort: list[tuple[str, int]] = (), limit: int = 0) -> list[Document]:
        """Return the matches."""
        found = [one for one in self.documents.values() if matches(one, filter)]
        for path, direction in reversed(sort):
            found.sort(key=partial(sort_rank, path=path, direction=direction), reverse=direction < 0)
        return found[:limit] if limit else found

    def put(self, changed: dict[Any, Document | None]) -> None:
        """Store or remove documents together; Refused when an index cannot hold what comes out."""
        after = {key: value for key, value in (self.documents | changed).items() if value}
        for index in self.indexes.values():
            check_index(after, *index)
        self.documents = after


def check_index(documents: dict[Any, Document], keys: Any, unique: bool, sparse: bool, partial: Any) -> None:
    """Refuse parallel arrays, and equal keys in a unique index."""
    taken: set[Any] = set()
    for document in documents.values():
        found = [reach(document, path) for path, _ in keys]
        if (partial is not None and not matches(document, partial)) or (sparse and all(v is MISSING for v in found)):
            continue
        if sum(isinstance(value, list) for value in found) > 1:
            raise Refused
        sets = [v or ["[]"] if isinstance(v, list) else [None if v is MISSING else v] for v in found]
        mine = set(itertools.product(*sets))
        if unique and mine & taken:
            raise Refused
        taken |= mine
