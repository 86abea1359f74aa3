"""Real data (``../shared/data``): cities, flights, movies, grades, accounts, restaurants; docdb against SQLite JSONB.

Extended JSON is read as what it means: in SQLite ids are text and dates seconds. A data set that is not there leaves a note and its workloads are
skipped. Answers are compared, sums of floats rounded.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import apsw

import docdb
from benchmarks.report import Row, Times
from benchmarks.workloads import Settings
from docdb import ejson

DATA: Final = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
ROUNDS: Final = 5
SETS: Final = {
    "accounts": ("accounts.ndjson.gz", ()),
    "cities": ("cities.json.gz", (("country", "name"), ("name",))),
    "flights": ("flights-200k.json.gz", (("delay",),)),
    "grades": ("grades.ndjson.gz", (("student_id",),)),
    "movies": ("movies.json.gz", ()),
    "restaurants": ("restaurant.ndjson.gz", (("type_of_food",),)),
}
Document = dict[str, Any]


def read(file: Path) -> list[Document]:
    """Return the documents of a file, an array or one a line."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        text = lines.read()
    if file.name.endswith(".ndjson.gz"):
        return [ejson.loads(line) for line in text.splitlines() if line.strip()]
    return [{"_id": at, **row} for at, row in enumerate(json.loads(text))]


class DocdbReal:
    """A collection a data set."""

    name = "docdb"

    def __init__(self, folder: Path) -> None:
        self.db = docdb.open(folder / "real.docdb")

    def load(self, name: str, documents: list[Document], indexes: Sequence[Sequence[str]]) -> None:
        for paths in indexes:
            self.db[name].create_index([(path, 1) for path in paths])
        self.db[name].insert_many(documents)

    def rows(self, name: str, *stages: Document) -> list[Document]:
        return list(self.db[name].aggregate(list(stages)))

    def close(self) -> None:
        self.db.close()


class SqliteReal:
    """A table of JSONB a data set, with indexes on expressions."""

    name = "SQLite JSONB (apsw)"

    def __init__(self, folder: Path) -> None:
        self.db = apsw.Connection(str(folder / "real.sqlite"))
        self.run = self.db.cursor().execute
        list(self.run("pragma journal_mode=wal; pragma synchronous=full"))

    def load(self, name: str, documents: list[Document], indexes: Sequence[Sequence[str]]) -> None:
        self.run(f"create table {name}(id text primary key, doc blob) without rowid")
        for paths in indexes:
            keys = ", ".join(f"json_extract(doc, '$.{path}')" for path in paths)
            self.run(f"create index {name}_{'_'.join(paths)} on {name}({keys})")
        with self.db:
            rows = ((str(document["_id"]), json.dumps(document, default=plain)) for document in documents)
            self.db.cursor().executemany(f"insert into {name} values(?, jsonb(?))", rows)
        self.run("analyze")

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return list(self.run(sql, values))

    def close(self) -> None:
        self.db.close()


def plain(value: Any) -> Any:
    """Return what JSON has for a value of extended JSON."""
    return value.timestamp() if isinstance(value, dt.datetime) else str(value)


class Stage:
    """Both contestants with all data sets that are there."""

    def __init__(self, settings: Settings) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="docdb-real-"))
        self.docdb, self.sqlite = DocdbReal(self.folder), SqliteReal(self.folder)
        self.notes: list[str] = []
        self.counts: dict[str, int] = {}
        self.loaded: dict[str, Times] = {}
        for name, (file, indexes) in SETS.items():
            if not (DATA / file).exists():
                self.notes.append(f"{name} not measured: {file} is not among the shared data")
                continue
            documents = read(DATA / file)[: settings.documents]
            times: dict[str, list[float]] = {}
            for contestant in (self.docdb, self.sqlite):
                began = time.perf_counter()
                contestant.load(name, documents, indexes)
                times[contestant.name] = [(time.perf_counter() - began) / len(documents) * 1e6]
            self.counts[name], self.loaded[name] = len(documents), Times(times)

    def close(self) -> None:
        """Close both and remove the folder."""
        self.docdb.close()
        self.sqlite.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def load(stage: Stage) -> list[Row]:
    """Load the data sets with their indexes."""
    return [
        Row(f"load of {stage.counts[name]:,} {name}, {len(SETS[name][1])} indexes, per document", "us", times)
        for name, times in stage.loaded.items()
    ]


def _ask(
    name: str, title: str, own: Callable[[DocdbReal], Any], sql: Callable[[SqliteReal], Any]
) -> Callable[[Stage], list[Row]]:
    def run(stage: Stage) -> list[Row]:
        if name not in stage.counts:
            return []
        times: dict[str, list[float]] = {DocdbReal.name: [], SqliteReal.name: []}
        for _ in range(ROUNDS):
            began = time.perf_counter()
            found = own(stage.docdb)
            middle = time.perf_counter()
            other = sql(stage.sqlite)
            times[SqliteReal.name].append((time.perf_counter() - middle) * 1e3)
            times[DocdbReal.name].append((middle - began) * 1e3)
            assert found == other, f"{title}: the contestants disagree"
        row = Row(f"{name}: {title}", "ms", Times(times))
        row.note = f"{row.times[SqliteReal.name] / row.times[DocdbReal.name]:.2f}x SQLite"
        return [row]

    run.__doc__ = f"{name}: {title}"
    return run


