# cython: language_level=3
"""$group over stored documents, for a field path as ``_id`` and sums: the fast twin of ``pipeline/stages_group.group``.

What lives here: ``Groups``. What it must not know: stages, names of results. It keeps what ``language/expression_folds.Sum`` keeps, in the same
order of additions, so that the fold itself makes the result. Arrays on a path, decimals, sums beyond 64 bit and damaged bytes are declined.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport fabs, isfinite
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from docdb._native.buffer cimport Buffer, buffer_byte, buffer_end, buffer_start
from docdb._native.codec cimport decode_bytes
from docdb._native.keys cimport key_of_packed
from docdb._native.packed cimport DECIMAL, EXT, FLOAT, INT, INT64, Value, find_field, is_array, load64, read_value

cdef extern from *:
    """
    #define docdb_add_overflow(a, b, to) __builtin_add_overflow(a, b, to)
    """
    bint docdb_add_overflow(int64_t a, int64_t b, int64_t* to) nogil

cdef enum:
    NULL_TAG = 0x10


cdef struct Fold:
    int64_t whole
    int64_t count
    double total
    double compensation
    bint is_long
    bint has_double


cdef int find_path(const unsigned char* p, const unsigned char* end, tuple path, const unsigned char** item) except -2:
    """Find the value at a path: 1, 0 when it is absent, -1 to decline."""
    cdef bytes name
    cdef int found = 1
    for name in path:
        found = find_field(p, end, <const unsigned char*>PyBytes_AS_STRING(name), <uint32_t>PyBytes_GET_SIZE(name), &p)
        if found <= 0:
            return found
        if is_array(p, end):
            return -1
    item[0] = p
    return found


cdef int add_number(Fold* fold, const unsigned char* p, const unsigned char* end) noexcept nogil:
    """Add the value at p when it is a number: 0, or -1 to decline."""
    cdef Value value
    cdef double total, larger, smaller
    cdef int64_t whole
    cdef int kind = read_value(&p, end, &value)
    if kind < 0:
        return -1
    if kind == EXT and value.code == DECIMAL:
        return -1
    if kind == FLOAT:
        fold.has_double = True
        total = fold.total + value.real
        if isfinite(total):
            larger, smaller = fold.total, value.real
            if fabs(larger) < fabs(smaller):
                larger, smaller = smaller, larger
            fold.compensation += (larger - total) + smaller
        fold.total = total
    elif kind == INT or (kind == EXT and value.code == INT64):
        if kind == EXT and value.size != 8:
            return -1
        whole = value.integer if kind == INT else <int64_t>load64(value.body)
        if kind == EXT or not -2147483648LL <= whole <= 2147483647LL:
            fold.is_long = True
        if docdb_add_overflow(fold.whole, whole, &fold.whole):
            return -1
    else:
        return 0
    fold.count += 1
    return 0


cdef class Groups:
    """The groups met so far. ``id_path`` is a tuple of names in UTF-8, empty for one group of all; ``paths`` are what is summed."""

    cdef tuple id_path
    cdef tuple paths
    cdef dict places
    cdef list ids
    cdef list sizes
    cdef Fold* folds
    cdef Py_ssize_t room
    cdef Buffer key

    def __cinit__(self):
        self.folds = NULL
        self.room = 0
        if buffer_start(&self.key, 256) < 0:
            raise MemoryError

    def __init__(self, tuple id_path not None, tuple paths not None):
        self.id_path = id_path
        self.paths = paths
        self.places = {}
        self.ids = []
        self.sizes = []

    def __dealloc__(self):
        free(self.folds)
        buffer_end(&self.key)

    def __len__(self):
        return len(self.ids)

    cdef Py_ssize_t place(self, const unsigned char* p, const unsigned char* end) except -2:
        """Return the number of the document's group, made when it is new; -1 to decline."""
        cdef const unsigned char* item = NULL
        cdef const unsigned char* start
        cdef object identity = None
        cdef int found = 0
        self.key.size = 0
        if self.id_path:
            found = find_path(p, end, self.id_path, &item)
            if found < 0:
                return -1
        start = item
        if found:
            if key_of_packed(&item, end, &self.key, 0) < 0:
                return -1
        elif buffer_byte(&self.key, NULL_TAG) < 0:
            raise MemoryError
        cdef bytes key = PyBytes_FromStringAndSize(<char*>self.key.data, self.key.size)
        known = self.places.get(key)
        if known is not None:
            return known
        if found:
            identity = decode_bytes(start, item - start)
        cdef Py_ssize_t number = len(self.ids)
        self.grow(number + 1)
        self.places[key] = number
        self.ids.append(identity)
        self.sizes.append(0)
        return number

    cdef int grow(self, Py_ssize_t groups) except -1:
        cdef Py_ssize_t width = len(self.paths)
        cdef Py_ssize_t room = self.room
        cdef Fold* folds
        if groups <= room or width == 0:
            return 0
        room = max(64, 2 * room)
        folds = <Fold*>realloc(self.folds, <size_t>(room * width) * sizeof(Fold))
        if folds == NULL:
            raise MemoryError
        memset(folds + self.room * width, 0, <size_t>((room - self.room) * width) * sizeof(Fold))
        self.folds = folds
        self.room = room
        return 0

    def add(self, list batch not None):
        """Add stored documents; False when one is declined (the groups are of no use then)."""
        cdef bytes data
        cdef const unsigned char* p
        cdef const unsigned char* end
        cdef const unsigned char* item = NULL
        cdef Py_ssize_t at, number, width = len(self.paths)
        cdef int found
        for data in batch:
            p = <const unsigned char*>PyBytes_AS_STRING(data)
            end = p + PyBytes_GET_SIZE(data)
            number = self.place(p, end)
            if number < 0:
                return False
            self.sizes[number] += 1
            for at in range(width):
                found = find_path(p, end, <tuple>self.paths[at], &item)
                if found < 0 or (found and add_number(&self.folds[number * width + at], item, end) < 0):
                    return False
        return True

    def rows(self):
        """Return (id, number of documents, [(whole, is long, count, double, compensation, has double) of each path]) of each group."""
        cdef Py_ssize_t at, number, width = len(self.paths)
        cdef Fold* fold
        cdef list found = []
        for number in range(len(self.ids)):
            sums = []
            for at in range(width):
                fold = &self.folds[number * width + at]
                sums.append((fold.whole, fold.is_long, fold.count, fold.total, fold.compensation, fold.has_double))
            found.append((self.ids[number], self.sizes[number], sums))
        return found
