"""What a live query should say of a commit, found without a window.

What lives here: ``touched`` (a commit's changes, one a document) and ``check``, which makes the records that follow from two results and from these changes,
by the table of CloudBase's watch, and holds what was told against them. What it must not know: how a live query keeps its result.

    in the last result   in this one   the commit               record
    -                    yes           inserted it              add, enqueue
    -                    yes           updated, replaced it     update or replace, enqueue
    yes                  yes           updated, replaced it     update or replace, update
    yes                  -             updated, replaced it     update or replace, dequeue
    yes                  -             deleted it               remove, dequeue
    -                    yes           did not touch it         limit, enqueue
    yes                  -             did not touch it         limit, dequeue
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from docdb.store import codec

__all__ = ["Touched", "check", "key", "patched", "touched"]

# By the key of an _id: what was done, the images before and behind the commit.
Touched = dict[bytes, tuple[str, dict[str, Any] | None, dict[str, Any] | None]]


def key(id: Any) -> bytes:
    """Return an ``_id`` as bytes that differ where it does."""
    return codec.encode_value([id])


def touched(changes: Iterable[Any]) -> Touched:
    """Return what one commit did to each document; several updates are one, several changes of other kinds are a replacement."""
    found: Touched = {}
    for change in changes:
        if change.detail is not None:
            continue
        id = key(change.id)
        kind, before, _ = found.get(id, ("update", change.before, None))
        found[id] = kind if change.operation == "update" else "replace", before, change.after
    return {id: item for id, item in found.items() if item[1] is not None or item[2] is not None}


def check(old: list[Any], snapshot: Any, touched: Touched, projection: Mapping[str, int] | None = None) -> None:
    """Hold the records of a snapshot against those that lead from the last result to it."""
    before, after = ({key(document["_id"]): document for document in found} for found in (old, snapshot.docs))
    told = {key(change.doc_id): change for change in snapshot.doc_changes}
    assert len(told) == len(snapshot.doc_changes), f"a document twice: {snapshot.doc_changes}"
    for id in before.keys() | after.keys() | told.keys():
        was, now = before.get(id), after.get(id)
        expected = _record(was, now, touched.get(id))
        change = told.get(id)
        if change is None and projection is not None and was is not None and now is not None:
            assert _same(was, now), f"nothing told of {now}"  # what changed is not shown
            continue
        assert (None if change is None else (change.data_type, change.queue_type)) == expected, f"{change}: {expected}"
        if change is not None:
            assert change.id == snapshot.id
            _check_images(change, was, now, touched.get(id), projection)


def _record(was: Any, now: Any, change: Any) -> tuple[str, str] | None:
    if was is None and now is None:
        return None
    if change is None:
        return None if was is not None and now is not None else ("limit", "enqueue" if was is None else "dequeue")
    kind, before, after = change
    if after is None:
        return "remove", "dequeue"
    if before is None:
        return "add", "enqueue"
    return kind, "enqueue" if was is None else "dequeue" if now is None else "update"


def _check_images(change: Any, was: Any, now: Any, item: Any, projection: Any) -> None:
    shown = now if now is not None else was if item is None or item[2] is None else _shown(item[2], projection)
    assert _same(change.doc, shown), f"{change}: {change.doc} instead of {shown}"
    if change.data_type != "update":
        assert (change.updated_fields, change.removed_fields) == (None, None)
        return
    found = patched(_shown(item[1], projection), change.updated_fields, change.removed_fields)
    assert _same(found, shown), (
        f"{change}: {change.updated_fields} {change.removed_fields} lead to {found}, not {shown}"
    )
    if change.queue_type == "update" and projection is None:
        assert change.updated_fields or change.removed_fields, f"{change} changed nothing"


def _shown(document: dict[str, Any], projection: Mapping[str, int] | None) -> dict[str, Any]:
    if projection is None:
        return document
    shows = 1 in projection.values()
    return {name: value for name, value in document.items() if name == "_id" or (name in projection) == shows}


def patched(document: dict[str, Any], updated: Mapping[str, Any], removed: Iterable[str]) -> dict[str, Any]:
    """Return a document with the fields of a record changed, as a client does that holds the last one."""
    found = copy.deepcopy(document)
    for path, value in updated.items():
        _parent(found, path)[path.rpartition(".")[2]] = value
    for path in removed:
        del _parent(found, path)[path.rpartition(".")[2]]
    return found


def _parent(document: dict[str, Any], path: str) -> dict[str, Any]:
    for part in path.split(".")[:-1]:
        document = document[part]
    return document


def _same(one: Any, other: Any) -> bool:
    """Tell whether two documents are alike but for the order of fields; 1 and 1.0 are not."""
    return codec.encode_value(_ordered(one)) == codec.encode_value(_ordered(other))


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value
