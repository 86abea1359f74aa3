# cython: language_level=3
"""The verdict of a program's leaf over one stored value: inline C for the program kernel.

What lives here: ``Node`` and a test per kind of leaf. What it must not know: how the value was reached. NULL stands
for a missing field.
"""

from libc.math cimport isfinite, isnan, trunc
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from .operands cimport (
    DAMAGED, T_ARRAY, T_BINARY, T_DECIMAL, T_DOUBLE, T_INT, T_LONG, T_MIN, T_NULL, T_REGEX, T_STRING, TAGS, Operand,
    binary_parts, classify, compare_integer, compare_value, decimal_key,
)
from .packed cimport Value, load16, load32, load64

cdef enum:
    NO = 0
    YES = 1
    UNKNOWN = 2

cdef enum Form:         # of a pattern without special characters; F_END and F_WHOLE allow one newline behind
    F_INSIDE, F_START, F_END, F_WHOLE

cdef enum Mode:
    M_ALL_SET, M_ALL_CLEAR, M_ANY_SET, M_ANY_CLEAR

cdef enum Quick:
    Q_NONE, Q_TEXT, Q_INTEGER

cdef enum:
    ASK = 3             # what ``test_quick`` leaves to the others

cdef struct Part:
    const unsigned char* name
    uint32_t size
    int64_t position    # as an array position, or -1
    uint64_t word       # the head and the first seven bytes as they are stored, big-endian; never met when the name is longer than 31
    uint64_t word_mask

cdef struct Node:
    int op
    int accepts         # comparison: bit 0 less, 1 equal, 2 greater
    int fans_out        # arrays at the end of the path are entered
    int slot            # of the first part, or -1
    Part* parts
    int part_count
    int* children
    int child_count
    Operand* operands
    int operand_count
    int64_t number      # size, divisor, pattern form, bit mode, type of an extreme
    int64_t remainder
    uint64_t mask       # types, or bits
    int64_t* positions
    int position_count
    int quick           # a comparison that ``test_quick`` knows
    uint64_t word       # the first eight bytes of a short text to equal, big-endian
    uint64_t word_mask  # ones where the text has bytes

cdef extern from *:
    """
    #include <string.h>
    static int docdb_contains(const unsigned char *text, size_t size, const unsigned char *part, size_t length) {
        const unsigned char *last;
        if (length == 0) return 1;
        if (length > size) return 0;
        last = text + (size - length);
        while (text <= last) {
            text = (const unsigned char *)memchr(text, part[0], (size_t)(last - text) + 1);
            if (!text) return 0;
            if (memcmp(text, part, length) == 0) return 1;
            text++;
        }
        return 0;
    }
    """
    int contains "docdb_contains"(
        const unsigned char* text, size_t size, const unsigned char* part, size_t length
    ) noexcept nogil


cdef inline int test_compare(const Node* node, const unsigned char* p, const unsigned char* end) noexcept nogil:
    cdef Value value
    cdef const Operand* operand = node.operands
    cdef int type, order
    if p == NULL:
        return operand.type == T_NULL and node.accepts & 2 != 0
    type = classify(p, end, &value)
    if type < 0:
        return DAMAGED
    if TAGS[type] != TAGS[operand.type]:
        return NO
    order = compare_value(type, &value, p, end, operand)
    if order < -1:
        return DAMAGED
    if order and TAGS[type] == 0x20 and (operand.nan or is_nan(type, &value)):
        return NO
    return node.accepts >> (order + 1) & 1


cdef inline int test_quick(const Node* node, const unsigned char* p, const unsigned char* end) noexcept nogil:
    """The commonest comparisons over the commonest forms: a short text to equal, an integer; ASK for everything else."""
    cdef unsigned char first = p[0]
    cdef int64_t left = end - p
    cdef uint32_t size
    if node.quick == Q_TEXT:
        size = first & 31
        if (first & 0xE0) != 0xA0 or left < 9 or left < 1 + <int64_t>size:
            return ASK
        if size != node.operands.size or (load64(p + 1) ^ node.word) & node.word_mask:
            return NO
        return size <= 8 or memcmp(p + 9, node.operands.raw + 8, size - 8) == 0
    if node.quick != Q_INTEGER or left < 9:
        return ASK
    if first < 0x80 or first >= 0xE0:
        return node.accepts >> (compare_integer(<signed char>first, node.operands) + 1) & 1
    if first == 0xCD:
        return node.accepts >> (compare_integer(load16(p + 1), node.operands) + 1) & 1
    if first == 0xCE:
        return node.accepts >> (compare_integer(load32(p + 1), node.operands) + 1) & 1
    return ASK


cdef inline bint is_nan(int type, Value* value) noexcept nogil:
    cdef uint32_t size
    if type == T_DOUBLE:
        return isnan(value.real)
    return type == T_DECIMAL and load64(decimal_key(value, &size) + 1) == 0


cdef inline int test_extreme(const Node* node, const unsigned char* p, const unsigned char* end) noexcept nogil:
    """A range that begins or ends with MinKey or MaxKey: everything else lies on one side of it."""
    cdef Value value
    cdef int type
    if p != NULL:
        type = classify(p, end, &value)
        if type < 0:
            return DAMAGED
        if type == node.number:
            return node.accepts >> 1 & 1
    return node.accepts >> (2 if node.number == T_MIN else 0) & 1


