"""Live queries against asking again: ``python -m tests.fuzz.live --seed 1 --count 1000000``.

A step is a (query, write) pair. After random writes, one commit each, the snapshots of every live query are held against what the query gave when it was
asked anew behind each of those commits: the same documents in the same order, at the same commits, no more snapshots than commits, and exactly the changes
that follow from the two results and from what the change stream tells of the commit between them (``tests.fuzz.records``).

With ``--together`` two other processes and two threads write while the queries are read; what each should have told is found afterwards, by replaying the
change log commit by commit into another database.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import docdb
from docdb.feeds import live_window
from docdb.query import Query
from docdb.store import codec
from tests.fuzz import records
from tests.fuzz.records import Touched

ROOT: Final = Path(__file__).resolve().parents[2]
QUERIES: Final = 10  # live at once
ROUND: Final = 12  # writes at most between two looks
LIFE: Final = 150  # writes in one database
NAMES: Final = ("a", "b", "c")
SMALL: Final[tuple[Any, ...]] = (
    0,
    1,
    2,
    3,
    -1,
    1.5,
    None,
    "x",
    "y",
    "X",
    True,
    [1, 2],
    [],
    {"b": 1},
    [{"b": 1}, {"b": 2}],
)
PLAIN: Final = tuple(value for value in SMALL if not isinstance(value, list))  # a sort takes one array a document
COLLATION: Final = {"locale": "en", "strength": 2}


def document(chance: Random) -> dict[str, Any]:
    """Return fields of few names and values, so that documents tie, come and go."""
    return {name: value(chance, name) for name in NAMES if chance.random() < 0.8} or {"c": 0}


def value(chance: Random, name: str) -> Any:
    """Return a value of a field."""
    return chance.choice(PLAIN if name == "b" else SMALL)


def condition(chance: Random) -> dict[str, Any]:
    """Return a filter that about half of the documents match."""
    path, wanted = chance.choice((*NAMES, "a.b", "c.b", "_id")), chance.choice(SMALL)
    kinds: tuple[dict[str, Any], ...] = (
        {}, {}, {path: wanted}, {path: {"$gt": 0}}, {path: {"$lte": 2}}, {path: {"$ne": wanted}}, {path: {"$in": [wanted, 1, "x"]}},
        {path: {"$exists": chance.random() < 0.5}}, {"$or": [{path: wanted}, {"b": {"$gte": 1}}]}, {path: None}, {"a": 1, "b": {"$lt": 3}},
        {"$expr": {"$eq": ["$a", 1]}}, {path: {"$gte": 0, "$lt": 3}}, {"_id": {"$gte": 10}}, {"_id": chance.randrange(40)}, {"a": {"$size": 2}},
    )  # fmt: skip
    return chance.choice(kinds)


class Asked:
    """One live query, the ways to ask it anew, and what it has told."""

    def __init__(self, collection: Any, chance: Random) -> None:
        query = collection.where({}).options(raw=True).where(condition(chance))
        order: list[tuple[str, str]] = []
        for name in chance.sample(("a", "b", "_id"), chance.randrange(3)):
            order.append((name, chance.choice(("asc", "desc"))))
        if chance.random() < 0.15:
            query = query.collation(COLLATION)
        self.projected = chance.random() < 0.2
        self.projection = chance.choice(({"a": 1}, {"b": 0})) if self.projected else None
        if self.projected:
            query = query.field(self.projection)
        for name, way in order:
            query = query.order_by(name, way)
        self.again = query if any(name == "_id" for name, _ in order) else query.order_by("_id")
        bounds = chance.choice((0, 1, 2, 2, 3, 3))
        skip = chance.randrange(1, 5) if bounds in (1, 3) else 0
        limit = chance.choice((1, 2, 3, 5, 20)) if bounds in (2, 3) else 0
        for bound, count in (("skip", skip), ("limit", limit)):
            if count:
                query, self.again = getattr(query, bound)(count), getattr(self.again, bound)(count)
        self.query = query
        self.live = query.watch()
        self.docs: list[Any] = []
        self.expected: dict[int, bytes] = {}
        self.touched: dict[int, Touched] = {}

    def ask(self) -> bytes:
        """Return what the query gives now."""
        return shown(self.again.get().to_list())


def shown(documents: list[Any]) -> bytes:
    """Return documents as bytes that differ where they do."""
    return codec.encode_value(documents)


def write(collection: Any, database: Any, chance: Random) -> None:
    """Make one commit (or none)."""
    id = chance.randrange(40)
    kind = chance.randrange(14)
    if kind < 3:
        collection.doc(id).set(document(chance))
    elif kind < 5:
        collection.update_one({"_id": id}, {"$set": document(chance)}, upsert=chance.random() < 0.5)
    elif kind < 7:
        collection.delete_one({"_id": id})
    elif kind == 7:
        name = chance.choice(NAMES)
        collection.update_many(condition(chance), {"$set": {name: value(chance, name)}})
    elif kind == 8:
        collection.delete_many({"_id": {"$in": [chance.randrange(40) for _ in range(3)]}})
    elif kind == 9:
        collection.update_one(condition(chance), {"$unset": {chance.choice(NAMES): 1}})
    elif kind == 10:
        operations: list[Any] = [
            docdb.ReplaceOne({"_id": chance.randrange(40)}, document(chance), upsert=True) for _ in range(3)
        ]
        collection.bulk_write(
            [*operations, docdb.DeleteOne({"_id": id}), docdb.UpdateOne({"_id": id}, {"$set": {"a": 2}}, upsert=True)]
        )
    elif kind == 11:
        with database.transaction() as t:
            inside = t.collection(collection.name)
            for _ in range(chance.randrange(1, 4)):
                inside.doc(chance.randrange(40)).set(document(chance))
            inside.doc(id).remove()
    elif kind == 12:
        collection.insert_many(
            [{**document(chance), "_id": 100 + chance.randrange(10**9)} for _ in range(chance.randrange(1, 30))]
        )
    else:
        collection.delete_many({"_id": {"$gte": 100}})


def check(asked: Asked, before: bytes) -> bytes:
    """Hold what a live query tells against what it should have told; return the last result."""
    at = -1
    while (snapshot := asked.live.try_next()) is not None:
        text = shown(snapshot.docs)
        assert not snapshot.coalesced, "asked anew"
        assert snapshot.commit > at, f"commit {snapshot.commit} behind {at}"
        assert text == asked.expected[snapshot.commit], (
            f"at {snapshot.commit}: {snapshot.docs} instead of {codec.decode_value(asked.expected[snapshot.commit])}"
        )
        for commit, skipped in asked.expected.items():
            assert not at < commit < snapshot.commit or skipped == before, f"nothing told of commit {commit}"
        follow(asked, snapshot, asked.touched[snapshot.commit])
        before, at = text, snapshot.commit
    for commit, skipped in asked.expected.items():
        assert commit <= at or skipped == before, f"nothing told of commit {commit}"
    asked.expected, asked.touched = {}, {}
    return before


def follow(asked: Asked, snapshot: Any, touched: Touched) -> None:
    """Check that the changes are those that lead from the last result to this one."""
    if snapshot.id == 0:
        told = [(change.data_type, change.queue_type, change.doc) for change in snapshot.doc_changes]
        assert told == [("init", "init", document) for document in snapshot.docs]
    else:
        records.check(asked.docs, snapshot, touched, asked.projection)
    asked.docs = snapshot.docs


def run(seed: int, steps: int, open_database: Callable[[], Any] | None = None) -> int:
    """Make at least so many steps; return how many."""
    done = 0
    number = 0
    while done < steps:
        chance = Random(f"{seed}.{number}")
        with (open_database or (lambda: docdb.open(":memory:")))() as database:
            done += _one_database(database, chance, min(LIFE, 1 + (steps - done) // QUERIES), f"seed {seed}.{number}")
        number += 1
    return done


def _one_database(database: Any, chance: Random, writes: int, name: str) -> int:
    collection = database.collection("c")
    live_window.SLACK = chance.choice((0, 1, 2, 16))  # type: ignore[misc]
    for _ in range(chance.randrange(2) * 30):
        collection.doc(chance.randrange(40)).set(document(chance))
    if chance.random() < 0.3:
        collection.create_index(chance.choice(("a", "b")))
    queries = [Asked(collection, chance) for _ in range(QUERIES)]
    results = []
    stream = collection.changes()
    for asked in queries:
        first = asked.live.try_next()
        assert first is not None
        assert shown(first.docs) == asked.ask(), f"{name}: the first result of {asked.query!r}"
        follow(asked, first, {})
        results.append(shown(first.docs))
    done = 0
    while done < writes:
        for _ in range(chance.randrange(1, ROUND)):
            write(collection, database, chance)
            done += 1
            commit = database._store.snapshot()
            with commit:
                last = commit.state().last_commit
            touched = records.touched(iter(stream.try_next, None))
            for asked in queries:
                asked.expected[last] = asked.ask()
                asked.touched.setdefault(last, touched)  # the same commit when nothing was written
        settle(database)
        for place, asked in enumerate(queries):
            try:
                results[place] = check(asked, results[place])
                asked.live._window.check()
            except AssertionError as wrong:
                raise AssertionError(
                    f"{name}, {asked.query!r} {asked.again._selection.order} {asked.live.source.bounds}: {wrong}"
                ) from wrong
    for asked in queries:
        asked.live.close()
    return done * QUERIES


def run_together(seed: int, writes: int, folder: str) -> int:
    """Let two processes and two threads write while live queries are read; return how many steps that were."""
    chance = Random(seed)
    live_window.SLACK = chance.choice((0, 1, 2, 16))  # type: ignore[misc]
    name = f"together, seed {seed}"
    with docdb.open(folder, durability="relaxed") as database:
        collection = database.collection("c")
        for _ in range(20):
            collection.doc(chance.randrange(40)).set(document(chance))
        queries = [Asked(collection, chance) for _ in range(QUERIES)]
        told: list[list[Any]] = [[asked.live.try_next()] for asked in queries]
        script = f"from tests.fuzz.live import write_alone; write_alone({folder!r}, %d, {writes})"
        processes = [subprocess.Popen([sys.executable, "-c", script % (seed * 10 + n)], cwd=ROOT) for n in range(2)]
        threads = [threading.Thread(target=_write_here, args=(database, seed * 10 + n, writes)) for n in range(2, 4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) or any(process.poll() is None for process in processes):
            _read(queries, told, chance)
            time.sleep(0.001)
        assert [process.returncode for process in processes] == [0, 0]
        settle(database)
        _read(queries, told, chance, everything=True)
        return _replay(database, queries, told, name)


def write_alone(folder: str, seed: int, writes: int) -> None:
    """Write, as a process."""
    with docdb.open(folder, durability="relaxed") as database:
        _write_here(database, seed, writes)


def _write_here(database: Any, seed: int, writes: int) -> None:
    chance, done = Random(seed), 0
    while done < writes:
        try:
            write(database.collection("c"), database, chance)
        except docdb.TransactionConflict:
            continue
        except docdb.ConflictError:
            pass  # an upsert that others were quicker with
        done += 1


def _read(queries: list[Asked], told: list[list[Any]], chance: Random, *, everything: bool = False) -> None:
    for asked, snapshots in zip(queries, told, strict=True):
        while (everything or chance.random() < 0.5) and (snapshot := asked.live.try_next()) is not None:
            snapshots.append(snapshot)


def _replay(database: Any, queries: list[Asked], told: list[list[Any]], name: str) -> int:
    """Hold what was told against the queries' results in a database to which the log is applied, one commit after the other."""
    steps = 0
    with docdb.open(":memory:") as replica:
        again = [_over(replica.collection("c"), asked.again) for asked in queries]
        snapshots = [{snapshot.commit: snapshot for snapshot in found} for found in told]
        last: list[bytes | None] = [None] * len(queries)
        changes = list(iter(database["c"].changes(from_="oldest").try_next, None))
        for commit, found in itertools.groupby(changes, lambda change: change.commit):
            group = list(found)
            touched = records.touched(group)
            for change in group:
                if change.detail is None and change.after is None:
                    replica["c"].delete_one({"_id": change.id})
                elif change.detail is None:
                    replica["c"].replace_one({"_id": change.id}, change.after, upsert=True)
            for place, query in enumerate(again):
                expected, snapshot = shown(query.get().to_list()), snapshots[place].get(commit)
                begun = commit >= told[place][0].commit
                if snapshot is not None:
                    assert not snapshot.coalesced, f"{name}: asked anew at {commit}"
                    assert shown(snapshot.docs) == expected, (
                        f"{name}: {queries[place].query!r} at {commit}: {snapshot.docs}"
                    )
                    follow(queries[place], snapshot, touched)
                elif begun:
                    assert expected == last[place], f"{name}: {queries[place].query!r}: nothing told of {commit}"
                last[place] = expected
                steps += begun
    return steps


def _over(collection: Any, query: Any) -> Any:
    return Query(collection, query._condition, query._selection, raw=True)


def settle(database: Any) -> None:
    """Have the router hand out all that is committed, as the hub's thread does."""
    with database._store.hub._looking:
        database._store.hub._advance()


def main() -> int:
    """Run so many steps; 1 when something differed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--lmdb", action="store_true", help="on disk instead of in memory")
    parser.add_argument("--together", action="store_true", help="with other processes and threads that write")
    options = parser.parse_args()
    began, done, part = time.monotonic(), 0, 0
    while done < options.count:
        part += 1
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/d"
            opener = (lambda at=path: docdb.open(at, durability="relaxed")) if options.lmdb else None
            try:
                seed = options.seed * 1_000 + part
                if options.together:
                    done += run_together(seed, 100, path)
                else:
                    done += run(seed, min(20_000, options.count - done), opener)
            except AssertionError as wrong:
                print(wrong, flush=True)
                return 1
        print(f"{done} steps in {time.monotonic() - began:.0f} s, no difference", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
