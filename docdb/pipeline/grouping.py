"""$group over stored documents, with an $unwind or a $lookup before it: what the kernel takes, and its results as documents.

What lives here: ``compile_grouping``. What it must not know: where the bytes come from. The law is ``stages_group.group``, behind a $lookup
``joining.FieldJoin``, too; whatever the kernel declines, at compile time or on the way, is grouped by that from the beginning.

An id is made of paths, constants, readings of dates and numbers computed of a field, in objects too. The kernel tells groups apart; an id that is more
than a path is the expression's value for a document of the paths it reads, as the first document of the group had them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from docdb import _native
from docdb.language.expression_folds import Average, Sum
from docdb.language.expressions import compile_expression, read_path
from docdb.language.order import order_key
from docdb.language.values import MISSING
from docdb.pipeline.grouping_dates import DATES, Reading, read_date
from docdb.pipeline.grouping_numbers import NUMBERS, Computed, read_number
from docdb.pipeline.joining import PlainJoin

__all__ = ["Grouping", "compile_bucket", "compile_grouping", "distinct_values"]

_GROUP_BYTES: Final = 500  # what a group may take in the kernel and as a document, and each of its folds
_FOLD_BYTES: Final = 60
_MOST_INT: Final = 2**31 - 1
_NO_LIMIT: Final = 2**63

Path = tuple[str, ...]
Take = Callable[[bytes], Any]
Read = Callable[[Take], Iterator[list[Any]] | None]
Find = Callable[[str, Mapping[str, Any]], Iterator[list[bytes]]]
Check = Callable[[], None]

_Groups: Any = None
_JoinedGroups: Any = None
if _native.AVAILABLE:
    from docdb._native.grouping import Groups as _Groups
    from docdb._native.grouping import JoinedGroups as _JoinedGroups


@dataclass(frozen=True, slots=True)
class _Fold:
    """A field of the result: the number of what the kernel keeps, or the constant it adds."""

    name: str
    sum: type[Sum] | None  # what makes the value; None: it is kept as it is
    at: int | None
    constant: int = 0


@dataclass(frozen=True, slots=True)
class _Bins:
    """The bounds of a $bucket, their order keys, and its default (MISSING: none)."""

    path: Path
    bounds: list[Any]
    marks: list[bytes]
    default: Any

    def of_kernel(self) -> tuple[Any, ...]:
        """Return it as the kernel takes it."""
        return "bins", self.marks, self.default is not MISSING

    def bound(self, document: dict[str, Any]) -> Any:
        """Return the lower bound of a document's bin, or the default."""
        at = bisect_right(self.marks, order_key(read_path(document, self.path))) - 1
        return self.bounds[at] if 0 <= at < len(self.marks) - 1 else self.default


