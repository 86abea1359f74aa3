"""The native decoder and the native program, run by the compiled engine on mapped pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docdb import _native
from docdb.engine.base import DOCUMENTS, Engine
from docdb.engine.lmdb import open_engine
from docdb.errors import CorruptError
from tests.engine.conftest import native_or_skip

END = b"\xff"
COUNT = 40_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Give the compiled engine with documents ``{_id: n, age: n % 100}``."""
    native_or_skip()
    if not _native.AVAILABLE:
        pytest.skip("the other kernels were not built")
    from docdb.store.codec import encode

    opened = open_engine(tmp_path / "x", native=True)
    writer = opened.begin(write=True)
    writer.put_many(DOCUMENTS, [(b"%06d" % n, encode({"_id": n, "age": n % 100})) for n in range(COUNT)], append=True)
    writer.commit()
    yield opened
    opened.close()


def program(filter: dict[str, Any]) -> Any:
    from docdb.language.filters import parse
    from docdb.language.programs import compile_program

    return compile_program(parse(filter))


@pytest.mark.parametrize("name", ["Decoder", "decode"])
def test_decoder_on_pages(engine: Engine, name: str) -> None:
    decoder = _native.codec.decode if name == "decode" else _native.codec.Decoder()
    reader = engine.begin()
    assert reader.get(DOCUMENTS, b"000005", decoder) == {"_id": 5, "age": 5}
    assert engine.get_latest(DOCUMENTS, b"000105", decoder) == (engine.last_id(), {"_id": 105, "age": 5})
    assert reader.get_many(DOCUMENTS, [b"000001", b"x", b"000002"], decode=decoder) == [
        {"_id": 1, "age": 1}, None, {"_id": 2, "age": 2}
    ]  # fmt: skip
    scan = reader.scan(DOCUMENTS, b"000010", b"000012", decode=decoder)
    assert list(scan) == [[(b"000010", {"_id": 10, "age": 10}), (b"000011", {"_id": 11, "age": 11})]]


def test_program_on_pages(engine: Engine) -> None:
    decoder = _native.codec.Decoder()
    reader = engine.begin()
    chosen = program({"age": {"$gte": 98}})
    found = [
        item for batch in reader.scan(DOCUMENTS, b"", END, keys=False, program=chosen, decode=decoder) for item in batch
    ]
    assert [item["_id"] for item in found] == [n for n in range(COUNT) if n % 100 >= 98]
    assert reader.get_many(DOCUMENTS, [b"000097", b"000098"], program=chosen, decode=decoder) == [
        None, {"_id": 98, "age": 98}
    ]  # fmt: skip


def test_a_program_that_refuses_all_gives_empty_batches(engine: Engine) -> None:
    batches = list(engine.begin().scan(DOCUMENTS, b"", END, program=program({"age": 1000}), reverse=True))
    assert batches
    assert not any(batches)


def test_a_damaged_value_raises_and_leaves_the_transaction_usable(engine: Engine) -> None:
    writer = engine.begin(write=True)
    writer.put_many(DOCUMENTS, [(b"000003", b"\xdf\xff\xff\xff\xff"), (b"000004", b"")])
    writer.commit()
    decoder = _native.codec.Decoder()
    reader = engine.begin()
    for key in (b"000003", b"000004"):
        with pytest.raises(CorruptError):
            reader.get(DOCUMENTS, key, decoder)
        with pytest.raises(CorruptError):
            engine.get_latest(DOCUMENTS, key, decoder)
        with pytest.raises(CorruptError):
            reader.get_many(DOCUMENTS, [key], decode=decoder)
    with pytest.raises(CorruptError):
        list(reader.scan(DOCUMENTS, b"", END, decode=decoder))
    assert reader.get(DOCUMENTS, b"000005", decoder) == {"_id": 5, "age": 5}


@pytest.mark.parametrize("filter", [None, {"age": {"$gte": 98}}], ids=["all", "program"])
def test_presence_makes_no_values(engine: Engine, filter: dict[str, Any] | None) -> None:
    reader = engine.begin()
    chosen = None if filter is None else program(filter)
    values = [v for batch in reader.scan(DOCUMENTS, b"", END, keys=False, program=chosen) for v in batch]
    present = [v for batch in reader.scan(DOCUMENTS, b"", END, keys=False, program=chosen, decode=bool) for v in batch]
    assert present == [True] * len(values)


def test_presence_is_bool(engine: Engine) -> None:
    writer = engine.begin(write=True)
    writer.put_many(DOCUMENTS, [(b"a", b""), (b"b", b"\0")])
    assert list(writer.scan(DOCUMENTS, b"a", b"c", decode=bool)) == [[(b"a", False), (b"b", True)]]
    writer.abort()
