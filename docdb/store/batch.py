"""One storage transaction as the callers in it see it.

What lives here: ``WriteBatch``: the write transaction, the catalog and counters as changed so far, the log to be written. What it
must not know: who the callers are, how they queue (``writer``).

Counters, catalog version, state and log records are kept here and put once, at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docdb.engine.base import CATALOG, EngineTransaction
from docdb.store import catalog as catalog_room
from docdb.store import codec
from docdb.store.catalog import Catalog, CollectionInfo, Counters, State
from docdb.store.changes import CATALOG_CHANGE, LogWriter, record
from docdb.store.keyspace import STATE_KEY, collection_definition_key
from docdb.store.rule_records import RuleRecord, key_of
from docdb.store.views import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from docdb.engine.bell import Herald

__all__ = ["WriteBatch"]


class WriteBatch:
    """Valid from its begin to ``finish`` or ``abort``, on one thread."""

    guard: Any = None  # who judges the changes of the caller that is running (``sessions/setting.py``); None: nobody
    reads: Any = None  # who wants to know what a step reads: ``note_ids(name, id keys)``, ``note_filter(name, node)``

    def __init__(
        self,
        txn: EngineTransaction,
        known: Catalog | None,
        *,
        history_bytes: int,
        history_age_s: float,
        state: State | None = None,
        foretell: Callable[[WriteBatch], None] | None = None,
    ) -> None:
        """``state`` is given when nobody has committed since it and ``known`` were the newest; they are not read again then.

        ``foretell`` is called when all is put; it may set ``forecast`` and ``herald``.
        """
        self.txn = txn
        if state is not None and known is not None:
            self.catalog, self.state = known, state
        else:
            self.catalog, self.state = catalog_room.load(txn, known), State.read(txn)
        self.log = LogWriter(self.state, history_bytes, history_age_s)
        self._began_with = self.catalog
        self._counters: dict[bytes, Counters] = {}
        self._unlogged = False
        self._foretell = foretell
        self.forecast: Any = None  # what the feeds have found out about it ahead of its commit
        self.herald: Herald | None = None  # who tells of its commit

    def view(self, name: str) -> View:
        """Return the collection as it is at this point of the batch."""
        return View(self.txn, self.catalog.get(name))

    def counters(self, key: bytes) -> Counters:
        """Return the counts under a key, to be changed in place; put at the end."""
        known = self._counters.get(key)
        if known is None:
            known = self._counters[key] = Counters.read(self.txn, key)
        return known

    def collection(self, name: str) -> CollectionInfo:
        """Return the collection, made now when it does not exist."""
        info = self.catalog.get(name)
        return self.create_collection(name, {}) if info is None else info

    def create_collection(self, name: str, options: dict[str, Any]) -> CollectionInfo:
        """Put a new collection into the catalog; the caller has made sure of its name."""
        info = CollectionInfo(self.state.next_collection, name, options)
        self.state.next_collection += 1
        self.define(info, {"what": "create", "name": name})
        return info

    def define(self, info: CollectionInfo, what: dict[str, Any]) -> None:
        """Put a collection's definition, new or changed, and a record of ``what`` into the log."""
        self.catalog = self.catalog.with_collection(info)
        self._put_now(collection_definition_key(info.name), info.pack())
        self._log(info.number, what)

    def undefine(self, info: CollectionInfo, what: dict[str, Any]) -> None:
        """Take a collection's definition out of the catalog and log ``what``; its bytes are not touched."""
        self.catalog = self.catalog.without(info.name)
        self.txn.delete_many(CATALOG, [collection_definition_key(info.name)])
        self._log(info.number, what)

    def define_rules(self, name: str, record: RuleRecord | None) -> None:
        """Put the rules of a name, or with None remove them, and a record of that into the log."""
        rules = {known: kept for known, kept in self.catalog.rules.items() if known != name}
        if record is None:
            self.txn.delete_many(CATALOG, [key_of(name)])
        else:
            rules[name] = record
            self._put_now(key_of(name), record.data)
        self.catalog = self.catalog.with_rules(rules)
        info = self.catalog.get(name)
        self._log(0 if info is None else info.number, {"what": "rules", "name": name})

    def made_way(self, info: CollectionInfo, id_keys: Sequence[bytes]) -> None:
        """Called before expired documents are deleted for what the caller writes; here the log says it all."""

    def put_catalog(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Put records beside the definitions (positions, garbage marks); not logged."""
        self._unlogged = True
        self.txn.put_many(CATALOG, list(items))

    def delete_catalog(self, keys: Iterable[bytes]) -> None:
        """Delete records beside the definitions; not logged."""
        self._unlogged = True
        keys = list(keys)
        for key in keys:
            self._counters.pop(key, None)
        self.txn.delete_many(CATALOG, keys)

    def touch(self) -> None:
        """Say that something was put that makes no log record, so that the batch is committed."""
        self._unlogged = True

    @property
    def changed(self) -> bool:
        """Whether there is anything to commit."""
        return self.log.changed or self._unlogged

    def finish(self) -> None:
        """Put counters, version, state and log, and commit. Raises StorageError; the transaction is over in any case."""
        if self.log.changed:
            self.log.write(self.txn)
        items = [(key, counters.pack()) for key, counters in self._counters.items()]
        if self.catalog is not self._began_with:
            items.append(catalog_room.version_item(self.catalog))
        items.append((STATE_KEY, self.state.pack()))
        self.txn.put_many(CATALOG, items)
        if self._foretell is not None:
            self._foretell(self)
        self.txn.commit(self.herald)

    def abort(self) -> None:
        """Undo everything."""
        self.txn.abort()
        if self.herald is not None:
            self.herald.tell(False)

    def _put_now(self, key: bytes, value: bytes) -> None:
        self.txn.put_many(CATALOG, [(key, value)])

    def _log(self, number: int, what: dict[str, Any]) -> None:
        self.log.add([record(CATALOG_CHANGE, number, b"", codec.encode_value(what))])
