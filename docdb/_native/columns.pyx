# cython: language_level=3
"""Columns of many stored documents at once: the fast twin of ``store/columns.py``'s reference form.

What lives here: ``fill``, one chunk of documents into typed buffers in Arrow's layout. What it must not know: types across chunks, nested values,
Python objects while it works (the GIL is released for the whole chunk).

A column begins without a kind and takes that of its first value. An int among floats becomes one; any other second kind, and what has no fixed layout
(decimals, arrays, objects, rarities), declines the column: its later values are skipped, the reference makes it. Damage declines the chunk.
Names are not copied: they lie in the documents and in the names asked for, which stay for the length of the call.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from docdb._native.buffer cimport Buffer, buffer_end, buffer_put, buffer_reserve, buffer_start
from docdb._native.packed cimport (
    BIN, BINARY, BOOL, DATETIME, EXT, FLOAT, INT, INT64, NIL, OBJECT_ID, STR, UUID, Value, load64, open_map, read_name, read_value,
    skip_value,
)

cdef extern from "Python.h":
    object PyUnicode_DecodeUTF8(const char* data, Py_ssize_t size, const char* errors)

cdef enum ColumnKind:  # the numbers of store/columns.py's _KINDS
    WRONG = -2      # of a value: nothing docdb can have written
    DECLINED = -1
    EMPTY = 0
    BOOLS = 1
    INTS = 2
    WIDE_INTS = 3  # told at the end only
    FLOATS = 4
    TEXTS = 5
    BINARIES = 6
    DATES = 7
    OBJECT_IDS = 8
    UUIDS = 9

cdef enum:
    DAMAGED = -1
    NO_MEMORY = -2
    TOO_MANY = -3
    SEEN = 64           # fields at the front of a document whose column is remembered by their place
    SKIPPED = -1        # as a column: a field that is left out

cdef int64_t EXACT = 9007199254740992           # 2**53
cdef int64_t EARLIEST = -62135596800000000      # 0001-01-01
cdef int64_t LATEST = 253402300799999999        # 9999-12-31T23:59:59.999999
cdef const char* DIGITS = "0123456789abcdef"


cdef struct Column:
    const unsigned char* name
    uint32_t size
    int kind
    bint wide
    int64_t row             # the last one that had the field, -1 at first
    int64_t count           # of values that are not null
    int64_t ended           # rows whose end stands in offsets
    unsigned char* valid
    unsigned char* fixed    # values of a fixed width, NULL where there are offsets
    int32_t* offsets
    Buffer text


cdef struct Place:
    const unsigned char* name
    uint32_t size
    int64_t column


cdef struct Table:
    Column* columns
    int64_t count
    int64_t room
    int64_t most
    int64_t rows
    int64_t wanted          # how many fields are to be found in a document, -1: all that are there
    int32_t* slots          # of a hash table: 1 + number of a column, 0 is free; a power of two
    uint64_t mask
    Place seen[SEEN]


# ---- text

cdef inline bint is_utf8(const unsigned char* p, const unsigned char* end) noexcept nogil:
    """Tell whether the bytes are text as Python decodes it: no surrogates, no overlong forms, nothing beyond U+10FFFF."""
    cdef uint64_t word
    cdef unsigned char first, second
    while p < end:
        if end - p >= 8:
            memcpy(&word, p, 8)
            if not word & 0x8080808080808080ULL:
                p += 8
                continue
        first = p[0]
        if first < 0x80:
            p += 1
            continue
        if first < 0xC2 or first > 0xF4 or end - p < 2:
            return False
        second = p[1]
        if first < 0xE0:
            if second & 0xC0 != 0x80:
                return False
            p += 2
        elif first < 0xF0:
            if end - p < 3 or second & 0xC0 != 0x80 or p[2] & 0xC0 != 0x80:
                return False
            if (first == 0xE0 and second < 0xA0) or (first == 0xED and second > 0x9F):
                return False
            p += 3
        else:
            if end - p < 4 or second & 0xC0 != 0x80 or p[2] & 0xC0 != 0x80 or p[3] & 0xC0 != 0x80:
                return False
            if (first == 0xF0 and second < 0x90) or (first == 0xF4 and second > 0x8F):
                return False
            p += 4
    return True


cdef inline int put_hex(Buffer* out, const unsigned char* body, uint32_t size, bint dashes) noexcept nogil:
    """Append bytes as hexadecimal digits; ``dashes`` as in a UUID."""
    cdef uint32_t at
    cdef unsigned char* to
    if buffer_reserve(out, 2 * size + 4) < 0:
        return NO_MEMORY
    to = out.data + out.size
    for at in range(size):
        if dashes and (at == 4 or at == 6 or at == 8 or at == 10):
            to[0] = c"-"
            to += 1
        to[0] = DIGITS[body[at] >> 4]
        to[1] = DIGITS[body[at] & 15]
        to += 2
    out.size = to - out.data
    return 0


# ---- one column

cdef inline void let_go(Column* column) noexcept nogil:
    free(column.valid)
    free(column.fixed)
    free(column.offsets)
    buffer_end(&column.text)
    column.valid = column.fixed = NULL
    column.offsets = NULL


cdef inline int decline(Column* column) noexcept nogil:
    let_go(column)
    column.kind = DECLINED
    return 0


cdef int begin(Column* column, int kind, int64_t rows) noexcept nogil:
    """Give a column its kind and the room for a chunk; zeros, so that nulls need no writing."""
    column.kind = kind
    column.valid = <unsigned char*>calloc((rows + 7) // 8, 1)
    if column.valid == NULL:
        return NO_MEMORY
    if kind == BOOLS:
        column.fixed = <unsigned char*>calloc((rows + 7) // 8, 1)
    elif kind == INTS or kind == FLOATS or kind == DATES:
        column.fixed = <unsigned char*>calloc(rows, 8)
    else:
        column.offsets = <int32_t*>malloc((rows + 1) * sizeof(int32_t))
        if column.offsets == NULL or buffer_start(&column.text, 4096) < 0:
            return NO_MEMORY
        column.offsets[0] = 0
        return 0
    return 0 if column.fixed != NULL else NO_MEMORY


cdef inline void end_rows(Column* column, int64_t rows) noexcept nogil:
    """Let the rows up to ``rows`` end where the text ends."""
    while column.ended < rows:
        column.ended += 1
        column.offsets[column.ended] = <int32_t>column.text.size


cdef void to_floats(Column* column, int64_t rows) noexcept nogil:
    cdef int64_t* whole = <int64_t*>column.fixed
    cdef double real
    cdef int64_t at
    for at in range(rows):
        real = <double>whole[at]
        memcpy(whole + at, &real, 8)
    column.kind = FLOATS


cdef inline int kind_of(Value* value) noexcept nogil:
    """Return the kind of column a value asks for: EMPTY for null, DECLINED where no column here holds it, or WRONG."""
    cdef int64_t whole
    if value.kind == INT:
        return INTS
    if value.kind == STR:
        return TEXTS if is_utf8(value.body, value.body + value.size) else WRONG
    if value.kind == FLOAT:
        return FLOATS
    if value.kind == BOOL:
        return BOOLS
    if value.kind == NIL:
        return EMPTY
    if value.kind == BIN:
        return BINARIES
    if value.kind != EXT:
        return DECLINED
    if value.code == DATETIME or value.code == INT64:
        if value.size != 8:
            return WRONG
        whole = <int64_t>load64(value.body)
        value.integer = whole
        if value.code == DATETIME:
            return DATES if EARLIEST <= whole <= LATEST else WRONG
        return INTS if -2147483648LL <= whole <= 2147483647LL else WRONG
    if value.code == OBJECT_ID:
        return OBJECT_IDS if value.size == 12 else WRONG
    if value.code == UUID:
        return UUIDS if value.size == 16 else WRONG
    if value.code == BINARY:
        if value.size == 0 or value.body[0] == 0:
            return WRONG
        value.body += 1
        value.size -= 1
        return BINARIES
    return DECLINED


cdef inline int put(Column* column, int kind, Value* value, int64_t row) noexcept nogil:
    """Write a value of the column's own kind."""
    cdef int failed = 0
    column.count += 1
    column.valid[row >> 3] |= <unsigned char>(1 << (row & 7))
    if kind == INTS or kind == DATES:
        memcpy(column.fixed + 8 * row, &value.integer, 8)
        return 0
    if kind == FLOATS:
        memcpy(column.fixed + 8 * row, &value.real, 8)
        return 0
    if kind == BOOLS:
        column.fixed[row >> 3] |= <unsigned char>(value.integer << (row & 7))
        return 0
    end_rows(column, row)
    if kind == TEXTS or kind == BINARIES:
        failed = buffer_put(&column.text, value.body, value.size)
    else:
        failed = put_hex(&column.text, value.body, value.size, kind == UUIDS)
    if failed:
        return NO_MEMORY
    if column.text.size > 0x7FFFFFFF:
        return decline(column)
    end_rows(column, row + 1)
    return 0


