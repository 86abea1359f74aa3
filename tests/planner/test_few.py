"""The short road to few documents by one indexed field: what it gives is what the planner's road gives, or it gives nothing."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb
import docdb._native as native
import docdb.aio
from docdb import ObjectId
from docdb.errors import CorruptError, DeniedError, DocdbError, InvalidOperation
from docdb.store.points import FEW

pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="readers are the kernels'")
IDS = [ObjectId(bytes([n] * 12)) for n in range(4)]
VALUES: list[Any] = [
    0, 1, -1, 1.0, 0.0, 2**53, 2**63 - 1, -(2**63), 1.5, "", "a", "ab", "é", "a\x01", "a\x00b", "x" * 237, "x" * 238, "x" * 239, True, False, None, *IDS,
    {"b": 1}, b"a", "x" * 600, [1], ["a", "b"], [],
]  # fmt: skip
PLAIN = len(VALUES) - 4  # the others come from arrays, or are cut


@pytest.fixture
def db(tmp_path: Path) -> Iterator[docdb.Database]:
    with docdb.open(tmp_path / "d", sweep_s=None, durability="relaxed") as database:
        yield database


def learnt(collection: Any, field: str) -> bool:
    """Ask often enough that the field is known where it can be."""
    for _ in range(4):
        collection.find_one({field: "nobody"})
    return (field,) in collection.finder.readers


def by_the_long_road(collection: Any, field: str, value: Any, limit: int = 0) -> list[Any]:
    return list(collection.find({"$and": [{field: value}]}).limit(limit))


def test_a_field_is_learnt_when_it_is_asked_for_again(db: docdb.Database) -> None:
    c = db["c"]
    c.insert_many([{"_id": n, "k": n % 10, "u": f"u{n}"} for n in range(100)])
    assert not learnt(c, "u")
    c.create_index("u", unique=True)
    assert c.find_one({"u": "u7"}) == {"_id": 7, "k": 7, "u": "u7"}
    assert learnt(c, "u")
    assert c.few({"u": "u7"}, 1) == [{"_id": 7, "k": 7, "u": "u7"}] == c.few({"u": "u7"})
    assert c.few({"u": "nobody"}) == []
    assert c.find_one({"u": "u7"}) == c.few({"u": "u7"})[0]
    assert c.find_one({"u": "u700"}) is None


def test_more_than_few_are_asked_for_otherwise(db: docdb.Database) -> None:
    c = db["c"]
    c.insert_many([{"_id": n, "k": n % 3} for n in range(3 * FEW + 2)])
    c.create_index("k")
    assert learnt(c, "k")
    assert c.few({"k": 0}) is None
    assert c.few({"k": 2}) == [{"_id": 3 * n + 2, "k": 2} for n in range(FEW)]
    assert c.few({"k": 0}, FEW) == [{"_id": 3 * n, "k": 0} for n in range(FEW)]
    assert c.few({"k": 0}, FEW + 1) is None
    assert len(list(c.find({"k": 0}))) == FEW + 1
    assert len(list(c.find({"k": 0}).limit(3))) == 3


@pytest.mark.parametrize("keys", [[("k", 1)], [("k", 1), ("n", -1)], [("k", -1)], [("a.k", 1)]])
@pytest.mark.parametrize("seed", range(3))
def test_it_gives_what_the_planner_gives(db: docdb.Database, keys: list[tuple[str, int]], seed: int) -> None:
    """Among writes, and with arrays and long texts coming and going."""
    chance, c, field = random.Random(seed), db["c"], keys[0][0]
    index = c.create_index(keys)
    answered = 0
    for step in range(600):
        id, value = chance.randrange(40), VALUES[chance.randrange(len(VALUES) if chance.random() < 0.03 else PLAIN)]
        document = {"k": value, "n": chance.randrange(5)} if "." not in field else {"a": {"k": value}}
        if chance.random() < 0.2:
            c.delete_one({"_id": id})
        elif chance.random() < 0.02:
            c.delete_many({})
        elif chance.random() < 0.02:
            c.drop_index(index)
            index = c.create_index(keys)
        elif chance.random() < 0.8:
            c.replace_one({"_id": id}, document, upsert=True)
        asked = VALUES[chance.randrange(len(VALUES))]
        limit = chance.choice((0, 1, 2, FEW, FEW + 1))
        long = by_the_long_road(c, field, asked, limit)
        few = c.few({field: asked}, limit)
        assert few is None or few == long, (step, asked, limit)
        assert list(c.find({field: asked}).limit(limit)) == long
        assert c.find_one({field: asked}) == (
            long[0] if limit == 1 and long else next(iter(by_the_long_road(c, field, asked, 1)), None)
        )
        answered += few is not None
    assert answered > 50 if keys[0][1] == 1 else answered == 0


@pytest.mark.parametrize("keys", [[("k", 1)], [("k", 1), ("x", -1)], [("k", -1)], None])
@pytest.mark.parametrize("seed", range(3))
def test_several_fields_find_what_the_planner_finds(
    db: docdb.Database, keys: list[tuple[str, int]] | None, seed: int
) -> None:
    chance, c = random.Random(seed), db["c"]
    if keys is not None:
        c.create_index(keys)
    odd = [[1, "a"], {"a": 1}, b"a", 2**70 if seed > 9 else "\u65e5", float("nan")]

    def some(least: float) -> Any:
        return VALUES[chance.randrange(PLAIN)] if chance.random() < least else chance.choice(odd)

    answered = 0
    for _ in range(500):
        document = {name: some(0.97) for name in ("k", "n", "m") if chance.random() < 0.9}
        if type(document.get("k")) is list:
            continue
        c.replace_one({"_id": chance.randrange(30)}, document, upsert=True)
        names = chance.sample(
            ["_id", "k", "n", "m", "a.b"] if chance.random() < 0.1 else ["_id", "k", "n", "m"], chance.randrange(2, 4)
        )
        stored = c.find_one({"_id": chance.randrange(30)}) or {}
        asked = {name: stored.get(name) if chance.random() < 0.8 else some(0.9) for name in names}
        if "_id" in asked and chance.random() < 0.9:
            asked["_id"] = stored.get("_id", 3)
        limit = chance.choice((0, 1, 2, FEW))
        long = list(c.find({"$and": [{name: value} for name, value in asked.items()]}).limit(limit))
        few = c.few(asked, limit)
        assert few is None or repr(few) == repr(long), (asked, limit)
        assert repr(list(c.find(asked).limit(limit))) == repr(long), (asked, limit)
        assert c.count_documents(asked) == len(list(c.find({"$and": [{name: value} for name, value in asked.items()]})))
        first = list(c.find({"$and": [{name: value} for name, value in asked.items()]}).limit(1))
        assert repr(c.find_one(asked)) == repr(first[0] if first else None)
        answered += few is not None
    assert answered > 50


def test_only_one_of_several_fields_may_have_an_index(db: docdb.Database) -> None:
    c = db["c"]
    c.insert_many([{"_id": n, "k": n % 5, "n": n % 7, "m": n} for n in range(70)])
    c.create_index("k")
    for _ in range(4):
        assert c.find_one({"k": 3, "m": 13}) == {"_id": 13, "k": 3, "n": 6, "m": 13}
    assert c.few({"k": 3, "m": 13}) == [{"_id": 13, "k": 3, "n": 6, "m": 13}]
    c.create_index([("n", 1), ("m", 1)])
    for _ in range(4):
        assert c.find_one({"k": 3, "m": 13}) == {"_id": 13, "k": 3, "n": 6, "m": 13}
    assert c.few({"k": 3, "m": 13}) is None
    assert c.few({"_id": 13, "m": 13}) is None
    for _ in range(4):
        c.find_one({"_id": 13, "m": 13})
    assert c.few({"_id": 13, "m": 13}) == [{"_id": 13, "k": 3, "n": 6, "m": 13}]
    assert c.few({"_id": 13, "m": 12}) == []
    assert c.few({"_id": 13, "m": {"$gt": 3}}) is None
    assert c.find_one({"_id": 13, "m": {"$gt": 3}}) == {"_id": 13, "k": 3, "n": 6, "m": 13}


def test_a_filter_that_cannot_be_is_refused_on_every_road(db: docdb.Database) -> None:
    c = db["c"]
    c.insert_one({"_id": 1, "k": "a"})
    for filter in ({"_id": 1, "k": "\ud800"}, {"_id": 1, "k": 2**64}, {"_id": 1, "$k": 1}, {"_id": "\ud800", "k": 1}):
        for _ in range(5):
            with pytest.raises(DocdbError):
                c.find_one(filter)


@pytest.mark.parametrize(
    "options", [{"sparse": True}, {"partialFilterExpression": {"n": 1}}, {"collation": {"locale": "en", "strength": 2}}, {"hidden": True},
                {"expireAfterSeconds": 10}], ids=str,
)  # fmt: skip
def test_what_does_not_hold_every_document_is_not_used(db: docdb.Database, options: dict[str, Any]) -> None:
    c = db["c"]
    c.insert_many([{"_id": n, "k": f"k{n}", "n": n % 2} for n in range(50)])
    c.create_index("k", **options)
    assert not learnt(c, "k")
    assert c.find_one({"k": "k4"}) == {"_id": 4, "k": "k4", "n": 0}


@pytest.mark.parametrize("field", ["_id", "k.0", "$k", "", "a..b", "k."])
def test_odd_fields_are_not_learnt(db: docdb.Database, field: str) -> None:
    c = db["c"]
    c.create_index("k")
    for _ in range(5):
        try:
            c.find_one({field: "a"})
        except DocdbError:
            continue
    assert (field,) not in c.finder.readers


def test_a_field_of_two_indexes_is_left_to_the_planner(db: docdb.Database) -> None:
    c = db["c"]
    c.create_index("k")
    c.create_index([("n", 1), ("k", 1)])
    assert not learnt(c, "k")


def test_definitions_that_change_are_heeded(db: docdb.Database) -> None:
    c = db["c"]
    c.insert_many([{"_id": n, "k": f"k{n}"} for n in range(50)])
    c.create_index("k")
    assert learnt(c, "k")
    c.drop_index("k_1")
    c.replace_one({"_id": 3}, {"k": "new"})
    assert c.few({"k": "new"}) is None
    assert c.find_one({"k": "new"}) == {"_id": 3, "k": "new"}
    c.create_index("k")
    assert learnt(c, "k")
    c.rename("other")
    assert c.find_one({"k": "new"}) is None
    assert db["other"].find_one({"k": "new"}) == {"_id": 3, "k": "new"}
    c.insert_one({"_id": 1, "k": "new"})
    assert c.find_one({"k": "new"}) == {"_id": 1, "k": "new"}
    c.drop()
    assert c.find_one({"k": "new"}) is None


def test_an_array_and_a_cut_text_close_the_road(db: docdb.Database) -> None:
    c = db["c"]
    c.insert_many([{"_id": n, "k": f"k{n}"} for n in range(50)])
    c.create_index("k")
    for value in (["k3", "k4"], "x" * 2_000):
        assert learnt(c, "k")
        assert c.few({"k": "k3"}) is not None
        c.insert_one({"_id": 99, "k": value})
        assert c.few({"k": "k3"}) is None
        assert [d["_id"] for d in c.find({"k": "k3"})] == ([3, 99] if type(value) is list else [3])
        c.delete_one({"_id": 99})


def test_what_another_process_changes_is_seen(db: docdb.Database, tmp_path: Path) -> None:
    import subprocess
    import sys

    c = db["c"]
    c.insert_many([{"_id": n, "k": f"k{n}"} for n in range(50)])
    c.create_index("k")
    assert learnt(c, "k")
    script = "import docdb, sys; docdb.open(sys.argv[1])['c'].update_one({'_id': 1}, {'$set': {'k': 'new'}})"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "d")], check=True)
    assert c.few({"k": "new"}) == [{"_id": 1, "k": "new"}]
    assert c.few({"k": "k1"}) == []
    script = "import docdb, sys; docdb.open(sys.argv[1])['c'].drop_index('k_1')"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "d")], check=True)
    assert c.few({"k": "new"}) is None
    assert c.find_one({"k": "new"}) == {"_id": 1, "k": "new"}


def test_a_transaction_sees_its_own_writes(db: docdb.Database) -> None:
    c = db["c"]
    c.insert_many([{"_id": n, "k": f"k{n}"} for n in range(50)])
    c.create_index("k")
    assert learnt(c, "k")
    with db.transaction() as t:
        t["c"].update_one({"_id": 1}, {"$set": {"k": "mine"}})
        assert t["c"].find_one({"k": "mine"}) == {"_id": 1, "k": "mine"}
        assert c.find_one({"k": "mine"}) is None
        assert list(t["c"].find({"k": "k1"})) == []


def test_callers_are_judged(db: docdb.Database) -> None:
    c = db["c"]
    c.insert_many([{"_id": n, "k": f"k{n}", "_openid": "ann" if n % 2 else "bob"} for n in range(50)])
    c.create_index("k")
    assert learnt(c, "k")
    c.set_rules({"read": "doc._openid == auth.openid"}) if hasattr(c, "set_rules") else db.set_rules(
        "c", {"read": "doc._openid == auth.openid"}
    )
    ann = db.as_user({"openid": "ann"})["c"]
    for _ in range(5):
        assert c.find_one({"k": "k2"}) is not None
        try:
            found = ann.find_one({"k": "k2"})
        except DeniedError:
            found = None
        assert found is None
    assert ann.few({"k": "k2"}, 1) is None


def test_a_closed_session_is_refused(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d") as db:
        c = db["c"]
        c.insert_many([{"_id": n, "k": f"k{n}"} for n in range(50)])
        c.create_index("k")
        assert learnt(c, "k")
    with pytest.raises(InvalidOperation):
        c.find_one({"k": "k1"})
    with pytest.raises(InvalidOperation):
        list(c.find({"k": "k1"}))


def test_uses_are_counted_and_slow_finds_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with docdb.open(tmp_path / "d", slow_ms=0) as db:
        c = db["c"]
        c.insert_many([{"_id": n, "k": f"k{n}"} for n in range(50)])
        c.create_index("k")
        assert learnt(c, "k")
        (number,) = [index.number for index in db._store.catalog().get("c").indexes]
        before = db._store.uses(number)
        with caplog.at_level(logging.WARNING, "docdb.slow"):
            assert c.few({"k": "k1"}) == [{"_id": 1, "k": "k1"}]
        assert db._store.uses(number) == before + 1
        assert "find on c took" in caplog.text and "{'k': 'k1'}" in caplog.text


def test_models_are_made(db: docdb.Database) -> None:
    from dataclasses import dataclass

    @dataclass
    class User:
        id: int
        k: str

    c = db.collection("c", model=User)
    c.insert_many([User(n, f"k{n}") for n in range(50)])
    c.create_index("k")
    assert learnt(c, "k")
    assert c.find_one({"k": "k3"}) == User(3, "k3")
    assert list(c.find({"k": "k3"})) == [User(3, "k3")]


def test_under_asyncio_it_is_the_same(tmp_path: Path) -> None:
    import asyncio

    async def run() -> None:
        async with docdb.aio.open(tmp_path / "d") as db:
            c = db["c"]
            await c.insert_many([{"_id": n, "k": f"k{n}"} for n in range(50)])
            await c.create_index("k")
            for n in range(20):
                assert await c.find_one({"k": f"k{n}"}) == {"_id": n, "k": f"k{n}"}
                assert await c.find_one({"k": f"k{n + 100}"}) is None
                assert await c.find({"k": f"k{n}"}).to_list() == [{"_id": n, "k": f"k{n}"}]
            assert ("k",) in c._inner.finder.readers

    asyncio.run(run())


@pytest.mark.damaged
def test_a_damaged_document_is_told(db: docdb.Database) -> None:
    from docdb.engine.base import DOCUMENTS
    from docdb.store.keyspace import collection_prefix

    c = db["c"]
    c.insert_many([{"_id": n, "k": f"k{n}"} for n in range(50)])
    c.create_index("k")
    assert learnt(c, "k")
    number = db._store.catalog().get("c").number
    txn = db._store.engine.begin(write=True)
    ((key, _),) = [
        pair
        for batch in txn.scan(DOCUMENTS, collection_prefix(number), collection_prefix(number + 1))
        for pair in batch
        if b"k3\x00" in pair[1] or pair[1].endswith(b"k3")
    ][:1]
    txn.put_many(DOCUMENTS, [(key, b"\x83\xa1")])
    txn.commit()
    with pytest.raises(CorruptError):
        c.find_one({"k": "k3"})
