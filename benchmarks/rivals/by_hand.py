"""Hand-written lmdb + msgpack: what an expert writes when he needs documents and two indexes and nothing else."""

from __future__ import annotations

import heapq
import struct
from operator import itemgetter
from pathlib import Path
from typing import Any

import lmdb
import msgpack

_AGE = struct.Struct(">I")


class ByHand:
    """Documents under their id; two index databases with value + id as key."""

    name = "lmdb + msgpack by hand"

    def __init__(self, folder: Path) -> None:
        self.env = lmdb.open(str(folder / "hand"), map_size=2**36, max_dbs=4, lib_version=0)
        self.docs = self.env.open_db(b"docs")
        self.age = self.env.open_db(b"age")
        self.email = self.env.open_db(b"email")
        self._pack = msgpack.Packer().pack
        self._unpack = msgpack.unpackb

    def load(self, documents: list[dict[str, Any]]) -> None:
        with self.env.begin(write=True) as txn:
            for document in documents:
                key = document["_id"].encode()
                txn.put(key, self._pack(document), db=self.docs)
                txn.put(_AGE.pack(document["age"]) + key, b"", db=self.age)
                txn.put(document["email"].encode() + b"\0" + key, b"", db=self.email)

    def get(self, id: str) -> dict[str, Any]:
        with self.env.begin() as txn:
            return self._unpack(txn.get(id.encode(), db=self.docs))

    def first(self, age: int) -> dict[str, Any] | None:
        with self.env.begin() as txn:
            cursor = txn.cursor(db=self.age)
            wanted = _AGE.pack(age)
            if not cursor.set_range(wanted) or cursor.key()[:4] != wanted:
                return None
            return self._unpack(txn.get(cursor.key()[4:], db=self.docs))

    def range(self, age: int, limit: int) -> list[dict[str, Any]]:
        found = []
        with self.env.begin() as txn:
            cursor = txn.cursor(db=self.age)
            cursor.set_range(_AGE.pack(age))
            for key in cursor.iternext(keys=True, values=False):
                found.append(self._unpack(txn.get(key[4:], db=self.docs)))
                if len(found) == limit:
                    break
        return found

    def filter(self, city: str, visits: int) -> int:
        count = 0
        with self.env.begin() as txn:
            for value in txn.cursor(db=self.docs).iternext(keys=False, values=True):
                document = self._unpack(value)
                count += document["city"] == city and document["visits"] > visits
        return count

    def top(self, limit: int) -> list[str]:
        with self.env.begin() as txn:
            found = map(self._unpack, txn.cursor(db=self.docs).iternext(keys=False, values=True))
            return [document["_id"] for document in heapq.nlargest(limit, found, key=itemgetter("score"))]

    def group(self) -> dict[str, int]:
        sums: dict[str, int] = {}
        with self.env.begin() as txn:
            for value in txn.cursor(db=self.docs).iternext(keys=False, values=True):
                document = self._unpack(value)
                city = document["city"]
                sums[city] = sums.get(city, 0) + document["visits"]
        return sums

    def update(self, id: str, visits: int) -> None:
        with self.env.begin(write=True) as txn:
            key = id.encode()
            document = self._unpack(txn.get(key, db=self.docs))
            document["visits"] = visits
            txn.put(key, self._pack(document), db=self.docs)

    def close(self) -> None:
        self.env.close()
