"""Random steps on a database and on the model, compared after each: ``python -m tests.machine.driver --seed 1 --steps 10000``.

What lives here: ``Machine``. What it must not know: how either side works.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import docdb
from tests.machine.model import Collection, Refused, change, check_index, matches, reach

NAMES: Final = ("p", "q", "r")
FIELDS: Final = ("a", "b", "c.d", "t", "u")
INDEXES: Final = (
    ("a_1", [("a", 1)], {}),
    ("b_u", [("b", 1), ("u", -1)], {}),
    ("cd_desc", [("c.d", -1)], {}),
    ("t_a", [("t", 1), ("a", -1)], {}),
    ("u_unique", [("u", 1)], {"unique": True}),
    ("u_sparse", [("u", -1)], {"unique": True, "sparse": True}),
    ("a_partial", [("b", 1)], {"partialFilterExpression": {"a": {"$gt": 5}}}),
    (
        "cd_unique_partial",
        [("c.d", 1), ("u", 1)],
        {"unique": True, "partialFilterExpression": {"u": {"$exists": True}}},
    ),
    ("t_sparse", [("t", -1)], {"sparse": True}),
)
CHECK_STEPS: Final = 200


class Machine:
    """One database and its model; ``engine`` is memory, lmdb or native."""

    def __init__(self, engine: str, seed: int, folder: Path) -> None:
        self.engine, self.folder, self.number = engine, folder, 0
        self.random = random.Random(seed)
        self.model: dict[str, Collection] = {}
        self.db = self.open()
        self.steps: list[tuple[int, Any]] = [
            (12, self.insert), (4, self.insert_many), (14, self.update), (6, self.update_many), (5, self.replace), (4, self.upsert),
            (6, self.find_and_modify), (5, self.delete), (2, self.delete_many), (6, self.bulk), (20, self.find), (6, self.count),
            (4, self.distinct), (3, self.get), (2, self.create_index), (2, self.drop_index), (0.3, self.drop), (0.4, self.rename),
            (0.4, self.reopen), (0.15, self.restore), (0.1, self.compact),
        ]  # fmt: skip

    def open(self) -> docdb.Database:
        path = ":memory:" if self.engine == "memory" else self.folder / f"db{self.number}"
        return docdb.open(path, native=False if self.engine == "lmdb" else None)

    def run(self, steps: int) -> None:
        """Take steps; the checker looks on from time to time."""
        weights = [weight for weight, _ in self.steps]
        for number in range(1, steps + 1):
            self.random.choices(self.steps, weights)[0][1]()
            if number % CHECK_STEPS == 0 or number == steps:
                assert self.db.check().problems == []
                self.compare_all()
        self.db.close()

    def exists(self, name: str) -> bool:
        """Say whether there is such a collection."""
        return name in self.db.list_collection_names()

    def compare_all(self) -> None:
        """Compare every document of every collection."""
        assert self.db.list_collection_names() == sorted(self.model)
        for name, collection in self.model.items():
            stored = {document["_id"]: document for document in self.db[name].find()}
            assert stored == collection.documents
            assert {i for i in self.db[name].index_information() if i != "_id_"} == set(collection.indexes)

    # Generated values

    def name(self) -> str:
        return self.random.choice(NAMES)

    def id(self) -> Any:
        return self.random.choice((self.random.randrange(60), f"k{self.random.randrange(20)}"))

    def value(self, field: str) -> Any:
        chance = self.random.random()
        if field == "u":
            return self.random.randrange(400)
        if field == "t":
            return [self.random.randrange(8) for _ in range(self.random.randrange(4))] if chance < 0.85 else 3
        if field == "b":
            return None if chance < 0.05 else "xyz"[self.random.randrange(3)] * self.random.choice((1, 1, 2, 300))
        if chance < 0.1 and field == "a":
            return self.random.choice((None, [1, 9], [], "text"))
        return self.random.randrange(12)

    def document(self) -> dict[str, Any]:
        made: dict[str, Any] = {"_id": self.id()}
        for field in FIELDS:
            if self.random.random() < 0.75:
                outer, _, inner = field.partition(".")
                made[outer] = {inner: self.value(field)} if inner else self.value(field)
        return made

    def scalar(self, field: str) -> Any:
        value = self.value(field)
        return value if not isinstance(value, list) else self.random.randrange(8)

    def filter(self, depth: int = 2) -> dict[str, Any]:
        field = self.random.choice((*FIELDS, "_id"))
        kind = self.random.randrange(9 if depth else 7)
        value = self.id() if field == "_id" else self.scalar(field)
        if kind == 0:
            return {}
        if kind in (7, 8):
            return {("$or", "$and")[kind - 7]: [self.filter(depth - 1) for _ in range(self.random.randrange(1, 4))]}
        if kind == 1 or value is None:
            return {field: value}
        if kind == 2:
            return {field: {self.random.choice(("$gt", "$gte", "$lt", "$lte")): value}}
        if kind == 3:
            other = self.id() if field == "_id" else self.scalar(field)
            return {field: {"$gte": value, "$lt": other if other is not None else value}}
        if kind == 4:
            return (
                {field: {"$in": [value, *(self.scalar(field) for _ in range(2))]}}
                if field != "_id"
                else {"_id": {"$in": [value]}}
            )
        return {field: {"$exists": self.random.random() < 0.5}} if kind == 5 else {field: {"$ne": value}}

    def sort(self) -> list[tuple[str, int]]:
        paths = self.random.sample(
            self.random.choice((("a", "b", "c.d", "u"), ("b", "c.d", "t", "u"))), self.random.randrange(3)
        )
        return [(path, self.random.choice((1, -1))) for path in paths] + [("_id", self.random.choice((1, -1)))]

    def change(self) -> dict[str, Any]:
        update: dict[str, Any] = {}
        for field in self.random.sample(FIELDS, self.random.randrange(1, 3)):
            ops = {"t": ("$push", "$addToSet", "$set", "$unset"), "b": ("$set", "$unset", "$min")}
            op = self.random.choice(ops.get(field, ("$set", "$inc", "$unset", "$min", "$max", "$mul")))
            operand = self.value(field) if op == "$set" else self.random.randrange(1, 8)
            update.setdefault(op, {})[field] = operand if field != "b" or op == "$set" else "y"
        return update

    # Running both sides

    def target(self, name: str) -> Collection:
        return self.model.get(name) or Collection()

    def both(self, name: str, ours: Any, theirs: Any) -> Any:
        """Call docdb and the model; both answer the same, or both refuse. A write makes the collection."""
        collection = self.target(name)
        try:
            expected = theirs(collection)
        except Refused:
            expected = Refused
        try:
            actual = ours(self.db[name])
        except docdb.DocdbError as error:
            assert not isinstance(error, docdb.StorageError), error
            actual = Refused
        assert actual == expected, (name, actual, expected)
        if self.db[name].estimated_document_count() or self.exists(name):
            self.model[name] = collection
        return actual

    # Steps

    def insert(self) -> None:
        document = self.document()
        self.both(self.name(), lambda c: c.insert_one(document).inserted_id, lambda m: put_new(m, document))

    def insert_many(self) -> None:
        documents = [self.document() for _ in range(self.random.randrange(1, 9))]
        ordered = self.random.random() < 0.5

        def ours(collection: Any) -> Any:
            try:
                return collection.insert_many(documents, ordered=ordered).inserted_ids
            except docdb.BulkWriteError as error:
                return [entry["index"] for entry in error.details["writeErrors"]]

        def theirs(model: Collection) -> Any:
            errors = attempt(model, [lambda m, d=d: put_new(m, d) for d in documents], ordered)
            return errors or [document["_id"] for document in documents]

        self.both(self.name(), ours, theirs)

    def update(self) -> None:
        filter, update = {"$and": [{"_id": self.id()}, self.filter(0)]}, self.change()
        self.both(
            self.name(),
            lambda c: c.update_one(filter, update).matched_count,
            lambda m: put_changed(m, m.find(filter), update),
        )

    def update_many(self) -> None:
        filter, update = self.filter(), self.change()
        self.both(
            self.name(),
            lambda c: c.update_many(filter, update).matched_count,
            lambda m: put_changed(m, m.find(filter), update),
        )

    def replace(self) -> None:
        document = self.document()
        id = document.pop("_id")

        def theirs(model: Collection) -> int:
            found = model.find({"_id": id})
            if found:
                model.put({id: {"_id": id, **document}})
            return len(found)

        self.both(self.name(), lambda c: c.replace_one({"_id": id}, document).matched_count, theirs)

    def upsert(self) -> None:
        id, update = self.id(), self.change()

        def theirs(model: Collection) -> int:
            return put_changed(model, model.find({"_id": id}), update) or put_changed(model, [{"_id": id}], update) * 0

        self.both(self.name(), lambda c: c.update_one({"_id": id}, update, upsert=True).matched_count, theirs)

    def find_and_modify(self) -> None:
        filter, update, sort = self.filter(), self.change(), self.sort()
        remove = self.random.random() < 0.3

        def ours(collection: Any) -> Any:
            if remove:
                return collection.find_one_and_delete(filter, sort=sort)
            return collection.find_one_and_update(filter, update, sort=sort)

        def theirs(model: Collection) -> Any:
            found = model.find(filter, sort, 1)
            if found and remove:
                model.put({found[0]["_id"]: None})
            elif found:
                put_changed(model, found, update)
            return found[0] if found else None

        self.both(self.name(), ours, theirs)

    def delete(self) -> None:
        filter = {"$and": [{"_id": self.id()}, self.filter(0)]}
        self.both(self.name(), lambda c: c.delete_one(filter).deleted_count, lambda m: put_gone(m, m.find(filter)))

    def delete_many(self) -> None:
        filter = {"$and": [self.filter(), self.filter(), {"c.d": {"$lt": 6}}]}
        self.both(self.name(), lambda c: c.delete_many(filter).deleted_count, lambda m: put_gone(m, m.find(filter)))

    def bulk(self) -> None:
        requests: list[Any] = []
        steps: list[Any] = []
        for _ in range(self.random.randrange(1, 8)):
            document, update, kind = self.document(), self.change(), self.random.randrange(4)
            one = {"_id": document["_id"]}
            many = self.filter(0)
            choices = (
                (docdb.InsertOne(document), lambda m, d=document: put_new(m, d)),
                (docdb.UpdateOne(one, update), lambda m, f=one, u=update: put_changed(m, m.find(f), u)),
                (docdb.UpdateMany(many, update), lambda m, f=many, u=update: put_changed(m, m.find(f), u)),
                (docdb.DeleteOne(one), lambda m, f=one: put_gone(m, m.find(f))),
            )
            requests.append(choices[kind][0])
            steps.append(choices[kind][1])
        ordered = self.random.random() < 0.5

        def ours(collection: Any) -> Any:
            try:
                collection.bulk_write(requests, ordered=ordered)
            except docdb.BulkWriteError as error:
                return [entry["index"] for entry in error.details["writeErrors"]]
            return []

        self.both(self.name(), ours, lambda m: attempt(m, steps, ordered))

    def find(self) -> None:
        filter, sort, limit = self.filter(), self.sort(), self.random.choice((0, 0, 1, 5))
        name = self.name()
        found = list(self.db[name].find(filter).sort(sort).limit(limit))
        expected = self.target(name).find(filter, sort, limit)
        assert found == expected, (name, filter, sort, limit, found, expected)

    def get(self) -> None:
        name, id = self.name(), self.id()
        assert self.db[name].find_one({"_id": id}) == self.target(name).documents.get(id)

    def count(self) -> None:
        name, filter = self.name(), self.filter()
        assert self.db[name].count_documents(filter) == len(self.target(name).find(filter)), (name, filter)

    def distinct(self) -> None:
        name, filter, field = self.name(), self.filter(), self.random.choice(FIELDS)
        expected = set()
        for document in self.target(name).documents.values():
            value = reach(document, field)
            if matches(document, filter):
                expected |= set(value) if isinstance(value, list) else {value} if type(value) is not object else set()
        assert set(self.db[name].distinct(field, filter)) == expected, (name, field, filter)

    def create_index(self) -> None:
        label, keys, options = self.random.choice(INDEXES)

        def theirs(model: Collection) -> str:
            index = (
                keys,
                options.get("unique", False),
                options.get("sparse", False),
                options.get("partialFilterExpression"),
            )
            check_index(model.documents, *index)
            model.indexes[label] = index
            return label

        self.both(self.name(), lambda c: c.create_index(keys, name=label, **options), theirs)

    def drop_index(self) -> None:
        label = self.random.choice(INDEXES)[0]

        def theirs(model: Collection) -> None:
            if model.indexes.pop(label, None) is None:
                raise Refused

        self.both(self.name(), lambda c: c.drop_index(label), theirs)

    def drop(self) -> None:
        name = self.name()
        assert self.db.drop_collection(name) == (name in self.model)
        self.model.pop(name, None)

    def rename(self) -> None:
        name, new = self.random.sample(NAMES, 2)
        instead = self.random.random() < 0.5
        try:
            self.db[name].rename(new, drop_target=instead)
        except docdb.CollectionError:
            assert name not in self.model or (new in self.model and not instead)
        else:
            self.model[new] = self.model.pop(name)

    def reopen(self) -> None:
        if self.engine != "memory":
            self.db.close()
            self.db = self.open()
            self.compare_all()

    def restore(self) -> None:
        if self.engine == "memory":
            return
        self.db.backup(self.folder / "backup")
        old, self.number = self.folder / f"db{self.number}", self.number + 1
        self.db[self.name()].insert_one({"_id": "after the backup"})
        self.db.close()
        replaced = self.random.random() < 0.5
        if replaced:
            old.rename(self.folder / f"db{self.number}")
        docdb.restore(self.folder / "backup", self.folder / f"db{self.number}", replace=replaced)
        shutil.rmtree(self.folder / "backup")
        self.db = self.open()
        self.compare_all()

    def compact(self) -> None:
        if self.engine != "memory":
            self.db.compact()
            self.compare_all()


def put_new(model: Collection, document: dict[str, Any]) -> Any:
    if document["_id"] in model.documents:
        raise Refused
    model.put({document["_id"]: document})
    return document["_id"]


def put_changed(model: Collection, found: list[dict[str, Any]], update: dict[str, Any]) -> int:
    model.put({document["_id"]: change(document, update) for document in found})
    return len(found)


def put_gone(model: Collection, found: list[dict[str, Any]]) -> int:
    model.put({document["_id"]: None for document in found})
    return len(found)


def attempt(model: Collection, steps: list[Any], ordered: bool) -> list[int]:
    errors = []
    for place, step in enumerate(steps):
        try:
            step(model)
        except Refused:
            errors.append(place)
            if ordered:
                break
    return errors


def run(engine: str, seed: int, steps: int) -> None:
    """Run one machine in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="docdb-machine-") as folder:
        machine = Machine(engine, seed, Path(folder))
        try:
            machine.run(steps)
        except BaseException as error:
            error.add_note(f"engine {engine}, seed {seed}, {steps} steps")
            raise


def main() -> None:
    """Run machines until the steps are used up, one after the other on each engine."""
    parser = argparse.ArgumentParser(description="compare docdb with a model of dicts and lists")
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
