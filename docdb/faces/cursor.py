"""Streams of documents by pymongo's names.

What lives here: ``Cursor``, the mutable, single-use answer of ``find``, and ``CommandCursor``, that of ``aggregate``
and ``list_indexes``. What it must not know: how documents are found. A cursor asks for its snapshot with its first
document and holds it until it is exhausted or closed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from docdb.errors import InvalidOperation, SnapshotExpired, UsageError
from docdb.faces.models import Binding
from docdb.faces.selection import Selection
from docdb.faces.tables import Tabular, chunks_of, text_of
from docdb.store.columns import ROWS, Chunk, Wanted, chunks_of_stored

if TYPE_CHECKING:
    from docdb.planner.queries import FindQuery
    from docdb.sessions.operations import Session

__all__ = ["CommandCursor", "Cursor", "Paged", "batches_of", "stored_chunks"]

T = TypeVar("T")


class CommandCursor(Tabular, Generic[T]):
    """Documents, one after the other, once.

    >>> cursor = CommandCursor(iter([[{"n": 1}, {"n": 2}], [{"n": 3}]]))
    >>> cursor.next(), cursor.to_list()
    ({'n': 1}, [{'n': 2}, {'n': 3}])
    """

    __slots__ = ("_batches", "_closed", "_stream")

    def __init__(self, batches: Iterator[list[T]] | None = None) -> None:
        self._batches = batches
        self._stream: Iterator[T] | None = None
        self._closed = False

    def _open(self) -> Iterator[list[T]]:
        """Return the batches; called with the first document."""
        return self._batches if self._batches is not None else iter(())

    def _failed(self) -> bool:
        return isinstance(self._batches, _Lasting) and self._batches.error is not None

    def batches(self) -> Iterator[list[T]]:
        """Begin, and return the documents as they arrive, in lists."""
        iter(self)
        return self._batches if self._batches is not None else iter(())

    def __iter__(self) -> Iterator[T]:
        # The chain itself, not self: a loop over it runs in C, and next() goes on where the loop stopped.
        if self._stream is None or self._failed():
            if self._stream is None and not self._closed:
                self._batches = _Lasting(self._open())
            self._stream = chain.from_iterable(self._batches if self._batches is not None else ())
        return self._stream

    def __next__(self) -> T:
        try:
            return next(self._stream if self._stream is not None else iter(self))
        except StopIteration:
            if self._failed():
                return next(iter(self))
            raise

    def next(self) -> T:
        """Return the next document; StopIteration behind the last."""
        return next(self)

    def to_list(self, length: int | None = None) -> list[T]:
        """Return the documents that are left, or so many of them."""
        return list(iter(self) if length is None else islice(iter(self), length))

    def _chunks(self, text: frozenset[str]) -> Iterator[Chunk]:
        left = iter(self)
        return chunks_of(iter(lambda: list(islice(left, ROWS)), []), text)

    def close(self) -> None:
        """Give the snapshot back; twice is harmless."""
        self._closed = True
        batches, self._batches, self._stream = self._batches, None, iter(())
        close = getattr(batches, "close", None)
        if close is not None:
            close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Lasting(Iterator[list[T]]):
    """Batches whose error lasts: a cursor that is asked again behind one raises it again, and never seems to be at its end."""

    __slots__ = ("_batches", "error")

    def __init__(self, batches: Iterator[list[T]]) -> None:
        self._batches = batches
        self.error: Exception | None = None

    def __next__(self) -> list[T]:
        if self.error is not None:
            raise self.error
        try:
            return next(self._batches)
        except StopIteration:
            raise
        except Exception as error:
            self.error = error
            raise

    def close(self) -> None:
        """Let go of what the batches hold."""
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()


Self = TypeVar("Self", bound="CommandCursor[Any]")


class Cursor(CommandCursor[T]):
    """What ``find`` answers: its methods change the cursor itself and return it, until the first document is asked for."""

    __slots__ = ("_binding", "_page", "_selection")

    def __init__(self, binding: Binding[T], selection: Selection) -> None:
        super().__init__()
        self._binding = binding
        self._selection = selection
        self._page: Paged[T] | None = None

    def _open(self) -> Iterator[list[T]]:
        if self._selection.after is None:
            return batches_of(self._binding, self._selection)
        self._page = Paged(self._binding, self._selection)
        return iter(self._page)

    def _chunks(self, text: frozenset[str]) -> Iterator[Chunk]:
        if self._stream is not None or self._closed:
            return super()._chunks(text)
        stored = stored_chunks(self._binding, self._selection, text)
        if stored is None:
            return super()._chunks(text)
        self._stream = iter(())
        return stored

    @property
    def token(self) -> str | None:
        """The keyset token of the next page, once this page has been read to its end; None when there is none."""
        return None if self._page is None else self._page.token

    def after(self, token: str | None) -> Cursor[T]:
        """Begin behind the document a keyset token names, ``""`` for a first page; the order is completed by ``_id``."""
        return self._change(self._selection.with_after(token))

    def _change(self, selection: Selection) -> Cursor[T]:
        if self._stream is not None:
            raise InvalidOperation("the cursor has begun: nothing about it can change", hint="use clone() or rewind()")
        self._selection = selection
        return self

    def sort(self, key_or_list: Any, direction: Any = None) -> Cursor[T]:
        """Order by a field and direction, a list of pairs, or a document; the last call counts."""
        return self._change(self._selection.with_sort(key_or_list, direction))

    def skip(self, skip: int) -> Cursor[T]:
        """Leave out the first documents."""
        return self._change(self._selection.with_skip(skip))

    def limit(self, limit: int) -> Cursor[T]:
        """End after so many documents; 0 is no bound."""
        return self._change(self._selection.with_limit(limit))

    def hint(self, index: Any) -> Cursor[T]:
        """Use this index, by name or keys."""
        return self._change(self._selection.with_hint(index))

    def collation(self, collation: Any) -> Cursor[T]:
        """Compare text by this collation."""
        return self._change(self._selection.with_collation(collation))

    def max_time_ms(self, max_time_ms: int | None) -> Cursor[T]:
        """Raise TimeoutExpired after so many milliseconds."""
        return self._change(self._selection.with_max_time_ms(max_time_ms))

    def batch_size(self, batch_size: int) -> Cursor[T]:
        """Accept pymongo's advice on the size of messages; there are none here, and the documents are the same."""
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 0:
            raise UsageError("batch_size is a whole number, at least 0", path="batch_size")
        return self._change(self._selection)

    def comment(self, comment: Any) -> Cursor[T]:
        """Attach a remark that ``explain()`` shows."""
        return self._change(self._selection._replace(comment=comment))

    def min(self, spec: Any) -> Cursor[T]:
        """Begin at this key of the hinted index (inclusive)."""
        return self._change(self._selection.with_min(spec))

    def max(self, spec: Any) -> Cursor[T]:
        """End before this key of the hinted index (exclusive)."""
        return self._change(self._selection.with_max(spec))

    def allow_disk_use(self, allow_disk_use: bool) -> Cursor[T]:
        """Accept what is always so: a large sort may use the disk."""
        if not allow_disk_use:
            raise UsageError("large sorts always may use the disk", path="allow_disk_use")
        return self._change(self._selection)

    def follow(self, follow: bool = True) -> Cursor[T]:
        """Go on with a fresh snapshot when this one expires; only in the order of ``_id`` or of a unique index."""
        return self._change(self._selection._replace(follow=follow))

    def rewind(self) -> Cursor[T]:
        """Begin again, on a new snapshot."""
        self.close()
        self._stream, self._closed = None, False
        return self

    def clone(self) -> Cursor[T]:
        """Return an unused cursor that asks the same."""
        return Cursor(self._binding, self._selection)

    def distinct(self, key: str) -> list[Any]:
        """Return the distinct values of a field among all that match (skip and limit do not count)."""
        binding, selection = self._binding, self._selection._replace(skip=0, limit=0)
        return binding.session.distinct(binding.name, key, selection.query(), max_time_ms=selection.max_time_ms)

    def explain(self, verbosity: str = "executionStats") -> dict[str, Any]:
        """Return how the documents are found: access path, bounds, documents examined, stages."""
        plan = self._binding.session.explain(self._binding.name, self._selection.query(), verbosity=verbosity)
        return plan if self._selection.comment is None else {**plan, "comment": self._selection.comment}

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Cursor[T]: ...
    def __getitem__(self, index: int | slice) -> T | Cursor[T]:
        """Return one document by its place (asks anew), or bound this cursor by a slice."""
        if isinstance(index, slice):
            start, stop = index.start or 0, index.stop
            if index.step is not None or start < 0 or (stop is not None and stop <= start):
                raise UsageError("a slice of a cursor goes forward and is not empty")
            return self._change(self._selection.with_skip(start).with_limit(0 if stop is None else stop - start))
        if index < 0:
            raise UsageError("a cursor has no places from its end")
        first = self._selection.skip + index
        if self._selection.limit and index >= self._selection.limit:
            raise IndexError(index)
        for document in Cursor(self._binding, self._selection._replace(skip=first, limit=1)):
            return document
        raise IndexError(index)


