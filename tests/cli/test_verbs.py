"""The verbs that find, change, index, explain and look after a database."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import docdb
from docdb._native import AVAILABLE
from tests.cli.conftest import Program, stored

# find, count, distinct, aggregate


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["Ann", "Bob", "Cid", "Dora"]),
        (['{"city": "Rome"}'], ["Bob", "Cid"]),
        (["--sort", "-age,name"], ["Dora", "Bob", "Cid", "Ann"]),
        (["--sort", '{"age": -1, "name": -1}'], ["Dora", "Cid", "Bob", "Ann"]),
        (["--sort", "name", "--skip", 1, "--limit", 2], ["Bob", "Cid"]),
        (['{"age": {"$gt": {"$numberInt": "30"}}}', "--limit", 1], ["Bob"]),
    ],
    ids=str,
)
def test_find(program: Program, shop: Path, options: list[str], names: list[str]) -> None:
    assert [document["name"] for document in program("find", shop, "users", *options).documents] == names


@pytest.mark.parametrize("projection", ["name", '{"name": 1}'])
def test_projection(program: Program, shop: Path, projection: str) -> None:
    ran = program("find", shop, "users", '{"_id": 1}', "--projection", projection)

    assert ran.documents == [{"_id": 1, "name": "Ann"}]


def test_filter_from_a_file_and_stdin(program: Program, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "filter.json").write_text('{"_id": 1}')

    assert program("count", shop, "users", f"@{tmp_path / 'filter.json'}").out == "1\n"
    assert program("count", shop, "users", "-", stdin=b'{"_id": {"$gte": 3}}').out == "2\n"


def test_find_as_json(program: Program, shop: Path) -> None:
    assert json.loads(program("find", shop, "users", "--format", "json").out) == stored(shop, "users")


def test_find_as_table(program: Program, shop: Path) -> None:
    lines = [line.strip() for line in program("find", shop, "users", "-f", "table").out.splitlines()]

    assert lines[1].split() == ["_id", "name", "age", "city", "address", "tags"]
    assert lines[4].split(maxsplit=4) == ["2", "Bob", "31", "Rome", '{"street": "Via Appia", "number": 4}']


def test_a_table_cuts_nothing(program: Program, tmp_path: Path) -> None:
    with docdb.open(tmp_path / "db") as db:
        db["c"].insert_one({"_id": 1, "text": "[bold]" + "q" * 500, "other": "y" * 500})

    text = program("find", tmp_path / "db", "c", "-f", "table").out

    assert (text.count("q"), text.count("y"), "[bold]" in text) == (500, 500, True)


@pytest.mark.parametrize(("arguments", "text"), [([], "4\n"), (['{"city": "Rome"}'], "2\n")], ids=["all", "filter"])
def test_count(program: Program, shop: Path, arguments: list[str], text: str) -> None:
    assert program("count", shop, "users", *arguments).out == text


def test_distinct(program: Program, shop: Path) -> None:
    assert sorted(program("distinct", shop, "users", "city").documents) == ["Lima", "Rome", "Shanghai"]
    assert sorted(program("distinct", shop, "users", "tags", '{"age": 31}').documents) == ["a", "b"]


def test_aggregate(program: Program, shop: Path) -> None:
    stages = '[{"$group": {"_id": "$city", "n": {"$sum": 1}}}, {"$sort": {"n": -1, "_id": 1}}, {"$limit": 2}]'

    assert program("aggregate", shop, "users", stages).documents == [{"_id": "Rome", "n": 2}, {"_id": "Lima", "n": 1}]
    assert program("aggregate", shop, "users", '{"$count": "n"}', "-f", "csv").out == "n\n4\n"


def test_aggregate_out_writes(program: Program, shop: Path) -> None:
    stages = '[{"$match": {"city": "Rome"}}, {"$project": {"name": 1}}, {"$out": "romans"}]'

    assert program("--read-only", "aggregate", shop, "users", stages).code == 2
    assert program("aggregate", shop, "users", stages).code == 0
    assert stored(shop, "romans") == [{"_id": 2, "name": "Bob"}, {"_id": 3, "name": "Cid"}]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with enough users for an index to be worth it."""
    path = tmp_path_factory.mktemp("town") / "town.docdb"
    with docdb.open(path) as db:
        db["users"].insert_many(
            {"_id": n, "city": ["Rome", "Oslo"][n > 1] + str(n // 4), "age": n % 50} for n in range(400)
        )
        db["users"].create_index("city")
    return path


BY_KERNEL = {  # what a plan says without kernels and with them
    "FILTER": ("by the matcher", "in the kernel"),
    "ONE FIELD": ("_id, age, city", "age"),
    "THREE FIELDS": ("_id, age, n, name", "_id, n, name"),
    "PART": ("partial", "first ones in the kernel"),
    "SOME": ("80 entries, 18 documents", "30 entries, 30 documents"),
    "TOP": ("memory", "first ones in the kernel"),
}


def tree(text: str) -> str:
    """Return a printed plan without its milliseconds."""
    return re.sub(r"\d+\.\d\d ms", "- ms", text)


@pytest.mark.parametrize(
    ("stages", "options", "expected"),
    [
        (
            '[{"$set": {"old": true}}, {"$match": {"city": "Rome0", "old": true}}, {"$sort": {"age": 1}}, {"$out": "romans"}]',
            [],
            """\
users
├── IndexScan on city_1: 2 rows, - ms
│   ├── bounds
│   │   └── city: ['Rome0']
│   └── examined: 2 entries, 2 documents
├── $set: 2 rows, - ms
├── $match: 2 rows, - ms
├── $sort: 2 rows, - ms
└── $out: not run
optimiser: moved a part of $match before $set
fields read: all
""",
        ),
        (
            '[{"$match": {"$or": [{"city": "Rome0"}, {"_id": 1}], "age": {"$gt": 0}}}, {"$bucketAuto": {"groupBy": "$age", "buckets": 2}}]',
            ["--plan-only"],
            """\
users
├── IndexUnion
│   ├── IndexScan on city_1
│   │   └── bounds
│   │       └── city: ['Rome0']
│   ├── IdLookup
│   │   └── bounds
│   │       └── _id: 1
│   └── filter: FILTER
└── $bucketAuto
fields read: ONE FIELD
""",
        ),
        (
            '[{"$match": {"age": 31}}, {"$sort": {"n": 1}}, {"$limit": 1}, {"$project": {"name": 1}}]',
            [],
            """\
users
├── FullScan: 1 row, - ms
│   ├── examined: 0 entries, 400 documents
│   ├── filter: FILTER
│   └── sort: TOP
└── $project: 1 row, - ms
fields read: THREE FIELDS
would help: create_index([("age", 1), ("n", 1)])
""",
        ),
        (
            '[{"$sort": {"city": -1, "age": 1}}, {"$limit": 6}, {"$project": {"age": 1}}]',
            [],
            """\
users
├── IndexScan on city_1: 6 rows, - ms
│   ├── bounds
│   │   └── city: [MinKey, MaxKey)
│   ├── examined: SOME
│   └── sort: PART, within equal city
└── $project: 6 rows, - ms
fields read: _id, age, city
would help: create_index([("city", -1), ("age", 1)])
""",
        ),
    ],
    ids=["index", "union", "top", "part of an order"],
)
def test_aggregate_explain(program: Program, town: Path, stages: str, options: list[str], expected: str) -> None:
    for word, texts in BY_KERNEL.items():
        expected = expected.replace(word, texts[AVAILABLE])
    ran = program("--read-only", "aggregate", town, "users", stages, "--explain", *options)
    assert tree(ran.out) == expected
    with docdb.open(town, read_only=True) as database:
        assert "romans" not in database.list_collection_names()


@pytest.mark.skipif(not AVAILABLE, reason="the kernels are not there")
def test_aggregate_explain_of_what_needs_no_documents(program: Program, town: Path) -> None:
    ran = program(
        "aggregate", town, "users", '[{"$group": {"_id": "$city", "n": {"$sum": 1}}}, {"$limit": 2}]', "--explain"
    )
    assert (
        tree(ran.out)
        == """\
users
├── FullScan
│   └── examined: 0 entries, 400 documents
├── $group (stored bytes): 101 rows, - ms
└── $limit: 2 rows, - ms
fields read: city
"""
    )


def test_aggregate_explain_as_json(program: Program, shop: Path) -> None:
    ran = program("aggregate", shop, "users", '{"$count": "n"}', "--explain", "--format", "json")
    plan = json.loads(ran.out)
    assert [step["stage"] for step in plan["executed"]] == ["$count"]
    assert program("aggregate", shop, "users", "[]", "--plan-only").code == 2


def test_a_wrong_stage_is_one_line(program: Program, shop: Path) -> None:
    ran = program("aggregate", shop, "users", '[{"$matsch": {}}]')

    assert ran.code == 1
    assert "$matsch" in ran.err
    assert len(ran.err.splitlines()) == 1


# update, delete


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (['{"city": "Rome"}', '{"$inc": {"age": 1}}'], "matched 2, changed 2\n"),
        (['{"city": "Rome"}', '{"$inc": {"age": 1}}', "--one"], "matched 1, changed 1\n"),
        (["{}", '{"$set": {"city": "Rome"}}'], "matched 4, changed 2\n"),
        (["{}", '[{"$set": {"twice": {"$multiply": ["$age", 2]}}}]'], "matched 4, changed 4\n"),
        (['{"_id": 2}', '{"address": {"number": 5}}'], "matched 1, changed 1\n"),
        (["{}", '{"seen": true}', "--one"], "matched 1, changed 1\n"),
        (['{"_id": 9}', '{"$set": {"a": 1}}', "--upsert"], "matched 0, changed 0, made 9\n"),
        (['{"_id": 9}', '{"a": 1}'], "matched 0, changed 0\n"),
    ],
    ids=str,
)
def test_update(program: Program, shop: Path, arguments: list[str], text: str) -> None:
    assert program("update", shop, "users", *arguments).out == text


