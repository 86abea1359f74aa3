"""Carrying out operations: from a user's operation to document changes in a write batch.

What lives here: ``prepare_all``, which does before the writer's lock whatever can be done there (parsing, checking, encoding), and the steps
that run inside it. What it must not know: sessions, faces, how batches are committed.

A step is ``step(batch) -> Outcome``. It selects against what earlier callers of the batch have put, computes every new image, and
only then hands all changes of the operation to ``records.apply``, which checks unique keys before its first put. So a step that raises
has put nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from docdb.errors import DocumentError, DuplicateKeyError, UpdateError, UsageError, ValidationError
from docdb.language import filters, matching, projection, sorting, updates
from docdb.language.collation import Collation, parse_collation
from docdb.language.order import order_key
from docdb.language.server_date import resolve_server_dates
from docdb.language.tree import TRUE, And, Compare, Node
from docdb.language.values import ObjectId, Regex, canonical
from docdb.planner.planner import plan
from docdb.planner.queries import FindQuery
from docdb.sessions.operations import DeleteOp, FindAndModifyOp, InsertOp, Operation, Outcome, ReplaceOp, UpdateOp
from docdb.store import codec, records
from docdb.store.batch import WriteBatch
from docdb.store.catalog import CollectionInfo
from docdb.store.changes import DELETE, INSERT, REPLACE, UPDATE
from docdb.store.keyspace import MAX_ID, component
from docdb.store.records import DocumentChange, Prepared
from docdb.store.runs import gather, prepare_run
from docdb.store.views import View

__all__ = ["COMMIT_BYTES", "Setting", "TooLarge", "prepare_all", "prepare_documents"]

COMMIT_BYTES: Final = 256 * 2**20
MOST_INT: Final = 2**63 - 1
Step = Callable[[WriteBatch], Outcome]


@dataclass(frozen=True, slots=True)
class Setting:
    """What all operations of a call share: the collection as known before the lock, the statement's clock, limits."""

    name: str
    info: CollectionInfo | None
    version: int
    now: dt.datetime
    naive_utc: bool = False
    commit_bytes: int = COMMIT_BYTES
    deadline: float | None = None

    def collation(self, spec: Any) -> Collation | None:
        """Return the collation asked for, or the collection's own."""
        if spec is not None:
            return parse_collation(spec)
        return self.info.collation if self.info is not None else None


def prepare_all(operations: Sequence[Operation], setting: Setting) -> list[Step]:
    """Return a step for each operation. Raises the DocdbError of the first one that cannot be understood."""
    return [_PREPARE[type(operation)](operation, setting) for operation in operations]


def prepare_documents(documents: Sequence[Mapping[str, Any]], setting: Setting) -> Prepared:
    """Encode new documents and make their index entries."""
    number = 0 if setting.info is None else setting.info.number
    ids, made = prepare_run(documents, setting.naive_utc, number, lambda document: _encode(document, setting))
    if made.data_bytes > setting.commit_bytes:
        raise _too_large(setting)
    validate = _validator(setting.info)
    if validate is not None:
        for data in made.lists()[1]:
            validate(codec.decode(data))
    return records.prepare(setting.version, setting.info, ids, made)


def _encode(document: Mapping[str, Any], setting: Setting) -> tuple[Any, bytes, bytes]:
    """Return id, id key and stored bytes; server dates are looked for only where the encoder stumbles."""
    try:
        return codec.prepare(document, setting.naive_utc)
    except DocumentError:
        resolved = resolve_server_dates(document, setting.now)
        if resolved is document:
            raise
        return codec.prepare(resolved, setting.naive_utc)


def _insert(operation: InsertOp, setting: Setting) -> Step:
    prepared = prepare_documents([operation.document], setting)

    def step(batch: WriteBatch) -> Outcome:
        info = batch.collection(setting.name)
        if not records.insert_prepared(batch, info, prepared):
            _insert_over(batch, info, prepared, setting)
        return Outcome(inserted_id=prepared.ids[0])

    return step


def _insert_over(batch: WriteBatch, info: CollectionInfo, prepared: Prepared, setting: Setting) -> None:
    """Insert one document that meets an existing key: over an expired document, or DuplicateKeyError."""
    (id_key,), (data,) = prepared.documents.lists()
    (stored,) = View(batch.txn, info).fetch([id_key], decode=False)
    if stored is not None:
        if info.expiring and not matching.matcher(info.alive(setting.now))(codec.decode(stored)):
            records.apply(batch, info, [DocumentChange(DELETE, id_key, stored, None)])
        else:
            raise records.duplicate_id(info, prepared.ids[0])
    _apply(batch, info, [DocumentChange(INSERT, id_key, None, data)], setting)


