"""Results as tables of pyarrow, pandas and polars."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

import docdb
from docdb import aio
from docdb.errors import DeniedError, DocumentError, UsageError
from docdb.faces.results import Result
from docdb.language.values import ObjectId
from docdb.planner.plan import Plan

pa = pytest.importorskip("pyarrow")
NOW = dt.datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=dt.UTC)
FLAT = [
    {"_id": at, "n": at if at % 3 else None, "f": at / 2, "s": f"é{at}", "b": at % 2 == 0, "d": NOW + dt.timedelta(at)}
    for at in range(50)
]


@pytest.fixture
def database() -> Iterator[docdb.Database]:
    with docdb.open(":memory:") as database:
        database["flat"].insert_many(FLAT)
        yield database


@pytest.fixture
def flat(database: docdb.Database) -> docdb.Collection[Any]:
    return database["flat"]


@pytest.fixture
def no_dicts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("documents were made")

    monkeypatch.setattr(Plan, "run", refused)


def test_it_is_the_table_of_the_dicts(flat: docdb.Collection[Any], no_dicts: None) -> None:
    assert flat.find().to_arrow() == pa.Table.from_pylist(
        FLAT,
        schema=pa.schema(
            [("_id", pa.int64()), ("n", pa.int64()), ("f", pa.float64()), ("s", pa.string()), ("b", pa.bool_()), ("d", pa.timestamp("us", tz="UTC"))]
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("find", "expected"),
    [
        (lambda c: c.find({"_id": {"$lt": 3}}, {"s": 1}), [{"_id": at, "s": f"é{at}"} for at in range(3)]),
        (lambda c: c.find({"_id": {"$lt": 2}}, {"zz": 1, "b": 1}), [{"_id": at, "zz": None, "b": at == 0} for at in range(2)]),
        (lambda c: c.find({}, {"f": 1, "_id": 0}).sort("f", -1).skip(1).limit(2), [{"f": 24.0}, {"f": 23.5}]),
        (lambda c: c.find({"$expr": {"$eq": ["$_id", 7]}}, {"_id": 1}), [{"_id": 7}]),
        (lambda c: c.where({"_id": 7}).field({"s": True, "_id": False}), [{"s": "é7"}]),
        (lambda c: c.find({"_id": 70}), []),
        (lambda c: c.find({"_id": 7}, {"n": 0, "f": 0, "s": 0, "d": 0}), [{"_id": 7, "b": False}]),
        (lambda c: c.aggregate([{"$match": {"_id": {"$gte": 48}}}, {"$sort": {"_id": -1}}, {"$project": {"f": 1, "_id": 0}}]), [{"f": 24.5}, {"f": 24.0}]),
        (lambda c: c.aggregate([{"$limit": 1}, {"$unset": ["n", "f", "d", "b"]}]), [{"_id": 0, "s": "é0"}]),
        (lambda c: c.aggregate().match({"_id": 3}).project({"b": 1}), [{"_id": 3, "b": False}]),
    ],
    ids=["kept", "absent", "sorted", "asked again", "query", "none", "dropped", "pipeline", "unset", "builder"],
)  # fmt: skip
def test_whole_fields_come_from_stored_bytes(
    flat: docdb.Collection[Any], request: pytest.FixtureRequest, find: Any, expected: list[dict[str, Any]]
) -> None:
    asked = find(flat)
    request.getfixturevalue("no_dicts")
    assert asked.to_arrow().to_pylist() == expected


@pytest.mark.parametrize(
    "find",
    [
        lambda c: c.find({"_id": {"$lt": 9}}, {"x": {"$add": ["$n", 1]}}),
        lambda c: c.find().after("").limit(4),
        lambda c: c.find().sort("_id", 1).follow(),
        lambda c: c.aggregate([{"$group": {"_id": "$b", "sum": {"$sum": "$f"}}}, {"$sort": {"_id": 1}}]),
        lambda c: c.aggregate([{"$project": {"n": "$f"}}]),
        lambda c: c.aggregate([{"$limit": 3}, {"$match": {"b": True}}, {"$project": {"n": 1}}]),
        lambda c: c.where({"_id": {"$lt": 5}}).get(),
    ],
    ids=["computed", "page", "follow", "group", "renamed", "stages", "result"],
)
def test_others_come_from_documents(flat: docdb.Collection[Any], find: Any) -> None:
    documents = list(find(flat))
    table = find(flat).to_arrow()
    assert table.to_pylist() == [{name: row.get(name) for name in table.column_names} for row in documents]
    assert set(table.column_names) == {name for row in documents for name in row}


def test_a_cursor_gives_what_is_left(flat: docdb.Collection[Any]) -> None:
    cursor = flat.find().sort("_id", 1)
    cursor.next()
    assert cursor.to_arrow()["_id"].to_pylist() == list(range(1, 50))
    assert cursor.to_list() == []
    spent = flat.find()
    assert spent.to_arrow().num_rows == 50
    assert spent.to_list() == []
    assert spent.rewind().to_arrow().num_rows == 50
    closed = flat.find()
    closed.close()
    assert closed.to_arrow().num_rows == 0
    commands = flat.aggregate([{"$sort": {"_id": 1}}])
    commands.next()
    assert commands.to_arrow().num_rows == 49


def test_a_transaction_sees_its_own_writes(database: docdb.Database) -> None:
    with database.transaction() as transaction:
        transaction.collection("flat").insert_one({"_id": 100, "n": 5})
        assert transaction.collection("flat").find({"_id": {"$gt": 48}}).to_arrow()["_id"].to_pylist() == [49, 100]
        found = transaction.collection("flat").aggregate([{"$match": {"_id": 100}}]).to_arrow()
        assert found["n"].to_pylist() == [5]


def test_a_user_has_tables_of_what_the_rules_allow(database: docdb.Database) -> None:
    database["t"].insert_many([{"_id": 1, "_openid": "a", "n": 1}, {"_id": 2, "_openid": "b", "n": 2}])
    database["t"].update_many({}, {"$set": {"secret": 5}})
    rules = {"read": "doc._openid == auth.openid", "write": False, "fields": {"secret": {"read": False}}}
    database.set_rules("t", rules)
    own = database.as_user({"openid": "a"})["t"]
    assert own.find({"_openid": "a"}).to_arrow().to_pylist() == [{"_id": 1, "_openid": "a", "n": 1}]
    assert own.aggregate([{"$match": {"_openid": "a"}}]).to_arrow()["n"].to_pylist() == [1]
    with pytest.raises(DeniedError):
        own.find().to_arrow()
    with pytest.raises(DeniedError):
        own.aggregate().sort({"n": 1}).to_arrow()


def test_columns_change_their_type_from_chunk_to_chunk(database: docdb.Database) -> None:
    late = {"n": 1.5, "x": {"b": [1]}, "l": [None, "x"], "e": Decimal("1.25"), "s": "x", "z": 1}
    early = {"n": 1, "x": {"a": None}, "l": [], "e": 7, "s": None}
    database["t"].insert_many([{"_id": at, **(early if at < 40_000 else late)} for at in range(70_000)])
    table = database["t"].find().to_arrow()
    assert {field.name: str(field.type) for field in table.schema} == {
        "_id": "int64", "n": "double", "x": "struct<a: null, b: list<item: int64>>", "l": "list<item: string>", "e": "decimal128(38, 2)", "s": "string",
        "z": "int64",
    }  # fmt: skip
    table.validate(full=True)
    assert table.num_rows == 70_000
    early_row = {
        "_id": 39_999,
        "n": 1.0,
        "x": {"a": None, "b": None},
        "l": [],
        "e": Decimal("7.00"),
        "s": None,
        "z": None,
    }
    late_row = {"_id": 40_000, **late, "x": {"a": None, "b": [1]}}
    assert table.slice(39_999, 2).to_pylist() == [early_row, late_row]
    with pytest.raises(UsageError, match=r"^n: float64 does not fit the stream's int64"):
        database["t"].find({}, {"n": 1}).to_arrow_reader().read_all()
    with pytest.raises(UsageError, match=r"^z: the stream began without this field"):
        database["t"].find({}, {"n": 0, "x": 0, "l": 0, "e": 0, "s": 0}).to_arrow_reader().read_all()
    schema = pa.schema([("z", pa.int32()), ("n", pa.float32())])
    batches = list(database["t"].find().to_arrow_reader(schema))
    assert [batch.num_rows for batch in batches] == [32_768, 32_768, 4_464]
    assert batches[-1].slice(0, 1).to_pylist() == [{"z": 1, "n": 1.5}]


def test_types_that_arrow_lacks(database: docdb.Database) -> None:
    row = {"_id": ObjectId("64b7f0c2a1b2c3d4e5f60718"), "u": uuid.UUID(int=7), "e": Decimal("1E+30"), "y": b"ab"}
    database["t"].insert_one(row)
    table = database["t"].find().to_arrow()
    assert table.to_pylist() == [{"_id": str(row["_id"]), "u": str(row["u"]), "e": Decimal("1E+30"), "y": b"ab"}]
    assert [str(kind) for kind in table.schema.types] == ["string", "string", "decimal128(38, 0)", "binary"]


def test_text_is_the_way_out_of_two_kinds(database: docdb.Database) -> None:
    database["t"].insert_many([{"a": 1, "_id": 1}, {"a": "x", "_id": 2}, {"a": NOW, "_id": 3}, {"a": None, "_id": 4}])
    with pytest.raises(UsageError, match=r"^a: int64 and utf8 have no column in common \(text=\['a'\]"):
        database["t"].find().to_arrow()
    texts = ["1", "x", '{"$date": "2024-02-29T12:30:01.000005Z"}', None]
    assert database["t"].find().to_arrow(text=["a"])["a"].to_pylist() == texts
    assert database["t"].where({}).get().to_arrow(text=["a"])["a"].to_pylist() == texts
    with pytest.raises(UsageError, match="a list of names"):
        database["t"].find().to_arrow(text="a")


@dataclass
class Row:
    n: int
    s: str = ""


def test_objects_of_a_model_are_rows() -> None:
    rows = Result([Row(1, "x"), Row(2)])
    assert rows.to_arrow().to_pylist() == [{"n": 1, "s": "x"}, {"n": 2, "s": ""}]
    with pytest.raises(DocumentError, match="beyond 64 bit|64"):
        Result([{"n": 2**70}]).to_arrow()


def test_pandas_keeps_ints_and_bools_beside_nulls(database: docdb.Database) -> None:
    pytest.importorskip("pandas")
    database["t"].insert_many([{"_id": 1, "n": 2**60 + 1, "b": True, "t": "x"}, {"_id": 2}])
    frame = database["t"].find().to_pandas()
    assert [str(kind) for kind in frame.dtypes][:3] == ["int64", "Int64", "boolean"]
    assert list(frame.columns) == ["_id", "n", "b", "t"]
    assert frame["n"][0] == 2**60 + 1
    assert database["t"].find({"_id": 0}).to_pandas().empty


def test_polars_has_the_same_rows(flat: docdb.Collection[Any]) -> None:
    pytest.importorskip("polars")
    assert flat.find({}, {"d": 0}).to_polars().rows(named=True) == [
        {name: value for name, value in row.items() if name != "d"} for row in FLAT
    ]


def test_a_package_that_is_missing_is_named(flat: docdb.Collection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(UsageError, match=r"tables need polars \(pip install 'docdb-engine\[polars\]'\)"):
        flat.find().to_polars()


def test_the_asynchronous_face() -> None:
    async def ask() -> None:
        async with await aio.open(":memory:") as database:
            flat = database["flat"]
            await flat.insert_many(FLAT)
            assert (await flat.find({}, {"n": 1}).to_arrow()).num_rows == 50
            assert (await flat.where({"_id": 1}).to_arrow())["s"].to_pylist() == ["é1"]
            assert (await flat.aggregate([{"$match": {"_id": 1}}]).to_arrow()).num_rows == 1
            assert (await flat.aggregate().match({"_id": 1}).to_arrow()).num_rows == 1
            assert (await flat.find().to_arrow_reader()).read_all().num_rows == 50
            begun = flat.find().sort("_id", 1)
            await begun.next()
            assert (await begun.to_arrow())["_id"].to_pylist() == list(range(1, 50))
            waited = await flat.aggregate([{"$match": {"_id": {"$lt": 9}}}])
            assert (await waited.to_arrow()).num_rows == 9

    asyncio.run(ask())