@dataclass(slots=True)
class Grouping:
    """A $group the kernel takes. ``identity`` makes the ids, None where they are the values of the only path.

    ``unwinds`` is the path of the $unwind before it, and whether it keeps a document without elements; with a ``join`` its elements are what that finds.
    """

    unwinds: tuple[Path, bool] | None
    join: PlainJoin | None = None
    paths: list[Path] = field(default_factory=list)
    terms: list[tuple[int, Reading | Computed | _Bins | None, bool]] = field(default_factory=list)
    kept: list[tuple[int, int]] = field(default_factory=list)
    fields: list[_Fold] = field(default_factory=list)
    identity: Callable[[dict[str, Any]], Any] | None = None
    by_id: bool = False  # in the order of the ids, not in that they were met

    def run(
        self, read: Read, memory_limit: int, find: Find | None = None, check: Check | None = None
    ) -> list[dict[str, Any]] | None:
        """Return the groups in the order they were met; None where there is nothing to read, a document is declined or the groups take more than the limit.

        ``read(take)`` gives batches, whose documents have been handed to ``take``; ``find(collection, filter)`` stored documents, for a join;
        ``check()`` is called where one takes long.
        """
        groups = self._met(read, memory_limit, find, check)
        if groups is None:
            return None
        rows = groups.rows(MISSING)
        ids = [self._id(values) for values, _, _ in rows]
        if any(reading is not None for _, reading, _ in self.terms) and len(set(map(order_key, ids))) < len(ids):
            return None  # the kernel told apart what the expression does not
        made = [self._document(id, size, states) for id, (_, size, states) in zip(ids, rows, strict=True)]
        return sorted(made, key=lambda document: order_key(document["_id"])) if self.by_id else made

    def count(self, read: Read, memory_limit: int, find: Find | None = None, check: Check | None = None) -> int | None:
        """Return how many groups there are; None where the kernel declines or the number is not known without the ids."""
        if any(reading is not None for _, reading, _ in self.terms):
            return None
        groups = self._met(read, memory_limit, find, check)
        return None if groups is None else groups.count

    def _met(self, read: Read, memory_limit: int, find: Find | None, check: Check | None) -> Any:
        """Return the kernel's groups, None where it declines."""
        groups = self._begun(memory_limit)
        batches = read(groups)
        if batches is None:
            return None
        for _ in batches:
            if self.join is not None and find is not None and groups.full:
                self._look(groups, self.join, find, check)
            if groups.declined:
                return None
        if self.join is not None and find is not None:
            self._look(groups, self.join, find, check)
        return None if groups.declined else groups

    def _begun(self, memory_limit: int) -> Any:
        """Return the kernel before its first document."""
        routes, unwinds = [*map(self._route, self.paths)], None
        if self.unwinds is not None:
            unwinds = len(routes), self.unwinds[1]
            routes.append((_encoded(self.unwinds[0] if self.join is None else self.join.local), False))
        terms = tuple((at, None if reading is None else reading.of_kernel(), null) for at, reading, null in self.terms)
        each = _GROUP_BYTES + _FOLD_BYTES * len(self.kept)
        known = (tuple(routes), terms, tuple(self.kept), unwinds, each, memory_limit)
        if self.join is None:
            return _Groups(*known)
        return _JoinedGroups(*known, _encoded(self.join.foreign), memory_limit // 2)

    def _look(self, groups: Any, join: PlainJoin, find: Find, check: Check | None) -> None:
        """Give the kernel the foreign documents of those that wait."""
        values = groups.wanted()
        if values and not groups.declined:
            for batch in find(join.collection, join.filter(values)):
                groups.bring(batch)
                if groups.declined:
                    return
        while groups.resume():
            if check is not None:
                check()

    def _route(self, path: Path) -> tuple[tuple[bytes, ...], bool]:
        """Return a path as the kernel takes it, and whether it begins at what is unwound."""
        if self.unwinds is None:
            return _encoded(path), False
        above = self.unwinds[0]
        below = path[: len(above)] == above
        return _encoded(path[len(above) :] if below else path), below

    def _id(self, values: list[Any]) -> Any:
        if self.identity is None:
            return None if values[0] is MISSING else values[0]
        document: dict[str, Any] = {}
        for (at, _, _), value in zip(self.terms, values, strict=True):
            if value is not MISSING:
                _put(document, self.paths[at], value)
        value = self.identity(document)
        return None if value is MISSING else value

    def _document(self, identity: Any, size: int, states: list[Any]) -> dict[str, Any]:
        document = {"_id": identity}
        for item in self.fields:
            if item.sum is None and item.at is not None:
                document[item.name] = states[item.at]
                continue
            fold = (item.sum or Sum)()
            if item.at is None:
                fold.whole, fold.count = item.constant * size, size
            else:
                fold.whole, fold.long, fold.count, fold.double, fold.compensation, fold.has_double = states[item.at]
            document[item.name] = fold.value()
        return document


def compile_grouping(spec: Mapping[str, Any], unwinds: Any = None, join: PlainJoin | None = None) -> Grouping | None:
    """Return the grouping of a $group that compiled, behind an $unwind where one is given, and a $lookup; None where the kernel declines it."""
    unwound = _unwinding(unwinds)
    if _Groups is None or (unwinds is not None and unwound is None):
        return None
    made = Grouping(unwound, join)
    if not _add_id(made, spec["_id"]):
        return None
    for name, item in spec.items():
        if name != "_id" and not _add_field(made, name, *next(iter(item.items()))):
            return None
    if unwound is not None and any(_is_prefix(path, unwound[0]) for path in made.paths):
        return None  # an object around what is unwound
    return made


def compile_bucket(spec: Mapping[str, Any]) -> Grouping | None:
    """Return the grouping of a $bucket that compiled, None where the kernel declines it."""
    path, bounds, default = _path(spec["groupBy"]), spec["boundaries"], spec.get("default", MISSING)
    if _Groups is None or path is None or not all(map(_is_constant, [*bounds, default])):
        return None
    bins = _Bins(path, bounds, [order_key(bound) for bound in bounds], default)
    made = Grouping(None, identity=bins.bound, by_id=True)
    made.terms.append((_number(made, path), bins, True))
    for name, item in spec.get("output", {"count": {"$sum": 1}}).items():
        if not _add_field(made, name, *next(iter(item.items()))):
            return None
    return made


def _is_constant(spec: Any) -> bool:
    """Tell whether an expression stands for itself."""
    return not isinstance(spec, Mapping | list) and not (type(spec) is str and spec.startswith("$"))


def distinct_values(path: Path, read: Read) -> list[Any] | None:
    """Return the distinct values at a path, arrays at its end unwound one level, in the order they were met; None where the kernel declines."""
    if _Groups is None:
        return None
    groups = _Groups((((), True), (_encoded(path), False)), ((0, None, False),), (), (1, True), 0, _NO_LIMIT)
    for _ in read(groups) or ():
        if groups.declined:
            return None
    return None if groups.declined else [values[0] for values, _, _ in groups.rows(MISSING) if values[0] is not MISSING]


def _unwinding(spec: Any) -> tuple[Path, bool] | None:
    options = {"path": spec} if type(spec) is str else spec
    if options is None or options.get("includeArrayIndex") is not None:
        return None
    return tuple(options["path"][1:].split(".")), bool(options.get("preserveNullAndEmptyArrays", False))


def _add_id(made: Grouping, spec: Any) -> bool:
    """Take the id's terms apart; False for one the kernel does not know."""
    if not _add_terms(made, spec, whole=True):
        return False
    if type(spec) is not str or not made.terms:
        made.identity = compile_expression(spec)
    paths = {made.paths[at] for at, _, _ in made.terms}
    return not any(_is_prefix(one, other) for one in paths for other in paths)


def _add_terms(made: Grouping, spec: Any, whole: bool) -> bool:
    if isinstance(spec, Mapping):
        name = next(iter(spec), "")
        if not name.startswith("$"):
            return all(_add_terms(made, item, whole=False) for item in spec.values())
        found: tuple[Any, Reading | Computed] | None = None
        if name in DATES:
            found = read_date(name, spec[name])
        elif name in NUMBERS:
            found = read_number(spec)
        path = None if found is None else _path(found[0])
        if found is None or path is None:
            return False
        made.terms.append((_number(made, path), found[1], True))
        return True
    if type(spec) is str and spec.startswith("$"):
        path = _path(spec)
        if path is None:
            return False
        made.terms.append((_number(made, path), None, whole))
        return True
    return not isinstance(spec, list)


def _add_field(made: Grouping, name: str, operator: str, argument: Any) -> bool:
    """Add a field of the result; False for an accumulator the kernel does not know."""
    known = _FOLDS.get(operator)
    if operator == "$count":
        made.fields.append(_Fold(name, Sum, None, 1))
        return True
    if known is None:
        return False
    kind, fold = known
    if fold is not None and type(argument) is int and -_MOST_INT <= argument <= _MOST_INT:
        made.fields.append(_Fold(name, fold, None, argument))
        return True
    path = _path(argument)
    if path is None:
        return False
    kept = (kind, _number(made, path))
    if kept not in made.kept:
        made.kept.append(kept)
    made.fields.append(_Fold(name, fold, made.kept.index(kept)))
    return True


def _number(made: Grouping, path: Path) -> int:
    if path not in made.paths:
        made.paths.append(path)
    return made.paths.index(path)


def _path(spec: Any) -> Path | None:
    if type(spec) is not str or not spec.startswith("$") or spec.startswith("$$"):
        return None
    return tuple(spec[1:].split("."))


def _encoded(path: Path) -> tuple[bytes, ...]:
    return tuple(part.encode("utf-8", "surrogatepass") for part in path)


def _is_prefix(short: Path, long: Path) -> bool:
    return len(short) < len(long) and long[: len(short)] == short


def _put(document: dict[str, Any], path: Path, value: Any) -> None:
    for part in path[:-1]:
        document = document.setdefault(part, {})
    document[path[-1]] = value


_FOLDS: Final[dict[str, tuple[int, type[Sum] | None]]] = {
    "$avg": (0, Average),
    "$first": (3, None),
    "$last": (4, None),
    "$max": (2, None),
    "$min": (1, None),
    "$sum": (0, Sum),
}  # the numbers are the kernel's
