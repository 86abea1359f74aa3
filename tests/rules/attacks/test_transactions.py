"""Attacks through time: rules and roles that change while somebody reads or writes, retries, snapshots, clocks."""

from __future__ import annotations

import datetime as dt
import time
from typing import Final

import pytest

import docdb
from docdb import DeniedError, DocdbError
from tests.rules.attacks.stage import CANARY, ME, dump
from tests.rules.attacks.test_identity import OWN

BY_ROLE: Final = "get('database.roles.' + auth.openid).role == 'admin'"
CLOSED: Final = {"read": False, "write": False}
OPEN: Final = {"read": True, "write": True}


@pytest.fixture
def db():
    with docdb.open(":memory:") as db:
        db["notes"].insert_many([{"_id": n, "_openid": "me" if n % 2 else "you", "text": f"t{n}"} for n in range(600)])
        db["roles"].insert_one({"_id": "me", "role": "admin"})
        db.set_rules("notes", OPEN)
        db.set_rules("roles", CLOSED)
        yield db


def test_rules_that_change_between_a_read_and_the_commit_stop_the_commit(db):
    t = db.as_user(ME).start_transaction()
    assert t["notes"].doc(1).get()["text"] == "t1"
    t["notes"].doc(1).update({"text": "changed"})
    db.set_rules("notes", CLOSED)
    with pytest.raises(DocdbError) as caught:
        t.commit()
    assert isinstance(caught.value, docdb.TransactionConflict | DeniedError)
    assert db["notes"].find_one(1)["text"] == "t1"


def test_rules_that_change_before_a_blind_write_is_committed_stop_the_commit(db):
    t = db.as_user(ME).start_transaction()
    t["notes"].insert_one({"_id": "new"})
    db.set_rules("notes", {"read": True, "write": False})
    with pytest.raises(DocdbError) as caught:
        t.commit()
    assert isinstance(caught.value, docdb.TransactionConflict | DeniedError)
    assert db["notes"].find_one("new") is None


def test_a_role_that_is_revoked_before_the_commit_stops_it(db):
    db.set_rules("notes", {"read": BY_ROLE, "write": BY_ROLE})
    t = db.as_user(ME).start_transaction()
    t["notes"].doc(1).update({"text": "changed"})
    db["roles"].delete_one({"_id": "me"})
    with pytest.raises(DocdbError) as caught:
        t.commit()
    assert isinstance(caught.value, docdb.TransactionConflict | DeniedError)
    assert db["notes"].find_one(1)["text"] == "t1"


def test_a_retry_asks_the_rules_again(db):
    db.set_rules("notes", {"read": BY_ROLE, "write": BY_ROLE})
    tries = []

    def work(t):
        tries.append(t["notes"].doc(1).get()["text"])
        t["notes"].doc(1).update({"text": "changed"})
        if len(tries) == 1:
            db["notes"].doc(1).update({"text": "by another"})
            db["roles"].delete_one({"_id": "me"})

    with pytest.raises(DeniedError):
        db.as_user(ME).run_transaction(work)
    assert len(tries) == 1
    assert db["notes"].find_one(1)["text"] == "by another"


def test_a_denial_inside_a_transaction_leaves_nothing_behind(db):
    db.set_rules("notes", {"read": OWN, "write": OWN})
    before = dump(db)

    def work(t):
        t["notes"].doc(1).update({"text": "changed"})
        t["notes"].doc(2).update({"text": "changed"})

    with pytest.raises(DeniedError):
        db.as_user(ME).run_transaction(work)
    assert dump(db) == before


def test_a_denial_that_is_swallowed_inside_a_transaction_grants_nothing(db):
    db.set_rules("notes", {"read": OWN, "write": OWN})
    with db.as_user(ME).transaction() as t:
        t["notes"].doc(1).update({"text": "changed"})
        for call in (
            lambda: t["notes"].doc(2).update({"text": "changed"}),
            lambda: t["notes"].doc(2).remove(),
            lambda: t["notes"].insert_one({"_id": 4}),
        ):
            with pytest.raises(DeniedError):
                call()
    assert db["notes"].find_one(1)["text"] == "changed"
    assert (db["notes"].find_one(2), db["notes"].find_one(4)) == (
        {"_id": 2, "_openid": "you", "text": "t2"},
        {"_id": 4, "_openid": "you", "text": "t4"},
    )


def test_a_role_that_the_transaction_gives_itself_is_one_it_may_write(db):
    db.set_rules("notes", {"read": BY_ROLE, "write": BY_ROLE})
    with pytest.raises(DeniedError), db.as_user({"openid": "eve"}).transaction() as t:
        t["roles"].insert_one({"_id": "eve", "role": "admin"})
    assert db["roles"].find_one("eve") is None


