"""Creating, dropping and renaming collections and indexes.

What lives here: the functions behind the session's administrative calls. What it must not know: queries, documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

from docdb.errors import CollectionError, DocdbError, IndexDefinitionError, NotSupportedError, UsageError
from docdb.language import filters
from docdb.language.collation import parse_collation
from docdb.language.values import canonical
from docdb.sessions.indexing import collation_of, default_name, parse_index, parse_keys, same_definition
from docdb.sessions.text_indexes import refuse_second_text_index
from docdb.store import building
from docdb.store.batch import WriteBatch
from docdb.store.catalog import CollectionInfo, IndexInfo
from docdb.store.store import Store
from docdb.store.writer import Ticket

__all__ = [
    "check_name", "copy_index", "create_collection", "create_index", "drop_collection", "drop_index", "index_stats", "list_indexes",
    "rename_collection",
]  # fmt: skip

LONGEST_NAME: Final = 255
ID_INDEX: Final = {"v": 2, "key": {"_id": 1}, "name": "_id_"}
OPTIONS: Final = frozenset({"collation", "validationAction", "validationLevel", "validator"})
OTHER_OPTIONS: Final = frozenset(
    {"capped", "changeStreamPreAndPostImages", "clusteredIndex", "encryptedFields", "expireAfterSeconds", "max",
     "pipeline", "size", "storageEngine", "timeseries", "viewOn"}
)  # fmt: skip
IGNORED_OPTIONS: Final = frozenset({"comment", "writeConcern"})


def check_name(name: Any) -> None:
    """Refuse what cannot name a collection."""
    if not isinstance(name, str):
        raise CollectionError(f"the name of a collection is text, not {type(name).__name__}", code=73)
    _check_text(name)


@lru_cache(maxsize=1024)
def _check_text(name: str) -> None:
    if not name or len(name.encode("utf-8", "replace")) > LONGEST_NAME:
        raise CollectionError(f"the name of a collection has 1 to {LONGEST_NAME} bytes", path=name[:40] or None)
    if "\0" in name or "$" in name or name.startswith((".", "system.")) or name.endswith("."):
        raise CollectionError(
            f"{name!r} cannot name a collection",
            hint="no NUL, no $, no dot at either end, not system.*",
        )
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CollectionError("the name of a collection is valid UTF-8", path=repr(name)) from error


def create_collection(store: Store, name: str, options: Mapping[str, Any]) -> None:
    """Create a collection; CollectionError (48) when it exists with other options."""
    check_name(name)
    kept = _check_options(options)

    def call(batch: WriteBatch) -> None:
        known = batch.catalog.get(name)
        if known is None:
            batch.create_collection(name, kept)
        elif dict(known.options) != kept or not kept:
            raise CollectionError(
                f"collection {name!r} exists already", code=48, errcode="DATABASE_COLLECTION_ALREADY_EXIST"
            )

    store.write(call)


def _check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for option, value in options.items():
        if option in IGNORED_OPTIONS or value is None:
            continue
        if option in OTHER_OPTIONS:
            raise NotSupportedError(f"the collection option {option!r} is not supported", path=option)
        if option not in OPTIONS:
            near = get_close_matches(option, OPTIONS, 1)
            raise UsageError(
                f"unknown collection option {option!r}", path=option, hint=f"did you mean {near[0]}?" if near else None
            )
        kept[option] = canonical(value)
    collation = parse_collation(kept.get("collation"))
    kept.pop("collation", None)
    if collation is not None:
        kept["collation"] = collation.spec
    if "validator" in kept:
        filters.parse(kept["validator"], collation=collation, near=False)
    for option, choices in (
        ("validationAction", ("error", "warn")),
        ("validationLevel", ("strict", "moderate", "off")),
    ):
        if option in kept and kept[option] not in choices:
            raise UsageError(f"{option} is one of {', '.join(choices)}", path=option, code=2)
    return kept


def drop_collection(store: Store, name: str) -> bool:
    """Remove a collection; return whether it was there."""
    return store.collection(name) is not None and building.drop_collection(store, name)


def rename_collection(store: Store, name: str, new_name: str, *, drop_target: bool = False) -> None:
    """Give a collection another name; numbers, documents and indexes stay. CollectionError 26 or 48."""
    check_name(new_name)

    def call(batch: WriteBatch) -> None:
        info = batch.catalog.get(name)
        if info is None:
            raise CollectionError(f"there is no collection {name!r}", code=26)
        target = batch.catalog.get(new_name)
        if target is not None:
            if not drop_target or new_name == name:
                raise CollectionError(
                    f"collection {new_name!r} exists already", code=48, errcode="DATABASE_COLLECTION_ALREADY_EXIST"
                )
            building.discard_collection(batch, target)
        what = {"what": "rename", "name": name, "to": new_name}
        batch.undefine(info, what)
        batch.define(replace(info, name=new_name), what)

    store.write(call)
    building.sweep(store)


def create_index(store: Store, name: str, keys: Any, options: dict[str, Any]) -> str:
    """Create an index and the collection where it is missing; return its name when it serves."""
    check_name(name)
    progress = options.pop("progress", None)
    wanted = parse_index(keys, options, store.collection(name))
    if wanted.keys == ((("_id",), 1),):
        return _id_index(wanted, store.collection(name))
    _make_index(store, name, wanted, progress)
    return wanted.name


def _make_index(store: Store, name: str, wanted: IndexInfo, progress: building.Progress | None = None) -> None:
    """Put an index into the catalog and build it; whatever comes between, it is finished or gone."""
    ticket = Ticket(lambda batch: _start(batch, name, wanted))
    try:
        started = store.submit(ticket)
        if started is not None:
            building.build(store, name, started, progress)
    except BaseException as error:
        if ticket.landed and ticket.result is not None:
            building.drop_index(store, name, ticket.result.number)
            if not isinstance(error, DocdbError):
                error.add_note("docdb: the index was not made")
        raise


def _id_index(wanted: IndexInfo, info: CollectionInfo | None) -> str:
    """The index on ``_id`` is the order the documents are stored in: asking for it again is no error, changing it is."""
    if wanted.collation != collation_of(info):
        raise IndexDefinitionError("the index on _id has the collation of its collection", path="collation", code=2)
    if wanted.name not in ("_id_", "_id_1"):
        raise IndexDefinitionError("the index on _id is named _id_", path="name", code=67)
    return "_id_"


def _start(batch: WriteBatch, name: str, wanted: IndexInfo) -> IndexInfo | None:
    """Put the index into the catalog as being built; None when it is there already."""
    info = batch.collection(name)
    for known in info.indexes:
        if known.name == wanted.name:
            if same_definition(known, wanted):
                return None
            raise IndexDefinitionError(
                f"an index named {wanted.name!r} exists with another definition", path="name", code=86
            )
        if same_definition(replace(known, unique=wanted.unique, expire_after_s=wanted.expire_after_s), wanted):
            raise IndexDefinitionError(f"the same index exists under the name {known.name!r}", path="name", code=85)
    refuse_second_text_index(info, wanted)
    if wanted.name == "_id_":
        raise IndexDefinitionError("the name _id_ belongs to the index on _id", path="name", code=67)
    index = replace(wanted, number=batch.state.next_index, building=True, builder=building.builder_name())
    batch.state.next_index += 1
    batch.define(info.with_index(index), {"what": "build", "name": index.name})
    return index


def copy_index(store: Store, name: str, index: IndexInfo) -> None:
    """Make the same index on another collection."""
    _make_index(store, name, index)


def drop_index(store: Store, name: str, index: Any) -> None:
    """Remove an index by name, or by keys."""
    info = store.collection(name)
    if info is None:
        raise CollectionError(f"there is no collection {name!r}", code=26)
    if not isinstance(index, str):
        index = default_name(parse_keys(index))
    if index in ("_id_", "_id_1"):
        raise IndexDefinitionError("the index on _id cannot be dropped", path=index, code=72)
    building.drop_index(store, name, info.index(index).number)


def list_indexes(store: Store, name: str) -> list[dict[str, Any]]:
    """Return the definitions, ``_id_`` first; nothing for a collection that does not exist."""
    info = store.collection(name)
    if info is None:
        return []
    first = dict(ID_INDEX)
    if info.collation is not None:
        first["collation"] = info.collation.spec
    return [first, *(index.describe() for index in info.indexes)]


def index_stats(store: Store, name: str) -> list[dict[str, Any]]:
    """Return name, key, entries, cut and multikey entries, and how often each index served in this process."""
    with store.snapshot() as snapshot:
        view = snapshot.view(name)
        if view.collection is None:
            return []
        rows = [{"name": "_id_", "key": {"_id": 1}, "entries": view.document_count(), "cut": 0, "multikey": 0}]
        for index in view.collection.indexes:
            counters = view.counters(index)
            rows.append(
                {
                    "name": index.name,
                    "key": {".".join(path): way for path, way in index.keys},
                    "entries": counters.entries,
                    "cut": counters.cut,
                    "multikey": counters.multikey,
                    "bytes": view.entry_bytes(index),
                    "uses": store.uses(index.number),
                    "building": index.building,
                }
            )
        return rows
