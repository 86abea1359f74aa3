"""Who is interested in which collections.

What lives here: ``Interest``, the live queries on one name, and ``Interests``, which binds names to the numbers that the log speaks of. What it must not
know: what a commit has for whom, who reads. Whoever owns them holds a lock, but for ``by_number.get``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from docdb.feeds.predicates import PredicateIndex

if TYPE_CHECKING:
    from docdb.feeds.live import LiveQuery
    from docdb.store.catalog import Catalog, CollectionInfo
    from docdb.store.snapshots import Snapshot

__all__ = ["Interest", "Interests"]

_BINDING: Final = ("create", "drop", "rename")
_INDEXING: Final = ("build", "index", "drop index")


class Interest:
    """The live queries on one collection name."""

    __slots__ = ("awaited", "count", "expiring", "index", "number", "readers")

    def __init__(self) -> None:
        self.number: int | None = None
        self.expiring: tuple[int, ...] = ()
        self.index = PredicateIndex()
        self.count = 0
        self.awaited: set[int] = set()  # those that somebody waits for
        self.readers: set[int] = set()  # queries on other names whose rules read this collection

    @property
    def empty(self) -> bool:
        """Whether there is nobody."""
        return not self.count and not self.readers


class Interests:
    """Interests by name and, where there is a collection, by its number. ``bindings`` counts how often queries and collections were bound to one another."""

    def __init__(self) -> None:
        self.by_name: dict[str, Interest] = {}
        self.by_number: dict[int, Interest] = {}
        self._names: dict[int, tuple[str, ...]] = {}  # of queries with rules: the names they read besides their own
        self.bindings = 0

    @property
    def unindexed(self) -> int:
        """How many queries are candidates for every change."""
        return sum(interest.index.unindexed for interest in self.by_name.values())

    def bind(self, query: LiveQuery[Any], catalog: Catalog) -> None:
        """Take in a query, under its source's filter."""
        self.bindings += 1
        source, key = query.source, query.key
        interest = self._interest(source.name, catalog)
        interest.index.add(key, source.node)
        interest.count += 1
        if query.awaited:
            interest.awaited.add(key)
        query.node, query.watched = source.node, source.watched()
        if query.watched:
            self._names[key] = tuple(query.watched)
            for name in query.watched:
                self._interest(name, catalog).readers.add(key)

    def _interest(self, name: str, catalog: Catalog) -> Interest:
        interest = self.by_name.get(name)
        if interest is None:
            interest = self.by_name[name] = Interest()
        info = catalog.get(name)
        if info is not None:
            interest.expiring = _expiring(info)
            self.by_number[info.number] = interest
            interest.number = info.number
        return interest

    def unbind(self, key: int, name: str) -> None:
        """Take a query out."""
        self.bindings += 1
        interest = self.by_name.get(name)
        if interest is None:
            return
        interest.index.remove(key)
        interest.count -= 1
        interest.awaited.discard(key)
        self._drop_if_empty(name)
        for other in self._names.pop(key, ()):
            self.by_name[other].readers.discard(key)
            self._drop_if_empty(other)

    def _drop_if_empty(self, name: str) -> None:
        interest = self.by_name[name]
        if interest.empty:
            del self.by_name[name]
            if interest.number is not None and self.by_number.get(interest.number) is interest:
                del self.by_number[interest.number]

    def heed(self, query: LiveQuery[Any], awaited: bool) -> None:
        """Note whether anybody waits for a query."""
        interest = self.by_name.get(query.source.name)
        if interest is not None and awaited:
            interest.awaited.add(query.key)
        elif interest is not None:
            interest.awaited.discard(query.key)

    def follow(
        self, number: int, what: dict[str, Any], snapshot: Snapshot, living: Callable[[], Sequence[LiveQuery[Any]]]
    ) -> set[int]:
        """Follow a change of the catalog; return the queries for which it changes what they mean."""
        self.bindings += 1
        kind, interest = what["what"], self.by_number.get(number)
        if kind == "rules":
            return self._keys_on({what["name"]}, living(), constrained=True)
        if kind in _BINDING:
            if kind != "create":
                self.by_number.pop(number, None)
            now = what.get("to", what["name"]) if kind != "drop" else None
            if now in self.by_name:
                self.by_name[now].number = number
                self.by_number[number] = self.by_name[now]
            names = {what["name"], what.get("to")}
            info = snapshot.catalog.by_number.get(number)
            # Where there was nothing a new collection is nothing either, but under its collation the filter may say something else.
            plain = kind == "create" and (info is None or info.collation is None)
            return self._keys_on(names, living(), constrained=plain)
        if interest is not None:
            info = snapshot.catalog.by_number.get(number)
            if kind not in _INDEXING:
                return self._keys_on({name for name, one in self.by_name.items() if one is interest}, living())
            if info is not None and _expiring(info) != interest.expiring:
                interest.expiring = _expiring(info)
                return self._keys_on({info.name}, living())
        return set()

    def _keys_on(self, names: set[Any], queries: Iterable[LiveQuery[Any]], *, constrained: bool = False) -> set[int]:
        """Return the queries on these names (only those with rules, when so asked), and those whose rules read them."""
        found = {
            query.key
            for query in queries
            if query.source.name in names and (query.source.constrained or not constrained)
        }
        for name in names & self.by_name.keys():
            found |= self.by_name[name].readers
        return found


def _expiring(info: CollectionInfo) -> tuple[int, ...]:
    return tuple(index.number for index in info.expiring)