def _apply(
    batch: WriteBatch,
    info: CollectionInfo,
    changes: Sequence[DocumentChange],
    setting: Setting,
    paths: frozenset[tuple[str, ...]] | None = None,
) -> None:
    """Put the changes; expired documents that hold a unique key make way as by an ordinary delete."""
    try:
        records.apply(batch, info, changes, paths)
    except DuplicateKeyError:
        expired = _expired(batch, info, records.rivals(batch, info, changes), setting) if info.expiring else []
        if not expired:
            raise
        records.apply(batch, info, expired)
        records.apply(batch, info, changes, paths)


def _expired(batch: WriteBatch, info: CollectionInfo, id_keys: set[bytes], setting: Setting) -> list[DocumentChange]:
    alive = matching.matcher(info.alive(setting.now))
    keys = sorted(id_keys)
    stored = zip(keys, View(batch.txn, info).fetch(keys, decode=False), strict=True)
    return [DocumentChange(DELETE, key, data, None) for key, data in stored if data and not alive(codec.decode(data))]


class _Selection:
    """Which documents an operation concerns: the filter and what goes with it, ready to run in a batch."""

    __slots__ = ("_collation", "_limit", "_operation", "_query", "pinned", "setting")

    def __init__(self, operation: Any, setting: Setting, *, limit: int | None) -> None:
        self.setting = setting
        self._operation = operation
        self._limit = limit
        self._collation = setting.collation(operation.collation)
        self._query: FindQuery | None = None
        self.pinned = self._plain_id()  # the id key, when the filter is one _id
        if self.pinned is None:
            node = self.query.node  # what is wrong with it is said here, before the lock
            self.pinned = _pinned(node) if operation.hint is None else None

    def _plain_id(self) -> bytes | None:
        """Return the id key of a filter that is a plain ``_id`` and no more, which needs no parsing."""
        operation = self._operation
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
            operation, collation = self._operation, self._collation
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

    def rows(self, batch: WriteBatch) -> list[tuple[bytes, bytes]]:
        """Return id key and stored bytes of the documents, as the batch has them now."""
        info = batch.catalog.get(self.setting.name)
        view = View(batch.txn, info)
        if info is not None and info.expiring:
            alive = And((self.query.node, info.alive(self.setting.now)))
            query = self.query._replace(node=alive)
            return self._found(batch, view, query)
        if self.pinned is not None:
            if batch.reads is not None:
                batch.reads.note_ids(self.setting.name, [self.pinned])
            if len(self.pinned) > MAX_ID:  # longer than any stored one, and than any key of the engine
                return []
            (data,) = view.fetch([self.pinned], decode=False)
            return [] if data is None else [(self.pinned, data)]
        return self._found(batch, view, self.query)

    def _found(self, batch: WriteBatch, view: View, query: FindQuery) -> list[tuple[bytes, bytes]]:
        if batch.reads is not None:
            batch.reads.note_filter(self.setting.name, query.node)
        return _selected(view, query, self.setting)


def _selected(view: View, query: FindQuery, setting: Setting) -> list[tuple[bytes, bytes]]:
    return [row for rows in plan(query, view).select(view, setting.deadline) for row in rows]


def _pinned(node: Node) -> bytes | None:
    """Return the id key when the filter is nothing but one ``_id``."""
    if isinstance(node, And) and len(node.parts) == 1:
        node = node.parts[0]
    if isinstance(node, Compare) and node.path == ("_id",) and node.op == "eq" and node.collation is None:
        return None if isinstance(node.value, list | Regex) else order_key(node.value)
    return None


