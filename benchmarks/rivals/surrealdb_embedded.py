"""SurrealDB inside the process, on its own storage (SurrealKV), flushed at each commit: SurrealQL with parameters, two indexes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from surrealdb import RecordID, Surreal

BATCH = 1_000


class SurrealDB:
    """One table; a document's id is its record's."""

    name = "SurrealDB"
    durable = True

    def __init__(self, folder: Path) -> None:
        self.db = Surreal(f"surrealkv://{folder / 'surreal'}?sync=every")
        self.db.use("bench", "bench")
        self.db.query(
            "define table docs; define index by_age on docs fields age; define index by_email on docs fields email"
        )

    def load(self, documents: list[dict[str, Any]]) -> None:
        for at in range(0, len(documents), BATCH):
            rows = [{"id": document["_id"], **document} for document in documents[at : at + BATCH]]
            self.db.query("insert into docs $rows return none", {"rows": rows})

    def get(self, id: str) -> dict[str, Any]:
        return self.db.query("select * from only $id", {"id": RecordID("docs", id)})

    def range(self, age: int, limit: int) -> list[dict[str, Any]]:
        return self.db.query(
            "select * from docs where age>=$age order by age limit $limit", {"age": age, "limit": limit}
        )

    def filter(self, city: str, visits: int) -> int:
        found = self.db.query(
            "select count() from docs where city=$city and visits>$visits group all", {"city": city, "visits": visits}
        )
        return found[0]["count"] if found else 0

    def top(self, limit: int) -> list[str]:
        return [row["_id"] for row in self.db.query("select * from docs order by score desc limit $n", {"n": limit})]

    def group(self) -> dict[str, int]:
        found = self.db.query("select city, math::sum(visits) as visits from docs group by city")
        return {row["city"]: row["visits"] for row in found}

    def update(self, id: str, visits: int) -> None:
        self.db.query("update $id set visits=$visits return none", {"id": RecordID("docs", id), "visits": visits})

    def close(self) -> None:
        self.db.close()
