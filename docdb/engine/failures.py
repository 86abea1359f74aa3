"""LMDB's return codes as docdb's errors: one table for both LMDB engines.

It must not know how a code was come by. Negative codes are LMDB's own (lmdb.h), but for two; positive ones are the operating system's errno.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from docdb.errors import BusyError, CorruptError, DocdbError, FormatError, FullError, InvalidOperation, StorageError

__all__ = ["EnvironmentFailed", "MET_BEFORE", "failure"]

MAP_FULL: Final = -30792
UNSOUND: Final = -31000  # no code of LMDB's: this and the next are lmdb_engine.pyx's own
MET_BEFORE: Final = -31001


class EnvironmentFailed(StorageError):
    """A commit of this process failed, and its environment is of no use until it was opened again (``Engine.settle``)."""


CODES: Final[dict[int, tuple[type[DocdbError], str]]] = {
    -30799: (StorageError, "the key exists already"),
    -30798: (StorageError, "the key was not found"),
    -30797: (CorruptError, "a page that is referred to was not found"),
    -30796: (CorruptError, "a page has the wrong type"),
    -30795: (EnvironmentFailed, "the storage met a fatal error and must be opened again"),
    -30794: (FormatError, "the file has a version this library does not read"),
    -30793: (FormatError, "the file is not a database"),
    MAP_FULL: (FullError, "the map is full"),
    -30791: (StorageError, "too many named spaces"),
    -30790: (BusyError, "all reader slots are taken; end snapshots, or raise max_readers"),
    -30789: (StorageError, "no thread-local key is left"),
    -30788: (FullError, "the transaction has too many changed pages; commit in smaller steps"),
    -30787: (CorruptError, "the tree is too deep"),
    -30786: (CorruptError, "a page has no room for what it should hold"),
    -30785: (StorageError, "another process enlarged the map"),
    -30784: (FormatError, "the space has other flags than docdb's"),
    -30783: (InvalidOperation, "the snapshot's reader slot was taken from it (did the process fork?)"),
    -30782: (InvalidOperation, "the transaction failed before and can only be aborted"),
    -30781: (StorageError, "a key or value has an impossible size"),
    -30780: (StorageError, "the space's handle is no longer valid"),
    UNSOUND: (CorruptError, "a stored document is damaged"),
    MET_BEFORE: (CorruptError, "a page of the tree was met before"),
    errno.ENOSPC: (FullError, "no space is left on the device"),
    errno.EDQUOT: (FullError, "the disk quota is used up"),
    errno.EAGAIN: (BusyError, "another process holds the lock"),
    errno.EBUSY: (BusyError, "another process holds the lock"),
    errno.ENOMEM: (StorageError, "no memory or address space is left (the map takes 1 TiB of addresses)"),
    errno.EACCES: (StorageError, "permission denied"),
    errno.EROFS: (StorageError, "the file system is read-only"),
}


def failure(code: int, doing: str) -> DocdbError:
    """Return the error for a return code of LMDB."""
    kind, text = CODES.get(code, (StorageError, ""))
    if not text:
        text = os.strerror(code) if code > 0 else f"LMDB error {code}"
    return kind(f"{doing}: {text}")
