"""docdb, asked the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docdb


class Docdb:
    """One collection with two indexes; the change log is on, as always."""

    name = "docdb"

    def __init__(self, folder: Path) -> None:
        self.db = docdb.open(folder / "docs.docdb")
        self.docs = self.db["docs"]
        self.docs.create_index("age")
        self.docs.create_index("email")

    def load(self, documents: list[dict[str, Any]]) -> None:
        # In one commit, as the others do, while one commit takes them.
        self.docs.insert_many(documents, batch=None if len(documents) <= 500_000 else 100_000)

    def get(self, id: str) -> dict[str, Any]:
        return self.docs.doc(id).get()

    def first(self, age: int) -> dict[str, Any] | None:
        return self.docs.find_one({"age": age})

    def range(self, age: int, limit: int) -> list[dict[str, Any]]:
        return list(self.docs.find({"age": {"$gte": age}}).sort("age", 1).limit(limit))

    def filter(self, city: str, visits: int) -> int:
        return self.docs.count_documents({"city": city, "visits": {"$gt": visits}})

    def top(self, limit: int) -> list[str]:
        return [document["_id"] for document in self.docs.find().sort("score", -1).limit(limit)]

    def group(self) -> dict[str, int]:
        stage = {"$group": {"_id": "$city", "visits": {"$sum": "$visits"}}}
        return {document["_id"]: document["visits"] for document in self.docs.aggregate([stage])}

    def update(self, id: str, visits: int) -> None:
        self.docs.update_one({"_id": id}, {"$set": {"visits": visits}})

    def close(self) -> None:
        self.db.close()
