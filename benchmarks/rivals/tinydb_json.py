"""TinyDB: one JSON file, read into memory, written whole and flushed at each change; no indexes, so what is asked is scanned for."""

from __future__ import annotations

import heapq
from collections import Counter
from operator import itemgetter
from pathlib import Path
from typing import Any

from tinydb import TinyDB, where
from tinydb.storages import JSONStorage


class TinyDBDocuments:
    """One table; its query cache is off, for it would answer a repeated question from the answer before."""

    name = "TinyDB"
    durable = True

    def __init__(self, folder: Path) -> None:
        self.db = TinyDB(folder / "docs.json", storage=JSONStorage)
        self.docs = self.db.table("docs", cache_size=0)

    def load(self, documents: list[dict[str, Any]]) -> None:
        self.docs.insert_multiple(documents)

    def get(self, id: str) -> dict[str, Any]:
        return dict(self.docs.get(where("_id") == id))

    def range(self, age: int, limit: int) -> list[dict[str, Any]]:
        return heapq.nsmallest(limit, self.docs.search(where("age") >= age), key=itemgetter("age"))

    def filter(self, city: str, visits: int) -> int:
        return self.docs.count((where("city") == city) & (where("visits") > visits))

    def top(self, limit: int) -> list[str]:
        return [document["_id"] for document in heapq.nlargest(limit, self.docs, key=itemgetter("score"))]

    def group(self) -> dict[str, int]:
        sums: Counter[str] = Counter()
        for document in self.docs:
            sums[document["city"]] += document["visits"]
        return dict(sums)

    def update(self, id: str, visits: int) -> None:
        self.docs.update({"visits": visits}, where("_id") == id)

    def close(self) -> None:
        self.db.close()
