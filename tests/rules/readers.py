"""A reader over plain dicts that counts what it is asked and what it gives."""

from docdb.rules.evaluator import same


class Rows:
    def __init__(self, **collections):
        self.collections = collections
        self.reads = 0
        self.given = 0

    def document(self, collection, key):
        self.reads += 1
        return next((row for row in self.collections.get(collection, []) if row["_id"] == key), None)

    def matching(self, collection, equal, limit):
        self.reads += 1
        found = self._rows(collection, equal)[:limit]
        self.given += len(found)
        return found

    def count(self, collection, equal, limit):
        self.reads += 1
        return min(len(self._rows(collection, equal)), limit)

    def _rows(self, collection, equal):
        rows = self.collections.get(collection, [])
        return [row for row in rows if all(field in row and same(row[field], value) for field, value in equal.items())]
