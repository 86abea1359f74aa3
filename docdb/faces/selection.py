"""One find, as the user asks for it piece by piece.

What lives here: ``Selection``, the immutable state behind the native query and pymongo's cursor; each piece is
checked when it is given, so a wrong operator fails at the call that holds it. What it must not know: sessions, how
documents are found."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, Final, NamedTuple

from docdb.errors import QueryError, UsageError
from docdb.faces.arguments import (
    FindOptions,
    check_options,
    collation_document,
    hint_of,
    key_pairs,
    named_sort,
    sort_document,
    whole_number,
)
from docdb.faces.conditions import encode_find
from docdb.language.collation import Collation, parse_collation
from docdb.language.filters import parse, parse_comparisons
from docdb.language.linear_patterns import is_linear_only, linear_only
from docdb.language.projection import Projection, known_projection, parse_projection
from docdb.language.sorting import parse_sort
from docdb.language.tree import TRUE, Node
from docdb.planner.queries import FindQuery, SortKeys

__all__ = ["Selection"]

_ALL: Final[Mapping[str, Any]] = {}
_AS_IT_IS: Final = nullcontext()


class Selection(NamedTuple):
    """Filter, projection and sort as written and as parsed, and what bounds the answer."""

    filter: Mapping[str, Any] = _ALL
    node: Node = TRUE
    fields: Any = None
    projection: Projection | None = None
    order: Mapping[str, Any] | None = None
    keys: SortKeys = ()
    skip: int = 0
    limit: int = 0
    hint: Any = None
    collation_spec: Any = None
    collation: Collation | None = None
    max_time_ms: int | None = None
    after: str | None = None
    min: Mapping[str, Any] | None = None
    max: Mapping[str, Any] | None = None
    return_key: bool = False
    let: Mapping[str, Any] | None = None
    comment: Any = None
    follow: bool = False
    naive_utc: bool = False
    linear: bool = False

    @staticmethod
    def of(
        filter: Any,
        fields: Any = None,
        *,
        collation: Any = None,
        let: Any = None,
        naive_utc: bool = False,
        linear: bool = False,
    ) -> Selection:
        """Return the selection of a filter in MongoDB's sense and a projection; QueryError when either is wrong. ``linear``: its patterns are RE2's."""
        if type(filter) is dict and collation is None and let is None:
            plain = parse_comparisons(filter)
            known = None if plain is None else known_projection(fields)
            if plain is not None and (fields is None or known is not None):
                return Selection._make((filter, plain, fields, known, *_NOTHING_MORE, naive_utc, linear))
        if linear and not is_linear_only():  # constants are evaluated while they are read
            with linear_only():
                return Selection.of(filter, fields, collation=collation, let=let, naive_utc=naive_utc, linear=True)
        document = {} if filter is None else encode_find(filter)
        spec = collation_document(collation)
        parsed = None if spec is None else parse_collation(spec)
        node = parse(document, collation=parsed, let=let, naive_utc=naive_utc)
        shown = None if fields is None else _projection(fields, node, parsed, let, naive_utc)
        return Selection(
            filter=document, node=node, fields=fields, projection=shown, collation_spec=spec, collation=parsed, let=let,
            naive_utc=naive_utc, linear=linear,
        )  # fmt: skip

    @staticmethod
    def of_find(
        method: str, filter: Any, fields: Any, options: FindOptions, *, naive_utc: bool = False, linear: bool = False
    ) -> Selection:
        """Return the selection with everything ``find`` takes by name."""
        if not options:
            return Selection.of(filter, fields, naive_utc=naive_utc, linear=linear)
        check_options(method, options, FindOptions)
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        if given.get("allow_disk_use") is False:
            raise UsageError(
                "large sorts always may use the disk", path="allow_disk_use", hint="leave allow_disk_use out"
            )
        if "batch_size" in given:
            whole_number(given["batch_size"], "batch_size")
        found = Selection.of(
            filter, fields, collation=given.get("collation"), let=given.get("let"), naive_utc=naive_utc, linear=linear
        )
        plain = {name: given[name] for name in ("comment", "follow", "return_key") if name in given}
        found = found._replace(**plain) if plain else found
        if "sort" in given:
            found = found.with_sort(named_sort(given["sort"]))
        for name in ("hint", "max_time_ms", "min", "max"):
            if name in given:
                found = getattr(found, f"with_{name}")(given[name])
        return found

    @property
    def plain(self) -> bool:
        """Whether there is nothing but a filter and a limit."""
        return self[2:_LIMIT] == _NO_MORE and self[_LIMIT + 1 : -2] == _NO_MORE_BEHIND

    def with_filter(self, filter: Mapping[str, Any]) -> Selection:
        """Return the selection with another filter document, all else kept."""
        with linear_only() if self.linear else _AS_IT_IS:
            node = parse(filter, collation=self.collation, let=self.let, naive_utc=self.naive_utc)
        changed = self._replace(filter=filter, node=node)
        return changed if self.fields is None else changed.with_fields(self.fields)

    def with_fields(self, fields: Any) -> Selection:
        """Return the selection with another projection."""
        with linear_only() if self.linear else _AS_IT_IS:
            shown = None if fields is None else _projection(fields, self.node, self.collation, self.let, self.naive_utc)
        return self._replace(fields=fields, projection=shown)

    def with_sort(self, keys: Any, order: Any = None) -> Selection:
        """Return the selection in another order; an empty one is none."""
        known = _known_sort(keys, order)
        if known is not None:
            return Selection._make((*self[:_ORDER], *known, *self[_ORDER + 2 :]))
        document = sort_document(keys, order)
        return self._replace(order=document or None, keys=parse_sort(document) if document else ())

    def with_sort_added(self, name: str, order: Any) -> Selection:
        """Return the selection with one more, less significant sort key."""
        return self.with_sort({**(self.order or {}), **sort_document(name, order)})

    def with_skip(self, count: Any) -> Selection:
        """Return the selection without its first documents."""
        count = whole_number(count, "skip")
        return self if count == self.skip else self._replace(skip=count)

    def with_limit(self, count: Any, *, least: int = 0) -> Selection:
        """Return the selection bounded to so many documents; 0 is no bound."""
        count = whole_number(count, "limit", least=least)
        return Selection._make((*self[:_LIMIT], count, *self[_LIMIT + 1 :]))  # in a third of _replace's time

    def with_hint(self, hint: Any) -> Selection:
        """Return the selection that must use this index."""
        return self._replace(hint=hint_of(hint))

    def with_collation(self, collation: Any) -> Selection:
        """Return the selection that compares text by this collation."""
        spec = collation_document(collation)
        changed = self._replace(collation_spec=spec, collation=None if spec is None else parse_collation(spec))
        return changed.with_filter(self.filter)

    def with_max_time_ms(self, limit: Any) -> Selection:
        """Return the selection that ends with TimeoutExpired after so many milliseconds."""
        return self._replace(max_time_ms=None if limit is None else whole_number(limit, "max_time_ms"))

    def with_after(self, token: Any) -> Selection:
        """Return the selection that begins behind the document a keyset token names."""
        if token is not None and not isinstance(token, str):
            raise UsageError("a keyset token is text", path="after")
        return self._replace(after=token)

    def with_min(self, bound: Any) -> Selection:
        """Return the selection that begins at this key of the hinted index."""
        return self._replace(min=dict(key_pairs(bound, "min")))

    def with_max(self, bound: Any) -> Selection:
        """Return the selection that ends before this key of the hinted index."""
        return self._replace(max=dict(key_pairs(bound, "max")))

    def query(self) -> FindQuery:
        """Return the planner's input."""
        if (self.min is not None or self.max is not None) and self.hint is None:
            raise QueryError("min and max bound an index", path="min", hint="name the index with hint", code=51173)
        metadata = frozenset() if self.projection is None else self.projection.metadata
        sorted_by = [path[1] for path, _ in self.keys if path[0] == "$meta"]
        if metadata or sorted_by:
            from docdb.language.metadata import check_text_score  # loaded at the first query of its kind

            check_text_score(self.node, (*metadata, *sorted_by))
        return FindQuery._make((
            self.filter, self.node, self.projection, self.keys, self.skip, self.limit or None, self.hint, self.collation, self.after,
            self.min, self.max, self.return_key, self.let, bool(self.collation_spec) and self.collation is None, self.fields, metadata,
            False, None,
        ))  # fmt: skip

    def operation(self) -> dict[str, Any]:
        """Return what an operation takes of the selection besides its filter."""
        named = {"collation": self.collation_spec, "hint": self.hint, "sort": self.order, "let": self.let}
        return {name: value for name, value in named.items() if value is not None}


