# Paths and what is handed over at them: a tree of names that is walked together with a document. Included by predicates.pyx.
#
# The document leads: its fields are looked up among the names, so that neither the number of paths nor that of queries costs anything where a
# document has none of their fields. A *slot* is a path somebody waits at (or a place whose keys come from outside, for collations). A *shape* is
# the slots that one equality speaks of, at most four; it hangs at its first.

cdef struct Name:
    unsigned char* text
    uint32_t size
    uint32_t parent
    uint32_t child          # the first
    uint32_t next           # siblings
    uint32_t prev
    uint32_t children
    uint32_t chain          # next in the bucket; next of the free ones
    uint32_t slot
    uint32_t wanting        # queries at or below here that wait for a missing field
    uint64_t lengths        # bit n: a child's name has n bytes (modulo 64); never forgets
    uint64_t stamp          # the map it was met in last

cdef struct Slot:
    uint32_t name           # NONE: keys come from outside; FREE: no slot, then the next free one is ``refs``
    uint32_t refs
    uint32_t single         # the shape of this slot alone
    uint32_t shapes         # the first that hangs here
    uint32_t shape_count
    uint32_t each           # ranges in which one value must lie
    uint32_t joint          # ranges that must touch what lies between the values
    uint32_t deep           # who waits for whole objects and arrays
    uint32_t absent         # who waits for a missing field
    uint32_t first          # values handed over in this image
    uint32_t count          # of them, but for missing fields

cdef struct Shape:
    uint32_t slots[MOST_PLACES]
    uint32_t places         # 0: free, then the next free one is ``next``
    uint32_t entries
    uint32_t next           # hangs at the same slot

cdef struct Reached:        # a value handed over: its key lies in ``keys``
    uint64_t hash
    size_t at
    uint32_t size
    uint32_t next

cdef enum:
    FEW_CHILDREN = 8        # are compared one by one
    MOST_SHAPES = 8         # that hang at one slot
    FEW_COMBINATIONS = 64


# ---- names


cdef inline uint64_t hash_name(const Table* t, uint32_t parent, const unsigned char* text, uint32_t size) noexcept nogil:
    return siphash(t.k0 ^ parent, t.k1, text, size)


cdef inline bint is_position(const Name* name) noexcept nogil:
    return name.size > 0 and 48 <= name.text[0] <= 57


cdef inline uint32_t find_name(const Table* t, uint32_t parent, const unsigned char* text, uint32_t size) noexcept nogil:
    cdef uint32_t at
    if not t.names[parent].lengths >> (size & 63) & 1:
        return NONE
    if t.names[parent].children <= FEW_CHILDREN:
        at = t.names[parent].child
        while at != NONE and (t.names[at].size != size or memcmp(t.names[at].text, text, size) != 0):
            at = t.names[at].next
        return at
    at = t.name_buckets.heads[hash_name(t, parent, text, size) & t.name_buckets.mask]
    while at != NONE and (
        t.names[at].parent != parent or t.names[at].size != size or memcmp(t.names[at].text, text, size) != 0
    ):
        at = t.names[at].chain
    return at


cdef void chain_name(Table* t, uint32_t at) noexcept nogil:
    cdef uint32_t* head = &t.name_buckets.heads[
        hash_name(t, t.names[at].parent, t.names[at].text, t.names[at].size) & t.name_buckets.mask
    ]
    t.names[at].chain = head[0]
    head[0] = at


