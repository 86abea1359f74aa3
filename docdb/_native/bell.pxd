"""What tells of a commit, for the engine that makes it. See bell.pyx."""

from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef class Herald:
    cdef uint32_t words[2]
    cdef Py_buffer memory       # the bell's words
    cdef uint32_t number
    cdef uint32_t own
    cdef bint others
    cdef uint64_t token         # of the commit's notice
    cdef readonly int64_t settled_ns    # when the outcome was told, on the monotonic clock

    cdef void settle(self, bint landed) noexcept nogil
