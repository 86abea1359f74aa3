# cython: language_level=3
"""Walking stored msgpack without decoding it: inline C for every kernel.

What lives here: reading one value's head, skipping a value, opening maps and arrays, finding a field. What it must not
know: what the bytes are walked for, Python objects, the GIL.

Law: ``p`` and ``end`` bound the bytes; nothing at or behind ``end`` is read. A negative return means bytes that docdb cannot have
written, and ``p`` is then of no use. Whatever the bytes say, the work is linear in their number and no function here recurses.
``p`` moves only forward: behind the whole value for scalars, behind the head for arrays and maps.

    reading         int read_value(&p, end, &value)             the kind, or -1
    skipping        int skip_value(&p, end)                     0, or -1
    maps            int64_t open_map(&p, end)                   number of fields, or -1 (also when it is no map)
                    int read_name(&p, end, &name, &size)        0, or -1; a value is certain to have at least one byte behind it
                    int find_field(p, end, name, size, &item)   1 and item at the value; 0 absent; -1. p stands at the map
    arrays          int64_t open_array(&p, end)                 number of elements, or -1 (also when it is no array)
                    int find_element(p, end, index, &item)      1 and item at the value; 0 absent; -1. p stands at the array
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef extern from *:
    """
    #ifndef DOCDB_PACKED
    #define DOCDB_PACKED
    #include <stdint.h>
    #include <string.h>

    /* Whole length of a value by its first byte; 0: look closer (a length follows, arrays, maps, what docdb never writes). */
    static inline unsigned docdb_fixed_length(unsigned char first) {
        static const unsigned char lengths[256] = {
            1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1, 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,
            1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1, 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,
            1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1, 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,
            1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1, 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,
            1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0, 1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,
            1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16, 17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,
            1,0,1,1,0,0,0,0,0,0,0,9,2,3,5,9, 2,3,5,9,3,4,6,10,18,0,0,0,0,0,0,0,
            1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1, 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1 };
        return lengths[first];
    }
    static inline uint16_t docdb_load16(const unsigned char *p) { uint16_t v; memcpy(&v, p, 2); return __builtin_bswap16(v); }
    static inline uint32_t docdb_load32(const unsigned char *p) { uint32_t v; memcpy(&v, p, 4); return __builtin_bswap32(v); }
    static inline uint64_t docdb_load64(const unsigned char *p) { uint64_t v; memcpy(&v, p, 8); return __builtin_bswap64(v); }
    static inline void docdb_store32(unsigned char *p, uint32_t v) { v = __builtin_bswap32(v); memcpy(p, &v, 4); }
    static inline void docdb_store64(unsigned char *p, uint64_t v) { v = __builtin_bswap64(v); memcpy(p, &v, 8); }
    #if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "the kernels are written for little-endian machines"
    #endif
    #endif
    """
    unsigned fixed_length "docdb_fixed_length"(unsigned char first) noexcept nogil
    uint16_t load16 "docdb_load16"(const unsigned char* p) noexcept nogil
    uint32_t load32 "docdb_load32"(const unsigned char* p) noexcept nogil
    uint64_t load64 "docdb_load64"(const unsigned char* p) noexcept nogil
    void store32 "docdb_store32"(unsigned char* p, uint32_t value) noexcept nogil
    void store64 "docdb_store64"(unsigned char* p, uint64_t value) noexcept nogil

cdef enum Kind:
    NIL = 0
    BOOL = 1        # integer is 0 or 1
    INT = 2         # integer
    FLOAT = 3       # real
    STR = 4         # body, size (UTF-8, not checked)
    BIN = 5         # body, size
    ARRAY = 6       # size elements follow
    MAP = 7         # size fields follow
    EXT = 8         # code, body, size

cdef enum Code:     # of extension types
    DATETIME = 1
    OBJECT_ID = 2
    DECIMAL = 3
    UUID = 4
    REGEX = 5
    INT64 = 6
    TIMESTAMP = 7
    MIN_KEY = 8
    MAX_KEY = 9
    BINARY = 10

cdef struct Value:
    int kind
    int code
    int64_t integer
    double real
    const unsigned char* body
    uint32_t size


cdef inline int take(
    const unsigned char** p, const unsigned char* end, Value* value, uint64_t head, uint64_t size
) noexcept nogil:
    """Set body and size of a value whose head has ``head`` bytes, all of them there, and move behind it."""
    if <uint64_t>(end - p[0]) < head + size:
        return -1
    value.body = p[0] + head
    value.size = <uint32_t>size
    p[0] += head + size
    return value.kind


cdef inline int read_int(const unsigned char** p, const unsigned char* end, Value* value, unsigned char first) noexcept nogil:
    """Read the forms CC to D3 (the only ones that come here)."""
    cdef uint64_t big
    cdef const unsigned char* body = p[0] + 1
    cdef unsigned length = fixed_length(first)
    if end - p[0] < <Py_ssize_t>length:
        return -1
    p[0] += length
    value.kind = INT
    if first == 0xCC:
        value.integer = body[0]
    elif first == 0xCD:
        value.integer = load16(body)
    elif first == 0xCE:
        value.integer = load32(body)
    elif first == 0xCF:
        big = load64(body)
        if big >> 63:
            return -1
        value.integer = <int64_t>big
    elif first == 0xD0:
        value.integer = <signed char>body[0]
    elif first == 0xD1:
        value.integer = <short>load16(body)
    elif first == 0xD2:
        value.integer = <int>load32(body)
    else:
        value.integer = <int64_t>load64(body)
    return INT


cdef inline int read_long(const unsigned char** p, const unsigned char* end, Value* value, unsigned char first) noexcept nogil:
    """Read the forms with a length of their own: C4 to C9, D9 to DF."""
    cdef unsigned width
    cdef uint64_t size
    cdef const unsigned char* start = p[0]
    if 0xC4 <= first <= 0xC6:
        width = 1 << (first - 0xC4)
        value.kind = BIN
    elif 0xC7 <= first <= 0xC9:
        width = 1 << (first - 0xC7)
        value.kind = EXT
    elif 0xD9 <= first <= 0xDB:
        width = 1 << (first - 0xD9)
        value.kind = STR
    elif first == 0xDC or first == 0xDD:
        width = 2 << (first - 0xDC)
        value.kind = ARRAY
    elif first == 0xDE or first == 0xDF:
        width = 2 << (first - 0xDE)
        value.kind = MAP
    else:
        return -1
    if end - start < <Py_ssize_t>(1 + width):
        return -1
    size = start[1] if width == 1 else load16(start + 1) if width == 2 else load32(start + 1)
    if value.kind == ARRAY or value.kind == MAP:
        value.size = <uint32_t>size
        p[0] += 1 + width
        return value.kind if size << (value.kind == MAP) <= <uint64_t>(end - p[0]) else -1
    if value.kind == EXT:
        if end - start < <Py_ssize_t>(2 + width):
            return -1
        value.code = <signed char>start[1 + width]
        return take(p, end, value, 2 + width, size)
    return take(p, end, value, 1 + width, size)


cdef inline int read_value(const unsigned char** p, const unsigned char* end, Value* value) noexcept nogil:
    """Read the value at ``p``: its kind, or -1. The members that are not named at the kind say nothing."""
    cdef unsigned char first
    cdef const unsigned char* start = p[0]
    cdef uint64_t bits
    value.integer = value.code = value.size = 0  # the compiler cannot see which kind sets what
    value.body = NULL
    if start >= end:
        return -1
    first = start[0]
    if first < 0x80 or first >= 0xE0:
        value.kind = INT
        value.integer = <signed char>first
        p[0] += 1
        return INT
    if first >= 0xA0 and first < 0xC0:
        value.kind = STR
        return take(p, end, value, 1, first & 31)
    if first < 0xA0:
        value.kind = MAP if first < 0x90 else ARRAY
        value.size = first & 15
        p[0] += 1
        return value.kind if value.size << (first < 0x90) <= <uint64_t>(end - p[0]) else -1
    if first == 0xC0:
        value.kind = NIL
        p[0] += 1
        return NIL
    if first == 0xC2 or first == 0xC3:
        value.kind = BOOL
        value.integer = first & 1
        p[0] += 1
        return BOOL
    if first == 0xCB:
        if end - start < 9:
            return -1
        bits = load64(start + 1)
        memcpy(&value.real, &bits, 8)
        value.kind = FLOAT
        p[0] += 9
        return FLOAT
    if 0xCC <= first <= 0xD3:
        return read_int(p, end, value, first)
    if 0xD4 <= first <= 0xD8:
        if end - start < 2:
            return -1
        value.kind = EXT
        value.code = <signed char>start[1]
        return take(p, end, value, 2, 1 << (first - 0xD4))
    return read_long(p, end, value, first)


cdef inline int skip_nested(const unsigned char** p, const unsigned char* end) noexcept nogil:
    """Skip any value; a count of what is still to come takes the place of a stack."""
    cdef Value value
    cdef uint64_t left = 1
    cdef unsigned length
    cdef int kind
    value.size = 0
    while left:
        left -= 1
        if p[0] >= end:
            return -1
        length = fixed_length(p[0][0])
        if length:
            if end - p[0] < <Py_ssize_t>length:
                return -1
            p[0] += length
            continue
        kind = read_value(p, end, &value)
        if kind < 0:
            return -1
        if kind == ARRAY:
            left += value.size
        elif kind == MAP:
            left += 2 * <uint64_t>value.size
    return 0


cdef inline int skip_value(const unsigned char** p, const unsigned char* end) noexcept nogil:
    """Move behind the value at ``p``: 0, or -1. One table look-up for all that is short."""
    cdef unsigned length
    if p[0] >= end:
        return -1
    length = fixed_length(p[0][0])
    if length:
        if end - p[0] < <Py_ssize_t>length:
            return -1
        p[0] += length
        return 0
    if p[0][0] == 0xD9:     # texts of 32 to 255 bytes
        if end - p[0] < 2 or end - p[0] < 2 + <Py_ssize_t>p[0][1]:
            return -1
        p[0] += 2 + <Py_ssize_t>p[0][1]
        return 0
    return skip_nested(p, end)


cdef inline int64_t open_map(const unsigned char** p, const unsigned char* end) noexcept nogil:
    """Move behind the head of a map; its number of fields, or -1."""
    cdef Value value
    cdef unsigned char first
    if p[0] >= end:
        return -1
    first = p[0][0]
    if (first & 0xF0) == 0x80:
        p[0] += 1
        return first & 15
    if first != 0xDE and first != 0xDF:
        return -1
    value.size = 0
    return value.size if read_long(p, end, &value, first) == MAP else -1


cdef inline int64_t open_array(const unsigned char** p, const unsigned char* end) noexcept nogil:
    """Move behind the head of an array; its number of elements, or -1."""
    cdef Value value
    cdef unsigned char first
    if p[0] >= end:
        return -1
    first = p[0][0]
    if (first & 0xF0) == 0x90:
        p[0] += 1
        return first & 15
    if first != 0xDC and first != 0xDD:
        return -1
    value.size = 0
    return value.size if read_long(p, end, &value, first) == ARRAY else -1


cdef inline bint is_map(const unsigned char* p, const unsigned char* end) noexcept nogil:
    return p < end and ((p[0] & 0xF0) == 0x80 or p[0] == 0xDE or p[0] == 0xDF)


cdef inline bint is_array(const unsigned char* p, const unsigned char* end) noexcept nogil:
    return p < end and ((p[0] & 0xF0) == 0x90 or p[0] == 0xDC or p[0] == 0xDD)


cdef inline int read_name(
    const unsigned char** p, const unsigned char* end, const unsigned char** name, uint32_t* size
) noexcept nogil:
    """Read a field's name and move to its value, of which at least one byte is there: 0, or -1."""
    cdef const unsigned char* start = p[0]
    cdef uint64_t length
    cdef uint64_t head = 1
    if start >= end:
        return -1
    if (start[0] & 0xE0) == 0xA0:
        length = start[0] & 31
    elif 0xD9 <= start[0] <= 0xDB:
        head = 1 + (1 << (start[0] - 0xD9))
        if <uint64_t>(end - start) < head:
            return -1
        length = start[1] if head == 2 else load16(start + 1) if head == 3 else load32(start + 1)
    else:
        return -1
    if <uint64_t>(end - start) <= head + length:
        return -1
    name[0] = start + head
    size[0] = <uint32_t>length
    p[0] += head + length
    return 0


