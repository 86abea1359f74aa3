"""What a pipeline needs from the house: other collections, writing, the clock, limits.

What lives here: the ``Context`` protocol and ``Change``. What it must not know: the store, the planner; whoever runs a pipeline brings
an object of this shape.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

__all__ = ["Batch", "Batches", "Change", "Context", "GeoField"]

Batch = list[dict[str, Any]]
Batches = Iterator[Batch]


class GeoField(NamedTuple):
    """A field of a geographic index: its kind is "2d" or "2dsphere"; the bounds are those of a flat one."""

    path: str
    kind: str
    low: float = -180.0
    high: float = 180.0


@dataclass(frozen=True, slots=True)
class Change:
    """One write of $merge: ``insert`` a new document, or ``replace`` the one with ``key`` (its _id)."""

    operation: Literal["insert", "replace"]
    document: dict[str, Any]
    key: Any = None


class Context(Protocol):
    """What a pipeline runs in. All reads are of one snapshot."""

    @property
    def collection(self) -> str | None:
        """Return the name of the collection the pipeline runs over."""

    @property
    def collation(self) -> Any:
        """Return the collation of every comparison, None for the order of bytes."""

    @property
    def variables(self) -> Mapping[str, Any]:
        """Return the values of the user's variables (``evaluate_let`` makes them)."""

    @property
    def now(self) -> dt.datetime:
        """Return the moment of the statement, ``$$NOW``."""

    @property
    def memory_limit(self) -> int:
        """Return how many bytes a stage may hold."""

    def source(
        self, collection: str, filter: Mapping[str, Any] | None = None, sort: Sequence[tuple[str, int]] | None = None,
        *, metadata: frozenset[str] = frozenset(),
    ) -> Batches:  # fmt: skip
        """Return the documents of a collection (none when it does not exist) that match the filter under ``collation``; an index may serve.

        They carry ``metadata`` (``language/metadata.py``).
        """

    def source_bytes(self, collection: str, filter: Mapping[str, Any]) -> Iterator[list[bytes]]:
        """Return the same documents as they are stored."""

    def nearest(self, collection: str, near: Any, filter: Mapping[str, Any]) -> Batches:
        """Return the documents that match the filter and a ``tree.Near``, nearest first; a geographic index of its field serves."""

    def write(self, collection: str, changes: Sequence[Change]) -> None:
        """Write the changes, in order; the collection is created when it does not exist. Raises DuplicateKeyError."""

    def replace_collection(self, collection: str, batches: Batches) -> None:
        """Put the documents in place of the collection's, keeping its indexes; nothing changes when an error comes."""

    def unique_fields(self, collection: str, *, dense: bool = False) -> Sequence[frozenset[str]]:
        """Return the fields of each unique, not partial index of a collection (``_id`` is understood)."""

    def geographic_fields(self, collection: str) -> Sequence[GeoField] | None:
        """Return the fields of a collection's geographic indexes; None when there is no such collection."""

    def statistics(self, collection: str, kind: str) -> Batch:
        """Return the documents of ``$collStats`` (kind "collection") or ``$indexStats`` (kind "index")."""

    def check_deadline(self) -> None:
        """Raise when the time is over (TimeoutExpired) or nobody waits any more; asked once a batch, and by work that gives none for long."""
