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
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy

from docdb._native.codec cimport Decoder
from docdb._native.program cimport Program, program_match

import os
import time
from itertools import islice

from docdb.errors import BusyError, CorruptError, InvalidOperation, UsageError

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident() nogil

cdef extern from "lmdb_table.h" nogil:
    ctypedef struct MDB_env
    ctypedef struct MDB_txn
    ctypedef struct MDB_cursor
    ctypedef unsigned int MDB_dbi
    ctypedef struct MDB_val:
        size_t mv_size
        void *mv_data
    ctypedef struct MDB_stat:
        unsigned int ms_psize
        size_t ms_branch_pages
        size_t ms_leaf_pages
        size_t ms_overflow_pages
        size_t ms_entries
    ctypedef struct MDB_envinfo:
        size_t me_mapsize
        size_t me_last_pgno
        size_t me_last_txnid
    ctypedef int (*MDB_msg_func)(const char *, void *) noexcept
    ctypedef struct docdb_table:
        int major, minor, patch
        unsigned int data_version
        int (*env_create)(MDB_env **) noexcept nogil
        int (*env_open)(MDB_env *, const char *, unsigned int, unsigned int) noexcept nogil
        void (*env_close)(MDB_env *) noexcept nogil
        int (*env_copy2)(MDB_env *, const char *, unsigned int) noexcept nogil
        int (*env_info)(MDB_env *, MDB_envinfo *) noexcept nogil
        int (*env_stat)(MDB_env *, MDB_stat *) noexcept nogil
        int (*env_set_mapsize)(MDB_env *, size_t) noexcept nogil
        int (*env_set_maxdbs)(MDB_env *, MDB_dbi) noexcept nogil
        int (*env_set_maxreaders)(MDB_env *, unsigned int) noexcept nogil
        int (*reader_check)(MDB_env *, int *) noexcept nogil
        int (*reader_list)(MDB_env *, MDB_msg_func, void *) noexcept nogil
        int (*txn_begin)(MDB_env *, MDB_txn *, unsigned int, MDB_txn **) noexcept nogil
        int (*txn_commit)(MDB_txn *) noexcept nogil
        void (*txn_abort)(MDB_txn *) noexcept nogil
        void (*txn_reset)(MDB_txn *) noexcept nogil
        int (*txn_renew)(MDB_txn *) noexcept nogil
        size_t (*txn_id)(MDB_txn *) noexcept nogil
        int (*dbi_open)(MDB_txn *, const char *, unsigned int, MDB_dbi *) noexcept nogil
        int (*get)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *) noexcept nogil
        int (*stat)(MDB_txn *, MDB_dbi, MDB_stat *) noexcept nogil
        int (*cursor_open)(MDB_txn *, MDB_dbi, MDB_cursor **) noexcept nogil
        void (*cursor_close)(MDB_cursor *) noexcept nogil
        int (*cursor_get)(MDB_cursor *, MDB_val *, MDB_val *, int) noexcept nogil
        int (*cursor_put)(MDB_cursor *, MDB_val *, MDB_val *, unsigned int) noexcept nogil
        int (*cursor_del)(MDB_cursor *, unsigned int) noexcept nogil
    const docdb_table *docdb_resolve(const char *)
    int docdb_watch_forks()
    unsigned int docdb_forks
    enum:
        DOCDB_NOTLS, DOCDB_RDONLY, DOCDB_NOMETASYNC, DOCDB_NOLOCK, DOCDB_APPEND, DOCDB_CREATE, DOCDB_COMPACT
        DOCDB_FIRST, DOCDB_LAST, DOCDB_NEXT, DOCDB_PREV, DOCDB_SET, DOCDB_SET_RANGE, DOCDB_KEYEXIST, DOCDB_NOTFOUND

cdef enum:
    SPACE_COUNT = 4
    LONGEST_KEY = 511
    LARGEST_VALUE = 0x7FFFFFFF
    STEPS = 16384           # keys a loop walks before it comes back
    CHUNK = 1024            # keys handled with one release of the GIL
    FEW = 24                # fewer than this many keys are not worth releasing the GIL for
    POOLED = 64             # idle read transactions kept
    FIRST_BATCH = 16
    GROWTH = 4
    ENTRIES = 1

