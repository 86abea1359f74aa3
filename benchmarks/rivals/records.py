"""YCSB's records, a key and ten texts, in docdb, in hand-written lmdb + msgpack and in SQLite JSONB.

Every class here opens a path, may be opened by several processes at once and used by several threads, commits each write durably before it
returns, and answers ``load``, ``read``, ``update``, ``insert`` and ``scan``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
import lmdb
import msgpack

import docdb

Record = dict[str, Any]
Pairs = Iterable[tuple[str, Record]]


class DocdbRecords:
    """A collection, the key as ``_id``."""

    name = "docdb"

    def __init__(self, path: Path) -> None:
        self.db = docdb.open(path / "docdb")
        self.records = self.db["records"]

    def load(self, pairs: Pairs) -> None:
        source = iter(pairs)
        while batch := [{"_id": key, **record} for key, record in islice(source, 20_000)]:
            self.records.insert_many(batch)

    def read(self, key: str) -> Record | None:
        return self.records.doc(key).get()

    def update(self, key: str, field: str, value: str) -> None:
        self.records.update_one({"_id": key}, {"$set": {field: value}})

    def insert(self, key: str, record: Record) -> None:
        self.records.insert_one({"_id": key, **record})

    def scan(self, key: str, count: int) -> list[Record]:
        return list(self.records.find({"_id": {"$gte": key}}).sort("_id", 1).limit(count))

    def close(self) -> None:
        self.db.close()


class ByHandRecords:
    """One LMDB database, records packed under their key."""

    name = "lmdb + msgpack by hand"

    def __init__(self, path: Path) -> None:
        self.env = lmdb.open(str(path / "hand"), map_size=2**38, max_readers=512)

    def load(self, pairs: Pairs) -> None:
        with self.env.begin(write=True) as txn:
            for key, record in pairs:
                txn.put(key.encode(), msgpack.packb(record))

    def read(self, key: str) -> Record | None:
        with self.env.begin() as txn:
            found = txn.get(key.encode())
            return None if found is None else msgpack.unpackb(found)

    def update(self, key: str, field: str, value: str) -> None:
        with self.env.begin(write=True) as txn:
            record = msgpack.unpackb(txn.get(key.encode()))
            record[field] = value
            txn.put(key.encode(), msgpack.packb(record))

    def insert(self, key: str, record: Record) -> None:
        with self.env.begin(write=True) as txn:
            txn.put(key.encode(), msgpack.packb(record))

    def scan(self, key: str, count: int) -> list[Record]:
        with self.env.begin() as txn, closing(txn.cursor()) as cursor:
            if not cursor.set_range(key.encode()):
                return []
            return [msgpack.unpackb(value) for value in islice(cursor.iternext(keys=False, values=True), count)]

    def close(self) -> None:
        self.env.close()


class SqliteRecords:
    """A table of key and JSONB, one connection a thread."""

    name = "SQLite JSONB (apsw)"

    def __init__(self, path: Path) -> None:
        self.file = str(path / "records.sqlite")
        self.own = threading.local()
        self.run("create table if not exists records(id text primary key, doc blob) without rowid")

    def run(self, sql: str, values: tuple[Any, ...] = ()) -> Iterator[Any]:
        return self.connection().cursor().execute(sql, values)

    def connection(self) -> apsw.Connection:
        """Return this thread's connection."""
        found: apsw.Connection | None = getattr(self.own, "connection", None)
        if found is None:
            found = self.own.connection = apsw.Connection(self.file)
            found.setbusytimeout(60_000)
            list(found.cursor().execute("pragma journal_mode=wal; pragma synchronous=full"))
        return found

    def load(self, pairs: Pairs) -> None:
        with self.connection() as connection:
            rows = ((key, json.dumps(record)) for key, record in pairs)
            connection.cursor().executemany("insert into records values(?, jsonb(?))", rows)

    def read(self, key: str) -> Record | None:
        found = next(self.run("select json(doc) from records where id=?", (key,)), None)
        return None if found is None else json.loads(found[0])

    def update(self, key: str, field: str, value: str) -> None:
        self.run("update records set doc=jsonb_set(doc, ?, ?) where id=?", (f"$.{field}", value, key))

    def insert(self, key: str, record: Record) -> None:
        self.run("insert into records values(?, jsonb(?))", (key, json.dumps(record)))

    def scan(self, key: str, count: int) -> list[Record]:
        sql = "select json(doc) from records where id>=? order by id limit ?"
        return [json.loads(row[0]) for row in self.run(sql, (key, count))]

    def close(self) -> None:
        """Close this thread's connection; those of other threads went with their threads."""
        self.connection().close()
        del self.own.connection


CONTESTANTS = {c.name: c for c in (DocdbRecords, ByHandRecords, SqliteRecords)}
