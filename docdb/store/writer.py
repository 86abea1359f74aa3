"""The group commit: all writers of a process share one leader.

What lives here: ``Writer``. What it must not know: what the callers do; each is a function of a ``WriteBatch`` that checks first (and may refuse,
having put nothing) and puts then.

There is no writer thread: the caller who finds nobody leading leads. It takes what has queued up, runs it in one storage transaction,
commits, hands out the results and passes the lead to the first of those who came meanwhile. So a lone writer pays no thread switch, and while one
batch is being flushed the next one gathers. Where the last batches held several callers the leader waits a little (a part of
what a commit takes) for those it has just woken to come back; without that, sixteen writers would settle into two camps.

A storage error, or any other surprise, undoes the whole batch; then its callers run again one by one, once, each in a transaction of its
own, and those that still fail get the error.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from docdb.errors import DocdbError, StorageError
from docdb.store.batch import WriteBatch

__all__ = ["Writer"]

Call = Callable[[WriteBatch], Any]
MOST_CALLERS: Final = 1_000  # in one batch
GATHER_SHARE: Final = 0.25  # of a commit's usual time
GATHER_LIMIT_S: Final = 0.002


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
    """``begin`` returns a new WriteBatch (waits for the storage's one writer); ``committed(batch)`` is called after each commit."""

    def __init__(
        self, begin: Callable[[], WriteBatch], committed: Callable[[WriteBatch], None], repair: Callable[[], None]
    ) -> None:
        self._begin = begin
        self._committed = committed
        self._repair = repair
        self._mutex = threading.Lock()
        self._queue: deque[Ticket] = deque()
        self._leading = False
        self._last_callers = 1
        self._usual_commit_s = 0.0
        self.commits = 0
        self.callers = 0
        os.register_at_fork(after_in_child=self._forget)

    def submit(self, call: Call) -> Any:
        """Run a caller in the next batch; return what it returned, raise what it raised. Blocks until its commit is durable."""
        ticket = Ticket(call)
        with self._mutex:
            self._queue.append(ticket)
            lead = not self._leading
            self._leading = True
        if not lead:
            self._wait(ticket)
        if not ticket.done:
            self._lead(ticket)
        if ticket.error is not None:
            raise ticket.error
        return ticket.result

    def _wait(self, ticket: Ticket) -> None:
        try:
            ticket.wake.acquire()
        except BaseException:
            with self._mutex:
                waiting = ticket in self._queue
                if waiting:  # not yet checked: withdrawn, nothing happens
                    self._queue.remove(ticket)
            if not waiting:  # its batch is running: the outcome is waited for
                ticket.wake.acquire()
            elif ticket.leads:
                self._pass_on()
            raise

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
            # KeyboardInterrupt and the like belong to this thread alone: the others' calls go back to the queue.
            with self._mutex:
                self._queue.extendleft(t for t in reversed(tickets) if not t.done and t is not own)
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
            if isinstance(error, StorageError):
                self._repair()
            for ticket in tickets:
                self._run_alone(ticket)

    def _run_alone(self, ticket: Ticket) -> None:
        ticket.done, ticket.error, ticket.result = False, None, None
        try:
            self._run_together([ticket])
        except Exception as error:
            if isinstance(error, StorageError):
                self._repair()
            ticket.done, ticket.error = True, error

    def _run_together(self, tickets: list[Ticket]) -> None:
        """Run the callers in one storage transaction; any surprise undoes it and leaves as it came."""
        batch = self._begin()
        try:
            for ticket in tickets:
                try:
                    ticket.result = ticket.call(batch)
                except StorageError:
                    raise
                except DocdbError as error:
                    ticket.error = error
                if batch.log.pending:
                    batch.log.commit()
            if batch.changed:
                began = time.perf_counter()
                batch.finish()
                self._note(len(tickets), time.perf_counter() - began)
                self._committed(batch)
            else:
                batch.abort()
        except BaseException:
            batch.abort()
            raise
        for ticket in tickets:
            ticket.done = True

    def _note(self, callers: int, seconds: float) -> None:
        self.commits += 1
        self.callers += callers
        self._usual_commit_s = seconds if self._usual_commit_s == 0 else 0.9 * self._usual_commit_s + 0.1 * seconds

    def _forget(self) -> None:
        """In a forked child nobody of the parent's queue exists."""
        self._mutex = threading.Lock()
        self._queue.clear()
        self._leading = False
