"""Index entries to documents: what a covered read returns. Part of codec.pyx.

The plain types are read here; any other entry is handed to the reference form, which also says what is damaged.
"""

cdef enum:
    MOST_COMPONENTS = 32
    OF_INT = 1              # the low nibble of a field's type byte, as ARCHITECTURE.md lists them
    OF_LONG = 2
    OF_FLOAT = 3
    OF_DECIMAL = 4
    OF_ABSENT = 5
    OF_NEGATIVE_ZERO = 6


@cython.final
cdef class EntryDecoder:
    """A callable from an entry (components and id key, value) to a document of fields of the index, None where the entry does not tell them exactly.

    ``names`` has the name of each field, None where it is not shown; ``ways`` 1 or -1 for each; ``slow`` is the reference form.
    """

    def __cinit__(self):
        if buffer_start(&self.turned, 256) < 0:
            raise MemoryError

    def __init__(self, tuple names not None, tuple ways not None, bint shows_id, slow):
        cdef uint32_t at
        if len(names) != len(ways) or len(names) > MOST_COMPONENTS:
            raise ValueError(f"at most {MOST_COMPONENTS} names, and as many ways")
        self.names, self.shows_id, self.slow = names, shows_id, slow
        self.count = <uint32_t>len(names)
        for at in range(self.count):
            self.turns[at] = 0xFF if ways[at] < 0 else 0

    def __dealloc__(self):
        buffer_end(&self.turned)

    cdef object decode_pair(self, const unsigned char* key, Py_ssize_t key_size, const unsigned char* value, Py_ssize_t value_size):
        cdef object found = self.plain(key, key_size, value, value_size)
        if found is None:
            found = self.slow(
                PyBytes_FromStringAndSize(<const char*>key, key_size), PyBytes_FromStringAndSize(<const char*>value, value_size)
            )
        return found

    cdef object plain(self, const unsigned char* key, Py_ssize_t key_size, const unsigned char* value, Py_ssize_t value_size):
        """Return the document of an entry of plain types, else None."""
        cdef const unsigned char* p = key
        cdef const unsigned char* start
        cdef const unsigned char* end
        cdef uint32_t at
        cdef dict result
        cdef object item
        if value_size != <Py_ssize_t>self.count + 1 or value[0] > key_size:
            return None
        for at in range(self.count):
            if value[1 + at] > OF_NEGATIVE_ZERO or value[1 + at] == OF_DECIMAL:
                return None
        end = key + key_size - value[0]
        result = {}
        if self.shows_id:
            item = id_at(end, key + key_size)
            if item is None:
                return None
            PyDict_SetItem(result, ID, item)
        for at in range(self.count):
            start = p
            if skip_component(&p, end, self.turns[at], 0) < 0:
                return None
            if self.names[at] is None or value[1 + at] == OF_ABSENT:
                continue
            if self.turns[at]:
                start = self.upright(start, p - start)
                item = component_at(start, self.turned.size, value[1 + at])
            else:
                item = component_at(start, p - start, value[1 + at])
            if item is None:
                if start[0] != 0x10 or value[1 + at]:
                    return None
            PyDict_SetItem(result, self.names[at], item)
        return result if p == end else None

    cdef const unsigned char* upright(self, const unsigned char* data, size_t size) except NULL:
        """Return the ascending form of a descending component, valid until the next call."""
        cdef size_t at
        self.turned.size = 0
        if buffer_reserve(&self.turned, size) < 0:
            raise MemoryError
        for at in range(size):
            self.turned.data[at] = data[at] ^ 0xFF
        self.turned.size = size
        return self.turned.data

    def __call__(self, bytes key not None, bytes value not None):
        return self.decode_pair(
            <const unsigned char*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key),
            <const unsigned char*>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value),
        )


cdef object id_at(const unsigned char* p, const unsigned char* end):
    """Return the id of an id key, None where the key does not tell its exact type."""
    if p < end and (p[0] == 0x30 or p[0] == 0x70 or p[0] == 0x80 or p[0] == 0x90):
        return component_at(p, end - p, 0)
    return None


cdef object component_at(const unsigned char* p, Py_ssize_t size, unsigned char kind):
    """Return the value of a component of so many bytes; None for null, and for what is not read here."""
    cdef const unsigned char* text = p + 1
    if p[0] == 0x30 and kind == 0 and size >= 2:
        if memchr(text, 0, size - 2) != NULL or p[size - 1]:
            return None
        if is_ascii(text, <uint32_t>(size - 2)):
            return text_at(text, <uint32_t>(size - 2))
        return PyUnicode_DecodeUTF8(<const char*>text, size - 2, "replace")
    if p[0] == 0x20 and size == 10:
        return number_at(p, kind)
    if p[0] == 0x70 and kind == 0 and size == 13:
        return extension_value(OBJECT_ID, PyBytes_FromStringAndSize(<const char*>text, 12))
    if p[0] == 0x80 and kind == 0 and size == 2:
        return p[1] == 1
    if p[0] == 0x90 and kind == 0 and size == 9:
        return date_of(<int64_t>(load64(text) ^ SIGN))
    return None


cdef object number_at(const unsigned char* p, unsigned char kind):
    """Return a number that is a double, or an int as large as one tells exactly."""
    cdef uint64_t bits = load64(p + 1)
    cdef double number
    if bits == 0 or p[9]:
        return None
    bits = bits ^ SIGN if bits & SIGN else ~bits
    memcpy(&number, &bits, 8)
    if kind == OF_FLOAT:
        return number
    if (kind != OF_INT and kind != OF_LONG) or not -9e15 <= number <= 9e15:
        return None
    if kind == OF_LONG and -2147483648.0 <= number <= 2147483647.0:
        return None
    if number != <double><int64_t>number:
        return None
    return PyLong_FromLongLong(<int64_t>number)
