"""Reading by ``_id`` past all layers: callables by collection name.

What lives here: ``Points``, which makes the readers of one session and teaches them. What it must not know: models, filters, plans.

A reader answers by itself as long as the catalog has the version it was taught at; an engine without readers of its own (memory, py-lmdb's
public interface) gets the session's method. A collection that does not exist or has an expiring index is never taught: those
always take the session's road.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from docdb.engine.base import CATALOG
from docdb.language.values import ObjectId
from docdb.store.catalog import version_item
from docdb.store.keyspace import collection_prefix
from docdb.store.store import Store

__all__ = ["Points", "Reader"]

Reader = Callable[[Any], dict[str, Any] | None]
Road = Callable[[str, Any], dict[str, Any] | None]
MOST_READERS: Final = 1_000


class Points:
    """The readers of a session.

    ``get(name, id)`` is its road to the document with exactly this ``_id``, ``match(name, id)`` that to what the filter ``{"_id": id}`` finds:
    under a collation of the collection the two differ.
    """

    def __init__(self, store: Store, get: Road, match: Road) -> None:
        self._store = store
        self._roads = (get, match)
        self._gate = store.engine.gate()
        self._readers: dict[str, tuple[Reader, Reader]] = {}

    def readers(self, name: str) -> tuple[Reader, Reader]:
        """Return the callables for a name (which may stand for no collection yet): get and match."""
        readers = self._readers.get(name)
        if readers is None:
            if len(self._readers) >= MOST_READERS:
                self._readers.clear()
            get, match = self._roads
            readers = self._readers[name] = self._make(name, get, False), self._make(name, match, True)
        return readers

    def shut(self) -> None:
        """Send every later read to the session, which refuses it."""
        if self._gate is not None:
            self._gate.shut()

    def _make(self, name: str, road: Road, collated: bool) -> Reader:
        plain = partial(road, name)
        if self._gate is None:
            return plain

        def slow(id: Any) -> dict[str, Any] | None:
            found = plain(id)
            self._teach(reader, name, collated)
            return found

        reader = self._store.engine.point_reader(self._gate, slow, plain, ObjectId)
        return reader.find  # type: ignore[no-any-return]

    def _teach(self, reader: Any, name: str, collated: bool) -> None:
        with self._store.snapshot() as snapshot:
            info = snapshot.catalog.get(name)
            if info is None or info.expiring or (collated and info.collation is not None):
                reader.forget()
            else:
                reader.learn(snapshot.txn, collection_prefix(info.number), CATALOG, *version_item(snapshot.catalog))
