"""Calls that are interrupted, and what must hold behind.

What lives here: ``CASES``, each a function that prepares a database and returns the call, and ``Strike``, which interrupts one and looks. What it must not
know: which points are chosen.

The law: a write has happened or not, and a note on the interruption says which; a transaction is over and rolled back, or as it was in front of
the call or behind it; the checker finds nothing; other threads can write; no snapshot stays open; no handler of a signal stays replaced.
"""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable
from typing import Any, Final

import docdb
from tests.interruption.striking import count, struck

__all__ = ["CASES", "Strike"]

Call = Callable[[], Any]
PATIENCE_S: Final = 30.0
CASES: Final[dict[str, Callable[[Any], Call]]] = {}


def case(make: Callable[[Any], Call]) -> Callable[[Any], Call]:
    CASES[make.__name__] = make
    return make


class Step:
    """A call in a transaction that has written before."""

    def __init__(self, db: Any, call: Callable[[Any], Any]) -> None:
        self.t = db.start_transaction()
        self.t["a"].update_one({"_id": 1}, {"$set": {"n": -1}})
        self.call = call

    def __call__(self) -> Any:
        return self.call(self.t)


@case
def insert_one(db: Any) -> Call:
    return lambda: db["a"].insert_one({"_id": 100, "k": 1})


@case
def insert_many(db: Any) -> Call:
    return lambda: db["a"].insert_many([{"_id": 100 + n, "k": 1} for n in range(3)])


@case
def update_one(db: Any) -> Call:
    db["a"].update_one({"_id": 1}, {"$set": {"n": -1}})  # from now on the short road is open
    return lambda: db["a"].update_one({"_id": 1}, {"$set": {"n": 1_000}})


@case
def update_one_beside_a_stream(db: Any) -> Call:
    stream = db["a"].changes()
    db["a"].update_one({"_id": 1}, {"$set": {"n": -1}})

    def call() -> None:
        assert stream is not None
        db["a"].update_one({"_id": 1}, {"$set": {"n": 1_000}})

    return call


@case
def update_many(db: Any) -> Call:
    return lambda: db["a"].update_many({"k": 2}, {"$inc": {"n": 1}})


@case
def delete_many(db: Any) -> Call:
    return lambda: db["a"].delete_many({"k": 2})


@case
def find_one_and_update(db: Any) -> Call:
    return lambda: db["a"].find_one_and_update({"k": 2}, {"$inc": {"n": 1}})


@case
def replace_by_pipeline(db: Any) -> Call:
    return lambda: list(db["a"].aggregate([{"$match": {"k": 2}}, {"$set": {"n": 7}}, {"$merge": "a"}]))


@case
def create_index(db: Any) -> Call:
    return lambda: db["a"].create_index("n")


@case
def drop_index(db: Any) -> Call:
    return lambda: db["a"].drop_index("k_1")


@case
def drop(db: Any) -> Call:
    return lambda: db.drop_collection("a")


@case
def find(db: Any) -> Call:
    return lambda: list(db["a"].find({"k": {"$gt": 1}}).sort("n", -1))


@case
def part_of_a_cursor(db: Any) -> Call:
    return lambda: [next(cursor) for cursor in [db["a"].find().batch_size(2)] for _ in range(5)]


@case
def snapshot_view(db: Any) -> Call:
    def look() -> None:
        with db.snapshot() as view:
            list(view["a"].find({"k": 2}))

    return look


@case
def transaction_inserts(db: Any) -> Call:
    return Step(db, lambda t: t["a"].insert_many([{"_id": 100 + n, "k": 1} for n in range(3)]))


@case
def transaction_updates(db: Any) -> Call:
    return Step(db, lambda t: t["a"].update_many({"k": 2}, {"$inc": {"n": 1}}))


@case
def transaction_is_refused(db: Any) -> Call:
    def call(t: Any) -> None:
        try:
            t["a"].insert_many([{"_id": 100}, {"_id": 3}])
        except docdb.BulkWriteError:
            return
        raise AssertionError("the key is taken")

    return Step(db, call)


