"""Room at the end of the data file, written before commits need it.

What lives here: ``Room``. What it must not know: LMDB, pages, transactions; its caller holds the writer's lock of all processes.

A commit that makes the file longer has the file system write its own journal besides: 80 us more on ext4 where a commit costs 320. The change log
grows with every commit, so one commit in six did. Room is made in steps large enough that this cost vanishes, of zeros, because a hole or a
reservation would be turned into blocks by the very commit that should be spared. LMDB never looks behind its last page, and
whatever a crash leaves there is of no account.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = ["Room"]

LEAST_BYTES: Final = 64 * 2**10  # behind the last page when a commit begins; most need less
SMALLEST_STEP: Final = 256 * 2**10
LARGEST_STEP: Final = 2**20
SHARE: Final = 8  # a step is this part of the file, within the two


class Room:
    """The end of one data file. ``keep`` only while nobody else may write to the file."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self._size = 0  # of the file, at least

    def keep(self, used_bytes: int) -> None:
        """Make the file longer when it has little room behind its first ``used_bytes``. A full disk is no matter here: the commit will tell."""
        if self._size - used_bytes >= LEAST_BYTES:
            return
        self._size = os.fstat(self._fd).st_size
        if self._size - used_bytes >= LEAST_BYTES or self._size < used_bytes:
            return
        step = min(max(self._size // SHARE, SMALLEST_STEP), LARGEST_STEP)
        try:
            self._size += os.pwrite(self._fd, bytes(step), self._size)
        except OSError:
            return

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)
