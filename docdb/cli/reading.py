"""What the reading verbs share: a cursor from the options of the command line.

What lives here: ``asked``. What it must not know: output.
"""

from __future__ import annotations

from typing import Any

import docdb

__all__ = ["asked"]


def asked(
    collection: docdb.Collection[Any],
    filter: Any,
    *,
    projection: Any = None,
    sort: list[tuple[str, int]] | None = None,
    skip: int = 0,
    limit: int | None = None,
    hint: Any = None,
) -> Any:
    """Return an unused cursor over what was asked for. Raises QueryError."""
    found = collection.find(filter, projection, skip, limit or 0)
    if sort:
        found = found.sort(sort)
    return found.hint(hint) if hint else found
