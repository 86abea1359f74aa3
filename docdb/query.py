"""The native face of reading and changing: queries and document references.

What lives here: ``Query``, immutable, each method returning a new one, and ``DocumentReference``, one document by its
``_id``. What it must not know: how documents are found or changed. Nothing is cut off: without ``limit`` all that
match are returned."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from docdb.errors import QueryError, UsageError
from docdb.faces.aggregation import AggregateCursor
from docdb.faces.arguments import nearest
from docdb.faces.conditions import encode_find, encode_where
from docdb.faces.cursor import Cursor, Paged, batches_of
from docdb.faces.models import Binding
from docdb.faces.results import RemoveOutcome, Result, UpdateAndReturnOutcome, UpdateOutcome
from docdb.faces.selection import Selection
from docdb.faces.tables import Tabular
from docdb.faces.updating import native_replacement, native_update
from docdb.faces.watching import live_of, watched
from docdb.language.values import Regex
from docdb.sessions.operations import DeleteOp, FindAndModifyOp, ReplaceOp, UpdateOp

if TYPE_CHECKING:
    from docdb.feeds.delivery import OnError, Watcher
    from docdb.feeds.live import LiveQuery
    from docdb.feeds.live_events import LiveSnapshot
    from docdb.store.columns import Chunk

__all__ = ["AggregateCursor", "DocumentReference", "Query", "check_id", "rebound"]

T = TypeVar("T")


class Query(Tabular, Generic[T]):
    """Which documents, in which order, how many: a value. Iterating is lazy; ``get()`` gives all at once."""

    __slots__ = ("_binding", "_condition", "_multiple", "_raw", "_selection")

    def __init__(
        self,
        binding: Binding[T],
        condition: Any,
        selection: Selection | None = None,
        *,
        multiple: bool = True,
        raw: bool = False,
    ) -> None:
        self._binding = binding
        self._condition = condition
        self._multiple = multiple
        self._raw = raw
        if selection is None:
            kept = binding.settings
            selection = Selection.of(encode_where(condition), naive_utc=kept.naive_utc, linear=kept.linear)
        self._selection = selection

    def _with(self, selection: Selection) -> Query[T]:
        return Query(self._binding, self._condition, selection, multiple=self._multiple, raw=self._raw)

    def where(self, condition: Any) -> Query[T]:
        """Return the query with another condition; as in the cloud service it takes the place of the one before.

        Conditions that must all hold stand in one call: ``where({...})`` or ``where(_.and_({...}, {...}))``.
        """
        filter = encode_find(condition) if self._raw else encode_where(condition)
        selection = self._selection.with_filter(filter)
        return Query(self._binding, condition, selection, multiple=self._multiple, raw=self._raw)

    def order_by(self, field: str, direction: Any = "asc") -> Query[T]:
        """Return the query with one more sort key, "asc" or "desc"."""
        if direction not in _DIRECTIONS:
            raise QueryError(f"{direction!r} is not a direction", path=f"order_by({field!r})", hint="'asc' or 'desc'")
        return self._with(self._selection.with_sort_added(field, direction))

    def skip(self, count: int) -> Query[T]:
        """Return the query without its first documents."""
        return self._with(self._selection.with_skip(count))

    def limit(self, count: int) -> Query[T]:
        """Return the query bounded to so many documents, at least one."""
        return self._with(self._selection.with_limit(count, least=1))

    def field(self, fields: Any) -> Query[T]:
        """Return the query with a projection: ``{"name": True, "tags": _.project.slice(2)}``; documents come as dicts."""
        return self._with(self._selection.with_fields(fields))

    def after(self, token: str | None) -> Query[T]:
        """Return the query that begins behind the document a keyset token names; ``""`` asks for the first page.

        The order is then completed by ``_id``, and the result carries the token of the next page: ``result.token``.
        """
        return self._with(self._selection.with_after(token))

    def hint(self, index: Any) -> Query[T]:
        """Return the query that must use this index, by name or keys."""
        return self._with(self._selection.with_hint(index))

    def collation(self, collation: Any) -> Query[T]:
        """Return the query that compares text by this collation."""
        return self._with(self._selection.with_collation(collation))

    def max_time_ms(self, limit: int | None) -> Query[T]:
        """Return the query that raises TimeoutExpired after so many milliseconds."""
        return self._with(self._selection.with_max_time_ms(limit))

    def options(self, options: Mapping[str, Any] | None = None, **named: Any) -> Query[T]:
        """Return the query with these options and, for those not named, none.

        limit, offset (or skip), projection, order, multiple (False: only the first match is changed or removed), timeout (milliseconds), raw (the
        condition is MongoDB's filter as it stands).
        """
        given = {**(options or {}), **named}
        for name in given:
            if name not in _OPTIONS:
                raise UsageError(f"options() takes no {name!r}", path=name, hint=nearest(name, _OPTIONS))
        raw = bool(given.get("raw", False))
        filter = encode_find(self._condition) if raw else encode_where(self._condition)
        kept = self._selection
        how: Any = {"collation": kept.collation_spec, "naive_utc": kept.naive_utc, "linear": kept.linear}
        selection = Selection.of(filter, **how).with_hint(kept.hint)
        for name, value in given.items():
            step = _OPTIONS[name]
            if step is not None and value is not None:
                selection = getattr(selection, step)(value)
        return Query(
            self._binding,
            self._condition,
            selection,
            multiple=bool(given.get("multiple", given.get("multi", True))),
            raw=raw,
        )

    def get(self) -> Result[T]:
        """Return all documents of the query; with ``after`` and ``limit`` a page, whose ``token`` leads to the next."""
        if self._selection.after is None:
            return Result([document for batch in batches_of(self._binding, self._selection) for document in batch])
        page = Paged(self._binding, self._selection)
        documents = [document for batch in page for document in batch]
        return Result(documents, page.token)

    def _chunks(self, text: frozenset[str]) -> Iterator[Chunk]:
        return self.cursor()._chunks(text)

    def first(self) -> T | None:
        """Return the first document of the query, or None."""
        return next(iter(self._with(self._selection.with_limit(1))), None)

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(batches_of(self._binding, self._selection))

    def cursor(self) -> Cursor[T]:
        """Return the documents of the query as an unused cursor."""
        return Cursor(self._binding, self._selection)

    def count(self) -> int:
        """Return the number of documents that match; as in the cloud service skip and limit do not count."""
        binding = self._binding
        query = self._selection.with_skip(0).with_limit(0).with_after(None).query()
        return binding.session.count(binding.name, query, max_time_ms=self._selection.max_time_ms)

    def distinct(self, field: str) -> list[Any]:
        """Return the distinct values of a field among the documents that match."""
        binding = self._binding
        return binding.session.distinct(
            binding.name, field, self._selection.query(), max_time_ms=self._selection.max_time_ms
        )

    def explain(self, verbosity: str = "executionStats") -> dict[str, Any]:
        """Return how the documents are found: access path, bounds, documents examined, stages."""
        return self._binding.session.explain(self._binding.name, self._selection.query(), verbosity=verbosity)

    @overload
    def watch(self) -> LiveQuery[T]: ...
    @overload
    def watch(self, on_change: Callable[[LiveSnapshot[T]], Any], on_error: OnError | None = None) -> Watcher[T]: ...
    def watch(self, on_change: Any = None, on_error: Any = None) -> LiveQuery[T] | Watcher[T]:
        """Return the query's result as it is now, and anew behind every commit that touches it: a ``LiveSnapshot`` each.

        Without callbacks it is iterated, ``for`` or ``async for``; with them ``on_change(snapshot)`` is called on a thread of docdb, a coroutine function in
        the running event loop where there is one. An error, of a callback too, goes to ``on_error`` and ends this watcher only. The order
        is completed by ``_id``. ``close()`` ends it.
        """
        return watched(self.live(), on_change, on_error)

    def live(self) -> LiveQuery[T]:
        """Return what ``watch`` hands out, without its first result; for faces that take it elsewhere."""
        return live_of(self._binding, self._selection)

    def update(self, data: Mapping[str, Any]) -> UpdateOutcome:
        """Change every match. Plain data is merged in (nested objects by path), ``$`` operators are MongoDB's; never both."""
        self._refuse_bounds("update")
        update, merge = native_update(data)
        operation = UpdateOp(
            self._selection.filter, update, multi=self._multiple, merge=merge, **self._selection.operation()
        )
        done = self._binding.execute(operation, self._selection.max_time_ms)
        return UpdateOutcome(done.modified, done.matched, done.upserted_id)

    def update_and_return(self, data: Mapping[str, Any]) -> UpdateAndReturnOutcome[T]:
        """Change the first match, in the query's order, and return it as it is then."""
        self._refuse_bounds("update_and_return", one=True)
        update, merge = native_update(data)
        selection = self._selection
        operation = FindAndModifyOp(
            selection.filter, update, return_new=True, merge=merge, projection=selection.fields, **selection.operation()
        )
        done = self._binding.execute(operation, selection.max_time_ms)
        document: Any = done.document if selection.fields is not None else self._binding.object_of(done.document)
        return UpdateAndReturnOutcome(done.modified, document)

    def remove(self) -> RemoveOutcome:
        """Delete every match."""
        self._refuse_bounds("remove")
        if self._selection.order:
            raise UsageError("remove() has no order", path="order_by", hint="use find_one_and_delete(filter, sort=...)")
        operation = DeleteOp(self._selection.filter, multi=self._multiple, **self._selection.operation())
        return RemoveOutcome(self._binding.execute(operation, self._selection.max_time_ms).deleted)

    def delete(self) -> RemoveOutcome:
        """Delete every match (the other name of ``remove``)."""
        return self.remove()

    def _refuse_bounds(self, method: str, *, one: bool = False) -> None:
        """Refuse what a write would have to ignore."""
        selection = self._selection
        ordered = bool(selection.order) and self._multiple and not one
        bounds = {
            "skip": selection.skip, "limit": selection.limit and not one, "field": selection.fields is not None and not one,
            "after": selection.after, "order_by": ordered,
        }  # fmt: skip
        for name, present in bounds.items():
            if present:
                raise UsageError(f"{method}() works on all that match; {name} has no meaning there", path=name)

    def __repr__(self) -> str:
        return f"<Query on {self._binding.name!r} where {self._selection.filter!r}>"


_DIRECTIONS: Final = ("asc", "desc", 1, -1)
_OPTIONS: Final[dict[str, str | None]] = {
    "limit": "with_limit", "multi": None, "multiple": None, "offset": "with_skip", "order": "with_sort", "projection": "with_fields", "raw": None,
    "skip": "with_skip", "timeout": "with_max_time_ms",
}  # fmt: skip


class DocumentReference(Generic[T]):
    """One document by its ``_id``, whether it exists or not."""

    __slots__ = ("_binding", "_fields", "id")

    def __init__(self, binding: Binding[T], id: Any, fields: Any = None) -> None:
        self._binding = binding
        self.id = id
        self._fields = fields

    @property
    def collection(self) -> Binding[T]:
        """The collection the document belongs to."""
        return self._binding

    def field(self, fields: Any) -> DocumentReference[T]:
        """Return the reference with a projection for ``get``; the document comes as a dict."""
        return DocumentReference(self._binding, self.id, fields)

    def get(self) -> T | None:
        """Return the document, or None. Cost: one lookup."""
        binding = self._binding
        if self._fields is not None:
            selection = Selection.of(self._filter(), self._fields, linear=binding.settings.linear).with_limit(1)
            return next(chain.from_iterable(batches_of(binding, selection)), None)
        document = binding.read(self.id)
        if binding.settings.model is None:
            return document  # type: ignore[return-value]
        return binding.object_of(document)

    @overload
    def watch(self) -> LiveQuery[T]: ...
    @overload
    def watch(self, on_change: Callable[[LiveSnapshot[T]], Any], on_error: OnError | None = None) -> Watcher[T]: ...
    def watch(self, on_change: Any = None, on_error: Any = None) -> LiveQuery[T] | Watcher[T]:
        """Return the document as it is now, in a ``LiveSnapshot``, and anew behind every commit that touches it; see ``Query.watch``."""
        return watched(self.live(), on_change, on_error)

    def live(self) -> LiveQuery[T]:
        """Return what ``watch`` hands out, without its first result; for faces that take it elsewhere."""
        kept = self._binding.settings
        selection = Selection.of(self._filter(), self._fields, naive_utc=kept.naive_utc, linear=kept.linear)
        return live_of(self._binding, selection)

    def set(self, data: Any) -> UpdateOutcome:
        """Put this document in the place of the stored one; create it when absent. ``upserted_id`` tells that it was made."""
        replacement = self._binding.stored(data)
        if replacement is not data:  # an object of the model carries its own _id
            replacement = {name: value for name, value in replacement.items() if name != "_id"}
        done = self._binding.execute(ReplaceOp(self._filter(), native_replacement(replacement), upsert=True))
        return UpdateOutcome(done.modified, done.matched, done.upserted_id)

    def update(self, data: Mapping[str, Any]) -> UpdateOutcome:
        """Change the document: plain data is merged in, commands and ``$`` operators do as they say. Absent: ``updated`` is 0."""
        if type(data) is dict and self._binding.change is not None:
            changed = self._binding.change(self.id, data)
            if changed >= 0:
                return UpdateOutcome(int(changed > 1), int(changed > 0))
        update, merge = native_update(data)
        done = self._binding.execute(UpdateOp(self._filter(), update, merge=merge))
        return UpdateOutcome(done.modified, done.matched)

    def remove(self) -> RemoveOutcome:
        """Delete the document."""
        return RemoveOutcome(self._binding.execute(DeleteOp(self._filter())).deleted)

    def delete(self) -> RemoveOutcome:
        """Delete the document (the other name of ``remove``)."""
        return self.remove()

    def _filter(self) -> dict[str, Any]:
        return {"_id": {"$eq": self.id} if isinstance(self.id, Mapping) else self.id}

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DocumentReference):
            return self._binding == other._binding and bool(self.id == other.id)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # an id may be a document

    def __repr__(self) -> str:
        return f"<document {self.id!r} of {self._binding.name!r}>"


def rebound(reference: DocumentReference[T], binding: Binding[T]) -> DocumentReference[T]:
    """Return the reference to the same document through another session's collection."""
    return DocumentReference(binding, reference.id, reference._fields)


def check_id(id: Any) -> None:
    """Refuse what cannot be an ``_id``: arrays and regular expressions."""
    if isinstance(id, list | tuple | set | Regex | re.Pattern):
        raise UsageError(
            f"an _id is not a {type(id).__name__}", path="_id", hint="any value but arrays and regular expressions"
        )
