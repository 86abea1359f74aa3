"""Documents by id without a step in Python: the whole road of a point read. Part of lmdb_engine.pyx.

A ``PointReader`` knows the prefix of a collection's keys, and that it is right as long as one record (the catalog's version) holds the bytes it
held when the reader learnt the prefix. It compares that record once after each commit, whoever made it. It must not know what the
record says. Everything unusual is left to the two callables it was made with.
"""

from libc.string cimport memchr

from docdb._native.buffer cimport Buffer
from docdb._native.keys cimport key_of_int

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

cdef enum:
    PREFIX = 4
    TEXT_TAG = 0x30             # as in docdb/language/order.py
    OBJECT_ID_TAG = 0x70
    LONGEST_TEXT = 238          # an id's key has at most 240 bytes


@cython.final
cdef class Gate:
    """Open until it is shut: all readers of a session look at it."""

    cdef bint is_shut

    def shut(self):
        """Send every later read along the slow road."""
        self.is_shut = True


cdef class Reader:
    """What a reader knows of a collection, and whether it is so in a newer snapshot; None for the environment: nothing."""

    cdef EngineCore engine
    cdef Gate gate
    cdef object object_id
    cdef Environment environment
    cdef size_t seen                # the commit up to which the record was compared
    cdef int watched_space
    cdef bytes watched_key
    cdef bytes watched_value
    cdef Tree tree                  # of the documents, as it was in the commit ``rooted``
    cdef size_t rooted
    cdef unsigned char prefix[PREFIX]

    cdef inline bint is_open(self):
        cdef Environment environment = self.environment
        return environment is not None and not self.gate.is_shut and self.engine.environment is environment and environment.usable()

    cdef int keep(self, Transaction txn, bytes prefix, int space, bytes key, bytes value) except -1:
        """Take the prefix of documents as right while ``key`` of ``space`` holds ``value``, as it does in this snapshot."""
        check_space(space)
        if PyBytes_GET_SIZE(prefix) != PREFIX:
            raise UsageError(f"a prefix has {PREFIX} bytes")
        memcpy(self.prefix, PyBytes_AS_STRING(prefix), PREFIX)
        self.watched_space = space
        self.watched_key = key
        self.watched_value = value
        self.seen = txn.id
        self.rooted = 0
        self.environment = txn.environment
        return 0

    def forget(self):
        """Know nothing."""
        self.environment = None

    cdef int look_up(self, Environment environment, MDB_txn *txn, char *key, size_t size, MDB_val *found) except? -2:
        """Search the pages, whose root is the same as long as nobody commits; what they do not tell LMDB is asked."""
        cdef MDB_val wanted
        cdef int code = -1
        if self.rooted != self.seen:
            open_tree(&self.tree, environment, txn, DOCUMENTS)
            self.rooted = self.seen
        if not self.tree.refused and pages_are_walked:
            code = find(&self.tree, key, size, found)
        if code == -1:
            wanted.mv_data = key
            wanted.mv_size = size
            code = api.get(txn, environment.dbis[DOCUMENTS], &wanted, found)
        return code

    cdef bint still(self, Environment environment, MDB_txn *txn):
        """Compare the record in a newer snapshot."""
        cdef MDB_val wanted, found
        wanted.mv_data = PyBytes_AS_STRING(self.watched_key)
        wanted.mv_size = PyBytes_GET_SIZE(self.watched_key)
        if api.get(txn, environment.dbis[self.watched_space], &wanted, &found):
            return False
        if compare(found.mv_data, found.mv_size, PyBytes_AS_STRING(self.watched_value), PyBytes_GET_SIZE(self.watched_value)):
            return False
        self.seen = api.txn_id(txn)
        return True


@cython.final
cdef class PointReader(Reader):
    """Gives the documents of one collection by id.

    ``slow(id)`` answers, and may let the reader ``learn``, where the reader knows nothing or no longer; ``plain(id)`` answers for ids that
    are no short text, no int of 64 bits and no ``object_id``.
    """

    cdef object slow
    cdef object plain

    def __init__(self, EngineCore engine not None, Gate gate not None, slow, plain, object_id):
        self.engine = engine
        self.gate = gate
        self.slow = slow
        self.plain = plain
        self.object_id = object_id

    def learn(self, Transaction txn not None, bytes prefix not None, int space, bytes key not None, bytes value not None):
        """Take the prefix as right while ``key`` of ``space`` holds ``value``, as it does in this snapshot."""
        self.keep(txn, prefix, space, key, value)

    def find(self, id):
        """Return the document with this id, or None."""
        cdef unsigned char key[LONGEST_KEY]
        cdef Environment environment = self.environment
        cdef MDB_val found
        cdef MDB_txn *txn
        cdef int code
        cdef bint known
        cdef Py_ssize_t size
        if not self.is_open():
            return self.slow(id)
        size = put_id(id, self.object_id, key)
        if size == 0:
            return self.plain(id)
        memcpy(key, self.prefix, PREFIX)
        try:
            txn = environment.take()
        except StorageError:
            return self.slow(id)  # which waits where a failed flush took the environment away, or tells
        environment.inside += 1
        try:
            known = self.seen == api.txn_id(txn) or self.still(environment, txn)
            if known:
                code = self.look_up(environment, txn, <char *>key, size, &found)
                if code == 0:
                    ahead(&found)
                    return decode_document(<const unsigned char *>found.mv_data, found.mv_size)
                if code != DOCDB_NOTFOUND:
                    raise environment.failure(code, "reading")
        finally:
            environment.inside -= 1
            environment.give(txn)
        return None if known else self.slow(id)


cdef inline Py_ssize_t put_id(object id, object object_id, unsigned char *key) except -1:
    """Write an id's order key behind the place for a prefix; return the size of both, 0 for an id of another kind."""
    cdef Buffer out
    cdef const char *text
    cdef Py_ssize_t size = 0
    cdef long long number
    cdef int overflow = 0
    cdef object kind = type(id)
    if kind is str:
        try:
            text = PyUnicode_AsUTF8AndSize(id, &size)
        except UnicodeEncodeError:
            return 0
        if size > LONGEST_TEXT or memchr(text, 0, size) != NULL:
            return 0
        key[PREFIX] = TEXT_TAG
        memcpy(key + PREFIX + 1, text, size)
        key[PREFIX + 1 + size] = 0
        return PREFIX + size + 2
    if kind is int:
        number = PyLong_AsLongLongAndOverflow(id, &overflow)
        if overflow:
            return 0
        # The key of a number has at most 30 bytes, so that the buffer never grows.
        out.data = key
        out.size = PREFIX
        out.capacity = LONGEST_KEY
        return 0 if key_of_int(number, &out) < 0 else out.size
    if kind is object_id:
        binary = id.binary
        if PyBytes_CheckExact(binary) and PyBytes_GET_SIZE(binary) == 12:
            key[PREFIX] = OBJECT_ID_TAG
            memcpy(key + PREFIX + 1, PyBytes_AS_STRING(binary), 12)
            return PREFIX + 13
    return 0
