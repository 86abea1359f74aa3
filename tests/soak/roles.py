"""What the processes of a soak do. Each role works until it is told to stop, and asserts what must be true whatever the others do.

accounts   50 documents whose balances add up to 5,000 at every moment: changed by transactions alone
items      2,000 ids that come, change and go; indexes on them are built and dropped meanwhile
groups     4 groups of 5 documents; those of a group have one number at every moment
counters   one document a writer: at least as high as what it was acknowledged
sessions   documents that expire after a second
mirror     what the consumer makes of the accounts
"""

from __future__ import annotations

import datetime as dt
import random
import shutil
from collections.abc import Callable
from typing import Any, Final

import docdb
from docdb.errors import (
    BusyError,
    CollectionError,
    DeniedError,
    DuplicateKeyError,
    HistoryLost,
    QueryError,
    SnapshotExpired,
    TransactionConflict,
)
from tests.soak.board import Worker

ACCOUNTS: Final = 50
TOTAL: Final = ACCOUNTS * 100
GROUPS: Final = 4
ITEMS: Final = 2_000
HISTORY_BYTES: Final = 4 * 2**20  # small, so that the log is at its cap soon and the file can be flat
INDEXES: Final = ("tag", "list", [("tag", 1), ("n", -1)], [("extra.$**", 1)], "owner")
OWNERS: Final = [f"user{n}" for n in range(10)]
LIVE_QUERIES: Final = 100
DROPPED_MEANWHILE: Final = 276  # the code of an index build that somebody ended by dropping the index
OWN: Final = "auth != null && doc._openid == auth.openid"
RULES: Final = (
    {"read": OWN, "write": OWN},
    {"read": OWN, "create": OWN, "update": OWN, "delete": OWN},
)  # the same, said twice


def opened(path: str) -> docdb.Database:
    """Open the database of a soak."""
    return docdb.open(path, history_bytes=HISTORY_BYTES, sweep_s=1)


def prepare(path: str) -> None:
    """Make the database."""
    with opened(path) as db:
        db["accounts"].insert_many([{"_id": n, "balance": 100} for n in range(ACCOUNTS)])
        db["groups"].insert_many([{"_id": f"{g}-{n}", "group": g, "seq": 0} for g in range(GROUPS) for n in range(5)])
        db["groups"].create_index("group")
        db["items"].insert_many([new_item(n, random.Random(n)) for n in range(ITEMS)])
        db["items"].create_index("n")
        db["sessions"].create_index("seen", expire_after_s=1)
        db["mirror"].create_index("balance")
        db["notes"].create_index("_openid")
        db.set_rules("notes", RULES[0])


def new_item(number: int, chance: random.Random) -> dict[str, Any]:
    """Return a document; one in fifty is larger than a page."""
    size = 6_000 if chance.random() < 0.02 else chance.randrange(200)
    return {
        "_id": number, "n": chance.randrange(1000), "tag": f"tag{chance.randrange(20)}", "list": [chance.randrange(9) for _ in range(3)],
        "owner": chance.choice(OWNERS), "extra": {f"f{chance.randrange(5)}": chance.randrange(5)}, "text": "x" * size,
    }  # fmt: skip


def write(worker: Worker) -> None:
    """Insert, update, replace, delete; count what was acknowledged."""
    chance, counter = worker.chance(), f"writer{worker.number}"
    with opened(worker.path) as db:
        items = db["items"]
        while worker.goes_on():
            pick, key = chance.random(), chance.randrange(ITEMS)
            if pick < 0.3:
                items.replace_one({"_id": key}, new_item(key, chance), upsert=True)
            elif pick < 0.5:
                items.update_many(
                    {"n": {"$gte": key % 900, "$lt": key % 900 + 5}}, {"$inc": {"count": 1}, "$set": {"tag": "tag1"}}
                )
            elif pick < 0.6:
                items.delete_one({"_id": key})
            elif pick < 0.7:
                db["groups"].update_many({"group": key % GROUPS}, {"$set": {"seq": chance.randrange(10**9)}})
            elif pick < 0.8:
                now = dt.datetime.now(dt.UTC)
                db["sessions"].insert_many([{"seen": now, "text": "y" * 100} for _ in range(chance.randrange(1, 20))])
            else:
                db["counters"].update_one({"_id": counter}, {"$inc": {"n": 1}}, upsert=True)
                worker.acknowledge()


