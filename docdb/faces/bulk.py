"""Many operations in one commit, and the report about them.

What lives here: ``insert_all`` and ``write_all``, and the report in the server's names. What it must not know: which
face asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from docdb.errors import BulkWriteError, DocdbError
from docdb.faces.models import Binding
from docdb.sessions.operations import DeleteOp, InsertOp, Operation, Outcome

__all__ = ["insert_all", "write_all"]


def insert_all(binding: Binding[Any], documents: Sequence[Mapping[str, Any]], *, ordered: bool) -> list[Any]:
    """Insert documents and return their ids; BulkWriteError when one fails (then the others are in, as ``ordered`` says)."""
    if not documents:
        return []
    ids = binding.session.insert_all(binding.name, documents)
    if ids is not None:
        return ids
    operations = [InsertOp(document) for document in documents]
    outcomes = binding.session.execute(binding.name, operations, ordered=ordered)
    if len(outcomes) < len(operations) or any(isinstance(outcome, DocdbError) for outcome in outcomes):
        raise _failure(operations, outcomes)
    return [outcome.inserted_id for outcome in outcomes if isinstance(outcome, Outcome)]


def write_all(binding: Binding[Any], operations: Sequence[Operation], *, ordered: bool) -> dict[str, Any]:
    """Carry out operations and return the report; BulkWriteError, which carries it, when one fails."""
    outcomes = binding.session.execute(binding.name, operations, ordered=ordered)
    if any(isinstance(outcome, DocdbError) for outcome in outcomes):
        raise _failure(operations, outcomes)
    return _report(operations, outcomes)


def _failure(operations: Sequence[Operation], outcomes: Sequence[Outcome | DocdbError]) -> BulkWriteError:
    details = _report(operations, outcomes)
    errors = {place: outcome for place, outcome in enumerate(outcomes) if isinstance(outcome, DocdbError)}
    first = min(errors)
    count = f"{len(errors)} of {len(operations)} operations failed"
    failure = BulkWriteError(f"{count}, the first at index {first}: {errors[first]}", details=details, errors=errors)
    failure.__cause__ = errors[first]
    return failure


def _report(operations: Sequence[Operation], outcomes: Sequence[Outcome | DocdbError]) -> dict[str, Any]:
    report: dict[str, Any] = {
        "writeErrors": [], "writeConcernErrors": [], "nInserted": 0, "nUpserted": 0, "nMatched": 0, "nModified": 0, "nRemoved": 0,
        "upserted": [],
    }  # fmt: skip
    for place, (operation, outcome) in enumerate(zip(operations, outcomes, strict=False)):
        if isinstance(outcome, DocdbError):
            report["writeErrors"].append(_write_error(place, operation, outcome))
        elif isinstance(operation, InsertOp):
            report["nInserted"] += 1
        elif isinstance(operation, DeleteOp):
            report["nRemoved"] += outcome.deleted
        else:
            report["nMatched"] += outcome.matched
            report["nModified"] += outcome.modified
            if outcome.upserted:
                report["nUpserted"] += 1
                report["upserted"].append({"index": place, "_id": outcome.upserted_id})
    return report


def _write_error(place: int, operation: Operation, error: DocdbError) -> dict[str, Any]:
    entry: dict[str, Any] = {"index": place, "code": error.code, "errmsg": str(error), "op": _shown(operation)}
    entry.update(getattr(error, "details", {}))
    return entry


def _shown(operation: Operation) -> Any:
    if isinstance(operation, InsertOp):
        return operation.document
    if isinstance(operation, DeleteOp):
        return {"q": operation.filter, "limit": 0 if operation.multi else 1}
    change = getattr(operation, "update", None) or getattr(operation, "replacement", None)
    return {"q": operation.filter, "u": change, "multi": getattr(operation, "multi", False), "upsert": operation.upsert}