def test_update_merges_plain_data(program: Program, shop: Path) -> None:
    program(
        "update",
        shop,
        "users",
        '{"_id": 2, "address": {"street": "Via Appia", "number": 4}}',
        '{"address": {"number": 5}}',
    )

    assert stored(shop, "users")[1]["address"] == {"street": "Via Appia", "number": 5}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["{}", '{"a": 1}', "--upsert"], 2),
        (["{}", '{"$foo": 1}'], 1),
        (["{}", '{"$set": {"a": 1}, "b": 1}'], 1),
        (["{}"], 2),
    ],
    ids=str,
)
def test_wrong_updates(program: Program, shop: Path, arguments: list[str], code: int) -> None:
    ran = program("update", shop, "users", *arguments)

    assert (ran.code, ran.out, len(ran.err.splitlines())) == (code, "", 1)
    assert stored(shop, "users")[0]["name"] == "Ann"


@pytest.mark.parametrize(
    ("arguments", "left"),
    [(['{"city": "Rome"}'], 2), (['{"city": "Rome"}', "--one"], 3), (["{}", "--all"], 0), (["{}", "--one"], 3)],
    ids=str,
)
def test_delete(program: Program, shop: Path, arguments: list[str], left: int) -> None:
    assert program("delete", shop, "users", *arguments).out == f"deleted {4 - left}\n"
    assert len(stored(shop, "users")) == left


