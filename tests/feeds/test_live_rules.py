"""The seam for sessions with rules: a constraint that is asked anew whenever what it depends on changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import docdb
from docdb.errors import DeniedError
from docdb.feeds.live import LiveQuery
from docdb.language import filters
from docdb.language.order import order_key
from docdb.language.tree import And
from docdb.planner.queries import FindQuery
from tests.feeds.test_live import ids, taken, told


class Owners:
    """Shows the documents of ``owner``; who is no member of the group (a document of another collection) is denied."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.asked = 0

    def constrain(self, name: str, query: FindQuery, snapshot: Any) -> FindQuery:
        self.asked += 1
        (group,) = snapshot.view("groups").fetch([order_key(1)])
        if group is not None and self.owner not in group["members"]:
            raise DeniedError(f"{self.owner} is no member")
        return query._replace(node=And((query.node, filters.parse({"owner": self.owner}))))

    def watched(self) -> list[str]:
        return ["groups"]

    steady = True

    def is_alike(self, left: Any, right: Any) -> bool:
        return False

    def due_s(self) -> None:
        return None

    def seal(self, commit: int) -> str:
        return "sealed"


@pytest.fixture
def db() -> Iterator[docdb.Database]:
    """Give documents of two owners."""
    with docdb.open(":memory:") as database:
        database["a"].insert_many([{"_id": 1, "owner": "ann", "n": 1}, {"_id": 2, "owner": "bob", "n": 1}])
        database["groups"].insert_one({"_id": 1, "members": ["ann", "bob"]})
        yield database


def constrained(db: docdb.Database, rule: Owners) -> LiveQuery[dict[str, Any]]:
    query: LiveQuery[dict[str, Any]] = db._session.feeds.live(
        "a", FindQuery(filter={"n": 1}, node=filters.parse({"n": 1})), constraint=rule
    )
    query.begin()
    return query


def test_what_may_not_be_shown_is_not_told(db: docdb.Database) -> None:
    query = constrained(db, Owners("ann"))
    db["a"].doc(2).update({"text": "secret"})
    db["a"].insert_one({"_id": 3, "owner": "ann", "n": 1})
    db["a"].doc(3).update({"owner": "bob", "text": "secret"})
    first, entered, left = taken(db, query)
    assert (ids(first), told(entered), told(left)) == ([1], [("add", "enqueue", 3)], [("remove", "dequeue", 3)])
    change = left.doc_changes[0]
    assert (change.doc, change.updated_fields, change.removed_fields) == (
        {"_id": 3, "owner": "ann", "n": 1},
        None,
        None,
    )
    db["a"].doc(3).update({"owner": "ann", "hidden": docdb.command.remove()})
    (back,) = taken(db, query)
    assert (told(back), back.doc_changes[0].updated_fields) == ([("add", "enqueue", 3)], None)


def test_another_caller_after_refresh(db: docdb.Database) -> None:
    rule = Owners("ann")
    query = constrained(db, rule)
    assert ids(query.next()) == [1]
    rule.owner = "bob"
    query.refresh()
    snapshot = query.next(5)
    assert (ids(snapshot), sorted(told(snapshot))) == ([2], [("add", "enqueue", 2), ("remove", "dequeue", 1)])
    db["a"].insert_one({"_id": 4, "owner": "bob", "n": 1})
    assert ids(taken(db, query)[-1]) == [2, 4]


def test_a_document_that_the_rules_read_counts(db: docdb.Database) -> None:
    rule = Owners("ann")
    query = constrained(db, rule)
    query.next()
    asked = rule.asked
    db["a"].doc(1).update({"text": "x"})
    assert (len(taken(db, query)), rule.asked) == (1, asked)
    db["groups"].doc(1).update({"size": 2})
    assert (taken(db, query), rule.asked > asked) == ([], True)
    db["groups"].doc(1).update({"members": ["bob"]})
    assert told(query.next(5)) == [("remove", "dequeue", 1)]
    with pytest.raises(DeniedError):
        query.next(5)
    assert not query.alive


def test_a_collection_that_the_rules_read_may_come_later(db: docdb.Database) -> None:
    db["groups"].drop()
    query = constrained(db, Owners("ann"))
    query.next()
    db["groups"].insert_one({"_id": 1, "members": []})
    assert told(query.next(5)) == [("remove", "dequeue", 1)]
    with pytest.raises(DeniedError):
        query.next(5)
    assert db.stats()["feeds"]["live_queries"]["open"] == 0


def test_a_change_of_the_rules_in_the_catalog_counts(db: docdb.Database) -> None:
    rule = Owners("ann")
    query = constrained(db, rule)
    query.next()
    asked = rule.asked

    def note(batch: Any) -> None:
        info = batch.catalog.get("a")
        batch.define(info, {"what": "rules", "name": "a"})

    rule.owner = "bob"
    db._store.write(note)
    assert [ids(snapshot) for snapshot in taken(db, query)] == [[2]]
    assert rule.asked > asked
