"""docdb: a document database that lives inside a Python process.

    import docdb
    from docdb import command as _

    with docdb.open("shop.docdb") as db:
        db["users"].insert_one({"name": "Ann", "age": 25})
        db["users"].where({"age": _.gt(20)}).get()

What lives here: the public names, and nothing else. A test pins them.
"""

from docdb import aio, ejson
from docdb.collection import Collection
from docdb.command import command, server_date
from docdb.database import Database, open, restore
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
from docdb.language.values import Binary, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from docdb.requests import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne

__version__ = "0.1.0"

__all__ = [
    "Binary", "BulkWriteError", "BusyError", "Collection", "CollectionError", "ConflictError", "CorruptError", "Database",
    "DeleteMany", "DeleteOne", "DeniedError", "DocdbError", "DocumentError", "DuplicateKeyError", "FormatError", "FullError",
    "HistoryLost", "IndexDefinitionError", "InsertOne", "Int64", "InvalidOperation", "MaxKey", "MinKey", "NotSupportedError",
    "ObjectId", "QueryError", "Regex", "ReplaceOne", "RetryError", "RuleError", "SnapshotExpired", "StorageError",
    "TimeoutExpired", "Timestamp", "TransactionConflict", "TransactionExpired", "UpdateError", "UpdateMany", "UpdateOne",
    "UsageError", "ValidationError", "aio", "command", "ejson", "open", "restore", "server_date",
]  # fmt: skip