_NOTHING_MORE: Final = Selection()[4:-2]  # what stands between the projection and the two settings
_ORDER: Final = Selection._fields.index("order")  # the keys stand behind it
_LIMIT: Final = Selection._fields.index("limit")
_NO_MORE: Final = Selection()[2:_LIMIT]
_NO_MORE_BEHIND: Final = Selection()[_LIMIT + 1 : -2]


def _known_sort(keys: Any, order: Any) -> tuple[Mapping[str, Any], SortKeys] | None:
    """Return what is written and what is parsed of a sort by names and plain directions, which is asked for again and again; None for any other."""
    if type(keys) is str:
        return _sorted_by(((keys, order),)) if type(order) is int else None
    if order is not None or not keys:
        return None
    pairs = tuple(keys) if type(keys) is list else tuple(keys.items()) if type(keys) is dict else ()
    for pair in pairs:
        if type(pair) is not tuple or len(pair) != 2 or type(pair[0]) is not str or type(pair[1]) is not int:
            return None
    return _sorted_by(pairs) if pairs else None


@lru_cache(maxsize=256)
def _sorted_by(pairs: tuple[tuple[str, int], ...]) -> tuple[Mapping[str, Any], SortKeys]:
    document = sort_document(list(pairs))
    return document, parse_sort(document)


def _projection(fields: Any, node: Node, collation: Collation | None, let: Any, naive_utc: bool) -> Projection | None:
    if not isinstance(fields, Mapping):
        if isinstance(fields, str) or not isinstance(fields, list | tuple | set | frozenset):
            raise QueryError(
                f"a projection is a document or a list of names, not {type(fields).__name__}",
                path="projection",
                code=14,
            )
        if not all(isinstance(name, str) for name in fields):
            raise QueryError("a projection that is a list is one of names", path="projection", code=14)
        fields = dict.fromkeys(fields, 1) or {"_id": 1}
    return parse_projection(fields, node=node, collation=collation, let=let, naive_utc=naive_utc)
