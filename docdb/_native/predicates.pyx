# cython: language_level=3
"""Which queries a stored document may concern: the fast twin of ``feeds/predicate_table.py``.

What lives here: ``PredicateTable``. What it must not know: filters, collations, documents as dicts, what a query is for.

A query is a number with equalities (a key at a place, or keys at up to four places together) and ranges of keys. Places are paths, in a tree that is walked
together with the document (``predicates_paths.pxi``); equalities stand in a hash table (``predicates_entries.pxi``), ranges in a tree for each path
(``predicates_spans.pxi``). A document costs a walk over its fields, a hash for each value at a path somebody waits at, and what is found: nothing that grows
with the number of queries, but for the depth of the ranges' trees. An equality takes about 80 bytes, a range 100 and its bounds.

Calls must not overlap: whoever owns the table holds a lock. The GIL is kept, since a search is over in a microsecond or two: to give it up and wait for it
again would cost more. Recursion is bounded by the parts of a path (its maker limits them), the depth of stored documents, and the depth of the trees.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

import os

from docdb._native.buffer cimport Buffer, buffer_byte, buffer_end, buffer_put, buffer_start
from docdb._native.keys cimport key_of_packed
from docdb._native.packed cimport is_array, is_map, open_array, open_map, read_name, skip_value
from docdb._native.siphash cimport siphash

from docdb.errors import CorruptError

cdef enum:
    DAMAGED = -1
    NO_MEMORY = -2
    ROOT = 0
    MOST_PLACES = 4
    MOST_POSITION = 999999999
    MISSING_KEY = 0x00      # stands below all keys
    OBJECT_TAG = 0x40
    ARRAY_TAG = 0x50
    IS_MISSING = 1 << 8     # flags of an entry; the lower bits: the key at place n is that of an object or array

cdef extern from *:
    """
    #define DOCDB_NONE 0xFFFFFFFFu
    #define DOCDB_FREE_SLOT 0xFFFFFFFEu
    """
    const uint32_t NONE "DOCDB_NONE"            # no index
    const uint32_t FREE "DOCDB_NONE"            # stamp of a query that is none
    const uint32_t FREE_SLOT "DOCDB_FREE_SLOT"  # name of a slot that is none

cdef struct Buckets:
    uint32_t* heads
    uint32_t mask           # number - 1; 0 before the first
    uint32_t size           # what stands in them

cdef struct Table:
    uint64_t k0
    uint64_t k1
    uint64_t random
    Query* queries
    uint32_t query_size, query_room, free_query
    Buckets query_buckets
    Entry* entries
    uint32_t entry_size, entry_room, free_entry, entry_count
    Buckets entry_buckets
    Span* spans
    uint32_t span_size, span_room, free_span, span_count
    Name* names
    uint32_t name_size, name_room, free_name, positions
    Buckets name_buckets
    Slot* slots
    uint32_t slot_size, slot_room, free_slot
    Shape* shapes
    uint32_t shape_size, shape_room, free_shape
    # of the search that is under way
    Buffer keys
    Reached* values
    uint32_t value_size, value_room
    uint32_t* touched
    uint32_t touched_size, touched_room
    int64_t* found
    uint32_t found_size, found_room
    uint32_t stamp
    uint64_t map_stamp

include "predicates_entries.pxi"
include "predicates_paths.pxi"
include "predicates_spans.pxi"
include "predicates_settling.pxi"


cdef class PredicateTable:
    """Queries by what they wait for."""

    cdef Table t

    def __cinit__(self):
        memset(&self.t, 0, sizeof(Table))
        seed = os.urandom(24)
        memcpy(&self.t.k0, PyBytes_AS_STRING(seed), 8)
        memcpy(&self.t.k1, PyBytes_AS_STRING(seed) + 8, 8)
        memcpy(&self.t.random, PyBytes_AS_STRING(seed) + 16, 8)
        self.t.free_query = self.t.free_entry = self.t.free_span = self.t.free_name = NONE
        self.t.free_slot = self.t.free_shape = NONE
        check(buffer_start(&self.t.keys, 256) * 2)
        check(grow(<void**>&self.t.names, &self.t.name_room, 1, sizeof(Name)))
        memset(self.t.names, 0, sizeof(Name))
        self.t.names[ROOT].child = self.t.names[ROOT].slot = NONE
        self.t.name_size = 1

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.t.span_size):
            free(self.t.spans[i].low)
        for i in range(self.t.name_size):
            free(self.t.names[i].text)
        for memory in (
            <size_t>self.t.queries, <size_t>self.t.query_buckets.heads, <size_t>self.t.entries, <size_t>self.t.entry_buckets.heads,
            <size_t>self.t.spans, <size_t>self.t.names, <size_t>self.t.name_buckets.heads, <size_t>self.t.slots,
            <size_t>self.t.shapes, <size_t>self.t.values, <size_t>self.t.touched, <size_t>self.t.found,
        ):
            free(<void*><size_t>memory)
        buffer_end(&self.t.keys)

    def __len__(self):
        return self.t.query_buckets.size

    def __contains__(self, int64_t key):
        return find_query(&self.t, key) != NONE

    def open(self, path):
        """Return the slot of a path (None: a new one whose keys ``candidates`` is given), held until ``close``."""
        cdef uint32_t slot = NONE
        cdef uint32_t at = ROOT
        cdef uint32_t child
        cdef bytes text
        cdef int answer = 0
        if path is not None:
            for part in path:
                text = part.encode("utf-8", "surrogatepass")  # no stored name is like that: nothing is found
                child = find_name(&self.t, at, <const unsigned char*>PyBytes_AS_STRING(text), <uint32_t>PyBytes_GET_SIZE(text))
                if child == NONE:
                    answer = new_name(
                        &self.t, at, <const unsigned char*>PyBytes_AS_STRING(text), <uint32_t>PyBytes_GET_SIZE(text), &child
                    )
                    if answer < 0:
                        break
                at = child
            slot = self.t.names[at].slot
        if slot == NONE and answer == 0:
            answer = new_slot(&self.t, NONE if path is None else at, &slot)
            if answer == 0 and path is not None:
                self.t.names[at].slot = slot
        if answer < 0:
            prune_names(&self.t, at)
        check(answer)
        self.t.slots[slot].refs += 1
        return slot

    def hold(self, slot):
        """Hold a slot once more."""
        self.t.slots[self.slot(slot)].refs += 1

    def close(self, slot):
        """Let go of a slot that ``open`` gave; return whether it is gone."""
        return close_slot(&self.t, self.slot(slot))

    cdef uint32_t slot(self, number) except? 0xFFFFFFFF:
        if not 0 <= number < self.t.slot_size or self.t.slots[<uint32_t>number].name == FREE_SLOT:
            raise ValueError(f"{number} is no slot")
        return <uint32_t>number

    def add(self, int64_t key):
        """Take in a query that is not there, and waits for nothing yet."""
        check(add_query(&self.t, key))

    cdef uint32_t query(self, int64_t key) except? 0xFFFFFFFF:
        cdef uint32_t at = find_query(&self.t, key)
        if at == NONE:
            raise KeyError(key)
        return at

    def add_equal(self, int64_t key, tuple slots not None, tuple keys not None):
        """Let a query wait for these keys at these slots, all at once; False when too many shapes hang at the first slot already."""
        cdef uint32_t query = self.query(key)
        cdef uint32_t wanted[MOST_PLACES]
        cdef uint64_t hashes[MOST_PLACES]
        cdef uint32_t shape, i
        cdef uint32_t places = <uint32_t>len(slots)
        cdef uint32_t flags = 0
        cdef int answer
        cdef bytes value
        if not 0 < places <= MOST_PLACES or len(keys) != <Py_ssize_t>places:
            raise ValueError("one to four slots, and a key for each")
        for i in range(places):
            wanted[i] = self.slot(slots[i])
            value = keys[i]
            hashes[i] = hash_key(&self.t, wanted[i], <const unsigned char*>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
            flags |= flags_of(value, i)
        if flags & IS_MISSING and places > 1:
            raise ValueError("a missing field is waited for alone")
        shape = find_shape(&self.t, wanted, places)
        if shape == NONE:
            if places > 1 and self.t.slots[wanted[0]].shape_count >= MOST_SHAPES:
                return False
            check(new_shape(&self.t, wanted, places, &shape))
        if places > 1:
            hashes[0] = hash_together(&self.t, shape, hashes, places)
        answer = add_entry(&self.t, query, hashes[0], shape, flags)
        if answer == 0:
            self.t.shapes[shape].entries += 1
            count_flags(&self.t, shape, flags, 1)
        settle_shape(&self.t, shape)
        check(answer)
        return True

    def add_span(self, int64_t key, slot, bytes low not None, bytes high not None, bint joint):
        """Let a query wait for a key from ``low`` up to ``high``; joint: for two keys of a type with something of that between them."""
        check(add_span(
            &self.t, self.query(key), self.slot(slot), <const unsigned char*>PyBytes_AS_STRING(low),
            <uint32_t>PyBytes_GET_SIZE(low), <const unsigned char*>PyBytes_AS_STRING(high), <uint32_t>PyBytes_GET_SIZE(high), joint,
        ))

    def waiting(self, slot, bytes key not None):
        """Return how many equalities wait for a key at a slot alone."""
        cdef uint32_t at = find_entry(
            &self.t, hash_key(&self.t, self.slot(slot), <const unsigned char*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        )
        return 0 if at == NONE else self.t.entries[at].count

    def remove(self, int64_t key):
        """Take out a query and all it waits for. Raises KeyError."""
        cdef uint32_t query = self.query(key)
        cdef uint32_t at = self.t.queries[query].entry
        cdef uint32_t next, shape
        while at != NONE:
            next = self.t.entries[at].sibling
            shape = self.t.entries[at].shape
            count_flags(&self.t, shape, self.t.entries[at].flags, -1)
            drop_entry(&self.t, at)
            self.t.shapes[shape].entries -= 1
            settle_shape(&self.t, shape)
            at = next
        at = self.t.queries[query].span
        while at != NONE:
            next = self.t.spans[at].sibling
            drop_span(&self.t, at)
            at = next
        drop_query(&self.t, query)

    def candidates(self, bytes before not None, bytes after not None, keys_before=(), keys_after=()):
        """Return the queries one of the images may concern, each once; the keys are (slot, key) of slots without a path.

        Raises CorruptError for damaged bytes.
        """
        cdef uint32_t i
        self.t.stamp += 1
        if self.t.stamp == FREE:
            for i in range(self.t.query_size):
                if self.t.queries[i].stamp != FREE:
                    self.t.queries[i].stamp = 0
            self.t.stamp = 1
        self.t.found_size = 0
        self.take(before, keys_before)
        self.take(after, keys_after)
        return [self.t.found[i] for i in range(self.t.found_size)]

    cdef int take(self, bytes image, keys) except -1:
        cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(image)
        cdef const unsigned char* end = p + PyBytes_GET_SIZE(image)
        cdef int answer = 0
        if p == end:
            return 0
        try:
            answer = walk_map(&self.t, ROOT, p, end)
            for number, key in keys:
                if answer == 0:
                    answer = self.hand_key(self.slot(number), key)
            if answer == 0:
                answer = settle(&self.t)
        finally:
            forget_values(&self.t)
        return check(answer)

    cdef int hand_key(self, uint32_t slot, bytes key):
        cdef size_t start = self.t.keys.size
        if buffer_put(&self.t.keys, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)) < 0:
            return NO_MEMORY
        return note_value(&self.t, slot, start)

    def stats(self):
        """Return counts, and the bytes of memory."""
        cdef uint32_t i
        cdef size_t size = sizeof(Table) + self.t.keys.capacity
        for i in range(self.t.span_size):
            if self.t.spans[i].query != NONE:
                size += self.t.spans[i].low_size + self.t.spans[i].high_size + 16
        size += self.t.query_room * sizeof(Query) + self.t.entry_room * sizeof(Entry) + self.t.span_room * sizeof(Span)
        size += self.t.name_room * (sizeof(Name) + 16) + self.t.slot_room * sizeof(Slot) + self.t.shape_room * sizeof(Shape)
        size += 4 * (self.t.query_buckets.mask + self.t.entry_buckets.mask + self.t.name_buckets.mask)
        return {
            "equalities": self.t.entry_count, "ranges": self.t.span_count, "paths": self.t.name_buckets.size, "bytes": size,
        }


cdef int check(int answer) except -1:
    if answer == DAMAGED:
        raise CorruptError("a stored document is damaged", hint="docdb check tells how much else is")
    if answer < 0:
        raise MemoryError
    return 0


cdef uint32_t flags_of(bytes key, uint32_t place):
    cdef unsigned char tag = <unsigned char>PyBytes_AS_STRING(key)[0]
    if tag == OBJECT_TAG or tag == ARRAY_TAG:
        return 1 << place
    return IS_MISSING if tag == MISSING_KEY else 0


cdef void count_flags(Table* t, uint32_t at, uint32_t flags, int change) noexcept nogil:
    """Note with the slots who waits for whole objects and arrays, and with the names who waits for a missing field."""
    cdef const Shape* shape = &t.shapes[at]
    cdef Slot* slot
    cdef uint32_t i
    for i in range(shape.places):
        slot = &t.slots[shape.slots[i]]
        if flags >> i & 1:
            slot.deep = <uint32_t>(<int64_t>slot.deep + change)
        if flags & IS_MISSING:
            slot.absent = <uint32_t>(<int64_t>slot.absent + change)
            if slot.name != NONE:
                want_missing(t, slot.name, change)
