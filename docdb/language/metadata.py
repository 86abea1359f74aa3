"""What is known of a document beside its fields: the score of a text search, the key of an index, a distance.

What lives here: the names that ``{"$meta": ...}`` may ask for, the expression and the sort direction that ask, and ``bare``. What it must not know: who finds
the values (plans, $geoNear).

Where somebody asks, a document carries what is known of it in the field ``$meta``, which no stored document can have; it goes along
through the stages and is taken off before anybody else sees it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from docdb.errors import NotSupportedError, QueryError
from docdb.language.expression_core import Scope, Term, fail
from docdb.language.tree import Node, Path, Text, walk
from docdb.language.values import MISSING

__all__ = [
    "FIELD", "INDEX_KEY", "Metadata", "NEAR_DISTANCE", "NEAR_POINT", "TEXT_SCORE", "TEXT_SCORE_PATH", "asked_by", "bare", "check_text_score",
    "is_sorted_by", "meta", "meta_direction", "stripped", "with_chance",
]  # fmt: skip

FIELD: Final = "$meta"
TEXT_SCORE: Final = "textScore"
INDEX_KEY: Final = "indexKey"
NEAR_DISTANCE: Final = "geoNearDistance"
NEAR_POINT: Final = "geoNearPoint"
TEXT_SCORE_PATH: Final[Path] = (FIELD, TEXT_SCORE)
_CHANCE: Final[Path] = (FIELD, "randVal")
_NEEDED: Final = frozenset({TEXT_SCORE, NEAR_DISTANCE, NEAR_POINT})  # not asked for where nothing finds it
_OF_A_SEARCH_SERVER: Final = frozenset({
    "score", "scoreDetails", "searchHighlights", "searchScore", "searchScoreDetails", "searchSequenceToken", "vectorSearchScore",
})  # fmt: skip
_UNSUPPORTED: Final = frozenset({"recordId", "sortKey", "timeseriesBucketMaxTime", "timeseriesBucketMinTime"})
_ABSENT: Final = _OF_A_SEARCH_SERVER | {"randVal"}  # known, and never there
_KNOWN: Final = _NEEDED | _ABSENT | {INDEX_KEY}
_SORTED: Final = frozenset({TEXT_SCORE, NEAR_DISTANCE, "randVal", "score", "searchScore", "vectorSearchScore"})

Document = dict[str, Any]


class Metadata:
    """What the documents of a pipeline carry at the stage that is being compiled, and what its stages ask for."""

    __slots__ = ("available", "used")

    def __init__(self, available: Iterable[str] = (), used: set[str] | None = None) -> None:
        self.available = set(available)
        self.used: set[str] = set() if used is None else used

    def branch(self) -> Metadata:
        """Return that of a pipeline over the same documents."""
        return Metadata(self.available, self.used)

    def ask(self, names: Iterable[str]) -> None:
        """Note that a stage asks for these; QueryError (40218) for what nothing finds."""
        for name in names:
            if name in _NEEDED and name not in self.available:
                raise _not_available(name)
            self.used.add(name)


def _not_available(name: str) -> QueryError:
    source = "$text" if name == TEXT_SCORE else "$geoNear"
    return QueryError(f"{name} is not known of these documents", path=FIELD, hint=f"it comes from {source}", code=40218)


def meta(scope: Scope, spec: Any, name: str) -> Term:
    """Compile $meta: the value, missing where it is not known."""
    if not isinstance(spec, str):
        fail("$meta takes text", 17307)
    if spec in _UNSUPPORTED:
        raise NotSupportedError(f"the metadata {spec!r} is not supported", path=name)
    if spec not in _KNOWN:
        fail(f"there is no metadata {spec!r}", 17308, hint=f"one of {', '.join(sorted(_KNOWN))}")
    scope.reads.add(f"{FIELD}.{spec}")

    def run(v: dict[str, Any]) -> Any:
        root = v["ROOT"]
        return root.get(FIELD, _NOTHING).get(spec, MISSING) if isinstance(root, dict) else MISSING

    return run


_NOTHING: Final[Mapping[str, Any]] = {}


def asked_by(reads: Iterable[str | None]) -> frozenset[str]:
    """Return the metadata among the paths that an expression reads."""
    start = FIELD + "."
    return frozenset(path[len(start) :] for path in reads if path is not None and path.startswith(start))


def meta_direction(spec: Mapping[str, Any], where: str) -> Path:
    """Return the path that stands for ``{"$meta": name}`` as a sort direction; its order is descending. QueryError 9, 31138."""
    if len(spec) != 1:
        raise QueryError("$meta stands alone in a sort direction", path=where, code=9)
    name = spec[FIELD]
    if not isinstance(name, str) or name not in _SORTED:
        raise QueryError(f"nothing is sorted by the metadata {name!r}", path=f"{where}.{FIELD}", code=31138)
    return (FIELD, name)


def is_sorted_by(keys: Iterable[tuple[Path, int]]) -> frozenset[str]:
    """Return the metadata that a sort asks for."""
    return frozenset(path[1] for path, _ in keys if path[0] == FIELD)


def with_chance(keys: Iterable[tuple[Path, int]], key: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the sort key, for documents that carry a random number where the sort asks for one."""
    if all(path != _CHANCE for path, _ in keys):
        return key
    return lambda document: key({**document, FIELD: {**document.get(FIELD, {}), _CHANCE[1]: random.random()}})


def check_text_score(node: Node, names: Iterable[str]) -> None:
    """Refuse (40218) to ask for what a find with this filter does not find."""
    for name in names:
        if name in _NEEDED and not (name == TEXT_SCORE and any(isinstance(part, Text) for part in walk(node))):
            raise _not_available(name)


def bare(document: Any) -> Any:
    """Return a document without what it carries."""
    if isinstance(document, dict) and FIELD in document:
        return {name: value for name, value in document.items() if name != FIELD}
    return document


def stripped(batches: Iterator[list[Document]]) -> Iterator[list[Document]]:
    """Yield the documents without what they carry."""
    for batch in batches:
        yield [bare(document) for document in batch]
