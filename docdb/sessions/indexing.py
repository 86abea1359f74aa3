"""Understanding index definitions.

What lives here: ``parse_keys`` and ``parse_index``: from what a user wrote to an ``IndexInfo`` without number, with MongoDB's names and
CloudBase's accepted side by side. What it must not know: how an index is built or used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final

from docdb.errors import IndexDefinitionError, NotSupportedError, QueryError
from docdb.language.collation import parse_collation
from docdb.language.filters import parse
from docdb.language.tree import And, Compare, Exists, In, Node, Not, Or, Path, TypeIs, walk
from docdb.language.values import canonical
from docdb.sessions.text_indexes import EVERY_FIELD, TEXT, TEXT_OPTIONS, expanded, text_options
from docdb.sessions.wildcards import check_wildcard, wildcard_projection
from docdb.store.catalog import CollectionInfo, IndexInfo
from docdb.store.wildcard_entries import WILDCARD

__all__ = ["default_name", "parse_index", "parse_keys", "same_definition"]

MOST_FIELDS: Final = 32
MOST_EXPIRE_S: Final = 2**31 - 1
# Kinds of index other than 1 and -1, by the release that brings them.
GEO_KINDS: Final = ("2d", "2dsphere")
OTHER_KINDS: Final = frozenset({"columnstore", "geoHaystack", "hashed", "wildcard"})
ALLOWED_IN_PARTIAL: Final = (And, Compare, Exists, In, Or, TypeIs)

Keys = tuple[tuple[Path, Any], ...]  # 1, -1, "text", or one of GEO_KINDS


def parse_keys(keys: Any) -> Keys:
    """Return (path parts, 1 or -1) of a name, a list of names or pairs, or a dict. Raises IndexDefinitionError, code 67."""
    if isinstance(keys, str):
        keys = [(keys, 1)]
    elif isinstance(keys, Mapping):
        keys = list(keys.items())
    elif isinstance(keys, Sequence) and not isinstance(keys, bytes):
        keys = [(item, 1) if isinstance(item, str) else item for item in keys]
    else:
        raise IndexDefinitionError(f"index keys are a name, a list of pairs or a dict, not {type(keys).__name__}")
    if not keys:
        raise IndexDefinitionError("an index needs at least one field")
    if len(keys) > MOST_FIELDS:
        raise IndexDefinitionError(f"an index has at most {MOST_FIELDS} fields, not {len(keys)}", code=13103)
    parsed = tuple(_parse_pair(pair) for pair in keys)
    names = [path for path, _ in parsed]
    for path in names:
        if names.count(path) > 1:
            raise IndexDefinitionError("the field stands twice in the index", path=".".join(path))
    return parsed


def _parse_pair(pair: Any) -> tuple[Path, Any]:
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2 or not isinstance(pair[0], str):
        raise IndexDefinitionError(f"an index field is (name, 1) or (name, -1), not {pair!r}")
    name, way = pair
    return _parse_path(name, way), _parse_direction(name, way)


def _parse_path(name: str, way: Any) -> Path:
    if way == TEXT and name == EVERY_FIELD:
        return (EVERY_FIELD,)
    if way in OTHER_KINDS:
        raise NotSupportedError(f"{way} indexes are not supported", path=name, code=67)
    parts = tuple(name.split("."))
    if not all(parts):
        raise IndexDefinitionError("an index path has no empty part", path=name)
    plain = parts[:-1] if parts[-1] == WILDCARD else parts
    if any(part.startswith("$") and part not in ("$id", "$ref", "$db") for part in plain):
        raise IndexDefinitionError("a part of an index path may not begin with $", path=name)
    if "\0" in name:
        raise IndexDefinitionError("an index path may not contain NUL", path=repr(name))
    return parts


def _parse_direction(name: str, way: Any) -> Any:
    if isinstance(way, str):
        if way in GEO_KINDS or way == TEXT:
            return way
        if way in ("asc", "desc"):
            return 1 if way == "asc" else -1
        raise IndexDefinitionError(f"unknown kind of index {way!r}", path=name, hint="the direction is 1 or -1")
    if isinstance(way, bool) or not isinstance(way, int | float | Decimal) or not way or math.isnan(way):
        raise IndexDefinitionError(f"the direction of an index field is 1 or -1, not {way!r}", path=name)
    return 1 if way > 0 else -1


def default_name(keys: Keys) -> str:
    """Return the name an index gets when none is given, ``city_1_age_-1``."""
    return "_".join(f"{'.'.join(path)}_{way}" for path, way in keys)


def parse_index(keys: Any, options: Mapping[str, Any], collection: CollectionInfo | None) -> IndexInfo:
    """Return the definition (number 0) of an index. Raises IndexDefinitionError that names the option."""
    parsed = parse_keys(expanded(keys, options))
    fields: dict[str, Any] = {}
    for name, value in options.items():
        entry = _OPTIONS.get(name)
        if entry is None:
            near = get_close_matches(name, _OPTIONS, 1)
            raise IndexDefinitionError(
                f"unknown index option {name!r}", path=name, hint=f"did you mean {near[0]}?" if near else None, code=197
            )
        target, convert = entry
        if target and value is not None:
            fields[target] = convert(name, value)
    if fields.pop("case_insensitive", False):
        fields.setdefault("collation", parse_collation({"locale": "en", "strength": 2}))
    if "collation" not in fields and "collation" not in options and collation_of(collection) is not None:
        fields["collation"] = collation_of(collection)
    fields.setdefault("name", default_name(parsed))
    geo: dict[str, Any] = {name: fields.pop(name) for name in _GEO_OPTIONS if name in fields}
    if any(way in GEO_KINDS for _, way in parsed):
        fields["geo"] = _check_geo(parsed, fields, geo)
    text: dict[str, Any] = {name: fields.pop(name) for name in TEXT_OPTIONS if name in fields}
    if any(way == TEXT for _, way in parsed):
        fields["text"] = text_options(parsed, fields, text)
    check_wildcard(parsed, fields)
    _check_together(parsed, fields)
    return IndexInfo(number=0, keys=parsed, **fields)


def collation_of(collection: CollectionInfo | None) -> Any:
    """Return the collation a collection hands to its indexes."""
    return collection.collation if collection is not None else None


def same_definition(left: IndexInfo, right: IndexInfo) -> bool:
    """Tell whether two indexes hold the same entries (names apart)."""
    return _identity(left) == _identity(right)


def _identity(index: IndexInfo) -> tuple[Any, ...]:
    partial = None if index.partial is None else repr(index.partial_node)
    # Which stemmer an index was made with is no wish of the caller's.
    text = None if index.text is None else {**index.text, "stemmer": None}
    return (
        index.keys,
        index.unique,
        index.sparse,
        partial,
        index.collation,
        index.expire_after_s,
        index.geo,
        index.projection,
        text,
    )


def _check_together(keys: Keys, fields: Mapping[str, Any]) -> None:
    if keys == ((("_id",), 1),):
        if fields.get("sparse"):
            raise IndexDefinitionError("the index on _id is never sparse", path="sparse", code=197)
        if fields.get("partial") is not None:
            raise IndexDefinitionError("the index on _id is never partial", path="partialFilterExpression", code=197)
    if fields.get("sparse") and fields.get("partial") is not None:
        raise IndexDefinitionError("an index is sparse or partial, not both", path="sparse", code=67)
    if fields.get("expire_after_s") is not None and len(keys) != 1:
        raise IndexDefinitionError("an expiring index has one field", path="expireAfterSeconds", code=67)
    if fields.get("expire_after_s") is not None and keys[0][0] == ("_id",):
        raise IndexDefinitionError("_id cannot expire", path="expireAfterSeconds", code=197)


def _check_geo(keys: Keys, fields: Mapping[str, Any], geo: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a geographic index; refuse what goes with none."""
    kinds = [way for _, way in keys if way in GEO_KINDS]
    if len(set(kinds)) > 1 or ("2d" in kinds and keys[0][1] != "2d") or kinds.count("2d") > 1:
        raise IndexDefinitionError(
            "2d stands first and alone among the geographic fields of an index", path="keys", code=67
        )
    for name in ("unique", "expire_after_s"):
        if fields.get(name):
            raise IndexDefinitionError(f"a geographic index is not {name}", path=name, code=67)
    if "2d" in kinds:
        made = {"min": -180.0, "max": 180.0, "bits": 26.0} | geo
        if not made["min"] < made["max"] or not 1 <= made["bits"] <= 32:
            raise IndexDefinitionError("a 2d index needs min below max, and 1 to 32 bits", path="min", code=67)
        return geo
    return {"2dsphereIndexVersion": 3}


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not math.isfinite(value):
        raise IndexDefinitionError(f"{name} is a finite number", path=name, code=67)
    return float(value)


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool | int | float | Decimal):
        return bool(value)
    raise IndexDefinitionError(f"{name} is true or false, not {type(value).__name__}", path=name, code=14)


