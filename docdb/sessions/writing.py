"""Carrying out operations: from a user's operation to document changes in a write batch.

What lives here: ``prepare_all``, which does before the writer's lock whatever can be done there (parsing, checking, encoding), and the steps
that run inside it. What it must not know: sessions, faces, how batches are committed.

A step is ``step(batch) -> Outcome``. It selects against what earlier callers of the batch have put, computes every new image, and
only then hands all changes of the operation to ``records.apply``, which checks unique keys before its first put. So a step that raises
has put nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from docdb.errors import DocumentError, DuplicateKeyError, UpdateError, UsageError, ValidationError
from docdb.language import matching, projection, updates
from docdb.language.order import order_key
from docdb.language.server_date import resolve_server_dates
from docdb.language.tree import TRUE
from docdb.language.values import canonical
from docdb.sessions.operations import DeleteOp, FindAndModifyOp, InsertOp, Operation, Outcome, ReplaceOp, UpdateOp
from docdb.sessions.selecting import Selection
from docdb.sessions.setting import COMMIT_BYTES, Setting, TooLarge, too_large
from docdb.store import codec, records
from docdb.store.batch import WriteBatch
from docdb.store.catalog import CollectionInfo
from docdb.store.changes import DELETE, INSERT, REPLACE, UPDATE
from docdb.store.records import DocumentChange, Prepared
from docdb.store.runs import DocumentList, gather, prepare_run
from docdb.store.views import View

__all__ = ["COMMIT_BYTES", "Setting", "TooLarge", "prepare_all", "prepare_documents"]

Step = Callable[[WriteBatch], Outcome]


def prepare_all(operations: Sequence[Operation], setting: Setting) -> list[Step]:
    """Return a step for each operation. Raises the DocdbError of the first one that cannot be understood."""
    return [_PREPARE[type(operation)](operation, setting) for operation in operations]


def prepare_documents(documents: Sequence[Mapping[str, Any]], setting: Setting) -> Prepared:
    """Encode new documents and make their index entries."""
    guard, owner = setting.guard, None
    if guard is not None:
        owner = guard.owner
        documents = documents if owner is not None else [guard.adopt(dict(document)) for document in documents]
    number = 0 if setting.info is None else setting.info.number

    def prepare(document: Mapping[str, Any]) -> tuple[Any, bytes, bytes]:
        if guard is not None and owner is not None:
            document = guard.adopt(
                dict(document)
            )  # a copy: what it says while it is encoded is what has been looked at
        return _encode(document, setting)

    ids, made = prepare_run(documents, setting.naive_utc, number, prepare, owner)
    if made.data_bytes > setting.commit_bytes:
        raise too_large(setting)
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
    guard = setting.guard

    def step(batch: WriteBatch) -> Outcome:
        if guard is not None:
            guard.created(batch, prepared.documents)
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
            _make_way(batch, info, [DocumentChange(DELETE, id_key, stored, None)], setting)
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
        _make_way(batch, info, expired, setting)
        records.apply(batch, info, changes, paths)


def _make_way(batch: WriteBatch, info: CollectionInfo, expired: list[DocumentChange], setting: Setting) -> None:
    """Delete expired documents, which are not the caller's affair."""
    if setting.guard is not None:
        setting.guard.forgive(len(expired))
    batch.made_way(info, [change.id_key for change in expired])
    records.apply(batch, info, expired)


def _expired(batch: WriteBatch, info: CollectionInfo, id_keys: set[bytes], setting: Setting) -> list[DocumentChange]:
    alive = matching.matcher(info.alive(setting.now))
    keys = sorted(id_keys)
    stored = zip(keys, View(batch.txn, info).fetch(keys, decode=False), strict=True)
    return [DocumentChange(DELETE, key, data, None) for key, data in stored if data and not alive(codec.decode(data))]


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
    batch: WriteBatch, setting: Setting, selection: Selection, change: _Change, rows: list[tuple[bytes, bytes]]
) -> tuple[list[tuple[dict[str, Any], dict[str, Any]]], Callable[[], None]]:
    """Apply a change to all rows as one unit; return old and new image of each, and what puts them."""
    info = batch.catalog.collections[setting.name]
    validate, guard = _validator(info), setting.guard
    judge = None if guard is None else guard.changing(batch)
    changes: list[DocumentChange] = []
    images: list[tuple[dict[str, Any], dict[str, Any]]] = []
    size = 0
    for id_key, data in rows:
        old = codec.decode(data)
        position = matching.match_position(selection.query.node, old) if change.needs_position else None
        new = change.apply(old, position)
        if guard is not None and change.operation == REPLACE:
            new = guard.keep(old, new)
        images.append((old, new))
        after = data if new is old else codec.encode(new, naive_utc=setting.naive_utc)
        if judge is not None:
            judge(old, new, data, after)
        if new is old:
            continue
        if after == data:
            images[-1] = (old, old)
            continue
        if validate is not None:
            validate(new)
        changes.append(DocumentChange(change.operation, id_key, data, after))
        size += len(data) + len(after)
        if size > setting.commit_bytes:
            raise too_large(setting)

    def put() -> None:
        if changes:
            _apply(batch, info, changes, setting, change.paths)

    return images, put


