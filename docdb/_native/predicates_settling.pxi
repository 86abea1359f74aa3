# From the values that an image hands over to the queries that wait for them. Included by predicates.pyx.

cdef int settle(Table* t) noexcept nogil:
    """Note the queries whom the values concern, and forget the values."""
    cdef uint32_t i, at, shape
    cdef Slot* slot
    cdef int answer = 0
    for i in range(t.touched_size):
        slot = &t.slots[t.touched[i]]
        at = slot.first
        while at != NONE and answer == 0:
            if slot.single != NONE:
                answer = probe(t, t.values[at].hash)
            if answer == 0 and slot.each != NONE:
                answer = find_between(t, slot.each, at, at)
            at = t.values[at].next
        if answer == 0 and slot.joint != NONE:
            answer = settle_joint(t, slot)
        shape = slot.shapes
        while shape != NONE and answer == 0:
            answer = settle_shape_values(t, shape)
            shape = t.shapes[shape].next
    forget_values(t)
    return answer


cdef void forget_values(Table* t) noexcept nogil:
    cdef uint32_t i
    for i in range(t.touched_size):
        t.slots[t.touched[i]].first = NONE
        t.slots[t.touched[i]].count = 0
    t.touched_size = t.value_size = 0
    t.keys.size = 0


cdef inline int order_of_values(const Table* t, uint32_t a, uint32_t b) noexcept nogil:
    return order_of(
        t.keys.data + t.values[a].at, t.values[a].size, t.keys.data + t.values[b].at, t.values[b].size
    )


cdef int settle_joint(Table* t, const Slot* slot) noexcept nogil:
    """For each type among the values, find the ranges that touch what lies from its smallest to its largest."""
    cdef uint32_t at, other, low, high
    cdef unsigned char tag
    cdef uint64_t seen[4]
    memset(seen, 0, sizeof(seen))
    at = slot.first
    while at != NONE:
        tag = t.keys.data[t.values[at].at]
        if not seen[tag >> 6] >> (tag & 63) & 1:
            seen[tag >> 6] |= <uint64_t>1 << (tag & 63)
            low = high = at
            other = t.values[at].next
            while other != NONE:
                if t.keys.data[t.values[other].at] == tag:
                    if order_of_values(t, other, low) < 0:
                        low = other
                    elif order_of_values(t, other, high) > 0:
                        high = other
                other = t.values[other].next
            if find_between(t, slot.joint, low, high) < 0:
                return NO_MEMORY
        at = t.values[at].next
    return 0


cdef int settle_shape_values(Table* t, uint32_t at) noexcept nogil:
    """Look up each combination of the values; where arrays make more of them than there are entries, take all of the shape."""
    cdef const Shape* shape = &t.shapes[at]
    cdef uint32_t chosen[MOST_PLACES]
    cdef uint64_t hashes[MOST_PLACES]
    cdef uint64_t combinations = 1
    cdef uint32_t i
    for i in range(shape.places):
        chosen[i] = t.slots[shape.slots[i]].first
        if chosen[i] == NONE:
            return 0
        hashes[i] = t.values[chosen[i]].hash
        if combinations <= NONE:
            combinations *= t.slots[shape.slots[i]].count
    if combinations == 0:
        return 0
    if combinations > FEW_COMBINATIONS and combinations > t.entry_count:
        return take_whole_shape(t, at)
    while True:
        if probe(t, hash_together(t, at, hashes, shape.places)) < 0:
            return NO_MEMORY
        i = 0
        while i < shape.places:
            chosen[i] = t.values[chosen[i]].next
            if chosen[i] == NONE:
                chosen[i] = t.slots[shape.slots[i]].first
            hashes[i] = t.values[chosen[i]].hash
            if chosen[i] != t.slots[shape.slots[i]].first:
                break
            i += 1
        if i == shape.places:
            return 0


cdef int take_whole_shape(Table* t, uint32_t shape) noexcept nogil:
    cdef uint32_t i
    for i in range(t.entry_size):
        if t.entries[i].query != NONE and t.entries[i].shape == shape and emit(t, t.entries[i].query) < 0:
            return NO_MEMORY
    return 0
