# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Many pairs in a few blocks of memory: the fast twin of ``store/runs.py``.

What lives here: ``Run`` (pairs of key and value, in order, as an engine stores them) and ``Documents`` (new documents with their keys, of
which the runs of documents and of change records are made without copying). What it must not know: indexes, engines.

A hundred thousand pairs as tuples of bytes cost more to make, and to collect, than to store. Here a pair is 32 bytes that point
into one block; it becomes a tuple only for an engine that asks for tuples.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy

from docdb._native.buffer cimport buffer_end, buffer_put, buffer_reserve, buffer_start
from docdb._native.packed cimport find_field, load64, store32, store64
from docdb._native.program cimport Program, program_match

from docdb.errors import CorruptError

cdef enum:
    FIRST_ROOM = 4
    CHANGE_KEY = 12
    SHORT = 8               # runs of so many are sorted by insertion
    LONGEST_PATH = 16       # names


# ---- rows


cdef int rows_start(Rows* rows, size_t capacity) noexcept nogil:
    rows.pairs = NULL
    rows.size = rows.room = 0
    return buffer_start(&rows.memory, capacity)


cdef void rows_end(Rows* rows) noexcept nogil:
    buffer_end(&rows.memory)
    free(rows.pairs)
    rows.pairs = NULL
    rows.size = rows.room = 0


cdef int rows_point(Rows* rows, const void* key, size_t key_size, const void* value, size_t value_size) noexcept nogil:
    """Add a pair as it is."""
    cdef Pair* pair
    cdef Py_ssize_t room
    if rows.size == rows.room:
        room = 2 * rows.room + FIRST_ROOM
        pair = <Pair*>realloc(rows.pairs, room * sizeof(Pair))
        if pair == NULL:
            return -1
        rows.pairs = pair
        rows.room = room
    pair = &rows.pairs[rows.size]
    pair.key = <const unsigned char*>key
    pair.key_size = key_size
    pair.value = <const unsigned char*>value
    pair.value_size = value_size
    rows.size += 1
    return 0


cdef int rows_add(Rows* rows, const void* key, size_t key_size, const void* value, size_t value_size) noexcept nogil:
    """Add a pair and copy its bytes; it holds places until ``rows_settle``."""
    cdef size_t at = rows.memory.size
    if buffer_put(&rows.memory, key, key_size) < 0 or buffer_put(&rows.memory, value, value_size) < 0:
        return -1
    return rows_point(rows, <const void*>at, key_size, <const void*>(at + key_size), value_size)


cdef void rows_settle(Rows* rows) noexcept nogil:
    cdef Py_ssize_t n
    for n in range(rows.size):
        rows.pairs[n].key = rows.memory.data + <size_t>rows.pairs[n].key
        rows.pairs[n].value = rows.memory.data + <size_t>rows.pairs[n].value


# ---- sorting: a stable merge sort of the eight bytes that follow what all keys share; then the first of equal keys stays


cdef struct Mark:
    uint64_t head
    Py_ssize_t place


cdef inline int compare(const Pair* a, const Pair* b) noexcept nogil:
    cdef int order = memcmp(a.key, b.key, a.key_size if a.key_size < b.key_size else b.key_size)
    if order:
        return order
    return -1 if a.key_size < b.key_size else a.key_size > b.key_size


cdef inline bint above(const Pair* pairs, const Mark* a, const Mark* b) noexcept nogil:
    if a.head != b.head:
        return a.head > b.head
    return compare(&pairs[a.place], &pairs[b.place]) > 0


cdef bint ascends(const Rows* rows) noexcept nogil:
    cdef Py_ssize_t n
    for n in range(1, rows.size):
        if compare(&rows.pairs[n - 1], &rows.pairs[n]) >= 0:
            return False
    return True


cdef size_t shared_size(const Rows* rows) noexcept nogil:
    """Return how many bytes all keys have in common at their beginning."""
    cdef const Pair* first = &rows.pairs[0]
    cdef const Pair* pair
    cdef size_t size = first.key_size, at
    cdef Py_ssize_t n
    for n in range(1, rows.size):
        pair = &rows.pairs[n]
        if pair.key_size < size:
            size = pair.key_size
        if memcmp(pair.key, first.key, size):
            at = 0
            while pair.key[at] == first.key[at]:
                at += 1
            size = at
    return size


