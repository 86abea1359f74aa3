"""How the engine is driven so that a fault shows.

What lives here: ``DRIVES``. What it must not know: the faults, the checker.

Each takes a seed and pytest's ``monkeypatch``, and the options of ``interleave``; in the engine as it is all of them must end without an anomaly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import docdb
from docdb.sessions import register
from docdb.store import writer
from tests.isolation.driver import interleave
from tests.isolation.histories import Transaction

__all__ = ["DRIVES"]


def interleaved(seed: int, patch: Any, **options: Any) -> list[Transaction]:
    """One thread, in which a seed decides who comes next."""
    with docdb.open(":memory:") as db:
        return interleave(db, seed, 200, **options)


def between(seed: int, patch: Any, **options: Any) -> list[Transaction]:
    """As above, and while one transaction stands between judging the log and the writer's lock others go on."""
    inside = [False]
    others: list[Callable[[], None]] = []

    def wait(self: Any, net: Any, numbers: Any, own: Any) -> None:
        if not inside[0]:
            inside[0] = True
            try:
                for _ in range(12):
                    others[0]()
            finally:
                inside[0] = False

    patch.setattr(register.Register, "wait", wait)
    with docdb.open(":memory:") as db:
        return interleave(db, seed, 200, others=others, **options)


def batched(seed: int, patch: Any, **options: Any) -> list[Transaction]:
    """As interleaved, but commits are made in pairs, by two threads in one batch of the group commit."""
    expected = [0]  # callers that are still to come

    def gather(self: Any) -> None:
        until = time.monotonic() + 1
        while len(self._queue) < expected[0] and time.monotonic() < until:
            time.sleep(0.0001)

    patch.setattr(writer.Writer, "_gather", gather)

    def commit_both(one: Callable[[], None], two: Callable[[], None]) -> None:
        def commit(make: Callable[[], None]) -> None:
            make()
            expected[0] -= 1

        expected[0] = 2
        threads = [threading.Thread(target=commit, args=(make,)) for make in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expected[0] = 0

    with docdb.open(":memory:") as db:
        return interleave(db, seed, 200, pairs=commit_both, **options)


def short_log(seed: int, patch: Any, **options: Any) -> list[Transaction]:
    """As interleaved, with a change log that hardly reaches back."""
    with docdb.open(":memory:", history_bytes=300) as db:
        return interleave(db, seed, 200, **options)


DRIVES: Final[dict[str, Callable[..., list[Transaction]]]] = {
    drive.__name__: drive for drive in (interleaved, between, batched, short_log)
}
