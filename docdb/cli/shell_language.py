"""The shell's little language: calls on collections, and values.

What lives here: ``Evaluator``. What it must not know: terminals, output.

    users.find({age: {$gt: 3}}).sort({age: -1}).limit(3)
    db["my collection"].insertOne({_id: ObjectId("64b7f0c2a1b2c3d4e5f60718"), when: ISODate("2024-01-02T03:04:05Z")})

Python's own parser reads a line; only the forms below are understood, whatever else stands there is refused with its column.
Nothing is ever executed as Python:
names are looked up in the tables of this file, methods are called only when the table of their object lists them.

    line       collection.method(...).method(...)...   or db.method(...)
    value      text, numbers, lists, objects (names may stand without quotes, operators too), true, false, null, constructors such as ObjectId("...")
    argument   a value, or name=value; an object behind the last place a method has gives options: updateOne(f, u, {upsert: true})
"""

from __future__ import annotations

import ast
import inspect
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any, Final

import docdb

__all__ = ["CONSTRUCTORS", "METHODS", "Evaluator", "ShellError", "is_complete", "snake"]

Database = docdb.Database


class ShellError(Exception):
    """A line that cannot be understood; ``column`` says where in which ``line`` of the text, both counted from 1."""

    def __init__(self, message: str, column: int | None = None, hint: str | None = None, line: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.column = column
        self.line = line
        self.hint = hint

    def __str__(self) -> str:
        where = f"column {self.column}: " if self.column is not None else ""
        return f"{where}{self.message}{f' ({self.hint})' if self.hint else ''}"


def _oid(text: str | None = None) -> Any:
    return docdb.ObjectId() if text is None else docdb.ObjectId(text)


def _date(text: str | int) -> Any:
    short = isinstance(text, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", text)
    return docdb.ejson.decode({"$date": f"{text}T00:00:00Z" if short else text})


CONSTRUCTORS: Final[dict[str, Callable[..., Any]]] = {
    "BinData": lambda subtype, text: docdb.ejson.decode({"$binary": {"base64": text, "subType": f"{subtype:02x}"}}),
    "Date": _date,
    "Decimal": Decimal,
    "ISODate": _date,
    "Int64": docdb.Int64,
    "MaxKey": docdb.MaxKey,
    "MinKey": docdb.MinKey,
    "NumberDecimal": lambda text: Decimal(str(text)),
    "NumberInt": int,
    "NumberLong": lambda number: docdb.Int64(int(number)),
    "ObjectId": _oid,
    "Regex": docdb.Regex,
    "Timestamp": docdb.Timestamp,
    "UUID": uuid.UUID,
}
NAMES: Final = {
    "False": False, "Infinity": float("inf"), "NaN": float("nan"), "None": None, "True": True, "false": False, "null": None, "true": True,
}  # fmt: skip

# Methods by the class of the object, and how many places each has before an object of options.
_READS: Final = {"count_documents": 1, "distinct": 2, "estimated_document_count": 0, "find": 2, "find_one": 2}
_WRITES: Final = {
    "bulk_write": 1, "delete_many": 1, "delete_one": 1, "find_one_and_delete": 1, "find_one_and_replace": 2, "find_one_and_update": 2,
    "insert_many": 1, "insert_one": 1, "replace_one": 2, "update_many": 2, "update_one": 2,
}  # fmt: skip
_ADMINISTRATION: Final = {
    "create_index": 1, "drop": 0, "drop_index": 1, "drop_indexes": 0, "index_information": 0, "index_stats": 0, "list_indexes": 0, "options": 0,
    "rename": 1,
}  # fmt: skip
_NATIVE: Final = {"add": 1, "aggregate": 1, "count": 0, "doc": 1, "limit": 1, "order_by": 2, "skip": 1, "where": 1}
METHODS: Final[dict[str, dict[str, int]]] = {
    "AggregateCursor": {"to_list": 1},
    "Collection": _READS | _WRITES | _ADMINISTRATION | _NATIVE,
    "CommandCursor": {"to_list": 1},
    "Cursor": {
        "collation": 1, "comment": 1, "distinct": 1, "explain": 1, "hint": 1, "limit": 1, "max": 1, "max_time_ms": 1, "min": 1, "skip": 1,
        "sort": 2, "to_list": 1,
    },
    "Database": {
        "aggregate": 1, "check": 0, "create_collection": 1, "drop_collection": 1, "list_collection_names": 0, "stats": 0,
    },
    "DocumentReference": {"field": 1, "get": 0, "remove": 0, "set": 1, "update": 1},
    "Query": {
        "collation": 1, "count": 0, "distinct": 1, "explain": 1, "field": 1, "first": 0, "get": 0, "hint": 1, "limit": 1, "max_time_ms": 1,
        "order_by": 2, "remove": 0, "skip": 1, "update": 1, "update_and_return": 1, "where": 1,
    },
}  # fmt: skip
_SPELLINGS: Final = {
    "to_array": "to_list",
    "get_indexes": "list_indexes",
    "get_collection_names": "list_collection_names",
}
_TOKEN: Final = re.compile(
    r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(\$\w+(?:\.\w+)*)|([\[({])|([\])}])|(\#)""", re.DOTALL
)


def snake(name: str) -> str:
    """Return a method's name as docdb spells it.

    >>> snake("insertOne"), snake("toArray"), snake("find_one")
    ('insert_one', 'to_list', 'find_one')
    """
    spelled = re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: f"_{found[1].lower()}", name)
    return _SPELLINGS.get(spelled, spelled)


def is_complete(text: str) -> bool:
    """Tell whether every bracket that was opened is closed, so that the line can be carried out.

    >>> is_complete("users.find({"), is_complete("users.find({})")
    (False, True)
    """
    depth = 0
    for found in _TOKEN.finditer(text):
        depth += bool(found[3]) - bool(found[4])
    return depth <= 0


class Evaluator:
    """Carries out lines on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, line: str) -> Any:
        """Return what a line answers: a cursor, a result, a value. Raises ShellError and DocdbError."""
        line = line.strip().rstrip(";")
        try:
            return self._run(_quoted(line))
        except ShellError as error:
            if error.column is not None:
                error.column = _column_of(line.splitlines()[error.line - 1], error.column)
            raise

    def _run(self, text: str) -> Any:
        try:
            tree = ast.parse(text, mode="eval")
        except SyntaxError as error:
            raise ShellError(f"not understood: {error.msg}", error.offset or 1, line=error.lineno or 1) from error
        except (RecursionError, MemoryError, ValueError) as error:
            raise ShellError(f"not understood: {error}") from error
        calls, names = _chain(tree.body)
        if not calls:
            raise ShellError("a line is a call such as users.find({...})", 1)
        target = self._root(names)
        for call in calls:
            target = _invoke(target, call)
        return target

    def _root(self, names: list[str]) -> Any:
        """Return what the first method is called on: the database for ``db.method``, else a collection."""
        if names == ["db"]:
            return self._database
        return self._database.collection(".".join(names[1:] if names[0] == "db" else names))


def _quoted(line: str) -> str:
    """Put quotes around operators that stand without."""
    return _TOKEN.sub(lambda found: f'"{found[2]}"' if found[2] else found[0], line)


def _column_of(line: str, column: int) -> int:
    """Return the column in the line as it was written of one in the line with quotes."""
    for found in _TOKEN.finditer(line):
        if found[2] and found.start() + 1 < column:
            column -= 1 + (found.end() + 2 < column)
    return column


def _chain(node: ast.expr) -> tuple[list[ast.Call], list[str]]:
    """Take a line apart: the calls from left to right, and the names in front of the first one's method."""
    calls: list[ast.Call] = []
    while isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Attribute):
            raise _wrong(node, "a method stands behind a collection and a dot")
        calls.append(node)
        node = node.func.value
    names: list[str] = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        names.append(node.attr if isinstance(node, ast.Attribute) else _subscript(node))
        node = node.value
    if not isinstance(node, ast.Name):
        raise _wrong(node, "a line begins with a collection", 'unusual names: db["my-collection"].find()')
    names.reverse()
    calls.reverse()
    return calls, [node.id, *names]


def _subscript(node: ast.Subscript) -> str:
    if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        return node.slice.value
    raise _wrong(node.slice, 'the name of a collection stands in quotes: db["my collection"]')


def _invoke(target: Any, call: ast.Call) -> Any:
    assert isinstance(call.func, ast.Attribute)  # _chain takes no other
    written = call.func.attr
    kind = type(target).__name__
    known = METHODS.get(kind)
    if known is None:
        raise _wrong(call, f"{written} cannot be called on what stands before it")
    name = snake(written)
    if name not in known:
        near = get_close_matches(name, known, 1)
        raise _wrong(call, f"a {kind} has no method {written}", f"did you mean {near[0]}?" if near else None)
    places = [value_of(argument) for argument in call.args]
    options = {_option(word): value_of(word.value) for word in call.keywords}
    if len(places) > known[name] and isinstance(places[known[name]], Mapping) and len(places) == known[name] + 1:
        options |= {snake(option): value for option, value in places.pop().items()}
    if name == "bulk_write" and places:
        places[0] = _requests(places[0])
    method = getattr(target, name)
    try:
        inspect.signature(method).bind(*places, **options)
    except TypeError as error:
        raise _wrong(call, f"{written}: {error}") from error
    return method(*places, **options)


def _option(word: ast.keyword) -> str:
    if word.arg is None:
        raise _wrong(word.value, "options stand one by one, or in an object at the end")
    return snake(word.arg)


_REQUESTS: Final[dict[str, tuple[type, Sequence[str]]]] = {
    "delete_many": (docdb.DeleteMany, ("filter",)),
    "delete_one": (docdb.DeleteOne, ("filter",)),
    "insert_one": (docdb.InsertOne, ("document",)),
    "replace_one": (docdb.ReplaceOne, ("filter", "replacement")),
    "update_many": (docdb.UpdateMany, ("filter", "update")),
    "update_one": (docdb.UpdateOne, ("filter", "update")),
}


def _requests(given: Any) -> list[Any]:
    """Return the requests of ``bulkWrite([{insertOne: {document: {...}}}, ...])``."""
    if not isinstance(given, list):
        raise ShellError("bulkWrite() takes a list of requests")
    return [_request(place, request) for place, request in enumerate(given)]


def _request(place: int, request: Any) -> Any:
    if isinstance(request, Mapping) and len(request) == 1:
        ((name, fields),) = request.items()
        kind, needed = _REQUESTS.get(snake(name), (None, ()))
        if kind is not None and isinstance(fields, Mapping):
            named = {snake(field): value for field, value in fields.items()}
            missing = [field for field in needed if field not in named]
            unknown = [field for field in named if field not in kind.__dataclass_fields__]  # type: ignore[attr-defined]
            if not missing and not unknown:
                return kind(**named)
    raise ShellError(f"request {place} is no request: one of {', '.join(_REQUESTS)} with its fields")


def value_of(node: ast.expr) -> Any:
    """Return the value a part of a line says. Raises ShellError for what is no value."""
    reader = _VALUES.get(type(node))
    if reader is None:
        raise _wrong(node, "this is no value")
    return reader(node)


def _constant(node: ast.Constant) -> Any:
    if node.value is Ellipsis or isinstance(node.value, complex | bytes):
        raise _wrong(node, "this is no value")
    return node.value


def _name(node: ast.Name) -> Any:
    if node.id not in NAMES:
        raise _wrong(node, f"{node.id} is no value", "text stands in quotes")
    return NAMES[node.id]


def _object(node: ast.Dict) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Name):
            name: Any = key.id
        elif isinstance(key, ast.Constant):
            name = key.value if isinstance(key.value, str) else str(key.value)
        else:
            raise _wrong(key or value, "a field name is text")
        if name in document:
            raise _wrong(key, f"the field {name!r} stands twice")
        document[name] = value_of(value)
    return document