cdef int new_name(
    Table* t, uint32_t parent, const unsigned char* text, uint32_t size, uint32_t* made
) noexcept nogil:
    cdef uint32_t at = t.free_name
    cdef uint32_t i
    cdef Name* name
    cdef unsigned char* memory
    cdef int again = reserve_buckets(&t.name_buckets)
    if again < 0:
        return again
    if again:
        for i in range(1, t.name_size):
            if t.names[i].text != NULL:
                chain_name(t, i)
    memory = <unsigned char*>malloc(<size_t>size + 1)
    if memory == NULL:
        return NO_MEMORY
    if at == NONE:
        if grow(<void**>&t.names, &t.name_room, t.name_size + 1, sizeof(Name)) < 0:
            free(memory)
            return NO_MEMORY
        at = t.name_size
        t.name_size += 1
    else:
        t.free_name = t.names[at].chain
    memcpy(memory, text, size)
    name = &t.names[at]
    memset(name, 0, sizeof(Name))
    name.text = memory
    name.size = size
    name.parent = parent
    name.child = name.prev = name.slot = NONE
    name.next = t.names[parent].child
    if name.next != NONE:
        t.names[name.next].prev = at
    t.names[parent].child = at
    t.names[parent].children += 1
    t.names[parent].lengths |= <uint64_t>1 << (size & 63)
    chain_name(t, at)
    t.name_buckets.size += 1
    t.positions += is_position(name)
    made[0] = at
    return 0


cdef void prune_names(Table* t, uint32_t at) noexcept nogil:
    """Take out a name that leads nowhere any more, and those above it."""
    cdef Name* name
    cdef uint32_t* place
    cdef uint32_t parent
    while at != ROOT and t.names[at].slot == NONE and t.names[at].children == 0:
        name = &t.names[at]
        parent = name.parent
        place = &t.name_buckets.heads[hash_name(t, parent, name.text, name.size) & t.name_buckets.mask]
        while place[0] != at:
            place = &t.names[place[0]].chain
        place[0] = name.chain
        t.name_buckets.size -= 1
        if name.next != NONE:
            t.names[name.next].prev = name.prev
        if name.prev != NONE:
            t.names[name.prev].next = name.next
        else:
            t.names[parent].child = name.next
        t.names[parent].children -= 1
        if t.names[parent].children == 0:
            t.names[parent].lengths = 0
        t.positions -= is_position(name)
        free(name.text)
        name.text = NULL
        name.chain = t.free_name
        t.free_name = at
        at = parent


cdef void want_missing(Table* t, uint32_t at, int change) noexcept nogil:
    while True:
        t.names[at].wanting = <uint32_t>(<int64_t>t.names[at].wanting + change)
        if at == ROOT:
            return
        at = t.names[at].parent


# ---- slots and shapes


cdef int new_slot(Table* t, uint32_t name, uint32_t* made) noexcept nogil:
    cdef uint32_t at = t.free_slot
    cdef Slot* slot
    if at == NONE:
        if grow(<void**>&t.slots, &t.slot_room, t.slot_size + 1, sizeof(Slot)) < 0:
            return NO_MEMORY
        if grow(<void**>&t.touched, &t.touched_room, t.slot_size + 1, sizeof(uint32_t)) < 0:
            return NO_MEMORY
        at = t.slot_size
        t.slot_size += 1
    else:
        t.free_slot = t.slots[at].refs
    slot = &t.slots[at]
    memset(slot, 0, sizeof(Slot))
    slot.name = name
    slot.single = slot.shapes = slot.each = slot.joint = slot.first = NONE
    made[0] = at
    return 0


cdef bint close_slot(Table* t, uint32_t at) noexcept nogil:
    """Let go of a slot; true when nobody holds it any more."""
    cdef Slot* slot = &t.slots[at]
    cdef uint32_t name = slot.name
    slot.refs -= 1
    if slot.refs:
        return False
    slot.name = FREE_SLOT
    slot.refs = t.free_slot
    t.free_slot = at
    if name != NONE:
        t.names[name].slot = NONE
        prune_names(t, name)
    return True


cdef uint32_t find_shape(const Table* t, const uint32_t* slots, uint32_t places) noexcept nogil:
    cdef uint32_t at
    if places == 1:
        return t.slots[slots[0]].single
    at = t.slots[slots[0]].shapes
    while at != NONE:
        if t.shapes[at].places == places and memcmp(t.shapes[at].slots, slots, places * sizeof(uint32_t)) == 0:
            return at
        at = t.shapes[at].next
    return NONE


