"""Which live queries a commit concerns.

What lives here: ``LiveRouter``, one a hub. What it must not know: what a query makes of a change, who reads it.

``foresee`` and ``hand_out`` on a writer's thread, or ``advance`` on the hub's, which reads the log once for all, ask the predicate index of the change's
collection which queries may be concerned, and hand each the changes of a commit in one go. Nothing else is done there. The router's lock is held for a
lookup, or for handing over a list.

While nobody waits for news of a collection its writers only ``leave`` their commits here. Who looks at any query, and the hub, hands them out
(``catch_up``). They are in the log as well, behind ``_place``: what cannot be handed out from here is read there.

Names: a query watches a name, the log speaks of numbers. The catalog's records in the log bind them anew as they are met, and every query on a
name whose collection was created, dropped or renamed is *spoiled*: it asks anew, on its reader's thread, and tells what differs.

Queries are held weakly: one that is forgotten unread goes when it is collected. One with callbacks is held by its ``Watcher``, and that here.
"""

from __future__ import annotations

import heapq
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from docdb.errors import HistoryLost
from docdb.feeds import history
from docdb.feeds.forecast import MOST_BYTES, MOST_BYTES_TOGETHER, OVERHEAD, Forecast, Found, Left, document_of
from docdb.feeds.interest import Interest, Interests
from docdb.feeds.live import Commit, LiveQuery
from docdb.feeds.live_window import Changed
from docdb.feeds.positions import END, Place
from docdb.feeds.waiting import doubt
from docdb.store import changes as log
from docdb.store import codec

if TYPE_CHECKING:
    from docdb.feeds.hub import Hub
    from docdb.store.snapshots import Snapshot

__all__ = ["LiveRouter"]

LENSES: Final = 2_048  # kept; a lens takes one to two kilobytes and is made in some microseconds
MOST_LEFT: Final = 256  # commits that wait here,
LARGEST_LEFT: Final = 8_192  # with so many bytes each
AT_ONCE: Final = 32  # of them handed out before others have the interpreter's lock: a tenth of a millisecond
_CATALOG: Final = ord(log.CATALOG_CHANGE)
_END: Final = END.to_bytes(4, "big")

Query = LiveQuery[Any]


