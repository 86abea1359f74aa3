# Ranges of keys: a treap by lower bound whose nodes know the highest upper bound below them. Included by predicates.pyx.
#
# Priorities are random, so that depth is logarithmic whatever the order of arrival: about 3 log2 n at the most. Ties of lower bounds are broken by
# the node's number, so that a node is found again in as many steps. A node holds the first eight bytes of the bounds it is compared by: where they
# decide, a step of a search reads one node and no bounds.

cdef struct Span:
    unsigned char* low      # one block: the lower bound, behind it the upper one
    uint64_t low_word       # first bytes of the lower bound, as a number
    uint64_t high_word
    uint64_t highest_word   # of the upper bound of ``highest``
    uint32_t low_size
    uint32_t high_size
    uint32_t left
    uint32_t right
    uint32_t highest        # node below (or this one) with the highest upper bound
    uint32_t priority
    uint32_t query          # NONE: free, then the next free one is ``sibling``
    uint32_t sibling        # next of the query's
    uint32_t slot
    unsigned char joint
    unsigned char deep      # holds keys of objects or arrays


cdef struct Bound:          # a key that ranges are compared with
    const unsigned char* key
    uint32_t size
    uint64_t word


cdef extern from *:
    uint64_t bswap64 "__builtin_bswap64"(uint64_t word) noexcept nogil


cdef inline int order_of(const unsigned char* a, uint32_t a_size, const unsigned char* b, uint32_t b_size) noexcept nogil:
    cdef int order = memcmp(a, b, a_size if a_size < b_size else b_size)
    if order:
        return order
    return (a_size > b_size) - (a_size < b_size)


cdef inline uint64_t first_word(const unsigned char* key, uint32_t size) noexcept nogil:
    """The first eight bytes of a key, zeros behind it; words that differ are in the order of their keys."""
    cdef uint64_t word = 0
    memcpy(&word, key, size if size < 8 else 8)
    return bswap64(word)


cdef inline bint is_before(const Table* t, uint32_t a, uint32_t b) noexcept nogil:
    cdef const Span* one = &t.spans[a]
    cdef const Span* other = &t.spans[b]
    cdef int order
    if one.low_word != other.low_word:
        return one.low_word < other.low_word
    order = order_of(one.low, one.low_size, other.low, other.low_size)
    return order < 0 or (order == 0 and a < b)


cdef inline void raise_highest(Table* t, Span* span, uint32_t below) noexcept nogil:
    """Take the highest of a child where it lies above what is known."""
    cdef uint32_t other
    if below == NONE or t.spans[below].highest_word < span.highest_word:
        return
    other = t.spans[below].highest
    if t.spans[below].highest_word > span.highest_word or order_of(
        t.spans[other].low + t.spans[other].low_size, t.spans[other].high_size,
        t.spans[span.highest].low + t.spans[span.highest].low_size, t.spans[span.highest].high_size,
    ) > 0:
        span.highest = other
        span.highest_word = t.spans[below].highest_word


cdef inline void renew_highest(Table* t, uint32_t at) noexcept nogil:
    cdef Span* span = &t.spans[at]
    span.highest = at
    span.highest_word = span.high_word
    raise_highest(t, span, span.left)
    raise_highest(t, span, span.right)


cdef void split_spans(Table* t, uint32_t root, uint32_t pivot, uint32_t* left, uint32_t* right) noexcept nogil:
    if root == NONE:
        left[0] = right[0] = NONE
        return
    if is_before(t, root, pivot):
        split_spans(t, t.spans[root].right, pivot, &t.spans[root].right, right)
        left[0] = root
    else:
        split_spans(t, t.spans[root].left, pivot, left, &t.spans[root].left)
        right[0] = root
    renew_highest(t, root)


cdef uint32_t merge_spans(Table* t, uint32_t left, uint32_t right) noexcept nogil:
    if left == NONE or right == NONE:
        return right if left == NONE else left
    if t.spans[left].priority > t.spans[right].priority:
        t.spans[left].right = merge_spans(t, t.spans[left].right, right)
        renew_highest(t, left)
        return left
    t.spans[right].left = merge_spans(t, left, t.spans[right].left)
    renew_highest(t, right)
    return right


cdef uint32_t put_span(Table* t, uint32_t root, uint32_t new) noexcept nogil:
    if root == NONE or t.spans[new].priority > t.spans[root].priority:
        split_spans(t, root, new, &t.spans[new].left, &t.spans[new].right)
        root = new
    elif is_before(t, new, root):
        t.spans[root].left = put_span(t, t.spans[root].left, new)
    else:
        t.spans[root].right = put_span(t, t.spans[root].right, new)
    renew_highest(t, root)
    return root


