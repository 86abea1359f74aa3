"""The open environment and its pool of read transactions. Part of lmdb_engine.pyx."""

cdef struct Root:           # of a tree, in one commit
    size_t commit
    const unsigned char *map    # NULL: none was found
    size_t page_size
    size_t last_page
    size_t page
    int depth


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
    cdef Root roots[SPACE_COUNT]
    cdef unsigned int forks
    cdef bint is_live
    cdef object failure
    cdef list names             # of the spaces
    cdef readonly bint read_only

    def __cinit__(self, str folder, names, *, bint read_only, bint metasync, bint lock, unsigned int max_readers,
                  size_t map_bytes, failure):
        cdef bytes path = os.fsencode(folder)
        cdef const char *where = path
        cdef unsigned int flags = DOCDB_NOTLS
        cdef int code
        self.failure = failure
        self.names = list(names)
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
            code = self.open_spaces()
        if code:
            if self.env != NULL:
                api.env_close(self.env)
                self.env = NULL
            raise failure(code, f"opening {folder}")
        self.is_live = True

    def __dealloc__(self):
        """A dropped environment is closed by nobody: its lock file may be open again in this process."""
        free(self.readers_)

    cdef int open_spaces(self):
        """Open the four handles, once; a write transaction, which may have to wait for another process, only where one is missing."""
        cdef int code = self.open_spaces_with(DOCDB_RDONLY, 0)
        if code == DOCDB_NOTFOUND and not self.read_only:
            code = self.open_spaces_with(0, DOCDB_CREATE)
        return code

    cdef int open_spaces_with(self, unsigned int begin_flags, unsigned int open_flags):
        cdef MDB_txn *txn
        cdef int code, space
        cdef bytes name
        with nogil:
            code = api.txn_begin(self.env, NULL, begin_flags, &txn)
        if code:
            return code
        for space in range(SPACE_COUNT):
            name = self.names[space]
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
        if self.idle_count:
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

    def used_bytes(self):
        """Return where the last page of the newest commit ends."""
        cdef MDB_envinfo info
        cdef MDB_stat tree
        self.require()
        api.env_info(self.env, &info)
        api.env_stat(self.env, &tree)
        return (info.me_last_pgno + 1) * tree.ms_psize

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