cdef enum Shape:
    PAIRS
    KEYS
    VALUES
    IDS

ctypedef int (*matching)(void *, const unsigned char *, size_t) noexcept nogil

cdef const docdb_table *api = NULL
cdef matching program_matches = <matching>program_match

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


# ---- the environment


cdef class Environment:
    """An open environment. ``live`` turns False when it is shut, has failed, or belongs to the parent of a fork."""

    cdef MDB_env *env
    cdef MDB_dbi dbis[SPACE_COUNT]
    cdef MDB_txn **readers_     # every read transaction there is, those in use and those that wait
    cdef Py_ssize_t reader_count
    cdef Py_ssize_t reader_room
    cdef MDB_txn *idle[POOLED]
    cdef int idle_count
    cdef int inside             # calls that are running now
    cdef unsigned int forks
    cdef bint is_live
    cdef object failure
    cdef readonly bint read_only

    def __cinit__(self, str folder, names, *, bint read_only, bint metasync, bint lock, unsigned int max_readers,
                  size_t map_bytes, failure):
        cdef bytes path = os.fsencode(folder)
        cdef const char *where = path
        cdef unsigned int flags = DOCDB_NOTLS
        cdef int code
        self.failure = failure
        self.read_only = read_only
        self.forks = docdb_forks
        if api == NULL:
            raise InvalidOperation("LMDB's function table has not been resolved")
        flags |= (DOCDB_RDONLY if read_only else 0) | (0 if metasync else DOCDB_NOMETASYNC) | (0 if lock else DOCDB_NOLOCK)
        code = api.env_create(&self.env)
        if code == 0:
            code = api.env_set_mapsize(self.env, map_bytes)
        if code == 0:
            code = api.env_set_maxreaders(self.env, max_readers)
        if code == 0:
            code = api.env_set_maxdbs(self.env, SPACE_COUNT)
        if code == 0:
            with nogil:
                code = api.env_open(self.env, where, flags, 0o644)
        if code == 0:
            code = self.open_spaces(list(names))
        if code:
            if self.env != NULL:
                api.env_close(self.env)
                self.env = NULL
            raise failure(code, f"opening {folder}")
        self.is_live = True

    def __dealloc__(self):
        """A dropped environment is closed by nobody: its lock file may be open again in this process."""
        free(self.readers_)

    cdef int open_spaces(self, list names):
        """Open the four handles, once; a write transaction, which may have to wait for another process, only where one is missing."""
        cdef int code = self.open_spaces_with(names, DOCDB_RDONLY, 0)
        if code == DOCDB_NOTFOUND and not self.read_only:
            code = self.open_spaces_with(names, 0, DOCDB_CREATE)
        return code

    cdef int open_spaces_with(self, list names, unsigned int begin_flags, unsigned int open_flags):
        cdef MDB_txn *txn
        cdef int code, space
        cdef bytes name
        with nogil:
            code = api.txn_begin(self.env, NULL, begin_flags, &txn)
        if code:
            return code
        for space in range(SPACE_COUNT):
            name = names[space]
            code = api.dbi_open(txn, name, open_flags, &self.dbis[space])
            if code:
                api.txn_abort(txn)
                return code
        return api.txn_commit(txn)

    @property
    def live(self):
        return self.is_live and self.forks == docdb_forks

    @live.setter
    def live(self, bint value):
        self.is_live = value and self.is_live

    cdef inline bint usable(self) noexcept:
        return self.is_live and self.forks == docdb_forks

    cdef int require(self) except -1:
        if self.usable():
            return 0
        if self.forks != docdb_forks:
            raise InvalidOperation("the storage belongs to the process this one was forked from")
        raise InvalidOperation("the storage was closed or reopened")

    cdef MDB_txn *take(self) except NULL:
        """Return a read transaction that sees now, from the pool where it has one."""
        cdef MDB_txn *txn
        cdef int code
        while self.idle_count:
            self.idle_count -= 1
            txn = self.idle[self.idle_count]
            code = api.txn_renew(txn)
            if code == 0:
                return txn
            self.forget(txn)
            raise self.failure(code, "beginning a snapshot")
        self.reserve()
        code = api.txn_begin(self.env, NULL, DOCDB_RDONLY, &txn)
        if code:
            raise self.failure(code, "beginning a snapshot")
        self.readers_[self.reader_count] = txn
        self.reader_count += 1
        return txn

    cdef int reserve(self) except -1:
        cdef Py_ssize_t room
        cdef void *grown
        if self.reader_count < self.reader_room:
            return 0
        room = self.reader_room * 2 + 16
        grown = realloc(self.readers_, room * sizeof(MDB_txn *))
        if grown == NULL:
            raise MemoryError()
        self.readers_ = <MDB_txn **>grown
        self.reader_room = room
        return 0

    cdef void give(self, MDB_txn *txn) noexcept:
        """Take a read transaction back."""
        if self.idle_count < POOLED:
            api.txn_reset(txn)
            self.idle[self.idle_count] = txn
            self.idle_count += 1
        else:
            self.forget(txn)

    cdef void forget(self, MDB_txn *txn) noexcept:
        cdef Py_ssize_t at
        for at in range(self.reader_count):
            if self.readers_[at] == txn:
                self.reader_count -= 1
                self.readers_[at] = self.readers_[self.reader_count]
                break
        api.txn_abort(txn)

    def begin_read(self):
        """Return a snapshot of now."""
        self.require()
        return new_reader(self)

    def begin_write(self, ended):
        """Return the write transaction; waits for other processes. ``ended(failed)`` is called when it is over."""
        cdef MDB_txn *txn
        cdef int code
        cdef Transaction transaction
        self.require()
        self.inside += 1
        with nogil:
            code = api.txn_begin(self.env, NULL, 0, &txn)
        self.inside -= 1
        if code:
            raise self.failure(code, "beginning to write")
        transaction = Transaction.__new__(Transaction)
        transaction.environment = self
        transaction.txn = txn
        transaction.id = api.txn_id(txn) - 1
        transaction.write = True
        transaction.ended = ended
        transaction.thread = PyThread_get_thread_ident()
        return transaction

    def shut(self):
        """End every snapshot and close; waits until no call is inside. Nobody may be writing."""
        cdef Py_ssize_t at
        self.is_live = False
        if self.forks != docdb_forks or self.env == NULL:
            return
        deadline = time.monotonic() + 30.0
        while self.inside:
            if time.monotonic() > deadline:
                raise BusyError("the storage cannot be closed: a call in another thread does not end")
            time.sleep(0.0005)
        for at in range(self.reader_count):
            api.txn_abort(self.readers_[at])
        self.reader_count = 0
        self.idle_count = 0
        api.env_close(self.env)
        self.env = NULL

    def abandon(self):
        """Let go of what a fork inherited, untouched; the child can open anew."""
        self.is_live = False
        return None

    def last_id(self):
        """Return the number of the newest commit."""
        cdef MDB_envinfo info
        self.require()
        api.env_info(self.env, &info)
        return info.me_last_txnid

    def copy_data(self, str folder, bint compact):
        """Write a copy of the data file into a folder that exists."""
        cdef bytes path = os.fsencode(folder)
        cdef const char *where = path
        cdef unsigned int flags = DOCDB_COMPACT if compact else 0
        cdef int code
        self.require()
        self.inside += 1
        with nogil:
            code = api.env_copy2(self.env, where, flags)
        self.inside -= 1
        if code:
            raise self.failure(code, "copying")

    def usage(self):
        """Return sizes and page counts."""
        cdef MDB_envinfo info
        cdef MDB_stat tree
        cdef MDB_txn *txn
        cdef size_t used = 2
        cdef int space, code
        self.require()
        txn = self.take()
        code = api.env_info(self.env, &info) or api.env_stat(self.env, &tree)
        used += tree.ms_branch_pages + tree.ms_leaf_pages + tree.ms_overflow_pages
        for space in range(SPACE_COUNT):
            if code == 0:
                code = api.stat(txn, self.dbis[space], &tree)
            used += tree.ms_branch_pages + tree.ms_leaf_pages + tree.ms_overflow_pages
        self.give(txn)
        if code:
            raise self.failure(code, "reading the sizes")
        return {"map_bytes": info.me_mapsize, "page_size": tree.ms_psize, "last_page": info.me_last_pgno,
                "last_id": info.me_last_txnid, "used_pages": used}

    def readers(self):
        """Return LMDB's list of readers: process, thread, snapshot a line."""
        lines = []
        self.require()
        api.reader_list(self.env, add_line, <void *>lines)
        return "".join(lines)

    def reader_check(self):
        """Free the slots of dead processes; return how many."""
        cdef int dead = 0, code
        self.require()
        code = api.reader_check(self.env, &dead)
        if code:
            raise self.failure(code, "checking the readers")
        return dead


