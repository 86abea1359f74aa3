"""What callers pass besides documents: option names, sorts, hints, bounds.

What lives here: the option tables (as TypedDicts, so that type checkers refuse a wrong name where Python cannot),
``check_options``, which refuses it at run time and names the nearest, and the functions that bring the many spellings
of a sort or a hint into one. What it must not know: sessions, collections, how an option is obeyed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypedDict

from docdb.errors import NotSupportedError, QueryError, UsageError

__all__ = [
    "AggregateOptions", "CountOptions", "DeleteOptions", "FindOptions", "ModifyOptions", "RemarkOptions",
    "WatchOptions", "WriteOptions", "check_options", "check_watch", "collation_document", "direction", "flag", "hint_of", "key_pairs",
    "lenient_number", "named_sort", "nearest", "operation_options", "sort_document", "whole_number",
]  # fmt: skip

_MOST: Final = 2**63 - 1
SortSpec = str | Sequence[Any] | Mapping[str, Any]
HintSpec = str | Sequence[Any] | Mapping[str, Any]


class FindOptions(TypedDict, total=False):
    """What ``find`` takes by name."""

    sort: SortSpec | None
    hint: HintSpec | None
    collation: Any
    max_time_ms: int | None
    batch_size: int
    comment: Any
    min: Any
    max: Any
    return_key: bool
    let: Mapping[str, Any] | None
    allow_disk_use: bool | None
    follow: bool


class CountOptions(TypedDict, total=False):
    """What ``count_documents`` and ``distinct`` take by name."""

    skip: int
    limit: int
    hint: HintSpec | None
    collation: Any
    max_time_ms: int | None
    comment: Any


class WriteOptions(TypedDict, total=False):
    """What ``update_one``, ``update_many`` and ``replace_one`` take by name."""

    array_filters: Sequence[Mapping[str, Any]] | None
    collation: Any
    hint: HintSpec | None
    sort: SortSpec | None
    let: Mapping[str, Any] | None
    comment: Any


class RemarkOptions(TypedDict, total=False):
    """What ``insert_one``, ``insert_many`` and ``bulk_write`` take by name: a remark, which changes nothing."""

    comment: Any


class DeleteOptions(TypedDict, total=False):
    """What ``delete_one`` and ``delete_many`` take by name."""

    hint: HintSpec | None
    let: Mapping[str, Any] | None
    comment: Any


class ModifyOptions(TypedDict, total=False):
    """What ``find_one_and_update`` and its kin take by name."""

    array_filters: Sequence[Mapping[str, Any]] | None
    collation: Any
    hint: HintSpec | None
    let: Mapping[str, Any] | None
    max_time_ms: int | None
    comment: Any


class AggregateOptions(TypedDict, total=False):
    """What ``aggregate`` takes by name."""

    collation: Any
    hint: HintSpec | None
    let: Mapping[str, Any] | None
    max_time_ms: int | None
    batch_size: int
    allow_disk_use: bool | None
    comment: Any


class WatchOptions(TypedDict, total=False):
    """What ``watch`` takes by name besides its pipeline."""

    full_document: str | None
    full_document_before_change: str | None
    resume_after: Any
    start_after: Any
    show_expanded_events: bool | None
    batch_size: int | None
    max_await_time_ms: int | None
    comment: Any


# Known to pymongo and meaningless here. A falsy value asks for nothing and is let through.
_UNSUPPORTED: Final[dict[str, str]] = {
    "allow_partial_results": "there are no shards",
    "bypass_document_validation": "change the validator of the collection instead",
    "cursor_type": "use changes() to follow a collection",
    "no_cursor_timeout": "the life of a cursor is the database's snapshot_limit_s",
    "oplog_replay": "use changes(resume_after=...)",
    "read_concern": "every read is a snapshot",
    "session": "call the method on db.transaction()'s collection instead",
    "start_at_operation_time": "a position says it exactly: resume_after",
    "show_record_id": "documents have no number besides _id",
    "snapshot": "every cursor is a snapshot",
    "write_concern": "durability is chosen when the database is opened",
}


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the hint "did you mean ...", or None when nothing is near."""
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"did you mean {found[0]}?" if found else None


def check_options(method: str, options: Mapping[str, Any], known: type) -> None:
    """Refuse a name the method does not take; costs nothing when there are no options."""
    names = known.__annotations__
    for name, value in options.items():
        if name in names:
            continue
        if name in _UNSUPPORTED:
            if value:
                raise NotSupportedError(f"{method}() does not support {name}", path=name, hint=_UNSUPPORTED[name])
            continue
        raise UsageError(f"{method}() takes no argument {name!r}", path=name, hint=nearest(name, names), code=40415)


