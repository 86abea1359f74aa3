"""The bell: how the writer of a commit wakes those who read the change log, in this process and in others.

What lives here: ``Bell``, a word in memory that all processes share (the file ``bell`` beside the data), and its two reference forms. What it must
not know: commits (a ring carries a number that differs from the one before), the log, who waits and why.

A bell is a hint. It may ring for nothing, and it stays silent when its writer is killed between commit and bell, or where the file could not be
made; so whoever waits looks at the log itself from time to time (``POLL_S``).

Linux has the futex: a waiter sleeps in the kernel on the word itself, and while nobody sleeps ringing is two stores. Elsewhere a condition serves
the process and a short sleep the others.

A process need not wake its own sleeper for news that it has delivered already (``others``). The kernel wakes the sleepers that have a bit in common with the
one who rings; each process sleeps with 16 of 32 bits, drawn at random, and rings with the other 16: these meet every choice but its own.

Who commits rings in the moment the commit is durable, before it is Python's turn again: it gives the engine a ``Herald``, which can be waited for
beforehand. In other processes too, where a notice of the commit was posted (``foretell``): that is done where one of them has asked for it when it went to
sleep.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import platform
import random
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import docdb._native as _native
from docdb.engine import notices
from docdb.engine.notices import SIZE, Notice

__all__ = ["NAME", "POLL_S", "Bell", "Herald"]

NAME: Final = "bell"
POLL_S: Final = 0.05  # how long a waiter trusts a bell that other processes ring too
BLIND_POLL_S: Final = 0.002  # and one that they cannot ring
COURTESY_S: Final = 50e-6
NUDGE: Final = 0x80000000  # what is changed of a number that was rung, to wake for a reason that is not in the log
FOREWORD: Final = 0x40000000  # what is changed of the number that will be rung, to wake for a notice


class Herald(Protocol):
    """Who tells of one commit. Made by ``Bell.herald``. ``settled_ns``: when it did, on the monotonic clock."""

    settled_ns: int

    def tell(self, landed: bool) -> None:
        """Tell the outcome, only the first one counts: ring when it has landed, and wake who waits."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for the outcome; tell whether the commit has landed by then."""


