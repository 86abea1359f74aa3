"""Conditions that combine: what ``command`` builds, and how they become filter documents.

What lives here: ``QueryCommand`` (a condition on one field; itself a plain operator document), ``LogicCommand`` (and,
or, not, nor of conditions) and the two ways of writing them down: ``encode_where`` (native: nested plain objects mean
dotted paths) and ``encode_find`` (MongoDB: they mean equality). What it must not know: how a filter is parsed or
judged, sessions, collections.

Logic on a field is kept as a condition of its own: two fields with an ``or_`` each stay two conditions that must both
hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from docdb.errors import QueryError

__all__ = ["Combining", "LogicCommand", "QueryCommand", "encode_element", "encode_find", "encode_where", "operands_of"]

_LOGIC: Final = frozenset({"$and", "$nor", "$or"})


class Combining:
    """The ways to combine that every condition has; the operators ``& | ~`` say the same."""

    __slots__ = ()

    def and_(self, *others: Any) -> QueryCommand | LogicCommand:
        """Return the condition that this and the others all hold."""
        parts = (self, *operands_of(others, "and_"))
        return _merged(parts) or LogicCommand("$and", parts)

    def or_(self, *others: Any) -> LogicCommand:
        """Return the condition that this or one of the others holds."""
        return LogicCommand("$or", (self, *operands_of(others, "or_")))

    def nor_(self, *others: Any) -> LogicCommand:
        """Return the condition that neither this nor one of the others holds."""
        return LogicCommand("$nor", (self, *operands_of(others, "nor_")))

    def not_(self) -> LogicCommand:
        """Return the condition that this does not hold."""
        return LogicCommand("$nor", (self,))

    def __and__(self, other: Any) -> QueryCommand | LogicCommand:
        return self.and_(other)

    def __or__(self, other: Any) -> LogicCommand:
        return self.or_(other)

    def __invert__(self) -> LogicCommand:
        return self.not_()

    def eq(self, value: Any) -> QueryCommand | LogicCommand:
        """Return this and ``equal to value``."""
        return self.and_(QueryCommand("$eq", value))

    def neq(self, value: Any) -> QueryCommand | LogicCommand:
        """Return this and ``not equal to value``."""
        return self.and_(QueryCommand("$ne", value))

    def gt(self, value: Any) -> QueryCommand | LogicCommand:
        """Return this and ``greater than value``."""
        return self.and_(QueryCommand("$gt", value))

    def gte(self, value: Any) -> QueryCommand | LogicCommand:
        """Return this and ``at least value``."""
        return self.and_(QueryCommand("$gte", value))

    def lt(self, value: Any) -> QueryCommand | LogicCommand:
        """Return this and ``less than value``."""
        return self.and_(QueryCommand("$lt", value))

    def lte(self, value: Any) -> QueryCommand | LogicCommand:
        """Return this and ``at most value``."""
        return self.and_(QueryCommand("$lte", value))

    def in_(self, values: Any) -> QueryCommand | LogicCommand:
        """Return this and ``one of the values``."""
        return self.and_(QueryCommand("$in", list(values)))

    def nin(self, values: Any) -> QueryCommand | LogicCommand:
        """Return this and ``none of the values``."""
        return self.and_(QueryCommand("$nin", list(values)))


class QueryCommand(Combining, dict[str, Any]):  # type: ignore[misc]  # | combines here, it does not merge
    """A condition on one field: a plain operator document, usable wherever one is, that also combines.

    >>> QueryCommand("$gt", 20).and_(QueryCommand("$lt", 30)) == {"$gt": 20, "$lt": 30}
    True
    """

    __slots__ = ()

    def __init__(self, operator: str, operand: Any, **more: Any) -> None:
        super().__init__({operator: operand})
        self.update(more)

    def __repr__(self) -> str:
        return dict.__repr__(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (dict(self),)


class LogicCommand(Combining):
    """Conditions under one logical operator; of whole documents at the top, of one field's value below its name."""

    __slots__ = ("operands", "operator")

    def __init__(self, operator: str, operands: tuple[Any, ...]) -> None:
        self.operator = operator
        self.operands = operands

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LogicCommand):
            return self.operator == other.operator and self.operands == other.operands
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # operands are documents

    def __repr__(self) -> str:
        return f"{{{self.operator!r}: {list(self.operands)!r}}}"