def check_watch(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of ``watch`` that say something here: nothing waits for a batch."""
    check_options("watch", options, WatchOptions)
    advice = ("batch_size", "comment", "max_await_time_ms")
    return {name: value for name, value in options.items() if name not in advice}


def operation_options(method: str, options: Mapping[str, Any], known: type, **placed: Any) -> dict[str, Any]:
    """Return the options that stand in an operation: checked, in one spelling, without what changes nothing (``comment``).

    ``placed`` are arguments the method takes by place too; they need no check of their name.
    """
    if options:
        check_options(method, options, known)
    elif not placed:
        return {}
    chosen = {
        name: value for name, value in {**options, **placed}.items() if name in _OPERATION_OPTIONS and value is not None
    }
    for name, bring in _OPERATION_OPTIONS.items():
        if name in chosen and bring is not None:
            chosen[name] = bring(chosen[name])
    return chosen


def whole_number(value: Any, name: str, *, least: int = 0, kind_code: int = 14) -> int:
    """Return an integer argument, or refuse it by name: another kind with ``kind_code``, a number that is not whole with 9."""
    if type(value) is bool or not isinstance(value, int):
        number = not isinstance(value, bool) and (isinstance(value, float | Decimal) or hasattr(value, "to_decimal"))
        raise UsageError(
            f"{name} is a whole number, not {type(value).__name__}", path=name, code=9 if number else kind_code
        )
    if value > _MOST:
        raise UsageError(f"{name} is at most {_MOST}, not {value}", path=name, code=9)
    if value < least:
        raise UsageError(f"{name} is at least {least}, not {value}", path=name, code=2)
    return value


def lenient_number(value: Any, name: str) -> int:
    """Return a number as MongoDB's ``count`` takes its skip: NaN is 0, a fraction goes to the nearest even, infinity to 64 bits."""
    number: Any = value.to_decimal() if hasattr(value, "to_decimal") else value
    if isinstance(number, bool) or not isinstance(number, int | float | Decimal):
        raise UsageError(f"{name} is a number, not {type(value).__name__}", path=name, code=14)
    if number != number:
        return 0
    size: Any = number
    whole = round(size) if abs(size) < _MOST else _MOST if size > 0 else -_MOST
    if whole < 0:
        raise UsageError(f"{name} is at least 0, not {value}", path=name, code=2)
    return int(whole)


def flag(value: Any, name: str, *, strict: bool = False) -> bool:
    """Return a yes or no; numbers count as MongoDB counts them unless ``strict``."""
    if isinstance(value, bool):
        return value
    if value is None or (not strict and (isinstance(value, int | float | Decimal) or hasattr(value, "to_decimal"))):
        return bool(value)
    raise UsageError(f"{name} is true or false, not {type(value).__name__}", path=name, code=14)


def _filters(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, Mapping) for item in value):
        raise UsageError("array_filters is a list of documents", path="array_filters", code=14)
    return list(value)


def direction(value: Any) -> Any:
    """Return 1 or -1 for asc, desc and their kin; anything else is left for the sort's parser to judge.

    Only a direction that goes with one name is said in words; in documents and pairs MongoDB knows none.
    """
    return _DIRECTIONS.get(value.lower(), value) if isinstance(value, str) else value


_DIRECTIONS: Final = {"asc": 1, "ascending": 1, "desc": -1, "descending": -1}


def sort_document(keys: Any, order: Any = None) -> dict[str, Any]:
    """Return a sort as ``{field: 1 or -1}`` from a name, a list of names or pairs, or a mapping.

    >>> sort_document("age", -1), sort_document([("a", 1), "b"])
    ({'age': -1}, {'a': 1, 'b': 1})
    """
    if isinstance(keys, str):
        return {keys: 1 if order is None else direction(order)}
    if order is not None:
        raise UsageError("a direction goes with a single field name", path="sort")
    return dict(key_pairs(keys, "sort"))


def named_sort(keys: Any) -> dict[str, Any]:
    """Return the sort of a ``sort=`` argument, which as in pymongo is not a bare name."""
    if isinstance(keys, str):
        raise QueryError(
            "sort= takes a document or a list of pairs, not str", path="sort", code=14, hint=f"sort=[({keys!r}, 1)]"
        )
    return sort_document(keys)


def key_pairs(keys: Any, what: str) -> list[tuple[str, Any]]:
    """Return (field, direction or kind) pairs from a name, a mapping or a list of names and pairs."""
    if isinstance(keys, str):
        return [(keys, 1)]
    if isinstance(keys, Mapping):
        return list(keys.items())
    if not isinstance(keys, Sequence):
        raise QueryError(
            f"a {what} is a name, a list of pairs or a document, not {type(keys).__name__}", path=what, code=14
        )
    pairs: list[tuple[str, Any]] = []
    for position, item in enumerate(keys):
        if isinstance(item, str):
            pairs.append((item, 1))
        elif isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], str):
            pairs.append((item[0], item[1]))
        else:
            raise QueryError(
                f"{type(item).__name__} is neither a name nor a (name, direction) pair",
                path=f"{what}.{position}",
                code=9 if what == "hint" else 14,
            )
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise QueryError(f"{twice} stands twice", path=what, code=2)
    return pairs


def hint_of(hint: Any) -> Any:
    """Return a hint as an index name or a tuple of (field, direction) pairs."""
    if hint is None or isinstance(hint, str):
        return hint
    if not isinstance(hint, Mapping | list | tuple):
        raise QueryError(
            f"a hint is a name, a list of pairs or a document, not {type(hint).__name__}", path="hint", code=9
        )
    return tuple(key_pairs(hint, "hint"))


def collation_document(collation: Any) -> Any:
    """Return a collation as a plain document; pymongo's ``Collation`` is accepted by its ``document``."""
    if collation is None:
        return None
    document = getattr(collation, "document", None)
    return dict(document) if isinstance(document, Mapping) else collation


_OPERATION_OPTIONS: Final[dict[str, Callable[[Any], Any] | None]] = {
    "array_filters": _filters,
    "collation": collation_document,
    "hint": hint_of,
    "let": None,
    "sort": named_sort,
}
