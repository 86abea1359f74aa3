"""$lookup by a local and a foreign field: each distinct value is looked for once.

What lives here: ``FieldJoin``, ``plain_join``, and the reading of the values on both sides. What it must not know: how $lookup is written
(``stages_join``), how another collection is read; ``read(filter)`` is asked with filters that an index can serve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from docdb import _native
from docdb.language.order import order_key
from docdb.language.values import Regex
from docdb.pipeline.context import Batch, Batches
from docdb.pipeline.ordering import reach
from docdb.pipeline.spill import Weight

__all__ = ["FieldJoin", "PlainJoin", "equality_filter", "local_values", "plain_join"]

Document = dict[str, Any]
Key = Callable[[Any], bytes]
Parts = tuple[str, ...]
_NESTED: Final = (dict, list)

_kernel: Any = None
if _native.AVAILABLE:
    from docdb._native import joining as _kernel


class PlainJoin(NamedTuple):
    """A $lookup by fields whose result is unwound at once. ``keeps``: a document that finds nothing stays."""

    collection: str
    local: Parts
    foreign: Parts
    target: str
    keeps: bool

    def filter(self, values: list[Any]) -> Document:
        """Return the filter for the foreign documents of any of the values."""
        return equality_filter(".".join(self.foreign), values)


def plain_join(spec: Mapping[str, Any], unwind: Any) -> PlainJoin | None:
    """Return what a $lookup and the $unwind behind it do together, both of which compiled; None where one runs behind the other."""
    options = {"path": unwind} if isinstance(unwind, str) else unwind
    if set(spec) != {"from", "localField", "foreignField", "as"} or type(spec["from"]) is not str:
        return None
    target = spec["as"]
    if "." in target or options["path"] != "$" + target or "includeArrayIndex" in options:
        return None
    local, foreign = (tuple(spec[name].split(".")) for name in ("localField", "foreignField"))
    return PlainJoin(spec["from"], local, foreign, target, bool(options.get("preserveNullAndEmptyArrays", False)))


def local_values(document: Document, parts: Parts) -> list[Any]:
    """Return the values a local field joins by: elements of arrays, null when there is none."""
    found: list[Any] = []
    there = False
    for value in reach(document, parts):
        there = True
        found += value if type(value) is list else [value]
    return found if there else [None]


def foreign_values(document: Document, parts: Parts) -> list[Any]:
    """Return the values a foreign field is found by: arrays and their elements, null where it is missing."""
    found: list[Any] = []
    for value in reach(document, parts):
        found.append(value)
        if type(value) is list:
            found += value
    return found or [None]


def equality_filter(path: str, values: list[Any]) -> Document:
    """Return the filter for any of the values; a regular expression stands for itself here, not for what it matches."""
    plain = [value for value in values if type(value) is not Regex]
    parts: list[Document] = [{path: {"$eq": value}} for value in values if type(value) is Regex]
    if not parts:
        return {path: {"$in": plain}}
    return {"$or": [{path: {"$in": plain}}, *parts]}


class FieldJoin:
    """Finds the foreign documents of local ones. One run of a stage: it remembers what it found, up to ``memory`` bytes.

    ``shaped`` makes of a value's documents what is shown of them; it may be asked once for many local documents.
    """

    def __init__(
        self,
        read: Callable[[Document], Batches],
        local: Parts,
        foreign: Parts,
        key: Key,
        memory: int,
        shaped: Callable[[Batch], Batch] | None,
    ) -> None:
        self._read, self._local, self._foreign, self._key = read, local, foreign, key
        self._path = ".".join(foreign)
        self._plain = key is order_key  # text is itself, whatever its case
        self._shaped = shaped
        self._memory = memory
        self._weight, self._used = Weight(), 0
        self._known: dict[Any, tuple[Batch, bool]] = {}

    def matches(self, batch: Batch) -> Iterator[Batch]:
        """Yield the foreign documents of each document of a batch; nobody else holds them."""
        self._forget()
        places = self._seen(batch)
        several = self._several([values for place, values in places if place is None])
        for place, values in places:
            if place is None:
                yield _copies(self._united(values, several), False)
            else:
                yield _copies(*self._known[place])

    def joined(self, batch: Batch, target: str) -> Batch:
        """Return copies of the documents with the list of their foreign ones under ``target``."""
        kernel = None if _kernel is None else partial(_kernel.join_known, target=target)
        return self._each(batch, kernel, lambda document, found: {**document, target: found})

    def unwound(self, batch: Batch, target: str, keeps: bool) -> Batch:
        """Return a copy of each document for each of its foreign ones, under ``target``; with ``keeps`` one without where there are none."""

        def rows(document: Document, found: Batch) -> Batch:
            if keeps and not found:
                return [{name: value for name, value in document.items() if name != target}]
            return [{**document, target: one} for one in found]

        kernel = None if _kernel is None else partial(_kernel.join_unwound, target=target, keeps=keeps)
        return [row for made in self._each(batch, kernel, rows) for row in made]

    def _each(self, batch: Batch, kernel: Any, made: Callable[[Document, Batch], Any]) -> list[Any]:
        """Return what is made of each document and its foreign ones: by the kernel, and of those left over by ``made``."""
        self._forget()
        result: list[Any] = [None] * len(batch)
        left: Sequence[int] = range(len(batch))
        if kernel is not None:
            result, left = kernel(batch, self._local, self._known)
        if kernel is not None and left:  # most because nobody has looked for their values yet
            rest = [batch[at] for at in left]
            self._seen(rest)
            found, still = kernel(rest, self._local, self._known)
            for at, one in zip(left, found, strict=True):
                result[at] = one
            left = [left[at] for at in still]
        rest = [batch[at] for at in left]
        for at, document, foreign in zip(left, rest, self.matches(rest), strict=True):
            result[at] = made(document, foreign)
        return result

    def _forget(self) -> None:
        if self._used > self._memory:
            self._known.clear()
            self._used = 0

    def _seen(self, batch: Batch) -> list[tuple[Any, Any]]:
        """Return the places of the documents, whose values have been looked for."""
        places = [self._place(document) for document in batch]
        known = self._known
        self._learn({place: value for place, value in places if place is not None and place not in known})
        return places

    def _place(self, document: Document) -> tuple[Any, Any]:
        """Return under what a document's value is remembered, and the value; None and all values when it is not exactly one."""
        value: Any = document
        for name in self._local:
            if value.__class__ is list:
                break
            value = value.get(name) if value.__class__ is dict else None
        kind = value.__class__
        if kind in _NESTED:
            values = local_values(document, self._local)
            if len(values) != 1:
                return None, values
            (value,) = values
            kind = value.__class__
        # Text and plain ints stand for themselves: a key costs more than the rest. True is an int to a dict, but no plain one.
        return (value if kind is str or kind is int else self._key(value)), value

    def _learn(self, wanted: dict[Any, Any]) -> None:
        """Look for values that are asked for the first time."""
        if not wanted:
            return
        index = self._fetched(wanted.values())
        for place, value in wanted.items():
            found = [document for _, document in index.get(self._mark(value), ())]
            if self._shaped is not None:
                found = self._shaped(found)
            self._known[place] = found, _are_flat(found)
            self._used += self._weight.of(found)

    def _mark(self, value: Any) -> Any:
        """Return what a value is found by: text by itself, where that is the law."""
        return value if self._plain and value.__class__ is str else self._key(value)

    def _marks(self, document: Document) -> Iterable[Any]:
        """Return what a foreign document is found by."""
        if len(self._foreign) == 1:
            value = document.get(self._foreign[0])
            if value.__class__ not in _NESTED:
                return (self._mark(value),)
        return {self._mark(value) for value in foreign_values(document, self._foreign)}

    def _fetched(self, values: Iterable[Any]) -> dict[Any, list[tuple[int, Document]]]:
        """Return the foreign documents with any of the values, numbered in their order, by the marks of theirs."""
        index: dict[Any, list[tuple[int, Document]]] = {}
        source = self._read(equality_filter(self._path, list(values)))
        for number, document in enumerate(document for batch in source for document in batch):
            for mark in self._marks(document):
                index.setdefault(mark, []).append((number, document))
        return index

    def _several(self, lists: list[list[Any]]) -> dict[Any, list[tuple[int, Document]]]:
        """Look for the values of documents that join by several: what they find has one order only when it is found at once."""
        wanted = {self._mark(value): value for values in lists for value in values}
        return self._fetched(wanted.values()) if wanted else {}

    def _united(self, values: list[Any], index: dict[Any, list[tuple[int, Document]]]) -> Batch:
        hits = {number: found for value in values for number, found in index.get(self._mark(value), ())}
        found = [hits[number] for number in sorted(hits)]
        return found if self._shaped is None else self._shaped(found)


def _are_flat(documents: Batch) -> bool:
    """Tell whether no document holds an object or an array."""
    if _kernel is not None:
        return bool(_kernel.are_flat(documents))
    return not any(value.__class__ in _NESTED for document in documents for value in document.values())


def _copies(documents: Batch, flat: bool) -> Batch:
    """Return copies that share nothing that can change; ``flat``: they hold no objects and no arrays."""
    if _kernel is not None:
        copies: Batch = _kernel.copies(documents, flat)
        return copies
    return [dict(document) if flat else _copied(document) for document in documents]


def _copied(value: Any) -> Any:
    """Return a value that shares nothing that can change."""
    if value.__class__ is dict:
        return {name: _copied(item) if item.__class__ in _NESTED else item for name, item in value.items()}
    if value.__class__ is list:
        return [_copied(item) if item.__class__ in _NESTED else item for item in value]
    return value