cdef inline int find_field(
    const unsigned char* p, const unsigned char* end, const unsigned char* name, uint32_t size, const unsigned char** item
) noexcept nogil:
    """Find a field of the map at ``p``: 1 with ``item`` at its value, 0 when it is absent or ``p`` is no map, -1 when damaged."""
    cdef int64_t count
    cdef const unsigned char* key
    cdef uint32_t length
    if not is_map(p, end):
        return 0 if p < end else -1
    count = open_map(&p, end)
    if count < 0:
        return -1
    while count:
        count -= 1
        if read_name(&p, end, &key, &length) < 0:
            return -1
        if length == size and memcmp(key, name, size) == 0:
            item[0] = p
            return 1
        if skip_value(&p, end) < 0:
            return -1
    return 0


cdef inline int find_element(
    const unsigned char* p, const unsigned char* end, uint32_t index, const unsigned char** item
) noexcept nogil:
    """Find an element of the array at ``p``: 1 with ``item`` at it, 0 when it is absent or ``p`` is no array, -1 when damaged."""
    cdef int64_t count
    if not is_array(p, end):
        return 0 if p < end else -1
    count = open_array(&p, end)
    if count < 0:
        return -1
    if count <= index:
        return 0
    while index:
        index -= 1
        if skip_value(&p, end) < 0:
            return -1
    item[0] = p
    return 1 if p < end else -1
