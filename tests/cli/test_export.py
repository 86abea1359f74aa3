"""Exporting, and that what was exported comes back."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import docdb
from tests.cli.conftest import Program, stored

EVERYTHING: dict[str, Any] = {
    "_id": docdb.ObjectId("64b7f0c2a1b2c3d4e5f60718"),
    "array": [1, [2.0], {"a": None}],
    "bytes": b"\x00\xff",
    "binary": docdb.Binary(b"ab", 5),
    "date": dt.datetime(1969, 12, 31, 23, 59, 59, 999_000, dt.UTC),
    "decimal": Decimal("1.50"),
    "empty": {},
    "float": -0.0,
    "long": docdb.Int64(5),
    "longer": 2**62,
    "max": docdb.MaxKey(),
    "min": docdb.MinKey(),
    "nan": float("inf"),
    "null": None,
    "regex": docdb.Regex("^a", "i"),
    "text": 'ü"\n\u2028',
    "time": docdb.Timestamp(1, 2),
    "true": True,
    "uuid": uuid.UUID(int=7),
}


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """A database with one document that holds every type."""
    path = tmp_path / "types.docdb"
    with docdb.open(path) as db:
        db["c"].insert_one(EVERYTHING)
    return path


@pytest.mark.parametrize("name", ["c.ejson", "c.ejson.gz", "c.bson", "c.bson.gz"])
def test_every_type_comes_back(program: Program, everything: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("bson", reason="pymongo is not installed")
    file = tmp_path / name

    exported = program("export", everything, "c", "--output", file)
    imported = program("import", tmp_path / "copy", file)

    assert (exported.code, exported.out, exported.err) == (0, "", f"c: 1 exported to {file}\n")
    assert imported.code == 0
    assert _canonical(tmp_path / "copy", "c") == _canonical(everything, "c")


def _canonical(path: Path, collection: str) -> list[str]:
    return [docdb.ejson.dumps(document, canonical=True) for document in stored(path, collection)]


def test_json_is_an_array(program: Program, shop: Path) -> None:
    ran = program("export", shop, "users", "--format", "json", "--fields", "name,address.number")

    assert json.loads(ran.out) == [
        {"name": "Ann"},
        {"name": "Bob", "address": {"number": 4}},
        {"name": "Cid"},
        {"name": "Dora"},
    ]


def test_json_of_nothing(program: Program, shop: Path) -> None:
    assert program("export", shop, "none", "--format", "json").out == "[]\n"
    assert program("export", shop, "none").out == ""
    assert program("export", shop, "none", "--format", "csv").out == ""


def test_filter_sort_limit(program: Program, shop: Path) -> None:
    ran = program(
        "export", shop, "users", "--filter", '{"city": "Rome"}', "--sort", "-name", "--limit", 1, "--fields", "_id"
    )

    assert ran.documents == [{"_id": 3}]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], '{"_id": 1}\n'),
        (["--canonical"], '{"_id": {"$numberInt": "1"}}\n'),
        (["--format", "ejson"], '{"_id": {"$numberInt": "1"}}\n'),
        (["--format", "ejson", "--relaxed"], '{"_id": 1}\n'),
    ],
    ids=str,
)
def test_canonical_and_relaxed(program: Program, shop: Path, options: list[str], text: str) -> None:
    assert program("export", shop, "users", "--fields", "_id", "--limit", 1, *options).out == text


def test_csv_finds_its_columns(program: Program, shop: Path) -> None:
    rows = list(csv.reader(io.StringIO(program("export", shop, "users", "--format", "csv").out)))

    assert rows == [
        ["_id", "name", "age", "city", "address.street", "address.number", "tags"],
        ["1", "Ann", "25", "Shanghai", "", "", ""],
        ["2", "Bob", "31", "Rome", "Via Appia", "4", ""],
        ["3", "Cid", "31", "Rome", "", "", '["a", "b"]'],
        ["4", "Dora", "64", "Lima", "", "", ""],
    ]


def test_csv_with_chosen_columns(program: Program, shop: Path) -> None:
    ran = program("export", shop, "users", "--format", "csv", "--fields", "name,address", "--filter", '{"_id": 2}')

    assert list(csv.reader(io.StringIO(ran.out))) == [
        ["name", "address"],
        ["Bob", '{"street": "Via Appia", "number": 4}'],
    ]


def test_csv_comes_back_with_types(program: Program, shop: Path, tmp_path: Path) -> None:
    program("export", shop, "users", "--output", tmp_path / "users.csv.gz")
    program("import", tmp_path / "copy", tmp_path / "users.csv.gz", "--types")

    assert stored(tmp_path / "copy", "users") == stored(shop, "users")


def test_the_same_export_is_the_same_file(program: Program, shop: Path, tmp_path: Path) -> None:
    program("export", shop, "users", "--output", tmp_path / "a.json.gz")
    program("export", shop, "users", "--output", tmp_path / "b.json.gz")

    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    assert len(json.loads(gzip.decompress((tmp_path / "a.json.gz").read_bytes()))) == 4


def test_a_failed_export_leaves_no_file(program: Program, tmp_path: Path) -> None:
    pytest.importorskip("bson", reason="pymongo is not installed")
    with docdb.open(tmp_path / "db") as db:
        db["c"].insert_one({"_id": 1, "deep": [dt.datetime(2024, 1, 1, 0, 0, 0, 1, dt.UTC)]})

    ran = program("export", tmp_path / "db", "c", "--output", tmp_path / "c.bson")

    assert ran.code == 1
    assert "deep.0: BSON cannot hold" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


@pytest.mark.parametrize(
    "options", [["--output", "x.data"], ["--format", "csv", "--canonical"], ["--format", "xml"]], ids=str
)
def test_wrong_options(program: Program, shop: Path, options: list[str]) -> None:
    assert program("export", shop, "users", *options).code == 2


REAL = (
    "accounts.ndjson", "cities.json", "countries-big.ndjson", "covers.ndjson", "customers.ndjson", "grades.ndjson", "movies.json", "products.ndjson",
    "restaurant.ndjson", "students.ndjson", "theaters.ndjson",
)  # fmt: skip


MOST = 20_000  # documents of one file; the largest has 171,075


@pytest.mark.parametrize("name", REAL)
def test_real_data_comes_back(program: Program, tmp_path: Path, shared: Path, name: str) -> None:
    """Every file imports as it is, and its canonical export holds the same documents."""
    file = shared / "data" / f"{name}.gz"
    if not file.is_file():
        pytest.skip(f"{file.name} is not among the shared data")
    file, given = _documents(file, tmp_path)
    collection = name.partition(".")[0]
    first = program("import", tmp_path / "db", file)
    exported = program("export", tmp_path / "db", collection, "--output", tmp_path / f"{collection}.ejson")

    assert (first.code, first.out, first.err) == (0, f"{collection}: {len(given)} imported\n", "")
    assert exported.code == 0
    with (tmp_path / f"{collection}.ejson").open(encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    wanted = [docdb.ejson.encode(docdb.ejson.decode(document), canonical=True) for document in given]
    assert sorted(_text(d, "_id" in given[0]) for d in found) == sorted(_text(d, True) for d in wanted)


def _documents(file: Path, folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Return a file and its documents as they stand there; a long one is cut short first."""
    text = gzip.decompress(file.read_bytes()).decode("utf-8-sig")
    if not text.startswith("["):
        return file, [json.loads(line) for line in text.split("\n") if line.strip()]
    documents = json.loads(text)
    if len(documents) > MOST:
        file = folder / file.name
        file.write_bytes(gzip.compress(json.dumps(documents[:MOST]).encode()))
    return file, documents[:MOST]


def _text(document: dict[str, Any], with_id: bool) -> str:
    """Return a document as text; its ``_id``, which is stored in the first place, in front, or left out where it was made."""
    rest = {name: value for name, value in document.items() if name != "_id"}
    return json.dumps({"_id": document["_id"], **rest} if with_id and "_id" in document else rest)
