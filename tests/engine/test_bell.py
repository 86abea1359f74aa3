"""The bell: values, waiting, waking, its file; the kernel and both reference forms."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
import time
from array import array
from pathlib import Path

import pytest

import docdb._native as native
from docdb.engine import bell as room
from docdb.engine.bell import NAME, POLL_S, Bell

SOON_S = 20.0

FORMS = [
    pytest.param(lambda: room._form(), id="chosen"),
    pytest.param(lambda: room._Futex(room.FUTEX_NUMBERS[os.uname().machine]), id="system call", marks=pytest.mark.skipif(
        sys.platform != "linux" or os.uname().machine not in room.FUTEX_NUMBERS, reason="no futex here")),
    pytest.param(lambda: room._Condition(), id="condition"),
]  # fmt: skip


@pytest.fixture(params=FORMS)
def bell(request: pytest.FixtureRequest) -> Bell:
    """Give a bell of this process, in each form."""
    made = Bell.in_process()
    made._form = request.param()
    return made


def test_the_compiled_form_is_used_where_it_is_there() -> None:
    assert (
        (room._form().__name__ == "docdb._native.bell") == native.AVAILABLE
        if hasattr(room._form(), "__name__")
        else True
    )


def test_a_ring_is_seen(bell: Bell) -> None:
    bell.ring(7)
    assert bell.value() == 7


def test_numbers_are_cut_to_a_word(bell: Bell) -> None:
    bell.ring(2**40 + 5)
    assert bell.value() == 5


def test_waiting_for_what_was_rung_returns_at_once(bell: Bell) -> None:
    seen = bell.value()
    bell.ring(1)
    bell.wait(seen, SOON_S * 100)
    assert bell.value() == 1


def test_waiting_ends_with_its_time(bell: Bell) -> None:
    bell.wait(bell.value(), 0.001)
    bell.wait(bell.value(), 0)
    assert bell.value() == 0


def test_a_sleeper_is_woken(bell: Bell) -> None:
    woken = threading.Event()

    def sleep() -> None:
        while bell.value() == 0:
            bell.wait(0, SOON_S)
        woken.set()

    thread = threading.Thread(target=sleep)
    thread.start()
    bell.ring(1)
    assert woken.wait(SOON_S)
    thread.join()


def test_a_quiet_number_does_not_wake(bell: Bell) -> None:
    quiet = array("I", [0, 0, 0])
    woken = threading.Event()

    def sleep() -> None:
        bell.wait(bell.value(), 60, quiet)
        woken.set()

    thread = threading.Thread(target=sleep)
    thread.start()
    for number in range(1, 20):
        quiet[0] = number
        bell.ring(number)
        time.sleep(0.002)
    assert not woken.is_set()
    bell.ring(20)
    thread.join(30)
    assert woken.is_set()


def test_a_quiet_wait_ends_with_its_time(bell: Bell) -> None:
    quiet = array("I", [7, 0, 0])
    bell.ring(7)
    bell.wait(6, 0.01, quiet)
    bell.wait(7, 0.01, quiet)
    assert bell.value() == 7


SLEEPER = """
import pathlib, sys
from docdb.engine.bell import Bell
bell = Bell.beside(pathlib.Path(sys.argv[1]), create=False)
print("here", flush=True)
bell.wait(0, 60)
print(bell.value(), flush=True)
"""


def test_others_are_woken_while_the_own_sleeper_sleeps_on(tmp_path: Path) -> None:
    bell = Bell.beside(tmp_path, create=True)
    woken = threading.Event()
    quiet = array("I", [5, 0, 0])

    def sleep() -> None:
        bell.wait(0, 60, quiet)
        woken.set()

    thread = threading.Thread(target=sleep)
    thread.start()
    with subprocess.Popen([sys.executable, "-c", SLEEPER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "here\n"
        time.sleep(0.1)
        bell.ring(5, others=True)
        assert other.stdout.readline() == "5\n"
    assert not woken.is_set()
    bell.ring(6)
    thread.join(SOON_S)
    assert woken.is_set()


def test_every_process_has_bits_of_its_own() -> None:
    before = room._own
    assert before.bit_count() == 16
    pid = os.fork()
    if not pid:
        os._exit(0 if room._own.bit_count() == 16 and room._own != before else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert room._own == before


def test_a_nudge_differs_from_what_was_rung(bell: Bell) -> None:
    bell.ring(3)
    bell.nudge()
    assert bell.value() != 3


def test_the_file_is_made_beside_the_data_and_shared(tmp_path: Path) -> None:
    one, other = Bell.beside(tmp_path, create=True), Bell.beside(tmp_path, create=False)
    one.ring(9)
    assert other.value() == 9
    assert (tmp_path / NAME).stat().st_size == room.SIZE


def test_without_a_file_the_log_is_looked_at_more_often(tmp_path: Path) -> None:
    assert Bell.beside(tmp_path, create=False).poll_s < POLL_S
    assert not (tmp_path / NAME).exists()


def test_another_process_rings(tmp_path: Path) -> None:
    bell = Bell.beside(tmp_path, create=True)
    script = "import sys, pathlib; from docdb.engine.bell import Bell; Bell.beside(pathlib.Path(sys.argv[1]), create=False).ring(5)"
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    while bell.value() == 0:
        bell.wait(0, SOON_S)
    assert bell.value() == 5
    assert child.wait(SOON_S) == 0


@pytest.mark.skipif(not native.AVAILABLE, reason="no kernels")
def test_the_kernel_refuses_memory_that_is_too_short() -> None:
    from docdb._native import bell as kernel

    with pytest.raises(ValueError, match="aligned bytes"):
        kernel.ring(memoryview(mmap.mmap(-1, 4096))[:4], 1)  # type: ignore[arg-type]


@pytest.mark.skipif(not native.AVAILABLE or sys.platform != "linux", reason="the compiled form, with a futex")
def test_the_longest_time_does_not_lie_in_the_past() -> None:
    from docdb._native import bell

    memory = mmap.mmap(-1, room.SIZE)
    ringing = threading.Timer(0.05, bell.ring, (memory, 1))
    ringing.start()
    bell.wait(memory, 0, 2**63 - 1, array("I", [0, 1, 0]), 1)
    assert bell.value(memory) == 1
    ringing.join()
