"""One change as its reader sees it.

What lives here: ``Change``, the native form and MongoDB's (``document``). What it must not know: how it was read. It holds
stored bytes and decodes what it is asked for.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from docdb.feeds.diff import difference
from docdb.feeds.positions import Position
from docdb.language.values import Timestamp
from docdb.store import codec

__all__ = ["CATALOG_OPERATIONS", "Change", "DOCUMENT_OPERATIONS"]

DOCUMENT_OPERATIONS: Final = {"i": "insert", "u": "update", "r": "replace", "d": "delete"}
CATALOG_OPERATIONS: Final = {
    "create": "create", "drop": "drop", "rename": "rename", "build": "build_index", "index": "create_index",
    "drop index": "drop_index",
}  # fmt: skip
_MONGO_OPERATIONS: Final = {
    "create_index": "createIndexes",
    "drop_index": "dropIndexes",
    "build_index": "startIndexBuild",
}
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Change:
    """One committed change.

    ``operation`` is insert, update, replace or delete; of the catalog create, drop, rename, create_index, drop_index (build_index when one is begun);
    ``detail`` then says more (``to`` of a rename, ``index``). ``before`` and ``after`` are the documents, None where there is none.
    """

    __slots__ = ("_about", "_after", "_before", "clock_us", "collection", "detail", "operation", "place")

    def __init__(
        self, about: tuple[str, str], commit: int, index: int, clock_us: int, operation: str, collection: str, before: bytes,
        after: bytes, detail: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._about = about
        self.place = commit, index
        self.clock_us = clock_us
        self.operation = operation
        self.collection = collection
        self._before = before
        self._after = after
        self.detail = detail

    @property
    def about(self) -> tuple[str, str]:
        """The ids of the database and of its history's epoch."""
        return self._about

    @property
    def commit(self) -> int:
        """The number of the commit."""
        return self.place[0]

    @property
    def index(self) -> int:
        """The place within the commit, from 0."""
        return self.place[1]

    @property
    def position(self) -> str:
        """The text to resume behind this change."""
        return str(Position(*self._about, *self.place))

    @property
    def time(self) -> dt.datetime:
        """The wall clock of the commit, UTC."""
        return _EPOCH + dt.timedelta(microseconds=self.clock_us)

    @property
    def id(self) -> Any:
        """The document's ``_id``; None for a change of the catalog."""
        data = self._after or self._before
        return codec.decode(data)["_id"] if data else None

    @property
    def before(self) -> dict[str, Any] | None:
        """The document before, decoded anew each time."""
        return codec.decode(self._before) if self._before else None

    @property
    def after(self) -> dict[str, Any] | None:
        """The document after, decoded anew each time."""
        return codec.decode(self._after) if self._after else None

    @property
    def images(self) -> tuple[bytes, bytes]:
        """Both documents as they are stored, empty where there is none."""
        return self._before, self._after

    @property
    def updated_fields(self) -> dict[str, Any] | None:
        """Path -> new value of what an update changed; None for other operations."""
        return self._difference()[0] if self.operation == "update" else None

    @property
    def removed_fields(self) -> list[str] | None:
        """The paths an update removed; None for other operations."""
        return self._difference()[1] if self.operation == "update" else None

    def _difference(self) -> tuple[dict[str, Any], list[str]]:
        return difference(codec.decode(self._before), codec.decode(self._after))

    def document(self, *, full: bool = True, before: bool = True) -> dict[str, Any]:
        """Return the change in MongoDB's form; ``full`` adds ``fullDocument`` to updates, ``before`` the image before."""
        found: dict[str, Any] = {
            "_id": {"_data": self.position},
            "operationType": _MONGO_OPERATIONS.get(self.operation, self.operation),
            "clusterTime": Timestamp(self.clock_us // 1_000_000, self._tick()),
            "wallTime": self.time.replace(microsecond=self.time.microsecond // 1_000 * 1_000),
            "ns": {"db": self._about[0], "coll": self.collection},
        }
        if self.detail is not None:
            if "to" in self.detail:
                found["to"] = {"db": self._about[0], "coll": self.detail["to"]}
            found["operationDescription"] = dict(self.detail)
            return found
        found["documentKey"] = {"_id": self.id}
        if self.operation == "update":
            updated, removed = self._difference()
            found["updateDescription"] = {"updatedFields": updated, "removedFields": removed, "truncatedArrays": []}
        if self._after and (full or self.operation != "update"):
            found["fullDocument"] = self.after
        if self._before and before:
            found["fullDocumentBeforeChange"] = self.before
        return found

    def _tick(self) -> int:
        return self.place[0] & 0xFFFFFFFF

    def __repr__(self) -> str:
        what = f" {self.detail}" if self.detail is not None else f" _id {self.id!r}"
        return f"<{self.operation} in {self.collection!r}{what} at {self.commit}.{self.index}>"
