# cython: language_level=3
"""A stored value against an operand of a filter: inline C for the program kernel.

What lives here: ``classify`` (MongoDB's type of a stored value), ``Operand`` and ``compare_value``. What it must not
know: paths, nodes, verdicts.

An operand is prepared by ``language/programs.py`` so that no comparison rounds: a number is known by the largest
integer and the largest double that are not above it. Objects and arrays compare by their order keys
(``language/order.py``): the key of the stored value is produced piece by piece and compared as it comes, without
memory of its own.
"""

from libc.math cimport isnan, nextafter
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from .packed cimport (
    ARRAY, BIN, BINARY, BOOL, DATETIME, DECIMAL, EXT, FLOAT, INT, INT64, MAP, MAX_KEY, MIN_KEY, NIL, OBJECT_ID,
    REGEX, STR, TIMESTAMP, UUID, Value, load64, read_name, read_value, skip_value, store32, store64,
)

cdef enum Type:
    T_NULL, T_BOOL, T_INT, T_LONG, T_DOUBLE, T_DECIMAL, T_STRING, T_OBJECT, T_ARRAY, T_BINARY, T_OBJECT_ID, T_DATE,
    T_TIMESTAMP, T_REGEX, T_MIN, T_MAX

cdef enum:
    DAMAGED = -1
    MAX_NESTING = 110   # documents are at most 100 deep

cdef struct Operand:
    int type
    int nan
    int outside         # the number lies below (-1) or above (1) all of int64
    int integral        # floor is the number itself
    int exact           # low is the number itself
    int64_t floor       # largest int64 <= number; bool, date, subtype of a binary
    double low          # largest double <= number
    const unsigned char* raw
    uint32_t size
    const unsigned char* key
    uint32_t key_size

cdef extern from *:
    """
    /* The order key's tag of each Type. */
    static const unsigned char docdb_tags[16] = {
        0x10, 0x80, 0x20, 0x20, 0x20, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0, 0xB0, 0x05, 0xF0 };
    """
    const unsigned char* TAGS "docdb_tags"


# ---- reading one stored value


cdef inline int classify(const unsigned char* p, const unsigned char* end, Value* value) noexcept nogil:
    """Read the value at ``p``: its type, or -1. For dates and Int64 ``integer`` is set."""
    cdef int kind = read_value(&p, end, value)
    if kind == STR:
        return T_STRING
    if kind == INT:
        return T_INT if -2147483648 <= value.integer <= 2147483647 else T_LONG
    if kind == FLOAT:
        return T_DOUBLE
    if kind == EXT:
        return classify_ext(value)
    if kind == BOOL:
        return T_BOOL
    if kind == NIL:
        return T_NULL
    if kind == MAP:
        return T_OBJECT
    if kind == ARRAY:
        return T_ARRAY
    return T_BINARY if kind == BIN else DAMAGED


cdef inline int classify_ext(Value* value) noexcept nogil:
    cdef uint32_t size = value.size
    cdef int code = value.code
    if code == DATETIME or code == INT64:
        if size != 8:
            return DAMAGED
        value.integer = <int64_t>load64(value.body)
        return T_DATE if code == DATETIME else T_LONG
    if code == OBJECT_ID:
        return T_OBJECT_ID if size == 12 else DAMAGED
    if code == DECIMAL:     # text and a number's key, which has 10 bytes at least
        return T_DECIMAL if size >= 11 and size >= <uint32_t>value.body[0] + 11 else DAMAGED
    if code == UUID:
        return T_BINARY if size == 16 else DAMAGED
    if code == REGEX:
        return T_REGEX
    if code == TIMESTAMP:
        return T_TIMESTAMP if size == 8 else DAMAGED
    if code == MIN_KEY:
        return T_MIN
    if code == MAX_KEY:
        return T_MAX
    return T_BINARY if code == BINARY and size else DAMAGED


cdef inline const unsigned char* decimal_key(Value* value, uint32_t* size) noexcept nogil:
    """The order key inside a stored Decimal (classify made sure of 10 bytes)."""
    cdef uint32_t head = <uint32_t>value.body[0] + 1
    size[0] = value.size - head
    return value.body + head


cdef inline void binary_parts(Value* value, const unsigned char** body, uint32_t* size, int* subtype) noexcept nogil:
    body[0] = value.body
    size[0] = value.size
    subtype[0] = 0
    if value.kind == EXT:
        subtype[0] = 4
        if value.code == BINARY:
            subtype[0] = value.body[0]
            body[0] = value.body + 1
            size[0] = value.size - 1


