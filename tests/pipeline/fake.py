"""A context over lists of documents."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

from docdb.language import filters, matching
from docdb.language.geo_matching import nearest
from docdb.pipeline.context import Batches, Change, GeoField
from docdb.pipeline.runner import compile_pipeline


class ListContext:
    """Collections are lists; every filter asked of a source is noted."""

    def __init__(self, collections: dict[str, list[dict[str, Any]]] | None = None, collation: Any = None) -> None:
        self.collection: str | None = "main"
        self.collections = collections or {}
        self.collation = collation
        self.variables: dict[str, Any] = {}
        self.now = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
        self.memory_limit = 1 << 30
        self.asked: list[Any] = []
        self.unique: dict[str, list[frozenset[str]]] = {}

    def source(self, collection: str, filter: Any = None, sort: Any = None) -> Batches:
        self.asked.append(filter)
        test = matching.matcher(filters.parse(filter))
        return iter([[document for document in self.collections.get(collection, []) if test(document)]])

    def nearest(self, collection: str, near: Any, filter: Any) -> Batches:
        find = nearest(near)
        found = [(find(document), document) for batch in self.source(collection, filter) for document in batch]
        return iter([[document for _, document in sorted(((f[0], d) for f, d in found if f), key=lambda row: row[0])]])

    def write(self, collection: str, changes: Sequence[Change]) -> None:
        documents = self.collections.setdefault(collection, [])
        for change in changes:
            kept = [document for document in documents if change.operation == "insert" or document["_id"] != change.key]
            documents[:] = [*kept, change.document]

    def replace_collection(self, collection: str, batches: Batches) -> None:
        self.collections[collection] = [document for batch in batches for document in batch]

    def unique_fields(self, collection: str, *, dense: bool = False) -> Sequence[frozenset[str]]:
        return self.unique.get(collection, [])

    def geographic_fields(self, collection: str) -> list[GeoField]:
        return [GeoField("at", "2dsphere")]

    def statistics(self, collection: str, kind: str) -> list[dict[str, Any]]:
        return [{"kind": kind}]

    def check_deadline(self) -> None:
        return None


def run(documents: list[dict[str, Any]], stages: list[Any], context: ListContext | None = None) -> list[dict[str, Any]]:
    """Return what a pipeline makes of documents that arrive in two batches."""
    pipeline = compile_pipeline(stages, context=context or ListContext())
    half = len(documents) // 2
    source: Iterator[list[dict[str, Any]]] = iter([documents[:half], documents[half:]])
    return [document for batch in pipeline.run(source) for document in batch]