def encode_where(condition: Any) -> dict[str, Any]:
    """Return the filter document of a native condition: nested plain objects become dotted paths.

    >>> encode_where({"a": {"b": 1}, "c": {}, "d": QueryCommand("$gt", 2)})
    {'a.b': 1, 'c': {'$eq': {}}, 'd': {'$gt': 2}}
    """
    try:
        return _encode(condition, "", True)
    except RecursionError:
        raise _too_deep() from None


def encode_find(condition: Any) -> Any:
    """Return a filter in MongoDB's sense with the logic commands in it written out; one without any comes back as it is."""
    try:
        return _encode(condition, "", False) if _holds_logic(condition) else condition
    except RecursionError:
        raise _too_deep() from None


def encode_element(condition: Any, *, flatten: bool = True) -> Any:
    """Return the operand of ``$elemMatch`` or ``$pull``: a condition on documents, or on bare values."""
    try:
        if isinstance(condition, LogicCommand):
            if any(
                isinstance(part, QueryCommand | LogicCommand) and not _is_whole(part) for part in condition.operands
            ):
                return _bare(condition)
            return _encode(condition, "", flatten)
        if isinstance(condition, QueryCommand) or not isinstance(condition, Mapping) or _is_operators(condition):
            return condition
        return _encode(condition, "", flatten)
    except RecursionError:
        raise _too_deep() from None


def _too_deep() -> QueryError:
    return QueryError("the condition is nested too deep")


def _encode(condition: Any, path: str, flatten: bool) -> dict[str, Any]:
    """Return the condition on the document (empty path) or on the value at the path."""
    clauses: dict[str, Any] = {}
    separate: list[dict[str, Any]] = []
    if path:
        _field(path, condition, flatten, clauses, separate)
    else:
        _document(condition, flatten, clauses, separate)
    if not separate:
        return clauses
    if not clauses and len(separate) == 1:
        return separate[0]
    return {"$and": ([clauses] if clauses else []) + separate}


def _document(condition: Any, flatten: bool, clauses: dict[str, Any], separate: list[dict[str, Any]]) -> None:
    if isinstance(condition, LogicCommand):
        separate.append(_logic(condition, "", flatten))
        return
    if not isinstance(condition, Mapping):
        raise QueryError(f"a condition is a document or a command, not {type(condition).__name__}", code=14)
    if isinstance(condition, QueryCommand) and not _is_whole(condition):
        raise QueryError("this command needs the name of a field", hint=f"{{'field': {condition!r}}}")
    for name, value in condition.items():
        if not isinstance(name, str):
            raise QueryError(f"a field name is text, not {type(name).__name__}")
        if name in _LOGIC and isinstance(value, list | tuple):
            clauses[name] = [_encode(part, "", flatten) for part in value]
        elif name.startswith("$"):
            clauses[name] = value
        else:
            _field(name, value, flatten, clauses, separate)


def _field(path: str, value: Any, flatten: bool, clauses: dict[str, Any], separate: list[dict[str, Any]]) -> None:
    if isinstance(value, LogicCommand):
        separate.append(_logic(value, path, flatten))
    elif flatten and isinstance(value, Mapping) and not _is_operators(value):
        if not value:
            _put(path, {"$eq": {}}, clauses, separate)
        for name, item in value.items():
            if not isinstance(name, str):
                raise QueryError(f"a field name is text, not {type(name).__name__}", path=path)
            _field(f"{path}.{name}", item, flatten, clauses, separate)
    else:
        _put(path, _operators(path, value) if isinstance(value, Mapping) else value, clauses, separate)


