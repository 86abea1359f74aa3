"""Stored bytes to values: the decoder. Part of codec.pyx.

It must not know whose memory the bytes are; they are read before a call returns, and not kept.
"""

cdef struct Slot:
    PyObject* name
    const char* text
    uint32_t size

cdef Slot slots[SLOTS]


cdef inline uint32_t slot_of(const unsigned char* name, uint32_t size) noexcept nogil:
    """Hash a name of 1 to 64 bytes by its length and first and last eight bytes."""
    cdef uint64_t mix = size
    cdef uint64_t part = 0
    cdef uint32_t half
    if size >= 8:
        memcpy(&part, name, 8)
        mix ^= part * <uint64_t>0x9E3779B97F4A7C15
        memcpy(&part, name + size - 8, 8)
        mix ^= part * <uint64_t>0xC2B2AE3D27D4EB4F
    elif size >= 4:
        memcpy(&half, name, 4)
        memcpy(&part, name + size - 4, 4)
        mix ^= (part << 32 | half) * <uint64_t>0x9E3779B97F4A7C15
    else:
        mix ^= (<uint64_t>name[0] << 16 | <uint64_t>name[size >> 1] << 8 | name[size - 1]) * <uint64_t>0x9E3779B97F4A7C15
    return <uint32_t>((mix ^ mix >> 29) * <uint64_t>0xBF58476D1CE4E5B9 >> 53)


cdef object name_at(const unsigned char* name, uint32_t size):
    cdef Slot* slot
    cdef object made
    cdef PyObject* raw
    cdef PyObject* old
    cdef const char* text
    cdef Py_ssize_t length
    if size == 0 or size > LONGEST_NAME:
        return PyUnicode_DecodeUTF8(<const char*>name, size, NULL)
    slot = &slots[slot_of(name, size)]
    if slot.size == size and memcmp(slot.text, name, size) == 0:
        return <object>slot.name
    made = PyUnicode_DecodeUTF8(<const char*>name, size, NULL)
    raw = <PyObject*>made
    Py_INCREF(made)
    PyUnicode_InternInPlace(&raw)
    made = <object>raw
    Py_XDECREF(raw)
    text = PyUnicode_AsUTF8AndSize(made, &length)  # the last that may fail: a slot's name and text belong together
    old = slot.name
    Py_INCREF(made)
    slot.name = <PyObject*>made
    slot.text = text
    slot.size = size
    Py_XDECREF(old)
    return made


cdef inline bint is_ascii(const unsigned char* data, uint32_t size) noexcept nogil:
    cdef uint64_t word
    while size >= 8:
        memcpy(&word, data, 8)
        if word & <uint64_t>0x8080808080808080:
            return False
        data += 8
        size -= 8
    while size:
        if data[0] & 0x80:
            return False
        data += 1
        size -= 1
    return True


cdef inline object text_at(const unsigned char* data, uint32_t size):
    cdef object text
    if size > 1 and is_ascii(data, size):
        text = PyUnicode_New(size, 127)
        memcpy(PyUnicode_DATA(text), data, size)
        return text
    return PyUnicode_DecodeUTF8(<const char*>data, size, NULL)


cdef object damaged(str what):
    return Corrupt(f"stored bytes are damaged: {what}")