def _name(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise IndexDefinitionError("the name of an index is text", path=name, code=14)
    if not value or value == "*" or "\0" in value:
        raise IndexDefinitionError("the name of an index is not empty, not * and without NUL", path=name)
    return value


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise IndexDefinitionError(f"{name} is a number of seconds", path=name, code=14)
    if math.isnan(value) or not 0 <= value <= MOST_EXPIRE_S:
        raise IndexDefinitionError(f"{name} is 0 to {MOST_EXPIRE_S} seconds", path=name, code=67)
    return float(value) if value != int(value) else int(value)


def _partial(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise IndexDefinitionError("a partial index takes a filter document", path=name, code=14)
    spec: dict[str, Any] = canonical(value)
    try:
        node = parse(spec)
    except QueryError as error:
        raise IndexDefinitionError(error.message, path=f"{name}.{error.path}", hint=error.hint, code=67) from error
    for part in walk(node):
        if not _allowed(part):
            raise IndexDefinitionError(
                "a partial filter takes equality, $in, $exists: true, ranges, $type, $and and $or", path=name
            )
    return spec


def _allowed(node: Node) -> bool:
    return isinstance(node, ALLOWED_IN_PARTIAL) and not isinstance(node, Not)


def _as_it_is(name: str, value: Any) -> Any:
    return value


def _collation(name: str, value: Any) -> Any:
    return parse_collation(value)


_GEO_OPTIONS: Final = ("bits", "max", "min")
_OPTIONS: Final[dict[str, tuple[str | None, Callable[[str, Any], Any]]]] = {
    "2dsphereIndexVersion": (None, _number),
    "background": (None, _flag),  # every build is in the background
    "bits": ("bits", _number),
    "case_insensitive": ("case_insensitive", _flag),
    "collation": ("collation", _collation),
    "expireAfterSeconds": ("expire_after_s", _seconds),
    "expire_after_s": ("expire_after_s", _seconds),
    "hidden": ("hidden", _flag),
    "max": ("max", _number),
    "min": ("min", _number),
    "name": ("name", _name),
    "partial": ("partial", _partial),
    "partialFilterExpression": ("partial", _partial),
    "partial_filter_expression": ("partial", _partial),
    "sparse": ("sparse", _flag),
    "unique": ("unique", _flag),
    "v": (None, _flag),
    "wildcardProjection": ("projection", wildcard_projection),
    **{name: (name, _as_it_is) for name in TEXT_OPTIONS},
}
