"""Expiry: removing documents whose time is over.

What lives here: ``sweep``, which removes what has expired in short commits, ``earliest``, and ``Sweeper``, the thread that does it in the background. What
it must not know: faces, who reads the log. That an expired document is not returned is not its work (``CollectionInfo.alive``); so it is in no hurry.

A removal is an ordinary delete: judged inside the write transaction by the same condition that hides the document, with a record in the change log. A
commit removes at most ``MOST_DOCUMENTS`` and aims at ``STEP_S``; between two the sweeper rests as long as the last one took, so that it has at most half of
the writer.

The thread lives while the store has an expiring index and is open for writing. It sleeps until the earliest date is due, and looks every ``every_s``
seconds, because another process may have put an earlier one. In one process at a time: each round takes the lease.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Final

from docdb.engine.base import DOCUMENTS
from docdb.engine.forks import Inside
from docdb.errors import DocdbError
from docdb.language.expressions import now as wall_clock
from docdb.language.matching import matcher
from docdb.language.order import type_range
from docdb.store import codec, records
from docdb.store.changes import DELETE
from docdb.store.keyspace import after_prefix, component, decode_key, document_key, split_components
from docdb.store.records import DocumentChange
from docdb.store.views import View

if TYPE_CHECKING:
    from docdb.store.batch import WriteBatch
    from docdb.store.catalog import Catalog, CollectionInfo, IndexInfo
    from docdb.store.store import Store

__all__ = ["SWEEP_S", "Sweeper", "earliest", "sweep"]

SWEEP_S: Final = 10.0  # how often the thread looks, when nothing is due before
SHORTEST_S: Final = 1.0  # between two rounds: what expires meanwhile goes together
STEP_S: Final = 0.005  # a commit aims at this long
FEWEST_DOCUMENTS: Final = 64  # even where the flush alone takes longer
MOST_DOCUMENTS: Final = 1_000
MOST_BYTES: Final = 4 * 2**20  # of documents in a commit
LONGEST_REST_S: Final = 0.1
LEASE: Final = "expiry"
_DATE: Final = 0x90  # the tag of a date's order key


def sweep(
    store: Store,
    now: dt.datetime,
    stopped: Callable[[], bool] = lambda: False,
    inside: AbstractContextManager[None] | None = None,
) -> int:
    """Remove every document that has expired at ``now``; return how many. Cost: one seek an expiring index where there is none.

    ``stopped`` is asked between two commits; each goes on within ``inside``.
    """
    inside = nullcontext() if inside is None else inside
    with inside:
        collections = list(store.catalog().collections.values())
    return sum(
        _sweep_index(store, (info.number, index.number), now, stopped, inside)
        for info in collections
        for index in info.expiring
    )


def _sweep_index(
    store: Store,
    numbers: tuple[int, int],
    now: dt.datetime,
    stopped: Callable[[], bool],
    inside: AbstractContextManager[None],
) -> int:
    """Sweep one index, named by the numbers of its collection and its own."""
    removed, step = 0, FEWEST_DOCUMENTS
    while not stopped():
        with inside:
            began = time.perf_counter()
            due = _any_due(store, numbers, now)
            done = store.write(partial(_remove, numbers=numbers, now=now, most=step)) if due else 0
            spent = time.perf_counter() - began
        if not done:
            break
        removed += done
        step = max(FEWEST_DOCUMENTS, min(MOST_DOCUMENTS, int(step * STEP_S / max(spent, 1e-6))))
        time.sleep(min(spent, LONGEST_REST_S))
    return removed


def _any_due(store: Store, numbers: tuple[int, int], now: dt.datetime) -> bool:
    """Tell whether a step would find anything, without the writer's lock."""
    with store.snapshot() as snapshot:
        found = _expiring(snapshot.catalog, numbers)
        if found is None:
            return False
        info, index = found
        return snapshot.view(info.name).entry_count(index, *_due(index, now), 1) > 0