class _Change:
    """How an operation makes the new image of a document: an update, a pipeline or a replacement."""

    def __init__(self, operation: Any, setting: Setting) -> None:
        self.setting = setting
        self.operation = REPLACE if getattr(operation, "replacement", None) is not None else UPDATE
        self._pipeline: Callable[..., dict[str, Any]] | None = None
        self._update: Any = None
        spec = operation.replacement if self.operation == REPLACE else operation.update
        if isinstance(spec, list | tuple) and self.operation == UPDATE:
            if operation.array_filters:
                raise UpdateError("array_filters cannot go with an update in pipeline form", path="array_filters")
            from docdb.pipeline.runner import pipeline_update  # long to load, and few updates are pipelines

            self._pipeline = pipeline_update(
                canonical(resolve_server_dates(spec, setting.now), naive_utc=setting.naive_utc),
                variables=canonical(operation.let, "let", naive_utc=setting.naive_utc),
                now=setting.now,
                collation=setting.collation(operation.collation),
            )
        else:
            self._update = updates.parse_update(
                spec,
                array_filters=getattr(operation, "array_filters", None),
                merge=getattr(operation, "merge", False),
                replacement=self.operation == REPLACE,
                let=operation.let,
                collation=setting.collation(operation.collation),
                naive_utc=setting.naive_utc,
            )
        self.needs_position = self._update is not None and self._update.needs_position
        self.paths: frozenset[tuple[str, ...]] | None = None if self._update is None else self._update.paths

    def apply(self, document: dict[str, Any], position: int | None, *, inserting: bool = False) -> dict[str, Any]:
        """Return the new image; the same object when nothing changes."""
        if self._pipeline is not None:
            new = self._pipeline(document)
        else:
            new = self._update.apply(document, position=position, now=self.setting.now, inserting=inserting)
        if not inserting and new is not document:
            new = _keep_id(document, new)
        return new


