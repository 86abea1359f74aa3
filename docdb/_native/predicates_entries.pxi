# Queries, and the equalities they wait for: a table from hash to queries. Included by predicates.pyx.
#
# Equal hashes form a ring; one of it, the head, stands in the bucket and counts the ring. So a thousand queries for one value are one
# step in its bucket, and any of them is taken out in a few steps. The values themselves are not kept: two values with one hash of 64 bits
# would give candidates too many.

cdef struct Query:
    int64_t key
    uint32_t entry          # the first of its equalities
    uint32_t span           # the first of its ranges
    uint32_t chain          # next in the bucket; next of the free ones
    uint32_t stamp          # the search that found it last

cdef struct Entry:
    uint64_t hash
    uint32_t query
    uint32_t next           # in the ring; next of the free ones
    uint32_t prev
    uint32_t sibling        # next of the query's
    uint32_t chain          # head: next head in the bucket
    uint32_t count          # head: size of the ring; 0 for the others
    uint32_t shape
    uint32_t flags

cdef enum:
    FIRST_BUCKETS = 16


cdef int grow(void** items, uint32_t* room, uint32_t needed, size_t size) noexcept nogil:
    """Make room for ``needed`` items: half as many again, so that memory stays near what is used."""
    cdef uint64_t wanted = <uint64_t>room[0] + (room[0] >> 1) + 8
    cdef void* moved
    if needed <= room[0]:
        return 0
    if wanted < needed:
        wanted = needed
    if wanted >= NONE:
        return NO_MEMORY
    moved = realloc(items[0], <size_t>wanted * size)
    if moved == NULL:
        return NO_MEMORY
    items[0] = moved
    room[0] = <uint32_t>wanted
    return 0


cdef inline uint64_t mix(uint64_t key) noexcept nogil:
    """Spread a number that somebody counts up over the buckets."""
    key = (key ^ (key >> 32)) * <uint64_t>0x9E3779B97F4A7C15
    return key ^ (key >> 29)


cdef int reserve_buckets(Buckets* buckets) noexcept nogil:
    """Return 1 when the heads must be put in anew (there are twice as many buckets, all empty), 0 when not."""
    cdef uint32_t number = FIRST_BUCKETS if buckets.heads == NULL else 2 * (buckets.mask + 1)
    cdef uint32_t* heads
    if buckets.heads != NULL and buckets.size <= buckets.mask:
        return 0
    heads = <uint32_t*>malloc(<size_t>number * sizeof(uint32_t))
    if heads == NULL:
        return NO_MEMORY
    memset(heads, 0xFF, <size_t>number * sizeof(uint32_t))
    free(buckets.heads)
    buckets.heads = heads
    buckets.mask = number - 1
    return 1


# ---- queries


cdef uint32_t find_query(const Table* t, int64_t key) noexcept nogil:
    cdef uint32_t at
    if t.query_buckets.heads == NULL:
        return NONE
    at = t.query_buckets.heads[mix(<uint64_t>key) & t.query_buckets.mask]
    while at != NONE and t.queries[at].key != key:
        at = t.queries[at].chain
    return at


cdef void chain_query(Table* t, uint32_t at) noexcept nogil:
    cdef uint32_t* head = &t.query_buckets.heads[mix(<uint64_t>t.queries[at].key) & t.query_buckets.mask]
    t.queries[at].chain = head[0]
    head[0] = at


cdef int add_query(Table* t, int64_t key) noexcept nogil:
    cdef uint32_t at = t.free_query
    cdef uint32_t i
    cdef int again = reserve_buckets(&t.query_buckets)
    if again < 0:
        return again
    if again:
        for i in range(t.query_size):
            if t.queries[i].stamp != FREE:
                chain_query(t, i)
    if at == NONE:
        if grow(<void**>&t.queries, &t.query_room, t.query_size + 1, sizeof(Query)) < 0:
            return NO_MEMORY
        at = t.query_size
        t.query_size += 1
    else:
        t.free_query = t.queries[at].chain
    t.queries[at].key = key
    t.queries[at].entry = t.queries[at].span = NONE
    t.queries[at].stamp = 0
    chain_query(t, at)
    t.query_buckets.size += 1
    return 0


