"""The group commit: all writers of a process share one leader.

What lives here: ``Writer``. What it must not know: what the callers do; each is a function of a ``WriteBatch`` that checks first (and may refuse,
having put nothing) and puts then.

There is no writer thread: the caller who finds nobody leading leads. It takes what has queued up, runs it in one storage transaction,
commits, hands out the results and passes the lead to the first of those who came meanwhile. So a lone writer pays no thread switch, and while one
batch is being flushed the next one gathers. Where the last batches held several callers the leader waits a little (a part of
what a commit takes) for those it has just woken to come back; without that, sixteen writers would settle into two camps.

A storage error, or any other surprise, undoes the whole batch; then its callers run again one by one, once, each in a transaction of its
own, and those that still fail get the error. Only a batch whose commit has reached the file in spite of the error is not run again: its
callers get the error and the new state (``landed`` looks for the batch's end record).

KeyboardInterrupt and other signals never come between (``signals``): a caller that waits is withdrawn, one whose batch is running gets the
interruption when the outcome is known, which a note on it tells. On other threads nothing keeps out what is thrown in
(``PyThreadState_SetAsyncExc``): so a ticket that leaves, however that is, first puts the queue in order (``_settle``), and whether a batch has
landed is read from the file. The interpreter throws only behind calls, at the begin of functions and at jumps back; what lies between two of these
is one step, here and in ``engine/shared.py``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from docdb.errors import DocdbError, StorageError
from docdb.store.batch import WriteBatch
from docdb.store.signals import Shield

__all__ = ["Ticket", "Writer"]

Call = Callable[[WriteBatch], Any]
MOST_CALLERS: Final = 1_000  # in one batch
GATHER_SHARE: Final = 0.25  # of a commit's usual time
GATHER_LIMIT_S: Final = 0.002
LOOK_S: Final = 0.02  # how often a waiter on the main thread looks whether it was interrupted


class Ticket:
    """One caller's place in the queue; ``wake`` is held until the result is there or the lead is passed on."""

    __slots__ = ("batch", "call", "done", "error", "leads", "result", "told", "wake", "withdrawn", "woken")

    def __init__(self, call: Call, *, told: bool = True) -> None:
        """``told``: an interruption gets a note of the outcome; not for a step of something larger."""
        self.call = call
        self.told = told
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.leads = False
        self.batch: list[Ticket] = []  # what it leads
        self.wake = threading.Lock()
        self.wake.acquire()
        self.withdrawn = False
        self.woken = False

    def wake_up(self) -> None:
        """Let the one who waits look."""
        if not self.woken:
            self.woken = True
            self.wake.release()

    @property
    def landed(self) -> bool:
        """Whether what the caller wrote is durable; final when ``submit`` has ended, however it ended."""
        return self.done and self.error is None


