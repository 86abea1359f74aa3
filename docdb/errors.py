"""The error tree: named by who must act.

What lives here: every exception docdb raises. What it must not know: anything else; this file imports nothing of docdb.

    DocdbError
    ├── UsageError                    fix the call
    │   ├── DocumentError             a value that cannot be stored (with the path of the field)
    │   ├── QueryError                a filter, projection, sort, pipeline or expression
    │   │   └── NotSupportedError     known to MongoDB or CloudBase, not to docdb
    │   ├── UpdateError               an update document, or an update that cannot be applied to a document
    │   ├── IndexDefinitionError      an index that cannot be made, dropped or used as asked
    │   ├── CollectionError           a collection that exists already, does not exist, or has an impossible name
    │   ├── InvalidOperation          a closed database, a used cursor
    │   └── RuleError                 a rule text that does not check
    ├── ConflictError                 fix the data
    │   ├── DuplicateKeyError         a unique index (or _id) already holds the key
    │   ├── ValidationError           a document the collection's validator refuses
    │   └── BulkWriteError            some operations of a batch failed; the report is in .details
    ├── DeniedError                   ask for rights
    ├── RolledBack                    nobody: a transaction's function rolled it back; the reason it gave is in .reason
    ├── RetryError                    try again
    │   ├── BusyError                 somebody else holds what is needed
    │   ├── TimeoutExpired            max_time_ms ran out
    │   ├── TransactionConflict       another commit came between
    │   ├── TransactionExpired        the transaction outlived its limit
    │   └── SnapshotExpired           a cursor outlived snapshot_limit_s
    └── StorageError                  look at the machine
        ├── FullError                 no space left
        ├── CorruptError              stored bytes that cannot be what docdb wrote
        ├── FormatError               a file of another format or version
        └── HistoryLost               the change log no longer reaches back so far

Each error carries ``path`` (the place in what the user wrote, ``$and.0.age.$gtee``, or in the document), ``hint`` (the cure,
when it is known), ``code`` (MongoDB's number, where one exists) and ``errcode`` (CloudBase's).
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BulkWriteError", "BusyError", "CollectionError", "ConflictError", "CorruptError", "DeniedError", "DocdbError",
    "DocumentError", "DuplicateKeyError", "FormatError", "FullError", "HistoryLost", "IndexDefinitionError",
    "InvalidOperation", "NotSupportedError", "QueryError", "RetryError", "RolledBack", "RuleError", "SnapshotExpired", "StorageError",
    "TimeoutExpired", "TransactionConflict", "TransactionExpired", "UpdateError", "UsageError", "ValidationError",
]  # fmt: skip


class DocdbError(Exception):
    """Anything docdb refuses or cannot do; the base of the tree above."""

    code: int | None = None
    errcode: str = "DATABASE_REQUEST_FAILED"
    done: int | None = None  # documents that a write in steps (batch=n) had changed before the error

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        hint: str | None = None,
        code: int | None = None,
        errcode: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.hint = hint
        self.line = line
        self.column = column
        if code is not None:
            self.code = code
        if errcode is not None:
            self.errcode = errcode

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        position = f" (line {self.line}, column {self.column})" if self.line is not None else ""
        cure = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.message}{position}{cure}"


class UsageError(DocdbError):
    """The call is wrong."""

    code = 9
    errcode = "INVALID_PARAM"


class DocumentError(UsageError):
    """A document or value that cannot be stored."""

    code = 2


class QueryError(UsageError):
    """A filter, projection, sort, pipeline or expression that cannot be understood."""

    code = 2


class NotSupportedError(QueryError):
    """Known elsewhere, not supported by docdb."""

    code = 115
    errcode = "DATABASE_INVALID_OPERRATOR"


class UpdateError(UsageError):
    """An update that cannot be understood, or cannot be applied to a document."""

    code = 9


class IndexDefinitionError(UsageError):
    """An index that cannot be made, dropped or used as asked."""

    code = 67


class CollectionError(UsageError):
    """A collection that exists already, does not exist, or has an impossible name."""

    code = 73
    errcode = "DATABASE_COLLECTION_NOT_EXIST"


class InvalidOperation(UsageError):
    """The object is closed or used up."""

    code = 20


class RuleError(UsageError):
    """A rule text that does not parse or check; ``picture`` is its line with a caret below the spot, or empty."""

    picture: str = ""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.picture}" if self.picture else super().__str__()


class ConflictError(DocdbError):
    """The data stands against it."""


class DuplicateKeyError(ConflictError):
    """A unique index, or ``_id``, already holds the key; ``details`` names index, key pattern and key value."""

    code = 11000
    errcode = "DATABASE_DUPLICATE_WRITE"

    def __init__(self, message: str, *, details: dict[str, Any] | None = None, **more: Any) -> None:
        super().__init__(message, **more)
        self.details = details or {}


class ValidationError(ConflictError):
    """The collection's validator refuses the document."""

    code = 121


class BulkWriteError(ConflictError):
    """Some operations of a batch failed; ``details`` is the report (pymongo's shape), ``errors`` the exceptions by index."""

    code = 65

    def __init__(self, message: str, *, details: dict[str, Any], errors: dict[int, DocdbError], **more: Any) -> None:
        super().__init__(message, **more)
        self.details = details
        self.errors = errors


class DeniedError(DocdbError):
    """The rules do not allow it: one text, whatever the reason; by ``correlation_id`` the developer finds that in the log and in ``on_denied``."""

    code = 13
    errcode = "DATABASE_PERMISSION_DENIED"
    correlation_id: str | None = None
    permission_lost = False  # of a live query or change stream that was allowed when it began


class RolledBack(DocdbError):
    """A transaction was rolled back by its own function; ``reason`` is what it said."""

    code = 251
    errcode = "DATABASE_TRANSACTION_FAIL"

    def __init__(self, message: str, *, reason: Any = None, **more: Any) -> None:
        super().__init__(message, **more)
        self.reason = reason


class RetryError(DocdbError):
    """The same call may succeed later."""


class BusyError(RetryError):
    """Somebody else holds what is needed; the message names them."""

    code = 117


class TimeoutExpired(RetryError):
    """``max_time_ms`` ran out."""

    code = 50
    errcode = "DATABASE_TIMEOUT"


class TransactionConflict(RetryError):
    """Another commit changed what the transaction read."""

    code = 112
    errcode = "DATABASE_TRANSACTION_CONFLICT"


class TransactionExpired(RetryError):
    """The transaction outlived its limit."""

    code = 251
    errcode = "DATABASE_TRANSACTION_FAIL"


class SnapshotExpired(RetryError):
    """A cursor outlived ``snapshot_limit_s``; ``token`` goes on from where it stood, when the order is unique."""

    code = 239

    def __init__(self, message: str, *, token: str | None = None, **more: Any) -> None:
        super().__init__(message, **more)
        self.token = token


class StorageError(DocdbError):
    """The file, the disk or the operating system refused."""

    code = 1
    errcode = "SYS_ERR"


class FullError(StorageError):
    """No space is left on the device or in the map."""

    code = 14031


class CorruptError(StorageError):
    """Stored bytes cannot be what docdb wrote."""

    code = 335


class FormatError(StorageError):
    """The file has another format or version."""


class HistoryLost(StorageError):
    """The change log no longer reaches back to the position; ``oldest`` is the first that is left."""

    code = 286

    def __init__(self, message: str, *, oldest: str | None = None, **more: Any) -> None:
        super().__init__(message, **more)
        self.oldest = oldest
