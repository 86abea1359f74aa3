"""Live queries: the result of a query, told anew behind every commit that touches it.

What lives here: ``LiveQuery``. What it must not know: planner, sessions (``Source`` asks for it), who hands it the changes (``routing``).

The router goes through each commit once for all live queries and puts the changes that may concern this one into ``pending``, whole commits at a time; that
is all that happens on the thread of the writer or the hub. Who reads the query lets them pass over the window (``live_window``), on the reader's thread
and in the reader's time. What waits for a reader is bounded: beyond the bound it is dropped, and the query is asked anew when the reader comes, which
gives one snapshot for all that was missed.
So the last state is never lost, a reader who is slow, blocked or gone costs a bounded number of bytes, and nobody waits for anybody.

A window with a limit that runs short is filled at the commit it stands at: the query is asked of the newest snapshot, and what the log says has
happened since then is taken back (``history.undone``).
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Protocol, TypeVar

from docdb.errors import DeniedError, DocdbError, HistoryLost, InvalidOperation, StorageError
from docdb.feeds import history
from docdb.feeds.live_events import LiveSnapshot, Move
from docdb.feeds.live_window import SLACK, Bounds, Changed, Lens, Window, compare, net, step
from docdb.feeds.ordering import id_of
from docdb.feeds.positions import Position
from docdb.feeds.waiting import Feed

if TYPE_CHECKING:
    from docdb.feeds.delivery import Watcher
    from docdb.feeds.routing import LiveRouter
    from docdb.language.tree import Node
    from docdb.store.snapshots import Snapshot

__all__ = ["Commit", "LiveQuery", "Source"]

T = TypeVar("T")
Row = tuple[bytes, bytes]
Commit = tuple[int, list[Changed]]
MOST_UNDONE: Final = 10_000  # changes taken back to fill a window; with more the query is asked anew


class Source(Protocol):
    """What a live query asks its session for."""

    @property
    def name(self) -> str:
        """The collection's name."""

    @property
    def session(self) -> Any:
        """Whose live query it is."""

    @property
    def bounds(self) -> Bounds:
        """Places of the first row that is shown and behind the last one (None: there is no last one)."""

    @property
    def node(self) -> Node:
        """The filter as of the last ``settle``: collation and constraint included, expiry not."""

    @property
    def number(self) -> int | None:
        """The collection's number as of the last ``settle``, None: it does not exist."""

    @property
    def constrained(self) -> bool:
        """Whether rules have a say in it."""

    @property
    def steady(self) -> bool:
        """Whether the filter of the last ``settle`` says all: it reads nothing but the document that is judged."""

    def due_s(self) -> float | None:
        """Return in how many seconds the last ``settle`` is to be made anew, whatever is committed; None: never."""

    def is_found_by(self, node: Node) -> bool:
        """Tell whether who is registered under a filter is told of all that concerns the present one."""

    def watched(self) -> Sequence[str]:
        """Return the names of other collections whose changes may change what the query may show, as of the last ``settle``."""

    def settle(self, snapshot: Snapshot) -> None:
        """Bring the query to the catalog and the rules of a snapshot. Raises DeniedError where they refuse it."""

    def settled(self, snapshot: Snapshot) -> bool:
        """Tell whether the last ``settle`` is still true of a snapshot."""

    def lens(self) -> Lens:
        """Return what the query makes of stored documents; some microseconds, a kilobyte."""

    def rows(self, snapshot: Snapshot, lens: Lens, least: int | None) -> tuple[list[Row], bytes | None]:
        """Return the first rows, in order, and the key up to which they are complete (None: no more there are): at least so many if there are."""

    def known(self, snapshot: Snapshot, id: bytes) -> bytes | None:
        """Return the stored document with this id key."""

    def now_us(self) -> int:
        """Return the clock in microseconds since 1970."""


class _Foretold(NamedTuple, Generic[T]):
    """A commit that has passed over the window before it was durable."""

    turn: threading.Lock  # of the router, kept at hand
    commit: int
    changes: Sequence[Changed]
    snapshot: LiveSnapshot[T] | None


