"""The iterator from ranges of index entries to their documents, decoded on their pages. Part of lmdb_engine.pyx.

Only over snapshots: nothing is put between two batches, so the cursor on the entries stays where it is.
"""

cdef enum:
    CACHE_LINE = 64
    FETCHED_AHEAD = 512         # bytes of a document asked for before it is decoded
    DOCUMENTS = 0
    DAMAGED = 1                 # no code of LMDB's
    INDEX_PREFIX = 4            # bytes before the components of an entry

cdef enum State:
    UNKNOWN                     # left to the cursor
    SOUGHT
    MET
    ABSENT

cdef struct Probe:
    const char *id
    size_t size
    size_t page
    Level leaf
    int low
    int high
    State state


cdef struct Span:
    const char *low
    const char *high
    size_t low_size
    size_t high_size


@cython.final
@cython.no_gc_clear
cdef class Join:
    """Yields (number of entries walked, their documents in the order of the entries); what is absent or refused is left out.

    Without a decoder documents are their stored bytes. With a decoder of entries only those documents are looked up that an entry does not tell.
    """

    cdef Transaction transaction
    cdef Walk walk
    cdef tuple ranges           # of bytes, which the spans point to
    cdef Span *spans
    cdef Py_ssize_t span_count
    cdef Py_ssize_t at          # the next span
    cdef MDB_val *ks
    cdef MDB_val *vs
    cdef Probe *probes
    cdef Tree entries
    cdef Tree tree              # of the documents
    cdef bint begun
    cdef MDB_dbi space
    cdef Py_ssize_t room
    cdef Py_ssize_t size
    cdef Py_ssize_t batch
    cdef char wanted[2 * LONGEST_KEY]
    cdef size_t prefix_size
    cdef object program
    cdef object check
    cdef void *native
    cdef Decoder decoder
    cdef EntryDecoder covered   # None: every document is looked up

    def __dealloc__(self):
        free(self.ks)
        free(self.vs)
        free(self.probes)
        free(self.spans)
        self.drop_cursor()

    cdef bint ended(self) noexcept nogil:
        return self.walk.over and self.at == self.span_count

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
        if self.covered is not None:
            return self.next_covered()
        if self.ended():
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
                self.fail(code)
            for n in range(taken):
                if self.vs[n].mv_data != NULL:
                    found.append(bytes_of(&self.vs[n]) if self.decoder is None else decoded(self.decoder, &self.vs[n]))
        finally:
            self.transaction.leave()
        if self.ended():
            self.drop_cursor()
            if taken == 0:
                raise StopIteration
        if self.check is not None:
            self.check()
        self.size = min(self.size * GROWTH, self.batch)
        return taken, found

    cdef int fail(self, int code) except -1:
        self.walk.over = True
        self.at = self.span_count
        if code == DAMAGED:
            raise_corrupt()
        raise self.transaction.environment.failure(code, "reading")

    cdef object next_covered(self):
        """Make the documents of a batch of their entries, and look up those whose entries do not tell."""
        cdef Py_ssize_t taken = 0, left = 0
        cdef Py_ssize_t n
        cdef int code
        cdef MDB_cursor *documents
        cdef list found = []
        cdef list places = []
        cdef object made
        if self.ended():
            self.drop_cursor()
            raise StopIteration
        self.transaction.enter()
        try:
            self.ready()
            with nogil:
                code = self.walk_entries(&taken)
            if code:
                self.fail(code)
            for n in range(taken):
                if self.ks[n].mv_size < INDEX_PREFIX or self.vs[n].mv_size < 1:
                    self.fail(DAMAGED)
                made = self.covered.decode_pair(
                    <const unsigned char *>self.ks[n].mv_data + INDEX_PREFIX, <Py_ssize_t>self.ks[n].mv_size - INDEX_PREFIX,
                    <const unsigned char *>self.vs[n].mv_data, <Py_ssize_t>self.vs[n].mv_size,
                )
                found.append(made)
                if made is None:
                    places.append(n)
                    self.ks[left], self.vs[left] = self.ks[n], self.vs[n]
                    left += 1
            if left:
                documents = self.transaction.cursor(DOCUMENTS)
                with nogil:
                    code = self.look_up(documents, left)
                if code:
                    self.fail(code)
                for n in range(left):
                    if self.vs[n].mv_data != NULL:
                        found[places[n]] = decoded(self.decoder, &self.vs[n])
                found = [made for made in found if made is not None]
        finally:
            self.transaction.leave()
        if self.ended():
            self.drop_cursor()
            if taken == 0:
                raise StopIteration
        if self.check is not None:
            self.check()
        self.size = min(self.size * GROWTH, self.batch)
        return taken, found, left

    cdef int ready(self) except -1:
        """Have both trees, and room for the batch."""
        if not self.begun:
            self.begun = True
            self.space = self.transaction.environment.dbis[ENTRIES]
            open_tree(&self.entries, self.transaction.environment, self.transaction.txn, ENTRIES)
            open_tree(&self.tree, self.transaction.environment, self.transaction.txn, DOCUMENTS)
        if self.room < self.size:
            free(self.ks)
            free(self.vs)
            free(self.probes)
            self.room = self.size
            self.ks = <MDB_val *>malloc(self.size * sizeof(MDB_val))
            self.vs = <MDB_val *>malloc(self.size * sizeof(MDB_val))
            self.probes = <Probe *>malloc(self.size * sizeof(Probe))
            if self.ks == NULL or self.vs == NULL or self.probes == NULL:
                self.room = 0
                raise MemoryError()
        return 0

    cdef int step(self, MDB_cursor *documents, Py_ssize_t *taken) noexcept nogil:
        """Walk the entries of a batch and put their documents in the place of the values; NULL where there is none."""
        cdef int code = self.walk_entries(taken)
        return code if code else self.look_up(documents, taken[0])

    cdef int look_up(self, MDB_cursor *documents, Py_ssize_t count) noexcept nogil:
        """Put the documents of the first entries in the place of the values; NULL where there is none."""
        cdef Py_ssize_t n
        cdef Probe *probe
        cdef int code, verdict
        for n in range(count):
            probe = &self.probes[n]
            if self.vs[n].mv_size < 1:
                return DAMAGED
            probe.size = (<unsigned char *>self.vs[n].mv_data)[0]
            if probe.size > self.ks[n].mv_size:
                return DAMAGED
            probe.id = <const char *>self.ks[n].mv_data + self.ks[n].mv_size - probe.size
        self.find_all(count)
        code = self.settle(documents, count)
        if code == 0 and self.native != NULL:
            for n in range(count):
                if self.vs[n].mv_data == NULL:
                    continue
                verdict = judged(self.native, &self.vs[n])
                if verdict < 0:
                    return UNSOUND
                if verdict == 0:
                    self.vs[n].mv_data = NULL
        return code

    cdef int walk_entries(self, Py_ssize_t *taken) noexcept nogil:
        """Take the entries of a batch, from one range after the other."""
        cdef Py_ssize_t more
        cdef int code
        taken[0] = 0
        while taken[0] < self.size:
            if self.walk.over:
                if self.at == self.span_count:
                    break
                self.next_span()
                continue
            code = self.walk_range(taken[0], &more)
            if code:
                return code
            taken[0] += more
            if not self.walk.over:
                break
        return 0

    cdef void next_span(self) noexcept nogil:
        cdef Span *span = &self.spans[self.at]
        self.at += 1
        begin_range(&self.walk, span.low, span.low_size, span.high, span.high_size)
        self.entries.ready = False

    cdef int walk_range(self, Py_ssize_t done, Py_ssize_t *taken) noexcept nogil:
        """Take entries of a range from their pages, and from a cursor of the join's own where those are unusual."""
        cdef int code
        cdef MDB_val *ks = self.ks + done
        cdef MDB_val *vs = self.vs + done
        if not self.entries.refused:
            gather(&self.walk, &self.entries, ks, vs, self.size - done, NULL, taken)
            if taken[0] or not self.entries.refused:
                return 0
        if self.walk.cursor == NULL:
            code = api.cursor_open(self.transaction.txn, self.space, &self.walk.cursor)
            if code:
                self.walk.cursor = NULL
                return code
        return collect(&self.walk, ks, vs, self.size - done, NULL, taken)

    cdef size_t want(self, Probe *probe) noexcept nogil:
        """Put a document's key together; return its size."""
        memcpy(self.wanted + self.prefix_size, probe.id, probe.size)
        return self.prefix_size + probe.size

    cdef void find_all(self, Py_ssize_t count) noexcept nogil:
        """Find the place of each document, all of them on one level of the tree after the other: none waits for the memory that another one needs."""
        cdef Tree *tree = &self.tree
        cdef Py_ssize_t n
        cdef int depth
        for n in range(count):
            self.probes[n].state = UNKNOWN if tree.refused else SOUGHT
            self.probes[n].page = tree.root
        if tree.refused:
            return
        for depth in range(tree.depth):
            self.search(count, depth)
            if depth < tree.depth - 1:
                for n in range(count):
                    descend(tree, &self.probes[n])

    cdef void search(self, Py_ssize_t count, int depth) noexcept nogil:
        """Halve the pages of a level in turn, one step each, so that the memory brings the nodes of all at the same time."""
        cdef Tree *tree = &self.tree
        cdef Py_ssize_t n, left = 0
        cdef Probe *probe
        for n in range(count):
            probe = &self.probes[n]
            if probe.state != SOUGHT:
                continue
            if enter_page(tree, depth, probe.page) < 0:
                probe.state = UNKNOWN
                continue
            probe.leaf = tree.levels[depth]
            probe.low = 0 if depth == tree.depth - 1 else 1     # the first key of a branch is below all, whatever it says
            probe.high = probe.leaf.count
            if probe.low >= probe.high:
                probe.state = ABSENT
                continue
            left += 1
            prefetch_node(&probe.leaf, (probe.low + probe.high) >> 1)
        while left:
            left = 0
            for n in range(count):
                probe = &self.probes[n]
                if probe.state == SOUGHT:
                    halve(tree, probe, self.wanted, self.prefix_size)
                    left += probe.state == SOUGHT

    cdef int settle(self, MDB_cursor *documents, Py_ssize_t count) noexcept nogil:
        """Take the documents that were found; what the pages did not tell the cursor is asked."""
        cdef MDB_val key, value
        cdef Py_ssize_t n
        cdef Probe *probe
        cdef int code
        for n in range(count):
            probe = &self.probes[n]
            if probe.state == MET and pair_at(&self.tree, &probe.leaf, probe.low, &key, &value) < 0:
                probe.state = UNKNOWN
            if probe.state == UNKNOWN:
                key.mv_size = self.want(probe)
                key.mv_data = self.wanted
                code = api.cursor_get(documents, &key, &value, DOCDB_SET)
                if code and code != DOCDB_NOTFOUND:
                    return code
                probe.state = ABSENT if code else MET
            if probe.state == ABSENT:
                self.vs[n].mv_data = NULL
            else:
                self.vs[n] = value
                ahead(&value)
        return 0


