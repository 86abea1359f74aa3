"""DuckDB with its JSON type: one thread, as the others have; the two indexed fields are columns beside the document, as its experts keep them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb


class DuckDB:
    """One table (id, age, email, JSON); a column is scanned faster than DuckDB's index is walked, so only the key has one."""

    name = "DuckDB JSON"

    def __init__(self, folder: Path) -> None:
        self.db = duckdb.connect(str(folder / "docs.duckdb"), config={"threads": 1})
        self.db.execute("set timezone='UTC'")
        self.run = self.db.execute
        self.run("create table docs(id varchar primary key, age integer, email varchar, doc json)")

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return self.run(sql, values).fetchall()

    def copy(self, into: str, shape: str, lines: Iterable[str]) -> None:
        """Load lines of JSON through a file, which DuckDB reads in bulk; single inserts take a hundred times as long."""
        with tempfile.NamedTemporaryFile("w", suffix=".ndjson", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            source = f"read_ndjson_objects('{file.name}', maximum_object_size=33554432)"
            self.run(f"insert into {into} select {shape} from {source}")

    def load(self, documents: list[dict[str, Any]]) -> None:
        shape = "json->>'$._id', (json->>'$.age')::integer, json->>'$.email', json"
        self.copy("docs", shape, map(json.dumps, documents))

    def get(self, id: str) -> dict[str, Any]:
        return json.loads(self.rows("select doc from docs where id=?", (id,))[0][0])

    def first(self, age: int) -> dict[str, Any] | None:
        rows = self.rows("select doc from docs where age=? limit 1", (age,))
        return json.loads(rows[0][0]) if rows else None

    def range(self, age: int, limit: int) -> list[dict[str, Any]]:
        sql = "select doc from docs where age>=? order by age limit ?"
        return [json.loads(row[0]) for row in self.rows(sql, (age, limit))]

    def filter(self, city: str, visits: int) -> int:
        sql = "select count(*) from docs where doc->>'$.city'=? and (doc->>'$.visits')::integer>?"
        return self.rows(sql, (city, visits))[0][0]

    def top(self, limit: int) -> list[str]:
        sql = "select id, doc from docs order by (doc->>'$.score')::double desc limit ?"
        return [row[0] for row in self.rows(sql, (limit,)) if json.loads(row[1])]

    def group(self) -> dict[str, int]:
        return dict(self.rows("select doc->>'$.city', sum((doc->>'$.visits')::integer) from docs group by 1"))

    def update(self, id: str, visits: int) -> None:
        self.run("update docs set doc=json_merge_patch(doc, json_object('visits', ?)) where id=?", (visits, id))

    def close(self) -> None:
        self.db.close()
