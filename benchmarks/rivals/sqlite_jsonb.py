"""SQLite with JSONB through apsw: expression indexes, WAL, full synchronisation, prepared statements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apsw


class SqliteJsonb:
    """One table (id, JSONB) with two expression indexes."""

    name = "SQLite JSONB (apsw)"

    def __init__(self, folder: Path) -> None:
        self.db = apsw.Connection(str(folder / "docs.sqlite"))
        self.db.setbusytimeout(10_000)
        self.run = self.db.cursor().execute
        self.run("pragma journal_mode=wal")
        self.run("pragma synchronous=full")
        self.run("create table docs(id text primary key, doc blob) without rowid")
        self.run("create index by_age on docs(json_extract(doc, '$.age'))")
        self.run("create index by_email on docs(json_extract(doc, '$.email'))")

    def load(self, documents: list[dict[str, Any]]) -> None:
        with self.db:
            self.db.cursor().executemany(
                "insert into docs values(?, jsonb(?))", ((d["_id"], json.dumps(d)) for d in documents)
            )

    def get(self, id: str) -> dict[str, Any]:
        return json.loads(next(self.run("select json(doc) from docs where id=?", (id,)))[0])

    def first(self, age: int) -> dict[str, Any] | None:
        sql = "select json(doc) from docs where json_extract(doc,'$.age')=? limit 1"
        row = next(self.run(sql, (age,)), None)
        return json.loads(row[0]) if row else None

    def range(self, age: int, limit: int) -> list[dict[str, Any]]:
        sql = "select json(doc) from docs where json_extract(doc,'$.age')>=? order by json_extract(doc,'$.age') limit ?"
        return [json.loads(row[0]) for row in self.run(sql, (age, limit))]

    def filter(self, city: str, visits: int) -> int:
        sql = "select count(*) from docs where json_extract(doc,'$.city')=? and json_extract(doc,'$.visits')>?"
        return next(self.run(sql, (city, visits)))[0]

    def top(self, limit: int) -> list[str]:
        sql = "select id, json(doc) from docs order by json_extract(doc,'$.score') desc limit ?"
        return [row[0] for row in self.run(sql, (limit,)) if json.loads(row[1])]

    def group(self) -> dict[str, int]:
        return dict(
            self.run("select json_extract(doc,'$.city'), sum(json_extract(doc,'$.visits')) from docs group by 1")
        )

    def update(self, id: str, visits: int) -> None:
        self.run("update docs set doc=jsonb_set(doc,'$.visits',?) where id=?", (visits, id))

    def close(self) -> None:
        self.db.close()