cdef int new_shape(Table* t, const uint32_t* slots, uint32_t places, uint32_t* made) noexcept nogil:
    cdef uint32_t at = t.free_shape
    cdef uint32_t i
    cdef Shape* shape
    if at == NONE:
        if grow(<void**>&t.shapes, &t.shape_room, t.shape_size + 1, sizeof(Shape)) < 0:
            return NO_MEMORY
        at = t.shape_size
        t.shape_size += 1
    else:
        t.free_shape = t.shapes[at].next
    shape = &t.shapes[at]
    shape.places = places
    shape.entries = 0
    shape.next = NONE
    for i in range(places):
        shape.slots[i] = slots[i]
        t.slots[slots[i]].refs += 1
    if places == 1:
        t.slots[slots[0]].single = at
    else:
        shape.next = t.slots[slots[0]].shapes
        t.slots[slots[0]].shapes = at
        t.slots[slots[0]].shape_count += 1
    made[0] = at
    return 0


cdef void settle_shape(Table* t, uint32_t at) noexcept nogil:
    """Give up a shape that nobody waits with any more."""
    cdef Shape* shape = &t.shapes[at]
    cdef Slot* first = &t.slots[shape.slots[0]]
    cdef uint32_t* place
    cdef uint32_t i
    if shape.entries:
        return
    if shape.places == 1:
        first.single = NONE
    else:
        place = &first.shapes
        while place[0] != at:
            place = &t.shapes[place[0]].next
        place[0] = shape.next
        first.shape_count -= 1
    for i in range(shape.places):
        close_slot(t, shape.slots[i])
    shape.places = 0
    shape.next = t.free_shape
    t.free_shape = at


cdef inline uint64_t hash_key(const Table* t, uint32_t slot, const unsigned char* key, size_t size) noexcept nogil:
    return siphash(t.k0 ^ (<uint64_t>slot << 32), t.k1, key, size)


cdef inline uint64_t hash_together(const Table* t, uint32_t shape, const uint64_t* hashes, uint32_t places) noexcept nogil:
    return siphash(t.k0 ^ shape, ~t.k1, <const unsigned char*>hashes, places * sizeof(uint64_t))


# ---- walking a document: the law of paths is language/matching.py's


cdef int note_value(Table* t, uint32_t at, size_t start) noexcept nogil:
    """The key from ``start`` on has been handed over at a slot."""
    cdef Slot* slot = &t.slots[at]
    cdef Reached* value
    cdef size_t size = t.keys.size - start
    if size >= NONE:
        return NO_MEMORY
    if t.value_size == t.value_room and grow(<void**>&t.values, &t.value_room, t.value_size + 1, sizeof(Reached)) < 0:
        return NO_MEMORY
    if slot.first == NONE:
        t.touched[t.touched_size] = at
        t.touched_size += 1
    value = &t.values[t.value_size]
    value.at = start
    value.size = <uint32_t>size
    value.hash = hash_key(t, at, t.keys.data + start, size)
    value.next = slot.first
    slot.first = t.value_size
    slot.count += t.keys.data[start] != MISSING_KEY
    t.value_size += 1
    return 0


cdef int hand_over(Table* t, uint32_t slot, const unsigned char* p, const unsigned char* end) noexcept nogil:
    """Hand over a stored value; whole objects and arrays only where somebody waits for one."""
    cdef size_t start = t.keys.size
    if (is_map(p, end) or is_array(p, end)) and not t.slots[slot].deep:
        return 0
    if key_of_packed(&p, end, &t.keys, 0) < 0:
        return DAMAGED
    return note_value(t, slot, start)


cdef int hand_missing(Table* t, uint32_t at) noexcept nogil:
    """Hand over that a field is missing, at a name and all below it."""
    cdef uint32_t child
    cdef uint32_t slot = t.names[at].slot
    if not t.names[at].wanting:
        return 0
    if slot != NONE and t.slots[slot].absent:
        if buffer_byte(&t.keys, MISSING_KEY) < 0 or note_value(t, slot, t.keys.size - 1) < 0:
            return NO_MEMORY
    child = t.names[at].child
    while child != NONE:
        if hand_missing(t, child) < 0:
            return NO_MEMORY
        child = t.names[child].next
    return 0


