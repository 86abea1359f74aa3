"""The administrative calls of a session.

What lives here: ``Administering``, a part of ``StoreSession``; the work is done in ``administration``. What it must not know: queries, documents.
"""

from __future__ import annotations

from typing import Any

from docdb.errors import CollectionError
from docdb.sessions import administration
from docdb.store.catalog import CollectionInfo
from docdb.store.snapshots import Snapshot
from docdb.store.store import Store

__all__ = ["Administering"]


class Administering:
    """Collections, indexes, and what is known of them."""

    store: Store

    def _open(self) -> None:
        raise NotImplementedError

    def note_everything(self, name: str) -> None:
        """Called before a collection's counters are shown; a transaction takes note."""

    def create_collection(self, name: str, /, **options: Any) -> None:
        """Create a collection; CollectionError (48) when it exists with other options."""
        self._open()
        administration.create_collection(self.store, name, options)

    def drop_collection(self, name: str) -> bool:
        """Remove a collection; return whether it was there."""
        self._open()
        return administration.drop_collection(self.store, name)

    def rename_collection(self, name: str, new_name: str, *, drop_target: bool = False) -> None:
        """Give a collection another name; its numbers, documents and indexes stay where they are."""
        self._open()
        administration.rename_collection(self.store, name, new_name, drop_target=drop_target)

    def create_index(self, collection: str, keys: Any, /, **options: Any) -> str:
        """Create an index and the collection where it is missing; returns when the index serves. ``progress(done, total)``."""
        self._open()
        return administration.create_index(self.store, collection, keys, options)

    def drop_index(self, name: str, index: Any) -> None:
        """Remove an index by name or keys; IndexDefinitionError (27) when there is none."""
        self._open()
        administration.drop_index(self.store, name, index)

    def list_indexes(self, name: str) -> list[dict[str, Any]]:
        """Return the definitions, ``_id_`` first."""
        self._open()
        return administration.list_indexes(self.store, name)

    def index_stats(self, name: str) -> list[dict[str, Any]]:
        """Return name, key, entries, bytes and uses of each index."""
        self._open()
        return administration.index_stats(self.store, name)

    def collection_stats(self, name: str, snapshot: Snapshot) -> list[dict[str, Any]]:
        """Return name, documents and bytes of a collection, in a list of one; CollectionError (26) when there is none."""
        self._open()
        view = snapshot.view(name)
        self.note_everything(name)
        if view.collection is None:
            raise CollectionError(f"there is no collection {name!r}", code=26)
        return [{"ns": name, "count": view.document_count(), "size": view.byte_count()}]

    def administer(self, action: str, name: str | None = None) -> None:
        """Refuse what is done past the session, where the session is not an administrator's."""
        self._open()

    def collection_names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        self._open()
        return sorted(self.store.catalog().collections)

    def collection_info(self, name: str) -> CollectionInfo | None:
        """Return a collection's definition, or None."""
        self._open()
        return self.store.collection(name)
