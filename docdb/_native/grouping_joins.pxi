"""Groups of what $lookup and an $unwind of its result leave. Part of grouping.pyx."""

cdef enum:
    MOST_WAITING = 2048             # documents that wait until values are looked for
    MOST_WAITING_BYTES = 4194304
    MOST_ROWS = 100000              # that are added before anybody else has a turn
    NOT_SEEN = -1

cdef struct Seen:                   # a value of the local field, by its order key
    uint64_t hash
    size_t key_at
    size_t key_size
    int32_t first                   # of its foreign documents, -1 for none
    int32_t last

cdef struct Foreign:
    size_t at
    size_t size
    int32_t next                    # of the same value, -1 behind the last


cdef class JoinedGroups(Groups):
    """Groups in which each document stands once for each of the foreign documents of its local value.

    ``unwinds`` is (the path of the local field, whether a document without foreign ones stays); paths below begin at a foreign document. ``foreign`` is the
    path of the foreign field, ``memory`` the bytes of foreign documents beyond which they are forgotten; a round that brings twice as much is declined.

    A document whose value nobody has looked for yet waits, and so do all behind it, which keeps their order; they also wait when those before them have found
    very many. Who gives the documents asks for ``wanted`` when it is ``full``, and at the end; hands all foreign documents with these values to ``bring``, and
    calls ``resume`` as long as that says True.
    """

    cdef tuple foreign_names
    cdef Name* foreign_path
    cdef int foreign_size
    cdef size_t memory
    cdef Seen* seen
    cdef int32_t seen_count, seen_room
    cdef int32_t settled            # values whose foreign documents are here
    cdef int32_t* places            # of the values, by hash: 1 and their number, 0 for none
    cdef size_t place_count
    cdef Foreign* brought
    cdef int32_t brought_count, brought_room
    cdef Buffer values              # keys and foreign documents
    cdef Buffer waiting             # size and bytes of each document
    cdef int waiting_count
    cdef int64_t rows_added         # since the last look at the clock

    def __cinit__(self):
        if buffer_start(&self.values, 4096) < 0 or buffer_start(&self.waiting, 4096) < 0:
            raise MemoryError
        self.place_count = FIRST_ROOM
        self.places = <int32_t*>calloc(self.place_count, sizeof(int32_t))
        if self.places == NULL:
            raise MemoryError

    def __init__(
        self, tuple paths not None, tuple terms not None, tuple folds not None, tuple unwinds not None, size_t each, size_t limit,
        tuple foreign not None, size_t memory,
    ):
        cdef bytes name
        Groups.__init__(self, paths, terms, folds, unwinds, each, limit)
        self.foreign_names = foreign
        self.foreign_path = <Name*>malloc((len(foreign) + 1) * sizeof(Name))
        if self.foreign_path == NULL:
            raise MemoryError
        for name in foreign:
            self.foreign_path[self.foreign_size].text = <const unsigned char*>PyBytes_AS_STRING(name)
            self.foreign_path[self.foreign_size].size = <uint32_t>PyBytes_GET_SIZE(name)
            self.foreign_size += 1
        self.memory = memory

    def __dealloc__(self):
        free(self.foreign_path)
        free(self.seen)
        free(self.places)
        free(self.brought)
        buffer_end(&self.values)
        buffer_end(&self.waiting)

    @property
    def full(self):
        """Whether enough documents wait for their values to be looked for."""
        return self.waiting_count >= MOST_WAITING or self.waiting.size >= MOST_WAITING_BYTES or self.rows_added > MOST_ROWS

    def wanted(self):
        """Return the values of the documents that wait which have not been looked for, each once."""
        cdef list found = []
        cdef const unsigned char* p
        cdef const unsigned char* end
        cdef Reached* local = &self.reached[self.unwound]
        cdef Route* route = &self.routes[self.unwound]
        cdef size_t at = 0
        cdef uint64_t hash
        while at < self.waiting.size and not self.declined:
            p = self.next_waiting(&at, &end)
            if (
                find_heads(p, end, self.names, self.heads, self.head_count, self.found) < 0
                or follow(self.found[route.head], end, self.names + route.begin + 1, route.end - route.begin - 1, local) < 0
                or self.put_value(local) < 0
            ):
                self.declined = True
            elif self.look(&hash) == NOT_SEEN:
                self.note(hash)
                p = local.at
                if p == NULL:
                    found.append(None)
                elif skip_value(&p, end) < 0:
                    self.declined = True
                else:
                    found.append(decode_bytes(local.at, p - local.at))
        return found

    def bring(self, list documents not None):
        """Keep stored foreign documents for the values that are wanted."""
        cdef const unsigned char* p
        cdef Reached reached
        cdef uint64_t hash
        cdef int32_t number
        cdef Py_ssize_t size
        for data in documents:
            p = <const unsigned char*>PyBytes_AS_STRING(<bytes?>data)
            size = PyBytes_GET_SIZE(data)
            if (
                self.values.size > 2 * self.memory
                or follow(p, p + size, self.foreign_path, self.foreign_size, &reached) < 0
                or self.put_value(&reached) < 0
            ):
                self.declined = True
            if self.declined:
                return
            number = self.look(&hash)
            if number >= self.settled:
                self.keep(&self.seen[number], p, size)

    def resume(self):
        """Add documents that wait, whose foreign documents are all here; True when some are left for another call."""
        cdef const unsigned char* p
        cdef const unsigned char* end
        cdef size_t at = 0
        self.settled = self.seen_count
        self.rows_added = 0
        while at < self.waiting.size and not self.declined and self.rows_added <= MOST_ROWS:
            p = self.next_waiting(&at, &end)
            self.waiting_count -= 1
            if self.join(p, end) != TAKEN:
                self.declined = True
        self.rows_added = 0
        self.waiting.size -= at
        memmove(self.waiting.data, self.waiting.data + at, self.waiting.size)
        if self.waiting_count:
            return not self.declined
        if self.values.size > self.memory:
            self.forget()
        return False

    cdef int take(self, const unsigned char* p, const unsigned char* end) except -2:
        cdef int taken = NOT_JOINED if self.waiting_count or self.rows_added > MOST_ROWS else self.join(p, end)
        return self.wait(p, end) if taken == NOT_JOINED else taken

    cdef int join(self, const unsigned char* p, const unsigned char* end) except -2:
        """Add a document for each of its foreign ones: 0, -1 to decline, 1 when nobody has looked for its value."""
        cdef uint64_t hash
        cdef int32_t number
        if find_heads(p, end, self.names, self.heads, self.head_count, self.found) < 0 or self.reach(NULL, end, False) < 0:
            return DECLINED
        if self.put_value(&self.reached[self.unwound]) < 0:
            return DECLINED
        number = self.look(&hash)
        if number == NOT_SEEN:
            return NOT_JOINED
        number = self.seen[number].first
        if number < 0 and self.keeps:
            return DECLINED if self.reach(NULL, end, True) < 0 else self.add()
        while number >= 0:
            p = self.values.data + self.brought[number].at
            if self.reach(p, p + self.brought[number].size, True) < 0 or self.add() < 0:
                return DECLINED
            self.rows_added += 1
            number = self.brought[number].next
        return TAKEN

    cdef int wait(self, const unsigned char* p, const unsigned char* end) except -2:
        """Put a document behind those that wait."""
        cdef size_t size = <size_t>(end - p)
        if buffer_put(&self.waiting, &size, sizeof(size)) < 0 or buffer_put(&self.waiting, p, size) < 0:
            raise MemoryError
        self.waiting_count += 1
        return TAKEN

    cdef const unsigned char* next_waiting(self, size_t* at, const unsigned char** end) noexcept:
        cdef size_t size
        cdef const unsigned char* start
        memcpy(&size, self.waiting.data + at[0], sizeof(size))
        start = self.waiting.data + at[0] + sizeof(size)
        at[0] += sizeof(size) + size
        end[0] = start + size
        return start

    # ---- values of the local field

    cdef int put_value(self, const Reached* reached) except -2:
        """Put the order key of a value by which documents are joined where keys are made: 0, or -1 to decline."""
        cdef const unsigned char* p = reached.at
        self.key.size = 0
        if reached.through_array or (p != NULL and is_array(p, reached.end)):
            return -1
        if p == NULL:
            if buffer_byte(&self.key, NULL_TAG) < 0:
                raise MemoryError
            return 0
        return key_of_packed(&p, reached.end, &self.key, 0)

    cdef int32_t look(self, uint64_t* hash) noexcept:
        """Return the number of the value whose key was made, and its hash."""
        cdef size_t at
        cdef int32_t number
        cdef Seen* seen
        hash[0] = siphash(SECRET_0, SECRET_1, self.key.data, self.key.size)
        at = hash[0] & (self.place_count - 1)
        while self.places[at]:
            number = self.places[at] - 1
            seen = &self.seen[number]
            if (
                seen.hash == hash[0] and seen.key_size == self.key.size
                and memcmp(self.values.data + seen.key_at, self.key.data, self.key.size) == 0
            ):
                return number
            at = (at + 1) & (self.place_count - 1)
        return NOT_SEEN

    cdef int note(self, uint64_t hash) except -1:
        """Add the value whose key was made."""
        cdef Seen* seen
        cdef int32_t room
        if self.seen_count == self.seen_room:
            room = more_room(self.seen_room)
            self.seen = <Seen*>moved_to(self.seen, room, sizeof(Seen))
            self.seen_room = room
        seen = &self.seen[self.seen_count]
        seen.hash = hash
        seen.key_at, seen.key_size = self.values.size, self.key.size
        seen.first = seen.last = -1
        if buffer_put(&self.values, self.key.data, self.key.size) < 0:
            raise MemoryError
        self.seen_count += 1
        if <size_t>self.seen_count * 2 > self.place_count:
            self.spread(2 * self.place_count)
        else:
            self.lay(self.seen_count - 1)
        return 0

    cdef void lay(self, int32_t number) noexcept:
        cdef size_t at = self.seen[number].hash & (self.place_count - 1)
        while self.places[at]:
            at = (at + 1) & (self.place_count - 1)
        self.places[at] = number + 1

    cdef int spread(self, size_t count) except -1:
        """Make the table of values anew, with so many places."""
        cdef int32_t* places = <int32_t*>calloc(count, sizeof(int32_t))
        cdef int32_t number
        if places == NULL:
            raise MemoryError
        free(self.places)
        self.places, self.place_count = places, count
        for number in range(self.seen_count):
            self.lay(number)
        return 0

    cdef int keep(self, Seen* seen, const unsigned char* data, size_t size) except -1:
        """Put a foreign document behind the others of its value."""
        cdef Foreign* made
        cdef int32_t room
        if self.brought_count == self.brought_room:
            room = more_room(self.brought_room)
            self.brought = <Foreign*>moved_to(self.brought, room, sizeof(Foreign))
            self.brought_room = room
        made = &self.brought[self.brought_count]
        made.at, made.size, made.next = self.values.size, size, -1
        if buffer_put(&self.values, data, size) < 0:
            raise MemoryError
        if seen.first < 0:
            seen.first = self.brought_count
        else:
            self.brought[seen.last].next = self.brought_count
        seen.last = self.brought_count
        self.brought_count += 1
        return 0

    cdef void forget(self) noexcept:
        """Give up all foreign documents."""
        self.seen_count = self.settled = self.brought_count = 0
        self.values.size = 0
        memset(self.places, 0, self.place_count * sizeof(int32_t))


cdef int32_t more_room(int32_t room) except -1:
    if room >= 1073741824:
        raise MemoryError
    return max(FIRST_ROOM, 2 * room)


cdef void* moved_to(void* data, int32_t room, size_t each) except NULL:
    """Return what was at ``data`` with room for so many."""
    cdef void* moved = realloc(data, <size_t>room * each)
    if moved == NULL:
        raise MemoryError
    return moved