cdef int add_line(const char *line, void *lines) noexcept with gil:
    try:
        (<list>lines).append(line.decode("ascii", "replace"))
    except MemoryError:
        return -1
    return 0


cdef Transaction new_reader(Environment environment):
    cdef Transaction transaction = Transaction.__new__(Transaction)
    transaction.txn = environment.take()
    transaction.environment = environment
    transaction.id = api.txn_id(transaction.txn)
    return transaction


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
            if isinstance(decode, Decoder):
                return decoded(<Decoder>decode, &found)
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
        cdef int code = 0
        check_space(space)
        begin_walk(&walk, low, high, False)
        while not walk.over and (most < 0 or total < most):
            self.enter()
            try:
                walk.cursor = self.cursor(space)
                walked = STEPS if most < 0 else min(STEPS, most - total)
                with nogil:
                    code = count_on(&walk, &walked)
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
        cdef object source = None if isinstance(items, list) and len(items) <= CHUNK else iter(items)
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

    def commit(self):
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
            if code:
                self.environment.is_live = False
                raise self.environment.failure(code, "committing")
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


# ---- scans


cdef struct Walk:
    MDB_cursor *cursor
    const char *low
    const char *high
    size_t low_size
    size_t high_size
    bint reverse
    bint over
    bint placed                 # the cursor stands on the last key taken
    bint started                # a last key is known
    size_t last_size
    char last[LONGEST_KEY + 1]


