"""mongomock: MongoDB's calls over dicts in memory; nothing is kept, so its writes are not durable and are not compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mongomock


class Mongomock:
    """One collection; everything is scanned for (its indexes check uniqueness and nothing more)."""

    name = "mongomock"
    durable = False

    def __init__(self, folder: Path) -> None:
        self.client = mongomock.MongoClient()
        self.docs = self.client["bench"]["docs"]

    def load(self, documents: list[dict[str, Any]]) -> None:
        self.docs.insert_many(documents)

    def get(self, id: str) -> dict[str, Any]:
        return self.docs.find_one({"_id": id})

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
        self.client.close()