def _upsert(
    batch: WriteBatch, setting: Setting, selection: Selection, change: _Change
) -> tuple[dict[str, Any], Callable[[], None]]:
    """Make a document of the filter's equalities and the change; return it, and what inserts it."""
    base = updates.upsert_base(selection.query.node) if change.operation == UPDATE else _id_of(selection)
    new = change.apply(base, None, inserting=True)
    if "_id" not in new and "_id" in base:
        new = {"_id": base["_id"], **new}
    if setting.guard is not None:
        new = dict(setting.guard.adopt(new))
    id_value, id_key, data = codec.prepare(new, setting.naive_utc)
    document = codec.decode(data)
    if setting.guard is not None:
        setting.guard.created(batch, DocumentList([id_key], [data]))
    validate = _validator(batch.catalog.get(setting.name))
    if validate is not None:
        validate(document)

    def put() -> None:
        info = batch.collection(setting.name)
        prepared = records.prepare(batch.catalog.version, info, [id_value], gather(info.number, [id_key], [data]))
        if not records.insert_prepared(batch, info, prepared):
            _insert_over(batch, info, prepared, setting)

    return document, put


def _id_of(selection: Selection) -> dict[str, Any]:
    base = updates.upsert_base(selection.query.node)
    return {"_id": base["_id"]} if "_id" in base else {}


def _update(operation: UpdateOp | ReplaceOp, setting: Setting) -> Step:
    multi = isinstance(operation, UpdateOp) and operation.multi
    if multi and operation.sort:
        raise UsageError("sort cannot go with an update of many", path="sort")
    selection = Selection(operation, setting, action="update", limit=None if multi else 1)
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
        modified = sum(old is not new for old, new in images)
        if setting.guard is not None:
            modified = setting.guard.counted(len(images), modified)
        return Outcome(matched=len(images), modified=modified)

    return step


def _delete(operation: DeleteOp, setting: Setting) -> Step:
    selection = Selection(operation, setting, action="delete", limit=None if operation.multi else 1)

    def step(batch: WriteBatch) -> Outcome:
        rows = selection.rows(batch)
        if rows:
            if sum(len(data) for _, data in rows) > setting.commit_bytes:
                raise too_large(setting)
            info = batch.catalog.collections[setting.name]
            records.apply(batch, info, [DocumentChange(DELETE, id_key, data, None) for id_key, data in rows])
        return Outcome(deleted=len(rows))

    return step


def _find_and_modify(operation: FindAndModifyOp, setting: Setting) -> Step:
    selection = Selection(operation, setting, action="delete" if operation.remove else "update", limit=1)
    change = None if operation.remove else _Change(operation, setting)
    shown = projection.parse_projection(
        operation.projection,
        node=selection.query.node,
        collation=selection.query.collation,
        let=operation.let,
        naive_utc=setting.naive_utc,
    )

    def show(batch: WriteBatch, document: dict[str, Any], matched: dict[str, Any]) -> dict[str, Any]:
        if setting.guard is not None:
            document = setting.guard.shown(batch, document)
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
            document = show(batch, new, new) if operation.return_new else None
            put()
            return Outcome(upserted_id=new["_id"], upserted=True, document=document)
        if change is None:
            old = codec.decode(rows[0][1])
            document = show(batch, old, old)
            info = batch.catalog.collections[setting.name]
            records.apply(batch, info, [DocumentChange(DELETE, rows[0][0], rows[0][1], None)])
            return Outcome(matched=1, deleted=1, document=document)
        ((old, new),), put = _change_rows(batch, setting, selection, change, rows)
        chosen = new if operation.return_new else old
        # The bytes of the stored image decide what comes back: dates in UTC, foreign classes as docdb's own.
        answer = codec.decode(codec.encode(chosen, naive_utc=setting.naive_utc)) if chosen is new else old
        document = show(batch, answer, old)  # it may refuse: before anything is put
        put()
        modified = int(old is not new)
        if setting.guard is not None:
            modified = setting.guard.counted(1, modified)
        return Outcome(matched=1, modified=modified, document=document)

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


_PREPARE: Final[dict[type, Callable[[Any, Setting], Step]]] = {
    DeleteOp: _delete,
    FindAndModifyOp: _find_and_modify,
    InsertOp: _insert,
    ReplaceOp: _update,
    UpdateOp: _update,
}