# ---- comparing a stored value with an operand of the same type bracket: -1, 0, 1, or -2 for damaged bytes


cdef inline int compare_bytes(
    const unsigned char* a, uint32_t a_size, const unsigned char* b, uint32_t b_size
) noexcept nogil:
    cdef int order = memcmp(a, b, a_size if a_size < b_size else b_size)
    if order:
        return -1 if order < 0 else 1
    return (a_size > b_size) - (a_size < b_size)


cdef inline int compare_integer(int64_t value, const Operand* operand) noexcept nogil:
    if operand.nan:
        return 1
    if operand.outside:
        return -operand.outside
    if value > operand.floor:
        return 1
    return 0 if value == operand.floor and operand.integral else -1


cdef inline int compare_real(double value, const Operand* operand) noexcept nogil:
    if isnan(value):
        return 0 if operand.nan else -1
    if operand.nan:
        return 1
    if value > operand.low:
        return 1
    return 0 if value == operand.low and operand.exact else -1


cdef inline int compare_value(
    int type, Value* value, const unsigned char* p, const unsigned char* end, const Operand* operand
) noexcept nogil:
    cdef const unsigned char* body
    cdef uint32_t size
    cdef int subtype
    if type == T_STRING:
        return compare_bytes(value.body, value.size, operand.raw, operand.size)
    if type == T_INT or type == T_LONG:
        return compare_integer(value.integer, operand)
    if type == T_DOUBLE:
        return compare_real(value.real, operand)
    if type == T_DECIMAL:
        body = decimal_key(value, &size)
        return compare_bytes(body, size, operand.key, operand.key_size)
    if type == T_BOOL or type == T_DATE:
        return (value.integer > operand.floor) - (value.integer < operand.floor)
    if type == T_OBJECT or type == T_ARRAY:
        return compare_deep(p, end, operand)
    if type == T_OBJECT_ID or type == T_TIMESTAMP or type == T_REGEX:
        return compare_bytes(value.body, value.size, operand.raw, operand.size)
    if type == T_BINARY:
        binary_parts(value, &body, &size, &subtype)
        if size != operand.size:
            return -1 if size < operand.size else 1
        if subtype != operand.floor:
            return -1 if subtype < operand.floor else 1
        return compare_bytes(body, size, operand.raw, operand.size)
    return 0


# ---- whole objects and arrays: their order key is produced piece by piece and compared as it comes


cdef struct Sink:
    const unsigned char* key
    uint32_t left
    int order           # 0 as long as all was equal


cdef inline bint emit(Sink* sink, const unsigned char* piece, uint32_t size) noexcept nogil:
    """Compare the next bytes; true when the order is decided."""
    cdef uint32_t common = size if size < sink.left else sink.left
    cdef int order = memcmp(piece, sink.key, common)
    if order:
        sink.order = -1 if order < 0 else 1
    elif common < size:
        sink.order = 1
    sink.key += common
    sink.left -= common
    return sink.order != 0


cdef inline bint emit_byte(Sink* sink, unsigned char byte) noexcept nogil:
    return emit(sink, &byte, 1)


cdef inline bint emit_text(Sink* sink, const unsigned char* text, uint32_t size) noexcept nogil:
    """A string's body: NUL as 00 FF, a last 00."""
    cdef const unsigned char* nul
    cdef uint32_t run
    while size:
        nul = <const unsigned char*>memchr(text, 0, size)
        run = <uint32_t>(nul - text) if nul != NULL else size
        if emit(sink, text, run):
            return True
        text += run
        size -= run
        if size:
            if emit(sink, b"\x00\xff", 2):
                return True
            text += 1
            size -= 1
    return emit_byte(sink, 0)


cdef inline bint emit_real(Sink* sink, double low, bint exact) noexcept nogil:
    """The eight bytes of a number and 00 or 01."""
    cdef uint64_t bits
    cdef unsigned char piece[9]
    if isnan(low):
        memset(piece, 0, 9)
        return emit(sink, piece, 9)
    low += 0.0          # -0.0 becomes 0.0
    memcpy(&bits, &low, 8)
    store64(piece, ~bits if bits >> 63 else bits | (<uint64_t>1 << 63))
    piece[8] = 0 if exact else 1
    return emit(sink, piece, 9)


