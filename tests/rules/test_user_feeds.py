"""Live queries and change streams of callers: what may not be read is not there, and what is lost is taken back."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

import docdb
from docdb.errors import DeniedError, HistoryLost, InvalidOperation, UsageError
from tests.feeds.test_live import settle

OWN_OR_PUBLIC = "doc.public == true || (auth != null && doc._openid == auth.openid)"
ROOMS = "auth.openid in get(`database.rooms.${doc.room}`).members"
WAIT_S = 10.0


@pytest.fixture
def db() -> Iterator[docdb.Database]:
    with docdb.open(":memory:") as database:
        yield database


def ann(db: docdb.Database, **options: Any) -> Any:
    return db.as_user({"openid": "ann"}, filter_mode=True, **options)


def told(snapshot: Any) -> list[tuple[str, str, Any]]:
    return [(change.data_type, change.queue_type, change.doc_id) for change in snapshot.doc_changes]


def rest(db: docdb.Database, feed: Any) -> list[Any]:
    """Everything that is there now."""
    settle(db)
    found = []
    while (item := feed.try_next()) is not None:
        found.append(item)
    return found


def lost(feed: Any) -> tuple[list[Any], DeniedError]:
    """What a feed says to its end, and the error it ends with."""
    found = []
    with pytest.raises(DeniedError) as caught:
        while True:
            found.append(feed.next(WAIT_S))
    assert not feed.alive
    return found, caught.value


# Live queries


def test_what_comes_into_sight_is_added_and_what_goes_is_removed_in_the_same_commit(db: docdb.Database) -> None:
    db.set_rules("notes", {"read": OWN_OR_PUBLIC})
    db["notes"].insert_one({"_id": 1, "_openid": "bob", "public": False, "text": "secret"})
    live = ann(db)["notes"].where({}).watch()
    assert live.next().docs == []
    db["notes"].doc(1).update({"public": True, "text": "hello"})
    db["notes"].doc(1).update({"text": "again"})
    db["notes"].doc(1).update({"public": False, "text": "secret"})
    db["notes"].doc(1).update({"text": "more"})
    entered, changed, left = rest(db, live)
    assert [told(entered), told(changed), told(left)] == [
        [("add", "enqueue", 1)],
        [("update", "update", 1)],
        [("remove", "dequeue", 1)],
    ]
    assert entered.doc_changes[0].updated_fields is None
    assert changed.doc_changes[0].updated_fields == {"text": "again"}
    assert left.doc_changes[0].doc == {"_id": 1, "_openid": "bob", "public": True, "text": "again"}


def test_numbers_are_not_told(db: docdb.Database) -> None:
    db.set_rules("notes", {"read": True})
    live = ann(db)["notes"].where({}).watch()
    stream = ann(db)["notes"].changes()
    db["notes"].insert_one({"_id": 1})
    snapshot, change = live.next(), stream.next(WAIT_S)
    assert snapshot.commit is None and "commit" not in repr(snapshot)
    for number in ("commit", "index"):
        with pytest.raises(InvalidOperation):
            getattr(change, number)
    assert change.document()["clusterTime"].inc == 0
    places = [snapshot.position, snapshot.position, live.position, change.position, change.position, stream.position]
    assert len({place[-8:] for place in places[:3]}) == 3  # no two say whether they are the same
    assert not any("." in place for place in places)
    assert ann(db)["notes"].changes(resume_after=snapshot.position).next(WAIT_S).id == 1


def test_a_live_query_has_the_verdict_of_a_find(db: docdb.Database) -> None:
    db.set_rules("notes", {"read": "doc._openid == auth.openid"})
    db["notes"].insert_many([{"_id": 1, "_openid": "ann"}, {"_id": 2, "_openid": "bob"}])
    user = db.as_user({"openid": "ann"})
    for query in ({}, {"_openid": "bob"}, {"_id": 2}, {"_id": 9}):
        with pytest.raises(DeniedError):
            user["notes"].where(query).watch()
    with pytest.raises(DeniedError):
        user["nothing"].where({}).watch()
    assert [d["_id"] for d in user["notes"].where({"_openid": "{openid}"}).watch().next().docs] == [1]


def test_one_document_leaves_and_comes_back(db: docdb.Database) -> None:
    db.set_rules("notes", {"read": "doc._openid == auth.openid"})
    db["notes"].insert_one({"_id": 1, "_openid": "ann"})
    live = db.as_user({"openid": "ann"})["notes"].doc(1).watch()
    live.next()
    db["notes"].doc(1).update({"_openid": "bob"})
    db["notes"].doc(1).update({"text": "secret"})
    db["notes"].doc(1).update({"_openid": "ann"})
    assert [told(snapshot) for snapshot in rest(db, live)] == [[("remove", "dequeue", 1)], [("add", "enqueue", 1)]]


def test_a_revoked_role_takes_everything_back(db: docdb.Database) -> None:
    db.set_rules("notes", {"read": "get('database.roles.' + auth.openid).role == 'reader'"})
    db["roles"].insert_one({"_id": "ann", "role": "reader"})
    db["notes"].insert_many([{"_id": 1}, {"_id": 2}])
    live = db.as_user({"openid": "ann"})["notes"].where({}).watch()
    stream = db.as_user({"openid": "ann"})["notes"].changes()
    assert len(live.next()) == 2
    db["roles"].doc("ann").update({"role": "none"})
    db["notes"].insert_one({"_id": 3, "text": "secret"})
    (last,), error = lost(live)
    assert (sorted(told(last)), last.docs) == ([("remove", "dequeue", 1), ("remove", "dequeue", 2)], [])
    assert error.permission_lost and str(error) == str(lost(stream)[1])


def test_membership_of_rooms_is_followed(db: docdb.Database) -> None:
    db.set_rules("messages", {"read": ROOMS})
    db["rooms"].insert_many([{"_id": "a", "members": ["ann"]}, {"_id": "b", "members": ["bob"]}])
    db["messages"].insert_many([{"_id": 1, "room": "a"}, {"_id": 2, "room": "b"}])
    live = ann(db)["messages"].where({}).watch()
    proved = db.as_user({"openid": "ann"})["messages"].where({"room": "a"}).watch()
    assert [d["_id"] for d in live.next().docs] == [d["_id"] for d in proved.next().docs] == [1]
    db["messages"].insert_many([{"_id": 3, "room": "a"}, {"_id": 4, "room": "b"}])
    assert [told(s) for s in rest(db, live)] == [told(s) for s in rest(db, proved)] == [[("add", "enqueue", 3)]]
    db["rooms"].doc("b").update({"members": ["ann", "bob"]})
    assert sorted(told(rest(db, live)[-1])) == [("add", "enqueue", 2), ("add", "enqueue", 4)]
    db["rooms"].doc("a").update({"members": []})
    assert sorted(told(rest(db, live)[-1])) == [("remove", "dequeue", 1), ("remove", "dequeue", 3)]
    assert lost(proved)[1].permission_lost


def test_what_was_cleaned_before_it_was_shown_never_appears(db: docdb.Database) -> None:
    db.set_rules("messages", {"read": ROOMS})
    db["rooms"].insert_one({"_id": "a", "members": []})
    live = ann(db)["messages"].where({}).watch()
    live.next()
    for turn in range(20):
        db["messages"].doc(turn).set({"room": "a", "text": "secret"})
        with db.transaction() as t:
            t["messages"].doc(turn).set({"room": "a", "text": "clean"})
            t["rooms"].doc("a").set({"members": ["ann"]})
        for snapshot in rest(db, live):
            assert {document["text"] for document in snapshot.docs} <= {"clean"}
            assert {change.doc["text"] for change in snapshot.doc_changes} <= {"clean"}
        db["rooms"].doc("a").set({"members": []})


def test_time_that_passes_takes_documents_back(db: docdb.Database) -> None:
    db.set_rules("notes", {"read": "now - doc.at < 700"})
    db["notes"].insert_one({"_id": 1, "at": int(time.time() * 1_000)})
    live = ann(db)["notes"].where({}).watch()
    assert len(live.next()) == 1
    assert told(live.next(WAIT_S)) == [("remove", "dequeue", 1)]


def test_new_rules_are_felt_at_once(db: docdb.Database) -> None:
    db.set_rules("notes", {"read": True})
    db["notes"].insert_many([{"_id": 1, "_openid": "ann"}, {"_id": 2, "_openid": "bob"}])
    live = ann(db)["notes"].where({}).watch()
    live.next()
    db.set_rules("notes", {"read": "doc._openid == auth.openid"})
    db["notes"].insert_one({"_id": 3, "_openid": "bob"})
    assert [told(snapshot) for snapshot in rest(db, live)] == [[("remove", "dequeue", 2)]]
    db.set_rules("notes", None)
    assert [told(snapshot) for snapshot in lost(live)[0]] == [[("remove", "dequeue", 1)]]


def test_the_end_of_the_callers_time_ends_his_feeds(db: docdb.Database) -> None:
    db.set_rules("notes", {"read": True})
    db["notes"].insert_one({"_id": 1})
    begun = dt.datetime.now(dt.UTC)
    over = begun + dt.timedelta(seconds=0.4)
    db._session.settings.clock = lambda: begun  # until all are there
    user = ann(db, expires_at=over)
    live, stream, whole = user["notes"].where({}).watch(), user["notes"].changes(), user.changes()
    errors: list[Exception] = []
    watcher = user["notes"].watch(on_change=lambda snapshot: None, on_error=errors.append)
    live.next()
    db._session.settings.clock = lambda: over
    assert [told(snapshot) for snapshot in lost(live)[0]] == [[("remove", "dequeue", 1)]]
    assert all(lost(feed)[1].permission_lost for feed in (stream, whole))
    until = time.monotonic() + WAIT_S
    while not errors and time.monotonic() < until:
        time.sleep(0.01)
    assert [type(error) for error in errors] == [DeniedError]
    watcher.close()


def test_streams_that_ended_early_leave_nothing_behind(db: docdb.Database) -> None:
    db.set_rules("notes", {"read": True})
    user = ann(db, expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    kept = user["notes"].changes()
    for _ in range(500):
        user["notes"].changes().close()
    assert kept.alive and len(db._store.hub._alarms) < 100


def test_feeds_end_with_the_handle_and_with_the_database() -> None:
    with docdb.open(":memory:") as db:
        db.set_rules("notes", {"read": True})
        user, other = ann(db), ann(db)
        mine = [user["notes"].where({}).watch(), user["notes"].changes(), user.watch()]
        others = [other["notes"].where({}).watch(), other["notes"].changes()]
        user.close()
        assert [feed.alive for feed in mine + others] == [False] * 3 + [True] * 2
        with pytest.raises(InvalidOperation):
            user["notes"].where({}).watch()
    assert [feed.alive for feed in others] == [False] * 2


def test_users_follow_nothing_in_transactions_and_pictures(db: docdb.Database) -> None:
    db.set_rules("notes", {"read": True})
    user = ann(db)
    with user.snapshot() as view, pytest.raises(InvalidOperation):
        view["notes"].where({}).watch()
    with user.transaction() as t, pytest.raises(InvalidOperation):
        t["notes"].changes()


# Fields


def test_hidden_fields_are_masked_and_their_changes_not_told(db: docdb.Database) -> None:
    db.set_rules("users", {"read": True, "fields": {"mail": {"read": "doc._openid == auth.openid"}}})
    db["users"].insert_many([{"_id": 1, "_openid": "ann", "mail": "a"}, {"_id": 2, "_openid": "bob", "mail": "b"}])
    user = ann(db)
    live, stream = user["users"].where({}).watch(), user["users"].changes()
    assert live.next().docs == [{"_id": 1, "_openid": "ann", "mail": "a"}, {"_id": 2, "_openid": "bob"}]
    db["users"].doc(2).update({"mail": "secret"})
    db["users"].doc(1).update({"mail": "seen"})
    db["users"].doc(2).update({"mail": "secret", "name": "Bob"})
    first, second = rest(db, live)
    assert [told(first), told(second)] == [[("update", "update", 1)], [("update", "update", 2)]]
    assert second.doc_changes[0].updated_fields == {"name": "Bob"}
    changes = rest(db, stream)
    assert [change.id for change in changes] == [1, 2]
    assert (changes[1].before, changes[1].after) == (
        {"_id": 2, "_openid": "bob"},
        {"_id": 2, "_openid": "bob", "name": "Bob"},
    )
    assert "secret" not in repr([change.document() for change in changes])


@pytest.mark.parametrize("query", [{"mail": "b"}, {"$or": [{"mail": {"$gt": ""}}]}, {"$expr": {"$eq": ["$mail", "b"]}}])
def test_nothing_is_followed_by_a_hidden_field(db: docdb.Database, query: Any) -> None:
    db.set_rules("users", {"read": True, "fields": {"mail": {"read": False}}})
    user = ann(db)
    with pytest.raises(DeniedError):
        user["users"].where(query).watch()
    with pytest.raises(DeniedError):
        user["users"].changes(query)
    with pytest.raises(DeniedError):
        user["users"].where({}).order_by("mail").watch()


def test_a_field_rule_that_reads_others_cannot_be_followed(db: docdb.Database) -> None:
    rule = {"mail": {"read": "get('database.roles.' + auth.openid).role == 'admin'"}}
    db.set_rules("users", {"read": True, "fields": rule})
    with pytest.raises(DeniedError):
        ann(db)["users"].where({}).watch()


# Change streams


def test_a_stream_tells_what_is_seen_and_as_it_is_seen(db: docdb.Database) -> None:
    db.set_rules("notes", {"read": OWN_OR_PUBLIC})
    stream, whole, mongo = (
        ann(db)["notes"].changes(),
        ann(db).changes(),
        ann(db)["notes"].watch(full_document="updateLookup"),
    )
    db["notes"].insert_one({"_id": 1, "_openid": "bob", "public": False, "text": "secret"})
    db["notes"].doc(1).update({"public": True, "text": "hello"})
    db["notes"].doc(1).update({"text": "again"})
    db["notes"].doc(1).update({"public": False, "text": "secret"})
    db["notes"].create_index("text")
    db["other"].insert_one({"_id": 1, "text": "secret"})
    db["_private"].insert_one({"_id": 1, "text": "secret"})
    for feed in (stream, whole):
        changes = rest(db, feed)
        assert [change.operation for change in changes] == ["insert", "update", "delete"]
        assert "secret" not in repr([(change.before, change.after, change.document()) for change in changes])
        assert changes[0].before is None and changes[2].after is None
    documents = rest(db, mongo)
    assert [document["operationType"] for document in documents] == ["insert", "update", "delete"]
    assert "secret" not in repr(documents)


def test_a_stream_has_the_verdict_of_a_find(db: docdb.Database) -> None:
    db.set_rules("notes", {"read": "doc._openid == auth.openid"})
    user = db.as_user({"openid": "ann"})
    for query in (None, {"_openid": "bob"}, {"_id": 1}):
        with pytest.raises(DeniedError):
            user["notes"].changes(query)
    with pytest.raises(DeniedError):
        user["notes"].changes(operations=["drop"])
    stream = user["notes"].changes({"_openid": "{openid}"})
    db["notes"].insert_many([{"_id": 1, "_openid": "bob"}, {"_id": 2, "_openid": "ann"}])
    assert [change.id for change in rest(db, stream)] == [2]
    assert rest(db, user.changes(from_="oldest")) == []  # nothing is proved of a collection without a condition


def test_positions_are_bound_to_the_caller_and_the_question(db: docdb.Database) -> None:
    db.set_rules("notes", {"read": True})
    db["notes"].insert_many([{"_id": 1}, {"_id": 2}])
    stream = ann(db)["notes"].changes(from_="oldest")
    stream.next()
    place = stream.position
    assert ann(db)["notes"].changes(resume_after=place).next().id == 2
    bob, anonymous = db.as_user({"openid": "bob"}, filter_mode=True), db.as_user(None, filter_mode=True)
    web = db.as_user({"uid": "ann"}, filter_mode=True)
    strangers = [user["notes"].changes for user in (bob, anonymous, web)]
    asked = [(call, {}) for call in strangers] + [
        (ann(db)["notes"].changes, {"filter": {"n": 1}}), (ann(db)["notes"].changes, {"operations": ["insert"]}),
        (ann(db)["notes"].changes, {"pipeline": [{"$match": {"n": 1}}]}), (ann(db).changes, {}),
    ]  # fmt: skip
    for call, more in asked:
        with pytest.raises(UsageError):
            call(resume_after=place, **more)
    raw = db["notes"].changes(from_="oldest").position
    for wrong in (raw, place[:-1], "A" + place[1:], place + "A", "", "....", 7, {"_data": "x"}, b"x"):
        if wrong != place:
            with pytest.raises(UsageError):
                ann(db)["notes"].changes(resume_after=wrong)
    with pytest.raises(UsageError):
        db["notes"].changes(resume_after=place)


def test_lost_history_tells_no_numbers(tmp_path: Any) -> None:
    with docdb.open(tmp_path / "db", history_bytes=4_000) as db:
        db.set_rules("notes", {"read": True})
        stream = ann(db)["notes"].changes()
        for n in range(100):
            db["notes"].insert_one({"_id": n, "text": "x" * 500})
        with pytest.raises(HistoryLost) as caught:
            rest(db, stream)
        assert "commit" not in str(caught.value) and caught.value.oldest is not None
        assert ann(db)["notes"].changes(resume_after=caught.value.oldest).next(WAIT_S).operation == "insert"


def test_the_secret_outlives_the_process_and_the_checker_knows_it(tmp_path: Any) -> None:
    with docdb.open(tmp_path / "db") as db:
        db.set_rules("notes", {"read": True})
        db["notes"].insert_many([{"_id": 1}, {"_id": 2}])
        place = ann(db)["notes"].changes(from_="oldest").next().position
        assert db.check().ok
    with docdb.open(tmp_path / "db") as db:
        assert ann(db)["notes"].changes(resume_after=place).next().id == 2
    with docdb.open(tmp_path / "db", read_only=True) as db:
        assert ann(db)["notes"].changes(resume_after=place).next().id == 2


# Asynchronously, and at random


def test_asynchronous_feeds(tmp_path: Any) -> None:
    async def main() -> tuple[list[Any], list[Any]]:
        async with docdb.aio.open(tmp_path / "db") as db:
            await db.set_rules("notes", {"read": OWN_OR_PUBLIC})
            user = db.as_user({"openid": "ann"}, filter_mode=True)
            live, stream, whole = user["notes"].where({}).watch(), user["notes"].changes(), user.changes()
            first = await live.next(WAIT_S)
            await db["notes"].insert_one({"_id": 1, "_openid": "bob", "public": False})
            await db["notes"].insert_one({"_id": 2, "_openid": "ann", "public": False})
            second = await live.next(WAIT_S)
            changes = [await stream.next(WAIT_S), await whole.next(WAIT_S)]
            return [first.docs, told(second)], [change.id for change in changes]

    assert asyncio.run(main()) == ([[], [("add", "enqueue", 2)]], [2, 2])


RULES = [
    OWN_OR_PUBLIC,
    "doc.n > 3 && doc._openid == auth.openid",
    "doc.room in ['a', 'b'] || doc.n in [1, 2]",
    "exists(doc.public) && doc.public != false",
    ROOMS,
    "get('database.rooms.a').members.size() > 0 && doc.n >= 2",
]


@pytest.mark.parametrize("seed", range(8))
def test_a_live_query_is_what_a_find_of_the_caller_gives(seed: int) -> None:
    turn = random.Random(seed)
    with docdb.open(":memory:") as db:
        db["rooms"].insert_many([{"_id": name, "members": ["ann"]} for name in "ab"])
        db.set_rules("notes", {"read": turn.choice(RULES)})
        user = ann(db)
        bounded = user["notes"].where({"n": {"$gte": 1}}).order_by("n", "desc").limit(3)
        whole = user["notes"].where({})
        queries = [whole, bounded]
        lives = [query.watch() for query in queries]
        shown = [live.next().docs for live in lives]
        for _ in range(100):
            write(db, turn)
            for place, (query, live) in enumerate(zip(queries, lives, strict=True)):
                if live.alive:
                    shown[place] = follow(db, live, shown[place])
                else:  # the rules let nothing through for a while: begun anew when they do
                    shown[place], lives[place] = begun(query)
                assert same(shown[place], found(query)), (seed, place)


def write(db: docdb.Database, turn: random.Random) -> None:
    """Change something that is seen, or something that decides it."""
    kind = turn.random()
    if kind < 0.1:
        db["rooms"].doc(turn.choice("ab")).set({"members": turn.choice([[], ["ann"], ["bob"], ["ann", "bob"]])})
    elif kind < 0.15:
        db.set_rules("notes", {"read": turn.choice(RULES)})
    elif kind < 0.3:
        db["notes"].doc(turn.randrange(12)).remove()
    else:
        note = {"n": turn.randrange(6), "room": turn.choice("abc"), "_openid": turn.choice(["ann", "bob"])}
        if turn.random() < 0.6:
            note["public"] = turn.choice([True, False, None, [True]])
        db["notes"].doc(turn.randrange(12)).set(note)


def follow(db: docdb.Database, live: Any, before: list[Any]) -> list[Any]:
    settle(db)
    try:
        while (snapshot := live.try_next()) is not None:
            before = snapshot.docs
    except DeniedError:
        return []
    return before


def found(query: Any) -> list[Any]:
    try:
        return list(query.get().to_list())
    except DeniedError:
        return []


def begun(query: Any) -> tuple[list[Any], Any]:
    try:
        live = query.watch()
    except DeniedError:
        return [], _Ended()
    return live.next().docs, live


class _Ended:
    """A live query that could not be begun."""

    alive = False


def same(left: list[Any], right: list[Any]) -> bool:
    return sorted(map(repr, left)) == sorted(map(repr, right))
