"""Point reads past all layers: they must answer as the session does, whatever happened meanwhile."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb import _native

ENGINES = [
    pytest.param(True, id="native", marks=pytest.mark.skipif(not _native.AVAILABLE, reason="kernels are not built")),
    pytest.param(False, id="public"),
    pytest.param(None, id="memory"),
]
IDS = [
    "a", "", "é", "a\0b", "x" * 238, 0, -1, 7, 2**53 + 1, -(2**63), 2**63 - 1, 1.5, True, None, b"bytes", {"a": 1},
    docdb.ObjectId("0123456789abcdef01234567"), docdb.Int64(3), Decimal("2.5"), uuid.UUID(int=5), dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
]  # fmt: skip


@pytest.fixture(params=ENGINES)
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[docdb.Database]:
    native: bool | None = request.param
    with docdb.open(":memory:" if native is None else tmp_path / "points.docdb", native=native) as opened:
        yield opened


def both(collection: Any, id: Any) -> tuple[Any, Any]:
    return collection.doc(id).get(), collection.find_one({"_id": id})


@pytest.mark.parametrize("id", IDS, ids=repr)
def test_any_id_is_found(db: docdb.Database, id: Any) -> None:
    db["c"].insert_many([{"_id": id, "n": 1}, {"_id": "other", "n": 2}])
    db["c"].doc("other").get()
    assert db["c"].doc(id).get() == {"_id": id, "n": 1}


@pytest.mark.parametrize(
    "id", ["no", 12, 2**70, "x" * 239, "x" * 600, "é" * 200, docdb.ObjectId(), 0.5], ids=lambda id: repr(id)[:9]
)
def test_absent_ids_are_none(db: docdb.Database, id: Any) -> None:
    db["c"].insert_one({"_id": 1})
    assert both(db["c"], 1) == ({"_id": 1}, {"_id": 1})
    assert both(db["c"], id) == (None, None)


def test_equal_numbers_of_other_types_are_the_same_id(db: docdb.Database) -> None:
    db["c"].insert_one({"_id": 1.0})
    db["c"].doc(0).get()
    assert both(db["c"], 1) == ({"_id": 1.0}, {"_id": 1.0})


def test_each_commit_is_seen(db: docdb.Database) -> None:
    users = db["users"]
    assert users.doc("a").get() is None
    users.insert_one({"_id": "a", "n": 0})
    for n in range(1, 4):
        assert both(users, "a") == ({"_id": "a", "n": n - 1}, {"_id": "a", "n": n - 1})
        users.doc("a").update({"n": n})
    users.doc("a").remove()
    assert both(users, "a") == (None, None)


def test_dropped_created_again_and_renamed(db: docdb.Database) -> None:
    users = db["users"]
    users.insert_one({"_id": 1, "n": 1})
    assert both(users, 1) == ({"_id": 1, "n": 1}, {"_id": 1, "n": 1})
    users.drop()
    assert both(users, 1) == (None, None)
    users.insert_one({"_id": 1, "n": 2})
    assert both(users, 1) == ({"_id": 1, "n": 2}, {"_id": 1, "n": 2})
    people = users.rename("people")
    assert both(users, 1) == (None, None)
    assert both(people, 1) == ({"_id": 1, "n": 2}, {"_id": 1, "n": 2})


def test_an_expiring_index_hides_what_is_gone(db: docdb.Database) -> None:
    users = db["users"]
    past, future = dt.datetime(2001, 1, 1, tzinfo=dt.UTC), dt.datetime(2999, 1, 1, tzinfo=dt.UTC)
    users.insert_many([{"_id": 1, "at": past}, {"_id": 2, "at": future}])
    assert users.doc(1).get() == {"_id": 1, "at": past}
    users.create_index("at", expireAfterSeconds=0)
    assert both(users, 1) == (None, None)
    assert both(users, 2) == ({"_id": 2, "at": future}, {"_id": 2, "at": future})


def test_a_filter_follows_the_collation_and_a_reference_does_not(db: docdb.Database) -> None:
    names = db.create_collection("names", collation={"locale": "en", "strength": 2})
    names.insert_many([{"_id": "ANN"}, {"_id": 4}])
    assert both(names, "ann") == (None, {"_id": "ANN"})
    assert both(names, "ann") == (None, {"_id": "ANN"})
    assert both(names, 4) == ({"_id": 4}, {"_id": 4})


def test_a_closed_database_refuses_while_another_stays_open(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "two.docdb") as first:
        second = docdb.open(tmp_path / "two.docdb")
        second["c"].insert_one({"_id": 1})
        users = second["c"]
        assert both(users, 1) == ({"_id": 1}, {"_id": 1})
        second.close()
        with pytest.raises(docdb.InvalidOperation):
            users.doc(1).get()
        with pytest.raises(docdb.InvalidOperation):
            users.find_one({"_id": 1})
        assert first["c"].doc(1).get() == {"_id": 1}


def test_the_storage_opened_again(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "again.docdb") as db:
        db["c"].insert_one({"_id": 1})
        users = db["c"]
        assert users.doc(1).get() == {"_id": 1}
        db._store.engine.reopen()
        assert both(users, 1) == ({"_id": 1}, {"_id": 1})
        db.compact()
        assert both(users, 1) == ({"_id": 1}, {"_id": 1})


def test_what_another_process_does(tmp_path: Path) -> None:
    path = tmp_path / "shared.docdb"
    program = (
        f"import docdb; db = docdb.open({str(path)!r}); db['c'].drop(); db['d'].insert_one({{'_id': 0}});"
        "db['c'].insert_one({'_id': 1, 'n': 2}); db.close()"
    )
    with docdb.open(path) as db:
        db["c"].insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 1}])
        assert both(db["c"], 1) == ({"_id": 1, "n": 1}, {"_id": 1, "n": 1})
        subprocess.run([sys.executable, "-c", program], check=True)
        assert both(db["c"], 1) == ({"_id": 1, "n": 2}, {"_id": 1, "n": 2})
        assert both(db["c"], 2) == (None, None)


def test_after_a_fork(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "fork.docdb") as db:
        db["c"].insert_one({"_id": 1})
        users = db["c"]
        assert users.doc(1).get() == {"_id": 1}
        child = os.fork()
        if child == 0:
            os._exit(0 if both(users, 1) == ({"_id": 1}, {"_id": 1}) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert users.doc(1).get() == {"_id": 1}


def test_many_names_are_no_burden() -> None:
    with docdb.open(":memory:") as db:
        db["kept"].insert_one({"_id": 1})
        kept = db["kept"]
        for n in range(1_100):
            assert db[f"c{n}"].doc(1).get() is None
        assert kept.doc(1).get() == {"_id": 1}
