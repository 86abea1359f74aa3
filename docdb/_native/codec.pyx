# cython: language_level=3
"""Documents to stored bytes and back: the fast twin of ``store/codec.py``.

What lives here: ``encode``, ``prepare``, ``encode_value``, ``order_key_of_value``, ``decode``, ``decode_value``, ``Decoder``. What it must
not know: the classes of docdb by import; ``configure`` hands them in, once, from above.

The encoder knows the plain cases. Whatever it does not like it declines, and the reference form encodes the document
again: so an error is always the reference's own, with its path. The decoder keeps the names of fields it met in a table
(one slot a hash, the newest wins).
"""

cimport cython
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

from docdb._native.buffer cimport Buffer, buffer_end, buffer_reserve, buffer_start
from docdb._native.keys cimport key_of_packed, skip_component
from docdb._native.packed cimport (
    ARRAY, BINARY, BIN, BOOL, DATETIME, DECIMAL, EXT, FLOAT, INT, INT64, MAP, MAX_KEY, MIN_KEY, NIL, OBJECT_ID, REGEX, STR,
    TIMESTAMP, UUID, Value, load64, open_map, read_name, read_value, skip_value,
)
from docdb._native.runs cimport HEAD, Documents, holds_at, new_documents
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
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
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
cdef uint64_t SIGN = <uint64_t>1 << 63


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


@cython.final
cdef class Owner:
    """A field that each document has: its name, and name and text as they are stored."""

    cdef str name
    cdef Py_ssize_t length
    cdef bytes stored_name, stored_text

    def __cinit__(self, str name not None, str text not None):
        cdef Buffer out
        if buffer_start(&out, 64) < 0:
            raise MemoryError
        try:
            put_text(&out, text)
            self.stored_text = PyBytes_FromStringAndSize(<char*>out.data, out.size)
        finally:
            buffer_end(&out)
        self.stored_name = name.encode()
        self.name = name
        self.length = len(name)

    cdef bint is_at(self, const unsigned char* data, size_t size) noexcept:
        """Tell whether just the text stands in so many bytes."""
        return size == <size_t>PyBytes_GET_SIZE(self.stored_text) and memcmp(data, PyBytes_AS_STRING(self.stored_text), size) == 0

    cdef bint is_held(self, const unsigned char* data, size_t size) noexcept:
        """Tell whether a stored document has the field."""
        cdef const unsigned char* name = <const unsigned char*>PyBytes_AS_STRING(self.stored_name)
        cdef uint32_t length = <uint32_t>PyBytes_GET_SIZE(self.stored_name)
        cdef const unsigned char* text = <const unsigned char*>PyBytes_AS_STRING(self.stored_text)
        return holds_at(data, size, &name, &length, 1, text, PyBytes_GET_SIZE(self.stored_text)) == 1


cdef int put_fields(Buffer* out, dict fields, int depth, bint naive, bint stored, bint skip_id, Owner owner) except -1:
    """Put names and values of a dict; ``_id`` not again when the caller has put it. Where the owner's name stands with anything but the owner is declined."""
    cdef PyObject* name
    cdef PyObject* item
    cdef Py_ssize_t position = 0
    cdef Py_ssize_t left = PyDict_Size(fields)
    cdef size_t at
    while PyDict_Next(fields, &position, &name, &item):
        left -= 1
        if skip_id and <object>name == ID:
            continue
        put_name(out, <object>name, stored)
        if owner is not None and PyUnicode_GET_LENGTH(<object>name) == owner.length and <object>name == owner.name:
            at = out.size
            put_value(out, <object>item, depth, naive, stored)
            if type(<object>item) is not str or not owner.is_at(out.data + at, out.size - at):
                raise Declined
            continue
        put_value(out, <object>item, depth, naive, stored)
    if left:
        raise Declined
    return 0


cdef int put_map(Buffer* out, dict fields, int depth, bint naive, bint stored) except -1:
    if depth >= DEPTH:
        raise Declined
    put_size(out, PyDict_Size(fields), 0x80, 16, 0xDE, 2)
    return put_fields(out, fields, depth + 1, naive, stored, False, None)


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
    cdef object id_value = put_document(out, document, naive, &start, &stop, None)
    cdef bytes id_key = key_of(out.data + start, stop - start)
    if PyBytes_GET_SIZE(id_key) > LARGEST_ID:
        raise Declined
    id_value = plain_id(id_value, out.data + start, stop - start, id_key)
    return id_value, id_key, PyBytes_FromStringAndSize(<char*>out.data, out.size)


cdef object put_document(Buffer* out, dict document, bint naive, size_t* start, size_t* stop, Owner owner):
    """Put a document with its ``_id`` first, and its owner last where it has none; return the ``_id``, which lies from start to stop."""
    cdef PyObject* found = PyDict_GetItem(document, ID)
    cdef bint absent = found == NULL
    cdef bint missing = owner is not None and PyDict_GetItem(document, owner.name) == NULL
    cdef object id_value = make_id() if absent else <object>found
    cdef size_t began = out.size
    put_size(out, PyDict_Size(document) + absent + missing, 0x80, 16, 0xDE, 2)
    put_name(out, ID, True)
    start[0] = out.size
    put_value(out, id_value, 1, naive, True)
    stop[0] = out.size
    put_fields(out, document, 1, naive, True, not absent, owner)
    if missing:
        put_name(out, owner.name, True)
        put(out, PyBytes_AS_STRING(owner.stored_text), PyBytes_GET_SIZE(owner.stored_text))
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


def prepare_run(documents, bint naive_utc, uint32_t number, fallback, owner=None):
    """Return the ids and the Documents of many documents to insert.

    ``fallback(document)`` returns (``_id``, order key, stored bytes) of what the kernel declines, or raises. ``owner`` is the name of a field and its text: a
    document without it gets it, behind its own fields, and one that has anything else there is declined.
    """
    cdef list ids = []
    cdef Documents made = new_documents(512 * min(len(documents), 4096) + 64)
    cdef Owner owned = None if owner is None else Owner(*owner)
    cdef bint held = owned is not None
    cdef Buffer key
    cdef size_t at
    made.number = number
    if buffer_start(&key, 512) < 0:
        raise MemoryError
    try:
        for document in documents:
            at = made.begin()
            try:
                ids.append(prepare_row(made, at, document, naive_utc, &key, owned))
            except Exception:
                made.memory.size = at
                id_value, id_key, data = fallback(document)
                at = made.begin()
                put(&made.memory, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
                held = held and owned.is_held(made.memory.data + at + HEAD, PyBytes_GET_SIZE(data))
                made.finish(at, PyBytes_AS_STRING(id_key), PyBytes_GET_SIZE(id_key))
                ids.append(id_value)
    finally:
        buffer_end(&key)
    if held:
        made.remember(owned.stored_name, owned.stored_text)
    return ids, made


cdef object prepare_row(Documents made, size_t at, object document, bint naive, Buffer* key, Owner owner):
    cdef size_t start, stop
    cdef const unsigned char* p
    if type(document) is not dict:
        raise Declined
    cdef object id_value = put_document(&made.memory, <dict>document, naive, &start, &stop, owner)
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


include "codec_shapes.pxi"


include "codec_decoding.pxi"


include "codec_fields.pxi"


include "codec_entries.pxi"
