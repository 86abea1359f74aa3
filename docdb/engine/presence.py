"""The presence file: who has a database open, and the right to have it alone.

Every process that has the database open holds a shared flock on the file and has written its process id into it; compacting
and restoring in place hold it exclusively. The lock is the truth, the ids only serve messages. It must not know LMDB: that flock is not
LMDB's lock, and lies on another file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from docdb.errors import BusyError, StorageError

__all__ = ["NAME", "Presence"]

NAME: Final = "presence"
PATIENCE_S: Final = 1.0
STEP_S: Final = 0.005


class Presence:
    """The shared lock of this process on one database folder."""

    def __init__(self, folder: Path, *, read_only: bool) -> None:
        self.path = folder / NAME
        self._fd = self._open(read_only)
        self._record: tuple[int, int] | None = None
        if self._fd < 0:
            return
        if not self._lock(fcntl.LOCK_SH, PATIENCE_S):
            names = _names(self._others())
            os.close(self._fd)
            raise BusyError(f"{folder} is being compacted or restored{names}")
        self._write_pid(read_only)

    def close(self) -> None:
        """Give the lock back."""
        if self._fd >= 0:
            self._erase_pid()
            os.close(self._fd)
            self._fd = -1

    def abandon(self) -> None:
        """Let go of what a fork inherited; the parent keeps its lock, which belongs to the open file both share."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock alone, or raise BusyError that names the processes that have the database open."""
        if self._fd < 0:
            raise BusyError("the database was opened without a presence file")
        if not self._lock(fcntl.LOCK_EX, 0.0):
            self._lock(fcntl.LOCK_SH, PATIENCE_S)
            raise BusyError(
                f"{self.path.parent} is open elsewhere{_names(self._others())}", hint="close it there first"
            )
        try:
            os.ftruncate(self._fd, 0)
            self._write_pid(False)
            yield
        finally:
            self._lock(fcntl.LOCK_SH, PATIENCE_S)

    def _open(self, read_only: bool) -> int:
        try:
            if read_only:
                return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            return -1
        except OSError as error:
            raise StorageError(f"cannot open {self.path}: {error.strerror}") from error

    def _lock(self, kind: int, patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(STEP_S)
            else:
                return True

    def _write_pid(self, read_only: bool) -> None:
        if read_only:
            return
        line = b"%d\n" % os.getpid()
        try:
            os.write(self._fd, line)
        except OSError:
            return  # a full disk: the lock holds all the same, only a message will lack a name
        self._record = (os.lseek(self._fd, 0, os.SEEK_CUR) - len(line), len(line) - 1)

    def _erase_pid(self) -> None:
        """Blank the record in place; a second descriptor, because the first one can only append."""
        if self._record is None:
            return
        with contextlib.suppress(OSError):
            fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.pwrite(fd, b" " * self._record[1], self._record[0])
            finally:
                os.close(fd)

    def _others(self) -> list[int]:
        """Return the recorded processes that are alive, without this one."""
        with contextlib.suppress(OSError):
            pids = {int(word) for word in self.path.read_bytes().split() if word.isdigit()}
            return sorted(pid for pid in pids if pid != os.getpid() and _alive(pid))
        return []


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _names(pids: list[int]) -> str:
    if not pids:
        return " by another process"
    return f" by process{'es' if len(pids) > 1 else ''} {', '.join(map(str, pids))}"
