"""Properties that are made once an object."""

from __future__ import annotations

import os
import signal
import threading

from docdb.cached import cached_property


class Thing:
    def __init__(self) -> None:
        self.made = 0
        self.begun, self.go = threading.Event(), threading.Event()

    @cached_property
    def value(self) -> int:
        """Say how often it was made."""
        self.made += 1
        return self.made

    @cached_property
    def slow(self) -> int:
        self.begun.set()
        assert self.go.wait(20)
        return 1


def test_it_is_made_once_an_object() -> None:
    one, other = Thing(), Thing()
    assert (one.value, one.value, one.made, other.made) == (1, 1, 1, 0)
    one.__dict__["value"] = 5
    assert (one.value, other.value) == (5, 1)
    assert Thing.value.__doc__ == "Say how often it was made."


def test_a_fork_while_another_thread_makes_one() -> None:
    """The child has not that thread, and makes its own."""
    busy, free = Thing(), Thing()
    free.go.set()
    thread = threading.Thread(target=lambda: busy.slow)
    thread.start()
    assert busy.begun.wait(20)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(20)
            status = 0 if free.slow == 1 else 2
        finally:
            os._exit(status)
    busy.go.set()
    thread.join(20)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