def transact(worker: Worker) -> None:
    """Move money between accounts, in transactions that may conflict; some are given up half-way."""
    chance = worker.chance()
    with opened(worker.path) as db:
        while worker.goes_on():
            source, target, amount = *chance.sample(range(ACCOUNTS), 2), chance.randrange(1, 10)

            def move(t: Any, source: int = source, target: int = target, amount: int = amount) -> None:
                accounts = t["accounts"]
                balances = {d["_id"]: d["balance"] for d in accounts.find({"_id": {"$in": [source, target]}})}
                accounts.update_one({"_id": source}, {"$set": {"balance": balances[source] - amount}})
                accounts.update_one({"_id": target}, {"$set": {"balance": balances[target] + amount}})

            try:
                if chance.random() < 0.1:
                    transaction = db.start_transaction()
                    move(transaction)
                    transaction.rollback()
                else:
                    db.run_transaction(move, times=20)
            except TransactionConflict:
                continue


def look(worker: Worker) -> None:
    """Ask everything that has one right answer in a snapshot."""
    chance = worker.chance()
    with opened(worker.path) as db:
        while worker.goes_on():
            try:
                with db.snapshot() as s:
                    look_once(s, chance)
            except SnapshotExpired:
                continue


def look_once(s: Any, chance: random.Random) -> None:
    """Ask one snapshot."""
    (total,) = s["accounts"].aggregate([{"$group": {"_id": None, "n": {"$sum": "$balance"}}}])
    assert total["n"] == TOTAL, f"the accounts hold {total['n']}"
    seen: dict[int, set[int]] = {}
    for document in s["groups"].find():
        seen.setdefault(document["group"], set()).add(document["seq"])
    assert all(len(values) == 1 for values in seen.values()), f"torn groups: {seen}"
    low = chance.randrange(900)
    for condition in (
        {"tag": f"tag{low % 20}"},
        {"list": low % 9},
        {"n": {"$gte": low, "$lt": low + 50}},
        {"owner": OWNERS[low % 10]},
    ):
        found = list(s["items"].find(condition))
        assert len(found) == s["items"].count_documents(condition), f"a count and a find differ: {condition}"
        by_hand = [d["_id"] for d in s["items"].find() if matches(d, condition)]
        assert sorted(d["_id"] for d in found) == by_hand, f"an index and a scan differ: {condition}"
    numbers = [d["n"] for d in s["items"].find({"n": {"$lt": low}}).sort("n", -1).limit(50)]
    assert numbers == sorted(numbers, reverse=True), "a sort"


def matches(document: dict[str, Any], condition: dict[str, Any]) -> bool:
    """Judge one of the reader's conditions by hand."""
    ((path, wanted),) = condition.items()
    value = document[path]
    if isinstance(wanted, dict):
        return bool(wanted["$gte"] <= value < wanted["$lt"])
    return wanted in value if isinstance(value, list) else bool(value == wanted)


def live(worker: Worker) -> None:
    """Hold live queries, a change stream and callbacks; close and open them anew."""
    chance = worker.chance()
    with opened(worker.path) as db:
        accounts = db["accounts"].where({}).watch()
        window = db["items"].where({"tag": "tag1"}).order_by("n", "asc").limit(10).watch()
        each = [db["items"].where({"owner": OWNERS[n % 10], "n": n}).watch() for n in range(LIVE_QUERIES)]
        told: list[int] = [0]
        watcher = db["groups"].watch(on_change=lambda change: told.__setitem__(0, told[0] + 1))
        stream = db.changes()
        last = 0
        while worker.goes_on(0.01):
            while (snapshot := accounts.try_next()) is not None:
                assert sum(d["balance"] for d in snapshot.docs) == TOTAL, "a live query shows half a transaction"
            while (snapshot := window.try_next()) is not None:
                numbers = [d["n"] for d in snapshot.docs]
                assert numbers == sorted(numbers) and len(numbers) <= 10, "a live window"
            at = chance.randrange(LIVE_QUERIES)
            each[at].try_next()
            if chance.random() < 0.1:
                each[at].close()
                each[at] = db["items"].where({"owner": OWNERS[at % 10], "n": chance.randrange(1000)}).watch()
            try:
                for _ in range(200):
                    change = stream.try_next()
                    if change is None:
                        break
                    assert change.commit >= last, "a change stream goes back"
                    last = change.commit
            except HistoryLost:
                stream.restart(from_="now")
        for feed in (accounts, window, *each, watcher, stream):
            feed.close()


def consume(worker: Worker) -> None:
    """Mirror the accounts by a consumer, and hear of the groups by a trigger."""
    with opened(worker.path) as db:
        consumer = db.consume("mirror", mirror, collection="accounts", from_="oldest", batch=20)
        trigger = db.trigger("groups", None, lambda change: None, name="heard", from_="now")
        while worker.goes_on(0.05):
            for each in (consumer, trigger):
                if each.state == "stopped":
                    assert isinstance(each.error, HistoryLost), each.error
                    worker.file("lost").touch()  # the mirror then has a gap
                    each.restart(from_="oldest")


