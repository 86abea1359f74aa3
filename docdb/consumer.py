"""Consumers and triggers: a function that is called for each committed change.

What lives here: ``Consumer``, whose place in the change log is committed with what its function writes, and ``Trigger``, whose place is stored behind
the calls. What it must not know: how the log is followed, how one process at a time is kept to (``sessions/following.py``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from docdb.errors import DocdbError, TransactionConflict, UsageError
from docdb.sessions.following import Follower, Following, Wait
from docdb.transaction import MOST_TIMES, Retries, Transaction, raise_reason

if TYPE_CHECKING:
    from docdb.feeds.events import Change
    from docdb.feeds.positions import Place
    from docdb.feeds.streams import ChangeStream
    from docdb.sessions.session import StoreSession

__all__ = ["Consumer", "ON_FAILURE", "Trigger", "check_batch", "default_name"]

F = TypeVar("F", bound="_Face")
MOST_IN_BATCH: Final = 10_000
STORE_CALLS: Final = 100  # a trigger's place is stored after so many calls
STORE_S: Final = 0.05  # or so long after the first of them
ON_FAILURE: Final = ("stop", "skip")


class _Face:
    """What consumers and triggers have in common."""

    __slots__ = ("_follower",)
    _follower: Follower

    @property
    def name(self) -> str:
        """The name under which the place is stored."""
        return self._follower.name

    @property
    def state(self) -> str:
        """Whether it is "waiting" (another thread or process has the name), "running", "stopped" (see ``error``) or "closed"."""
        return self._follower.state

    @property
    def error(self) -> BaseException | None:
        """What it stopped with."""
        return self._follower.error

    @property
    def alive(self) -> bool:
        """Whether more may come: neither closed nor stopped."""
        return self._follower.alive

    @property
    def delivered(self) -> int:
        """Changes the function has done, by this object."""
        return self._follower.delivered

    @property
    def failures(self) -> int:
        """How often the function failed, by this object."""
        return self._follower.failures

    @property
    def position(self) -> str | None:
        """The position stored last, by whoever holds the name; None before the first."""
        return self._follower.position

    def catch_up(self, timeout_s: float | None = None) -> bool:
        """Wait until everything committed before this call is done; False when the time is up or it was closed. Raises the error it stopped with."""
        return self._follower.catch_up(timeout_s)

    def restart(self, from_: str = "stored") -> None:
        """Go on after a stop: from the stored place, from the oldest change left, or from now. What lies between is left out, as asked.

        Raises InvalidOperation when it has not stopped, BusyError when its place is to be put elsewhere and somebody else holds the name now.
        """
        self._follower.restart(from_)

    def forget(self) -> None:
        """Close it and remove its stored place: the next of this name begins as if there had been none."""
        self._follower.forget()

    def close(self) -> None:
        """End it behind the change that is being done; waits for that, unless the function itself calls. From anywhere; twice is harmless."""
        self._follower.close()

    def __enter__(self: F) -> F:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.state} {self._follower.kind} {self.name!r}>"


class Consumer(_Face):
    """Calls a function with every change, or batches of changes, and a transaction, and commits that with its place: exactly once.

    Made by ``db.consume``; ends with ``close()`` or the database.
    """

    __slots__ = ()

    def __init__(
        self,
        session: StoreSession,
        what: Following,
        call: Any,
        *,
        batch: int | None,
        wait: Wait | None = None,
        dress: Callable[[Transaction], Any] | None = None,
    ) -> None:
        """``dress`` makes of a transaction what the function gets, ``wait`` waits for its coroutines."""
        self._follower = _Consuming(session, what, call, batch=batch, wait=wait, dress=dress)


class Trigger(_Face):
    """Calls a function with every change, in order, at least once. Made by ``db.trigger``; ends with ``close()`` or the database."""

    __slots__ = ()
    _follower: _Triggering

    def __init__(
        self, session: StoreSession, what: Following, call: Any, *, on_failure: str, wait: Wait | None = None
    ) -> None:
        self._follower = _Triggering(session, what, call, on_failure=on_failure, wait=wait)

    @property
    def skipped(self) -> int:
        """Changes that were given up, by this object."""
        return self._follower.skipped


class _Consuming(Follower):
    """An item is a change, or a list of them; each is one commit, its place included."""

    kind = "consumer"

    def __init__(
        self,
        session: StoreSession,
        what: Following,
        call: Any,
        *,
        batch: int | None,
        wait: Wait | None = None,
        dress: Callable[[Transaction], Any] | None = None,
    ) -> None:
        self._batch = batch
        self._dress = dress
        super().__init__(session, what, call, wait=wait)

    def take(self, stream: ChangeStream[Change], first: Change) -> Change | list[Change]:
        """Return the change, or what is there up to the size of a batch."""
        if self._batch is None:
            return first
        found = [first]
        while len(found) < self._batch:
            try:
                change = stream.try_next()
            except DocdbError:
                break  # told again when it is asked next; what is there is not lost with it
            if change is None:
                break
            found.append(change)
        return found

    def apply(self, item: Any, place: Place) -> None:
        """Call the function in a transaction and commit it with the place; conflicts are tried again at once."""
        retries = Retries(self._session, MOST_TIMES, self._session.settings.transaction_limit_s)
        try:
            while True:
                transaction = retries.begin()
                try:
                    self._call_in(transaction, item, place)
                    break
                except TransactionConflict as conflict:
                    pause_s = retries.pause_s(conflict)
                    if self._closing.wait(pause_s):
                        raise
        finally:
            retries.close()
        self.stepped_to(place)
        self.delivered += 1 if self._batch is None else len(item)

    def _call_in(self, transaction: Transaction, item: Any, place: Place) -> None:
        store = transaction._store
        store.step = self.step_to(place)
        try:
            self.invoke(item, transaction if self._dress is None else self._dress(transaction))
            raise_reason(transaction)
            if not store.committed:
                with self._inside:
                    transaction.commit()
        except BaseException:
            if transaction.active:
                transaction.rollback()
            raise


class _Triggering(Follower):
    """An item is a change; the place is stored some calls later."""

    kind = "trigger"

    def __init__(
        self, session: StoreSession, what: Following, call: Any, *, on_failure: str, wait: Wait | None = None
    ) -> None:
        if on_failure not in ON_FAILURE:
            raise UsageError(f"on_failure is one of {', '.join(ON_FAILURE)}", path="on_failure")
        self.skipped = 0  # changes given up, by this object
        self._on_failure = on_failure
        self._calls = 0  # since the place was stored
        self._first_s = 0.0
        super().__init__(session, what, call, wait=wait)

    def take(self, stream: ChangeStream[Change], first: Change) -> Change:
        """Return the change."""
        return first

    def apply(self, item: Any, place: Place) -> None:
        """Call the function."""
        self.invoke(item)
        self.delivered += 1
        self._note_call()

    def give_up(self, item: Any, error: Exception) -> None:
        """Leave the change out, or stop in front of it."""
        if self._on_failure == "stop":
            self.settle()
            raise error
        self.skipped += 1
        self._note_call()
        logging.getLogger("docdb.feeds").error("trigger %r leaves out %r", self.name, item, exc_info=error)

    def _note_call(self) -> None:
        if self._calls == 0:
            self._first_s = time.monotonic()
        self._calls += 1

    def pause_s(self) -> float | None:
        """Return how long the place may stay unstored."""
        if self._calls == 0:
            return None
        return 0.0 if self._calls >= STORE_CALLS else max(0.0, self._first_s + STORE_S - time.monotonic())

    def settle(self) -> None:
        """Store how far it has got."""
        if self._calls and self._reached is not None:
            self.move(self._reached)
        self._calls = 0

    def local(self, last_commit: int) -> dict[str, Any]:
        """Return what this object knows better than its record."""
        return super().local(last_commit) | {"skipped": self.skipped}


def check_batch(batch: Any) -> int | None:
    """Return the size of a batch, None for single changes; UsageError for what is no size."""
    if batch is None:
        return None
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MOST_IN_BATCH:
        raise UsageError(f"batch is a number from 1 to {MOST_IN_BATCH}, or None", path="batch")
    return batch


def default_name(collection: str, call: Any) -> str:
    """Return the name of a trigger that was given none: the collection and where its function is defined."""
    module, name = getattr(call, "__module__", None), getattr(call, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or "<lambda>" in name:
        raise UsageError(
            "this function has no name under which the trigger's place could be found again",
            path="name",
            hint='name="..."',
        )
    return f"{collection}/{module}.{name}"