class Writer:
    """``begin`` returns a new WriteBatch (waits for the storage's one writer); ``committed(batch)`` is called after each commit.

    ``repair()`` opens the storage again after an error, ``landed(batch)`` tells whether a commit is there although it raised, ``ended()`` is called when no
    transaction of this thread is open any more: it gives back what an interrupted end may have kept.
    """

    def __init__(
        self,
        begin: Callable[[], WriteBatch],
        committed: Callable[[WriteBatch], None],
        repair: Callable[[], None],
        landed: Callable[[WriteBatch], bool],
        ended: Callable[[], None],
    ) -> None:
        self._begin = begin
        self._committed = committed
        self._repair = repair
        self._landed = landed
        self._ended = ended
        self._mutex = threading.Lock()
        self._queue: deque[Ticket] = deque()
        self._leading = False
        self._last_callers = 1
        self.usual_commit_s = 0.0  # what a commit takes, on average of late
        self.lone = Ticket(
            _nothing
        )  # who leads without a batch: a change by the short road (``_native/lmdb_changes.pxi``)
        self.commits = 0
        self.callers = 0

    def submit(self, ticket: Ticket) -> Any:
        """Run a caller in the next batch; return what it returned, raise what it raised. Blocks until its commit is durable."""
        try:
            with Shield() as shield:
                try:
                    with self._mutex:
                        self._queue.append(ticket)
                        if not self._leading:
                            self._leading = ticket.leads = True
                    if ticket.leads or self._wait(ticket, shield):
                        self._lead(ticket)
                        self._settle(ticket)
                except BaseException:
                    self._settle(ticket)
                    raise
        except BaseException as interruption:
            if ticket.told:
                interruption.add_note(f"docdb: {_outcome(ticket)}")
            raise
        if ticket.withdrawn:  # for a signal whose handler has raised nothing
            ticket.withdrawn = False
            return self.submit(ticket)
        if ticket.error is not None:
            raise ticket.error
        return ticket.result

    def _wait(self, ticket: Ticket, shield: Shield) -> bool:
        """Wait until the outcome is there or the lead was passed on; return whether it was. Interrupted, withdraw."""
        if not shield.up:
            ticket.wake.acquire()
            return not ticket.done
        while not ticket.wake.acquire(timeout=LOOK_S):
            if shield.caught and self._withdraw(ticket):
                return False
        return not ticket.done

    def _withdraw(self, ticket: Ticket) -> bool:
        """Take a ticket back that no batch has taken yet; one that was given the lead has to lead."""
        with self._mutex:
            if ticket.leads or ticket not in self._queue:
                return False
            ticket.withdrawn = True
            self._queue.remove(ticket)
            return True

    def _lead(self, own: Ticket) -> None:
        """Run one batch, which holds the own ticket."""
        self._gather()
        with self._mutex:
            own.batch = list(islice(self._queue, MOST_CALLERS))
            for _ in own.batch:
                self._queue.popleft()
        self._run(own.batch)

    def _settle(self, own: Ticket) -> None:
        """Wake those whose outcome is there, take the own ticket out, and pass the lead on. Half done, it can be done again.

        What was thrown into this thread is its own affair: the calls of others that have not landed go back to the queue.
        """
        while not self._taken_out(own):
            own.wake.acquire()  # another thread has it in its batch
        with self._mutex:
            left = [t for t in own.batch if not t.done and t is not own and t not in self._queue]
            self._queue.extendleft(reversed(left))
        for ticket in own.batch:
            if ticket.done and ticket is not own:
                ticket.wake_up()
        self._pass_on(own)
        own.batch.clear()  # which holds the own ticket too

    def _taken_out(self, own: Ticket) -> bool:
        """Take a ticket out of the queue; tell whether nobody will run it any more."""
        with self._mutex:
            if own in self._queue:
                own.withdrawn = True
                self._queue.remove(own)
            return own.withdrawn or own.done or own.leads

    def _pass_on(self, own: Ticket) -> None:
        with self._mutex:
            if own.leads:
                if self._queue:
                    following = self._queue[0]
                    own.leads, following.leads, following.woken = False, True, True
                    following.wake.release()  # not by ``wake_up``, at whose begin an interruption would lose the lead
                else:
                    own.leads = self._leading = False

    def _gather(self) -> None:
        """Wait for the callers of the last batch to come back, where there were several."""
        expected = self._last_callers
        if expected < 2 or self.usual_commit_s == 0:
            return
        until = time.perf_counter() + min(self.usual_commit_s * GATHER_SHARE, GATHER_LIMIT_S)
        while len(self._queue) < expected and time.perf_counter() < until:
            time.sleep(0)

    def _run(self, tickets: list[Ticket]) -> None:
        self._last_callers = len(tickets)
        try:
            self._run_together(tickets)
        except Exception as error:
            if len(tickets) == 1 and not isinstance(error, StorageError):
                if tickets[0].done:
                    raise
                tickets[0].done, tickets[0].error = True, error
                return
            for ticket in tickets:
                if not ticket.done:
                    self._run_alone(ticket)

    def _run_alone(self, ticket: Ticket) -> None:
        try:
            self._run_together([ticket])
        except Exception as error:
            if not ticket.done:
                ticket.done, ticket.error = True, error

    def _run_together(self, tickets: list[Ticket]) -> None:
        """Run the callers in one storage transaction; any surprise undoes it and leaves as it came, but for what has landed."""
        batch = self._begun()
        finishing = False
        try:
            for ticket in tickets:
                _call(ticket, batch)
            if batch.changed:
                began, finishing = time.perf_counter(), True
                batch.finish()
                self._note(len(tickets), time.perf_counter() - began)
            else:
                batch.abort()
            for ticket in tickets:
                ticket.done = True
        except BaseException as error:
            batch.abort()
            self._ended()
            failed = error if isinstance(error, StorageError) else None
            if failed is not None:
                self._repair()
            if finishing and self._landed(batch):
                for ticket in tickets:
                    ticket.done, ticket.error = True, ticket.error or failed
            raise
        if batch.changed:
            self._tell(batch)

    def _tell(self, batch: WriteBatch) -> None:
        """Say that a batch is on the disk; what goes wrong with that no longer concerns its callers, who must not run again."""
        try:
            self._committed(batch)
        except Exception:
            import logging  # seldom needed, and slow to load

            logging.getLogger("docdb.store").exception("after a commit")

    def _begun(self) -> WriteBatch:
        try:
            return self._begin()
        except StorageError:
            self._repair()
            raise
        except BaseException:
            self._ended()
            raise

    def _note(self, callers: int, seconds: float) -> None:
        self.commits += 1
        self.callers += callers
        self.usual_commit_s = seconds if self.usual_commit_s == 0 else 0.9 * self.usual_commit_s + 0.1 * seconds

    def forget(self) -> None:
        """Begin anew in a forked child, where nobody of the parent's queue exists."""
        self._mutex = threading.Lock()
        self._queue.clear()
        self._leading = False


def _nothing(batch: WriteBatch) -> None:
    """Do nothing."""


def _outcome(ticket: Ticket) -> str:
    """Say what is known of an interrupted caller."""
    if not ticket.done:
        return "nothing was written"
    return "the write is committed" if ticket.error is None else f"the write failed: {ticket.error}"


def _call(ticket: Ticket, batch: WriteBatch) -> None:
    """Let one caller check and put; what it refuses is its own affair, a storage error everybody's."""
    try:
        ticket.error, ticket.result = None, None  # of a batch that was undone
        ticket.result = ticket.call(batch)
    except StorageError:
        raise
    except DocdbError as error:
        ticket.error = error
    if batch.log.pending:
        batch.log.commit()
