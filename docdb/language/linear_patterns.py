"""Patterns whose time is linear in the text, whatever they are: RE2, and no other.

What lives here: ``compile_linear``, and ``linear_only``, inside which every pattern that is parsed becomes one of these. What it must not know: who asks for
it (rules, and what users send). google-re2 is an extra (``re2``) and imported with the first pattern.

The choice is made where a pattern is read, in a filter, an expression, a schema or an update, and stays with what was made of it. It is ambient, since
patterns may stand anywhere in what is sent: a road that forgot to hand the choice on would be a hole.

The meaning is RE2's: no lookaround, no backreferences, no possessive quantifiers, no flag ``x``; ``$`` is the very end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

from docdb.errors import QueryError

__all__ = ["MAX_LENGTH", "compile_linear", "is_linear_only", "linear_only"]

MAX_LENGTH: Final = 1024  # characters
# Bytes of one compiled pattern. They bound the program, so what one character of a text may cost: some 10 us at worst.
MAX_MEMORY: Final = 1 << 18
_FLAGS: Final = frozenset("ims")

_only: ContextVar[bool] = ContextVar("linear_only", default=False)


@contextmanager
def linear_only(on: bool = True) -> Iterator[None]:
    """Read patterns as RE2's inside the block, or (``on`` false) as any, whatever holds around it."""
    token = _only.set(on)
    try:
        yield
    finally:
        _only.reset(token)


def is_linear_only() -> bool:
    """Tell whether patterns that are read now must be linear."""
    return _only.get()


@lru_cache(maxsize=1024)
def compile_linear(pattern: str, flags: str = "", max_memory: int = MAX_MEMORY) -> Any:
    """Return the pattern; its ``search`` and ``finditer`` are those of ``re``.

    Raises QueryError (51091) for what RE2 does not know, what is longer than 1,024 characters, what is too large when compiled, and
    where google-re2 is missing.
    """
    if len(pattern) > MAX_LENGTH:
        raise _invalid(f"it has more than {MAX_LENGTH} characters")
    letters = "".join(sorted(set(flags) - set("ul")))
    if not _FLAGS.issuperset(letters):
        raise _invalid("RE2 has the flags i, m and s")
    if _takes_bytes(pattern):
        raise _invalid("a pattern is about characters, not bytes")
    try:
        re2 = import_module("re2")
    except ModuleNotFoundError as error:
        raise QueryError(
            "patterns of users need google-re2, which takes linear time",
            hint="pip install 'docdb-engine[re2]'",
            code=51091,
        ) from error
    options = re2.Options()
    options.max_mem = max_memory
    options.log_errors = False
    try:
        return re2.compile(f"(?{letters}){pattern}" if letters else pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise _invalid(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from error
    except UnicodeEncodeError as error:
        raise _invalid("it is no text") from error


def _invalid(reason: str) -> QueryError:
    return QueryError(
        f"Regular expression is invalid: {reason}", code=51091, hint="patterns of users run on RE2, in linear time"
    )


def _takes_bytes(pattern: str) -> bool:
    """Tell whether ``\\C``, any byte, stands in a pattern (not between ``\\Q`` and ``\\E``)."""
    at = pattern.find("\\")
    while at >= 0:
        letter = pattern[at + 1 : at + 2]
        if letter == "C":
            return True
        end = pattern.find("\\E", at + 2) if letter == "Q" else at
        at = pattern.find("\\", end + 2) if end >= 0 else -1
    return False
