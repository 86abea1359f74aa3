"""The moment of a write, asked for by the writer and known only when the write happens.

What lives here: ``ServerDate``, CloudBase's marker, and its replacement by a date. What it must not know: clocks (``now`` is one
value per statement, given by whoever runs it), documents on disk.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from docdb.errors import DocumentError

__all__ = ["ServerDate", "resolve_server_dates"]

_PLAIN: Final = frozenset({bool, bytes, float, int, str, type(None)})


@dataclass(frozen=True, slots=True)
class ServerDate:
    """The time of the write plus an offset in milliseconds; stored as a date."""

    offset_ms: float = 0

    def __post_init__(self) -> None:
        if isinstance(self.offset_ms, bool) or not isinstance(self.offset_ms, int | float):
            raise DocumentError("the offset of a server date is a number of milliseconds", path="offset")

    def resolve(self, now: dt.datetime) -> dt.datetime:
        """Return the date this stands for."""
        try:
            return now + dt.timedelta(milliseconds=self.offset_ms) if self.offset_ms else now
        except (OverflowError, ValueError) as error:
            raise DocumentError("a server date lies outside the years 1 to 9999", path="offset") from error


def resolve_server_dates(value: Any, now: dt.datetime) -> Any:
    """Return the value with every ServerDate replaced, at any depth; the same object when it holds none. Cost: one pass.

    >>> resolve_server_dates({"at": ServerDate(1000)}, dt.datetime(2024, 1, 1, tzinfo=dt.UTC))
    {'at': datetime.datetime(2024, 1, 1, 0, 0, 1, tzinfo=datetime.timezone.utc)}
    """
    try:
        return _resolved(value, now)
    except RecursionError:
        raise DocumentError("the document is nested too deep") from None


def _resolved(value: Any, now: dt.datetime) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is ServerDate:
        return value.resolve(now)
    if isinstance(value, Mapping):
        changed = {name: new for name, item in value.items() if (new := _resolved(item, now)) is not item}
        return {**value, **changed} if changed else value
    if isinstance(value, list | tuple):
        items = [_resolved(item, now) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value
