"""Flat documents as a table: docdb's columns from stored bytes, its own documents handed to pyarrow and pandas, DuckDB.

A document has ``_id``, a whole number, a float, a text and a boolean. DuckDB reads its own table, which is columns already, and the same documents as lines
of JSON in a file. All tables are compared before times are taken.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import docdb
from benchmarks.report import Row, Times
from benchmarks.workload import CITIES
from benchmarks.workloads import Settings

ROUNDS: Final = 5


class Stage:
    """The documents in docdb, in a DuckDB table and in a file of JSON lines; DuckDB only where it is installed."""

    def __init__(self, settings: Settings) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="docdb-bench-"))
        self.db = docdb.open(self.folder / "columns.docdb")
        self.rows = self.db["rows"]
        self.count = settings.documents
        chance = random.Random(settings.seed)
        self.lines = self.folder / "rows.json"
        with self.lines.open("w") as file:
            for start in range(0, self.count, 20_000):
                batch = [_document(at, chance) for at in range(start, min(start + 20_000, self.count))]
                self.rows.insert_many(batch)
                file.writelines(f"{json.dumps(document)}\n" for document in batch)
        self.duck = _duckdb()
        if self.duck is not None:
            self.duck.sql(f"CREATE TABLE rows AS SELECT * FROM read_json('{self.lines}')")

    def row(self, title: str, ways: dict[str, Callable[[], Any]], size: Callable[[Any], int], mark: float) -> Row:
        """Measure the ways in turn; microseconds a document."""
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                began = time.perf_counter()
                found = way()
                times[name].append((time.perf_counter() - began) / self.count * 1e6)
                assert size(found) == self.count, f"{name} has other rows"
        row = Row(title, "us", Times(times))
        own = row.times["docdb"]
        factor = row.times["by dicts"] / own
        row.mark, row.met = f"{mark:.0f}x by dicts", factor >= mark
        row.note = ", ".join(f"{spent / own:.2f}x {name}" for name, spent in row.times.items() if name != "docdb")
        return row

    def close(self) -> None:
        """Close both and remove the folder."""
        self.db.close()
        if self.duck is not None:
            self.duck.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _document(at: int, chance: random.Random) -> dict[str, Any]:
    return {
        "_id": at,
        "visits": chance.randrange(10_000),
        "score": chance.random() * 100,
        "city": chance.choice(CITIES),
        "active": chance.random() < 0.5,
    }


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError:
        return None
    return duckdb.connect()


def arrow(stage: Stage) -> Row:
    """Give a whole collection as a pyarrow table."""
    import pyarrow as pa

    rows, duck = stage.rows, stage.duck
    ways: dict[str, Callable[[], Any]] = {
        "docdb": lambda: rows.find().to_arrow(),
        "by dicts": lambda: pa.Table.from_pylist(list(rows.find())),
    }
    if duck is not None:
        ways["DuckDB table"] = lambda: duck.sql("SELECT * FROM rows").to_arrow_table()
        ways["DuckDB read_json"] = lambda: duck.sql(f"SELECT * FROM read_json('{stage.lines}')").to_arrow_table()
    tables = [way().sort_by("_id").to_pylist() for way in ways.values()]
    assert all(table == tables[0] for table in tables), "the tables differ"
    del tables
    return stage.row("a collection as pyarrow table, per document", ways, lambda table: table.num_rows, 5.0)


def frame(stage: Stage) -> Row:
    """Give a whole collection as a pandas DataFrame."""
    import pandas as pd

    rows, duck = stage.rows, stage.duck
    ways: dict[str, Callable[[], Any]] = {
        "docdb": lambda: rows.find().to_pandas(),
        "by dicts": lambda: pd.DataFrame(list(rows.find())),
    }
    if duck is not None:
        ways["DuckDB table"] = lambda: duck.sql("SELECT * FROM rows").df()
    return stage.row("a collection as pandas DataFrame, per document", ways, len, 5.0)


WORKLOADS: Final = {"to_arrow": arrow, "to_pandas": frame}