cdef inline void descend(Tree *tree, Probe *probe) noexcept nogil:
    """Go from where a probe came to stand in a branch to the page below, and ask the memory for its head."""
    cdef long long child
    if probe.state == UNKNOWN:
        return
    child = child_at(tree, &probe.leaf, probe.low if probe.state == MET else probe.low - 1)
    if child < 2 or <size_t>child > tree.last_page:
        probe.state = UNKNOWN
        return
    probe.page = <size_t>child
    probe.state = SOUGHT
    docdb_prefetch(tree.map + probe.page * tree.page_size)
    docdb_prefetch(tree.map + probe.page * tree.page_size + CACHE_LINE)


cdef inline int compare_start(const void *key, const char *prefix, size_t size) noexcept nogil:
    """Compare the first bytes of a key with a prefix, which mostly has four."""
    if size == 4 and number32(<const unsigned char *>key) == number32(<const unsigned char *>prefix):
        return 0
    return memcmp(key, prefix, size)


cdef inline void halve(Tree *tree, Probe *probe, const char *prefix, size_t prefix_size) noexcept nogil:
    """One step of the binary search in a page; the key is the prefix and the probe's id."""
    cdef MDB_val found
    cdef int middle = (probe.low + probe.high) >> 1
    cdef int order
    if node_at(tree, &probe.leaf, middle, &found) == NULL:
        probe.state = UNKNOWN
        return
    if found.mv_size < prefix_size:
        order = compare(found.mv_data, found.mv_size, prefix, prefix_size)
    else:
        order = compare_start(found.mv_data, prefix, prefix_size)
        if order == 0:
            order = compare(<char *>found.mv_data + prefix_size, found.mv_size - prefix_size, probe.id, probe.size)
    if order == 0:
        probe.low = middle
        probe.state = MET
        return
    if order < 0:
        probe.low = middle + 1
    else:
        probe.high = middle
    if probe.low < probe.high:
        prefetch_node(&probe.leaf, (probe.low + probe.high) >> 1)
    else:
        probe.state = ABSENT


