"""NoBench's eleven queries (Chasseur, Li, Patel: "Enabling JSON Document Stores in Relational Databases", WebDB 2013).

A document has two texts, a number, a boolean, two fields of changing type, an array of texts, an object, ten of a thousand sparse fields and the number modulo
1000. Indexes as in the paper: str1, num, dyn1, nested_arr (where the rival can), and nested_obj.str for the join. Each contestant answers in dicts (or
numbers), and all answers are compared before times are taken.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import apsw

import docdb
from benchmarks.report import Row, Times
from benchmarks.workloads import Settings

ROUNDS: Final = 5
SPARSE: Final = 1000
WORDS: Final = [f"word{n:04x}" for n in range(5000)]
Document = dict[str, Any]
Answer = Any


def documents(count: int, seed: int = 1) -> Iterator[Document]:
    """Yield the documents: ``str1`` is unique, ``nested_obj.str`` is another document's ``str1``."""
    chance = random.Random(seed)
    for at in range(count):
        cluster = at % (SPARSE // 10) * 10
        yield {
            "_id": at, "str1": key(at), "str2": chance.choice(WORDS), "num": at, "bool": at % 2 == 0,
            "dyn1": at if at % 2 else key(at), "dyn2": [at, key(at), at % 2 == 0][at % 3],
            "nested_arr": [chance.choice(WORDS) for _ in range(chance.randrange(8))],
            "nested_obj": {"str": key(chance.randrange(count)), "num": chance.randrange(count)},
            "thousandth": at % 1000, **{f"sparse_{cluster + n:03d}": chance.choice(WORDS) for n in range(10)},
        }  # fmt: skip


def key(number: int) -> str:
    """Return a text of 26 characters that belongs to a number."""
    return f"{number * 2654435761 % 2**32:08x}-{number:017d}"


class DocdbNobench:
    """A collection and its indexes."""

    name = "docdb"

    def __init__(self, folder: Path) -> None:
        self.db = docdb.open(folder / "nobench.docdb")
        self.docs = self.db["docs"]
        for path in ("str1", "num", "dyn1", "nested_arr", "nested_obj.str"):
            self.docs.create_index(path)

    def load(self, source: Iterator[Document]) -> None:
        while batch := list(islice(source, 20_000)):
            self.docs.insert_many(batch)

    def project(self, *paths: str) -> Answer:
        shown = dict.fromkeys(paths, 1) | {"_id": 0}
        return sum(len(document) for document in self.docs.find({}, shown))

    def sparse(self, *paths: str) -> Answer:
        shown = dict.fromkeys(paths, 1) | {"_id": 0}
        return sum(len(d) for d in self.docs.find({"$or": [{path: {"$exists": True}} for path in paths]}, shown))

    def equal(self, path: str, value: Any) -> Answer:
        return sorted(document["num"] for document in self.docs.find({path: value}))

    def between(self, path: str, low: int, high: int) -> Answer:
        return sorted(document["num"] for document in self.docs.find({path: {"$gte": low, "$lt": high}}))

    def contains(self, word: str) -> Answer:
        return sorted(document["num"] for document in self.docs.find({"nested_arr": word}))

    def grouped(self, low: int, high: int) -> Answer:
        stages = [
            {"$match": {"num": {"$gte": low, "$lt": high}}},
            {"$group": {"_id": "$thousandth", "n": {"$sum": 1}}},
        ]
        return {row["_id"]: row["n"] for row in self.docs.aggregate(stages)}

    def join(self, low: int, high: int) -> Answer:
        stages = [
            {"$match": {"num": {"$gte": low, "$lt": high}}},
            {"$lookup": {"from": "docs", "localField": "nested_obj.str", "foreignField": "str1", "as": "right"}},
            {"$unwind": "$right"},
        ]
        return sorted((row["num"], row["right"]["num"]) for row in self.docs.aggregate(stages))

    def close(self) -> None:
        self.db.close()


class SqliteNobench:
    """A table of JSONB with indexes on expressions; arrays are walked by ``json_each``."""

    name = "SQLite JSONB (apsw)"

    def __init__(self, folder: Path) -> None:
        self.db = apsw.Connection(str(folder / "nobench.sqlite"))
        self.run = self.db.cursor().execute
        list(self.run("pragma journal_mode=wal; pragma synchronous=full"))
        self.run("create table docs(id integer primary key, doc blob)")
        for path in ("str1", "num", "dyn1", "nested_obj.str"):
            self.run(f"create index by_{path.replace('.', '_')} on docs(json_extract(doc, '$.{path}'))")

    def load(self, source: Iterator[Document]) -> None:
        with self.db:
            rows = ((document["_id"], json.dumps(document)) for document in source)
            self.db.cursor().executemany("insert into docs values(?, jsonb(?))", rows)

    def project(self, *paths: str) -> Answer:
        shown = ", ".join(f"json_extract(doc, '$.{path}')" for path in paths)
        return sum(self._top(paths, row) for row in self.run(f"select {shown} from docs"))

    def sparse(self, *paths: str) -> Answer:
        shown = ", ".join(f"json_extract(doc, '$.{path}')" for path in paths)
        wanted = " or ".join(f"json_extract(doc, '$.{path}') is not null" for path in paths)
        return sum(self._top(paths, row) for row in self.run(f"select {shown} from docs where {wanted}"))

    def _top(self, paths: tuple[str, ...], row: tuple[Any, ...]) -> int:
        """Count the top-level fields that the projected document would have."""
        return len({path.split(".")[0] for path, value in zip(paths, row, strict=True) if value is not None})

    def equal(self, path: str, value: Any) -> Answer:
        rows = self.run(f"select json(doc) from docs where json_extract(doc, '$.{path}')=?", (value,))
        return sorted(json.loads(row[0])["num"] for row in rows)

    def between(self, path: str, low: int, high: int) -> Answer:
        value = f"json_extract(doc, '$.{path}')"
        rows = self.run(f"select json(doc) from docs where {value}>=? and {value}<?", (low, high))
        return sorted(json.loads(row[0])["num"] for row in rows)

    def contains(self, word: str) -> Answer:
        sql = "select json(doc) from docs where exists (select 1 from json_each(doc, '$.nested_arr') where value=?)"
        return sorted(json.loads(row[0])["num"] for row in self.run(sql, (word,)))

    def grouped(self, low: int, high: int) -> Answer:
        sql = (
            "select json_extract(doc, '$.thousandth'), count(*) from docs "
            "where json_extract(doc, '$.num')>=? and json_extract(doc, '$.num')<? group by 1"
        )
        return dict(self.run(sql, (low, high)))

    def join(self, low: int, high: int) -> Answer:
        sql = (
            "select json(l.doc), json(r.doc) from docs l join docs r "
            "on json_extract(r.doc, '$.str1')=json_extract(l.doc, '$.nested_obj.str') "
            "where json_extract(l.doc, '$.num')>=? and json_extract(l.doc, '$.num')<?"
        )
        rows = self.run(sql, (low, high))
        return sorted((json.loads(left)["num"], json.loads(right)["num"]) for left, right in rows)

    def close(self) -> None:
        self.db.close()


class Stage:
    """Both contestants, loaded with the same documents."""

    def __init__(self, settings: Settings) -> None:
        self.count = settings.documents
        self.chance = random.Random(settings.seed)
        self.folder = Path(tempfile.mkdtemp(prefix="docdb-nobench-"))
        self.contestants: list[Any] = [maker(self.folder) for maker in (DocdbNobench, SqliteNobench)]
        self.loaded = Row("NoBench load, per document", "us")
        for contestant in self.contestants:
            source = list(documents(self.count, settings.seed))
            began = time.perf_counter()
            contestant.load(iter(source))
            self.loaded.times[contestant.name] = (time.perf_counter() - began) / self.count * 1e6

    def measure(self, title: str, ask: Callable[[Any], Answer]) -> Row:
        """Return the milliseconds of a query; the answers of all contestants and rounds must be equal."""
        times: dict[str, list[float]] = {contestant.name: [] for contestant in self.contestants}
        answers = []
        for _ in range(ROUNDS):
            for contestant in self.contestants:
                began = time.perf_counter()
                answers.append(ask(contestant))
                times[contestant.name].append((time.perf_counter() - began) * 1e3)
        assert all(answer == answers[0] for answer in answers), f"{title}: the contestants disagree"
        row = Row(f"NoBench {title}", "ms", Times(times))
        row.note = f"{row.times[SqliteNobench.name] / row.times[DocdbNobench.name]:.2f}x SQLite"
        return row

    def range(self, share: float) -> tuple[int, int]:
        """Return a range of numbers that holds a share of the documents."""
        width = max(1, round(self.count * share))
        low = self.chance.randrange(self.count - width + 1)
        return low, low + width

    def close(self) -> None:
        """Close the contestants and remove the folder."""
        for contestant in self.contestants:
            contestant.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _query(title: str, make: Callable[[Stage], Callable[[Any], Answer]]) -> Callable[[Stage], Row]:
    def run(stage: Stage) -> Row:
        return stage.measure(title, make(stage))

    run.__doc__ = title
    return run


def _load(stage: Stage) -> Row:
    """Load of all documents with the indexes."""
    return stage.loaded


WORKLOADS: Final[dict[str, Callable[[Stage], Row]]] = {
    "nobench_load": _load,
    "nobench_1": _query("Q1: project two common fields", lambda s: lambda c: c.project("str1", "num")),
    "nobench_2": _query("Q2: project two nested fields", lambda s: lambda c: c.project("nested_obj.str", "nested_obj.num")),
    "nobench_3": _query("Q3: project sparse fields of one cluster", lambda s: lambda c: c.sparse("sparse_110", "sparse_119")),
    "nobench_4": _query("Q4: project sparse fields of two clusters", lambda s: lambda c: c.sparse("sparse_110", "sparse_220")),
    "nobench_5": _query("Q5: one document by its text", lambda s: (lambda at: lambda c: c.equal("str1", key(at)))(s.count // 3)),
    "nobench_6": _query("Q6: range of a number, 0.1%", lambda s: (lambda r: lambda c: c.between("num", *r))(s.range(0.001))),
    "nobench_7": _query("Q7: range of a field of two types", lambda s: (lambda r: lambda c: c.between("dyn1", *r))(s.range(0.001))),
    "nobench_8": _query("Q8: a word in an array", lambda s: lambda c: c.contains(WORDS[77])),
    "nobench_9": _query("Q9: value of a sparse field", lambda s: lambda c: c.equal("sparse_367", WORDS[123])),
    "nobench_10": _query("Q10: count by group, 10%", lambda s: (lambda r: lambda c: c.grouped(*r))(s.range(0.1))),
    "nobench_11": _query("Q11: join, 0.1%", lambda s: (lambda r: lambda c: c.join(*r))(s.range(0.001))),
}  # fmt: skip
