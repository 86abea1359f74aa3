# cython: language_level=3
"""Writing msgpack in its shortest forms: inline C for the encoder.

What lives here: heads, integers, doubles, text, extension types. What it must not know: documents, what an extension
type means. Every function raises when there is no memory left or text is not valid UTF-8.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from docdb._native.buffer cimport Buffer, buffer_put, buffer_reserve
from docdb._native.packed cimport store32, store64

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL


cdef inline int put_size(
    Buffer* out, uint64_t size, unsigned char small, unsigned limit, unsigned char first, int widths
) except -1:
    """Put a head: ``small | size`` below ``limit``, else ``first`` and on: lengths of 1, 2, 4 bytes (2, 4 when widths is 2)."""
    cdef unsigned char* p
    if buffer_reserve(out, 5) < 0:
        raise MemoryError
    p = out.data + out.size
    if size < limit:
        p[0] = <unsigned char>(small | size)
        out.size += 1
    elif widths == 3 and size < 256:
        p[0] = first
        p[1] = <unsigned char>size
        out.size += 2
    elif size < 65536:
        p[0] = <unsigned char>(first + widths - 2)
        p[1] = <unsigned char>(size >> 8)
        p[2] = <unsigned char>size
        out.size += 3
    elif size < <uint64_t>4294967296:
        p[0] = <unsigned char>(first + widths - 1)
        store32(p + 1, <uint32_t>size)
        out.size += 5
    else:
        raise OverflowError("too long")
    return 0


cdef inline int put(Buffer* out, const void* data, size_t size) except -1:
    if buffer_put(out, data, size) < 0:
        raise MemoryError
    return 0


cdef inline int put_int(Buffer* out, int64_t value) except -1:
    cdef unsigned char* p
    if buffer_reserve(out, 9) < 0:
        raise MemoryError
    p = out.data + out.size
    if -32 <= value < 128:
        p[0] = <unsigned char>value
        out.size += 1
    elif -128 <= value < 256:
        p[0] = 0xCC if value > 0 else 0xD0
        p[1] = <unsigned char>value
        out.size += 2
    elif -32768 <= value < 65536:
        p[0] = 0xCD if value > 0 else 0xD1
        p[1] = <unsigned char>(value >> 8)
        p[2] = <unsigned char>value
        out.size += 3
    elif <int64_t>-2147483648 <= value < <int64_t>4294967296:
        p[0] = 0xCE if value > 0 else 0xD2
        store32(p + 1, <uint32_t>value)
        out.size += 5
    else:
        p[0] = 0xCF if value > 0 else 0xD3
        store64(p + 1, <uint64_t>value)
        out.size += 9
    return 0


cdef inline int put_double(Buffer* out, double value) except -1:
    cdef uint64_t bits
    if buffer_reserve(out, 9) < 0:
        raise MemoryError
    memcpy(&bits, &value, 8)
    out.data[out.size] = 0xCB
    store64(out.data + out.size + 1, bits)
    out.size += 9
    return 0


cdef inline int put_text(Buffer* out, object text) except -1:
    cdef Py_ssize_t size
    cdef const char* data = PyUnicode_AsUTF8AndSize(text, &size)
    put_size(out, size, 0xA0, 32, 0xD9, 3)
    return put(out, data, size)


cdef inline int put_ext(Buffer* out, int code, const void* data, size_t size) except -1:
    cdef unsigned char head = 0
    if size == 1:
        head = 0xD4
    elif size == 2:
        head = 0xD5
    elif size == 4:
        head = 0xD6
    elif size == 8:
        head = 0xD7
    elif size == 16:
        head = 0xD8
    if head:
        put(out, &head, 1)
    else:
        put_size(out, size, 0, 0, 0xC7, 3)
    head = <unsigned char>code
    put(out, &head, 1)
    return put(out, data, size)


cdef inline int put_ext_bytes(Buffer* out, int code, bytes payload) except -1:
    return put_ext(out, code, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))


cdef inline int put_ext_int(Buffer* out, int code, int64_t value) except -1:
    cdef unsigned char payload[8]
    store64(payload, <uint64_t>value)
    return put_ext(out, code, payload, 8)