def test_delete_refuses_the_empty_filter(program: Program, shop: Path) -> None:
    ran = program("delete", shop, "users", "{}")

    assert (ran.code, "say --all" in ran.err) == (2, True)
    assert len(stored(shop, "users")) == 4


# index, explain


@pytest.mark.parametrize(
    ("arguments", "definition"),
    [
        (["name"], {"key": {"name": 1}, "name": "name_1"}),
        (["name,-age"], {"key": {"name": 1, "age": -1}, "name": "name_1_age_-1"}),
        (['{"name": -1}', "--name", "n", "--unique"], {"key": {"name": -1}, "name": "n", "unique": True}),
        (["tags", "--sparse"], {"key": {"tags": 1}, "name": "tags_1", "sparse": True}),
        (["when", "--expire-after-s", "60"], {"key": {"when": 1}, "name": "when_1", "expireAfterSeconds": 60}),
        (
            ["name", "--partial", '{"age": {"$gt": 30}}'],
            {"key": {"name": 1}, "name": "name_1", "partialFilterExpression": {"age": {"$gt": 30}}},
        ),
    ],
    ids=str,
)
def test_index_create(program: Program, shop: Path, arguments: list[str], definition: dict[str, object]) -> None:
    made = program("index", "create", shop, "users", *arguments)
    listed = program("index", "list", shop, "users", "--json").documents

    assert (made.code, made.out) == (0, f"{definition['name']}\n")
    assert {name: value for name, value in listed[-1].items() if name != "v"} == definition


def test_index_without_case(program: Program, shop: Path) -> None:
    program("index", "create", shop, "users", "name", "--unique", "--case-insensitive")

    ran = program("import", shop, "-", "-c", "users", stdin=b'{"name": "ANN"}')
    assert (ran.code, "duplicate" in ran.err) == (1, True)


def test_index_that_cannot_be_unique(program: Program, shop: Path) -> None:
    ran = program("index", "create", shop, "users", "age", "--unique")

    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert [index["name"] for index in program("index", "list", shop, "users", "--json").documents] == [
        "_id_",
        "city_1",
    ]


