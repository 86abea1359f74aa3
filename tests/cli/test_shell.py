"""The shell: its language, scripts from stdin, completion."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.cli.shell import Shell
from docdb.cli.shell_language import CONSTRUCTORS, METHODS, Evaluator, ShellError, is_complete, snake
from tests.cli.conftest import Program, stored


@pytest.fixture
def database() -> Iterator[docdb.Database]:
    with docdb.open(":memory:") as db:
        db["users"].insert_many([{"_id": n, "age": n * 10, "name": name} for n, name in enumerate("abc")])
        db["my-users"].insert_one({"_id": "x"})
        yield db


LINES: dict[str, Any] = {
    "users.find({age: {$gt: 0}}).sort({age: -1}).limit(1)": [{"_id": 2, "age": 20, "name": "c"}],
    'users.find({"age": {"$gte": 10}}, {name: 1, _id: 0}).skip(1)': [{"name": "c"}],
    "db.users.find({$or: [{_id: 0}, {_id: 2}]}, {_id: 1})": [{"_id": 0}, {"_id": 2}],
    'db["my-users"].find();': [{"_id": "x"}],
    "users.findOne({_id: 1})": {"_id": 1, "age": 10, "name": "b"},
    "users.find_one(1)": {"_id": 1, "age": 10, "name": "b"},
    "users.findOne({_id: 7})": None,
    "users.countDocuments({})": 3,
    'users.distinct("name", {_id: {$ne: 1}})': ["a", "c"],
    "users.where({_id: 1}).field({name: True}).get()": [{"_id": 1, "name": "b"}],
    "users.where({age: 10}).count()": 1,
    "users.doc(2).get()": {"_id": 2, "age": 20, "name": "c"},
    "users.aggregate([{$group: {_id: null, n: {$sum: '$age'}}}])": [{"_id": None, "n": 30}],
    "users.aggregate([{$limit: 1}, {$set: {age: -1.5}}]).toArray()": [{"_id": 0, "age": -1.5, "name": "a"}],
    "db.listCollectionNames()": ["my-users", "users"],
}


@pytest.mark.parametrize("line", LINES)
def test_reading(database: docdb.Database, line: str) -> None:
    answer = Evaluator(database).run(line)

    assert (list(answer) if hasattr(answer, "__iter__") and not isinstance(answer, dict) else answer) == LINES[line]


def test_writing(database: docdb.Database) -> None:
    run = Evaluator(database).run

    assert run("t.insertOne({_id: 1, n: 1})").inserted_id == 1
    assert run("t.insertMany([{_id: 2}, {_id: 3}], {ordered: false})").inserted_ids == [2, 3]
    assert run("t.updateOne({_id: 9}, {$set: {n: 1}}, {upsert: true})").upserted_id == 9
    assert run("t.update_many({}, {'$inc': {n: 1}}, upsert=False)").modified_count == 4
    assert run("t.updateOne({_id: 1}, {$set: {'l': [1, 2]}}, {arrayFilters: []})").matched_count == 1
    assert run("t.replaceOne({_id: 3}, {x: 1})").modified_count == 1
    assert run("t.findOneAndUpdate({_id: 3}, {$inc: {x: 1}}, {returnDocument: true})") == {"_id": 3, "x": 2}
    assert run("t.deleteMany({_id: {$in: [2, 9]}})").deleted_count == 2
    assert run("t.bulkWrite([{insertOne: {document: {_id: 5}}}, {deleteOne: {filter: {_id: 5}}}])").deleted_count == 1
    assert run("t.doc('d').set({v: 1})").upserted_id == "d"
    assert run("t.createIndex({n: 1}, {name: 'by_n'})") == "by_n"
    assert run("t.where({_id: 'd'}).remove()").removed == 1
    assert run("t.drop()") is True


VALUES = {
    'ObjectId("64b7f0c2a1b2c3d4e5f60718")': docdb.ObjectId("64b7f0c2a1b2c3d4e5f60718"),
    'ISODate("2024-01-02T03:04:05.678Z")': dt.datetime(2024, 1, 2, 3, 4, 5, 678_000, dt.UTC),
    'ISODate("2024-01-02")': dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
    "NumberLong(5)": docdb.Int64(5),
    'NumberDecimal("1.50")': Decimal("1.50"),
    'BinData(0, "AP8=")': b"\x00\xff",
    'Regex("^a", "i")': docdb.Regex("^a", "i"),
    "Timestamp(1, 2)": docdb.Timestamp(1, 2),
    "MinKey()": docdb.MinKey(),
    "[true, false, null, -1, +2.5, 'x', [], {}]": [True, False, None, -1, 2.5, "x", [], {}],
    '{a: {"b.c": 1}, $d: 2, 3: 4}': {"a": {"b.c": 1}, "$d": 2, "3": 4},
    '"$age # not an operator"': "$age # not an operator",
}


@pytest.mark.parametrize("text", VALUES)
def test_values(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with docdb.open(":memory:") as db:
        seen: list[Any] = []
        monkeypatch.setattr(docdb.Collection, "count_documents", lambda self, filter: seen.append(filter))
        Evaluator(db).run(f"c.countDocuments({text})")

    assert seen == [VALUES[text]]


WRONG = {
    "users": "column 1: a line is a call such as users.find({...})",
    "users.find(": "column 11: not understood: '(' was never closed",
    "import os": "column 1: not understood",
    "users-x.find()": "column 1: a line begins with a collection",
    "users.finde()": "column 1: a Collection has no method finde (did you mean find?)",
    "users.find().insert_one({})": "a Cursor has no method insert_one",
    "users.__class__()": "a Collection has no method __class__",
    "users.find.__globals__()": "has no method __globals__",
    "users.session()": "has no method session",
    "db.close()": "a Database has no method close",
    "db[1].find()": "the name of a collection stands in quotes",
    "eval('1')": "a method stands behind a collection and a dot",
    "users.find({a: __import__('os')})": "column 16: __import__ makes no value",
    "users.find({a: (lambda: 1)()})": "this makes no value",
    "users.find({a: os.path})": "column 16: this is no value",
    "users.find({a: f'{1}'})": "this is no value",
    "users.find([x for x in y])": "this is no value",
    "users.find({a: 1 + 1})": "this is no value",
    "users.find({**users})": "a field name is text",
    "users.find(*users)": "this is no value",
    "users.find(**{'limit': 1})": "options stand one by one",
    "users.find({a: b})": "column 16: b is no value (text stands in quotes)",
    "users.find({$gt: 1, $lt: b})": "column 26: b is no value",
    "users.find({a: 1, a: 2})": "the field 'a' stands twice",
    "users.find({a: not true})": "this is no value",
    "users.find({a: ...})": "this is no value",
    "users.find({a: b'x'})": "this is no value",
    "users.find({a: Decimal('x')})": "Decimal: ",
    "users.find({a: ObjektId()})": "ObjektId makes no value (did you mean ObjectId?)",
    "users.insertOne()": "insertOne: missing a required argument: 'document'",
    "users.bulkWrite([{insertOne: {}}])": "request 0 is no request",
    "users.bulkWrite(1)": "bulkWrite() takes a list",
    "users.countDocuments({}).limit(1)": "limit cannot be called on what stands before it",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_lines(database: docdb.Database, line: str) -> None:
    with pytest.raises(ShellError) as caught:
        Evaluator(database).run(line)

    assert WRONG[line] in str(caught.value)


def test_every_method_exists() -> None:
    from docdb.collection import AggregateCursor
    from docdb.faces.cursor import CommandCursor, Cursor
    from docdb.query import DocumentReference, Query

    classes = (AggregateCursor, CommandCursor, Cursor, docdb.Collection, docdb.Database, DocumentReference, Query)
    missing = [
        f"{kind.__name__}.{name}" for kind in classes for name in METHODS[kind.__name__] if not hasattr(kind, name)
    ]

    assert missing == []
    assert {kind.__name__ for kind in classes} == set(METHODS)
    assert [name for methods in METHODS.values() for name in methods if name.startswith("_")] == []


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("a.find({", False),
        ("a.find({})", True),
        ('a.find({"x": "("})', True),
        ("a.find({'x': ')'", False),
        ("help", True),
    ],
)
def test_is_complete(text: str, complete: bool) -> None:
    assert is_complete(text) is complete


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("insertOne", "insert_one"),
        ("findOneAndUpdate", "find_one_and_update"),
        ("toArray", "to_list"),
        ("getIndexes", "list_indexes"),
    ],
)
def test_snake(name: str, spelled: str) -> None:
    assert snake(name) == spelled


# Scripts


def test_script(program: Program, tmp_path: Path) -> None:
    script = b"""
