"""A Reader over documents in memory, for tests of rules.

What lives here: ``Documents``, and ``equals``, which all readers have. What it must not know: databases; the reader over a snapshot is the sessions'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from docdb.rules.comparison import same

__all__ = ["Documents", "equals"]


class Documents:
    """Fulfils ``evaluator.Reader`` from lists of documents by collection.

    >>> Documents({"roles": [{"_id": "ann", "role": "admin"}]}).document("roles", "ann")
    {'_id': 'ann', 'role': 'admin'}
    """

    def __init__(self, collections: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self.collections = collections

    def document(self, collection: str, key: str) -> Mapping[str, Any] | None:
        """Return the document whose ``_id`` is ``key``, or None."""
        return next((row for row in self.collections.get(collection, ()) if same(row.get("_id"), key)), None)

    def matching(self, collection: str, equal: Mapping[str, Any], limit: int) -> Sequence[Mapping[str, Any]]:
        """Return at most ``limit`` documents whose fields equal the values."""
        rows = (row for row in self.collections.get(collection, ()) if equals(row, equal))
        return list(islice(rows, limit))

    def count(self, collection: str, equal: Mapping[str, Any], limit: int) -> int:
        """Return how many documents have fields that equal the values, counting no further than ``limit``."""
        return len(self.matching(collection, equal, limit))


def equals(document: Mapping[str, Any], equal: Mapping[str, Any]) -> bool:
    """Tell whether the fields of a document equal the values, strictly: no array matches by a member."""
    for path, value in equal.items():
        found: Any = document
        for step in path.split("."):
            if not isinstance(found, Mapping) or step not in found:
                return False
            found = found[step]
        if not same(found, value):
            return False
    return True
