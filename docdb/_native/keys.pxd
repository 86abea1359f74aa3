# cython: language_level=3
"""Order keys of stored values, for other kernels."""

from docdb._native.buffer cimport Buffer

# Append the order key of the value at p and move behind it: 0, or -1 for damage (or no memory). Names and text are taken as they are.
cdef int key_of_packed(const unsigned char** p, const unsigned char* end, Buffer* out, int depth) noexcept nogil

# The same for numbers that are at hand.
cdef int key_of_int(long long value, Buffer* out) noexcept nogil
cdef int key_of_double(double value, Buffer* out) noexcept nogil

# Move behind one component: 0, or -1. turn is 00 for an ascending component, FF for a descending one.
cdef int skip_component(const unsigned char** p, const unsigned char* end, unsigned char turn, int depth) noexcept nogil
