"""What tells of a commit, for the engine that makes it. See bell.pyx."""

from libc.stdint cimport uint32_t


cdef class Herald:
    cdef uint32_t words[2]
    cdef Py_buffer memory       # the bell's words
    cdef uint32_t number
    cdef uint32_t own
    cdef bint others

    cdef void settle(self, bint landed) noexcept nogil
