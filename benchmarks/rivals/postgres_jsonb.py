"""PostgreSQL with jsonb through psycopg: a server on a unix socket, expression indexes, prepared statements, synchronous commits."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.rivals.postgres_server import Server


class PostgreSQL:
    """One table (id, jsonb) with two expression indexes, analysed after it was loaded."""

    name = "PostgreSQL jsonb"

    def __init__(self, folder: Path) -> None:
        self.server = Server()
        self.db = psycopg.connect(
            f"host={self.server.socket} user=postgres dbname=postgres options='-c timezone=UTC'", autocommit=True
        )
        self.cursor = self.db.cursor(binary=True)
        self.run("create table docs(id text primary key, doc jsonb not null)")
        self.run("create index by_age on docs(((doc->>'age')::int))")
        self.run("create index by_email on docs((doc->>'email'))")

    def run(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        return self.cursor.execute(sql, values, prepare=True)

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return self.run(sql, values).fetchall()

    def copy(self, table: str, pairs: Iterable[tuple[Any, str]]) -> None:
        """Load rows by COPY, the fastest road in, then let the planner look at them."""
        with self.cursor.copy(f"copy {table} from stdin") as copy:
            for pair in pairs:
                copy.write_row(pair)
        self.run(f"vacuum analyze {table}")

    def load(self, documents: list[dict[str, Any]]) -> None:
        self.copy("docs", ((d["_id"], json.dumps(d)) for d in documents))

    def get(self, id: str) -> dict[str, Any]:
        return self.run("select doc from docs where id=%s", (id,)).fetchone()[0]

    def first(self, age: int) -> dict[str, Any] | None:
        row = self.run("select doc from docs where (doc->>'age')::int=%s limit 1", (age,)).fetchone()
        return row[0] if row else None

    def range(self, age: int, limit: int) -> list[dict[str, Any]]:
        sql = "select doc from docs where (doc->>'age')::int>=%s order by (doc->>'age')::int limit %s"
        return [row[0] for row in self.rows(sql, (age, limit))]

    def filter(self, city: str, visits: int) -> int:
        sql = "select count(*) from docs where doc->>'city'=%s and (doc->>'visits')::int>%s"
        return self.rows(sql, (city, visits))[0][0]

    def top(self, limit: int) -> list[str]:
        sql = "select id, doc from docs order by (doc->>'score')::float8 desc limit %s"
        return [row[0] for row in self.rows(sql, (limit,)) if row[1]]

    def group(self) -> dict[str, int]:
        return dict(self.rows("select doc->>'city', sum((doc->>'visits')::int) from docs group by 1"))

    def update(self, id: str, visits: int) -> None:
        self.run("update docs set doc=jsonb_set(doc, '{visits}', to_jsonb(%s::int)) where id=%s", (visits, id))

    def close(self) -> None:
        self.db.close()
        self.server.close()
