# cython: language_level=3
"""Order keys from stored bytes, and back: the fast twin of ``language/order.py`` and ``store/components.py``.

What lives here: ``order_key``, ``split_components``, ``decode_key``, and the C functions of ``keys.pxd``. What it must not
know: index entries (``entries``), classes of docdb, collations. Damage is answered with None, and the reference form says what is wrong.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport HUGE_VAL, isnan, nextafter
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from docdb._native.buffer cimport Buffer, buffer_byte, buffer_end, buffer_put, buffer_reserve, buffer_start
from docdb._native.packed cimport (
    BINARY, BIN, BOOL, DATETIME, DECIMAL, EXT, FLOAT, INT, INT64, MAP, MAX_KEY, MIN_KEY, NIL, OBJECT_ID, REGEX, STR,
    TIMESTAMP, UUID, Value, load64, read_name, read_value, store32, store64,
)

cdef enum:
    DEPTH = 100

cdef uint64_t SIGN = <uint64_t>1 << 63


# ---- order keys


cdef inline int put_double_bits(double value, Buffer* out) noexcept nogil:
    """Put the tag and the eight ordered bytes of a double."""
    cdef uint64_t bits
    if buffer_reserve(out, 10) < 0:
        return -1
    if isnan(value):
        bits = 0
    else:
        if value == 0:
            value = 0.0
        memcpy(&bits, &value, 8)
        bits = ~bits if bits & SIGN else bits | SIGN
    out.data[out.size] = 0x20
    store64(out.data + out.size + 1, bits)
    out.size += 9
    return 0


cdef int key_of_double(double value, Buffer* out) noexcept nogil:
    if isnan(value) or value != 0:
        if put_double_bits(value, out) < 0:
            return -1
    elif put_double_bits(0.0, out) < 0:  # -0.0 too
        return -1
    return buffer_byte(out, 0)


cdef int put_digits(uint64_t magnitude, unsigned char turn, Buffer* out) noexcept nogil:
    """Put an integer's decimal form behind its double: 01, exponent, digits two a byte, 00; inverted (but 01) below 0."""
    cdef unsigned char digits[20]
    cdef int count = 0
    cdef int i
    cdef unsigned char low
    cdef unsigned exponent
    while magnitude:
        digits[count] = <unsigned char>(magnitude % 10)
        magnitude //= 10
        count += 1
    if buffer_reserve(out, 16) < 0:
        return -1
    exponent = 0x8000 + count - 1
    i = 0
    while digits[i] == 0:
        i += 1
    out.data[out.size] = 1
    out.data[out.size + 1] = <unsigned char>(exponent >> 8) ^ turn
    out.data[out.size + 2] = <unsigned char>exponent ^ turn
    out.size += 3
    count -= 1
    while count >= i:
        low = digits[count - 1] + 1 if count > i else 0
        out.data[out.size] = ((digits[count] + 1) << 4 | low) ^ turn
        out.size += 1
        count -= 2
    out.data[out.size] = turn
    out.size += 1
    return 0


cdef int key_of_int(long long value, Buffer* out) noexcept nogil:
    cdef double near = <double>value
    cdef uint64_t magnitude
    if <int64_t>-9007199254740992 <= value <= <int64_t>9007199254740992:
        return key_of_double(near, out)
    # the only doubles out of range: 2**63, for values next to it; it lies above all of them
    if near >= 9223372036854775808.0 or <long long>near > value:
        near = nextafter(near, -HUGE_VAL)
    if <long long>near == value:
        return key_of_double(near, out)
    if put_double_bits(near, out) < 0:
        return -1
    magnitude = <uint64_t>value if value > 0 else 0 - <uint64_t>value
    return put_digits(magnitude, 0 if value > 0 else 0xFF, out)


cdef int put_text(const unsigned char* text, size_t size, Buffer* out) noexcept nogil:
    """Put a string's body: NUL escaped as 00 FF, terminated by 00."""
    cdef size_t i
    cdef unsigned char* to
    if buffer_reserve(out, 2 * size + 1) < 0:
        return -1
    to = out.data + out.size
    for i in range(size):
        to[0] = text[i]
        to += 1
        if text[i] == 0:
            to[0] = 0xFF
            to += 1
    to[0] = 0
    out.size = to + 1 - out.data
    return 0


cdef int put_binary(unsigned char subtype, const unsigned char* data, uint32_t size, Buffer* out) noexcept nogil:
    if buffer_reserve(out, <size_t>size + 6) < 0:
        return -1
    out.data[out.size] = 0x60
    store32(out.data + out.size + 1, size)
    out.data[out.size + 5] = subtype
    out.size += 6
    return buffer_put(out, data, size)


cdef int put_tagged(unsigned char tag, const unsigned char* data, size_t size, Buffer* out) noexcept nogil:
    return -1 if buffer_byte(out, tag) < 0 else buffer_put(out, data, size)


