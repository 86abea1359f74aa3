"""Patterns of rules, on an engine whose time is linear in the text: RE2, and no other.

What lives here: ``compiled``. What it must not know: trees. google-re2 is an extra (``re2``) and imported when the first rule with
a pattern is loaded; without it such a rule does not load.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

from docdb.errors import RuleError

__all__ = ["compiled"]

MAX_MEMORY = 1 << 20  # bytes of one compiled pattern


@lru_cache(maxsize=1024)
def compiled(source: str, flags: str) -> Any:
    """Return the pattern, whose ``search`` takes a text; raise RuleError where it is none or google-re2 is missing."""
    try:
        re2 = import_module("re2")
    except ModuleNotFoundError as error:
        raise RuleError(
            "patterns in rules need google-re2, which takes linear time", hint="pip install 'docdb-engine[re2]'"
        ) from error
    options = re2.Options()
    options.max_mem = MAX_MEMORY
    options.log_errors = False
    letters = "".join(sorted(set(flags)))
    try:
        return re2.compile(f"(?{letters}){source}" if letters else source, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise RuleError(f"this is no pattern of RE2: {text}") from error
