"""Patterns of rules, on an engine whose time is linear in the text.

What lives here: ``compiled``. What it must not know: trees. Without google-re2 a rule with a pattern does not load.
"""

from __future__ import annotations

from typing import Any, Final

from docdb.errors import QueryError, RuleError
from docdb.language.linear_patterns import compile_linear

__all__ = ["compiled"]

MAX_MEMORY: Final = 1 << 20  # bytes of one compiled pattern


def compiled(source: str, flags: str) -> Any:
    """Return the pattern, whose ``search`` takes a text; raise RuleError where it is none or google-re2 is missing."""
    try:
        return compile_linear(source, flags, MAX_MEMORY)
    except QueryError as error:
        message = error.message.replace("Regular expression is invalid", "this is no pattern of RE2")
        raise RuleError(message.replace("patterns of users", "patterns in rules"), hint=error.hint) from error
