"""Importing JSON, CSV and BSON, and what is told about errors."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.cli import json_files
from docdb.cli.inputs import collection_of
from docdb.cli.json_files import read_values
from tests.cli.conftest import Program, stored

DOCUMENTS = [{"_id": 1, "a": "x"}, {"_id": 2, "a": {"b": [1, 2.5, None]}}, {"_id": 3}]
ARRAY = json.dumps(DOCUMENTS).encode()
LINES = b"".join(json.dumps(document).encode() + b"\n" for document in DOCUMENTS)
TEXTS = {
    "array": ("in.json", ARRAY),
    "array over lines": ("in.json", json.dumps(DOCUMENTS, indent=3).encode()),
    "array with byte order mark": ("in.json", b"\xef\xbb\xbf " + ARRAY),
    "lines": ("in.ndjson", LINES),
    "lines named json": ("in.json", LINES),
    "lines with blanks": ("in.jsonl", b"\xef\xbb\xbf\n" + LINES.replace(b"\n", b"\r\n\r\n")),
    "documents one after the other": ("in.json", b"\n".join(json.dumps(d, indent=1).encode() for d in DOCUMENTS)),
    "without a name": ("in.data", ARRAY),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("form", TEXTS)
def test_forms_of_json(program: Program, tmp_path: Path, form: str, packed: bool) -> None:
    name, text = TEXTS[form]
    file = tmp_path / (name + ".gz" * packed)
    file.write_bytes(gzip.compress(text) if packed else text)

    ran = program("import", tmp_path / "db", file, "--collection", "c")

    assert (ran.code, ran.out, ran.err) == (0, "c: 3 imported\n", "")
    assert stored(tmp_path / "db", "c") == DOCUMENTS


@pytest.mark.parametrize("text", [ARRAY, LINES, gzip.compress(LINES)], ids=["array", "lines", "gz"])
def test_stdin(program: Program, tmp_path: Path, text: bytes) -> None:
    ran = program("import", tmp_path / "db", "-", "--collection", "c", stdin=text)

    assert ran.code == 0
    assert stored(tmp_path / "db", "c") == DOCUMENTS


def test_stdin_has_no_name(program: Program, tmp_path: Path) -> None:
    ran = program("import", tmp_path / "db", "-")

    assert (ran.code, ran.err) == (2, "docdb: stdin has no name: say --collection (docdb import --help)\n")


@pytest.mark.parametrize(
    ("file", "name"),
    [("a/cities.json.gz", "cities"), ("my.users.ndjson", "my.users"), ("x.csv", "x"), ("plain", "plain"), ("-", None)],
)
def test_collection_from_the_name(file: str, name: str | None) -> None:
    assert collection_of(file) == name


def test_several_files(program: Program, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"_id": 1}]')
    (tmp_path / "b.json").write_text('[{"_id": 2}, {"_id": 3}]')

    ran = program("import", tmp_path / "db", tmp_path / "a.json", tmp_path / "b.json")

    assert ran.out == "a: 1 imported\nb: 2 imported\n"


def test_exact_types(program: Program, tmp_path: Path) -> None:
    text = (
        b'{"_id": {"$oid": "64b7f0c2a1b2c3d4e5f60718"}, "d": {"$date": "2024-01-02T03:04:05.678Z"}, '
        b'"n": {"$numberLong": "5"}, "f": {"$numberDouble": "1.0"}, "m": {"$numberDecimal": "1.50"}}'
    )
    program("import", tmp_path / "db", "-", "-c", "c", stdin=text)

    (document,) = stored(tmp_path / "db", "c")
    assert document["_id"] == docdb.ObjectId("64b7f0c2a1b2c3d4e5f60718")
    assert document["d"] == dt.datetime(2024, 1, 2, 3, 4, 5, 678_000, dt.UTC)
    assert isinstance(document["n"], docdb.Int64)
    assert docdb.ejson.dumps(document, canonical=True) == docdb.ejson.dumps(docdb.ejson.loads(text), canonical=True)


ERRORS: dict[str, tuple[bytes, list[str], list[Any]]] = {
    "a line that is no JSON": (b'{"_id": 1}\n{"_id": 2\n {"_id": 3}', ["line 2, column 10: not JSON"], [1, 3]),
    "a line that is no object": (b'{"_id": 1}\n  7\n', ["line 2, column 3: a document is an object, not 7"], [1]),
    "a value": (b'[{"_id": 1, "a": {"$oid": "x"}},\n {"_id": 2}]', ["line 1, column 2: a.$oid: an ObjectId"], [2]),
    "a field twice": (
        b'[{"_id": 1, "a": [{"b": 1, "b": 2}]}, {"_id": 2}]',
        ["column 2: b: the field 'b' stands twice"],
        [2],
    ),
    "the same _id": (b'[{"_id": 1},\n{"_id": 1},\n  {"_id": 2}]', ["line 2, column 1: ", "duplicate"], [1, 2]),
    "a field that starts with $": (b'{"_id": 1, "a": {"$b": 1}}\n{"_id": 2}\n', ["line 1, column 1: ", "$b"], [2]),
    "an array that breaks": (b'[{"_id": 1},\n{"_id": 2} {"_id": 3}]', ["line 2, column 12: expected a comma"], [1, 2]),
    "an array that ends early": (b'[{"_id": 1},\n', ["line 2, column 1: expected a document ({)"], [1]),
    "an array torn in a document": (b'[{"_id": 1},\n{"_id": ', ["line 2, column 9: not JSON: Expecting value"], [1]),
    "text behind the array": (b'[{"_id": 1}]\n x', ["line 2, column 2: something follows the end"], [1]),
    "NaN": (b'[{"_id": 1}, {"_id": NaN}]', ["NaN stands alone; write", "numberDouble"], [1]),
    "not UTF-8": (b'[{"_id": 1},\n{"_id": "\xff"}]', ["line 2, column 10: not UTF-8"], [1]),
    "a line that is not UTF-8": (b'{"_id": 1}\n{"_id": "\xff"}\n{"_id": 2}', ["line 2, column 1: not UTF-8"], [1, 2]),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_their_place(program: Program, tmp_path: Path, case: str) -> None:
    text, messages, ids = ERRORS[case]

    ran = program("import", tmp_path / "db", "-", "-c", "c", stdin=text)

    assert ran.code == 1
    first, last = ran.err.splitlines()
    assert [message for message in messages if message not in first] == []
    assert first.startswith("docdb: stdin: ")
    assert last == "docdb: 1 refused"
    assert [document["_id"] for document in stored(tmp_path / "db", "c")] == ids


def test_stop_on_error(program: Program, tmp_path: Path) -> None:
    lines = b'{"_id": 1}\n{"_id": 1}\n{"_id": 2}\n'
    ran = program("import", tmp_path / "db", "-", "-c", "c", "--stop-on-error", stdin=lines)

    assert ran.code == 1
    assert ran.out == "c: 1 imported\n"
    assert stored(tmp_path / "db", "c") == [{"_id": 1}]


def test_many_errors_are_counted(program: Program, tmp_path: Path) -> None:
    ran = program("import", tmp_path / "db", "-", "-c", "c", "--format", "ndjson", stdin=b"x\n" * 50)

    assert ran.err.splitlines()[-2:] == ["docdb: 30 more", "docdb: 50 refused"]
    assert len(ran.err.splitlines()) == 22


def test_damaged_gzip(program: Program, tmp_path: Path) -> None:
    ran = program("import", tmp_path / "db", "-", "-c", "c", stdin=gzip.compress(LINES)[:-9])

    assert ran.code == 1
    assert "damaged gzip" in ran.err


def test_a_file_nobody_knows(program: Program, tmp_path: Path) -> None:
    ran = program("import", tmp_path / "db", "-", "-c", "c", stdin=b"name;age\n")

    assert (ran.code, "cannot tell the format; say --format" in ran.err) == (2, True)


@pytest.mark.parametrize("chunk", [1, 7, 64], ids=lambda size: f"chunks of {size}")
def test_any_chunk_gives_the_same(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    documents = [
        {"text": 'ü"\\\u2028\U0001f600', "n": [-1.5e-7, 10**15, True, None]},
        {},
        {"a": {"b": {"c": "x" * 100}}},
    ]
    text = json.dumps(documents, indent=1).encode() + b"\n"
    monkeypatch.setattr(json_files, "CHUNK", chunk)

    found = list(read_values(io.BytesIO(text)))

    assert [record.document for record in found] == documents
    lines = text.decode().split("\n")
    assert [lines[(record.place.line or 0) - 1][record.place.column - 1] for record in found] == ["{", "{", "{"]


def test_an_array_is_never_held_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO(json.dumps([{"n": n, "text": "x" * 100} for n in range(10_000)]).encode())
    monkeypatch.setattr(json_files, "CHUNK", 16 * 1024)
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_values(stream))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert count == 10_000
    assert peak < 200_000  # of 1,300,000 bytes of text


def test_a_document_longer_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_files, "CHUNK", 64)
    document = {"a": [{"n": n, "t": "\n" * 7} for n in range(1_000)]}

    assert [found.document for found in read_values(io.BytesIO(json.dumps(document).encode()))] == [document]


def test_drop(program: Program, shop: Path) -> None:
    ran = program("import", shop, "-", "-c", "users", "--drop", stdin=b'{"_id": 9}')

    assert ran.code == 0
    assert stored(shop, "users") == [{"_id": 9}]


def test_upsert_by_id(program: Program, shop: Path) -> None:
    ran = program(
        "import", shop, "-", "-c", "users", "--upsert", stdin=b'{"_id": 1, "new": true}\n{"_id": 9}\n{"name": "Eve"}'
    )

    assert (ran.code, ran.out) == (0, "users: 3 imported\n")
    assert stored(shop, "users")[0] == {"_id": 1, "new": True}
    assert len(stored(shop, "users")) == 6


def test_upsert_by_fields(program: Program, shop: Path) -> None:
    text = b'{"name": "Ann", "city": "Oslo"}\n{"name": "Eve"}\n{"city": "none"}\n'
    ran = program("import", shop, "-", "-c", "users", "--upsert-fields", "name", stdin=text)

    assert (ran.code, ran.out) == (1, "users: 2 imported\n")
    note, wrong, total = ran.err.splitlines()
    assert note == "docdb: note: no index begins with name: each document costs a scan"
    assert wrong == "docdb: stdin: line 3, column 1: name: the document has no such field to upsert by"
    assert total == "docdb: 1 refused"
    assert stored(shop, "users")[0] == {"_id": 1, "name": "Ann", "city": "Oslo"}


def test_upsert_says_one_way(program: Program, shop: Path) -> None:
    assert program("import", shop, "-", "-c", "users", "--upsert", "--upsert-fields", "a").code == 2


CSV = b'\xef\xbb\xbf_id,name,address.city,address.zip,when\r\n1,"Ann ""A"" B",Rome,00184,2024-01-02T03:04:05Z\r\n2,"two\nlines",,3,\r\n'


def test_csv_is_text(program: Program, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_bytes(CSV)

    assert program("import", tmp_path / "db", tmp_path / "people.csv").code == 0
    assert stored(tmp_path / "db", "people") == [
        {"_id": "1", "name": 'Ann "A" B', "address": {"city": "Rome", "zip": "00184"}, "when": "2024-01-02T03:04:05Z"},
        {"_id": "2", "name": "two\nlines", "address": {"city": "", "zip": "3"}, "when": ""},
    ]


def test_csv_with_types(program: Program, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_bytes(CSV)

    program("import", tmp_path / "db", tmp_path / "people.csv", "--types")

    moment = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert stored(tmp_path / "db", "people") == [
        {"_id": 1, "name": 'Ann "A" B', "address": {"city": "Rome", "zip": "00184"}, "when": moment},
        {"_id": 2, "name": "two\nlines", "address": {"zip": 3}},
    ]


@pytest.mark.parametrize(
    ("text", "message", "count"),
    [
        (b"a,b\n1,2\n3\n4,5\n", "line 3, column 1: 1 cells, the first row has 2", 2),
        (b"a,a\n1,2\n", "line 1, column 1: two columns are named 'a'", 0),
        (b"a,.b\n1,2\n", "'.b' cannot name a column", 0),
        (b"a,a.b\n1,2\n", "line 2, column 1: the column 'a.b' runs through the value of 'a'", 0),
        (b"a.b,a\n1,2\n", "line 2, column 1: the column 'a' stands in the way of another", 0),
        (b'a,b\n1,2\n"3,4\n', "not CSV", 1),
        (b"a,b\n1,2\n\xff,4\n", "not UTF-8", 0),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_csv_errors(program: Program, tmp_path: Path, text: bytes, message: str, count: int) -> None:
    ran = program("import", tmp_path / "db", "-", "-c", "c", "--format", "csv", stdin=text)

    assert ran.code == 1
    assert message in ran.err
    assert ran.out == f"c: {count} imported\n"


def test_csv_delimiter(program: Program, tmp_path: Path) -> None:
    program("import", tmp_path / "db", "-", "-c", "c", "--format", "csv", "--delimiter", ";", stdin=b"_id;a\n1;2,5\n")

    assert stored(tmp_path / "db", "c") == [{"_id": "1", "a": "2,5"}]


def test_bson(program: Program, tmp_path: Path) -> None:
    bson = pytest.importorskip("bson", reason="pymongo is not installed")
    (tmp_path / "c.bson").write_bytes(bson.encode({"_id": 1, "n": bson.Int64(5)}) + bson.encode({"_id": 2}))

    assert program("import", tmp_path / "db", tmp_path / "c.bson").code == 0
    assert repr(stored(tmp_path / "db", "c")) == "[{'_id': 1, 'n': Int64(5)}, {'_id': 2}]"


def test_torn_bson(program: Program, tmp_path: Path) -> None:
    bson = pytest.importorskip("bson", reason="pymongo is not installed")
    (tmp_path / "c.bson").write_bytes(bson.encode({"_id": 1}) + bson.encode({"_id": 2})[:-3])

    ran = program("import", tmp_path / "db", tmp_path / "c.bson")

    assert (ran.code, ran.out) == (1, "c: 1 imported\n")
    assert "document 2, byte 14: not BSON, or torn off" in ran.err
