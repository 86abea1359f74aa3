"""Decoding a few fields: the same as decoding everything and keeping those, or CorruptError, never anything else."""

from __future__ import annotations

import random
from typing import Any

import pytest

import docdb
from docdb import _native
from docdb.errors import CorruptError
from docdb.language.projection import parse_projection
from docdb.store import codec
from tests.store.values import same

FORMS = [
    pytest.param(codec.ReferenceFieldsDecoder, id="reference"),
    pytest.param(
        codec.FieldsDecoder,
        id="kernel",
        marks=pytest.mark.skipif(not _native.AVAILABLE, reason="kernels are not built"),
    ),
]
NAMES = ["_id", "a", "b", "name", "x" * 63, "x" * 64, "x" * 65, "é", "日本語", "", "same length 1", "same length 2"]
VALUES: list[Any] = [None, True, -1, 2**62, 1.5, "text", "é" * 40, b"bytes", [], [1, [2]], {}, {"a": {"b": 1}}]


def documents(seed: int) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    return [
        {"_id": at} | {name: chance.choice(VALUES) for name in chance.sample(NAMES, chance.randrange(len(NAMES)))}
        for at in range(200)
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(4))
def test_what_is_kept_of_the_whole(form: Any, seed: int) -> None:
    chance = random.Random(f"names {seed}")
    for document in documents(seed):
        names = chance.sample([*NAMES, "absent"], chance.randrange(1, 6))
        kept = form(names)(codec.encode(document))
        whole = codec.decode(codec.encode(document))
        assert same(kept, {name: value for name, value in whole.items() if name in names})


@pytest.mark.skipif(not _native.AVAILABLE, reason="kernels are not built")
@pytest.mark.parametrize("seed", range(4))
def test_damage_is_corrupt_or_not_met(seed: int) -> None:
    chance = random.Random(seed)
    decode = codec.FieldsDecoder(["a", "é", "x" * 65])
    outcomes = set()
    for document in documents(seed):
        data = bytearray(codec.encode(document))
        data[chance.randrange(len(data))] = chance.randrange(256)
        cut = bytes(data[: chance.randrange(len(data)) + 1])
        try:
            outcomes.add(type(decode(cut)))
        except CorruptError:
            outcomes.add(CorruptError)
    assert outcomes <= {dict, CorruptError}
    assert CorruptError in outcomes


def test_the_most_fields() -> None:
    names = [f"n{at}" for at in range(codec.MOST_FIELDS)]
    data = codec.encode({"_id": 1, **dict.fromkeys(names, 1)})
    assert codec.FieldsDecoder(names)(data) == dict.fromkeys(names, 1)


@pytest.mark.skipif(not _native.AVAILABLE, reason="kernels are not built")
def test_more_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        codec.FieldsDecoder([f"n{at}" for at in range(codec.MOST_FIELDS + 1)])


@pytest.mark.parametrize("index", [None, "a", "c"])
@pytest.mark.parametrize(
    ("filter", "fields", "sort"),
    [
        ({}, {"a": 1}, None),
        ({}, {"b": 1, "_id": 0}, None),
        ({}, {"c.d": 1}, [("b", -1)]),
        ({"a": {"$gte": 3}}, {"b": 1}, None),
        ({"a": {"$gte": 3}}, {"b": 1, "_id": 0}, [("c.d", 1)]),
        ({"c": {"$elemMatch": {"d": {"$gt": 1}}}}, {"a": 1}, None),
        ({"$expr": {"$gt": ["$a", "$b"]}}, {"c": 1}, None),
        ({"a": {"$in": [1, 2, 5]}}, {"_id": 1}, [("a", -1)]),
        ({"b": {"$regex": "^x"}, "a": {"$mod": [2, 1]}}, {"b": {"$slice": 1}}, None),
        ({"$or": [{"a": 1}, {"c.d": 2}]}, {"t": {"$add": ["$a", 1]}}, None),
        ({"$nor": [{"b": None}]}, {"absent": 1}, None),
    ],
    ids=str,
)
def test_a_projection_shows_what_it_showed(filter: Any, fields: Any, sort: Any, index: str | None) -> None:
    chance = random.Random(3)
    rows = [
        {
            "_id": at,
            "a": at % 7,
            "b": chance.choice([None, "x", "y", at]),
            "c": [{"d": at % 4}, {"d": 9}],
            "e": "x" * 30,
        }
        for at in range(60)
    ]
    with docdb.open(":memory:") as db:
        db["rows"].insert_many(rows)
        db["rows"].create_indexes([{"key": {index: 1}, "name": "i"}] if index else [{"key": {"e": 1}, "name": "e"}])
        found = db["rows"].find(filter, fields)
        found = list(found.sort(sort) if sort else found.sort("_id", 1))
        shown = parse_projection(fields)
        expected = [shown.apply(row) if shown else row for row in db["rows"].find(filter)]
    assert sorted(map(str, found)) == sorted(map(str, expected))
    assert len(found) > 2
