"""The fixtures for programs that use docdb."""

import pytest

import docdb
from docdb.pytest_plugin import docdb_database, docdb_path, docdb_rules

__all__ = ["docdb_database", "docdb_path", "docdb_rules"]


def test_a_database_in_memory(docdb_database):
    docdb_database["t"].insert_one({"_id": 1})
    assert docdb_database["t"].count() == 1


def test_it_is_empty_each_time(docdb_database):
    assert docdb_database.list_collection_names() == []


def test_a_place_for_one_on_disk(docdb_path):
    assert not docdb_path.exists()
    with docdb.open(docdb_path) as db:
        db["t"].insert_one({"_id": 1})
    with docdb.open(docdb_path) as db:
        assert db["t"].find_one({"_id": 1}) == {"_id": 1}


def test_rules(docdb_rules, tmp_path):
    kit = docdb_rules({"posts": {"read": "auth != null && doc.owner == auth.uid"}}, now="2026-01-01")
    kit.assert_allowed("read", "posts", auth={"uid": "ann"}, doc={"owner": "ann"})
    kit.assert_denied("read", "posts", doc={"owner": "ann"})
    path = tmp_path / "cases.json"
    path.write_text('{"cases": [{"collection": "posts", "action": "read", "doc": {}, "expect": "allow"}]}')
    with pytest.raises(AssertionError, match="^read posts: denied: auth != null is false"):
        kit.run(path)
