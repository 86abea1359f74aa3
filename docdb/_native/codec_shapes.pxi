"""Shapes: the names of maps that were decoded before, so that the next map of the kind needs no dict built field by field. Part of codec.pyx.

What lives here: ``Shape`` (the names of one kind of map as they are stored, and a dict that holds them), the table of shapes, and how
it learns.
What it must not know: values.

Documents of one collection mostly have the same fields in the same order. Where a map's stored names are those of a shape, one after the
other, its dict is a copy of the shape's, whose values are put into their places; no name is hashed, no table grows. At the first name that
differs the decoder goes on as if there were no shapes, so the result is the same whatever the table holds.

Laws:
- A shape never changes, and who uses one holds a reference: decoding may run Python code (finalizers), which may decode too.
- The places of a dict's values are the interpreter's own business: they are looked for only in the version whose headers were tested, and a copy is
  used only when it has as many places as the shape has names. The dict is nobody else's until it is returned. In other versions there are no shapes.
"""

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030C0000 && !defined(PYPY_VERSION)
    #ifndef Py_BUILD_CORE
    #define Py_BUILD_CORE 1
    #endif
    #include "internal/pycore_dict.h"
    /* The entries of a dict of texts: key, value, key, value ...; NULL where they are not one for each of ``count`` names. */
    static inline PyObject **docdb_places(PyObject *dict, Py_ssize_t count) {
        PyDictObject *inside = (PyDictObject *)dict;
        PyDictKeysObject *keys = inside->ma_keys;
        if (inside->ma_values != NULL || inside->ma_used != count || keys->dk_kind != DICT_KEYS_UNICODE || keys->dk_nentries != count)
            return NULL;
        return (PyObject **)DK_UNICODE_ENTRIES(keys);
    }
    #else
    static inline PyObject **docdb_places(PyObject *dict, Py_ssize_t count) {
        return NULL;
    }
    #endif
    static inline PyObject *docdb_key_at(PyObject **places, Py_ssize_t at) {
        return places[2 * at];
    }
    /* Put a value into its place; whether the garbage collector has to see the dict because of it. */
    static inline int docdb_set_at(PyObject **places, Py_ssize_t at, PyObject *value) {
        PyObject *old = places[2 * at + 1];
        Py_INCREF(value);
        places[2 * at + 1] = value;
        Py_DECREF(old);
        return PyObject_IS_GC(value);
    }
    """
    PyObject** docdb_places(object dict, Py_ssize_t count) noexcept
    PyObject* docdb_key_at(PyObject** places, Py_ssize_t at) noexcept
    int docdb_set_at(PyObject** places, Py_ssize_t at, object value) noexcept

cdef extern from "Python.h":
    dict PyDict_Copy(object mapping)
    void PyObject_GC_Track(object tracked) noexcept
    int PyObject_GC_IsTracked(object tracked) noexcept

cdef enum:
    WIDEST = 64         # fields of a map that has a shape
    FAMILIES = 512         # places in the table of shapes
    PATIENCE = 2        # maps that meet no shape of theirs before one is learnt
    MOST_PATIENCE = 1024

cdef struct Name:
    uint64_t word       # the first eight bytes, of the head and the name, as they are stored
    uint64_t mask       # ones where the name has bytes
    const unsigned char* stored
    uint32_t size       # of both

cdef struct Family:      # of maps that share a place in the table
    PyObject* shape
    int misses
    int patience

cdef Family families[FAMILIES]
cdef bint shapes_are_used = copies_well({"a": None, "b": None})


@cython.final
cdef class Shape:
    """The names of one kind of map."""

    cdef dict template
    cdef bytes stored
    cdef uint32_t count
    cdef Name names[WIDEST]


def use_shapes(bint wanted):
    """Say whether the decoder uses shapes (it does where it can); return what was said before. For tests that compare the two."""
    global shapes_are_used
    before, shapes_are_used = shapes_are_used, wanted
    return before


cdef inline bint is_name(const Name* name, const unsigned char* p, const unsigned char* end) noexcept nogil:
    """Tell whether this name is stored at ``p``, and at least one byte of its value behind it."""
    cdef uint64_t word
    if end - p > 8:
        memcpy(&word, p, 8)
        if (word ^ name.word) & name.mask:
            return False
        return name.size <= 8 or (end - p > <Py_ssize_t>name.size and memcmp(p + 8, name.stored + 8, name.size - 8) == 0)
    return end - p > <Py_ssize_t>name.size and memcmp(p, name.stored, name.size) == 0


cdef inline uint64_t word_at(const unsigned char* p, const unsigned char* end) noexcept nogil:
    """The stored bytes of a short name, at most eight of them, and nothing of what follows; 0 for another."""
    cdef uint64_t word
    cdef uint32_t size
    if end - p < 8 or (p[0] & 0xE0) != 0xA0:
        return 0
    memcpy(&word, p, 8)
    size = (p[0] & 31) + 1
    return word if size >= 8 else word & ((<uint64_t>1 << 8 * size) - 1)


cdef inline Family* family_of(const unsigned char* p, const unsigned char* end, uint32_t count) noexcept nogil:
    """The place of maps that begin like this one: by the number of fields, the first name, and the second behind a short value."""
    cdef uint64_t mix = (word_at(p, end) + count) * <uint64_t>0x9E3779B97F4A7C15
    if end - p >= 8 and (p[0] & 0xE0) == 0xA0:
        p += (p[0] & 31) + 1
        if p < end and skip_value(&p, end) == 0:
            mix = (mix ^ word_at(p, end)) * <uint64_t>0xC2B2AE3D27D4EB4F
    return &families[(mix ^ mix >> 32) * <uint64_t>0xBF58476D1CE4E5B9 >> 55]


cdef Shape shape_of(dict fields):
    """Return the shape of a map that was decoded, or None where it can have none."""
    cdef Shape shape = Shape.__new__(Shape)
    cdef Py_ssize_t at = 0, size, length, place
    cdef const char* text
    cdef Name* name
    cdef bytearray stored = bytearray()
    if not 0 < len(fields) <= WIDEST:
        return None
    shape.template = {}
    for key in fields:
        text = PyUnicode_AsUTF8AndSize(key, &length)
        if length > LONGEST_NAME:
            return None
        stored += bytes((0xA0 | length,)) if length < 32 else bytes((0xD9, length))
        stored += text[:length]
        shape.template[key] = None
    shape.stored = bytes(stored)
    shape.count = <uint32_t>len(shape.template)
    if not copies_well(shape.template):
        return None
    for place, key in enumerate(fields):
        PyUnicode_AsUTF8AndSize(key, &length)
        size = length + (1 if length < 32 else 2)
        name = &shape.names[place]
        name.stored = <const unsigned char*>PyBytes_AS_STRING(shape.stored) + at
        name.size = <uint32_t>size
        name.word = name.mask = 0
        memcpy(&name.word, name.stored, size if size < 8 else 8)
        name.mask = ~<uint64_t>0 if size >= 8 else (<uint64_t>1 << 8 * size) - 1
        at += size
    return shape


cdef bint copies_well(dict template):
    """Tell whether the copy of a dict has its places where the dict has them, which the interpreter promises nobody."""
    cdef dict copy = PyDict_Copy(template)
    cdef PyObject** places = docdb_places(copy, len(template))
    cdef Py_ssize_t place
    if places == NULL or PyObject_GC_IsTracked(copy):
        return False
    for place, key in enumerate(template):
        if docdb_key_at(places, place) != <PyObject*>key:
            return False
    return True


cdef int learn(Family* family, dict fields) except -1:
    """Note that a map met no shape of its own; learn its shape when that has happened often enough of late."""
    cdef Shape shape
    cdef PyObject* old = family.shape
    family.misses += 1
    if family.misses < (family.patience if family.patience else PATIENCE):
        return 0
    # Maps that never look alike (a name for each user, say) are not worth a shape each.
    family.patience = min(MOST_PATIENCE, 2 * family.patience) if family.patience else 4 * PATIENCE
    family.misses = 0
    shape = shape_of(fields)
    if shape is not None and family.shape == old:
        Py_INCREF(shape)
        family.shape = <PyObject*>shape
        Py_XDECREF(old)
    return 0
