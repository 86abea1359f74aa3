"""What is asked: the immutable input of the planner.

What lives here: ``FindQuery``. What it must not know: indexes, views, how anything is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from docdb.language.tree import TRUE, Node, Path

if TYPE_CHECKING:
    from docdb.language.collation import Collation
    from docdb.language.projection import Projection

__all__ = ["FindQuery", "Hint", "SortKeys"]

SortKeys = tuple[tuple[Path, int], ...]
Hint = str | tuple[tuple[str, Any], ...] | Mapping[str, Any]


_ALL: Final[Mapping[str, Any]] = {}


class FindQuery(NamedTuple):
    """One find: which documents, in which order, which part of them.

    ``filter`` is what the user wrote (for explain), ``node`` the same parsed. ``sort`` holds path parts and 1 or -1; ``$natural`` stands as
    ``(("$natural",), 1)``. ``after`` is the keyset token of the last document of the page before: the order is then completed by ``_id``.
    ``after`` is empty for the first page. ``simple``: plain order was asked for, so that the collection's collation does not enter.
    ``metadata`` is what the documents are to carry in ``$meta`` (``language/metadata.py``); with ``carries`` they keep it, for the stages of a pipeline.
    ``names`` are the only top-level fields that are read of the documents by those who asked, None for all; they may come with more.
    ``fields`` is the projection as written. ``min`` (inclusive) and ``max`` (exclusive) bound the keys of the hinted index. ``limit`` None or 0 is no limit.
    """

    filter: Mapping[str, Any] = _ALL
    node: Node = TRUE
    projection: Projection | None = None
    sort: SortKeys = ()
    skip: int = 0
    limit: int | None = None
    hint: Hint | None = None
    collation: Collation | None = None
    after: str | None = None
    min: Mapping[str, Any] | None = None
    max: Mapping[str, Any] | None = None
    return_key: bool = False
    let: Mapping[str, Any] | None = None
    simple: bool = False
    fields: Any = None
    metadata: frozenset[str] = frozenset()
    carries: bool = False
    names: frozenset[str] | None = None