cdef void begin_walk(Walk *walk, bytes low, bytes high, bint reverse):
    walk.low = PyBytes_AS_STRING(low)
    walk.low_size = PyBytes_GET_SIZE(low)
    walk.high = PyBytes_AS_STRING(high)
    walk.high_size = PyBytes_GET_SIZE(high)
    walk.reverse = reverse
    walk.placed = walk.started = False
    walk.cursor = NULL
    walk.over = compare(walk.low, walk.low_size, walk.high, walk.high_size) >= 0


cdef inline int compare(const void *a, size_t a_size, const void *b, size_t b_size) noexcept nogil:
    cdef int order = memcmp(a, b, a_size if a_size < b_size else b_size)
    if order:
        return order
    return -1 if a_size < b_size else a_size > b_size


cdef int step(Walk *walk, MDB_val *key, MDB_val *value) noexcept nogil:
    """Move to the next key in bounds; 0, or DOCDB_NOTFOUND at the end, or another code."""
    cdef int code
    if walk.placed:
        code = api.cursor_get(walk.cursor, key, value, DOCDB_PREV if walk.reverse else DOCDB_NEXT)
    else:
        code = place(walk, key, value)
        walk.placed = True
    if code:
        return code
    if walk.reverse:
        return 0 if compare(key.mv_data, key.mv_size, walk.low, walk.low_size) >= 0 else DOCDB_NOTFOUND
    return 0 if compare(key.mv_data, key.mv_size, walk.high, walk.high_size) < 0 else DOCDB_NOTFOUND


