"""Fixtures for the tests of programs that use docdb.

What lives here: ``docdb_path`` and ``docdb_database``. What it must not know: docdb's insides; it uses the public
names, and imports them only when a test asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from docdb.database import Database

__all__ = ["docdb_database", "docdb_path"]


@pytest.fixture
def docdb_path(tmp_path: Path) -> Path:
    """A folder where a test may open a database; it does not exist yet and goes with the test's temporary folder."""
    return tmp_path / "test.docdb"


@pytest.fixture
def docdb_database() -> Iterator[Database]:
    """An empty database in memory, closed after the test."""
    import docdb

    with docdb.open(":memory:") as database:
        yield database
