"""Text search: the index that serves it, the access path over its entries, the plan.

What lives here: ``TextScan``, ``find_text`` and ``text_choice``. What it must not know: how text becomes words, how entries are made
(``store/text_entries.py`` says where they begin and where their score is).

An index whose words are known gives candidates with their scores. Words are all that a plain search asks; phrases, negation and
sensitive words are asked again of each document. Fields before the text must be given as equalities, fields behind it narrow each word's range.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Final

from docdb.errors import QueryError
from docdb.language import metadata, tree
from docdb.language.text_search import scorer, search_of
from docdb.language.text_words import Token
from docdb.language.tree import Node
from docdb.planner.access import FETCH, FIRST_FETCH, Access, CountedAccess, IndexUnion, Nothing, Work
from docdb.planner.bounds import bounds_of
from docdb.planner.choice import Chooser
from docdb.planner.conditions import conditions, conjuncts
from docdb.planner.hints import Natural
from docdb.planner.implication import implies
from docdb.planner.queries import FindQuery, SortKeys
from docdb.planner.views import View
from docdb.store.keyspace import after_prefix, component, high_bound, low_bound
from docdb.store.text_entries import entry_head, entry_score, fields_around

__all__ = ["TextChoice", "TextScan", "find_text", "text_choice"]

NOT_SERVED: Final = 291
Bounds = tuple[tuple[bytes, bytes], ...]  # of one token


@dataclass(frozen=True, slots=True)
class TextScan(CountedAccess):
    """The documents with one of the groups of words; of a group all tokens are there. Memory: ids and scores of all of them, but for one word unscored.

    ``by_score``: the best first, ``most`` of them (None: all); else in the order of their ids. ``scored``: documents carry their score.
    """

    search: str
    groups: tuple[tuple[Token, ...], ...]
    bounds: tuple[tuple[Bounds, ...], ...]
    by_score: bool = False
    scored: bool = False
    most: int | None = None

    def ids(self, view: View, work: Work, batch: int = FETCH) -> Iterator[list[bytes]]:
        if not self.by_score and self._is_one_word():
            ((((low, high),),),) = self.bounds
            for ids in view.entry_ids(self.index, low, high, batch=batch):
                work.entries += len(ids)
                yield ids
            return
        found = self._ranked(self.scores(view, work))
        for at in range(0, len(found), batch):
            yield [key for key, _ in found[at : at + batch]]

    def read(
        self, view: View, work: Work, *, program: Any = None, decode: Any = True, first: int = FIRST_FETCH
    ) -> Iterator[list[Any]]:
        if not self.scored or decode is not True:
            yield from Access.read(self, view, work, program=program, decode=decode, first=first)
            return
        found = self._ranked(self.scores(view, work))
        at, size = 0, max(1, min(first, FETCH))
        while at < len(found):
            rows = found[at : at + size]
            at, size = at + size, min(size * 2, FETCH)
            work.documents += len(rows)
            documents = view.fetch([key for key, _ in rows], program=program)
            yield [
                {**document, metadata.FIELD: {metadata.TEXT_SCORE: score}}
                for (_, score), document in zip(rows, documents, strict=True)
                if document is not None
            ]

    def count(self, view: View) -> int:
        """Return how many documents it delivers."""
        if self._is_one_word():
            ((((low, high),),),) = self.bounds
            return view.entry_count(self.index, low, high)
        return len(self.scores(view, Work()))

    def scores(self, view: View, work: Work) -> dict[bytes, float]:
        """Return the score of each id key."""
        total: dict[bytes, float] = {}
        for bounds in self.bounds:
            group: dict[bytes, float] | None = None
            for token in bounds:
                here = self._token(view, work, token)
                group = here if group is None else {k: group[k] + score for k, score in here.items() if k in group}
            if not total:
                total = group or {}
            else:
                for key, score in (group or {}).items():
                    total[key] = total.get(key, 0.0) + score
        return total

    def _token(self, view: View, work: Work, bounds: Bounds) -> dict[bytes, float]:
        found: dict[bytes, float] = {}
        for low, high in bounds:
            for entries in view.entries(self.index, low, high, batch=1024):
                work.entries += len(entries)
                for key, value in entries:
                    id_key = key[len(key) - value[0] :]
                    found[id_key] = found.get(id_key, 0.0) + entry_score(value)
        return found

    def _is_one_word(self) -> bool:
        one = len(self.groups) == 1 and len(self.groups[0]) == 1 and not self.groups[0][0].prefix
        return one and len(self.bounds[0][0]) == 1

    def _ranked(self, scores: dict[bytes, float]) -> list[tuple[bytes, float]]:
        if not self.by_score:
            return sorted(scores.items())
        if self.most is not None and self.most < len(scores) // 4:
            return heapq.nsmallest(self.most, scores.items(), key=_rank)
        return sorted(scores.items(), key=_rank)

    def describe(self) -> dict[str, Any]:
        """Return what explain shows of it."""
        words = [" ".join(token.text + ("..." if token.prefix else "") for token in group) for group in self.groups]
        return {"index": self.index.name, "search": self.search, "words": words, "ranked": self.by_score}


def _rank(row: tuple[bytes, float]) -> tuple[float, bytes]:
    return -row[1], row[0]


@dataclass(frozen=True, slots=True)
class TextChoice:
    """How a text search is served: the path, what is still to be asked of documents, whether the path gives the order.

    ``score`` is the score of a document where the path does not tell it.
    """

    access: Access
    node: Node
    ordered: bool
    score: Callable[[Any], float] | None = None


def find_text(parts: tuple[Node, ...]) -> tree.Text | None:
    """Return the text search among conjuncts, or in an $or among them."""
    for part in parts:
        if isinstance(part, tree.Text):
            return part
        if isinstance(part, tree.Or):
            for leaf in tree.walk(part):
                if isinstance(leaf, tree.Text):
                    return leaf
    return None


def text_choice(query: FindQuery, view: View, hint: Any, parts: tuple[Node, ...], sort: SortKeys) -> TextChoice:
    """Return how the search is served. Raises QueryError: 27 without a text index, 291 where the index cannot serve, 2 for what does not go together."""
    _check(query, hint, sort)
    index = next((i for i in view.collection.indexes if i.text is not None and not i.building and not i.hidden), None)
    if index is None:
        raise QueryError(
            "text index required for $text query", path="$text", hint='create_index([("field", "text")])', code=27
        )
    if index.partial_node is not None and not implies(tree.And(parts), index.partial_node):
        raise _not_served("the text index is partial and the filter does not imply its condition")
    by_score = sort == ((metadata.TEXT_SCORE_PATH, -1),)
    if by_score and query.after is not None:
        raise QueryError("a keyset page cannot follow a score", path="after", hint="use skip, or sort by a field")
    for number, part in enumerate(parts):
        if isinstance(part, tree.Text):
            return _served(query, index, parts, number, by_score)
    bound = tuple(_bound(part, index) for part in parts)
    for number, part in enumerate(bound):
        if isinstance(part, tree.Or) and find_text((part,)) is not None:
            access = _union(view, index, part, bound[:number] + bound[number + 1 :], query)
            leaf = find_text((part,))
            assert leaf is not None
            return TextChoice(access, tree.And(bound), False, scorer(leaf))
    raise AssertionError("find_text found a search in no conjunct")


def _check(query: FindQuery, hint: Any, sort: SortKeys) -> None:
    leaves = tree.walk(query.node)
    if sum(isinstance(leaf, tree.Text) for leaf in leaves) > 1:
        raise QueryError("a filter has one $text", path="$text")
    if any(isinstance(leaf, tree.Near) for leaf in leaves):
        raise QueryError("$text and $near do not go together", path="$text")
    if sort and sort[0][0] == ("$natural",) or isinstance(hint, Natural):
        raise QueryError("$text does not go with $natural", path="$text")
    if hint is not None:
        raise QueryError("$text takes no hint: it is served by the text index", path="hint")


def _not_served(why: str) -> QueryError:
    return QueryError(f"failed to use the text index: {why}", path="$text", code=NOT_SERVED)


def _served(query: FindQuery, index: Any, parts: tuple[Node, ...], number: int, by_score: bool) -> TextChoice:
    leaf = _bound(parts[number], index)
    assert isinstance(leaf, tree.Text)
    rest = parts[:number] + parts[number + 1 :]
    search = search_of(leaf)
    if not search.plain:
        rest = (replace(leaf, proved=True), *rest)
    scored = metadata.TEXT_SCORE in query.metadata or (bool(sort_metadata(query.sort)) and not by_score)
    access = _scan(index, leaf, parts)
    if isinstance(access, TextScan):
        wanted = query.skip + query.limit if query.limit and not rest else None
        access = replace(access, by_score=by_score, scored=scored, most=wanted)
    return TextChoice(access, tree.And(rest) if rest else tree.TRUE, by_score)


def sort_metadata(sort: SortKeys) -> frozenset[str]:
    """Return the metadata a sort asks for."""
    return metadata.is_sorted_by(sort)


def _bound(node: Node, index: Any) -> Node:
    """Return the node whose search knows its index."""
    if isinstance(node, tree.Text):
        return replace(node, spec=index.text_spec)
    if isinstance(node, tree.Or | tree.And):
        return replace(node, parts=tuple(_bound(part, index) for part in node.parts))
    return node


def _scan(index: Any, leaf: tree.Text, parts: tuple[Node, ...]) -> Access:
    before, behind = fields_around(index.keys)
    head = entry_head(b"".join(component(_given(parts, path), way) for path, way in before))
    groups = search_of(leaf).groups
    if not groups:
        return Nothing()
    ranges: tuple[tuple[bytes, bytes], ...] = ()
    if behind:
        found = bounds_of(SimpleNamespace(keys=behind), conditions(parts, None), multikey=False, cut=True)
        if found.empty:
            return Nothing()
        ranges = tuple((item.low, item.high) for item in found.ranges) if found.bounded else ()
    bounds = tuple(tuple(_bounds(head, token, ranges) for token in group) for group in groups)
    return TextScan(index, leaf.search, groups, bounds)


def _bounds(head: bytes, token: Token, ranges: tuple[tuple[bytes, bytes], ...]) -> Bounds:
    start = head + token.text.encode()
    if token.prefix:
        return ((start, after_prefix(start)),)
    start += b"\0"
    if not ranges:
        return ((start, after_prefix(start)),)
    return tuple((low_bound(start + low), high_bound(start + high)) for low, high in ranges)


def _given(parts: tuple[Node, ...], path: tree.Path) -> Any:
    """Return the value that the filter gives a field before the text."""
    for part in parts:
        if isinstance(part, tree.Compare) and part.path == path and part.op == "eq" and part.collation is None:
            return part.value
    raise _not_served(f"{'.'.join(path)} stands before its text and must be given as an equality")


def _union(view: View, index: Any, node: tree.Or, rest: tuple[Node, ...], query: FindQuery) -> Access:
    """Return a path for each branch of the $or that holds the search."""
    chooser = Chooser(view, (), query.collation, None)
    found: list[Access] = []
    for branch in node.parts:
        leaves = conjuncts(branch)
        leaf = next((part for part in leaves if isinstance(part, tree.Text)), None)
        if leaf is not None:
            found.append(_scan(index, leaf, leaves + rest))
            continue
        nested = next((part for part in leaves if find_text((part,)) is not None), None)
        if isinstance(nested, tree.Or):
            others = tuple(part for part in leaves if part is not nested)
            found.append(_union(view, index, nested, others + rest, query))
            continue
        best = chooser.branch(leaves, rest)
        if best is None:
            raise _not_served("the other branches of its $or need indexes too")
        found.append(best.access)
    return IndexUnion(tuple(access for access in found if not isinstance(access, Nothing)))
