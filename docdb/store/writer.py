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
interruption when the outcome is known.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from docdb.errors import DocdbError, StorageError
from docdb.store.batch import WriteBatch
from docdb.store.signals import Shield

__all__ = ["Writer"]

Call = Callable[[WriteBatch], Any]
MOST_CALLERS: Final = 1_000  # in one batch
GATHER_SHARE: Final = 0.25  # of a commit's usual time
GATHER_LIMIT_S: Final = 0.002
LOOK_S: Final = 0.02  # how often a waiter on the main thread looks whether it was interrupted


class Ticket:
    """One caller's place in the queue; ``wake`` is held until the result is there or the lead is passed on."""

    __slots__ = ("call", "done", "error", "leads", "result", "wake")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.leads = False  # the lead was passed on to it
        self.wake = threading.Lock()
        self.wake.acquire()


class Writer:
    """``begin`` returns a new WriteBatch (waits for the storage's one writer); ``committed(batch)`` is called after each commit.

    ``repair()`` opens the storage again after an error, ``landed(batch)`` tells whether a commit is there although it raised.
    """

    def __init__(
        self,
        begin: Callable[[], WriteBatch],
        committed: Callable[[WriteBatch], None],
        repair: Callable[[], None],
        landed: Callable[[WriteBatch], bool],
    ) -> None:
        self._begin = begin
        self._committed = committed
        self._repair = repair
        self._landed = landed
        self._mutex = threading.Lock()
        self._queue: deque[Ticket] = deque()
        self._leading = False
        self._last_callers = 1
        self._usual_commit_s = 0.0
        self.commits = 0
        self.callers = 0

    def submit(self, call: Call) -> Any:
        """Run a caller in the next batch; return what it returned, raise what it raised. Blocks until its commit is durable."""
        with Shield() as shield:
            ticket = Ticket(call)
            with self._mutex:
                self._queue.append(ticket)
                lead = not self._leading
                self._leading = True
            if lead or self._wait(ticket, shield):
                self._lead(ticket)
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
            self._queue.remove(ticket)
            return True

    def _lead(self, own: Ticket) -> None:
        """Run one batch, which holds the own ticket, and pass the lead on."""
        tickets: list[Ticket] = []
        try:
            self._gather()
            with self._mutex:
                while self._queue and len(tickets) < MOST_CALLERS:
                    tickets.append(self._queue.popleft())
            self._run(tickets)
        except BaseException as error:
            # An exception thrown into this thread is its own: the others' calls go back to the queue.
            with self._mutex:
                self._queue.extendleft(t for t in reversed(tickets) if not t.done and t is not own)
                if own in self._queue:
                    self._queue.remove(own)
            if not own.done:
                own.done, own.error = True, error
        finally:
            for ticket in tickets:
                if ticket.done and ticket is not own:
                    ticket.wake.release()
            self._pass_on()

    def _pass_on(self) -> None:
        with self._mutex:
            if self._queue:
                self._queue[0].leads = True
                self._queue[0].wake.release()
            else:
                self._leading = False

    def _gather(self) -> None:
        """Wait for the callers of the last batch to come back, where there were several."""
        expected = self._last_callers
        if expected < 2 or self._usual_commit_s == 0:
            return
        until = time.perf_counter() + min(self._usual_commit_s * GATHER_SHARE, GATHER_LIMIT_S)
        while len(self._queue) < expected and time.perf_counter() < until:
            time.sleep(0)

    def _run(self, tickets: list[Ticket]) -> None:
        self._last_callers = len(tickets)
        try:
            self._run_together(tickets)
        except Exception as error:
            if len(tickets) == 1 and not isinstance(error, StorageError):
                tickets[0].done, tickets[0].error = True, error
                return
            for ticket in tickets:
                if not ticket.done:
                    self._run_alone(ticket)

    def _run_alone(self, ticket: Ticket) -> None:
        ticket.error, ticket.result = None, None
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
        except BaseException as error:
            batch.abort()
            if isinstance(error, StorageError):
                self._repair()
                if finishing and self._landed(batch):
                    for ticket in tickets:
                        ticket.done, ticket.error = True, ticket.error or error
            raise
        for ticket in tickets:
            ticket.done = True
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

    def _note(self, callers: int, seconds: float) -> None:
        self.commits += 1
        self.callers += callers
        self._usual_commit_s = seconds if self._usual_commit_s == 0 else 0.9 * self._usual_commit_s + 0.1 * seconds

    def forget(self) -> None:
        """Begin anew in a forked child, where nobody of the parent's queue exists."""
        self._mutex = threading.Lock()
        self._queue.clear()
        self._leading = False


def _call(ticket: Ticket, batch: WriteBatch) -> None:
    """Let one caller check and put; what it refuses is its own affair, a storage error everybody's."""
    try:
        ticket.result = ticket.call(batch)
    except StorageError:
        raise
    except DocdbError as error:
        ticket.error = error
    if batch.log.pending:
        batch.log.commit()
