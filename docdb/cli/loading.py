"""Putting what a file holds into a collection, batch after batch.

What lives here: ``Loader``. What it must not know: formats, options of the command line.

Memory: one batch, which ends at a number of documents or of bytes read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import docdb
from docdb.cli.cells import ABSENT, reach
from docdb.cli.inputs import Counted
from docdb.cli.records import Found, Place

__all__ = ["Loader", "Stopped"]

BATCH_BYTES: Final = 16 * 2**20


class Stopped(Exception):
    """A document was refused, and the first one was to end the import."""


class Loader:
    """Stores documents and counts; ``stored`` and ``refused`` are valid at any time."""

    def __init__(
        self,
        collection: docdb.Collection[Any],
        *,
        batch: int,
        upsert: Sequence[str] = (),
        stop: bool = False,
        refuse: Callable[[str, Place, str], None],
    ) -> None:
        self.stored = 0
        self.refused = 0
        self._collection = collection
        self._batch = batch
        self._upsert = upsert
        self._stop = stop
        self._tell = refuse
        self._name = ""
        self._waiting: list[Found] = []

    def load(self, name: str, records: Iterable[Found], read: Counted) -> None:
        """Store the documents of a file; ``read`` counts its bytes. Raises Stopped."""
        self._name = name
        began = read.count
        self._waiting = []
        for found in records:
            if found.document is None:
                self._flush()
                self._refuse(found.place, found.error or "")
                continue
            self._waiting.append(found)
            if len(self._waiting) >= self._batch or read.count - began >= BATCH_BYTES:
                self._flush()
                began = read.count
        self._flush()

    def _refuse(self, place: Place, error: str) -> None:
        self.refused += 1
        self._tell(self._name, place, error)
        if self._stop:
            raise Stopped

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._store(waiting)

    def _store(self, waiting: list[Found]) -> None:
        try:
            self._write([found.document for found in waiting if found.document is not None])
            self.stored += len(waiting)
        except docdb.BulkWriteError as error:
            details = error.details
            self.stored += details["nInserted"] + details["nMatched"] + details["nUpserted"]
            for place, wrong in sorted(error.errors.items()):
                self._refuse(waiting[place].place, str(wrong))
        except docdb.UsageError as error:
            # Refused before anything was tried: find out which one it was.
            if len(waiting) == 1:
                self._refuse(waiting[0].place, str(error))
                return
            for found in waiting:
                self._store([found])

    def _write(self, documents: list[dict[str, Any]]) -> None:
        if self._upsert:
            self._collection.bulk_write([self._request(document) for document in documents], ordered=self._stop)
        else:
            self._collection.insert_many(documents, ordered=self._stop)

    def _request(self, document: dict[str, Any]) -> docdb.InsertOne | docdb.ReplaceOne:
        if list(self._upsert) == ["_id"] and "_id" not in document:
            return docdb.InsertOne(document)
        filter = {}
        for path in self._upsert:
            value = reach(document, path)
            if value is ABSENT:
                raise docdb.DocumentError("the document has no such field to upsert by", path=path)
            filter[path] = {"$eq": value}
        return docdb.ReplaceOne(filter, document, upsert=True)
