"""The rows of text search: building an index and ranked searches, against SQLite FTS5 (of the standard library's sqlite3).

``python -m benchmarks run text_build text_rare text_frequent text_two [--documents N]`` runs them. Both index the same made-up articles of 40
words with frequencies as in a language (Zipf), without stems, and give the ids of the ten best of one and of two words; FTS5 ranks by
bm25, docdb as MongoDB does, so the answers differ and only their number is compared.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import docdb

FTS5 = "SQLite FTS5"
WORDS = 20_000
LENGTH = 40
ROUNDS = 5


def articles(count: int, seed: int = 7) -> list[dict[str, Any]]:
    """Return documents with a text; word number n is about n times rarer than the first."""
    chance = random.Random(seed)
    names = [f"w{chance.getrandbits(32):x}" for _ in range(WORDS)]
    totals = list(accumulate(1 / (rank + 1) for rank in range(WORDS)))
    return [{"_id": at, "body": " ".join(chance.choices(names, cum_weights=totals, k=LENGTH))} for at in range(count)]


def _timed(action: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = action()
    return (time.perf_counter() - began) * 1e6, answer


@lru_cache(1)
def measure(count: int) -> list[tuple[str, str, dict[str, float]]]:
    """Return (work, unit, microseconds by contestant)."""
    folder = Path(tempfile.mkdtemp(prefix="docdb-bench-text-"))
    documents = articles(count)
    middle = documents[count // 2]["body"].split()
    by_length = sorted(set(middle), key=lambda word: sum(word in d["body"] for d in documents[:2000]))
    rare, frequent = by_length[0], by_length[-1]
    database = docdb.open(folder / "docdb")
    rival = sqlite3.connect(folder / "fts.sqlite")
    rival.execute("pragma journal_mode=wal")
    rival.execute("pragma synchronous=full")
    try:
        collection = database["articles"]
        collection.insert_many(documents)
        ours, _ = _timed(lambda: collection.create_index([("body", "text")], default_language="none"))
        theirs, _ = _timed(lambda: _build(rival, documents))
        rows = [("build a text index, per document", "us", {"docdb": ours / count, FTS5: theirs / count})]
        for title, words in (
            ("ten best of a search for a rare word", [rare]),
            ("ten best of a search for a frequent word", [frequent]),
            ("ten best of a search for both", [rare, frequent]),
        ):
            rows.append((title, "us", _searches(collection, rival, words)))
        return rows
    finally:
        database.close()
        rival.close()
        shutil.rmtree(folder, ignore_errors=True)


def _build(rival: sqlite3.Connection, documents: list[dict[str, Any]]) -> None:
    with rival:
        rival.execute("create virtual table docs using fts5(body, tokenize='unicode61')")
        rival.executemany("insert into docs(rowid, body) values(?, ?)", ((d["_id"], d["body"]) for d in documents))


def _searches(collection: Any, rival: sqlite3.Connection, words: list[str]) -> dict[str, float]:
    by_score = [("score", {"$meta": "textScore"})]
    sql, match = "select rowid from docs where docs match ? order by rank limit 10", " OR ".join(words)

    def ours() -> list[Any]:
        found = collection.find({"$text": {"$search": " ".join(words)}}, {"_id": 1}).sort(by_score).limit(10)
        return list(found)

    def theirs() -> list[Any]:
        return rival.execute(sql, (match,)).fetchall()

    times: dict[str, list[float]] = {"docdb": [], FTS5: []}
    for _ in range(ROUNDS):
        for name, action in (("docdb", ours), (FTS5, theirs)):
            spent, answer = _timed(action)
            times[name].append(spent)
            assert 0 < len(answer) <= 10
    return {name: statistics.median(values) for name, values in times.items()}