class Bell:
    """One word, rung with a number. ``memory`` is a mapping; ``shared`` tells whether all who write can ring it."""

    def __init__(self, memory: mmap.mmap, *, shared: bool) -> None:
        self._memory = memory
        self._form = _form()
        # The token of the last notice that was read here. What is on the board when the bell is opened may be of a commit that is not in the data any
        # more, and whose outcome stands there still: after a power cut, or where a copy of the data was put back.
        self._heard = notices.last(memory)
        self.poll_s = POLL_S if shared and self._form.FUTEX else BLIND_POLL_S

    @staticmethod
    def in_process() -> Bell:
        """Return a bell for a storage that lives in this process alone, not in its children: each has a copy that goes its own way."""
        return Bell(_own_memory(), shared=True)

    @staticmethod
    def beside(folder: Path, *, create: bool, mode: int = 0o644) -> Bell:
        """Return the bell of a database's folder; without the right or the room to make its file, one that others cannot ring.

        ``mode``: who may read and write the data, and so the file, in which notices show some of it; rights beyond these are taken away.
        """
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        with contextlib.suppress(OSError):
            fd = os.open(folder / NAME, flags, mode & 0o666)
            try:
                found = os.fstat(fd)
                if found.st_mode & 0o666 & ~mode:
                    os.fchmod(fd, found.st_mode & mode & 0o666)
                if found.st_size < SIZE:
                    # Not truncated to size: a store into a hole of a full disk is SIGBUS.
                    if not hasattr(os, "posix_fallocate"):
                        os.write(fd, bytes(SIZE))
                    else:
                        os.posix_fallocate(fd, 0, SIZE)
                return Bell(mmap.mmap(fd, SIZE), shared=True)
            finally:
                os.close(fd)
        return Bell(mmap.mmap(-1, SIZE), shared=False)

    def ring(self, number: int, *, others: bool = False) -> None:
        """Wake all who wait; ``others``: in other processes, while here it is quiet for who waits with this number as its ``quiet``.

        Cost while nobody waits: a tenth of a microsecond.
        """
        if others:
            self._form.ring_others(self._memory, number & 0xFFFFFFFF, _own)
        else:
            self._form.ring(self._memory, number & 0xFFFFFFFF)

    def herald(self, number: int, *, others: bool = False, token: int = 0) -> Herald | None:
        """Return who rings a number when its commit is durable, in the way of ``ring``; None where nobody is to be told. ``token``: of its notice."""
        herald: Herald = self._form.Herald(self._memory, number & 0xFFFFFFFF, _own, others, token)
        return herald

    def foretell(
        self, first: int, last: int, records: Callable[[], Iterable[tuple[bytes, bytes]] | None], seal: int
    ) -> int:
        """Post a notice of commits that are about to be made durable where another process has asked for that; return its token, or 0.

        To be called under the storage's writer lock; a herald with the token must follow. ``seal``: a number for the database and its history.
        Cost while nobody asks: a tenth of a microsecond.
        """
        if not self._form.asked(self._memory, _own):
            return 0
        found = records()
        rung = (last ^ FOREWORD) & 0xFFFFFFFF
        token = 0 if found is None else notices.post(self._memory, rung, first, last, found, seal)
        if token:
            self._form.ring_others(self._memory, rung, _own)
        return token

    def notice(self, seal: int) -> Notice | None:
        """Return what another process is about to commit; None when there is nothing new."""
        notice = notices.read(self._memory, self._heard, seal)
        if notice is None:
            return None
        self._heard = notice.token
        return None if notices.is_own(notice.token) else notice.awaited_by(self._wait_for)

    def _wait_for(self, notice: Notice, timeout_s: float) -> bool:
        timeout_ns = max(0, int(timeout_s * 1e9))
        return bool(self._form.wait_for(self._memory, notice.token, notice.rung, timeout_ns, _own))

    def value(self) -> int:
        """Return the number rung last, to be passed to ``wait`` after a look at the log."""
        return int(self._form.value(self._memory))

    def wait(self, seen: int, timeout_s: float, quiet: array[int] | None = None, *, eager: bool = False) -> None:
        """Sleep until a number other than ``seen`` was rung, at most ``timeout_s``; may return for nothing.

        ``quiet`` (an array of type I): a ring with the number that it holds in the first place, while the second holds 0, does not end the sleep, and
        takes the interpreter's lock from nobody. While the third does not hold 0, another thread that waits for the same ring goes first: the sleep
        ends ``COURTESY_S`` behind it. ``eager``: other processes are asked to post notices.
        """
        quiet = array("I", [seen, 1, 0]) if quiet is None else quiet
        self._form.wait(self._memory, seen, max(0, int(timeout_s * 1e9)), quiet, _own, eager)

    def close(self) -> None:
        """Let go of the file, which a mapping keeps open; who waits there is not disturbed, and rings go nowhere from now on."""
        self._memory = mmap.mmap(-1, SIZE)

    def nudge(self) -> None:
        """Wake those who wait, of all processes, for a reason that is not in the log (one of them is to end)."""
        self.ring(self.value() ^ NUDGE)


class _Herald:
    """The reference form of ``Herald``."""

    def __init__(self, form: Any, memory: mmap.mmap, number: int, own: int, others: bool, token: int) -> None:
        self._memory = memory
        self._token = token
        self._let_go = partial(form.ring_others, memory, (number ^ FOREWORD) ^ NUDGE, own)
        self._ring = partial(form.ring_others, memory, number, own) if others else partial(form.ring, memory, number)
        self._settled = threading.Event()
        self._mutex = threading.Lock()
        self._landed: bool | None = None
        self.settled_ns = 0

    def tell(self, landed: bool) -> None:
        with self._mutex:
            if self._landed is not None:
                return
            self._landed = landed
        self.settled_ns = time.monotonic_ns()
        if self._token:
            notices.settle(self._memory, self._token, landed)
        if landed:
            self._ring()
        elif self._token:
            self._let_go()
        self._settled.set()

    def wait(self, timeout_s: float) -> bool:
        self._settled.wait(timeout_s)
        return self._landed is True


