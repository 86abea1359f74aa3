"""UnQLite as what it is fastest at, a key-value store on the disk with JSON as values: keys are hashed, so there is no order and no range."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

from unqlite import UnQLite


class UnQLiteDocuments:
    """Documents under their id, a commit for each change; what is not asked by id is scanned for."""

    name = "UnQLite"
    durable = True

    def __init__(self, folder: Path) -> None:
        self.db = UnQLite(str(folder / "docs.unqlite"))

    def load(self, documents: list[dict[str, Any]]) -> None:
        with self.db.transaction():
            for document in documents:
                self.db[document["_id"]] = json.dumps(document)

    def get(self, id: str) -> dict[str, Any]:
        return json.loads(self.db[id])

    def scan(self) -> Iterator[dict[str, Any]]:
        return (json.loads(value) for value in self.db.values())

    def range(self, age: int, limit: int) -> list[dict[str, Any]]:
        return heapq.nsmallest(limit, (d for d in self.scan() if d["age"] >= age), key=itemgetter("age"))

    def filter(self, city: str, visits: int) -> int:
        return sum(1 for d in self.scan() if d["city"] == city and d["visits"] > visits)

    def top(self, limit: int) -> list[str]:
        return [document["_id"] for document in heapq.nlargest(limit, self.scan(), key=itemgetter("score"))]

    def group(self) -> dict[str, int]:
        sums: Counter[str] = Counter()
        for document in self.scan():
            sums[document["city"]] += document["visits"]
        return dict(sums)

    def update(self, id: str, visits: int) -> None:
        document = json.loads(self.db[id])
        document["visits"] = visits
        with self.db.transaction():
            self.db[id] = json.dumps(document)

    def close(self) -> None:
        self.db.close()
