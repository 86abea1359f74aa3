"""Leases: what one process at a time may do with a database.

What lives here: ``take``, and ``Lease``, which is held until it is given back or its process dies, however it dies. What it must not know: what a
lease is for; its name says that, and no more.

Beside a database a lease is a flock on a file of its own in the folder ``leases``: the kernel gives it back with the last descriptor of the open file, so
a killed holder needs no clean-up and no clock. A storage in memory belongs to one process; its leases are names in a table.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import weakref
from pathlib import Path
from typing import Final

from docdb.errors import StorageError

__all__ = ["FOLDER", "Lease", "take", "take_in_process"]

FOLDER: Final = "leases"

_living: weakref.WeakSet[Lease] = weakref.WeakSet()
_names: set[tuple[int, str]] = set()
_mutex = threading.Lock()


class Lease:
    """The right, until ``close``. ``held`` is False behind it, and in a forked child, which has not inherited it."""

    def __init__(self, name: str, *, fd: int = -1, owner: object = None) -> None:
        self.name = name
        self.held = True
        self._fd = fd
        self._owner = owner
        _living.add(self)

    def close(self) -> None:
        """Give it back. Twice is harmless."""
        if not self.held:
            return
        self.held = False
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # a child just forked may still have the descriptor
            os.close(self._fd)
        else:
            with _mutex:
                _names.discard((id(self._owner), self.name))

    def abandon(self) -> None:
        """Let go of what a fork inherited. The lock belongs to the open file both share: closing one descriptor leaves it to the parent."""
        if self.held and self._fd >= 0:
            os.close(self._fd)
        self.held = False

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def take(folder: Path, name: str) -> Lease | None:
    """Return the lease of this name on the database in a folder, or None while somebody else holds it. Never waits."""
    path = folder / FOLDER / hashlib.blake2b(name.encode("utf-8"), digest_size=16).hexdigest()
    try:
        path.parent.mkdir(mode=0o755, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"cannot open {path}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if isinstance(error, BlockingIOError):
            return None
        raise StorageError(f"cannot lock {path}: {error.strerror}") from error
    with contextlib.suppress(OSError):  # for people who look into the folder; the lock is the truth
        os.truncate(fd, 0)
        os.write(fd, f"{os.getpid()} {name}\n".encode())
    return Lease(name, fd=fd)


def take_in_process(owner: object, name: str) -> Lease | None:
    """Return the lease of this name on something that lives in this process, or None while it is held."""
    key = id(owner), name
    with _mutex:
        if key in _names:
            return None
        _names.add(key)
    return Lease(name, owner=owner)


def _after_fork_in_child() -> None:
    global _mutex
    _mutex = threading.Lock()
    _names.clear()
    for lease in list(_living):
        lease.abandon()


os.register_at_fork(after_in_child=_after_fork_in_child)
