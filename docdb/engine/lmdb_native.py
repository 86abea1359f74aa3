"""The engine object over the compiled LMDB engine, and whether it can be used here.

What lives here: what joins the loops that run on pages (``_native/lmdb_engine.pyx``) with folders and sharing (``shared.py``). What it must not know:
either of them.
Importing it raises ImportError where the kernel was not built.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from docdb._native import lmdb_engine
from docdb.engine import files, lmdb, shared
from docdb.engine.base import SPACES, EngineTransaction
from docdb.engine.failures import failure
from docdb.engine.growth import LEAST_BYTES

__all__ = ["NativeEngine", "open_environment", "refusal"]


class NativeEngine(lmdb_engine.EngineCore, shared.SharedEngine):
    """The LMDB engine whose loops run on mapped pages."""

    name = "lmdb-native"
    applies_programs = True

    def close(self) -> None:
        super().close()
        self.environment = None

    join = staticmethod(lmdb_engine.join)

    def gate(self) -> lmdb_engine.Gate:
        return lmdb_engine.Gate()

    def point_reader(
        self, gate: lmdb_engine.Gate, slow: Callable[[Any], Any], plain: Callable[[Any], Any], object_id: type
    ) -> lmdb_engine.PointReader:
        return lmdb_engine.PointReader(self, gate, slow, plain, object_id)

    def field_reader(
        self, gate: lmdb_engine.Gate, note: Callable[[Any, float], None], object_id: type, slow_s: float
    ) -> lmdb_engine.FieldReader:
        return lmdb_engine.FieldReader(self, gate, note, object_id, slow_s)

    def point_writer(
        self, gate: lmdb_engine.Gate, store: Any, object_id: type, **limits: Any
    ) -> lmdb_engine.PointWriter | None:
        if self.read_only:
            return None
        return lmdb_engine.PointWriter(
            self, gate, store, object_id, check_s=shared.READER_CHECK_S, room=LEAST_BYTES, **limits
        )

    def _revive(self) -> shared.Environment:
        return self._require().live()

    def _begin_write(self) -> EngineTransaction:
        return shared.SharedEngine.begin(self, True)


EngineTransaction.register(lmdb_engine.Transaction)


def open_environment(folder: Path, options: shared.Options, lock: bool) -> shared.Environment:
    """Open the environment in a folder through LMDB's function table."""
    files.check_size(folder / files.DATA, lmdb.verify_file)
    environment = lmdb_engine.Environment(
        str(folder),
        SPACES,
        read_only=options.read_only,
        metasync=options.durability == "full",
        lock=lock,
        max_readers=options.max_readers,
        map_bytes=lmdb.map_bytes(),
        failure=failure,
    )
    environment.reader_check()
    return environment


def refusal(package: ModuleType, packages: frozenset[str], tables: frozenset[tuple[int, ...]]) -> str | None:
    """Return why the function table of this py-lmdb cannot be used, or None when it can."""
    version = str(getattr(package, "__version__", "?"))
    if version not in packages:
        return f"lmdb {version} has not been tested (tested: {', '.join(sorted(packages))})"
    extension = getattr(getattr(package, "cpython", None), "__file__", None)
    if extension is None:
        return "lmdb runs without its C extension"
    table = lmdb_engine.resolve(extension)
    if table is None:
        return "lmdb's shared library does not export LMDB 0.9's function table"
    if table not in tables:
        return f"LMDB {table} has not been tested"
    return None
