"""Notices: what the writer of a commit lets other processes read before it is durable, so that they are ready when it is.

What lives here: the layout of a bell's memory behind its words: the board, which holds one notice, and a table of outcomes; ``Notice``. What it must not
know: how one waits (``bell``), what the records of a commit say.

Only who holds the storage's writer lock posts. A notice proves nothing: it counts when its outcome is told, under its own token, by the process that posted
it; else what the log says counts. It may be torn or left over from a process that was killed, so it carries a checksum, which begins with a ``seal`` of the
database and its history. An outcome is told behind the writer lock, maybe late: each has one of a few places, by its token, and who finds another one there
does not know the outcome.
"""

from __future__ import annotations

import itertools
import mmap
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgpack  # type: ignore[import-untyped]

__all__ = ["SIZE", "Notice", "is_own", "last", "outcome", "post", "read", "settle"]

SIZE: Final = 16_384  # of a bell's memory
OUTCOMES_AT: Final = 64
OUTCOMES: Final = 32
FAILED: Final = 1 << 63
MOST_TOKENS: Final = 1 << 40  # of one process
_OUTCOME: Final = struct.Struct("=Q")
_HEAD: Final = struct.Struct("=QII")  # token; length and checksum of what follows
_HEAD_AT: Final = OUTCOMES_AT + OUTCOMES * _OUTCOME.size
_BODY_AT: Final = _HEAD_AT + _HEAD.size

Records = Iterable[tuple[bytes, bytes]]


class Notice:
    """The commits ``first`` to ``last`` that another process is making, by their records in the change log."""

    __slots__ = ("_wait", "first", "last", "records", "rung", "token")

    def __init__(self, token: int, rung: int, first: int, last: int, records: Records) -> None:
        self.token = token
        self.rung = rung
        self.first = first
        self.last = last
        self.records = records
        self._wait: Callable[[Notice, float], bool] = _not_known

    def awaited_by(self, wait: Callable[[Notice, float], bool]) -> Notice:
        """Return itself, with a way to wait."""
        self._wait = wait
        return self

    def wait(self, timeout_s: float) -> bool:
        """Wait for the outcome; tell whether the commit is known to have landed by then."""
        return self._wait(self, timeout_s)


def _not_known(notice: Notice, timeout_s: float) -> bool:
    return False


def post(memory: mmap.mmap, rung: int, first: int, last: int, records: Records, seal: int) -> int:
    """Put a notice on the board; return its token, 0 when it is too long."""
    found = [*records]
    if sum([len(key) + len(value) for key, value in found]) > SIZE:  # before they are copied: there may be megabytes
        return 0
    token = next(_tokens)
    body = msgpack.packb((token, rung, first, last, found))
    end = _BODY_AT + len(body)
    if end > SIZE:
        return 0
    memory[_HEAD_AT:end] = _HEAD.pack(token, len(body), zlib.crc32(body, seal)) + body
    return token


def read(memory: mmap.mmap, known: int, seal: int) -> Notice | None:
    """Return the notice on the board; None when it is the one with the token ``known``, or not whole, or another database's."""
    token, length, checksum = _HEAD.unpack_from(memory, _HEAD_AT)
    if token in (0, known) or _BODY_AT + length > SIZE:
        return None
    body = memory[_BODY_AT : _BODY_AT + length]
    if checksum != zlib.crc32(body, seal):
        return None
    try:
        return Notice(*msgpack.unpackb(body))
    except (TypeError, ValueError, msgpack.UnpackException):  # another release's
        return None


def last(memory: mmap.mmap) -> int:
    """Return the token of the notice on the board, whatever it is worth; 0: there has never been one."""
    return int(_HEAD.unpack_from(memory, _HEAD_AT)[0])


def is_own(token: int) -> bool:
    """Tell whether this process has posted a notice: by the token, since another thread may do so in this moment."""
    return 0 <= token - _first_token < MOST_TOKENS


def settle(memory: mmap.mmap, token: int, landed: bool) -> None:
    """Tell an outcome."""
    _OUTCOME.pack_into(memory, _place(token), token if landed else token | FAILED)


def outcome(memory: mmap.mmap, token: int) -> bool | None:
    """Return whether the commit of a notice has landed; None: that is not known."""
    (told,) = _OUTCOME.unpack_from(memory, _place(token))
    return True if told == token else False if told == token | FAILED else None


def _place(token: int) -> int:
    return OUTCOMES_AT + token % OUTCOMES * _OUTCOME.size


def _draw() -> None:
    global _first_token, _tokens
    _first_token = 1 + random.SystemRandom().getrandbits(62)
    _tokens = itertools.count(_first_token)


_first_token = 0
_tokens: Iterator[int]
_draw()
os.register_at_fork(after_in_child=_draw)
