"""The loops of the LMDB engine that run on pages without the GIL, and the borders where Python's objects become bytes and back.

Part of lmdb_engine.pyx. It must not know transactions: whoever calls holds one entered.
"""

cdef struct Walk:
    MDB_cursor *cursor
    const char *low
    const char *high
    size_t low_size
    size_t high_size
    bint reverse
    bint over
    bint placed                 # the cursor stands on the last key taken
    bint started                # a last key is known
    size_t last_size
    char last[LONGEST_KEY + 1]


cdef void begin_walk(Walk *walk, bytes low, bytes high, bint reverse):
    walk.reverse = reverse
    walk.cursor = NULL
    begin_range(walk, PyBytes_AS_STRING(low), PyBytes_GET_SIZE(low), PyBytes_AS_STRING(high), PyBytes_GET_SIZE(high))


cdef inline void begin_range(Walk *walk, const char *low, size_t low_size, const char *high, size_t high_size) noexcept nogil:
    """Have a walk begin with other bounds; its cursor stays."""
    walk.low, walk.low_size = low, low_size
    walk.high, walk.high_size = high, high_size
    walk.placed = walk.started = False
    walk.over = compare(low, low_size, high, high_size) >= 0


cdef inline int compare(const void *a, size_t a_size, const void *b, size_t b_size) noexcept nogil:
    """Compare as memcmp does, then by size. Keys share their first bytes and differ soon: eight at a time, without a call."""
    cdef const unsigned char *x = <const unsigned char *>a
    cdef const unsigned char *y = <const unsigned char *>b
    cdef size_t size = a_size if a_size < b_size else b_size
    cdef size_t at = 0
    cdef uint64_t left, right
    cdef int order
    while size - at >= 8:
        left, right = load64(x + at), load64(y + at)
        if left != right:
            return -1 if left < right else 1
        at += 8
    if size >= 8:
        left, right = load64(x + size - 8), load64(y + size - 8)
        if left != right:
            return -1 if left < right else 1
    else:
        order = memcmp(a, b, size)
        if order:
            return order
    return -1 if a_size < b_size else a_size > b_size


cdef int step(Walk *walk, MDB_val *key, MDB_val *value) noexcept nogil:
    """Move to the next key in bounds; 0, or DOCDB_NOTFOUND at the end, or another code."""
    cdef int code
    if walk.placed:
        code = api.cursor_get(walk.cursor, key, value, DOCDB_PREV if walk.reverse else DOCDB_NEXT)
    else:
        code = place(walk, key, value)
        walk.placed = True
    if code:
        return code
    if walk.reverse:
        return 0 if compare(key.mv_data, key.mv_size, walk.low, walk.low_size) >= 0 else DOCDB_NOTFOUND
    return 0 if compare(key.mv_data, key.mv_size, walk.high, walk.high_size) < 0 else DOCDB_NOTFOUND


cdef int place(Walk *walk, MDB_val *key, MDB_val *value) noexcept nogil:
    """Seek the first key, or the one behind the last key taken. A bound may be longer than any key, so it is cut for the seek.

    So a key or two are passed over: the bound itself, and where it was cut one that is equal to what is left of it.
    """
    cdef int code
    cdef int passed = 0
    cdef const char *bound
    cdef size_t size
    if walk.started:
        bound, size = walk.last, walk.last_size
    elif walk.reverse:
        bound, size = walk.high, walk.high_size
    else:
        bound, size = walk.low, walk.low_size
    if size == 0:
        code = api.cursor_get(walk.cursor, key, value, DOCDB_FIRST)
    else:
        key.mv_data = <void *>bound
        key.mv_size = size if size < LONGEST_KEY else LONGEST_KEY
        code = api.cursor_get(walk.cursor, key, value, DOCDB_SET_RANGE)
    if walk.reverse:
        if code == DOCDB_NOTFOUND:
            code = api.cursor_get(walk.cursor, key, value, DOCDB_LAST)
        while code == 0 and compare(key.mv_data, key.mv_size, bound, size) >= 0:
            code = api.cursor_get(walk.cursor, key, value, DOCDB_PREV) if passed < 2 else MET_BEFORE
            passed += 1
        return code
    while code == 0 and (compare(key.mv_data, key.mv_size, bound, size) < 0 or
                         (walk.started and compare(key.mv_data, key.mv_size, bound, size) == 0)):
        code = api.cursor_get(walk.cursor, key, value, DOCDB_NEXT) if passed < 2 else MET_BEFORE
        passed += 1
    return code


cdef void remember(Walk *walk, MDB_val *key) noexcept nogil:
    memcpy(walk.last, key.mv_data, key.mv_size)
    walk.last_size = key.mv_size
    walk.started = True


