"""Updates that say which paths they may change: the entries are those of a full comparison."""

import pytest

import docdb
from docdb.store.catalog import IndexInfo


@pytest.mark.parametrize(
    ("keys", "partial", "paths", "expected"),
    [
        pytest.param([("a",)], None, [("b",)], False, id="another-field"),
        pytest.param([("a",)], None, [("b",), ("a",)], True, id="the-field"),
        pytest.param([("a", "b")], None, [("a", "0", "b")], True, id="through-an-array"),
        pytest.param([("a",)], None, [("a", "b")], True, id="below"),
        pytest.param([("a", "b")], None, [("a",)], True, id="above"),
        pytest.param([("x",), ("a",)], None, [("a",)], True, id="second-field"),
        pytest.param([("a",)], {"c": 1}, [("b",)], True, id="partial"),
    ],
)
def test_an_index_knows_what_may_change_it(keys, partial, paths, expected):
    index = IndexInfo(1, "i", tuple((key, 1) for key in keys), partial=partial)
    assert index.may_change(frozenset(paths)) is expected


UPDATES = [
    {"$set": {"a": 5}}, {"$set": {"z": 1}}, {"$unset": {"a": ""}}, {"$rename": {"a": "z"}}, {"$rename": {"z": "a"}}, {"$inc": {"n.b": 1}},
    {"$push": {"t": 9}}, {"$set": {"t.0": 7}}, {"$set": {"t.$[]": 8}}, {"$pull": {"t": 8}}, {"$set": {"c": 1}}, {"$set": {"c": 2}},
    {"$min": {"n": 0}}, {"$currentDate": {"d": True}}, [{"$set": {"a": "piped"}}],
]  # fmt: skip


def test_the_entries_are_right_after_every_kind_of_update():
    """The checker that runs on closing compares all entries with what the documents give."""
    with docdb.open(":memory:") as db:
        rows = db["c"]
        for keys in ("a", "n.b", "t", "d", "z"):
            rows.create_index(keys)
        rows.create_index("a", name="partial", partialFilterExpression={"c": 1})
        rows.insert_many([{"_id": i, "a": i, "n": {"b": i}, "t": [i, 2], "c": i % 2} for i in range(4)])
        for update in UPDATES:
            rows.update_many({}, update)
            assert db.check().problems == []


@pytest.mark.parametrize(
    "id", ["x" * 240, "x" * 600, 2**63 - 1, "\0", "é" * 300], ids=["241", "601", "largest", "nul", "wide"]
)
def test_an_id_that_no_document_has_matches_nothing(id, tmp_path):
    with docdb.open(tmp_path / "db") as db:
        db["c"].insert_one({"_id": 1})
        assert db["c"].update_one({"_id": id}, {"$set": {"a": 1}}).matched_count == 0
        assert db["c"].delete_one({"_id": id}).deleted_count == 0
        assert db["c"].find_one_and_update({"_id": id}, {"$set": {"a": 1}}) is None


def test_a_plain_id_finds_its_document_and_upserts_it():
    with docdb.open(":memory:") as db:
        assert db["c"].update_one({"_id": "a"}, {"$set": {"n": 1}}, upsert=True).upserted_id == "a"
        assert db["c"].update_one({"_id": "a"}, {"$set": {"n": 2}}).modified_count == 1
        assert list(db["c"].find()) == [{"_id": "a", "n": 2}]