class LiveRouter:
    """Registers live queries and hands them what concerns them; ``Hub.router``."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._lock = threading.Lock()
        self._queries: dict[int, weakref.ref[Query]] = {}
        self._interests = Interests()
        self._place: Place | None = None
        self._last_key = 0
        self._alarms: list[tuple[float, int]] = []
        self._lenses: deque[weakref.ref[Query]] = deque()
        self._turns: weakref.WeakValueDictionary[int, threading.Lock] = weakref.WeakValueDictionary()
        self._bytes = 0
        self._spoiled = 0
        self._left: deque[Left] = deque()  # what is durable, in its order
        self.watchers: set[Any] = set()  # what holds the queries with callbacks

    # Registering

    def put(self, query: Query) -> None:
        """Register a query under its source's filter, or register it anew; it is told of what is committed from now on."""
        source = query.source
        with self.hub.store.snapshot() as snapshot:
            place, catalog = history.newest(snapshot), snapshot.catalog
        first = False
        with self._lock:
            if not query.alive:
                return
            if self._place is None:
                self._place = place
            if query.key < 0:
                self._last_key += 1
                query.key, first = self._last_key, True
                self._queries[query.key] = weakref.ref(query)
            else:
                self._interests.unbind(query.key, source.name)
            self._interests.bind(query, catalog)
        if first:
            self.hub.hold()

    def remove(self, query: Query) -> None:
        """Take a closed query out."""
        self._remove(query.key, query.source.name)
        with self._lock:
            self._bytes -= query.pending_bytes
            query.pending, query.pending_bytes = None, 0

    def forget(self, remains: Any) -> None:
        """Take out a query that was collected: its key, its collection's name, and the bytes that waited for it."""
        key, name, size = remains
        self._remove(key, name)
        with self._lock:
            self._bytes -= size

    def _remove(self, key: int, name: str) -> None:
        with self._lock:
            held = self._queries.pop(key, None) is not None
            if held:
                self._interests.unbind(key, name)
        if held:
            self.hub.release()

    def heed(self, query: Query) -> None:
        """Note whether anybody waits for a query: then its writers find out at once whom they concern."""
        with self._lock:  # asked under the lock: two threads may begin and end to wait at once
            self._interests.heed(query, query.awaited and query.key in self._queries)

    def close_all(self, session: Any) -> None:
        """Close the live queries of a session."""
        with self._lock:
            queries = [query for query in self._living() if query.source.session is session]
        for query in queries:
            query.close()

    def _living(self) -> list[Query]:
        return [query for ref in self._queries.values() if (query := ref()) is not None]

    # Leaving for later, on the thread of a writer

    def left(self, commit: int, records: Sequence[tuple[bytes, bytes]]) -> Left | None:
        """Return what to ``leave`` of a commit that can wait until somebody looks: one small change of a document, in a collection for whose news nobody
        waits; None: it cannot.
        """
        if len(records) != 2 or len(self._left) >= MOST_LEFT or not self._queries:
            return None
        record = records[0][1]
        if len(record) > LARGEST_LEFT or record[0] == _CATALOG:
            return None
        interests = self._interests
        bindings, interest = interests.bindings, interests.by_number.get(int.from_bytes(record[1:5], "big"))
        if interest is None:
            return Left(commit, record, bindings, ())
        return None if interest.awaited or interest.readers else Left(commit, record, bindings, interest.awaited)

    def leave(self, left: Left) -> bool:
        """Leave a durable commit for later; False: somebody may have begun to wait meanwhile, for whom the hub is to look."""
        self._left.append(left)
        # Who waits has said so before the last look: one of the two sees the other.
        return not left.awaited and left.bindings == self._interests.bindings

    @property
    def behind(self) -> bool:
        """Whether so much is left that to look takes a while."""
        return len(self._left) > AT_ONCE

    def catch_up(self) -> int | None:
        """Hand out what has been left until now; return the number of the last commit that is handed out, None where there is nobody.

        As in ``hand_out`` the place moves last: what interrupts this loses nothing.
        """
        try:
            if self._left:
                with self._lock:
                    until = self._left[-1].commit if self._left else 0
                while self._hand_out_left(until):
                    time.sleep(0)
        except Exception as error:
            doubt("behind a commit", error)
            with self._lock:
                self._left.clear()  # the hub meets it again in the log, and says so
        place = self._place
        return None if place is None else place[0]

    def _hand_out_left(self, until: int) -> bool:
        """Hand out some commits; tell whether there are more, up to this one, that need not be read from the log."""
        rung: list[Query] = []
        with self._lock:
            place = self._place
            if place is None:  # there was nobody
                self._left.clear()
                return False
            for commit, record, *_ in list(islice(self._left, AT_ONCE)):  # writers append to it meanwhile
                if commit > place[0]:
                    if place != (commit - 1, END):
                        break
                    self._offer_left(commit, record, rung)
                    place = commit, END
        for query in rung:
            query.ring()
        with self._lock:
            if self._place is not None:
                self._place = max(self._place, place)
            moved = False
            while self._left and self._left[0].commit <= place[0]:
                moved = bool(self._left.popleft())
            return moved and bool(self._left) and self._left[0].commit <= until

    def _offer_left(self, commit: int, record: bytes, rung: list[Query]) -> None:
        interest = self._interests.by_number.get(int.from_bytes(record[1:5], "big"))
        if interest is None:
            return
        change = log.unpack_images(commit, 0, record)
        size = len(change[1]) + len(change[2]) + OVERHEAD
        for key in interest.index.candidates(change[1], change[2]):
            query = self._query(key)
            if query is not None and query.seen < commit:
                self._offer(query, (commit, [change]), size)
                rung.append(query)
        for key in interest.readers:  # registered since
            query = self._query(key)
            if query is not None:
                self._spoil(query)
                rung.append(query)

    # Handing out, on the thread of a writer or the hub

    def foresee(self, first: int, last: int, records: Iterable[tuple[bytes, bytes]]) -> Forecast | None:
        """Find out whom commits of this process concern, on the thread of their writer, which has the records at hand; None: the hub has to read them.

        It has to where the commits before these are not handed out yet, and where a snapshot is needed.
        """
        if self._left:
            self.catch_up()
        with self._lock:
            place = self._place
            if not self._queries or place is None or place[0] >= last:
                return Forecast(last, None, self._interests.bindings, [])
            if place != (first - 1, END):
                return None
            forecast = Forecast(last, place, self._interests.bindings, [])
            commit, changes = first, list[tuple[int, Interest, Changed]]()
            for key, value in records:
                if key.endswith(_END):
                    if not self._foresee_one(commit, changes, forecast):
                        return None
                    commit, changes = commit + 1, []
                elif value[0] == _CATALOG:
                    return None
                else:
                    number = int.from_bytes(value[1:5], "big")
                    interest = self._interests.by_number.get(number)
                    if interest is not None:
                        if interest.readers:
                            return None
                        changes.append((number, interest, log.unpack_images(commit, len(changes), value)))
            return forecast

    def _foresee_one(self, commit: int, changes: list[tuple[int, Interest, Changed]], forecast: Forecast) -> bool:
        offers = forecast.offers
        if len(changes) == 1:  # as most have: the same in fewer steps
            _, interest, change = changes[0]
            for key in interest.index.candidates(change[1], change[2]):
                query = self._query(key)
                if query is not None:
                    offers.append((query, (commit, [change]), len(change[1]) + len(change[2]) + OVERHEAD))
            return True
        found = Found()
        for number, interest, change in changes:
            found.meet(number, change)
            self._find(found, interest, change)
        if found.spoiled or found.twice and found.by_key:
            return False
        for key, (mine, size) in found.by_key.items():
            query = self._query(key)
            if query is not None:
                offers.append((query, (commit, mine), size))
        return True

    def hand_out(self, forecast: Forecast) -> bool:
        """Hand out what was foreseen, now that it is durable; False: it does not hold any more.

        What happens on the way may hand a commit out twice: a query passes over what it has seen. So the place moves last, and what interrupts
        this loses nothing.
        """
        last, place, bindings, offers = forecast
        if not offers and place is None and bindings == self._interests.bindings:
            return True
        with self._lock:
            if bindings != self._interests.bindings:
                return False
            if self._place is None or self._place[0] >= last:  # the hub has read it from the log
                return True
            if self._place != place:
                return False
            for query, commit, size in offers:
                self._offer(query, commit, size)
        for query, _, _ in offers:
            query.ring()
        with self._lock:
            if self._place == place:
                self._place = last, END
        return True

    def holds(self, forecast: Forecast) -> bool:
        """Tell whether no query was registered under another filter since; it may be any one."""
        return forecast.bindings == self._interests.bindings

    def advance(self, snapshot: Snapshot) -> int | None:
        """Hand out everything up to a snapshot; return its last commit, None where there is nobody."""
        self.catch_up()
        with self._lock:
            if not self._queries:
                self._place = None
            place = self._place
        if place is None:
            return None
        newest = history.newest(snapshot)
        if newest <= place:  # a writer has handed over what was committed since the snapshot was taken
            return place[0]
        try:
            history.check_reach(self.hub.store, snapshot, place)
        except HistoryLost:
            place = newest
            self._spoil_all()
        found = Found()
        for batch in history.read_from(snapshot, place):
            for key, value in batch:
                commit, index = log.unpack_key(key)
                if index != END:
                    self._note(found, commit, index, value, snapshot)
                else:
                    if found.by_key and found.twice:
                        found = self._whole(commit, found, snapshot)
                    if found.by_key or found.spoiled:
                        self._deliver(commit, found)
                    found = Found()
            place = log.unpack_key(batch[-1][0])
        with self._lock:
            if self._place is not None:
                self._place = max(self._place, place)
        return place[0]

    def _note(self, found: Found, commit: int, index: int, value: bytes, snapshot: Snapshot) -> None:
        number = int.from_bytes(value[1:5], "big")
        if value[0] == _CATALOG:
            what = codec.decode(log.unpack_change(commit, index, value).after)
            with self._lock:
                found.spoiled |= self._interests.follow(number, what, snapshot, self._living)
            return
        interest = self._interests.by_number.get(number)
        if interest is None:
            return
        change = log.unpack_images(commit, index, value)
        found.meet(number, change)
        with self._lock:
            self._find(found, interest, change)
            found.spoiled |= interest.readers

    def _find(self, found: Found, interest: Interest, change: Changed) -> None:
        keys = interest.index.candidates(change[1], change[2])
        if keys:
            found.add(keys, change)

    def _whole(self, commit: int, found: Found, snapshot: Snapshot) -> Found:
        """Return what a commit has for whom when all that it did to one document goes to everybody whom any of it concerns.

        What lies between two changes of one commit is nobody's to see; a query that had only some of them would take it for the document.
        """
        again = Found()
        again.spoiled = found.spoiled
        keys: dict[tuple[int, bytes], dict[int, None]] = {}
        for number, change in _changes(commit, snapshot):
            with self._lock:
                interest = self._interests.by_number.get(number)
                concerned = [] if interest is None else interest.index.candidates(change[1], change[2])
            keys.setdefault(document_of(number, change), {}).update(dict.fromkeys(concerned))
        for number, change in _changes(commit, snapshot):
            again.add(keys[document_of(number, change)], change)
        return again

    def _deliver(self, commit: int, found: Found) -> None:
        rung: list[Query] = []
        with self._lock:
            self._offer_all(commit, found, rung)
        for query in rung:
            query.ring()

    def _offer_all(self, commit: int, found: Found, rung: list[Query]) -> None:
        for key in found.spoiled:
            query = self._query(key)
            if query is not None:
                self._spoil(query)
                rung.append(query)
        for key, (changes, size) in found.by_key.items():
            query = self._query(key) if key not in found.spoiled else None
            if query is not None and query.seen < commit:  # it may have been told ahead
                self._offer(query, (commit, changes), size)
                rung.append(query)

    def _query(self, key: int) -> Query | None:
        ref = self._queries.get(key)
        return None if ref is None else ref()

    def _offer(self, query: Query, commit: Commit, size: int) -> None:
        if query.stale:
            return
        if query.pending_bytes + size > MOST_BYTES or self._bytes + size > MOST_BYTES_TOGETHER:
            self._spoil(query)
            return
        if query.pending is None:
            query.pending = []
        query.pending.append(commit)
        query.pending_bytes += size
        self._bytes += size

    def _spoil(self, query: Query) -> None:
        if not query.stale:
            self._spoiled += 1
        query.stale = True
        self._bytes -= query.pending_bytes
        query.pending, query.pending_bytes = None, 0

    def _spoil_all(self) -> None:
        with self._lock:
            queries = self._living()
            for query in queries:
                self._spoil(query)
        for query in queries:
            query.ring()

    @property
    def alarmed(self) -> bool:
        """Whether any query waits for a moment."""
        return bool(self._alarms)

    def due(self) -> float | None:
        """Ring the queries with rows whose time has come; return how many seconds the next one has."""
        rung: list[Query] = []
        with self._lock:
            now = time.monotonic()
            while self._alarms and self._alarms[0][0] <= now:
                at, key = heapq.heappop(self._alarms)
                query = self._query(key)
                if query is not None and query.armed_s == at:
                    query.armed_s = None
                    rung.append(query)
            left = self._alarms[0][0] - now if self._alarms else None
        for query in rung:
            query.ring()
        return left

    def fail(self, error: BaseException) -> None:
        """End all queries with an error, each its own reader's affair."""
        with self._lock:
            queries = self._living()
        for query in queries:
            query.fail(error)

    # On the readers' threads

    def turn(self, query: Query) -> threading.Lock:
        """Return the lock that lets one thread at a time look at a query.

        The locks are here, and as many as are in use: one in each query would be a tenth of its size. They are plain locks for ``with``, because no
        interruption comes between taking one and the block.
        """
        with self._lock:
            turn = self._turns.get(id(query))
            if turn is None:
                turn = self._turns[id(query)] = threading.Lock()
            return turn

    def take(self, query: Query) -> list[Commit] | None:
        """Return the commits that wait for a query."""
        with self._lock:
            found, query.pending = query.pending, None
            self._bytes -= query.pending_bytes
            query.pending_bytes = 0
        return found

    def freshen(self, query: Query) -> None:
        """Begin to note changes again for a query that is about to be asked anew."""
        with self._lock:
            query.stale = False
            self._bytes -= query.pending_bytes
            query.pending, query.pending_bytes = None, 0

    def spoil(self, query: Query) -> None:
        """Have a query asked anew before it tells anything more."""
        with self._lock:
            self._spoil(query)
        query.ring()

    def alarm(self, query: Query, at_s: float) -> None:
        """Ring a query at a moment of ``time.monotonic()``."""
        with self._lock:
            if query.armed_s is None or at_s < query.armed_s - 0.001:
                query.armed_s = at_s
                heapq.heappush(self._alarms, (at_s, query.key))

    def note_lens(self, query: Query) -> None:
        """Take note of a lens that was made; the oldest beyond a number are dropped."""
        lenses = self._lenses
        lenses.append(weakref.ref(query))
        while len(lenses) > LENSES:
            oldest = lenses.popleft()()
            if oldest is not None:
                oldest.forget_lens()

    def stats(self) -> dict[str, Any]:
        """Return what ``db.stats()`` shows of live queries."""
        self.catch_up()
        with self._lock:
            queries = self._living()
            waiting = [len(query.pending) for query in queries if query.pending]
            return {
                "open": len(queries),
                "unindexed": self._interests.unindexed,
                "waiting_commits": sum(waiting),
                "longest_queue": max(waiting, default=0),
                "waiting_bytes": self._bytes,
                "asked_anew": self._spoiled,
            }


def _changes(commit: int, snapshot: Snapshot) -> Iterator[tuple[int, Changed]]:
    """Yield a commit's changes of documents, each with the number of its collection."""
    for item in log.read(snapshot.txn, commit - 1, commit):
        if isinstance(item, log.Change) and item.operation != log.CATALOG_CHANGE:
            yield item.collection, (item.operation, item.before, item.after)
