"""Which documents a writing operation concerns.

What lives here: ``Selection``: a filter and what goes with it, understood before the lock and run inside it. What it must not know: what is done to
the documents.
"""

from __future__ import annotations

from typing import Any, Final

from docdb.language import filters, sorting
from docdb.language.order import order_key
from docdb.language.tree import And, Compare, Node
from docdb.language.values import ObjectId, Regex
from docdb.planner.planner import plan
from docdb.planner.queries import FindQuery
from docdb.sessions.setting import Setting
from docdb.store.batch import WriteBatch
from docdb.store.keyspace import MAX_ID, component
from docdb.store.views import View

__all__ = ["Selection"]

MOST_INT: Final = 2**63 - 1


class Selection:
    """Which documents an operation concerns: the filter and what goes with it, ready to run in a batch."""

    __slots__ = ("_collation", "_limit", "_query", "action", "operation", "pinned", "setting")

    def __init__(self, operation: Any, setting: Setting, *, action: str, limit: int | None) -> None:
        """``action`` is "update" or "delete"."""
        self.setting = setting
        self.action = action
        self.operation = operation
        self._limit = limit
        self._collation = setting.collation(operation.collation)
        self._query: FindQuery | None = None
        self.pinned = self._plain_id()  # the id key, when the filter is one _id
        if self.pinned is None:
            node = self.query.node  # what is wrong with it is said here, before the lock
            self.pinned = _pinned(node) if operation.hint is None else None

    def _plain_id(self) -> bytes | None:
        """Return the id key of a filter that is a plain ``_id`` and no more, which needs no parsing."""
        operation = self.operation
        given = operation.filter
        if type(given) is not dict or len(given) != 1 or operation.hint is not None or self._collation is not None:
            return None
        id = given.get("_id")
        plain = (
            type(id) is ObjectId
            or (type(id) is str and id.isascii())
            or (type(id) is int and -MOST_INT <= id <= MOST_INT)
        )
        return component(id) if plain and not getattr(operation, "sort", None) and operation.let is None else None

    @property
    def query(self) -> FindQuery:
        """The filter, parsed; of a plain ``_id`` only when somebody asks."""
        if self._query is None:
            operation, collation = self.operation, self._collation
            naive_utc = self.setting.naive_utc
            sort = getattr(operation, "sort", None)
            self._query = FindQuery(
                filter=operation.filter,
                node=filters.parse(operation.filter, collation=collation, let=operation.let, naive_utc=naive_utc),
                sort=sorting.parse_sort(sort) if sort else (),
                limit=self._limit,
                hint=operation.hint,
                collation=collation,
                let=operation.let,
            )
        return self._query

    @property
    def upserts(self) -> bool:
        """Whether the operation inserts where it finds nothing."""
        return bool(getattr(self.operation, "upsert", False))

    def rows(self, batch: WriteBatch) -> list[tuple[bytes, bytes]]:
        """Return id key and stored bytes of the documents, as the batch has them now."""
        if self.setting.guard is not None:
            return self.setting.guard.rows(batch, self)
        info = batch.catalog.get(self.setting.name)
        view = View(batch.txn, info)
        if info is not None and info.expiring:
            return self.found(batch, self.query)
        if self.pinned is not None:
            if batch.reads is not None:
                batch.reads.note_ids(self.setting.name, [self.pinned])
            if len(self.pinned) > MAX_ID:  # longer than any stored one, and than any key of the engine
                return []
            (data,) = view.fetch([self.pinned], decode=False)
            return [] if data is None else [(self.pinned, data)]
        return self.found(batch, self.query)

    def found(self, batch: WriteBatch, query: FindQuery) -> list[tuple[bytes, bytes]]:
        """Return id key and stored bytes of what a query finds among the documents that are not expired."""
        info = batch.catalog.get(self.setting.name)
        view = View(batch.txn, info)
        if info is not None and info.expiring:
            query = query._replace(node=And((query.node, info.alive(self.setting.now))))
        if batch.reads is not None:
            batch.reads.note_filter(self.setting.name, query.node)
        return [row for rows in plan(query, view).select(view, self.setting.deadline) for row in rows]


def _pinned(node: Node) -> bytes | None:
    """Return the id key when the filter is nothing but one ``_id``."""
    if isinstance(node, And) and len(node.parts) == 1:
        node = node.parts[0]
    if isinstance(node, Compare) and node.path == ("_id",) and node.op == "eq" and node.collation is None:
        return None if isinstance(node.value, list | Regex) else order_key(node.value)
    return None
