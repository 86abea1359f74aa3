"""The machine's steps inside transactions: ``python -m tests.machine.transactions --seed 1 --steps 10000``.

Every step runs on the open transaction; from time to time it is committed, and the database must be what the model is, or rolled back, and both must be what
they were. Indexes change between transactions.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import Any

from tests.machine.driver import Machine
from tests.machine.model import Collection


class TransactionMachine(Machine):
    """A machine whose ``db`` is the open transaction."""

    def __init__(self, engine: str, seed: int, folder: Path) -> None:
        super().__init__(engine, seed, folder)
        outside = {self.create_index, self.drop_index, self.drop, self.rename, self.reopen, self.restore, self.compact}
        self.steps = [(weight, step) for weight, step in self.steps if step not in outside]
        self.steps += [(2, self.cursor), (2, self.group), (1, self.outside), (4, self.commit), (2, self.roll_back)]
        self.database: Any = self.db
        self.index_steps = (super().create_index, super().drop_index)
        self.begin()

    def begin(self) -> None:
        self.before = {name: self.copied(collection) for name, collection in self.model.items()}
        self.db = self.database.start_transaction()

    def copied(self, collection: Collection) -> Collection:
        copy = Collection()
        copy.documents, copy.indexes = dict(collection.documents), dict(collection.indexes)
        return copy

    def commit(self) -> None:
        self.db.commit()
        self.between()

    def roll_back(self) -> None:
        self.db.rollback()
        self.model = self.before
        self.between()

    def between(self) -> None:
        """Outside a transaction: compare, and change an index."""
        self.db = self.database
        self.compare_all()
        self.random.choice(self.index_steps)()
        assert self.db.check().problems == []
        self.begin()

    def exists(self, name: str) -> bool:
        """Look without asking for all names, which would make every collection created outside a conflict."""
        return name in self.db._session.store.catalog().collections

    def outside(self) -> None:
        """Write to a collection the transaction does not touch: neither sees the other."""
        self.database["elsewhere"].insert_one({"a": 1})
        self.database["elsewhere"].drop()

    def cursor(self) -> None:
        """Write while a cursor is open: it goes on as it was at its begin."""
        name = self.name()
        expected = self.target(name).find({}, [("_id", 1)])
        cursor = self.db[name].find({}).sort("_id", 1)
        found = list(itertools.islice(cursor, 3))
        self.random.choice((self.insert, self.update_many, self.delete_many, self.insert_many))()
        assert found + list(cursor) == expected

    def group(self) -> None:
        name = self.name()
        rows = list(
            self.db[name].aggregate([{"$match": {"a": {"$gt": 3}}}, {"$group": {"_id": None, "n": {"$sum": 1}}}])
        )
        count = len(self.target(name).find({"a": {"$gt": 3}}))
        assert [row["n"] for row in rows] == [count][: count > 0]

    def run(self, steps: int) -> None:
        weights = [weight for weight, _ in self.steps]
        for _ in range(steps):
            self.random.choices(self.steps, weights)[0][1]()
        self.commit()
        self.db.rollback()
        self.database.close()


def run(engine: str, seed: int, steps: int) -> None:
    """Run one machine in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="docdb-machine-") as folder:
        machine = TransactionMachine(engine, seed, Path(folder))
        try:
            machine.run(steps)
        except BaseException as error:
            error.add_note(f"engine {engine}, seed {seed}, {steps} steps inside transactions")
            raise


def main() -> None:
    """Run machines until the steps are used up, one after the other on each engine."""
    parser = argparse.ArgumentParser(description="compare transactions with a model of dicts and lists")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=1_000, help="steps of one machine")
    parser.add_argument("--engines", default="memory,lmdb,native")
    options = parser.parse_args()
    engines = itertools.cycle(options.engines.split(","))
    for number in range(0, options.steps, options.each):
        engine, seed = next(engines), options.seed + number
        print(f"engine {engine} seed {seed}", flush=True)
        run(engine, seed, options.each)


if __name__ == "__main__":
    main()
