"""What operations answer.

What lives here: pymongo's result objects, the native outcomes (``AddResult``, ``UpdateOutcome``, ...), and
``Result``, the documents of one query. What it must not know: how an answer came about; sessions, collections."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

from docdb.errors import UsageError
from docdb.faces.tables import Tabular, chunks_of
from docdb.store.columns import Chunk

__all__ = [
    "AddResult", "BulkWriteResult", "DeleteResult", "InsertManyResult", "InsertOneResult", "RemoveOutcome",
    "Result", "UpdateAndReturnOutcome", "UpdateOutcome", "UpdateResult",
]  # fmt: skip

T = TypeVar("T")
_SHOWN_ROWS = 20
_SHOWN_CELL = 80


class Result(Tabular, Sequence[T], Generic[T]):
    """The documents of a query, complete: a sequence that is also ``.data``. Tables are made of the dicts; the query's own ``to_arrow`` makes none.

    ``token`` is for ``query.after``: it leads to the next page of a query that began with ``after("")``; None behind the last page.

    >>> found = Result([{"n": 1}, {"n": 2}])
    >>> len(found), found[1], found.data == found.to_list()
    (2, {'n': 2}, True)
    """

    __slots__ = ("data", "token")

    def __init__(self, data: list[T], token: str | None = None) -> None:
        self.data = data
        self.token = token

    def to_list(self) -> list[T]:
        """Return the documents as a new list."""
        return list(self.data)

    def _chunks(self, text: frozenset[str]) -> Iterator[Chunk]:
        return chunks_of(iter([self.data]), text)

    def first(self) -> T | None:
        """Return the first document, or None."""
        return self.data[0] if self.data else None

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Result[T]: ...
    def __getitem__(self, index: int | slice) -> T | Result[T]:
        if isinstance(index, slice):
            return Result(self.data[index])
        return self.data[index]

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[T]:
        return iter(self.data)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Result):
            return self.data == other.data
        return self.data == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable, as a list is

    def __repr__(self) -> str:
        return f"<Result of {len(self.data)} documents>"

    def _repr_html_(self) -> str:
        """Return a table for notebooks: the first rows, the columns in the order they appear."""
        rows = [row if isinstance(row, dict) else vars(row) for row in self.data[:_SHOWN_ROWS]]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
        body = "".join(f"<tr>{''.join(_cell(row, name) for name in columns)}</tr>" for row in rows)
        count = len(self.data)
        more = (
            f"<p>{count} documents, the first {_SHOWN_ROWS} shown</p>"
            if count > _SHOWN_ROWS
            else f"<p>{count} documents</p>"
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(row: dict[str, Any], name: str) -> str:
    if name not in row:
        return "<td></td>"
    value = row[name]
    text = value if isinstance(value, str) else repr(value)
    if len(text) > _SHOWN_CELL:
        text = text[: _SHOWN_CELL - 1] + "…"
    return f"<td>{html.escape(text)}</td>"


@dataclass(frozen=True, slots=True)
class AddResult:
    """What ``add`` made: ``ids`` in the order given; ``id`` when it was one document."""

    ids: list[Any]

    @property
    def id(self) -> Any:
        """The id of the one document."""
        if len(self.ids) != 1:
            raise UsageError(f"add() stored {len(self.ids)} documents", hint="use .ids")
        return self.ids[0]


@dataclass(frozen=True, slots=True)
class UpdateOutcome:
    """What an update changed: documents that really changed (or were replaced), those that matched, and the id of one that was made."""

    updated: int
    matched: int = 0
    upserted_id: Any = None


@dataclass(frozen=True, slots=True)
class UpdateAndReturnOutcome(Generic[T]):
    """What ``update_and_return`` changed (0 or 1) and the document after it."""

    updated: int
    doc: T | None


@dataclass(frozen=True, slots=True)
class RemoveOutcome:
    """How many documents are gone."""

    removed: int

    @property
    def deleted(self) -> int:
        """The same by the name the server packages use."""
        return self.removed


@dataclass(frozen=True, slots=True)
class InsertOneResult:
    """pymongo's answer to ``insert_one``."""

    inserted_id: Any
    acknowledged: bool = True


@dataclass(frozen=True, slots=True)
class InsertManyResult:
    """pymongo's answer to ``insert_many``."""

    inserted_ids: list[Any]
    acknowledged: bool = True


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """pymongo's answer to an update or a replacement; ``upserted_id`` is None also when the made document's ``_id`` is null."""

    matched_count: int
    modified_count: int
    upserted_id: Any = None
    did_upsert: bool = False
    acknowledged: bool = True

    @property
    def raw_result(self) -> dict[str, Any]:
        """The answer as the server would give it."""
        raw = {"n": self.matched_count + self.did_upsert, "nModified": self.modified_count, "ok": 1.0,
               "updatedExisting": self.matched_count > 0}  # fmt: skip
        if self.did_upsert:
            raw["upserted"] = self.upserted_id
        return raw


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """pymongo's answer to a deletion."""

    deleted_count: int
    acknowledged: bool = True

    @property
    def raw_result(self) -> dict[str, Any]:
        """The answer as the server would give it."""
        return {"n": self.deleted_count, "ok": 1.0}


@dataclass(frozen=True, slots=True)
class BulkWriteResult:
    """pymongo's answer to ``bulk_write``; ``bulk_api_result`` is the report in the server's names."""

    bulk_api_result: dict[str, Any] = field(default_factory=dict)
    acknowledged: bool = True

    @property
    def inserted_count(self) -> int:
        """How many documents were inserted."""
        return int(self.bulk_api_result["nInserted"])

    @property
    def matched_count(self) -> int:
        """How many documents the updates matched."""
        return int(self.bulk_api_result["nMatched"])

    @property
    def modified_count(self) -> int:
        """How many documents really changed."""
        return int(self.bulk_api_result["nModified"])

    @property
    def deleted_count(self) -> int:
        """How many documents are gone."""
        return int(self.bulk_api_result["nRemoved"])

    @property
    def upserted_count(self) -> int:
        """How many documents were made by upserts."""
        return int(self.bulk_api_result["nUpserted"])

    @property
    def upserted_ids(self) -> dict[int, Any]:
        """The ids of the documents made by upserts, by the index of their request."""
        return {entry["index"]: entry["_id"] for entry in self.bulk_api_result["upserted"]}
