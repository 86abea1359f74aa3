"""Transactions that leave little room for doubt: lists, registers, accounts, and the plans made of them.

What lives here: ``Work`` (what a plan needs), steps on lists, registers and accounts, ``plan``. Steps on items and by predicate are in ``items``. What it
must not know: who carries calls out; threads, processes.

A step is a generator: it yields calls (functions of a database or transaction, sync or async) and gets their answers. Writes are noted before they are made,
so that a process that is killed meanwhile has said what it was about to do. Keys belong to a generation: later ones are fresh, which keeps lists short.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import docdb
from tests.isolation.histories import Attempt

__all__ = ["Call", "Step", "Work", "final", "plan", "set_up"]

Call = Callable[[Any], Any]
Step = Callable[["Work"], Generator[Call, Any, None]]

LISTS: Final = 4  # of each kind in a generation
REGISTERS: Final = 3
ACCOUNTS: Final = 3
SHARED: Final = 4  # generations that share a collection made on the way
OPENING: Final = 100  # balance of an account nobody has touched


@dataclass
class Work:
    """What the steps of one attempt share."""

    attempt: Attempt
    chance: Random
    generation: int
    fresh: Callable[[], int]  # a value never used before

    def note(self, *operation: Any) -> None:
        self.attempt.note(*operation)

    def key(self, count: int) -> str:
        """Return one of the keys of this generation."""
        return f"{self.generation}:{self.chance.randrange(count)}"

    @property
    def made(self) -> str:
        """A collection that nobody has made beforehand."""
        return f"made{self.generation // SHARED}"

    @property
    def space(self) -> str:
        return f"s{self.generation}"


def set_up(db: docdb.Database) -> None:
    """Make the collections and indexes."""
    db.create_collection("lists")
    db.create_collection("registers")
    db["keyed"].create_index("key", unique=True)
    db["accounts"].create_index("generation")
    db["items"].create_index([("space", 1), ("group", 1)])
    db["items"].create_index([("space", 1), ("n", 1)])
    db["anchor"].insert_one({"_id": "anchor"})


# Lists


def append_by_id(w: Work) -> Generator[Call, Any, None]:
    key, value = w.key(LISTS), w.fresh()
    w.note("append", f"lists/{key}", value)
    yield lambda t: t["lists"].update_one({"_id": key}, {"$push": {"list": value}}, upsert=True)


def append_by_key(w: Work) -> Generator[Call, Any, None]:
    """Append through a unique key; whoever comes first makes the document."""
    key, value = w.key(LISTS), w.fresh()
    w.note("append", f"keyed/{key}", value)
    yield lambda t: t["keyed"].update_one({"key": key}, {"$push": {"list": value}}, upsert=True)


def append_and_see(w: Work) -> Generator[Call, Any, None]:
    name, field = w.chance.choice((("lists", "_id"), ("keyed", "key")))
    key, value = w.key(LISTS), w.fresh()
    w.note("append", f"{name}/{key}", value)
    document = yield lambda t: t[name].find_one_and_update(
        {field: key}, {"$push": {"list": value}}, upsert=True, return_document=True
    )
    w.note("read", f"{name}/{key}", document["list"])


def append_two(w: Work) -> Generator[Call, Any, None]:
    keys = [f"{w.generation}:{k}" for k in w.chance.sample(range(LISTS), 2)]
    values = [w.fresh() for _ in keys]
    for key, value in zip(keys, values, strict=True):
        w.note("append", f"lists/{key}", value)
    requests = [
        docdb.UpdateOne({"_id": key}, {"$push": {"list": value}}, upsert=True)
        for key, value in zip(keys, values, strict=True)
    ]
    yield lambda t: t["lists"].bulk_write(requests)


def rewrite(w: Work) -> Generator[Call, Any, None]:
    """Read a list and put a longer one in its place."""
    key, value = w.key(LISTS), w.fresh()
    document = yield lambda t: t["lists"].doc(key).get()
    values = document["list"] if document else []
    w.note("read", f"lists/{key}", values)
    w.note("append", f"lists/{key}", value)
    yield lambda t: t["lists"].doc(key).set({"list": [*values, value]})


def append_twice(w: Work) -> Generator[Call, Any, None]:
    """Leave a version behind that nobody may see."""
    key, first, second = w.key(LISTS), w.fresh(), w.fresh()
    for value in (first, second):
        w.note("append", f"lists/{key}", value)
        yield lambda t, value=value: t["lists"].update_one({"_id": key}, {"$push": {"list": value}}, upsert=True)  # type: ignore[misc]


def insert_list(w: Work) -> Generator[Call, Any, None]:
    """Make the document of a list where it is not there yet, by id or by a unique key."""
    name, field = w.chance.choice((("lists", "_id"), ("keyed", "key")))
    key, value = w.key(LISTS), w.fresh()
    try:
        yield lambda t: t[name].insert_one({field: key, "list": [value]})
    except docdb.DuplicateKeyError:
        documents = yield lambda t: t[name].find({field: key}).to_list()
        w.note("read", f"{name}/{key}", documents[0]["list"])
    else:
        w.note("read", f"{name}/{key}", [])
        w.note("append", f"{name}/{key}", value)


def use_new_collection(w: Work) -> Generator[Call, Any, None]:
    """Look into a collection that whoever writes to it first has made."""
    name, key, value = w.made, str(w.chance.randrange(2)), w.fresh()
    document = yield lambda t: t[name].find_one({"_id": key})
    w.note("read", f"{name}/{key}", document["list"] if document else [])
    if w.chance.random() < 0.4:
        w.note("append", f"{name}/{key}", value)
        yield lambda t: t[name].update_one({"_id": key}, {"$push": {"list": value}}, upsert=True)


def read_list(w: Work) -> Generator[Call, Any, None]:
    key = w.key(LISTS)
    ways: list[Call] = [
        lambda t: t["lists"].doc(key).get(),
        lambda t: t["lists"].find_one({"_id": key}),
        lambda t: t["lists"].find_one({"_id": key}, {"list": 1}),
    ]
    document = yield w.chance.choice(ways)
    w.note("read", f"lists/{key}", document["list"] if document else [])


def read_keyed(w: Work) -> Generator[Call, Any, None]:
    key = w.key(LISTS)
    ways: list[Call] = [
        lambda t: t["keyed"].find({"key": key}).to_list(),
        lambda t: t["keyed"].aggregate([{"$match": {"key": key}}, {"$project": {"list": 1}}]).to_list(),
        lambda t: t.aggregate(
            [
                {"$documents": [{"k": key}]},
                {"$lookup": {"from": "keyed", "localField": "k", "foreignField": "key", "as": "found"}},
                {"$unwind": "$found"},
                {"$replaceRoot": {"newRoot": "$found"}},
            ]
        ).to_list(),
    ]
    documents = yield w.chance.choice(ways)
    w.note("expect", "duplicate key", True, len(documents) < 2)
    w.note("read", f"keyed/{key}", documents[0]["list"] if documents else [])


def read_lists(w: Work) -> Generator[Call, Any, None]:
    """Read all lists of the generation at once."""
    keys = [f"{w.generation}:{k}" for k in range(LISTS)]
    stages = [{"$match": {"_id": {"$in": keys}}}]
    ways: list[Call] = [
        lambda t: t["lists"].find({"_id": {"$in": keys}}).to_list(),
        lambda t: t["lists"].aggregate(stages).to_list(),
        lambda t: (
            t["anchor"]
            .aggregate([{"$unionWith": {"coll": "lists", "pipeline": stages}}, {"$match": {"list": {"$exists": True}}}])
            .to_list()
        ),
    ]
    documents = yield w.chance.choice(ways)
    found = {document["_id"]: document["list"] for document in documents}
    for key in keys:
        w.note("read", f"lists/{key}", found.get(key, []))


# Registers


def read_register(w: Work) -> Generator[Call, Any, None]:
    key = w.key(REGISTERS)
    document = yield lambda t: t["registers"].doc(key).get()
    w.note("get", f"registers/{key}", document["v"] if document else None)


def write_register(w: Work) -> Generator[Call, Any, None]:
    key, value = w.key(REGISTERS), w.fresh()
    w.note("write", f"registers/{key}", value)
    ways: list[Call] = [
        lambda t: t["registers"].doc(key).set({"v": value}),
        lambda t: t["registers"].replace_one({"_id": key}, {"v": value}, upsert=True),
        lambda t: t["registers"].update_one({"_id": key}, {"$set": {"v": value}}, upsert=True),
    ]
    yield w.chance.choice(ways)


def change_register(w: Work) -> Generator[Call, Any, None]:
    key, value = w.key(REGISTERS), w.fresh()
    document = yield lambda t: t["registers"].find_one({"_id": key})
    w.note("get", f"registers/{key}", document["v"] if document else None)
    w.note("write", f"registers/{key}", value)
    yield lambda t: t["registers"].doc(key).set({"v": value})


def swap_register(w: Work) -> Generator[Call, Any, None]:
    """Write and be told what was there before; only inside a transaction, as it is noted afterwards."""
    key, value = w.key(REGISTERS), w.fresh()
    document = yield lambda t: t["registers"].find_one_and_replace({"_id": key}, {"v": value}, upsert=True)
    w.note("get", f"registers/{key}", document["v"] if document else None)
    w.note("write", f"registers/{key}", value)


# Accounts: registers whose balances have a sum


def audit(w: Work) -> Generator[Call, Any, None]:
    generation = w.generation
    documents = yield lambda t: t["accounts"].find({"generation": generation}).to_list()
    found = {document["_id"]: document for document in documents}
    for key in (f"{generation}:{k}" for k in range(ACCOUNTS)):
        w.note("get", f"accounts/{key}", found[key]["v"] if key in found else None)
    total = sum(document["balance"] - OPENING for document in documents)
    w.note("expect", "sum", 0, total)


def audit_by_group(w: Work) -> Generator[Call, Any, None]:
    generation = w.generation
    stages = [
        {"$match": {"generation": generation}},
        {"$group": {"_id": None, "total": {"$sum": "$balance"}, "n": {"$sum": 1}}},
    ]
    rows = yield lambda t: t["accounts"].aggregate(stages).to_list()
    w.note("expect", "sum", 0, sum(row["total"] - OPENING * row["n"] for row in rows))


def transfer(w: Work) -> Generator[Call, Any, None]:
    amount, balances = w.chance.randrange(1, 20), []
    keys = [f"{w.generation}:{k}" for k in w.chance.sample(range(ACCOUNTS), 2)]
    for key in keys:
        document = yield lambda t, key=key: t["accounts"].doc(key).get()  # type: ignore[misc]
        w.note("get", f"accounts/{key}", document["v"] if document else None)
        balances.append(document["balance"] if document else OPENING)
    for key, balance in zip(keys, (balances[0] - amount, balances[1] + amount), strict=True):
        value = w.fresh()
        w.note("write", f"accounts/{key}", value)
        after = {"generation": w.generation, "balance": balance, "v": value}
        yield lambda t, key=key, after=after: t["accounts"].doc(key).set(after)  # type: ignore[misc]


def transfer_blindly(w: Work) -> Generator[Call, Any, None]:
    amount, requests = w.chance.randrange(1, 20), []
    for k, more in zip(w.chance.sample(range(ACCOUNTS), 2), (amount, -amount), strict=True):
        key, value = f"{w.generation}:{k}", w.fresh()
        w.note("write", f"accounts/{key}", value)
        balance = {"$add": [{"$ifNull": ["$balance", OPENING]}, more]}
        change = [{"$set": {"generation": w.generation, "balance": balance, "v": value}}]
        requests.append(docdb.UpdateOne({"_id": key}, change, upsert=True))
    yield lambda t: t["accounts"].bulk_write(requests)


# Plans

READS: Final[list[Step]] = [read_list, read_keyed, read_lists, read_register, audit, audit_by_group]
ONE_CALL: Final[list[Step]] = [
    append_by_id,
    append_by_key,
    append_and_see,
    append_two,
    write_register,
    transfer_blindly,
]
SEVERAL: Final[list[Step]] = [
    rewrite, append_twice, insert_list, use_new_collection, change_register, swap_register, transfer
]  # fmt: skip


def plan(chance: Random, kind: str, only: frozenset[str] = frozenset()) -> list[Step]:
    """Return the steps of a transaction: ``plain`` is one call, ``reads`` does not write, ``any`` does anything. ``only`` are names of steps; none: all."""
    from tests.isolation import items  # which takes Work from here

    def among(*steps: Step) -> list[Step]:
        return [step for step in steps if step.__name__ in only] or list(steps)

    if kind == "plain":
        return [chance.choice(among(*READS, *items.READS, *ONE_CALL, *items.ONE_CALL))]
    reads = among(*READS, *items.READS, *items.READS)
    if kind == "reads":
        return chance.choices(reads, k=chance.randint(2, 4))
    writes = among(*ONE_CALL, *items.ONE_CALL, *SEVERAL, *items.SEVERAL, *items.SEVERAL)
    steps = chance.choices(reads, k=chance.randint(0, 2)) + chance.choices(writes, k=chance.randint(1, 2))
    if chance.random() < 0.3:
        chance.shuffle(steps)
    return steps


def final(w: Work, generations: int) -> Generator[Call, Any, None]:
    """Read everything there is."""
    for name, field in (("lists", "_id"), ("keyed", "key")):
        documents = yield lambda t, name=name: t[name].find({}).to_list()  # type: ignore[misc]
        found = {document[field]: document["list"] for document in documents}
        w.note("expect", "duplicate key", len(documents), len(found))
        for key in (f"{g}:{k}" for g in range(generations) for k in range(LISTS)):
            w.note("read", f"{name}/{key}", found.get(key, []))
    for number in range(generations // SHARED + 1):
        documents = yield lambda t, number=number: t[f"made{number}"].find({}).to_list()  # type: ignore[misc]
        found = {document["_id"]: document["list"] for document in documents}
        for key in "01":
            w.note("read", f"made{number}/{key}", found.get(key, []))
    for name, count in (("registers", REGISTERS), ("accounts", ACCOUNTS)):
        documents = yield lambda t, name=name: t[name].find({}).to_list()  # type: ignore[misc]
        values = {document["_id"]: document["v"] for document in documents}
        for key in (f"{g}:{k}" for g in range(generations) for k in range(count)):
            w.note("get", f"{name}/{key}", values.get(key))
    documents = yield lambda t: t["items"].find({}).to_list()
    rows: dict[str, list[Any]] = {f"s{generation}": [] for generation in range(generations)}
    for d in documents:
        rows[d["space"]].append([d["_id"], d["h"]])
    for space, found in rows.items():
        w.note("found", space, {}, found)
