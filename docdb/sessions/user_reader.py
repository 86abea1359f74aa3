"""What rules read with ``get``: the documents of the operation's own snapshot.

What lives here: ``SnapshotReader``. What it must not know: rules, who is judged.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Protocol

from docdb.errors import DocumentError
from docdb.language.filters import conjunction
from docdb.language.matching import matcher
from docdb.language.order import order_key
from docdb.language.tree import Compare, Node, TypeIs
from docdb.language.values import canonical
from docdb.planner.access import FullScan
from docdb.planner.planner import plan
from docdb.planner.queries import FindQuery
from docdb.rules.evaluator import Unanswered
from docdb.rules.readers import equals
from docdb.store.catalog import CollectionInfo
from docdb.store.keyspace import MAX_ID
from docdb.store.views import View

__all__ = ["Notes", "SnapshotReader"]

MOST_SCANNED: Final = 10_000  # documents of a collection that no index helps with


class Notes(Protocol):
    """Who wants to know what is read."""

    def note_ids(self, name: str, id_keys: Sequence[bytes]) -> None:
        """Note documents that are read by their ids."""

    def note_filter(self, name: str, node: Node) -> None:
        """Note the filter of a scan."""


class SnapshotReader:
    """Fulfils ``rules.evaluator.Reader`` over the views of one snapshot or write transaction. Expired documents are not there."""

    def __init__(self, view_of: Callable[[str], View], now: dt.datetime, notes: Notes | None = None) -> None:
        self._view_of = view_of
        self._now = now
        self._notes = notes

    def document(self, collection: str, key: str) -> Mapping[str, Any] | None:
        """Return the document whose ``_id`` is ``key``, or None. Cost: one point read."""
        id_key = order_key(key)
        if len(id_key) > MAX_ID:
            return None
        view = self._view_of(collection)
        if self._notes is not None:
            self._notes.note_ids(collection, [id_key])
        found: Mapping[str, Any] | None = view.fetch([id_key])[0]
        info = view.collection
        if found is None or info is None or not info.expiring:
            return found
        return found if matcher(info.alive(self._now))(found) else None

    def matching(self, collection: str, equal: Mapping[str, Any], limit: int) -> Sequence[Mapping[str, Any]]:
        """Return at most ``limit`` documents whose fields equal the values. Cost: one planned query."""
        return list(islice(self._found(collection, equal), limit))

    def count(self, collection: str, equal: Mapping[str, Any], limit: int) -> int:
        """Return how many documents have fields that equal the values, counting no further than ``limit``."""
        return sum(1 for _ in islice(self._found(collection, equal), limit))

    def _found(self, collection: str, equal: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield what matches: the filter finds a little too much (arrays by their members), the strict comparison decides."""
        try:
            leaves = [_leaf(path, value) for path, value in equal.items()]
        except DocumentError:
            return  # no stored document holds such a value
        view = self._view_of(collection)
        info = view.collection
        if info is not None and info.expiring:
            leaves.append(info.alive(self._now))
        node = conjunction(leaves)
        if self._notes is not None:
            self._notes.note_filter(collection, node)
        if info is None:
            return
        chosen = plan(FindQuery(node=node), view)
        # Where an index serves and is not taken, most documents match: then the scan soon finds what it needs.
        if isinstance(chosen.access, FullScan) and not _is_served(info, equal) and view.document_count() > MOST_SCANNED:
            raise Unanswered(f"no index of {collection!r} serves {', '.join(equal)}")
        for batch in chosen.run(view):
            yield from (document for document in batch if equals(document, equal))


def _is_served(info: CollectionInfo, equal: Mapping[str, Any]) -> bool:
    """Tell whether an index begins with one of the fields, or nothing is asked of them."""
    whole = [index for index in info.indexes if index.partial is None and not index.building and not index.hidden]
    return not equal or any(".".join(index.keys[0][0]) in equal for index in whole)


def _leaf(path: str, value: Any) -> Node:
    steps = tuple(path.split("."))
    return TypeIs(steps, frozenset({"null"})) if value is None else Compare(steps, "eq", canonical(value))