cdef object date_of(int64_t micros):
    """The date of microseconds since 1970 (Hinnant, civil_from_days; the year is 1 to 9999)."""
    cdef int64_t days, rest, era, of_era, year, of_year, month, seconds
    if micros < <int64_t>-62135596800000000 or micros > <int64_t>253402300799999999:
        raise damaged("a date outside the years 1 to 9999")
    micros += <int64_t>62135596800000000
    days = micros // <int64_t>86400000000
    rest = micros - days * <int64_t>86400000000
    days += 306  # days since 0000-03-01
    era = days // 146097
    of_era = days - era * 146097
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    seconds = rest // 1000000
    return datetime_new(
        <int>(year + era * 400 + (month >= 10)), <int>(month + 3 if month < 10 else month - 9),
        <int>(of_year - (153 * month + 2) // 5 + 1), <int>(seconds // 3600), <int>(seconds // 60 % 60), <int>(seconds % 60),
        <int>(rest % 1000000), UTC, 0,
    )


cdef object ext_at(Value* value):
    if value.code == DATETIME and value.size == 8:
        return date_of(<int64_t>load64(value.body))
    return extension_value(value.code, PyBytes_FromStringAndSize(<const char*>value.body, value.size))


cdef object map_at(const unsigned char** p, const unsigned char* end, uint32_t count, int depth):
    cdef Family* family
    cdef dict result
    if depth >= DEPTH:
        raise damaged(f"nested deeper than {DEPTH} levels")
    if count < 2 or count > WIDEST or not shapes_are_used:
        return plain_map(p, end, count, depth, docdb_new_dict(count if count < MOST_ROOM else MOST_ROOM))
    family = family_of(p[0], end, count)
    if family.shape != NULL and (<Shape>family.shape).count == count:
        return shaped_map(p, end, count, depth, family, <Shape>family.shape)
    result = plain_map(p, end, count, depth, docdb_new_dict(count))
    learn(family, result)
    return result


cdef object shaped_map(const unsigned char** p, const unsigned char* end, uint32_t count, int depth, Family* family, Shape shape):
    """Decode a map as long as it has the names of a shape, and the rest of it as any other."""
    cdef dict result = PyDict_Copy(shape.template)
    cdef dict found
    cdef PyObject** places = docdb_places(result, count)
    cdef uint32_t at = 0
    cdef bint seen = False
    if places != NULL:
        while at < count and is_name(&shape.names[at], p[0], end):
            p[0] += shape.names[at].size
            seen |= docdb_set_at(places, at, value_at(p, end, depth + 1))
            at += 1
        if at == count:
            if seen:
                PyObject_GC_Track(result)
            if family.misses:
                family.misses = 0
                family.patience = 4 * PATIENCE
            return result
    found = docdb_new_dict(count)
    for key, item in result.items():
        if at == 0:
            break
        at -= 1
        PyDict_SetItem(found, key, item)
    found = plain_map(p, end, count, depth, found)
    learn(family, found)
    return found


cdef dict plain_map(const unsigned char** p, const unsigned char* end, uint32_t count, int depth, dict result):
    """Decode the fields of a map into a dict, which may hold the first of them."""
    cdef const unsigned char* name
    cdef uint32_t size
    cdef uint32_t left = count - <uint32_t>PyDict_Size(result)
    cdef object key, item
    while left:
        left -= 1
        if read_name(p, end, &name, &size) < 0:
            raise damaged("the name of a field")
        key = name_at(name, size)
        item = value_at(p, end, depth + 1)
        PyDict_SetItem(result, key, item)
    if PyDict_Size(result) != count:
        raise damaged("a field that is there twice")
    return result


cdef object array_at(const unsigned char** p, const unsigned char* end, uint32_t count, int depth):
    cdef list result
    cdef uint32_t i, _i
    cdef object item
    if depth >= DEPTH:
        raise damaged(f"nested deeper than {DEPTH} levels")
    if count < 65536:  # what the bytes promise is believed only so far
        result = PyList_New(count)
        for i in range(count):
            item = value_at(p, end, depth + 1)
            Py_INCREF(item)
            PyList_SET_ITEM(result, i, item)
        return result
    result = []
    for _i in range(count):
        result.append(value_at(p, end, depth + 1))
    return result


cdef object value_at(const unsigned char** p, const unsigned char* end, int depth):
    cdef Value value
    cdef int kind = read_value(p, end, &value)
    if kind == STR:
        return text_at(value.body, value.size)
    if kind == INT:
        return PyLong_FromLongLong(value.integer)
    if kind == FLOAT:
        return value.real
    if kind == MAP:
        return map_at(p, end, value.size, depth)
    if kind == ARRAY:
        return array_at(p, end, value.size, depth)
    if kind == BOOL:
        return True if value.integer else False
    if kind == NIL:
        return None
    if kind == EXT:
        return ext_at(&value)
    if kind == BIN:
        return PyBytes_FromStringAndSize(<const char*>value.body, value.size)
    raise damaged("a value that does not fit")


cdef object decode_bytes(const unsigned char* data, Py_ssize_t size):
    cdef const unsigned char* p = data
    cdef object value
    try:
        value = value_at(&p, data + size, 0)
    except UnicodeDecodeError as error:
        raise damaged(str(error)) from error
    if p != data + size:
        raise damaged(f"{data + size - p} bytes behind the end")
    return value


cdef object decode_document(const unsigned char* data, Py_ssize_t size):
    cdef object value = decode_bytes(data, size)
    if type(value) is not dict:
        raise damaged("not a document")
    return value


def decode(bytes data not None):
    """Return the document of stored bytes; raise CorruptError for bytes docdb cannot have written."""
    return decode_document(<const unsigned char*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


def decode_value(bytes data not None):
    """Return the value of stored bytes, of any kind; raise CorruptError for bytes docdb cannot have written."""
    return decode_bytes(<const unsigned char*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef class Decoder:
    """A callable from stored bytes to a document; engines run it on their own memory through ``decode_at``."""

    cdef object decode_at(self, const unsigned char* data, Py_ssize_t size):
        return decode_document(data, size)

    def __call__(self, bytes data not None):
        return self.decode_at(<const unsigned char*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
