# cython: language_level=3
"""Runs of pairs in C, for the kernels that make them and the engine that stores them.

A pair has the layout of two MDB_val. While rows are being added its pointers are places in ``memory``, which may still move;
``rows_settle`` makes them pointers. Every function returns 0, or -1 when there is no memory left.
"""

from libc.stdint cimport uint32_t

from docdb._native.buffer cimport Buffer

cdef enum:
    HEAD = 9            # what a change record has before its images
    PREFIX = 4          # the collection's number before an id key

cdef struct Pair:
    size_t key_size
    const unsigned char* key
    size_t value_size
    const unsigned char* value

cdef struct Rows:
    Buffer memory
    Pair* pairs
    Py_ssize_t size
    Py_ssize_t room

cdef int rows_start(Rows* rows, size_t capacity) noexcept nogil
cdef void rows_end(Rows* rows) noexcept nogil
cdef int rows_add(Rows* rows, const void* key, size_t key_size, const void* value, size_t value_size) noexcept nogil
cdef int rows_point(Rows* rows, const void* key, size_t key_size, const void* value, size_t value_size) noexcept nogil
cdef void rows_settle(Rows* rows) noexcept nogil
cdef int rows_sort(Rows* rows) noexcept nogil


cdef class Run:
    cdef Rows rows
    cdef object keeps                   # owns memory that pairs point to
    cdef readonly Py_ssize_t cut        # entries whose components were cut
    cdef readonly Py_ssize_t multikey   # entries that come from arrays


cdef Run new_run(size_t capacity, object keeps)


cdef struct Row:
    size_t at               # the record's head; the document's bytes and the key follow
    size_t data_size
    size_t key_size         # with the prefix


cdef class Documents:
    cdef Buffer memory
    cdef Row* rows
    cdef readonly Py_ssize_t size
    cdef Py_ssize_t room
    cdef uint32_t number
    cdef readonly size_t data_bytes
    cdef Rows ordered                   # the pairs of key and document in order of the keys
    cdef bytes held_name                # None, or the name of a field that each document has with just the value
    cdef bytes held_value
    cdef int remember(self, bytes name, bytes value) except -1
    cdef int arrange(self) except -1
    cdef int assign(self, uint32_t number) except -1
    cdef size_t begin(self) except? 0
    cdef int finish(self, size_t at, const void* id_key, size_t id_size) except -1


cdef Documents new_documents(size_t capacity)
cdef int holds_at(
    const unsigned char* data, size_t size, const unsigned char** parts, const uint32_t* sizes, int count, const unsigned char* packed, Py_ssize_t length
) noexcept nogil
