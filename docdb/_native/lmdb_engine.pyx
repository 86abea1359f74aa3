# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The fast LMDB engine: whole loops on mapped pages through the function table py-lmdb exports.

What lives here: ``Environment`` (an open environment and its pool of read transactions), ``Transaction`` (the engine contract), the scans, and
``EngineCore``, the point read behind ``get``. What it must not know: folders, registry, presence, what any byte means; those are in
``docdb/engine``, which hands in ``failure(code, doing)``, the table of errors.

The pure form is ``PublicEnvironment`` in ``docdb/engine/lmdb.py``; one suite tests both.

Laws:
- A pointer into the map is used only while its transaction is *entered* (``busy``): nothing ends an entered transaction, neither a finalizer that
  runs in the middle nor another thread; whoever tries leaves a note (``doomed``) and the entered call does it when it leaves.
- After ``live`` is False no transaction of the environment is touched, by anybody but ``shut``; ``shut`` waits until nobody is inside.
- After a fork the child touches nothing at all: its reader slots are the parent's.
- A loop walks at most ``STEPS`` keys without coming back, and without the GIL.
- Sizes are checked here: a key has 1 to 511 bytes. LMDB is not asked about what it would refuse.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy
from posix.unistd cimport _SC_PAGESIZE, sysconf

from docdb._native.bell cimport Herald
from docdb._native.codec cimport Decoder, EntryDecoder, decode_document
from docdb._native.lmdb_api cimport *
from docdb._native.packed cimport load64
from docdb._native.program cimport Program, program_match
from docdb._native.runs cimport Pair, Run

import os
import time
from itertools import islice

from docdb._native.codec import decode as plain_decode
from docdb.errors import BusyError, CorruptError, InvalidOperation, StorageError, UsageError

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident() nogil

cdef enum:      # beside LMDB's codes; engine/failures.py says what they are
    UNSOUND = -31000        # a program finds a value to be no document
    MET_BEFORE = -31001     # a walk comes to keys it has passed

cdef enum Shape:
    PAIRS
    KEYS
    VALUES
    IDS

ctypedef int (*matching)(void *, const unsigned char *, size_t) noexcept nogil

cdef const docdb_table *api = NULL
cdef Decoder any_document = Decoder()       # stands for codec.decode
cdef matching program_matches = <matching>program_match
cdef size_t page_of_system = <size_t>sysconf(_SC_PAGESIZE)

if docdb_watch_forks():
    raise ImportError("pthread_atfork failed")


def resolve(path):
    """Find the table in the loaded library at ``path``; return (major, minor, patch, data version), or None."""
    global api
    cdef bytes name = os.fsencode(path)
    cdef const docdb_table *found = docdb_resolve(name)
    if found == NULL:
        return None
    api = found
    return api.major, api.minor, api.patch, api.data_version


include "lmdb_walk.pxi"


include "lmdb_environment.pxi"


include "lmdb_pages.pxi"


def holds_any(transaction, space, items, whole):
    """The form of ``holds_any`` for pairs that are no run."""
    for key, value in items:
        size = len(key) if whole else len(key) - value[0]
        high = key + b"\0" if whole else key[:size] + b"\xff" * (LONGEST_KEY + 1)
        if transaction.count(space, key[:size], high, 1):
            return True
    return False


# ---- transactions