def test_what_a_transaction_has_written_is_judged_when_it_is_read(db):
    db.set_rules("notes", {"read": "doc.text == 'open'", "create": True, "update": True})
    with db.as_user(ME).transaction() as t:
        t["notes"].insert_one({"_id": "new", "text": CANARY})
        with pytest.raises(DeniedError):
            t["notes"].doc("new").get()
        assert t["notes"].find({"text": "open"}).to_list() == []
        t["notes"].update_one({"_id": "new"}, {"$set": {"text": "open"}})
        assert t["notes"].doc("new").get()["text"] == "open"


def test_steps_of_a_transaction_that_would_each_be_allowed_do_not_add_up(db):
    db.set_rules("notes", {"read": True, "create": "doc.level == 1", "update": "!changed('level')", "delete": OWN})
    db["notes"].insert_one({"_id": "l", "level": 2, "_openid": "you"})
    for steps in (
        [lambda t: t["notes"].doc("l").remove(), lambda t: t["notes"].insert_one({"_id": "l", "level": 1})],
        [lambda t: t["notes"].doc("l").update({"level": 1}), lambda t: t["notes"].doc("l").update({"level": 2})],
    ):
        with pytest.raises(DeniedError), db.as_user(ME).transaction() as t:
            for step in steps:
                step(t)
    assert db["notes"].find_one("l") == {"_id": "l", "level": 2, "_openid": "you"}


def test_a_reference_of_the_administrator_gives_a_user_no_rights(db):
    db.set_rules("notes", CLOSED)
    reference = db["notes"].doc(1)
    user = db.as_user(ME)
    for call in (
        lambda t: t.get(reference),
        lambda t: t.remove(reference),
        lambda t: t.update(reference, {"a": 1}),
        lambda t: t.set(reference, {"a": 1}),
    ):
        with pytest.raises((DeniedError, docdb.UsageError)):
            user.run_transaction(call)
    assert db["notes"].find_one(1)["text"] == "t1"


def test_a_reference_of_another_user_gives_no_rights(db):
    db.set_rules("notes", {"read": OWN, "write": OWN})
    reference = db.as_user({"openid": "you"})["notes"].doc(2)
    assert reference.get()["text"] == "t2"
    with pytest.raises((DeniedError, docdb.UsageError)):
        db.as_user(ME).run_transaction(lambda t: t.get(reference))


def test_a_snapshot_keeps_its_rules(db):
    with db.as_user(ME).snapshot() as view:
        db.set_rules("notes", CLOSED)
        db["notes"].doc(1).update({"text": CANARY})
        assert view["notes"].doc(1).get()["text"] == "t1"
    with pytest.raises(DeniedError), db.as_user(ME).snapshot() as view:
        view["notes"].doc(1).get()


def test_a_snapshot_from_before_a_permission_gives_none(db):
    db.set_rules("notes", CLOSED)
    with db.as_user(ME).snapshot() as view:
        db.set_rules("notes", OPEN)
        with pytest.raises(DeniedError):
            view["notes"].doc(1).get()


def test_a_cursor_is_one_snapshot_of_documents_and_rules(db):
    cursor = iter(db.as_user(ME)["notes"].find({}))
    next(cursor)
    db.set_rules("notes", CLOSED)
    db["notes"].update_many({}, {"$set": {"text": CANARY}})
    assert all(row["text"] != CANARY for row in cursor)
    with pytest.raises(DeniedError):
        db.as_user(ME)["notes"].find({}).to_list()


def test_a_cursor_that_was_not_begun_is_judged_when_it_begins(db):
    cursor = db.as_user(ME)["notes"].find({})
    query = db.as_user(ME)["notes"].where({})
    db.set_rules("notes", CLOSED)
    for call in (cursor.to_list, cursor.clone().to_list, lambda: cursor.rewind().to_list(), query.get, query.count):
        with pytest.raises(DeniedError):
            call()


def test_a_page_that_follows_is_judged_anew(db):
    notes = db.as_user(ME)["notes"]
    page = notes.where({}).order_by("_id").limit(5).after("").get()
    db.set_rules("notes", CLOSED)
    with pytest.raises(DeniedError):
        notes.where({}).order_by("_id").limit(5).after(page.token).get()


def test_the_token_of_a_page_of_another_user_shows_nothing(db):
    db.set_rules("notes", {"read": OWN, "write": OWN})
    token = (
        db.as_user({"openid": "you"})["notes"].where({"_openid": "you"}).order_by("text").limit(2).after("").get().token
    )
    notes = db.as_user(ME)["notes"]
    try:
        rows = notes.where({"_openid": "me"}).order_by("text").limit(2).after(token).get().to_list()
    except DocdbError:
        rows = []
    assert all(row["_openid"] == "me" for row in rows)