def test_index_list_and_info(program: Program, shop: Path) -> None:
    listed = program("index", "list", shop, "users").out.splitlines()
    described = program("index", "info", shop, "users", "city_1", "--json").documents

    assert [line.split() for line in listed[3:5]] == [["_id_", "_id", "ascending"], ["city_1", "city", "ascending"]]
    assert [(index["name"], index["entries"], index["cut"], index["multikey"]) for index in described] == [
        ("city_1", 4, 0, 0)
    ]
    assert "city_1" in program("index", "info", shop, "users").out


def test_index_drop(program: Program, shop: Path) -> None:
    assert program("index", "drop", shop, "users", "city_1").out == "dropped city_1\n"
    assert program("index", "drop", shop, "users", "city_1").code == 1
    assert program("index", "info", shop, "users", "city_1").code == 1


def test_explain(program: Program, shop: Path) -> None:
    lines = program("explain", shop, "users", '{"city": "Rome"}', "--hint", "city_1").out.splitlines()

    assert lines[:3] == ["collection: users", "access: IndexScan", "index: city_1"]
    assert "bounds:" in lines
    assert "  city: ['Rome']" in lines
    assert "returned: 2" in lines


def test_explain_by_keys_and_as_json(program: Program, shop: Path) -> None:
    ran = program("explain", shop, "users", "{}", "--hint", "city", "--sort", "city", "--json", "--plan-only")

    plan = json.loads(ran.out)
    assert (plan["access"], plan["index"]) == ("IndexScan", "city_1")
    assert "documents_examined" not in plan


def test_explain_says_what_would_help(program: Program, shop: Path) -> None:
    assert 'would help: create_index([("name", 1)])' in program("explain", shop, "users", '{"name": "Ann"}').out


# stats, check, backup, restore, compact


def test_stats(program: Program, shop: Path) -> None:
    text = program("stats", shop).out
    figures = json.loads(program("stats", shop, "--json").out)

    assert [line.split() for line in text.splitlines() if "users" in line][0][:2] == ["users", "4"]
    assert "history:" in text.splitlines()
    assert figures["collections"]["users"]["documents"] == 4


@pytest.mark.parametrize("options", [[], ["--verify"]], ids=str)
def test_check(program: Program, shop: Path, options: list[str]) -> None:
    ran = program("check", shop, *options)

    assert ran.code == 0
    assert ran.out.startswith("ok: 1 collections, 4 documents, 4 index entries, ")


@pytest.mark.damaged
def test_check_finds_damage(program: Program, shop: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(shop), max_dbs=8, lib_version=0) as environment:
        entries = environment.open_db(b"entries", create=False)
        with environment.begin(write=True) as transaction:
            transaction.cursor(entries).first()
            key = next(iter(transaction.cursor(entries)))[0]
            transaction.delete(key, db=entries)

    ran = program("check", shop)

    assert ran.code == 1
    assert ran.out.startswith("3: users.city_1: 3 entries")


@pytest.mark.damaged
def test_check_refuses_a_torn_file(program: Program, shop: Path) -> None:
    data = shop / "data.mdb"
    data.write_bytes(data.read_bytes()[:8192])

    ran = program("check", shop, "--verify")

    assert (ran.code, len(ran.err.splitlines())) == (1, 1)


@pytest.mark.parametrize("option", ["--compact", "--as-is"])
def test_backup_and_restore(program: Program, shop: Path, tmp_path: Path, option: str) -> None:
    copy, new = tmp_path / "copy", tmp_path / "new"

    assert program("backup", shop, copy, option).out == f"copied to {copy}\n"
    assert program("restore", copy, new).out == f"restored to {new}\n"
    assert stored(new, "users") == stored(shop, "users")


def test_restore_replaces_only_when_asked(program: Program, shop: Path, tmp_path: Path) -> None:
    program("backup", shop, tmp_path / "copy")
    program("delete", shop, "users", "{}", "--all")

    refused = program("restore", tmp_path / "copy", shop)
    assert (refused.code, len(refused.err.splitlines())) == (1, 1)
    assert program("restore", tmp_path / "copy", shop, "--replace").code == 0
    assert len(stored(shop, "users")) == 4


def test_backup_refuses_a_folder_in_use(program: Program, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()

    assert program("backup", shop, tmp_path / "full").code == 1


def test_compact(program: Program, shop: Path) -> None:
    ran = program("compact", shop)

    assert (ran.code, " before, " in ran.out) == (0, True)
    assert len(stored(shop, "users")) == 4


def test_compact_needs_the_database_alone(program: Program, shop: Path) -> None:
    with docdb.open(shop):
        ran = program("compact", shop)

    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
