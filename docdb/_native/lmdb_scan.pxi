"""The iterator of a scan: walks a batch on the pages, then makes its objects. Part of lmdb_engine.pyx."""


@cython.final
@cython.no_gc_clear
cdef class Scan:
    """The iterator a scan returns. It owns its cursor, and holds nothing of the map between two batches."""

    cdef Transaction transaction
    cdef Walk walk
    cdef Tree tree
    cdef bint tried             # the tree was opened, or found to be none to walk
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
    cdef bint presence          # ``decode`` is ``bool``: nobody looks at the values

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
        cdef Py_ssize_t taken
        cdef list batch
        if self.walk.over:
            self.drop_cursor()
            raise StopIteration
        self.transaction.enter()
        try:
            taken = self.fill()
            batch = self.shaped(taken)
        finally:
            self.transaction.leave()
        if self.walk.over:
            self.drop_cursor()
            if taken == 0:
                raise StopIteration
        self.size = min(self.size * GROWTH, self.batch)
        return batch if self.program is None and self.decode is None else self.finished(batch)

    cdef Py_ssize_t fill(self) except -1:
        """Walk until a batch is full, or far enough without; return how many pairs were taken."""
        cdef Py_ssize_t taken = 0
        cdef bint by_cursor = False
        cdef int code = 0
        while taken == 0 and not (by_cursor or self.walk.over):
            self.ready()
            by_cursor = self.tree.refused
            if not by_cursor:
                with nogil:
                    code = gather(&self.walk, &self.tree, self.ks, self.vs, self.size, self.native, &taken)
                if not self.tree.refused:
                    break
            elif self.native == NULL and self.size < FEW:
                code = collect(&self.walk, self.ks, self.vs, self.size, NULL, &taken)
            else:
                with nogil:
                    code = collect(&self.walk, self.ks, self.vs, self.size, self.native, &taken)
            if code:
                self.walk.over = True
                raise self.transaction.environment.failure(code, "reading")
        return taken

    cdef int ready(self) except -1:
        """Have a tree, or a cursor that stands where the last batch ended, and room for the next."""
        cdef int code
        if not self.tried and (self.native != NULL or self.size > FIRST_BATCH):
            self.tried = True
            if not self.transaction.write:
                open_tree(&self.tree, self.transaction.environment, self.transaction.txn, self.space)
        if self.walk.cursor == NULL and self.tree.refused:
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
        if self.presence:
            return self.vs[n].mv_size != 0
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
    scan.presence = decode is bool and (program is None or scan.native != NULL)
    scan.decode = decode if scan.decoder is None and not scan.presence else None
    scan.tree.refused = True
    begin_walk(&scan.walk, low, high, reverse)
    return scan
