"""A session that answers what it was told and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from docdb.sessions.operations import InsertOp, Outcome


class FakeSession:
    """``answers`` holds what each method returns; ``calls`` what was asked, in order."""

    def __init__(self, documents: list[dict[str, Any]] | None = None, **answers: Any) -> None:
        self.documents = documents or []
        self.answers = answers
        self.calls: list[tuple[Any, ...]] = []
        self.open_finds = 0

    @property
    def operation(self) -> Any:
        """The only operation of the last execute."""
        (operation,) = self.calls[-1][2]
        return operation

    @property
    def query(self) -> Any:
        """The query of the last call."""
        return self.calls[-1][2]

    def execute(self, name: str, operations: Any, *, ordered: bool = True, max_time_ms: Any = None) -> list[Any]:
        self.calls.append(("execute", name, list(operations), ordered))
        if "execute" in self.answers:
            return list(self.answers["execute"])
        return [
            Outcome(inserted_id=operation.document.get("_id", f"made{place}"))
            if isinstance(operation, InsertOp)
            else Outcome(matched=1, modified=1, deleted=1, document=self.answers.get("document"))
            for place, operation in enumerate(operations)
        ]

    def insert_all(self, name: str, documents: Any) -> list[Any] | None:
        """Leave bulk inserts to ``execute``, which remembers them."""
        return None

    def find(self, name: str, query: Any, *, max_time_ms: Any = None) -> Iterator[list[dict[str, Any]]]:
        self.calls.append(("find", name, query, max_time_ms))
        documents = self.documents[query.skip :]
        documents = documents[: query.limit] if query.limit else documents
        self.open_finds += 1
        try:
            for place in range(0, len(documents), 2):
                yield documents[place : place + 2]
        finally:
            self.open_finds -= 1

    def get(self, name: str, id: Any) -> dict[str, Any] | None:
        self.calls.append(("get", name, id))
        return next((document for document in self.documents if document["_id"] == id), None)

    def aggregate(self, name: str | None, pipeline: Any, **options: Any) -> Iterator[list[dict[str, Any]]]:
        self.calls.append(("aggregate", name, list(pipeline), options))
        yield self.documents

    def count(self, name: str, query: Any, *, max_time_ms: Any = None) -> int:
        self.calls.append(("count", name, query, max_time_ms))
        return len(self.documents)

    def distinct(self, name: str, path: str, query: Any, *, max_time_ms: Any = None) -> list[Any]:
        self.calls.append(("distinct", name, query, path))
        return ["x"]

    def explain(self, name: str, query: Any, *, verbosity: str = "executionStats") -> dict[str, Any]:
        self.calls.append(("explain", name, query, verbosity))
        return {"plan": "fake"}

    def __getattr__(self, method: str) -> Any:
        """Answer every other method with what was told."""
        if method not in (
            "estimated_count",
            "create_index",
            "drop_index",
            "list_indexes",
            "drop_collection",
            "rename_collection",
            "index_stats",
        ):
            raise AttributeError(method)

        def call(*args: Any, **named: Any) -> Any:
            self.calls.append((method, *args, named))
            return self.answers.get(method)

        return call