@cython.freelist(32)
@cython.no_gc_clear
cdef class Transaction:
    """A snapshot or the one writer; see ``docdb/engine/base.py`` for what the methods promise."""

    cdef Environment environment
    cdef MDB_txn *txn
    cdef MDB_cursor *cursors[SPACE_COUNT]
    cdef readonly size_t id
    cdef readonly bint write
    cdef bint busy
    cdef bint doomed            # ended while busy: the entered call ends it for good
    cdef size_t changes         # rises with every put and delete, so that a scan knows to seek anew
    cdef unsigned long thread
    cdef object ended

    def __dealloc__(self):
        if self.txn == NULL or self.environment is None or not self.environment.usable():
            return
        if not self.write:
            self.close_cursors()
            self.environment.give(self.txn)
        elif self.thread == PyThread_get_thread_ident():
            api.txn_abort(self.txn)
            self.ended(False)
        # else: only its own thread can release LMDB's writer lock; the lock is freed when that thread ends

    cdef int enter(self) except -1:
        if self.txn == NULL:
            raise InvalidOperation("the transaction is over")
        self.environment.require()
        if self.busy:
            raise InvalidOperation("the transaction is in use, by another thread or by the caller of this call")
        if self.write and self.thread != PyThread_get_thread_ident():
            raise InvalidOperation("a write transaction stays on the thread that began it")
        self.busy = True
        self.environment.inside += 1
        return 0

    cdef int enter_write(self) except -1:
        if not self.write:
            raise InvalidOperation("a snapshot cannot be written to")
        return self.enter()

    cdef void leave(self) noexcept:
        self.busy = False
        self.environment.inside -= 1
        if self.doomed:
            self.doomed = False
            self.abort()

    cdef void close_cursors(self) noexcept:
        cdef int space
        for space in range(SPACE_COUNT):
            if self.cursors[space] != NULL:
                api.cursor_close(self.cursors[space])
                self.cursors[space] = NULL

    cdef MDB_cursor *cursor(self, int space) except NULL:
        """Return this transaction's own cursor on a space."""
        cdef int code
        if self.cursors[space] == NULL:
            code = api.cursor_open(self.txn, self.environment.dbis[space], &self.cursors[space])
            if code:
                self.cursors[space] = NULL
                raise self.environment.failure(code, "opening a cursor")
        return self.cursors[space]

    def get(self, int space, key, decode=None):
        cdef MDB_val wanted, found
        cdef Decoder decoder
        cdef int code
        check_space(space)
        key_of(key, &wanted)
        self.enter()
        try:
            code = api.get(self.txn, self.environment.dbis[space], &wanted, &found)
            if code == DOCDB_NOTFOUND:
                return None
            if code:
                raise self.environment.failure(code, "reading")
            decoder = native_decoder(decode, False)
            if decoder is not None:
                return decoded(decoder, &found)
            value = bytes_of(&found)
        finally:
            self.leave()
        return value if decode is None else decode(value)

    def get_many(self, int space, keys, *, program=None, decode=None):
        cdef list wanted = list(keys)
        cdef list result = []
        cdef MDB_cursor *cursor
        cdef MDB_val ks[CHUNK]
        cdef MDB_val vs[CHUNK]
        cdef Py_ssize_t at = 0, count, n
        cdef int code = 0
        cdef void *native = native_program(program)
        cdef Decoder decoder = native_decoder(decode, program is not None and native == NULL)
        check_space(space)
        while at < PyList_GET_SIZE(wanted):
            count = min(PyList_GET_SIZE(wanted) - at, CHUNK)
            for n in range(count):
                key_of(<object>PyList_GET_ITEM(wanted, at + n), &ks[n])
            self.enter()
            try:
                cursor = self.cursor(space)
                if count < FEW:
                    code = look_up(cursor, ks, vs, count, native)
                else:
                    with nogil:
                        code = look_up(cursor, ks, vs, count, native)
                if code:
                    raise self.environment.failure(code, "reading")
                for n in range(count):
                    if vs[n].mv_data == NULL:
                        result.append(None)
                    else:
                        result.append(bytes_of(&vs[n]) if decoder is None else decoded(decoder, &vs[n]))
            finally:
                self.leave()
            at += count
        if program is not None and native == NULL:
            match = program.match
            result = [value if value is not None and match(value) else None for value in result]
        if decode is None or decoder is not None:
            return result
        return [None if value is None else decode(value) for value in result]

    def scan(self, int space, bytes low, bytes high, *, bint reverse=False, Py_ssize_t batch=256, bint keys=True,
             bint values=True, program=None, decode=None):
        if not (keys or values):
            raise UsageError("a scan yields keys, values or both")
        return new_scan(self, space, low, high, reverse, batch, PAIRS if keys and values else KEYS if keys else VALUES,
                        program, decode)

    def entry_ids(self, bytes low, bytes high, *, bint reverse=False, Py_ssize_t batch=256):
        return new_scan(self, ENTRIES, low, high, reverse, batch, IDS, None, None)

    def count(self, int space, bytes low, bytes high, limit=None):
        cdef Py_ssize_t most = -1 if limit is None else limit
        cdef Py_ssize_t total = 0, walked
        cdef Walk walk
        cdef Tree tree
        cdef bint tried = self.write or 0 <= most <= CHUNK
        cdef int code = 0
        check_space(space)
        begin_walk(&walk, low, high, False)
        tree.refused = True
        while not walk.over and (most < 0 or total < most):
            self.enter()
            try:
                if not tried:
                    tried = True
                    open_tree(&tree, self.environment, self.txn, space)
                walk.cursor = self.cursor(space)
                walked = STEPS if most < 0 else min(STEPS, most - total)
                with nogil:
                    code = count_on(&walk, &walked) if tree.refused else tally(&walk, &tree, &walked)
                if code:
                    raise self.environment.failure(code, "counting")
            finally:
                self.leave()
            total += walked
        return total

    def put_many(self, int space, items, *, bint append=False):
        cdef MDB_val ks[CHUNK]
        cdef MDB_val vs[CHUNK]
        cdef list chunk
        cdef Py_ssize_t count, n
        cdef MDB_cursor *cursor
        cdef int code
        cdef object source
        if isinstance(items, Run):
            self.put_run(space, <Run>items)
            return
        source = None if isinstance(items, list) and len(items) <= CHUNK else iter(items)
        check_space(space)
        self.require_writable()
        while True:
            chunk = list(items) if source is None else list(islice(source, CHUNK))
            count = PyList_GET_SIZE(chunk)
            if count == 0:
                return
            for n in range(count):
                item_of(<object>PyList_GET_ITEM(chunk, n), &ks[n], &vs[n])
            self.enter_write()
            try:
                self.changes += 1
                cursor = self.cursor(space)
                if count < FEW:
                    code = put_all(cursor, ks, vs, count, append)
                else:
                    with nogil:
                        code = put_all(cursor, ks, vs, count, append)
                if code:
                    raise self.environment.failure(code, "writing")
            finally:
                self.leave()
            if count < CHUNK or source is None:
                return

    cdef int put_run(self, int space, Run run) except -1:
        cdef Py_ssize_t at = 0, count, n
        cdef MDB_cursor *cursor
        cdef bint append = True
        cdef int code
        check_space(space)
        self.require_writable()
        while at < run.rows.size:
            count = min(run.rows.size - at, RUN_CHUNK)
            for n in range(at, at + count):
                check_sizes(&run.rows.pairs[n])
            self.enter_write()
            try:
                self.changes += 1
                cursor = self.cursor(space)
                if count < FEW:
                    code = put_pairs(cursor, run.rows.pairs + at, count, &append)
                else:
                    with nogil:
                        code = put_pairs(cursor, run.rows.pairs + at, count, &append)
                if code:
                    raise self.environment.failure(code, "writing")
            finally:
                self.leave()
            at += count
        return 0

    def holds_any(self, int space, items, *, bint whole=True):
        cdef Run run
        cdef Py_ssize_t at = 0, count, n
        cdef MDB_cursor *cursor
        cdef bint met = False
        cdef int code
        check_space(space)
        if not isinstance(items, Run):
            return holds_any(self, space, items, whole)
        run = <Run>items
        while at < run.rows.size and not met:
            count = min(run.rows.size - at, RUN_CHUNK)
            for n in range(at, at + count):
                check_sizes(&run.rows.pairs[n])
                if not whole:
                    check_owner(&run.rows.pairs[n])
            self.enter()
            try:
                cursor = self.cursor(space)
                if count < FEW:
                    code = meet(cursor, run.rows.pairs + at, count, whole, &met)
                else:
                    with nogil:
                        code = meet(cursor, run.rows.pairs + at, count, whole, &met)
                if code:
                    raise self.environment.failure(code, "reading")
            finally:
                self.leave()
            at += count
        return met

    def delete_many(self, int space, keys):
        cdef MDB_val ks[CHUNK]
        cdef list wanted = list(keys)
        cdef Py_ssize_t at = 0, count, n, deleted = 0
        cdef MDB_cursor *cursor
        cdef int code
        check_space(space)
        self.require_writable()
        while at < PyList_GET_SIZE(wanted):
            count = min(PyList_GET_SIZE(wanted) - at, CHUNK)
            for n in range(count):
                key_of(<object>PyList_GET_ITEM(wanted, at + n), &ks[n])
            self.enter_write()
            try:
                self.changes += 1
                cursor = self.cursor(space)
                if count < FEW:
                    code = delete_all(cursor, ks, count, &deleted)
                else:
                    with nogil:
                        code = delete_all(cursor, ks, count, &deleted)
                if code:
                    raise self.environment.failure(code, "deleting")
            finally:
                self.leave()
            at += count
        return deleted

    cdef int require_writable(self) except -1:
        self.enter_write()
        self.leave()
        return 0

    def commit(self, herald=None):
        cdef Herald fast = herald if type(herald) is Herald else None
        cdef int code = 0
        cdef MDB_txn *txn
        self.enter()
        txn = self.txn
        if not self.write:
            self.leave()
            self.abort()
            return
        self.close_cursors()
        self.txn = NULL
        try:
            with nogil:
                code = api.txn_commit(txn)
                if fast is not None and not code:
                    fast.settle(True)
            if code:
                self.environment.is_live = False
                raise self.environment.failure(code, "committing")
            if fast is None and herald is not None:
                herald.tell(True)
        finally:
            self.leave()
            self.over(code != 0)

    cpdef abort(self):
        cdef MDB_txn *txn = self.txn
        if txn == NULL:
            return
        if self.busy:
            self.doomed = True
            return
        if not self.write:
            self.close_cursors()
        if self.environment.usable():
            if not self.write:
                self.environment.give(txn)
            elif self.thread == PyThread_get_thread_ident():
                self.close_cursors()
                api.txn_abort(txn)
            else:
                raise InvalidOperation("a write transaction stays on the thread that began it")
        self.txn = NULL
        if self.write:
            self.over(False)

    cdef int over(self, bint failed) except -1:
        """Give the writer's turn back, unless it stayed with the parent of a fork."""
        ended, self.ended = self.ended, None
        if ended is not None and self.environment.forks == docdb_forks:
            ended(failed)
        return 0