cdef int take(Column* column, const unsigned char** p, const unsigned char* end, int64_t row, int64_t rows) noexcept nogil:
    """Read the value at ``p`` into a column: 0, DAMAGED or NO_MEMORY."""
    cdef const unsigned char* start = p[0]
    cdef Value value
    cdef int kind
    if column.row == row:
        return DAMAGED  # a name twice in one document
    column.row = row
    value.real = 0
    if column.kind == DECLINED:
        return DAMAGED if skip_value(p, end) < 0 else 0
    if read_value(p, end, &value) < 0:
        return DAMAGED
    kind = kind_of(&value)
    if kind == EMPTY:
        return 0
    if kind == WRONG:
        return DAMAGED
    if kind == INTS and not -EXACT <= value.integer <= EXACT:
        column.wide = True
    if column.kind == FLOATS and kind == INTS and not column.wide:
        kind = FLOATS
        value.real = <double>value.integer
    elif column.kind == INTS and kind == FLOATS and not column.wide:
        to_floats(column, row)
    if kind == DECLINED or (column.kind != EMPTY and column.kind != kind):
        p[0] = start
        decline(column)
        return DAMAGED if skip_value(p, end) < 0 else 0
    if column.kind == EMPTY and begin(column, kind, rows) < 0:
        return NO_MEMORY
    return put(column, kind, &value, row)


