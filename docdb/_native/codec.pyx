# cython: language_level=3
"""Documents to stored bytes and back: the fast twin of ``store/codec.py``.

What lives here: ``encode``, ``prepare``, ``encode_value``, ``order_key_of_value``, ``decode``, ``Decoder``. What it must
not know: the classes of docdb by import; ``configure`` hands them in, once, from above.

The encoder knows the plain cases. Whatever it does not like it declines, and the reference form encodes the document
again: so an error is always the reference's own, with its path. The decoder keeps the names of fields it met in a table
(one slot a hash, the newest wins).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.datetime cimport (
    datetime_day, datetime_hour, datetime_microsecond, datetime_minute, datetime_month, datetime_new, datetime_second,
    datetime_tzinfo, datetime_year, get_utc, import_datetime, datetime as DateTime,
)
from cpython.dict cimport PyDict_Next, PyDict_SetItem, PyDict_Size, PyDict_GetItem
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

from docdb._native.buffer cimport Buffer, buffer_end, buffer_start
from docdb._native.keys cimport key_of_packed
from docdb._native.packed cimport (
    ARRAY, BINARY, BIN, BOOL, DATETIME, DECIMAL, EXT, FLOAT, INT, INT64, MAP, MAX_KEY, MIN_KEY, NIL, OBJECT_ID, REGEX, STR,
    TIMESTAMP, UUID, Value, load64, read_name, read_value,
)
from docdb._native.runs cimport Documents, new_documents
from docdb._native.packing cimport put, put_double, put_ext_bytes, put_ext_int, put_int, put_size, put_text

cdef extern from *:
    """
    /* A dict with room for its items at once; the function is the interpreter's own, and newer ones hide it. */
    #if PY_VERSION_HEX < 0x030D0000 && !defined(PYPY_VERSION)
    #define docdb_new_dict(size) _PyDict_NewPresized(size)
    #else
    #define docdb_new_dict(size) PyDict_New()
    #endif
    """
    dict docdb_new_dict(Py_ssize_t size)

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, unsigned int largest)
    object PyUnicode_DecodeUTF8(const char* data, Py_ssize_t size, const char* errors)
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    void* PyUnicode_DATA(object text)
    void PyUnicode_InternInPlace(PyObject** text)
    object PyLong_FromLongLong(long long value)
    long long PyLong_AsLongLongAndOverflow(object value, int* overflow) except? -1

import_datetime()

cdef enum:
    DEPTH = 100
    LARGEST = 16777216
    LARGEST_ID = 240
    SLOTS = 2048
    LONGEST_NAME = 64
    MOST_ROOM = 128  # fields a dict gets room for before they are seen

cdef object reference_encode, reference_encode_value, reference_prepare, canonical_scalar, extension_value
cdef object decimal_payload, make_id, check_id, reference_order_key, Corrupt, Refused
cdef object ObjectId, Int64, Binary, Regex, Timestamp, MinKey, MaxKey, Decimal, Uuid, Mapping, MISSING
cdef object UTC = get_utc()
cdef str ID = "_id"


def configure(**given):
    """Take the classes and reference forms of the layers above; called once, by ``store/codec.py``."""
    global reference_encode, reference_encode_value, reference_prepare, canonical_scalar, extension_value
    global decimal_payload, make_id, check_id, reference_order_key, Corrupt, Refused
    global ObjectId, Int64, Binary, Regex, Timestamp, MinKey, MaxKey, Decimal, Uuid, Mapping, MISSING
    reference_encode = given["reference_encode"]
    reference_encode_value = given["reference_encode_value"]
    reference_prepare = given["reference_prepare"]
    canonical_scalar = given["canonical_scalar"]
    extension_value = given["extension_value"]
    decimal_payload = given["decimal_payload"]
    make_id = given["make_id"]
    check_id = given["check_id"]
    reference_order_key = given["order_key"]
    Corrupt = given["corrupt"]
    Refused = given["refused"]
    ObjectId, Int64, Binary, Regex, Timestamp, MinKey, MaxKey, Decimal, Uuid, Mapping, MISSING = given["types"]


class Declined(Exception):
    """Not for the kernel; the reference form takes over."""


# ---- encoding


cdef inline int64_t days_of(int64_t year, int month, int day) noexcept nogil:
    """Days since 1970-01-01 of a date of the Gregorian calendar (Hinnant, days_from_civil; the year is positive)."""
    year -= month <= 2
    cdef int64_t era = year // 400
    cdef int64_t of_era = year - era * 400
    cdef int64_t of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


cdef int put_date(Buffer* out, object value) except -1:
    cdef int64_t seconds = days_of(datetime_year(value), datetime_month(value), datetime_day(value)) * 86400
    seconds += datetime_hour(value) * 3600 + datetime_minute(value) * 60 + datetime_second(value)
    return put_ext_int(out, DATETIME, seconds * 1000000 + datetime_microsecond(value))


cdef int put_name(Buffer* out, object name, bint stored) except -1:
    cdef Py_ssize_t size
    cdef const char* data
    if type(name) is not str:
        raise Declined
    data = PyUnicode_AsUTF8AndSize(name, &size)
    if stored and size and (data[0] == b"$" or memchr(data, b".", size) != NULL or memchr(data, 0, size) != NULL):
        raise Declined
    put_size(out, size, 0xA0, 32, 0xD9, 3)
    return put(out, data, size)


cdef int put_fields(Buffer* out, dict fields, int depth, bint naive, bint stored, bint skip_id) except -1:
    """Put names and values of a dict; ``_id`` not again when the caller has put it."""
    cdef PyObject* name
    cdef PyObject* item
    cdef Py_ssize_t position = 0
    cdef Py_ssize_t left = PyDict_Size(fields)
    while PyDict_Next(fields, &position, &name, &item):
        left -= 1
        if skip_id and <object>name == ID:
            continue
        put_name(out, <object>name, stored)
        put_value(out, <object>item, depth, naive, stored)
    if left:
        raise Declined
    return 0


cdef int put_map(Buffer* out, dict fields, int depth, bint naive, bint stored) except -1:
    if depth >= DEPTH:
        raise Declined
    put_size(out, PyDict_Size(fields), 0x80, 16, 0xDE, 2)
    return put_fields(out, fields, depth + 1, naive, stored, False)


cdef int put_items(Buffer* out, object items, int depth, bint naive, bint stored) except -1:
    cdef Py_ssize_t size = len(items)
    cdef Py_ssize_t left = size
    if depth >= DEPTH:
        raise Declined
    put_size(out, size, 0x90, 16, 0xDC, 2)
    for item in items:
        left -= 1
        put_value(out, item, depth + 1, naive, stored)
    if left:
        raise Declined
    return 0


cdef int put_value(Buffer* out, object value, int depth, bint naive, bint stored) except -1:
    cdef int overflow = 0
    cdef long long number
    cdef object kind = type(value)
    if kind is str:
        return put_text(out, value)
    if kind is int:
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow:
            raise Declined
        return put_int(out, number)
    if kind is float:
        return put_double(out, <double>value)
    if kind is bool:
        return put_size(out, 0, 0xC3 if value else 0xC2, 1, 0, 3)
    if value is None:
        return put_size(out, 0, 0xC0, 1, 0, 3)
    if kind is dict:
        return put_map(out, <dict>value, depth, naive, stored)
    if kind is list or kind is tuple:
        return put_items(out, value, depth, naive, stored)
    if kind is DateTime and datetime_tzinfo(value) is UTC:
        return put_date(out, value)
    if kind is bytes:
        put_size(out, PyBytes_GET_SIZE(value), 0, 0, 0xC4, 3)
        return put(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    return put_rare(out, value, kind, depth, naive, stored)


cdef int put_rare(Buffer* out, object value, object kind, int depth, bint naive, bint stored) except -1:
    cdef int overflow = 0
    cdef long long number
    if kind is ObjectId:
        return put_ext_bytes(out, OBJECT_ID, value.binary)
    if kind is Uuid:
        return put_ext_bytes(out, UUID, value.bytes)
    if kind is Int64:
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow:
            raise Declined
        if <int64_t>-2147483648 <= number <= <int64_t>2147483647:
            return put_ext_int(out, INT64, number)
        return put_int(out, number)
    if kind is Decimal:
        return put_ext_bytes(out, DECIMAL, decimal_payload(canonical_scalar(value, "", naive)))
    if kind is Timestamp:
        return put_ext_int(out, TIMESTAMP, <int64_t>((<uint64_t>value.time) << 32 | <uint64_t>value.inc))
    if kind is Regex:
        return put_ext_bytes(out, REGEX, value.pattern.encode() + b"\0" + value.flags.encode())
    if kind is MinKey:
        return put_ext_bytes(out, MIN_KEY, b"\0")
    if kind is MaxKey:
        return put_ext_bytes(out, MAX_KEY, b"\0")
    if kind is Binary and value.subtype:
        return put_ext_bytes(out, BINARY, bytes((value.subtype,)) + bytes(value))
    if isinstance(value, Mapping):
        return put_map(out, dict(value.items()), depth, naive, stored)
    converted = canonical_scalar(value, "", naive)
    if type(converted) is kind and kind is not DateTime:
        raise Declined
    return put_value(out, converted, depth, naive, stored)


def encode(document, *, bint naive_utc=False):
    """Return a document as stored bytes; raise DocumentError with the path of what cannot be stored."""
    cdef Buffer out
    if type(document) is not dict:
        return reference_encode(document, naive_utc=naive_utc)
    if buffer_start(&out, 512) < 0:
        raise MemoryError
    try:
        put_map(&out, <dict>document, 0, naive_utc, True)
        if out.size <= LARGEST:
            return PyBytes_FromStringAndSize(<char*>out.data, out.size)
    except Exception:
        pass  # the reference form says what is wrong, and where
    finally:
        buffer_end(&out)
    return reference_encode(document, naive_utc=naive_utc)


def encode_value(value, *, bint naive_utc=False):
    """Return any value as stored bytes; names of fields may be any text."""
    cdef Buffer out
    if buffer_start(&out, 256) < 0:
        raise MemoryError
    try:
        put_value(&out, value, 0, naive_utc, False)
        return PyBytes_FromStringAndSize(<char*>out.data, out.size)
    except Exception:
        pass  # as above
    finally:
        buffer_end(&out)
    return reference_encode_value(value, naive_utc=naive_utc)


cdef bytes key_of(const unsigned char* data, size_t size):
    cdef Buffer out
    cdef const unsigned char* p = data
    if buffer_start(&out, 2 * size + 64) < 0:
        raise MemoryError
    try:
        if key_of_packed(&p, data + size, &out, 0) < 0:
            raise Declined
        return PyBytes_FromStringAndSize(<char*>out.data, out.size)
    finally:
        buffer_end(&out)


def prepare(document, bint naive_utc=False):
    """Return (``_id``, its order key, stored bytes) of a document to insert; an absent ``_id`` is made, and it comes first."""
    cdef Buffer out
    if type(document) is not dict:
        return reference_prepare(document, naive_utc)
    if buffer_start(&out, 512) < 0:
        raise MemoryError
    try:
        return prepare_into(&out, <dict>document, naive_utc)
    except Exception:
        pass  # as above
    finally:
        buffer_end(&out)
    return reference_prepare(document, naive_utc)


cdef tuple prepare_into(Buffer* out, dict document, bint naive):
    cdef size_t start, stop
    cdef object id_value = put_document(out, document, naive, &start, &stop)
    cdef bytes id_key = key_of(out.data + start, stop - start)
    if PyBytes_GET_SIZE(id_key) > LARGEST_ID:
        raise Declined
    id_value = plain_id(id_value, out.data + start, stop - start, id_key)
    return id_value, id_key, PyBytes_FromStringAndSize(<char*>out.data, out.size)


cdef object put_document(Buffer* out, dict document, bint naive, size_t* start, size_t* stop):
    """Put a document with its ``_id`` first; return the ``_id``, which lies from start to stop."""
    cdef PyObject* found = PyDict_GetItem(document, ID)
    cdef bint absent = found == NULL
    cdef object id_value = make_id() if absent else <object>found
    cdef size_t began = out.size
    put_size(out, PyDict_Size(document) + absent, 0x80, 16, 0xDE, 2)
    put_name(out, ID, True)
    start[0] = out.size
    put_value(out, id_value, 1, naive, True)
    stop[0] = out.size
    put_fields(out, document, 1, naive, True, not absent)
    if out.size - began > LARGEST:
        raise Declined
    return id_value


cdef object plain_id(object id_value, const unsigned char* data, size_t size, bytes id_key):
    """Return an ``_id`` as it is stored; only plain ones need no look."""
    if type(id_value) is str or type(id_value) is int or type(id_value) is ObjectId:
        return id_value
    id_value = decode_bytes(data, size)
    check_id(id_value, id_key)
    return id_value


def prepare_run(documents, bint naive_utc, uint32_t number, fallback):
    """Return the ids and the Documents of many documents to insert.

    ``fallback(document)`` returns (``_id``, order key, stored bytes) of what the kernel declines, or raises.
    """
    cdef list ids = []
    cdef Documents made = new_documents(512 * min(len(documents), 4096) + 64)
    cdef Buffer key
    cdef size_t at
    made.number = number
    if buffer_start(&key, 512) < 0:
        raise MemoryError
    try:
        for document in documents:
            at = made.begin()
            try:
                ids.append(prepare_row(made, at, document, naive_utc, &key))
            except Exception:
                made.memory.size = at
                id_value, id_key, data = fallback(document)
                at = made.begin()
                put(&made.memory, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
                made.finish(at, PyBytes_AS_STRING(id_key), PyBytes_GET_SIZE(id_key))
                ids.append(id_value)
    finally:
        buffer_end(&key)
    return ids, made


cdef object prepare_row(Documents made, size_t at, object document, bint naive, Buffer* key):
    cdef size_t start, stop
    cdef const unsigned char* p
    if type(document) is not dict:
        raise Declined
    cdef object id_value = put_document(&made.memory, <dict>document, naive, &start, &stop)
    p = made.memory.data + start
    key.size = 0
    if key_of_packed(&p, made.memory.data + stop, key, 0) < 0 or key.size > LARGEST_ID:
        raise Declined
    if type(id_value) is not str and type(id_value) is not int and type(id_value) is not ObjectId:
        id_value = plain_id(
            id_value, made.memory.data + start, stop - start, PyBytes_FromStringAndSize(<char*>key.data, key.size)
        )
    made.finish(at, key.data, key.size)
    return id_value


def order_key_of_value(value):
    """Return the order key of a canonical value, as ``language/order.py`` gives it."""
    cdef Buffer out
    if value is MISSING or type(value) is Decimal:
        return reference_order_key(value)
    if buffer_start(&out, 256) < 0:
        raise MemoryError
    try:
        put_value(&out, value, 0, False, False)
        return key_of(out.data, out.size)
    except Exception:
        pass  # as above
    finally:
        buffer_end(&out)
    return reference_order_key(value)


# ---- decoding


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
    cdef Py_ssize_t length
    if size == 0 or size > LONGEST_NAME:
        return PyUnicode_DecodeUTF8(<const char*>name, size, NULL)
    slot = &slots[slot_of(name, size)]
    if slot.size == size and memcmp(slot.text, name, size) == 0:
        return <object>slot.name
    made = PyUnicode_DecodeUTF8(<const char*>name, size, NULL)
    PyUnicode_AsUTF8AndSize(made, &length)
    raw = <PyObject*>made
    Py_INCREF(made)
    PyUnicode_InternInPlace(&raw)
    old = slot.name
    slot.name = raw
    slot.text = PyUnicode_AsUTF8AndSize(<object>raw, &length)
    slot.size = size
    made = <object>raw
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


cdef object date_at(const unsigned char* body):
    """The date of microseconds since 1970 (Hinnant, civil_from_days; the year is 1 to 9999)."""
    cdef int64_t micros = <int64_t>load64(body)
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
        return date_at(value.body)
    return extension_value(value.code, PyBytes_FromStringAndSize(<const char*>value.body, value.size))


cdef object map_at(const unsigned char** p, const unsigned char* end, uint32_t count, int depth):
    cdef dict result
    cdef const unsigned char* name
    cdef uint32_t size
    cdef uint32_t left = count
    cdef object key, item
    if depth >= DEPTH:
        raise damaged(f"nested deeper than {DEPTH} levels")
    result = docdb_new_dict(count if count < MOST_ROOM else MOST_ROOM)
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


def decode(bytes data not None):
    """Return the value of stored bytes; raise CorruptError for bytes docdb cannot have written."""
    return decode_bytes(<const unsigned char*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef class Decoder:
    """A callable from stored bytes to a document; engines run it on their own memory through ``decode_at``."""

    cdef object decode_at(self, const unsigned char* data, Py_ssize_t size):
        cdef object value = decode_bytes(data, size)
        if type(value) is not dict:
            raise damaged("not a document")
        return value

    def __call__(self, bytes data not None):
        return self.decode_at(<const unsigned char*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
