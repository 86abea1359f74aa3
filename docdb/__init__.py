"""docdb: a document database that lives inside a Python process.

    import docdb
    from docdb import command as _

    with docdb.open("shop.docdb") as db:
        db["users"].insert_one({"name": "Ann", "age": 25})
        db["users"].where({"age": _.gt(20)}).get()

What lives here: the public names, and nothing else. A test pins them. A name brings its module in when it is first asked for, so that
importing docdb costs what is used of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from docdb.errors import (
    BulkWriteError,
    BusyError,
    CollectionError,
    ConflictError,
    CorruptError,
    DeniedError,
    DocdbError,
    DocumentError,
    DuplicateKeyError,
    FormatError,
    FullError,
    HistoryLost,
    IndexDefinitionError,
    InvalidOperation,
    NotSupportedError,
    QueryError,
    RetryError,
    RolledBack,
    RuleError,
    SnapshotExpired,
    StorageError,
    TimeoutExpired,
    TransactionConflict,
    TransactionExpired,
    UpdateError,
    UsageError,
    ValidationError,
)

if TYPE_CHECKING:
    from docdb import aio, ejson, geo
    from docdb.collection import Collection
    from docdb.command import command, server_date
    from docdb.database import Database, open, restore
    from docdb.faces.requests import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
    from docdb.language.values import Binary, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
    from docdb.transaction import SnapshotView, Transaction
    from docdb.user import UserDatabase

__version__ = "0.1.0"

__all__ = [
    "Binary", "BulkWriteError", "BusyError", "Collection", "CollectionError", "ConflictError", "CorruptError", "Database",
    "DeleteMany", "DeleteOne", "DeniedError", "DocdbError", "DocumentError", "DuplicateKeyError", "FormatError", "FullError",
    "HistoryLost", "IndexDefinitionError", "InsertOne", "Int64", "InvalidOperation", "MaxKey", "MinKey", "NotSupportedError",
    "ObjectId", "QueryError", "Regex", "ReplaceOne", "RetryError", "RolledBack", "RuleError", "SnapshotExpired", "SnapshotView",
    "StorageError", "TimeoutExpired", "Timestamp", "Transaction", "TransactionConflict", "TransactionExpired", "UpdateError",
    "UpdateMany", "UpdateOne", "UsageError", "UserDatabase", "ValidationError", "aio", "command", "ejson", "geo", "open", "restore", "server_date",
]  # fmt: skip

# Where the names live; those of modules stand for themselves.
_HOMES: Final[dict[str, tuple[str, ...]]] = {
    "docdb.collection": ("Collection",),
    "docdb.command": ("server_date",),
    "docdb.database": ("Database", "open", "restore"),
    "docdb.language.values": ("Binary", "Int64", "MaxKey", "MinKey", "ObjectId", "Regex", "Timestamp"),
    "docdb.faces.requests": ("DeleteMany", "DeleteOne", "InsertOne", "ReplaceOne", "UpdateMany", "UpdateOne"),
    "docdb.transaction": ("SnapshotView", "Transaction"),
    "docdb.user": ("UserDatabase",),
}
_MODULES: Final = ("aio", "command", "ejson", "geo")
_HOME: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Return a public name, and keep it."""
    if name in _MODULES:
        return import_module(f"docdb.{name}")
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'docdb' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(home), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
