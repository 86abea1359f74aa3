"""The engines of the contract suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docdb.engine import lmdb as lmdb_engine
from docdb.engine.base import Engine
from docdb.engine.memory import MemoryEngine

Opener = Callable[..., Engine]


def native_or_skip() -> bool:
    """Return True where the compiled engine can be used, and skip the test where it cannot."""
    try:
        chosen = lmdb_engine._native_engine(None)
    except ImportError:
        chosen = None
    if chosen is None:
        pytest.skip("the compiled engine is not used here")
    return True


@pytest.fixture(params=["lmdb", "native"])
def native(request: pytest.FixtureRequest) -> bool:
    """Say which LMDB engine a test of files runs on."""
    return request.param == "native" and native_or_skip()


@pytest.fixture(params=["memory", "lmdb", "native"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Give each engine in turn, empty."""
    if request.param == "memory":
        opened: Engine = MemoryEngine()
    else:
        native = request.param == "native" and native_or_skip()
        opened = lmdb_engine.open_engine(tmp_path / "store", native=native)
    yield opened
    opened.close()
