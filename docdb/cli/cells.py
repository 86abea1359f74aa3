"""Values as text in a cell of a table or a CSV file, and back.

What lives here: ``cell``, ``flattened``, ``guess`` and ``nested``. What it must not know: files, tables, databases.

    text           as it is                   number, true, false   as in JSON
    null           empty                      date                  ISO 8601 in UTC
    ObjectId       24 hexadecimal digits      Decimal, UUID         as they print
    array, empty object, anything else        Extended JSON
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import docdb

__all__ = ["ABSENT", "cell", "flattened", "guess", "nested", "reach"]

ABSENT: Final = object()
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)", re.ASCII)
_WORDS: Final = {"": ABSENT, "false": False, "null": None, "true": True}
_PLAIN: Final = (Decimal, docdb.ObjectId, uuid.UUID)


def cell(value: Any) -> str:
    """Return the text of a value.

    >>> cell({"a": [1]}), cell(True), cell(None), cell("x")
    ('{"a": [1]}', 'true', '', 'x')
    """
    if isinstance(value, str):
        return value
    if value is None or value is ABSENT:
        return ""
    if isinstance(value, _PLAIN):
        return str(value)
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    return docdb.ejson.dumps(value)


def flattened(document: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the cells of a document by dotted path; objects are descended into, arrays are not.

    >>> flattened({"a": {"b": 1, "c": []}})
    {'a.b': '1', 'a.c': '[]'}
    """
    row: dict[str, str] = {}
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            row.update(flattened(value, f"{prefix}{name}."))
        else:
            row[f"{prefix}{name}"] = cell(value)
    return row


def reach(document: Any, path: str) -> Any:
    """Return the value at a dotted path through objects, or ABSENT."""
    for name in path.split("."):
        if not isinstance(document, Mapping) or name not in document:
            return ABSENT
        document = document[name]
    return document


def nested(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return a document from dotted paths; what is ABSENT is left out. Raises ValueError where a path runs through a value.

    >>> nested([("a.b", 1), ("a.c", 2)])
    {'a': {'b': 1, 'c': 2}}
    """
    document: dict[str, Any] = {}
    for path, value in pairs:
        if value is ABSENT:
            continue
        *parents, last = path.split(".")
        place: Any = document
        for name in parents:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise ValueError(f"the column {path!r} runs through the value of {name!r}")
        if last in place:
            raise ValueError(f"the column {path!r} stands in the way of another")
        place[last] = value
    return document


def guess(text: str) -> Any:
    """Return the value a cell most likely means: number, true, false, null, date, array or object; ABSENT for an empty cell.

    Numbers with a leading zero or beyond 64 bits, and whatever else is not certain, stay text.

    >>> guess("12"), guess("1.5"), guess("007"), guess("true"), guess("[1]")
    (12, 1.5, '007', True, [1])
    """
    if text in _WORDS:
        return _WORDS[text]
    number = _NUMBER.fullmatch(text)
    if number is not None:
        return _number(text, whole=number[1] is None and number[2] is None)
    try:
        if _DATE.fullmatch(text):
            return docdb.ejson.decode({"$date": text})
        if text[0] in "[{":
            return docdb.ejson.loads(text)
    except docdb.DocumentError:
        return text
    return text


def _number(text: str, *, whole: bool) -> Any:
    if not whole:
        value = float(text)
        return value if value - value == 0 else text
    fits = len(text) < 20 and -(2**63) <= int(text) < 2**63 and text != "-0"
    return int(text) if fits else text