def _signed(node: ast.UnaryOp) -> Any:
    value = value_of(node.operand)
    if not isinstance(node.op, ast.USub | ast.UAdd) or isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(node, "this is no value")
    return -value if isinstance(node.op, ast.USub) else value


def _constructed(node: ast.Call) -> Any:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    build = CONSTRUCTORS.get(name)
    if build is None or node.keywords:
        near = get_close_matches(name, CONSTRUCTORS, 1)
        raise _wrong(node, f"{name or 'this'} makes no value", f"did you mean {near[0]}?" if near else None)
    try:
        return build(*(value_of(argument) for argument in node.args))
    except (InvalidOperation, TypeError, ValueError) as error:
        raise _wrong(node, f"{name}: {error or 'wrong argument'}") from error


_VALUES: Final[dict[type, Callable[[Any], Any]]] = {
    ast.Call: _constructed,
    ast.Constant: _constant,
    ast.Dict: _object,
    ast.List: lambda node: [value_of(item) for item in node.elts],
    ast.Name: _name,
    ast.Tuple: lambda node: tuple(value_of(item) for item in node.elts),
    ast.UnaryOp: _signed,
}


def _wrong(node: ast.expr, message: str, hint: str | None = None) -> ShellError:
    return ShellError(message, node.col_offset + 1, hint, node.lineno)
