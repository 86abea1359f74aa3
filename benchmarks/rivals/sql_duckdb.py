"""The questions in DuckDB's SQL."""

from __future__ import annotations

from typing import Any

from benchmarks.rivals.duckdb_json import DuckDB
from benchmarks.rivals.sql import SqlQuestions


class DuckDBQuestions(DuckDB, SqlQuestions):
    """DuckDB: ``age`` is a column, everything else is in the document."""

    month = "strftime(to_timestamp((doc->>'$.joined')::bigint), '%Y-%m')"
    tags = "(select unnest(doc->>'$.tags[*]') as tag from docs)"

    def load_others(self, others: list[dict[str, Any]]) -> None:
        self.run("create table others(n integer primary key, kind varchar, weight integer)")
        self.db.executemany("insert into others values(?, ?, ?)", [(d["n"], d["kind"], d["weight"]) for d in others])

    def text(self, path: str) -> str:
        return f"doc->>'$.{path}'"

    def integer(self, path: str) -> str:
        return "age" if path == "age" else f"(doc->>'$.{path}')::integer"

    def real(self, path: str) -> str:
        return f"(doc->>'$.{path}')::double"

    def flag(self, path: str) -> str:
        return f"(doc->>'$.{path}')::boolean"
