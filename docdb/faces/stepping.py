"""Large writes in steps: many commits of at most ``batch`` documents each.

What lives here: the loops behind ``batch=n`` of ``insert_many``, ``update_many`` and ``delete_many``. What it must not know: stores, plans.

The ids are taken from one snapshot; each step asks the filter again, so a document that another writer has changed meanwhile so
that it no longer matches is left alone. An error says in ``done`` how many documents the finished steps have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

from docdb.errors import DocdbError, UsageError
from docdb.language import filters
from docdb.language.linear_patterns import linear_only
from docdb.language.projection import parse_projection
from docdb.planner.queries import FindQuery
from docdb.sessions.operations import DeleteOp, Outcome, Session, UpdateOp

__all__ = ["check_batch", "chunks", "in_steps"]

T = TypeVar("T")


def check_batch(batch: Any) -> int:
    """Return the number of documents a step has; UsageError for anything but a positive integer."""
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise UsageError(f"batch is a number of documents from 1 on, not {batch!r}", path="batch")
    return batch


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most ``size`` items."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def in_steps(
    session: Session, name: str, operation: UpdateOp | DeleteOp, batch: int, run: Callable[[Any], Outcome]
) -> Outcome:
    """Carry out an operation on many documents in steps; ``run`` carries out one. Memory: the ids."""
    if operation.collation is not None or (isinstance(operation, UpdateOp) and operation.upsert):
        raise UsageError("batch goes with neither collation nor upsert", path="batch")
    total = Outcome()
    for ids in chunks(_ids(session, name, operation), check_batch(batch)):
        narrowed = {"$and": [operation.filter, {"_id": {"$in": ids}}]}
        try:
            step = run(replace(operation, filter=narrowed))
        except DocdbError as error:
            error.done = total.modified + total.deleted
            raise
        total.matched += step.matched
        total.modified += step.modified
        total.deleted += step.deleted
    return total


def _ids(session: Session, name: str, operation: UpdateOp | DeleteOp) -> list[Any]:
    with linear_only(getattr(session, "linear", False)):
        node = filters.parse(operation.filter, let=operation.let, naive_utc=session.settings.naive_utc)
    query = FindQuery(
        filter=operation.filter,
        node=node,
        projection=parse_projection({"_id": 1}),
        hint=operation.hint,
        let=operation.let,
    )
    return [document["_id"] for batch in session.find(name, query) for document in batch]