cdef int place(Walk *walk, MDB_val *key, MDB_val *value) noexcept nogil:
    """Seek the first key, or the one behind the last key taken. A bound may be longer than any key, so it is cut for the seek."""
    cdef int code
    cdef const char *bound
    cdef size_t size
    if walk.started:
        bound, size = walk.last, walk.last_size
    elif walk.reverse:
        bound, size = walk.high, walk.high_size
    else:
        bound, size = walk.low, walk.low_size
    if size == 0:
        code = api.cursor_get(walk.cursor, key, value, DOCDB_FIRST)
    else:
        key.mv_data = <void *>bound
        key.mv_size = size if size < LONGEST_KEY else LONGEST_KEY
        code = api.cursor_get(walk.cursor, key, value, DOCDB_SET_RANGE)
    if walk.reverse:
        if code == DOCDB_NOTFOUND:
            code = api.cursor_get(walk.cursor, key, value, DOCDB_LAST)
        while code == 0 and compare(key.mv_data, key.mv_size, bound, size) >= 0:
            code = api.cursor_get(walk.cursor, key, value, DOCDB_PREV)
        return code
    while code == 0 and (compare(key.mv_data, key.mv_size, bound, size) < 0 or
                         (walk.started and compare(key.mv_data, key.mv_size, bound, size) == 0)):
        code = api.cursor_get(walk.cursor, key, value, DOCDB_NEXT)
    return code


cdef void remember(Walk *walk, MDB_val *key) noexcept nogil:
    memcpy(walk.last, key.mv_data, key.mv_size)
    walk.last_size = key.mv_size
    walk.started = True


cdef int collect(Walk *walk, MDB_val *ks, MDB_val *vs, Py_ssize_t size, void *program, Py_ssize_t *taken) noexcept nogil:
    """Fill the arrays with up to ``size`` pairs that the program does not refuse; walks at most STEPS keys."""
    cdef MDB_val key, value
    cdef Py_ssize_t steps = 0, count = 0
    cdef int code = 0
    key.mv_size = 0
    while count < size and steps < STEPS:
        code = step(walk, &key, &value)
        if code:
            break
        steps += 1
        if program == NULL or program_matches(program, <const unsigned char *>value.mv_data, value.mv_size):
            ks[count] = key
            vs[count] = value
            count += 1
    if steps and code == 0:
        remember(walk, &key)
    taken[0] = count
    if code == DOCDB_NOTFOUND:
        walk.over = True
        return 0
    return code


cdef int count_on(Walk *walk, Py_ssize_t *walked) noexcept nogil:
    """Walk up to ``walked`` keys and say how many there were."""
    cdef MDB_val key, value
    cdef Py_ssize_t count = 0
    cdef int code = 0
    walk.placed = False
    while count < walked[0]:
        code = step(walk, &key, &value)
        if code:
            break
        count += 1
    if count and code == 0:
        remember(walk, &key)
    walked[0] = count
    if code == DOCDB_NOTFOUND:
        walk.over = True
        return 0
    return code


