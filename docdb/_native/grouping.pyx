# cython: language_level=3
"""$group over stored documents, an $unwind or a $lookup before it too: the fast twin of ``pipeline/stages_group.group``.

What lives here: ``Groups``, a decoder that groups what it is given; ``JoinedGroups``, which asks for foreign documents. What it must not know: stages, names
of results, where foreign documents come from. It keeps what the folds of
``language/expression_folds`` keep, in the same order of additions, so that these make the results. What cannot be told here is declined: arrays on a path,
sums of decimals, dates that are none, damaged bytes.

A group is found by the order keys of its id's terms, one behind the other (a date is known by the numbers of its parts: ``grouping_dates.pxi``), in a table of
keyed hashes. Of the id it keeps the stored values of the document that came first.
"""

from os import urandom

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport ceil, fabs, floor, fmod, isfinite, trunc
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

from docdb._native.buffer cimport Buffer, buffer_byte, buffer_end, buffer_put, buffer_reserve, buffer_start
from docdb._native.codec cimport Decoder, decode_bytes
from docdb._native.keys cimport key_of_double, key_of_packed
from docdb._native.packed cimport (
    DATETIME, DECIMAL, EXT, FLOAT, INT, INT64, Value, find_field, is_array, is_map, load64, open_array, open_map,
    read_name, read_value, skip_value, store64,
)
from docdb._native.siphash cimport siphash

cdef enum:
    NULL_TAG = 0x10
    ABSENT_TAG = 0x00       # no order key begins with it
    DATE_TAG = 0x01
    FIRST_ROOM = 64
    ITSELF = -1             # of a path: the unwound value

cdef enum Took:
    DECLINED = -1
    TAKEN = 0
    NOT_JOINED = 1          # its foreign documents are not here yet

cdef enum Kind:
    SUM = 0
    LEAST = 1
    GREATEST = 2
    FIRST = 3
    LAST = 4

cdef struct Name:
    const unsigned char* text
    uint32_t size

cdef struct Route:          # a path: its names, from the document or from what is unwound
    int begin
    int end
    int head                # of a path from the document: which of the heads it begins with
    bint below

cdef struct Reached:
    const unsigned char* at     # NULL: missing
    const unsigned char* end    # of the document it lies in
    bint through_array

cdef struct Held:               # a copy of a stored value, its order key behind it
    unsigned char* data
    size_t size
    size_t key_size
    size_t room

cdef struct State:
    int64_t low                 # the sum of the whole numbers, 128 bits
    int64_t high
    int64_t count
    double total
    double compensation
    bint is_long
    bint has_double
    bint there
    Held held

cdef struct Group:
    uint64_t hash
    size_t key_at
    size_t key_size
    size_t id_at
    int64_t size

cdef extern from *:
    """
    static inline void docdb_add_wide(int64_t *high, int64_t *low, int64_t value) {
        unsigned __int128 sum = ((unsigned __int128)(uint64_t)*high << 64) + (uint64_t)*low + (unsigned __int128)(__int128)value;
        *low = (int64_t)(uint64_t)sum;
        *high = (int64_t)(uint64_t)(sum >> 64);
    }
    """
    void docdb_add_wide(int64_t* high, int64_t* low, int64_t value) nogil

cdef uint64_t SECRET_0 = int.from_bytes(urandom(8), "little")
cdef uint64_t SECRET_1 = int.from_bytes(urandom(8), "little")

include "grouping_dates.pxi"
include "grouping_folds.pxi"
include "grouping_numbers.pxi"

cdef dict READINGS = {"bins": Bins, "date": DateReading, "number": Computing}