def _keep_id(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the new image with the old ``_id``, in the first place; an ``_id`` of another value is refused."""
    if "_id" not in new:
        return {"_id": old["_id"], **new}
    if new["_id"] is not old["_id"] and order_key(new["_id"]) != order_key(old["_id"]):
        raise UpdateError("_id cannot be changed", path="_id", code=66)
    if next(iter(new)) == "_id":
        return new
    return {"_id": old["_id"], **{key: value for key, value in new.items() if key != "_id"}}


def _change_rows(
    batch: WriteBatch, setting: Setting, selection: _Selection, change: _Change, rows: list[tuple[bytes, bytes]]
) -> tuple[list[tuple[dict[str, Any], dict[str, Any]]], Callable[[], None]]:
    """Apply a change to all rows as one unit; return old and new image of each, and what puts them."""
    info = batch.catalog.collections[setting.name]
    validate = _validator(info)
    changes: list[DocumentChange] = []
    images: list[tuple[dict[str, Any], dict[str, Any]]] = []
    size = 0
    for id_key, data in rows:
        old = codec.decode(data)
        position = matching.match_position(selection.query.node, old) if change.needs_position else None
        new = change.apply(old, position)
        images.append((old, new))
        if new is old:
            continue
        after = codec.encode(new, naive_utc=setting.naive_utc)
        if after == data:
            images[-1] = (old, old)
            continue
        if validate is not None:
            validate(new)
        changes.append(DocumentChange(change.operation, id_key, data, after))
        size += len(data) + len(after)
        if size > setting.commit_bytes:
            raise _too_large(setting)

    def put() -> None:
        if changes:
            _apply(batch, info, changes, setting, change.paths)

    return images, put


def _upsert(
    batch: WriteBatch, setting: Setting, selection: _Selection, change: _Change
) -> tuple[dict[str, Any], Callable[[], None]]:
    """Make a document of the filter's equalities and the change; return it, and what inserts it."""
    base = updates.upsert_base(selection.query.node) if change.operation == UPDATE else _id_of(selection)
    new = change.apply(base, None, inserting=True)
    if "_id" not in new and "_id" in base:
        new = {"_id": base["_id"], **new}
    id_value, id_key, data = codec.prepare(new, setting.naive_utc)
    document = codec.decode(data)
    validate = _validator(batch.catalog.get(setting.name))
    if validate is not None:
        validate(document)

    def put() -> None:
        info = batch.collection(setting.name)
        prepared = records.prepare(batch.catalog.version, info, [id_value], gather(info.number, [id_key], [data]))
        if not records.insert_prepared(batch, info, prepared):
            _insert_over(batch, info, prepared, setting)

    return document, put


def _id_of(selection: _Selection) -> dict[str, Any]:
    base = updates.upsert_base(selection.query.node)
    return {"_id": base["_id"]} if "_id" in base else {}


def _update(operation: UpdateOp | ReplaceOp, setting: Setting) -> Step:
    multi = isinstance(operation, UpdateOp) and operation.multi
    if multi and operation.sort:
        raise UsageError("sort cannot go with an update of many", path="sort")
    selection = _Selection(operation, setting, limit=None if multi else 1)
    change = _Change(operation, setting)

    def step(batch: WriteBatch) -> Outcome:
        rows = selection.rows(batch)
        if not rows and operation.upsert:
            new, put = _upsert(batch, setting, selection, change)
            put()
            return Outcome(upserted_id=new["_id"], upserted=True)
        if not rows:
            return Outcome()
        images, put = _change_rows(batch, setting, selection, change, rows)
        put()
        if isinstance(operation, ReplaceOp):  # as in MongoDB a replacement counts, whatever stood there
            return Outcome(matched=len(images), modified=len(images))
        return Outcome(matched=len(images), modified=sum(old is not new for old, new in images))

    return step


def _delete(operation: DeleteOp, setting: Setting) -> Step:
    selection = _Selection(operation, setting, limit=None if operation.multi else 1)

    def step(batch: WriteBatch) -> Outcome:
        rows = selection.rows(batch)
        if rows:
            if sum(len(data) for _, data in rows) > setting.commit_bytes:
                raise _too_large(setting)
            info = batch.catalog.collections[setting.name]
            records.apply(batch, info, [DocumentChange(DELETE, id_key, data, None) for id_key, data in rows])
        return Outcome(deleted=len(rows))

    return step


def _find_and_modify(operation: FindAndModifyOp, setting: Setting) -> Step:
    selection = _Selection(operation, setting, limit=1)
    change = None if operation.remove else _Change(operation, setting)
    shown = projection.parse_projection(
        operation.projection,
        node=selection.query.node,
        collation=selection.query.collation,
        let=operation.let,
        naive_utc=setting.naive_utc,
    )

    def show(document: dict[str, Any], matched: dict[str, Any]) -> dict[str, Any]:
        if shown is None:
            return document
        position = matching.match_position(selection.query.node, matched) if shown.needs_position else None
        return shown.apply(document, position=position)

    def step(batch: WriteBatch) -> Outcome:
        rows = selection.rows(batch)
        if not rows:
            if not operation.upsert or change is None:
                return Outcome()
            new, put = _upsert(batch, setting, selection, change)
            document = show(new, new) if operation.return_new else None
            put()
            return Outcome(upserted_id=new["_id"], upserted=True, document=document)
        if change is None:
            old = codec.decode(rows[0][1])
            document = show(old, old)
            info = batch.catalog.collections[setting.name]
            records.apply(batch, info, [DocumentChange(DELETE, rows[0][0], rows[0][1], None)])
            return Outcome(matched=1, deleted=1, document=document)
        ((old, new),), put = _change_rows(batch, setting, selection, change, rows)
        chosen = new if operation.return_new else old
        # The bytes of the stored image decide what comes back: dates in UTC, foreign classes as docdb's own.
        answer = codec.decode(codec.encode(chosen, naive_utc=setting.naive_utc)) if chosen is new else old
        document = show(answer, old)  # it may refuse: before anything is put
        put()
        return Outcome(matched=1, modified=int(old is not new), document=document)

    return step


def _validator(info: CollectionInfo | None) -> Callable[[dict[str, Any]], None] | None:
    node = info.validator if info is not None else None
    if info is None or node is None or node is TRUE or info.options.get("validationAction", "error") != "error":
        return None
    if info.options.get("validationLevel", "strict") == "off":
        return None
    judge = matching.matcher(node)

    def validate(document: dict[str, Any]) -> None:
        if not judge(document):
            raise ValidationError(
                f"the document fails the validator of collection {info.name!r}", path=f"_id {document.get('_id')!r}"
            )

    return validate


class TooLarge(UsageError):
    """A call that changes more than ``commit_bytes``."""


def _too_large(setting: Setting) -> TooLarge:
    return TooLarge(
        f"one call may change at most {setting.commit_bytes} bytes",
        hint="use batch=n to commit in steps, or raise commit_bytes",
    )


_PREPARE: Final[dict[type, Callable[[Any, Setting], Step]]] = {
    DeleteOp: _delete,
    FindAndModifyOp: _find_and_modify,
    InsertOp: _insert,
    ReplaceOp: _update,
    UpdateOp: _update,
}
