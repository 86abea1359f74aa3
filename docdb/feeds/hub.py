"""The hub: the one thread of a process that waits for commits of a store and wakes its feeds.

What lives here: ``Hub``. What it must not know: what a feed makes of the news.

The thread lives while there are feeds. It waits for the bell, and looks at the storage's transaction id from time to time, since a bell can be lost
(``engine/bell.py``). Change streams are rung and read the log themselves. For live queries the hub reads each new change once and tells ``router``
which queries it concerns; so 100,000 queries cost a change one look into the predicate index. Small commits of this process are handed over by
their writer (``foresee``, ``committed``), and the thread sleeps on unless there are callbacks to run. Those of quick watchers are prepared while the commit
is being flushed, by the thread that rests (``rouse``).

Callbacks run on this thread too, since every change of threads costs tens of microseconds: but first it hands the lead on to another one, which listens
in its place. A callback that takes long keeps its own thread; the one that leads sees that others wait behind it (``STUCK_S``) and takes them
itself, having handed the lead on again. So there are as many threads as callbacks that block, and one more. Who has been slow before waits in a lane
of its own (``aside``), where threads are taken at once, so that the quick ones do not find out anew with each commit.

Order of locks: the hub's own lock is the last; nothing is called under it that waits. ``_looking`` comes first: the thread holds it while it reads the
storage, and so does who forks (``engine/forks.py``).
"""

from __future__ import annotations

import heapq
import logging
import os
import threading
import time
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from docdb.engine.bell import Herald
from docdb.engine.forks import Inside
from docdb.engine.notices import Notice
from docdb.errors import DocdbError
from docdb.feeds.forecast import Forecast, Left
from docdb.feeds.lanes import STUCK_S, Lane, Rest
from docdb.feeds.waiting import Feed
from docdb.store.changes import Few, LogWriter
from docdb.store.snapshots import Snapshot
from docdb.store.store import Store

if TYPE_CHECKING:
    from docdb.feeds.delivery import Watcher

__all__ = ["Hub", "Router"]

PATIENCE: Final = 20  # looks at a failing storage before its feeds get the error
SLOW_AT_ONCE: Final = 8  # slow callbacks that begin without waiting for one another
MOST_AHEAD: Final = 16  # snapshots that are made ahead of a commit
OUTCOME_S: Final = 10.0  # how long these are kept for a commit whose outcome is not told
OUTCOME_ELSEWHERE_S: Final = 0.1  # and for one of another process, which may be killed
EAGER: Final = 16  # notices that may be of no use until no more are asked for
_NOBODY: Final = Forecast(0, None, 0, [])


class Router(Protocol):
    """What the hub hands new commits to (``routing.LiveRouter``)."""

    def advance(self, snapshot: Snapshot) -> int | None:
        """Take everything behind what was taken last; return the number of the last commit."""

    def left(self, commit: int, records: Sequence[tuple[bytes, bytes]]) -> Left | None:
        """Return what to ``leave`` of a commit that can wait until somebody looks."""

    def leave(self, left: Left) -> bool:
        """Leave it, now that it is durable; False: somebody may wait for it by now."""

    def catch_up(self) -> int | None:
        """Hand out what was left; return the number of the last commit that is handed out."""

    def foresee(self, first: int, last: int, records: Iterable[tuple[bytes, bytes]]) -> Forecast | None:
        """Find out on their writer's thread whom the commits ``first`` to ``last`` concern; None: they are to be read from the log."""

    def hand_out(self, forecast: Forecast) -> bool:
        """Hand out what was foreseen, now that it is durable; False: it does not hold any more."""

    def holds(self, forecast: Forecast) -> bool:
        """Tell whether what was foreseen for queries is still all that concerns them."""

    def fail(self, error: BaseException) -> None:
        """The storage can no longer be read."""

    def forget(self, remains: Any) -> None:
        """Take out what a collected feed has left."""

    @property
    def alarmed(self) -> bool:
        """Whether anything waits for a moment."""

    def due(self) -> float | None:
        """Ring what waits for a moment that has come; return how many seconds the next one has."""