cdef uint64_t head_of(const Pair* pair, size_t skip) noexcept nogil:
    cdef unsigned char short_[8]
    cdef size_t size = pair.key_size - skip, n
    if size >= 8:
        return load64(pair.key + skip)
    for n in range(8):
        short_[n] = pair.key[skip + n] if n < size else 0
    return load64(short_)


cdef void insertion_sort(const Pair* pairs, Mark* marks, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t n, at
    cdef Mark moved
    for n in range(1, size):
        moved = marks[n]
        at = n
        while at > 0 and above(pairs, &marks[at - 1], &moved):
            marks[at] = marks[at - 1]
            at -= 1
        marks[at] = moved


cdef void merge(const Pair* pairs, const Mark* source, Mark* out, Py_ssize_t middle, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t left = 0, right = middle, n
    for n in range(size):
        if right >= size or (left < middle and not above(pairs, &source[left], &source[right])):
            out[n] = source[left]
            left += 1
        else:
            out[n] = source[right]
            right += 1


cdef Mark* merge_sort(const Pair* pairs, Mark* marks, Mark* other, Py_ssize_t size) noexcept nogil:
    """Sort with the help of a second array; return the one that holds the result."""
    cdef Py_ssize_t width = SHORT, at = 0
    cdef Mark* swapped
    while at < size:
        insertion_sort(pairs, marks + at, min(<Py_ssize_t>SHORT, size - at))
        at += SHORT
    while width < size:
        at = 0
        while at < size:
            merge(pairs, marks + at, other + at, min(width, size - at), min(2 * width, size - at))
            at += 2 * width
        swapped = marks
        marks = other
        other = swapped
        width *= 2
    return marks


cdef int rows_sort(Rows* rows) noexcept nogil:
    """Put settled rows in order of their keys; of rows with the same key the first stays."""
    cdef Mark* marks
    cdef Mark* sorted_
    cdef Pair* pairs
    cdef Py_ssize_t n, kept = 0
    cdef size_t skip
    if ascends(rows):
        return 0
    marks = <Mark*>malloc(2 * rows.size * sizeof(Mark))
    pairs = <Pair*>malloc(rows.size * sizeof(Pair))
    if marks == NULL or pairs == NULL:
        free(marks)
        free(pairs)
        return -1
    skip = shared_size(rows)
    for n in range(rows.size):
        marks[n].head = head_of(&rows.pairs[n], skip)
        marks[n].place = n
    sorted_ = merge_sort(rows.pairs, marks, marks + rows.size, rows.size)
    for n in range(rows.size):
        pairs[kept] = rows.pairs[sorted_[n].place]
        if kept == 0 or compare(&pairs[kept - 1], &pairs[kept]) < 0:
            kept += 1
    free(marks)
    free(rows.pairs)
    rows.pairs = pairs
    rows.room = rows.size
    rows.size = kept
    return 0


# ---- runs


cdef Run new_run(size_t capacity, object keeps):
    cdef Run run = Run.__new__(Run)
    if rows_start(&run.rows, capacity) < 0:
        raise MemoryError
    run.keeps = keeps
    return run


cdef class Run:
    """Pairs of bytes, to be iterated or handed to an engine; its keys ascend, each is there once."""

    def __dealloc__(self):
        rows_end(&self.rows)

    def __len__(self):
        return self.rows.size

    def __iter__(self):
        cdef Py_ssize_t n
        for n in range(self.rows.size):
            yield self.pair(n)

    def pair(self, Py_ssize_t place):
        """Return (key, value) at a place; IndexError outside."""
        cdef Pair* pair
        if not 0 <= place < self.rows.size:
            raise IndexError(place)
        pair = &self.rows.pairs[place]
        return (
            PyBytes_FromStringAndSize(<const char*>pair.key, pair.key_size),
            PyBytes_FromStringAndSize(<const char*>pair.value, pair.value_size),
        )

    def collides(self):
        """Tell whether two index entries are alike but for their ids."""
        cdef Py_ssize_t n
        cdef size_t size
        cdef Pair* a
        cdef Pair* b
        for n in range(1, self.rows.size):
            a = &self.rows.pairs[n - 1]
            b = &self.rows.pairs[n]
            size = a.key_size - a.value[0]
            if b.key_size >= size and memcmp(a.key, b.key, size) == 0:
                return True
        return False

    @property
    def total_bytes(self):
        """How many bytes keys and values have together."""
        cdef Py_ssize_t n
        cdef size_t total = 0
        for n in range(self.rows.size):
            total += self.rows.pairs[n].key_size + self.rows.pairs[n].value_size
        return total


# ---- documents


cdef Documents new_documents(size_t capacity):
    cdef Documents documents = Documents.__new__(Documents)
    if buffer_start(&documents.memory, capacity) < 0:
        raise MemoryError
    return documents


cdef int holds_at(
    const unsigned char* data, size_t size, const unsigned char** parts, const uint32_t* sizes, int count, const unsigned char* packed, Py_ssize_t length
) noexcept nogil:
    """Tell whether a document has this value where the path leads: 1, 0, or -1. No value's bytes begin those of another."""
    cdef const unsigned char* end = data + size
    cdef int at, found
    for at in range(count):
        found = find_field(data, end, parts[at], sizes[at], &data)
        if found != 1:
            return found
    return end - data >= length and memcmp(data, packed, length) == 0


cdef class Documents:
    """New documents in the order they came: for each the head of its change record, its bytes and its key, side by side."""

    def __dealloc__(self):
        buffer_end(&self.memory)
        rows_end(&self.ordered)
        free(self.rows)

    def __len__(self):
        return self.size

    cdef size_t begin(self) except? 0:
        """Put a record's head and return its place; the document's bytes follow."""
        cdef size_t at = self.memory.size
        if buffer_reserve(&self.memory, HEAD) < 0:
            raise MemoryError
        self.memory.data[at] = b"i"
        store32(self.memory.data + at + 1, self.number)
        store32(self.memory.data + at + 5, 0)
        self.memory.size += HEAD
        return at

    cdef int finish(self, size_t at, const void* id_key, size_t id_size) except -1:
        """Put the key behind the document's bytes and count the row."""
        cdef Row* rows
        cdef Py_ssize_t room
        cdef size_t end = self.memory.size
        if self.size == self.room:
            room = 2 * self.room + FIRST_ROOM
            rows = <Row*>realloc(self.rows, room * sizeof(Row))
            if rows == NULL:
                raise MemoryError
            self.rows = rows
            self.room = room
        if buffer_reserve(&self.memory, PREFIX + id_size) < 0:
            raise MemoryError
        store32(self.memory.data + end, self.number)
        memcpy(self.memory.data + end + PREFIX, id_key, id_size)
        self.memory.size += PREFIX + id_size
        self.rows[self.size].at = at
        self.rows[self.size].data_size = end - at - HEAD
        self.rows[self.size].key_size = PREFIX + id_size
        self.size += 1
        self.data_bytes += end - at - HEAD
        return 0

    cdef int remember(self, bytes name, bytes value) except -1:
        """Note that each document has a field with just these stored bytes; after that no document is added."""
        self.held_name = name
        self.held_value = value
        return 0

    def lists(self):
        """Return the id keys and the stored bytes."""
        cdef Py_ssize_t n
        cdef Row* row
        cdef const char* data
        cdef list id_keys = [], datas = []
        for n in range(self.size):
            row = &self.rows[n]
            data = <const char*>self.memory.data + row.at + HEAD
            datas.append(PyBytes_FromStringAndSize(data, row.data_size))
            id_keys.append(PyBytes_FromStringAndSize(data + row.data_size + PREFIX, row.key_size - PREFIX))
        return id_keys, datas

    def all_match(self, Program program not None):
        """Tell whether a program is sure of every document that it matches. The GIL is released. Raises CorruptError for damaged bytes."""
        cdef Py_ssize_t n
        cdef int verdict = 1
        with nogil:
            for n in range(self.size):
                verdict = program_match(program, self.memory.data + self.rows[n].at + HEAD, self.rows[n].data_size)
                if verdict != 1:
                    break
        if verdict < 0:
            raise CorruptError("a document is damaged")
        return verdict == 1

    def all_hold(self, path, bytes packed not None):
        """Tell whether each document has a value with just these stored bytes where a path of names leads, through objects only.

        What was seen while the documents were made costs no walk; else the GIL is released. Raises CorruptError for damaged bytes.
        """
        cdef list names = list(path)
        cdef const unsigned char* parts[LONGEST_PATH]
        cdef uint32_t sizes[LONGEST_PATH]
        cdef const unsigned char* wanted = <const unsigned char*>PyBytes_AS_STRING(packed)
        cdef Py_ssize_t length = PyBytes_GET_SIZE(packed)
        cdef Py_ssize_t n
        cdef int count = len(names)
        cdef int at
        cdef int verdict = 1
        if not 0 < count <= LONGEST_PATH:
            raise ValueError(f"a path has 1 to {LONGEST_PATH} names")
        for at in range(count):
            if type(names[at]) is not bytes:
                raise TypeError("a path is one of stored names")
            parts[at] = <const unsigned char*>PyBytes_AS_STRING(names[at])
            sizes[at] = <uint32_t>PyBytes_GET_SIZE(names[at])
        if count == 1 and self.held_name is not None and names[0] == self.held_name and packed == self.held_value:
            return True
        with nogil:
            for n in range(self.size):
                verdict = holds_at(
                    self.memory.data + self.rows[n].at + HEAD, self.rows[n].data_size, parts, sizes, count, wanted, length
                )
                if verdict != 1:
                    break
        if verdict < 0:
            raise CorruptError("a document is damaged")
        return verdict == 1

    def documents(self, uint32_t number):
        """Return the run of the documents of a collection; shorter than the documents when an id occurs twice."""
        cdef Run run = new_run(1, self)
        self.assign(number)
        self.arrange()
        run.rows.pairs = <Pair*>malloc(self.ordered.size * sizeof(Pair) + 1)
        if run.rows.pairs == NULL:
            raise MemoryError
        if self.ordered.size:
            memcpy(run.rows.pairs, self.ordered.pairs, self.ordered.size * sizeof(Pair))
        run.rows.size = run.rows.room = self.ordered.size
        return run

    cdef int arrange(self) except -1:
        """Bring the pairs into order, once; after that no document is added."""
        cdef Py_ssize_t n
        cdef Row* row
        cdef const unsigned char* data
        if self.ordered.size:
            return 0
        for n in range(self.size):
            row = &self.rows[n]
            data = self.memory.data + row.at + HEAD
            if rows_point(&self.ordered, data + row.data_size, row.key_size, data, row.data_size) < 0:
                raise MemoryError
        if rows_sort(&self.ordered) < 0:
            raise MemoryError
        return 0

    def changes(self, uint32_t number, uint64_t commit, uint32_t first):
        """Return the run of the change records, the first of which is ``first`` in its commit."""
        cdef Run run = new_run(CHANGE_KEY * self.size + 1, self)
        cdef unsigned char* key = run.rows.memory.data
        cdef Py_ssize_t n
        cdef Row* row
        self.assign(number)
        for n in range(self.size):
            row = &self.rows[n]
            store64(key, commit)
            store32(key + 8, first + <uint32_t>n)
            if rows_point(&run.rows, key, CHANGE_KEY, self.memory.data + row.at, HEAD + row.data_size) < 0:
                raise MemoryError
            key += CHANGE_KEY
        return run

    cdef int assign(self, uint32_t number) except -1:
        """Write the collection's number into keys and records, where it is another than thought."""
        cdef Py_ssize_t n
        cdef Row* row
        if number == self.number:
            return 0
        self.number = number
        for n in range(self.size):
            row = &self.rows[n]
            store32(self.memory.data + row.at + 1, number)
            store32(self.memory.data + row.at + HEAD + row.data_size, number)
        return 0


def gather(uint32_t number, id_keys, datas):
    """Return Documents of id keys and stored bytes that are there already."""
    cdef Documents documents = new_documents(4096)
    cdef bytes id_key, data
    cdef size_t at
    documents.number = number
    for id_key, data in zip(id_keys, datas, strict=True):
        at = documents.begin()
        if buffer_put(&documents.memory, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)) < 0:
            raise MemoryError
        documents.finish(at, PyBytes_AS_STRING(id_key), PyBytes_GET_SIZE(id_key))
    return documents
