"""Positions in the change log, and their text.

What lives here: ``Position``. What it must not know: the log itself.

A position says what has been read: everything up to and including one change. Its text, ``database.epoch.commit.index``, can be stored anywhere; an
index of ``END`` means the whole commit. A restored copy begins another epoch, and refuses the positions of the original.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from docdb.errors import HistoryLost, UsageError

__all__ = ["END", "Place", "Position"]

END: Final = 0xFFFFFFFF  # the index of a commit's end record

Place = tuple[int, int]  # commit, index


@dataclass(frozen=True, slots=True)
class Position:
    """One place in the history of one database."""

    database: str
    epoch: str
    commit: int
    index: int = END

    def __str__(self) -> str:
        return f"{self.database}.{self.epoch}.{self.commit}.{self.index}"

    @property
    def place(self) -> Place:
        """Commit and index."""
        return self.commit, self.index

    @staticmethod
    def parse(text: Any, about: Mapping[str, Any]) -> Position:
        """Return the position a text names; pymongo's form ``{"_data": text}`` is taken too.

        Raises UsageError for what is no position of this database, HistoryLost for one of another epoch.
        """
        if isinstance(text, Mapping) and set(text) == {"_data"}:
            text = text["_data"]
        if isinstance(text, Position):
            text = str(text)
        parts = text.split(".") if isinstance(text, str) else []
        if len(parts) != 4 or not all(part.isascii() and part.isdigit() for part in parts[2:]):
            raise UsageError("this is no position of a change log", path="resume_after", hint="pass change.position")
        found = Position(parts[0], parts[1], int(parts[2]), int(parts[3]))
        if found.index > END or found.commit >= 2**63:
            raise UsageError("this is no position of a change log", path="resume_after")
        if found.database != about["database_id"]:
            raise UsageError("the position belongs to another database", path="resume_after")
        if found.epoch != about["epoch"]:
            raise HistoryLost(
                "the position belongs to the history before a restore", hint='begin again with from_="oldest" or "now"'
            )
        return found
