"""The catalog: which collections and indexes there are, and the numbers that count them.

What lives here: ``Catalog`` (an immutable picture at one version), its entries ``CollectionInfo`` and ``IndexInfo``, their form in
the ``catalog`` space, and the counters. What it must not know: when the catalog changes (``writer``), how an index is
built (``building``).

``version`` rises with every change of a definition, never with a counter. A reader keeps its picture as long as the version in its
snapshot is the same; ``load`` costs one get then.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from docdb.cached import cached_property
from docdb.engine.base import CATALOG, EngineTransaction
from docdb.errors import CorruptError, DocdbError, FormatError, IndexDefinitionError
from docdb.language.collation import Collation, parse_collation
from docdb.language.filters import parse
from docdb.language.linear_patterns import linear_only
from docdb.language.tree import TRUE, And, Compare, Node, Not, Path
from docdb.store import codec
from docdb.store.geo_entries import GeoEntryMaker
from docdb.store.keyspace import FORMAT_KEY, STATE_KEY, VERSION_KEY, EntryMaker, EntrySpec
from docdb.store.rule_records import PREFIX as RULES_PREFIX
from docdb.store.rule_records import RuleRecord
from docdb.store.wildcard_entries import WILDCARD, WildcardEntryMaker, wildcard_place

if TYPE_CHECKING:
    from docdb.language.text_search import TextSpec
    from docdb.store.text_entries import TextEntryMaker

__all__ = ["Catalog", "CollectionInfo", "Counters", "FORMAT", "IndexInfo", "State", "first_contents", "load"]

FORMAT: Final = 1
COLLECTION_PREFIX: Final = b"c:"
POSITION_PREFIX: Final = b"b:"
GARBAGE_PREFIX: Final = b"g:"
_U64 = struct.Struct(">Q")
_STATE = struct.Struct(">QIIQQ")
_COUNTERS = struct.Struct(">QQQ")
_NO_MORE: Final = bytes(16)


@dataclass(frozen=True)
class IndexInfo:
    """One index. ``keys`` are (path parts, 1 or -1); ``partial`` is the filter as the user wrote it; ``builder`` names who builds it.

    The ways of a geographic index's geographic fields are "2dsphere" or "2d"; ``geo`` holds its options. Those of a text index are "text";
    ``text`` holds its weights and languages. The path of a wildcard ends with ``$**``; ``projection`` says which paths it holds.
    """

    number: int
    name: str
    keys: tuple[tuple[Path, Any], ...]
    unique: bool = False
    sparse: bool = False
    partial: Mapping[str, Any] | None = None
    expire_after_s: float | None = None
    collation: Collation | None = None
    hidden: bool = False
    building: bool = False
    builder: str = ""
    geo: Mapping[str, Any] | None = None
    projection: Mapping[str, Any] | None = None
    text: Mapping[str, Any] | None = None

    @cached_property
    def partial_node(self) -> Node | None:
        """The partial filter as a tree."""
        with linear_only(False):  # whoever is the first to ask, the meaning is the index's
            return None if self.partial is None else parse(self.partial, collation=self.collation)

    def last_date(self, now: dt.datetime) -> dt.datetime:
        """Return the latest date in an expiring index that has expired at ``now``; the earliest there is when none can have."""
        try:
            return now - dt.timedelta(seconds=self.expire_after_s or 0)
        except OverflowError:
            return dt.datetime.min.replace(tzinfo=dt.UTC)

    def gone(self, now: dt.datetime) -> Node:
        """Return the condition that an expiring index counts a document as gone at ``now``: of a partial one only what it holds."""
        expired = Compare(self.keys[0][0], "lte", self.last_date(now))
        return expired if self.partial_node is None else And((self.partial_node, expired))

    @cached_property
    def text_spec(self) -> TextSpec | None:
        """What a text index says of documents; None of another index."""
        if self.text is None:
            return None
        from docdb.language.text_search import TextSpec  # only what has text indexes needs it

        return TextSpec(
            tuple(self.text["weights"].items()), self.text["default_language"], self.text["language_override"], self.text["stemmer"]
        )  # fmt: skip

    @cached_property
    def maker(self) -> EntryMaker | GeoEntryMaker | TextEntryMaker | WildcardEntryMaker:
        """What makes this index's entries."""
        if self.text_spec is not None:
            from docdb.store.text_entries import TextEntryMaker

            return TextEntryMaker(self.number, self.keys, self.text_spec)
        if wildcard_place(self.keys) is not None:
            return WildcardEntryMaker(self.number, self.keys, self.projection, self.collation)
        if any(way not in (1, -1) for _, way in self.keys):
            return GeoEntryMaker(self.number, self.keys, self.geo or {}, self.collation)
        return EntryMaker(
            EntrySpec(
                number=self.number, fields=self.keys, unique=self.unique, sparse=self.sparse, collation=self.collation
            )
        )

    @cached_property
    def roots(self) -> frozenset[str] | None:
        """The fields of a document that the index looks into; None for all."""
        if self.partial is not None:
            return None
        roots = frozenset(path[0] for path, _ in self.keys)
        if self.text_spec is None:
            return None if WILDCARD in roots else roots
        fields = {path.partition(".")[0] for path, _ in self.text_spec.weights}
        return None if self.text_spec.every_field else roots | fields | {self.text_spec.override}

    def may_change(self, paths: Iterable[Path]) -> bool:
        """Tell whether a change of these paths can change the index's entries; by their first parts, so it may say yes in vain."""
        roots = self.roots
        return roots is None or not roots.isdisjoint([path[0] for path in paths])

    def describe(self) -> dict[str, Any]:
        """Return the definition as ``list_indexes`` shows it: key, name and the options that are set."""
        shown: dict[str, Any] = {"v": 2, "key": self._shown_keys(), "name": self.name}
        optional = {
            "unique": self.unique,
            "sparse": self.sparse,
            "partialFilterExpression": self.partial,
            "expireAfterSeconds": self.expire_after_s,
            "collation": self.collation and self.collation.spec,
            **(self.geo or {}),
            "wildcardProjection": self.projection,
            **(self.text or {}),
            "hidden": self.hidden,
            "building": self.building,
        }
        # 0 is an answer (expire at once), False and None are not.
        return shown | {name: value for name, value in optional.items() if value is not None and value is not False}

    def _shown_keys(self) -> dict[str, Any]:
        """Return the keys under their names; the text ones stand as MongoDB shows them, their names are those of the weights."""
        keys: dict[str, Any] = {}
        for path, way in self.keys:
            keys |= {"_fts": "text", "_ftsx": 1} if way == "text" else {".".join(path): way}
        return keys

    def pack(self) -> dict[str, Any]:
        """Return the definition as it is stored."""
        stored = {
            "number": self.number, "name": self.name, "keys": [[list(path), way] for path, way in self.keys],
            "unique": self.unique, "sparse": self.sparse, "partial": self.partial, "expire_after_s": self.expire_after_s,
            "collation": self.collation and self.collation.spec, "hidden": self.hidden, "building": self.building,
            "builder": self.builder,
        }  # fmt: skip
        special = {"geo": self.geo, "projection": self.projection, "text": self.text}
        return stored | {name: dict(value) for name, value in special.items() if value is not None}

    @staticmethod
    def unpack(stored: dict[str, Any]) -> IndexInfo:
        """Return the definition that ``pack`` stored; TypeError or KeyError for another form."""
        if type(stored["number"]) is not int or type(stored["name"]) is not str or type(stored["builder"]) is not str:
            raise TypeError("number, name or builder")
        return IndexInfo(
            **stored
            | {
                "keys": tuple((tuple(path), way) for path, way in stored["keys"]),
                "collation": parse_collation(stored["collation"]),
            }
        )