cdef inline bint is_beyond(Walk *walk, MDB_val *key, MDB_val *last) noexcept nogil:
    """Tell whether a key lies behind the last one in the direction of the walk. Where pages name one another, none does for long."""
    cdef int order = compare(key.mv_data, key.mv_size, last.mv_data, last.mv_size)
    return order < 0 if walk.reverse else order > 0


cdef inline int step_beyond(Walk *walk, MDB_val *key, MDB_val *value) noexcept nogil:
    """As ``step``, from the key that ``key`` holds, where it holds one: MET_BEFORE where the next one does not lie behind it."""
    cdef MDB_val last = key[0]
    cdef int code = step(walk, key, value)
    return MET_BEFORE if code == 0 and last.mv_size and not is_beyond(walk, key, &last) else code


cdef inline void begin_batch(Walk *walk, MDB_val *key) noexcept nogil:
    """Have ``key`` hold the last key taken, where there is one."""
    key.mv_data = walk.last
    key.mv_size = walk.last_size if walk.started else 0


cdef inline int judged(void *program, MDB_val *value) noexcept nogil:
    """What a program says of a value, which is wanted where there is none; negative for bytes that are no document."""
    return 1 if program == NULL else program_matches(program, <const unsigned char *>value.mv_data, value.mv_size)


cdef int collect(Walk *walk, MDB_val *ks, MDB_val *vs, Py_ssize_t size, void *program, Py_ssize_t *taken) noexcept nogil:
    """Fill the arrays with up to ``size`` pairs that the program does not refuse; walks at most STEPS keys."""
    cdef MDB_val key, value
    cdef Py_ssize_t steps = 0, count = 0
    cdef int code = 0
    cdef int verdict
    begin_batch(walk, &key)
    while count < size and steps < STEPS:
        code = step_beyond(walk, &key, &value)
        if code:
            break
        steps += 1
        verdict = judged(program, &value)
        if verdict < 0:
            code = UNSOUND
            break
        if verdict:
            ks[count] = key
            vs[count] = value
            count += 1
    if steps and code == 0:
        remember(walk, &key)
    taken[0] = count
    if code == DOCDB_NOTFOUND:
        walk.over = True
        return 0
    return code


cdef int count_on(Walk *walk, Py_ssize_t *walked) noexcept nogil:
    """Walk up to ``walked`` keys and say how many there were."""
    cdef MDB_val key, value
    cdef Py_ssize_t count = 0
    cdef int code = 0
    begin_batch(walk, &key)
    walk.placed = False
    while count < walked[0]:
        code = step_beyond(walk, &key, &value)
        if code:
            break
        count += 1
    if count and code == 0:
        remember(walk, &key)
    walked[0] = count
    if code == DOCDB_NOTFOUND:
        walk.over = True
        return 0
    return code


cdef int look_up(MDB_cursor *cursor, MDB_val *ks, MDB_val *vs, Py_ssize_t count, void *program) noexcept nogil:
    """Find the values; NULL where the key is absent or the program refuses."""
    cdef Py_ssize_t n
    cdef int code, verdict
    for n in range(count):
        code = api.cursor_get(cursor, &ks[n], &vs[n], DOCDB_SET)
        if code == DOCDB_NOTFOUND:
            vs[n].mv_data = NULL
        elif code:
            return code
        else:
            verdict = judged(program, &vs[n])
            if verdict < 0:
                return UNSOUND
            if verdict == 0:
                vs[n].mv_data = NULL
    return 0


cdef int put_all(MDB_cursor *cursor, MDB_val *ks, MDB_val *vs, Py_ssize_t count, bint append) noexcept nogil:
    """Put in order; a key that does not lie above all others goes where it belongs."""
    cdef Py_ssize_t n
    cdef int code
    for n in range(count):
        code = api.cursor_put(cursor, &ks[n], &vs[n], DOCDB_APPEND if append else 0)
        if code == DOCDB_KEYEXIST and append:
            append = False
            code = api.cursor_put(cursor, &ks[n], &vs[n], 0)
        if code:
            return code
    return 0


cdef int put_pairs(MDB_cursor *cursor, Pair *pairs, Py_ssize_t count, bint *append) noexcept nogil:
    """Put pairs in order; they are appended for as long as they lie above all others."""
    cdef Py_ssize_t n
    cdef int code
    for n in range(count):
        code = DOCDB_KEYEXIST
        if append[0]:
            code = api.cursor_put(cursor, <MDB_val *>&pairs[n].key_size, <MDB_val *>&pairs[n].value_size, DOCDB_APPEND)
        if code == DOCDB_KEYEXIST:
            append[0] = False
            code = api.cursor_put(cursor, <MDB_val *>&pairs[n].key_size, <MDB_val *>&pairs[n].value_size, 0)
        if code:
            return code
    return 0


