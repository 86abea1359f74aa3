"""What all tests share: the checker runs on every database before it is closed, and open ones are closed after the test."""

from __future__ import annotations

import gc
import os
import signal
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("docdb", deadline=None)  # how long an example takes is the machine's business
settings.load_profile("docdb")

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a shell's background job, where tests of interruptions would see none
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Databases that outlive the test that opens them; who keeps them has them checked.
LASTING: weakref.WeakSet[Any] = weakref.WeakSet()
TESTS = Path(__file__).resolve().parent
SHARED = TESTS.parent.parent / "shared"
# What the reference forms have no part in: with DOCDB_PURE=1 these would run the same code a second time.
WITHOUT_KERNELS = {
    TESTS / "test_house.py": "reads the source",
    TESTS
    / "test_benchmarks.py": "what the suite of benchmarks lists, keeps and compares; what it measures is the kernels",
    TESTS / "test_examples.py": "programs in an environment of their own, which does not hold DOCDB_PURE",
    TESTS / "docs" / "test_reference.py": "reads the docstrings",
    TESTS
    / "faults"
    / "test_engine.py": "the engine without the rooms above it; that on py-lmdb asks no kernel, the other is one",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, where everything runs on the reference forms, what has none."""
    if os.environ.get("DOCDB_PURE") != "1":
        return
    config.hook.pytest_deselected(items=[item for item in items if item.path in WITHOUT_KERNELS])
    items[:] = [item for item in items if item.path not in WITHOUT_KERNELS]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Take what is there now out of the collector's sight: some tests collect often, and 20,000 tests are millions of objects to walk."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def shared() -> Path:
    """The folder beside the project with real data and conformance cases; skips with a reason where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("the shared folder with real data is not beside the project")
    return SHARED


@pytest.fixture(autouse=True)
def checked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Check every database that a test opens; tests that damage one on purpose carry the mark ``damaged``."""
    from docdb.database import Database

    opened: weakref.WeakSet[Any] = weakref.WeakSet()
    problems: list[str] = []
    original_init, original_close = Database.__init__, Database.close

    def init(self: Any, *args: Any, **options: Any) -> None:
        original_init(self, *args, **options)
        opened.add(self)

    def close(self: Any) -> None:
        if self._open and request.node.get_closest_marker("damaged") is None:
            problems.extend(self.check().problems)
        original_close(self)

    monkeypatch.setattr(Database, "__init__", init)
    monkeypatch.setattr(Database, "close", close)
    yield
    for database in opened - LASTING:
        close(database)
    assert problems == []
