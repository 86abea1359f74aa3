"""Documents by the value of an indexed field without a step in Python: the road of a query for few documents. Part of lmdb_engine.pyx.

A ``FieldReader`` knows an index whose entries tell which documents have a value, as long as the record that its base compares is the same, and the index's
counters say that no entry comes from an array or is cut. What it does not know for certain it does not answer.
"""

from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef enum:
    FEW_DOCUMENTS = 16          # more are found by a join, which asks the memory for many at once
    COUNTED = 24                # bytes of an index's counters
    COUNT = 8


@cython.final
cdef class FieldReader(Reader):
    """Gives the documents of one collection by the value of one field.

    ``note(value, spent_s)`` is told of what took ``slow_s`` or longer.
    """

    cdef Tree entries
    cdef size_t entries_rooted
    cdef unsigned char index[PREFIX]
    cdef bytes counters
    cdef bytes behind           # what follows the value's component in an entry: nothing, where another component does
    cdef dict uses
    cdef object number
    cdef object note
    cdef double slow_s

    def __init__(self, EngineCore engine not None, Gate gate not None, note, object_id, double slow_s):
        self.engine = engine
        self.gate = gate
        self.note = note
        self.object_id = object_id
        self.slow_s = slow_s

    def learn(self, Transaction txn not None, bytes prefix not None, int space, bytes key not None, bytes value not None, *,
              bytes index not None, bytes counters not None, bytes behind not None, dict uses not None, number):
        """Take prefix and index as right while ``key`` of ``space`` holds ``value``, as it does in this snapshot.

        ``counters``: the key of the index's counters in the same space; ``uses[number]`` counts the uses.
        """
        if PyBytes_GET_SIZE(index) != PREFIX or PyBytes_GET_SIZE(behind) > 1:
            raise UsageError(f"an index has a prefix of {PREFIX} bytes, and one byte behind a component")
        memcpy(self.index, PyBytes_AS_STRING(index), PREFIX)
        self.counters = counters
        self.behind = behind
        self.uses = uses
        self.number = number
        self.entries_rooted = 0
        self.keep(txn, prefix, space, key, value)
        self.seen = 0           # the counters are still to be compared

    def find(self, value, Py_ssize_t most, bint whole):
        """Return the documents whose field has this value, in the order of their entries, at most ``most``; None: that is to be asked otherwise.

        ``whole``: all of them, None when they are more. Entries with further components stand in an order of their own, so that is left to the planner.
        """
        cdef unsigned char key[LONGEST_KEY + 1]
        cdef MDB_val found[FEW_DOCUMENTS]
        cdef Environment environment = self.environment
        cdef MDB_txn *txn
        cdef Py_ssize_t size, count = -1
        cdef double began
        cdef list documents
        if not 0 < most <= FEW_DOCUMENTS or not self.is_open():
            return None
        if PyBytes_GET_SIZE(self.behind) == 0 and (whole or type(value) is self.object_id):
            return None
        size = put_id(value, self.object_id, key)
        if size == 0:
            return None
        began = clock_s()
        memcpy(key, self.index, PREFIX)
        try:
            txn = environment.take()
        except StorageError:
            return None
        environment.inside += 1
        try:
            if self.seen == api.txn_id(txn) or (self.still(environment, txn) and self.is_plain(environment, txn)):
                count = self.gather(environment, txn, key, size, found, most, whole)
            if count < 0:
                return None
            documents = [decode_document(<const unsigned char *>found[n].mv_data, found[n].mv_size) for n in range(count)]
        finally:
            environment.inside -= 1
            environment.give(txn)
        self.uses[self.number] = self.uses.get(self.number, 0) + 1
        if clock_s() - began >= self.slow_s:
            self.note(value, clock_s() - began)
        return documents

    cdef bint is_plain(self, Environment environment, MDB_txn *txn):
        """Tell whether the counters behind the first are 0; what is damaged is not plain."""
        cdef MDB_val wanted, found
        cdef Py_ssize_t at
        cdef int code
        wanted.mv_data = PyBytes_AS_STRING(self.counters)
        wanted.mv_size = PyBytes_GET_SIZE(self.counters)
        code = api.get(txn, environment.dbis[self.watched_space], &wanted, &found)
        if code == 0:
            if found.mv_size != COUNTED:
                code = DAMAGED
            for at in range(COUNT, COUNTED):
                if code == 0 and (<const unsigned char *>found.mv_data)[at]:
                    code = DAMAGED
        if code and code != DOCDB_NOTFOUND:
            self.seen = 0
            return False
        return True

    cdef Py_ssize_t gather(
        self, Environment environment, MDB_txn *txn, unsigned char *key, Py_ssize_t size, MDB_val *found, Py_ssize_t most, bint whole
    ) except -2:
        """Find the documents; return how many they are, -1 where this is not to be judged here.

        All before the first is decoded: an object may be collected then, and another thread be here.
        """
        cdef char wanted[2 * LONGEST_KEY]
        cdef Tree *tree = &self.entries
        cdef Level *level
        cdef MDB_val entry, value
        cdef Py_ssize_t start = size, count = 0
        cdef size_t id
        cdef bint equal = False
        cdef int code
        if self.entries_rooted != self.seen:
            open_tree(tree, environment, txn, ENTRIES)
            self.entries_rooted = self.seen
        if tree.refused or not pages_are_walked or size >= LONGEST_KEY:
            return -1
        if PyBytes_GET_SIZE(self.behind):
            key[start] = <unsigned char>PyBytes_AS_STRING(self.behind)[0]
            start += 1
        level = &tree.levels[tree.depth - 1]
        if seek(tree, <const char *>key, start, &equal) < 0:
            return -1
        memcpy(wanted, self.prefix, PREFIX)
        while True:
            if level.at >= level.count:
                code = move(tree, False)
                if code == DOCDB_NOTFOUND:
                    return count
                if code:
                    return -1
            if pair_at(tree, level, level.at, &entry, &value) < 0:
                return -1
            if entry.mv_size <= <size_t>size or memcmp(entry.mv_data, key, size) or (<unsigned char *>entry.mv_data)[size] == 0xFF:
                return count
            if count == most:
                return -1 if whole else count
            if value.mv_size < 1:
                return -1
            id = (<unsigned char *>value.mv_data)[0]
            if id > entry.mv_size - PREFIX:
                return -1
            memcpy(wanted + PREFIX, <char *>entry.mv_data + entry.mv_size - id, id)
            if self.look_up(environment, txn, wanted, PREFIX + id, &found[count]):
                return -1
            ahead(&found[count])
            count += 1
            if count == most and not whole:
                return count
            level.at += 1


cdef inline double clock_s() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <double>now.tv_sec + 1e-9 * now.tv_nsec
