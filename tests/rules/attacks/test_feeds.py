"""Attacks on feeds: documents that come and go, roles that are taken away, positions of others."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import pytest

import docdb
from docdb import DocdbError
from tests.rules.attacks.detector import seen
from tests.rules.attacks.stage import CANARY, ME
from tests.rules.attacks.test_identity import OWN

YOU: Final = {"openid": "you"}
BY_ROLE: Final = "get('database.roles.' + auth.openid).role == 'admin'"


@pytest.fixture
def db():
    with docdb.open(":memory:") as db:
        db["notes"].insert_many(
            [{"_id": "mine", "_openid": "me", "text": "m"}, {"_id": "theirs", "_openid": "you", "text": CANARY}]
        )
        db["roles"].insert_one({"_id": "me", "role": "admin"})
        db.set_rules("notes", {"read": OWN, "write": OWN})
        db.set_rules("roles", {"read": False})
        yield db


def told(feed: Any) -> list[Any]:
    """Return what a feed says until it says nothing for a while, its end included."""
    found = []
    try:
        while True:
            found.append(feed.next(timeout_s=0.4))
    except StopIteration:
        pass
    except DocdbError as error:
        found.append(error)
    return found


def text_of(items: list[Any]) -> str:
    return "\n".join(
        seen(
            lambda item=item: {"docs": item.docs, "changes": list(item.doc_changes)} if hasattr(item, "docs") else item
        ).text
        for item in items
    )


def test_a_document_that_enters_appears_without_its_past(db):
    with db.as_user(ME)["notes"].where({"_openid": "me"}).watch() as feed:
        told(feed)
        db["notes"].update_one({"_id": "theirs"}, {"$set": {"_openid": "me", "text": "now yours"}})
        items = told(feed)
    assert [row["_id"] for row in items[-1].docs] == ["mine", "theirs"]
    assert CANARY not in text_of(items)


def test_a_document_that_leaves_is_gone_with_that_commit_and_shows_nothing_new(db):
    with db.as_user(ME)["notes"].where({"_openid": "me"}).watch() as feed:
        told(feed)
        db["notes"].update_one({"_id": "mine"}, {"$set": {"_openid": "you", "text": CANARY}})
        items = told(feed)
    assert items[-1].docs == []
    assert CANARY not in text_of(items)


def test_what_others_do_among_themselves_is_not_heard(db):
    with db.as_user(ME)["notes"].where({"_openid": "me"}).watch() as feed:
        told(feed)
        db["notes"].update_one({"_id": "theirs"}, {"$set": {"text": f"{CANARY} 2"}})
        db["notes"].insert_one({"_id": "more", "_openid": "you", "text": CANARY})
        db["notes"].delete_one({"_id": "theirs"})
        assert told(feed) == []


def test_changes_of_others_are_not_in_a_stream(db):
    stream = db.as_user(ME)["notes"].changes({"_openid": "me"}, from_="oldest")
    db["notes"].update_one({"_id": "theirs"}, {"$set": {"text": f"{CANARY} 2"}})
    db["notes"].update_one({"_id": "mine"}, {"$set": {"text": "changed"}})
    items = told(stream)
    stream.close()
    assert CANARY not in text_of(items)


def test_a_role_that_is_taken_away_is_felt_at_the_next_event(db):
    db.set_rules("notes", {"read": BY_ROLE})
    with db.as_user(ME)["notes"].where({}).watch() as feed:
        assert len(told(feed)[-1].docs) == 2
        db["roles"].delete_one({"_id": "me"})
        db["notes"].insert_one({"_id": "new", "text": "new secret"})
        items = told(feed)
    assert "new secret" not in text_of(items)
    assert isinstance(items[-1], DocdbError) or items[-1].docs == []


def test_rules_that_change_end_what_they_no_longer_allow(db):
    with db.as_user(ME)["notes"].where({"_openid": "me"}).watch() as feed:
        told(feed)
        db.set_rules("notes", {"read": False})
        db["notes"].insert_one({"_id": "new", "_openid": "me", "text": "new secret"})
        items = told(feed)
    assert "new secret" not in text_of(items)
    assert isinstance(items[-1], DocdbError) or items[-1].docs == []


def test_whose_time_is_over_hears_nothing_more(db):
    over = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)
    user = db.as_user(ME, expires_at=over)
    with user["notes"].where({"_openid": "me"}).watch() as feed:
        told(feed)
        db._session.settings.clock = lambda: over
        db["notes"].insert_one({"_id": "new", "_openid": "me", "text": "new secret"})
        items = told(feed)
    assert "new secret" not in text_of(items)


@pytest.mark.parametrize(
    "open_",
    [
        lambda user, position: user["notes"].changes({"_openid": "{openid}"}, resume_after=position),
        lambda user, position: user.changes(resume_after=position),
    ],
    ids=["collection", "database"],
)
def test_the_position_of_another_is_no_place_to_go_on_from(db, open_):
    mine = open_(db.as_user(YOU), None)
    position = mine.position
    mine.close()
    db["notes"].update_one({"_id": "theirs"}, {"$set": {"text": f"{CANARY} 2"}})
    for handle in (db.as_user(ME), db.as_user(None), db.as_user({"openid": "you "})):
        try:
            items = told(open_(handle, position))
        except DocdbError as error:
            items = [error]
        assert len(items) == 1 and isinstance(items[0], DocdbError)


def test_the_position_of_the_administrator_is_not_a_users(db):
    stream = db["notes"].changes()
    position = stream.position
    stream.close()
    with pytest.raises(DocdbError):
        db.as_user(ME)["notes"].changes({"_openid": "me"}, resume_after=position).next(timeout_s=0.2)
