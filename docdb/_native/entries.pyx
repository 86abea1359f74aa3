# cython: language_level=3
"""Index entries from stored bytes: the fast twin of ``store/keyspace.py``'s ``EntryMaker``.

What lives here: ``EntryKernel``. What it must not know: collations, errors of the face. What the kernel does not like
(parallel arrays, damage, a 33rd field) it answers with None, and the reference form says what is wrong. No recursion
goes deeper than a path has parts.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport signbit
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from hashlib import blake2b

from docdb._native.buffer cimport Buffer, buffer_byte, buffer_end, buffer_put, buffer_start
from docdb._native.keys cimport key_of_packed
from docdb._native.packed cimport (
    ARRAY, BINARY, DECIMAL, EXT, FLOAT, INT, INT64, MAP, REGEX, Value, find_element, find_field, is_array, is_map, open_array,
    read_value, skip_value, store32,
)
from docdb._native.program cimport Program, program_match
from docdb._native.runs cimport (
    HEAD, PREFIX, Documents, Pair, Row, Rows, Run, new_run, rows_add, rows_end, rows_settle, rows_sort, rows_start,
)

cdef enum:
    FIELDS = 32
    PARTS = 100
    KEY_SIZE = 511
    DIGEST = 16
    HASH = 32           # of a component that no key can hold whole
    LONGEST_ID = 240
    FIXED = -1          # rest of a path whose value is found


cdef struct Part:
    const unsigned char* name
    uint32_t size
    int64_t place           # the element it addresses in an array, or -1

cdef struct Field:
    Part* parts
    int count
    unsigned char turn      # FF: descending

cdef struct Found:          # what a path reaches without fanning out
    const unsigned char* value      # NULL: missing
    int rest                        # first part that is left (only at an array), count when none is
    bint by_place
    bint there                      # for places: whether there is one

cdef struct Id:
    const unsigned char* data
    size_t size

cdef struct State:
    int rests[FIELDS]
    const unsigned char* fixed[FIELDS]
    Found placed[FIELDS]

cdef struct Kept:           # a component that no key can hold whole: what entries need of it
    const unsigned char* value      # NULL: none yet
    unsigned char head[KEY_SIZE]
    unsigned char hash[HASH]        # in a unique index

cdef struct Work:           # of one thread, on one document after the other
    Buffer key                  # of the entry that is being made
    Buffer told                 # what a digest is made of
    size_t starts[FIELDS + 1]   # of its components
    bint is_long[FIELDS]        # the component is the kept one's head
    Kept components[FIELDS]

# Stands for an empty array at the end of a path: a pointer no document contains.
cdef const unsigned char EMPTY = 0


cdef int descend(Field* field, const unsigned char* value, int rest, const unsigned char* end, Found* found) noexcept nogil:
    cdef int answer
    found.by_place = False
    while rest < field.count and not is_array(value, end):
        answer = find_field(value, end, field.parts[rest].name, field.parts[rest].size, &value)
        if answer < 0:
            return -1
        if answer == 0:
            found.value = NULL
            found.rest = field.count
            return 0
        rest += 1
    found.value = value
    found.rest = rest
    return 0


cdef int reach(
    Field* field, const unsigned char* source, int rest, Found* placed, const unsigned char* end, Found* found
) noexcept nogil:
    """Follow a path from a map (NULL: no map): 0, or -1 for damage and for a name that is a place too."""
    cdef const unsigned char* value = NULL
    cdef int answer = 0
    if source != NULL:
        answer = find_field(source, end, field.parts[rest].name, field.parts[rest].size, &value)
        if answer < 0:
            return -1
    if answer:
        return -1 if placed.there else descend(field, value, rest + 1, end, found)
    if placed.there:
        found[0] = placed[0]
        return 0
    found.value = NULL
    found.rest = field.count
    found.by_place = False
    return 0


cdef int place(Field* field, const unsigned char* array, int rest, const unsigned char* end, Found* found) noexcept nogil:
    cdef const unsigned char* element = NULL
    cdef int answer
    found.there = False
    if rest >= field.count or field.parts[rest].place < 0:
        return 0
    answer = find_element(array, end, <uint32_t>field.parts[rest].place, &element)
    if answer <= 0:
        return answer
    if descend(field, element, rest + 1, end, found) < 0:
        return -1
    found.by_place = is_array(element, end)
    found.there = True
    return 0


cdef int work_start(Work* work) except -1:
    if buffer_start(&work.key, 1024) < 0:
        raise MemoryError
    if buffer_start(&work.told, 1) < 0:
        buffer_end(&work.key)
        raise MemoryError
    return 0


cdef void work_end(Work* work) noexcept nogil:
    buffer_end(&work.key)
    buffer_end(&work.told)


cdef int type_byte(const unsigned char* p, const unsigned char* end) noexcept nogil:
    """The low nibble of the entry's type byte, as the table in ``store/keyspace.py``."""
    cdef Value value
    cdef int kind
    if p == NULL:
        return 5
    if p == &EMPTY:
        return 7
    kind = read_value(&p, end, &value)
    if kind == INT:
        return 1 if <int64_t>-2147483648 <= value.integer <= <int64_t>2147483647 else 2
    if kind == FLOAT:
        return 6 if value.real == 0 and signbit(value.real) else 3
    if kind == EXT:
        if value.code == DECIMAL:
            return 4
        if value.code == INT64:
            return 2
        return 7 if value.code == REGEX or value.code == BINARY else 0
    return 7 if kind == ARRAY or kind == MAP else 0