# ---- all columns

cdef inline uint64_t hash_of(const unsigned char* name, uint32_t size) noexcept nogil:
    cdef uint64_t mixed = 14695981039346656037ULL
    cdef uint32_t at
    for at in range(size):
        mixed = (mixed ^ name[at]) * 1099511628211ULL
    return mixed ^ (mixed >> 29)


cdef int grow(Table* table) noexcept nogil:
    """Make room for more columns, and hash the names anew."""
    cdef int64_t room = 2 * table.room
    cdef int64_t at
    cdef uint64_t slot
    cdef Column* columns = <Column*>realloc(table.columns, room * sizeof(Column))
    cdef int32_t* slots
    if columns == NULL:
        return NO_MEMORY
    table.columns = columns
    slots = <int32_t*>calloc(4 * room, sizeof(int32_t))
    if slots == NULL:
        return NO_MEMORY
    free(table.slots)
    table.slots = slots
    table.room = room
    table.mask = 4 * room - 1
    for at in range(table.count):
        slot = hash_of(columns[at].name, columns[at].size) & table.mask
        while slots[slot]:
            slot = (slot + 1) & table.mask
        slots[slot] = <int32_t>(at + 1)
    return 0


cdef int64_t column_of(Table* table, const unsigned char* name, uint32_t size, bint made) noexcept nogil:
    """Return the number of the column of this name, made new where asked; SKIPPED when there is none, NO_MEMORY or TOO_MANY."""
    cdef uint64_t slot = hash_of(name, size) & table.mask
    cdef Column* column
    while table.slots[slot]:
        column = &table.columns[table.slots[slot] - 1]
        if column.size == size and memcmp(column.name, name, size) == 0:
            return table.slots[slot] - 1
        slot = (slot + 1) & table.mask
    if not made:
        return SKIPPED
    if table.count == table.most:
        return TOO_MANY
    if table.count == table.room:
        if grow(table) < 0:
            return NO_MEMORY
        return column_of(table, name, size, True)
    table.slots[slot] = <int32_t>(table.count + 1)
    column = &table.columns[table.count]
    memset(column, 0, sizeof(Column))
    column.name = name
    column.size = size
    column.row = -1
    table.count += 1
    return table.count - 1


cdef inline int64_t found(Table* table, int64_t place, const unsigned char* name, uint32_t size) noexcept nogil:
    """Return the column of the field at this place of a document; mostly it is the one of the document before."""
    cdef Place* seen
    cdef int64_t number
    if place >= SEEN:
        return column_of(table, name, size, table.wanted < 0)
    seen = &table.seen[place]
    if seen.size == size and seen.name != NULL and memcmp(seen.name, name, size) == 0:
        return seen.column
    number = column_of(table, name, size, table.wanted < 0)
    seen.name = name
    seen.size = size
    seen.column = number
    return number


cdef int add(Table* table, const unsigned char* p, const unsigned char* end, int64_t row) noexcept nogil:
    """Read one document: 0, DAMAGED, NO_MEMORY or TOO_MANY."""
    cdef int64_t fields = open_map(&p, end)
    cdef int64_t left = table.wanted
    cdef int64_t place, number
    cdef const unsigned char* name
    cdef uint32_t size
    cdef int failed
    if fields < 0:
        return DAMAGED
    for place in range(fields):
        if left == 0:
            return 0
        if read_name(&p, end, &name, &size) < 0:
            return DAMAGED
        number = found(table, place, name, size)
        if number < SKIPPED:
            return <int>number
        if number == SKIPPED:
            if skip_value(&p, end) < 0:
                return DAMAGED
            continue
        left -= 1
        failed = take(&table.columns[number], &p, end, row, table.rows)
        if failed:
            return failed
    return 0 if p == end else DAMAGED