def _remove(batch: WriteBatch, numbers: tuple[int, int], now: dt.datetime, most: int) -> int:
    """Remove the next documents of one index as a caller of the group commit; return how many."""
    found = _expiring(batch.catalog, numbers)
    if found is None:
        return 0
    info, index = found
    alive = matcher(info.alive(now))
    ids: dict[bytes, None] = {}  # each once, in the order of their dates: an array has several entries
    for entries in View(batch.txn, info).entry_ids(index, *_due(index, now), batch=min(most, 256)):
        ids.update(dict.fromkeys(entries))
        if len(ids) >= most:
            break
    changes: list[DocumentChange] = []
    size = 0
    for id_key in list(ids)[:most]:
        data = batch.txn.get(DOCUMENTS, document_key(info.number, id_key))
        if data is None or alive(codec.decode(data)):
            continue
        changes.append(DocumentChange(DELETE, id_key, data, None))
        size += len(data)
        if size >= MOST_BYTES:
            break
    if changes:
        records.apply(batch, info, changes)
    return len(changes)


def _expiring(catalog: Catalog, numbers: tuple[int, int]) -> tuple[CollectionInfo, IndexInfo] | None:
    """Return a collection and its expiring index by their numbers, when they are still there."""
    info = catalog.by_number.get(numbers[0])
    index = next((index for index in info.expiring if index.number == numbers[1]), None) if info is not None else None
    return None if info is None or index is None else (info, index)


def _due(index: IndexInfo, now: dt.datetime) -> tuple[bytes, bytes]:
    """Return the bounds of the entries whose date is over at ``now``."""
    low, high = _dates(index)
    last = component(index.last_date(now), index.keys[0][1])
    return (low, after_prefix(last)) if index.keys[0][1] > 0 else (last, high)


def _dates(index: IndexInfo) -> tuple[bytes, bytes]:
    """Return the bounds of all entries that are dates."""
    low, high = type_range(_DATE)
    if index.keys[0][1] > 0:
        return low, high
    inverted = bytes((0xFF - _DATE,))
    return inverted, after_prefix(inverted)


def earliest(store: Store) -> dt.datetime | None:
    """Return when the next document expires (the past, when it has); None when no stored document ever will. Cost: one seek an index."""
    found: list[dt.datetime] = []
    with store.snapshot() as snapshot:
        for info in snapshot.catalog.collections.values():
            view = snapshot.view(info.name)
            for index in info.expiring:
                way = index.keys[0][1]
                first = next(view.entries(index, *_dates(index), reverse=way < 0, batch=1), None)
                if not first:
                    continue
                (key, _), *_ = first
                date: dt.datetime = decode_key(split_components(key, [way])[0][0])
                try:
                    found.append(date + dt.timedelta(seconds=index.expire_after_s or 0))
                except OverflowError:
                    continue  # behind the end of the calendar
    return min(found, default=None)


class Sweeper:
    """The thread of one store; ``start`` it as often as you like."""

    def __init__(self, store: Store, every_s: float) -> None:
        self._store = store
        self._every_s = every_s
        self._inside = Inside()
        self._mutex = threading.RLock()  # looking at the catalog may start the thread
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.removed = 0  # documents, since open

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Make the thread, when there is none."""
        with self._mutex:
            if self._closed or self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="docdb-expiry", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it: at most one commit."""
        with self._mutex:
            self._closed = True
            self._stopping.set()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        pause_s: float | None = min(SHORTEST_S, self._every_s)
        while pause_s is not None and not self._stopping.wait(pause_s):
            try:
                pause_s = self._round()
            except Exception as error:
                if self._stopping.is_set():
                    return
                self._note(error)
                pause_s = self._every_s

    def _round(self) -> float | None:
        """Remove what is due; return how long to sleep, None when nothing can expire any more."""
        store, now = self._store, wall_clock()
        with self._inside:
            with self._mutex:
                if not store.catalog().expires:
                    self._thread = None  # an index made from here on starts another one
                    return None
            due = earliest(store)
        if due is not None and due <= now and (lease := store.engine.lease(LEASE)) is not None:
            with lease:
                self.removed += sweep(store, now, self._stopping.is_set, self._inside)
        with self._inside:
            due = earliest(store)
        if due is None:
            return self._every_s
        shortest = min(SHORTEST_S, self._every_s)
        return min(self._every_s, max(shortest, (due - wall_clock()).total_seconds()))

    def _note(self, error: Exception) -> None:
        level = logging.WARNING if isinstance(error, DocdbError) else logging.ERROR
        logging.getLogger("docdb.expiry").log(level, "removing expired documents", exc_info=error)
