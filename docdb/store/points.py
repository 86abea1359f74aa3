"""Reading by ``_id`` or by indexed fields, and changing by ``_id``, past all layers: callables by collection name.

What lives here: ``Points``, which makes the readers and changers of one session and teaches them. What it must not know: models, filters, plans.

A reader answers by itself as long as the catalog has the version it was taught at; an engine without readers of its own (memory, py-lmdb's
public interface) gets the session's method. A collection that does not exist or has an expiring index is never taught: those
always take the session's road.

A finder knows readers by the value of a field, for filters whose fields have been asked for more than once and of which one has an index that answers alone.

A changer sets plain fields of one document where nobody else writes at the moment, no index looks at the fields, and the collection has no validator; it
says where the session's road is to be taken instead, and has put nothing then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from docdb.engine.base import CATALOG
from docdb.errors import StorageError
from docdb.language.values import ObjectId
from docdb.store.catalog import CollectionInfo, IndexInfo, version_item
from docdb.store.keyspace import collection_prefix, index_counters_key, index_prefix
from docdb.store.store import READER_CHECK_COMMITS, Store

__all__ = ["FEW", "Changer", "Finder", "Points", "Reader"]

Reader = Callable[[Any], dict[str, Any] | None]
Changer = Callable[[Any, Any], int]  # id, fields -> one of the following
BY_THE_LONG_ROAD, ABSENT, SAME, CHANGED = -1, 0, 1, 2
_UNTAUGHT: Final = -2
Road = Callable[[str, Any], dict[str, Any] | None]
MOST_READERS: Final = 1_000
MOST_FIELDS: Final = 256
FEW: Final = 16  # documents that a finder gives at once
_NOT_YET: Final = -2
FieldRead = Callable[[Any, int, bool], list[dict[str, Any]] | None]
Fields = tuple[str, ...]
Serving = Callable[[CollectionInfo, Fields], tuple[str, IndexInfo | None, bytes] | None]
Note = Callable[[str, str, Any, float], None]


class Finder:
    """Documents of one collection by the values of fields. ``readers``: by the fields, the one that is looked up and what finds its documents.

    A reader takes (value, most, whole) and gives at most ``most`` documents, up to ``FEW``, in the order of the index; with ``whole`` all there are, or None
    where they are more. None stands for everything it is not sure of. Who gets None, or finds no reader, says so (``missed``).
    """

    __slots__ = ("_asked", "_points", "name", "readers")

    def __init__(self, points: Points, name: str) -> None:
        self._points = points
        self._asked: dict[
            Fields, int
        ] = {}  # the version of the catalog that was asked for fields last; NOT_YET once they were missed
        self.name = name
        self.readers: dict[Fields, tuple[str, FieldRead]] = {}

    def missed(self, fields: Fields) -> None:
        """Note that fields were asked for in vain. Cost: a look at a dict; once a change of the definitions one at them."""
        asked, version = self._asked.get(fields), self._points.version
        if asked == version:
            return
        if asked is None:
            if len(self._asked) >= MOST_FIELDS:
                self._asked.clear()
                self.readers.clear()
            self._asked[fields] = _NOT_YET
            return
        self._asked[fields] = version
        reader = self._points.field_reader(self.name, fields)
        if reader is None:
            self.readers.pop(fields, None)
        else:
            self.readers[fields] = reader


class Points:
    """The readers of a session.

    ``get(name, id)`` is its road to the document with exactly this ``_id``, ``match(name, id)`` that to what the filter ``{"_id": id}`` finds:
    under a collation of the collection the two differ.
    """

    def __init__(self, store: Store, get: Road, match: Road, serving: Serving, *, note: Note, slow_s: float) -> None:
        """``serving`` gives the index that answers for a field, and what follows a value in its entries; ``note`` is told of what took ``slow_s``."""
        self._store = store
        self._roads = (get, match)
        self._serving = serving
        self._note = note
        self._slow_s = slow_s
        self._gate = store.engine.gate()
        self._finders: dict[str, Finder] = {}
        self._readers: dict[str, tuple[Reader, Reader]] = {}
        self._changers: dict[str, Changer | None] = {}

    def readers(self, name: str) -> tuple[Reader, Reader]:
        """Return the callables for a name (which may stand for no collection yet): get and match."""
        readers = self._readers.get(name)
        if readers is None:
            if len(self._readers) >= MOST_READERS:
                self._readers.clear()
            get, match = self._roads
            readers = self._readers[name] = self._make(name, get, False), self._make(name, match, True)
        return readers

    @property
    def version(self) -> int:
        """The version of the catalog that the process knows, which may be an old one; -1: none yet."""
        return self._store.known_version

    def finder(self, name: str) -> Finder | None:
        """Return what finds documents of a name by one field, None where the engine has no such thing."""
        if self._gate is None:
            return None
        finder = self._finders.get(name)
        if finder is None:
            if len(self._finders) >= MOST_READERS:
                self._finders.clear()
            finder = self._finders[name] = Finder(self, name)
        return finder

    def field_reader(self, name: str, fields: Fields) -> tuple[str, FieldRead] | None:
        """Return the field that is looked up for a filter on these fields, and what finds its documents now; None where that is not all there is to it."""
        with self._store.snapshot() as snapshot:
            info = snapshot.catalog.get(name)
            if info is None or info.expiring or info.collation is not None:
                return None
            found = self._serving(info, fields)
            if found is None:
                return None
            field, index, behind = found
            known = snapshot.txn, collection_prefix(info.number), CATALOG, *version_item(snapshot.catalog)
            if index is None:
                point = self._store.engine.point_reader(self._gate, _unsure, _unsure, ObjectId)
                point.learn(*known)
                return field, partial(_read_point, point.find)
            reader = self._store.engine.field_reader(
                self._gate, partial(self._note, name, field), ObjectId, self._slow_s
            )
            if reader is None:
                return None
            prefix, counters = index_prefix(index.number), index_counters_key(index.number)
            uses = self._store.index_uses
            reader.learn(*known, index=prefix, counters=counters, behind=behind, uses=uses, number=index.number)
            return field, reader.find

    def changer(self, name: str, most_bytes: int, note: Callable[[str, float], None]) -> Changer | None:
        """Return what changes documents of a name, None where the engine has no such thing. ``note(name, began)`` is told of each change."""
        if name not in self._changers:
            if len(self._changers) >= MOST_READERS:
                self._changers.clear()
            self._changers[name] = self._make_changer(name, most_bytes, note)
        return self._changers[name]

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

    def _make_changer(self, name: str, most_bytes: int, note: Callable[[str, float], None]) -> Changer | None:
        store = self._store
        limits = {"check_commits": READER_CHECK_COMMITS, "most_bytes": most_bytes}
        writer = store.engine.point_writer(self._gate, store, ObjectId, **limits)
        if writer is None:
            return None
        kernel = writer.change

        def change(id: Any, fields: Any) -> int:
            began = time.perf_counter()
            try:
                done: int = kernel(id, fields)
            except StorageError as error:
                store.recover(error, *writer.last_end)
                return BY_THE_LONG_ROAD
            if done == _UNTAUGHT:
                catalog = store.catalog()
                info = catalog.get(name)
                prefix = collection_prefix(0 if info is None else info.number)
                writer.learn(catalog, prefix, None if info is None else _watched(info))
                return BY_THE_LONG_ROAD
            note(name, began)
            return done

        return change


def _unsure(id: Any) -> Any:
    return ...


def _read_point(find: Callable[[Any], Any], id: Any, most: int, whole: bool) -> list[dict[str, Any]] | None:
    found = find(id)
    return None if found is ... else [] if found is None else [found]


def _watched(info: CollectionInfo) -> frozenset[str] | None:
    """Return the fields of a collection that indexes look at; None where a change has more to ask than that."""
    if info.expiring or info.collation is not None or info.validator is not None:
        return None
    roots = [index.roots for index in info.indexes]
    return None if None in roots else frozenset(name for root in roots for name in root or ())
