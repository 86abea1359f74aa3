"""One opened storage per process and file, shared by every engine object that names it.

What lives here: the registry by (device, inode) of data and lock file, reference counts, the writer's turn inside the process,
closing and opening again after a failed flush or a fork, and `SharedEngine`, the face both LMDB engines have. LMDB's fcntl locks
belong to the (process, file) pair: a second open and close of the lock file anywhere in the process drops them silently, hence the registry.

It must not know which LMDB engine it serves: an `Environment` is what one of them gives it.

Order of locks: registry, writer, storage. A fork takes none of them; the child makes new ones.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from docdb.engine import files
from docdb.engine.base import Engine, EngineTransaction
from docdb.engine.bell import Bell
from docdb.engine.growth import Room
from docdb.engine.leases import Lease, take
from docdb.engine.presence import Presence
from docdb.errors import BusyError, InvalidOperation, StorageError, UsageError

__all__ = ["Environment", "Options", "SharedEngine", "Storage", "acquire"]

CLOSE_PATIENCE_S: Final = 30.0
READER_CHECK_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a storage was opened; every engine object on it must agree."""

    read_only: bool
    durability: str
    native: bool
    max_readers: int


class Environment(Protocol):
    """An open LMDB environment, of either engine."""

    live: bool

    def begin_read(self) -> EngineTransaction: ...
    def begin_write(self, ended: Callable[[bool], None]) -> EngineTransaction: ...
    def shut(self) -> None: ...
    def abandon(self) -> str | None: ...
    def last_id(self) -> int: ...
    def copy_data(self, folder: str, compact: bool) -> None: ...
    def usage(self) -> dict[str, int]: ...
    def used_bytes(self) -> int: ...
    def readers(self) -> str: ...
    def reader_check(self) -> int: ...


