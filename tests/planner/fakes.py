"""A view over plain sorted lists, with the entries that the store's own maker makes, and what a test asks of it."""

from __future__ import annotations

from bisect import bisect_left
from types import SimpleNamespace
from typing import Any

from docdb.language.collation import parse_collation
from docdb.language.filters import parse
from docdb.language.matching import matcher
from docdb.language.order import order_key
from docdb.planner.planner import plan
from docdb.planner.queries import FindQuery
from docdb.store import codec
from docdb.store.keyspace import EntryMaker, EntrySpec
from docdb.store.wildcard_entries import WildcardEntryMaker, wildcard_place


def index(number: int, keys: dict[str, int], **more: Any) -> SimpleNamespace:
    """An index definition; ``partial`` is a filter document, ``collation`` a specification."""
    collation = parse_collation(more.pop("collation", None))
    partial = more.pop("partial", None)
    fields = tuple((tuple(name.split(".")), way) for name, way in keys.items())
    plain = {"unique": False, "sparse": False, "building": False, "hidden": False, "projection": None}
    return SimpleNamespace(
        number=number,
        name="_".join(f"{name}_{way}" for name, way in keys.items()),
        keys=fields,
        collation=collation,
        partial_node=None if partial is None else parse(partial, collation=collation),
        **plain | more,
    )


def _wildcard(definition: SimpleNamespace) -> WildcardEntryMaker:
    return WildcardEntryMaker(definition.number, definition.keys, definition.projection, definition.collation)


class FakeView:
    """One collection, its documents and the entries of its indexes."""

    applies_programs = False

    def __init__(self, documents: list[dict[str, Any]], *indexes: SimpleNamespace) -> None:
        self.collection = SimpleNamespace(name="things", indexes=indexes, shapes={})
        self.documents = sorted((order_key(d["_id"]), codec.encode(d)) for d in documents)
        self.stored = dict(self.documents)
        self.made = {i.number: self._entries(i, documents) for i in indexes}
        self.touched = 0
        self.counting = 0

    def _entries(self, definition: SimpleNamespace, documents: list[dict[str, Any]]) -> list[tuple[bytes, bytes]]:
        spec = EntrySpec(definition.number, definition.keys, definition.unique, definition.sparse, definition.collation)
        holds = matcher(definition.partial_node) if definition.partial_node is not None else lambda document: True
        maker: Any = EntryMaker(spec) if wildcard_place(definition.keys) is None else _wildcard(definition)
        found = [
            (key[4:], value)
            for document in documents
            if holds(document)
            for key, value in maker.entries(order_key(document["_id"]), codec.encode(document))
        ]
        return sorted(found)

    def _slice(self, rows: list[Any], low: bytes, high: bytes | None, reverse: bool, batch: int) -> Any:
        found = rows[bisect_left(rows, (low,)) : len(rows) if high is None else bisect_left(rows, (high,))]
        found = found[::-1] if reverse else found
        for at in range(0, len(found), batch):
            self.touched += len(found[at : at + batch])
            yield found[at : at + batch]

    def scan(
        self,
        *,
        low: bytes = b"",
        high: Any = None,
        reverse: bool = False,
        program: Any = None,
        decode: Any = True,
        batch: int = 256,
    ) -> Any:
        shapes = {
            True: lambda p: codec.decode(p[1]),
            False: lambda p: p[1],
            "pairs": lambda p: p,
            "presence": lambda p: True,
        }
        shape = (lambda p: decode(p[1])) if callable(decode) else shapes[decode]
        for pairs in self._slice(self.documents, low, high, reverse, batch):
            yield [shape(pair) for pair in pairs]

    def fetch(self, ids: list[bytes], *, program: Any = None, decode: Any = True) -> list[Any]:
        stored = [self.stored.get(key) for key in ids]
        made = decode if callable(decode) else codec.decode if decode else bytes
        return [s if s is None else made(s) for s in stored]

    def entries(self, definition: Any, low: bytes, high: bytes, *, reverse: bool = False, batch: int = 256) -> Any:
        yield from self._slice(self.made[definition.number], low, high, reverse, min(batch, 8))

    def entry_ids(self, definition: Any, low: bytes, high: bytes, *, reverse: bool = False, batch: int = 256) -> Any:
        for pairs in self.entries(definition, low, high, reverse=reverse, batch=batch):
            yield [key[len(key) - value[0] :] for key, value in pairs]

    def entry_count(self, definition: Any, low: bytes, high: bytes, limit: int | None = None) -> int:
        rows = self.made[definition.number]
        found = max(0, bisect_left(rows, (high,)) - bisect_left(rows, (low,)))
        found = found if limit is None else min(found, limit)
        self.counting += found
        return found

    def counters(self, definition: Any) -> SimpleNamespace:
        values = [value for _, value in self.made[definition.number]]
        cut = sum(value[1] & 15 == 15 for value in values)
        multikey = sum(value[1] & 0xF0 == 0x10 for value in values)
        return SimpleNamespace(entries=len(values), cut=cut, multikey=multikey)

    def is_plain(self, definition: Any) -> bool:
        counters = self.counters(definition)
        return not counters.cut and not counters.multikey

    def join(self, *_: Any, **__: Any) -> None:
        return None

    def document_count(self) -> int:
        return len(self.documents)

    def document_range_count(self, low: bytes, high: bytes, limit: int | None = None) -> int:
        found = max(0, bisect_left(self.documents, (high,)) - bisect_left(self.documents, (low,)))
        return found if limit is None else min(found, limit)


def query(filter: dict[str, Any] | None = None, *, sort: dict[str, int] | None = None, **more: Any) -> FindQuery:
    """A FindQuery from what a user would write."""
    collation = parse_collation(more.pop("collation", None))
    keys = tuple((tuple(name.split(".")), way) for name, way in (sort or {}).items())
    node = parse(filter or {}, collation=collation)
    return FindQuery(filter=filter or {}, node=node, sort=keys, collation=collation, **more)


def find(view: FakeView, asked: FindQuery) -> list[dict[str, Any]]:
    """All documents a plan delivers."""
    return [document for batch in plan(asked, view).run(view) for document in batch]


def ids(view: FakeView, asked: FindQuery) -> list[Any]:
    """The ids a plan delivers, in order."""
    return [document["_id"] for document in find(view, asked)]
