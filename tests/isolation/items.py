"""Steps on items: inserted, moved from one group to another, deleted, and found by predicate in every way the face has.

What lives here: the ways to ask, and the steps ``READS``, ``ONE_CALL``, ``SEVERAL``. What it must not know: as ``workloads``.

An item has its space, a group, a number nobody else has, its version ``v`` and all versions so far in ``h``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final

import docdb
from docdb import command as _
from tests.isolation.histories import Predicate
from tests.isolation.workloads import Call, Step, Work

__all__ = ["ONE_CALL", "READS", "SEVERAL"]

GROUPS: Final = 3
Way = Callable[[str, dict[str, Any], Predicate], Call]


def choose_predicate(w: Work) -> Predicate:
    """Return a predicate: a group, a range of the number, both, or everything."""
    group = w.chance.randrange(GROUPS)
    low = round(w.chance.random(), 2)
    return w.chance.choice(
        [
            {"group": [group, group]},
            {"group": [group, group]},
            {"n": [low, round(low + 0.4, 2)]},
            {"n": [None, low]},
            {"group": [group, group], "n": [low, None]},
            {},
        ]
    )


def filter_of(space: str, predicate: Predicate) -> dict[str, Any]:
    """Return a predicate as a filter document."""
    made: dict[str, Any] = {"space": space}
    for name, (low, high) in predicate.items():
        bounds = {operator: bound for operator, bound in (("$gte", low), ("$lte", high)) if bound is not None}
        made[name] = low if low == high else bounds
    return made


def _foreign(space: str, predicate: Predicate, stage: str) -> list[dict[str, Any]]:
    """Return a pipeline that reaches the items from elsewhere."""
    matched = [{"$match": filter_of(space, predicate)}]
    if stage == "$lookup":
        stages: list[dict[str, Any]] = [{"$lookup": {"from": "items", "pipeline": matched, "as": "found"}}]
    elif stage == "$lookup by field":
        rest = [{"$match": {name: test for name, test in filter_of(space, predicate).items() if name != "space"}}]
        stages = [
            {"$set": {"s": space}},
            {"$lookup": {"from": "items", "localField": "s", "foreignField": "space", "pipeline": rest, "as": "found"}},
        ]
    else:
        rest = {name: test for name, test in filter_of(space, predicate).items() if name != "space"}  # type: ignore[assignment]
        graph = {
            "from": "items", "startWith": space, "connectFromField": "v", "connectToField": "space", "as": "found",
            "restrictSearchWithMatch": rest,
        }  # fmt: skip
        stages = [{"$graphLookup": graph}]
    return [*stages, {"$unwind": "$found"}, {"$replaceRoot": {"newRoot": "$found"}}]


# Ways to find the documents

FOUND: Final[dict[str, Way]] = {
    "find": lambda s, f, p: lambda t: t["items"].find(f).to_list(),
    "where": lambda s, f, p: lambda t: t["items"].where(f).get(),
    "scan": lambda s, f, p: lambda t: t["items"].find(f).hint({"$natural": 1}).to_list(),
    "or": lambda s, f, p: lambda t: t["items"].find({"$or": [f, {"_id": "nobody"}]}).to_list(),
    "aggregate": lambda s, f, p: lambda t: t["items"].aggregate([{"$match": f}]).to_list(),
    "sorted": lambda s, f, p: lambda t: t["items"].find(f).sort("n", -1).to_list(),
    "facet": lambda s, f, p: lambda t: t["items"]
    .aggregate([{"$facet": {"found": [{"$match": f}]}}, {"$unwind": "$found"}, {"$replaceRoot": {"newRoot": "$found"}}])
    .to_list(),
    "$unionWith": lambda s, f, p: lambda t: t["anchor"]
    .aggregate([{"$unionWith": {"coll": "items", "pipeline": [{"$match": f}]}}, {"$match": {"space": s}}])
    .to_list(),
    **{
        stage: lambda s, f, p, stage=stage: lambda t: t["anchor"].aggregate(_foreign(s, p, stage)).to_list()
        for stage in ("$lookup", "$lookup by field", "$graphLookup")
    },
}  # fmt: skip

# Ways to find their versions only

SEEN: Final[dict[str, Way]] = {
    "distinct": lambda s, f, p: lambda t: t["items"].distinct("v", f),
    "projected": lambda s, f, p: lambda t: t["items"].find(f, {"_id": 0, "v": 1}).to_list(),
    "group": lambda s, f, p: (
        lambda t: (
            t["items"]
            .aggregate([{"$match": f}, {"$group": {"_id": "$group", "v": {"$push": "$v"}}}, {"$unwind": "$v"}])
            .to_list()
        )
    ),
}

COUNTED: Final[dict[str, Way]] = {
    "count_documents": lambda s, f, p: lambda t: t["items"].count_documents(f),
    "count": lambda s, f, p: lambda t: t["items"].where(f).count(),
    "$count": lambda s, f, p: lambda t: t["items"].aggregate([{"$match": f}, {"$count": "n"}]).to_list(),
    "$sum": lambda s, f, p: (
        lambda t: t["items"].aggregate([{"$match": f}, {"$group": {"_id": None, "n": {"$sum": 1}}}]).to_list()
    ),
}


def find(w: Work, predicate: Predicate) -> Generator[Call, Any, list[dict[str, Any]]]:
    """Ask for the documents, note and return them."""
    space, filter = w.space, filter_of(w.space, predicate)
    documents = list((yield FOUND[w.chance.choice(list(FOUND))](space, filter, predicate)))
    w.note("found", space, predicate, [[d["_id"], d["h"]] for d in documents])
    return documents


def find_items(w: Work) -> Generator[Call, Any, None]:
    yield from find(w, choose_predicate(w))


def see_items(w: Work) -> Generator[Call, Any, None]:
    space, predicate = w.space, choose_predicate(w)
    rows = yield SEEN[w.chance.choice(list(SEEN))](space, filter_of(space, predicate), predicate)
    w.note("seen", space, predicate, [row["v"] if isinstance(row, dict) else row for row in rows])


def count_items(w: Work) -> Generator[Call, Any, None]:
    space, predicate = w.space, choose_predicate(w)
    number = yield COUNTED[w.chance.choice(list(COUNTED))](space, filter_of(space, predicate), predicate)
    w.note("count", space, predicate, number if isinstance(number, int) else sum(row["n"] for row in number))


def first_items(w: Work) -> Generator[Call, Any, None]:
    """Sort and limit: what was read is everything up to the last one found."""
    space, count, group = w.space, w.chance.randint(1, 3), w.chance.randrange(GROUPS)
    predicate: Predicate = w.chance.choice([{"group": [group, group]}, {}])
    filter = filter_of(space, predicate)
    ways: list[Call] = [
        lambda t: t["items"].find(filter).sort("n", 1).limit(count).to_list(),
        lambda t: t["items"].where(filter).order_by("n").limit(count).get(),
        lambda t: t["items"].aggregate([{"$match": filter}, {"$sort": {"n": 1}}, {"$limit": count}]).to_list(),
    ]
    documents = list((yield w.chance.choice(ways)))
    if len(documents) == count:
        predicate = {**predicate, "n": [None, documents[-1]["n"]]}
    w.note("found", space, predicate, [[d["_id"], d["h"]] for d in documents])


# Writes


def new_attributes(w: Work) -> dict[str, Any]:
    return {"group": w.chance.randrange(GROUPS), "n": round(w.chance.random(), 6)}


def new_item(w: Work) -> dict[str, Any]:
    """Note that an item is made and return its document."""
    value, attributes = w.fresh(), new_attributes(w)
    item = f"i{value}"
    w.note("put", w.space, item, value, attributes)
    return {"_id": item, "space": w.space, **attributes, "v": value, "h": [value]}


def insert_item(w: Work) -> Generator[Call, Any, None]:
    document = new_item(w)
    rest = {name: value for name, value in document.items() if name != "_id"}
    ways: list[Call] = [
        lambda t: t["items"].insert_one(document),
        lambda t: t["items"].add(document),
        lambda t: t["items"].bulk_write([docdb.InsertOne(document)]),
        lambda t: t["items"].update_one({"_id": document["_id"]}, {"$set": rest}, upsert=True),
    ]
    yield w.chance.choice(ways)


def insert_items(w: Work) -> Generator[Call, Any, None]:
    documents = [new_item(w), new_item(w)]
    yield lambda t: t["items"].insert_many(documents)


def change_item(w: Work) -> Generator[Call, Any, None]:
    """Find by predicate and change one of what was found."""
    documents = yield from find(w, choose_predicate(w))
    if documents:
        yield from _change(w, w.chance.choice(documents))


def _change(w: Work, document: dict[str, Any]) -> Generator[Call, Any, None]:
    item, value, attributes = document["_id"], w.fresh(), new_attributes(w)
    w.note("put", w.space, item, value, attributes)
    update = {"$set": {**attributes, "v": value}, "$push": {"h": value}}
    whole = {**document, **attributes, "v": value, "h": [*document["h"], value]}
    ways: list[Call] = [
        lambda t: t["items"].update_one({"_id": item}, update),
        lambda t: t["items"].doc(item).update({**attributes, "v": value, "h": _.push(value)}),
        lambda t: t["items"].bulk_write([docdb.UpdateOne({"_id": item}, update)]),
        lambda t: t["items"].replace_one({"_id": item}, whole),
        lambda t: t["items"].find_one_and_update({"v": document["v"], "space": document["space"]}, update),
    ]
    yield w.chance.choice(ways)


def change_items(w: Work) -> Generator[Call, Any, None]:
    """Find by predicate, then move all of it to another group by the same predicate."""
    predicate, group, base, space = choose_predicate(w), w.chance.randrange(GROUPS), w.fresh(), w.space
    documents = yield from find(w, predicate)
    for d in documents:
        w.note("put", space, d["_id"], f"{base}:{d['_id']}", {"group": group, "n": d["n"]})
    value = {"$concat": [f"{base}:", "$_id"]}
    change = [{"$set": {"group": group, "v": value, "h": {"$concatArrays": ["$h", [value]]}}}]
    result = yield lambda t: t["items"].update_many(filter_of(space, predicate), change)
    w.note("expect", "internal", len(documents), result.matched_count)


def change_items_blindly(w: Work) -> Generator[Call, Any, None]:
    """Change by predicate without having looked, and look at what was changed; only the write itself has read the predicate."""
    predicate, group, base, space = choose_predicate(w), w.chance.randrange(GROUPS), w.fresh(), w.space
    value = {"$concat": [f"{base}:", "$_id"]}
    change = [{"$set": {"group": group, "v": value, "h": {"$concatArrays": ["$h", [value]]}, "base": base}}]
    result = yield lambda t: t["items"].update_many(filter_of(space, predicate), change)
    documents = yield lambda t: t["items"].find({"base": base}).to_list()
    w.note("expect", "internal", result.matched_count, len(documents))
    w.note("found", space, predicate, [[d["_id"], d["h"][:-1]] for d in documents])
    for d in documents:
        w.note("put", space, d["_id"], d["v"], {"group": d["group"], "n": d["n"]})


def take_item(w: Work) -> Generator[Call, Any, None]:
    """Change one that a filter finds, without having read it."""
    space, value, attributes, predicate = w.space, w.fresh(), new_attributes(w), choose_predicate(w)
    update = {"$set": {**attributes, "v": value}, "$push": {"h": value}}
    before = yield lambda t: t["items"].find_one_and_update(filter_of(space, predicate), update)
    if before is None:
        w.note("seen", space, predicate, [])
    else:
        w.note("read", f"{space}/{before['_id']}", before["h"])
        w.note("put", space, before["_id"], value, attributes)


def delete_item(w: Work) -> Generator[Call, Any, None]:
    documents = yield from find(w, choose_predicate(w))
    if documents:
        item = w.chance.choice(documents)["_id"]
        w.note("delete", w.space, item)
        ways: list[Call] = [
            lambda t: t["items"].delete_one({"_id": item}),
            lambda t: t["items"].doc(item).remove(),
            lambda t: t["items"].find_one_and_delete({"_id": item}),
            lambda t: t["items"].bulk_write([docdb.DeleteOne({"_id": item})]),
        ]
        yield w.chance.choice(ways)


def delete_items(w: Work) -> Generator[Call, Any, None]:
    predicate, space = choose_predicate(w), w.space
    documents = yield from find(w, predicate)
    for document in documents:
        w.note("delete", space, document["_id"])
    result = yield lambda t: t["items"].delete_many(filter_of(space, predicate))
    w.note("expect", "internal", len(documents), result.deleted_count)


def insert_unless_there(w: Work) -> Generator[Call, Any, None]:
    """The shape of write skew by predicate: look, and insert what the next one would find."""
    space, group = w.space, w.chance.randrange(GROUPS)
    predicate: Predicate = {"group": [group, group]}
    number = yield COUNTED[w.chance.choice(list(COUNTED))](space, filter_of(space, predicate), predicate)
    number = number if isinstance(number, int) else sum(row["n"] for row in number)
    w.note("count", space, predicate, number)
    if number < 2:
        document = new_item(w)
        yield lambda t: t["items"].insert_one(document)


READS: Final[list[Step]] = [find_items, see_items, count_items, first_items]
ONE_CALL: Final[list[Step]] = [insert_item, insert_items]
SEVERAL: Final[list[Step]] = [
    change_item, change_items, change_items_blindly, take_item, delete_item, delete_item, delete_items,
    insert_unless_there,
]  # fmt: skip