cdef class EntryKernel:
    """Makes the entries of one index; ``fields`` are (path parts, 1 or -1)."""

    cdef Field fields[FIELDS]
    cdef int count
    cdef uint32_t number
    cdef bint unique, sparse, usable
    cdef list names         # keeps the bytes that the parts point to

    def __cinit__(self, number, fields, unique, sparse):
        cdef int i, j
        self.number = number
        self.unique = unique
        self.sparse = sparse
        self.names = []
        self.count = 0
        self.usable = len(fields) <= FIELDS and all(0 < len(path) <= PARTS for path, _ in fields)
        if not self.usable:
            return
        for i, (path, way) in enumerate(fields):
            self.fields[i].parts = <Part*>calloc(len(path) + 1, sizeof(Part))
            if self.fields[i].parts == NULL:
                raise MemoryError
            self.count = i + 1
            self.fields[i].count = len(path)
            self.fields[i].turn = 0xFF if way < 0 else 0
            for j, part in enumerate(path):
                name = part.encode("utf-8")
                self.names.append(name)
                self.fields[i].parts[j].name = <const unsigned char*>PyBytes_AS_STRING(name)
                self.fields[i].parts[j].size = len(name)
                digits = part.isascii() and part.isdigit() and len(part) < 10 and (part == "0" or part[0] != "0")
                self.fields[i].parts[j].place = int(part) if digits else -1

    def __dealloc__(self):
        cdef int i
        for i in range(self.count):
            free(self.fields[i].parts)

    def entries(self, bytes id_key not None, bytes data not None):
        """Return the (key, value) pairs of a stored document, or None: ask the reference."""
        (made,) = self.entries_many((id_key,), (data,))
        return made

    def entries_many(self, id_keys, datas):
        """Return ``entries`` of many documents."""
        cdef Work work
        cdef Rows rows
        cdef list made = []
        cdef bytes id_key, data
        work_start(&work)
        if rows_start(&rows, 1024) < 0:
            work_end(&work)
            raise MemoryError
        try:
            for id_key, data in zip(id_keys, datas, strict=True):
                rows.size = 0
                rows.memory.size = 0
                if self.make(
                    <const unsigned char*>PyBytes_AS_STRING(id_key), PyBytes_GET_SIZE(id_key),
                    <const unsigned char*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &rows, &work,
                ) < 0:
                    made.append(None)
                else:
                    rows_settle(&rows)
                    made.append(pairs_of(&rows))
            return made
        finally:
            work_end(&work)
            rows_end(&rows)

    def run(self, Documents documents not None, Program program=None, bytes upto=None):
        """Return the entries of all documents as a run, or None: ask the reference.

        ``program`` (exact) tells which documents the index takes, ``upto`` the last id key it takes.
        """
        cdef Run run = new_run(64 * documents.size + 64, None)
        cdef Work work
        cdef int answer
        cdef const char* last = NULL if upto is None else PyBytes_AS_STRING(upto)
        cdef size_t last_size = 0 if upto is None else PyBytes_GET_SIZE(upto)
        work_start(&work)
        with nogil:
            answer = self.make_all(documents, program, last, last_size, run, &work)
            work_end(&work)
        return None if answer < 0 else run

    cdef int make_all(
        self, Documents documents, Program program, const char* last, size_t last_size, Run run, Work* work
    ) noexcept nogil:
        cdef Py_ssize_t n
        cdef const Row* row
        cdef const unsigned char* data
        cdef const unsigned char* id_key
        for n in range(documents.size):
            row = &documents.rows[n]
            data = documents.memory.data + row.at + HEAD
            id_key = data + row.data_size + PREFIX
            if last != NULL and is_above(id_key, row.key_size - PREFIX, last, last_size):
                continue
            if program is not None and program_match(program, data, row.data_size) != 1:
                continue
            if self.make(id_key, row.key_size - PREFIX, data, row.data_size, &run.rows, work) < 0:
                return -1
        rows_settle(&run.rows)
        if rows_sort(&run.rows) < 0:
            return -1
        for n in range(run.rows.size):
            run.cut += (run.rows.pairs[n].value[1] & 15) == 15
            run.multikey += (run.rows.pairs[n].value[1] & 0xF0) == 0x10
        return 0

    cdef int make(
        self, const unsigned char* id_key, size_t id_size, const unsigned char* data, size_t size, Rows* rows, Work* work
    ) noexcept nogil:
        """Add the entries of one document: 0, or -1 where the reference is to be asked."""
        cdef const unsigned char* end = data + size
        cdef State state
        cdef Id id
        cdef int i
        if not self.usable or not is_map(data, end) or id_size > LONGEST_ID:
            return -1
        id.data = id_key
        id.size = id_size
        for i in range(self.count):
            work.components[i].value = NULL
            state.rests[i] = 0
            state.fixed[i] = NULL
            state.placed[i].there = False
        return self.fan_out(&state, data, end, &id, rows, work, 0)

    cdef int fan_out(
        self, State* state, const unsigned char* source, const unsigned char* end, const Id* id, Rows* rows, Work* work,
        int flag,
    ) noexcept nogil:
        """The steps of ``store/keyspace.py``: 0, or -1 where the reference is to be asked."""
        cdef Found found
        cdef State below
        cdef const unsigned char* array = NULL
        cdef const unsigned char* element
        cdef bint spread[FIELDS]
        cdef bint itself = False
        cdef int i
        cdef int64_t left
        for i in range(self.count):
            spread[i] = False
            if state.rests[i] == FIXED:
                continue
            if reach(&self.fields[i], source, state.rests[i], &state.placed[i], end, &found) < 0:
                return -1
            if found.value == NULL or not is_array(found.value, end):
                state.fixed[i] = found.value
                state.rests[i] = FIXED
                continue
            if array != NULL and array != found.value:
                return -1
            array = found.value
            spread[i] = True
            state.rests[i] = found.rest
            itself = itself or (found.by_place and found.rest == self.fields[i].count)
        if array == NULL:
            return self.put_entry(state, end, id, rows, work, flag)
        for i in range(self.count):
            below.placed[i].there = False
            if spread[i] and place(&self.fields[i], array, state.rests[i], end, &below.placed[i]) < 0:
                return -1
        element = array
        left = open_array(&element, end)
        if left < 0:
            return -1
        if left == 0 and self.step(state, &below, spread, &EMPTY, end, id, rows, work) < 0:
            return -1
        while left > 0:
            left -= 1
            if self.step(state, &below, spread, element, end, id, rows, work) < 0 or skip_value(&element, end) < 0:
                return -1
        return self.step(state, &below, spread, array, end, id, rows, work) if itself else 0

    cdef int step(
        self, State* state, State* below, bint* spread, const unsigned char* element, const unsigned char* end, const Id* id,
        Rows* rows, Work* work,
    ) noexcept nogil:
        """Go on with one element of the array that fans out."""
        cdef int i
        for i in range(self.count):
            below.rests[i] = state.rests[i]
            below.fixed[i] = state.fixed[i]
            if spread[i] and state.rests[i] == self.fields[i].count:
                below.rests[i] = FIXED
                below.fixed[i] = element
        return self.fan_out(
            below, element if element != &EMPTY and is_map(element, end) else NULL, end, id, rows, work, 0x10
        )

    cdef int put_entry(
        self, const State* state, const unsigned char* end, const Id* id, Rows* rows, Work* work, int flag
    ) noexcept nogil:
        cdef unsigned char types[FIELDS + 1]
        cdef bint absent = True
        cdef const unsigned char* p
        cdef int i, cut
        work.key.size = 4
        store32(work.key.data, self.number)
        types[0] = <unsigned char>id.size
        for i in range(self.count):
            p = state.fixed[i]
            absent = absent and p == NULL
            types[i + 1] = <unsigned char>(type_byte(p, end) | flag)
            work.starts[i] = work.key.size
            if self.put_component(i, p, end, work) < 0:
                return -1
        work.starts[self.count] = work.key.size
        if absent and self.sparse:
            return 0
        cut = self.cut(work, id.size)
        if cut < 0 or buffer_put(&work.key, id.data, id.size) < 0:
            return -1
        if cut:
            types[1] = 0x1F if flag else 0xFF
        return rows_add(rows, work.key.data, work.key.size, types, self.count + 1)

    cdef int put_component(self, int i, const unsigned char* value, const unsigned char* end, Work* work) noexcept nogil:
        """Append the component of a field. A long one is made once, however many elements of an array stand beside it."""
        cdef Kept* kept = &work.components[i]
        cdef const unsigned char* p = value
        cdef size_t start = work.key.size
        cdef size_t j
        work.is_long[i] = value != NULL and kept.value == value
        if work.is_long[i]:
            return buffer_put(&work.key, kept.head, KEY_SIZE)
        if value == NULL or value == &EMPTY:
            if buffer_byte(&work.key, 0x10 if value == NULL else 0x08) < 0:
                return -1
        elif key_of_packed(&p, end, &work.key, 1) < 0:
            return -1
        if self.fields[i].turn:
            for j in range(start, work.key.size):
                work.key.data[j] ^= 0xFF
        if work.key.size - start > KEY_SIZE:
            if self.unique and hash_of(work.key.data + start, work.key.size - start, kept.hash, HASH) < 0:
                return -1
            work.key.size = start + KEY_SIZE    # more is cut in any case
            memcpy(kept.head, work.key.data + start, KEY_SIZE)
            kept.value = value
            work.is_long[i] = True
        return 0

    cdef int cut(self, Work* work, size_t id_size) noexcept nogil:
        """Cut components that are too long, and mark that: 1 when they were, or -1."""
        cdef size_t limit = KEY_SIZE - DIGEST - 1 - (LONGEST_ID if self.unique else id_size)
        cdef unsigned char digest[DIGEST]
        cdef Buffer* key = &work.key
        if key.size <= limit:
            return 0
        if not self.unique:
            key.size = limit
            return -1 if buffer_byte(key, 0xFF) < 0 else 1
        memset(digest, 0, DIGEST)  # the compiler cannot see that it is filled
        if self.tell(work) < 0 or hash_of(work.told.data, work.told.size, digest, DIGEST) < 0:
            return -1
        key.size = limit
        return -1 if buffer_byte(key, 0xFF) < 0 or buffer_put(key, digest, DIGEST) < 0 else 1

    cdef int tell(self, Work* work) noexcept nogil:
        """Put together what a digest is made of: the components, in the place of a long one FF and its hash."""
        cdef int i
        work.told.size = 0
        for i in range(self.count):
            if work.is_long[i]:
                if buffer_byte(&work.told, 0xFF) < 0 or buffer_put(&work.told, work.components[i].hash, HASH) < 0:
                    return -1
            elif buffer_put(&work.told, work.key.data + work.starts[i], work.starts[i + 1] - work.starts[i]) < 0:
                return -1
        return 0


