"""Reading the change log from a place on.

What lives here: ``Names`` (which collection had which name when), ``read_records`` and ``read_changes``, each in a short snapshot that it does not
keep. What it must not know: who reads, how one waits for more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from docdb.engine.base import CHANGES
from docdb.errors import HistoryLost
from docdb.feeds.events import CATALOG_OPERATIONS, DOCUMENT_OPERATIONS, Change
from docdb.feeds.ordering import id_of
from docdb.feeds.positions import END, Place, Position
from docdb.store import changes as log
from docdb.store import codec
from docdb.store.catalog import State
from docdb.store.snapshots import Snapshot
from docdb.store.store import Store

__all__ = ["Names", "check_reach", "newest", "oldest", "read_changes", "read_from", "undone"]

MOST_CHANGES: Final = 1_000  # read at once
MOST_BYTES: Final = 4 * 2**20
_CATALOG: Final = ord(log.CATALOG_CHANGE)
_INDEX_KINDS: Final = ("build", "index", "drop index")


class Names:
    """Collection numbers and names as of one place in the log; ``apply`` the log's catalog changes to go on."""

    __slots__ = ("by_number",)

    def __init__(self, by_number: dict[int, str]) -> None:
        self.by_number = by_number

    @staticmethod
    def at(snapshot: Snapshot, place: Place) -> Names:
        """Return the names as of a place: those of the snapshot, with the catalog changes since then undone. Cost: a scan of the log since then."""
        by_number = {number: info.name for number, info in snapshot.catalog.by_number.items()}
        later: list[tuple[int, dict[str, Any]]] = []
        low = log.key_of(*_next(place))
        for batch in snapshot.txn.scan(CHANGES, low, b"\xff" * 13, keys=False, decode=_catalog_only):
            later += [found for found in batch if found is not None]
        if later and later[0][1]["what"] == "rename" and later[:1] != later[1:2]:
            del later[0]  # the second record of a rename whose first lies before the place
        for number, what in reversed(later):
            if what["what"] == "create":
                by_number.pop(number, None)
            elif what["what"] in ("drop", "rename"):
                by_number[number] = what["name"]
        return Names(by_number)

    def apply(self, number: int, what: dict[str, Any]) -> None:
        """Follow one change of the catalog."""
        kind = what["what"]
        if kind == "create":
            self.by_number[number] = what["name"]
        elif kind == "rename":
            self.by_number[number] = what["to"]
        elif kind == "drop":
            self.by_number.pop(number, None)


def _catalog_only(value: Any) -> tuple[int, dict[str, Any]] | None:
    data = bytes(value) if value[0] == _CATALOG else b""
    if not data:
        return None
    found = log.unpack_change(0, 0, data)
    return found.collection, codec.decode(found.after)


def _next(place: Place) -> Place:
    commit, index = place
    return (commit + 1, 0) if index == END else (commit, index + 1)


def newest(snapshot: Snapshot) -> Place:
    """Return the place behind everything there is."""
    return State.read(snapshot.txn).last_commit, END


def oldest(snapshot: Snapshot) -> Place:
    """Return the place before the oldest change that is still there."""
    return State.read(snapshot.txn).oldest_commit - 1, END


def check_reach(store: Store, snapshot: Snapshot, place: Place) -> None:
    """Raise HistoryLost, with the oldest position, when the log does not go on directly behind the place."""
    state = State.read(snapshot.txn)
    commit, index = place
    if state.oldest_commit - (index == END) <= commit <= state.last_commit:
        return
    about = store.about
    first = Position(about["database_id"], about["epoch"], state.oldest_commit - 1)
    gone = "is older than the change log reaches" if commit < state.oldest_commit else "is newer than the database"
    raise HistoryLost(
        f"position {commit}.{index} {gone} (commits {state.oldest_commit} to {state.last_commit})",
        oldest=str(first), hint='restart(from_="oldest") or restart(from_="now"); history_bytes and history_age_s are its caps',
    )  # fmt: skip


def read_from(snapshot: Snapshot, place: Place) -> Iterator[list[tuple[bytes, bytes]]]:
    """Yield batches of the log's pairs behind a place."""
    return snapshot.txn.scan(CHANGES, log.key_of(*_next(place)), b"\xff" * 13)


def read_changes(
    store: Store, snapshot: Snapshot, names: Names, place: Place, *, most: int = MOST_CHANGES
) -> tuple[list[Change], Place]:
    """Return the next changes behind a place, at most ``most`` (the rest of a large commit comes with the next call), and where they end.

    ``names`` follows. Raises HistoryLost. Cost: two to three microseconds a change; images are decoded when asked for.
    """
    check_reach(store, snapshot, place)
    about = store.about["database_id"], store.about["epoch"]
    by_number = names.by_number
    found: list[Change] = []
    dated, size = 0, 0
    for batch in read_from(snapshot, place):
        for key, value in batch:
            commit, index = log.unpack_key(key)
            if index == END:
                _date(found, dated, log.unpack_end(value)[0])
                dated = len(found)
            else:
                item = log.unpack_change(commit, index, value)
                operation = DOCUMENT_OPERATIONS.get(item.operation)
                size += len(value)
                if operation is not None:
                    name = by_number.get(item.collection, "")
                    found.append(Change(about, commit, index, 0, operation, name, item.before, item.after))
                elif (change := _catalog_change(about, names, item)) is not None:
                    found.append(change)
            place = commit, index
        if len(found) >= most or size >= MOST_BYTES:
            break
    if dated < len(found):  # the last commit's end has not been reached
        end = snapshot.txn.get(CHANGES, log.key_of(found[-1].commit, END))
        _date(found, dated, log.unpack_end(end)[0] if end is not None else 0)
    return found, place


def undone(store: Store, snapshot: Snapshot, collection: int, commit: int, *, most: int) -> dict[bytes, bytes] | None:
    """Return by id key the documents of a collection that have changed behind a commit, as they were there (empty: not there).

    None when more than ``most`` have, or the collection itself has. Raises HistoryLost. Cost: a scan of the log behind the commit.
    """
    check_reach(store, snapshot, (commit, END))
    prefix = collection.to_bytes(4, "big")
    found: dict[bytes, bytes] = {}
    for batch in read_from(snapshot, (commit, END)):
        for key, value in batch:
            at, index = log.unpack_key(key)
            if index == END or value[1:5] != prefix:
                continue
            if value[0] == _CATALOG or len(found) > most:
                return None
            item = log.unpack_change(at, index, value)
            found.setdefault(id_of(item.before or item.after), item.before)
    return found


def _date(found: list[Change], start: int, clock_us: int) -> None:
    for at in range(start, len(found)):
        found[at].clock_us = clock_us


def _catalog_change(about: tuple[str, str], names: Names, item: log.Change) -> Change | None:
    """Return a change of the catalog as an event; None for rules, and for the second record of a rename (each name has its own)."""
    what = codec.decode(item.after)
    kind = what["what"]
    if kind == "rules":
        return None  # who may do what is no change of anything that is stored
    name = names.by_number.get(item.collection)
    if kind == "rename" and name == what["to"]:
        return None
    names.apply(item.collection, what)
    detail = {"to": what["to"]} if kind == "rename" else {"index": what["name"]} if kind in _INDEX_KINDS else {}
    operation = CATALOG_OPERATIONS.get(kind, kind)
    return Change(about, item.commit, item.index, 0, operation, name or what.get("name", ""), b"", b"", detail)
