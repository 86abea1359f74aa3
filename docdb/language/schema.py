"""$jsonSchema: MongoDB's subset of JSON Schema draft 4, compiled to a function of a document.

What lives here: ``compile_schema``. What it must not know: filters, collections, validation levels.

A keyword speaks only of values of its type: ``minLength`` is true of every number. ``bsonType`` takes the names of
``$type``, ``type`` those of JSON (without ``integer``). Documents in ``enum`` and ``uniqueItems`` are equal whatever
the order of their fields. MongoDB's codes: 14 for an argument of the wrong type, 9 for one of the wrong value and for
a keyword that is unknown or not supported, 2 for a bad type name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any, Final

from docdb.errors import DocdbError, QueryError
from docdb.language.linear_patterns import compile_linear, is_linear_only
from docdb.language.matching import compile_pattern
from docdb.language.order import order_key
from docdb.language.values import INT64_MAX, TYPE_NAMES, is_number, type_name

__all__ = ["KEYWORDS", "CompiledSchema", "compile_schema"]

Check = Callable[[Any], bool]
_JSON_TYPES: Final[dict[str, tuple[str, ...]]] = {
    "array": ("array",),
    "boolean": ("bool",),
    "null": ("null",),
    "number": ("int", "long", "double", "decimal"),
    "object": ("object",),
    "string": ("string",),
}
_BSON_TYPES: Final[dict[str, tuple[str, ...]]] = {
    "number": _JSON_TYPES["number"],
    **{name: (name,) for name in TYPE_NAMES},
}
_UNSUPPORTED: Final = frozenset(
    {"$ref", "$schema", "default", "definitions", "encrypt", "encryptMetadata", "format", "id"}
)
_WIDE: Final = Context(prec=7000, Emin=-999999, Emax=999999)


class CompiledSchema:
    """A schema as a predicate; equal to another one of the same specification."""

    __slots__ = ("_check", "key", "spec")

    def __init__(self, spec: dict[str, Any], check: Check) -> None:
        self.spec = spec
        self.key = order_key(spec)
        self._check = check

    def __call__(self, document: Any) -> bool:
        return self._check(document)

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, CompiledSchema) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"CompiledSchema({self.spec!r})"


def compile_schema(spec: Any, *, path: str = "$jsonSchema") -> CompiledSchema:
    """Return the predicate of a schema (canonical values); raise QueryError with the path of the mistake.

    >>> compile_schema({"required": ["name"]})({"name": "Ann"})
    True
    """
    if not isinstance(spec, dict):
        raise QueryError("$jsonSchema needs a document", path=path, code=14)
    return CompiledSchema(spec, _schema(spec, path))


def _schema(spec: Any, path: str) -> Check:
    _expect(isinstance(spec, dict), "a schema is a document", path)
    for keyword in spec:
        if keyword not in KEYWORDS:
            raise _unknown(keyword, f"{path}.{keyword}")
    if "type" in spec and "bsonType" in spec:
        raise QueryError("a schema has either type or bsonType", path=path, code=9)
    checks = []
    for keyword, argument in spec.items():
        check = KEYWORDS[keyword](spec, argument, f"{path}.{keyword}")
        if check is not None:
            checks.append(check)
    return _every(checks)


def _every(checks: list[Check]) -> Check:
    if len(checks) == 1:
        return checks[0]
    return lambda value: all(check(value) for check in checks)


def _unknown(keyword: str, path: str) -> QueryError:
    if keyword in _UNSUPPORTED:
        return QueryError(f"the keyword {keyword} is not supported", path=path, code=9)
    near = difflib.get_close_matches(keyword, list(KEYWORDS), n=1)
    hint = f"did you mean {near[0]}?" if near else None
    return QueryError(f"unknown keyword {keyword}", path=path, code=9, hint=hint)


def _expect(condition: bool, message: str, path: str) -> None:
    if not condition:
        raise QueryError(message, path=path, code=14)


def _allow(condition: bool, message: str, path: str, code: int = 9) -> None:
    if not condition:
        raise QueryError(message, path=path, code=code)


def _identity(value: Any) -> bytes:
    """Return bytes that are equal for values that are equal whatever the order of their fields."""
    return order_key(_sorted_fields(value))


def _sorted_fields(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted_fields(value[name]) for name in sorted(value)}
    return [_sorted_fields(item) for item in value] if isinstance(value, list) else value


def _names(argument: Any, path: str) -> list[str]:
    _expect(isinstance(argument, list), "needs an array of names", path)
    _allow(len(argument) > 0, "needs at least one name", path)
    _expect(all(isinstance(name, str) for name in argument), "names are text", path)
    _allow(len(set(argument)) == len(argument), "a name stands twice", path)
    return list(argument)


# Any value


def _types(table: dict[str, tuple[str, ...]]) -> Callable[[Any, Any, str], Check]:
    def keyword(spec: Any, argument: Any, path: str) -> Check:
        wanted = argument if isinstance(argument, list) else [argument]
        _expect(all(isinstance(name, str) for name in wanted), "a type is a name", path)
        _allow(len(wanted) > 0, "needs at least one type", path)
        _allow(len(set(wanted)) == len(wanted), "a type stands twice", path, code=2)
        names: set[str] = set()
        for name in wanted:
            _allow(name != "integer", "the type integer is not supported", path)
            _allow(name in table, f"unknown type name {name}", path, code=2)
            names.update(table[name])
        return lambda value: type_name(value) in names

    return keyword


def _enum(spec: Any, argument: Any, path: str) -> Check:
    _expect(isinstance(argument, list), "enum needs an array", path)
    _allow(len(argument) > 0, "enum needs at least one value", path)
    allowed = {_identity(item) for item in argument}
    _allow(len(allowed) == len(argument), "a value stands twice", path)
    return lambda value: _identity(value) in allowed


def _branches(argument: Any, path: str) -> list[Check]:
    _expect(isinstance(argument, list), "needs an array of schemas", path)
    _allow(len(argument) > 0, "needs at least one schema", path, code=2)
    return [_schema(item, f"{path}.{i}") for i, item in enumerate(argument)]


def _all_of(spec: Any, argument: Any, path: str) -> Check:
    return _every(_branches(argument, path))


def _any_of(spec: Any, argument: Any, path: str) -> Check:
    checks = _branches(argument, path)
    return lambda value: any(check(value) for check in checks)


def _one_of(spec: Any, argument: Any, path: str) -> Check:
    checks = _branches(argument, path)
    return lambda value: sum(check(value) for check in checks) == 1


def _not(spec: Any, argument: Any, path: str) -> Check:
    check = _schema(argument, path)
    return lambda value: not check(value)


def _text_only(spec: Any, argument: Any, path: str) -> None:
    _expect(isinstance(argument, str), "needs text", path)


# Numbers


def _bound(exclusive: str, below: bool) -> Callable[[Any, Any, str], Check]:
    def keyword(spec: Any, argument: Any, path: str) -> Check:
        _expect(is_number(argument), "needs a number", path)
        strict = spec.get(exclusive, False) is True

        def check(value: Any) -> bool:
            if not is_number(value):
                return True
            if value != value or argument != argument:
                return value != value and argument != argument and not strict
            if value == argument:
                return not strict
            return bool(value < argument) if below else bool(value > argument)

        return check

    return keyword


def _exclusive(companion: str) -> Callable[[Any, Any, str], None]:
    def keyword(spec: Any, argument: Any, path: str) -> None:
        _expect(isinstance(argument, bool), "needs true or false", path)
        _allow(companion in spec, f"needs {companion} beside it", path)

    return keyword


def _exact(value: Any) -> Decimal:
    # A double counts with the 15 digits it shows, as MongoDB's conversion to decimal does: 0.3 is a multiple of 0.1.
    return Decimal(f"{value:.15g}") if isinstance(value, float) else Decimal(value)


def _multiple_of(spec: Any, argument: Any, path: str) -> Check:
    _expect(is_number(argument), "needs a number", path)
    _allow(argument == argument and argument > 0, "needs a number above 0", path)
    divisor = _exact(argument)

    def check(value: Any) -> bool:
        if not is_number(value):
            return True
        number = _exact(value)
        if not number.is_finite():
            return False
        return divisor.is_infinite() or _WIDE.remainder(number, divisor) == 0

    return check


# Sizes: text, arrays, objects


def _limit(kind: type, at_most: bool) -> Callable[[Any, Any, str], Check]:
    def keyword(spec: Any, argument: Any, path: str) -> Check:
        whole = is_number(argument) and 0 <= argument <= INT64_MAX and argument == int(argument)
        _allow(whole, "needs a whole number, 0 or more", path)
        limit = int(argument)
        if at_most:
            return lambda value: not isinstance(value, kind) or len(value) <= limit  # type: ignore[arg-type]
        return lambda value: not isinstance(value, kind) or len(value) >= limit  # type: ignore[arg-type]

    return keyword


def _pattern(spec: Any, argument: Any, path: str) -> Check:
    _expect(isinstance(argument, str), "needs text", path)
    search = _compiled(argument, path, None)
    return lambda value: not isinstance(value, str) or search(value) is not None


def _compiled(pattern: str, path: str, code: int | None) -> Callable[[str], Any]:
    try:
        return (compile_linear(pattern) if is_linear_only() else compile_pattern(pattern, "")).search
    except DocdbError as error:
        raise QueryError(error.message, path=path, code=code or error.code) from error


# Arrays


def _unique_items(spec: Any, argument: Any, path: str) -> Check | None:
    _expect(isinstance(argument, bool), "needs true or false", path)
    if not argument:
        return None
    return lambda value: not isinstance(value, list) or len({_identity(item) for item in value}) == len(value)


def _items(spec: Any, argument: Any, path: str) -> Check:
    _expect(isinstance(argument, dict | list), "needs a schema or an array of schemas", path)
    if isinstance(argument, dict):
        each = _schema(argument, path)
        return lambda value: not isinstance(value, list) or all(each(item) for item in value)
    checks = [_schema(item, f"{path}.{i}") for i, item in enumerate(argument)]
    return lambda value: (
        not isinstance(value, list) or all(check(item) for check, item in zip(checks, value, strict=False))
    )


def _additional_items(spec: Any, argument: Any, path: str) -> Check | None:
    rest = _additional(argument, path)
    placed = spec.get("items")
    if rest is None or not isinstance(placed, list):
        return None
    count = len(placed)
    return lambda value: not isinstance(value, list) or all(rest(item) for item in value[count:])


def _additional(argument: Any, path: str) -> Check | None:
    """Return the check of what is additional: None when all is allowed."""
    _expect(isinstance(argument, bool | dict), "needs true, false or a schema", path)
    if isinstance(argument, dict):
        return _schema(argument, path)
    return None if argument else lambda value: False


# Objects


def _required(spec: Any, argument: Any, path: str) -> Check:
    names = _names(argument, path)
    return lambda value: not isinstance(value, dict) or all(name in value for name in names)


def _properties(spec: Any, argument: Any, path: str) -> Check:
    _expect(isinstance(argument, dict), "needs a document of schemas", path)
    checks = [(name, _schema(item, f"{path}.{name}")) for name, item in argument.items()]

    def check(value: Any) -> bool:
        return not isinstance(value, dict) or all(item(value[name]) for name, item in checks if name in value)

    return check


def _searches(argument: Any, path: str) -> list[Callable[[str], Any]]:
    _expect(isinstance(argument, dict), "needs a document of schemas", path)
    return [_compiled(pattern, f"{path}.{pattern}", 2) for pattern in argument]


def _pattern_properties(spec: Any, argument: Any, path: str) -> Check:
    searches = _searches(argument, path)
    schemas = [_schema(item, f"{path}.{pattern}") for pattern, item in argument.items()]
    checks = list(zip(searches, schemas, strict=True))

    def check(value: Any) -> bool:
        if not isinstance(value, dict):
            return True
        return all(item(found) for name, found in value.items() for search, item in checks if search(name))

    return check


def _additional_properties(spec: Any, argument: Any, path: str) -> Check | None:
    rest = _additional(argument, path)
    if rest is None:
        return None
    named = frozenset(spec["properties"]) if isinstance(spec.get("properties"), dict) else frozenset()
    searches = _searches(spec["patternProperties"], path) if "patternProperties" in spec else []

    def check(value: Any) -> bool:
        if not isinstance(value, dict):
            return True
        more = (name for name in value if name not in named and not any(search(name) for search in searches))
        return all(rest(value[name]) for name in more)

    return check


def _dependencies(spec: Any, argument: Any, path: str) -> Check:
    _expect(isinstance(argument, dict), "needs a document", path)
    checks = [(name, _dependency(item, f"{path}.{name}")) for name, item in argument.items()]

    def check(value: Any) -> bool:
        return not isinstance(value, dict) or all(item(value) for name, item in checks if name in value)

    return check


def _dependency(argument: Any, path: str) -> Check:
    _expect(isinstance(argument, dict | list), "needs an array of names or a schema", path)
    if isinstance(argument, dict):
        return _schema(argument, path)
    names = _names(argument, path)
    return lambda value: all(name in value for name in names)


KEYWORDS: Final[dict[str, Callable[[Any, Any, str], Check | None]]] = {
    "additionalItems": _additional_items,
    "additionalProperties": _additional_properties,
    "allOf": _all_of,
    "anyOf": _any_of,
    "bsonType": _types(_BSON_TYPES),
    "dependencies": _dependencies,
    "description": _text_only,
    "enum": _enum,
    "exclusiveMaximum": _exclusive("maximum"),
    "exclusiveMinimum": _exclusive("minimum"),
    "items": _items,
    "maxItems": _limit(list, at_most=True),
    "maxLength": _limit(str, at_most=True),
    "maxProperties": _limit(dict, at_most=True),
    "maximum": _bound("exclusiveMaximum", below=True),
    "minItems": _limit(list, at_most=False),
    "minLength": _limit(str, at_most=False),
    "minProperties": _limit(dict, at_most=False),
    "minimum": _bound("exclusiveMinimum", below=False),
    "multipleOf": _multiple_of,
    "not": _not,
    "oneOf": _one_of,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "properties": _properties,
    "required": _required,
    "title": _text_only,
    "type": _types(_JSON_TYPES),
    "uniqueItems": _unique_items,
}
