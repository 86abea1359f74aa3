"""Change streams: what they deliver, resuming, lost history, names, pipelines, waiting and closing."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.errors import HistoryLost, InvalidOperation, NotSupportedError, QueryError, UsageError
from docdb.feeds import history
from docdb.feeds.live import LiveQuery

SOON_S = 20.0


@pytest.fixture(params=["memory", "lmdb"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[docdb.Database]:
    """Give a database in each engine."""
    with docdb.open({"memory": ":memory:", "lmdb": tmp_path / "d"}[request.param]) as database:
        yield database


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; the test fails when it is not soon."""
    until = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.002)


def taken(stream: Any) -> list[Any]:
    """Return what is there now."""
    return list(iter(stream.try_next, None))


def told(stream: Any) -> list[tuple[str, Any]]:
    return [(change.operation, change.id) for change in taken(stream)]


def test_every_change_comes_once_in_order_with_both_images(db: docdb.Database) -> None:
    stream = db["a"].changes()
    db["a"].insert_one({"_id": 1, "x": {"y": 1}})
    db["a"].update_one({"_id": 1}, {"$set": {"x.y": 2}, "$unset": {"z": 1}})
    db["a"].replace_one({"_id": 1}, {"n": 1})
    db["a"].delete_one({"_id": 1})
    found = taken(stream)[1:]
    assert [(c.operation, c.collection, c.id, c.before, c.after) for c in found] == [
        ("insert", "a", 1, None, {"_id": 1, "x": {"y": 1}}),
        ("update", "a", 1, {"_id": 1, "x": {"y": 1}}, {"_id": 1, "x": {"y": 2}}),
        ("replace", "a", 1, {"_id": 1, "x": {"y": 2}}, {"_id": 1, "n": 1}),
        ("delete", "a", 1, {"_id": 1, "n": 1}, None),
    ]  # fmt: skip
    assert [(c.updated_fields, c.removed_fields) for c in found] == [
        (None, None),
        ({"x.y": 2}, []),
        (None, None),
        (None, None),
    ]
    assert stream.try_next() is None


def test_a_refused_write_is_not_told(db: docdb.Database) -> None:
    db["a"].insert_one({"_id": 1})
    stream = db["a"].changes()
    with pytest.raises(docdb.DuplicateKeyError):
        db["a"].insert_one({"_id": 1})
    db["a"].update_one({"_id": 2}, {"$set": {"n": 1}})
    assert taken(stream) == []


def test_what_was_before_is_not_told_unless_asked(db: docdb.Database) -> None:
    db["a"].insert_many([{"_id": n} for n in range(3)])
    assert told(db["a"].changes()) == []
    assert told(db["a"].changes(from_="oldest", operations="insert")) == [("insert", n) for n in range(3)]


def test_catalog_changes_are_events_and_names_are_those_of_the_time(db: docdb.Database) -> None:
    db["a"].insert_one({"_id": 1})
    db["a"].create_index("x")
    db["a"].rename("b")
    db["b"].insert_one({"_id": 2})
    db["b"].drop_index("x_1")
    db["b"].drop()
    db["b"].insert_one({"_id": 3})
    found = [(c.operation, c.collection, c.detail or c.id) for c in taken(db.changes(from_="oldest"))]
    assert found == [
        ("create", "a", None), ("insert", "a", 1), ("build_index", "a", {"index": "x_1"}), ("create_index", "a", {"index": "x_1"}),
        ("rename", "a", {"to": "b"}), ("insert", "b", 2), ("drop_index", "b", {"index": "x_1"}), ("drop", "b", None),
        ("create", "b", None), ("insert", "b", 3),
    ]  # fmt: skip
    assert [c.operation for c in taken(db["b"].changes(from_="oldest"))] == [
        "rename", "insert", "drop_index", "drop", "create", "insert",
    ]  # fmt: skip


@pytest.mark.parametrize("read", range(11))
def test_a_stored_position_goes_on_behind_it(db: docdb.Database, read: int) -> None:
    db["a"].insert_many([{"_id": n} for n in range(4)])
    db["a"].rename("b")
    db["b"].update_many({}, {"$set": {"n": 1}})
    stream = db.changes(from_="oldest")
    before = [str(stream.next()) for _ in range(read % 10)]
    after = [str(change) for change in taken(db.changes(resume_after=stream.position))]
    assert before + after == [str(change) for change in taken(db.changes(from_="oldest"))]


