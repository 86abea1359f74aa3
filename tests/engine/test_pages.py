"""The walk over leaf pages against the walk with cursors: the same keys, values and counts, whatever lies on the pages."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import lmdb
import pytest

from docdb.engine.base import DOCUMENTS, ENTRIES, Engine, EngineTransaction
from docdb.engine.lmdb import open_engine
from docdb.engine.memory import MemoryEngine
from docdb.errors import CorruptError, UsageError
from tests.engine.conftest import native_or_skip

PAGE = 4096
SIZES = {"small": (0, 40), "records": (200, 400), "mixed": (0, 3 * PAGE), "large": (PAGE, 3 * PAGE)}
BOUNDS = [b"", b"0", b"3", b"31", b"5" * 600, b"7\xff", b"\xff"]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Give the compiled engine, empty."""
    native_or_skip()
    opened = open_engine(tmp_path / "x", native=True)
    yield opened
    opened.close()


@pytest.fixture
def walks() -> Iterator[Any]:
    """Give the switch between pages and cursors; both stand as they were afterwards."""
    native_or_skip()
    from docdb._native import lmdb_engine

    before = lmdb_engine.walk_pages(True)
    yield lmdb_engine.walk_pages
    lmdb_engine.walk_pages(before)


def load(engine: Engine, items: dict[bytes, bytes], deleted: list[bytes], space: int = DOCUMENTS) -> None:
    writer = engine.begin(write=True)
    writer.put_many(space, list(items.items()))
    writer.delete_many(space, deleted)
    writer.commit()


def random_items(chance: random.Random, count: int, sizes: tuple[int, int]) -> dict[bytes, bytes]:
    return {
        str(chance.randrange(10**9)).encode() * chance.choice([1, 1, 1, 9]): chance.randbytes(chance.randint(*sizes))
        for _ in range(count)
    }


def everything(reader: EngineTransaction, low: bytes, high: bytes, reverse: bool, batch: int) -> list[Any]:
    scans = [
        [
            item
            for items in reader.scan(DOCUMENTS, low, high, reverse=reverse, batch=batch, keys=keys, values=values)
            for item in items
        ]
        for keys, values in ((True, True), (True, False), (False, True))
    ]
    return [*scans, reader.count(DOCUMENTS, low, high), reader.count(DOCUMENTS, low, high, 1500)]


