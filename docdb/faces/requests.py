"""The requests of a bulk write, by pymongo's names.

What lives here: ``InsertOne``, ``UpdateOne``, ... and ``operation_of``, which turns one (or pymongo's own object of
the same name, read by its attributes and never imported) into an operation. ``IndexModel`` and ``ReturnDocument``
stand here for the same reason. What it must not know: sessions, how operations are carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from docdb.errors import UsageError
from docdb.faces.arguments import WriteOptions, key_pairs, operation_options
from docdb.faces.updating import check_replacement, check_update
from docdb.sessions.operations import DeleteOp, InsertOp, Operation, ReplaceOp, UpdateOp

__all__ = [
    "ASCENDING", "DESCENDING", "DeleteMany", "DeleteOne", "IndexModel", "InsertOne", "ReplaceOne", "ReturnDocument",
    "UpdateMany", "UpdateOne", "index_model", "operation_of",
]  # fmt: skip

ASCENDING: Final = 1
DESCENDING: Final = -1


class ReturnDocument:
    """Which image ``find_one_and_update`` and ``find_one_and_replace`` give back."""

    BEFORE: Final = False
    AFTER: Final = True


@dataclass(frozen=True, slots=True)
class InsertOne:
    """Insert one document."""

    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UpdateOne:
    """Update the first document that matches."""

    filter: Mapping[str, Any]
    update: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    upsert: bool = False
    collation: Any = None
    array_filters: Sequence[Mapping[str, Any]] | None = None
    hint: Any = None
    sort: Any = None


@dataclass(frozen=True, slots=True)
class UpdateMany:
    """Update every document that matches."""

    filter: Mapping[str, Any]
    update: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    upsert: bool = False
    collation: Any = None
    array_filters: Sequence[Mapping[str, Any]] | None = None
    hint: Any = None


@dataclass(frozen=True, slots=True)
class ReplaceOne:
    """Replace the first document that matches."""

    filter: Mapping[str, Any]
    replacement: Mapping[str, Any]
    upsert: bool = False
    collation: Any = None
    hint: Any = None
    sort: Any = None


@dataclass(frozen=True, slots=True)
class DeleteOne:
    """Delete the first document that matches."""

    filter: Mapping[str, Any]
    collation: Any = None
    hint: Any = None


@dataclass(frozen=True, slots=True)
class DeleteMany:
    """Delete every document that matches."""

    filter: Mapping[str, Any]
    collation: Any = None
    hint: Any = None


class IndexModel:
    """The description of one index for ``create_indexes``.

    >>> IndexModel([("a", 1)], unique=True).document
    {'unique': True, 'key': {'a': 1}}
    """

    __slots__ = ("document",)

    def __init__(self, keys: Any, **options: Any) -> None:
        self.document: dict[str, Any] = {**options, "key": dict(key_pairs(keys, "index key"))}


def index_model(model: Any) -> tuple[Any, dict[str, Any]]:
    """Return keys and options of an ``IndexModel`` (ours or pymongo's) or of a plain document ``{"key": ..., "name": ...}``."""
    document = getattr(model, "document", model)
    if not isinstance(document, Mapping) or "key" not in document:
        raise UsageError("an index is described by an IndexModel or {'key': ..., 'name': ...}")
    options = dict(document)
    return options.pop("key"), options


def operation_of(request: Any, path: str) -> Operation:
    """Return the operation a request (ours or pymongo's) asks for; errors carry the request's place in the list."""
    build = _BUILDERS.get(type(request).__name__)
    if build is None:
        names = ", ".join(sorted(_BUILDERS))
        raise UsageError(f"{type(request).__name__} is not a request", path=path, hint=f"the requests are {names}")
    return build(request, path)


def _attribute(request: Any, name: str) -> Any:
    """Read our attribute or pymongo's, which carries an underscore (and calls update and replacement ``_doc``)."""
    for spelling in (name, f"_{name}", "_doc" if name in ("document", "replacement", "update") else name):
        value = getattr(request, spelling, None)
        if value is not None:
            return value
    return None


def _options(request: Any, *names: str) -> dict[str, Any]:
    found = {name: _attribute(request, name) for name in names}
    return operation_options(type(request).__name__, found, WriteOptions)


def _filter(request: Any) -> dict[str, Any]:
    filter = _attribute(request, "filter")
    if filter is not None and not isinstance(filter, Mapping):
        raise UsageError(f"a filter is a document, not {type(filter).__name__}", path="filter", code=14)
    return dict(filter or {})


def _insert(request: Any, path: str) -> Operation:
    document = _attribute(request, "document")
    if not isinstance(document, Mapping):
        raise UsageError("a document is a mapping", path=f"{path}.document", code=14)
    return InsertOp(document)


def _update(request: Any, path: str) -> Operation:
    update = check_update(_attribute(request, "update"), f"{path}.update")
    options = _options(request, "array_filters", "collation", "hint", "sort")
    multi = type(request).__name__ == "UpdateMany"
    return UpdateOp(_filter(request), update, multi=multi, upsert=bool(_attribute(request, "upsert")), **options)


def _replace(request: Any, path: str) -> Operation:
    replacement = check_replacement(_attribute(request, "replacement"), f"{path}.replacement")
    options = _options(request, "collation", "hint", "sort")
    return ReplaceOp(_filter(request), replacement, upsert=bool(_attribute(request, "upsert")), **options)


def _delete(request: Any, path: str) -> Operation:
    multi = type(request).__name__ == "DeleteMany"
    return DeleteOp(_filter(request), multi=multi, **_options(request, "collation", "hint"))


_BUILDERS: Final[dict[str, Callable[[Any, str], Operation]]] = {
    "DeleteMany": _delete,
    "DeleteOne": _delete,
    "InsertOne": _insert,
    "ReplaceOne": _replace,
    "UpdateMany": _update,
    "UpdateOne": _update,
}