cdef inline void ahead(MDB_val *value) noexcept nogil:
    """Ask the memory for the front of a document while the next ones are looked up."""
    cdef size_t at = 0
    while at < value.mv_size and at < FETCHED_AHEAD:
        docdb_prefetch(<char *>value.mv_data + at)
        at += CACHE_LINE


def join(Transaction transaction not None, bytes low not None, bytes high not None, bytes prefix not None, *, more=(),
         bint reverse=False, Py_ssize_t first=FIRST_BATCH, Py_ssize_t batch=256, program=None, decode=None, check=None, covered=None):
    """Return the documents (keys: prefix and id) of the entries in low <= key < high, then of those in the ranges of ``more``; None where this cannot be done.

    ``check()`` is called before each batch is given out. With ``covered``, an ``EntryDecoder``, each batch has a third part: how many documents were looked up.
    """
    cdef Join made
    cdef Decoder decoder = native_decoder(decode, False)
    cdef bytes start, stop
    cdef Py_ssize_t n
    if transaction.write or (decoder is None and decode is not None) or (program is not None and native_program(program) == NULL):
        return None
    if covered is not None and (type(covered) is not EntryDecoder or decoder is None or program is not None):
        return None
    if first < 1 or batch < 1 or not 0 < PyBytes_GET_SIZE(prefix) <= 16:
        raise UsageError("a join has batches of at least 1 and a prefix of 1 to 16 bytes")
    transaction.enter()
    transaction.leave()
    made = Join.__new__(Join)
    made.transaction = transaction
    made.ranges = ((low, high), *more)
    made.span_count = len(made.ranges)
    made.spans = <Span *>malloc(made.span_count * sizeof(Span))
    if made.spans == NULL:
        raise MemoryError()
    for n in range(made.span_count):
        start, stop = made.ranges[n]
        made.spans[n].low, made.spans[n].low_size = PyBytes_AS_STRING(start), PyBytes_GET_SIZE(start)
        made.spans[n].high, made.spans[n].high_size = PyBytes_AS_STRING(stop), PyBytes_GET_SIZE(stop)
    made.program = program
    made.native = native_program(program)
    made.decoder = decoder
    made.covered = covered
    made.check = check
    made.size = min(first, batch)
    made.batch = batch
    made.prefix_size = PyBytes_GET_SIZE(prefix)
    memcpy(made.wanted, PyBytes_AS_STRING(prefix), made.prefix_size)
    begin_walk(&made.walk, low, high, reverse)
    made.at = 1
    return made