cdef int key_of_decimal(Value* value, Buffer* out) noexcept nogil:
    """A Decimal carries its key behind its text; it must be exactly one number."""
    cdef const unsigned char* p
    cdef const unsigned char* end = value.body + value.size
    if value.size < 1 or <uint32_t>value.body[0] + 1 >= value.size:
        return -1
    p = value.body + 1 + value.body[0]
    cdef const unsigned char* start = p
    if p[0] != 0x20 or skip_component(&p, end, 0, 0) < 0 or p != end:
        return -1
    return buffer_put(out, start, end - start)


cdef int key_of_regex(Value* value, Buffer* out) noexcept nogil:
    cdef uint32_t i = 0
    while i < value.size and value.body[i]:
        i += 1
    if i == value.size or buffer_byte(out, 0xB0) < 0 or put_text(value.body, i, out) < 0:
        return -1
    return put_text(value.body + i + 1, value.size - i - 1, out)


cdef int key_of_ext(Value* value, Buffer* out) noexcept nogil:
    cdef unsigned char shifted[8]
    cdef int code = value.code
    if code == DATETIME and value.size == 8:
        store64(shifted, load64(value.body) ^ SIGN)
        return put_tagged(0x90, shifted, 8, out)
    if code == OBJECT_ID and value.size == 12:
        return put_tagged(0x70, value.body, 12, out)
    if code == DECIMAL:
        return key_of_decimal(value, out)
    if code == UUID and value.size == 16:
        return put_binary(4, value.body, 16, out)
    if code == INT64 and value.size == 8:
        return key_of_int(<int64_t>load64(value.body), out)
    if code == TIMESTAMP and value.size == 8:
        return put_tagged(0xA0, value.body, 8, out)
    if code == REGEX:
        return key_of_regex(value, out)
    if code == MIN_KEY or code == MAX_KEY:
        return buffer_byte(out, 0x05 if code == MIN_KEY else 0xF0)
    if code == BINARY and value.size:
        return put_binary(value.body[0], value.body + 1, value.size - 1, out)
    return -1


cdef int key_of_map(const unsigned char** p, const unsigned char* end, uint32_t count, Buffer* out, int depth) noexcept nogil:
    cdef const unsigned char* name
    cdef uint32_t size
    cdef size_t mark
    if buffer_byte(out, 0x40) < 0:
        return -1
    while count:
        count -= 1
        mark = out.size  # the tag of the value goes before the name; it is known after the value
        if read_name(p, end, &name, &size) < 0 or buffer_byte(out, 0) < 0 or put_text(name, size, out) < 0:
            return -1
        name = NULL
        if put_field(p, end, out, depth, mark) < 0:
            return -1
    return buffer_byte(out, 0)


cdef inline int put_field(const unsigned char** p, const unsigned char* end, Buffer* out, int depth, size_t mark) noexcept nogil:
    cdef size_t start = out.size
    if key_of_packed(p, end, out, depth + 1) < 0:
        return -1
    out.data[mark] = out.data[start]
    return 0


cdef int key_of_packed(const unsigned char** p, const unsigned char* end, Buffer* out, int depth) noexcept nogil:
    cdef Value value
    cdef uint32_t _i
    cdef int kind = read_value(p, end, &value)
    if kind == STR:
        return -1 if buffer_byte(out, 0x30) < 0 else put_text(value.body, value.size, out)
    if kind == INT:
        return key_of_int(value.integer, out)
    if kind == FLOAT:
        return key_of_double(value.real, out)
    if kind == NIL:
        return buffer_byte(out, 0x10)
    if kind == BOOL:
        return -1 if buffer_byte(out, 0x80) < 0 else buffer_byte(out, <unsigned char>value.integer)
    if kind == EXT:
        return key_of_ext(&value, out)
    if kind == BIN:
        return put_binary(0, value.body, value.size, out)
    if kind < 0 or depth >= DEPTH:
        return -1
    if kind == MAP:
        return key_of_map(p, end, value.size, out, depth)
    if buffer_byte(out, 0x50) < 0:
        return -1
    for _i in range(value.size):
        if key_of_packed(p, end, out, depth + 1) < 0:
            return -1
    return buffer_byte(out, 0)


def order_key(bytes data not None):
    """Return the order key of stored bytes, or None for bytes docdb cannot have written."""
    cdef Buffer out
    cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(data)
    cdef const unsigned char* end = p + PyBytes_GET_SIZE(data)
    if buffer_start(&out, 2 * PyBytes_GET_SIZE(data) + 64) < 0:
        raise MemoryError
    try:
        if key_of_packed(&p, end, &out, 0) < 0 or p != end:
            return None
        return PyBytes_FromStringAndSize(<char*>out.data, out.size)
    finally:
        buffer_end(&out)


# ---- components


cdef int skip_fixed(const unsigned char** p, const unsigned char* end, Py_ssize_t size) noexcept nogil:
    if end - p[0] < size:
        return -1
    p[0] += size
    return 0