cdef inline bint emit_integer(Sink* sink, int64_t value) noexcept nogil:
    cdef double near = <double>value
    cdef bint above = near >= 9223372036854775808.0 or <int64_t>near > value
    cdef bint exact = near < 9223372036854775808.0 and <int64_t>near == value
    if emit_real(sink, nextafter(near, -1e300) if above else near, exact):
        return True
    return not exact and emit_digits(sink, value)


cdef inline bint emit_digits(Sink* sink, int64_t value) noexcept nogil:
    """The exact decimal form of an integer that is no double."""
    cdef uint64_t rest = <uint64_t>value if value > 0 else ~<uint64_t>value + 1
    cdef unsigned char digits[20]
    cdef unsigned char piece[14]
    cdef int count = 0
    cdef int first, i, size
    memset(digits, 0, 20)
    while rest:
        count += 1
        digits[20 - count] = <unsigned char>(rest % 10)
        rest //= 10
    first = 20 - count
    piece[0] = 0x80
    piece[1] = <unsigned char>(count - 1)
    while digits[first + count - 1] == 0:
        count -= 1
    size = 2
    for i in range(0, count, 2):
        piece[size] = <unsigned char>((digits[first + i] + 1) << 4)
        if i + 1 < count:
            piece[size] |= digits[first + i + 1] + 1
        size += 1
    piece[size] = 0
    size += 1
    if value < 0:
        for i in range(size):
            piece[i] = ~piece[i]
    return emit(sink, piece, size)


cdef inline bint emit_scalar(Sink* sink, int type, Value* value) noexcept nogil:
    """The body of a scalar's key (its tag was emitted)."""
    cdef const unsigned char* body
    cdef uint32_t size
    cdef int subtype
    cdef unsigned char piece[8]
    if type == T_STRING:
        return emit_text(sink, value.body, value.size)
    if type == T_INT or type == T_LONG:
        return emit_integer(sink, value.integer)
    if type == T_DOUBLE:
        return emit_real(sink, value.real, True)
    if type == T_DECIMAL:
        body = decimal_key(value, &size)
        return emit(sink, body + 1, size - 1)
    if type == T_BOOL:
        return emit_byte(sink, <unsigned char>value.integer)
    if type == T_DATE:
        store64(piece, <uint64_t>value.integer ^ (<uint64_t>1 << 63))
        return emit(sink, piece, 8)
    if type == T_OBJECT_ID or type == T_TIMESTAMP:
        return emit(sink, value.body, value.size)
    if type == T_REGEX:
        return emit(sink, value.body, value.size) or emit_byte(sink, 0)
    if type == T_BINARY:
        binary_parts(value, &body, &size, &subtype)
        store32(piece, size)
        return emit(sink, piece, 4) or emit_byte(sink, <unsigned char>subtype) or emit(sink, body, size)
    return False


cdef inline int emit_value(Sink* sink, const unsigned char** p, const unsigned char* end, int depth) noexcept nogil:
    """Emit the key of the value at ``p`` and move behind it: 0 go on, 1 decided, -1 damaged."""
    cdef Value value
    cdef const unsigned char* name
    cdef uint32_t size, _i
    cdef int verdict
    cdef int type = classify(p[0], end, &value)
    if type < 0 or depth > MAX_NESTING:
        return DAMAGED
    if emit_byte(sink, TAGS[type]):
        return 1
    if type != T_OBJECT and type != T_ARRAY:
        if emit_scalar(sink, type, &value):
            return 1
        return skip_value(p, end)
    read_value(p, end, &value)
    for _i in range(value.size):
        if type == T_OBJECT:
            if read_name(p, end, &name, &size) < 0:
                return DAMAGED
            verdict = emit_field_head(sink, p[0], end, name, size)
            if verdict:
                return verdict
        verdict = emit_value(sink, p, end, depth + 1)
        if verdict:
            return verdict
    return emit_byte(sink, 0)


cdef inline int emit_field_head(
    Sink* sink, const unsigned char* p, const unsigned char* end, const unsigned char* name, uint32_t size
) noexcept nogil:
    cdef Value value
    cdef int type = classify(p, end, &value)
    if type < 0:
        return DAMAGED
    return emit_byte(sink, TAGS[type]) or emit_text(sink, name, size)


cdef inline int compare_deep(const unsigned char* p, const unsigned char* end, const Operand* operand) noexcept nogil:
    cdef Sink sink
    sink.key = operand.key
    sink.left = operand.key_size
    sink.order = 0
    if emit_value(&sink, &p, end, 0) < 0:
        return -2
    return sink.order if sink.order or not sink.left else -1
