"""The questions in PostgreSQL's SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.rivals.postgres_jsonb import PostgreSQL
from benchmarks.rivals.sql import SqlQuestions


class PostgreSQLQuestions(PostgreSQL, SqlQuestions):
    """PostgreSQL: psycopg parses the documents itself, by the same ``json.loads``."""

    parse = staticmethod(lambda document: document)  # type: ignore[assignment]
    month = "to_char(date_trunc('month', to_timestamp((doc->>'joined')::bigint)), 'YYYY-MM')"
    tags = "(select tag from docs, jsonb_array_elements_text(doc->'tags') as tag) as tags"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.run("create index by_city on docs((doc->>'city'), ((doc->>'score')::float8) desc)")

    def load_others(self, others: list[dict[str, Any]]) -> None:
        self.run("create table others(n integer primary key, kind text, weight integer)")
        self.copy("others", ((d["n"], d["kind"], d["weight"]) for d in others))

    def text(self, path: str) -> str:
        *outer, last = path.split(".")
        return "".join(f"doc->'{part}'" for part in outer) + f"->>'{last}'" if outer else f"doc->>'{last}'"

    def integer(self, path: str) -> str:
        return f"({self.text(path)})::int"

    def real(self, path: str) -> str:
        return f"({self.text(path)})::float8"

    def flag(self, path: str) -> str:
        return f"({self.text(path)})::boolean"