@pytest.mark.parametrize("count", [0, 1, 30, 2000])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_both_walks_agree(engine: Engine, walks: Any, sizes: tuple[int, int], count: int) -> None:
    chance = random.Random(count)
    items = random_items(chance, min(count, 600) if sizes[1] > PAGE else count, sizes)
    model = MemoryEngine()
    deleted = chance.sample(sorted(items), len(items) // 3)
    load(engine, items, deleted)
    load(model, items, deleted)
    reader, expected = engine.begin(), model.begin()
    for (low, high), reverse in product(pairwise(BOUNDS), (False, True)):
        batch = chance.choice([1, 17, 256])
        walks(True)
        by_pages = everything(reader, low, high, reverse, batch)
        walks(False)
        assert (
            by_pages == everything(reader, low, high, reverse, batch) == everything(expected, low, high, reverse, batch)
        )


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_every_bound(engine: Engine, walks: Any, reverse: bool) -> None:
    keys = [b"%05d" % (n * 2) for n in range(300)]
    load(engine, {key: key * 20 for key in keys}, [])
    reader = engine.begin()
    for n in range(0, 600, 7):
        low, high = b"%05d" % n, b"%05d" % (600 - n)
        expected = [key for key in keys if low <= key < high]
        found = [key for batch in reader.scan(DOCUMENTS, low, high, reverse=reverse, values=False) for key in batch]
        assert found == (expected[::-1] if reverse else expected)
        assert reader.count(DOCUMENTS, low, high) == len(expected)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_a_scan_keeps_its_snapshot(engine: Engine, walks: Any, reverse: bool) -> None:
    chance = random.Random(5)
    items = random_items(chance, 3000, (0, 500))
    load(engine, items, [])
    expected = sorted(items.items(), reverse=reverse)
    scan = engine.begin().scan(DOCUMENTS, b"", b"\xff", reverse=reverse, batch=64)
    found = list(next(scan))
    for batch in scan:
        load(engine, random_items(chance, 20, (0, 2 * PAGE)), chance.sample(sorted(items), 20))
        found += batch
    assert found == expected


def test_a_writer_sees_its_own(engine: Engine, walks: Any) -> None:
    load(engine, {b"%04d" % n: b"old" for n in range(1000)}, [])
    writer = engine.begin(write=True)
    writer.put_many(DOCUMENTS, [(b"%04d" % n, b"new") for n in range(1000, 2000)])
    assert (
        sum(len(batch) for batch in writer.scan(DOCUMENTS, b"", b"\xff"))
        == writer.count(DOCUMENTS, b"", b"\xff")
        == 2000
    )
    writer.abort()


def test_spaces_are_apart(engine: Engine, walks: Any) -> None:
    load(engine, {b"%04d" % n: b"d" for n in range(1000)}, [])
    load(engine, {b"%04d" % n: b"\x04" for n in range(500)}, [], ENTRIES)
    reader = engine.begin()
    assert [reader.count(space, b"", b"\xff") for space in range(4)] == [1000, 500, 0, 0]
    assert sum(len(ids) for ids in reader.entry_ids(b"", b"\xff")) == 500


def tree_of(file: Path) -> tuple[bytes, int, int]:
    """Return the content of a data file, the root page and the depth of its documents."""
    environment = lmdb.open(str(file.parent), readonly=True, lock=False)
    with environment.begin() as reader:
        record = reader.get(b"documents")
    environment.close()
    return file.read_bytes(), int.from_bytes(record[40:48], "little"), int.from_bytes(record[6:8], "little")


def damage(content: bytes, chance: random.Random) -> bytes:
    """Return a copy with bytes changed that are mostly offsets, sizes, flags and page numbers."""
    broken = bytearray(content)
    for _ in range(chance.randint(1, 40)):
        page = chance.randrange(2, len(content) // PAGE) * PAGE
        at = page + (chance.randrange(8, 60) if chance.random() < 0.5 else chance.randrange(PAGE - 1))
        node = page + int.from_bytes(content[page + 16 : page + 18], "little") % PAGE
        at = chance.choice([at, min(node + chance.randrange(8), page + PAGE - 2)])
        broken[at : at + 2] = chance.randbytes(2)
    return bytes(broken)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_no_page_leads_outside(tmp_path: Path, walks: Any, sizes: tuple[int, int], reverse: bool) -> None:
    """Run this one below valgrind or an address sanitizer to see that it proves something."""
    from docdb._native.lmdb_engine import walk_memory as walk

    chance = random.Random(len(sizes) + sizes[1])
    engine = open_engine(tmp_path / "x", native=True)
    items = random_items(chance, 300, sizes)
    load(engine, items, [])
    engine.close()
    content, root, depth = tree_of(tmp_path / "x" / "data.mdb")
    assert walk(content, PAGE, root, depth, reverse) == (sorted(items.items(), reverse=reverse), True)
    for _ in range(150):
        found, _ = walk(damage(content, chance), PAGE, root, depth, reverse)
        assert all(1 <= len(key) <= 511 and len(value) <= len(content) for key, value in found)


def folded(content: bytes, root: int, depth: int) -> bytes:
    """Return a copy where all children of a branch are its first one: as many ways to one leaf as the product of the branches' sizes."""
    broken = bytearray(content)
    for _ in range(depth - 1):
        start = root * PAGE
        (lower,) = struct.unpack_from("<H", broken, start + 12)
        nodes = [start + struct.unpack_from("<H", broken, start + at)[0] for at in range(16, lower, 2)]
        for node in nodes:
            broken[node : node + 6] = broken[nodes[0] : nodes[0] + 6]
        root = int.from_bytes(broken[nodes[0] : nodes[0] + 6], "little")
    return bytes(broken)


def long_keys(folder: Path) -> tuple[bytes, int, int]:
    """Make a storage whose tree of documents has many levels; return its file's content, the root page and the depth."""
    engine = open_engine(folder, native=True)
    load(engine, {b"%0400d" % n: b"x" for n in range(3_000)}, [])
    engine.close()
    content, root, depth = tree_of(folder / "data.mdb")
    assert depth >= 4
    return content, root, depth


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_pages_that_are_met_again_end_a_walk(tmp_path: Path, walks: Any, reverse: bool) -> None:
    from docdb._native.lmdb_engine import walk_memory as walk

    content, root, depth = long_keys(tmp_path / "x")
    whole, _ = walk(content, PAGE, root, depth, False)
    found, complete = walk(folded(content, root, depth), PAGE, root, depth, reverse)
    leaf = sorted(found, reverse=reverse)
    assert not complete
    assert found == leaf  # once
    assert sorted(found) == whole[: len(found)]
    assert 0 < len(found) < 20


@pytest.mark.parametrize("way", ["pages", "cursors", "public"])
def test_pages_that_are_met_again_are_damage(tmp_path: Path, walks: Any, way: str) -> None:
    content, root, depth = long_keys(tmp_path / "x")
    (tmp_path / "x" / "data.mdb").write_bytes(folded(content, root, depth))
    walks(way == "pages")
    engine = open_engine(tmp_path / "x", native=way != "public")
    reader, seen = engine.begin(), []
    for reverse in (False, True):
        with pytest.raises(CorruptError, match="met before"):
            seen.extend(batch for batch in reader.scan(DOCUMENTS, b"", b"\xff", reverse=reverse))
    with pytest.raises(CorruptError, match="met before"):
        reader.count(DOCUMENTS, b"", b"\xff")
    assert sum(map(len, seen)) < 1_000
    engine.close()


@pytest.mark.parametrize("count", [1, 30, 2000])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_a_key_is_found_on_the_pages(tmp_path: Path, walks: Any, sizes: tuple[int, int], count: int) -> None:
    from docdb._native.lmdb_engine import find_memory as find

    chance = random.Random(count)
    engine = open_engine(tmp_path / "x", native=True)
    items = random_items(chance, min(count, 300) if sizes[1] > PAGE else count, sizes)
    deleted = chance.sample(sorted(items), len(items) // 3)
    load(engine, items, deleted)
    engine.close()
    content, root, depth = tree_of(tmp_path / "x" / "data.mdb")
    left = {key: value for key, value in items.items() if key not in deleted}
    for key, value in left.items():
        assert find(content, PAGE, root, depth, key) == (True, value)
    for key in [*deleted, b"\0", b"\xff" * 511, *(key[:-1] + b"\0" for key in left), *(key + b"0" for key in left)]:
        assert find(content, PAGE, root, depth, key) == (True, left.get(key))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_no_search_leads_outside(tmp_path: Path, walks: Any, sizes: tuple[int, int]) -> None:
    from docdb._native.lmdb_engine import find_memory as find

    chance = random.Random(sizes[1])
    engine = open_engine(tmp_path / "x", native=True)
    items = random_items(chance, 300, sizes)
    load(engine, items, [])
    engine.close()
    content, root, depth = tree_of(tmp_path / "x" / "data.mdb")
    keys = sorted(items)
    for _ in range(150):
        broken = damage(content, chance)
        for key in chance.sample(keys, 20):
            told, value = find(broken, PAGE, root, depth, key)
            assert told or value is None
            assert value is None or len(value) <= len(content)


@pytest.mark.parametrize("size", [0, 1, PAGE - 1])
def test_less_than_a_page_holds_no_tree(walks: Any, size: int) -> None:
    from docdb._native import lmdb_engine

    with pytest.raises(UsageError, match="no such tree"):
        lmdb_engine.walk_memory(bytes(size), PAGE, 2, 1, False)
    with pytest.raises(UsageError, match="no such tree"):
        lmdb_engine.find_memory(bytes(size), PAGE, 2, 1, b"k")
