"""MontyDB on its LMDB storage ("lightning"): MongoDB's calls in Python, documents as BSON, no indexes, no aggregation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from montydb import MontyClient, set_storage


class MontyDB:
    """One collection; grouping is done by hand over a find with a projection."""

    name = "MontyDB (LMDB)"
    durable = True

    def __init__(self, folder: Path) -> None:
        repository = str(folder / "monty")
        set_storage(repository, storage="lightning", map_size=str(2**32))
        self.client = MontyClient(repository)
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
        sums: Counter[str] = Counter()
        for document in self.docs.find({}, {"city": 1, "visits": 1}):
            sums[document["city"]] += document["visits"]
        return dict(sums)

    def update(self, id: str, visits: int) -> None:
        self.docs.update_one({"_id": id}, {"$set": {"visits": visits}})

    def close(self) -> None:
        self.client.close()
