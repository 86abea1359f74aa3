"""Security rules: what a caller pays for being judged, against the same work by the administrator in the same run.

``python -m benchmarks run rules [--documents N]``. The rule is the owner's (``auth != null && doc._openid == auth.openid``), all documents carry
``_openid``, and both contestants ask the same and store the same bytes. Rounds take turns.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docdb
from benchmarks.report import Row, Times
from benchmarks.workload import documents
from benchmarks.workloads import Settings
from docdb.rules.evaluator import Circumstances
from docdb.rules.judging import judge
from docdb.rules.ruleset import OWN, load
from docdb.store import codec

OWNERS = 1_000
FINDS = 30  # in a round
INSERTS = 200
BULK = 5_000
EVALUATIONS = 10_000
JUDGED, FREE = "docdb", "without rules"


class Stage:
    """A database with documents of many owners."""

    def __init__(self, settings: Settings) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="docdb-bench-rules-"))
        self.documents = [
            {**document, "_openid": f"owner{number % OWNERS}"}
            for number, document in enumerate(documents(settings.documents))
        ]
        self.db = docdb.open(self.folder / "rules.docdb")
        self.db["docs"].insert_many(self.documents)
        self.db["docs"].create_index("_openid")
        for name in ("docs", "fresh"):
            self.db.set_rules(name, {"read": OWN, "write": OWN})

    def close(self) -> None:
        """Close the database and remove the folder."""
        self.db.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def rounds(self, run: Callable[[Any, str], int], rounds: int = 31) -> Times:
        """Return microseconds a unit; ``run(handle, owner)`` returns how many units it did."""
        times: dict[str, list[float]] = {JUDGED: [], FREE: []}
        for number in range(rounds):
            owner = f"owner{number % OWNERS}"
            handles = {JUDGED: self.db.as_user({"openid": owner}), FREE: self.db}
            for name in sorted(handles, reverse=number % 2 == 0):
                began = time.perf_counter()
                units = run(handles[name], owner)
                times[name].append((time.perf_counter() - began) / units * 1e6)
        return Times(times)


def find(stage: Stage) -> Row:
    """Find the documents of an owner through an index."""

    def run(handle: Any, owner: str) -> int:
        collection = handle["docs"]
        for _ in range(FINDS):
            found = collection.find({"_openid": owner}).to_list()
        assert len(found) == len(stage.documents) // OWNERS
        return FINDS

    return _against_none(
        Row(f"find {len(stage.documents) // OWNERS} documents of an owner", "us", stage.rounds(run)), 1.05
    )


def insert(stage: Stage) -> Row:
    """Insert one document in a durable commit."""
    fresh = itertools.count()

    def run(handle: Any, owner: str) -> int:
        collection = handle["fresh"]
        made = _made(stage, fresh, owner, INSERTS)
        for document in made:
            collection.insert_one(document)
        return INSERTS

    return _against_none(Row("insert one document, durable", "us", stage.rounds(run, 15)), 1.1)


def bulk(stage: Stage) -> Row:
    """Insert many documents in one commit."""
    fresh = itertools.count()
    times: dict[str, list[float]] = {JUDGED: [], FREE: []}
    for number in range(15):
        owner = f"owner{number}"
        handles = {JUDGED: stage.db.as_user({"openid": owner}), FREE: stage.db}
        for name in sorted(handles, reverse=number % 2 == 0):
            made = _made(stage, fresh, owner, BULK)
            began = time.perf_counter()
            handles[name]["fresh"].insert_many(made)
            times[name].append((time.perf_counter() - began) / BULK * 1e6)
    return _against_none(Row("insert many documents, per document", "us", Times(times)), 1.1)


def predicates(stage: Stage) -> Row:
    """Evaluate the rule over stored documents, one after the other."""
    stored = [codec.encode(document) for document in stage.documents[:EVALUATIONS]]
    tree = load({"read": OWN}).rule("read")
    times = []
    for number in range(31):
        verdict = judge(tree, Circumstances({"openid": f"owner{number}"}, 0))
        began = time.perf_counter()
        allowed = sum(map(verdict, stored))
        times.append((time.perf_counter() - began) * 1e3 * EVALUATIONS / len(stored))
        assert 0 < allowed < len(stored)
    row = Row("10,000 evaluations of the rule", "ms", Times({JUDGED: times}))
    row.mark, row.met = "10 ms", row.times[JUDGED] <= 10
    return row


def _made(stage: Stage, fresh: Any, owner: str, count: int) -> list[dict[str, Any]]:
    size = len(stage.documents)
    return [{**stage.documents[next(fresh) % size], "_id": docdb.ObjectId(), "_openid": owner} for _ in range(count)]


def _against_none(row: Row, most: float) -> Row:
    ratio = row.times[JUDGED] / row.times[FREE]
    row.mark, row.met, row.note = f"at most {most} of without rules", ratio <= most, f"{ratio:.3f} of without rules"
    return row


WORKLOADS: dict[str, Callable[[Stage], Row | list[Row]]] = {
    "rules_bulk": bulk, "rules_find": find, "rules_insert": insert, "rules_predicates": predicates,
}  # fmt: skip