cdef uint32_t take_span(Table* t, uint32_t root, uint32_t old) noexcept nogil:
    if root == old:
        return merge_spans(t, t.spans[old].left, t.spans[old].right)
    if is_before(t, old, root):
        t.spans[root].left = take_span(t, t.spans[root].left, old)
    else:
        t.spans[root].right = take_span(t, t.spans[root].right, old)
    renew_highest(t, root)
    return root


cdef inline bint ends_behind(const Table* t, uint64_t word, uint32_t at, const Bound* key) noexcept nogil:
    """Tell whether the range's upper bound, whose first word this is, lies above a key."""
    cdef const Span* span
    if word != key.word:
        return word > key.word
    span = &t.spans[at]
    return order_of(span.low + span.low_size, span.high_size, key.key, key.size) > 0


cdef int find_spans(Table* t, uint32_t root, const Bound* from_, const Bound* to) noexcept nogil:
    """Note the queries of all ranges that begin at or before ``to`` and end behind ``from_``."""
    cdef const Span* span
    while root != NONE:
        span = &t.spans[root]
        if not ends_behind(t, span.highest_word, span.highest, from_):
            return 0
        if find_spans(t, span.left, from_, to) < 0:
            return NO_MEMORY
        if span.low_word > to.word or (
            span.low_word == to.word and order_of(span.low, span.low_size, to.key, to.size) > 0
        ):
            return 0
        if ends_behind(t, span.high_word, root, from_) and emit(t, span.query) < 0:
            return NO_MEMORY
        root = span.right
    return 0


cdef inline Bound bound_of(const Table* t, uint32_t value) noexcept nogil:
    cdef Bound bound
    bound.key = t.keys.data + t.values[value].at
    bound.size = t.values[value].size
    bound.word = first_word(bound.key, bound.size)
    return bound


cdef int find_between(Table* t, uint32_t root, uint32_t low, uint32_t high) noexcept nogil:
    """Note the queries of all ranges that touch what lies between two values."""
    cdef Bound from_ = bound_of(t, low)
    cdef Bound to = bound_of(t, high)
    return find_spans(t, root, &from_, &to)


cdef int add_span(
    Table* t, uint32_t query, uint32_t slot, const unsigned char* low, uint32_t low_size, const unsigned char* high,
    uint32_t high_size, bint joint,
) noexcept nogil:
    cdef uint32_t at = t.free_span
    cdef Span* span
    cdef unsigned char* memory = <unsigned char*>malloc(<size_t>low_size + high_size + 1)
    cdef uint32_t* root
    if memory == NULL:
        return NO_MEMORY
    if at == NONE:
        if grow(<void**>&t.spans, &t.span_room, t.span_size + 1, sizeof(Span)) < 0:
            free(memory)
            return NO_MEMORY
        at = t.span_size
        t.span_size += 1
    else:
        t.free_span = t.spans[at].sibling
    memcpy(memory, low, low_size)
    memcpy(memory + low_size, high, high_size)
    span = &t.spans[at]
    span.low = memory
    span.low_size = low_size
    span.high_size = high_size
    span.low_word = first_word(low, low_size)
    span.high_word = span.highest_word = first_word(high, high_size)
    span.left = span.right = NONE
    span.highest = at
    t.random = t.random * <uint64_t>6364136223846793005 + <uint64_t>1442695040888963407
    span.priority = <uint32_t>(t.random >> 32)
    span.query = query
    span.slot = slot
    span.joint = joint
    span.deep = low_size == 0 or (low[0] <= ARRAY_TAG and (high_size == 0 or high[0] >= OBJECT_TAG))
    span.sibling = t.queries[query].span
    t.queries[query].span = at
    root = &t.slots[slot].joint if joint else &t.slots[slot].each
    root[0] = put_span(t, root[0], at)
    t.slots[slot].refs += 1
    t.slots[slot].deep += span.deep
    t.span_count += 1
    return 0


cdef void drop_span(Table* t, uint32_t at) noexcept nogil:
    cdef Span* span = &t.spans[at]
    cdef uint32_t slot = span.slot
    cdef uint32_t* root = &t.slots[slot].joint if span.joint else &t.slots[slot].each
    root[0] = take_span(t, root[0], at)
    t.slots[slot].deep -= span.deep
    free(span.low)
    span.low = NULL
    span.query = NONE
    span.sibling = t.free_span
    t.free_span = at
    t.span_count -= 1
    close_slot(t, slot)