include "lmdb_scan.pxi"


# ---- the engine object's fast part


cdef class EngineCore:
    """The part of an engine object that runs without Python: begin, last_id, and the whole of a point read.

    ``environment`` is what the engine object found open last; when it is no longer live, ``_revive()`` finds the present one.
    """

    cdef public Environment environment

    cdef Environment present(self):
        if self.environment is None or not self.environment.usable():
            self.environment = self._revive()
        return self.environment

    def begin(self, bint write=False):
        if write:
            return self._begin_write()
        return new_reader(self.present())

    def last_id(self):
        return self.present().last_id()

    def get_latest(self, int space, key, decode=None):
        """Return (id of the newest commit, value or None) in a snapshot of its own."""
        cdef Environment environment = self.present()
        cdef MDB_val wanted, found
        cdef MDB_txn *txn
        cdef Decoder decoder
        cdef size_t number
        cdef int code
        cdef object value = None
        check_space(space)
        key_of(key, &wanted)
        txn = environment.take()
        environment.inside += 1
        number = api.txn_id(txn)
        try:
            code = api.get(txn, environment.dbis[space], &wanted, &found)
            if code == 0:
                decoder = native_decoder(decode, False)
                if decoder is not None:
                    return number, decoded(decoder, &found)
                value = bytes_of(&found)
            elif code != DOCDB_NOTFOUND:
                raise environment.failure(code, "reading")
        finally:
            environment.inside -= 1
            environment.give(txn)
        return number, value if value is None or decode is None else decode(value)


include "lmdb_join.pxi"


include "lmdb_points.pxi"


include "lmdb_fields.pxi"


include "lmdb_changes.pxi"