class Paged(Generic[T]):
    """The batches of one keyset page. ``token`` is there when the page has been read and was full: there may be another."""

    __slots__ = ("_binding", "_selection", "token")

    def __init__(self, binding: Binding[T], selection: Selection) -> None:
        if selection.follow:
            raise UsageError(
                "follow goes on by itself and has no pages", path="follow", hint="leave out follow or after"
            )
        self._binding = binding
        self._selection = selection
        self.token: str | None = None

    def __iter__(self) -> Iterator[list[T]]:
        binding, selection = self._binding, self._selection
        found = binding.session.find(binding.name, selection.query(), max_time_ms=selection.max_time_ms)
        count = 0
        for batch in binding.loaded(found, raw=selection.projection is not None):
            count += len(batch)
            yield batch
        if selection.limit and count == selection.limit:
            self.token = getattr(found, "token", None)


def stored_chunks(binding: Binding[Any], selection: Selection, text: frozenset[str]) -> Iterator[Chunk] | None:
    """Ask the session for a selection's documents as columns made of their stored bytes; None where more than whole top-level fields is asked for."""
    query = selection.query()
    wanted = Wanted.shown_by(query.projection)
    if wanted is None or selection.follow or query.after is not None or query.return_key or query.metadata:
        return None
    stored = binding.session.stored(binding.name, query, max_time_ms=selection.max_time_ms)
    return chunks_of_stored(stored, replace(wanted, text=text, text_of=text_of))


def batches_of(binding: Binding[T], selection: Selection) -> Iterator[list[T]]:
    """Ask the session for a selection's documents, in the form the collection's model gives them."""
    if selection.plain:
        few = binding.few(selection.filter, selection.limit)
        if few is not None:
            return binding.loaded(iter((few,)))
    query = selection.query()
    if selection.follow:
        found = _following(binding.session, binding.name, query, selection.max_time_ms)
    else:
        found = binding.session.find(binding.name, query, max_time_ms=selection.max_time_ms)
    return binding.loaded(found, raw=selection.projection is not None)


def _following(
    session: Session, name: str, query: FindQuery, max_time_ms: int | None
) -> Iterator[list[dict[str, Any]]]:
    """Yield batches over as many snapshots as it takes; each new one begins behind the last document of the old."""
    left = query.limit
    query = query if query.after is not None else query._replace(after="")
    while True:
        try:
            for batch in session.find(name, query, max_time_ms=max_time_ms):
                left = None if left is None else left - len(batch)
                yield batch
            return
        except SnapshotExpired as expired:
            if expired.token is None:
                raise
            if left == 0:
                return
            query = query._replace(after=expired.token, skip=0, limit=left)