cdef int add_all(Table* table, const unsigned char** starts, const Py_ssize_t* sizes) noexcept nogil:
    cdef int64_t row
    cdef int failed
    for row in range(table.rows):
        failed = add(table, starts[row], starts[row] + sizes[row], row)
        if failed:
            return failed
    return 0


# ---- in and out

cdef int start(Table* table, int64_t rows, int64_t most) except -1:
    memset(table, 0, sizeof(Table))
    table.rows = rows
    table.most = most
    table.wanted = -1
    table.room = 16
    table.mask = 4 * 16 - 1
    table.columns = <Column*>calloc(table.room, sizeof(Column))
    table.slots = <int32_t*>calloc(4 * table.room, sizeof(int32_t))
    if table.columns == NULL or table.slots == NULL:
        raise MemoryError
    return 0


cdef void close(Table* table) noexcept:
    cdef int64_t at
    if table.columns != NULL:
        for at in range(table.count):
            let_go(&table.columns[at])
    free(table.columns)
    free(table.slots)


cdef int64_t ask(Table* table, bytes name) except -4:
    cdef int64_t number = column_of(table, <const unsigned char*>PyBytes_AS_STRING(name), <uint32_t>PyBytes_GET_SIZE(name), True)
    if number == NO_MEMORY:
        raise MemoryError
    return number


cdef tuple told(Table* table, Column* column):
    """Return (name, kind, nulls, validity, data) of a column; raises UnicodeDecodeError for a name that is no text."""
    cdef int64_t rows = table.rows
    cdef object name = PyUnicode_DecodeUTF8(<const char*>column.name, column.size, NULL)
    cdef object validity = None
    cdef tuple data
    if column.kind == DECLINED:
        return name, DECLINED, 0, None, ()
    if column.kind == EMPTY:
        return name, EMPTY, rows, None, ()
    if column.count < rows:
        validity = PyBytes_FromStringAndSize(<char*>column.valid, (rows + 7) // 8)
    if column.fixed != NULL:
        data = (PyBytes_FromStringAndSize(<char*>column.fixed, (rows + 7) // 8 if column.kind == BOOLS else 8 * rows),)
    else:
        end_rows(column, rows)
        data = (
            PyBytes_FromStringAndSize(<char*>column.offsets, 4 * (rows + 1)),
            PyBytes_FromStringAndSize(<char*>column.text.data, column.text.size),
        )
    return name, WIDE_INTS if column.kind == INTS and column.wide else column.kind, rows - column.count, validity, data


def fill(list documents not None, keep, drop, text, Py_ssize_t most):
    """Return (name, kind, nulls, validity, data) of each column of stored documents; kind -1 where it is declined.

    ``keep``: the names to read, in this order (None: all, as they are met) but for ``drop``; columns of the names in ``text`` are declined. None when
    a document is damaged or there are more than ``most`` columns.
    """
    cdef Table table
    cdef tuple held = tuple(documents)  # other threads may change the list meanwhile
    cdef Py_ssize_t rows = len(held)
    cdef Py_ssize_t at
    cdef int64_t number
    cdef int failed = 0
    cdef const unsigned char** starts = NULL
    cdef Py_ssize_t* sizes = NULL
    cdef bytes data
    cdef list names = [name.encode() for name in (drop if keep is None else keep)]
    cdef list texts = [name.encode() for name in text]
    try:
        start(&table, rows, most)
        starts = <const unsigned char**>malloc((rows + 1) * sizeof(const unsigned char*))
        sizes = <Py_ssize_t*>malloc((rows + 1) * sizeof(Py_ssize_t))
        if starts == NULL or sizes == NULL:
            raise MemoryError
        for at in range(rows):
            data = <bytes?>held[at]
            starts[at] = <const unsigned char*>PyBytes_AS_STRING(data)
            sizes[at] = PyBytes_GET_SIZE(data)
        for name in names:
            number = ask(&table, name)
            if number < 0:
                return None
            if keep is None:
                table.columns[number].kind = DECLINED
        if keep is not None:
            table.wanted = table.count
        with nogil:
            failed = add_all(&table, starts, sizes)
        if failed == NO_MEMORY:
            raise MemoryError
        if failed:
            return None
        return chosen(&table, names if keep is None else [], texts)
    finally:
        free(starts)
        free(sizes)
        close(&table)


cdef list chosen(Table* table, list dropped, list texts):
    """Return what ``fill`` does: all columns but those dropped, which stand first."""
    cdef int64_t number
    for name in texts:
        number = column_of(table, <const unsigned char*>PyBytes_AS_STRING(name), <uint32_t>PyBytes_GET_SIZE(name), False)
        if number >= 0:
            decline(&table.columns[number])
    try:
        return [told(table, &table.columns[number]) for number in range(len(dropped), table.count)]
    except UnicodeDecodeError:
        return None