@dataclass(frozen=True)
class CollectionInfo:
    """One collection. ``options`` are those of ``create_collection`` (``validator``, ``collation``)."""

    number: int
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    indexes: tuple[IndexInfo, ...] = ()

    @cached_property
    def expiring(self) -> tuple[IndexInfo, ...]:
        """The indexes after whose date a document counts as gone."""
        return tuple(index for index in self.indexes if index.expire_after_s is not None)

    @cached_property
    def shapes(self) -> dict[Any, Any]:
        """What the planner has learnt of queries by their shape while this definition holds (``planner/shapes.py``)."""
        return {}

    @cached_property
    def validator(self) -> Node | None:
        """What every written document must match, or None."""
        spec = self.options.get("validator")
        with linear_only(False):
            return parse(spec, collation=self.collation) if spec else None

    @cached_property
    def collation(self) -> Collation | None:
        """The collation of queries that name none."""
        return parse_collation(self.options.get("collation"))

    def index(self, name: str) -> IndexInfo:
        """Return the index of this name; raise IndexDefinitionError (27) when there is none."""
        for index in self.indexes:
            if index.name == name:
                return index
        raise IndexDefinitionError(f"there is no index {name!r} on collection {self.name!r}", path=name, code=27)

    def with_index(self, index: IndexInfo) -> CollectionInfo:
        """Return the collection with this index added, or in place of the one with its number."""
        others = tuple(known for known in self.indexes if known.number != index.number)
        return replace(self, indexes=(*others, index))

    def without_index(self, number: int) -> CollectionInfo:
        """Return the collection without the index of this number."""
        return replace(self, indexes=tuple(known for known in self.indexes if known.number != number))

    def alive(self, now: dt.datetime) -> Node:
        """Return the condition that a document is not expired at ``now`` (an aware datetime); TRUE without expiring indexes."""
        alive = tuple(Not(index.gone(now)) for index in self.expiring)
        return And(alive) if alive else TRUE

    def pack(self) -> bytes:
        """Return the definition as it is stored."""
        return codec.encode_value(
            {"number": self.number, "options": dict(self.options), "indexes": [index.pack() for index in self.indexes]}
        )

    @staticmethod
    def unpack(name: str, data: bytes) -> CollectionInfo:
        """Return the definition that ``pack`` stored."""
        try:
            stored = codec.decode(data)
            number, options = stored["number"], stored["options"]
            indexes = tuple(IndexInfo.unpack(index) for index in stored["indexes"])
            if type(number) is not int or type(options) is not dict:
                raise TypeError("number or options")
            return CollectionInfo(number, name, options, indexes)
        except (DocdbError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptError(f"the definition of collection {name!r} is damaged") from error


@dataclass(frozen=True)
class Catalog:
    """All collections and all rules at one version; rules belong to a name, whether there is such a collection or not."""

    version: int
    collections: Mapping[str, CollectionInfo]
    rules: Mapping[str, RuleRecord] = field(default_factory=dict)

    @cached_property
    def by_number(self) -> dict[int, CollectionInfo]:
        """The collections by number."""
        return {info.number: info for info in self.collections.values()}

    @cached_property
    def expires(self) -> bool:
        """Whether any collection has an expiring index."""
        return any(info.expiring for info in self.collections.values())

    def get(self, name: str) -> CollectionInfo | None:
        """Return the collection of this name, or None."""
        return self.collections.get(name)

    def with_collection(self, info: CollectionInfo) -> Catalog:
        """Return the next version, with this collection added or in place of the one of its name."""
        return Catalog(self.version + 1, {**self.collections, info.name: info}, self.rules)

    def without(self, name: str) -> Catalog:
        """Return the next version without the collection of this name."""
        others = {known: info for known, info in self.collections.items() if known != name}
        return Catalog(self.version + 1, others, self.rules)

    def with_rules(self, rules: Mapping[str, RuleRecord]) -> Catalog:
        """Return the next version, with these rules in place of all others."""
        return Catalog(self.version + 1, self.collections, rules)


@dataclass(slots=True)
class State:
    """The numbers of the next things: the last commit, the next collection and index, and the log's extent."""

    last_commit: int = 0
    next_collection: int = 1
    next_index: int = 1
    log_bytes: int = 0
    oldest_commit: int = 1
    tidy: bool = False  # not stored: nothing below the oldest commit is left in the log
    oldest_us: int = 0  # not stored: the clock of the oldest commit, 0 where nobody has looked

    def copy(self) -> State:
        """Return the same numbers, to be changed."""
        return State(
            self.last_commit, self.next_collection, self.next_index, self.log_bytes, self.oldest_commit, self.tidy,
            self.oldest_us,
        )  # fmt: skip

    def pack(self) -> bytes:
        """Return the stored form."""
        return _STATE.pack(self.last_commit, self.next_collection, self.next_index, self.log_bytes, self.oldest_commit)

    @staticmethod
    def read(txn: EngineTransaction) -> State:
        """Return the numbers as this transaction sees them."""
        data = txn.get(CATALOG, STATE_KEY)
        if data is None or len(data) != _STATE.size:
            raise CorruptError("the catalog's state record is missing or damaged")
        return State(*_STATE.unpack(data))


@dataclass(slots=True)
class Counters:
    """Three counts: documents, bytes, 0 for a collection; entries, cut, multikey for an index."""

    first: int = 0
    second: int = 0
    third: int = 0

    @property
    def entries(self) -> int:
        """Entries of an index."""
        return self.first

    @property
    def cut(self) -> int:
        """Entries of an index whose components were cut."""
        return self.second

    @property
    def multikey(self) -> int:
        """Entries of an index that come from arrays."""
        return self.third

    def pack(self) -> bytes:
        """Return the stored form; CorruptError when more was taken away than there was."""
        if self.first < 0 or self.second < 0 or self.third < 0:
            raise CorruptError("a counter record is damaged or missing", hint="check() tells which")
        return _COUNTERS.pack(self.first, self.second, self.third)

    @staticmethod
    def only_first(txn: EngineTransaction, key: bytes) -> bool:
        """Tell whether the second and the third count under a key are 0."""
        data = txn.get(CATALOG, key)
        return data is None or (len(data) == _COUNTERS.size and data[8:] == _NO_MORE)

    @staticmethod
    def read(txn: EngineTransaction, key: bytes) -> Counters:
        """Return the counts under a key of ``collection_counters_key`` or ``index_counters_key``; zeros where none were kept yet."""
        data = txn.get(CATALOG, key)
        if data is None:
            return Counters()
        if len(data) != _COUNTERS.size:
            raise CorruptError("a counter record is damaged")
        return Counters(*_COUNTERS.unpack(data))


def position_key(number: int) -> bytes:
    """Return the key under which a building index keeps the last id key it has seen."""
    return POSITION_PREFIX + number.to_bytes(4, "big")


def garbage_key(space: int, number: int) -> bytes:
    """Return the key that marks a dropped prefix in a space whose bytes are still to be removed."""
    return GARBAGE_PREFIX + bytes((space,)) + number.to_bytes(4, "big")


def first_contents(database_id: str, epoch: str, created: Any) -> list[tuple[bytes, bytes]]:
    """Return what the catalog of a new database holds."""
    about = {"format": FORMAT, "database_id": database_id, "epoch": epoch, "created": created}
    return [(FORMAT_KEY, codec.encode_value(about)), (VERSION_KEY, _U64.pack(1)), (STATE_KEY, State().pack())]


def read_about(txn: EngineTransaction) -> dict[str, Any] | None:
    """Return the format record (format, database_id, epoch, created); None in an empty store; FormatError for another format."""
    data = txn.get(CATALOG, FORMAT_KEY)
    if data is None:
        return None
    about: dict[str, Any] = codec.decode(data)
    if type(about) is not dict or "format" not in about:
        raise CorruptError("the catalog's format record is damaged")
    if about["format"] != FORMAT:
        raise FormatError(f"the file has format {about['format']!r}, this docdb reads {FORMAT}")
    if type(about.get("database_id")) is not str or type(about.get("epoch")) is not str:
        raise CorruptError("the catalog's format record is damaged")
    return about


def read_version(txn: EngineTransaction) -> int:
    """Return the catalog's version as this transaction sees it."""
    data = txn.get(CATALOG, VERSION_KEY)
    if data is None or len(data) != 8:
        raise CorruptError("the catalog's version record is missing or damaged")
    version: int = _U64.unpack(data)[0]
    return version


def load(txn: EngineTransaction, known: Catalog | None = None) -> Catalog:
    """Return the catalog as this transaction sees it; ``known`` itself when its version is still the newest."""
    version = read_version(txn)
    if known is not None and known.version == version:
        return known
    collections = {name: CollectionInfo.unpack(name, data) for name, data in _named(txn, COLLECTION_PREFIX)}
    before = {} if known is None else known.rules
    rules = {}
    for name, data in _named(txn, RULES_PREFIX):
        kept = before.get(name)
        rules[name] = kept if kept is not None and kept.data == data else RuleRecord(name, data)
    return Catalog(version, collections, rules)


def _named(txn: EngineTransaction, prefix: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and value of each record under a prefix that ends with a colon."""
    for batch in txn.scan(CATALOG, prefix, prefix[:-1] + b";"):
        for key, data in batch:
            try:
                name = key[len(prefix) :].decode("utf-8")
            except UnicodeDecodeError as error:
                raise CorruptError(f"the name of a collection is damaged: {key!r}") from error
            yield name, data


def version_item(catalog: Catalog) -> tuple[bytes, bytes]:
    """Return the pair that stores the catalog's version."""
    return VERSION_KEY, _U64.pack(catalog.version)
