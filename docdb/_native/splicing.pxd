# cython: language_level=3
"""Putting values into a stored document without decoding it: inline C.

What lives here: ``splice``. What it must not know: what the fields mean, where the document lies. The reference form is decoding, assigning and
encoding (``store/codec.py``): stored documents are canonical, so both give the same bytes.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp

from docdb._native.buffer cimport Buffer, buffer_put
from docdb._native.packed cimport open_map, read_name, skip_value

cdef enum:
    MOST_SPLICED = 16

cdef struct Assigned:
    const char *name        # of a field of the document itself, UTF-8
    size_t name_size
    const char *head        # the name as msgpack
    size_t head_size
    const char *value       # the value as msgpack
    size_t value_size
    Py_ssize_t start        # where the stored value lies in the document; 0: it has no such field
    Py_ssize_t stop


cdef inline int find_assigned(const unsigned char *data, size_t size, Assigned *fields, int count, int64_t *held) noexcept nogil:
    """Find the fields in a document; return how many of them it has, -1 for damaged bytes. ``held``: how many fields it has in all."""
    cdef const unsigned char *p = data
    cdef const unsigned char *end = data + size
    cdef const unsigned char *name
    cdef const unsigned char *value
    cdef uint32_t name_size = 0
    cdef int64_t left
    cdef int at, found = 0
    for at in range(count):
        fields[at].start = 0
    held[0] = left = open_map(&p, end)
    while left > 0:
        if read_name(&p, end, &name, &name_size) < 0:
            return -1
        value = p
        if skip_value(&p, end) < 0:
            return -1
        for at in range(count):
            if fields[at].name_size == name_size and memcmp(fields[at].name, name, name_size) == 0:
                if fields[at].start:
                    return -1   # a name that is there twice
                fields[at].start = value - data
                fields[at].stop = p - data
                found += 1
        left -= 1
    return found if left == 0 and p == end else -1


cdef inline int put_head(Buffer *out, uint64_t fields) noexcept nogil:
    cdef unsigned char head[5]
    if fields < 16:
        head[0] = <unsigned char>(0x80 | fields)
        return buffer_put(out, head, 1)
    if fields < 65536:
        head[0] = 0xDE
        head[1] = <unsigned char>(fields >> 8)
        head[2] = <unsigned char>fields
        return buffer_put(out, head, 3)
    return -1


cdef inline int splice(Buffer *out, const unsigned char *data, size_t size, Assigned *fields, int count) noexcept nogil:
    """Append the document with these fields assigned; the new ones stand at its end, in their order.

    Return 1; 0, having appended nothing, when it would be the same; -1 for damaged bytes, more fields than it takes, or no memory.
    """
    cdef const unsigned char *p = data
    cdef int64_t held = 0
    cdef Py_ssize_t following, done
    cdef int n, best, found = find_assigned(data, size, fields, count, &held)
    cdef bint changed = found < count
    if found < 0 or held < 0 or open_map(&p, data + size) < 0:
        return -1
    for n in range(count):
        if fields[n].start and (
            fields[n].stop - fields[n].start != <Py_ssize_t>fields[n].value_size
            or memcmp(data + fields[n].start, fields[n].value, fields[n].value_size)
        ):
            changed = True
    if not changed:
        return 0
    if put_head(out, held + count - found) < 0:
        return -1
    done = p - data
    while True:
        best, following = -1, <Py_ssize_t>size
        for n in range(count):
            if fields[n].start >= done and fields[n].start < following:
                best, following = n, fields[n].start
        if buffer_put(out, data + done, following - done) < 0:
            return -1
        if best < 0:
            break
        if buffer_put(out, fields[best].value, fields[best].value_size) < 0:
            return -1
        done = fields[best].stop
    for n in range(count):
        if fields[n].start == 0:
            if buffer_put(out, fields[n].head, fields[n].head_size) < 0:
                return -1
            if buffer_put(out, fields[n].value, fields[n].value_size) < 0:
                return -1
    return 1
