"""Forking: who forks waits until no background thread is inside the storage, but not for ever."""

from __future__ import annotations

import os
import threading
import time

import pytest

from docdb.engine import forks
from docdb.engine.forks import Inside


def test_a_fork_waits_for_who_is_inside() -> None:
    inside, entered = Inside(), threading.Event()
    state = ["outside"]

    def stay() -> None:
        with inside, inside:  # nested
            state[0] = "inside"
            entered.set()
            time.sleep(0.1)
            state[0] = "outside"

    thread = threading.Thread(target=stay)
    thread.start()
    assert entered.wait(10)
    pid = os.fork()
    if pid == 0:
        seen = state[0]
        with inside, Inside():  # the child's own
            os._exit(0 if seen == "outside" else 1)
    assert os.waitpid(pid, 0)[1] == 0
    thread.join()
    with inside:  # the parent's, as before
        pass


def test_a_fork_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "PAUSE_S", 0.01)
    inside, entered, leave = Inside(), threading.Event(), threading.Event()

    def stay() -> None:
        with inside:
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=stay)
    thread.start()
    assert entered.wait(10)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    leave.set()
    thread.join()


def test_one_that_forks_itself_need_not_leave() -> None:
    inside = Inside()
    with inside:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