cdef int hash_of(const unsigned char* data, size_t size, unsigned char* made, size_t length) noexcept with gil:
    """BLAKE2b of so many bytes; rare enough for Python's."""
    cdef bytes found
    try:
        found = blake2b(PyBytes_FromStringAndSize(<const char*>data, size), digest_size=length).digest()
    except Exception:
        return -1   # no memory: the reference form says so
    memcpy(made, PyBytes_AS_STRING(found), length)
    return 0


cdef inline bint is_above(const void* a, size_t a_size, const void* b, size_t b_size) noexcept nogil:
    cdef int order = memcmp(a, b, a_size if a_size < b_size else b_size)
    return order > 0 or (order == 0 and a_size > b_size)


cdef list pairs_of(Rows* rows):
    """Return settled rows as tuples, without the entries whose key an earlier one has."""
    cdef list made = []
    cdef dict seen = {}
    cdef Py_ssize_t n
    cdef Pair* pair
    for n in range(rows.size):
        pair = &rows.pairs[n]
        made.append((
            PyBytes_FromStringAndSize(<const char*>pair.key, pair.key_size),
            PyBytes_FromStringAndSize(<const char*>pair.value, pair.value_size),
        ))
    if len(made) < 2:
        return made
    for row in made:
        seen.setdefault(row[0], row)
    return list(seen.values()) if len(seen) < len(made) else made