cdef inline int test_in(const Node* node, const unsigned char* p, const unsigned char* end) noexcept nogil:
    """Binary search: the operands ascend in the order of all values."""
    cdef Value value
    cdef int low = 0
    cdef int high = node.operand_count
    cdef int middle, order
    cdef int type = T_NULL
    if p != NULL:
        type = classify(p, end, &value)
        if type < 0:
            return DAMAGED
    while low < high:
        middle = (low + high) >> 1
        order = <int>TAGS[type] - <int>TAGS[node.operands[middle].type]
        if order == 0:
            order = compare_value(type, &value, p, end, &node.operands[middle])
            if order < -1:
                return DAMAGED
            if order == 0:
                return YES
        if order < 0:
            high = middle
        else:
            low = middle + 1
    return NO


cdef inline int whole_number(int type, Value* value, int64_t* whole, bint* integral) noexcept nogil:
    """Cut a number to int64: 1, or 0 when it is none, not finite or too large."""
    cdef double real
    cdef const unsigned char* key
    cdef uint32_t size
    cdef uint64_t bits
    integral[0] = True
    if type == T_INT or type == T_LONG:
        whole[0] = value.integer
        return YES
    if type == T_DOUBLE:
        real = value.real
    elif type == T_DECIMAL:
        key = decimal_key(value, &size)
        if key[9]:
            return whole_decimal(key, size, whole, integral)
        bits = load64(key + 1)
        if bits == 0:       # NaN
            return NO
        bits = bits ^ (<uint64_t>1 << 63) if bits >> 63 else ~bits
        memcpy(&real, &bits, 8)
    else:
        return NO
    if not isfinite(real):
        return NO
    integral[0] = trunc(real) == real
    real = trunc(real)
    if real >= 9223372036854775808.0 or real < -9223372036854775808.0:
        return NO
    whole[0] = <int64_t>real
    return YES


cdef inline int whole_decimal(const unsigned char* key, uint32_t size, int64_t* whole, bint* integral) noexcept nogil:
    """Cut a Decimal that is no double, from the digits in its order key."""
    cdef unsigned char flip = 0 if key[1] >> 7 else 0xFF
    cdef int exponent, i, nibble
    cdef uint64_t sum = 0
    cdef uint32_t at = 12
    cdef bint ended = False
    if size < 13:
        return DAMAGED
    exponent = (((key[10] ^ flip) << 8) | (key[11] ^ flip)) - 0x8000
    if exponent > 18:
        return NO
    for i in range(exponent + 1):
        if not ended and at + (i >> 1) < size:
            nibble = key[at + (i >> 1)] ^ flip
            nibble = nibble & 15 if i & 1 else nibble >> 4
            ended = nibble == 0
        else:
            ended = True
        sum = sum * 10 + (0 if ended else <uint64_t>(nibble - 1))
    i = exponent + 1 if exponent >= 0 else 0
    integral[0] = ended or at + (i >> 1) >= size or nibble_at(key + at, i, flip) == 0
    if sum > (<uint64_t>1 << 63) - (flip == 0):
        return NO
    whole[0] = <int64_t>(~sum + 1 if flip else sum)
    return YES


cdef inline int nibble_at(const unsigned char* digits, int index, unsigned char flip) noexcept nogil:
    cdef int byte = digits[index >> 1] ^ flip
    return byte & 15 if index & 1 else byte >> 4


cdef inline int test_mod(const Node* node, int type, Value* value) noexcept nogil:
    cdef int64_t whole = 0
    cdef bint integral = True
    cdef int verdict = whole_number(type, value, &whole, &integral)
    if verdict <= 0:
        return verdict
    if node.number == -1 or node.number == 1:
        return node.remainder == 0
    return whole % node.number == node.remainder


cdef inline int test_bits(const Node* node, int type, Value* value) noexcept nogil:
    cdef int64_t whole = 0
    cdef bint integral = True
    cdef int verdict
    cdef uint64_t found
    if type == T_BINARY:
        return test_binary_bits(node, value)
    verdict = whole_number(type, value, &whole, &integral)
    if verdict <= 0 or not integral:
        return verdict if verdict < 0 else NO
    found = <uint64_t>whole & node.mask
    if node.number == M_ALL_SET:
        return found == node.mask
    if node.number == M_ALL_CLEAR:
        return found == 0
    return found != 0 if node.number == M_ANY_SET else found != node.mask


cdef inline int test_binary_bits(const Node* node, Value* value) noexcept nogil:
    cdef const unsigned char* body
    cdef uint32_t size
    cdef int subtype, i
    cdef int64_t position
    cdef bint is_set
    cdef bint wanted = node.number == M_ALL_SET or node.number == M_ANY_SET
    cdef bint every = node.number == M_ALL_SET or node.number == M_ALL_CLEAR
    binary_parts(value, &body, &size, &subtype)
    for i in range(node.position_count):
        position = node.positions[i]
        if subtype == 2:    # begins with its length in BSON
            position -= 32
        if position < 0:
            is_set = size >> (position + 32) & 1
        else:
            is_set = position >> 3 < size and body[position >> 3] >> (position & 7) & 1
        if (is_set == wanted) != every:
            return not every
    return every


cdef inline int test_pattern(const Node* node, int type, Value* value) noexcept nogil:
    cdef const Operand* operand = node.operands
    cdef const unsigned char* text = value.body
    cdef uint32_t size = value.size
    cdef uint32_t length = operand.size
    if type == T_REGEX:
        return size == operand.key_size and memcmp(text, operand.key, size) == 0
    if type != T_STRING:
        return NO
    if node.number == F_INSIDE:
        return contains(text, size, operand.raw, length)
    if size < length:
        return NO
    if node.number == F_START:
        return memcmp(text, operand.raw, length) == 0
    if node.number == F_WHOLE and size > length + 1:
        return NO
    if memcmp(text + size - length, operand.raw, length) == 0 and (node.number == F_END or size == length):
        return YES
    return size > length and text[size - 1] == 10 and memcmp(text + size - length - 1, operand.raw, length) == 0
