"""The decoder's shapes: with them and without, the same values, whatever was decoded before."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from typing import Any

import pytest

from docdb import _native
from docdb.errors import CorruptError
from docdb.language.values import ObjectId
from docdb.store import codec
from tests.store.values import same

pytestmark = pytest.mark.skipif(not _native.AVAILABLE, reason="kernels are not built")
NAMES = [
    "_id",
    "a",
    "bb",
    "name",
    "eleven_long",
    "x" * 31,
    "x" * 32,
    "x" * 64,
    "x" * 65,
    "é",
    "exactly",
    "exactly8",
    "",
    "日本語",
]


@pytest.fixture(autouse=True)
def shapes() -> Iterator[Any]:
    """Give the switch; it stands as it was afterwards."""
    from docdb._native import codec as kernel

    before = kernel.use_shapes(True)
    yield kernel.use_shapes
    kernel.use_shapes(before)


def kind(chance: random.Random) -> list[str]:
    """Names of fields as a collection's documents have them, ``_id`` first."""
    names = chance.sample(NAMES[1:], chance.randrange(len(NAMES)))
    return ["_id", *names, *(f"field{n}" for n in range(chance.choice([0, 0, 3, 70])))]


def value(chance: random.Random, depth: int = 0) -> Any:
    if depth < 3 and chance.random() < 0.3:
        return {name: value(chance, depth + 1) for name in chance.sample(NAMES, chance.randrange(5))}
    if depth < 3 and chance.random() < 0.2:
        return [value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return chance.choice([None, True, 1, 2**40, -7, 1.5, "", "text", "é" * 9, "x" * 300, b"bytes"])


def documents(seed: int, count: int = 400) -> list[bytes]:
    """Documents of a few kinds in turn; some lack a field, some have their fields in another order."""
    chance = random.Random(seed)
    kinds = [kind(chance) for _ in range(4)]
    made = []
    for _ in range(count):
        names = list(chance.choice(kinds))
        if chance.random() < 0.2:
            del names[chance.randrange(len(names))]
        if chance.random() < 0.1:
            chance.shuffle(names)
        made.append(codec.encode_value({name: value(chance) for name in names}))
    return made


def judged(data: bytes) -> tuple[bool, Any]:
    try:
        return True, codec.decode(data)
    except CorruptError:
        return False, None


@pytest.mark.parametrize("seed", range(8))
def test_the_same_values_in_the_same_order(seed: int) -> None:
    for data in documents(seed):
        assert same(codec.decode(data), codec.reference_decode(data))


@pytest.mark.parametrize("seed", range(4))
def test_damage_has_the_same_outcome(seed: int, shapes: Any) -> None:
    chance = random.Random(seed)
    for data in documents(seed):
        hurt = bytearray(data)
        for _ in range(chance.randrange(3)):
            hurt[chance.randrange(len(hurt))] = chance.randrange(256)
        hurt = hurt[: chance.choice([len(hurt), len(hurt), chance.randrange(len(hurt) + 1)])]
        shapes(True)
        found = judged(bytes(hurt))
        shapes(False)
        assert same(found, judged(bytes(hurt)))


def test_every_cut_is_damage() -> None:
    data = codec.encode({"_id": 1, "name": "text", "inner": {"a": 1, "eleven_long": 2}, "x": 5})
    for _ in range(20):
        codec.decode(data)
    for size in range(len(data)):
        with pytest.raises(CorruptError):
            codec.decode(data[:size])


def test_two_documents_share_nothing() -> None:
    data = codec.encode({"_id": 1, "a": [1], "inner": {"a": 1, "b": 2}})
    first, second = [codec.decode(data) for _ in range(20)][-2:]
    first["a"].append(2)
    first["inner"]["b"] = 3
    first["new"] = first.pop("_id")
    assert second == codec.decode(data) == {"_id": 1, "a": [1], "inner": {"a": 1, "b": 2}}


@pytest.mark.parametrize("field", [1, "text", None, b"x", [], {}, ObjectId("0" * 24), 1.5], ids=repr)
def test_the_collector_sees_what_it_must(field: Any) -> None:
    data = codec.encode({"_id": 1, "a": field, "b": 2})
    found = [codec.decode(data) for _ in range(20)]
    assert [gc.is_tracked(document) for document in found] == [gc.is_tracked({"_id": 1, "a": found[0]["a"]})] * 20


def test_a_cycle_through_a_document_is_freed() -> None:
    data = codec.encode({"_id": 1, "items": [], "b": 2})
    gc.collect()
    for _ in range(50):
        document = codec.decode(data)
        document["items"].append(document)
    del document
    assert gc.collect() >= 50


def test_maps_that_never_look_alike() -> None:
    for n in range(3_000):
        document = {"_id": n, "by_user": {f"user{n * 7 + i}": i for i in range(3)}}
        assert codec.decode(codec.encode(document)) == document


def test_a_field_that_is_there_twice_is_damage_at_any_place() -> None:
    good = codec.encode({"a": 1, "b": 2, "c": 3})
    for _ in range(20):
        codec.decode(good)
    for broken in (b"\x83\xa1a\x01\xa1b\x02\xa1a\x03", b"\x83\xa1a\x01\xa1a\x02\xa1c\x03"):
        with pytest.raises(CorruptError):
            codec.decode(broken)
