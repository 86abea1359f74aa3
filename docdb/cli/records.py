"""What every reader of a file yields.

What lives here: ``Found``, a document (or what is wrong in its place) and where it stands, and ``Place``. What it must not know: formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import docdb

__all__ = ["Found", "Place", "within"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a document begins: line and column from 1, or its number and byte in a binary file, or nothing of both."""

    line: int | None = None
    column: int = 1
    number: int = 0
    byte: int = 0

    def __str__(self) -> str:
        if self.line is None and not self.number:
            return "behind the last document"
        if self.line is None:
            return f"document {self.number}, byte {self.byte}"
        return f"line {self.line}, column {self.column}"


@dataclass(frozen=True, slots=True)
class Found:
    """A document, or the error that stands in its place; after a fatal one nothing more can be read."""

    place: Place
    document: dict[str, Any] | None = None
    error: str | None = None
    fatal: bool = False


def within(error: docdb.DocdbError) -> str:
    """Return an error's text without its line and column, which the place says."""
    where = f"{error.path}: " if error.path else ""
    cure = f" ({error.hint})" if error.hint else ""
    return f"{where}{error.message}{cure}"