class Hub:
    """One a store. Streams ``join`` and ``leave``; live queries ``hold`` and ``release``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._looking = Inside()
        self._streams: weakref.WeakSet[Feed[Any]] = weakref.WeakSet()
        self._awaited: dict[int, weakref.ref[Feed[Any]]] = {}  # streams that somebody waits for
        self._held = 0
        self._thread: threading.Thread | None = None
        self._last_thread: threading.Thread | None = None  # one that was told to end: it may not have ended yet
        self._stopping = threading.Event()
        self._buried: deque[Any] = deque()
        self._pid = os.getpid()
        self._seen_id = -1
        self._alarms: list[tuple[float, int, weakref.ref[Feed[Any]]]] = []
        self._failures = 0
        # For the bell: the last commit of this process that concerns nobody, whether there is one that this thread has not looked for yet, and
        # whether another thread waits for the same ring to call back.
        self._quiet = array("I", [0, 1, 0])
        self._known_to = -1  # all commits up to here were read, handed over, or will be looked for
        self._left_last = -1, -1  # the last commit that was left for later, and its storage transaction
        self._telling = 0  # the thread that hands a commit over: the bell rings behind that
        self.router: Router | None = None
        self._lanes = Lane(1), Lane(SLOW_AT_ONCE)  # the quick and the slow
        self._resting: list[Rest] = []
        self._eager = 0  # how many notices of other processes are asked for, unless a callback is run
        self._insides = threading.local()

    @property
    def store(self) -> Store:
        """The store whose commits are told."""
        return self._store

    @property
    def foreign(self) -> bool:
        """Whether this is the child of the process that made the hub."""
        return self._pid != os.getpid()

    @property
    def streams(self) -> int:
        """How many change streams are open."""
        return len(self._streams)

    def join(self, feed: Feed[Any]) -> None:
        """Ring this feed at every commit from now on."""
        with self._lock:
            self._streams.add(feed)
            self._start()

    def hold(self) -> None:
        """Keep the thread for one more live query, which the router rings."""
        with self._lock:
            self._held += 1
            self._start()

    def release(self) -> None:
        """Take one ``hold`` back; the thread ends with the last feed."""
        with self._lock:
            self._held -= 1
        self._end_when_idle()

    def alarm(self, feed: Feed[Any], at_s: float) -> None:
        """Ring a stream at a moment of ``time.monotonic()``."""
        with self._lock:
            if (
                len(self._alarms) > 2 * len(self._streams) + 64
            ):  # mostly of streams that have ended long before their time
                self._alarms = [alarm for alarm in self._alarms if (found := alarm[2]()) is not None and found.alive]
                heapq.heapify(self._alarms)
            heapq.heappush(self._alarms, (at_s, id(feed), weakref.ref(feed)))
        self._store.bell.nudge()

    def _due_s(self) -> float | None:
        """Ring the streams whose moment has come; return how many seconds the next one has."""
        rung: list[Feed[Any]] = []
        with self._lock:
            now = time.monotonic()
            while self._alarms and self._alarms[0][0] <= now:
                feed = heapq.heappop(self._alarms)[2]()
                if feed is not None:
                    rung.append(feed)
            left = self._alarms[0][0] - now if self._alarms else None
        for feed in rung:
            feed.ring()
        return left

    def leave(self, feed: Feed[Any]) -> None:
        """Ring this feed no longer; the thread ends with the last one."""
        if self.foreign:
            return
        with self._lock:
            self._streams.discard(feed)
            self._awaited.pop(id(feed), None)
        self._end_when_idle()

    def heed(self, feed: Feed[Any]) -> None:
        """Note whether anybody waits for a stream: only then it is rung."""
        with self._lock:  # asked under the lock: two threads may begin and end to wait at once
            if feed.awaited and feed.alive:
                self._awaited[id(feed)] = weakref.ref(feed)
            else:
                self._awaited.pop(id(feed), None)

    def foresee(self, log: LogWriter | Few, last: int) -> Forecast | Left | None:
        """Find out what a commit of this process is for whom, on the writer's thread; None: this thread is to read it from the log.

        Called when nothing is left but to make it durable; ``committed`` follows when it is, behind the bell. A large commit, one of the catalog, and one
        behind which another process has committed something unseen are left to the thread.
        """
        router, records = self.router, log.few()
        forecast: Forecast | Left | None = None
        try:
            if records is not None and self._known_to == log.first - 1:
                if router is None:
                    forecast = _NOBODY
                else:
                    forecast = None if self._awaited else router.left(last, records)
                    forecast = forecast or router.foresee(log.first, last, records)
        finally:
            if forecast is None:
                self._quiet[1] = 1
        if forecast is not None:
            self._quiet[0] = last & 0xFFFFFFFF
        return forecast

    def rouse(self, forecast: Forecast, herald: Herald) -> None:
        """Have a resting thread make the snapshots of quick callbacks while the commit is being flushed; it calls back when the herald tells of it.

        Whatever interrupts the writer here, the thread finds its errand complete, or none.
        """
        if not self._resting or all(query.watcher is None for query, _, _ in forecast.offers):
            return
        errand = partial(self._call_ahead, forecast, herald)
        with self._lock:
            rest = self._at_rest()
            if rest is not None:
                rest.turn.release()
                rest.errand = errand

    def _call_ahead(self, forecast: Forecast, herald: Herald) -> None:
        with self._lock:
            self._lanes[0].working += 1
        self._carry_out_ahead(forecast, herald, OUTCOME_S)

    def _carry_out_ahead(self, forecast: Forecast, herald: Herald | Notice, timeout_s: float) -> None:
        """Make snapshots before a commit is durable, call back when it is."""
        quick, _ = self._lanes
        ahead: list[Watcher[Any]] = []
        try:
            for query, commit, _ in forecast.offers:
                watcher = query.watcher
                if watcher is not None and len(ahead) < MOST_AHEAD and watcher.reserve():
                    ahead.append(watcher)
                    if self.router is not None and self.router.holds(forecast):  # asked behind ``reserve``
                        watcher.foretell(commit)
            quick.seen = quick.finished, time.monotonic()
            landed = bool(ahead) and herald.wait(timeout_s)
            if len(ahead) > 1:  # the leader looks whether one keeps the others waiting
                quick.work.extend([partial(watcher.go_on, landed) for watcher in ahead[1:]])
                self._store.bell.nudge()
            if ahead:
                ahead[0].go_on(landed)
                quick.finished += 1
                self._eager = EAGER
        finally:
            self._carry_out(quick)

    def committed(
        self, log: LogWriter | Few, last: int, storage_id: int, forecast: Forecast | Left | None = None
    ) -> bool:
        """Hand a commit of this process to those it concerns; tell whether the thread may sleep on, having nothing to do for them.

        Called on the writer's thread, behind the bell for what was foreseen, else in front of it. The thread takes what was handed over for read.
        """
        router = self.router
        if forecast is None:
            forecast = self._left(router, log, last)
        if isinstance(forecast, Left):
            self._known_to, self._left_last = last, (last, storage_id)
            if router is not None and router.leave(forecast) and not self._awaited:
                return True
            self._quiet[1] = 1
            return False
        followed, self._known_to = self._known_to == log.first - 1, last
        self._telling = threading.get_ident()
        try:
            handed = forecast is not None and (router is None or router.hand_out(forecast))
            records = None if handed else log.few()
            if records is not None:
                again = _NOBODY if router is None else router.foresee(log.first, last, records)
                handed = again is not None and (router is None or router.hand_out(again))
            if handed and followed and self._store.engine.last_id() == storage_id:
                self._seen_id = storage_id
                if self._awaited:
                    self._ring_streams()
                quick, slow = self._lanes
                if not (quick.work or slow.work):
                    self._quiet[0] = last & 0xFFFFFFFF
                    return True
            self._quiet[1] = 1
            return False
        finally:
            self._telling = 0

    def _left(self, router: Router | None, log: LogWriter | Few, last: int) -> Left | None:
        """Return what to leave for later of a commit that nobody has foreseen."""
        records = log.few()
        if records is None or router is None or self._awaited or self._known_to != log.first - 1:
            return None
        left = router.left(last, records)
        if left is not None:
            self._quiet[0] = last & 0xFFFFFFFF
        return left

    def bury(self, remains: Any) -> None:
        """Note what a collected feed leaves; taken out by the hub's thread. Takes no lock."""
        self._buried.append(remains)

    def submit(self, work: Callable[[], None], *, aside: bool = False, inside: bool = False) -> None:
        """Run a callback soon; from any thread, never waits. ``aside``: it is slow; ``inside``: it is such a callback that asks."""
        self._lanes[aside].work.append(work)
        if not aside:
            self._eager = EAGER
        if not inside and self._telling != threading.get_ident() and threading.current_thread() is not self._thread:
            self._store.bell.nudge()

    def inside(self) -> Inside:
        """Return the context in which a callback's thread reads the storage; who forks waits for its end."""
        found: Inside | None = getattr(self._insides, "found", None)
        if found is None:
            found = self._insides.found = Inside()
        return found

    def stop(self) -> None:
        """End the thread, and wait for it; before the store is closed. Callbacks that run are not waited for."""
        with self._lock:
            threads = self._thread, self._last_thread
            self._stop()
        for thread in threads:
            if thread is not None and thread is not threading.current_thread() and not self.foreign:
                while thread.is_alive():
                    self._store.bell.nudge()
                    thread.join(0.05)

    def _start(self) -> None:
        if self._thread is not None and self._thread.is_alive() and not self._stopping.is_set():
            return
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stopping,), name="docdb-feeds", daemon=True)
        self._thread.start()

    def _end_when_idle(self) -> None:
        with self._lock:
            if self._streams or self._held or self._thread is None:
                return
            self._stop()
            self._thread, self._last_thread = None, self._thread
        self._store.bell.nudge()

    def _stop(self) -> None:
        self._stopping.set()
        while self._resting:
            rest = self._resting.pop()
            if rest.turn.locked():
                rest.turn.release()

    def _run(self, stopping: threading.Event) -> None:
        bell, engine = self._store.bell, self._store.engine
        while not stopping.is_set():
            rung = bell.value()
            self._quiet[1] = 0
            pause = bell.poll_s
            ahead = None
            try:
                if self._eager:
                    ahead = self._foreseen_elsewhere()
                if self._buried:
                    self._sweep()
                with self._looking:
                    if engine.last_id() != self._seen_id:
                        self._advance()
                router = self.router
                for due in (
                    None if router is None or not router.alarmed else router.due(),
                    self._due_s() if self._alarms else None,
                ):
                    if due is not None:
                        pause = min(pause, due)
                self._failures = 0
            except Exception as error:
                if stopping.is_set():
                    return
                self._note(error)
            if ahead is not None and self._hand_on(stopping, self._lanes[0]):
                self._carry_out_elsewhere(*ahead)
                if not self._rest(stopping):
                    return
                continue
            lane = self._lane()
            if lane is not None:
                if lane.needs_a_thread() and self._hand_on(stopping, lane):
                    self._carry_out(lane)
                    if not self._rest(stopping):
                        return
                    continue
                pause = min(pause, STUCK_S)
            bell.wait(rung, pause, self._quiet, eager=self._eager > 0)

    def _carry_out_elsewhere(self, forecast: Forecast, notice: Notice) -> None:
        """Call back for a commit of another process; the thread that leads now hears of it in the same moment, and goes second."""
        self._quiet[2] = 1
        try:
            self._carry_out_ahead(forecast, notice, OUTCOME_ELSEWHERE_S)
        finally:
            self._quiet[2] = 0

    def _foreseen_elsewhere(self) -> tuple[Forecast, Notice] | None:
        """Return whom a commit concerns that another process is making, if callbacks can be prepared for it on this thread."""
        notice, router, (quick, _) = self._store.notice(), self.router, self._lanes
        if notice is None or router is None:
            return None
        self._eager = max(0, self._eager - 1)
        forecast = router.foresee(notice.first, notice.last, notice.records)
        if forecast is None or quick.working or all(query.watcher is None for query, _, _ in forecast.offers):
            return None
        return forecast, notice

    # Callbacks

    def _lane(self) -> Lane | None:
        """Return a lane in which work waits, the quick one unless only the slow one needs a thread."""
        quick, slow = self._lanes
        if slow.work and (not quick.work or not quick.needs_a_thread()):
            return slow
        return quick if quick.work else None

    def _hand_on(self, stopping: threading.Event, lane: Lane) -> bool:
        """Give the lead to another thread; False when there is nothing to lead any more."""
        with self._lock:
            if stopping.is_set() or self._thread is not threading.current_thread():
                return False
            lane.working += 1
            lane.seen = lane.finished, time.monotonic()
            rest = self._at_rest()
            if rest is not None:
                self._resting.remove(rest)
                self._thread = rest.thread
                rest.turn.release()
            else:
                self._thread = threading.Thread(target=self._run, args=(stopping,), name="docdb-feeds", daemon=True)
                self._thread.start()
        return True

    def _carry_out(self, lane: Lane) -> None:
        """Run callbacks until none is left."""
        try:
            while True:
                try:
                    work = lane.work.popleft()
                except IndexError:
                    return
                work()
                lane.finished += 1
        finally:
            with self._lock:
                lane.working -= 1

    def _at_rest(self) -> Rest | None:
        """Return a thread that waits and that nobody has woken yet. Under the lock."""
        rest = self._resting[-1] if self._resting else None
        return rest if rest is not None and rest.turn.locked() else None

    def _rest(self, stopping: threading.Event) -> bool:
        """Wait for the lead, and run errands; False when this thread is not needed any more."""
        while True:
            rest = Rest()
            with self._lock:
                if stopping.is_set() or self._resting:
                    return False
                self._resting.append(rest)
            rest.turn.acquire()
            with self._lock:
                if rest in self._resting:
                    self._resting.remove(rest)
                leads = self._thread is rest.thread
            if rest.errand is not None:
                rest.errand()
            if leads:
                return not stopping.is_set()

    def _caught_up(self) -> bool:
        """Hand out what was left for later; tell whether that was all there is.

        Then no snapshot need be taken: it would keep the writer from using some pages again, and each commit would take longer (by 10 us of 350).
        """
        commit, storage_id = self._left_last
        if self.router is None or self.router.catch_up() != commit or self._store.engine.last_id() != storage_id:
            return False
        self._seen_id = storage_id
        return True

    def _advance(self) -> None:
        if self._caught_up():
            if self._awaited:
                self._ring_streams()
            return
        with self._store.snapshot() as snapshot:
            if snapshot.txn.id == self._seen_id:
                return  # the commit is not visible yet: the next look will show it
            if self.router is not None:
                last = self.router.advance(snapshot)
                if last is not None:
                    self._known_to = max(last, self._known_to)
            self._seen_id = snapshot.txn.id
        if self._awaited:
            self._ring_streams()

    def _ring_streams(self) -> None:
        with self._lock:
            feeds = [(key, ref()) for key, ref in self._awaited.items()]
            for key, feed in feeds:
                if feed is None:  # collected while somebody waited: its task was dropped
                    del self._awaited[key]
        for _, feed in feeds:
            if feed is not None:
                feed.ring()

    def _sweep(self) -> None:
        while self._buried:
            remains = self._buried.popleft()
            if remains is not None and self.router is not None:
                self.router.forget(remains)
        self._end_when_idle()

    def _note(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1 or not isinstance(error, DocdbError):
            logging.getLogger("docdb.feeds").error("reading the change log", exc_info=error)
        if self._failures >= PATIENCE:
            self._failures = 0
            if self.router is not None:
                self.router.fail(error)
            with self._lock:
                feeds = list(self._streams)
            for feed in feeds:
                feed.fail(error)
