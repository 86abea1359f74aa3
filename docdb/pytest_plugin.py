"""Fixtures for the tests of programs that use docdb.

What lives here: ``docdb_path``, ``docdb_database`` and ``docdb_rules``. What it must not know: docdb's insides; it uses the public
names, and imports them only when a test asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from docdb.database import Database
    from docdb.rules.kit import RuleKit

__all__ = ["docdb_database", "docdb_path", "docdb_rules"]


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


@pytest.fixture
def docdb_rules() -> Callable[..., RuleKit]:
    """A function that makes a kit of a file of rules, or of ``{collection: rules}``, to ask what is allowed.

    Use::

        def test_only_the_owner_writes(docdb_rules):
            kit = docdb_rules("rules.json", documents={"roles": [{"_id": "ann", "role": "admin"}]})
            kit.assert_allowed("read", "posts", auth=None, doc={"owner": "ann"})
            kit.assert_denied("update", "posts", auth={"uid": "bob"}, doc={"owner": "ann"}, data={"title": "mine"})
    """
    from docdb.rules.kit import kit_of

    return kit_of
