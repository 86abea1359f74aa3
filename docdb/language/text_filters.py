"""The operator $text of a filter becomes a leaf.

What lives here: ``text``. What it must not know: the index that serves it; the planner binds the leaf to it. MongoDB's codes: 2, and 4 and 14 for a
``$search`` that is missing or no text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from docdb.errors import QueryError
from docdb.language.filter_operators import Scope, at
from docdb.language.text_words import LANGUAGES, language_of
from docdb.language.tree import Node, Text
from docdb.language.values import type_name

__all__ = ["text"]

_OPTIONS: Final[dict[str, type]] = {
    "$search": str,
    "$language": str,
    "$caseSensitive": bool,
    "$diacriticSensitive": bool,
}


def text(scope: Scope, value: Any, where: str) -> Node:
    """Return the leaf of $text."""
    if not scope.text:
        raise QueryError("$text may not stand here", path=where)
    if scope.element or scope.negated:
        raise QueryError("$text stands at the top of a filter, in $and or in $or", path=where)
    if not isinstance(value, Mapping):
        raise QueryError("$text takes a document", path=where, hint='{"$text": {"$search": "words"}}')
    given: dict[str, Any] = scope.canonical(value, where)
    for name, item in given.items():
        if name not in _OPTIONS:
            raise QueryError(
                f"$text has no option {name}", path=at(where, name), hint=f"it takes {', '.join(_OPTIONS)}"
            )
        if not isinstance(item, _OPTIONS[name]):
            kind = "text" if _OPTIONS[name] is str else "true or false"
            raise QueryError(f"{name} is {kind}, not {type_name(item)}", path=at(where, name), code=14)
    if "$search" not in given:
        raise QueryError("$text needs $search", path=where, code=4)
    language = given.get("$language")
    if language is not None:
        known = language_of(language)
        if known is None:
            raise QueryError(
                f"the language {language!r} is not known to text search", path=at(where, "$language"),
                hint=f"one of {', '.join(sorted(set(LANGUAGES.values())))}",
            )  # fmt: skip
        language = known
    return Text(given["$search"], language, given.get("$caseSensitive", False), given.get("$diacriticSensitive", False))