def _field(path: str) -> str:
    return f"json_extract(doc, '$.\"{path}\"')" if " " in path else f"json_extract(doc, '$.{path}')"


COUNTRY, NAME, DELAY, DISTANCE = map(_field, ("country", "name", "delay", "distance"))
GENRE, RATING, FOOD = map(_field, ("Major Genre", "IMDB Rating", "type_of_food"))

BY_500_MILES: Final = {
    "groupBy": "$distance", "boundaries": list(range(0, 6001, 500)), "output": {"n": {"$sum": 1}, "mean": {"$avg": "$delay"}},
}  # fmt: skip
BY_KIND: Final = {"_id": "$scores.type", "mean": {"$avg": "$scores.score"}}

page = _ask(
    "cities", "100 of a country in order of their names, whole documents",
    lambda c: [d["name"] for d in c.db["cities"].find({"country": "DE"}).sort("name", 1).limit(100)],
    lambda c: [json.loads(r[0])["name"] for r in c.rows(f"select json(doc) from cities where {COUNTRY}='DE' order by {NAME} limit 100")],
)  # fmt: skip
prefix = _ask(
    "cities", "names that begin with 'San ', by index",
    lambda c: c.db["cities"].count_documents({"name": {"$regex": "^San "}}),
    lambda c: c.rows(f"select count(*) from cities where {NAME}>='San ' and {NAME}<'San!'")[0][0],
)  # fmt: skip
countries = _ask(
    "cities", "the ten countries with most of them",
    lambda c: [(r["_id"], r["n"]) for r in c.rows("cities", {"$group": {"_id": "$country", "n": {"$sum": 1}}}, {"$sort": {"n": -1, "_id": 1}}, {"$limit": 10})],
    lambda c: c.rows(f"select {COUNTRY}, count(*) from cities group by 1 order by 2 desc, 1 limit 10"),
)  # fmt: skip
late = _ask(
    "flights", "the hundred that were latest, by index",
    lambda c: [d["delay"] for d in c.db["flights"].find().sort("delay", -1).limit(100)],
    lambda c: [json.loads(r[0])["delay"] for r in c.rows(f"select json(doc) from flights order by {DELAY} desc limit 100")],
)  # fmt: skip
far = _ask(
    "flights", "how many went far and came late, no index on the distance",
    lambda c: c.db["flights"].count_documents({"distance": {"$gt": 2000}, "time": {"$gt": 12}}),
    lambda c: c.rows(f"select count(*) from flights where {DISTANCE}>2000 and {_field('time')}>12")[0][0],
)  # fmt: skip
distances = _ask(
    "flights", "number and mean delay by 500 miles of distance",
    lambda c: [(r["_id"] // 500, r["n"], round(r["mean"], 6)) for r in c.rows("flights", {"$bucket": BY_500_MILES})],
    lambda c: [
        (r[0], r[1], round(r[2], 6))
        for r in c.rows(f"select cast({DISTANCE} / 500 as int), count(*), avg({DELAY}) from flights group by 1 order by 1")
    ],
)  # fmt: skip
genres = _ask(
    "movies", "mean rating by genre, nulls left out",
    lambda c: {
        r["_id"]: (r["n"], None if r["mean"] is None else round(r["mean"], 6))
        for r in c.rows("movies", {"$group": {"_id": "$Major Genre", "n": {"$sum": 1}, "mean": {"$avg": "$IMDB Rating"}}})
    },
    lambda c: {r[0]: (r[1], None if r[2] is None else round(r[2], 6)) for r in c.rows(f"select {GENRE}, count(*), avg({RATING}) from movies group by 1")},
)  # fmt: skip
scores = _ask(
    "grades", "mean score by kind of test ($unwind)",
    lambda c: {
        r["_id"]: round(r["mean"], 6) for r in c.rows("grades", {"$unwind": "$scores"}, {"$group": BY_KIND})
    },
    lambda c: {
        r[0]: round(r[1], 6)
        for r in c.rows("select value->>'type', avg(value->>'score') from grades, json_each(doc, '$.scores') group by 1")
    },
)  # fmt: skip
products = _ask(
    "accounts", "accounts by product ($unwind)",
    lambda c: {r["_id"]: r["n"] for r in c.rows("accounts", {"$unwind": "$products"}, {"$sortByCount": "$products"}, {"$project": {"n": "$count"}})},
    lambda c: dict(c.rows("select value, count(*) from accounts, json_each(doc, '$.products') group by 1")),
)  # fmt: skip
food = _ask(
    "restaurants", "number by kind of food, by index",
    lambda c: {r["_id"]: r["n"] for r in c.rows("restaurants", {"$group": {"_id": "$type_of_food", "n": {"$sum": 1}}})},
    lambda c: dict(c.rows(f"select {FOOD}, count(*) from restaurants group by 1")),
)  # fmt: skip

WORKLOADS: Final[dict[str, Callable[[Any], list[Row]]]] = {
    "real_load": load, "real_page": page, "real_prefix": prefix, "real_countries": countries, "real_late": late, "real_far": far,
    "real_distances": distances, "real_genres": genres, "real_scores": scores, "real_products": products, "real_food": food,
}  # fmt: skip
