# cython: language_level=3
"""The document decoder, for the engine that runs it on its own memory."""


cdef class Decoder:
    # The bytes are read before the call returns and not kept. Raises CorruptError.
    cdef object decode_at(self, const unsigned char* data, Py_ssize_t size)


cdef object decode_bytes(const unsigned char* data, Py_ssize_t size)