cdef void drop_query(Table* t, uint32_t query) noexcept nogil:
    cdef uint32_t* at = &t.query_buckets.heads[mix(<uint64_t>t.queries[query].key) & t.query_buckets.mask]
    while at[0] != query:
        at = &t.queries[at[0]].chain
    at[0] = t.queries[query].chain
    t.query_buckets.size -= 1
    t.queries[query].stamp = FREE
    t.queries[query].chain = t.free_query
    t.free_query = query


cdef inline int emit(Table* t, uint32_t query) noexcept nogil:
    """Note a query as found, once a search."""
    if t.queries[query].stamp == t.stamp:
        return 0
    t.queries[query].stamp = t.stamp
    if t.found_size == t.found_room and grow(<void**>&t.found, &t.found_room, t.found_size + 1, sizeof(int64_t)) < 0:
        return NO_MEMORY
    t.found[t.found_size] = t.queries[query].key
    t.found_size += 1
    return 0


# ---- equalities


cdef inline uint32_t find_entry(const Table* t, uint64_t hash) noexcept nogil:
    """Return the head of the ring with this hash."""
    cdef uint32_t at
    if t.entry_buckets.heads == NULL:
        return NONE
    at = t.entry_buckets.heads[hash & t.entry_buckets.mask]
    while at != NONE and t.entries[at].hash != hash:
        at = t.entries[at].chain
    return at


cdef inline void chain_entry(Table* t, uint32_t at) noexcept nogil:
    cdef uint32_t* head = &t.entry_buckets.heads[t.entries[at].hash & t.entry_buckets.mask]
    t.entries[at].chain = head[0]
    head[0] = at


cdef int add_entry(Table* t, uint32_t query, uint64_t hash, uint32_t shape, uint32_t flags) noexcept nogil:
    cdef uint32_t at = t.free_entry
    cdef uint32_t head, i
    cdef int again = reserve_buckets(&t.entry_buckets)
    cdef Entry* entry
    if again < 0:
        return again
    if again:
        for i in range(t.entry_size):
            if t.entries[i].query != NONE and t.entries[i].count:
                chain_entry(t, i)
    if at == NONE:
        if grow(<void**>&t.entries, &t.entry_room, t.entry_size + 1, sizeof(Entry)) < 0:
            return NO_MEMORY
        at = t.entry_size
        t.entry_size += 1
    else:
        t.free_entry = t.entries[at].next
    head = find_entry(t, hash)
    entry = &t.entries[at]
    entry.hash = hash
    entry.query = query
    entry.shape = shape
    entry.flags = flags
    entry.sibling = t.queries[query].entry
    t.queries[query].entry = at
    if head == NONE:
        entry.next = entry.prev = at
        entry.count = 1
        chain_entry(t, at)
        t.entry_buckets.size += 1
    else:
        entry.count = 0
        entry.next = t.entries[head].next
        entry.prev = head
        t.entries[entry.next].prev = at
        t.entries[head].next = at
        t.entries[head].count += 1
    t.entry_count += 1
    return 0


cdef void drop_entry(Table* t, uint32_t at) noexcept nogil:
    cdef Entry* entry = &t.entries[at]
    cdef uint32_t* place = &t.entry_buckets.heads[entry.hash & t.entry_buckets.mask]
    cdef uint32_t heir = entry.next
    while t.entries[place[0]].hash != entry.hash:
        place = &t.entries[place[0]].chain
    if entry.count == 0:
        t.entries[place[0]].count -= 1
    elif heir == at:
        place[0] = entry.chain
        t.entry_buckets.size -= 1
    else:
        place[0] = heir
        t.entries[heir].chain = entry.chain
        t.entries[heir].count = entry.count - 1
    t.entries[entry.prev].next = entry.next
    t.entries[entry.next].prev = entry.prev
    entry.query = NONE
    entry.next = t.free_entry
    t.free_entry = at
    t.entry_count -= 1


cdef inline int probe(Table* t, uint64_t hash) noexcept nogil:
    """Note the queries that wait for this hash."""
    cdef uint32_t head = find_entry(t, hash)
    cdef uint32_t at = head
    if head == NONE:
        return 0
    while True:
        if emit(t, t.entries[at].query) < 0:
            return NO_MEMORY
        at = t.entries[at].next
        if at == head:
            return 0
