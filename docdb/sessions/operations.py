"""What can be asked of a collection that changes it: plain values, one class an operation.

What lives here: the operations, ``Outcome``, and ``Session``, the protocol that the faces speak to. What it must not know: how an
operation is carried out (``writing``), which face built it.

The documents in an operation are the user's own: they become canonical when the operation is prepared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from docdb.errors import DocdbError
from docdb.planner.queries import FindQuery
from docdb.store.catalog import CollectionInfo

if TYPE_CHECKING:
    from docdb.sessions.feeding import Feeds
    from docdb.store.columns import Wanted

__all__ = [
    "DeleteOp", "FindAndModifyOp", "InsertOp", "Operation", "Outcome", "ReplaceOp", "Session", "UpdateOp",
]  # fmt: skip

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class InsertOp:
    """Insert one document; ``_id`` is made when absent."""

    document: Document


@dataclass(frozen=True, slots=True)
class UpdateOp:
    """Change one match, or all (``multi``). ``merge``: the CloudBase form, nested plain objects become dotted paths."""

    filter: Document
    update: Any
    multi: bool = False
    upsert: bool = False
    array_filters: Sequence[Document] | None = None
    collation: Any = None
    hint: Any = None
    sort: Any = None
    let: Document | None = None
    merge: bool = False


@dataclass(frozen=True, slots=True)
class ReplaceOp:
    """Put another document in the place of one match; its ``_id`` stays."""

    filter: Document
    replacement: Document
    upsert: bool = False
    collation: Any = None
    hint: Any = None
    sort: Any = None
    let: Document | None = None


@dataclass(frozen=True, slots=True)
class DeleteOp:
    """Remove one match, or all (``multi``)."""

    filter: Document
    multi: bool = False
    collation: Any = None
    hint: Any = None
    let: Document | None = None


@dataclass(frozen=True, slots=True)
class FindAndModifyOp:
    """Change, replace or remove the first match and return it as it was, or as it is now (``return_new``)."""

    filter: Document
    update: Any = None
    replacement: Document | None = None
    remove: bool = False
    sort: Any = None
    projection: Any = None
    upsert: bool = False
    return_new: bool = False
    array_filters: Sequence[Document] | None = None
    collation: Any = None
    hint: Any = None
    let: Document | None = None
    merge: bool = False


Operation = InsertOp | UpdateOp | ReplaceOp | DeleteOp | FindAndModifyOp


@dataclass(slots=True)
class Outcome:
    """What one operation did. ``document`` is FindAndModifyOp's answer; ``upserted`` tells whether it inserted."""

    matched: int = 0
    modified: int = 0
    deleted: int = 0
    inserted_id: Any = None
    upserted_id: Any = None
    upserted: bool = False
    document: dict[str, Any] | None = None


class Session(Protocol):
    """What a Collection speaks to: the database has one; a transaction and a user have theirs."""

    settings: Any  # ``naive_utc`` and the other choices of ``docdb.open``

    @property
    def feeds(self) -> Feeds:
        """Return what makes change streams and live queries."""

    def execute(
        self, name: str, operations: Sequence[Operation], *, ordered: bool = True, max_time_ms: float | None = None
    ) -> list[Outcome | DocdbError]:
        """Carry out the operations in one commit; with ``ordered`` the first error ends the list."""

    def insert_all(self, name: str, documents: Sequence[Document]) -> list[Any] | None:
        """Insert documents in one commit and return their ids; None when one cannot go in: nothing is put, ``execute`` tells why."""

    def find(self, name: str, query: FindQuery, *, max_time_ms: float | None = None) -> Iterator[list[dict[str, Any]]]:
        """Yield batches of documents from one snapshot. Where ``query.after`` is given, the iterator's ``token`` names the last document."""

    def stored(self, name: str, query: FindQuery, *, max_time_ms: float | None = None) -> Iterator[list[bytes]]:
        """Yield batches of the stored bytes of the documents, whole; the query has no keyset token and asks for no metadata."""

    def get(self, name: str, id: Any) -> dict[str, Any] | None:
        """Return a document by ``_id``."""

    def count(self, name: str, query: FindQuery, *, max_time_ms: float | None = None) -> int:
        """Return the number of matches."""

    def estimated_count(self, name: str) -> int:
        """Return the number of documents from the counters."""

    def distinct(self, name: str, path: str, query: FindQuery, *, max_time_ms: float | None = None) -> list[Any]:
        """Return the distinct values at a path among the matches."""

    def explain(self, name: str, query: FindQuery, *, verbosity: str = "executionStats") -> dict[str, Any]:
        """Return the plan, printed."""

    def aggregate(
        self,
        name: str | None,
        pipeline: Sequence[Document],
        *,
        collation: Any = None,
        hint: Any = None,
        let: Document | None = None,
        max_time_ms: float | None = None,
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield batches of what a pipeline makes."""

    def stored_aggregate(
        self, name: str, pipeline: Sequence[Document], *, max_time_ms: float | None = None, **options: Any
    ) -> tuple[Wanted, Iterator[list[bytes]]] | None:
        """Return which fields of which stored documents a pipeline shows, None where its stages make new ones. ``options``: collation, hint, let."""

    def explain_aggregate(
        self, name: str, pipeline: Sequence[Document], *, verbosity: str = "executionStats", **options: Any
    ) -> dict[str, Any]:
        """Return the plan of a pipeline; nothing is written. ``options``: collation, hint, let."""

    def create_collection(self, name: str, /, **options: Any) -> None:
        """Create a collection; CollectionError when it exists."""

    def drop_collection(self, name: str) -> bool:
        """Remove a collection; return whether it was there."""

    def rename_collection(self, name: str, new_name: str, *, drop_target: bool = False) -> None:
        """Give a collection another name."""

    def create_index(self, collection: str, keys: Any, /, **options: Any) -> str:
        """Create an index (and the collection) and return its name."""

    def drop_index(self, name: str, index: str) -> None:
        """Remove an index."""

    def collection_info(self, name: str) -> CollectionInfo | None:
        """Return a collection's definition, or None."""

    def list_indexes(self, name: str) -> list[dict[str, Any]]:
        """Return the definitions, ``_id_`` first."""

    def index_stats(self, name: str) -> list[dict[str, Any]]:
        """Return name, key, size and uses of each index."""
