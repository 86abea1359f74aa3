"""The engine on LMDB: opening, and the form that uses nothing but py-lmdb's public interface.

What lives here: `open_engine`, the choice between the two LMDB engines, and the one of them that works with every py-lmdb. The fast
one is ``_native/lmdb_engine.pyx``; it takes LMDB's functions from the table py-lmdb exports, when table and package are of a version that
was tested. No other file imports lmdb. It must not know what any byte means.

Both write the same file format (LMDB 0.9, data version 1). ``durability="full"`` flushes data and meta page at each commit,
``"relaxed"`` is MDB_NOMETASYNC: a power cut may undo the last commit, never damage the file.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import lmdb

from docdb.engine import files, shared
from docdb.engine.base import SPACES, EngineTransaction
from docdb.engine.batches import LARGEST_KEY, check_item, check_key, check_shape, deliver, sizes
from docdb.engine.bell import Herald
from docdb.engine.failures import MET_BEFORE, failure
from docdb.errors import CorruptError, DocdbError, InvalidOperation, StorageError, UsageError

__all__ = ["PublicEngine", "open_engine"]

MAP_BYTES: Final = 1 << 40
MAP_BYTES_32: Final = 1 << 30
DURABILITIES: Final = ("full", "relaxed")
CLOSE_IN_CHILD_S: Final = 1.0
LEAST_READERS: Final = 1024
TESTED_PACKAGES: Final = frozenset({"3.0.0"})
TESTED_TABLES: Final = frozenset({(0, 9, 36, 1)})


def open_engine(
    path: str | os.PathLike[str],
    *,
    create: bool = True,
    read_only: bool = False,
    durability: str = "full",
    native: bool | None = None,
    verify: bool = False,
    max_readers: int = LEAST_READERS,
) -> shared.SharedEngine:
    """Open the storage in the folder ``path``, creating it if it is not there.

    ``native`` True insists on the compiled engine, False on the public one, None takes the compiled one where it can. ``verify``
    reads and checks the whole file before it is mapped. A folder open in this process already is shared. Raises UsageError for options that do not
    fit, FormatError and CorruptError for files that cannot be opened, BusyError while another process compacts or restores.
    """
    if durability not in DURABILITIES:
        raise UsageError(f"durability is one of {', '.join(DURABILITIES)}, not {durability!r}")
    folder = Path(os.path.abspath(os.fspath(path)))
    chosen = _native_engine(native)
    data = folder / files.DATA
    if files.identity(data) is None:
        if read_only or not create:
            raise UsageError(f"there is no database at {folder}", hint="create=True makes one")
        files.create(folder, _build)
    if verify:
        verify_file(data)
    options = shared.Options(read_only, durability, chosen is not None, max(max_readers, LEAST_READERS))
    if chosen is None:
        return PublicEngine(shared.acquire(folder, options, PublicEnvironment))
    return chosen.NativeEngine(shared.acquire(folder, options, chosen.open_environment))  # type: ignore[no-any-return]


def verify_file(path: Path) -> None:
    """Check every page of a data file without mapping it; raises CorruptError with what was found first."""
    from lmdb.verify import VerifyError
    from lmdb.verify import verify as find_problems

    try:
        problems = find_problems(str(path), subdir=False)  # type: ignore[no-untyped-call]
    except VerifyError as error:
        raise CorruptError(f"{path}: {error}", hint="restore a backup") from error
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CorruptError(f"{path}: {problems[0]}{more}", hint="restore a backup")


def translate(error: BaseException, doing: str) -> DocdbError:
    """Return docdb's error for one of py-lmdb's."""
    if isinstance(error, lmdb.ReadonlyError) and not getattr(error, "code", 0):
        return InvalidOperation(f"{doing}: the database was opened read-only")
    code = getattr(error, "code", 0)
    if "closed/deleted/dropped" in str(error):
        return InvalidOperation(f"{doing}: the storage was closed or reopened meanwhile")
    return failure(code, doing) if code else StorageError(f"{doing}: {error}")


def map_bytes() -> int:
    """Return the size of the map: far more than any file, where addresses allow it."""
    return MAP_BYTES if sys.maxsize > 1 << 32 else MAP_BYTES_32


def _build(folder: Path) -> None:
    """Make an empty storage with its four spaces."""
    try:
        environment = lmdb.open(str(folder), map_size=map_bytes(), max_dbs=len(SPACES), lib_version=0)
        try:
            for name in SPACES:
                environment.open_db(name)
            environment.sync(True)
        finally:
            environment.close()
    except lmdb.Error as error:
        raise translate(error, f"creating {folder}") from error


def _native_engine(wanted: bool | None) -> Any | None:
    """Return the module of the compiled engine, or None; says why in the log where it was not asked to stay away."""
    if wanted is False or (wanted is None and os.environ.get("DOCDB_PURE") == "1"):
        return None
    try:
        from docdb.engine import lmdb_native
    except ImportError as error:
        reason: str | None = f"it was not built ({error})"
    else:
        reason = lmdb_native.refusal(lmdb, TESTED_PACKAGES, TESTED_TABLES)
        if reason is None:
            return lmdb_native
    if wanted:
        raise UsageError(f"the compiled engine cannot be used: {reason}")
    _log().warning("using LMDB through py-lmdb's public interface, which is slower: %s", reason)
    return None


def _log() -> Any:
    import logging  # seldom needed, and slow to load

    return logging.getLogger("docdb.engine")


class PublicTransaction(EngineTransaction):
    """A transaction through py-lmdb; values are copied, nothing mapped leaves it."""

    def __init__(self, environment: PublicEnvironment, ended: Callable[[bool], None] | None) -> None:
        self.write = ended is not None
        self._environment = environment
        self._ended = ended
        self._spaces = environment.spaces
        try:  # begun in here, so that an interruption leaves none open in the frames of its traceback
            self._transaction: Any = environment.begun(self.write)
            self.id = self._transaction.id() - self.write
        except BaseException:
            self.abort()
            raise

    def __del__(self) -> None:
        self.abort()

    def get(self, space: int, key: bytes, decode: Callable[[bytes], Any] | None = None) -> Any | None:
        transaction = self._require()
        check_key(key)
        try:
            value = transaction.get(key, db=self._spaces[space])
        except lmdb.Error as error:
            raise translate(error, "reading") from error
        return value if value is None or decode is None else decode(value)

    def get_many(
        self, space: int, keys: Sequence[bytes], *, program: Any = None, decode: Callable[[bytes], Any] | None = None
    ) -> list[Any | None]:
        get, handle = self._require().get, self._spaces[space]
        for key in keys:
            check_key(key)
        try:
            found = [get(key, db=handle) for key in keys]
        except lmdb.Error as error:
            raise translate(error, "reading") from error
        if program is not None:
            found = [value if value is not None and program.match(value) else None for value in found]
        return found if decode is None else [None if value is None else decode(value) for value in found]

    def scan(
        self,
        space: int,
        low: bytes,
        high: bytes,
        *,
        reverse: bool = False,
        batch: int = 256,
        keys: bool = True,
        values: bool = True,
        program: Any = None,
        decode: Callable[[bytes], Any] | None = None,
    ) -> Iterator[list[Any]]:
        check_shape(keys, values)
        self._require()
        return self._scan(space, low, high, reverse, batch, lambda pairs: deliver(pairs, keys, values, program, decode))

    def _scan(
        self, space: int, low: bytes, high: bytes, reverse: bool, batch: int, shape: Callable[[Any], list[Any]]
    ) -> Iterator[list[Any]]:
        """Seek anew for each batch where writes may have come between, go on from the cursor in a snapshot."""
        pairs: list[tuple[bytes, bytes]] = []
        walk = self._walk(space, low, high, None, reverse)
        for size in sizes(batch):
            if pairs and self.write:
                walk = self._walk(space, low, high, pairs[-1][0], reverse)
            self._require()
            try:
                pairs = list(islice(walk, size))
            except lmdb.Error as error:
                raise translate(error, "reading") from error
            if pairs:
                yield shape(pairs)
            if len(pairs) < size:
                return

    def _walk(
        self, space: int, low: bytes, high: bytes, last: bytes | None, reverse: bool
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs behind ``last`` in order."""
        if low >= high:
            return
        cursor = self._require().cursor(self._spaces[space])
        bound = last if last is not None else high if reverse else low
        if not _seek(cursor, bound) and not (reverse and cursor.last()):
            return
        passed, fresh = (
            0,
            last is None,
        )  # a key or two are passed over: the bound itself, and what is left of one that was cut
        for pair in cursor.iterprev() if reverse else cursor.iternext():
            key = pair[0]
            if key < low if reverse else key >= high:
                return
            if key < bound if reverse else key > bound or (fresh and key == bound):
                bound, passed, fresh = key, 2, False
                yield pair
            elif passed == 2:
                raise failure(MET_BEFORE, "reading")
            else:
                passed += 1

    def count(self, space: int, low: bytes, high: bytes, limit: int | None = None) -> int:
        transaction = self._require()
        if low >= high:
            return 0
        total, last = 0, b""
        try:
            cursor = transaction.cursor(self._spaces[space])
            if _seek(cursor, low):
                for key in cursor.iternext(values=False):
                    if key >= high or (limit is not None and total >= limit):
                        break
                    if key <= last:
                        raise failure(MET_BEFORE, "counting")
                    last = key
                    total += key >= low
        except lmdb.Error as error:
            raise translate(error, "counting") from error
        return total

    def put_many(self, space: int, items: Iterable[tuple[bytes, bytes]], *, append: bool = False) -> None:
        put, handle = self._require_write().put, self._spaces[space]
        try:
            for key, value in items:
                check_item(key, value)
                if append and put(key, value, append=True, db=handle):
                    continue
                put(key, value, db=handle)
        except lmdb.Error as error:
            raise translate(error, "writing") from error

    def delete_many(self, space: int, keys: Iterable[bytes]) -> int:
        delete, handle = self._require_write().delete, self._spaces[space]
        deleted = 0
        try:
            for key in keys:
                check_key(key)
                deleted += delete(key, db=handle)
        except lmdb.Error as error:
            raise translate(error, "deleting") from error
        return deleted

    def commit(self, herald: Herald | None = None) -> None:
        transaction = self._require()
        failed = False
        try:
            transaction.commit()
            if herald is not None:
                herald.tell(True)
        except lmdb.Error as error:
            failed = True
            raise translate(error, "committing") from error
        finally:
            self._end(failed)

    def abort(self) -> None:
        transaction = getattr(self, "_transaction", None)
        if transaction is None:
            return
        try:
            if self._environment.live:
                transaction.abort()
        except lmdb.Error:
            _log().debug("aborting a transaction that had ended", exc_info=True)
        finally:
            self._end(False)

    def _end(self, failed: bool) -> None:
        self._transaction = None
        self._environment.running.pop()
        if self._ended is not None and not self._environment.abandoned:
            self._ended(failed)

    def _require(self) -> Any:
        if self._transaction is None:
            raise InvalidOperation("the transaction is over")
        if not self._environment.live:
            raise InvalidOperation(
                "the transaction is over: its storage was closed, reopened, or belongs to another process"
            )
        return self._transaction

    def _require_write(self) -> Any:
        if not self.write:
            raise InvalidOperation("a snapshot cannot be written to")
        return self._require()