class Storage:
    """One data file, open in this process."""

    def __init__(self, folder: Path, options: Options, make: Callable[[Path, Options, bool], Environment]) -> None:
        self.folder = folder
        self.options = options
        self.references = 0
        self.keys: frozenset[files.FileKey] = frozenset()
        self.environment: Environment | None = None
        self._make = make
        self._presence: Presence | None = None
        self._room: Room | None = None
        self._lock = threading.RLock()
        self._writer = threading.Lock()
        self._writer_thread = 0
        self._refusal: str | None = None
        self._checked_s = 0.0
        self._alone: int | None = None

    def live(self) -> Environment:
        """Return the open environment, opening it again where a failure or a fork has taken it away."""
        environment = self.environment
        if environment is not None and environment.live:
            return environment
        with self._lock:
            environment = self.environment
            if environment is not None and environment.live:
                return environment
            if self._refusal is not None:
                raise InvalidOperation(self._refusal)
            self._shut()
            return self._open()

    def begin_write(self) -> EngineTransaction:
        """Wait for this process's turn, then for the other processes'."""
        self._refuse_nested()
        transaction: EngineTransaction | None = None
        try:
            self._take_turn(-1)
            environment = self.live()
            self._check_readers(environment)
            transaction = environment.begin_write(self._end_write)
            if self._room is not None:
                self._room.keep(environment.used_bytes())
        except BaseException:
            if transaction is not None:
                transaction.abort()
            self.end_turn()  # which a transaction that was made has done already
            raise
        return transaction

    def reopen(self) -> None:
        """Close the environment and open it again; snapshots of other threads are over."""
        with self._turn(), self._lock:
            self._shut()
            self._open()

    def settle(self) -> None:
        """Wait for the writer's turn to end, and open the environment again where it failed."""
        with self._turn():
            self.live()

    def close(self) -> None:
        """Close for good; waits for a writer of another thread, and refuses when it does not end.

        A thread that has asked for the environment before must not open it again behind that.
        """
        with self._turn(), self._lock:
            self._refusal = "the engine is closed"
            self._shut()
            if self._presence is not None:
                self._presence.close()
                self._presence = None
            self._leave_alone()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the storage without any other process or engine object."""
        if self.references > 1:
            raise BusyError(f"{self.folder} is open {self.references} times in this process ({os.getpid()})")
        if self._presence is None:
            self.live()
        assert self._presence is not None
        with self._presence.exclusive():
            yield

    def replace(self, folder: Path) -> None:
        """Rename the data file of ``folder`` over this one; only inside ``exclusive``."""
        if self.options.read_only:
            raise InvalidOperation("the database was opened read-only")
        files.check_size(folder / files.DATA, _trust)
        with self._turn(), self._lock:
            self._shut()
            try:
                files.flush(folder / files.DATA)
                os.rename(folder / files.DATA, self.folder / files.DATA)
                files.flush(self.folder)
            except OSError as error:
                raise StorageError(f"cannot replace {self.folder}: {error.strerror}") from error
            self._open()

    def fork(self) -> None:
        """Let go of everything inherited; runs in the child."""
        if self.environment is not None:
            self._refusal = self.environment.abandon()
            self.environment = None
        self._leave_room()
        if self._presence is not None:
            self._presence.abandon()
            self._presence = None
        self._lock = threading.RLock()
        self._writer = threading.Lock()
        self._writer_thread = 0

    def _open(self) -> Environment:
        if self._presence is None:
            self._presence = Presence(self.folder, read_only=self.options.read_only)
        try:
            lock = self._settle_lock_file()
            environment = self._make(self.folder, self.options, lock)
        except BaseException:
            self._presence.close()
            self._presence = None
            self._leave_alone()
            raise
        self.environment = environment
        if not self.options.read_only:
            with contextlib.suppress(OSError):  # without it a commit takes longer now and then, no more
                self._room = Room(self.folder / files.DATA)
        self._identify()
        if self.options.read_only is False:
            self._leave_alone()
        return environment

    def _settle_lock_file(self) -> bool:
        """Return whether to open with LMDB's locks: a reader of a folder without lock file creates none and holds the folder instead.

        A writer that finds no lock file must not start while such a reader, whom it could not see, has pages in use.
        """
        patience_s = 0.002
        while not (self.folder / files.LOCK).exists():
            try:
                self._alone = files.hold_folder(self.folder, shared=self.options.read_only)
                break
            except BusyError:
                if patience_s > 0.5:  # a second and a half in all
                    raise
            time.sleep(patience_s)  # most likely another process that opens it for the first time too
            patience_s *= 1.5
        else:
            return True
        return not self.options.read_only or (self.folder / files.LOCK).exists()

    def _leave_room(self) -> None:
        if self._room is not None:
            self._room.close()
            self._room = None

    def _leave_alone(self) -> None:
        if self._alone is not None:
            os.close(self._alone)
            self._alone = None

    def _identify(self) -> None:
        """Register the files under their present identity (they did not all exist before, or were replaced)."""
        for key in [key for key, storage in list(_registry.items()) if storage is self]:
            del _registry[key]
        found = (files.identity(self.folder / name) for name in (files.DATA, files.LOCK))
        self.keys = frozenset(key for key in found if key is not None)
        _registry.update(dict.fromkeys(self.keys, self))

    def _shut(self) -> None:
        self._leave_room()
        if self.environment is not None:
            self.environment.shut()
            self.environment = None

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        self._refuse_nested()
        try:
            self._take_turn(CLOSE_PATIENCE_S)
            yield
        finally:
            self.end_turn()

    def _refuse_nested(self) -> None:
        if self._writer_thread == threading.get_ident():
            raise InvalidOperation("this thread has a write transaction open", hint="commit or abort it first")

    def _take_turn(self, patience_s: float) -> None:
        """Wait for the turn. An interruption finds it taken and noted, or not taken."""
        me = threading.get_ident()
        taken: list[bool] = []
        try:
            # In one step: behind a call of ``acquire`` itself nobody knew whether the interruption came before or after.
            taken.extend(map(self._writer.acquire, (True,), (patience_s,)))
        finally:
            if taken == [True]:
                self._writer_thread = me
        if taken != [True]:
            raise BusyError(f"a write transaction is open in thread {self._writer_thread}")

    def end_turn(self) -> None:
        """Give the turn back if this thread has it."""
        if self._writer_thread == threading.get_ident():
            self._give_turn()

    def _give_turn(self) -> None:
        self._writer_thread = 0
        self._writer.release()

    def _end_write(self, failed: bool) -> None:
        """End the writer's turn; after a failed commit nobody may use the environment again before it was reopened."""
        if failed and self.environment is not None:
            self.environment.live = False
        self.end_turn()  # which an interruption behind the begin of the transaction may have done already

    def _check_readers(self, environment: Environment) -> None:
        now = time.monotonic()
        if now - self._checked_s > READER_CHECK_S:
            self._checked_s = now
            environment.reader_check()


