# cython: language_level=3
"""Sort keys of many stored documents at once: the fast twin of ``language/sorting.sort_key``.

What lives here: ``keys_below``; ``Firsts``, a decoder that keeps what it is given when its key is low enough; ``Sorter``, one that keeps everything and puts
it in order. What it must not know: heaps, limits, files. A document whose sort fields hold or pass an array,
and one whose bytes are damaged, is declined: the reference form makes its key, or says what is wrong.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp

from docdb._native.buffer cimport Buffer, buffer_byte, buffer_end, buffer_put, buffer_start
from docdb._native.codec cimport Decoder
from docdb._native.keys cimport key_of_packed
from docdb._native.packed cimport find_field, is_array, load64, open_map, read_name, skip_value, store64
from docdb._native.runs cimport Pair, Rows, rows_add, rows_end, rows_settle, rows_sort, rows_start

cdef enum:
    NULL_TAG = 0x10


cdef int key_at(
    const unsigned char* p, const unsigned char* end, tuple path, bint descending, Buffer* out
) except -2:
    """Append the key of the value at a path: 0, or -1 to decline."""
    cdef bytes name
    cdef int found = 1
    cdef size_t start = out.size
    cdef size_t i
    for name in path:
        found = find_field(p, end, <const unsigned char*>PyBytes_AS_STRING(name), <uint32_t>PyBytes_GET_SIZE(name), &p)
        if found < 0 or (found and is_array(p, end)):
            return -1
        if not found:
            break
    if not found:
        if buffer_byte(out, NULL_TAG) < 0:
            raise MemoryError
    elif key_of_packed(&p, end, out, 0) < 0:
        return -1
    if descending:
        for i in range(start, out.size):
            out.data[i] ^= 0xFF
    return 0


def keys_below(list batch not None, tuple paths not None, tuple ways not None, bytes worst):
    """Return (position, key) of the documents of a batch whose key is below ``worst`` (None: of all), key None where declined.

    ``batch`` holds stored documents, ``paths`` tuples of names in UTF-8, ``ways`` 1 or -1 for each. Cost: one walk to the fields a document.
    """
    cdef Buffer out
    cdef bytes data
    cdef const unsigned char* p
    cdef const unsigned char* limit = NULL
    cdef Py_ssize_t at, number, size, bound = 0
    cdef int order
    cdef list found = []
    if len(paths) != len(ways):
        raise ValueError("as many paths as ways")
    if worst is not None:
        limit = <const unsigned char*>PyBytes_AS_STRING(worst)
        bound = PyBytes_GET_SIZE(worst)
    if buffer_start(&out, 256) < 0:
        raise MemoryError
    try:
        for at in range(len(batch)):
            data = batch[at]
            p = <const unsigned char*>PyBytes_AS_STRING(data)
            size = PyBytes_GET_SIZE(data)
            out.size = 0
            for number in range(len(paths)):
                if key_at(p, p + size, <tuple>paths[number], ways[number] < 0, &out) < 0:
                    found.append((at, None))
                    break
            else:
                if limit != NULL:
                    size = <Py_ssize_t>out.size
                    order = memcmp(out.data, limit, <size_t>min(size, bound))
                    if order > 0 or (order == 0 and size >= bound):
                        continue
                found.append((at, PyBytes_FromStringAndSize(<char*>out.data, out.size)))
        return found
    finally:
        buffer_end(&out)


cdef class Firsts(Decoder):
    """Keeps in ``held`` (key, number, document) of those stored documents whose key is below ``worst`` (None: of all); the key is None where declined.

    ``paths`` are tuples of names in UTF-8, ``ways`` 1 or -1 for each. Both attributes belong to the caller, who changes them between two documents.
    ``lead`` is the key of the first ``leads`` paths in the newest document; None where it was declined, which is ``last`` then.
    """

    cdef public list held
    cdef public bytes worst
    cdef readonly bytes last
    cdef tuple paths
    cdef tuple ways
    cdef Py_ssize_t number
    cdef Py_ssize_t leads
    cdef size_t lead_size
    cdef Buffer key

    def __cinit__(self):
        if buffer_start(&self.key, 256) < 0:
            raise MemoryError

    def __init__(self, tuple paths not None, tuple ways not None, Py_ssize_t leads=0):
        if len(paths) != len(ways):
            raise ValueError("as many paths as ways")
        self.paths, self.ways, self.leads = paths, ways, leads
        self.held = []

    @property
    def lead(self):
        return None if self.last is not None else PyBytes_FromStringAndSize(<const char*>self.key.data, <Py_ssize_t>self.lead_size)

    def __dealloc__(self):
        buffer_end(&self.key)

    cdef object decode_at(self, const unsigned char* data, Py_ssize_t size):
        cdef Py_ssize_t at, length
        cdef int order
        self.number += 1
        self.key.size = self.lead_size = 0
        self.last = None
        for at in range(len(self.paths)):
            if key_at(data, data + size, <tuple>self.paths[at], self.ways[at] < 0, &self.key) < 0:
                self.last = PyBytes_FromStringAndSize(<const char*>data, size)
                self.held.append((None, self.number, self.last))
                return True
            if at + 1 == self.leads:
                self.lead_size = self.key.size
        length = <Py_ssize_t>self.key.size
        if self.worst is not None:
            order = memcmp(self.key.data, PyBytes_AS_STRING(self.worst), <size_t>min(length, PyBytes_GET_SIZE(self.worst)))
            if order > 0 or (order == 0 and length >= PyBytes_GET_SIZE(self.worst)):
                return True
        key = PyBytes_FromStringAndSize(<char*>self.key.data, length)
        self.held.append((key, self.number, PyBytes_FromStringAndSize(<const char*>data, size)))
        return True


cdef enum:
    NUMBER = 8              # bytes of the number behind a key, which makes keys unlike and keeps ties in the order of arrival
    MAP16 = 0xDE
    ROOM = 65536
    MOST_NAMES = 65535

cdef Decoder any_document = Decoder()


cdef class Sorter(Decoder):
    """Keeps of each stored document it is given its key and the fields ``names`` (None: all of it), and puts them in order.

    ``paths`` are tuples of names in UTF-8, ``ways`` 1 or -1 for each. ``slow`` gives the key of a document that the kernel declines. After ``sort`` the
    documents are read by place; none is added before ``clear``. ``used`` is what they take, in bytes.
    """

    cdef Rows rows_
    cdef Buffer key
    cdef Buffer part
    cdef tuple paths
    cdef tuple ways
    cdef tuple names
    cdef object slow
    cdef uint64_t number
    cdef bint settled
    cdef bint sorting           # by a thread that has let go of the interpreter's lock

    def __cinit__(self):
        if buffer_start(&self.key, 256) < 0 or buffer_start(&self.part, 256) < 0 or rows_start(&self.rows_, ROOM) < 0:
            raise MemoryError

    def __init__(self, tuple paths not None, tuple ways not None, tuple names, slow):
        if len(paths) != len(ways):
            raise ValueError("as many paths as ways")
        if names is not None and len(names) > MOST_NAMES:
            raise ValueError(f"at most {MOST_NAMES} names")
        self.paths, self.ways, self.names, self.slow = paths, ways, names, slow

    def __dealloc__(self):
        buffer_end(&self.key)
        buffer_end(&self.part)
        rows_end(&self.rows_)

    def __len__(self):
        return self.rows_.size

    @property
    def used(self):
        return <Py_ssize_t>self.rows_.memory.size + self.rows_.size * <Py_ssize_t>sizeof(Pair)

    cdef object decode_at(self, const unsigned char* data, Py_ssize_t size):
        cdef Py_ssize_t at
        cdef bytes key
        if self.settled or self.sorting:
            raise ValueError("a sorter that has sorted takes no more")
        self.key.size = 0
        for at in range(len(self.paths)):
            if key_at(data, data + size, <tuple>self.paths[at], self.ways[at] < 0, &self.key) < 0:
                key = self.slow(PyBytes_FromStringAndSize(<const char*>data, size))
                self.key.size = 0
                if buffer_put(&self.key, PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key)) < 0:
                    raise MemoryError
                break
        if self.names is not None and self.prune(data, data + size) == 0:
            data, size = self.part.data, <Py_ssize_t>self.part.size
        self.keep(data, size)
        return True

    cdef int keep(self, const unsigned char* data, Py_ssize_t size) except -1:
        cdef unsigned char number[NUMBER]
        store64(number, self.number)
        self.number += 1
        if buffer_put(&self.key, number, NUMBER) < 0 or rows_add(&self.rows_, self.key.data, self.key.size, data, <size_t>size) < 0:
            raise MemoryError
        return 0

    cdef int prune(self, const unsigned char* data, const unsigned char* end) except -2:
        """Put a map of the wanted fields together: 0, or -1 for what is no document."""
        cdef const unsigned char* p = data
        cdef const unsigned char* start
        cdef const unsigned char* name
        cdef uint32_t length
        cdef uint32_t found = 0
        cdef int64_t count = open_map(&p, end)
        cdef uint32_t wanted = <uint32_t>len(self.names)
        self.part.size = 3
        if count < 0:
            return -1
        while count and found < wanted:
            count -= 1
            start = p
            if read_name(&p, end, &name, &length) < 0 or skip_value(&p, end) < 0:
                return -1
            if self.wants(name, length):
                found += 1
                if buffer_put(&self.part, start, <size_t>(p - start)) < 0:
                    raise MemoryError
        self.part.data[0], self.part.data[1], self.part.data[2] = MAP16, <unsigned char>(found >> 8), <unsigned char>(found & 0xFF)
        return 0

    cdef bint wants(self, const unsigned char* name, uint32_t length):
        cdef bytes known
        for known in self.names:
            if <uint32_t>PyBytes_GET_SIZE(known) == length and memcmp(PyBytes_AS_STRING(known), name, length) == 0:
                return True
        return False

    def sort(self):
        """Put the documents in order. Runs without the interpreter's lock."""
        cdef int code
        if self.settled:
            return
        self.claim()
        self.sorting = True
        with nogil:
            rows_settle(&self.rows_)
            code = rows_sort(&self.rows_)
        self.sorting = False
        self.settled = True
        if code < 0:
            raise MemoryError

    cdef int claim(self) except -1:
        if self.sorting:
            raise ValueError("another thread is sorting")
        return 0

    cdef int check(self, Py_ssize_t start, Py_ssize_t stop) except -1:
        if not self.settled or not 0 <= start <= stop <= self.rows_.size:
            raise IndexError("places of documents that are sorted")
        return 0

    def decoded(self, Py_ssize_t start, Py_ssize_t stop):
        """Return the documents from one place up to another, decoded."""
        cdef Py_ssize_t at
        self.check(start, stop)
        return [any_document.decode_at(self.rows_.pairs[at].value, <Py_ssize_t>self.rows_.pairs[at].value_size) for at in range(start, stop)]

    def stored(self, Py_ssize_t start, Py_ssize_t stop):
        """Return the same as stored bytes."""
        cdef Py_ssize_t at
        self.check(start, stop)
        return [
            PyBytes_FromStringAndSize(<const char*>self.rows_.pairs[at].value, <Py_ssize_t>self.rows_.pairs[at].value_size)
            for at in range(start, stop)
        ]

    def rows(self, Py_ssize_t start, Py_ssize_t stop):
        """Return (key, number of arrival, stored bytes) of the same."""
        cdef Py_ssize_t at
        cdef Pair* pair
        cdef list found = []
        self.check(start, stop)
        for at in range(start, stop):
            pair = &self.rows_.pairs[at]
            found.append((
                PyBytes_FromStringAndSize(<const char*>pair.key, <Py_ssize_t>pair.key_size - NUMBER),
                load64(pair.key + pair.key_size - NUMBER),
                PyBytes_FromStringAndSize(<const char*>pair.value, <Py_ssize_t>pair.value_size),
            ))
        return found

    def clear(self):
        """Forget all documents, but for the number of the next."""
        self.claim()
        rows_end(&self.rows_)
        self.settled = False
        if rows_start(&self.rows_, ROOM) < 0:
            raise MemoryError
