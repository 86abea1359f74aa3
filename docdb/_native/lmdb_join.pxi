"""The iterator from a range of index entries to their documents, decoded on their pages. Part of lmdb_engine.pyx.

Only over snapshots: nothing is put between two batches, so the cursor on the entries stays where it is.
"""

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define docdb_prefetch(at) __builtin_prefetch(at)
    #else
    #define docdb_prefetch(at) ((void)(at))
    #endif
    """
    void docdb_prefetch(const void *at) noexcept nogil

cdef enum:
    CACHE_LINE = 64
    FETCHED_AHEAD = 512         # bytes of a document asked for before it is decoded
    DOCUMENTS = 0
    DAMAGED = 1                 # no code of LMDB's


@cython.final
@cython.no_gc_clear
cdef class Join:
    """Yields (number of entries walked, their documents in the order of the entries); what is absent or refused is left out."""

    cdef Transaction transaction
    cdef Walk walk
    cdef bytes low
    cdef bytes high
    cdef MDB_val *ks
    cdef MDB_val *vs
    cdef Py_ssize_t room
    cdef Py_ssize_t size
    cdef Py_ssize_t batch
    cdef char wanted[2 * LONGEST_KEY]
    cdef size_t prefix_size
    cdef object program
    cdef void *native
    cdef Decoder decoder

    def __dealloc__(self):
        free(self.ks)
        free(self.vs)
        self.drop_cursor()

    cdef void drop_cursor(self) noexcept:
        """Free the cursor, which is plain memory of a snapshot's own."""
        if self.walk.cursor != NULL:
            api.cursor_close(self.walk.cursor)
            self.walk.cursor = NULL

    def __iter__(self):
        return self

    def __next__(self):
        cdef Py_ssize_t taken = 0
        cdef Py_ssize_t n
        cdef int code
        cdef MDB_cursor *documents
        cdef list found = []
        if self.walk.over:
            self.drop_cursor()
            raise StopIteration
        self.transaction.enter()
        try:
            self.ready()
            documents = self.transaction.cursor(DOCUMENTS)
            if self.size < FEW:
                code = self.step(documents, &taken)
            else:
                with nogil:
                    code = self.step(documents, &taken)
            if code:
                self.walk.over = True
                if code == DAMAGED:
                    raise_corrupt()
                raise self.transaction.environment.failure(code, "reading")
            for n in range(taken):
                if self.vs[n].mv_data != NULL:
                    found.append(decoded(self.decoder, &self.vs[n]))
        finally:
            self.transaction.leave()
        if self.walk.over:
            self.drop_cursor()
            if taken == 0:
                raise StopIteration
        self.size = min(self.size * GROWTH, self.batch)
        return taken, found

    cdef int ready(self) except -1:
        """Have a cursor on the entries, and room for the batch."""
        cdef int code
        if self.walk.cursor == NULL:
            code = api.cursor_open(self.transaction.txn, self.transaction.environment.dbis[ENTRIES], &self.walk.cursor)
            if code:
                self.walk.cursor = NULL
                raise self.transaction.environment.failure(code, "opening a cursor")
        if self.room < self.size:
            free(self.ks)
            free(self.vs)
            self.room = self.size
            self.ks = <MDB_val *>malloc(self.size * sizeof(MDB_val))
            self.vs = <MDB_val *>malloc(self.size * sizeof(MDB_val))
            if self.ks == NULL or self.vs == NULL:
                self.room = 0
                raise MemoryError()
        return 0

    cdef int step(self, MDB_cursor *documents, Py_ssize_t *taken) noexcept nogil:
        """Walk the entries of a batch and put their documents in the place of the values; NULL where there is none."""
        cdef MDB_val key, value
        cdef Py_ssize_t n
        cdef size_t size
        cdef int code = collect(&self.walk, self.ks, self.vs, self.size, NULL, taken)
        if code:
            return code
        key.mv_data = self.wanted
        for n in range(taken[0]):
            if self.vs[n].mv_size < 1:
                return DAMAGED
            size = (<unsigned char *>self.vs[n].mv_data)[0]
            if size > self.ks[n].mv_size:
                return DAMAGED
            memcpy(self.wanted + self.prefix_size, <char *>self.ks[n].mv_data + self.ks[n].mv_size - size, size)
            key.mv_size = self.prefix_size + size
            code = api.cursor_get(documents, &key, &value, DOCDB_SET)
            key.mv_data = self.wanted
            if code == 0 and (self.native == NULL or
                              program_matches(self.native, <const unsigned char *>value.mv_data, value.mv_size)):
                self.vs[n] = value
                ahead(&value)
            elif code == 0 or code == DOCDB_NOTFOUND:
                self.vs[n].mv_data = NULL
            else:
                return code
        return 0


cdef inline void ahead(MDB_val *value) noexcept nogil:
    """Ask the memory for the front of a document while the next ones are looked up."""
    cdef size_t at = 0
    while at < value.mv_size and at < FETCHED_AHEAD:
        docdb_prefetch(<char *>value.mv_data + at)
        at += CACHE_LINE


def join(Transaction transaction not None, bytes low not None, bytes high not None, bytes prefix not None, *,
         bint reverse=False, Py_ssize_t first=FIRST_BATCH, Py_ssize_t batch=256, program=None, decode=None):
    """Return the documents (keys: prefix and id) of the entries in low <= key < high; None where this cannot be done here."""
    cdef Join made
    cdef Decoder decoder = native_decoder(decode, False)
    if transaction.write or decoder is None or (program is not None and native_program(program) == NULL):
        return None
    if first < 1 or batch < 1 or not 0 < PyBytes_GET_SIZE(prefix) <= 16:
        raise UsageError("a join has batches of at least 1 and a prefix of 1 to 16 bytes")
    transaction.enter()
    transaction.leave()
    made = Join.__new__(Join)
    made.transaction = transaction
    made.low = low
    made.high = high
    made.program = program
    made.native = native_program(program)
    made.decoder = decoder
    made.size = min(first, batch)
    made.batch = batch
    made.prefix_size = PyBytes_GET_SIZE(prefix)
    memcpy(made.wanted, PyBytes_AS_STRING(prefix), made.prefix_size)
    begin_walk(&made.walk, low, high, reverse)
    return made