cdef class Groups(Decoder):
    """The groups met so far. As a decoder it takes a stored document and answers True while none was declined.

    ``paths`` are tuples of names in UTF-8 with whether they begin at what is unwound; ``terms`` of the id are (path, None or the kind and
    arguments of a reading, whether absent is null), ``folds`` (kind, path). ``unwinds`` is None or (path, whether a document without elements
    stays). ``limit``: bytes, beyond which it declines.
    """

    cdef readonly bint declined
    cdef object owned
    cdef Name* names
    cdef Route* routes
    cdef Reached* reached
    cdef int* heads             # the number of a name for each head
    cdef const unsigned char** found
    cdef int* terms
    cdef bint* absent_is_null
    cdef int* kinds
    cdef int* sources
    cdef list dates
    cdef int route_count, head_count, term_count, fold_count
    cdef int unwound            # a route, -1 for none
    cdef bint keeps
    cdef int32_t* table
    cdef size_t table_size
    cdef Group* groups
    cdef State* states
    cdef readonly int32_t count     # of groups
    cdef int32_t room
    cdef size_t each
    cdef size_t held
    cdef size_t limit
    cdef Buffer key
    cdef Buffer kept            # keys and ids of the groups
    cdef Buffer scratch

    def __cinit__(self):
        self.unwound = -1
        if buffer_start(&self.key, 256) < 0 or buffer_start(&self.kept, 4096) < 0 or buffer_start(&self.scratch, 256) < 0:
            raise MemoryError
        self.table_size = FIRST_ROOM
        self.table = <int32_t*>calloc(self.table_size, sizeof(int32_t))
        if self.table == NULL:
            raise MemoryError

    def __init__(self, tuple paths not None, tuple terms not None, tuple folds not None, unwinds, size_t each, size_t limit):
        cdef int at
        self.prepare(paths, len(terms), len(folds))
        self.dates = []
        for at, (route, reading, absent_is_null) in enumerate(terms):
            self.terms[at] = self.checked(route)
            self.absent_is_null[at] = absent_is_null
            self.dates.append(None if reading is None else READINGS[reading[0]](*reading[1:]))
        for at, (kind, route) in enumerate(folds):
            if not SUM <= kind <= LAST:
                raise ValueError("no such fold")
            self.kinds[at] = kind
            self.sources[at] = self.checked(route)
        if unwinds is not None:
            self.unwound = self.checked(unwinds[0])
            self.keeps = unwinds[1]
            if self.routes[self.unwound].below:
                raise ValueError("what is unwound begins at the document")
        self.each = each
        self.limit = limit

    cdef int checked(self, int route) except -1:
        if not 0 <= route < self.route_count:
            raise ValueError("no such path")
        return route

    cdef int prepare(self, tuple paths, int terms, int folds) except -1:
        """Lay out the names of all paths and the heads of those from the document."""
        cdef int at = 0, number = 0, first
        cdef bytes name
        cdef list names = [name for path, _ in paths for name in path]
        cdef dict heads = {}
        self.owned = tuple(names)
        self.route_count, self.term_count, self.fold_count = len(paths), terms, folds
        self.names = <Name*>malloc((len(names) + 1) * sizeof(Name))
        self.routes = <Route*>malloc((len(paths) + 1) * sizeof(Route))
        self.reached = <Reached*>calloc(len(paths) + 1, sizeof(Reached))
        self.heads = <int*>malloc((len(paths) + 1) * sizeof(int))
        self.found = <const unsigned char**>malloc((len(paths) + 1) * sizeof(char*))
        self.terms = <int*>malloc((terms + 1) * sizeof(int))
        self.absent_is_null = <bint*>malloc((terms + 1) * sizeof(bint))
        self.kinds = <int*>malloc((folds + 1) * sizeof(int))
        self.sources = <int*>malloc((folds + 1) * sizeof(int))
        if (
            self.names == NULL or self.routes == NULL or self.reached == NULL or self.heads == NULL or self.found == NULL
            or self.terms == NULL or self.absent_is_null == NULL or self.kinds == NULL or self.sources == NULL
        ):
            raise MemoryError
        for name in names:
            self.names[at].text = <const unsigned char*>PyBytes_AS_STRING(name)
            self.names[at].size = <uint32_t>PyBytes_GET_SIZE(name)
            at += 1
        first = 0
        for path, below in paths:
            self.routes[number].begin = first
            self.routes[number].end = first + len(path)
            self.routes[number].below = below
            self.routes[number].head = ITSELF
            if not below:
                if not path:
                    raise ValueError("a path from the document has a name")
                if path[0] not in heads:
                    self.heads[len(heads)] = first
                    heads[path[0]] = len(heads)
                self.routes[number].head = heads[path[0]]
            first += len(path)
            number += 1
        self.head_count = len(heads)
        return 0

    def __dealloc__(self):
        cdef int32_t number
        cdef int fold
        if self.states != NULL:
            for number in range(self.count):
                for fold in range(self.fold_count):
                    free(self.states[<size_t>number * self.fold_count + fold].held.data)
        free(self.names)
        free(self.routes)
        free(self.reached)
        free(self.heads)
        free(self.found)
        free(self.terms)
        free(self.absent_is_null)
        free(self.kinds)
        free(self.sources)
        free(self.table)
        free(self.groups)
        free(self.states)
        buffer_end(&self.key)
        buffer_end(&self.kept)
        buffer_end(&self.scratch)

    cdef object decode_at(self, const unsigned char* data, Py_ssize_t size):
        if not self.declined and self.take(data, data + size) < 0:
            self.declined = True
        return not self.declined

    # ---- one document

    cdef int take(self, const unsigned char* p, const unsigned char* end) except -2:
        """Add a document: 0, or -1 to decline."""
        cdef const unsigned char* item
        cdef int64_t left
        cdef Reached* unwound
        if find_heads(p, end, self.names, self.heads, self.head_count, self.found) < 0 or self.reach(NULL, end, False) < 0:
            return DECLINED
        if self.unwound < 0:
            return self.add()
        unwound = &self.reached[self.unwound]
        if unwound.through_array:
            return DECLINED if self.keeps else TAKEN
        item = unwound.at
        if item != NULL and is_array(item, end):
            left = open_array(&item, end)
            if left < 0:
                return DECLINED
            if left:
                while left:
                    left -= 1
                    if self.reach(item, end, True) < 0 or self.add() < 0 or skip_value(&item, end) < 0:
                        return DECLINED
                return TAKEN
            item = NULL
        elif item != NULL and item[0] != 0xC0:
            return DECLINED if self.reach(item, end, True) < 0 else self.add()
        if not self.keeps:
            return TAKEN
        return DECLINED if self.reach(item, end, True) < 0 else self.add()

    cdef int reach(self, const unsigned char* item, const unsigned char* end, bint below) noexcept:
        """Follow the paths from the document, or those below the value that is unwound; -1 for damage."""
        cdef int number
        cdef Route* route
        for number in range(self.route_count):
            route = &self.routes[number]
            if route.below != below:
                continue
            if below:
                if follow(item, end, self.names + route.begin, route.end - route.begin, &self.reached[number]) < 0:
                    return -1
            elif follow(
                self.found[route.head], end, self.names + route.begin + 1, route.end - route.begin - 1, &self.reached[number]
            ) < 0:
                return -1
        return 0

    cdef int add(self) except -2:
        """Add what the paths have reached: 0, or -1 to decline."""
        cdef int fold
        cdef int32_t number = self.place()
        cdef State* states
        cdef Reached* reached
        if number < 0:
            return DECLINED
        self.groups[number].size += 1
        states = self.states + <size_t>number * self.fold_count
        for fold in range(self.fold_count):
            reached = &self.reached[self.sources[fold]]
            if self.kinds[fold] == SUM:
                if reached.at != NULL and not reached.through_array and add_number(&states[fold], reached.at, reached.end) < 0:
                    return DECLINED
            elif reached.through_array:
                return DECLINED
            elif hold(&states[fold], self.kinds[fold], reached.at, reached.end, &self.scratch, &self.held) < 0:
                return DECLINED
        return DECLINED if self.size() > self.limit else TAKEN

    cdef size_t size(self) noexcept:
        return self.held + self.kept.size + self.each * <size_t>self.count

    cdef int32_t place(self) except -2:
        """Return the number of the group of the id the paths have reached, made when it is new; -1 to decline."""
        cdef int term
        cdef uint64_t hash
        cdef size_t at
        cdef int32_t number
        cdef Group* group
        self.key.size = 0
        for term in range(self.term_count):
            if self.put_term(term) < 0:
                return -1
        hash = siphash(SECRET_0, SECRET_1, self.key.data, self.key.size)
        at = hash & (self.table_size - 1)
        while self.table[at]:
            number = self.table[at] - 1
            group = &self.groups[number]
            if (
                group.hash == hash and group.key_size == self.key.size
                and memcmp(self.kept.data + group.key_at, self.key.data, self.key.size) == 0
            ):
                return number
            at = (at + 1) & (self.table_size - 1)
        if self.count == 2147483646 or self.size() > self.limit:
            return -1
        number = self.begin(hash)
        if number < 0:
            return -1
        self.table[at] = number + 1
        if <size_t>self.count * 2 > self.table_size:
            self.widen()
        return number

    cdef int put_term(self, int term) except -2:
        """Append what a term adds to the key of the group."""
        cdef Reached* reached = &self.reached[self.terms[term]]
        cdef const unsigned char* p = reached.at
        cdef Reading reading = self.dates[term]
        if reached.through_array:
            return -1
        if reading is not None:
            return reading.put(p, reached.end, &self.key)
        if p == NULL:
            if buffer_byte(&self.key, NULL_TAG if self.absent_is_null[term] else ABSENT_TAG) < 0:
                raise MemoryError
            return 0
        return key_of_packed(&p, reached.end, &self.key, 0)

    cdef int32_t begin(self, uint64_t hash) except -2:
        """Make a group; return its number, -1 for damage."""
        cdef int32_t number = self.count
        cdef Group* group
        cdef Reached* reached
        cdef const unsigned char* p
        cdef uint32_t size
        cdef int term
        self.grow()
        group = &self.groups[number]
        group.hash = hash
        group.size = 0
        group.key_at = self.kept.size
        group.key_size = self.key.size
        if buffer_put(&self.kept, self.key.data, self.key.size) < 0:
            raise MemoryError
        group.id_at = self.kept.size
        for term in range(self.term_count):
            reached = &self.reached[self.terms[term]]
            p = reached.at
            if p != NULL and skip_value(&p, reached.end) < 0:
                return -1
            size = 0 if p == NULL else <uint32_t>(p - reached.at)
            if buffer_put(&self.kept, &size, sizeof(size)) < 0 or buffer_put(&self.kept, reached.at, size) < 0:
                raise MemoryError
        self.count += 1
        return number

    cdef int grow(self) except -1:
        """Have room for one group more."""
        cdef int32_t room
        cdef void* moved
        if self.count < self.room:
            return 0
        room = max(FIRST_ROOM, 2 * self.room) if self.room < 1073741823 else 2147483647
        moved = realloc(self.groups, <size_t>room * sizeof(Group))
        if moved == NULL:
            raise MemoryError
        self.groups = <Group*>moved
        if self.fold_count:
            moved = realloc(self.states, <size_t>room * self.fold_count * sizeof(State))
            if moved == NULL:
                raise MemoryError
            self.states = <State*>moved
            memset(
                self.states + <size_t>self.room * self.fold_count, 0, <size_t>(room - self.room) * self.fold_count * sizeof(State)
            )
        self.room = room
        return 0

    cdef int widen(self) except -1:
        """Double the table."""
        cdef size_t size = 2 * self.table_size
        cdef int32_t* table = <int32_t*>calloc(size, sizeof(int32_t))
        cdef size_t at
        cdef int32_t number
        if table == NULL:
            raise MemoryError
        for number in range(self.count):
            at = self.groups[number].hash & (size - 1)
            while table[at]:
                at = (at + 1) & (size - 1)
            table[at] = number + 1
        free(self.table)
        self.table, self.table_size = table, size
        return 0

    # ---- results

    def rows(self, absent):
        """Return ([value of each term, ``absent`` where there was none], number of documents, [state of each fold]) of each group, in the order they were met.

        The state of a sum is (whole, is long, count, double, compensation, has double), that of the others their value.
        """
        cdef int32_t number
        cdef int fold
        cdef list found = []
        for number in range(self.count):
            states = []
            for fold in range(self.fold_count):
                states.append(state_of(self.kinds[fold], &self.states[<size_t>number * self.fold_count + fold]))
            found.append((self.identity(&self.groups[number], absent), self.groups[number].size, states))
        return found

    cdef list identity(self, Group* group, absent):
        cdef size_t at = group.id_at
        cdef uint32_t size
        cdef list values = []
        cdef int _term
        for _term in range(self.term_count):
            memcpy(&size, self.kept.data + at, sizeof(size))
            at += sizeof(size)
            values.append(decode_bytes(self.kept.data + at, size) if size else absent)
            at += size
        return values


