"""Update operators on arrays.

What lives here: $push with its modifiers, $addToSet, $pop, $pull, $pullAll. What it must not know: how paths are walked
(``update_paths``), collections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from docdb.errors import UpdateError
from docdb.language.filter_operators import integral
from docdb.language.filters import is_operator_document, parse
from docdb.language.matching import matcher
from docdb.language.order import invert
from docdb.language.paths import read
from docdb.language.update_operators import Maker, Scope
from docdb.language.update_paths import Context, Leaf
from docdb.language.values import MISSING, Regex, type_name

__all__ = ["ARRAY_OPERATORS"]

_MODIFIERS: Final = ("$each", "$position", "$slice", "$sort")
SortKey = Callable[[Any], Any]


def _array(value: Any, operator: str, path: str, code: int) -> list[Any]:
    if value.__class__ is not list:
        raise UpdateError(f"{operator} needs an array there, not {type_name(value)}", path=path, code=code)
    return value


class Push(Leaf):
    """$push: insert, then sort, then cut."""

    __slots__ = ("items", "position", "size", "sort")

    def __init__(
        self,
        path: str,
        items: list[Any],
        position: int | None,
        size: int | None,
        sort: Callable[[list[Any]], None] | None,
    ) -> None:
        super().__init__(path)
        self.items, self.position, self.size, self.sort = items, position, size, sort

    def apply(self, value: Any, context: Context) -> Any:
        old = [] if value is MISSING else _array(value, "$push", self.path, 2)
        at = len(old) if self.position is None else self.position
        new = old[:at] + self.items + old[at:]
        if self.sort is not None:
            self.sort(new)
        if self.size is not None:
            new = new[: self.size] if self.size >= 0 else new[self.size :]
        unchanged = value is not MISSING and len(new) == len(old) and all(a is b for a, b in zip(new, old, strict=True))
        return value if unchanged else new


class AddToSet(Leaf):
    """$addToSet: append what no element equals yet."""

    __slots__ = ("items", "scope")

    def __init__(self, path: str, scope: Scope, items: list[Any]) -> None:
        super().__init__(path)
        self.scope, self.items = scope, items

    def apply(self, value: Any, context: Context) -> Any:
        old = [] if value is MISSING else _array(value, "$addToSet", self.path, 2)
        present = {self.scope.key(item) for item in old}
        new = list(old)
        for item in self.items:
            key = self.scope.key(item)
            if key not in present:
                present.add(key)
                new.append(item)
        return value if value is not MISSING and len(new) == len(old) else new


class Pop(Leaf):
    """$pop: drop the last or the first element."""

    __slots__ = ("first",)

    def __init__(self, path: str, first: bool) -> None:
        super().__init__(path)
        self.first = first

    def apply(self, value: Any, context: Context) -> Any:
        if value is MISSING:
            return value
        old = _array(value, "$pop", self.path, 14)
        if not old:
            return value
        return old[1:] if self.first else old[:-1]


class Cull(Leaf):
    """$pull and $pullAll: drop the elements that the test picks."""

    __slots__ = ("name", "test")
    tolerant = True

    def __init__(self, path: str, name: str, test: Callable[[Any], bool]) -> None:
        super().__init__(path)
        self.name, self.test = name, test

    def apply(self, value: Any, context: Context) -> Any:
        if value is MISSING:
            return value
        old = _array(value, self.name, self.path, 2)
        kept = [item for item in old if not self.test(item)]
        return value if len(kept) == len(old) else kept


def _push(scope: Scope, path: str, operand: Any, where: str) -> Leaf:
    if not isinstance(operand, Mapping) or "$each" not in operand:
        return Push(path, [scope.canonical(operand, where)], None, None, None)
    for name in operand:
        if name not in _MODIFIERS:
            raise UpdateError(
                f"$push knows no modifier {name}", path=where, code=2, hint=f"the modifiers are {', '.join(_MODIFIERS)}"
            )
    items = scope.canonical(operand["$each"], f"{where}.$each")
    if items.__class__ is not list:
        raise UpdateError(f"$each takes an array, not {type_name(items)}", path=f"{where}.$each", code=2)
    position = _whole(scope, operand, "$position", where)
    size = _whole(scope, operand, "$slice", where)
    sort = _sorter(scope, operand["$sort"], f"{where}.$sort") if "$sort" in operand else None
    return Push(path, items, position, size, sort)


def _whole(scope: Scope, operand: Mapping[str, Any], name: str, where: str) -> int | None:
    if name not in operand:
        return None
    value = scope.canonical(operand[name], f"{where}.{name}")
    number = integral(value)
    if number is None:
        raise UpdateError(
            f"{name} takes a whole number, not {type_name(value)} {value!r:.40}", path=f"{where}.{name}", code=2
        )
    return number


def _sorter(scope: Scope, spec: Any, where: str) -> Callable[[list[Any]], None]:
    """Return what sorts an array in place: by 1 or -1 the elements themselves, by a document their fields."""
    if isinstance(spec, Mapping):
        if not spec:
            raise UpdateError("$sort names at least one field", path=where, code=2)
        keys = [(_sort_path(name, where), _direction(scope, way, f"{where}.{name}")) for name, way in spec.items()]
    else:
        keys = [((), _direction(scope, spec, where))]

    def key(item: Any) -> tuple[bytes, ...]:
        parts = [scope.key(read(item, path)) for path, _ in keys]
        return tuple([part if way > 0 else invert(part) for part, (_, way) in zip(parts, keys, strict=True)])

    return lambda array: array.sort(key=key)


def _sort_path(name: Any, where: str) -> tuple[str, ...]:
    parts = tuple(name.split(".")) if isinstance(name, str) else ("",)
    if "" in parts:
        raise UpdateError("a field of $sort may not be empty", path=where, code=2)
    return parts


def _direction(scope: Scope, value: Any, where: str) -> int:
    way = integral(scope.canonical(value, where))
    if way not in (1, -1):
        raise UpdateError("a sort direction is 1 or -1", path=where, code=2)
    return way


def _add_to_set(scope: Scope, path: str, operand: Any, where: str) -> Leaf:
    if not isinstance(operand, Mapping) or next(iter(operand), None) != "$each":
        return AddToSet(path, scope, [scope.canonical(operand, where)])
    items = scope.canonical(operand["$each"], f"{where}.$each")
    if items.__class__ is not list:
        raise UpdateError(f"$each takes an array, not {type_name(items)}", path=f"{where}.$each", code=14)
    if len(operand) > 1:
        raise UpdateError("$addToSet takes nothing besides $each", path=where, code=2)
    return AddToSet(path, scope, items)


def _pop(scope: Scope, path: str, operand: Any, where: str) -> Leaf:
    end = integral(scope.canonical(operand, where))
    if end not in (1, -1):
        raise UpdateError("$pop takes 1 (last) or -1 (first)", path=where, code=9)
    return Pop(path, end == -1)


def _pull(scope: Scope, path: str, operand: Any, where: str) -> Leaf:
    if not isinstance(operand, Mapping):
        value = scope.canonical(operand, where)
        if type(value) is Regex:
            return Cull(path, "$pull", _element_test(scope, value))
        return Cull(path, "$pull", _equals_one_of(scope, [value]))
    if is_operator_document(operand) and next(iter(operand)) not in ("$and", "$nor", "$or"):
        return Cull(path, "$pull", _element_test(scope, operand))
    test = matcher(parse(operand, collation=scope.collation, let=scope.let, naive_utc=scope.naive_utc, near=False))
    return Cull(path, "$pull", lambda item: item.__class__ is dict and test(item))


def _element_test(scope: Scope, condition: Any) -> Callable[[Any], bool]:
    filter = {"element": condition}
    test = matcher(parse(filter, collation=scope.collation, let=scope.let, naive_utc=scope.naive_utc, near=False))
    return lambda item: test({"element": item})


def _pull_all(scope: Scope, path: str, operand: Any, where: str) -> Leaf:
    items = scope.canonical(operand, where)
    if items.__class__ is not list:
        raise UpdateError(f"$pullAll takes an array, not {type_name(items)}", path=where, code=2)
    return Cull(path, "$pullAll", _equals_one_of(scope, items))


def _equals_one_of(scope: Scope, items: list[Any]) -> Callable[[Any], bool]:
    wanted = {scope.key(item) for item in items}
    return lambda item: scope.key(item) in wanted


ARRAY_OPERATORS: Final[dict[str, Maker]] = {
    "$addToSet": _add_to_set,
    "$pop": _pop,
    "$pull": _pull,
    "$pullAll": _pull_all,
    "$push": _push,
}
