"""What each fold keeps of the values of its group. Part of grouping.pyx."""


cdef int add_number(State* state, const unsigned char* p, const unsigned char* end) noexcept nogil:
    """Add the value at p when it is a number: 0, or -1 to decline."""
    cdef Value value
    cdef double total, larger, smaller
    cdef int64_t whole
    cdef int kind = read_value(&p, end, &value)
    if kind < 0:
        return -1
    if kind == EXT and value.code == DECIMAL:
        return -1
    if kind == FLOAT:
        state.has_double = True
        total = state.total + value.real
        if isfinite(total):
            larger, smaller = state.total, value.real
            if fabs(larger) < fabs(smaller):
                larger, smaller = smaller, larger
            state.compensation += (larger - total) + smaller
        state.total = total
    elif kind == INT or (kind == EXT and value.code == INT64):
        if kind == EXT and value.size != 8:
            return -1
        whole = value.integer if kind == INT else <int64_t>load64(value.body)
        if kind == EXT or not -2147483648LL <= whole <= 2147483647LL:
            state.is_long = True
        docdb_add_wide(&state.high, &state.low, whole)
    else:
        return 0
    state.count += 1
    return 0


cdef int hold(State* state, int kind, const unsigned char* p, const unsigned char* end, Buffer* scratch, size_t* used) except -2:
    """Keep the value at p (NULL: there is none) when it is the first, the last or the most extreme one: 0, or -1 to decline."""
    cdef const unsigned char* start = p
    cdef bint first = not state.there
    cdef int order
    scratch.size = 0
    if kind == LEAST or kind == GREATEST:
        if p == NULL or p[0] == 0xC0:
            return 0
        if key_of_packed(&p, end, scratch, 0) < 0:
            return -1
        if not first:
            order = compared(scratch, &state.held)
            if (order >= 0) if kind == LEAST else (order <= 0):
                return 0
    elif kind == FIRST and not first:
        return 0
    elif p != NULL and skip_value(&p, end) < 0:
        return -1
    state.there = True
    return put_held(&state.held, start, 0 if start == NULL else <size_t>(p - start), scratch, used)


cdef int compared(Buffer* key, Held* held) noexcept nogil:
    """Return -1, 0 or 1 for a key against the one that is held."""
    cdef size_t common = min(key.size, held.key_size)
    cdef int order = memcmp(key.data, held.data + held.size, common)
    if order:
        return -1 if order < 0 else 1
    return (key.size > held.key_size) - (key.size < held.key_size)


cdef int put_held(Held* held, const unsigned char* data, size_t size, Buffer* key, size_t* used) except -2:
    cdef size_t wanted = size + key.size
    cdef unsigned char* moved
    if wanted > held.room:
        wanted += wanted // 2 + 8
        moved = <unsigned char*>realloc(held.data, wanted)
        if moved == NULL:
            raise MemoryError
        used[0] += wanted - held.room
        held.data = moved
        held.room = wanted
    if size:
        memcpy(held.data, data, size)
    if key.size:
        memcpy(held.data + size, key.data, key.size)
    held.size = size
    held.key_size = key.size
    return 0


cdef object state_of(int kind, State* state):
    """Return a fold's state as Python reads it."""
    if kind == SUM:
        whole = (<object>state.high << 64) + <object><uint64_t>state.low
        return whole, state.is_long, state.count, state.total, state.compensation, state.has_double
    return decode_bytes(state.held.data, state.held.size) if state.held.size else None
