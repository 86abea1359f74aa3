"""What the groups ``aggregation`` and ``sorting`` ask, in SQL: three dialects of one text, and docdb's pipelines beside them.

What lives here: the questions. A dialect says how a field is reached as text, integer, float; every answer is brought to the same Python values, floats
rounded. What it must not know: times.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from benchmarks.rivals.docdb_itself import Docdb
from benchmarks.rivals.sqlite_jsonb import SqliteJsonb

__all__ = ["DocdbQuestions", "SqlQuestions", "SqliteQuestions"]

INDEXED = ("age", "city")  # the first fields of the indexes
BOUNDS = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
Document = dict[str, Any]


class DocdbQuestions(Docdb):
    """docdb; ``joined`` is a date, as its users would store it. The other collection has an index on ``n``."""

    def load(self, documents: list[Document]) -> None:
        since = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        super().load([d | {"joined": since + datetime.timedelta(seconds=d["joined"])} for d in documents])
        self.docs.create_index([("city", 1), ("score", -1)])

    def load_others(self, others: list[Document]) -> None:
        self.others = self.db["others"]
        self.others.create_index("n")
        self.others.insert_many(others)

    def rows(self, *stages: Document) -> list[Document]:
        return list(self.docs.aggregate(list(stages)))

    def by_two(self) -> dict[tuple[str, bool], tuple[Any, ...]]:
        group = {
            "_id": {"city": "$city", "active": "$active"}, "n": {"$sum": 1}, "mean": {"$avg": "$score"},
            "low": {"$min": "$visits"}, "high": {"$max": "$visits"},
        }  # fmt: skip
        return {
            (row["_id"]["city"], row["_id"]["active"]): (row["n"], round(row["mean"], 6), row["low"], row["high"])
            for row in self.rows({"$group": group})
        }

    def unwound(self) -> dict[str, int]:
        rows = self.rows({"$unwind": "$tags"}, {"$group": {"_id": "$tags", "n": {"$sum": 1}}})
        return {row["_id"]: row["n"] for row in rows}

    def months(self) -> dict[str, int]:
        month = {"$dateTrunc": {"date": "$joined", "unit": "month"}}
        rows = self.rows({"$group": {"_id": month, "n": {"$sum": 1}}})
        return {f"{row['_id']:%Y-%m}": row["n"] for row in rows}

    def joined(self) -> tuple[int, int]:
        lookup = {"from": "others", "localField": "age", "foreignField": "n", "as": "others"}
        count = total = 0
        for row in self.docs.aggregate([{"$lookup": lookup}]):
            count += 1
            total += row["others"][0]["weight"] + row["visits"]
        return count, total

    def joined_groups(self) -> dict[str, int]:
        rows = self.rows(
            {"$lookup": {"from": "others", "localField": "age", "foreignField": "n", "as": "other"}},
            {"$unwind": "$other"},
            {"$group": {"_id": "$other.kind", "visits": {"$sum": "$visits"}}},
        )
        return {row["_id"]: row["visits"] for row in rows}

    def buckets(self) -> dict[int, tuple[int, float]]:
        output = {"n": {"$sum": 1}, "mean": {"$avg": "$visits"}}
        rows = self.rows({"$bucket": {"groupBy": "$score", "boundaries": BOUNDS, "output": output}})
        return {row["_id"] // 10: (row["n"], round(row["mean"], 6)) for row in rows}

    def facets(self) -> tuple[dict[bool, int], list[tuple[str, int]], dict[int, int]]:
        facet = {
            "active": [{"$group": {"_id": "$active", "n": {"$sum": 1}}}],
            "cities": [
                {"$group": {"_id": "$city", "n": {"$sum": 1}}}, {"$sort": {"n": -1, "_id": 1}}, {"$limit": 5},
            ],
            "scores": [{"$bucket": {"groupBy": "$score", "boundaries": BOUNDS, "output": {"n": {"$sum": 1}}}}],
        }  # fmt: skip
        (found,) = self.rows({"$facet": facet})
        return (
            {row["_id"]: row["n"] for row in found["active"]},
            [(row["_id"], row["n"]) for row in found["cities"]],
            {row["_id"] // 10: row["n"] for row in found["scores"]},
        )

    def distinct(self) -> int:
        (row,) = self.rows({"$group": {"_id": "$address.zip"}}, {"$count": "n"})
        return int(row["n"])

    def ranged(self, low: int, high: int) -> dict[str, int]:
        rows = self.rows(
            {"$match": {"age": {"$gte": low, "$lt": high}}}, {"$group": {"_id": "$city", "n": {"$sum": "$visits"}}}
        )
        return {row["_id"]: row["n"] for row in rows}

    def ordered(self, *keys: tuple[str, int], skip: int = 0, limit: int = 0) -> list[Any]:
        shown = keys[-1][0]
        found = self.docs.find({}, {"_id": 0, shown: 1}).sort(list(keys)).skip(skip).limit(limit)
        return [document[shown] for document in found]

    def ordered_documents(self, path: str) -> float:
        return round(sum(document[path] * (at % 7) for at, document in enumerate(self.docs.find().sort(path, 1))), 3)


class SqlQuestions:
    """The same in SQL. A dialect gives ``rows``, ``text``, ``integer``, ``real``, ``flag`` and the four texts below."""

    whole = "doc"  # a document as it is brought to Python
    parse = staticmethod(json.loads)
    month = ""
    tags = ""

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        raise NotImplementedError

    def text(self, path: str) -> str:
        raise NotImplementedError

    def integer(self, path: str) -> str:
        raise NotImplementedError

    def real(self, path: str) -> str:
        raise NotImplementedError

    def flag(self, path: str) -> str:
        return self.text(path)

    def bucket(self) -> str:
        return f"cast(floor({self.real('score')} / 10) as int)"

    def by_two(self) -> dict[tuple[str, bool], tuple[Any, ...]]:
        sql = (
            f"select {self.text('city')}, {self.flag('active')}, count(*), avg({self.real('score')}), "
            f"min({self.integer('visits')}), max({self.integer('visits')}) from docs group by 1, 2"
        )
        return {(row[0], bool(row[1])): (row[2], round(row[3], 6), row[4], row[5]) for row in self.rows(sql)}

    def unwound(self) -> dict[str, int]:
        return dict(self.rows(f"select tag, count(*) from {self.tags} group by 1"))

    def months(self) -> dict[str, int]:
        return dict(self.rows(f"select {self.month}, count(*) from docs group by 1"))

    def joined(self) -> tuple[int, int]:
        sql = f"select {self.whole}, weight from docs left join others on others.n={self.integer('age')}"
        count = total = 0
        for text, weight in self.rows(sql):
            count += 1
            total += weight + self.parse(text)["visits"]
        return count, total

    def joined_groups(self) -> dict[str, int]:
        sql = f"select kind, sum({self.integer('visits')}) from docs join others on others.n={self.integer('age')} group by 1"
        return dict(self.rows(sql))

    def buckets(self) -> dict[int, tuple[int, float]]:
        sql = f"select {self.bucket()}, count(*), avg({self.integer('visits')}) from docs group by 1"
        return {row[0]: (row[1], round(float(row[2]), 6)) for row in self.rows(sql)}

    def facets(self) -> tuple[dict[bool, int], list[tuple[str, int]], dict[int, int]]:
        city = self.text("city")
        active = self.rows(f"select {self.flag('active')}, count(*) from docs group by 1")
        cities = self.rows(f"select {city}, count(*) from docs group by 1 order by 2 desc, 1 limit 5")
        scores = self.rows(f"select {self.bucket()}, count(*) from docs group by 1")
        return {bool(row[0]): row[1] for row in active}, cities, dict(scores)

    def distinct(self) -> int:
        return int(self.rows(f"select count(distinct {self.integer('address.zip')}) from docs")[0][0])

    def ranged(self, low: int, high: int) -> dict[str, int]:
        age = self.integer("age")
        where = f"{age}>={low} and {age}<{high}"
        return dict(
            self.rows(f"select {self.text('city')}, sum({self.integer('visits')}) from docs where {where} group by 1")
        )

    def reach(self, path: str) -> str:
        ways = {"active": self.flag, "age": self.integer, "score": self.real, "visits": self.integer}
        return ways.get(path, self.text)(path)

    def ordered(self, *keys: tuple[str, int], skip: int = 0, limit: int = 0) -> list[Any]:
        order = ", ".join(f"{self.reach(path)}{' desc' if way < 0 else ''}" for path, way in keys)
        some = f" limit {limit} offset {skip}" if limit else ""
        return [row[0] for row in self.rows(f"select {self.reach(keys[-1][0])} from docs order by {order}{some}")]

    def ordered_documents(self, path: str) -> float:
        rows = self.rows(f"select {self.whole} from docs order by {self.reach(path)}")
        return round(sum(self.parse(text)[path] * (at % 7) for at, (text,) in enumerate(rows)), 3)


class SqliteQuestions(SqliteJsonb, SqlQuestions):
    """SQLite: ``json_extract`` gives typed values, so one form serves all; prepared statements come from apsw's cache."""

    whole = "json(doc)"
    served = False  # whether the question is one for an index
    month = "strftime('%Y-%m', json_extract(doc,'$.joined'), 'unixepoch')"
    tags = "(select value as tag from docs, json_each(doc,'$.tags'))"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.run("create index by_city on docs(json_extract(doc,'$.city'), json_extract(doc,'$.score') desc)")

    def load_others(self, others: list[Document]) -> None:
        self.run("create table others(n integer primary key, kind text, weight integer)")
        with self.db:
            self.db.cursor().executemany("insert into others values(:n, :kind, :weight)", others)
        self.run("analyze")

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return list(self.run(sql, values))

    def group(self) -> dict[str, int]:
        return dict(self.rows(f"select {self.text('city')}, sum({self.text('visits')}) from docs group by 1"))

    def text(self, path: str) -> str:
        """Return a field. A plus keeps SQLite from walking the whole index of an expression and asking the table for each row, three times slower."""
        plain = f"json_extract(doc,'$.{path}')"
        return plain if self.served or path == "age" else f"+{plain}"

    integer = real = text

    def ordered(self, *keys: tuple[str, int], skip: int = 0, limit: int = 0) -> list[Any]:
        self.served = keys[0][0] in INDEXED
        try:
            return super().ordered(*keys, skip=skip, limit=limit)
        finally:
            self.served = False

    def bucket(self) -> str:
        return f"cast({self.real('score')} / 10 as int)"