class PublicEnvironment:
    """An environment opened through py-lmdb.

    py-lmdb opens handles in a write transaction, so opening waits for the writer of another process. It pools no read transactions here
    (``max_spare_txns=0``): after a fork the spare one would be freed in the child, and with it the parent's reader slot.
    """

    def __init__(self, folder: Path, options: shared.Options, lock: bool) -> None:
        files.check_size(folder / files.DATA, verify_file)
        self.live = False
        self.abandoned = False
        # One item for each transaction, from before it begins until after it has ended; append and pop are atomic.
        self.running: list[None] = []
        try:
            self._environment = lmdb.open(
                str(folder),
                map_size=map_bytes(),
                subdir=True,
                readonly=options.read_only,
                metasync=options.durability == "full",
                create=False,
                max_readers=options.max_readers,
                max_dbs=len(SPACES),
                max_spare_txns=0,
                lock=lock,
                lib_version=0,
            )
            self.spaces = [self._environment.open_db(name, create=not options.read_only) for name in SPACES]
            self._environment.reader_check()
        except lmdb.Error as error:
            raise translate(error, f"opening {folder}") from error
        self.live = True

    def begin_read(self) -> PublicTransaction:
        return PublicTransaction(self, None)

    def begin_write(self, ended: Callable[[bool], None]) -> PublicTransaction:
        return PublicTransaction(self, ended)

    def begun(self, write: bool) -> Any:
        """Begin one of py-lmdb's; a fork meanwhile finds it noted, for its close in the child would wait for ever for a thread that is not there."""
        try:
            self.running.append(None)
            return self._environment.begin(write=write)
        except BaseException as error:
            self.running.pop()
            if isinstance(error, lmdb.Error):
                raise translate(error, "beginning to write" if write else "beginning a snapshot") from error
            raise

    def shut(self) -> None:
        """Close; py-lmdb ends the transactions and waits for what runs in other threads."""
        self.live = False
        if not self.abandoned:
            self._environment.close()

    def abandon(self) -> str | None:
        """Let go after a fork; returns why the child cannot open anew, or None.

        py-lmdb remembers what is open per process and forgets only by closing. Closing is harmless here as long as no transaction was open:
        it touches nothing the parent shares (no reader slot has the child's id, and fcntl locks are not inherited).
        """
        self.live = False
        self.abandoned = True
        _abandoned.append(self._environment)
        if self.running:
            return "the process forked while a transaction was open: the child cannot use the database"
        # A thread of the parent may have been inside py-lmdb all the same; close would wait for it for ever.
        closing = threading.Thread(target=self._environment.close, daemon=True)
        closing.start()
        closing.join(CLOSE_IN_CHILD_S)
        if closing.is_alive():
            return "the process forked while another thread was inside the storage: the child cannot use the database"
        return None

    def last_id(self) -> int:
        return int(self._info()["last_txnid"])

    def copy_data(self, folder: str, compact: bool) -> None:
        try:
            self._environment.copy(folder, compact=compact)
        except lmdb.Error as error:
            raise translate(error, "copying") from error

    def used_bytes(self) -> int:
        info, stat = self._environment.info(), self._environment.stat()
        return int((info["last_pgno"] + 1) * stat["psize"])

    def usage(self) -> dict[str, int]:
        info = self._info()
        self.running.append(None)
        try:
            with self._environment.begin() as transaction:
                trees = [self._environment.stat(), *(transaction.stat(space) for space in self.spaces)]
        except lmdb.Error as error:
            raise translate(error, "reading the sizes") from error
        finally:
            self.running.pop()
        used = sum(tree["branch_pages"] + tree["leaf_pages"] + tree["overflow_pages"] for tree in trees)
        return {
            "map_bytes": info["map_size"],
            "page_size": trees[0]["psize"],
            "last_page": info["last_pgno"],
            "last_id": info["last_txnid"],
            "used_pages": used + 2,
        }

    def readers(self) -> str:
        return self._environment.readers()

    def reader_check(self) -> int:
        try:
            return self._environment.reader_check()
        except lmdb.Error as error:
            raise translate(error, "checking the readers") from error

    def _info(self) -> Any:
        try:
            return self._environment.info()
        except lmdb.Error as error:
            raise translate(error, "reading the state") from error


class PublicEngine(shared.SharedEngine):
    """The LMDB engine on py-lmdb's public interface."""

    name = "lmdb"


_abandoned: list[Any] = []


def _seek(cursor: Any, key: bytes) -> bool:
    """Put the cursor on the first key at or behind the bytes, which may be longer than any key; False when there is none."""
    return bool(cursor.set_range(key[:LARGEST_KEY]) if key else cursor.first())