# makes two documents
users.insertMany([
  {_id: 1, name: "Ann"},
  {_id: 2}])
// and shows them
users.find().sort({_id: -1})
collections
format json
users.findOne({_id: 1})
help
exit
users.drop()
"""
    ran = program("shell", tmp_path / "new", stdin=script)

    assert (ran.code, ran.err) == (0, "")
    assert '{"_id": 2}\n{"_id": 1, "name": "Ann"}\nusers\n{\n  "_id": 1,\n  "name": "Ann"\n}\n' in ran.out
    assert len(stored(tmp_path / "new", "users")) == 2


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (b"users.count()\n\nusers.find({\n  a: b})\nusers.drop()\n", "docdb: line 4: column 6: b is no value"),
        (b"users.find({a: {$foo: 1}})\n", "docdb: line 1: a.$foo: unknown operator $foo"),
        (b"users.find({", "docdb: line 1: column 12: not understood: '{' was never closed"),
        (b"format xml", "docdb: line 1: the formats are csv, json, ndjson and table"),
        (b'users.doc("a")', "docdb: line 1: nothing was asked"),
    ],
    ids=str,
)
def test_a_script_ends_with_its_first_wrong_line(program: Program, shop: Path, script: bytes, message: str) -> None:
    ran = program("shell", shop, stdin=script)

    assert ran.code == 1
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1
    assert len(stored(shop, "users")) == 4


def test_commands(program: Program, shop: Path) -> None:
    ran = program(
        "shell", shop, "-c", "users.count()", "-c", 'users.distinct("age")', "-c", "users.find({_id: 1}, {name: 1})"
    )

    assert ran.out.splitlines()[0] == "4"
    assert ran.documents[-1] == {"_id": 1, "name": "Ann"}


def test_results_are_shown(program: Program, shop: Path) -> None:
    ran = program("shell", shop, "-c", "users.updateMany({city: 'Rome'}, {$set: {x: 1}})")

    assert json.loads(ran.out) == {"did_upsert": False, "matched_count": 2, "modified_count": 2, "upserted_id": None}


def test_read_only_shell(program: Program, shop: Path, tmp_path: Path) -> None:
    assert program("--read-only", "shell", shop, "-c", "users.count()").out == "4\n"
    assert program("--read-only", "shell", shop, "-c", "users.insertOne({})").code == 1
    assert program("--read-only", "shell", tmp_path / "new", "-c", "users.count()").code == 1


def test_pages(database: docdb.Database, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell(database, "ndjson", page=2)

    shell.run("users.find({}, {_id: 1})")
    first = capsys.readouterr().out
    shell.run("it")
    shell.run("it")

    assert first == '{"_id": 0}\n{"_id": 1}\nthere may be more: type "it"\n'
    assert capsys.readouterr().out == '{"_id": 2}\n'


# Completion


@pytest.mark.parametrize(
    ("text", "offered", "withheld"),
    [
        ("", {"db", "help", "my-users", "users"}, {"find"}),
        ("us", {"users"}, {"help"}),
        ("db.", {"users", "stats"}, {"help"}),
        ("users.", {"find", "insert_one", "where"}, {"sort"}),
        ("users.fi", {"find", "find_one"}, {"insert_one"}),
        ("users.find({}).", {"sort", "limit"}, {"insert_one"}),
        ("users.where({a: 1}).order_by('a').", {"limit", "get"}, {"sort"}),
        ("users.doc('x').", {"get", "set"}, {"find"}),
        ("users.find({a: {$g", {"$gt", "$gte"}, {"$lt"}),
        ("users.find({a: Obj", {"ObjectId"}, {"ISODate"}),
    ],
)
def test_completion(database: docdb.Database, text: str, offered: set[str], withheld: set[str]) -> None:
    pytest.importorskip("prompt_toolkit", reason="the extra cli is not installed")
    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document

    from docdb.cli.completion import ShellCompleter

    completer = ShellCompleter(database.list_collection_names)
    found = {completion.text for completion in completer.get_completions(Document(text), CompleteEvent())}

    assert offered - found == set()
    assert withheld & found == set()


def test_completion_offers_what_the_language_knows() -> None:
    pytest.importorskip("prompt_toolkit", reason="the extra cli is not installed")
    from docdb.cli.completion import OPERATORS

    assert list(OPERATORS) == sorted(OPERATORS)
    assert list(CONSTRUCTORS) == sorted(CONSTRUCTORS)