@case
def transaction_makes_a_collection(db: Any) -> Call:
    return Step(db, lambda t: t["made"].insert_one({"_id": 1}))


@case
def transaction_puts_out(db: Any) -> Call:
    return Step(db, lambda t: list(t["a"].aggregate([{"$match": {"k": 2}}, {"$out": "a"}])))


@case
def transaction_reads(db: Any) -> Call:
    return Step(db, lambda t: list(t["a"].find({"k": 3})))


@case
def transaction_commits(db: Any) -> Call:
    return Step(db, lambda t: t.commit())


@case
def transaction_rolls_back(db: Any) -> Call:
    return Step(db, lambda t: t.rollback())


@case
def managed_transaction(db: Any) -> Call:
    def work() -> None:
        with db.transaction() as t:
            t["a"].update_many({"k": 2}, {"$inc": {"n": 1}})
            t["a"].delete_many({"k": 4})

    return work


@case
def run_transaction(db: Any) -> Call:
    return lambda: db.run_transaction(lambda t: t["a"].update_many({"k": 2}, {"$inc": {"n": 1}}))


class Strike:
    """One case on one database."""

    def __init__(self, db: Any, name: str, *, signalled: bool) -> None:
        self.db = db
        self.name = name
        self.make = CASES[name]
        self.signalled = signalled
        self._prepared()()  # what is loaded and remembered by a first call
        call = self._prepared()
        self.before = self._seen(call)
        self.points = count(call)
        self.after = self._seen(call)
        self.allowed = [self.before, self.after]

    def _prepared(self) -> Call:
        db = self.db
        for name in db.list_collection_names():
            db.drop_collection(name)
        db["a"].insert_many([{"_id": n, "n": n, "k": n % 5} for n in range(10)])
        db["a"].create_index("k")
        return self.make(db)

    def _seen(self, call: Call) -> Any:
        """Return what can be seen from outside, and inside the transaction where there is one that is active."""
        db = self.db
        names = [name for name in db.list_collection_names() if name != "written"]
        indexes = sorted(name for name in db["a"].index_information() if "a" in names)
        outside = names, indexes, list(db["a"].find().sort("_id", 1))
        t = getattr(call, "t", None)
        if t is None or not t.active:
            return outside, None
        return outside, (t.list_collection_names(), list(t["a"].find().sort("_id", 1)))

    def at(self, point: int) -> str:
        """Interrupt at a point and look; return where that was."""
        call = self._prepared()
        raised, where = struck(call, point, signalled=self.signalled)
        place = f"{self.name}, point {point}, {where}"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, place
        self._write_elsewhere(place)
        self._look(call, raised, place)
        del call, raised
        gc.collect()
        assert self.db.stats()["storage"]["readers"] == 0, place
        assert self.db.check().problems == [], place
        return where

    def _look(self, call: Call, raised: BaseException | None, place: str) -> None:
        seen = self._seen(call)
        over = seen[1] is None
        assert seen in self.allowed or (over and seen[0] in (self.before[0], self.after[0])), f"{place}: {seen}"
        notes = getattr(raised, "__notes__", [])
        if self.before[0] != self.after[0] and "transaction" not in self.name:
            assert seen == self.after or "docdb: the write is committed" not in notes[-1:], place
            assert seen == self.before or "docdb: nothing was written" not in notes[-1:], place
        if isinstance(call, Step):
            assert (
                call.t.committed == (seen[0] == self.after[0] != self.before[0]) or self.before[0] == self.after[0]
            ), place
            if call.t.active:
                call.t.rollback()

    def _write_elsewhere(self, place: str) -> None:
        thread = threading.Thread(
            target=lambda: self.db["written"].update_one({"_id": 1}, {"$inc": {"n": 1}}, upsert=True), daemon=True
        )
        thread.start()
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), f"{place}: nobody can write"
