"""Who is judged: a caller and how strictly.

What lives here: ``Caller`` and ``caller_of``, which checks what a program says of one. What it must not know: rules, sessions.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from docdb.errors import DocumentError, UsageError
from docdb.language.values import canonical

__all__ = ["Caller", "caller_of"]

IDENTITIES: Final = ("openid", "uid")


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller as the program has introduced it; ``auth`` is a copy that nobody else holds.

    ``filter_mode``: a query is narrowed to what the rules allow instead of having to prove it. ``strict_ids``: ``doc(id)`` is a query like any other.
    ``expires_at``: from then on everything is denied.
    """

    auth: Mapping[str, Any] | None
    filter_mode: bool = False
    strict_ids: bool = False
    expires_at: dt.datetime | None = None
    on_denied: Callable[[Any], Any] | None = None

    @property
    def id(self) -> str | None:
        """Whose a document is that the caller creates: the ``openid``, else the ``uid``."""
        auth = self.auth or {}
        found: str | None = auth.get("openid", auth.get("uid"))
        return found

    @property
    def by_uid(self) -> bool:
        """Whether the caller is known by its ``uid`` alone."""
        return self.auth is not None and "openid" not in self.auth and "uid" in self.auth


def caller_of(
    auth: Any, *, expires_at: Any, filter_mode: Any, strict_ids: Any, on_denied: Callable[[Any], Any] | None
) -> Caller:
    """Return the caller; UsageError for what cannot be one."""
    for name, value in (("filter_mode", filter_mode), ("strict_ids", strict_ids)):
        if type(value) is not bool:
            raise UsageError(f"{name} is True or False", path=name)
    if expires_at is not None and (not isinstance(expires_at, dt.datetime) or expires_at.tzinfo is None):
        raise UsageError("expires_at is a datetime with a time zone", path="expires_at")
    if on_denied is not None and not callable(on_denied):
        raise UsageError("on_denied is a function of one argument", path="on_denied")
    return Caller(None if auth is None else _checked(auth), filter_mode, strict_ids, expires_at, on_denied)


def _checked(auth: Any) -> dict[str, Any]:
    if not isinstance(auth, Mapping):
        raise UsageError(f"auth is a mapping, or None, not {type(auth).__name__}", path="auth")
    for name in IDENTITIES:
        if name in auth and not isinstance(auth[name], str):
            raise UsageError(
                f"{name} is text, not {type(auth[name]).__name__}",
                path=f"auth.{name}",
                hint="leave it out when there is none",
            )
    try:
        # A copy first: nothing that the program holds, or a class of its own, may answer for it later.
        found: dict[str, Any] = canonical(copy.deepcopy(dict(auth)), "auth")
    except DocumentError as error:
        raise UsageError(error.message, path=error.path, hint=error.hint) from error
    return {name: str(value) if name in IDENTITIES else value for name, value in found.items()}
