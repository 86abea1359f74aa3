"""A collection: the native face and pymongo's names on one object.

What lives here: ``Collection``. What it must not know: how anything is found, stored or planned; it builds operations
and queries for its session. The two sets of names meet at ``aggregate``; both build the same filters and the same
operations. An argument nobody knows is refused, never ignored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from docdb.errors import DocdbError, UsageError
from docdb.faces.aggregation import AggregateCursor, Aggregation
from docdb.faces.arguments import (
    AggregateOptions,
    CountOptions,
    DeleteOptions,
    FindOptions,
    ModifyOptions,
    RemarkOptions,
    WatchOptions,
    WriteOptions,
    check_options,
    check_watch,
    flag,
    lenient_number,
    operation_options,
    whole_number,
)  # fmt: skip
from docdb.faces.bulk import insert_all, write_all
from docdb.faces.conditions import encode_find, encode_where
from docdb.faces.cursor import CommandCursor, Cursor, batches_of
from docdb.faces.few import POINT_TYPES
from docdb.faces.models import PLAIN, Binding, CollectionOptions, model_of
from docdb.faces.requests import index_model, operation_of
from docdb.faces.results import (
    AddResult,
    BulkWriteResult,
    DeleteResult,
    InsertManyResult,
    InsertOneResult,
    Result,
    UpdateResult,
)  # fmt: skip
from docdb.faces.selection import Selection
from docdb.faces.stepping import check_batch, chunks, in_steps
from docdb.faces.updating import check_replacement, check_update
from docdb.query import DocumentReference, Query, check_id
from docdb.sessions.administration import check_name
from docdb.sessions.operations import DeleteOp, FindAndModifyOp, InsertOp, Outcome, ReplaceOp, UpdateOp

if TYPE_CHECKING:
    from docdb.feeds.delivery import OnChange, OnError, Watcher
    from docdb.feeds.events import Change
    from docdb.feeds.streams import ChangeStream
    from docdb.sessions.operations import Session

__all__ = ["Collection", "is_point"]

T = TypeVar("T")
M = TypeVar("M")
Document = Mapping[str, Any]
_new = object.__new__


class Collection(Binding[T]):
    """Documents under a name, in a session. It need not exist: the first write makes it.

    >>> import docdb
    >>> db = docdb.open(":memory:")
    >>> users = db["users"]
    >>> users.add({"_id": "a", "name": "Ann", "age": 25}).id
    'a'
    >>> users.find_one({"age": {"$gt": 20}})["name"]
    'Ann'
    >>> db.close()
    """

    __slots__ = ()

    def __init__(
        self, session: Session, name: str, settings: CollectionOptions = PLAIN, *, model: type[T] | None = None
    ) -> None:
        check_name(name)
        naive_utc = settings.naive_utc or getattr(getattr(session, "settings", None), "naive_utc", False)
        linear = settings.linear or getattr(session, "linear", False)
        if model is not None or naive_utc or linear:
            kind: Any = model
            settings = CollectionOptions(settings.model if model is None else model_of(kind), naive_utc, linear)
        super().__init__(session, name, settings)

    # The native face

    def add(self, data: Any) -> AddResult:
        """Insert one document, or a list of them in one commit; ``.id`` or ``.ids``. An ``_id`` is made where absent.

        Raises DuplicateKeyError, DocumentError; for a list BulkWriteError, whose ``errors`` holds the first by its index.
        """
        if isinstance(data, list | tuple):
            return AddResult(insert_all(self, [self.stored(item) for item in data], ordered=True))
        return AddResult([self.execute(InsertOp(self.stored(data))).inserted_id])

    def doc(self, id: Any) -> DocumentReference[T]:
        """Return a reference to the document with this ``_id``; no request."""
        if type(id) not in POINT_TYPES:
            check_id(id)
        # As the constructor does, without its frame: a third of what a hot read spends in Python.
        reference: DocumentReference[T] = _new(DocumentReference)
        reference._binding, reference.id, reference._fields = self, id, None
        return reference

    def where(self, condition: Any) -> Query[T]:
        """Return a query; nested plain objects mean dotted paths, ``_.eq({...})`` an exact object. QueryError when it is wrong."""
        return Query(self, condition)

    def order_by(self, field: str, direction: Any = "asc") -> Query[T]:
        """Return all documents in an order, as a query."""
        return self.where({}).order_by(field, direction)

    def skip(self, count: int) -> Query[T]:
        """Return all documents but the first, as a query."""
        return self.where({}).skip(count)

    def limit(self, count: int) -> Query[T]:
        """Return so many documents, as a query."""
        return self.where({}).limit(count)

    def field(self, fields: Any) -> Query[T]:
        """Return a part of all documents, as a query."""
        return self.where({}).field(fields)

    def get(self) -> Result[T]:
        """Return all documents."""
        return self.where({}).get()

    def count(self) -> int:
        """Return the number of documents, counted."""
        return self.where({}).count()

    # Both faces

    @overload
    def aggregate(self) -> Aggregation: ...
    @overload
    def aggregate(self, pipeline: Any, **options: Unpack[AggregateOptions]) -> AggregateCursor: ...
    def aggregate(self, pipeline: Any = None, **options: Unpack[AggregateOptions]) -> Aggregation | AggregateCursor:
        """Run a list of stages and return a cursor; without one return a builder with a method a stage and ``end()``."""
        if options:
            check_options("aggregate", options, AggregateOptions)
        if pipeline is None:
            return Aggregation(self.session, self.name, options)
        return AggregateCursor(self.session, self.name, pipeline, **options)

    def changes(
        self,
        filter: Any = None,
        *,
        operations: Any = None,
        pipeline: Any = None,
        resume_after: Any = None,
        from_: str = "now",
    ) -> ChangeStream[Change]:
        """Return every change of this collection from now on, from ``"oldest"``, or from behind a position.

        ``filter`` keeps those whose document matches before or after; ``operations`` names the kinds wanted. With a ``pipeline`` the items are documents
        (``Change.document``) that it made. Raises HistoryLost when the log no longer goes back to the position.
        """
        chosen = encode_where(filter) if filter else None
        return self.session.feeds.changes(
            self.name, chosen, operations=operations, pipeline=pipeline, resume_after=resume_after, from_=from_
        )

    @overload
    def watch(self, pipeline: Any = None, **options: Unpack[WatchOptions]) -> ChangeStream[dict[str, Any]]: ...
    @overload
    def watch(self, *, on_change: OnChange, on_error: OnError | None = None) -> Watcher[T]: ...
    def watch(self, pipeline: Any = None, **options: Any) -> ChangeStream[dict[str, Any]] | Watcher[T]:
        """Return a change stream as pymongo's: documents in MongoDB's form, its options and ``resume_token``.

        With callbacks instead, ``watch(on_change=..., on_error=...)``, a live query of all documents: see ``Query.watch``.
        """
        if pipeline is None and "on_change" in options:
            found: Watcher[T] = self.where({}).watch(options.pop("on_change"), **options)
            return found
        return self.session.feeds.watch(self.name, pipeline, **check_watch(options))

    # pymongo's names: reading

    @overload
    def find(
        self, filter: Any = None, projection: None = None, skip: int = 0, limit: int = 0, **options: Unpack[FindOptions]
    ) -> Cursor[T]: ...
    @overload
    def find(
        self, filter: Any, projection: Any, skip: int = 0, limit: int = 0, **options: Unpack[FindOptions]
    ) -> Cursor[dict[str, Any]]: ...
    @overload
    def find(
        self, filter: Any = None, *, projection: Any, skip: int = 0, limit: int = 0, **options: Unpack[FindOptions]
    ) -> Cursor[dict[str, Any]]: ...
    def find(
        self, filter: Any = None, projection: Any = None, skip: int = 0, limit: int = 0, **options: Unpack[FindOptions]
    ) -> Cursor[Any]:
        """Return a cursor over the documents that match; a wrong filter, projection or sort is refused here."""
        kept = self.settings
        selection = Selection.of_find("find", filter, projection, options, naive_utc=kept.naive_utc, linear=kept.linear)
        cursor: Cursor[Any] = Cursor(self, selection)
        if skip:
            cursor.skip(skip)
        return cursor.limit(limit) if limit else cursor

    def find_one(self, filter: Any = None, projection: Any = None, **options: Unpack[FindOptions]) -> T | None:
        """Return the first document that matches, or None. Cost of ``{"_id": value}``: one lookup; of one value of a field with an index: two."""
        if projection is None and type(filter) is dict and not options:
            id = filter.get("_id")
            if type(id) in POINT_TYPES and len(filter) == 1:
                document = self.match_id(id)
                if self.settings.model is None:
                    return document  # type: ignore[return-value]
                return self.object_of(document)
            few = self.few(filter, 1)
            if few is not None:
                return self.object_of(few[0]) if few else None
        if filter is not None and not isinstance(filter, Mapping) and type(filter) in POINT_TYPES:
            filter = {"_id": filter}
        kept = self.settings
        selection = Selection.of_find("find", filter, projection, options, naive_utc=kept.naive_utc, linear=kept.linear)
        found = chain.from_iterable(batches_of(self, selection.with_limit(1)))
        return next(found, None)  # the batches end with their last reference

    def count_documents(self, filter: Any, **options: Unpack[CountOptions]) -> int:
        """Return the number of documents that match, between ``skip`` and ``limit``."""
        few = self.few(filter) if not options else None
        if few is not None:
            return len(few)
        selection = self._counted("count_documents", filter, options)
        return self.session.count(self.name, selection.query(), max_time_ms=selection.max_time_ms)

    def estimated_document_count(self) -> int:
        """Return the number of documents from the collection's counter. Cost: one read.

        As in MongoDB, where it is metadata, documents that have expired count until they are removed; ``count_documents({})`` leaves them out.
        """
        return self.session.estimated_count(self.name)

    def distinct(self, key: str, filter: Any = None, **options: Unpack[CountOptions]) -> list[Any]:
        """Return the distinct values of a field; arrays give their elements."""
        selection = self._counted("distinct", filter, options)
        return self.session.distinct(self.name, key, selection.query(), max_time_ms=selection.max_time_ms)

    def _counted(self, method: str, filter: Any, options: CountOptions) -> Selection:
        naive_utc, linear = self.settings.naive_utc, self.settings.linear
        if not options:
            return Selection.of(filter, naive_utc=naive_utc, linear=linear)
        check_options(method, options, CountOptions)
        selection = Selection.of(filter, collation=options.get("collation"), naive_utc=naive_utc, linear=linear)
        selection = selection.with_skip(lenient_number(options.get("skip") or 0, "skip")).with_hint(options.get("hint"))
        if "limit" in options:
            selection = selection.with_limit(whole_number(options["limit"], "limit", least=1, kind_code=2))
        return selection.with_max_time_ms(options.get("max_time_ms"))

    # pymongo's names: writing

    def insert_one(self, document: Any, **options: Unpack[RemarkOptions]) -> InsertOneResult:
        """Insert a document; as with pymongo a dict without ``_id`` gets the one that was made."""
        check_options("insert_one", options, RemarkOptions)
        stored = self.stored(document)
        id = self.execute(InsertOp(stored)).inserted_id
        if type(document) is dict and "_id" not in document:
            document["_id"] = id
        return InsertOneResult(id)

    def insert_many(
        self,
        documents: Iterable[Any],
        ordered: bool = True,
        *,
        batch: int | None = None,
        **options: Unpack[RemarkOptions],
    ) -> InsertManyResult:
        """Insert documents in one commit. ``ordered`` ends at the first that fails; BulkWriteError tells what went in.

        With ``batch`` an iterable of any length goes in in commits of so many documents; an error says in ``done`` how many were in before.
        """
        check_options("insert_many", options, RemarkOptions)
        if isinstance(documents, Mapping | str) or not isinstance(documents, Iterable):
            raise UsageError("insert_many() takes a list of documents", path="documents", code=14)
        if batch is not None:
            return self._insert_in_steps(documents, ordered, check_batch(batch))
        given = list(documents)
        if not given:
            raise UsageError("insert_many() takes at least one document", path="documents", code=16)
        stored = [document if type(document) is dict else self.stored(document) for document in given]
        ids = insert_all(self, stored, ordered=flag(ordered, "ordered", strict=True))
        for document, id in zip(given, ids, strict=True):
            if type(document) is dict and "_id" not in document:
                document["_id"] = id
        return InsertManyResult(ids)

    def _insert_in_steps(self, documents: Iterable[Any], ordered: bool, batch: int) -> InsertManyResult:
        ids: list[Any] = []
        for part in chunks(documents, batch):
            try:
                ids += self.insert_many(part, ordered).inserted_ids
            except DocdbError as error:
                error.done = len(ids)
                raise
        return InsertManyResult(ids)

    def update_one(
        self, filter: Any, update: Any, upsert: bool = False, **options: Unpack[WriteOptions]
    ) -> UpdateResult:
        """Change the first document that matches, with operators or a pipeline. Cost of plain fields by ``_id``: no plan, no batch."""
        if type(update) is dict and len(update) == 1 and upsert is False and not options and self.change is not None:
            fields = update.get("$set")
            if type(fields) is dict and type(filter) is dict and len(filter) == 1 and "_id" in filter:
                done = self.change(filter["_id"], fields)
                if done >= 0:
                    return UpdateResult(int(done > 0), int(done > 1))
        named = operation_options("update_one", options, WriteOptions)
        return self._updated(UpdateOp(_filter(filter), check_update(update), upsert=flag(upsert, "upsert"), **named))

    def update_many(
        self,
        filter: Any,
        update: Any,
        upsert: bool = False,
        *,
        batch: int | None = None,
        **options: Unpack[WriteOptions],
    ) -> UpdateResult:
        """Change every document that matches, in one commit, or with ``batch`` in commits of so many documents."""
        named = operation_options("update_many", options, WriteOptions)
        operation = UpdateOp(_filter(filter), check_update(update), multi=True, upsert=flag(upsert, "upsert"), **named)
        return self._updated(operation, batch)

    def replace_one(
        self, filter: Any, replacement: Any, upsert: bool = False, **options: Unpack[WriteOptions]
    ) -> UpdateResult:
        """Put a document in the place of the first that matches; its ``_id`` stays."""
        named = operation_options("replace_one", options, WriteOptions)
        if "array_filters" in named:
            raise UsageError("a replacement has no array_filters", path="array_filters")
        document = check_replacement(self.stored(replacement))
        return self._updated(ReplaceOp(_filter(filter), document, upsert=flag(upsert, "upsert"), **named))

    def _updated(self, operation: UpdateOp | ReplaceOp, batch: int | None = None) -> UpdateResult:
        done = self._stepped(operation, batch)
        return UpdateResult(done.matched, done.modified, done.upserted_id, done.upserted)

    def delete_one(self, filter: Any, collation: Any = None, **options: Unpack[DeleteOptions]) -> DeleteResult:
        """Delete the first document that matches."""
        named = operation_options("delete_one", options, DeleteOptions, collation=collation)
        return DeleteResult(self.execute(DeleteOp(_filter(filter), **named)).deleted)

    def delete_many(
        self, filter: Any, collation: Any = None, *, batch: int | None = None, **options: Unpack[DeleteOptions]
    ) -> DeleteResult:
        """Delete every document that matches, in one commit, or with ``batch`` in commits of so many documents."""
        named = operation_options("delete_many", options, DeleteOptions, collation=collation)
        return DeleteResult(self._stepped(DeleteOp(_filter(filter), multi=True, **named), batch).deleted)

    def _stepped(self, operation: UpdateOp | ReplaceOp | DeleteOp, batch: int | None) -> Outcome:
        if batch is None or isinstance(operation, ReplaceOp):
            return self.execute(operation)
        return in_steps(self.session, self.name, operation, batch, self.execute)

    def find_one_and_update(
        self, filter: Any, update: Any, projection: Any = None, sort: Any = None, upsert: bool = False,
        return_document: bool = False, **options: Unpack[ModifyOptions],
    ) -> T | None:  # fmt: skip
        """Change the first document that matches and return it as it was, or with ``ReturnDocument.AFTER`` as it is now."""
        named = operation_options("find_one_and_update", options, ModifyOptions, sort=sort)
        operation = FindAndModifyOp(
            _filter({} if filter is None else filter),
            check_update(update),
            projection=projection,
            upsert=flag(upsert, "upsert"),
            return_new=flag(return_document, "return_document"),
            **named,
        )
        return self._shown(operation, options.get("max_time_ms"))

    def find_one_and_replace(
        self, filter: Any, replacement: Any, projection: Any = None, sort: Any = None, upsert: bool = False,
        return_document: bool = False, **options: Unpack[ModifyOptions],
    ) -> T | None:  # fmt: skip
        """Replace the first document that matches and return it as it was, or as it is now."""
        named = operation_options("find_one_and_replace", options, ModifyOptions, sort=sort)
        document = check_replacement(self.stored(replacement))
        operation = FindAndModifyOp(
            _filter({} if filter is None else filter),
            replacement=document,
            projection=projection,
            upsert=flag(upsert, "upsert"),
            return_new=flag(return_document, "return_document"),
            **named,
        )
        return self._shown(operation, options.get("max_time_ms"))

    def find_one_and_delete(
        self, filter: Any, projection: Any = None, sort: Any = None, **options: Unpack[ModifyOptions]
    ) -> T | None:
        """Delete the first document that matches and return it."""
        named = operation_options("find_one_and_delete", options, ModifyOptions, sort=sort)
        wanted = _filter({} if filter is None else filter)
        operation = FindAndModifyOp(wanted, remove=True, projection=projection, **named)
        return self._shown(operation, options.get("max_time_ms"))

    def _shown(self, operation: FindAndModifyOp, max_time_ms: float | None) -> T | None:
        document = self.execute(operation, max_time_ms).document
        return self.object_of(document) if operation.projection is None else document  # type: ignore[return-value]

    def bulk_write(
        self, requests: Sequence[Any], ordered: bool = True, **options: Unpack[RemarkOptions]
    ) -> BulkWriteResult:
        """Carry out requests (``InsertOne``, ``UpdateOne``, ...; pymongo's own too) in one commit.

        ``ordered`` ends at the first that fails; else all are tried. BulkWriteError tells which failed and what was done.
        """
        check_options("bulk_write", options, RemarkOptions)
        if isinstance(requests, str | Mapping) or not isinstance(requests, Sequence) or not requests:
            raise UsageError("bulk_write() takes a list of at least one request", path="requests", code=16)
        operations = [operation_of(request, f"requests.{place}") for place, request in enumerate(requests)]
        return BulkWriteResult(write_all(self, operations, ordered=flag(ordered, "ordered", strict=True)))

    # Indexes and the collection itself

    def create_index(self, keys: Any, **options: Any) -> str:
        """Create an index and return its name; ``keys`` is a field, a list of pairs or a dict. The same one again changes nothing.

        Options: name, unique, sparse, partialFilterExpression, expireAfterSeconds (``expire_after_s``), collation, case_insensitive, hidden.
        """
        return self.session.create_index(self.name, keys, **_without_remarks(options))

    def create_indexes(self, indexes: Sequence[Any], **options: Any) -> list[str]:
        """Create indexes from ``IndexModel`` objects (pymongo's too) or ``{"key": ..., "name": ...}`` and return their names."""
        if not indexes:
            raise UsageError("create_indexes() takes at least one index", path="indexes")
        remarks = _without_remarks(options)
        if remarks:
            raise UsageError(
                f"create_indexes() takes no argument {next(iter(remarks))!r}", hint="options belong to each IndexModel"
            )
        described = [index_model(model) for model in indexes]
        return [self.session.create_index(self.name, keys, **_without_remarks(named)) for keys, named in described]

    def list_indexes(self) -> CommandCursor[dict[str, Any]]:
        """Return the definitions of all indexes, ``_id_`` first."""
        return CommandCursor(iter([self.session.list_indexes(self.name)]))

    def index_information(self) -> dict[str, dict[str, Any]]:
        """Return the indexes by name, keys as a list of pairs."""
        found = {}
        for index in self.session.list_indexes(self.name):
            rest = {name: value for name, value in index.items() if name not in ("key", "name")}
            found[index["name"]] = {"key": list(index["key"].items()), **rest}
        return found

    def index_stats(self) -> list[dict[str, Any]]:
        """Return name, keys, size and uses of each index."""
        return self.session.index_stats(self.name)

    def drop_index(self, index_or_name: Any) -> None:
        """Remove an index by its name or keys; IndexDefinitionError when there is none."""
        self.session.drop_index(self.name, index_or_name)

    def drop_indexes(self) -> None:
        """Remove every index but that of ``_id``."""
        for index in self.session.list_indexes(self.name):
            if index["name"] != "_id_":
                self.session.drop_index(self.name, index["name"])

    def drop(self) -> bool:
        """Remove the collection with its documents and indexes; return whether it was there."""
        return self.session.drop_collection(self.name)

    def rename(self, new_name: str, *, drop_target: bool = False, dropTarget: bool = False) -> Collection[T]:
        """Give the collection another name and return it under that; CollectionError when the name is taken."""
        self.session.rename_collection(self.name, new_name, drop_target=drop_target or dropTarget)
        return Collection(self.session, new_name, self.settings)

    def options(self) -> dict[str, Any]:
        """Return what the collection was created with: validator, collation."""
        info = self.session.collection_info(self.name)
        return {} if info is None else dict(info.options)

    def with_options(self, *, model: type[M]) -> Collection[M]:
        """Return the same collection with another model."""
        return Collection(self.session, self.name, model=model)

    def __getitem__(self, name: str) -> Collection[dict[str, Any]]:
        """Return the collection named after this one and a dot."""
        return Collection(self.session, f"{self.name}.{name}")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Collection):
            return self.session is other.session and self.name == other.name
        return NotImplemented

    def __hash__(self) -> int:
        return hash((id(self.session), self.name))

    def __repr__(self) -> str:
        return f"Collection({self.name!r})"


def is_point(filter: Any) -> bool:
    """Tell whether ``find_one`` answers a filter by one lookup."""
    return type(filter) is dict and len(filter) == 1 and type(filter.get("_id")) in POINT_TYPES


def _filter(filter: Any) -> Any:
    """Return an operation's filter, logic commands written out; what is no document is refused here."""
    if type(filter) is not dict and not isinstance(filter, Mapping):
        filter = encode_find(filter)
        if not isinstance(filter, Mapping):
            raise UsageError(f"a filter is a document, not {type(filter).__name__}", path="filter", code=14)
        return filter
    return encode_find(filter)


def _without_remarks(options: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what pymongo passes along that says nothing about the index."""
    return {
        name: value
        for name, value in options.items()
        if name not in ("comment", "session") or (name == "session" and value)
    }