def test_a_change_names_the_position_behind_itself(db: docdb.Database) -> None:
    db["a"].insert_many([{"_id": n} for n in range(4)])
    second = taken(db["a"].changes(from_="oldest"))[2]
    assert told(db["a"].changes(resume_after=second.position)) == [("insert", 2), ("insert", 3)]
    assert told(db["a"].changes(resume_after={"_data": second.position})) == [("insert", 2), ("insert", 3)]


def test_a_filter_keeps_what_matches_before_or_after(db: docdb.Database) -> None:
    stream = db["a"].changes({"room": "x", "place": {"city": "Oslo"}}, operations=["insert", "update", "delete"])
    at = {"place": {"city": "Oslo", "zip": 1}}
    db["a"].insert_many([{"_id": 1, "room": "x", **at}, {"_id": 2, "room": "y", **at}, {"_id": 3, "room": "x"}])
    db["a"].update_one({"_id": 2}, {"$set": {"room": "x"}})
    db["a"].update_one({"_id": 1}, {"$set": {"room": "y"}})
    db["a"].delete_one({"_id": 1})
    assert told(stream) == [("insert", 1), ("update", 2), ("update", 1)]


def test_a_position_moves_over_what_is_not_wanted(db: docdb.Database) -> None:
    stream = db["a"].changes()
    db["b"].insert_one({"_id": 1})
    assert stream.try_next() is None
    assert stream.position == db["a"].changes().position


def test_a_pipeline_makes_documents(db: docdb.Database) -> None:
    stream = db["a"].changes(
        pipeline=[{"$match": {"fullDocument.n": {"$gt": 1}}}, {"$project": {"n": "$fullDocument.n"}}]
    )
    db["a"].insert_many([{"_id": n, "n": n} for n in range(4)])
    found = taken(stream)
    assert [document["n"] for document in found] == [2, 3]
    assert taken(db["a"].changes(pipeline=[], resume_after=found[0]["_id"]))[0]["documentKey"] == {"_id": 3}


def test_a_filter_and_a_pipeline_together(db: docdb.Database) -> None:
    stream = db["a"].changes(
        {"room": "x"},
        operations=["update", "delete"],
        pipeline=[
            {"$match": {"operationType": {"$ne": "delete"}}},
            {"$set": {"was": "$fullDocumentBeforeChange.n", "is": "$fullDocument.n", "fields": "$updateDescription.updatedFields"}},
            {"$unset": ["fullDocument", "fullDocumentBeforeChange", "clusterTime", "wallTime", "updateDescription"]},
        ],
    )  # fmt: skip
    db["a"].insert_many([{"_id": 1, "room": "x", "n": 1}, {"_id": 2, "room": "y", "n": 1}])
    db["a"].update_many({}, {"$inc": {"n": 1}})
    db["a"].delete_one({"_id": 1})
    db["a"].update_one({"_id": 2}, {"$set": {"room": "x"}})
    found = taken(stream)
    assert [(item["documentKey"], item["was"], item["is"], item["fields"]) for item in found] == [
        ({"_id": 1}, 1, 2, {"n": 2}),
        ({"_id": 2}, 2, 2, {"room": "x"}),
    ]
    assert [sorted(item) for item in found] == [
        ["_id", "documentKey", "fields", "is", "ns", "operationType", "was"],
    ] * 2  # fmt: skip
    again = db["a"].changes({"room": "x"}, operations="delete", resume_after=found[0]["_id"])
    assert told(again) == [("delete", 1)]


def test_a_pipeline_over_all_collections(db: docdb.Database) -> None:
    stream = db.changes(pipeline=[{"$match": {"ns.coll": {"$in": ["a", "c"]}, "operationType": "insert"}}])
    for name in ("a", "b", "c"):
        db[name].insert_one({"_id": name})
    assert [item["fullDocument"] for item in taken(stream)] == [{"_id": "a"}, {"_id": "c"}]