def _put(path: str, value: Any, clauses: dict[str, Any], separate: list[dict[str, Any]]) -> None:
    """Add a condition; a second one on the same path stands beside the first instead of replacing it."""
    if path in clauses:
        separate.append({path: value})
    else:
        clauses[path] = value


def _operators(path: str, value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write out logic commands inside ``$elemMatch``; elsewhere below an operator they have no meaning."""
    if not _holds_logic(value):
        return value
    if "$elemMatch" in value and not _holds_logic({**value, "$elemMatch": None}):
        return {**value, "$elemMatch": encode_element(value["$elemMatch"], flatten=False)}
    raise QueryError(
        "logic between conditions does not go inside an operator", path=path, hint="combine the whole conditions"
    )


def _logic(logic: LogicCommand, path: str, flatten: bool) -> dict[str, Any]:
    return {logic.operator: [_encode(part, path, flatten) for part in logic.operands]}


def _bare(logic: LogicCommand) -> dict[str, Any]:
    """Return logic over bare values as one operator document, where MongoDB's language can say it."""
    if logic.operator == "$and":
        parts = [_bare(part) if isinstance(part, LogicCommand) else part for part in logic.operands]
        merged: dict[str, Any] = {}
        for part in parts:
            if merged.keys() & part.keys():
                break
            merged.update(part)
        else:
            return merged
    if logic.operator == "$nor" and len(logic.operands) == 1:
        part = logic.operands[0]
        return {"$not": _bare(part) if isinstance(part, LogicCommand) else part}
    raise QueryError(
        f"{logic.operator} of bare values cannot be said inside one element", hint="combine two elem_match() with or_()"
    )


def _is_operators(value: Mapping[str, Any]) -> bool:
    """Tell whether a mapping is an operator document; one that mixes operators and names is neither and goes to the parser as it is."""
    return any(isinstance(name, str) and name.startswith("$") for name in value)


def _is_whole(value: Any) -> bool:
    """Tell whether a command is about whole documents ($expr, $jsonSchema, $text)."""
    return isinstance(value, QueryCommand) and next(iter(value), "") in _WHOLE


_WHOLE: Final = frozenset({"$expr", "$jsonSchema", "$text"})


def _holds_logic(value: Any) -> bool:
    if isinstance(value, LogicCommand):
        return True
    if isinstance(value, dict):
        for item in value.values():  # noqa: SIM110 - no generator: every find passes here
            if type(item) not in _PLAIN and _holds_logic(item):
                return True
        return False
    if isinstance(value, list | tuple):
        return any(_holds_logic(item) for item in value if type(item) not in _PLAIN)
    return False


_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


def operands_of(others: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """Return the operands of and_, or_, ...: given one by one or as a single list."""
    found = tuple(others[0]) if len(others) == 1 and isinstance(others[0], list | tuple) else others
    if not found:
        raise QueryError(f"{name}() needs at least one condition")
    return found


def _merged(parts: tuple[Any, ...]) -> QueryCommand | None:
    """Return conditions on one field as one document when no operator stands twice."""
    if not all(isinstance(part, QueryCommand) for part in parts):
        return None
    names = [name for part in parts for name in part]
    if len(set(names)) < len(names) or any(name in _ALONE for name in names):
        return None
    return _restored({name: value for part in parts for name, value in part.items()})


# Operators that read their neighbours, or are not about a field.
_ALONE: Final = frozenset(
    {"$expr", "$geoWithin", "$geometry", "$jsonSchema", "$near", "$nearSphere", "$options", "$regex", "$text"}
)


def _restored(document: dict[str, Any]) -> QueryCommand:
    (name, value), *more = document.items()
    command = QueryCommand(name, value)
    command.update(more)
    return command