@cython.final
@cython.no_gc_clear
cdef class Scan:
    """The iterator a scan returns. It owns its cursor, and holds nothing of the map between two batches."""

    cdef Transaction transaction
    cdef Walk walk
    cdef bytes low
    cdef bytes high
    cdef MDB_val *ks
    cdef MDB_val *vs
    cdef Py_ssize_t size
    cdef Py_ssize_t batch
    cdef size_t changes
    cdef Shape shape
    cdef int space
    cdef object program
    cdef void *native
    cdef object decode          # None where the batch is decoded on its pages
    cdef Decoder decoder

    def __dealloc__(self):
        free(self.ks)
        free(self.vs)
        self.drop_cursor()

    cdef void drop_cursor(self) noexcept:
        """Free the cursor. A snapshot's is plain memory of its own; a writer's was freed with its transaction, if that is over."""
        cdef Transaction transaction = self.transaction
        if self.walk.cursor == NULL or transaction is None:
            return
        if transaction.write and (transaction.txn == NULL or not transaction.environment.usable()):
            self.walk.cursor = NULL
            return
        api.cursor_close(self.walk.cursor)
        self.walk.cursor = NULL

    def __iter__(self):
        return self

    def __next__(self):
        cdef Py_ssize_t taken = 0
        cdef int code
        cdef list batch
        if self.walk.over:
            self.drop_cursor()
            raise StopIteration
        self.transaction.enter()
        try:
            self.ready()
            if self.native == NULL and self.size < FEW:
                code = collect(&self.walk, self.ks, self.vs, self.size, NULL, &taken)
            else:
                with nogil:
                    code = collect(&self.walk, self.ks, self.vs, self.size, self.native, &taken)
            if code:
                self.walk.over = True
                raise self.transaction.environment.failure(code, "reading")
            batch = self.shaped(taken)
        finally:
            self.transaction.leave()
        if self.walk.over:
            self.drop_cursor()
            if taken == 0:
                raise StopIteration
        self.size = min(self.size * GROWTH, self.batch)
        return batch if self.program is None and self.decode is None else self.finished(batch)

    cdef int ready(self) except -1:
        """Have a cursor that stands where the last batch ended, and room for the next."""
        cdef int code
        if self.walk.cursor == NULL:
            code = api.cursor_open(self.transaction.txn, self.transaction.environment.dbis[self.space], &self.walk.cursor)
            if code:
                self.walk.cursor = NULL
                raise self.transaction.environment.failure(code, "opening a cursor")
        if self.changes != self.transaction.changes:
            self.changes = self.transaction.changes
            self.walk.placed = False
        free(self.ks)
        free(self.vs)
        self.ks = <MDB_val *>malloc(self.size * sizeof(MDB_val))
        self.vs = <MDB_val *>malloc(self.size * sizeof(MDB_val))
        if self.ks == NULL or self.vs == NULL:
            raise MemoryError()
        return 0

    cdef list shaped(self, Py_ssize_t taken):
        """Make the objects of a batch while its pages are held."""
        cdef Py_ssize_t n
        cdef list batch = []
        cdef bint pairs = self.shape == PAIRS or (self.program is not None and self.native == NULL)
        for n in range(taken):
            if pairs:
                batch.append((bytes_of(&self.ks[n]), self.value_of(n)))
            elif self.shape == KEYS:
                batch.append(bytes_of(&self.ks[n]))
            elif self.shape == VALUES:
                batch.append(self.value_of(n))
            else:
                batch.append(id_of(&self.ks[n], &self.vs[n]))
        return batch

    cdef inline object value_of(self, Py_ssize_t n):
        return bytes_of(&self.vs[n]) if self.decoder is None else decoded(self.decoder, &self.vs[n])

    cdef list finished(self, list batch):
        """Apply what is written in Python: it runs outside the transaction, which it may use."""
        decode = self.decode
        if self.program is not None and self.native == NULL:
            match = self.program.match
            batch = [pair for pair in batch if match(pair[1])]
            if self.shape == KEYS:
                return [pair[0] for pair in batch]
            if self.shape == VALUES:
                batch = [pair[1] for pair in batch]
        if decode is None or self.shape == KEYS:
            return batch
        if self.shape == PAIRS:
            return [(pair[0], decode(pair[1])) for pair in batch]
        return [decode(value) for value in batch]


cdef Scan new_scan(Transaction transaction, int space, bytes low, bytes high, bint reverse, Py_ssize_t batch, Shape shape,
                   program, decode):
    cdef Scan scan
    check_space(space)
    if low is None or high is None:
        raise UsageError("the bounds of a scan are bytes")
    if batch < 1:
        raise UsageError(f"batch must be at least 1, not {batch}")
    transaction.enter()
    transaction.leave()
    scan = Scan.__new__(Scan)
    scan.low = low
    scan.high = high
    scan.transaction = transaction
    scan.changes = transaction.changes
    scan.space = space
    scan.batch = batch
    scan.size = min(FIRST_BATCH, batch)
    scan.shape = shape
    scan.program = program
    scan.native = native_program(program)
    scan.decoder = native_decoder(decode, program is not None and scan.native == NULL)
    scan.decode = decode if scan.decoder is None else None
    begin_walk(&scan.walk, low, high, reverse)
    return scan


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
                if isinstance(decode, Decoder):
                    return number, decoded(<Decoder>decode, &found)
                value = bytes_of(&found)
            elif code != DOCDB_NOTFOUND:
                raise environment.failure(code, "reading")
        finally:
            environment.inside -= 1
            environment.give(txn)
        return number, value if value is None or decode is None else decode(value)


# ---- loops and conversions


