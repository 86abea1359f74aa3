"""Which transactions of this process are open on a store, and whose turn it is.

What lives here: ``Register``: it ends transactions whose time is over though nobody calls them any more, and the snapshots of cursors that nobody reads
(they would keep the file growing), and lets a transaction that has failed twice go first. What it must not know: how a transaction commits.

Who looks at the clock: every commit of this process, and a thread that sleeps until the earliest time is due. Without it a process that only reads would
keep a forgotten snapshot for as long as it lives, and the file would grow by what other processes write.

A claim is the read set of the last try. A transaction that is about to commit changes which concern an older claim waits until that claim is
given back, at most ``CLAIM_S`` after it was made. It waits only for older claims, so no two wait for each other.

Locks are held by ``with`` alone and nobody waits while holding one: so none is lost to an exception that a signal raises. A condition would be; its methods
are Python, and a signal comes between any two steps of them.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, WeakSet

from docdb.engine.forks import Inside
from docdb.sessions.reads import ReadSet

if TYPE_CHECKING:
    from docdb.sessions.fixed import FixedStore
    from docdb.store.records import DocumentChange
    from docdb.store.snapshots import Lent, Snapshot
    from docdb.store.store import Store

__all__ = ["Claim", "Register", "register_of"]

CLAIM_S: Final = 1.0
BUSY_S: Final = 1.0  # how soon the thread asks again for one whose time is over in the middle of a call
LINGER_S: Final = (
    30.0  # the longest sleep; without anything to watch the thread stays so long: starting one costs more than it does
)


class Claim:
    """What a transaction that is tried again will probably read."""

    __slots__ = ("_gone", "reads", "until")

    def __init__(self, reads: ReadSet) -> None:
        self.reads = reads
        self.until = time.monotonic() + CLAIM_S
        self._gone = threading.Lock()
        self._gone.acquire()

    def give_back(self) -> None:
        """Wake those who wait; twice is harmless."""
        with contextlib.suppress(RuntimeError):
            self._gone.release()

    def wait(self) -> None:
        """Wait until it is given back, or its second is over."""
        if self._gone.acquire(timeout=max(0.0, self.until - time.monotonic())):
            self.give_back()  # to the next who waits


class Register:
    """The open transactions of one store in this process, and the claims."""

    def __init__(self, lent: Lent) -> None:
        self._lock = threading.Lock()
        self._lent = lent
        self._claims: list[Claim] = []  # the oldest first
        self._open: WeakSet[FixedStore] = WeakSet()
        self._next_due = float("inf")
        self._pid = os.getpid()
        self._inside = Inside()
        self._watchman: threading.Thread | None = None
        self._wakes_at = 0.0
        self._idle = False  # the thread had nothing to watch when it looked last
        self._kick = threading.Lock()  # released to wake the thread
        self._kick.acquire()
        self._closed = False

    def add(self, transaction: FixedStore) -> None:
        """Watch over a transaction's time."""
        self.sweep()
        with self._lock:
            self._open.add(transaction)
            if transaction.due is not None:
                self._next_due = min(self._next_due, transaction.due)
                self._see_to(transaction.due)

    def remove(self, transaction: FixedStore) -> None:
        """Forget a transaction that has ended."""
        if self._pid != os.getpid():  # a thread that does not exist here may hold the lock
            return
        with self._lock:
            self._open.discard(transaction)

    def watch(self, due: float) -> None:
        """Look at the snapshots of cursors at that time."""
        with self._lock:
            self._next_due = self._lent.due = min(self._next_due, due)
            self._see_to(due)

    def sweep(self) -> None:
        """End what is over and idle. Cost, when nothing is due: one look at the clock."""
        if time.monotonic() <= self._next_due or self._pid != os.getpid():
            return
        for held in self._watched():
            held.end_if_idle()
        # A snapshot that comes in between finds a time that may be later than its own, and asks for an earlier look.
        self._lent.due = float("inf")
        dues = [held.due for held in self._watched() if held.due is not None]
        with self._lock:
            self._next_due = self._lent.due = min(dues, default=float("inf"))

    def _watched(self) -> list[FixedStore | Snapshot]:
        with self._lock:
            lent = [own() for own in self._lent.snapshots.copy()]
            return [*self._open, *(snapshot for snapshot in lent if snapshot is not None)]

    def _see_to(self, due: float) -> None:
        """Let the thread be there and look at that time; the caller holds the lock."""
        if self._closed:
            return
        if self._watchman is None:
            watchman = threading.Thread(target=self._watch, name="docdb-transactions", daemon=True)
            self._wakes_at = 0.0
            with contextlib.suppress(RuntimeError):  # no more threads: then commits alone look at the clock
                watchman.start()
                self._watchman = watchman
        elif due < self._wakes_at:
            self._wakes_at = due
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._kick.release()

    def _watch(self) -> None:
        while (sleep_s := self._look()) is not None:
            self._kick.acquire(timeout=sleep_s)

    def _look(self) -> float | None:
        """End what is over; return how long to sleep, None when there is nothing to watch and has not been for long."""
        with self._inside:
            self.sweep()
            with self._lock:
                now, idle = time.monotonic(), self._next_due == float("inf")
                if self._closed or (idle and self._idle):
                    self._watchman = None
                    return None
                self._idle = idle
                left_s = self._next_due - now
                sleep_s = min(LINGER_S, left_s) if left_s > 0 else BUSY_S
                self._wakes_at = now + sleep_s
                return sleep_s

    def close(self) -> None:
        """End the thread and wait for it."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._closed, watchman = True, self._watchman
        self._wake()
        if watchman is not None and watchman is not threading.current_thread():
            watchman.join()

    def enter(self, reads: ReadSet, known: Claim | None = None) -> Claim:
        """Make a claim, or keep a known one, whose place in the queue and whose second go on; give it back with ``leave``."""
        if known is not None:
            if time.monotonic() < known.until:
                known.reads = reads
                return known
            self.leave(known)
        claim = Claim(reads)
        with self._lock:
            self._claims.append(claim)
        return claim

    def leave(self, claim: Claim) -> None:
        """Give a claim back."""
        with self._lock:
            if claim in self._claims:
                self._claims.remove(claim)
        claim.give_back()

    def wait(
        self, net: Sequence[tuple[str, Sequence[DocumentChange]]], numbers: Sequence[int | None], own: Claim | None
    ) -> None:
        """Wait while an older claim is concerned by changes of these collections."""
        if not self._claims:
            return
        now = time.monotonic()
        with self._lock:
            # One whose second is over stands in nobody's way, whether or not it was given back.
            self._claims = [claim for claim in self._claims if claim is own or claim.until > now]
            older = self._claims[: self._claims.index(own)] if own in self._claims else list(self._claims)
        for claim in older:
            pairs = zip(numbers, net, strict=True)
            if any(number is not None and claim.reads.concerned(number, changes) for number, (_, changes) in pairs):
                claim.wait()


_registers: WeakKeyDictionary[Store, Register] = WeakKeyDictionary()
_mutex = threading.Lock()


def register_of(store: Store) -> Register:
    """Return the register of a store."""
    with _mutex:
        known = _registers.get(store)
        if known is None:
            known = _registers[store] = Register(store.lent)
            store.bells.append(known.sweep)
            store.ends.append(known.close)
        return known


def _begin_anew() -> None:
    """In a forked child: the parent's transactions are not its own, and a thread that is not there may hold the locks."""
    global _mutex, _registers
    _mutex, _registers = threading.Lock(), WeakKeyDictionary()


os.register_at_fork(after_in_child=_begin_anew)
