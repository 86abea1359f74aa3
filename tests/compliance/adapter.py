"""docdb behind the runner of the conformance cases.

What lives here: ``Adapter``, a database in memory per case, and the facade that converts what it returns. The runner
(``run_cases.py``) lies beside the project, in ``../shared/conformance``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import bson

import docdb
from docdb.errors import BulkWriteError, DocdbError, NotSupportedError
from tests.compliance.values import to_bson

CONFORMANCE: Final = Path(__file__).resolve().parents[3] / "shared" / "conformance"
sys.path.insert(0, str(CONFORMANCE))

import run_cases  # noqa: E402  (found through the line above)

__all__ = ["CONFORMANCE", "Adapter"]

_MOST: Final = 2**63 - 1
_TIMED: Final = frozenset({"aggregate", "count", "distinct", "find", "findAndModify"})  # operations with max_time_ms


class Adapter(run_cases.PymongoLike):  # type: ignore[misc]
    """What the runner drives: each case begins with an empty database."""

    def __init__(self) -> None:
        super().__init__(self._open)
        self._database: Any = None
        self._kind = ""

    def start(self) -> None:
        """Open an empty database."""
        self._database = docdb.open(":memory:", naive_dates="utc")
        self.db = DatabaseFace(self._database)

    def stop(self) -> None:
        """Close it."""
        self._database.close()
        self._database = self.db = None

    def opts(self, options: dict[str, Any] | None, allowed: dict[str, str]) -> dict[str, Any]:
        """Return the options under pymongo's names; unknown ones go on to docdb, which is asked to refuse them."""
        known = set(allowed) | run_cases.DROPOPT
        unknown = {name: value for name, value in (options or {}).items() if name not in known}
        named = {name: value for name, value in (options or {}).items() if name in known}
        if "maxTimeMS" in named and self._kind in _TIMED:
            unknown["max_time_ms"] = _number(named["maxTimeMS"])
        if "allowDiskUse" in named and self._kind == "aggregate":
            unknown["allow_disk_use"] = named["allowDiskUse"]
        return {**super().opts(named, allowed), **unknown}

    def run(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Carry out one operation. A pipeline of the setup may be refused: such a case judges what it leaves behind."""
        self._kind = operation["kind"]
        refused = DocdbError if self._kind == "aggregate" and "id" not in operation else ()
        try:
            return dict(super().run(operation))
        except refused as error:
            if isinstance(error, NotSupportedError):
                raise
            return {}

    def update(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Update; where the case expects the server's reply, the refusal is a part of it."""
        try:
            return dict(super().update(operation))
        except DocdbError as error:
            if "writeErrors" not in (operation.get("expect_result") or {}):
                raise
            return {"result": {"writeErrors": [{"index": 0, "code": error.code}]}}

    def insert_op(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Insert; where the case expects the server's reply, refused documents are a part of it."""
        options = dict(operation.get("options") or {})
        plain = {"bypassDocumentValidation", "comment", "ordered", "writeConcern"}
        unknown = {name: value for name, value in options.items() if name not in plain}
        try:
            if unknown:  # docdb is asked to refuse what it does not take
                self.db[operation["coll"]].insert_many(operation["documents"], **unknown)
            return dict(super().insert_op(operation))
        except BulkWriteError as error:
            if "writeErrors" not in (operation.get("expect_result") or {}):
                raise
            refused = [{"index": entry["index"], "code": entry["code"]} for entry in error.details["writeErrors"]]
            return {"result": {"n": error.details["nInserted"], "writeErrors": refused}}

    def count(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Count; ``fields``, which the server ignores, is left out, and as in pymongo a limit is above 0."""
        options = {name: value for name, value in (operation.get("options") or {}).items() if name != "fields"}
        limit = _number(operation.get("limit", 0))
        if isinstance(limit, int) and not isinstance(limit, bool) and -_MOST <= limit <= 0:
            limit = -limit
        bounds: dict[str, Any] = {} if limit == 0 and not isinstance(limit, bool) else {"limit": limit}
        if operation.get("skip") is not None:
            bounds["skip"] = _number(operation["skip"])
        named = self.opts(options, {"collation": "collation", "hint": "hint"})
        return {"value": self.db[operation["coll"]].count_documents(operation.get("filter", {}), **named, **bounds)}

    def findAndModify(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Find and change one; what is no sort or no flag goes to docdb as it is, which is asked to refuse it."""
        options = operation.get("options") or {}
        sort, new = operation.get("sort"), options.get("new", False)
        if wrong := _impossible(operation, options):
            method = "find_one_and_delete" if options.get("remove") is True else "find_one_and_update"
            changes = () if method == "find_one_and_delete" else (operation.get("update"),)
            return {
                "result": {"value": getattr(self.db[operation["coll"]], method)(operation["filter"], *changes, **wrong)}
            }
        if not isinstance(new, bool | int | float | bson.Decimal128 | None):
            collection = self.db[operation["coll"]]
            found = collection.find_one_and_update(operation["filter"], operation["update"], return_document=new)
            return {"result": {"value": found}}
        if not sort or (isinstance(sort, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in sort)):
            return dict(super().findAndModify(operation))
        collection = self.db[operation["coll"]]
        found = collection.find_one_and_update(operation["filter"], operation["update"], sort=sort)
        return {"result": {"value": found}}

    def _open(self) -> Any:
        return DatabaseFace(docdb.open(":memory:", naive_dates="utc"))


def _impossible(operation: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a findAndModify that no method of docdb takes together, which docdb is asked to refuse."""
    remove = options.get("remove", False)
    if not isinstance(remove, bool | int | float | bson.Decimal128 | None):
        return {"remove": remove}
    if remove is True:
        given = {
            "update": operation.get("update"),
            "return_document": options.get("new"),
            "upsert": options.get("upsert"),
        }
        return {name: value for name, value in given.items() if value}
    return {} if remove or "update" in operation else {"sort": operation.get("sort")}


def _number(value: Any) -> Any:
    """Return a whole number as int and what is not finite as float, for arguments that Python gives as int."""
    if isinstance(value, bson.Decimal128) and not value.to_decimal().is_finite():
        return float(value.to_decimal())
    return run_cases.as_int(value)


class DatabaseFace:
    """A database whose collections return pymongo's value types."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def __getitem__(self, name: str) -> CollectionFace:
        return CollectionFace(self._database[name])

    def create_collection(self, name: str, **options: Any) -> None:
        """Create a collection."""
        self._database.create_collection(name, **options)

    def aggregate(self, pipeline: Any, **options: Any) -> Iterable[Any]:
        """Run a pipeline that begins with its own documents."""
        return Cursor(self._database.aggregate(pipeline, **options))


class CollectionFace:
    """A collection that returns pymongo's value types."""

    def __init__(self, collection: Any) -> None:
        self._collection = collection

    def find(self, filter: Any, projection: Any = None, **options: Any) -> Cursor:
        """Return a cursor over what matches."""
        return Cursor(self._collection.find(filter, projection, **options))

    def aggregate(self, pipeline: Any, **options: Any) -> Cursor:
        """Return a cursor over what the pipeline gives."""
        return Cursor(self._collection.aggregate(pipeline, **options))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._collection, name)
        return lambda *arguments, **options: _returned(method(*arguments, **options))


class Cursor:
    """A cursor whose documents are converted."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def sort(self, keys: Any) -> Cursor:
        """Set the order."""
        self._cursor.sort(keys)
        return self

    def skip(self, count: int) -> Cursor:
        """Leave out the first."""
        self._cursor.skip(count)
        return self

    def limit(self, count: int) -> Cursor:
        """Stop after so many."""
        self._cursor.limit(count)
        return self

    def __iter__(self) -> Iterator[Any]:
        return (to_bson(document) for document in self._cursor)


def _returned(result: Any) -> Any:
    """Return an answer of docdb with pymongo's types: documents, lists, and the ids in result objects."""
    if isinstance(result, Mapping | list) or not hasattr(result, "__dict__") and not hasattr(result, "__slots__"):
        return to_bson(result)
    if not type(result).__module__.startswith("docdb.faces.results"):
        return to_bson(result)
    names = [name for name in dir(result) if not name.startswith("_")]
    plain = {name: getattr(result, name) for name in names if not callable(getattr(result, name))}
    return SimpleNamespace(**{name: to_bson(value) for name, value in plain.items()})
