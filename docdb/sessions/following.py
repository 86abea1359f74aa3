"""Following the change log from a stored place: what consumers and triggers have in common.

What lives here: ``Follower``, a thread that hands changes to a function one after the other, in one process at a time, and keeps its place in the
database, and ``Following``, what is followed. What it must not know: transactions, faces, what becomes of a change.

Life. The thread waits for the lease of its name (``engine/leases.py``); who waits takes over when the holder closes or dies. With the lease it reads
its record (``store/progress.py``), made now where there is none, and opens a change stream behind it. A subclass ``apply``s each item and says
when the place is stored.

What fails is tried again, ``times`` times with growing pauses; then the follower stops: logged, told by ``db.stats()``, the lease given back, its
place in front of what failed. Whatever the error, the record tells whether a commit has landed: an item is done again only when the record has not
moved. Falling behind the history is HistoryLost, and not tried again.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from docdb.engine.forks import Inside
from docdb.errors import BusyError, HistoryLost, InvalidOperation, UsageError
from docdb.feeds.judging import judge_of
from docdb.feeds.positions import END, Place, Position
from docdb.feeds.waiting import check_start, check_timeout
from docdb.language import filters
from docdb.sessions import administration
from docdb.sessions.feeding import known_operations
from docdb.store import progress
from docdb.store.batch import WriteBatch
from docdb.store.progress import Progress, Step

if TYPE_CHECKING:
    from docdb.feeds.events import Change
    from docdb.feeds.streams import ChangeStream
    from docdb.sessions.session import StoreSession

__all__ = ["LOOK_S", "Follower", "Following", "Wait"]

LEASE_POLL_S: Final = 0.2  # how often one who waits asks whether the holder is gone
PASS_S: Final = 5.0  # how long an idle follower keeps in memory what it has only passed over
CLOSE_PATIENCE_S: Final = 30.0
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 30.0
LOOK_S: Final = 0.01  # how often one who waits for it to catch up asks
MOST_TIMES: Final = 1_000
LONGEST_NAME: Final = 200

Wait = Callable[[Awaitable[Any]], Any]  # how a thread waits for a coroutine


@dataclass(frozen=True, slots=True)
class Following:
    """What is followed, checked: see ``Database.consume`` and ``Database.trigger`` for the meaning."""

    name: str
    collection: str | None
    operations: frozenset[str] | None
    filter: Mapping[str, Any] | None
    from_: str
    times: int

    @staticmethod
    def checked(
        name: Any, collection: Any, operations: Any, filter: Any, from_: Any, times: Any, *, naive_utc: bool
    ) -> Following:
        """Return the description; UsageError or QueryError for what is wrong with it."""
        if not isinstance(name, str) or not 0 < len(name.encode("utf-8", "replace")) <= LONGEST_NAME:
            raise UsageError(f"a name is text of 1 to {LONGEST_NAME} bytes", path="name")
        if not name.isprintable():
            raise UsageError("a name has no control characters", path="name")
        if collection is not None:
            administration.check_name(collection)
        check_start(from_)
        if isinstance(times, bool) or not isinstance(times, int) or not 0 <= times <= MOST_TIMES:
            raise UsageError(f"times is a number from 0 to {MOST_TIMES}", path="times")
        if filter:
            filters.parse(filter, naive_utc=naive_utc, near=False)
        return Following(name, collection, known_operations(operations), filter or None, from_, times)


_current: ContextVar[Follower | None] = ContextVar("docdb_follower", default=None)  # whose function this task is


class Follower:
    """A function on the change log, in a thread of its own; what the faces ``docdb.consumer`` wrap.

    ``state`` is "waiting" (another thread or process has the name), "running", "stopped" (``error`` says why) or "closed".
    """

    kind: ClassVar[str]

    def __init__(self, session: StoreSession, what: Following, call: Any, *, wait: Wait | None = None) -> None:
        if not callable(call):
            raise UsageError("a function is needed", path="fn")
        if session.store.engine.read_only:
            raise InvalidOperation(f"a {self.kind} needs a database that is open for writing")
        self._feeds = session.feeds  # refuses when closed
        self.what = what
        self.state = "waiting"
        self.error: BaseException | None = None
        self.delivered = 0  # changes, by this object
        self.failures = 0  # of the function and around it, by this object
        self._session = session
        self._store = session.store
        self._call = call
        self._wait = wait
        self._inside = Inside()
        self._pid = os.getpid()
        self._closing = threading.Event()
        self._news = threading.Event()
        self._known: Progress | None = None  # the record as it is stored
        self._stored_s = 0.0
        self._reached: Place | None = None
        self._stream: ChangeStream[Change] | None = None
        self._loop: asyncio.Runner | None = None
        self._thread: threading.Thread | None = None
        self._feeds.follow(self)
        self._start()

    # What a subclass says

    def take(self, stream: ChangeStream[Change], first: Change) -> Any:
        """Return the item that begins with a change: what the function gets."""
        raise NotImplementedError

    def apply(self, item: Any, place: Place) -> None:
        """Do an item that ends at a place. Called again with the same one when it raised and the record has not moved."""
        raise NotImplementedError

    def pause_s(self) -> float | None:
        """Return how long to sleep at most before ``settle`` is called, None where nothing waits to be stored."""
        return None

    def settle(self) -> None:
        """Store what waits to be stored; also called before the end."""

    def give_up(self, item: Any, error: Exception) -> None:
        """An item failed for the last time; raise to stop in front of it."""
        raise error

    # For the faces

    @property
    def name(self) -> str:
        """The name under which the place is stored."""
        return self.what.name

    @property
    def _lease_name(self) -> str:
        return f"{self.kind}:{self.name}"

    @property
    def alive(self) -> bool:
        """Whether more may come: neither closed nor stopped."""
        return self.state in ("waiting", "running") and self._pid == os.getpid()

    @property
    def position(self) -> str | None:
        """The position stored last, by whoever holds the name; None before the first."""
        with self._store.snapshot() as snapshot:
            stored = progress.read(snapshot.txn, self.kind, self.name)
        return None if stored is None else self._text(stored.place)

    def goal(self) -> Place:
        """Return the end of the log as it is now, for ``caught_up``."""
        with self._store.snapshot() as snapshot:
            return snapshot.state().last_commit, END

    def caught_up(self, goal: Place) -> bool | None:
        """Tell whether everything up to a goal is done; None when it will not be, being closed. Raises what it stopped with."""
        if self._is_behind(goal):
            return True
        if self.state == "stopped" and self.error is not None:
            raise self.error
        return False if self.alive else None

    def catch_up(self, timeout_s: float | None = None) -> bool:
        """Wait until everything committed before this call is done; False when the time is up or it was closed. Raises the error it stopped with."""
        check_timeout(timeout_s)
        until = None if timeout_s is None else time.monotonic() + timeout_s
        goal = self.goal()
        while not (done := self.caught_up(goal)):
            if done is None or (until is not None and time.monotonic() >= until):
                return False
            self._closing.wait(LOOK_S)
        return True

    def restart(self, from_: str = "stored") -> None:
        """Go on after a stop: from the stored place, from the oldest change left, or from now. What lies between is left out, as asked."""
        if from_ not in ("stored", "now", "oldest"):
            raise UsageError('it is restarted from "stored", "oldest" or "now"', path="from_")
        self._session.refuse_closed()
        if self.state != "stopped" or self._pid != os.getpid():
            raise InvalidOperation(f"the {self.kind} {self.name!r} is {self.state}, not stopped")
        self._join()
        if from_ != "stored":
            self._place_anew(from_)
        self.error = None
        self._start()

    def _place_anew(self, from_: str) -> None:
        """Put the record to an end of the history, now or not at all: whoever has taken over meanwhile must not lose its place later."""
        lease = self._store.engine.lease(self._lease_name)
        if lease is None:
            raise BusyError(f"another holder has taken {self.kind} {self.name!r} over", hint="restart() waits for it")
        with lease:
            self._store.write(partial(self._placed, from_=from_))

    def forget(self) -> None:
        """Close it and remove its stored place: the next of this name begins as if there had been none."""
        self.close()
        self._session.refuse_closed()
        self._store.write(partial(progress.forget, kind=self.kind, name=self.name))

    def close(self) -> None:
        """End it behind the change that is being done; waits for that, unless the function itself calls. Twice is harmless."""
        if self._pid != os.getpid():
            return
        self._closing.set()
        self._news.set()
        if not self._join():
            _log().warning(
                "%s %r: its function has not come back %s s after close", self.kind, self.name, CLOSE_PATIENCE_S
            )
        if self.state != "stopped":
            self.state = "closed"
        self._feeds.unfollow(self)

    def __repr__(self) -> str:
        return f"<{self.state} {self.kind} {self.name!r}>"

    # The thread

    def _start(self) -> None:
        self.state = "waiting"
        self._thread = threading.Thread(target=self._run, name=f"docdb-{self.kind}-{self.name}", daemon=True)
        self._thread.start()

    def _join(self) -> bool:
        """Wait for the thread; return whether it has ended, or is the one that asks."""
        thread = self._thread
        if thread is None or thread is threading.current_thread() or self.is_inside:
            return True
        thread.join(CLOSE_PATIENCE_S)
        return not thread.is_alive()

    def _run(self) -> None:
        try:
            self._hold_and_follow()
        except BaseException as error:
            self._stop(error)
        finally:
            if self._stream is not None:
                self._stream.close()
                self._stream = None
            if self._loop is not None:
                self._loop.close()
                self._loop = None

    def _stop(self, error: BaseException) -> None:
        if self._closing.is_set() and isinstance(error, InvalidOperation):
            return  # the database was closed underneath
        how = None if isinstance(error, HistoryLost) else error
        _log().error("%s %r stopped: %s", self.kind, self.name, error, exc_info=how)
        self.error, self.state = error, "stopped"

    def _hold_and_follow(self) -> None:
        while not self._closing.is_set():
            lease = self._store.engine.lease(self._lease_name)
            if lease is None:
                self._closing.wait(LEASE_POLL_S)
                continue
            with lease:
                if self._patiently(self._begin):
                    self.state = "running"
                    self._follow()
            return

    def _follow(self) -> None:
        while not self._closing.is_set():
            self._news.clear()
            found: list[Change] = []
            if not self._patiently(partial(self._read, found)):
                continue
            if not found:
                self._idle()
                continue
            assert self._stream is not None
            item, place = self.take(self._stream, found[0]), self._stream.place
            if self._patiently(partial(self.apply, item, place), item):
                self._reached = place
                pause_s = self.pause_s()
                if pause_s is not None and pause_s <= 0.0:
                    self._patiently(self.settle)
        self.settle()

    def _read(self, found: list[Change]) -> None:
        assert self._stream is not None
        if not self._stream.alive and not self._closing.is_set():
            self._begin()  # it ended with an error of the storage, which has been told
        with self._inside:
            change = self._stream.try_next()
        if change is not None:
            found.append(change)

    def _idle(self) -> None:
        """Nothing is there: store what waits, note what was passed over, and sleep until there is news."""
        assert self._stream is not None
        self._reached = self._stream.place
        pause_s = self.pause_s()
        if pause_s is None and self._known is not None and self._reached != self._known.place:
            pause_s = max(0.0, self._stored_s + PASS_S - time.monotonic())
            if pause_s == 0.0:
                self._patiently(partial(self.move, self._reached))
                return
        elif pause_s is not None and pause_s <= 0.0:
            self._patiently(self.settle)
            return
        if not self._closing.is_set():  # asked behind the clear: a close before it has woken nobody
            self._news.wait(PASS_S if pause_s is None else pause_s)

    def _patiently(self, call: Callable[[], None], item: Any = None) -> bool:
        """Call until it succeeds; return whether it did (not when closed meanwhile, or when the record had moved). Raises what it stops with."""
        failures = 0
        while True:
            try:
                call()
                return True
            except HistoryLost:
                raise
            except Exception as error:
                if self._closing.is_set() or self._has_moved():
                    return False
                failures += 1
                self.failures += 1
                if failures > self.what.times:
                    if item is None:
                        raise
                    self.give_up(item, error)
                    return True
                _log().warning(
                    "%s %r failed, try %s of %s", self.kind, self.name, failures, self.what.times + 1, exc_info=error
                )
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**failures) * random.uniform(0.5, 1.0)
            self._closing.wait(pause_s)

    # Its place

    def _begin(self) -> None:
        """Read the record, made where there is none, and open the stream behind it."""
        if self._stream is not None:
            self._stream.close()
        with self._inside:
            self._known = self._store.write(self._placed)
            judge = None
            if self.what.filter is not None:
                naive_utc = self._session.settings.naive_utc
                judge = judge_of(filters.parse(self.what.filter, naive_utc=naive_utc, near=False))
            assert self._known is not None
            self._stream = self._feeds.changes(
                self.what.collection,
                operations=self.what.operations,
                judge=judge,
                resume_after=self._text(self._known.place),
            )
        self._stored_s = time.monotonic()
        self._reached = self._known.place
        self._stream.ring_with(self._news.set)

    def _placed(self, batch: WriteBatch, from_: str | None = None) -> Progress:
        """Return the record; made where there is none, or anew at ``from_``."""
        stored = progress.read(batch.txn, self.kind, self.name)
        if stored is not None and from_ is None:
            return stored
        oldest = (from_ or self.what.from_) == "oldest"
        commit = batch.state.oldest_commit - 1 if oldest else batch.state.last_commit
        made = Progress(self.kind, self.name, commit, END, self.what.collection)
        batch.put_catalog([(made.key, made.pack())])
        return made

    def step_to(self, place: Place) -> Step:
        """Return the step from the stored record to a place, for a commit to carry along."""
        assert self._known is not None
        return Step(self._known, self._known.at(place))

    def stepped_to(self, place: Place) -> None:
        """Note that a step has been committed."""
        assert self._known is not None
        self._known = self._known.at(place)
        self._stored_s = time.monotonic()

    def move(self, place: Place) -> None:
        """Store a place in a commit of its own."""
        with self._inside:
            self._store.write(self.step_to(place))
        self.stepped_to(place)

    def _has_moved(self) -> bool:
        """Tell whether the stored record is another than the one known, after an error; then begin anew behind it."""
        try:
            with self._inside, self._store.snapshot() as snapshot:
                stored = progress.read(snapshot.txn, self.kind, self.name)
            if self._known is None or (stored is not None and stored.place == self._known.place):
                return False
            self._begin()
        except HistoryLost:
            raise
        except Exception as error:
            _log().warning("%s %r cannot read its place", self.kind, self.name, exc_info=error)
            return False
        return True

    def _is_behind(self, target: Place) -> bool:
        """Tell whether everything up to a place is done."""
        if self.state == "running":
            return self._reached is not None and self._reached >= target
        with self._store.snapshot() as snapshot:
            stored = progress.read(snapshot.txn, self.kind, self.name)
        return stored is not None and stored.place >= target

    def _text(self, place: Place) -> str:
        about = self._store.about
        return str(Position(about["database_id"], about["epoch"], *place))

    # Its function

    def invoke(self, *arguments: Any) -> Any:
        """Call the function; wait for the coroutine when it is one. Inside, ``close()`` does not wait for the call."""
        result = self._call(*arguments)
        if not inspect.isawaitable(result):
            return result
        try:
            if self._wait is not None:
                return self._wait(self._marked(result))
            if self._loop is None:
                self._loop = asyncio.Runner()
            return self._loop.run(self._marked(result))
        finally:
            if inspect.iscoroutine(result) and inspect.getcoroutinestate(result) == inspect.CORO_CREATED:
                result.close()  # its loop ended before it began

    async def _marked(self, waiting: Awaitable[Any]) -> Any:
        _current.set(self)
        return await waiting

    @property
    def is_inside(self) -> bool:
        """Whether it is the function, run as a task, that asks."""
        return _current.get() is self

    def local(self, last_commit: int) -> dict[str, Any]:
        """Return what this object knows better than its record."""
        error = None if self.error is None else f"{type(self.error).__name__}: {self.error}"
        shown = {"state": self.state, "error": error, "delivered": self.delivered, "failures": self.failures}
        if self.state == "running" and self._reached is not None:
            shown |= {"lag": max(0, last_commit - self._reached[0]), "lost": False}
        return shown


def _log() -> logging.Logger:
    return logging.getLogger("docdb.feeds")
