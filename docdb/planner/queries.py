"""What is asked: the immutable input of the planner.

What lives here: ``FindQuery``. What it must not know: indexes, views, how anything is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from docdb.language.tree import TRUE, Node, Path

if TYPE_CHECKING:
    from docdb.language.collation import Collation
    from docdb.language.projection import Projection

__all__ = ["FindQuery", "Hint", "SortKeys"]

SortKeys = tuple[tuple[Path, int], ...]
Hint = str | tuple[tuple[str, Any], ...] | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FindQuery:
    """One find: which documents, in which order, which part of them.

    ``filter`` is what the user wrote (for explain), ``node`` the same parsed. ``sort`` holds path parts and 1 or -1; ``$natural`` stands as
    ``(("$natural",), 1)``. ``after`` is the keyset token of the last document of the page before: the order is then completed by ``_id``.
    ``min`` (inclusive) and ``max`` (exclusive) bound the keys of the hinted index. ``limit`` None or 0 is no limit.
    """

    filter: Mapping[str, Any] = field(default_factory=dict)
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