cdef int meet(MDB_cursor *cursor, Pair *pairs, Py_ssize_t count, bint whole, bint *met) noexcept nogil:
    """Look for a stored key that is one of these, or not ``whole``: that begins as one of these does before its id."""
    cdef Py_ssize_t n
    cdef MDB_val key, value
    cdef size_t size
    cdef int code
    for n in range(count):
        size = pairs[n].key_size if whole else pairs[n].key_size - pairs[n].value[0]
        key.mv_data = <void *>pairs[n].key
        key.mv_size = size
        code = api.cursor_get(cursor, &key, &value, DOCDB_SET_RANGE)
        if code == DOCDB_NOTFOUND:
            continue
        if code:
            return code
        if key.mv_size >= size and memcmp(key.mv_data, pairs[n].key, size) == 0 and not (whole and key.mv_size > size):
            met[0] = True
            return 0
    return 0


cdef int delete_all(MDB_cursor *cursor, MDB_val *ks, Py_ssize_t count, Py_ssize_t *deleted) noexcept nogil:
    cdef MDB_val value
    cdef Py_ssize_t n
    cdef int code
    for n in range(count):
        code = api.cursor_get(cursor, &ks[n], &value, DOCDB_SET)
        if code == DOCDB_NOTFOUND:
            continue
        if code == 0:
            code = api.cursor_del(cursor, 0)
        if code:
            return code
        deleted[0] += 1
    return 0


cdef inline int check_space(int space) except -1:
    if space < 0 or space >= SPACE_COUNT:
        raise UsageError(f"there is no space {space}")
    return 0


cdef inline int key_of(key, MDB_val *out) except -1:
    if not PyBytes_CheckExact(key):
        raise UsageError(f"a key is bytes, not {type(key).__name__}")
    out.mv_data = PyBytes_AS_STRING(key)
    out.mv_size = PyBytes_GET_SIZE(key)
    if out.mv_size < 1 or out.mv_size > LONGEST_KEY:
        raise UsageError(f"a key has 1 to {LONGEST_KEY} bytes, not {out.mv_size}")
    return 0


cdef inline int item_of(item, MDB_val *key, MDB_val *value) except -1:
    if not PyTuple_CheckExact(item) or PyTuple_GET_SIZE(item) != 2:
        raise UsageError("an item to put is a tuple of key and value")
    key_of(<object>PyTuple_GET_ITEM(item, 0), key)
    cdef object content = <object>PyTuple_GET_ITEM(item, 1)
    if not PyBytes_CheckExact(content):
        raise UsageError(f"a value is bytes, not {type(content).__name__}")
    value.mv_data = PyBytes_AS_STRING(content)
    value.mv_size = PyBytes_GET_SIZE(content)
    if value.mv_size > LARGEST_VALUE:
        raise UsageError(f"a value has at most {LARGEST_VALUE} bytes, not {value.mv_size}")
    return 0


cdef inline int check_sizes(const Pair *pair) except -1:
    if pair.key_size < 1 or pair.key_size > LONGEST_KEY:
        raise UsageError(f"a key has 1 to {LONGEST_KEY} bytes, not {pair.key_size}")
    if pair.value_size > LARGEST_VALUE:
        raise UsageError(f"a value has at most {LARGEST_VALUE} bytes, not {pair.value_size}")
    return 0


cdef inline int check_owner(const Pair *pair) except -1:
    """Refuse what is no index entry with something before its id."""
    if pair.value_size < 1 or pair.value[0] >= pair.key_size:
        raise_corrupt()
    return 0


cdef inline bytes bytes_of(MDB_val *value):
    return PyBytes_FromStringAndSize(<const char *>value.mv_data, value.mv_size)


cdef inline object decoded(Decoder decoder, MDB_val *value):
    return decoder.decode_at(<const unsigned char *>value.mv_data, value.mv_size)


cdef bytes id_of(MDB_val *key, MDB_val *value):
    """Return the id at the end of an entry's key; the first byte of the value is its length."""
    cdef size_t size
    if value.mv_size < 1:
        raise_corrupt()
    size = (<unsigned char *>value.mv_data)[0]
    if size > key.mv_size:
        raise_corrupt()
    return PyBytes_FromStringAndSize(<const char *>key.mv_data + key.mv_size - size, size)


cdef int raise_corrupt() except -1:
    raise CorruptError("an index entry does not hold the id it should")


cdef inline void *native_program(program):
    return <void *>program if isinstance(program, Program) else NULL


cdef inline Decoder native_decoder(decode, bint filtered):
    """Return the decoder that can run on the page, unless a program in Python must see the bytes first."""
    if decode is None or filtered:
        return None
    if decode is plain_decode:
        return any_document
    return <Decoder>decode if isinstance(decode, Decoder) else None