def test_a_token_carries_no_hidden_value(db):
    db.set_rules("notes", {"read": True, "fields": {"secret": {"read": False}}})
    db["notes"].update_many({}, {"$set": {"secret": CANARY}})
    page = db.as_user(ME)["notes"].where({}).order_by("text").limit(2).after("").get()
    import base64

    assert CANARY.encode() not in base64.urlsafe_b64decode(page.token + "===") and CANARY not in page.token


def test_now_is_one_value_for_an_operation_and_not_the_clients(db):
    db.set_rules(
        "notes", {"read": True, "create": "now == now && doc.at == undefined && now > 1600000000000 && !(now in [0])"}
    )
    notes = db.as_user({"openid": "me", "now": 0})["notes"]
    notes.insert_one({"_id": "a", "now": 5})
    with pytest.raises(DeniedError):
        notes.insert_one({"_id": "b", "at": 1})


def test_now_stands_still_in_a_transaction(db):
    db.set_rules(
        "notes", {"read": True, "create": True, "update": "request.data.at == now || request.data.at == doc.at"}
    )
    with db.as_user(ME).transaction() as t:
        t["notes"].insert_one({"_id": "a", "at": docdb.server_date()})
        first = t["notes"].doc("a").get()["at"]
        time.sleep(0.01)
        t["notes"].insert_one({"_id": "b", "at": docdb.server_date()})
        assert t["notes"].doc("b").get()["at"] == first


def test_whose_token_has_expired_does_nothing_more(db):
    over = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)
    user = db.as_user(ME, expires_at=over)
    notes, cursor, t = user["notes"], user["notes"].find({}), user.start_transaction()
    assert notes.doc(1).get() is not None
    t["notes"].doc(1).update({"text": "changed"})
    db._session.settings.clock = lambda: over
    for call in (
        lambda: notes.doc(1).get(),
        cursor.to_list,
        lambda: notes.insert_one({"_id": "x"}),
        lambda: t["notes"].doc(1).get(),
        t.commit,
        lambda: user.snapshot()["notes"].count(),
    ):
        with pytest.raises(DocdbError):
            call()
    assert (db["notes"].find_one(1)["text"], db["notes"].find_one("x")) == ("t1", None)


def test_whose_token_expired_before_gets_nothing_at_all(db):
    with pytest.raises(DocdbError):
        db.as_user(ME, expires_at=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))["notes"].doc(1).get()


@pytest.mark.parametrize("expires_at", [5, "2020", True, dt.datetime(2030, 1, 1), float("inf")], ids=repr)
def test_an_end_is_a_date_with_a_zone(db, expires_at):
    with pytest.raises(docdb.UsageError):
        db.as_user(ME, expires_at=expires_at)


def test_a_collection_that_is_renamed_takes_no_rules_along_by_accident(db):
    db["vault"].insert_one({"_id": 1, "text": CANARY})
    db["notes"].rename("old")
    db["vault"].rename("notes")
    db.set_rules("notes", CLOSED)
    for name in ("notes", "vault", "old"):
        with pytest.raises(DeniedError):
            db.as_user(ME)[name].doc(1).get() and (_ for _ in ()).throw(AssertionError(name))


def test_rules_without_a_collection_wait_for_it(db):
    db.set_rules("later", {"read": OWN, "create": "doc.n == 1"})
    later = db.as_user(ME)["later"]
    assert later.find({"_openid": "me"}).to_list() == []
    with pytest.raises(DeniedError):
        later.insert_one({"n": 2})
    later.insert_one({"_id": "a", "n": 1})
    assert later.doc("a").get() == {"_id": "a", "n": 1, "_openid": "me"}


def test_rules_that_are_taken_away_deny(db):
    db.set_rules("notes", None)
    with pytest.raises(DeniedError):
        db.as_user(ME)["notes"].doc(1).get()


def test_rules_that_are_wrong_leave_the_old_ones(db, tmp_path):
    db.set_rules("notes", {"read": OWN, "write": False})
    with pytest.raises(docdb.RuleError):
        db.set_rules("notes", {"read": "doc.a ==", "write": True})
    path = tmp_path / "rules.json"
    path.write_text('{"roles": {"read": true}, "notes": {"reed": true}}')
    with pytest.raises(docdb.RuleError):
        db.load_rules(path)
    with pytest.raises(DeniedError):
        db.as_user(ME)["notes"].doc(2).get()
    with pytest.raises(DeniedError):
        db.as_user(ME)["roles"].doc("me").get()