class _Futex:
    """The reference form on Linux: the same system call through ctypes."""

    FUTEX = True
    WAKE: Final = 1
    WAIT_BITSET: Final = 9
    WAKE_BITSET: Final = 10

    def __init__(self, number: int) -> None:
        import ctypes

        self._ctypes = ctypes
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._number = number
        self.Herald = partial(_Herald, self)

        class Limit(ctypes.Structure):
            _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]

        self._limit = Limit

    def _word(self, memory: mmap.mmap) -> Any:
        return self._ctypes.c_uint32.from_buffer(memory)

    def ring(self, memory: mmap.mmap, number: int) -> None:
        word = self._word(memory)
        word.value = number
        most = 2**31 - 1
        self._call(self._number, self._ctypes.byref(word), self.WAKE, most, None, None, 0)

    def ring_others(self, memory: mmap.mmap, number: int, own: int) -> None:
        word = self._word(memory)
        word.value = number
        others = self._ctypes.c_uint32(own ^ 0xFFFFFFFF)
        self._call(self._number, self._ctypes.byref(word), self.WAKE_BITSET, 2**31 - 1, None, None, others)

    def value(self, memory: mmap.mmap) -> int:
        return int(self._word(memory).value)

    def asked(self, memory: mmap.mmap, own: int) -> bool:
        eager = self._ctypes.c_uint32.from_buffer(memory, 8)
        if not eager.value & ~own:
            return False
        eager.value &= own
        return True

    def wait_for(self, memory: mmap.mmap, token: int, rung: int, timeout_ns: int, own: int) -> bool:
        until = time.monotonic_ns() + timeout_ns
        while True:
            seen = self.value(memory)  # in front of the outcome, which is told first
            landed = notices.outcome(memory, token)
            if landed is not None or (seen ^ rung) & ~NUDGE or time.monotonic_ns() >= until:
                return landed is True
            self._wait_once(memory, seen, until, own)

    def wait(
        self, memory: mmap.mmap, seen: int, timeout_ns: int, quiet: array[int], own: int, eager: bool = False
    ) -> None:
        until = time.monotonic_ns() + timeout_ns
        while time.monotonic_ns() < until:
            if eager:
                self._ctypes.c_uint32.from_buffer(memory, 8).value |= own
            self._wait_once(memory, seen, until, own)
            seen = self.value(memory)
            if seen != quiet[0] or quiet[1]:
                break
        if quiet[2]:
            time.sleep(COURTESY_S)

    def _wait_once(self, memory: mmap.mmap, seen: int, until_ns: int, own: int) -> None:
        word = self._word(memory)
        # A compiled ringer of another process asks the second word whether anybody may be asleep.
        self._ctypes.c_uint32.from_buffer(memory, 4).value = 1
        limit = self._limit(until_ns // 10**9, until_ns % 10**9)
        seen_word, bits = self._ctypes.c_uint32(seen), self._ctypes.c_uint32(own)
        pointer = self._ctypes.byref
        self._call(self._number, pointer(word), self.WAIT_BITSET, seen_word, pointer(limit), None, bits)


class _Condition:
    """The reference form elsewhere: wakes this process; others are found by looking."""

    FUTEX = False

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.Herald = partial(_Herald, self)

    def ring(self, memory: mmap.mmap, number: int) -> None:
        with self._condition:
            memory[:4] = number.to_bytes(4, sys.byteorder)
            self._condition.notify_all()

    def ring_others(self, memory: mmap.mmap, number: int, own: int) -> None:
        self.ring(memory, number)

    def value(self, memory: mmap.mmap) -> int:
        return int.from_bytes(memory[:4], sys.byteorder)

    def asked(self, memory: mmap.mmap, own: int) -> bool:
        return False

    def wait_for(self, memory: mmap.mmap, token: int, rung: int, timeout_ns: int, own: int) -> bool:
        return notices.outcome(memory, token) is True

    def wait(
        self, memory: mmap.mmap, seen: int, timeout_ns: int, quiet: array[int], own: int, eager: bool = False
    ) -> None:
        with self._condition:
            self._condition.wait_for(
                lambda: self.value(memory) != seen and (self.value(memory) != quiet[0] or quiet[1] != 0),
                timeout_ns / 1e9,
            )


def _own_memory() -> mmap.mmap:
    """Return memory that a forked child has a copy of."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, SIZE)
    return mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


_own = 0  # the bits of this process


def _draw() -> None:
    global _own
    _own = sum(1 << bit for bit in random.SystemRandom().sample(range(32), 16))


_draw()
os.register_at_fork(after_in_child=_draw)

FUTEX_NUMBERS: Final = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "i686": 240, "armv7l": 240}


def _form() -> Any:
    """Return what rings on this machine: the kernel, the system call, or a condition."""
    if _native.AVAILABLE and sys.platform == "linux":
        with contextlib.suppress(ImportError):
            from docdb._native import bell

            if bell.FUTEX:
                return bell
    number = FUTEX_NUMBERS.get(platform.machine())
    if sys.platform == "linux" and number is not None and sys.maxsize > 2**32:
        return _Futex(number)
    return _Condition()