cdef int find_heads(
    const unsigned char* p, const unsigned char* end, Name* names, int* heads, int count, const unsigned char** found
) noexcept nogil:
    """Find the values of the fields with these names in one walk, NULL where there is none; -1 for damage."""
    cdef int64_t fields
    cdef int at, left = count
    cdef const unsigned char* name
    cdef uint32_t size
    cdef Name* wanted
    for at in range(count):
        found[at] = NULL
    if not is_map(p, end):
        return -1
    fields = open_map(&p, end)
    if fields < 0:
        return -1
    while fields and left:
        fields -= 1
        if read_name(&p, end, &name, &size) < 0:
            return -1
        for at in range(count):
            wanted = &names[heads[at]]
            if wanted.size == size and memcmp(wanted.text, name, size) == 0 and found[at] == NULL:
                found[at] = p
                left -= 1
                break
        if left and skip_value(&p, end) < 0:
            return -1
    return 0


cdef int follow(const unsigned char* p, const unsigned char* end, Name* names, int count, Reached* reached) noexcept nogil:
    """Go down a path of objects; -1 for damage."""
    cdef int at, found
    reached.at = NULL
    reached.end = end
    reached.through_array = False
    if p == NULL:
        return 0
    if p >= end:
        return -1
    for at in range(count):
        if is_array(p, end):
            reached.through_array = True
            return 0
        found = find_field(p, end, names[at].text, names[at].size, &p)
        if found <= 0:
            return found
    reached.at = p
    return 0


include "grouping_joins.pxi"