def mirror(changes: Any, t: Any) -> None:
    """Be the consumer's function."""
    for change in changes:
        if change.operation not in ("insert", "update", "replace"):
            continue  # the making of the collection
        t["mirror"].replace_one({"_id": change.id}, {"balance": change.after["balance"]}, upsert=True)


def call(worker: Worker) -> None:
    """Be callers under rules: each sees what is its own, and is refused all else."""
    chance = worker.chance()
    with opened(worker.path) as db:
        while worker.goes_on():
            own, other = chance.sample(OWNERS, 2)
            notes = db.as_user({"openid": own})["notes"]
            key = f"{own}-{chance.randrange(100)}"
            try:
                call_once(notes, own, other, key, chance)
            except TransactionConflict:
                continue


def call_once(notes: Any, own: str, other: str, key: str, chance: random.Random) -> None:
    """Do one thing that is allowed and one that is not."""
    pick = chance.random()
    if pick < 0.4:
        notes.update_many({"_openid": own, "n": chance.randrange(100)}, {"$set": {"text": "x" * chance.randrange(300)}})
    elif pick < 0.6:
        try:
            notes.insert_one({"_id": key, "n": chance.randrange(100)})
        except DuplicateKeyError:
            notes.delete_many({"_openid": own, "n": chance.randrange(100)})
    else:
        found = notes.find({"_openid": own, "n": {"$lt": 50}}).to_list()
        assert all(document["_openid"] == own for document in found), f"{own} sees notes of others"
    forbidden: list[Callable[[], Any]] = [
        lambda: notes.find({}).to_list(),
        lambda: notes.count_documents({"_openid": other}),
        lambda: notes.insert_one({"_openid": other}),
        lambda: notes.update_many({"_openid": other}, {"$set": {"n": 1}}),
        lambda: notes.delete_many({}),
        lambda: list(notes.aggregate([{"$match": {"n": {"$gt": 1}}}, {"$count": "n"}])),
    ]
    try:
        chance.choice(forbidden)()
    except DeniedError:
        return
    raise AssertionError(f"{own} was not refused")


def administer(worker: Worker) -> None:
    """Build and drop indexes, make and drop collections, back up, try to compact."""
    chance = worker.chance()
    with opened(worker.path) as db:
        while worker.goes_on(0.05):
            pick = chance.random()
            if pick < 0.5:
                toggle(db["items"], chance.choice(INDEXES))
            elif pick < 0.7:
                scratch = db[f"scratch{worker.number}-{chance.randrange(5)}"]
                scratch.insert_many([{"n": n} for n in range(200)])
                scratch.create_index("n")
                scratch.drop()
            elif pick < 0.8:
                back_up(db, worker, compact=chance.random() < 0.5)
            elif pick < 0.85:
                db.set_rules("notes", chance.choice(RULES))
            elif pick < 0.9:
                db.sweep()
            else:
                try:
                    db.compact()
                except BusyError:
                    continue
                raise AssertionError("compaction in place while others have the database open")


def toggle(items: Any, keys: Any) -> None:
    """Make an index that is not there, drop one that is; others may do the same."""
    names = items.index_information()
    wanted = keys if isinstance(keys, list) else [(keys, 1)]
    name = "_".join(f"{path}_{way}" for path, way in wanted)
    try:
        if name in names:
            items.drop_index(name)
        else:
            items.create_index(keys)
    except (CollectionError, QueryError, BusyError):
        return
    except docdb.DocdbError as error:
        if error.code != DROPPED_MEANWHILE:
            raise


def back_up(db: docdb.Database, worker: Worker, compact: bool) -> None:
    """Back up, look into the copy, throw it away."""
    target = worker.file("backup")
    try:
        db.backup(target, compact=compact)
        with docdb.open(target) as copy:
            look_once(copy, worker.chance())
            assert copy.check().problems == []
    finally:
        shutil.rmtree(target, ignore_errors=True)


def die(worker: Worker) -> None:
    """Be any of the others: whoever plays this is killed before long."""
    worker.chance().choice((administer, call, consume, live, look, transact, write, write))(worker)


ROLES: Final[dict[str, Callable[[Worker], None]]] = {
    "administrator": administer, "caller": call, "consumer": consume, "live": live, "reader": look, "transactor": transact, "victim": die, "writer": write,
}  # fmt: skip
