# cython: language_level=3
"""A growing run of bytes for the kernels: inline C, no Python objects, no GIL.

What lives here: ``Buffer`` and what appends to it. What it must not know: what the bytes mean. Every function returns 0,
or -1 when there is no memory left. ``buffer_start`` and ``buffer_end`` belong together, whatever happens between.
"""

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

cdef struct Buffer:
    unsigned char* data
    size_t size
    size_t capacity


cdef inline int buffer_start(Buffer* out, size_t capacity) noexcept nogil:
    out.data = <unsigned char*>malloc(capacity)
    out.size = 0
    out.capacity = capacity
    return 0 if out.data != NULL else -1


cdef inline void buffer_end(Buffer* out) noexcept nogil:
    free(out.data)
    out.data = NULL


cdef inline int buffer_grow(Buffer* out, size_t more) noexcept nogil:
    cdef size_t capacity = 2 * out.capacity + more
    cdef unsigned char* data = <unsigned char*>realloc(out.data, capacity)
    if data == NULL:
        return -1
    out.data = data
    out.capacity = capacity
    return 0


cdef inline int buffer_reserve(Buffer* out, size_t more) noexcept nogil:
    """Make sure that ``more`` bytes fit behind what is there."""
    if out.capacity - out.size >= more:
        return 0
    return buffer_grow(out, more)


cdef inline int buffer_put(Buffer* out, const void* data, size_t size) noexcept nogil:
    if buffer_reserve(out, size) < 0:
        return -1
    if size:
        memcpy(out.data + out.size, data, size)
    out.size += size
    return 0


cdef inline int buffer_byte(Buffer* out, unsigned char byte) noexcept nogil:
    if buffer_reserve(out, 1) < 0:
        return -1
    out.data[out.size] = byte
    out.size += 1
    return 0
