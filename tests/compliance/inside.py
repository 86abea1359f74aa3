"""The conformance cases with each operation inside a transaction of its own: ``python -m tests.compliance.inside [options] [topics...]``.

The options are those of ``python -m tests.compliance``. What no transaction does (indexes, dropping, renaming) runs outside.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from tests.compliance import __main__ as cases
from tests.compliance import adapter

OUTSIDE: Final = ("create_index", "create_indexes", "drop", "drop_index", "drop_indexes", "rename")


class Inside(adapter.Adapter):
    """The adapter, in transactions."""

    def run(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Carry out one operation and commit."""
        with self.db.database.transaction() as transaction:
            self.db.transaction = transaction
            return super().run(operation)

    def start(self) -> None:
        """Open an empty database."""
        super().start()
        self.db = InsideFace(self._database)

    def _open(self) -> Any:
        return InsideFace(adapter.docdb.open(":memory:", naive_dates="utc"))


class InsideFace(adapter.DatabaseFace):
    """A database whose collections are those of the transaction that runs."""

    def __init__(self, database: Any) -> None:
        super().__init__(database)
        self.database = database
        self.transaction: Any = database

    def __getitem__(self, name: str) -> Any:
        return InsideCollection(self.transaction[name], self.database[name])

    def create_collection(self, name: str, **options: Any) -> None:
        """Create a collection, inside."""
        self.transaction.create_collection(name, **options)

    def aggregate(self, pipeline: Any, **options: Any) -> Any:
        """Run a pipeline that begins with its own documents, inside."""
        return adapter.Cursor(self.transaction.aggregate(pipeline, **options))


class InsideCollection(adapter.CollectionFace):
    """A collection of a transaction; what only the database can do goes there."""

    def __init__(self, inside: Any, outside: Any) -> None:
        super().__init__(inside)
        self._outside = adapter.CollectionFace(outside)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outside, name) if name in OUTSIDE else super().__getattr__(name)


if __name__ == "__main__":
    adapter.Adapter = Inside  # type: ignore[misc]
    sys.exit(cases.main())
