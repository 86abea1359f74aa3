"""Which transactions of this process are open on a store, and whose turn it is.

What lives here: ``Register``: it ends transactions whose time is over though nobody calls them any more (their snapshots would keep the file
growing), and lets a transaction that has failed twice go first. What it must not know: how a transaction commits.

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

from docdb.sessions.reads import ReadSet

if TYPE_CHECKING:
    from docdb.sessions.fixed import FixedStore
    from docdb.store.records import DocumentChange
    from docdb.store.store import Store

__all__ = ["Claim", "Register", "register_of"]

CLAIM_S: Final = 1.0


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

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claims: list[Claim] = []  # the oldest first
        self._open: WeakSet[FixedStore] = WeakSet()
        self._next_due = float("inf")

    def add(self, transaction: FixedStore) -> None:
        """Watch over a transaction's time."""
        self.sweep()
        with self._lock:
            self._open.add(transaction)
            if transaction.due is not None:
                self._next_due = min(self._next_due, transaction.due)

    def remove(self, transaction: FixedStore) -> None:
        """Forget a transaction that has ended."""
        with self._lock:
            self._open.discard(transaction)

    def sweep(self) -> None:
        """End what is over and idle. Cost, when nothing is due: one look at the clock."""
        if time.monotonic() <= self._next_due:
            return
        with self._lock:
            watched = list(self._open)
        for transaction in watched:
            transaction.end_if_idle()
        with self._lock:
            self._next_due = min((t.due for t in self._open if t.due is not None), default=float("inf"))

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
            known = _registers[store] = Register()
            store.bells.append(known.sweep)
        return known


def _begin_anew() -> None:
    """In a forked child: the parent's transactions are not its own, and a thread that is not there may hold the locks."""
    global _mutex, _registers
    _mutex, _registers = threading.Lock(), WeakKeyDictionary()


os.register_at_fork(after_in_child=_begin_anew)