def test_a_commit_over_collections_comes_whole_and_in_one_piece(db: docdb.Database) -> None:
    """Amid threads that write elsewhere, what one transaction did stands together, in its order."""
    for name in ("a", "b", "c"):
        db[name].insert_one({"_id": -1})
    stream = db.changes()

    def write(place: int) -> None:
        for n in range(30):
            with db.transaction() as t:
                for name in ("a", "b", "c"):
                    t[name].insert_one({"_id": 100 * place + n})

    threads = [threading.Thread(target=write, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON_S)
    found = taken(stream)
    groups = [found[at : at + 3] for at in range(0, len(found), 3)]
    assert len(groups) == 90
    assert all(sorted(change.collection for change in group) == ["a", "b", "c"] for group in groups)
    assert all(len({(change.commit, change.id, change.time) for change in group}) == 1 for group in groups)
    positions = [(change.commit, change.index) for change in found]
    assert positions == sorted(set(positions))
    assert len({change.position for change in found}) == 270


def test_history_that_is_too_old_is_lost_and_says_what_is_left(tmp_path: Path) -> None:
    """The cap of age, as the cap of bytes below."""
    with docdb.open(tmp_path / "d", history_age_s=0.05) as db:
        stream = db["a"].changes()
        db["a"].insert_one({"_id": 0})
        stored = stream.position
        time.sleep(0.1)
        for n in range(1, 4):
            db["a"].insert_one({"_id": n})
        with pytest.raises(HistoryLost) as lost:
            stream.try_next()
        with pytest.raises(HistoryLost, match="older than the change log reaches") as refused:
            db["a"].changes(resume_after=stored)
        assert refused.value.oldest == lost.value.oldest is not None
        assert "restart" in str(refused.value)
        assert told(db["a"].changes(resume_after=lost.value.oldest))[-1] == ("insert", 3)


def test_watch_is_pymongos(db: docdb.Database) -> None:
    plain, full = (
        db["a"].watch(batch_size=5),
        db["a"].watch(full_document="updateLookup", full_document_before_change="required"),
    )
    db["a"].insert_one({"_id": 1, "n": 1})
    db["a"].update_one({"_id": 1}, {"$set": {"n": 2}})
    db["a"].drop()
    inserted, updated, dropped = taken(plain)
    assert (inserted["operationType"], inserted["fullDocument"], inserted["ns"]["coll"]) == (
        "insert",
        {"_id": 1, "n": 1},
        "a",
    )
    assert updated["updateDescription"] == {"updatedFields": {"n": 2}, "removedFields": [], "truncatedArrays": []}
    assert ("fullDocument" in updated, "fullDocumentBeforeChange" in updated) == (False, False)
    assert dropped["operationType"] == "drop"
    assert taken(db["a"].watch(resume_after=plain.resume_token)) == []
    assert (taken(full)[1]["fullDocument"], full.alive) == ({"_id": 1, "n": 2}, True)
    assert taken(db.watch(show_expanded_events=True, resume_after=inserted["_id"]))[0]["documentKey"] == {"_id": 1}


@pytest.mark.parametrize(
    ("pipeline", "error", "path"),
    [
        pytest.param([{"$group": {"_id": None}}], NotSupportedError, "0.$group", id="stage of many"),
        pytest.param([{"$match": {}}, {"$mach": {}}], NotSupportedError, "1.$mach", id="unknown"),
        pytest.param([{"$match": {"a": {"$gtt": 1}}}], QueryError, "0.$match.a.$gtt", id="operator"),
        pytest.param({"$match": {}}, QueryError, "pipeline", id="no list"),
    ],
)
def test_a_wrong_pipeline_is_refused_with_its_path(
    db: docdb.Database, pipeline: Any, error: type[Exception], path: str
) -> None:
    with pytest.raises(error) as raised:
        db["a"].watch(pipeline)
    assert raised.value.path == path  # type: ignore[attr-defined]


def test_a_pipeline_may_not_lose_the_token(db: docdb.Database) -> None:
    stream = db["a"].watch([{"$project": {"_id": 0}}])
    db["a"].insert_one({"_id": 1})
    for _ in range(2):
        with pytest.raises(QueryError, match="resume token"):
            stream.try_next()


@pytest.mark.parametrize(
    ("options", "path"),
    [({"from_": "later"}, "from_"), ({"operations": ["insrt"]}, "operations"), ({"resume_after": "x"}, "resume_after")],
)
def test_wrong_arguments_are_refused(db: docdb.Database, options: dict[str, Any], path: str) -> None:
    with pytest.raises(UsageError) as raised:
        db["a"].changes(**options)
    assert raised.value.path == path


def test_who_falls_behind_gets_history_lost_and_can_restart(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d", history_bytes=20_000) as db:
        stream = db["a"].changes()
        position = stream.position
        for n in range(100):
            db["a"].insert_one({"_id": n, "text": "x" * 1_000})
        for _ in range(2):
            with pytest.raises(HistoryLost) as lost:
                stream.try_next()
        with pytest.raises(HistoryLost) as refused:
            db["a"].changes(resume_after=position)
        assert refused.value.oldest == lost.value.oldest is not None
        expected = told(db["a"].changes(resume_after=lost.value.oldest))
        assert expected[-1] == ("insert", 99)
        stream.restart("oldest")
        assert told(stream) == expected
        stream.restart("now")
        assert told(stream) == []
        db["a"].delete_one({"_id": 99})
        assert told(stream) == [("delete", 99)]


def test_a_restored_copy_refuses_old_positions_and_names_its_oldest(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d") as db:
        db["a"].insert_one({"_id": 1})
        position = db.changes().position
        db.backup(tmp_path / "backup")
    docdb.restore(tmp_path / "backup", tmp_path / "copy")
    with docdb.open(tmp_path / "copy") as copy:
        with pytest.raises(HistoryLost) as lost:
            copy.changes(resume_after=position)
        assert told(copy.changes(resume_after=lost.value.oldest))[-1] == ("insert", 1)


def test_a_position_newer_than_the_database_is_refused(db: docdb.Database) -> None:
    database, epoch, commit, index = db.changes().position.split(".")
    with pytest.raises(HistoryLost, match="newer"):
        db.changes(resume_after=f"{database}.{epoch}.{int(commit) + 1}.{index}")


def test_a_large_commit_comes_in_pieces_and_whole(db: docdb.Database) -> None:
    stream = db["a"].changes(operations="insert")
    db["a"].insert_many([{"_id": n, "text": "x" * 100} for n in range(5_000)])
    found = taken(stream)
    assert [change.id for change in found] == list(range(5_000))
    assert len({(change.commit, change.time) for change in found}) == 1


def test_next_waits_for_another_thread(db: docdb.Database) -> None:
    stream = db["a"].changes(operations="insert")
    threading.Timer(0.05, db["a"].insert_one, [{"_id": 1}]).start()
    assert stream.next(SOON_S).id == 1


def test_next_ends_with_its_time(db: docdb.Database) -> None:
    stream = db["a"].changes()
    with pytest.raises(StopIteration):
        stream.next(0.01)
    assert stream.alive
    with pytest.raises(UsageError):
        stream.next("1")  # type: ignore[arg-type]


@pytest.mark.parametrize("end", ["stream", "database"])
def test_close_from_another_thread_wakes_who_waits(db: docdb.Database, end: str) -> None:
    stream = db["a"].changes()
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(stream))
    thread.start()
    db["a"].insert_one({"_id": 1})
    {"stream": stream, "database": db}[end].close()  # type: ignore[index]
    thread.join(SOON_S)
    assert not thread.is_alive()
    assert not stream.alive
    stream.close()
    assert list(stream) == []


def test_a_database_closed_under_a_reader_ends_it(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, live = db["a"].changes(), db["a"].where({}).watch()
    db["a"].insert_one({"_id": 1})
    read_from = history.read_from

    def closed(*arguments: Any) -> Any:
        db.close()
        return read_from(*arguments)

    def closed_too(self: LiveQuery[Any]) -> Any:
        db.close()
        return self._asked_anew()

    monkeypatch.setattr(history, "read_from", closed)
    monkeypatch.setattr(LiveQuery, "_first", closed_too)
    assert list(stream) == []
    assert list(live) == []
    assert not stream.alive and not live.alive


def test_threads_that_share_a_stream_share_its_items_and_all_end(db: docdb.Database) -> None:
    stream = db["a"].changes(operations="insert")
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.extend(stream), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(50):
        db["a"].insert_one({"_id": n})
    wait_for(lambda: len(found) == 50)
    stream.close()
    for thread in threads:
        thread.join(SOON_S)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(change.id for change in found) == list(range(50))


def test_a_thread_that_gives_up_leaves_the_others_waiting(db: docdb.Database) -> None:
    stream = db["a"].changes(operations="insert")
    found: list[Any] = []
    impatient = threading.Thread(target=lambda: found.append(next(iter(lambda: stream.next(0.05), None), "gave up")))
    patient = threading.Thread(target=lambda: found.append(stream.next(SOON_S).id))
    impatient.start()
    patient.start()
    impatient.join(SOON_S)
    db["a"].insert_one({"_id": 1})
    patient.join(SOON_S)
    assert found == ["gave up", 1]


def test_async_for_waits_and_ends(db: docdb.Database) -> None:
    async def main() -> list[Any]:
        stream = db["a"].changes(operations="insert")
        found = []
        threading.Timer(0.05, db["a"].insert_one, [{"_id": 1}]).start()
        async for change in stream:
            found.append(change.id)
            threading.Timer(0.05, stream.close).start()
        return found

    assert asyncio.run(asyncio.wait_for(main(), SOON_S)) == [1]


def test_a_cancelled_wait_loses_nothing(db: docdb.Database) -> None:
    async def main() -> Any:
        stream = db["a"].changes(operations="insert")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.__anext__(), 0.02)
        db["a"].insert_one({"_id": 1})
        return (await asyncio.wait_for(stream.__anext__(), SOON_S)).id

    assert asyncio.run(main()) == 1


def test_the_thread_ends_with_the_last_feed(db: docdb.Database) -> None:
    stream, other = db["a"].changes(), db["b"].changes()
    assert db.stats()["feeds"]["change_streams"] == 2
    stream.close()
    thread = db._store.hub._thread
    assert thread.is_alive()
    del other
    gc.collect()
    db["a"].insert_one({"_id": 1})
    thread.join(SOON_S)
    assert not thread.is_alive()
    assert db.stats()["feeds"]["change_streams"] == 0
    again = db["a"].changes()
    threading.Timer(0.05, db["a"].insert_one, [{"_id": 2}]).start()
    assert again.next(SOON_S).id == 2


def test_a_closed_database_makes_no_feeds(db: docdb.Database) -> None:
    users = db["a"]
    db.close()
    with pytest.raises(InvalidOperation):
        users.changes()


def test_a_transaction_and_a_view_have_no_feeds(db: docdb.Database) -> None:
    with db.transaction() as t, pytest.raises(InvalidOperation, match="no feeds"):
        t["a"].changes()
    with db.snapshot() as view, pytest.raises(InvalidOperation, match="no feeds"):
        view["a"].watch()


def test_a_transaction_is_one_commit(db: docdb.Database) -> None:
    db["a"].insert_one({"_id": 1})
    stream = db.changes()
    with db.transaction() as t:
        t["a"].doc(1).update({"n": 1})
        t["b"].insert_one({"_id": 2})
        assert stream.try_next() is None
    found = taken(stream)
    assert [(c.operation, c.collection) for c in found] == [("create", "b"), ("update", "a"), ("insert", "b")]
    assert len({c.commit for c in found}) == 1


def test_a_lost_bell_is_made_up_for_by_looking(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = db["a"].changes(operations="insert")
    monkeypatch.setattr(db._store.bell, "herald", lambda number, **_: None)
    threading.Timer(0.05, db["a"].insert_one, [{"_id": 1}]).start()
    assert stream.next(SOON_S).id == 1


def test_an_idle_stream_pins_no_snapshot(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d") as db:
        stream = db["a"].changes(from_="oldest")
        db["a"].insert_one({"_id": 1})
        assert len(taken(stream)) == 2
        assert db.stats()["storage"]["readers"] <= 1  # the one of stats() itself


def test_a_feed_does_not_live_on_in_a_forked_child(db: docdb.Database) -> None:
    stream = db["a"].changes()
    monkey = db._store.hub
    monkey._pid -= 1  # what a child sees
    with pytest.raises(InvalidOperation, match="forked"):
        stream.try_next()
    monkey._pid += 1