cdef int look_up(MDB_cursor *cursor, MDB_val *ks, MDB_val *vs, Py_ssize_t count, void *program) noexcept nogil:
    """Find the values; NULL where the key is absent or the program refuses."""
    cdef Py_ssize_t n
    cdef int code
    for n in range(count):
        code = api.cursor_get(cursor, &ks[n], &vs[n], DOCDB_SET)
        if code == DOCDB_NOTFOUND:
            vs[n].mv_data = NULL
        elif code:
            return code
        elif program != NULL and not program_matches(program, <const unsigned char *>vs[n].mv_data, vs[n].mv_size):
            vs[n].mv_data = NULL
    return 0


cdef int put_all(MDB_cursor *cursor, MDB_val *ks, MDB_val *vs, Py_ssize_t count, bint append) noexcept nogil:
    """Put in order; a key that does not lie above all others goes where it belongs."""
    cdef Py_ssize_t n
    cdef int code
    for n in range(count):
        code = api.cursor_put(cursor, &ks[n], &vs[n], DOCDB_APPEND if append else 0)
        if code == DOCDB_KEYEXIST and append:
            append = False
            code = api.cursor_put(cursor, &ks[n], &vs[n], 0)
        if code:
            return code
    return 0


cdef int delete_all(MDB_cursor *cursor, MDB_val *ks, Py_ssize_t count, Py_ssize_t *deleted) noexcept nogil:
    cdef MDB_val value
    cdef Py_ssize_t n
    cdef int code
    for n in range(count):
        code = api.cursor_get(cursor, &ks[n], &value, DOCDB_SET)
        if code == DOCDB_NOTFOUND:
            continue
        if code == 0:
            code = api.cursor_del(cursor, 0)
        if code:
            return code
        deleted[0] += 1
    return 0


cdef inline int check_space(int space) except -1:
    if space < 0 or space >= SPACE_COUNT:
        raise UsageError(f"there is no space {space}")
    return 0


cdef inline int key_of(key, MDB_val *out) except -1:
    if not PyBytes_CheckExact(key):
        raise UsageError(f"a key is bytes, not {type(key).__name__}")
    out.mv_data = PyBytes_AS_STRING(key)
    out.mv_size = PyBytes_GET_SIZE(key)
    if out.mv_size < 1 or out.mv_size > LONGEST_KEY:
        raise UsageError(f"a key has 1 to {LONGEST_KEY} bytes, not {out.mv_size}")
    return 0


cdef inline int item_of(item, MDB_val *key, MDB_val *value) except -1:
    if not PyTuple_CheckExact(item) or PyTuple_GET_SIZE(item) != 2:
        raise UsageError("an item to put is a tuple of key and value")
    key_of(<object>PyTuple_GET_ITEM(item, 0), key)
    cdef object content = <object>PyTuple_GET_ITEM(item, 1)
    if not PyBytes_CheckExact(content):
        raise UsageError(f"a value is bytes, not {type(content).__name__}")
    value.mv_data = PyBytes_AS_STRING(content)
    value.mv_size = PyBytes_GET_SIZE(content)
    if value.mv_size > LARGEST_VALUE:
        raise UsageError(f"a value has at most {LARGEST_VALUE} bytes, not {value.mv_size}")
    return 0


cdef inline bytes bytes_of(MDB_val *value):
    return PyBytes_FromStringAndSize(<const char *>value.mv_data, value.mv_size)


cdef inline object decoded(Decoder decoder, MDB_val *value):
    return decoder.decode_at(<const unsigned char *>value.mv_data, value.mv_size)


cdef bytes id_of(MDB_val *key, MDB_val *value):
    """Return the id at the end of an entry's key; the first byte of the value is its length."""
    cdef size_t size
    if value.mv_size < 1:
        raise_corrupt()
    size = (<unsigned char *>value.mv_data)[0]
    if size > key.mv_size:
        raise_corrupt()
    return PyBytes_FromStringAndSize(<const char *>key.mv_data + key.mv_size - size, size)


cdef int raise_corrupt() except -1:
    raise CorruptError("an index entry does not hold the id it should")


cdef inline void *native_program(program):
    return <void *>program if isinstance(program, Program) else NULL


cdef inline Decoder native_decoder(decode, bint filtered):
    """Return the decoder that can run on the page, unless a program in Python must see the bytes first."""
    return <Decoder>decode if not filtered and isinstance(decode, Decoder) else None