class LiveQuery(Feed[LiveSnapshot[T]]):
    """The result of a query, first as it is now, then behind every commit that touches it.

    Iterate with ``for`` or ``async for``, or ask with ``next`` and ``try_next``; each item is a ``LiveSnapshot``. A reader may be as slow as it likes: 4 MiB of
    changes wait for it (64 MiB for all readers of a process), and when there are more one snapshot stands for all that was missed (``coalesced``).
    """

    __slots__ = (
        "_commit", "_dues", "_event", "_foretold", "_lens", "_router", "_source", "_taken", "_torn", "_window",
        "armed_s", "key", "node", "pending", "pending_bytes", "stale", "watched", "watcher",
    )  # fmt: skip

    def __init__(self, router: LiveRouter, source: Source) -> None:
        super().__init__(router.hub)
        self._router = router
        self._source = source
        self._window = Window()
        self._event = 0
        self._commit = -1
        self._torn = True  # the window is no result yet, or no longer one
        self._lens: Lens | None = None
        self._taken: list[Commit] | None = None  # newest first
        self._dues: list[tuple[int, bytes]] | None = None
        self._foretold: _Foretold[T] | None = None
        self.watcher: Watcher[T] | None = None  # who alone reads it, with callbacks on threads of the hub
        # The router's, under its lock.
        self.key = -1
        self.node: Node | None = None
        self.watched: Sequence[str] = ()
        self.pending: list[Commit] | None = None
        self.pending_bytes = 0
        self.stale = False
        self.armed_s: float | None = None

    # What the router and the session say

    @property
    def source(self) -> Source:
        """What the query asks its session for."""
        return self._source

    @property
    def router(self) -> LiveRouter:
        """What hands it the changes."""
        return self._router

    def begin(self, snapshot: Snapshot | None = None) -> None:
        """Take the first result; with a ``snapshot`` (of ``beginning``) from that one, which is closed."""
        with self._router.turn(self), snapshot or self._registered() as found:
            if self._torn and not self._closed:
                self._take_from(found)

    def beginning(self) -> Snapshot:
        """Register, and return the snapshot to begin with; for who must not wait here for the first result."""
        with self._router.turn(self):
            return self._registered()

    def refresh(self) -> None:
        """Ask the query anew before anything more is told: what it may show has changed. Takes no time; the reader does the work.

        For sessions with rules: call it when rules or the caller's identity have changed. Documents that may no longer be shown go out with the next
        snapshot, ones that now may come in. ``Constraint`` in ``sessions/live.py`` says when the hub does so itself.
        """
        self._router.spoil(self)

    def forget_lens(self) -> None:
        """Drop what can be made again; the router keeps a bounded number of lenses."""
        self._lens = None

    @property
    def seen(self) -> int:
        """The number of the last commit that the result knows of; -1: there is none yet."""
        return self._commit

    @property
    def position(self) -> str:
        """Where the query has got to: everything up to this position is told."""
        about, commit = self._hub.store.about, max(self._commit, 0)
        seal = self._seen_through().seal if self._source.constrained else None
        return str(Position(about["database_id"], about["epoch"], commit)) if seal is None else seal(commit)

    # What a feed must say

    def _mark(self) -> None:
        return None

    def _rewind(self, mark: None) -> None:
        # The window may be half changed, or a snapshot lost: the next one is a first one again.
        self._torn, self._event = True, 0

    def _heed(self) -> None:
        if not self._hub.foreign:
            self._router.heed(self)

    def _look(self) -> LiveSnapshot[T] | None:
        self._router.catch_up()  # it may spoil the query, so in front of all else
        with self._router.turn(self):
            try:
                return self._first() if self._event == 0 else self._following()
            except StorageError:
                raise
            except DocdbError as error:
                if self._closed and isinstance(error, InvalidOperation):  # meanwhile, and its storage with it
                    return None
                self.close()  # what the query cannot say of a document, or may no longer say, it cannot say of the next either
                raise

    def _first(self) -> LiveSnapshot[T]:
        if self._torn:
            with self._registered() as snapshot:
                self._take_from(snapshot)
        return self._told(())

    def _following(self) -> LiveSnapshot[T] | None:
        while not self._closed:
            if self.stale or self._torn or self._overdue():
                found = self._asked_anew()
                if found is not None:
                    return found
                continue
            commit = self._next()
            try:
                moves = self._expire() if commit is None else self._pass(*commit)
            except (HistoryLost, _Torn):
                continue
            if moves:
                return self._told(moves)
            if commit is None:
                self._arm()
                return None
        return None

    def _overdue(self) -> bool:
        due_s = self._source.due_s() if self._source.constrained else None
        return due_s is not None and due_s <= 0

    @property
    def light(self) -> bool:
        """Whether looking is short work: the query need not be asked anew, and little is left to hand out."""
        return not (self._torn or self.stale or self._router.behind)

    def _leave(self) -> None:
        if not self._hub.foreign:
            self._router.remove(self)

    def _remains(self) -> Any:
        return self.key, self._source.name, self.pending_bytes

    # Ahead of a commit, by who alone reads the query

    def foretell(self, commit: int, changes: Sequence[Changed]) -> bool:
        """Let a commit pass over the window that is not durable yet, where that is plain work; ``settle`` must follow."""
        turn = self._router.turn(self)
        with turn:
            if self._closed or self._torn or self.stale or self.pending or self._taken or self._event == 0:
                return False
            source, window, lens, end = self._source, self._window, self._seen_through(), self._source.bounds[1]
            if not source.steady or self._overdue() or lens.expires is not None or commit <= self._commit:
                return False
            if window.horizon is not None and len(window.keys) - len(changes) < (end or 0):
                return False  # it might have to be filled from a snapshot, which there is not
            if end is not None and len(changes) > SLACK:
                return False  # trimmed, it might run short when they are taken back
            changes = net(changes)
            self._torn = True
            try:
                moves = step(window, lens, changes, source.bounds, 0, _never)
                told = self._snapshot(commit, moves) if moves else None
                self._foretold = _Foretold(turn, commit, changes, told)
            except BaseException:
                self._rewind(None)
                raise
            return True

    def settle(self, landed: bool) -> LiveSnapshot[T] | None:
        """Take a foretold commit for true, and return what it tells; take it back where it has not landed, or the query is to be asked anew."""
        foretold = self._foretold
        if foretold is None:
            return None
        with foretold.turn:
            self._foretold = None
            if landed and not (self.stale or self._overdue()):
                self._commit, self._torn = foretold.commit, False
                self._event += foretold.snapshot is not None
                return foretold.snapshot
            back = [(operation, after, before) for operation, before, after in foretold.changes]
            try:
                step(self._window, self._seen_through(), back, self._source.bounds, 0, _never)
                self._torn = False
            except BaseException:
                self._rewind(None)
                raise
            return None

    # The result

    def _next(self) -> Commit | None:
        """Return the next commit that the window has not seen."""
        while True:
            if not self._taken:
                self._taken = self._router.take(self)
                if not self._taken:
                    return None
                self._taken.reverse()
            found = self._taken.pop()
            if found[0] > self._commit:
                return found

    def _pass(self, commit: int, changes: Sequence[Changed]) -> list[Move]:
        if not self._source.steady:  # what the rules read besides the document is known of a snapshot only
            self._torn = True
            raise _Torn
        return self._step(net(changes), commit)

    def _step(self, changes: Sequence[Changed], commit: int) -> list[Move]:
        lens, window = self._seen_through(), self._window
        now_us = self._source.now_us() if lens.expires is not None else 0
        self._torn = True  # until it is whole again, whatever is raised
        moves = step(window, lens, changes, self._source.bounds, now_us, lambda: self._fill(lens, commit))
        self._commit = commit
        if lens.expires is not None:
            self._note_dues([after for _, _, after in changes if after and lens.matches(after, now_us)], lens)
        self._torn = False
        return moves

    def _fill(self, lens: Lens, commit: int) -> None:
        """Bring the window to the first rows as of a commit."""
        source, store = self._source, self._hub.store
        with store.snapshot() as snapshot:
            if not source.settled(snapshot) or source.number is None:
                raise _Torn
            undone = history.undone(store, snapshot, source.number, commit, most=MOST_UNDONE)
            if undone is None:
                raise _Torn
            end = source.bounds[1] or 0
            rows, horizon = source.rows(snapshot, lens, end + len(undone))
        if undone:
            now_us = source.now_us()
            old = [(lens.key(data), data) for data in undone.values() if lens.matches(data, now_us)]
            rows = [row for row in rows if id_of(row[1]) not in undone]
            rows = sorted(rows + [row for row in old if horizon is None or row[0] <= horizon])
        self._window.fill(rows, horizon)
        self._begin_dues(lens)

    def _registered(self) -> Snapshot:
        """Return a snapshot such that every change behind it that concerns the query is noted for it."""
        source = self._source
        while True:
            snapshot = self._hub.store.snapshot()
            try:
                source.settle(snapshot)
                if self.node is not None and source.is_found_by(self.node) and source.watched() == self.watched:
                    return snapshot
                self._router.put(self)
            except BaseException:
                snapshot.close()
                raise
            snapshot.close()  # what was committed since it was taken may have been missed

    def _take_from(self, snapshot: Snapshot) -> None:
        """Take the result as of a snapshot."""
        source = self._source
        self._torn = True
        self._taken = self._lens = None
        lens = self._seen_through()
        rows, horizon = source.rows(snapshot, lens, source.bounds[1])
        self._commit = history.newest(snapshot)[0]
        self._window.fill(rows, horizon)
        self._begin_dues(lens)
        self._torn = False

    def _asked_anew(self) -> LiveSnapshot[T] | None:
        """Ask the query again, and tell what differs."""
        source, window = self._source, self._window
        first, end = source.bounds
        old = list(zip(window.keys[first:end], window.docs[first:end], strict=True))
        self._torn = True
        self._router.freshen(self)
        try:
            snapshot = self._registered()
        except DeniedError as error:
            return self._lost(error, old)
        with snapshot:
            self._take_from(snapshot)
            new = list(zip(window.keys[first:end], window.docs[first:end], strict=True))
            lens = self._seen_through()
            moves = compare(lens, old, new, lambda id: source.known(snapshot, id), source.now_us())
        return self._told(moves, coalesced=True) if moves else None

    def _lost(self, error: DeniedError, old: Sequence[tuple[bytes, bytes]]) -> LiveSnapshot[T]:
        """Take everything back; the error comes behind that."""
        error.permission_lost = True
        if not old:
            raise error
        self._window.fill([], None)
        self._torn = False
        self.fail(error)
        return self._told([Move("remove", "dequeue", data) for _, data in old], coalesced=True)

    def _told(self, moves: Sequence[Move], *, coalesced: bool = False) -> LiveSnapshot[T]:
        snapshot = self._snapshot(self._commit, moves, coalesced=coalesced)
        self._event += 1
        return snapshot

    def _snapshot(self, commit: int, moves: Sequence[Move], *, coalesced: bool = False) -> LiveSnapshot[T]:
        first, end = self._source.bounds
        stored = tuple(self._window.docs[first:end])
        lens = self._seen_through()
        return LiveSnapshot(self._hub.store.about, commit, self._event, lens, stored, moves, coalesced=coalesced)

    def _seen_through(self) -> Lens:
        lens = self._lens
        if lens is None:
            lens = self._lens = self._source.lens()
            self._router.note_lens(self)
        return lens

    # Expiry

    def _begin_dues(self, lens: Lens) -> None:
        self._dues = None if lens.expires is None else []
        self._note_dues(self._window.docs, lens)

    def _note_dues(self, documents: Sequence[bytes], lens: Lens) -> None:
        dues = self._dues
        if dues is None or lens.expires is None:
            return
        if len(dues) > 2 * len(self._window.docs) + 64:  # mostly of rows that have changed since
            dues.clear()
            documents = self._window.docs
        for data in documents:
            due = lens.expires(data)
            if due is not None:
                heapq.heappush(dues, (due, lens.key(data)))

    def _expire(self) -> list[Move]:
        """Let go of the rows whose time has come; their deletion, when it is in the log, finds them gone."""
        dues = self._dues
        if not dues:
            return []
        lens, window = self._seen_through(), self._window
        now_us = self._source.now_us()
        if dues[0][0] <= now_us and not self._source.steady:
            self._torn = True
            raise _Torn
        gone: dict[bytes, Changed] = {}
        while dues and dues[0][0] <= now_us:
            _, key = heapq.heappop(dues)
            at = window.find(key)
            if at >= 0 and not lens.matches(window.docs[at], now_us):
                gone[key] = "d", window.docs[at], b""
        return self._step(list(gone.values()), self._commit) if gone else []

    def _arm(self) -> None:
        """Have the hub ring when the next row is due, or the rules are."""
        waits = [] if not self._dues else [(self._dues[0][0] - self._source.now_us()) / 1e6]
        due_s = self._source.due_s() if self._source.constrained else None
        if due_s is not None:
            waits.append(due_s)
        if waits:
            self._router.alarm(self, time.monotonic() + max(0.0, min(waits)))

    def __repr__(self) -> str:
        return f"<{'open' if self.alive else 'closed'} live query on {self._source.name!r}>"


def _never() -> None:
    """Stand where a window is never filled."""
    raise _Torn


class _Torn(Exception):
    """The window cannot be brought to the commit it stands at: the query must be asked anew."""