class SharedEngine(Engine):
    """An engine object: one reference to a storage. Both LMDB engines inherit it."""

    applies_programs = False

    def __init__(self, storage: Storage) -> None:
        self._storage: Storage | None = storage
        self.read_only = storage.options.read_only
        self.durability = storage.options.durability

    @property
    def identity(self) -> object:
        return self._require()

    def begin(self, write: bool = False) -> EngineTransaction:
        storage = self._require()
        if not write:
            return storage.live().begin_read()
        if self.read_only:
            raise InvalidOperation("the database was opened read-only")
        return storage.begin_write()

    def close(self) -> None:
        storage = self._storage
        if storage is not None:
            _release(storage)
            self._storage = None

    def last_id(self) -> int:
        return self._require().live().last_id()

    def copy(self, path: str, *, compact: bool = False, finish: Callable[[str], None] | None = None) -> None:
        environment = self._require().live()
        target = Path(path).absolute()
        if target.is_dir() and any(target.iterdir()):
            raise UsageError(f"{target} is not empty")

        def build(folder: Path) -> None:
            if finish is None:
                environment.copy_data(str(folder), compact)
                return
            scratch = folder / "finishing"  # the folder itself is held by its builder, so nobody can open it
            scratch.mkdir()
            environment.copy_data(str(scratch), compact)
            finish(str(scratch))
            os.rename(scratch / files.DATA, folder / files.DATA)
            shutil.rmtree(scratch)

        files.create(target, build)

    def stats(self) -> dict[str, Any]:
        storage = self._require()
        environment = storage.live()
        usage = environment.usage()
        snapshots = [int(words[2]) for line in environment.readers().splitlines() if _active(words := line.split())]
        pages = usage["last_page"] + 1
        return {
            "engine": self.name,
            "file_bytes": (storage.folder / files.DATA).stat().st_size,
            "map_bytes": usage["map_bytes"],
            "page_size": usage["page_size"],
            "pages": pages,
            "free_pages": max(0, pages - usage["used_pages"]),
            "readers": len(snapshots),
            "oldest_reader_id": min(snapshots, default=None),
            "last_id": usage["last_id"],
        }

    def reopen(self) -> None:
        self._require().reopen()

    def end_turn(self) -> None:
        if self._storage is not None:
            self._storage.end_turn()

    def settle(self) -> None:
        self._require().settle()

    def reader_check(self) -> int:
        return self._require().live().reader_check()

    def bell(self) -> Bell:
        folder = self._require().folder
        return Bell.beside(folder, create=not self.read_only, mode=(folder / files.DATA).stat().st_mode)

    def lease(self, name: str) -> Lease | None:
        return take(self._require().folder, name)

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        return self._require().exclusive()

    def replace(self, folder: str) -> None:
        self._require().replace(Path(folder).absolute())

    def _require(self) -> Storage:
        if self._storage is None:
            raise InvalidOperation("the engine is closed")
        return self._storage


def _active(words: list[str]) -> bool:
    """Return whether a line of LMDB's reader list (process, thread, snapshot) is a snapshot in use."""
    return len(words) == 3 and words[0].isdigit() and words[2].isdigit()


def _trust(path: Path) -> None:
    raise StorageError(f"{path} is shorter than its newest commit")


_registry: dict[files.FileKey, Storage] = {}
_registry_lock = threading.RLock()


def acquire(folder: Path, options: Options, make: Callable[[Path, Options, bool], Environment]) -> Storage:
    """Return the storage of a folder, opened if this process has not opened it yet; counts one reference."""
    with _registry_lock:
        found = {
            id(storage): storage
            for name in (files.DATA, files.LOCK)
            if (key := files.identity(folder / name)) is not None and (storage := _registry.get(key)) is not None
        }
        for storage in found.values():
            _require_same(storage, folder, options)
        storage = next(iter(found.values())) if found else Storage(folder, options, make)
        storage.live()
        storage.references += 1
        return storage


def _require_same(storage: Storage, folder: Path, options: Options) -> None:
    if files.identity(folder / files.DATA) not in storage.keys:
        raise BusyError(f"the files of {folder} were replaced while this process had them open", hint="close it first")
    opened = replace(storage.options, max_readers=options.max_readers)
    if opened != options:
        names = [
            name for name in ("read_only", "durability", "native") if getattr(opened, name) != getattr(options, name)
        ]
        raise UsageError(
            f"{folder} is already open in this process with another {' and '.join(names)}", hint="use the same options"
        )


def _release(storage: Storage) -> None:
    with _registry_lock:
        if storage.references == 1:
            storage.close()
            for key in [key for key, held in _registry.items() if held is storage]:
                del _registry[key]
        storage.references -= 1


def _after_fork_in_child() -> None:
    global _registry_lock
    _registry_lock = threading.RLock()
    for storage in set(_registry.values()):
        storage.fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