cdef int skip_text(const unsigned char** p, const unsigned char* end, unsigned char turn) noexcept nogil:
    cdef const unsigned char* at = p[0]
    while at < end:
        if at[0] != turn:
            at += 1
        elif end - at > 1 and at[1] == (0xFF ^ turn):
            at += 2
        else:
            p[0] = at + 1
            return 0
    return -1


cdef int skip_number(const unsigned char** p, const unsigned char* end, unsigned char turn) noexcept nogil:
    cdef const unsigned char* at = p[0]
    cdef unsigned char last
    if end - at < 10:
        return -1
    last = turn if (at[1] ^ turn) & 0x80 else 0xFF ^ turn
    if at[9] == turn:
        p[0] += 10
        return 0
    if at[9] != (1 ^ turn):
        return -1
    at += 12
    while at < end:
        if at[0] == last:
            p[0] = at + 1
            return 0
        at += 1
    return -1


cdef int skip_nested(const unsigned char** p, const unsigned char* end, unsigned char turn, int depth, bint named) noexcept nogil:
    p[0] += 1
    while p[0] < end and p[0][0] != turn:
        if named:
            p[0] += 1
            if skip_text(p, end, turn) < 0:
                return -1
        if skip_component(p, end, turn, depth + 1) < 0:
            return -1
    return skip_fixed(p, end, 1)


cdef int skip_component(const unsigned char** p, const unsigned char* end, unsigned char turn, int depth) noexcept nogil:
    cdef unsigned char tag
    cdef uint64_t size
    if p[0] >= end or depth > DEPTH:
        return -1
    tag = p[0][0] ^ turn
    if tag == 0x20:
        return skip_number(p, end, turn)
    if tag == 0x30:
        p[0] += 1
        return skip_text(p, end, turn)
    if tag == 0x05 or tag == 0x08 or tag == 0x10 or tag == 0xF0:
        return skip_fixed(p, end, 1)
    if tag == 0x70:
        return skip_fixed(p, end, 13)
    if tag == 0x80:
        return skip_fixed(p, end, 2)
    if tag == 0x90 or tag == 0xA0:
        return skip_fixed(p, end, 9)
    if tag == 0xB0:
        p[0] += 1
        return -1 if skip_text(p, end, turn) < 0 else skip_text(p, end, turn)
    if tag == 0x60:
        if end - p[0] < 6:
            return -1
        size = (<uint64_t>(p[0][1] ^ turn) << 24 | <uint64_t>(p[0][2] ^ turn) << 16 | <uint64_t>(p[0][3] ^ turn) << 8
                | (p[0][4] ^ turn))
        return -1 if size + 6 > <uint64_t>(end - p[0]) else skip_fixed(p, end, <Py_ssize_t>size + 6)
    if tag == 0x40 or tag == 0x50:
        return skip_nested(p, end, turn, depth, tag == 0x40)
    return -1


cdef bytes turned(const unsigned char* data, Py_ssize_t size, unsigned char turn):
    cdef bytes result = PyBytes_FromStringAndSize(<const char*>data, size)
    cdef unsigned char* to = <unsigned char*>PyBytes_AS_STRING(result)
    cdef Py_ssize_t i
    if turn:
        if size < 2:  # Python shares the bytes objects of length 0 and 1
            return bytes([byte ^ 0xFF for byte in result])
        for i in range(size):
            to[i] ^= 0xFF
    return result


def split_components(bytes data not None, directions):
    """Return the components at the head of ``data``, ascending form, and the rest; None for damage."""
    cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(data)
    cdef const unsigned char* end = p + PyBytes_GET_SIZE(data)
    cdef const unsigned char* start
    cdef unsigned char turn
    cdef list parts = []
    for way in directions:
        turn = 0xFF if way < 0 else 0
        start = p
        if skip_component(&p, end, turn, 0) < 0:
            return None
        parts.append(turned(start, p - start, turn))
    return parts, PyBytes_FromStringAndSize(<const char*>p, end - p)


cdef object reference_decode_key = None


def configure(reference):
    """Take the reference form of ``decode_key``; called once, by ``store/components.py``."""
    global reference_decode_key
    reference_decode_key = reference


def decode_key(bytes key not None, int kind=0):
    """Return the value of an ascending component and its type byte: integers, floats, text; the rest by the reference."""
    cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(key)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(key)
    cdef uint64_t bits
    cdef double value
    kind &= 15
    if size == 10 and p[0] == 0x20 and p[9] == 0 and (kind == 1 or kind == 3):
        bits = load64(p + 1)
        if bits:
            bits = bits ^ SIGN if bits & SIGN else ~bits
            memcpy(&value, &bits, 8)
            if kind == 3:
                return value
            if -2147483648.0 <= value <= 2147483647.0 and <double><int>value == value:
                return <int>value
    elif size > 1 and p[0] == 0x30 and kind == 0 and p[size - 1] == 0 and key.find(b"\0") == size - 1:
        try:
            return key[1:size - 1].decode("utf-8")
        except UnicodeDecodeError:
            return reference_decode_key(key, kind)
    return reference_decode_key(key, kind)
