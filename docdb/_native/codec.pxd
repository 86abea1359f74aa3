# cython: language_level=3
"""The document decoder, for the engine that runs it on its own memory."""

from libc.stdint cimport uint32_t

from docdb._native.buffer cimport Buffer


cdef class Decoder:
    # The bytes are read before the call returns and not kept. Raises CorruptError.
    cdef object decode_at(self, const unsigned char* data, Py_ssize_t size)


cdef object decode_bytes(const unsigned char* data, Py_ssize_t size)        # any value
cdef object decode_document(const unsigned char* data, Py_ssize_t size)     # raises CorruptError for another value too


cdef class EntryDecoder:
    # An index entry's document, None where the entry does not tell. The bytes are read before the call returns and not kept.
    cdef tuple names
    cdef unsigned char turns[32]
    cdef uint32_t count
    cdef bint shows_id
    cdef object slow
    cdef Buffer turned
    cdef object decode_pair(self, const unsigned char* key, Py_ssize_t key_size, const unsigned char* value, Py_ssize_t value_size)
    cdef object plain(self, const unsigned char* key, Py_ssize_t key_size, const unsigned char* value, Py_ssize_t value_size)
    cdef const unsigned char* upright(self, const unsigned char* data, size_t size) except NULL
