"""The files of a database folder, before and beside LMDB: safe creation, the check before mapping, flushing.

    data.mdb    LMDB's data; two meta pages, then the trees
    lock.mdb    LMDB's reader table and locks; never opened here, because closing it anywhere in the process drops LMDB's locks
    presence    who has the database open (presence.py)
    bell        what wakes readers of the change log (bell.py)
    leases/     what one process at a time may do (leases.py)

A database is built in a sibling folder under a temporary name, flushed, and renamed into its place, so a torn first header cannot
be. The builder holds a flock on its temporary folder; one that nobody holds belongs to a dead process and is removed.

It must not know LMDB's functions; of its format it knows the meta page (LMDB 0.9, data version 1, 64 bit):

    page header 16 bytes (flags at 10: 0x08 is meta), then magic 4, version 4, address 8, map size 8,
    two tree records of 48 bytes (the first begins with the page size, 4), last page 8, transaction number 8
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import struct
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from docdb.engine import presence
from docdb.errors import BusyError, CorruptError, DocdbError, FormatError, StorageError, UsageError

__all__ = ["DATA", "LOCK", "FileKey", "Meta", "check_size", "create", "flush", "hold_folder", "identity", "read_meta",
           "temporary_folder"]  # fmt: skip

DATA: Final = "data.mdb"
LOCK: Final = "lock.mdb"
MAGIC: Final = 0xBEEFC0DE
DATA_VERSION: Final = 1
META_FLAG: Final = 0x08
META: Final = struct.Struct(("<" if sys.byteorder == "little" else ">") + "8xHHI II QQ I44x 48x QQ")
PAGE_SIZES: Final = frozenset(1 << bits for bits in range(8, 17))

FileKey = tuple[int, int]


class Meta(NamedTuple):
    """What the newer meta page says."""

    page_size: int
    last_page: int
    transaction: int


def read_meta(path: Path) -> Meta:
    """Return the newer meta page of a data file by plain reads; raises FormatError for what is not LMDB 0.9's."""
    try:
        with open(path, "rb", buffering=0) as file:
            first = _parse_meta(path, file.read(META.size))
            second = _parse_meta(path, os.pread(file.fileno(), META.size, first.page_size))
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    if second.page_size != first.page_size:
        raise CorruptError(f"{path}: the meta pages disagree about the page size")
    return max(first, second, key=lambda meta: meta.transaction)


def _parse_meta(path: Path, data: bytes) -> Meta:
    if not data:
        raise CorruptError(f"{path} is empty or ends before its meta pages")
    if len(data) < META.size:
        raise CorruptError(f"{path} ends inside its meta pages")
    _, flags, _, magic, version, _, _, page_size, last_page, transaction = META.unpack(data)
    if magic != MAGIC or not flags & META_FLAG:
        raise FormatError(f"{path} is not a database (wrong magic number)")
    if version != DATA_VERSION:
        raise FormatError(f"{path} has LMDB data version {version}; this program reads {DATA_VERSION}")
    if page_size not in PAGE_SIZES:
        raise CorruptError(f"{path} names an impossible page size, {page_size}")
    return Meta(page_size, last_page, transaction)


def check_size(path: Path, verify: Callable[[Path], None]) -> Meta:
    """Refuse a data file that is shorter than its newest meta page says: mapping it would end in SIGBUS.

    LMDB allows a file to be shorter by pages at the end that are all free, so ``verify`` (which never maps the file) decides
    about a short one.
    """
    meta = read_meta(path)
    needed = (meta.last_page + 1) * meta.page_size
    size = os.stat(path).st_size
    if size >= needed:
        return meta
    try:
        verify(path)
    except DocdbError as error:
        raise CorruptError(
            f"{path} has been cut off: {size} bytes, its newest commit needs {needed}", hint="restore a backup"
        ) from error
    return meta


def identity(path: Path) -> FileKey | None:
    """Return (device, inode), or None when there is no such file."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot open {path}: {error.strerror}") from error
    return found.st_dev, found.st_ino


def flush(path: Path) -> None:
    """Make a file or folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create(folder: Path, build: Callable[[Path], None]) -> None:
    """Build a database with ``build`` and put it at ``folder``, unless another process is first.

    ``folder`` may be absent or empty. Returns when a database is there, whoever made it.
    """
    try:
        _refuse_foreign(folder)
        if not folder.parent.is_dir():
            raise UsageError(f"the folder {folder.parent} does not exist", hint="create it first")
        with temporary_folder(folder) as new:
            build(new)
            (new / LOCK).unlink(missing_ok=True)
            (new / presence.NAME).touch()
            for path in (new / DATA, new / presence.NAME, new):
                flush(path)
            _rename(new, folder)
    except OSError as error:
        raise StorageError(f"cannot create {folder}: {error.strerror}") from error


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Make a folder beside ``folder``, held by a flock as long as it is built; remove it at the end if it is still there.

    The parent folder is locked while the new one is made, so that nobody takes it for a dead process's before it is held.
    """
    new = folder.parent / f".{folder.name}.new-{uuid.uuid4().hex[:16]}"
    parent = _open_folder(folder.parent)
    try:
        fcntl.flock(parent, fcntl.LOCK_EX)
        _remove_leftovers(folder)
        new.mkdir(mode=0o755)
        held = _open_folder(new)
        fcntl.flock(held, fcntl.LOCK_EX)
    finally:
        os.close(parent)
    try:
        yield new
    finally:
        shutil.rmtree(new, ignore_errors=True)
        os.close(held)


def hold_folder(folder: Path, *, shared: bool) -> int:
    """Return a descriptor that holds a flock on the folder itself, or raise BusyError."""
    fd = _open_folder(folder)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise BusyError(f"{folder} is being read by a process that opened it without a lock file") from error
    return fd


def _open_folder(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _rename(new: Path, folder: Path) -> None:
    """Put the built folder in its place; whoever comes second leaves the first one's there."""
    try:
        os.rename(new, folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and (folder / DATA).exists():
            return
        if error.errno not in (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM):
            raise
        _move_into(new, folder)
    else:
        flush(folder.parent)


def _move_into(new: Path, folder: Path) -> None:
    """Serve a folder that cannot be renamed over (a mount point): the data file arrives whole, by copy, flush and link."""
    arriving = folder / f".{DATA}.{new.name[-16:]}"
    try:
        shutil.copyfile(new / DATA, arriving)
        flush(arriving)
        with contextlib.suppress(FileExistsError):
            os.link(arriving, folder / DATA)
        flush(folder)
    finally:
        arriving.unlink(missing_ok=True)


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds something else."""
    if folder.is_file():
        raise UsageError(f"{folder} is a file, not a folder")
    if not folder.is_dir():
        return
    names = sorted(entry.name for entry in folder.iterdir() if entry.name != "lost+found")
    if names and DATA not in names:
        raise UsageError(
            f"{folder} holds other files ({names[0]}) and no database", hint="name an empty or absent folder"
        )


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary folders of builders that died."""
    for leftover in folder.parent.glob(f".{folder.name}.new-*"):
        try:
            held = _open_folder(leftover)
        except OSError:
            continue  # its builder has just renamed or removed it
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(leftover, ignore_errors=True)
        finally:
            os.close(held)