cdef int walk_map(Table* t, uint32_t at, const unsigned char* p, const unsigned char* end) noexcept nogil:
    cdef int64_t count = open_map(&p, end)
    cdef uint32_t left = t.names[at].children
    cdef const unsigned char* text
    cdef uint32_t size, child
    cdef uint64_t stamp
    cdef int answer
    if count < 0:
        return DAMAGED
    t.map_stamp += 1
    stamp = t.map_stamp
    while count and left:
        count -= 1
        if read_name(&p, end, &text, &size) < 0:
            return DAMAGED
        child = find_name(t, at, text, size)
        if child != NONE:
            left -= t.names[child].stamp != stamp
            t.names[child].stamp = stamp
            answer = walk_value(t, child, p, end)
            if answer < 0:
                return answer
        if skip_value(&p, end) < 0:
            return DAMAGED
    if left and t.names[at].wanting:
        child = t.names[at].child
        while child != NONE:
            if t.names[child].stamp != stamp and hand_missing(t, child) < 0:
                return NO_MEMORY
            child = t.names[child].next
    return 0


cdef int walk_value(Table* t, uint32_t at, const unsigned char* p, const unsigned char* end) noexcept nogil:
    """A name led to this value as to a field."""
    cdef uint32_t slot = t.names[at].slot
    cdef uint32_t child
    cdef int answer
    if is_array(p, end):
        return walk_array(t, at, p, end, slot)
    if slot != NONE:
        answer = hand_over(t, slot, p, end)
        if answer < 0:
            return answer
    if not t.names[at].children:
        return 0
    if is_map(p, end):
        return walk_map(t, at, p, end)
    child = t.names[at].child if t.names[at].wanting else NONE
    while child != NONE:
        if hand_missing(t, child) < 0:
            return NO_MEMORY
        child = t.names[child].next
    return 0


cdef int walk_array(Table* t, uint32_t at, const unsigned char* p, const unsigned char* end, uint32_t slot) noexcept nogil:
    """An array: its elements and itself for ``slot`` (NONE: for nobody), and what lies in its elements."""
    cdef const unsigned char* array = p
    cdef int64_t count = open_array(&p, end)
    cdef int64_t index
    cdef int answer
    if count < 0:
        return DAMAGED
    if slot == NONE and not t.names[at].children:
        return 0
    for index in range(count):
        if slot != NONE:
            answer = hand_over(t, slot, p, end)
            if answer < 0:
                return answer
        if t.names[at].children:
            answer = walk_element(t, at, p, end, index)
            if answer < 0:
                return answer
        if skip_value(&p, end) < 0:
            return DAMAGED
    return hand_over(t, slot, array, end) if slot != NONE else 0


cdef int walk_element(
    Table* t, uint32_t at, const unsigned char* p, const unsigned char* end, int64_t index
) noexcept nogil:
    """One element of an array on the way: as an object, and as what a number in a path addresses."""
    cdef unsigned char digits[20]
    cdef uint32_t size = 0
    cdef uint32_t child
    cdef int64_t rest = index
    cdef int answer
    if is_map(p, end):
        answer = walk_map(t, at, p, end)
        if answer < 0:
            return answer
    if not t.positions or index > MOST_POSITION:
        return 0
    while True:
        size += 1
        digits[20 - size] = 48 + <unsigned char>(rest % 10)
        rest //= 10
        if rest == 0:
            break
    child = find_name(t, at, digits + 20 - size, size)
    if child == NONE:
        return 0
    if t.names[child].slot != NONE:
        answer = hand_over(t, t.names[child].slot, p, end)
        if answer < 0:
            return answer
    if not t.names[child].children:
        return 0
    if is_map(p, end):
        return walk_map(t, child, p, end)
    return walk_array(t, child, p, end, NONE) if is_array(p, end) else 0
