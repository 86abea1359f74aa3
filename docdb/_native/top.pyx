# cython: language_level=3
"""Sort keys of many stored documents at once: the fast twin of ``language/sorting.sort_key`` for sort + limit.

What lives here: ``keys_below``, and ``Firsts``, a decoder that keeps what it is given when its key is low enough. What it must not know: heaps, limits,
documents as dicts. A document whose sort fields hold or pass an array,
and one whose bytes are damaged, is declined: the reference form makes its key, or says what is wrong.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcmp

from docdb._native.buffer cimport Buffer, buffer_byte, buffer_end, buffer_start
from docdb._native.codec cimport Decoder
from docdb._native.keys cimport key_of_packed
from docdb._native.packed cimport find_field, is_array

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
